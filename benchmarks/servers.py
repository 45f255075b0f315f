"""Servers of a benchmark's own, on free ports of the loopback interface."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

#: Seconds until a server has to listen.
PATIENCE = 30.0


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    argv: Sequence[str], environment: Mapping[str, str], port: int | None = None, log: Path = Path(os.devnull)
) -> Iterator[None]:
    """Have a program run as long as the block lasts, and begin that when it listens at a port.

    ``log``: where that goes which it prints.  Raises OSError if it ends, or does not listen in time.
    """
    with log.open("wb") as output, subprocess.Popen(argv, env=environment, stdout=output, stderr=output) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while port and not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise OSError(f"{argv[0]} does not run")
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
