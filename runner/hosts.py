"""The lab's machines as the foreman knows them: who serves, who drains, from whom nothing is heard.

Times are seconds of a clock that only goes forward, given by the caller.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from runner.messages import HostReport, MachineStatus
from runner.scheduling import CampaignState

#: Seconds without a report after which a machine is away; it reports every two.
SILENCE = 8.0


@dataclass
class Host:
    """One machine."""

    slots: int
    heard: float
    report: HostReport | None = None
    #: Nothing was heard for too long, and its runs were given to others.
    is_away: bool = False


class Hosts:
    """All machines that have told of themselves."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}

    def take_up(self, name: str, slots: int, now: float) -> None:
        """An agent has started."""
        self._hosts[name] = Host(slots, now)

    def take_report(self, report: HostReport, now: float) -> None:
        """A machine tells how it is; one that was away is back."""
        self._hosts[report.host] = Host(report.slots, now, report)

    def is_draining(self, name: str) -> bool:
        """Say whether a machine takes nothing more."""
        host = self._hosts.get(name)
        return host is not None and host.report is not None and host.report.draining

    def newly_silent(self, now: float) -> list[str]:
        """Return the machines from which nothing has been heard for too long, each once."""
        silent = [name for name, host in self._hosts.items() if not host.is_away and now - host.heard > SILENCE]
        for name in silent:
            self._hosts[name].is_away = True
        return silent

    def serving(self) -> dict[str, int]:
        """Return the machines that take runs, and their slots."""
        return {
            name: host.slots for name, host in self._hosts.items() if not host.is_away and not self.is_draining(name)
        }

    def table(
        self, now: float, provisioned: Collection[str], campaigns: Iterable[CampaignState]
    ) -> tuple[MachineStatus, ...]:
        """Return how each machine is; those that were provisioned and have not told of themselves are away."""
        chunks = [chunk for campaign in campaigns for chunk in campaign.in_flight.values()]
        statuses = []
        for name in sorted({*self._hosts, *provisioned}):
            host = self._hosts.get(name)
            busy = sum(chunk.host == name and bool(chunk.slot) for chunk in chunks)
            state, reason = _state(host, now, self.is_draining(name))
            statuses.append(MachineStatus(host.report if host else None, name, busy, state, reason))
        return tuple(statuses)


def _state(host: Host | None, now: float, draining: bool) -> tuple[str, str]:
    """Return a machine's state and its reason."""
    if host is None:
        return "away", "nothing was heard from it since the foreman started"
    if host.is_away:
        return "away", f"nothing was heard from it for {now - host.heard:.0f} s"
    if draining:
        return "draining", "it finishes what runs and takes nothing more"
    return "ready", ""
