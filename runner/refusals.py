"""Messages that make no sense are refused, counted and logged; if they are too many to be read, in part."""

import logging

log = logging.getLogger(__name__)

#: So many are logged each; after that, one in so many.
FIRST, ONE_IN = 20, 1000


class Refusals:
    """What one socket has refused."""

    def __init__(self, what: str) -> None:
        """``what``: is refused, e.g. ``piece of a log``."""
        self._what = what
        self.count = 0

    def note(self, error: Exception) -> None:
        """Count a refused message, and log it unless there are too many."""
        self.count += 1
        if self.count <= FIRST or self.count % ONE_IN == 0:
            log.warning("refused a malformed %s (%d so far): %.300s", self._what, self.count, error)
