"""What a simulation prints, taken over while it runs: into the run's log, and as status."""

import time
from dataclasses import replace
from pathlib import Path

from runner import omnetpp
from runner.log_stream import GrowingLog
from runner.model import Attempt

#: Bytes of output that are taken over with one look.
MOST_AT_ONCE = 8 << 20
#: A line beyond this comes in parts.
LONGEST_LINE = 1 << 20


#: How Cmdenv's error messages begin.
ERROR_MARK = b"<!> Error"


class Tail:
    """A file that another process writes, read as it grows, whole lines at a time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._half_line = b""

    def new_lines(self) -> bytes:
        """Return what was appended since the last call, up to a line's end; a very long line comes in parts."""
        data = self._half_line + (self._file.read(MOST_AT_ONCE) or b"")
        end = data.rfind(b"\n") + 1
        if len(data) - end >= LONGEST_LINE:
            end = len(data)
        self._half_line = data[end:]
        return data[:end]

    def close(self) -> bytes:
        """Return what was left without an end of line."""
        self._file.close()
        return self._half_line and self._half_line + b"\n"


class RunLog:
    """The log of the run that a process is at: the process's console and the run's own .out file, as they come."""

    def __init__(self, attempt: Attempt, growing: GrowingLog, log_file: Path) -> None:
        self.attempt, self.log, self.log_file = attempt, growing, log_file
        #: Seconds since the epoch; how long it took is measured by a clock that nobody sets.
        self.started = self.ended = time.time()
        self._since = time.monotonic()
        #: What it said of its progress last, as it stands in the log, and read.
        self._told = b""
        self.status: omnetpp.Status | None = None
        #: The number of the event that it was at when its progress was asked for last, and when that was.
        self._event_before: tuple[int, float] | None = None
        self.output: Tail | None = None
        self._complaints = ""

    @property
    def sim_time(self) -> float:
        """The simulation time that it told last, in seconds."""
        return self.status.sim_time if self.status else 0.0

    def progress(self, now: float) -> omnetpp.Status | None:
        """Return what it said of its progress last; None: nothing.  ``now``: seconds of a clock that goes forward.

        One that is not in express mode does not say how fast it is: that is what it did since this was asked last.
        """
        status = self.status
        if status is None:
            return None
        before, self._event_before = self._event_before, (status.event, now)
        if status.events_per_second is not None or before is None or not (status.event > before[0] and now > before[1]):
            return status
        return replace(status, events_per_second=(status.event - before[0]) / (now - before[1]))

    def append(self, data: bytes) -> None:
        """Append whole lines to the log."""
        self.log.append(data)
        if (begin := data.find(ERROR_MARK)) >= 0 and len(self._complaints) < LONGEST_LINE:
            self._complaints += data[begin : begin + LONGEST_LINE].decode(errors="replace") + "\n"
        self._look_for_status(data)

    def _look_for_status(self, data: bytes) -> None:
        """Read the last status; its second line may come with the next piece."""
        begin = data.rfind(b"\n" + omnetpp.EVENT_MARK) + 1
        if data.startswith(omnetpp.EVENT_MARK, begin):
            told = data[begin : begin + omnetpp.LONGEST_STATUS]
        else:
            told = (self._told + data[: omnetpp.LONGEST_STATUS])[: omnetpp.LONGEST_STATUS]
        if self._told != told:
            self._told = told
            self.status = omnetpp.status(told.decode(errors="replace")) or self.status

    def look(self) -> bool:
        """Take over what the .out file grew by; True if it grew."""
        data = self.output.new_lines() if self.output else b""
        if data:
            self.append(data)
        return bool(data)

    def close(self) -> None:
        """Take over the rest: the run is over, and nothing is written to its files any more."""
        self.ended = self.started + (time.monotonic() - self._since)
        while self.look():
            pass
        if self.output:
            self.append(self.output.close())
        self.log.close()

    def error(self) -> str:
        """Return what the run says went wrong; empty if it says nothing."""
        return omnetpp.error_text(self._complaints)
