"""One campaign as the foreman sees it, and what events do to it."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runner.messages import ChunkEnded, RunProgressed, RunStarted
from runner.model import Attempt, Campaign, Kind, Outcome, Past, Prepared
from runner.scheduling.sharing import is_shareable

#: Losses after which a run is given up: of its worker, or of its files; and of all kinds together.
MOST_LOSSES, MOST_LOSSES_OF_ALL_KINDS = 3, 10

#: Why attempts are lost.
DIED = "its worker died"
UNHEARD = "nothing was heard of it any more"
NOT_ARRIVED = "its files did not arrive"
OWN_LOSSES = (DIED, NOT_ARRIVED)


@dataclass
class InFlight:
    """A chunk that a host has."""

    host: str
    attempts: tuple[Attempt, ...]
    #: The slot that began it; empty while it waits in the host's queue.
    slot: str = ""
    #: When something was heard of it last, by the foreman's clock.
    renewed: float = 0.0
    #: What its slot was at when it told last.
    current: Attempt | None = None

    @property
    def left(self) -> tuple[Attempt, ...]:
        """What the slot has still to do, as far as it is known: what it was at, and what comes after that."""
        if self.current in self.attempts:
            return self.attempts[self.attempts.index(self.current) :]
        return self.attempts


@dataclass
class Expected:
    """An attempt that a slot is through with; its outcome is on its way from a host."""

    attempt: Attempt
    host: str
    renewed: float = 0.0


@dataclass
class CampaignState:
    """One campaign: what waits, what is under way, what is over."""

    campaign: Campaign
    #: Begins the names of this foreman's chunks: no other foreman's have the same.
    series: str = ""
    prepared: Prepared | None = None
    #: When the build job was queued or heard of last, by the foreman's clock.
    build_renewed: float = 0.0
    waiting: deque[Attempt] = field(default_factory=deque)
    in_flight: dict[str, InFlight] = field(default_factory=dict)
    #: The number of the attempt that counts of each run that is not over.  What is told of another does not matter.
    latest: dict[int, int] = field(default_factory=dict)
    #: The highest number that an attempt at each run has had: none is given twice.
    highest: dict[int, int] = field(default_factory=dict)
    #: Runs that were lost too often, with the last attempt, until that is written down.
    hopeless: dict[int, Past] = field(default_factory=dict)
    #: Chunks that are certainly not at any slot any more, whatever a late report says.
    ended: set[str] = field(default_factory=set)
    #: By run.
    expected: dict[int, Expected] = field(default_factory=dict)
    #: What was told last of runs that are under way.
    begun: dict[int, RunStarted] = field(default_factory=dict)
    progress: dict[int, RunProgressed] = field(default_factory=dict)
    #: When that was heard, or first heard to be so, in seconds since the epoch by the head's clock.
    since: dict[int, float] = field(default_factory=dict)
    heard: dict[int, float] = field(default_factory=dict)
    #: Attempts that had to be made again, in the order in which they came to nothing.
    past: list[Past] = field(default_factory=list)
    over: dict[int, Outcome] = field(default_factory=dict)
    #: How many of each kind these are.
    kinds: Counter[Kind] = field(default_factory=Counter)
    #: May runs share a process?  None until the first outcome tells.
    shareable: bool | None = None
    #: Seconds of slots' time so far, and the runs done in it.
    busy_seconds: float = 0.0
    measured: int = 0
    cancelled: bool = False
    #: Why, where nobody asked for it.
    reason: str = ""
    #: Losses, by run and number, that do not count: the campaign was resumed since.
    forgiven: frozenset[tuple[int, int]] = frozenset()
    chunks: int = 0

    @property
    def total(self) -> int:
        """Number of runs."""
        return len(self.prepared.runs) if self.prepared else 0

    @property
    def is_over(self) -> bool:
        """Say whether nothing more will come."""
        if self.cancelled:
            return not self.in_flight and not self.expected
        if self.campaign.dry_run:
            return self.prepared is not None
        return self.prepared is not None and len(self.over) == self.total

    @property
    def failed(self) -> int:
        """Number of runs that are over and not done, without anybody having wanted that."""
        return len(self.over) - self.kinds["done"] - self.kinds["cancelled"]

    @property
    def run_seconds(self) -> float | None:
        """Return how long a run takes; None until one is over."""
        return self.busy_seconds / self.measured if self.measured else None

    def is_wanted(self, attempt: Attempt) -> bool:
        """Say whether an attempt is its run's latest, and the run not over."""
        return attempt.run not in self.over and self.latest.get(attempt.run) == attempt.number


# ---- beginning, and beginning again ------------------------------------------------------------------------------


def restored(
    campaign: Campaign,
    series: str,
    prepared: Prepared | None,
    over: Mapping[int, Outcome],
    past: Iterable[Past],
    cancelled: str | None,
    forgiven: float = 0.0,
) -> CampaignState:
    """Return a campaign as the result store knows it; ``cancelled``: the reason, None if it is not.

    ``forgiven``: when it was resumed last, in seconds since the epoch; losses before that do not count.  What the
    machines have of it, their reports tell.  Chunks get other names than before it was resumed.
    """
    series = f"{series}{round(forgiven * 1000):x}-" if forgiven else series
    state = CampaignState(campaign, series, past=list(past))
    state.forgiven = frozenset((past.run, past.number) for past in state.past if forgiven and past.ended <= forgiven)
    state.cancelled, state.reason = cancelled is not None, cancelled or ""
    for outcome in over.values():
        _measure(state, outcome)
        state.over[outcome.run] = outcome
    if prepared:
        take_prepared(state, prepared)
        for outcome in over.values():
            _judge_sharing(state, outcome)
    return state


def take_prepared(state: CampaignState, prepared: Prepared) -> None:
    """The runs are known: those that are not over wait for a slot."""
    if state.prepared is not None:
        return
    state.prepared = prepared
    if state.campaign.dry_run:
        return
    tried: dict[int, int] = {}
    for past in state.past:
        tried[past.run] = max(past.number, tried.get(past.run, 0))
    left = [Attempt(run.number, tried.get(run.number, 0) + 1) for run in prepared.runs if run.number not in state.over]
    state.latest = {attempt.run: attempt.number for attempt in left}
    state.highest = dict(state.latest)
    if not state.cancelled:  # those that were tried come first
        state.waiting = deque(sorted(left, key=lambda attempt: attempt.number == 1))


# ---- what slots tell ---------------------------------------------------------------------------------------------


def take_chunk_started(state: CampaignState, chunk: str, slot: str, now: float = 0.0) -> None:
    """A slot has begun a chunk."""
    if found := state.in_flight.get(chunk):
        found.slot, found.renewed = slot, now


def take_chunk_ended(state: CampaignState, ended: ChunkEnded, now: float = 0.0, now_is: float = 0.0) -> list[Past]:
    """A slot is through with a chunk; return the attempts of which it came to nothing."""
    if ended.mixed_up:
        state.shareable = False
    state.ended.add(ended.chunk)
    chunk = state.in_flight.pop(ended.chunk, None)
    if chunk is None:
        return []
    for attempt in chunk.attempts:
        if attempt not in ended.unfinished and state.is_wanted(attempt):
            state.expected[attempt.run] = Expected(attempt, chunk.host, now)
    unfinished = [attempt for attempt in ended.unfinished if state.is_wanted(attempt)]
    if not ended.error or ended.not_tried:  # it was cancelled, or its runs had to be done singly: nothing was lost
        again(state, unfinished)
        return []
    return lose(state, unfinished, chunk.host, chunk.slot, ended.error, now_is)


def take_slot_died(state: CampaignState, host: str, slot: str, now_is: float = 0.0) -> list[Past]:
    """A slot is gone, with what it had begun."""
    lost: list[Past] = []
    for key, chunk in list(state.in_flight.items()):
        if (chunk.host, chunk.slot) == (host, slot):
            state.ended.add(key)
            lost += lose_chunk(state, key, DIED, now_is)
    return lost


def take_host_up(state: CampaignState, host: str, now_is: float = 0.0) -> list[Past]:
    """An agent has started, so the slots that it had before are gone."""
    slots = {chunk.slot for chunk in state.in_flight.values() if chunk.host == host and chunk.slot}
    return [past for slot in sorted(slots) for past in take_slot_died(state, host, slot, now_is)]


def take_back(state: CampaignState, host: str, chunks: set[str]) -> None:
    """Chunks were taken out of a host's queue before any slot began them: other hosts may have their runs."""
    for key in [key for key in reversed(state.in_flight) if key in chunks]:
        if state.in_flight[key].host == host:
            attempts = [attempt for attempt in state.in_flight.pop(key).attempts if state.is_wanted(attempt)]
            state.waiting.extendleft(reversed(attempts))


def take_vanished(state: CampaignState, host: str, chunks: set[str]) -> None:
    """Chunks are not in a host's queue, and no slot has told of them: a slot may have taken one of them right now."""
    for key in [key for key in reversed(state.in_flight) if key in chunks]:
        if state.in_flight[key].host == host and not state.in_flight[key].slot:
            again(state, [attempt for attempt in state.in_flight.pop(key).attempts if state.is_wanted(attempt)])


def take_delivery_failed(state: CampaignState, attempt: Attempt, now_is: float = 0.0) -> list[Past]:
    """An attempt's files did not arrive."""
    if attempt in state.waiting:
        return []  # it was another execution, which nobody waits for
    host = ""
    if (expected := state.expected.get(attempt.run)) and expected.attempt == attempt:
        host = expected.host
        del state.expected[attempt.run]
    for chunk in state.in_flight.values():  # it may be told before the chunk's end is
        chunk.attempts = tuple(other for other in chunk.attempts if other != attempt)
    return lose(state, [attempt] if state.is_wanted(attempt) else [], host, "", NOT_ARRIVED, now_is)


def take_failed(state: CampaignState, past: Past) -> bool:
    """A run has failed by itself and may be begun again; False if that was known, or does not matter."""
    attempt = Attempt(past.run, past.number)
    if not state.is_wanted(attempt):
        return False
    _forget_way(state, past.run)
    for chunk in state.in_flight.values():
        chunk.attempts = tuple(other for other in chunk.attempts if other != attempt)
    state.past.append(past)
    again(state, [attempt])
    return True


# ---- lost, and begun again ---------------------------------------------------------------------------------------


def lose_chunk(state: CampaignState, key: str, reason: str, now_is: float = 0.0) -> list[Past]:
    """A chunk is gone with its slot: its runs begin again; return the attempts that had begun and are lost."""
    chunk = state.in_flight.pop(key)
    left = [attempt for attempt in chunk.attempts if state.is_wanted(attempt) and attempt.run not in state.expected]
    # Of a slot that could not tell any more what it was at, it was the first.
    begun = [attempt for attempt in left if attempt == chunk.current or _has_begun(state, attempt)] or left[:1]
    again(state, [attempt for attempt in left if attempt not in begun])
    return lose(state, begun, chunk.host, chunk.slot, reason, now_is)


def lose(
    state: CampaignState, attempts: Iterable[Attempt], host: str, slot: str, reason: str, now_is: float = 0.0
) -> list[Past]:
    """Note that attempts came to nothing and begin their runs again; return them.

    ``now_is``: seconds since the epoch, for people.
    """
    lost = []
    for attempt in attempts:
        # The time of its beginning is by the machine's clock, which may be ahead.
        started = min(state.begun[attempt.run].time, now_is) if _has_begun(state, attempt) else now_is
        lost.append(Past(attempt.run, attempt.number, "lost", host, slot, started, now_is, reason))
    state.past += lost
    again(state, [Attempt(past.run, past.number) for past in lost])
    return lost


def again(state: CampaignState, attempts: Iterable[Attempt]) -> None:
    """Put runs back in front of the others, with the next number of an attempt."""
    retried = {}
    for attempt in attempts:
        note_number(state, attempt)
        retried[attempt.run] = Attempt(attempt.run, state.highest[attempt.run] + 1)
        _forget_way(state, attempt.run)
        state.latest[attempt.run] = state.highest[attempt.run] = retried[attempt.run].number
    if retried and not state.cancelled:
        others = (waiting for waiting in state.waiting if waiting.run not in retried)
        state.waiting = deque([*(one for run, one in retried.items() if run not in state.hopeless), *others])


def note_number(state: CampaignState, attempt: Attempt) -> None:
    """An attempt has this number; no other one gets it."""
    state.highest[attempt.run] = max(attempt.number, state.highest.get(attempt.run, 0))


def given_up(state: CampaignState) -> list[Past]:
    """Return the last attempt of each run that was lost too often; none of them waits any more.

    They are told until their runs are over: what cannot be written down now can be later.
    """
    losses: dict[int, list[Past]] = {}
    for past in state.past:
        if past.kind == "lost" and (past.run, past.number) not in state.forgiven:
            losses.setdefault(past.run, []).append(past)
    waiting = {attempt.run for attempt in state.waiting}
    new = {run: lost[-1] for run, lost in losses.items() if run in waiting and _is_hopeless(lost)}
    if new:
        state.waiting = deque(attempt for attempt in state.waiting if attempt.run not in new)
        state.hopeless |= new
    return list(state.hopeless.values())


def _is_hopeless(lost: list[Past]) -> bool:
    return len(lost) >= MOST_LOSSES_OF_ALL_KINDS or sum(past.error in OWN_LOSSES for past in lost) >= MOST_LOSSES


def _has_begun(state: CampaignState, attempt: Attempt) -> bool:
    return attempt.run in state.begun and state.begun[attempt.run].attempt == attempt.number


def _forget_way(state: CampaignState, run: int) -> None:
    state.expected.pop(run, None)
    forget_progress(state, run)


def forget_progress(state: CampaignState, run: int) -> None:
    """Nothing that was told of a run under way holds any more."""
    for told in (state.begun, state.progress, state.since, state.heard):
        told.pop(run, None)


# ---- over --------------------------------------------------------------------------------------------------------


def take_outcome(state: CampaignState, outcome: Outcome) -> bool:
    """A run is over for good; False if it was before."""
    _forget_way(state, outcome.run)
    if outcome.run in state.over:
        return False
    state.over[outcome.run] = outcome
    state.hopeless.pop(outcome.run, None)
    state.waiting = deque(attempt for attempt in state.waiting if attempt.run != outcome.run)
    state.past = [past for past in state.past if (past.run, past.number) != (outcome.run, outcome.attempt)]
    _measure(state, outcome)
    _judge_sharing(state, outcome)
    return True


def too_many_failures(state: CampaignState) -> str:
    """Return why a campaign has to be cancelled by its own limit; empty if it has not."""
    limit = state.campaign.limits.max_failures
    if limit is None or state.cancelled or state.failed < limit or len(state.over) == state.total:
        return ""
    return f"runs that have failed: {state.failed}; --max-failures is {limit}"


def take_cancel(state: CampaignState, reason: str = "") -> None:
    """Nobody wants the campaign's further runs; chunks that wait in queues are taken out of them."""
    state.cancelled, state.reason = True, reason
    state.waiting.clear()
    state.hopeless.clear()
    state.in_flight = {key: chunk for key, chunk in state.in_flight.items() if chunk.slot}


def _measure(state: CampaignState, outcome: Outcome) -> None:
    state.kinds[outcome.kind] += 1
    if outcome.kind == "done":
        state.busy_seconds += max(outcome.ended - outcome.started, 0.001)
        state.measured += 1


def _judge_sharing(state: CampaignState, outcome: Outcome) -> None:
    if outcome.kind == "done" and state.shareable is None and state.prepared is not None:
        state.shareable = is_shareable(state.campaign, state.prepared.runs, outcome)
