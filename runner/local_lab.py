"""The local lab: head, builder and slots are processes of this user on this machine.

Whoever needs it starts it; it outlives the client, ends when idle, and is replaced when labfleet's code or the number
of slots has changed.
"""

import fcntl
import hashlib
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from functools import cache
from pathlib import Path

import msgspec
import zmq

from runner import ledger, machine, shell
from runner.errors import LabFailed
from runner.lab import PATIENCE, ForemanClient, Lab, LabAway
from runner.messages import Shutdown
from runner.model import decode
from runner.paths import SOURCE, LabPaths, home
from runner.services import RUNS_ALREADY, LabFile

#: Seconds after which a foreman that does not answer is asked again, and it is looked whether the services have ended.
ROUND = 0.5


class Start(Enum):
    """What is done for a client whose lab does not run as it would start it."""

    NEVER = "it is for a look only"
    IF_NONE_RUNS = "services of another version will do, too"
    #: Campaigns begin with the services of this version, and with as many slots as are wanted now.
    AS_WANTED = "others are replaced"


def paths_of_this_user() -> LabPaths:
    """Return the file names of this user's local lab."""
    return LabPaths(Path(home()))


@cache
def code_version() -> str:
    """Return a digest of labfleet's own code: services of another one are replaced."""
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted((SOURCE / "runner").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


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


class LocalLab(Lab):
    """The lab of this user on this machine."""

    def was_stopped(self) -> bool:
        """Say whether no services run: those of campaigns under way do not end by themselves."""
        return running(self.paths) is None


def _lab(paths: LabPaths) -> Lab:
    lab = LocalLab(paths.endpoint("foreman"), paths.endpoint("hub"), paths)
    lab.advice = f"its logs are in {paths.service_logs}; labfleet lab stop --force ends it"
    return lab


def connect(context: "zmq.Context[zmq.Socket[bytes]]", start: Start) -> Lab:
    """Return this user's lab, started or replaced if need be and if that is wanted.

    Raises LabFailed when services do not come up, or would have to be replaced while campaigns are under way.
    """
    if start is Start.NEVER:
        return if_running()
    lab = _lab(paths_of_this_user())
    paths = lab.paths
    wanted = LabFile(0, code_version(), machine.slots())
    if not _fits(_answering(context, lab), wanted, start):
        with _locked(paths):
            while not _fits(found := _answering(context, lab), wanted, start):
                if found:
                    _replace(context, lab)
                _start(context, lab, wanted.code)
    return lab


def _answering(context: "zmq.Context[zmq.Socket[bytes]]", lab: Lab) -> LabFile | None:
    """Return what runs here and answers; None if nothing does.  A lab that was asked does not end as idle for a while.

    Services that are about to end are waited for.  Raises LabAway if they neither answer nor end.
    """
    if (known := _running(lab.paths)) is None:
        return None
    found, handle = known
    client = ForemanClient(context, lab)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(LabAway):
                client.status(ROUND)
                return found
            if _has_ended(handle, 0):
                return None
            if time.monotonic() > deadline:
                raise LabAway(f"the lab's foreman did not answer within {PATIENCE:.0f} s", lab.advice)
    finally:
        client.close()
        os.close(handle)


def _running(paths: LabPaths) -> tuple[LabFile, int] | None:
    """Return what runs here, and a handle of its supervisor; None if nothing does."""
    found = running(paths)
    try:
        return (found, os.pidfd_open(found.pid)) if found else None
    except ProcessLookupError:
        return None


def _fits(found: LabFile | None, wanted: LabFile, start: Start) -> bool:
    if found is None or start is Start.IF_NONE_RUNS:
        return found is not None
    return (found.code, found.slots) == (wanted.code, wanted.slots)


@contextmanager
def _locked(paths: LabPaths) -> Iterator[None]:
    paths.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with paths.lab_lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace(context: "zmq.Context[zmq.Socket[bytes]]", lab: Lab) -> None:
    try:
        _stop(context, lab, force=False)
    except LabFailed as error:
        raise LabFailed(
            f"the lab's services are of another version of labfleet, and busy: {error.message}",
            "wait until its campaigns are done, or end them with: labfleet lab stop --force",
        ) from None


def _start(context: "zmq.Context[zmq.Socket[bytes]]", lab: Lab, code: str) -> None:
    """Start the services and wait until they answer; those that a client had begun to start when it was killed will do.

    Raises LabFailed with the end of the telling log.
    """
    paths = lab.paths
    for program in ("redis-server", "setpriv", "choom", "git"):
        if not shutil.which(program):
            raise LabFailed(
                f"the local lab needs {program}, which is not installed here",
                "install it, or use the machines of a lab: labfleet lab use USER@HEAD",
            )
    for folder in (paths.sockets, paths.service_logs, paths.redis):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if paths.sockets.stat().st_uid != os.getuid():
        raise LabFailed(f"{paths.sockets} belongs to somebody else", "set XDG_RUNTIME_DIR to a folder of your own")
    process = _supervisor(paths, code)
    client = ForemanClient(context, lab)
    try:
        deadline = time.monotonic() + PATIENCE
        is_kept = False
        while not _is_ready(client, running(paths)):
            status = process.wait(0.02)
            if status not in (None, RUNS_ALREADY) or time.monotonic() > deadline:
                process.signal(signal.SIGTERM)
                raise _not_started(paths, is_kept=is_kept)
            if status == RUNS_ALREADY and running(paths) is None:  # that one has not told of itself, or is at its end
                is_kept = True
                threading.Event().wait(ROUND / 5)
                process = _supervisor(paths, code)
    finally:
        client.close()


def _not_started(paths: LabPaths, *, is_kept: bool) -> LabFailed:
    """Return why services did not start; ``is_kept``: there are some, of which nobody here knows."""
    if is_kept and running(paths) is None:
        return LabFailed(
            f"{paths.home} has services already: {paths.local_lock.read_text()}",
            "end that process there, or set LABFLEET_HOME to a folder that only this machine uses",
        )
    return LabFailed(f"the lab's services did not start\n{_last_words(paths)}", f"logs: {paths.service_logs}")


def _supervisor(paths: LabPaths, code: str) -> shell.Process:
    environment = {**os.environ, "LABFLEET_HOME": str(paths.home), "PYTHONPATH": str(SOURCE)}
    argv = [sys.executable, "-m", "runner.services", "local", code]
    with (paths.service_logs / "local.log").open("ab") as output:
        return shell.start(argv, cwd=paths.home, env=environment, output=output)


def _is_ready(client: ForemanClient, found: LabFile | None) -> bool:
    try:
        return found is not None and sum(client.status(ROUND).hosts.values()) >= found.slots
    except LabAway:
        return False


def _last_words(paths: LabPaths) -> str:
    """Return the end of the service log that was written last."""
    logs = sorted(paths.service_logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
    telling = [path for path in logs if path.stat().st_size]
    return telling[-1].read_text(errors="replace")[-600:].strip() if telling else ""


def idle() -> str:
    """Return what to tell a person when no services run; empty while they do."""
    paths = paths_of_this_user()
    if running(paths):
        return ""
    lines = [f"no services are running; a campaign starts them.  Logs: {paths.service_logs}"]
    if names := unfinished(paths):
        lines.append(f"not over: {', '.join(names)}")
        lines.append("  attach, campaigns, explain and cancel start the services, too, and then all of these go on")
    return "\n".join(lines)


def unfinished(paths: LabPaths) -> list[str]:
    """Return the campaigns that go on as soon as services run."""
    return [name for name in ledger.campaigns(paths) if not paths.campaign(name).end.exists()]


def if_running() -> Lab:
    """Return this user's lab, which is not started for that.  Raises LabFailed if no services run."""
    paths = paths_of_this_user()
    if running(paths) is None:
        names = unfinished(paths)
        waits = f"not over: {', '.join(names)}; labfleet attach starts the services, and all of these go on\n"
        raise LabFailed(
            "no services are running" + ("" if names else ", so no campaign is under way"),
            f"{waits if names else ''}a campaign starts them; logs: {paths.service_logs}",
        )
    return _lab(paths)


def stop(force: bool) -> str:
    """End the services of this user's local lab, and return what a person has to know then.

    Raises LabFailed while campaigns are under way, unless forced.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    paths = paths_of_this_user()
    try:
        if not _stop(context, _lab(paths), force):
            return idle()
        names = unfinished(paths)
        interrupted = f"\ninterrupted: {', '.join(names)}\nlabfleet attach  starts the services, and all of them go on"
        return "the lab's services have ended" + (interrupted if names else "")
    finally:
        context.term()


def _stop(context: "zmq.Context[zmq.Socket[bytes]]", lab: Lab, force: bool) -> bool:
    if not force and _answering(context, lab) is None:
        return False
    if (known := _running(lab.paths)) is None:
        return False
    found, handle = known
    client = ForemanClient(context, lab)
    try:
        try:
            client.ask(Shutdown(force), patience=3 if force else PATIENCE)
        except LabFailed:
            if not force:
                raise
            os.kill(found.pid, signal.SIGTERM)
        if not _has_ended(handle, PATIENCE):
            raise LabFailed("the lab's services do not end", f"process {found.pid}; logs: {lab.paths.service_logs}")
    finally:
        client.close()
        os.close(handle)
    return True


def _has_ended(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
