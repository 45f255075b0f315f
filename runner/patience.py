"""Patience with the head: what it does not do now, as its sshd or the network is away, is asked of it again."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from runner.head import Head
from runner.line import Line

log = logging.getLogger(__name__)

#: Seconds until what the head did not do is asked of it again: at first, and at most.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 5.0

T = TypeVar("T")


class Patient:
    """A head whose every refusal is waited out, as long as somebody wants what it is for: it may be away."""

    def __init__(self, head: Head, line: Line) -> None:
        """``line``: knows whether the present campaign is still wanted."""
        self._head, self._line = head, line

    @property
    def shares_store(self) -> bool:
        """Ask the head itself."""
        return self._head.shares_store

    def fetch_commit(self, project: str, commit: str, mirror: Path) -> None:
        """Fetch."""
        self._insist(lambda: self._head.fetch_commit(project, commit, mirror))

    def has_product(self, key: str) -> bool:
        """Ask."""
        return self._insist(lambda: self._head.has_product(key))

    def contents(self) -> Mapping[str, int]:
        """Ask."""
        return self._insist(self._head.contents)

    def fetch(self, names: Sequence[str], folder: Path) -> bool:
        """Fetch."""
        return self._insist(lambda: self._head.fetch(names, folder))

    def deliver(self, parcels: Iterable[Path]) -> None:
        """Deliver."""
        folders = list(parcels)
        self._insist(lambda: self._head.deliver(folders))

    def _insist(self, ask: Callable[[], T]) -> T:
        """Return the head's answer.  Raises its last OSError if nobody wants it any more."""
        pause = SHORTEST_PAUSE
        while True:
            try:
                return ask()
            except OSError as error:
                log.warning("the head does not do this now, the next try follows: %s", error)
                if self._line.is_unwanted(pause):
                    raise
                pause = min(LONGEST_PAUSE, 2 * pause)
