"""What labfleet knows of OMNeT++: argument lists for its programs, and parsers for what they print.  Pure functions.

The command line and the query mode are those of the Simulation Manual's chapter "Running Simulations" (Cmdenv).
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.model import Launch, Run

#: What the modes append to the names of programs and libraries.
SUFFIXES = {"debug": "_dbg", "sanitize": "_sanitize"}

# ---- argument lists ----------------------------------------------------------------------------------------------


def program_command(program: str, mode: str) -> tuple[str, ...]:
    """Return how a program is started: an executable by itself, a shared library by ``opp_run``.

    ``program`` is an absolute path, a name on PATH (no slash), or relative to the working directory.
    """
    return (opp_run(mode), *load_options([program])) if is_shared_library(program) else (program,)


def is_shared_library(path: str) -> bool:
    """Say whether a file is one that opp_run has to load."""
    return path.endswith((".so", ".dylib"))


def opp_run(mode: str) -> str:
    """Return the name of OMNeT++'s own program for models that bring none."""
    return f"opp_run{SUFFIXES.get(mode, '')}"


def load_options(libraries: Sequence[str]) -> tuple[str, ...]:
    """Return the options by which OMNeT++'s own program loads shared libraries; it appends the mode's suffix itself."""
    return tuple(word for library in libraries for word in ("-l", _bare(library)))


def _bare(library: str) -> str:
    """Return a shared library's path without what its name has more than opp_run wants to know."""
    folder, name = os.path.split(library)
    bare = name.rsplit(".", 1)[0].removeprefix("lib")
    for suffix in SUFFIXES.values():
        bare = bare.removesuffix(suffix)
    return os.path.join(folder or ".", bare)


def with_libraries(environment: Mapping[str, str], top: str, folders: Sequence[str]) -> dict[str, str]:
    """Return an environment in which shared libraries are found in some folders below ``top`` before all others.

    What a person's LD_LIBRARY_PATH names may have the same libraries, of another state.
    """
    if not folders:
        return dict(environment)
    given = environment.get("LD_LIBRARY_PATH", "")  # an empty part of it would be the working directory
    searched = [*(os.path.join(top, folder) for folder in folders), *([given] if given else [])]
    return {**environment, "LD_LIBRARY_PATH": ":".join(searched)}


def _model_options(launch: Launch) -> tuple[str, ...]:
    """Return the options that say what is simulated.  Who gives a NED path of their own means that one alone."""
    options: list[str] = []
    for ini in launch.ini_files:
        options += ["-f", ini]
    if launch.ned_path and not any(argument.startswith("-n") for argument in launch.arguments):
        options += ["-n", ";".join(launch.ned_path)]
    return (*options, *launch.arguments)


def query_command(program: Sequence[str], launch: Launch, config: str, run_filter: str) -> tuple[str, ...]:
    """Return the command that lists the runs which a filter selects."""
    selection = ("-r", run_filter) if run_filter else ()
    return (*program, *_model_options(launch), "-c", config, *selection, "-s", "-q", "runs")


def configurations_command(program: Sequence[str], launch: Launch) -> tuple[str, ...]:
    """Return the command that lists the configurations of the ini files."""
    return (*program, *_model_options(launch), "-s", "-a")


def simulation_command(program: Sequence[str], launch: Launch, config: str, runs: Sequence[int]) -> tuple[str, ...]:
    """Return the command that does the given runs in one Cmdenv process, as opp_runall would have it."""
    numbers = ",".join(map(str, runs))
    given = launch.arguments
    quiet = () if "-s" in given else ("-s",)
    interface = () if "-u" in given else ("-u", "Cmdenv")
    redirect: tuple[str, ...] = ()
    if not any(argument.startswith("--cmdenv-redirect-output=") for argument in given):
        redirect = ("--cmdenv-redirect-output=true",)
    return (*program, *_model_options(launch), "-c", config, *quiet, *interface, *redirect, "-r", numbers)


def make_target_command(makefile: str) -> tuple[str, ...]:
    """Return the command that prints the target of a Makefile, e.g. ``./aloha`` or ``../src/libINET.so``.

    Makefiles of opp_makemake's have TARGET_DIR and TARGET; others at least TARGET, as is the custom.
    """
    question = "labfleet-target:;@echo $(if $(TARGET),$(or $(TARGET_DIR),.)/$(TARGET))"
    return ("make", "--no-print-directory", "-s", "-f", makefile, f"--eval={question}", "labfleet-target")


# ---- answers to queries ------------------------------------------------------------------------------------------

_RUN_LINE = re.compile(r"Run (\d+): (.*)")
_VARIABLE = re.compile(r"\$(\w+)=(.*?)(?=, \$\w+=|$)")


def parse_runs(text: str) -> tuple[Run, ...]:
    """Return the runs that ``-q runs`` lists."""
    found = (_RUN_LINE.match(line) for line in text.splitlines())
    return tuple(Run(int(m[1]), dict(_VARIABLE.findall(m[2]))) for m in found if m)


_ERROR = re.compile(r"^<!> Error(?::| --)? (.*)", re.MULTILINE)


def error_text(log: str) -> str:
    """Return what the program says went wrong, without ``<!> Error:``; empty if it says nothing.

    Where output is redirected, stderr has ``<!> Error -- see FILE for details``: better than nothing only.
    """
    said = [found[1].strip() for found in _ERROR.finditer(log)]
    telling = [text for text in said if not text.startswith("see ")]
    return (telling or said or [""])[0]


_CONFIGURATION = re.compile(r"^Config (\S+): ", re.MULTILINE)


def parse_configurations(text: str) -> tuple[str, ...]:
    """Return the names of the configurations that ``-a`` lists."""
    return tuple(_CONFIGURATION.findall(text))


# ---- console output ----------------------------------------------------------------------------------------------

_RUN_START = re.compile(r"^\S+ run #(\d+): ")


def started_run(line: str) -> int | None:
    """Return the run number that a line on Cmdenv's standard output (with ``-s``) announces."""
    found = _RUN_START.match(line)
    return int(found[1]) if found else None


@dataclass(frozen=True)
class Status:
    """What a simulation says of its progress."""

    #: Seconds of simulation time.
    sim_time: float
    #: Of this run, between 0 and 100; None without a limit on the time.
    percent: float | None = None
    #: Simulated seconds per second.
    speed: float | None = None
    events_per_second: float | None = None
    #: Number of the event.
    event: int = 0


_NUMBER = r"\d{1,30}(?:\.\d{0,30})?(?:e[+-]?\d{1,2})?"
_EVENT = re.compile(rf"\*\* Event #(\d{{1,30}})\s+t=({_NUMBER})\s([^\n]*)")
_PERCENT = re.compile(r"(?:^|\s)(\d{1,3})% completed  \(")
_SPEED = re.compile(rf"(?:^|\s)simsec/sec=({_NUMBER})(?=\s|$)")
_EVENTS = re.compile(rf"(?:^|\s)ev/sec=({_NUMBER})(?=\s|$)")

#: How lines begin that tell the simulation time, in express mode or not.
EVENT_MARK = b"** Event #"

#: A status is not longer: in express mode three lines, otherwise one with a module's name at its end.
LONGEST_STATUS = 600


def status(text: str) -> Status | None:
    """Return what a text that begins with :data:`EVENT_MARK` tells; None where that is no line of Cmdenv's.

    In express mode the line goes on with ``Elapsed``, and the speed is told, at the end of the same line or in the next
    one; otherwise the line is the banner of an event.
    """
    found = _EVENT.match(text)
    if found is None:
        return None
    percent = _PERCENT.search(found[3])
    is_express = "Elapsed:" in found[3]
    told = text[found.start(3) :].split("\n", 2)[:2]
    speeds = "\n".join(told if len(told) < 2 or told[1].startswith("     Speed: ") else told[:1]) if is_express else ""
    return Status(
        sim_time=float(found[2]),
        percent=min(float(percent[1]), 100.0) if percent else None,
        speed=_measured(_SPEED.search(speeds)),
        events_per_second=_measured(_EVENTS.search(speeds)),
        event=int(found[1]),
    )


def _measured(found: re.Match[str] | None) -> float | None:
    """Return a number; None where it is 0, which Cmdenv prints when it has not measured it."""
    return float(found[1]) or None if found else None


# ---- names of result files ---------------------------------------------------------------------------------------

#: Names and values in these are written into file names as they are; OMNeT++ encodes all others in its own way.
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9.+-]*")


def file_stem(config: str, run: Run) -> str | None:
    """Return what the default names of a run's files begin with, up to the suffix; None where that is not certain.

    ``${configname}-${iterationvarsf}#${repetition}``, see the Simulation Manual's chapter "Result Recording".
    """
    variables = {name: value for name, value in run.variables.items() if name != "repetition"}
    if not all(map(_PLAIN_NAME.fullmatch, variables)) or not all(map(_PLAIN_VALUE.fullmatch, variables.values())):
        return None
    listed = ",".join(f"{name}={value}" for name, value in variables.items())
    return f"{config}-{listed and listed + '-'}#{run.variables.get('repetition', '0')}"


def stem_of(path: str) -> str:
    """Return a file's name without folder and suffix."""
    return os.path.splitext(os.path.basename(path))[0]
