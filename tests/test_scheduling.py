"""The foreman's decisions: who gets which runs, and what becomes of them whatever happens."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runner.messages import ChunkEnded
from runner.model import Attempt, Build, Campaign, Chunk, File, Kind, Launch, Outcome, Prepared, Run
from runner.scheduling import feeding
from runner.scheduling import state as campaign_state
from runner.scheduling.feeding import Feed
from runner.scheduling.state import CampaignState

ONE_HOST = {"red": 2}
TWO_HOSTS = {"red": 2, "blue": 4}


def campaign(name: str = "c", *, jobs: int | None = None, batch: int | None = None, dry_run: bool = False) -> Campaign:
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
) -> CampaignState:
    """Return a campaign whose runs are known; with ``seconds``, run 0 is done and took so long."""
    state = CampaignState(campaign(name, jobs=jobs, batch=batch))
    campaign_state.take_prepared(state, prepared(count))
    if seconds is not None:
        state.waiting.popleft()
        campaign_state.take_outcome(state, outcome_of(Attempt(0, 1), seconds, files=files))
    return state


def sizes(feeds: Iterable[Feed]) -> list[int]:
    return [len(feed.chunk.attempts) for feed in feeds]


def runs_in(feeds: Iterable[Feed]) -> list[int]:
    return [attempt.run for feed in feeds for attempt in feed.chunk.attempts]


def finish(state: CampaignState, feed: Feed, seconds: float = 1.0) -> None:
    """A slot does a chunk, and everything comes home."""
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    campaign_state.take_chunk_ended(state, ChunkEnded(state.campaign.id, feed.chunk.id, feed.host))
    for attempt in feed.chunk.attempts:
        campaign_state.take_outcome(state, outcome_of(attempt, seconds))


# ---- chunks ------------------------------------------------------------------------------------------------------


def test_every_slot_starts_with_a_single_run() -> None:
    # Given 100 runs of unknown length
    state = started(100)
    # When the hosts are fed
    feeds = feeding.next_feeds([state], TWO_HOSTS)
    # Then each slot gets one run, nothing waits in a queue beyond that, and no process is shared
    assert Counter(feed.host for feed in feeds) == TWO_HOSTS
    assert sizes(feeds) == [1] * 6
    assert not any(feed.chunk.shared for feed in feeds)


@pytest.mark.parametrize(("seconds", "size"), [(0.5, 4), (0.02, 100), (2.0, 1), (10.0, 1)])
def test_chunks_follow_the_measured_run_time(seconds: float, size: int) -> None:
    # Given many runs, of which one has shown how long they take
    state = started(10_000, seconds=seconds)
    # When the hosts are fed, then a chunk holds about two seconds of work, and at least a run
    assert set(sizes(feeding.next_feeds([state], TWO_HOSTS))) == {size}


def test_chunks_shrink_towards_the_end_so_that_no_slot_idles() -> None:
    # Given runs so short that one chunk could hold them all
    state = started(101, seconds=0.001)
    handed_out: list[int] = []
    while state.waiting:
        # When one host after the other gets what it has room for
        before = len(state.waiting)
        feeds = feeding.next_feeds([state], ONE_HOST)
        # Then no chunk is more than its share of what remains, and the last ones are single runs
        assert sizes(feeds)[0] <= math.ceil(before / (2 * 2))
        handed_out += sizes(feeds)
        for feed in feeds:
            finish(state, feed, 0.001)
    assert handed_out == sorted(handed_out, reverse=True)
    assert handed_out[-1] == 1
    assert state.is_over


def test_the_size_that_a_person_chose_is_kept() -> None:
    # Given a campaign with a batch size, before any run has been timed
    state = started(10, batch=4)
    # When its runs are handed out, then each process gets so many, the last one the rest
    feeds = feeding.next_feeds([state], {"red": 8})
    assert sizes(feeds) == [4, 4, 2]


def test_a_queue_is_kept_only_slightly_ahead_of_its_slots() -> None:
    # Given runs that are known to be short
    state = started(1000, seconds=1.0)
    # When the hosts are fed, then one chunk per host waits beyond its slots
    feeds = feeding.next_feeds([state], TWO_HOSTS)
    assert Counter(feed.host for feed in feeds) == {"red": 2 + 1, "blue": 4 + 1}
    # And there is no more until something ends
    assert feeding.next_feeds([state], TWO_HOSTS) == []
    finish(state, feeds[0])
    assert [feed.host for feed in feeding.next_feeds([state], TWO_HOSTS)] == [feeds[0].host]


def test_long_runs_do_not_wait_in_a_queue() -> None:
    # Given runs that take a minute: another host might be idle before this one's slots are
    state = started(1000, seconds=60.0)
    # When the hosts are fed, then nothing waits beyond their slots
    assert Counter(feed.host for feed in feeding.next_feeds([state], TWO_HOSTS)) == TWO_HOSTS


def test_a_campaign_s_own_limit_is_respected() -> None:
    # Given a campaign that wants three jobs at once, and six slots
    state = started(100, jobs=3)
    # When the hosts are fed, then it gets three, and one more for each that ends
    feeds = feeding.next_feeds([state], TWO_HOSTS)
    assert len(feeds) == 3
    finish(state, feeds[0])
    assert len(feeding.next_feeds([state], TWO_HOSTS)) == 1


def test_campaigns_take_turns() -> None:
    # Given two campaigns, one of them there first and larger
    first, second = started(100, name="first"), started(10, name="second")
    # When four slots are fed, then each campaign gets half of them
    feeds = feeding.next_feeds([first, second], {"red": 4})
    assert Counter(feed.chunk.campaign for feed in feeds) == {"first": 2, "second": 2}


@pytest.mark.parametrize("seconds", [None, 1.0])
def test_without_a_host_nothing_is_handed_out(seconds: float | None) -> None:
    # Given a campaign and no host (yet, or any more), when it is time to feed, then the runs just wait
    state = started(10, seconds=seconds)
    waiting = list(state.waiting)
    assert feeding.next_feeds([state], {}) == []
    assert list(state.waiting) == waiting


def test_a_host_without_slots_gets_no_work() -> None:
    # Given a host that serves no slots beside one that does, and short runs
    state = started(100, seconds=1.0)
    # When the hosts are fed, then nothing goes where nobody would ever do it
    feeds = feeding.next_feeds([state], {"red": 2, "builder": 0})
    assert {feed.host for feed in feeds} == {"red"}


# ---- shared processes --------------------------------------------------------------------------------------------


def test_runs_share_a_process_once_the_first_outcome_has_shown_that_they_may() -> None:
    # Given short runs with plain values, the first of which left files that are called after it
    state = started(1000, seconds=0.1, files=("results/Foo-n=0-#0.sca", "results/Foo-n=0-#0.vec"))
    # When the hosts are fed, then chunks share a process
    assert all(feed.chunk.shared for feed in feeding.next_feeds([state], ONE_HOST))


@pytest.mark.parametrize("name", ["results/all.sca", "results/Foo-n=0-#0.sca.bak/x", "eventlog"])
def test_runs_whose_files_have_other_names_get_a_process_each(name: str) -> None:
    # Given a run that left a file whose name does not say whose it is
    state = started(1000, seconds=0.1, files=("results/Foo-n=0-#0.sca", name))
    # When the hosts are fed, then no chunk shares a process
    assert not any(feed.chunk.shared for feed in feeding.next_feeds([state], ONE_HOST))


def test_a_single_run_shares_with_nobody() -> None:
    # Given runs that may share, and are long, when the hosts are fed, then single runs are not called shared
    state = started(10, seconds=10.0, files=("results/Foo-n=0-#0.sca",))
    assert not any(feed.chunk.shared for feed in feeding.next_feeds([state], ONE_HOST))


@pytest.mark.parametrize(
    ("values", "may"),
    [(["1", "2"], True), (["1", "1"], False), (["1", '"a b"'], False), (["1", "a/b"], False)],
)
def test_runs_that_cannot_be_told_apart_by_name_do_not_share(values: list[str], may: bool) -> None:
    # Given runs with these values of n, when asked whether they may share a process
    runs = tuple(Run(number, {"n": value, "repetition": "0"}) for number, value in enumerate(values))
    outcome = outcome_of(Attempt(0, 1), files=("results/Foo-n=1-#0.sca",))
    # Then they may if every file of every run is certain to have a name of its own
    assert campaign_state.is_shareable(campaign(), runs, outcome) is may


# ---- what becomes of runs ----------------------------------------------------------------------------------------


def test_a_campaign_is_over_when_the_last_run_is() -> None:
    # Given a campaign of three runs on two slots
    state = started(3)
    while not state.is_over:
        # When its chunks are done one after the other
        for feed in feeding.next_feeds([state], ONE_HOST):
            finish(state, feed)
    # Then every run is over and nothing is left
    assert sorted(state.over) == [0, 1, 2]
    assert not state.waiting
    assert not state.in_flight
    assert not state.expected


def test_the_first_outcome_of_a_run_counts() -> None:
    # Given a run that is over
    state = started(2)
    first = outcome_of(Attempt(0, 1))
    assert campaign_state.take_outcome(state, first)
    # When a zombie's outcome of the same run arrives, then it changes nothing
    assert not campaign_state.take_outcome(state, outcome_of(Attempt(0, 2), 99.0, kind="error"))
    assert state.over[0] == first
    assert state.run_seconds == 1.0


def test_what_a_dead_slot_had_begun_comes_first_again() -> None:
    # Given two slots, each with a run
    state = started(10)
    one, two = feeding.next_feeds([state], ONE_HOST)
    campaign_state.take_chunk_started(state, one.chunk.id, "slot1")
    campaign_state.take_chunk_started(state, two.chunk.id, "slot2")
    # When one of them dies
    given_up = campaign_state.take_slot_died(state, "red", "slot1")
    # Then its run alone is next, as its second attempt
    assert given_up == []
    assert list(state.in_flight) == [two.chunk.id]
    assert state.waiting[0] == Attempt(one.chunk.attempts[0].run, 2)
    assert len(state.waiting) == 9


def test_a_slot_of_the_same_name_on_another_host_is_another_slot() -> None:
    # Given a chunk on red's slot1, when blue's slot1 dies, then nothing happens to it
    state = started(1)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    campaign_state.take_slot_died(state, "blue", "slot1")
    assert list(state.in_flight) == [feed.chunk.id]


def test_a_run_is_given_up_when_its_worker_died_each_time() -> None:
    # Given a run whose slot dies whenever it does it
    state = started(1)
    for number in range(1, campaign_state.MOST_LOSSES + 1):
        (feed,) = feeding.next_feeds([state], {"red": 1})
        assert feed.chunk.attempts == (Attempt(0, number),)
        campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
        given_up = campaign_state.take_slot_died(state, "red", "slot1")
    # When that was the last attempt, then the run is given up and not begun again
    assert given_up == [Attempt(0, campaign_state.MOST_LOSSES)]
    assert feeding.next_feeds([state], {"red": 1}) == []


def test_what_a_slot_could_not_do_is_tried_again() -> None:
    # Given a chunk of four runs of which a slot came to two, because of trouble of its own
    state = started(4, batch=4)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    unfinished = feed.chunk.attempts[2:]
    # When the chunk ends
    campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red", unfinished, "disk full"))
    # Then the two wait again, in their order, and the outcomes of the others are expected
    assert list(state.waiting) == [Attempt(2, 2), Attempt(3, 2)]
    assert sorted(state.expected) == [0, 1]


def in_flight_or_waiting(state: CampaignState) -> list[Attempt]:
    flying = [attempt for chunk in state.in_flight.values() for attempt in chunk.attempts]
    return [*flying, *state.waiting]


def test_a_run_whose_files_did_not_arrive_is_begun_again() -> None:
    # Given two runs of a chunk that has ended
    state = started(2, batch=2)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
    # When the files of one did not arrive complete
    assert campaign_state.take_delivery_failed(state, Attempt(1, 1)) == []
    # Then it waits as the next attempt, and the other is still expected
    assert list(state.waiting) == [Attempt(1, 2)]
    assert sorted(state.expected) == [0]


def test_a_run_whose_files_never_arrive_is_given_up() -> None:
    # Given a run at its last attempt, when its files do not arrive complete, then it is given up
    state = started(1)
    for number in range(1, campaign_state.MOST_LOSSES + 1):
        (feed,) = feeding.next_feeds([state], {"red": 1})
        campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
        given_up = campaign_state.take_delivery_failed(state, Attempt(0, number))
    assert given_up == [Attempt(0, campaign_state.MOST_LOSSES)]
    assert not state.waiting


def test_a_delivery_may_fail_while_its_chunk_goes_on() -> None:
    # Given a chunk of two runs, of which a slot has delivered the first and does the second
    state = started(2, batch=2)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    # When the first one's files do not arrive complete, and then the chunk ends
    campaign_state.take_delivery_failed(state, Attempt(0, 1))
    assert len({attempt.run for attempt in in_flight_or_waiting(state)}) == len(in_flight_or_waiting(state))
    campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
    # Then it waits once, and is not expected any more
    assert list(state.waiting) == [Attempt(0, 2)]
    assert sorted(state.expected) == [1]


@pytest.mark.parametrize("slot_died_too", [True, False])
def test_a_failed_delivery_counts_once(slot_died_too: bool) -> None:
    # Given a run that is begun again already, because its slot died, or because its delivery failed
    state = started(1)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    if slot_died_too:
        campaign_state.take_slot_died(state, "red", "slot1")
    else:
        campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
        campaign_state.take_delivery_failed(state, Attempt(0, 1))
    # When its first attempt's delivery is said to have failed (again)
    campaign_state.take_delivery_failed(state, Attempt(0, 1))
    # Then it waits once
    assert list(state.waiting) == [Attempt(0, 2)]


def test_a_run_that_kills_its_worker_does_not_take_others_with_it() -> None:
    # Given short runs, of which run 3 kills every worker that begins it, and what came before it is delivered
    state = started(40, batch=5)
    lost: list[Attempt] = []
    begun: Counter[int] = Counter()
    while not state.is_over and len(lost) < 10:
        for feed in feeding.next_feeds([state], {"red": 1}):
            campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
            deadly = [attempt.run for attempt in feed.chunk.attempts].index(3) if 3 in runs_in([feed]) else None
            begun.update(attempt.run for attempt in feed.chunk.attempts[: None if deadly is None else deadly + 1])
            for attempt in feed.chunk.attempts[:deadly]:
                campaign_state.take_outcome(state, outcome_of(attempt))
            if deadly is None:
                campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
            else:
                given_up = campaign_state.take_slot_died(state, "red", "slot1")
                # When runs are given up
                for attempt in given_up:
                    lost.append(attempt)
                    campaign_state.take_outcome(state, outcome_of(attempt, kind="lost"))
    # Then it is the one that was begun as often as it may be, and the others are done
    assert begun[3] == campaign_state.MOST_LOSSES
    assert [attempt.run for attempt in lost] == [3]


def test_an_outcome_that_comes_after_its_slot_died_is_enough() -> None:
    # Given a slot that delivered its run and died before it could say that it is through
    state = started(1)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    campaign_state.take_slot_died(state, "red", "slot1")
    # When the result store has committed the delivery
    campaign_state.take_outcome(state, outcome_of(Attempt(0, 1)))
    # Then the run is over and not done again
    assert state.is_over
    assert feeding.next_feeds([state], {"red": 1}) == []


def test_the_list_of_runs_counts_once() -> None:
    # Given a campaign whose runs are under way
    state = started(2)
    feeds = feeding.next_feeds([state], ONE_HOST)
    assert runs_in(feeds) == [0, 1]
    # When its list of runs arrives a second time (an event is repeated when a connection breaks)
    campaign_state.take_prepared(state, prepared(2))
    # Then no run is begun a second time
    assert feeding.next_feeds([state], {"red": 8}) == []


def test_runs_that_are_over_are_not_begun() -> None:
    # Given a campaign of which the result store has records already
    state = CampaignState(campaign())
    state.over[1] = outcome_of(Attempt(1, 1))
    # When its runs become known, then only the others wait
    campaign_state.take_prepared(state, prepared(3))
    assert [attempt.run for attempt in state.waiting] == [0, 2]


def test_a_dry_run_is_over_when_the_runs_are_known() -> None:
    # Given a campaign that is only to list its runs
    state = CampaignState(campaign(dry_run=True))
    assert not state.is_over
    # When they are known, then it is over and no run is begun
    campaign_state.take_prepared(state, prepared(3))
    assert state.is_over
    assert feeding.next_feeds([state], ONE_HOST) == []


def test_a_cancelled_campaign_begins_nothing_more_and_waits_for_what_is_begun() -> None:
    # Given a campaign with one chunk begun and two in the queue
    state = started(10, seconds=1.0)
    first, *_ = feeding.next_feeds([state], ONE_HOST)
    campaign_state.take_chunk_started(state, first.chunk.id, "slot1")
    # When it is cancelled
    campaign_state.take_cancel(state)
    # Then nothing is handed out, and it is over when the begun chunk has ended and its outcome is there
    assert feeding.next_feeds([state], ONE_HOST) == []
    assert not state.is_over
    campaign_state.take_chunk_ended(state, ChunkEnded("c", first.chunk.id, "red"))
    assert not state.is_over
    for attempt in first.chunk.attempts:
        campaign_state.take_outcome(state, outcome_of(attempt, kind="cancelled"))
    assert state.is_over


def test_a_campaign_that_is_cancelled_while_it_is_built_is_over() -> None:
    # Given a campaign that is being built, when it is cancelled, then it is over, also if the build ends later
    state = CampaignState(campaign())
    campaign_state.take_cancel(state)
    assert state.is_over
    campaign_state.take_prepared(state, prepared(3))
    assert state.is_over
    assert feeding.next_feeds([state], ONE_HOST) == []


def test_what_a_slot_had_of_a_cancelled_campaign_is_not_begun_again() -> None:
    # Given a cancelled campaign with a begun chunk
    state = started(2)
    feed, _ = feeding.next_feeds([state], ONE_HOST)
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    campaign_state.take_cancel(state)
    # When its slot dies, then nothing is given up or begun again, and the campaign is over
    assert campaign_state.take_slot_died(state, "red", "slot1") == []
    assert state.is_over


# ---- whatever happens --------------------------------------------------------------------------------------------

SECONDS = st.sampled_from([0.0, 0.001, 0.3, 1.5, 30.0])
SLOTS = ("slot1", "slot2")


class Checked(RuleBasedStateMachine):
    """Several campaigns on several hosts; what has to hold after every step, whatever the step was."""

    def __init__(self) -> None:
        super().__init__()
        self.hosts: dict[str, int] = {}
        self.states: list[CampaignState] = []
        self.fed: list[Feed] = []
        self.begun: Counter[tuple[str, Attempt]] = Counter()
        self.ended: Counter[tuple[str, int]] = Counter()
        self.over: set[str] = set()

    # ---- what the foreman does with the decisions ----

    def feed(self) -> list[Feed]:
        active = [state for state in self.states if state.campaign.id not in self.over]
        waiting = {state.campaign.id: deque(state.waiting) for state in active}
        over = {state.campaign.id: set(state.over) for state in active}
        seconds = {state.campaign.id: state.run_seconds for state in active}
        feeds = feeding.next_feeds(active, dict(self.hosts))
        for feed in feeds:
            name = feed.chunk.campaign
            self.begun.update((name, attempt) for attempt in feed.chunk.attempts)
            assert not {attempt.run for attempt in feed.chunk.attempts} & over[name], "a run that is over is begun"
            self.check_size(feed.chunk, len(waiting[name]), seconds[name])
            for _ in feed.chunk.attempts:
                waiting[name].popleft()
        self.check_loads(active, feeds)
        self.fed += feeds
        return feeds

    def check_size(self, chunk: Chunk, waiting: int, seconds: float | None) -> None:
        size = len(chunk.attempts)
        batch = next(state.campaign.batch for state in self.states if state.campaign.id == chunk.campaign)
        assert 1 <= size <= waiting
        if chunk.attempts[0].number > 1:
            assert size <= max(1, batch or waiting)  # what failed before may well go alone
        elif batch:
            assert size == min(batch, waiting)
        elif seconds is None:
            assert size == 1
        else:
            assert size <= max(1, round(feeding.CHUNK_SECONDS / seconds))
            assert size <= max(1, math.ceil(waiting / (2 * sum(self.hosts.values()))))

    def check_loads(self, active: list[CampaignState], feeds: list[Feed]) -> None:
        for host in {feed.host for feed in feeds}:
            load = sum(chunk.host == host for state in active for chunk in state.in_flight.values())
            assert load <= self.hosts[host] + feeding.AHEAD

    def take_outcome(self, state: CampaignState, outcome: Outcome) -> None:
        known = outcome.run in state.over
        if campaign_state.take_outcome(state, outcome):
            assert not known
            self.ended[state.campaign.id, outcome.run] += 1

    def give_up(self, state: CampaignState, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            assert attempt.number == campaign_state.MOST_LOSSES
            self.take_outcome(state, outcome_of(attempt, of=state.campaign.id, kind="lost"))

    def slot_died(self, host: str, slot: str) -> None:
        for state in self.states:
            self.give_up(state, campaign_state.take_slot_died(state, host, slot))

    def delivery_failed(self, state: CampaignState, attempt: Attempt) -> None:
        if state.campaign.id not in self.over:  # the foreman has forgotten it
            self.give_up(state, campaign_state.take_delivery_failed(state, attempt))

    # ---- rules that both worlds have ----

    @rule(host=st.sampled_from(["red", "blue", "green"]), slots=st.integers(1, 2))
    def host_comes_up(self, host: str, slots: int) -> None:
        self.hosts.setdefault(host, slots)

    @initialize(runs=st.integers(1, 12), slots=st.integers(1, 2))
    def there_is_something_to_do(self, runs: int, slots: int) -> None:
        self.host_comes_up("red", slots)
        self.campaign_is_submitted(runs, None, None)

    @precondition(lambda self: len(self.states) < 3)
    @rule(runs=st.integers(0, 12), jobs=st.sampled_from([None, 1, 2]), batch=st.sampled_from([None, 1, 2, 4]))
    def campaign_is_submitted(self, runs: int, jobs: int | None, batch: int | None) -> None:
        state = CampaignState(campaign(f"c{len(self.states)}", jobs=jobs, batch=batch))
        self.states.append(state)
        campaign_state.take_prepared(state, prepared(runs))

    @precondition(lambda self: len(self.over) < len(self.states))
    @rule(data=st.data())
    def campaign_is_cancelled(self, data: st.DataObject) -> None:
        active = [state for state in self.states if state.campaign.id not in self.over]
        state = data.draw(st.sampled_from(active), label="campaign")
        campaign_state.take_cancel(state)

    # ---- what always holds ----

    @invariant()
    def everything_holds(self) -> None:
        self.every_run_ends_at_most_once()
        self.no_run_is_in_two_places()
        self.no_campaign_is_beyond_its_limit()
        self.no_run_is_begun_too_often()
        self.what_is_over_stays_over()

    def every_run_ends_at_most_once(self) -> None:
        assert set(self.ended.values()) <= {1}
        assert sum(self.ended.values()) == sum(len(state.over) for state in self.states)

    def no_run_is_in_two_places(self) -> None:
        for state in self.states:
            flying = [attempt.run for chunk in state.in_flight.values() for attempt in chunk.attempts]
            assert len(set(flying)) == len(flying), "two chunks in flight hold the same run"
            waiting = [attempt.run for attempt in state.waiting]
            assert len({*flying, *waiting}) == len(flying) + len(waiting)

    def no_campaign_is_beyond_its_limit(self) -> None:
        assert all(len(state.in_flight) <= (state.campaign.jobs or 999) for state in self.states)

    def no_run_is_begun_too_often(self) -> None:
        assert all(attempt.number <= campaign_state.MOST_LOSSES for _, attempt in self.begun)
        assert set(self.begun.values()) <= {1}, "the same attempt is begun twice"

    def what_is_over_stays_over(self) -> None:
        for state in self.states:
            if state.is_over:
                self.over.add(state.campaign.id)
            assert state.is_over == (state.campaign.id in self.over)


class LabThatWorks(Checked):
    """Slots do what they are given, or die of it; events arrive in order, commits some time later."""

    def __init__(self) -> None:
        super().__init__()
        self.queues: dict[str, deque[Chunk]] = {}
        #: (host, slot) → the chunk that it does, and how many of its runs are through.
        self.working: dict[tuple[str, str], tuple[Chunk, int]] = {}
        self.delivered: list[Outcome] = []

    def state(self, chunk: Chunk) -> CampaignState:
        return next(state for state in self.states if state.campaign.id == chunk.campaign)

    @rule()
    def hosts_are_fed(self) -> None:
        for feed in self.feed():
            self.queues.setdefault(feed.host, deque()).append(feed.chunk)

    def idle(self) -> list[tuple[str, str]]:
        slots = [(host, slot) for host, count in self.hosts.items() for slot in SLOTS[:count]]
        return [place for place in slots if self.queues.get(place[0]) and place not in self.working]

    @precondition(lambda self: self.idle())
    @rule(data=st.data())
    def slot_begins(self, data: st.DataObject) -> None:
        self.begin(data.draw(st.sampled_from(self.idle()), label="slot"))

    def begin(self, place: tuple[str, str]) -> None:
        chunk = self.queues[place[0]].popleft()
        state = self.state(chunk)
        if not state.cancelled:  # else the job was taken out of the queue
            self.working[place] = (chunk, 0)
            campaign_state.take_chunk_started(state, chunk.id, place[1])

    @precondition(lambda self: self.working)
    @rule(data=st.data(), seconds=SECONDS)
    def slot_goes_on(self, data: st.DataObject, seconds: float) -> None:
        self.work(data.draw(st.sampled_from(sorted(self.working)), label="slot"), seconds)

    def work(self, place: tuple[str, str], seconds: float) -> None:
        chunk, through = self.working[place]
        if through < len(chunk.attempts) and not self.state(chunk).cancelled:
            self.delivered.append(outcome_of(chunk.attempts[through], seconds, of=chunk.campaign))
            self.working[place] = (chunk, through + 1)
        else:
            self.end(place, chunk.attempts[through:])

    def end(self, place: tuple[str, str], unfinished: tuple[Attempt, ...]) -> None:
        chunk, _ = self.working.pop(place)
        ended = ChunkEnded(chunk.campaign, chunk.id, place[0], unfinished)
        self.give_up(self.state(chunk), campaign_state.take_chunk_ended(self.state(chunk), ended))

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def slot_has_trouble(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.working)), label="slot")
        chunk, through = self.working[place]
        self.end(place, chunk.attempts[through:])

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def slot_dies(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.working)), label="slot")
        del self.working[place]
        self.slot_died(*place)

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def delivery_is_committed(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.delivered) - 1), label="delivery")
        self.commit(number)

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def delivery_fails(self, data: st.DataObject) -> None:
        outcome = self.delivered.pop(data.draw(st.integers(0, len(self.delivered) - 1), label="delivery"))
        state = next(state for state in self.states if state.campaign.id == outcome.campaign)
        self.delivery_failed(state, Attempt(outcome.run, outcome.attempt))

    def commit(self, number: int) -> None:
        outcome = self.delivered.pop(number)
        state = next(state for state in self.states if state.campaign.id == outcome.campaign)
        self.take_outcome(state, outcome)

    def teardown(self) -> None:
        # When the lab is left to itself, then every campaign comes to its end
        self.hosts.setdefault("red", 1)
        for _ in range(500):
            self.hosts_are_fed()
            for place in self.idle():
                if self.queues[place[0]]:
                    self.begin(place)
            for place in sorted(self.working):
                self.work(place, 0.3)
            while self.delivered:
                self.commit(0)
            self.everything_holds()
            if len(self.over) == len(self.states) and not self.working:
                break
        for state in self.states:
            assert state.is_over, f"{state.campaign.id} never ends: {state}"
            if not state.cancelled:
                assert sorted(state.over) == list(range(state.total))


class LabGoneMad(Checked):
    """Events come in any order, several times, late, or never."""

    @rule()
    def hosts_are_fed(self) -> None:
        self.feed()

    def chunk(self, data: st.DataObject) -> tuple[CampaignState, Feed]:
        feed = data.draw(st.sampled_from(self.fed), label="chunk")
        return next(state for state in self.states if state.campaign.id == feed.chunk.campaign), feed

    @precondition(lambda self: self.fed)
    @rule(data=st.data(), slot=st.sampled_from(SLOTS))
    def chunk_started(self, data: st.DataObject, slot: str) -> None:
        state, feed = self.chunk(data)
        campaign_state.take_chunk_started(state, feed.chunk.id, slot)

    @precondition(lambda self: self.fed)
    @rule(data=st.data())
    def chunk_ended(self, data: st.DataObject) -> None:
        state, feed = self.chunk(data)
        through = data.draw(st.integers(0, len(feed.chunk.attempts)), label="through")
        ended = ChunkEnded(state.campaign.id, feed.chunk.id, feed.host, feed.chunk.attempts[through:])
        self.give_up(state, campaign_state.take_chunk_ended(state, ended))

    @precondition(lambda self: self.fed)
    @rule(data=st.data(), seconds=SECONDS, kind=st.sampled_from(["done", "error", "crash", "cancelled"]))
    def run_committed(self, data: st.DataObject, seconds: float, kind: Kind) -> None:
        state, feed = self.chunk(data)
        attempt = data.draw(st.sampled_from(feed.chunk.attempts), label="attempt")
        self.take_outcome(state, outcome_of(attempt, seconds, of=state.campaign.id, kind=kind))

    @precondition(lambda self: self.fed)
    @rule(data=st.data())
    def delivery_fails(self, data: st.DataObject) -> None:
        state, feed = self.chunk(data)
        self.delivery_failed(state, data.draw(st.sampled_from(feed.chunk.attempts), label="attempt"))

    @rule(host=st.sampled_from(["red", "blue", "green", "nowhere"]), slot=st.sampled_from(SLOTS))
    def slot_is_said_to_be_dead(self, host: str, slot: str) -> None:
        self.slot_died(host, slot)

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def runs_are_listed_again(self, data: st.DataObject) -> None:
        state = data.draw(st.sampled_from(self.states), label="campaign")
        assert state.prepared is not None
        campaign_state.take_prepared(state, state.prepared)


THOROUGH = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,  # the same on every machine
    database=None,
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

TestLabThatWorks = LabThatWorks.TestCase
TestLabThatWorks.settings = THOROUGH
TestLabGoneMad = LabGoneMad.TestCase
TestLabGoneMad.settings = THOROUGH
