"""A worker's line to the lab: what it has to tell leaves in order, and nobody who tells it ever waits for Redis.

A thread with a connection of its own sends the events.  It also asks whether what the worker does is still wanted.
While Redis does not answer, the thread waits, and the worker works.
"""

import logging
import os
import threading
from collections import deque
from time import monotonic

from runner.job_queue import REFUSALS, WorkerEnd
from runner.messages import BuildProgressed, Event, HostReport, RunProgressed

log = logging.getLogger(__name__)

#: Seconds between two questions whether a chunk is still wanted.
ASK = 1.0
#: Seconds until an event that Redis refused is offered again.
PAUSE = 1.0

#: Of these only the latest counts: one that has not left when the next is posted never does.
_PASSING = (HostReport, RunProgressed, BuildProgressed)


class Line:
    """Sends events in the order in which they were posted, and knows whether the present chunk is still wanted."""

    def __init__(self, lab: WorkerEnd) -> None:
        """``lab``: a connection that nobody else uses."""
        self._lab = lab
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._sending: Event | None = None
        #: Campaign and chunk that are asked for, and when next.
        self._present: tuple[str, str] | None = None
        self._next_question = 0.0
        self._unwanted = threading.Event()
        self._pause = threading.Event()

    def start(self) -> None:
        """Begin to send."""
        threading.Thread(target=self._run, daemon=True).start()

    def post(self, event: Event) -> None:
        """Send an event as soon as those before it have left."""
        with self._changed:
            if isinstance(event, _PASSING):
                self._waiting = deque(other for other in self._waiting if type(other) is not type(event))
            self._waiting.append(event)
            self._changed.notify_all()

    def is_empty(self) -> bool:
        """Say whether everything that was posted has left."""
        with self._changed:
            return not self._waiting and not self._sending

    def has_left(self, event: Event) -> bool:
        """Say whether an event that was posted has left."""
        with self._changed:
            return not any(other is event for other in (*self._waiting, self._sending))

    def flush(self) -> None:
        """Return when everything that was posted has left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._sending)

    # ---- is it still wanted? ----

    def watch(self, campaign: str, chunk: str = "") -> None:
        """Ask from now on whether a campaign, and a chunk of it, are wanted."""
        with self._changed:
            self._present = (campaign, chunk)
            self._next_question = monotonic() + ASK
            self._unwanted.clear()
            self._changed.notify_all()

    def watch_nothing(self) -> None:
        """Ask no longer."""
        with self._changed:
            self._present = None
            self._unwanted.clear()

    def is_unwanted(self, seconds: float = 0) -> bool:
        """Say whether nobody wants the present chunk any more; wait for that to come true for some seconds."""
        return self._unwanted.wait(seconds)

    # ---- the thread ----

    def _run(self) -> None:
        try:
            self._serve()
        except Exception:  # a worker that could tell nothing any more would be of no use
            log.exception("a line to the lab has ended")
            os._exit(1)

    def _serve(self) -> None:
        while True:
            if event := self._next():
                self._send(event)
                with self._changed:
                    self._sending = None
                    self._changed.notify_all()
            with self._changed:
                present = self._present if monotonic() >= self._next_question else None
            if present:
                self._ask(present)

    def _next(self) -> Event | None:
        """Return the next event; None if a question is due before one is posted."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(max(0.0, self._next_question - monotonic()) if self._present else None)
            if not self._waiting:
                return None
            self._sending = self._waiting.popleft()
            return self._sending

    def _send(self, event: Event) -> None:
        while True:
            try:
                self._lab.post(event)
                return
            except REFUSALS as error:  # the next events must not overtake this one
                log.warning("an event cannot be posted, the next try follows: %s", error)
                self._pause.wait(PAUSE)

    def _ask(self, present: tuple[str, str]) -> None:
        try:
            unwanted = self._lab.is_unwanted(*present)
        except REFUSALS as error:
            log.warning("it is unknown whether %s is still wanted: %s", present, error)
            unwanted = False
        with self._changed:
            self._next_question = monotonic() + ASK
            if unwanted and self._present == present:
                self._unwanted.set()
