"""Running the commands of a build: what they print is streamed and kept, how far they are is told."""

import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runner import compilations, distcc, omnetpp, shell
from runner.errors import BuildFailed
from runner.line import Line
from runner.log_stream import BUILD_STREAM, GrowingLog, Sender
from runner.messages import BuildProgressed

#: Seconds between two reports of how far a build is.
PULSE = 1.0

#: Lines of the compiler's that a person is shown when a build fails.
SHOWN_ERRORS = 12

#: What to do when a build command is missing.
BUILD_HINTS = {
    "opp_makemake": "set OMNeT++'s environment first: source setenv in its folder, then call labfleet again",
    "opp_featuretool": "set OMNeT++'s environment first: source setenv in its folder, then call labfleet again",
    "make": "install make",
}

#: What to do when OMNeT++ itself was not compiled for the mode.
MODE_HINT = "OMNeT++ must have been compiled for the mode {mode}; of a lab, labfleet_omnetpp in its inventory says"


#: Seconds that a command has to end when nobody wants it any more.
GRACE = 2.0


class Maker:
    """Runs the build commands of one campaign, one after the other; all that they print makes one log."""

    def __init__(self, campaign: str, log_file: Path, sender: Sender, line: Line) -> None:
        self._campaign, self._file, self._sender, self._line = campaign, log_file, sender, line
        self._log: GrowingLog | None = None

    def close(self) -> None:
        """Say that the log ends, if there is one."""
        if self._log:
            self._log.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        what: str,
        cwd: Path,
        environment: Mapping[str, str],
        in_good_order: Callable[[], None],
    ) -> None:
        """Run a command that builds ``what``.  Raises BuildFailed.

        ``in_good_order``: called before that if it is make that failed, and ended by itself: so what there is is whole.
        """
        environment = {**environment, "PWD": str(cwd)}  # make does not look where it is; the client's is elsewhere
        command = shlex.join(argv)
        growing = self._growing()
        growing.append(f"$ {command}\n".encode())
        start = growing.size
        if not shutil.which(argv[0], path=environment.get("PATH", os.defpath)):
            raise BuildFailed(f"the build needs {argv[0]}, which is not on PATH", BUILD_HINTS.get(argv[0], ""))
        total = self._foreseen(argv, cwd, environment)
        console_file = self._file.with_suffix(".console")
        with console_file.open("wb") as output:
            process = shell.start(argv, cwd=cwd, env=environment, output=output, dies_with_parent=True)
        try:
            status = self._follow(process, console_file, growing, what, total)
        finally:
            console_file.unlink(missing_ok=True)
        if status != 0:
            # Make removes what it was making when it is asked to end; nobody knows what others leave half-made.
            if (status > 0 or status == -signal.SIGTERM) and argv[0] == "make":
                in_good_order()
            text = self._file.read_bytes()[start:].decode(errors="replace")
            raise BuildFailed(
                f"the build of {what} failed: {command} ended with exit status {status}\n{first_errors(text)}".rstrip(),
                MODE_HINT.format(mode=environment.get("MODE", "")) if _MISSING_OMNETPP.search(text) else "",
            )

    def _growing(self) -> GrowingLog:
        if self._log is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._log = GrowingLog(self._file, self._campaign, BUILD_STREAM, self._sender)
        return self._log

    def _follow(self, process: shell.Process, console: Path, growing: GrowingLog, what: str, total: int | None) -> int:
        """Stream what a command prints until it ends, and return its exit status; a cancelled one is ended."""
        count = compilations.Count(total)
        told, next_pulse = (-1, total), 0.0
        with console.open("rb", buffering=0) as reader:
            status = None
            while status is None:
                status = self._wait(process)
                while data := reader.read(1 << 16):
                    growing.append(data)
                    count.take(data)
                growing.stream()
                now = time.monotonic()
                if (count.done, count.total) != told and (now >= next_pulse or status is not None) and count.is_known:
                    told, next_pulse = (count.done, count.total), now + PULSE
                    self._line.post(BuildProgressed(self._campaign, count.done, count.total, what))
        return status

    def _wait(self, process: shell.Process) -> int | None:
        """Wait for a moment, and return the exit status of a command that has ended; one that nobody wants is ended."""
        status = process.wait(0.1)
        if status is None and self._line.is_unwanted():
            process.signal_group(signal.SIGTERM)
            status = process.wait(GRACE)
            if status is None:
                process.signal_group(signal.SIGKILL)
        return status

    def _foreseen(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> int | None:
        """Return how many compilations a command will make; None if it does not tell.

        Make remakes the makefiles that are included even then, so it gets the time that it needs.  Raises BuildFailed
        if it is ended in the middle: what it was making is not whole.
        """
        if argv[0] != "make":
            return None
        # With errors that only the build itself would mend, e.g. a header that is yet to be made, it tells the rest.
        asked = [*argv, "-n", "-k"]
        plan = self._file.with_suffix(".plan")
        try:
            with plan.open("wb") as output:
                process = shell.start(asked, cwd=cwd, env=environment, output=output, dies_with_parent=True)
            while (status := self._wait(process)) is None:
                pass
            if status < 0:
                raise BuildFailed(f"{shlex.join(asked)} was ended by signal {-status}")
            return compilations.planned(plan.read_bytes()) or None
        finally:
            plan.unlink(missing_ok=True)


def environment(
    given: Mapping[str, str], mode: str, root: Path, variables: Mapping[str, str], libraries: Sequence[Path]
) -> dict[str, str]:
    """Return the environment of the commands that build the project at ``root``.

    ``given``: the campaign's, of which that is left out what a make around labfleet has left there; ``variables``: what
    makefiles are told, whatever they say themselves; ``libraries``: where shared libraries are that it is linked with,
    and its own.
    """
    kept = {name: value for name, value in given.items() if name not in _MAKES_OWN}
    told = "".join(f" {name}={_escaped(value)}" for name, value in variables.items())
    flags = f"-j{parallel_compilations(kept)} {_WHOLE_OR_NOTHING}"
    made = {**kept, **variables, "MODE": mode, "MAKEFLAGS": f"{flags} --{told}" if told else flags}
    if distcc.is_used(kept):
        made = {**distcc.PATIENCE, **made}
    if (root / "bin").is_dir():  # as the setenv of INET and others has it
        made["PATH"] = f"{root / 'bin'}:{kept.get('PATH', os.defpath)}"
    return omnetpp.with_libraries(made, str(root), list(map(str, libraries)))


#: What a rule was making when it failed is removed: it would pass for made the next time.
_WHOLE_OR_NOTHING = "--eval=.DELETE_ON_ERROR:"

#: What make passes to the make that it calls.
_MAKES_OWN = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")


def _escaped(value: str) -> str:
    """Return a value as it stands in MAKEFLAGS."""
    return re.sub(r"([\\\s])", r"\\\1", value)


def parallel_compilations(environment: Mapping[str, str]) -> int:
    """Return how many compilations may be under way: as many as distcc's hosts take, else one per core."""
    if distcc.is_used(environment):
        answer = shell.run(["distcc", "-j"], env=environment, check=False)
        if answer.status == 0 and answer.text.isdecimal():
            return int(answer.text)
    return os.cpu_count() or 1


#: The linker misses OMNeT++'s own libraries.
_MISSING_OMNETPP = re.compile(r"cannot find -lopp(main|sim|envir|cmdenv)(_\w+)?\b")

_FIRST_ERROR = re.compile(r"error:|undefined reference|cannot find -l|\*\*\* ")


def first_errors(text: str) -> str:
    """Return the compiler's first errors from a build log, or its last lines if none stands out."""
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if _FIRST_ERROR.search(line)), len(lines) - SHOWN_ERRORS)
    return "\n".join(lines[max(0, first) :][:SHOWN_ERRORS])
