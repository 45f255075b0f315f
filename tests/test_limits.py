"""What a run may take of time, memory and disk: decisions over numbers, and how a process is held to them."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner import disk, shell
from runner.console import RunLog
from runner.line import Line
from runner.log_stream import GrowingLog, Piece
from runner.model import Attempt, Kind, Limits
from runner.omnetpp import Status
from runner.simulate import memory
from runner.simulate.limits import RunLimits
from runner.simulate.tree import ProcessTree
from tests.conftest import eventually

MB, GB = 10**6, 10**9


@pytest.mark.parametrize(
    ("limits", "told", "now", "taken", "exceeded"),
    [
        (Limits(), {5.0: 1.0}, 10.0**6, 10**12, None),
        (Limits(timeout=30), {}, 30.0, 0, None),
        (Limits(timeout=30), {29.0: 7.0}, 30.1, 0, ("timeout", "took longer than 30 s")),
        (Limits(timeout=0.5), {}, 0.6, 0, ("timeout", "took longer than 0.5 s")),
        # nothing told is no advance, nor is the same again
        (Limits(stall=60), {}, 60.0, 0, None),
        (Limits(stall=60), {}, 60.1, 0, ("stalled", "the program told no simulation time beyond 0 s for 60 s")),
        (
            Limits(stall=60),
            {1.0: 0.0, 59.0: 0.0},
            60.1,
            0,
            ("stalled", "the program told no simulation time beyond 0 s for 60 s"),
        ),
        (Limits(stall=60), {10.0: 12.5}, 70.0, 0, None),
        (
            Limits(stall=60),
            {10.0: 12.5, 40.0: 12.5, 69.0: 12.5},
            70.1,
            0,
            ("stalled", "the program told no simulation time beyond 12.5 s for 60 s"),
        ),
        (Limits(stall=60), {50.0: 1.0, 100.0: 1.1, 150.0: 1.2}, 200.0, 0, None),
        (Limits(memory=2 * GB), {}, 1.0, 2 * GB, None),
        (
            Limits(memory=2 * GB),
            {},
            1.0,
            2_100 * MB,
            ("out-of-memory", "took 2.1 GB of memory, 2 GB are allowed"),
        ),
    ],
)
def test_a_run_may_take_what_its_limits_say(
    limits: Limits, told: dict[float, float], now: float, taken: int, exceeded: tuple[Kind, str] | None
) -> None:
    # Given a run that began at 0 and has told its simulation time now and then
    run = RunLimits(limits, 0.0)
    for when, sim_time in told.items():
        run.note(sim_time, when)
    # When it is looked at, then it has gone beyond a limit, or not
    assert run.exceeded(now, taken) == exceeded


def test_each_run_of_a_process_has_limits_of_its_own() -> None:
    # Given a process whose first run took 50 s and came to 100 s of simulation time
    run = RunLimits(Limits(timeout=60, stall=30), 0.0)
    run.note(100.0, 49.0)
    # When the next begins, then all counts from there
    run.begin(50.0)
    run.note(1.0, 79.0)
    assert run.exceeded(108.0, 0) is None
    assert run.exceeded(109.5, 0) == ("stalled", "the program told no simulation time beyond 1 s for 30 s")


@pytest.mark.parametrize(
    ("total", "reserve"),
    [(8 << 20, 1 << 20), (1 << 30, (1 << 30) // 50), (10 << 30, 200 << 20), (4 << 40, 200 << 20)],
)
def test_a_machine_keeps_some_of_its_disk_free(total: int, reserve: int) -> None:
    # Given file systems of some sizes, when asked for the reserve, then it is neither all of a small one, nor a lot
    assert disk.reserve(total) == reserve


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (999_900, "1 MB"), (2_150_000_000, "2.15 GB")],
)
def test_sizes_are_told_so_that_people_can_read_them(number: int, text: str) -> None:
    # Given a number of bytes, when it is told, then it has three digits and a unit
    assert disk.size(number) == text


def test_the_kernels_own_count_of_killed_processes_is_read(tmp_path: Path) -> None:
    # Given the counter of this control group's, where there is one, and the machine's
    group, machine = tmp_path / "memory.events", tmp_path / "vmstat"
    machine.write_text("nr_free_pages 12\noom_kill 7\nnuma_hit 3\n")
    # When asked for the number, then the nearest counts
    assert memory.oom_kills([group, machine]) == 7
    group.write_text("low 0\nhigh 0\nmax 31\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert memory.oom_kills([group, machine]) == 2
    # And this machine has a counter, too
    assert memory.oom_kills() >= 0


@contextmanager
def tree(*argv: str) -> Iterator[ProcessTree]:
    nobody: Any = None
    line = Line(nobody)
    with (
        open(os.devnull, "wb") as nowhere,
        ProcessTree(argv, cwd=Path("/"), env=os.environ, output=nowhere, limits=Limits(), line=line) as found,
    ):
        found.begin_run()
        yield found


def end_of(process: ProcessTree) -> int:
    deadline = time.monotonic() + 60
    while (status := process.wait()) is None:
        assert time.monotonic() < deadline
    return status


def test_what_the_kernel_killed_for_want_of_memory_is_told_from_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a kernel that has ended some processes before
    killed = [5]
    monkeypatch.setattr(memory, "oom_kills", lambda: killed[0])
    # When one is killed, and the kernel has counted one more, then the memory was the reason
    with tree("sh", "-c", "kill -KILL $$") as process:
        killed[0] = 6
        assert end_of(process) == -signal.SIGKILL
        assert process.stop is not None
        assert process.stop.kind == "out-of-memory"
    # And when it has not, then it was not
    with tree("sh", "-c", "kill -KILL $$") as process:
        assert end_of(process) == -signal.SIGKILL
        assert process.stop is None


def test_all_that_a_simulation_starts_gives_way_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process that starts another one before anybody here gets to do anything more
    start = shell.start
    told, tell = os.pipe()

    def start_and_wait(argv: Sequence[str], **options: Any) -> shell.Process:
        process = start(argv, **{**options, "output": tell})
        assert os.read(told, 100) == b"1000\n"  # Then the kernel would take that first
        return process

    monkeypatch.setattr(shell, "start", start_and_wait)
    with tree("sh", "-c", "cat /proc/self/oom_score_adj; exit 0") as process:
        assert end_of(process) == 0
    os.close(told)
    os.close(tell)


def test_a_tree_is_gone_when_its_block_is_left_by_an_error() -> None:
    # Given a process, when something goes wrong while it runs
    before = shell.children(os.getpid())
    running: set[int] = set()

    def go_wrong() -> None:
        with tree("sleep", "600"):
            running.update(shell.children(os.getpid()) - before)
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        go_wrong()
    # Then it is gone
    assert running
    assert not running & shell.children(os.getpid())


class Nowhere:
    """A hub that takes everything, and never dies."""

    connections = 0

    def look(self) -> None:
        pass

    def wanted(self, *_: str) -> list[int]:
        return []

    def forget(self, *_: str) -> None:
        pass

    def send(self, _: Piece) -> bool:
        return True


@pytest.fixture
def run_log(tmp_path: Path) -> RunLog:
    nowhere: Any = Nowhere()
    return RunLog(Attempt(0, 1), GrowingLog(tmp_path / "log", "c1", "run-0.1", nowhere), tmp_path / "log")


def test_a_run_takes_as_long_as_it_takes_whatever_the_clock_does(
    run_log: RunLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run that has begun, and then a clock that is set back by an hour
    monkeypatch.setattr("time.time", lambda: run_log.started - 3600)
    began = time.monotonic()
    eventually(lambda: time.monotonic() > began + 0.05, "some time")
    # When it ends, then its end is its begin and what was measured
    run_log.close()
    assert 0.05 <= run_log.ended - run_log.started < 10


def test_a_status_that_comes_in_two_pieces_is_read_whole(run_log: RunLog) -> None:
    # Given a run whose status comes in two pieces, and much that the model prints after it
    run_log.append(b"** Event #256   t=1.5   Elapsed: 1s (0m 01s)  3% completed  (3% total)\n")
    run_log.append(b"     Speed:     ev/sec=1000.5   simsec/sec=2   ev/simsec=500\n" + b"note\n" * 100_000)
    # When its progress is asked for, then the numbers of both pieces are there
    run_log.close()
    assert run_log.progress(1.0) == Status(1.5, 3.0, 2.0, 1000.5, 256)


def test_how_fast_a_run_is_that_does_not_say_so_is_measured(run_log: RunLog) -> None:
    # Given a run that prints a banner for each event, and has done 50 of them between two looks
    run_log.append(b"** Event #100  t=1  10% completed  (10% total)   Net.host (Host, id=4)\n")
    first = run_log.progress(20.0)
    run_log.append(b"** Event #150  t=2  20% completed  (20% total)   Net.host (Host, id=4)\n")
    # When its progress is asked for two seconds later, then so many events per second were measured
    second = run_log.progress(22.0)
    run_log.close()
    assert first == Status(1.0, 10.0, None, None, 100)
    assert second == Status(2.0, 20.0, None, 25.0, 150)


@pytest.mark.parametrize(
    ("printed", "sim_time"),
    [
        (b"** Event #100   t=12.5   Elapsed: 1s (0m 01s)\n", 12.5),
        (b"** Event #1  t=0.000123  Net.host (Host, id=4)\nnote\n", 0.000123),
        (b"** Event #1  t=3  A\n** Event #2  t=1e-05  B\n" + b"x" * 100_000 + b"\n", 1e-05),
        (b"saw ** Event #2  t=9  B\n", 0.0),
        (b"** Event #2  t=1.2.3  B\n", 0.0),
    ],
)
def test_the_simulation_time_is_taken_from_whatever_tells_it(run_log: RunLog, printed: bytes, sim_time: float) -> None:
    # Given a run, when it prints lines about events, in express mode or not
    run_log.append(printed)
    run_log.close()
    # Then the last one's time counts
    assert run_log.sim_time == sim_time
