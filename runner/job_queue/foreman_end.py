"""The foreman's end: jobs into queues, what workers need to know, and events from them."""

import logging
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from redis import Redis
from rq import Queue
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.serializers import JSONSerializer

from runner.job_queue.connection import (
    BUILD_QUEUE,
    EVENTS,
    LAB_KEY,
    MACHINES,
    Unwritable,
    campaign_key,
    cancelled_key,
    host_queue,
    prepared_key,
    revoked_key,
)
from runner.job_queue.jobs import FOREVER, QueuedJob, campaign_of, chunk_of
from runner.messages import WorkerEvent
from runner.model import Campaign, Chunk, Prepared, decode, encode
from runner.refusals import Refusals

log = logging.getLogger(__name__)


class JobQueue:
    """Puts jobs into queues, keeps campaigns where workers find them, reads events."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._refusals = Refusals("job")

    def _queue(self, name: str) -> Queue:
        return Queue(name, connection=self._redis, serializer=JSONSerializer, job_class=QueuedJob)

    def _put(self, queue: str, handler: str, argument: str, *, first: bool = False) -> None:
        self._queue(queue).enqueue_call(
            handler,
            args=(argument,),
            job_id=f"{handler}-{uuid.uuid4().hex}",
            timeout=FOREVER,
            result_ttl=0,
            failure_ttl=86400,
            description=argument[:200],
            at_front=first,
        )

    def _jobs_in(self, queue: Queue) -> Iterator[Job]:
        """Yield what waits in a queue; what cannot be read as a job is taken out."""
        for name in queue.get_job_ids():
            try:
                job = queue.fetch_job(name)
            except (ValueError, TypeError, KeyError, AttributeError, AssertionError, DeserializationError) as error:
                self._refusals.note(error)
                self._redis.lrem(queue.key, 0, name)
                continue
            if job is not None:
                yield job

    def put_build(self, campaign: str) -> None:
        """Queue the build job of a campaign."""
        self._put(BUILD_QUEUE, "prepare", campaign)

    def has_build(self, campaign: str) -> bool:
        """Say whether the build job of a campaign waits for a builder."""
        return any(campaign_of(job) == campaign for job in self._jobs_in(self._queue(BUILD_QUEUE)))

    def put_chunk(self, host: str, chunk: Chunk, *, first: bool = False) -> None:
        """Queue a chunk for the slots of a host, behind or (``first``) ahead of what waits there."""
        self._put(host_queue(host), "simulate", encode(chunk).decode(), first=first)

    def forget_chunks(self, campaign: str) -> None:
        """Take the campaign's build job and chunks that nobody has begun out of the queues."""
        for queue in Queue.all(connection=self._redis, serializer=JSONSerializer, job_class=QueuedJob):
            for job in self._jobs_in(queue):
                if campaign_of(job) == campaign:
                    job.delete()

    def hosts(self) -> set[str]:
        """Return the hosts for which there are queues."""
        prefix = host_queue("")
        queues = Queue.all(connection=self._redis, serializer=JSONSerializer, job_class=QueuedJob)
        return {queue.name.removeprefix(prefix) for queue in queues if queue.name.startswith(prefix)}

    def queued(self, host: str) -> set[str]:
        """Return the ids of the chunks that wait in a host's queue."""
        return {chunk.id for job in self._jobs_in(self._queue(host_queue(host))) if (chunk := chunk_of(job))}

    def take_back(self, host: str) -> set[str]:
        """Take the chunks that no slot has begun out of a host's queue, and return their ids."""
        queue = self._queue(host_queue(host))
        taken = set()
        for job in self._jobs_in(queue):
            chunk = chunk_of(job)
            # Whoever removes the job from the list has it: a slot may pop it at the same time.
            if chunk and self._redis.lrem(queue.key, 1, job.id):
                job.delete()
                taken.add(chunk.id)
        return taken

    def keep_lab_key(self, key: str) -> None:
        """Tell the workers the head's public CURVE key."""
        self._redis.set(LAB_KEY, key)

    def keep_machines(self, compilers: Mapping[str, str]) -> None:
        """Tell the workers which machines serve, and with what each compiles."""
        self._redis.set(MACHINES, encode(dict(compilers)))

    def keep_campaign(self, campaign: Campaign) -> None:
        """Make a campaign's description available to workers."""
        self._redis.set(campaign_key(campaign.id), encode(campaign))

    def keep_prepared(self, campaign: str, prepared: Prepared) -> None:
        """Make the outcome of a build job available to workers."""
        self._redis.set(prepared_key(campaign), encode(prepared))

    def mark_cancelled(self, campaign: str) -> None:
        """Tell the slots that a campaign's runs are no longer wanted."""
        self._redis.set(cancelled_key(campaign), "1", ex=7 * 86400)

    def revoke(self, chunk: str) -> None:
        """Tell the slot that has a chunk that it is no longer wanted."""
        self._redis.set(revoked_key(chunk), "1", ex=7 * 86400)

    def unmark_cancelled(self, campaign: str) -> None:
        """Let slots do a campaign's runs again."""
        self._redis.delete(cancelled_key(campaign))

    def instance(self) -> str | None:
        """Return what tells this Redis process from the one before it; None while it cannot write: its disk is full."""
        told: Any = self._redis.info("server", "persistence")
        return str(told["run_id"]) if told.get("aof_last_write_status", "ok") == "ok" else None

    def drop_campaign(self, campaign: str) -> None:
        """Remove what workers needed to know of a campaign."""
        self._redis.delete(campaign_key(campaign), prepared_key(campaign))

    def events(self, last: str = "0") -> Iterator[tuple[str, list[WorkerEvent]]]:
        """Yield (position, events) for what was posted after ``last``; drop what is no event.

        About once a second it yields even if there is none: so one knows that Redis answers.
        """
        refusals = Refusals("event")
        while True:
            answer: Any = self._redis.xread({EVENTS: last}, count=1000, block=1000)
            if not answer:
                yield last, []
            for _, entries in answer or ():
                last = entries[-1][0].decode()
                yield last, [event for _, fields in entries if (event := _decoded(fields, refusals)) is not None]

    def drop_events(self, until: str) -> None:
        """Remove the events up to and including one; they have been dealt with."""
        milliseconds, _, sequence = until.partition("-")
        try:
            self._redis.xtrim(EVENTS, minid=f"{milliseconds}-{int(sequence or 0) + 1}", approximate=False)
        except Unwritable as error:
            log.warning("events stay in Redis for now: %s", error)


def _decoded(fields: Mapping[bytes, bytes], refusals: Refusals) -> WorkerEvent | None:
    try:
        event: WorkerEvent = decode(fields.get(b"event", b""), WorkerEvent)
    except ValueError as error:
        refusals.note(error)
        return None
    return event
