"""What is to be done next: which chunk of which campaign goes to which host."""

import itertools
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from runner.model import Chunk
from runner.scheduling.state import CampaignState, InFlight

#: Seconds of work that a chunk should hold, once it is known how long a run takes.
CHUNK_SECONDS = 1.0
#: Chunks that wait in a host's queue beyond its slots, so that no slot waits for the foreman.
AHEAD = 1
#: Only chunks that are shorter than this may wait there: a long one might find another host idle.
AHEAD_SECONDS = 5.0


@dataclass(frozen=True)
class Feed:
    """Put a chunk into a host's queue."""

    host: str
    chunk: Chunk
    #: It goes ahead of what waits there: it was lost once, and has waited for long enough.
    first: bool = False


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


def next_feeds(
    states: list[CampaignState], hosts: dict[str, int], now: float = 0.0, on_trial: Collection[str] = ()
) -> list[Feed]:
    """Return the chunks to queue now, and note them as under way.

    Each host's queue is kept only slightly ahead of its slots; a campaign's own limit (``jobs``) counts its chunks
    under way.  Campaigns take turns, the one with the least under way first; when there is no room for it, nobody
    else's chunk takes the next slot by waiting for it.  A host ``on_trial`` gets one run at a time: no more is lost
    if it fails again.
    """
    feeds: list[Feed] = []
    room = _room(states, hosts)
    slots = sum(hosts.values())
    while True:
        ready = [state for state in states if state.waiting and not _at_limit(state)]
        turn = min(ready, key=lambda state: len(state.in_flight), default=None)
        feed = _feed(turn, room, slots, now, on_trial) if turn else None
        if feed is None:
            return feeds
        room[feed.host] -= 1
        feeds.append(feed)


def has_room(states: list[CampaignState], hosts: dict[str, int], besides: str) -> bool:
    """Say whether another host has a slot with nothing to do."""
    return any(free > 0 for host, free in _room(states, hosts).items() if host != besides)


def _room(states: list[CampaignState], hosts: dict[str, int]) -> dict[str, int]:
    """Return how many more chunks each host's slots could begin at once; negative where some wait."""
    load = Counter(chunk.host for state in states for chunk in state.in_flight.values())
    return {host: slots - load[host] for host, slots in hosts.items() if slots > 0}


def _at_limit(state: CampaignState) -> bool:
    return state.campaign.jobs is not None and len(state.in_flight) >= state.campaign.jobs


def _feed(state: CampaignState, room: dict[str, int], slots: int, now: float, on_trial: Collection[str]) -> Feed | None:
    """Take the campaign's next chunk for the host with the most room; None if no host has any."""
    if not room:
        return None
    seconds = state.run_seconds
    size = chunk_size(state, slots)
    ahead = AHEAD if seconds is not None and size * seconds < AHEAD_SECONDS else 0
    places = {name: free + (0 if name in on_trial else ahead) for name, free in room.items()}
    host = max(places, key=lambda name: places[name])
    if places[host] <= 0:
        return None
    lost = {past.run for past in state.past if past.kind == "lost"}
    together = _together(state, lost, 1 if host in on_trial else size)
    attempts = tuple(state.waiting.popleft() for _ in range(together))
    state.chunks += 1
    shared = len(attempts) > 1 and state.shareable is True
    key = state.prepared.key if state.prepared else ""
    chunk = Chunk(f"{state.campaign.id}-{state.series}{state.chunks}", state.campaign.id, attempts, shared, key)
    state.in_flight[chunk.id] = InFlight(host, attempts, renewed=now)
    return Feed(host, chunk, first=attempts[0].run in lost)


def _together(state: CampaignState, lost: Collection[int], size: int) -> int:
    """Return how many of the waiting attempts make the next chunk of at most so many.

    A run that was lost goes alone: it may be what took its worker down, and must not take others with it.
    """
    for index, attempt in enumerate(itertools.islice(state.waiting, size)):
        if attempt.run in lost:
            return max(1, index)
    return min(size, len(state.waiting))
