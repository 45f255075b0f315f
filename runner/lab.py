"""Where a lab's services are, and for the local lab: that they run.

The local lab consists of processes of this user.  Whoever needs it starts it; it outlives the client, ends when idle,
and is replaced when labfleet's code or the number of slots has changed.
"""

import fcntl
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import zmq

from runner import shell
from runner.errors import LabFailed
from runner.model import AnyAnswer, AnyRequest, AskStatus, Refused, Shutdown, Status, Value, decode, encode
from runner.paths import SOURCE, LabPaths, home

#: Seconds that services get to start, and the foreman to answer.
PATIENCE = 20.0


class LabFile(Value):
    """What runs: written by whoever started it."""

    pid: int
    #: Digest of labfleet's own code.
    code: str
    slots: int


def code_version() -> str:
    """Return a digest of labfleet's own code: services of another one are replaced."""
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted((SOURCE / "runner").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Lab:
    """What a client has to know of a lab."""

    foreman: str
    hub: str
    #: Names of the store's and server's files as the client reaches them.
    paths: LabPaths

    def git_server(self, project: str) -> str:
        """Return where a project's snapshots are pushed."""
        return str(self.paths.repository(project))


class ForemanClient:
    """A client's connection to the foreman."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", lab: Lab) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.set(zmq.LINGER, 1000)
        self.socket.connect(lab.foreman)
        self._lab = lab

    def ask(self, request: AnyRequest, patience: float = PATIENCE) -> AnyAnswer:
        """Return the foreman's answer.  Raises LabFailed if it refuses or does not answer in time."""
        self.socket.send(encode(request))
        if not self.socket.poll(patience * 1000):
            raise LabFailed(
                f"the lab's foreman did not answer within {patience:.0f} s",
                f"its logs are in {self._lab.paths.service_logs}; labfleet lab stop --force ends it",
            )
        answer: AnyAnswer = decode(self.socket.recv(), AnyAnswer)
        if isinstance(answer, Refused):
            raise LabFailed(answer.message, answer.hint)
        return answer

    def receive(self, kind: Any) -> Any:
        """Return the next message, or None if there is none."""
        if not self.socket.poll(0):
            return None
        return decode(self.socket.recv(), kind)

    def close(self) -> None:
        """Let what was sent leave, and close."""
        self.socket.close()


# ---- the local lab -----------------------------------------------------------------------------------------------


def local_paths() -> LabPaths:
    """Return the file names of this user's local lab."""
    return LabPaths(Path(home()))


def running(paths: LabPaths) -> LabFile | None:
    """Return what runs here; None if nothing does."""
    try:
        found: LabFile = decode(paths.lab_file.read_bytes(), LabFile)
        os.kill(found.pid, 0)
    except (OSError, msgspec.DecodeError):
        return None
    return found if _is_supervisor(found.pid) else None


def _is_supervisor(pid: int) -> bool:
    """Say whether a process is a lab's supervisor, and not another one that got its number later."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"runner.services" in words and b"local" in words


def connect(context: "zmq.Context[zmq.Socket[bytes]]") -> Lab:
    """Return this user's lab, started or replaced if need be.

    Raises LabFailed when services do not come up, or would have to be replaced while campaigns are under way.
    """
    paths = local_paths()
    lab = Lab(paths.endpoint("foreman"), paths.endpoint("hub"), paths)
    wanted = LabFile(0, code_version(), _slots())
    if not _fits(running(paths), wanted):
        with _locked(paths):
            found = running(paths)
            if not _fits(found, wanted):
                if found:
                    _replace(context, lab)
                _start(context, lab, wanted)
    return lab


def _slots() -> int:
    from runner.services import slots

    return slots()


def _fits(found: LabFile | None, wanted: LabFile) -> bool:
    return found is not None and (found.code, found.slots) == (wanted.code, wanted.slots)


@contextmanager
def _locked(paths: LabPaths) -> Iterator[None]:
    paths.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with paths.lab_lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace(context: "zmq.Context[zmq.Socket[bytes]]", lab: Lab) -> None:
    try:
        stop(context, lab.paths, force=False)
    except LabFailed as error:
        raise LabFailed(
            f"the lab's services are of another version of labfleet, and busy: {error.message}",
            "wait until its campaigns are done, or end them with: labfleet lab stop --force",
        ) from None


def _start(context: "zmq.Context[zmq.Socket[bytes]]", lab: Lab, wanted: LabFile) -> None:
    """Start the services and wait until they answer.  Raises LabFailed with the end of the telling log."""
    paths = lab.paths
    for folder in (paths.sockets, paths.service_logs, paths.redis):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if paths.sockets.stat().st_uid != os.getuid():
        raise LabFailed(f"{paths.sockets} belongs to somebody else", "set XDG_RUNTIME_DIR to a folder of your own")
    environment = {**os.environ, "LABFLEET_HOME": str(paths.home), "PYTHONPATH": str(SOURCE)}
    with (paths.service_logs / "local.log").open("ab") as output:
        process = shell.start(
            [sys.executable, "-m", "runner.services", "local"], cwd=paths.home, env=environment, output=output
        )
    half = paths.lab_file.with_suffix(".new")
    half.write_bytes(encode(LabFile(process.pid, wanted.code, wanted.slots)))
    os.replace(half, paths.lab_file)
    client = ForemanClient(context, lab)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _is_ready(client, wanted.slots):
            if process.wait(0.02) is not None or time.monotonic() > deadline:
                process.signal_group(signal.SIGTERM)
                raise LabFailed(f"the lab's services did not start\n{_last_words(paths)}", f"logs: {paths.service_logs}")
    finally:
        client.close()


def _is_ready(client: ForemanClient, slots: int) -> bool:
    answer = client.ask(AskStatus())
    return isinstance(answer, Status) and sum(answer.hosts.values()) >= slots


def _last_words(paths: LabPaths) -> str:
    """Return the end of the service log that was written last."""
    logs = sorted(paths.service_logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
    telling = [path for path in logs if path.stat().st_size]
    return telling[-1].read_text(errors="replace")[-600:].strip() if telling else ""


def status(context: "zmq.Context[zmq.Socket[bytes]]", paths: LabPaths) -> Status:
    """Return what the running lab does.  Raises LabFailed if it does not answer."""
    client = ForemanClient(context, Lab(paths.endpoint("foreman"), paths.endpoint("hub"), paths))
    try:
        answer = client.ask(AskStatus())
    finally:
        client.close()
    assert isinstance(answer, Status)
    return answer


def stop(context: "zmq.Context[zmq.Socket[bytes]]", paths: LabPaths, force: bool) -> bool:
    """End the local lab's services; False if none run.  Raises LabFailed if campaigns are under way, unless forced."""
    found = running(paths)
    if found is None:
        return False
    handle = os.pidfd_open(found.pid)
    try:
        client = ForemanClient(context, Lab(paths.endpoint("foreman"), paths.endpoint("hub"), paths))
        try:
            client.ask(Shutdown(force), patience=3 if force else PATIENCE)
        except LabFailed:
            if not force:
                raise
            os.kill(found.pid, signal.SIGTERM)
        finally:
            client.close()
        if not _ended(handle, PATIENCE):
            raise LabFailed("the lab's services do not end", f"process {found.pid}; logs: {paths.service_logs}")
    finally:
        os.close(handle)
    return True


def _ended(handle: int, seconds: float) -> bool:
    import select

    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
