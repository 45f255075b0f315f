"""The uploader, one per host: brings finished attempts from the spool to the head, many over one connection.

A slot puts an attempt's folder into the spool, tells the uploader, and is free for the next run at once.  What the head
does not take, because it is away or its disk is full, is offered again for as long as it takes.
"""

import errno
import logging
import shutil
import threading
import time
from collections import Counter

import zmq

from runner import results
from runner.head import Head
from runner.line import Line
from runner.messages import DeliveryFailed, RunDelivered
from runner.model import Attempt, Outcome
from runner.paths import AttemptPaths, LabPaths, parsed_parcel

log = logging.getLogger(__name__)

#: Attempts that travel together.
MOST_TOGETHER = 200
#: Milliseconds between looks into the spool, for what nobody has told of.
LOOK = 500
#: Seconds until what could not be delivered is tried again: at first, and at most.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
#: Deliveries that fail one after the other until it is the head's fault.
MOST_FAILURES = 2
#: Seconds without success after which that is worth telling.
TROUBLE = 2.0

#: Why an attempt cannot be read that will never be readable; all else may be well again, e.g. when the disk has room.
_DAMAGED = frozenset(
    {
        *{errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.ELOOP, errno.EINVAL},
        *{errno.EACCES, errno.EPERM, errno.ENAMETOOLONG},
    }
)


class Uploader:
    """Delivers what slots have finished, in a thread of its own."""

    def __init__(self, paths: LabPaths, head: Head, line: Line) -> None:
        self._paths, self._head, self._line = paths, head, line
        self._tries: Counter[str] = Counter()
        self._pause = SHORTEST_PAUSE
        self._next_try = 0.0
        self._failing_since: float | None = None
        self._reason = ""
        self._hurries = False
        self._stops = False
        self._inbox: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PULL)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin with what a predecessor has left in the spool."""
        self._paths.spool.mkdir(parents=True, exist_ok=True)
        self._inbox.bind(self._paths.endpoint("uploader"))
        self._thread.start()

    def waiting(self) -> list[str]:
        """Return the names of what is in the spool."""
        return [path.name for path in self._paths.spool.iterdir() if not path.name.startswith(".")]

    def stop(self) -> None:
        """Let nothing begin any more; what is under way is delivered."""
        self._stops = True

    def is_stopped(self) -> bool:
        """Say whether nothing is under way any more."""
        return not self._thread.is_alive()

    @property
    def trouble(self) -> str:
        """Why nothing gets through, in a sentence; empty if all is well."""
        since = self._failing_since
        if since is None or time.monotonic() - since < TROUBLE:
            return ""
        return f"results cannot be delivered to the head: {self._reason}"

    def _run(self) -> None:
        while not self._stops:
            try:
                self._deliver_due(self._told())
            except Exception:  # whatever it was: without this thread nothing would ever be delivered, and nobody know
                log.exception("the uploader goes on")
                self._hurries = False
        self._inbox.close(0)

    def _told(self) -> list[str]:
        """Return what slots have told of; if they told nothing for a while, everything that there is."""
        if self._hurries or not self._inbox.poll(LOOK):
            return self.waiting()
        names = [self._inbox.recv().decode()]
        while self._inbox.poll(0):
            names.append(self._inbox.recv().decode())
        # What a predecessor left, or what was found in the spool, is told by its slot, too: it may be gone by now.
        return [name for name in dict.fromkeys(names) if (self._paths.spool / name).exists()]

    def _deliver_due(self, names: list[str]) -> None:
        may_try = time.monotonic() >= self._next_try
        due = [name for name in names if may_try or name not in self._tries]
        due.sort(key=lambda name: self._tries[name])
        self._hurries = len(due) > MOST_TOGETHER
        self._deliver(due[:MOST_TOGETHER])

    def _deliver(self, names: list[str]) -> None:
        """Deliver attempts and tell the foreman."""
        sealed: dict[str, Outcome] = {}
        for name in names:
            try:
                sealed[name] = results.sealed(AttemptPaths(self._paths.spool / name))
            except ValueError as error:
                self._give_back(name, error)
            except OSError as error:
                if error.errno in _DAMAGED:
                    self._give_back(name, error)
                else:
                    self._failed([name], error)
        failures = 0
        for group in self._groups(list(sealed)):
            try:
                self._head.deliver(self._paths.spool / name for name in group)
            except OSError as error:
                self._failed(group, error)
                failures += 1
                if failures == MOST_FAILURES:  # the others have their turn next
                    break
            else:
                failures = 0
                self._pause, self._failing_since = SHORTEST_PAUSE, None
                for name in group:
                    self._tries.pop(name, None)
                    self._line.post(RunDelivered(sealed[name]))

    def _groups(self, names: list[str]) -> list[list[str]]:
        """Return what travels together: what has failed before goes alone, so that it holds up no other."""
        fresh = [name for name in names if name not in self._tries]
        alone = [[name] for name in names if name in self._tries]
        return [fresh, *alone] if fresh else alone

    def _failed(self, names: list[str], error: Exception) -> None:
        """Take note of a failure; the next try follows."""
        log.warning("%s cannot be delivered: %s", ", ".join(names), error)
        self._tries.update(names)
        self._reason = str(error)
        if self._failing_since is None:
            self._failing_since = time.monotonic()
        if time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + self._pause
            self._pause = min(LONGEST_PAUSE, 2 * self._pause)

    def _give_back(self, name: str, error: Exception) -> None:
        """Let the foreman begin a run again whose files are damaged or missing; what there is of them goes."""
        log.warning("%s is given back: %s", name, error)
        self._tries.pop(name, None)
        shutil.rmtree(self._paths.spool / name, ignore_errors=True)
        if attempt := parsed_parcel(name):
            campaign, run, number = attempt
            self._line.post(DeliveryFailed(campaign, Attempt(run, number)))
