"""How much memory processes take, and whether the kernel has ended one because there was none left."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

#: Should memory run out, the kernel takes this program, and all that it starts, before any other.  util-linux.
GIVES_WAY = ("choom", "-n", "1000", "--")

_PAGE = os.sysconf("SC_PAGE_SIZE")
_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def resident(pids: Iterable[int]) -> int:
    """Return the bytes of main memory that processes take together; those that have ended take none."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1]) * _PAGE
        except OSError:
            continue
    return total


def _counters() -> list[Path]:
    """Return where the kernel may count the processes that it ended for want of memory, the nearest counter first."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            found += [Path(f"/sys/fs/cgroup{group}/memory.events"), Path("/sys/fs/cgroup/memory.events")]
        elif "memory" in controllers.split(","):
            top = Path("/sys/fs/cgroup/memory")
            found += [Path(f"{top}{group}/memory.oom_control"), top / "memory.oom_control"]
    return [*found, Path("/proc/vmstat")]


def oom_kills(counters: Iterable[Path] = ()) -> int:
    """Return how many processes around this one the kernel has ended so far because memory ran out."""
    for counter in counters or _counters():
        try:
            found = _OOM_KILLS.search(counter.read_text())
        except OSError:
            continue
        if found:
            return int(found[1])
    return 0
