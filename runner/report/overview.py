"""How a lab is, as a client knows it: a value made of what the foreman tells, as text for people and as JSON."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from runner.messages import CampaignStatus, Changed, MachineStatus, Overview, SlotStatus
from runner.report import campaign_table, machine_table
from runner.report.progress import Clock
from runner.report.text import count, duration, in_order, one_line, rate

#: States of a machine, those first that somebody has to look at.
_STATES = ("unwell", "away", "draining", "ready")

#: Phases of campaigns that are under way, those first that are of most interest.
_UNDER_WAY = ("running", "building", "cancelled")


@dataclass(frozen=True)
class Picture:
    """A lab as the foreman has told it, and when by this client's clock."""

    #: How a person calls it.
    lab: str
    #: The head's clock when it told this, and the client's.
    time: float
    heard: float
    machines: Mapping[str, MachineStatus]
    #: With the head's time when that was told: an ETA counts from there.
    campaigns: Mapping[str, tuple[float, CampaignStatus]]

    @staticmethod
    def of(lab: str, told: Overview, heard: float) -> "Picture":
        """Return the picture of a lab that has told everything."""
        return Picture(
            lab,
            told.time,
            heard,
            {machine.name: machine for machine in told.machines},
            {campaign.id: (told.time, campaign) for campaign in told.campaigns},
        )

    def after(self, changed: Changed, heard: float) -> "Picture":
        """Return the picture with what has changed."""
        machines = {name: one for name, one in self.machines.items() if name not in changed.gone_machines}
        campaigns = {name: one for name, one in self.campaigns.items() if name not in changed.gone}
        machines |= {machine.name: machine for machine in changed.machines}
        campaigns |= {campaign.id: (changed.time, campaign) for campaign in changed.campaigns}
        return replace(self, time=changed.time, heard=heard, machines=machines, campaigns=campaigns)

    def at(self, clock: Clock) -> float:
        """Return the head's time now."""
        return self.time + (clock() - self.heard)

    def left(self, campaign: str, now: float) -> float | None:
        """Return the seconds that a campaign needs still; ``now``: the head's time."""
        told, status = self.campaigns[campaign]
        return None if status.eta is None else max(0.0, told + status.eta - now)

    @property
    def under_way(self) -> list[CampaignStatus]:
        """The campaigns that have not ended, those first of which something runs, the oldest of these first."""
        found = [status for _, status in self.campaigns.values() if status.ended is None]
        return sorted(found, key=lambda one: (not one.running, _rank(one.phase, _UNDER_WAY), one.submitted, one.id))

    @property
    def ended(self) -> list[CampaignStatus]:
        """The campaigns that have ended, the last one first."""
        found = [status for _, status in self.campaigns.values() if status.ended is not None]
        return sorted(found, key=lambda one: (-(one.ended or 0.0), one.id))

    @property
    def by_interest(self) -> list[MachineStatus]:
        """The machines: those first with which something is the matter, then those with most to do."""
        return sorted(
            self.machines.values(), key=lambda one: (_rank(one.state, _STATES), -len(one.slots), in_order(one.name))
        )


def _rank(word: str, words: tuple[str, ...]) -> int:
    return words.index(word) if word in words else len(words)


# ---- words -------------------------------------------------------------------------------------------------------


def headline(picture: Picture, now: float) -> str:
    """Return the lab in one line: ``the local lab at 14:03:22: 1 machine, 2/2 slots busy, 1 campaign under way``."""
    machines = picture.machines.values()
    slots = sum(machine.report.slots for machine in machines if machine.report and machine.state != "away")
    busy = sum(len(machine.slots) for machine in machines)
    troubles = [
        f"{number} {state}" for state in _STATES[:-1] if (number := sum(one.state == state for one in machines))
    ]
    trouble = f" ({', '.join(troubles)})" if troubles else ""
    at = time.strftime("%H:%M:%S", time.localtime(now))
    under_way = f"{count(len(picture.under_way), 'campaign')} under way"
    told = f"{count(len(machines), 'machine')}{trouble}, {busy}/{slots} slots busy"
    return f"{one_line(picture.lab)} at {at}: {told}, {under_way}"


def title(status: CampaignStatus) -> str:
    """Return what a campaign is: ``aloha General``."""
    return one_line(f"{status.name} {status.config}")


def short_id(name: str) -> str:
    """Return the end of a campaign's id, by which it may be called."""
    return one_line(name.rpartition("-")[2])


def far(status: CampaignStatus, left: float | None) -> str:
    """Return how far a campaign is: ``12/42 done, 1 failed, ETA 3 min 20 s``."""
    if status.ended is not None and not status.total:
        return one_line(status.phase)
    words = [f"{status.done}/{status.total} done"] if status.total else [one_line(status.phase)]
    if status.failed:
        words.append(f"{status.failed} failed")
    if status.phase == "cancelled":
        words.append("cancelled")
    if left is not None and status.ended is None:
        words.append(f"ETA {duration(max(1, round(left)))}")
    return ", ".join(words)


def use(machine: MachineStatus) -> str:
    """Return what a machine's slots do: ``2 of 2 slots busy``."""
    slots = machine.report.slots if machine.report else 0
    return f"{len(machine.slots)} of {count(slots, 'slot')} busy"


def weight(machine: MachineStatus) -> str:
    """Return how a machine is loaded: ``load 1.9, 3.1 GB free``."""
    if machine.report is None:
        return ""
    memory = f", {machine_table.size(machine.report.memory_free)} free" if machine.report.memory_total else ""
    return f"load {machine.report.load:.1f}{memory}"


def progress(slot: SlotStatus) -> str:
    """Return how far a run is: ``14 %``, ``t=12.5s``; empty if it has not told anything."""
    if slot.percent is not None:
        return f"{slot.percent:.0f} %"
    return f"t={slot.sim_time:.4g}s" if slot.sim_time else ""


def memory(slot: SlotStatus) -> str:
    """Return what a run takes: ``34 MB``; empty if not known."""
    return machine_table.size(slot.memory) if slot.memory else ""


def age(slot: SlotStatus, now: float) -> str:
    """Return how long a run has been running; empty if nobody knows."""
    return duration(max(0.0, now - slot.since)) if slot.since else ""


# ---- for pipes and files -----------------------------------------------------------------------------------------


def text(picture: Picture, now: float) -> str:
    """Return all of the lab as lines without a last newline; ``now``: the head's time."""
    return "\n".join([headline(picture, now), *_campaign_lines(picture, now), *_machine_lines(picture, now)])


def _campaign_lines(picture: Picture, now: float) -> Iterable[str]:
    for status in (*picture.under_way, *picture.ended):
        told = f"campaign {one_line(status.id)} {title(status)} of {one_line(status.user)}: "
        if status.ended is None:
            running = f"; {count(status.running, 'run')} under way" if status.running else ""
            yield f"{told}{far(status, picture.left(status.id, now))}{running}"
        else:
            at = time.strftime("%H:%M", time.localtime(status.ended))
            yield f"{told}ended at {at}: {far(status, None)}"
        if status.waiting:
            yield f"  {one_line(status.waiting)}"


def _machine_lines(picture: Picture, now: float) -> Iterable[str]:
    for machine in picture.by_interest:
        words = ", ".join(filter(None, (one_line(machine.state), use(machine), weight(machine))))
        yield f"machine {one_line(machine.name)}: {words}"
        if machine.reason:
            yield f"  {one_line(machine.reason)}"
        for slot in slots_in_order(machine):
            known = picture.campaigns.get(slot.campaign)
            what = f"{title(known[1])} #{slot.run} ({one_line(slot.campaign)})" if known else f"#{slot.run}"
            since = age(slot, now)
            told = filter(None, (what, progress(slot), rate(slot.events_per_second), memory(slot), since))
            yield f"  {one_line(slot.slot)}: {', '.join(told)}"


def slots_in_order(machine: MachineStatus) -> list[SlotStatus]:
    """Return a machine's slots that have a run, slot2 before slot10."""
    return sorted(machine.slots, key=lambda slot: in_order(slot.slot))


# ---- for programs ------------------------------------------------------------------------------------------------


def as_json(told: Overview | Changed) -> str:
    """Return the lab, or what has changed of it, as one line of ASCII JSON; fields keep their names and types.

    - ``complete``: true: this is the whole lab; false: what is otherwise than the lines before have said
    - ``time``: of the head, in seconds since the epoch
    - ``machines``: as ``machines --json`` has them; of each besides ``running``, a list of one object per slot that has
      a run: ``slot``, ``campaign``, ``run``, ``attempt``, ``since`` (of the head's clock; 0: not known), ``percent``
      (null without a limit on the simulation time), ``sim_time`` in seconds, ``events_per_second`` (null until
      measured), ``memory`` in bytes (0: not known)
    - ``campaigns``: as ``campaigns --json`` has them, those under way and those that ended within the last day; of each
      besides ``eta`` in seconds from ``time`` (null while too little is measured), and ``waiting``: why nothing of it
      runs, in a sentence, or empty
    - ``gone``, ``gone_machines``: ids of campaigns and names of machines that are not shown any more
    """
    gone = ((), ()) if isinstance(told, Overview) else (told.gone, told.gone_machines)
    return json.dumps(
        {
            "complete": isinstance(told, Overview),
            "time": told.time,
            "machines": [_machine(machine) for machine in told.machines],
            "campaigns": [_campaign(campaign) for campaign in told.campaigns],
            "gone": gone[0],
            "gone_machines": gone[1],
        }
    )


def _machine(machine: MachineStatus) -> dict[str, Any]:
    running = [msgspec.to_builtins(slot) for slot in slots_in_order(machine)]
    return {**machine_table.as_object(machine), "running": running}


def _campaign(campaign: CampaignStatus) -> dict[str, Any]:
    return {**campaign_table.as_object(campaign), "eta": campaign.eta, "waiting": campaign.waiting}
