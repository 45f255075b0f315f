"""The lab's processes: ``python -m runner.services ROLE``.  Here each role gets its parts put together.

On a remote lab systemd keeps them alive.  On a local lab one process (``local``) starts the others, starts them again
when they die, and ends all of them when the foreman ends, which it does when nobody has needed the lab for a while.
"""

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from runner import shell, usage
from runner.machine import Machine, become_deployed, here
from runner.model import Value, encode
from runner.paths import LabPaths

if TYPE_CHECKING:
    from runner.holdings import Lease
    from runner.job_queue import Connection, WorkerEnd
    from runner.line import Line
    from runner.log_stream import Sender

log = logging.getLogger(__name__)

#: Exit status of a local lab's supervisor that finds another one.
RUNS_ALREADY = 75


class LabFile(Value, frozen=True):
    """What runs of a local lab: its supervisor writes it."""

    pid: int
    #: Digest of labfleet's own code.
    code: str
    slots: int


def foreman(machine: Machine) -> None:
    """Run the foreman."""
    from runner.foreman import Foreman
    from runner.job_queue import JobQueue

    Foreman(machine, JobQueue(_redis(machine))).run()


def hub(machine: Machine) -> None:
    """Run the log hub."""
    from runner.log_stream import Hub

    if machine.settings:  # viewers and slots find the new one by themselves
        signal.signal(signal.SIGHUP, lambda *_: become_deployed("hub"))
    Hub(machine.paths, guarded=machine.settings is not None).run(machine.logs, machine.hub)


def web(machine: Machine) -> None:
    """Run the web page."""
    from runner.web.service import serve

    if machine.settings:
        signal.signal(signal.SIGHUP, lambda *_: become_deployed("web"))
    serve(machine)


def check(machine: Machine) -> None:
    """Print what the machine finds out about itself; ``labfleet doctor`` reads it."""
    from runner import self_check

    print(self_check.report(machine))


def environment(_: Machine) -> None:
    """Print the environment of this revision's roles as JSON, for who is to become one of them."""
    print(json.dumps(dict(os.environ)))


def agent(machine: Machine) -> None:
    """Run this host's agent."""
    from runner import head
    from runner.agent import Agent
    from runner.successor import hold_back

    if machine.settings:
        hold_back()
    Agent(machine, _line(machine), head.of(machine)).run()


def slot(machine: Machine) -> None:
    """Run one slot; its name is the second argument."""
    from runner import head
    from runner.job_queue import host_queue
    from runner.simulate import Slot

    shell.adopt_orphans()
    lab, line, lease = _worker_end(machine), _line(machine), _lease(machine)
    slot = Slot(sys.argv[2], machine, lab, head.of(machine), _sender(machine, lab), line, lease)
    lab.serve(host_queue(machine.name), {"simulate": slot.simulate})
    line.flush()


def builder(machine: Machine) -> None:
    """Run the builder; its name is the second argument."""
    from runner import head
    from runner.build import Builder
    from runner.job_queue import BUILD_QUEUE

    shell.adopt_orphans()
    lab, line, lease = _worker_end(machine), _line(machine), _lease(machine)
    builder = Builder(machine, lab, head.of(machine), _sender(machine, lab), line, lease)
    lab.serve(BUILD_QUEUE, {"prepare": builder.prepare})
    line.flush()


# ---- how they reach the others -----------------------------------------------------------------------------------


def _redis(machine: Machine) -> "Connection":
    from runner.job_queue import connect

    return connect(machine.redis, machine.password, machine.authority)


def _worker_end(machine: Machine) -> "WorkerEnd":
    """Return the worker's end; campaigns of a remote lab bring only a part of their environment."""
    from runner.job_queue import WorkerEnd

    own = {name: value for name, value in os.environ.items() if not name.startswith("LABFLEET_")}
    return WorkerEnd(_redis(machine), own if machine.settings else {})


def _line(machine: Machine) -> "Line":
    """Return a worker's line to the lab, with a connection of its own."""
    from runner.line import Line

    line = Line(_worker_end(machine))
    line.start()
    return line


def _lease(machine: Machine) -> "Lease":
    """Return what tells the agent what this worker has."""
    from runner.holdings import Lease

    lease = Lease(sys.argv[2], machine.paths.endpoint("agent"))
    lease.start()
    return lease


def _sender(machine: Machine, lab: "WorkerEnd") -> "Sender":
    """Return a slot's connection to the hub."""
    import zmq

    from runner import curve
    from runner.log_stream import Sender

    access = None
    if machine.settings:
        access = curve.Access(curve.own_keys(machine.paths.keys, "worker"), lab.lab_key())
    return Sender(zmq.Context.instance(), machine.logs, access)


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


def local(machine: Machine) -> None:
    """Keep a local lab's services alive until the foreman ends by itself; the second argument is the code's digest.

    A home has one such process at a time, whoever has started it: the lock goes with it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    lock = machine.paths.local_lock
    with usage.if_free(lock, time.time()) as is_free:
        if not is_free:
            log.warning("another process keeps the services of %s alive: this one is not needed", machine.paths.home)
            sys.exit(RUNS_ALREADY)
        lock.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        _keep_alive(machine)


def _keep_alive(machine: Machine) -> None:
    paths = machine.paths
    python = [sys.executable, "-m", "runner.services"]
    commands: Mapping[str, list[str]] = {
        "redis": _redis_command(paths),
        "hub": [*python, "hub"],
        "foreman": [*python, "foreman"],
        "agent": [*python, "agent"],
        "web": [*python, "web"],
    }
    running: dict[str, shell.Process] = {}
    shell.adopt_orphans()
    try:
        _write(paths, LabFile(os.getpid(), sys.argv[2], machine.slots))
        shell.end_marked(paths.home)  # of a lab that was killed
        paths.web_wanted.unlink(missing_ok=True)
        while True:
            for name, command in commands.items():
                if name == "web" and not paths.web_wanted.exists():
                    continue  # it comes when somebody wants to see it
                process = running.get(name)
                status = process.wait(0) if process else None
                if name == "foreman" and status == 0:
                    return
                if process is None or status is not None:
                    if status is not None:
                        log.warning("%s ended with status %s and is started again", name, status)
                        shell.end_strays()  # an agent's slots and what they ran, or a rewrite of Redis's file
                    running[name] = _start(name, command, paths)
            running["foreman"].wait(1)
            shell.reap()
    finally:
        for name in ("web", "agent", "foreman", "hub", "redis"):
            if name in running:
                _end(running[name])
        shell.end_strays()
        shell.end_marked(paths.home)
        for file in (paths.lab_file, paths.web_wanted):
            file.unlink(missing_ok=True)


def _write(paths: LabPaths, what: LabFile) -> None:
    half = paths.lab_file.with_suffix(".new")
    half.write_bytes(encode(what))
    os.replace(half, paths.lab_file)


def _start(name: str, command: list[str], paths: LabPaths) -> shell.Process:
    with (paths.service_logs / f"{name}.log").open("ab") as output:
        return shell.start(command, cwd=paths.home, env=os.environ, output=output, dies_with_parent=True)


def _end(process: shell.Process) -> None:
    process.signal(signal.SIGTERM)
    if process.wait(5) is None:
        process.signal_group(signal.SIGKILL)
        process.wait(5)


ROLES: Mapping[str, Callable[[Machine], None]] = {
    "local": local,
    "foreman": foreman,
    "hub": hub,
    "web": web,
    "check": check,
    "environment": environment,
    "agent": agent,
    "slot": slot,
    "builder": builder,
}


def main() -> None:
    """Run the role that the first argument names."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.Formatter.converter = time.gmtime
    machine = here()
    if machine.settings:
        logging.getLogger("runner").setLevel(logging.INFO)  # the machine's journal tells what ran there
        machine.paths.sockets.mkdir(mode=0o700, exist_ok=True)
    ROLES[sys.argv[1]](machine)


if __name__ == "__main__":
    main()
