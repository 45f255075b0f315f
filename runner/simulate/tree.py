"""A simulation process with everything that it starts: watched while it runs, and gone when it has ended."""

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from runner import shell
from runner.line import Line
from runner.model import Limits
from runner.simulate import memory
from runner.simulate.limits import RunLimits
from runner.simulate.verdicts import Stop

#: Seconds between looks at a running simulation, and between those that cost more: at all of its processes.
LOOK, CLOSE_LOOK = 0.1, 1.0
#: Seconds that a cancelled simulation gets to end by itself before it is killed.
GRACE = 1.5


class ProcessTree:
    """Ends with its ``with`` block, whatever happens there; nothing that it has started survives it."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: IO[bytes] | int,
        limits: Limits,
        line: Line,
    ) -> None:
        #: Not its own: connections to the head that stay for the next fetch.
        self._others = shell.strays()
        self._oom_kills = memory.oom_kills()
        self._weighs = limits.memory is not None
        self._line = line
        argv = [*memory.GIVES_WAY, *argv]
        self._process = shell.start(argv, cwd=cwd, env=env, output=output, dies_with_parent=True)
        self._limits = RunLimits(limits, time.monotonic())
        self._next_close_look = 0.0
        self._kill_at: float | None = None
        self._begun = 0
        #: Why it was ended.
        self.stop: Stop | None = None

    def __enter__(self) -> "ProcessTree":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.signal_group(signal.SIGKILL)
        if self._process.wait(shell.PATIENCE) is None:
            raise TimeoutError(f"process {self._process.pid} does not end")
        shell.end_strays(self._others.__contains__)

    def begin_run(self) -> None:
        """Its next run begins: the limits are each run's own."""
        self._begun += 1
        self._limits.begin(time.monotonic())

    def note(self, sim_time: float) -> None:
        """The run tells its simulation time, in seconds."""
        self._limits.note(sim_time, time.monotonic())

    def memory(self) -> int:
        """Return the bytes of main memory that all its processes take."""
        return memory.resident(shell.family({self._process.pid} | (shell.strays() - self._others)))

    def wait(self) -> int | None:
        """Return the exit status, or None if it runs on after a while; end it if it has to be."""
        status = self._process.wait(LOOK)
        if status is None:
            self._watch()
        elif self.stop is None and _was_killed(status) and memory.oom_kills() > self._oom_kills:
            self.stop = Stop("out-of-memory", "the machine ran out of memory, and the kernel ended it", self._begun)
        return status

    def _watch(self) -> None:
        now = time.monotonic()
        if self._kill_at is not None:
            if now >= self._kill_at:
                self._process.signal_group(signal.SIGKILL)
        elif self._line.is_unwanted():
            self.stop = Stop("cancelled", "", self._begun)
            self._kill_at = now + GRACE
            self._process.signal_group(signal.SIGTERM)
        elif exceeded := self._limits.exceeded(now, self._weight(now)):
            self.stop = Stop(*exceeded, self._begun)
            self._kill_at = now
            self._process.signal_group(signal.SIGKILL)

    def _weight(self, now: float) -> int:
        """Return the bytes of memory that it takes; of its main process alone, unless a closer look is due."""
        if not self._weighs:
            return 0
        if now >= self._next_close_look:
            self._next_close_look = now + CLOSE_LOOK
            return self.memory()
        return memory.resident({self._process.pid})


def _was_killed(status: int) -> bool:
    """Say whether SIGKILL ended a process, or the program that a shell script waited for."""
    return status in (-signal.SIGKILL, 128 + signal.SIGKILL)
