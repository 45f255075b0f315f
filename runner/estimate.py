"""How long a campaign will still take, by what was measured: one rule for the foreman and for a client.  Pure.

Times are in seconds of any clock that only goes forward.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

#: A percentage below this says too little of the time that is left.
TELLING_PERCENT = 5.0

#: So many runs must be measured before their mean time is worth telling.
TELLING_RUNS = 2


@dataclass(frozen=True)
class UnderWay:
    """A run that a slot is at; nobody may know when it began."""

    #: Since it began.
    age: float | None
    #: Between 0 and 100, as it said ``ago`` seconds ago; None: it does not say that.
    percent: float | None = None
    ago: float = 0.0

    @property
    def length(self) -> float | None:
        """How long it will have taken, by its percentage; None: that does not tell."""
        if self.age is None or self.percent is None or self.percent < TELLING_PERCENT:
            return None
        return max(self.age, (self.age - self.ago) * 100 / self.percent)


def remaining(waiting: int, under_way: Sequence[UnderWay], slots: int, done: int, work: float) -> float | None:
    """Return the time until the last of a campaign's runs should be over; None while too little is measured.

    ``waiting``: runs that no slot has begun; ``slots``: those that work for the campaign; ``done``: runs that are done,
    which took ``work`` together.  A run's own percentage counts more than what others took.
    """
    if not waiting and not under_way:
        return 0.0
    lengths = [run.length for run in under_way]
    told = [length for length in lengths if length is not None]
    if done + len(told) < TELLING_RUNS and (waiting or len(told) < len(under_way)):
        return None
    mean = (work + sum(told)) / (done + len(told))
    # A run that has taken longer than that already is measured, too: so short runs, which end first, do not deceive.
    late = [
        run.age for run, length in zip(under_way, lengths, strict=True) if length is None and (run.age or 0.0) > mean
    ]
    usual = (work + sum(told) + sum(filter(None, late))) / (done + len(told) + len(late))
    left = [
        (_left(run, usual) if length is None else max(0.0, length - (run.age or 0.0)))
        for run, length in zip(under_way, lengths, strict=True)
    ]
    return _last_end(waiting, usual, [*left, *[0.0] * (slots - len(left))] or [0.0])


def _left(run: UnderWay, usual: float) -> float:
    """Return the time that is left of a run that tells no percentage.

    What has taken longer than usual takes as long again as it is late: nothing better is known of it.
    """
    return usual if run.age is None else abs(usual - run.age)


def _last_end(waiting: int, usual: float, free: Sequence[float]) -> float:
    """Return when the last run ends if each goes to the slot that is free first; ``free``: when each slot is.

    So many steps as there are slots, however many runs wait.
    """
    level = _level(waiting * usual, free)
    # Below the level that all together would reach, each slot does as many runs as fit …
    fits = [int(max(0.0, level - begin) / usual) if usual > 0 else 0 for begin in free]
    ends = [begin + number * usual for begin, number in zip(free, fits, strict=True)]
    heapq.heapify(ends)
    # … and of those that are left, fewer than there are slots, each takes another one.
    for _ in range(min(waiting - sum(fits), len(ends))):
        heapq.heapreplace(ends, ends[0] + usual)
    return max(ends)


def _level(work: float, free: Sequence[float]) -> float:
    """Return when all of some work is done that can be cut at will; ``free``: when each slot can begin with it."""
    begins = sorted(free)
    level, total = begins[0], 0.0
    for number, begin in enumerate(begins, 1):
        total += begin
        level = (work + total) / number
        if number == len(begins) or level <= begins[number]:
            break
    return level
