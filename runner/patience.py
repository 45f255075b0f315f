"""Patience with the head: what it does not do now, as its sshd or the network is away, is asked of it again.

It may be away for hours.  So whoever holds a lock that others need asks the head itself, and lets its refusal through.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from runner import disk
from runner.errors import LabFailed
from runner.head import Head
from runner.line import Line

log = logging.getLogger(__name__)

#: Seconds until what the head did not do is asked of it again: at first, and at most.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 5.0

T = TypeVar("T")


class HeadAway(OSError):
    """The head did not do what it was asked for; all other trouble is this machine's own."""


class Patient:
    """Has a head do something, whenever it can: it may be away."""

    def __init__(self, head: Head, line: Line, home: Path) -> None:
        """``line``: knows whether the campaign is still wanted; ``home``: where this machine keeps its files."""
        self._head, self._line, self._home = _Outspoken(head), line, home

    def insist(self, ask: Callable[[Head], T]) -> T:
        """Return what comes of something that needs a head, and is begun again when that is away.

        So whatever it locks is free while this waits.  Raises the head's last OSError if nobody wants it any more, and
        LabFailed if this machine has no room for what the head gives.
        """
        pause = SHORTEST_PAUSE
        while True:
            try:
                return ask(self._head)
            except HeadAway as error:
                if full := disk.exhaustion(self._home):
                    raise LabFailed(
                        full, "free some space there, or have another machine build: labfleet drain"
                    ) from error
                log.warning("the head does not do this now, the next try follows: %s", error)
                if self._line.is_unwanted(pause):
                    raise
                pause = min(LONGEST_PAUSE, 2 * pause)


class _Outspoken:
    """A head that says of each of its refusals that it is one."""

    def __init__(self, head: Head) -> None:
        self._head = head

    @property
    def shares_store(self) -> bool:
        return self._head.shares_store

    def fetch_commit(self, project: str, commit: str, mirror: Path) -> None:
        with _told():
            self._head.fetch_commit(project, commit, mirror)

    def has_product(self, key: str) -> bool:
        with _told():
            return self._head.has_product(key)

    def contents(self) -> Mapping[str, int]:
        with _told():
            return self._head.contents()

    def fetch(self, names: Sequence[str], folder: Path) -> bool:
        with _told():
            return self._head.fetch(names, folder)

    def deliver(self, parcels: Iterable[Path]) -> None:
        with _told():
            self._head.deliver(parcels)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HeadAway(str(error)) from error
