"""Time commands in turn, A B A B …, so that a machine whose speed drifts is fair to both."""

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """A command to be timed as a whole process."""

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    #: Called before each execution, outside of the time.
    prepare: Callable[[], None] = lambda: None

    def seconds(self) -> float:
        """Return how long one execution takes.  Raises CalledProcessError if it fails."""
        self.prepare()
        began = time.perf_counter()
        subprocess.run(
            self.argv, cwd=self.cwd, env=self.env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return time.perf_counter() - began


def pairs(first: Command, second: Command, rounds: int) -> list[tuple[float, float]]:
    """Return the times of so many rounds, after one that does not count."""
    timed = [(first.seconds(), second.seconds()) for _ in range(rounds + 1)]
    return timed[1:]


def ratio_line(name: str, timed: Sequence[tuple[float, float]], goal: float) -> str:
    """Return one line: both medians, and the ratio pair by pair as minimum, median and maximum."""
    ratios = sorted(first / second for first, second in timed)
    medians = [statistics.median(column) for column in zip(*timed, strict=True)]
    return (
        f"{name}: {medians[0]:.2f} s against {medians[1]:.2f} s, ratio {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}), goal ≤ {goal}"
    )
