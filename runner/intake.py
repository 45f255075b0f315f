"""What comes in from the workers: events, deliveries that are committed to the result store, and products.

Three threads, one of which waits for Redis, the others for the disk; all hand what they have to the foreman's socket.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable

import zmq

from runner import products, results
from runner.job_queue import JobQueue
from runner.messages import (
    AttemptFailed,
    CampaignPrepared,
    DeliveryFailed,
    ProductMissing,
    RunCommitted,
    RunDelivered,
)
from runner.model import Attempt, Outcome, Past, encode
from runner.paths import LabPaths

log = logging.getLogger(__name__)

#: Deliveries that are committed together.
MOST_COMMITS = 200
#: Seconds until deliveries that could not be written to the disk are tried again.
COMMIT_PAUSE = 2.0


#: What is handed over besides events: Redis answers; Redis is another process than before, and may know less.
BEAT, REPLACED = b"beat", b"replaced"


class Intake:
    """Hands events to a PULL socket inside this process; of deliveries, what became of them."""

    def __init__(
        self, paths: LabPaths, jobs: JobQueue, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str
    ) -> None:
        self._paths, self._jobs, self._context, self._endpoint = paths, jobs, context, endpoint
        self._delivered: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._of_products: queue.SimpleQueue[CampaignPrepared | ProductMissing] = queue.SimpleQueue()
        self._pause = threading.Event()

    def start(self) -> None:
        """Begin with what has arrived while nobody listened; should one of the threads ever end, the process ends."""
        self.look_again()
        for work in (self._read_events, self._commit_deliveries, self._take_products):
            threading.Thread(target=_or_end_all, args=(work,), daemon=True).start()

    def look_again(self) -> list[Outcome]:
        """Take what has arrived complete, even if whoever brought it could not tell any more; return it."""
        arrived = results.arrived(self._paths)
        for outcome in arrived:
            self._delivered.put(outcome)
        return arrived

    def _outlet(self) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.PUSH)
        socket.set(zmq.SNDHWM, 0)
        socket.connect(self._endpoint)
        return socket

    def _read_events(self) -> None:
        socket = self._outlet()
        instance = self._jobs.instance()
        for position, events in self._jobs.events():
            for event in events:
                if isinstance(event, RunDelivered):
                    self._delivered.put(event.outcome)
                elif isinstance(event, ProductMissing) or (isinstance(event, CampaignPrepared) and event.parcels):
                    self._of_products.put(event)
                else:
                    socket.send(encode(event))
            if events:
                self._jobs.drop_events(position)
            # While Redis cannot write, no machine can be heard either: time stands still.
            if now := self._jobs.instance():
                socket.send(REPLACED if instance and now != instance else BEAT)
                instance = now

    def _commit_deliveries(self) -> None:
        socket = self._outlet()
        while True:
            delivered = [self._delivered.get()]
            while len(delivered) < MOST_COMMITS and not self._delivered.empty():
                delivered.append(self._delivered.get())
            try:
                results.commit(self._paths, delivered)
                fates = [self._fate(outcome) for outcome in delivered]
            except OSError as error:
                log.warning("deliveries cannot be committed, the next try follows: %s", error)
                self._pause.wait(COMMIT_PAUSE)
                for outcome in delivered:
                    self._delivered.put(outcome)
                continue
            for event in fates:
                socket.send(encode(event))

    def _take_products(self) -> None:
        """Read products before they are used: those that have arrived, and those that a host finds damaged.

        A campaign is prepared when all its products are here; one that is not is told of as missing.
        """
        socket = self._outlet()
        while True:
            event = self._of_products.get()
            try:
                told = self._told_of(event)
            except OSError as error:
                log.warning("a product cannot be taken, the next try follows: %s", error)
                self._pause.wait(COMMIT_PAUSE)
                self._of_products.put(event)
                continue
            if told is not None:
                socket.send(encode(told))

    def _told_of(self, event: CampaignPrepared | ProductMissing) -> CampaignPrepared | ProductMissing | None:
        match event:
            case CampaignPrepared(campaign):
                # All are taken, whatever becomes of the first ones: what was not delivered well, a host finds missing.
                taken = {key: products.take(self._paths, key, parcel) for key, parcel in event.parcels}
                lacking = [key for key, is_here in taken.items() if not is_here]
                return ProductMissing(campaign, lacking[0], delivered=True) if lacking else event
            case ProductMissing(_, key):
                # Should it be whole, whoever misses it has had bad luck on the way, and tries again.
                return None if products.is_whole(self._paths, key) else event

    def _fate(self, outcome: Outcome) -> RunCommitted | AttemptFailed | DeliveryFailed:
        """Return what became of a delivery."""
        match results.fate(self._paths, outcome):
            case Outcome() as record:
                return RunCommitted(record)
            case Past() as past:
                return AttemptFailed(outcome.campaign, past)
            case None:
                return DeliveryFailed(outcome.campaign, Attempt(outcome.run, outcome.attempt))


def _or_end_all(work: Callable[[], None]) -> None:
    """Do a thread's work; should it ever end, end the process: without it the foreman would be deaf, and not know."""
    try:
        work()
    except Exception:
        log.exception("a thread of the foreman's has ended")
    os._exit(1)
