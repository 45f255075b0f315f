"""Whose clock is wrong?  Of clocks that are compared with this computer's, over a network that takes its time."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

from runner import shell
from runner.doctor.findings import Problem, error, warning
from runner.report.text import duration

#: Seconds between two clocks that agree, and beyond which it is an error.
WARNING, ERROR = 2.0, 60.0


@dataclass(frozen=True)
class Clock:
    """By how many seconds a clock is ahead of this computer's: it is known to be between the two."""

    least: float
    most: float

    def worse(self, other: "Clock | None") -> "Clock":
        """Return which of two is farther from this computer's.

        Programs of one machine may be told different times (libfaketime); whoever is told the wrong one is in trouble.
        """
        return max(self, other or self, key=lambda clock: abs(clock.ahead_of(HERE)))

    @property
    def middle(self) -> float:
        """The best guess."""
        return (self.least + self.most) / 2

    def ahead_of(self, other: "Clock") -> float:
        """Return by how much it is certainly ahead of another clock; negative: behind; 0: perhaps not at all."""
        return max(0.0, self.least - other.most) or min(0.0, self.most - other.least)


#: This computer's own.
HERE = Clock(0, 0)


def asked(way: Callable[[str], Sequence[str]], seconds: float) -> Clock | None:
    """Return what a login's shell tells of its clock; None: nothing.

    ``way``: returns the command line that executes a command there.
    """
    before = time.time()
    try:
        told = float(shell.run(way("date +%s.%N"), check=False, seconds=seconds).text.rpartition("\n")[2])
    except (TimeoutError, ValueError):  # a login may be for other things than commands
        return None
    return compared(before, told, told, time.time())


def compared(asked: float, began: float, ended: float, answered: float) -> Clock:
    """Return what a question and its answer tell of a clock.

    The machine looked at its clock when it began and ended, this computer at its own before and after.
    """
    return Clock(ended - answered, began - asked)


def reference(clocks: Iterable[Clock]) -> Clock:
    """Return the clock in the middle of all, this computer's included: the clocks of most are right."""
    known = sorted([HERE, *clocks], key=lambda clock: clock.middle)
    middle = median_low([clock.middle for clock in known])
    # Of two that differ, this computer's counts: nobody else is there to be asked.
    if len(known) == 2:
        return HERE
    return next(clock for clock in known if clock.middle == middle)


def clock_problem(clock: Clock, right: Clock, advice: str) -> list[Problem]:
    """Return what is wrong with a clock."""
    ahead = clock.ahead_of(right)
    if abs(ahead) <= WARNING:
        return []
    about = duration(abs(clock.middle - right.middle))
    text = f"its clock is {about} {'ahead of' if ahead > 0 else 'behind'} the others"
    return [(error if abs(ahead) > ERROR else warning)(text, advice)]


def this_computers(clocks: Mapping[str, Clock]) -> list[Problem]:
    """Return what is wrong with this computer's own clock, judged by those of machines."""
    advice = "sudo timedatectl set-ntp true"
    return clock_problem(HERE, reference(clocks.values()), advice)
