"""What was found, and the commands that put it right."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from runner.inventory import Machine
from runner.model import Value
from runner.report.machine_table import size
from runner.report.text import LONGEST, one_line, shortened

#: What this computer is called among machines.
HERE = "this computer"


class Severity(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  #: it works, but not as well as it should, or not for long
    ERROR = "error"  #: something does not work, or is not as safe as it should be


class Finding(Value, frozen=True):
    """One thing that was looked at on one machine."""

    severity: Severity
    machine: str
    #: What was looked at: ``clock``, ``disk``, ``Redis``, …
    topic: str
    #: One sentence, without its subject where that is the machine; empty where all is well.
    message: str = ""
    #: What to do: the commands to type, one per line.
    advice: str = ""


@dataclass(frozen=True)
class Problem:
    """What is wrong with the topic of a check."""

    severity: Severity
    message: str
    advice: str = ""


def warning(message: str, advice: str = "") -> Problem:
    """Return what works, but not as well as it should."""
    return Problem(Severity.WARNING, message, advice)


def error(message: str, advice: str = "") -> Problem:
    """Return what does not work."""
    return Problem(Severity.ERROR, message, advice)


def findings(machine: str, topic: str, problems: Iterable[Problem] | None) -> list[Finding]:
    """Return what was found about a topic; no problems: all is well; None: it is no matter of this machine's."""
    if problems is None:
        return []
    found = [
        Finding(one.severity, machine, topic, shortened(one_line(one.message), LONGEST), one.advice) for one in problems
    ]
    return found or [Finding(Severity.OK, machine, topic)]


@dataclass(frozen=True)
class Commands:
    """The commands that advice is made of, as the person has to type them."""

    #: The inventories that the person named.
    inventories: tuple[str, ...] = ()

    def _labfleet(self, *words: str) -> str:
        named = [word for inventory in self.inventories for word in ("--inventory", inventory)]
        return shlex.join(["labfleet", *words, *named])

    def provision(self, machine: Machine | None = None) -> str:
        """Make all machines, or one, as they should be."""
        return self._labfleet("provision", *(["--limit", machine.name] if machine else []))

    def upgrade(self) -> str:
        """Bring labfleet's code to all machines."""
        return self._labfleet("upgrade")

    def on(self, machine: Machine, command: str) -> str:
        """Execute a command on a machine, as root."""
        login = machine.login
        if login.connection == "local":
            return f"sudo {command}"
        words = ["ssh"]
        if login.port:
            words += ["-p", str(login.port)]
        if login.key_file:
            words += ["-i", login.key_file]
        words += [*login.arguments, f"{login.user}@{login.address}" if login.user else login.address]
        remote = command if login.user == "root" else f"sudo {command}"
        return f"{shlex.join(words)} {shlex.quote(remote) if set(remote) & set('|&;<>()$*?') else remote}"

    def journal(self, machine: Machine, unit: str) -> str:
        """Show what a service said last."""
        return self.on(machine, f"journalctl -n 30 -u {unit}")


# ---- what several checks judge alike -----------------------------------------------------------------------------

#: Below the first share, or so many bytes, it is an error; below the second share a warning.
DISK_ERROR, DISK_BYTES, DISK_WARNING = 0.05, 2 * 1000**3, 0.15
MEMORY_WARNING = 0.05


def disk_problem(disk: str, free: int, total: int, advice: str, files_free: float = 1.0) -> list[Problem]:
    """Return what is wrong with the free space of a disk; ``disk``: what it is called in a sentence."""
    share = free / total if total else 0.0
    text = f"{disk} has only {size(free)} of {size(total)} free ({share:.0%})"
    if share < DISK_ERROR or free < DISK_BYTES:
        return [error(text, advice)]
    if files_free < DISK_ERROR:
        return [error(f"{disk} has room for only {files_free:.0%} of the files that it can hold", advice)]
    return [warning(text, advice)] if share < DISK_WARNING else []


def memory_problem(free: int, total: int) -> list[Problem]:
    """Return what is wrong with free memory."""
    if not total or free / total >= MEMORY_WARNING:
        return []
    return [
        warning(
            f"only {size(free)} of its {size(total)} memory is free: runs may be ended for lack of it",
            "give it fewer slots (labfleet_slots), or see there what takes it: ps aux --sort=-rss | head",
        )
    ]
