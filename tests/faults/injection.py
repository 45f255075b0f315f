"""Faults that were injected, and how long it took until the work went on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Seconds within which the runs of a dead slot, agent or machine have to be begun again.
PROMISED = 10.0

#: Seconds by which a wrong clock is wrong.
SHIFT = 600


@dataclass
class Injection:
    """One fault."""

    fault: str
    #: Seconds since the epoch.
    time: float
    #: The runs that were under way where it happened.
    victims: tuple[int, ...] = ()
    #: Must its victims be begun again within ten seconds?
    promised: bool = False
    repeated: int = 0
    #: Seconds until the last victim was begun again or, without any, until the next run began; None: neither happened.
    recovery: float | None = None

    def look_at(self, told: Any) -> None:
        """Find out from a campaign's manifest what followed."""
        begun: dict[int, list[float]] = {
            run["run"]: sorted(self._right(attempt["started"]) for attempt in run.get("attempts", []))
            for run in told["runs"]
        }
        if self.victims:
            later = [[at for at in begun.get(run, []) if at > self.time] for run in self.victims]
            self.repeated = sum(bool(times) for times in later)
            waits = [times[0] - self.time for times in later if times]
            self.recovery = max(waits, default=None)
        else:
            waits = [at - self.time for times in begun.values() for at in times if at > self.time]
            self.recovery = min(waits, default=None)

    def _right(self, started: float) -> float:
        """Return when an attempt began, even if the clock that told was wrong."""
        return started - SHIFT if started - self.time > SHIFT / 2 else started


@dataclass
class Tally:
    """Everything that was injected, and what came of it."""

    injections: list[Injection] = field(default_factory=list)
    campaigns: int = 0
    runs: int = 0
    #: Per campaign: what was wrong.
    complaints: list[str] = field(default_factory=list)
    lost: int = 0
    twice: int = 0

    def too_slow(self) -> list[Injection]:
        """Return the faults after which a victim waited longer than is promised."""
        return [one for one in self.injections if one.promised and (one.recovery or 0.0) > PROMISED]


def table(tally: Tally) -> str:
    """Return the table that people see: a row for each kind of fault."""
    head = ("fault", "injections", "runs lost", "committed twice", "attempts repeated", "longest recovery")
    names = sorted({one.fault for one in tally.injections})
    rows: list[Sequence[str]] = [head]
    for name in names:
        of_kind = [one for one in tally.injections if one.fault == name]
        rows.append((name, str(len(of_kind)), "", "", str(sum(one.repeated for one in of_kind)), _longest(of_kind)))
    rows.append(
        (
            f"all, in {tally.campaigns} campaigns, {tally.runs} runs",
            str(len(tally.injections)),
            str(tally.lost),
            str(tally.twice),
            str(sum(one.repeated for one in tally.injections)),
            _longest(tally.injections),
        )
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _longest(injections: Iterable[Injection]) -> str:
    waits = [one.recovery for one in injections if one.recovery is not None]
    return f"{max(waits):.1f} s" if waits else "-"
