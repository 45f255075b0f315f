"""Campaigns as the tests of the foreman's decisions need them."""

from collections.abc import Iterable, Sequence

from runner.messages import ChunkEnded
from runner.model import Attempt, Build, Campaign, Chunk, File, Kind, Launch, Limits, Outcome, Prepared, Run
from runner.scheduling import feeding
from runner.scheduling import state as campaign_state
from runner.scheduling.feeding import Feed
from runner.scheduling.state import CampaignState

ONE_HOST = {"red": 2}
TWO_HOSTS = {"red": 2, "blue": 4}


def campaign(
    name: str = "c",
    *,
    jobs: int | None = None,
    batch: int | None = None,
    dry_run: bool = False,
    limits: Limits | None = None,
) -> Campaign:
    return Campaign(
        id=name,
        protocol=1,
        project="aloha-1",
        name="aloha",
        commit="c0",
        tree="t0",
        sources="s0",
        directory=".",
        config="Foo",
        run_filter="",
        mode="release",
        build=Build(),
        launch=Launch(),
        environment={},
        submitted=0.0,
        user="anna",
        jobs=jobs,
        batch=batch,
        dry_run=dry_run,
        limits=limits or Limits(),
    )


def runs_of(count: int) -> tuple[Run, ...]:
    return tuple(Run(number, {"n": str(number), "repetition": "0"}) for number in range(count))


def prepared(count: int) -> Prepared:
    return Prepared(key="k", built=False, program=("./aloha",), toolchain="gcc", runs=runs_of(count))


def outcome_of(
    attempt: Attempt, seconds: float = 1.0, *, of: str = "c", kind: Kind = "done", files: Sequence[str] = ()
) -> Outcome:
    return Outcome(
        campaign=of,
        run=attempt.run,
        attempt=attempt.number,
        kind=kind,
        exit_status=0,
        host="red",
        slot="slot1",
        started=0.0,
        ended=seconds,
        files=tuple(File(path, 1, 1) for path in files),
    )


def started(
    count: int,
    *,
    seconds: float | None = None,
    files: Sequence[str] = (),
    name: str = "c",
    jobs: int | None = None,
    batch: int | None = None,
    limits: Limits | None = None,
) -> CampaignState:
    """Return a campaign whose runs are known; with ``seconds``, run 0 is done and took so long."""
    state = CampaignState(campaign(name, jobs=jobs, batch=batch, limits=limits))
    campaign_state.take_prepared(state, prepared(count))
    if seconds is not None:
        state.waiting.popleft()
        campaign_state.take_outcome(state, outcome_of(Attempt(0, 1), seconds, files=files))
    return state


def sizes(feeds: Iterable[Feed]) -> list[int]:
    return [len(feed.chunk.attempts) for feed in feeds]


def runs_in(feeds: Iterable[Feed]) -> list[int]:
    return [attempt.run for feed in feeds for attempt in feed.chunk.attempts]


def begun(state: CampaignState, host: str = "red", slot: str = "slot1", now: float = 0.0) -> Chunk:
    """Give a host its next chunk, let a slot begin it, and return it."""
    (feed, *_) = feeding.next_feeds([state], {host: 1}, now)
    campaign_state.take_chunk_started(state, feed.chunk.id, slot, now)
    return feed.chunk


def finish(state: CampaignState, feed: Feed, seconds: float = 1.0) -> None:
    """A slot does a chunk, and everything comes home."""
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    campaign_state.take_chunk_ended(state, ChunkEnded(state.campaign.id, feed.chunk.id, feed.host))
    for attempt in feed.chunk.attempts:
        campaign_state.take_outcome(state, outcome_of(attempt, seconds))
