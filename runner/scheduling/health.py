"""Which machines are well enough for runs.

A machine that says of itself what is wrong (a full disk, results that cannot be delivered), whose image is not the
lab's, or that failed with a chunk just now, gets no runs until it is well.  One on which several runs in a row crash
or get lost, while others do well, is put to the test: after a while it gets one run, and is well again if that is done.
Times are seconds of the foreman's clock.
"""

from dataclasses import dataclass

from runner.messages import HostReport
from runner.model import Kind
from runner.scheduling.leases import LEASE

#: So many runs in a row that crash or get lost make a machine suspect.
MOST_IN_A_ROW = 3
#: Seconds until a suspect machine gets a run to prove itself; twice as many after each failure, up to the second.
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0
#: Seconds for which a machine gets nothing after its slot had trouble of its own: by then its report says what it is.
TROUBLED = 5.0
#: What a machine may be to blame for.
SUSPICIOUS: frozenset[Kind] = frozenset({"crash", "lost"})


@dataclass
class Health:
    """What is known of one machine's health."""

    in_a_row: int = 0
    #: When that row began, and when something was lost last.
    since: float = 0.0
    lost: float | None = None
    #: When something of which nothing was heard any more was lost last.
    silent: float | None = None
    #: Until when it is left alone, and how long it was the last time.
    until: float = 0.0
    pause: float = 0.0
    #: A slot's own trouble, and until when that counts.
    trouble: str = ""
    troubled_until: float = 0.0


class Ward:
    """The health of all machines."""

    def __init__(self, image: str = "") -> None:
        """``image``: the one that every machine should have; empty: any."""
        self._image = image
        self._hosts: dict[str, Health] = {}
        #: When some machine did a run last.
        self._last_done: dict[str, float] = {}

    def take_outcome(self, host: str, kind: Kind, now: float) -> None:
        """A run has ended on a machine, or was lost there."""
        health = self._hosts.setdefault(host, Health())
        if kind not in SUSPICIOUS:
            if kind == "done":
                self._last_done[host] = now
                self._hosts[host] = Health(trouble=health.trouble, troubled_until=health.troubled_until)
            return
        if kind == "lost":
            if health.lost == now:
                return  # what is lost at one time has one reason
            health.lost = now
        if now < health.until:
            return  # it was begun before the machine was left alone
        if not health.in_a_row:
            health.since = now
        health.in_a_row += 1
        if health.in_a_row >= MOST_IN_A_ROW and self._others_do_well(host, health.since):
            health.pause = min(LONGEST_PAUSE, health.pause * 2 or FIRST_PAUSE)
            health.until = now + health.pause

    def take_silence(self, host: str, now: float) -> None:
        """Something was lost there of which nothing was heard any more.

        Leases of one machine that is silent expire one after the other, and have one reason.
        """
        health = self._hosts.setdefault(host, Health())
        before, health.silent = health.silent, now
        if before is None or now - before > LEASE:
            self.take_outcome(host, "lost", now)

    def take_trouble(self, host: str, trouble: str, now: float) -> None:
        """A slot could not do its chunk, for a reason that is not the runs'."""
        health = self._hosts.setdefault(host, Health())
        health.trouble, health.troubled_until = trouble, now + TROUBLED

    def forgive(self, host: str) -> None:
        """Somebody says that a machine is well."""
        self._hosts.pop(host, None)

    def _others_do_well(self, host: str, since: float) -> bool:
        """Say whether runs were done elsewhere meanwhile: where all machines fail, it is not the machine."""
        return any(other != host and done >= since for other, done in self._last_done.items())

    def complaint(self, report: HostReport, now: float) -> str:
        """Return why a machine gets no runs, in a sentence; empty if it is well."""
        if report.trouble:
            return report.trouble
        if self._image and report.image and report.image != self._image:
            return f"its image is {report.image}, the lab's is {self._image}: labfleet provision --limit {report.host}"
        health = self._hosts.get(report.host, Health())
        if now < health.troubled_until:
            return health.trouble
        if now < health.until:
            return (
                f"{health.in_a_row} runs in a row crashed or were lost here; it is left alone for "
                f"{health.pause:.0f} s (labfleet undrain {report.host} ends that)"
            )
        return ""

    def trial(self, host: str) -> str:
        """Return why a machine that was suspect may have one run at a time only; empty if it may have more."""
        health = self._hosts.get(host, Health())
        if not health.pause:
            return ""
        return f"{health.in_a_row} runs in a row crashed or were lost here: it gets one at a time until one is done"
