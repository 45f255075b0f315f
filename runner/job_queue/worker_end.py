"""A worker's end: one job after the other, what that needs to know, and events to the foreman."""

import logging
import signal
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import msgspec
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from runner.job_queue.connection import (
    EVENTS,
    LAB_KEY,
    MACHINES,
    Unwritable,
    campaign_key,
    cancelled_key,
    prepared_key,
    revoked_key,
)
from runner.job_queue.jobs import Handler, job_class
from runner.messages import Event
from runner.model import Campaign, Prepared, decode, encode

log = logging.getLogger(__name__)

#: Events that stay in the stream when nobody reads it.  What went, the store and the machines' reports tell again.
MOST_EVENTS = 200_000

#: Seconds until a worker tries again to serve its queue, after Redis could not write.
PAUSE = 2.0

#: Seconds between looks of an idle worker whether it was told to end, and between signs of its life.
LOOK, HEARTBEAT = 1, 60.0


class WorkerEnd:
    """Does jobs, tells what they need to know, and posts events."""

    def __init__(self, redis: Redis, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: the machine's, to which a campaign of a remote lab adds its own."""
        self._redis, self._environment = redis, dict(environment or {})

    def campaign(self, campaign: str) -> Campaign:
        """Return a campaign's description.  Raises LookupError if nobody keeps it."""
        found: Campaign = decode(self._kept(campaign_key(campaign)), Campaign)
        return msgspec.structs.replace(found, environment={**self._environment, **found.environment})

    def lab_key(self) -> bytes:
        """Return the head's public CURVE key.  Raises LookupError if the head's services have never run."""
        return self._kept(LAB_KEY)

    def machines(self) -> dict[str, str] | None:
        """Return the machines that serve, and with what each compiles; None if the foreman has not told yet."""
        data: Any = self._redis.get(MACHINES)
        if data is None:
            return None
        found: dict[str, str] = decode(bytes(data), dict[str, str])
        return found

    def prepared(self, campaign: str) -> Prepared:
        """Return the outcome of a campaign's build job.  Raises LookupError if nobody keeps it."""
        found: Prepared = decode(self._kept(prepared_key(campaign)), Prepared)
        return found

    def _kept(self, key: str) -> bytes:
        data: Any = self._redis.get(key)
        if data is None:
            raise LookupError(f"{key} is not known (any more)")
        return bytes(data)

    def post(self, event: Event) -> None:
        """Append an event to the stream that the foreman reads."""
        self._redis.xadd(EVENTS, {"event": encode(event)}, maxlen=MOST_EVENTS, approximate=True)

    def is_unwanted(self, campaign: str, chunk: str) -> bool:
        """Say whether a campaign was cancelled or a chunk of it revoked."""
        return bool(self._redis.exists(cancelled_key(campaign), revoked_key(chunk)))

    def serve(self, queue: str, handlers: Mapping[str, Handler]) -> None:
        """Do the jobs of one queue, one after the other, until SIGTERM; while Redis cannot write, there are none.

        One queue only: with several RQ pops by BLPOP, and a job is lost when the worker dies right then.
        """
        told: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: told.append(number))
        while not told:
            worker = _QueueWorker(
                [queue],
                name=f"{queue}-{uuid.uuid4().hex[:12]}",
                connection=self._redis,
                serializer=JSONSerializer,
                job_class=job_class(handlers),
                log_job_description=False,
            )
            worker.serve(told)


class _QueueWorker(SimpleWorker):
    """RQ's worker, which can be told to end at any moment of its life, and never between taking a job and doing it."""

    _told: Sequence[int] = ()

    def serve(self, told: Sequence[int]) -> None:
        """Do jobs until a signal was told, or until Redis cannot write and a pause is over."""
        self._told = told
        try:
            self.work(logging_level="WARNING")
        except Unwritable as error:
            log.warning("Redis cannot write, so there are no jobs; the next try follows: %s", error)
            if not told:
                threading.Event().wait(PAUSE)

    def _install_signal_handlers(self) -> None:
        """Leave signals to who made this.

        RQ's own handler would write to Redis, give a job up when it is told twice, and break off the wait for a job
        even if Redis has just given it one, which nobody would do then.
        """

    def dequeue_job_and_maintain_ttl(self, *_: object) -> tuple[Job, Queue] | None:
        """Wait for a job, or until it is seen that there should be none: None.  RQ's own writes at each look."""
        self.set_state(WorkerStatus.IDLE)
        heartbeat = 0.0
        while not self._told:
            with suppress(DequeueTimeout, RedisAway):  # it was tried again for minutes, and is from now on
                if monotonic() >= heartbeat:
                    self.heartbeat()
                    heartbeat = monotonic() + HEARTBEAT
                return Queue.dequeue_any(
                    self._ordered_queues,
                    LOOK,
                    connection=self.connection,
                    job_class=self.job_class,
                    serializer=self.serializer,
                    death_penalty_class=self.death_penalty_class,
                )
        return None
