"""Whether a run takes more than it may: decisions over what was measured.  Pure; the caller has clock and scales."""

from runner import disk
from runner.model import Kind, Limits


class RunLimits:
    """The limits of the run that a process is at.  Times are seconds of a clock that only goes forward."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self.begin(now)

    def begin(self, now: float) -> None:
        """Another run begins."""
        self._began = self._moved = now
        self._sim_time = 0.0

    def note(self, sim_time: float, now: float) -> None:
        """The run tells its simulation time, in seconds."""
        if sim_time > self._sim_time:
            self._sim_time, self._moved = sim_time, now

    def exceeded(self, now: float, memory: int) -> tuple[Kind, str] | None:
        """Return the kind of failure and a sentence if the run has gone beyond a limit; ``memory`` in bytes."""
        timeout, stall, most = self._limits.timeout, self._limits.stall, self._limits.memory
        if most is not None and memory > most:
            return "out-of-memory", f"took {disk.size(memory)} of memory, {disk.size(most)} are allowed"
        if timeout is not None and now - self._began > timeout:
            return "timeout", f"took longer than {timeout:g} s"
        if stall is not None and now - self._moved > stall:
            return "stalled", f"the program told no simulation time beyond {self._sim_time:g} s for {stall:g} s"
        return None
