"""Faults that were injected, and how long it took until the work went on."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
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
    #: Where runs are lost by it: on a host, in a slot; both empty: everywhere.
    host: str = ""
    slot: str = ""
    #: Does it take runs down, which have to be begun again?
    takes_runs: bool = False
    #: Must that happen within ten seconds?
    promised: bool = False
    #: Was nothing else wrong until it was over?
    calm: bool = False
    #: The runs whose attempts were lost by it.
    repeated: list[int] = field(default_factory=list)
    #: Seconds until the last of these was begun again or, for faults that take none down, until the next run began.
    recovery: float | None = None
    #: Of the runs of its campaign, how many were lost for good, and committed twice.
    lost: int = 0
    twice: int = 0

    def look_at(self, begun: Mapping[int, Sequence[Mapping[str, Any]]], taken: set[tuple[int, int]]) -> None:
        """Find out what followed.

        ``begun``: all attempts of each run, in their order, as the manifest has them; ``taken``: lost attempts (run,
        number) that later faults have explained; those of this one are added.
        """
        if not self.takes_runs:
            starts = [self._right(attempt["started"]) for attempts in begun.values() for attempt in attempts]
            self.recovery = min((at - self.time for at in starts if at > self.time), default=None)
            return
        for run, attempts in begun.items():
            for lost, following in itertools.pairwise(attempts):
                if (run, lost["attempt"]) not in taken and self._has_taken(lost):
                    taken.add((run, lost["attempt"]))
                    self.repeated.append(run)
                    waited = self._right(following["started"]) - self.time
                    self.recovery = max(self.recovery or 0.0, waited)

    def _has_taken(self, lost: Mapping[str, Any]) -> bool:
        """Say whether it was this fault by which an attempt was lost."""
        there = self.host in ("", lost["host"]) and (not self.slot or lost["slot"] in ("", self.slot))
        started, noticed = self._right(lost["started"]), self._right(lost["ended"])
        # Of some it is not known when they began, only when they were missed.
        was_under_way = started <= self.time + 0.5 or started == noticed
        return lost["kind"] == "lost" and there and was_under_way and noticed >= self.time

    def _right(self, told: float) -> float:
        """Return a time, even if the clock that told it was wrong."""
        return told - SHIFT if told - self.time > SHIFT / 2 else told


def explain(injections: Sequence[Injection], told: Any) -> None:
    """Find out from a campaign's manifest what followed each fault; what several may have done was the last one's."""
    begun = {run["run"]: run.get("attempts", []) for run in told["runs"]}
    taken: set[tuple[int, int]] = set()
    for injection in reversed(injections):
        injection.look_at(begun, taken)


@dataclass
class Tally:
    """Everything that was injected, and what came of it."""

    injections: list[Injection] = field(default_factory=list)
    campaigns: int = 0
    runs: int = 0
    #: Per campaign: what was wrong.
    complaints: list[str] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)

    def too_slow(self, seconds: float = PROMISED) -> list[Injection]:
        """Return the faults after which a run waited longer than that, although nothing else was wrong."""
        return [one for one in self.injections if one.promised and one.calm and (one.recovery or 0.0) > seconds]


def table(tally: Tally) -> str:
    """Return the table that people see, a row for each kind of fault; of recoveries the longest."""
    head = (
        "fault",
        "injections",
        "runs lost",
        "committed twice",
        "attempts repeated",
        "longest recovery",
        "in a storm",
    )
    names = sorted({one.fault for one in tally.injections})
    rows: list[Sequence[str]] = [head]
    for name in names:
        of_kind = [one for one in tally.injections if one.fault == name]
        rows.append(_row(name, of_kind, sum(one.lost for one in of_kind), sum(one.twice for one in of_kind)))
    everything = f"all, in {tally.campaigns} campaigns, {tally.runs} runs"
    rows.append(_row(everything, tally.injections, len(tally.lost), len(tally.twice)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _row(name: str, injections: Sequence[Injection], lost: int, twice: int) -> Sequence[str]:
    repeated = sum(len(one.repeated) for one in injections)
    calm, storm = ([one for one in injections if one.calm == is_calm] for is_calm in (True, False))
    return (name, str(len(injections)), str(lost), str(twice), str(repeated), _longest(calm), _longest(storm))


def _longest(injections: Iterable[Injection]) -> str:
    waits = [one.recovery for one in injections if one.recovery is not None]
    return f"{max(waits):.1f} s" if waits else "-"
