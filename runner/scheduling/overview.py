"""How the lab is, as whoever watches it is told, and what of that is otherwise than it was told last."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from runner import estimate
from runner.messages import CampaignStatus, Changed, HostReport, MachineStatus, SlotStatus
from runner.model import Attempt
from runner.scheduling.explain import load_of, waits
from runner.scheduling.state import CampaignState, InFlight

#: A campaign's estimated end has changed when it is another one by so many seconds, and by such a part of what is left.
END_SECONDS, END_PART = 1.0, 0.02


# ---- machines and their slots ------------------------------------------------------------------------------------


def machines(table: Iterable[MachineStatus], states: Iterable[CampaignState]) -> tuple[MachineStatus, ...]:
    """Return the machines with what each of their slots runs."""
    slots: dict[str, list[SlotStatus]] = {}
    for state in states:
        for chunk, attempt in _at_work(state):
            if attempt.run not in state.over:
                slots.setdefault(chunk.host, []).append(_slot(state, chunk, attempt))
    return tuple(
        replace(
            machine,
            report=_lean(machine.report) if machine.report else None,
            slots=tuple(sorted(slots.get(machine.name, ()), key=lambda slot: slot.slot)),
        )
        for machine in table
    )


def _lean(report: HostReport) -> HostReport:
    """Return a report without what is told otherwise, or nobody looks at: of what it holds, builds alone."""
    if not report.holds and not report.spool:
        return report
    return replace(report, holds=tuple(replace(held, age=0.0) for held in report.holds if not held.chunk), spool=())


def _at_work(state: CampaignState) -> Iterator[tuple[InFlight, Attempt]]:
    """Yield the chunks that slots have, and at which attempt of it each is: what it began last, as far as is known."""
    begun = {(one.host, one.slot): Attempt(one.run, one.attempt) for one in state.begun.values()}
    for chunk in state.in_flight.values():
        if not chunk.slot or not chunk.attempts:
            continue
        attempt = begun.get((chunk.host, chunk.slot))
        yield chunk, attempt if attempt in chunk.attempts else chunk.left[0]


def _slot(state: CampaignState, chunk: InFlight, attempt: Attempt) -> SlotStatus:
    told = state.progress.get(attempt.run)
    since = state.since.get(attempt.run, 0.0)
    if told is None:
        return SlotStatus(chunk.slot, state.campaign.id, attempt.run, attempt.number, since)
    return SlotStatus(
        slot=chunk.slot,
        campaign=state.campaign.id,
        run=attempt.run,
        attempt=attempt.number,
        since=since,
        percent=told.percent,
        sim_time=told.sim_time,
        events_per_second=told.events_per_second,
        memory=told.memory,
    )


# ---- campaigns ---------------------------------------------------------------------------------------------------


def campaigns(
    statuses: Iterable[CampaignStatus],
    states: Mapping[str, CampaignState],
    table: Sequence[MachineStatus],
    now: float,
    now_is: float,
) -> Iterator[CampaignStatus]:
    """Yield where campaigns stand, with the time that each under way needs still, or the reason why it waits."""
    all_states = list(states.values())
    load = load_of(all_states)
    for status in statuses:
        state = states.get(status.id)
        if state is None:
            yield status
        else:
            yield replace(status, eta=remaining(state, now_is), waiting=waits(state, table, all_states, load, now))


def remaining(state: CampaignState, now_is: float) -> float | None:
    """Return the seconds until a campaign's last run should be over; None while too little is measured, or none runs.

    ``now_is``: seconds since the epoch, by the clock with which it was noted when something was heard of its runs.
    """
    if state.cancelled or not state.prepared:
        return None
    under_way, waiting = [], len(state.waiting)
    for chunk, attempt in _at_work(state):
        since, heard = state.since.get(attempt.run), state.heard.get(attempt.run, now_is)
        told = state.progress.get(attempt.run)
        age = None if since is None else max(0.0, now_is - since)
        under_way.append(estimate.UnderWay(age, told.percent if told else None, max(0.0, now_is - heard)))
        waiting += len(chunk.attempts) - chunk.attempts.index(attempt) - 1
    if not under_way:
        return None
    waiting += sum(len(chunk.attempts) for chunk in state.in_flight.values() if not chunk.slot)
    return estimate.remaining(waiting, under_way, len(under_way), state.measured, state.busy_seconds)


# ---- what has changed --------------------------------------------------------------------------------------------


@dataclass
class Told:
    """What the watchers of the lab were told last of each machine and campaign."""

    machines: dict[str, MachineStatus] = field(default_factory=dict)
    #: With the time at which it was told: an estimate counts from there.
    campaigns: dict[str, tuple[float, CampaignStatus]] = field(default_factory=dict)

    def take(
        self, now_is: float, machines: Iterable[MachineStatus], campaigns: Iterable[CampaignStatus]
    ) -> Changed | None:
        """Return what is otherwise than it was told, which is told now; None: nothing is."""
        by_name, shown = {one.name: one for one in machines}, {one.id: one for one in campaigns}
        changed = Changed(
            now_is,
            tuple(one for name, one in by_name.items() if self.machines.get(name) != one),
            tuple(one for one in shown.values() if not self._knows(one, now_is)),
            tuple(name for name in self.campaigns if name not in shown),
            tuple(name for name in self.machines if name not in by_name),
        )
        if changed == Changed(now_is):
            return None
        for name in changed.gone:
            del self.campaigns[name]
        self.campaigns |= {one.id: (now_is, one) for one in changed.campaigns}
        self.machines = by_name
        return changed

    def _knows(self, status: CampaignStatus, now_is: float) -> bool:
        if status.id not in self.campaigns:
            return False
        then, told = self.campaigns[status.id]
        if told.eta is None or status.eta is None:
            return told == status
        if abs(then + told.eta - now_is - status.eta) > max(END_SECONDS, END_PART * status.eta):
            return False
        return replace(told, eta=None) == replace(status, eta=None)
