"""The processes of this machine, those inside containers too, as the kernel tells of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Simulation:
    """A process that does runs."""

    pid: int
    slot: str
    runs: list[int]


def all_of_them() -> Iterator[tuple[int, list[str]]]:
    """Yield each process's id and command line."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            yield int(folder.name), [word.decode(errors="replace") for word in words if word]


def parent(pid: int) -> int:
    """Return the id of a process's parent; -1 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1


def simulations(home: str) -> Iterator[Simulation]:
    """Yield what slots of labs with this home do; several machines may have the same."""
    wanted = f"LABFLEET_RUN={home}:".encode()
    for pid, argv in all_of_them():
        if "-r" not in argv or "-q" in argv or not any("simulate" in word for word in argv[:3]):
            continue
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith(wanted):
                runs = [int(run) for run in argv[argv.index("-r") + 1].split(",")]
                yield Simulation(pid, variable[len(wanted) :].decode(), runs)


def container(pid: int) -> str:
    """Return the control group of a process, which names the containers that it is in."""
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""
