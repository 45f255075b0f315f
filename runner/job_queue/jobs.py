"""A job is JSON: the name of a handler and one string.

A worker runs the handlers that it was given and nothing else, so whoever can write to a queue can order work but not
choose code.
"""

from collections.abc import Callable, Mapping

from rq.exceptions import DeserializationError
from rq.job import Job

from runner.model import Chunk, decode

#: RQ ends a job after 180 s unless told otherwise, and treats -1 badly; this is three years.
FOREVER = 100_000_000

Handler = Callable[[str], None]


def job_class(handlers: Mapping[str, Handler]) -> type[Job]:
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


def campaign_of(job: Job) -> str | None:
    """Return the campaign that a job of labfleet's belongs to; None for any other job."""
    try:
        if job.func_name == "prepare":
            (argument,) = job.args
            return str(argument)
    except (ValueError, TypeError, DeserializationError):
        return None
    chunk = chunk_of(job)
    return chunk.campaign if chunk else None


def chunk_of(job: Job) -> Chunk | None:
    """Return the chunk that a job carries; None for any other job."""
    try:
        (argument,) = job.args
        chunk: Chunk = decode(argument, Chunk)
    except (ValueError, TypeError, DeserializationError):
        return None
    return chunk


#: A job as who puts it into a queue sees it: runs nothing.
QueuedJob = job_class({})
