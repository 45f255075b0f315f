"""The only module that starts processes, and the one that knows which of the others are whose."""

import ctypes
import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

log = logging.getLogger(__name__)

#: The kernel ends the process with SIGKILL when its parent dies.  util-linux, hence everywhere.
DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")

#: A variable in the environment of everything that a run starts.
MARK = "LABFLEET_RUN"

#: A variable in the environment of connections that outlive the commands that made them, because others share them.
STAYS = "LABFLEET_STAYS"

#: Seconds that killed processes get to vanish; one that hangs in the kernel may never do so.
PATIENCE = 5.0

#: What ``prctl`` calls it, see linux/prctl.h.
_PR_SET_CHILD_SUBREAPER = 36

#: Children that were started here and have not been waited for.  Held while one is started, and while others are ended:
#: nobody may take the one for the other.
_lock = threading.Lock()
_started: set[int] = set()


def mark(home: Path, slot: str) -> str:
    """Return the mark of a slot's simulations."""
    return f"{home}:{slot}"


def end_marked(home: Path) -> None:
    """End all processes that the simulations of a home's slots have started, whoever their parents are."""
    wanted = f"{MARK}={mark(home, '')}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            if any(variable.startswith(wanted) for variable in variables):
                os.kill(int(folder.name), signal.SIGKILL)
        except (OSError, ValueError):
            continue  # it has ended, or is somebody else's


# ---- processes that lost their parent ----------------------------------------------------------------------------


def adopt_orphans() -> None:
    """Make every process below this one that loses its parent a child of this one, from now on."""
    arguments = (ctypes.c_ulong(number) for number in (1, 0, 0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, *arguments) != 0:
        raise OSError(ctypes.get_errno(), "this kernel does not let a process adopt orphans")


def children(pid: int) -> set[int]:
    """Return the process ids of a process's children; none if it has ended."""
    found: set[int] = set()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found.update(map(int, file.read().split()))
    except OSError:  # it, or one of its threads, has just ended
        return found
    return found


def _strays() -> set[int]:
    started = set(_started)  # before: whatever another thread has waited for meanwhile is in neither
    return children(os.getpid()) - started


def strays() -> frozenset[int]:
    """Return the children of this process that it did not start itself: its descendants have left them behind."""
    with _lock:
        return frozenset(_strays())


def is_connection(pid: int) -> bool:
    """Say whether a process is a connection that stays for those who come next."""
    try:
        return f"{STAYS}=1".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended
        return False


def end_strays(spare: Callable[[int], bool] = lambda _: False) -> None:
    """Kill what descendants of this process have left behind, with all that it started, unless it is to be spared."""
    deadline = time.monotonic() + PATIENCE
    with _lock:
        while left := [pid for pid in _strays() if not spare(pid)]:
            for pid in left:
                os.kill(pid, signal.SIGKILL)  # its id cannot be somebody else's before it was waited for
            if not all(_has_vanished(pid, deadline) for pid in left):
                log.warning("these processes do not end: %s", left)
                return


def _has_vanished(pid: int, deadline: float) -> bool:
    """Wait for a child that was killed."""
    handle = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return False
        os.waitpid(pid, 0)
        return True
    finally:
        os.close(handle)


def reap() -> None:
    """Take note of strays that have ended by themselves, so that nothing stays of them; next time, if that had to wait.

    Who calls this tells others that it is alive, and may wait for nothing.
    """
    if not _lock.acquire(blocking=False):
        return
    try:
        for pid in _strays():
            os.waitpid(pid, os.WNOHANG)
    finally:
        _lock.release()


def family(pids: set[int]) -> set[int]:
    """Return processes with all their descendants."""
    found, new = set(pids), set(pids)
    while new:
        new = {child for pid in new for child in children(pid)} - found
        found |= new
    return found


# ---- processes with an end ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What a finished process left."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text without trailing white space."""
        return self.stdout.decode(errors="replace").rstrip()

    @property
    def complaint(self) -> str:
        """Standard error as text, or standard output where that is empty."""
        return (self.stderr or self.stdout).decode(errors="replace").strip()


class CommandFailed(Exception):
    """A process that had to succeed ended with another status than 0."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"{' '.join(result.argv)}: exit status {result.status}\n{result.complaint}")
        self.result = result


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    check: bool = True,
    seconds: float | None = None,
    dies_with_parent: bool = False,
) -> Result:
    """Run a process to its end and return what it printed.

    ``env`` replaces the environment.  Raises CommandFailed for a status other than 0, unless ``check`` is false.
    A program that cannot be started raises OSError; one that does not end in so many seconds is ended and raises
    TimeoutError.
    """
    prefix = DIES_WITH_PARENT if dies_with_parent else ()
    with _lock:
        process = subprocess.Popen(
            [*prefix, *argv],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _started.add(process.pid)
    with process:
        try:
            stdout, stderr = process.communicate(stdin, seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{argv[0]} did not end within {seconds:.0f} s") from None
        finally:
            if process.poll() is None:  # nobody waits for it any more, whatever the reason
                process.kill()
                process.wait()
            _started.discard(process.pid)
    result = Result(tuple(argv), process.returncode, stdout, stderr)
    if check and result.status != 0:
        raise CommandFailed(result)
    return result


def become(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Go on as another program: the process keeps its id and its children.  Raises OSError."""
    os.execve(argv[0], [*argv], dict(env))


class Process:
    """A child process whose end can be waited for together with other things."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        _started.add(pid)
        self._status: int | None = None
        self._handle = os.pidfd_open(pid)
        self._poll = select.poll()
        self._poll.register(self._handle, select.POLLIN)

    def wait(self, seconds: float) -> int | None:
        """Return the exit status (negative: the signal), or None if the process still runs after so many seconds."""
        if self._status is None and self._poll.poll(seconds * 1000):
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            _started.discard(self.pid)
            self._poll.unregister(self._handle)
            os.close(self._handle)
        return self._status

    def signal_group(self, number: int) -> None:
        """Send a signal to the process and everything in its process group."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def signal(self, number: int) -> None:
        """Send a signal to the process alone, if it has not ended."""
        if self._status is None:
            signal.pidfd_send_signal(self._handle, number)


def start(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    output: IO[bytes] | int,
    dies_with_parent: bool = False,
) -> Process:
    """Start a process in a session of its own; both its outputs go to ``output``, its input is empty.

    A program that cannot be started raises OSError.
    """
    prefix = DIES_WITH_PARENT if dies_with_parent else ()
    with _lock:
        popen = subprocess.Popen(
            [*prefix, *argv],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        popen.returncode = 0  # Process waits for it; the module's own clean-up must not
        return Process(popen.pid)
