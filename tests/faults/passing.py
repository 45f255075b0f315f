"""Faults that pass: what is undone after a while, and what has to be gone after a while."""

import threading
import time
from collections.abc import Callable, Iterator


class Passing:
    """What is to be undone, and when."""

    def __init__(self) -> None:
        self._due: list[tuple[float, Callable[[], None]]] = []

    def __bool__(self) -> bool:
        """Is something wrong just now?"""
        return bool(self._due)

    def later(self, seconds: float, undo: Callable[[], None]) -> None:
        """Undo something after so many seconds."""
        self._due.append((time.monotonic() + seconds, undo))

    def undo_due(self) -> None:
        """Undo what is due."""
        for due, undo in list(self._due):
            if time.monotonic() >= due:
                self._due.remove((due, undo))
                undo()

    def undo_all(self) -> None:
        """Undo everything."""
        while self._due:
            self._due.pop()[1]()


def left_after(seconds: float, look: Callable[[], Iterator[str]]) -> list[str]:
    """Return what is still there when it should have gone by itself."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    left = list(look())
    while left and time.monotonic() < deadline:
        pause.wait(0.3)
        left = list(look())
    return left
