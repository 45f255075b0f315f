"""From the command to the start of the first run, in a project of INET's size: labfleet, the tutorial, the program.

The run itself writes down when it began.  Everything is warm: services and workers run, the project was built before.
"""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import tree
from benchmarks.local import Bench
from benchmarks.servers import free_port, running

_BY_CCACHE = " by ccache" if shutil.which("ccache") else " (ccache is not on this machine)"


class Submitting:
    """The project, and the ways to have its run begin."""

    def __init__(self, bench: Bench, port: int) -> None:
        self._bench, self._port = bench, port
        self._root = bench.folder / "submitting" / "model"
        self._root.mkdir(parents=True)
        self._told = bench.folder / "started"
        self._environment = {**bench.env, "STARTED": str(self._told)}
        tree.generate(self._root)

    def edit(self) -> None:
        """Change the ini file."""
        tree.edit(self._root)

    def _seconds(self, argv: Sequence[str], cwd: Path) -> float:
        self._told.unlink(missing_ok=True)
        began = time.time()
        subprocess.run(argv, cwd=cwd, env=self._environment, check=True, stdout=subprocess.DEVNULL)
        return float(self._told.read_text()) - began

    def labfleet(self) -> float:
        """Return the seconds from the start of ``labfleet campaign`` to that of the run."""
        return self._seconds(self._bench.labfleet("campaign", "--quiet"), self._root)

    def tutorial(self) -> float:
        """Return the seconds from the start of the tutorial's client to that of the run."""
        return self._tutorial("build")

    def zip_alone(self) -> float:
        """Return the same for a model whose build takes no time."""
        return self._tutorial()

    def _tutorial(self, *words: str) -> float:
        client = [sys.executable, "-m", "benchmarks.tutorial", str(self._root), str(self._port), *words]
        return self._seconds(client, self._bench.folder)

    def alone(self) -> float:
        """Return the seconds from starting the program to its start."""
        program = self._bench.folder / "alone"
        if not program.exists():
            program.write_text(tree.PROGRAM)
            program.chmod(0o755)
        return self._seconds([str(program), "-u", "Cmdenv", "-c", "General", "-r", "0"], self._bench.folder)


def submitting(bench: Bench, rounds: int) -> Iterator[str]:
    """Time how long it is until the first run begins; yield a line for each comparison."""
    what = f"project of {tree.FILES} files and {tree.SIZE / 1e6:.0f} MB, submit to first run"
    if not shutil.which("redis-server"):
        yield f"{what}: not measured, redis-server is not on this machine"
        return
    with _workers(bench) as port:
        ways = Submitting(bench, port)
        for means, other, goal in (
            (f"zip, Redis Queue, unzip and make{_BY_CCACHE}", ways.tutorial, ", goal ≥ 10"),
            ("zip, Redis Queue and unzip alone", ways.zip_alone, ""),
        ):
            ours, theirs = _in_turn(ways.labfleet, other, rounds, ways.edit)
            yield (
                f"{what}, one changed ini: {statistics.median(ours):.2f} s against {statistics.median(theirs):.2f} s "
                f"of {means}, {_ratio(theirs, ours)} times as fast{goal}"
            )
        ours, theirs = _in_turn(ways.labfleet, ways.alone, rounds)
        yield (
            f"{what}, nothing changed: {statistics.median(ours):.2f} s against {statistics.median(theirs):.3f} s of "
            f"starting the program, ratio {_ratio(ours, theirs)}"
        )


def _in_turn(
    first: Callable[[], float], second: Callable[[], float], rounds: int, prepare: Callable[[], None] = lambda: None
) -> tuple[list[float], list[float]]:
    """Return the times of both, after a round that does not count."""
    timed = []
    for _ in range(rounds + 1):
        for one in (first, second):
            prepare()
            timed.append(one())
    return timed[2::2], timed[3::2]


def _ratio(numerators: Sequence[float], denominators: Sequence[float]) -> str:
    ratios = sorted(above / below for above, below in zip(numerators, denominators, strict=True))
    return f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"


@contextmanager
def _workers(bench: Bench) -> Iterator[int]:
    """Have a Redis and one of the tutorial's workers, as long as the block lasts; yield the port."""
    port = free_port()
    redis = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    worker = [sys.executable, "-m", "rq.cli", "worker", "--url", f"redis://127.0.0.1:{port}", "--quiet"]
    own = {"STARTED": str(bench.folder / "started"), "CCACHE_DIR": str(bench.folder / "ccache")}
    environment = {**bench.env, **own}
    with running(redis, environment, port), running(worker, environment):
        yield port
