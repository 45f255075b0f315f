"""The only module that starts processes."""

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

#: The kernel ends the process with SIGKILL when its parent dies.  util-linux, hence everywhere.
DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


#: A variable in the environment of everything that a run starts.
MARK = "LABFLEET_RUN"


def mark(home: Path, slot: str) -> str:
    """Return the mark of a slot's simulations."""
    return f"{home}:{slot}"


def end_marked(home: Path, slot: str = "") -> None:
    """End all processes that the simulations of a slot, or of all slots, have started, whoever their parents are."""
    wanted = f"{MARK}={mark(home, slot)}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            if wanted in variables or (not slot and any(variable.startswith(wanted) for variable in variables)):
                os.kill(int(folder.name), signal.SIGKILL)
        except (OSError, ValueError):
            continue  # it has ended, or is somebody else's


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
) -> Result:
    """Run a process to its end and return what it printed.

    ``env`` replaces the environment.  Raises CommandFailed for a status other than 0, unless ``check`` is false.
    A program that cannot be started raises OSError; one that does not end in so many seconds is ended and raises
    TimeoutError.
    """
    try:
        done = _run(argv, cwd=cwd, env=env, stdin=stdin, seconds=seconds)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{argv[0]} did not end within {seconds:.0f} s") from None
    result = Result(tuple(argv), done.returncode, done.stdout, done.stderr)
    if check and result.status != 0:
        raise CommandFailed(result)
    return result


def _run(
    argv: Sequence[str], *, cwd: Path | None, env: Mapping[str, str] | None, stdin: bytes | None, seconds: float | None
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        argv,
        cwd=cwd,
        env=env,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        check=False,
        timeout=seconds,
    )


def become(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Go on as another program: the process keeps its id and its children.  Raises OSError."""
    os.execve(argv[0], [*argv], dict(env))


class Process:
    """A child process whose end can be waited for together with other things."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None
        self._handle = os.pidfd_open(pid)
        self._poll = select.poll()
        self._poll.register(self._handle, select.POLLIN)

    def wait(self, seconds: float) -> int | None:
        """Return the exit status (negative: the signal), or None if the process still runs after so many seconds."""
        if self._status is None and self._poll.poll(seconds * 1000):
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
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
