"""The lab's processes: ``python -m runner.services ROLE``.  Here each role gets its parts put together.

On a local lab one process (``local``) starts the others, starts them again when they die, and ends all of them when the
foreman ends, which it does when nobody has needed the lab for a while.
"""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from runner import shell
from runner.errors import WrongUse
from runner.paths import LabPaths, home

log = logging.getLogger(__name__)


def idle_seconds() -> int:
    """Return the seconds without any campaign or request after which a local lab ends.  Raises WrongUse."""
    return _whole_number("LABFLEET_IDLE_SECONDS", 15 * 60)


def slots() -> int:
    """Return how many runs this machine does at once.  Raises WrongUse."""
    return _whole_number("LABFLEET_SLOTS", len(os.sched_getaffinity(0)))


def _whole_number(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise WrongUse(f"the variable {variable} has to be a whole number from 1, not {text!r}")
    return int(text)


def host() -> str:
    """Return this machine's name as it appears in queues and manifests."""
    return socket.gethostname().split(".")[0] or "localhost"


def _redis_url(paths: LabPaths) -> str:
    return f"unix://{paths.redis_socket}"


def foreman(paths: LabPaths) -> None:
    """Run the foreman."""
    from runner.foreman import Foreman
    from runner.job_queue import JobQueue, connect

    Foreman(paths, JobQueue(connect(_redis_url(paths))), idle_seconds()).run(paths.endpoint("foreman"))


def hub(paths: LabPaths) -> None:
    """Run the log hub."""
    from runner.log_stream import Hub

    Hub(paths).run(paths.endpoint("hub-in"), paths.endpoint("hub"))


def agent(paths: LabPaths) -> None:
    """Run this host's agent."""
    from runner.agent import Agent
    from runner.job_queue import WorkerEnd, connect

    Agent(host(), slots(), paths, WorkerEnd(connect(_redis_url(paths)))).run()


def slot(paths: LabPaths) -> None:
    """Run one slot; its name is the second argument."""
    from runner.job_queue import WorkerEnd, connect, host_queue
    from runner.simulate import Slot

    lab = WorkerEnd(connect(_redis_url(paths)))
    lab.serve(host_queue(host()), {"simulate": Slot(sys.argv[2], host(), paths, lab).simulate})


def builder(paths: LabPaths) -> None:
    """Run the builder."""
    from runner.build import Builder
    from runner.job_queue import BUILD_QUEUE, WorkerEnd, connect

    lab = WorkerEnd(connect(_redis_url(paths)))
    lab.serve(BUILD_QUEUE, {"prepare": Builder(paths, lab).prepare})


# ---- the local lab's own supervisor ------------------------------------------------------------------------------


def _redis_command(paths: LabPaths) -> list[str]:
    return [
        "redis-server",
        *("--port", "0"),
        *("--unixsocket", str(paths.redis_socket)),
        *("--unixsocketperm", "700"),
        *("--dir", str(paths.redis)),
        *("--appendonly", "yes"),
        *("--save", ""),
    ]


def local(paths: LabPaths) -> None:
    """Keep a local lab's services alive until the foreman ends by itself."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    python = [sys.executable, "-m", "runner.services"]
    commands: Mapping[str, list[str]] = {
        "redis": _redis_command(paths),
        "hub": [*python, "hub"],
        "foreman": [*python, "foreman"],
        "agent": [*python, "agent"],
    }
    running: dict[str, shell.Process] = {}
    try:
        while True:
            for name, command in commands.items():
                process = running.get(name)
                status = process.wait(0) if process else None
                if name == "foreman" and status == 0:
                    return
                if process is None or status is not None:
                    if status is not None:
                        log.warning("%s ended with status %s and is started again", name, status)
                    if name == "foreman" and "agent" in running:
                        _end(running["agent"])  # the new foreman does not know the host; its new agent will tell
                    running[name] = _start(name, command, paths)
            running["foreman"].wait(1)
    finally:
        for name in ("agent", "foreman", "hub", "redis"):
            if name in running:
                _end(running[name])
        shell.end_marked(paths.home)
        paths.lab_file.unlink(missing_ok=True)


def _start(name: str, command: list[str], paths: LabPaths) -> shell.Process:
    with (paths.service_logs / f"{name}.log").open("ab") as output:
        return shell.start(command, cwd=paths.home, env=os.environ, output=output, dies_with_parent=True)


def _end(process: shell.Process) -> None:
    process.signal(signal.SIGTERM)
    if process.wait(5) is None:
        process.signal_group(signal.SIGKILL)
        process.wait(5)


ROLES: Mapping[str, Callable[[LabPaths], None]] = {
    "local": local,
    "foreman": foreman,
    "hub": hub,
    "agent": agent,
    "slot": slot,
    "builder": builder,
}


def main() -> None:
    """Run the role that the first argument names."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.Formatter.converter = time.gmtime
    paths = LabPaths(Path(home()))
    ROLES[sys.argv[1]](paths)


if __name__ == "__main__":
    main()
