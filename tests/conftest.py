"""What several test modules share: real servers, and waiting without sleeping blindly."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from xdist.scheduler import LoadScopeScheduling

from runner import shell

#: Where the tests with machines are; relative to the root, as in the names of tests.
MACHINES = "tests/lab/"


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Has one process do what is in a file, where there are several, and one of them all that has machines."""

    def _split_scope(self, nodeid: str) -> str:
        return MACHINES if nodeid.startswith(MACHINES) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Decide which process does what."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have machines first: they take longest, and what has none is done meanwhile."""
    items.sort(key=lambda item: not item.nodeid.startswith(MACHINES))


def needs(command: str) -> None:
    """Skip a test whose server is not installed; fail where everything has to be there (CI=true)."""
    if shutil.which(command) is None:
        reason = f"{command} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def eventually(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until a condition holds; fail with what was waited for if it does not in time."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s in vain for: {what}")
        pause.wait(0.01)


@pytest.fixture
def waited_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for processes for which those who start them do not wait; else they stay children of the tests' process."""
    processes: list[shell.Process] = []
    start = shell.start

    def remembered(*args: Any, **options: Any) -> shell.Process:
        processes.append(start(*args, **options))
        return processes[-1]

    monkeypatch.setattr(shell, "start", remembered)
    yield
    for process in processes:
        eventually(lambda process=process: process.wait(0) is not None, "the end of a process")  # type: ignore[misc]


@contextmanager
def running_redis(folder: str) -> Iterator[str]:
    """Run a Redis of the tests' own in a folder with a short name, and return its URL."""
    socket = f"{folder}/redis"
    options = ["--port", "0", "--unixsocket", socket, "--dir", folder, "--save", "", "--appendonly", "no"]
    with subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: server.poll() is not None or _answers(f"unix://{socket}"), "redis-server")
            assert server.poll() is None
            yield f"unix://{socket}"
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    try:
        with Redis.from_url(url) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Return the URL of a Redis that all tests use, one after the other."""
    needs("redis-server")
    with tempfile.TemporaryDirectory(prefix="lf-", dir="/tmp") as folder, running_redis(folder) as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """Return the URL of an empty Redis."""
    with Redis.from_url(redis_server) as redis:
        redis.flushall()
    return redis_server
