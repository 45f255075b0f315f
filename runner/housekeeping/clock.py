"""Whether the clock may be believed when it says that something is old.  Pure; the caller has the clocks."""

from runner.housekeeping.decisions import DAY

#: Seconds by which the time of day may go otherwise than the time since the machine's start, between two looks.
MOST_ADJUSTED = 3600.0


class Trust:
    """Nobody believes a clock that was just set: neither what it says now, nor what it said before, may be right."""

    def __init__(self, believed_from: float = 0.0) -> None:
        """``believed_from``: seconds since the machine's start after which its clock must have been set right."""
        self._believed_from = believed_from
        #: When the machine was started, by the time of day at the last look.
        self._started: float | None = None

    def look(self, time_of_day: float, since_start: float) -> float:
        """Take note of the time, by both clocks in seconds, and return by how much the first was set since."""
        started = time_of_day - since_start
        set_by = 0.0 if self._started is None else started - self._started
        self._started = started
        if abs(set_by) <= MOST_ADJUSTED:
            return 0.0
        self._believed_from = since_start + DAY
        return set_by

    def believes(self, since_start: float) -> bool:
        """Say whether the time of day has been what it should be for long enough."""
        return since_start >= self._believed_from
