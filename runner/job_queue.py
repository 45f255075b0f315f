"""What goes through Redis: jobs to the workers, events back to the foreman.  The only module that imports rq.

A job is JSON: the name of a handler and one string.  A worker runs the handlers that it was given and nothing else,
so whoever can write to a queue can order work but not choose code.
"""

import logging
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any
from urllib.parse import quote

import msgspec
from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, DeserializationError
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.worker import WorkerStatus

from runner.messages import Event, WorkerEvent
from runner.model import Campaign, Chunk, Prepared, decode, encode
from runner.refusals import Refusals

log = logging.getLogger(__name__)

#: RQ ends a job after 180 s unless told otherwise, and treats -1 badly; this is three years.
FOREVER = 100_000_000

BUILD_QUEUE = "build"
EVENTS = "labfleet:events"

#: Events that stay in the stream when nobody reads it.  What went, the store and the machines' reports tell again.
MOST_EVENTS = 200_000

#: Seconds until a worker tries again to serve its queue, after Redis could not write.
PAUSE = 2.0

#: Seconds between looks of an idle worker whether it was told to end, and between signs of its life.
LOOK, HEARTBEAT = 1, 60.0

#: Where the head tells its public CURVE key.
LAB_KEY = "labfleet:key"

#: Which machines serve.
MACHINES = "labfleet:machines"

Handler = Callable[[str], None]
Connection = Redis

#: What Redis answers while it cannot write, as its disk is full.
Unwritable = ResponseError
#: What is raised when Redis is away for longer than a connection waits, or refuses something, e.g. for want of disk.
REFUSALS = (RedisError, OSError)


def connect(url: str, password: str = "", authority: str = "") -> "Redis":
    """Return a connection that survives a restart of Redis and waits as long as it has to.

    A ``rediss://`` URL needs the user's password and the file of the authority that vouches for the server.
    """
    secured = {"password": password, "ssl_ca_certs": authority} if url.startswith("rediss:") else {}
    return Redis.from_url(
        url,
        **secured,
        socket_timeout=None,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(cap=5, base=0.1), 100),
    )


def url(redis: str, password: str, authority: str) -> str:
    """Return one URL that says all that :func:`connect` is told."""
    if not redis.startswith("rediss:"):
        return redis
    scheme, _, rest = redis.partition("://")
    user, _, place = rest.partition("@")
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}?ssl_ca_certs={quote(authority)}"


def read_json_alone() -> None:
    """Have RQ take nothing for a pickle in this process, whatever others of its parts would do: that runs code."""
    DefaultSerializer.loads = staticmethod(JSONSerializer.loads)
    DefaultSerializer.dumps = staticmethod(JSONSerializer.dumps)


def host_queue(host: str) -> str:
    """Return the name of the queue that the slots of a host consume."""
    return f"host-{host}"


def _job_class(handlers: Mapping[str, Handler]) -> type[Job]:
    """Return a Job that runs the given handlers only.  RQ's own would import and call any function by its name."""

    class ListedJob(Job):
        def _execute(self) -> None:
            handler = handlers.get(self.func_name or "")
            if handler is None:
                raise ValueError(f"refused: no handler named {self.func_name!r}")
            handler(*self.args)

        # These, too, RQ would import by the names that the job brings.
        success_callback = failure_callback = stopped_callback = None

        def send_webhooks(self, *_: object, **__: object) -> None:
            """Call no address that a job brings."""

    return ListedJob


def _campaign_of(job: Job) -> str | None:
    """Return the campaign that a job of labfleet's belongs to; None for any other job."""
    try:
        if job.func_name == "prepare":
            (argument,) = job.args
            return str(argument)
    except (ValueError, TypeError, DeserializationError):
        return None
    chunk = _chunk_of(job)
    return chunk.campaign if chunk else None


def _chunk_of(job: Job) -> Chunk | None:
    """Return the chunk that a job carries; None for any other job."""
    try:
        (argument,) = job.args
        chunk: Chunk = decode(argument, Chunk)
    except (ValueError, TypeError, DeserializationError):
        return None
    return chunk


#: A job as who puts it into a queue sees it: runs nothing.
_QueuedJob = _job_class({})


class JobQueue:
    """The foreman's end: puts jobs into queues, keeps campaigns where workers find them, reads events."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._refusals = Refusals("job")

    def _queue(self, name: str) -> Queue:
        return Queue(name, connection=self._redis, serializer=JSONSerializer, job_class=_QueuedJob)

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
        return any(_campaign_of(job) == campaign for job in self._jobs_in(self._queue(BUILD_QUEUE)))

    def put_chunk(self, host: str, chunk: Chunk, *, first: bool = False) -> None:
        """Queue a chunk for the slots of a host, behind or (``first``) ahead of what waits there."""
        self._put(host_queue(host), "simulate", encode(chunk).decode(), first=first)

    def forget_chunks(self, campaign: str) -> None:
        """Take the campaign's build job and chunks that nobody has begun out of the queues."""
        for queue in Queue.all(connection=self._redis, serializer=JSONSerializer, job_class=_QueuedJob):
            for job in self._jobs_in(queue):
                if _campaign_of(job) == campaign:
                    job.delete()

    def hosts(self) -> set[str]:
        """Return the hosts for which there are queues."""
        prefix = host_queue("")
        queues = Queue.all(connection=self._redis, serializer=JSONSerializer, job_class=_QueuedJob)
        return {queue.name.removeprefix(prefix) for queue in queues if queue.name.startswith(prefix)}

    def queued(self, host: str) -> set[str]:
        """Return the ids of the chunks that wait in a host's queue."""
        return {chunk.id for job in self._jobs_in(self._queue(host_queue(host))) if (chunk := _chunk_of(job))}

    def take_back(self, host: str) -> set[str]:
        """Take the chunks that no slot has begun out of a host's queue, and return their ids."""
        queue = self._queue(host_queue(host))
        taken = set()
        for job in self._jobs_in(queue):
            chunk = _chunk_of(job)
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
        self._redis.set(f"labfleet:campaign:{campaign.id}", encode(campaign))

    def keep_prepared(self, campaign: str, prepared: Prepared) -> None:
        """Make the outcome of a build job available to workers."""
        self._redis.set(f"labfleet:prepared:{campaign}", encode(prepared))

    def mark_cancelled(self, campaign: str) -> None:
        """Tell the slots that a campaign's runs are no longer wanted."""
        self._redis.set(_cancelled(campaign), "1", ex=7 * 86400)

    def revoke(self, chunk: str) -> None:
        """Tell the slot that has a chunk that it is no longer wanted."""
        self._redis.set(_revoked(chunk), "1", ex=7 * 86400)

    def unmark_cancelled(self, campaign: str) -> None:
        """Let slots do a campaign's runs again."""
        self._redis.delete(_cancelled(campaign))

    def instance(self) -> str | None:
        """Return what tells this Redis process from the one before it; None while it cannot write: its disk is full."""
        told: Any = self._redis.info("server", "persistence")
        return str(told["run_id"]) if told.get("aof_last_write_status", "ok") == "ok" else None

    def drop_campaign(self, campaign: str) -> None:
        """Remove what workers needed to know of a campaign."""
        self._redis.delete(f"labfleet:campaign:{campaign}", f"labfleet:prepared:{campaign}")

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


def _cancelled(campaign: str) -> str:
    return f"labfleet:cancelled:{campaign}"


def _revoked(chunk: str) -> str:
    return f"labfleet:revoked:{chunk}"


def _decoded(fields: Mapping[bytes, bytes], refusals: Refusals) -> WorkerEvent | None:
    try:
        event: WorkerEvent = decode(fields.get(b"event", b""), WorkerEvent)
    except ValueError as error:
        refusals.note(error)
        return None
    return event


class WorkerEnd:
    """A worker's end: what jobs need to know, and events to the foreman."""

    def __init__(self, redis: "Redis", environment: Mapping[str, str] | None = None) -> None:
        """``environment``: the machine's, to which a campaign of a remote lab adds its own."""
        self._redis, self._environment = redis, dict(environment or {})

    def campaign(self, campaign: str) -> Campaign:
        """Return a campaign's description.  Raises LookupError if nobody keeps it."""
        found: Campaign = decode(self._kept(f"labfleet:campaign:{campaign}"), Campaign)
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
        found: Prepared = decode(self._kept(f"labfleet:prepared:{campaign}"), Prepared)
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
        return bool(self._redis.exists(_cancelled(campaign), _revoked(chunk)))

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
                job_class=_job_class(handlers),
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
