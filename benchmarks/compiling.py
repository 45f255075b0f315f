"""A build by distcc and ccache, whose caches are empty, against make alone with the same number of compilers."""

import os
import shutil
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.local import Bench
from benchmarks.servers import free_port, running
from benchmarks.side_by_side import Command
from runner.distcc import PATIENCE

#: How many files are compiled; small ones, so distcc's part in the time is rather large.
FILES = 60

#: Machines that compile, as far as distcc knows; all are this one.
MACHINES = 2

_SOURCE = """#include <map>
#include <string>

int count{number}(std::map<std::string, int>& counts, const std::string& word)
{{
    return counts[word] += {number};
}}
"""

_MAKEFILE = """CXX = g++
all: libmodel.so
libmodel.so: $(patsubst %.cc,%.o,$(wildcard *.cc))
\t$(LINK) -shared -o $@ $^
%.o: %.cc
\t$(CXX) -O1 -fPIC -c -o $@ $<
LINK = g++
"""


class _Distcc:
    """A project, and machines that compile it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project = folder, folder / "project"
        self.project.mkdir(parents=True)
        for number in range(FILES):
            (self.project / f"file{number}.cc").write_text(_SOURCE.format(number=number))
        (self.project / "Makefile").write_text(_MAKEFILE)
        self._ports: list[int] = []

    def start(self, servers: ExitStack) -> None:
        """Start the machines."""
        for number in range(MACHINES):
            port = free_port()
            where = ["--listen", "127.0.0.1", "--port", str(port), "--allow", "127.0.0.1"]
            argv = ["distccd", "--daemon", "--no-detach", "--log-stderr", "--log-level", "info", "--jobs", "1", *where]
            servers.enter_context(running(argv, os.environ, port, self.folder / f"distccd{number}.log"))
            self._ports.append(port)

    def compiled(self) -> list[int]:
        """Return how many compilations each machine has done."""
        logs = (self.folder / f"distccd{number}.log" for number in range(MACHINES))
        return [log.read_text(errors="replace").count("COMPILE_OK") for log in logs]

    def command(self, *words: str, **variables: str) -> Command:
        """Return a build from the beginning."""
        argv = ["make", "-s", f"-j{os.cpu_count() or 1}", *words]
        return Command(argv, self.project, {**os.environ, **variables}, self._forget)

    def by_distcc(self) -> Command:
        """Return one as a lab's builder does it."""
        hosts = " ".join([*(f"127.0.0.1:{port}/1,lzo" for port in self._ports), "localhost/1"])
        caches = {"CCACHE_DIR": str(self.folder / "ccache"), "DISTCC_DIR": str(self.folder / "distcc")}
        return self.command("CXX=ccache g++", CCACHE_PREFIX="distcc", DISTCC_HOSTS=hosts, **caches, **PATIENCE)

    def _forget(self) -> None:
        """Remove what was made, and the caches."""
        for made in (*self.project.glob("*.o"), *self.project.glob("*.so")):
            made.unlink()
        for name in ("ccache", "distcc"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()


def compiling(bench: Bench, rounds: int) -> Iterator[str]:
    """Time both, and count who has compiled; yield one line."""
    what = f"build of {FILES} C++ files by distcc and ccache, cold"
    gone = [program for program in ("distcc", "distccd", "ccache", "g++", "make") if not shutil.which(program)]
    if gone:
        yield f"{what}: not measured, this machine has no {', '.join(gone)}"
        return
    with ExitStack() as servers:
        lab = _Distcc(bench.folder / "compiling")
        lab.start(servers)
        ours = lab.by_distcc()
        theirs = lab.command(CCACHE_DISABLE="1")  # where g++ is ccache, it would know the files of an earlier benchmark
        timed, done = [], []
        for _ in range(max(1, rounds // 2)):
            before = sum(lab.compiled())
            timed.append((ours.seconds(), theirs.seconds()))
            done.append((sum(lab.compiled()) - before) / FILES)
        ratios = sorted(first / second for first, second in timed)
        medians = [statistics.median(column) for column in zip(*timed, strict=True)]
        each = "/".join(str(count) for count in lab.compiled())
        yield (
            f"{what}, {MACHINES} machines that are all this one, -j{os.cpu_count()}: {statistics.median(done):.0%} "
            f"compiled remotely ({each} in all), {medians[0]:.1f} s against {medians[1]:.1f} s of make alone, "
            f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
