"""What the foreman decides: each campaign's state, what events do to it, and what is to be done next.

Nothing here reads a clock, a socket or a file: events go in, orders come out.
"""

import itertools
import math
from collections import deque
from dataclasses import dataclass, field

from runner import omnetpp
from runner.messages import ChunkEnded
from runner.model import Attempt, Campaign, Chunk, Outcome, Prepared, Run

#: Seconds of work that a chunk should hold, once it is known how long a run takes.
CHUNK_SECONDS = 2.0
#: Chunks that wait in a host's queue beyond its slots, so that no slot waits for the foreman.
AHEAD = 1
#: Only chunks that are shorter than this may wait there: a long one might find another host idle.
AHEAD_SECONDS = 5.0
#: Times that a run is begun before it counts as lost.
MOST_ATTEMPTS = 3


@dataclass
class InFlight:
    """A chunk that a host has."""

    host: str
    attempts: tuple[Attempt, ...]
    #: The slot that began it; empty while it waits in the host's queue.
    slot: str = ""


@dataclass
class CampaignState:
    """One campaign: what waits, what is under way, what is over."""

    campaign: Campaign
    prepared: Prepared | None = None
    waiting: deque[Attempt] = field(default_factory=deque)
    in_flight: dict[str, InFlight] = field(default_factory=dict)
    #: The number of each run's latest attempt.  What is told of an earlier one comes too late to matter.
    latest: dict[int, int] = field(default_factory=dict)
    #: Runs of ended chunks whose outcome is on its way.
    expected: dict[int, Attempt] = field(default_factory=dict)
    over: dict[int, Outcome] = field(default_factory=dict)
    #: May runs share a process?  None until the first outcome tells.
    shareable: bool | None = None
    #: Seconds of slots' time so far, and the runs done in it.
    busy_seconds: float = 0.0
    measured: int = 0
    cancelled: bool = False
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
    def run_seconds(self) -> float | None:
        """Return how long a run takes; None until one is over."""
        return self.busy_seconds / self.measured if self.measured else None


# ---- what events do ----------------------------------------------------------------------------------------------


def take_prepared(state: CampaignState, prepared: Prepared) -> None:
    """The runs are known: those that are not over wait for a slot."""
    if state.prepared is not None:
        return
    state.prepared = prepared
    if state.cancelled or state.campaign.dry_run:
        return
    state.waiting = deque(Attempt(run.number, 1) for run in prepared.runs if run.number not in state.over)
    state.latest = dict.fromkeys((attempt.run for attempt in state.waiting), 1)


def take_chunk_started(state: CampaignState, chunk: str, slot: str) -> None:
    """A slot has begun a chunk."""
    if chunk in state.in_flight:
        state.in_flight[chunk].slot = slot


def take_chunk_ended(state: CampaignState, ended: ChunkEnded) -> list[Attempt]:
    """A slot is through with a chunk; return the attempts that are given up because they failed too often."""
    if ended.mixed_up:
        state.shareable = False
    chunk = state.in_flight.pop(ended.chunk, None)
    if chunk is None:
        return []
    for attempt in chunk.attempts:
        if attempt not in ended.unfinished and _matters(state, attempt):
            state.expected[attempt.run] = attempt
    return _again(state, ended.unfinished)


def take_host_up(state: CampaignState, host: str) -> list[Attempt]:
    """An agent has started, so the slots that it had before are gone; return the attempts that are given up."""
    slots = {chunk.slot for chunk in state.in_flight.values() if chunk.host == host and chunk.slot}
    return [attempt for slot in sorted(slots) for attempt in take_slot_died(state, host, slot)]


def take_slot_died(state: CampaignState, host: str, slot: str) -> list[Attempt]:
    """A slot is gone: what it had begun is begun again; return the attempts that are given up."""
    given_up: list[Attempt] = []
    for key, chunk in list(state.in_flight.items()):
        if (chunk.host, chunk.slot) == (host, slot):
            del state.in_flight[key]
            given_up += _again(state, chunk.attempts)
    return given_up


def take_back(state: CampaignState, host: str, chunks: set[str]) -> None:
    """Chunks were taken out of a host's queue before any slot began them: other hosts may have their runs."""
    for key in chunks & state.in_flight.keys():
        if state.in_flight[key].host == host:
            attempts = [attempt for attempt in state.in_flight.pop(key).attempts if _matters(state, attempt)]
            state.waiting.extendleft(reversed(attempts))


def take_delivery_failed(state: CampaignState, attempt: Attempt) -> list[Attempt]:
    """An attempt's files did not arrive: it is begun again; return it if it is given up instead."""
    if state.expected.get(attempt.run) == attempt:
        del state.expected[attempt.run]
    for chunk in state.in_flight.values():  # it may be told before the chunk's end is
        chunk.attempts = tuple(other for other in chunk.attempts if other != attempt)
    return _again(state, (attempt,))


def _again(state: CampaignState, attempts: tuple[Attempt, ...]) -> list[Attempt]:
    """Put attempts back in front of the others, with the next number; return those that were the last."""
    if state.cancelled:
        return []
    left = [attempt for attempt in attempts if _matters(state, attempt)]
    retried = [Attempt(attempt.run, attempt.number + 1) for attempt in left if attempt.number < MOST_ATTEMPTS]
    state.latest.update((attempt.run, attempt.number) for attempt in retried)
    state.waiting.extendleft(reversed(retried))
    return [attempt for attempt in left if attempt.number >= MOST_ATTEMPTS]


def _matters(state: CampaignState, attempt: Attempt) -> bool:
    """Say whether an attempt is its run's latest, and the run not over."""
    return attempt.run not in state.over and state.latest.get(attempt.run) == attempt.number


def take_outcome(state: CampaignState, outcome: Outcome) -> bool:
    """A run is over for good; False if it was before."""
    state.expected.pop(outcome.run, None)
    if outcome.run in state.over:
        return False
    state.over[outcome.run] = outcome
    state.waiting = deque(attempt for attempt in state.waiting if attempt.run != outcome.run)
    if outcome.kind == "done":
        state.busy_seconds += max(outcome.ended - outcome.started, 0.001)
        state.measured += 1
        if state.shareable is None and state.prepared is not None:
            state.shareable = is_shareable(state.campaign, state.prepared.runs, outcome)
    return True


def take_cancel(state: CampaignState) -> None:
    """Nobody wants the campaign's further runs; chunks that wait in queues are taken out of them."""
    state.cancelled = True
    state.waiting.clear()
    state.in_flight = {key: chunk for key, chunk in state.in_flight.items() if chunk.slot}


def is_shareable(campaign: Campaign, runs: tuple[Run, ...], outcome: Outcome) -> bool:
    """Say whether runs may share a process: every file of every run can be told by its name whose it is."""
    stems = {run.number: omnetpp.file_stem(campaign.config, run) for run in runs}
    if None in stems.values() or len(set(stems.values())) < len(runs):
        return False
    return all(omnetpp.stem_of(file.path) == stems[outcome.run] for file in outcome.files)


# ---- what is to be done ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Feed:
    """Put a chunk into a host's queue."""

    host: str
    chunk: Chunk


def chunk_size(state: CampaignState, slots: int) -> int:
    """Return how many runs the next chunk gets.

    Single runs until one is over; then as many as fill CHUNK_SECONDS, but never so many that the other slots would
    go idle at the end: guided self-scheduling, a share of what remains.
    """
    if state.campaign.batch:
        return state.campaign.batch
    seconds = state.run_seconds
    if seconds is None:
        return 1
    fair = math.ceil(len(state.waiting) / (2 * slots))
    return max(1, min(round(CHUNK_SECONDS / seconds), fair))


def next_feeds(states: list[CampaignState], hosts: dict[str, int]) -> list[Feed]:
    """Return the chunks to queue now, and note them as under way.

    Each host's queue is kept only slightly ahead of its slots; campaigns take turns, the one with the least under way
    first; a campaign's own limit (``jobs``) counts its chunks under way.
    """
    feeds: list[Feed] = []
    while True:
        room = {host: slots - _load(states, host) for host, slots in hosts.items() if slots > 0}
        ready = [state for state in states if state.waiting and not _at_limit(state)]
        ready.sort(key=lambda state: len(state.in_flight))
        feed = next((feed for state in ready if (feed := _feed(state, room, sum(hosts.values())))), None)
        if feed is None:
            return feeds
        feeds.append(feed)


def _load(states: list[CampaignState], host: str) -> int:
    return sum(chunk.host == host for state in states for chunk in state.in_flight.values())


def _at_limit(state: CampaignState) -> bool:
    return state.campaign.jobs is not None and len(state.in_flight) >= state.campaign.jobs


def _feed(state: CampaignState, room: dict[str, int], slots: int) -> Feed | None:
    """Take the campaign's next chunk for the host with the most room; None if no host has any."""
    if not room:
        return None
    seconds = state.run_seconds
    size = chunk_size(state, slots)
    ahead = AHEAD if seconds is not None and size * seconds < AHEAD_SECONDS else 0
    host = max(room, key=lambda name: room[name])
    if room[host] + ahead <= 0:
        return None
    attempts = tuple(state.waiting.popleft() for _ in range(_together(state.waiting, size)))
    state.chunks += 1
    shared = len(attempts) > 1 and state.shareable is True
    chunk = Chunk(f"{state.campaign.id}-{state.chunks}", state.campaign.id, attempts, shared)
    state.in_flight[chunk.id] = InFlight(host, attempts)
    return Feed(host, chunk)


def _together(waiting: deque[Attempt], size: int) -> int:
    """Return how many of the waiting attempts make the next chunk of at most so many.

    Who is begun again goes alone: it may be what killed its worker, and must not take others with it.
    """
    for index, attempt in enumerate(itertools.islice(waiting, size)):
        if attempt.number > 1:
            return max(1, index)
    return min(size, len(waiting))
