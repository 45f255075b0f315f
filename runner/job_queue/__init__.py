"""What goes through Redis: jobs to the workers, events back to the foreman.  The only package that imports rq.

The foreman has a ``JobQueue``, a worker its ``WorkerEnd``; ``connection`` says what is kept where.
"""

from runner.job_queue.connection import (
    BUILD_QUEUE,
    EVENTS,
    LAB_KEY,
    REFUSALS,
    Connection,
    Unwritable,
    connect,
    host_queue,
    read_json_alone,
    url,
)
from runner.job_queue.foreman_end import JobQueue
from runner.job_queue.worker_end import WorkerEnd

__all__ = [
    "BUILD_QUEUE",
    "EVENTS",
    "LAB_KEY",
    "REFUSALS",
    "Connection",
    "JobQueue",
    "Unwritable",
    "WorkerEnd",
    "connect",
    "host_queue",
    "read_json_alone",
    "url",
]
