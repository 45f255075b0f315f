"""The shell around the commands: how their errors reach the person, and the program ``labfleet`` itself.

The same tasks.py is run by two programs: by ``invoke`` in a checkout, and by ``labfleet`` in any folder.  Both
parse the command line with Invoke; what Invoke does otherwise than labfleet promises is put right here, for both.

This module is loaded by every call, even ``labfleet --list``: it imports nothing that takes time.
"""

import errno
import functools
import inspect
import os
import re
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError, UnexpectedExit
from invoke.loader import FilesystemLoader
from invoke.parser.argument import Argument
from invoke.program import Program
from invoke.tasks import Task

from runner import __version__
from runner.errors import Detached, ExitCode, LabfleetError, WrongUse

#: Exit codes of a process that was interrupted, or whose reader went away: 128 and the signal's number.
INTERRUPTED = 130
READER_GONE = 141

#: Those of Invoke's own options that mean something to the program ``labfleet``.
_CORE_OPTIONS = frozenset(
    {
        "complete",
        "debug",
        "help",
        "list",
        "list-depth",
        "list-format",
        "print-completion-script",
        "version",
        "write-pyc",
    }
)

Body = Callable[..., ExitCode | None]

#: Names of the commands that take the rest of the command line as it is.
_taking_rest: set[str] = set()

#: That rest, in this process's command line.
_rest: list[str] = []


# ---- what a command is -------------------------------------------------------------------------------------


def command(*, takes_rest: bool = False, **options: Any) -> Callable[[Body], "Task[Body]"]:
    """Make a function a command: Invoke's ``@task`` with the same options, and errors reported labfleet's way.

    The function returns its exit code; None is 0.  With ``takes_rest``, everything that follows the command's
    name belongs to it, options and ``--`` included, and is what :func:`remainder` returns.
    """

    def decorate(body: Body) -> "Task[Body]":
        made: Task[Body] = Task(reported(body), **options)
        if takes_rest:
            _taking_rest.update(name.replace("_", "-") for name in (made.name, *made.aliases))
        return made

    return decorate


def remainder() -> list[str]:
    """Return what followed the name of a command that takes the rest, word for word."""
    return list(_rest)


def whole_number(text: str, option: str, minimum: int = 1) -> int:
    """Return an option's value as a number.

    Raises WrongUse for anything but decimal digits, and below the minimum.  Options are declared as text and
    converted here, because Invoke answers a bad value of a number with a traceback.
    """
    if re.fullmatch("[0-9]{1,18}", text) and int(text) >= minimum:
        return int(text)
    raise WrongUse(f"{option} takes a whole number from {minimum}, not {text!r}")


# ---- errors ------------------------------------------------------------------------------------------------


def reported(body: Body) -> Callable[..., None]:
    """Return the function with everything that can happen in it turned into Invoke's ``Exit``.

    This is the one place that knows how an error looks to the person, on stderr, and which exit code it has.
    """

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            try:
                code = body(*args, **kwargs)
            finally:
                if sys.stdout:
                    sys.stdout.flush()
        except (Exit, UnexpectedExit):
            raise
        except Detached as error:
            raise Exit(error.message, code=error.status) from error
        except LabfleetError as error:
            raise Exit(_message(error.message, error.hint), code=error.exit_code) from error
        except KeyboardInterrupt as error:
            raise Exit(_message("interrupted"), code=INTERRUPTED) from error
        except Exception as error:
            raise _exit_of(error) from error
        if code:
            raise Exit(code=code)

    return run


def _message(message: str, hint: str = "") -> str:
    """Return an error as it is printed."""
    return "\n".join([f"labfleet: {message}", *(f"  hint: {line}" for line in hint.splitlines())])


def _exit_of(error: Exception) -> Exit:
    """Return how to end after an exception that is none of labfleet's own."""
    if isinstance(error, BrokenPipeError) and _give_up_output():
        return Exit(code=READER_GONE)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        _give_up_output()
        where = f": {error.filename}" if error.filename else ""
        return Exit(_message(f"{error.strerror}{where}"), code=ExitCode.LAB_FAILED)
    return Exit(_bug(error), code=ExitCode.LAB_FAILED)


def _give_up_output() -> bool:
    """Drop further output where nobody reads it any more, or it cannot be written; return whether that is so.

    Otherwise Python complains once more when it exits, about what is still in its buffer.
    """
    gone = False
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            writable = not any(event & select.POLLERR for _, event in poll.poll(0))
        except OSError:
            writable = False
        if not writable:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            gone = True
    return gone


def _bug(error: Exception) -> str:
    """Return what to say of an exception that nobody foresaw, and keep its traceback in a file."""
    import platform
    import shlex
    import tempfile
    import time
    import traceback

    from runner.paths import LabPaths, home

    trace = "".join(traceback.format_exception(error))
    about = f"labfleet {__version__}, Python {platform.python_version()}: {shlex.join(sys.argv)}\n"
    name = f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    where = ""
    for folder in (LabPaths(home()).service_logs, Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(about + trace)
        except OSError:
            continue
        where = f"the traceback is in {folder / name}"
        break
    said = _message(f"this is a bug in labfleet: {type(error).__name__}: {error}", where)
    return trace + said if os.environ.get("LABFLEET_DEBUG") == "1" or not where else said


# ---- wrong use of the command line -------------------------------------------------------------------------


def _wrong_use(program: Program, error: Exception) -> Exit:
    """Return how to end after Invoke could not make sense of the command line."""
    context = getattr(error, "context", None)
    name = context.name if context else None
    message, known = str(error), []
    if unknown := re.fullmatch(r"No idea what '(.*)' is!", message, re.DOTALL):
        token = unknown[1]
        if token.startswith("-"):
            message = f"{name} has no option {token}" if name else f"there is no option {token}"
        elif repeated := _given_twice(program, context, token):
            message = f"{repeated} is given twice"
        else:
            message = f"{token!r} is no option of {name}, and no command" if name else f"there is no command {token!r}"
        known = _meant(program, context, token)
    elif valueless := re.match(r"Flag <Argument: ([\w-]+)", message):
        message = f"--{valueless[1].replace('_', '-')} needs a value"
    suggestion = f"did you mean {known[0]}?\n" if known else ""
    # Invoke's own name for itself is "inv[oke]".
    called = "labfleet" if isinstance(program, Labfleet) else "invoke"
    see = f"{called} {name} --help" if name else f"{called} --list"
    return Exit(_message(message, suggestion + see), code=ExitCode.WRONG_USE)


#: Parts of the command ``lab`` that people take for commands.
_PARTS_OF_LAB = ("use", "stop")


def _meant(program: Program, context: Any, token: str) -> list[str]:
    """Return what an unexpected word may have been meant to be, the likeliest one if there is any."""
    from difflib import get_close_matches

    commands = program.parser.contexts
    if token.startswith("-"):
        return get_close_matches(token, [*context.flags, *context.inverse_flags] if context else [], n=1)
    if context and context.name:
        if f"--{token}" in context.flags:
            return [f"--{token}"]
        return [f"--config {token}"] if "--config" in context.flags else []
    if token in _PARTS_OF_LAB and "lab" in commands:
        return [f"lab {token}"]
    return get_close_matches(token, list(commands), n=1)


def _given_twice(program: Program, context: Any, token: str) -> str:
    """Return the option before an unexpected word, which has its value already; empty: there is none."""
    words = program.core.unparsed
    before = words[words.index(token) - 1] if token in words else ""
    return before if context and before in context.flags and context.flags[before].takes_value else ""


# Under ``invoke`` the program object is Invoke's, and it is running already when it imports tasks.py.  To Invoke,
# wrong use is exit code 1, which in labfleet says that a run failed; it takes what follows ``runall`` for options and
# commands of its own; and its help is for who writes tasks.  So these methods, all called after the import, are
# replaced in Invoke's class.
_invoke_parse_tasks = Program.parse_tasks
_invoke_parse_cleanup = Program.parse_cleanup
_invoke_no_tasks_given = Program.no_tasks_given


def _parse_tasks(program: Program) -> None:
    """Parse commands and their options; put aside the rest of a command that takes the rest."""
    words = program.core.unparsed
    if words and words[0] in _taking_rest:
        # What Invoke has not parsed is the end of the command line, up to a "--", after which it keeps no list.
        line = program.argv[1:]
        end = line.index("--") if "--" in line else len(line)
        rest = line[end - len(words) + 1 :]
        _rest[:] = rest[1:] if rest[:1] == ["--"] else rest
        program.core.unparsed = words[:1]
    try:
        _invoke_parse_tasks(program)
    except ParseError as error:
        raise _wrong_use(program, error) from error


def _parse_cleanup(program: Program) -> None:
    """Do what is left to do before commands are executed, e.g. print help."""
    try:
        _invoke_parse_cleanup(program)
    except ParseError as error:
        raise _wrong_use(program, error) from error
    except Exit as error:
        if error.code == 1:  # Invoke's own, e.g. `--list` of something that is not there
            raise Exit(_message(str(error.message)), code=ExitCode.WRONG_USE) from error
        raise


def _no_tasks_given(program: Program) -> None:
    """Print help, unless there are options: then the command was forgotten, and success must not be reported."""
    if len(program.argv) > 1:
        raise _wrong_use(program, ParseError("which command?"))
    _invoke_no_tasks_given(program)


def _print_task_help(program: Program, name: str) -> None:
    """Print what a command does, and its options."""
    called = "labfleet" if isinstance(program, Labfleet) else "invoke"
    told = program.parser.contexts[name].help_tuples()
    options = [(flags.replace(" STRING,", ",").replace("=STRING", "=VALUE"), text) for flags, text in told]
    print(f"Usage: {called} {name}{' [OPTION…]' if options else ''}\n")
    print(inspect.getdoc(program.collection[name]) or "")
    if options:
        print("\nOptions:\n")
        program.print_columns(options)


Program.parse_tasks = _parse_tasks  # type: ignore[assignment, method-assign]  # see above
Program.parse_cleanup = _parse_cleanup  # type: ignore[assignment, method-assign]
Program.no_tasks_given = _no_tasks_given  # type: ignore[assignment, method-assign]
Program.print_task_help = _print_task_help  # type: ignore[assignment, method-assign]


def _allow_bytecode() -> None:
    """Let Python keep compiled modules again, which Invoke forbids: without them every call takes longer."""
    sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)


_allow_bytecode()


# ---- the program -------------------------------------------------------------------------------------------


class Labfleet(Program):
    """Invoke with the commands of labfleet's own tasks.py, wherever it is called."""

    def core_args(self) -> list[Argument]:
        """Return the options that need no command."""
        return [argument for argument in super().core_args() if argument.name in _CORE_OPTIONS]

    def task_args(self) -> list[Argument]:
        """Return Invoke's options that choose a tasks.py: none."""
        return []

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse the options that need no command."""
        try:
            super().parse_core(argv)
        except (ParseError, ValueError) as error:
            raise _wrong_use(self, error) from error
        _allow_bytecode()

    def parse_collection(self) -> None:
        """Load the commands."""
        reported(self._load)()
        super().parse_collection()

    def _load(self) -> None:
        from runner.paths import SOURCE

        module, _ = FilesystemLoader(start=str(SOURCE), config=self.config).load("tasks")
        self.namespace = Collection.from_module(module)

    def update_config(self, merge: bool = True) -> None:
        """Keep Invoke's configuration as it is: the options that change it are not labfleet's."""

    def task_list_opener(self, extra: str = "") -> str:  # noqa: ARG002  Invoke's signature
        """Return the heading of the list of commands."""
        return "Commands"

    def print_help(self) -> None:
        """Print how labfleet is called, and its commands."""
        print(f"Usage: {self.binary} COMMAND [OPTION…]\n")
        self.list_tasks()
        print(f"{self.binary} COMMAND --help explains a command.")


def main() -> None:
    """Run the program ``labfleet`` with this process's arguments."""
    program = Labfleet(name="labfleet", binary="labfleet", binary_names=["labfleet"], version=__version__)
    try:
        try:
            program.run()
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        _give_up_output()
        sys.exit(READER_GONE)
