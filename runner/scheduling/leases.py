"""Leases: what the machines report that they have, held against what the foreman believes that they have.

A report renews what it tells of.  What the foreman does not know of is adopted, unless somebody else has it by now.
What no report has told of for too long is lost.  Times are seconds of the foreman's clock, which stands still while it
cannot hear; ``now_is`` are seconds since the epoch, for people.
"""

from collections import deque
from collections.abc import Collection, Iterable

from runner.messages import Held, HostReport
from runner.model import Attempt, Outcome, Past
from runner.paths import parsed_parcel
from runner.scheduling.state import UNHEARD, CampaignState, Expected, InFlight, lose, lose_chunk, note_number

#: Seconds after which a lease that nobody has renewed is no longer valid; reports come every two.  With the foreman's
#: own second and the wait for a free slot, what was lost begins again within ten.
LEASE = 6.0


def take_report(state: CampaignState, report: HostReport, now: float) -> None:
    """Renew and adopt what a machine has of a campaign."""
    name = state.campaign.id
    parcels = (parsed_parcel(parcel) for parcel in report.spool)
    spooled = [Attempt(*parcel[1:]) for parcel in parcels if parcel and parcel[0] == name]
    holds = [held for held in report.holds if held.campaign == name]
    if any(not held.chunk for held in holds):
        state.build_renewed = now
    # Of a chunk that has ended, the slot told before it was through.
    chunks = [held for held in holds if held.chunk and held.chunk not in state.ended]
    if not chunks and not spooled:
        return
    flying = {attempt for chunk in state.in_flight.values() for attempt in chunk.attempts}
    for held in chunks:
        _take_held(state, report.host, held, now, flying)
    _adopt(state, spooled, flying)
    for attempt in spooled:
        if state.is_wanted(attempt) and attempt not in flying:
            state.expected[attempt.run] = Expected(attempt, report.host, now)


def _take_held(state: CampaignState, host: str, held: Held, now: float, flying: set[Attempt]) -> None:
    chunk = state.in_flight.get(held.chunk)
    if chunk is None:
        _adopt(state, held.attempts, flying)
        chunk = state.in_flight[held.chunk] = InFlight(host, held.attempts)
        flying.update(held.attempts)
    else:
        # What is not in it any more is through, and what counts is nobody else's: that is nearly always so.
        known = set(chunk.attempts)
        others = [one for one in held.attempts if one in known and state.latest.get(one.run) != one.number]
        _adopt(state, others, flying)
    # A lease counts from the slot's own last word, not from the report that has it still.
    chunk.slot, chunk.renewed = held.slot, max(chunk.renewed, now - held.age)
    chunk.current = held.attempts[0] if held.attempts else None


def _adopt(state: CampaignState, attempts: Iterable[Attempt], flying: set[Attempt]) -> None:
    """Take attempts that somebody works on for those that count of their runs, unless somebody else has these.

    ``flying``: what the chunks under way hold.
    """
    adopted = {}
    for attempt in attempts:
        if attempt.run not in state.latest or attempt.run in state.over:
            continue
        note_number(state, attempt)
        elsewhere = Attempt(attempt.run, state.latest[attempt.run]) in flying or attempt.run in state.expected
        if not elsewhere and attempt.run not in state.hopeless:
            adopted[attempt.run] = attempt.number
    if adopted:
        state.latest |= adopted
        state.waiting = deque(waiting for waiting in state.waiting if waiting.run not in adopted)


def expire(state: CampaignState, now: float, now_is: float) -> list[Past]:
    """Give up what was begun and of which no report has told for too long; return the attempts that are lost."""
    lost: list[Past] = []
    for key, chunk in list(state.in_flight.items()):
        if chunk.slot and now - chunk.renewed > LEASE:
            lost += lose_chunk(state, key, UNHEARD, now_is)
    for run, expected in list(state.expected.items()):
        if now - expected.renewed > LEASE:
            del state.expected[run]
            wanted = [expected.attempt] if state.is_wanted(expected.attempt) else []
            lost += lose(state, wanted, expected.host, "", UNHEARD, now_is)
    return lost


def has_overdue(state: CampaignState, now: float) -> bool:
    """Say whether an outcome is expected of which nobody has told for too long."""
    return any(now - expected.renewed > LEASE for expected in state.expected.values())


def note_arrived(state: CampaignState, arrived: Collection[Outcome], now: float) -> None:
    """Outcomes are in the head's incoming folder: they are committed as soon as that is possible."""
    for outcome in arrived:
        expected = state.expected.get(outcome.run)
        attempt = Attempt(outcome.run, outcome.attempt)
        if outcome.campaign == state.campaign.id and expected and expected.attempt == attempt:
            expected.renewed = now


def unbegun(state: CampaignState, now: float) -> dict[str, set[str]]:
    """Return the chunks, by host, that should have been begun or be in the host's queue."""
    late: dict[str, set[str]] = {}
    for key, chunk in state.in_flight.items():
        if not chunk.slot and now - chunk.renewed > LEASE:
            late.setdefault(chunk.host, set()).add(key)
    return late


def stranded(state: CampaignState, serving: Collection[str]) -> set[str]:
    """Return the hosts in whose queues chunks wait that nobody may ever begin: they take no runs any more."""
    return {chunk.host for chunk in state.in_flight.values() if not chunk.slot} - set(serving)


def note_queued(state: CampaignState, chunks: set[str], now: float) -> None:
    """Chunks were seen in their queue."""
    for key in chunks & state.in_flight.keys():
        state.in_flight[key].renewed = now


def is_build_lost(state: CampaignState, now: float) -> bool:
    """Say whether nothing has been heard of a campaign's build job for too long."""
    return state.prepared is None and not state.cancelled and now - state.build_renewed > LEASE


def pointless(state: CampaignState) -> list[str]:
    """Return the chunks at which slots work although other executions have brought what is left of them to an end."""
    return [
        key
        for key, chunk in state.in_flight.items()
        if chunk.slot and chunk.left and all(_is_beaten(state, attempt) for attempt in chunk.left)
    ]


def _is_beaten(state: CampaignState, attempt: Attempt) -> bool:
    outcome = state.over.get(attempt.run)
    return outcome is not None and outcome.attempt != attempt.number
