"""What a manifest's numbers say: where the slots' time went, and how long runs take by iteration variable.  Pure."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from runner.report.manifest import Entry, Manifest

#: So many values of a variable are told one by one; of more, numbers are put together into so many ranges.
MOST_VALUES, RANGES = 24, 12

#: So many variables are told.
MOST_VARIABLES = 12

_PARTS = re.compile(r"(\d+(?:\.\d+)?)")


class Efficiency(NamedTuple):
    """Where the slots' time went, in seconds of slots."""

    slots: int
    #: From the submission to the first run.
    preparing: float
    #: Of runs that are done; of attempts that failed, were lost or cancelled.
    done: float
    failed: float
    #: Slots that waited while others worked.
    idle: float
    #: Between two runs, when no slot worked: the campaign was cancelled and resumed, or the lab was away.
    pauses: float
    #: From the last run's end to the campaign's.
    closing: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.preparing + self.done + self.failed + self.idle + self.pauses + self.closing

    def share(self, seconds: float) -> float:
        """Return a part of all of it, between 0 and 1."""
        return seconds / self.total if self.total else 0.0


def efficiency(manifest: Manifest) -> Efficiency:
    """Return where the time of the slots went that had a run."""
    tries = [one for _, one in manifest.tries]
    slots = len({(one.host, one.slot) for one in tries})
    if not tries:
        return Efficiency(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    first, last = min(one.started for one in tries), max(one.ended for one in tries)
    done = sum(one.seconds for one in tries if one.kind == "done")
    failed = sum(one.seconds for one in tries if one.kind != "done")
    pauses = slots * _uncovered([(one.started, one.ended) for one in tries])
    return Efficiency(
        slots,
        preparing=slots * (first - manifest.begin),
        done=done,
        failed=failed,
        idle=max(0.0, slots * (last - first) - done - failed - pauses),
        pauses=pauses,
        closing=slots * max(0.0, manifest.end - last),
    )


def _uncovered(spans: Sequence[tuple[float, float]]) -> float:
    """Return the seconds between the first begin and the last end in which none of some spans was under way."""
    gaps, until = 0.0, min(begin for begin, _ in spans)
    for begin, end in sorted(spans):
        gaps += max(0.0, begin - until)
        until = max(until, end)
    return gaps


@dataclass(frozen=True)
class Spread:
    """How long some runs took, in seconds."""

    value: str
    runs: int
    least: float
    lower: float
    median: float
    upper: float
    most: float


def spread(value: str, seconds: Sequence[float]) -> Spread:
    """Return how long runs took that have a value in common; at least one did."""
    if len(seconds) == 1:
        return Spread(value, 1, *(seconds[0],) * 5)
    lower, median, upper = statistics.quantiles(seconds, method="inclusive")
    return Spread(value, len(seconds), min(seconds), lower, median, upper, max(seconds))


class Variable(NamedTuple):
    """How long runs took by the value of an iteration variable."""

    name: str
    spreads: list[Spread]
    #: Values that are not told.
    untold: int


def variables(manifest: Manifest) -> list[Variable]:
    """Return how long the runs that are done took, by each variable that has several values.

    ``repetition`` only if there is no other.
    """
    names = dict.fromkeys(name for entry in manifest.done for name in entry.variables)
    found = [one for name in names if (one := _variable(name, manifest.done)) is not None]
    telling = [one for one in found if one.name != "repetition"]
    return (telling or found)[:MOST_VARIABLES]


def _variable(name: str, done: Sequence[Entry]) -> Variable | None:
    by_value: dict[str, list[float]] = {}
    for entry in done:
        if name in entry.variables:
            by_value.setdefault(entry.variables[name], []).append(entry.seconds)
    if len(by_value) < 2:
        return None
    values = sorted(by_value, key=in_order)
    if len(values) <= MOST_VALUES:
        return Variable(name, [spread(value, by_value[value]) for value in values], 0)
    if all(map(_is_number, values)):
        return Variable(name, [_together(part, by_value) for part in _parts(values)], 0)
    told = values[:MOST_VALUES]
    return Variable(name, [spread(value, by_value[value]) for value in told], len(values) - len(told))


def _parts(values: Sequence[str]) -> list[Sequence[str]]:
    """Return ordered values in parts of about the same size."""
    bounds = [len(values) * part // RANGES for part in range(RANGES + 1)]
    return [values[begin:end] for begin, end in pairwise(bounds)]


def _together(values: Sequence[str], by_value: dict[str, list[float]]) -> Spread:
    return spread(f"{values[0]} … {values[-1]}", [second for value in values for second in by_value[value]])


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", text) is not None


def in_order(text: str) -> tuple[object, ...]:
    """Return a sort key for values: numbers by their size, ``lab2`` before ``lab10``."""
    if _is_number(text):
        return (0, float(text))
    parts = _PARTS.split(text)
    return (1, tuple((float(part), "") if number % 2 else (0.0, part) for number, part in enumerate(parts)))
