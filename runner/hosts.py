"""The lab's machines as the foreman knows them: who serves, and of those who do not, why; and the foreman's clock.

The clock stands still while the foreman cannot hear: seconds count while Redis answers, a few at most between two
answers.  So after an outage, or when the foreman itself was stopped, every machine has time to be heard before it
counts as away.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from runner.messages import HostReport, MachineStatus
from runner.model import Kind, Past
from runner.quantities import roughly
from runner.scheduling.health import Ward
from runner.scheduling.leases import LEASE
from runner.scheduling.state import UNHEARD, CampaignState
from runner.toolchain import PARTS

#: Seconds that count at most between two answers of Redis, which come every second.
LONGEST_BEAT = 2.0


@dataclass
class Host:
    """One machine."""

    slots: int
    heard: float
    report: HostReport | None = None


class Hosts:
    """All machines that have told of themselves."""

    def __init__(self, image: str = "", drained: Mapping[str, str] | None = None) -> None:
        """``image``: the one that all should have; ``drained``: machines that get nothing, and who said so."""
        #: The foreman's clock, in seconds.
        self.now = 0.0
        self._last_beat: float | None = None
        self._hosts: dict[str, Host] = {}
        self._ward = Ward(image)
        self._drained = dict(drained or {})

    def beat(self, time: float) -> None:
        """Redis answers, at this time of a clock that only goes forward."""
        if self._last_beat is not None:
            self.now += min(time - self._last_beat, LONGEST_BEAT)
        self._last_beat = time

    # ---- what is told ----

    def take_up(self, name: str, slots: int) -> None:
        """An agent has started."""
        self._hosts[name] = Host(slots, self.now)

    def take_report(self, report: HostReport) -> None:
        """A machine tells how it is; one that was away is back."""
        self._hosts[report.host] = Host(report.slots, self.now, report)

    def take_outcome(self, host: str, kind: Kind) -> None:
        """A run has ended on a machine, or was lost there."""
        if host:
            self._ward.take_outcome(host, kind, self.now)

    def take_loss(self, past: Past) -> None:
        """An attempt was lost on a machine."""
        if past.host and past.error == UNHEARD:
            self._ward.take_silence(past.host, self.now)
        else:
            self.take_outcome(past.host, "lost")

    def take_trouble(self, host: str, trouble: str) -> None:
        """A slot could not do its chunk, for a reason that is not the runs'."""
        self._ward.take_trouble(host, trouble, self.now)

    def drain(self, host: str, who: str) -> None:
        """Give a machine nothing more until somebody says otherwise."""
        self._drained[host] = who

    def undrain(self, host: str) -> None:
        """Give a machine runs again; whatever it was suspected of is forgiven."""
        self._drained.pop(host, None)
        self._ward.forgive(host)

    # ---- what follows ----

    @property
    def drained(self) -> dict[str, str]:
        """The machines that get nothing because somebody said so, and who it was."""
        return dict(self._drained)

    @property
    def names(self) -> set[str]:
        """All machines that have told of themselves."""
        return set(self._hosts)

    def takes_nothing(self, name: str) -> bool:
        """Say whether a machine that is there gets no new runs, by its own wish or somebody's."""
        host = self._hosts.get(name)
        return name in self._drained or (host is not None and host.report is not None and host.report.draining)

    def serving(self) -> dict[str, int]:
        """Return the machines that take runs, and how many each may have at once."""
        on_trial, builder = self.on_trial(), self._builder()
        return {
            name: 1 if name in on_trial else host.slots
            for name, host in self._hosts.items()
            if self._state(name, builder)[0] == "ready"
        }

    def on_trial(self) -> set[str]:
        """Return the machines that may have one run at a time only."""
        return {name for name in self._hosts if self._ward.trial(name)}

    def compilers(self) -> dict[str, str]:
        """Return the machines that serve and have told with what they compile, and that."""
        told = {name: self._hosts[name].report for name in self.serving()}
        return {name: report.toolchain for name, report in told.items() if report is not None}

    def table(self, provisioned: Collection[str], campaigns: Iterable[CampaignState]) -> tuple[MachineStatus, ...]:
        """Return how each machine is; those that were provisioned and have not told of themselves are away."""
        busy = Counter(chunk.host for one in campaigns for chunk in one.in_flight.values() if chunk.slot)
        builder = self._builder()
        statuses = []
        for name in sorted({*self._hosts, *provisioned}):
            host = self._hosts.get(name)
            statuses.append(MachineStatus(host.report if host else None, name, busy[name], *self._state(name, builder)))
        return tuple(statuses)

    def _state(self, name: str, builder: HostReport | None) -> tuple[str, str]:
        """Return a machine's state and its reason; ``builder``: what the one told to which all others must be like."""
        host = self._hosts.get(name)
        if host is None:
            return "away", "nothing was heard from it since the foreman started"
        if self.now - host.heard > LEASE:
            return "away", f"nothing was heard from it for {roughly(self.now - host.heard)}"
        if name in self._drained:
            return "draining", f"drained by {self._drained[name]}; labfleet undrain {name} gives it runs again"
        if self.takes_nothing(name):
            return "draining", "it finishes what runs and takes nothing more"
        report = host.report or HostReport(name, host.slots)
        if complaint := self._ward.complaint(report, self.now) or _unlike(report, builder):
            return "unwell", complaint
        return "ready", self._ward.trial(name)

    def _builder(self) -> HostReport | None:
        """Return what the builder told, one that is not away first."""
        told = [(self.now - host.heard > LEASE, name, host.report) for name, host in self._hosts.items() if host.report]
        builders = [(away, name, its) for away, name, its in told if its.builder and its.toolchain]
        return min(builders, key=lambda one: one[:2])[2] if builders else None


def _unlike(report: HostReport, builder: HostReport | None) -> str:
    """Return how a machine's compiler differs from the builder's, in a sentence; empty if it does not.

    Neither are its objects for others' programs, nor its libraries and results those of the other machines.
    """
    if builder is None or not report.toolchain or builder.toolchain == report.toolchain:
        return ""
    own, its = ({*told.toolchain.split(PARTS)} for told in (report, builder))
    return (
        f"it compiles with {PARTS.join(sorted(own - its)) or 'less'}, "
        f"the builder {builder.host} with {PARTS.join(sorted(its - own)) or 'less'}: "
        f"labfleet provision --limit {report.host}"
    )
