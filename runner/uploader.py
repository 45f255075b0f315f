"""The uploader, one per host: brings finished attempts from the spool to the head, many over one connection.

A slot puts an attempt's folder into the spool, tells the uploader, and is free for the next run at once.
"""

import logging
import shutil
import threading
from collections import Counter
from pathlib import Path

import zmq

from runner import results
from runner.head import Head
from runner.job_queue import WorkerEnd
from runner.messages import DeliveryFailed, RunDelivered
from runner.model import Attempt, Outcome
from runner.paths import AttemptPaths, LabPaths, parsed_parcel

log = logging.getLogger(__name__)

#: How often an attempt's delivery is tried, about twice a second.
MOST_TRIES = 240
#: Attempts that travel together.
MOST_TOGETHER = 200
#: Milliseconds until what could not be delivered is tried again.
PAUSE = 500


class Uploader:
    """Delivers what slots have finished, in a thread of its own."""

    def __init__(self, paths: LabPaths, head: Head, lab: WorkerEnd) -> None:
        self._paths, self._head, self._lab = paths, head, lab
        self._tries: Counter[str] = Counter()
        self._at_work = threading.Lock()
        self._inbox = zmq.Context().socket(zmq.PULL)

    def start(self) -> None:
        """Begin with what a predecessor has left in the spool."""
        self._paths.spool.mkdir(parents=True, exist_ok=True)
        for half in self._paths.spool.glob(".*"):  # of slots that died while they moved files there
            shutil.rmtree(half, ignore_errors=True)
        self._inbox.bind(self._paths.endpoint("uploader"))
        threading.Thread(target=self._run, daemon=True).start()

    def is_done(self) -> bool:
        """Say whether everything that was in the spool is delivered."""
        return not any(self._paths.spool.iterdir())

    def pause(self) -> None:
        """Return when nothing is under way, and let nothing begin any more."""
        self._at_work.acquire()

    def _run(self) -> None:
        left = [path.name for path in self._paths.spool.iterdir()]
        while True:
            names = left
            if self._inbox.poll(PAUSE if left else None):
                names.append(self._inbox.recv().decode())
                while self._inbox.poll(0):
                    names.append(self._inbox.recv().decode())
            with self._at_work:
                # What a predecessor left is told by its slot, too: it may be gone by now.
                there = [name for name in dict.fromkeys(names) if (self._paths.spool / name).exists()]
                left = self._deliver(there[:MOST_TOGETHER]) + there[MOST_TOGETHER:]

    def _deliver(self, names: list[str]) -> list[str]:
        """Deliver attempts, tell the foreman, and return the names of those that are left for another try."""
        sealed: dict[str, Outcome] = {}
        left = []
        for name in names:
            try:
                sealed[name] = results.sealed(AttemptPaths(self._paths.spool / name))
            except (OSError, ValueError) as error:
                left += self._failed(name, error)
        for group in self._groups(list(sealed)):
            try:
                self._head.deliver(self._paths.spool / name for name in group)
            except OSError as error:
                for name in group:
                    left += self._failed(name, error)
            else:
                for name in group:
                    self._tries.pop(name, None)
                    self._lab.post(RunDelivered(sealed[name]))
        return left

    def _groups(self, names: list[str]) -> list[list[str]]:
        """Return what travels together: what has failed before goes alone, so that it holds up no other."""
        fresh = [name for name in names if not self._tries[name]]
        alone = [[name] for name in names if self._tries[name]]
        return [fresh, *alone] if fresh else alone

    def _failed(self, name: str, error: Exception) -> list[str]:
        """Take note of a failure; return what is to be tried again."""
        log.warning("%s cannot be delivered: %s", name, error)
        self._tries[name] += 1
        if self._tries[name] < MOST_TRIES:
            return [name]
        self._give_back(name)
        return []

    def _give_back(self, name: str) -> None:
        """Let the foreman begin a run again whose files cannot be delivered; what there is of them goes."""
        shutil.rmtree(Path(self._paths.spool / name), ignore_errors=True)
        if attempt := parsed_parcel(name):
            campaign, run, number = attempt
            self._lab.post(DeliveryFailed(campaign, Attempt(run, number)))
