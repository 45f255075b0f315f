"""What a person gets from the commands: messages, exit codes, and arguments word for word."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.commands import whole_number
from runner.errors import WrongUse

ROOT = Path(__file__).resolve().parent.parent

TASKS = """
import errno, json, os, time
from runner.commands import command, remainder, whole_number
from runner.errors import BuildFailed, ExitCode, WrongUse

@command()
def wrong(c):
    print("before")
    raise WrongUse("there is no configuration 'Foo'", "known: General\\nthe file is omnetpp.ini")

@command()
def broken(c):
    raise BuildFailed("the build failed")

@command()
def some_failed(c):
    return ExitCode.RUN_FAILED

@command()
def all_done(c):
    return ExitCode.DONE

@command()
def bug(c):
    raise KeyError("surprise")

@command()
def disk_full(c):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x.vec")

@command()
def peer_gone(c):
    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

@command()
def wait(c):
    print("ready", flush=True)
    time.sleep(60)

@command()
def flood(c):
    for number in range(100_000):
        print(number)

@command()
def folder(c):
    print(os.getcwd())

@command()
def campaign(c, config="General", jobs="1", clean=True):
    "Run every run."
    whole_number(jobs, "--jobs")
    print(config)

@command(takes_rest=True)
def runall(c):
    print(json.dumps(remainder()))
"""

Start = Callable[..., "subprocess.Popen[str]"]
Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of labfleet with commands for these tests."""
    source = tmp_path_factory.mktemp("a source with spaces")
    shutil.copytree(ROOT / "runner", source / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "labfleet.py", source)
    (source / "tasks.py").write_text(TASKS)
    return source


@pytest.fixture(params=["invoke", "labfleet"])
def program(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start(source: Path, program: str, home: Path, tmp_path: Path) -> Iterator[Start]:
    """Return what starts a command in an unrelated folder."""
    started: list[subprocess.Popen[str]] = []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # A person's Python keeps what it prints in a buffer; the machine that runs the tests may differ.
    settings = {"PYTHONUNBUFFERED": "", "PYTHONDONTWRITEBYTECODE": ""}
    argv = [sys.executable, "-m", "invoke", "--search-root", str(source)]
    if program == "labfleet":
        argv = [sys.executable, "-c", "from labfleet import main; main()"]

    def start(*arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*argv, *arguments],
            cwd=elsewhere,
            env={
                **os.environ,
                **settings,
                "PYTHONPATH": str(source),
                "LABFLEET_HOME": str(home),
                **environment,
            },
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def call(start: Start) -> Call:
    def call(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        process = start(*arguments, **environment)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    return call


# ---- exit codes and messages -------------------------------------------------------------------------------------


def test_an_error_is_one_sentence_with_hints_on_stderr(call: Call) -> None:
    # When a command raises an error of labfleet's
    done = call("wrong")
    # Then stderr has it and nothing else
    assert done.stderr == (
        "labfleet: there is no configuration 'Foo'\n  hint: known: General\n  hint: the file is omnetpp.ini\n"
    )
    # … and stdout what the command itself printed
    assert done.stdout == "before\n"


def test_an_error_without_a_hint_is_its_sentence(call: Call) -> None:
    assert call("broken").stderr == "labfleet: the build failed\n"


@pytest.mark.parametrize(
    ("arguments", "code"), [("all-done", 0), ("some-failed", 1), ("wrong", 2), ("broken", 3), ("bug", 3)]
)
def test_the_exit_code_says_what_became_of_a_command(call: Call, arguments: str, code: int) -> None:
    assert call(arguments).returncode == code


def test_a_failed_command_keeps_the_next_one_from_starting(call: Call) -> None:
    # When two commands are given, and the first one fails
    done = call("some-failed", "campaign")
    # Then the second one is not begun, and the exit code is the first one's
    assert (done.returncode, done.stdout) == (1, "")


def test_ctrl_c_is_one_line(start: Start) -> None:
    # Given a command that is at work
    process = start("wait")
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    # When the person presses Ctrl-C
    process.send_signal(signal.SIGINT)
    # Then it says so and ends as the shell expects
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (130, "labfleet: interrupted\n")


def test_a_reader_that_goes_away_ends_a_command_quietly(start: Start) -> None:
    # Given a command that prints a lot
    process = start("flood")
    assert process.stdout
    assert process.stdout.readline() == "0\n"
    # When its reader has seen enough, as in `labfleet … | head -1`
    process.stdout.close()
    # Then it ends with the status of any other Unix tool
    assert process.stderr
    assert (process.stderr.read(), process.wait()) == ("", 141)


@pytest.mark.parametrize("program", ["labfleet"], indirect=True)
def test_the_list_of_commands_ends_quietly_too_when_nobody_reads_it(start: Start) -> None:
    # Given a pipe that nobody reads
    reader, writer = os.pipe()
    os.close(reader)
    # When the commands are listed
    process = start("--list", stdout=writer)
    os.close(writer)
    # Then there is no complaint
    assert process.stderr
    assert (process.stderr.read(), process.wait()) == ("", 141)


def test_a_full_disk_is_no_bug(call: Call) -> None:
    done = call("disk-full")
    assert (done.returncode, done.stderr) == (3, "labfleet: No space left on device: /data/x.vec\n")


# ---- bugs --------------------------------------------------------------------------------------------------------


def test_a_bug_is_admitted_and_its_traceback_kept(call: Call, home: Path) -> None:
    # When something happens that nobody foresaw
    done = call("bug")
    # Then the person gets a sentence and the path of a file, no traceback
    (file,) = (home / "log").glob("bug-*.txt")
    assert done.stderr == (
        f"labfleet: this is a bug in labfleet: KeyError: 'surprise'\n  hint: the traceback is in {file}\n"
    )
    # … which has the traceback
    assert 'raise KeyError("surprise")' in file.read_text()


def test_labfleet_debug_shows_a_bugs_traceback(call: Call) -> None:
    # When somebody looks for a bug
    done = call("bug", LABFLEET_DEBUG="1")
    # Then the traceback is there at once, and the message and exit code as always
    assert "Traceback (most recent call last)" in done.stderr
    assert 'raise KeyError("surprise")' in done.stderr
    assert "labfleet: this is a bug in labfleet" in done.stderr
    assert done.returncode == 3


def test_a_bug_is_told_even_if_the_home_cannot_be_written(call: Call, tmp_path: Path) -> None:
    # Given a home where nothing can be written
    # When there is a bug
    done = call("bug", LABFLEET_HOME="/dev/null/home", TMPDIR=str(tmp_path))
    # Then its traceback is kept among the temporary files
    (file,) = tmp_path.glob("bug-*.txt")
    assert str(file) in done.stderr
    assert done.returncode == 3


def test_a_broken_connection_is_not_taken_for_a_reader_that_went_away(call: Call) -> None:
    # When the other end of some socket is gone, but the command's output is read
    done = call("peer-gone")
    # Then that is not passed over in silence
    assert "this is a bug in labfleet: BrokenPipeError" in done.stderr
    assert done.returncode == 3


# ---- wrong use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("campain", "there is no command 'campain'", "did you mean campaign?"),
        ("xyzzy", "there is no command 'xyzzy'", "--list"),
        ("campaign --confg X", "campaign has no option --confg", "did you mean --config?"),
        ("campaign --no-clear", "campaign has no option --no-clear", "did you mean --no-clean?"),
        ("campaign --xyzzy", "campaign has no option --xyzzy", "campaign --help"),
        ("campaign --xyzzy=1", "campaign has no option --xyzzy", "campaign --help"),
        ("campaign --config", "--config needs a value", "campaign --help"),
        ("campaign --config --jobs 4", "--config needs a value", "campaign --help"),
        ("campaign General", "'General' is no option of campaign, and no command", "did you mean --config General?"),
        ("campaign --config A --config B", "--config is given twice", "campaign --help"),
        ("campaign --jobs x", "--jobs takes a whole number from 1, not 'x'", ""),
        ("--help campain", "there is no command 'campain'", "did you mean campaign?"),
        ("--list nonsense", "Sub-collection 'nonsense' not found!", ""),
        ("--debug", "which command?", "--list"),
    ],
)
def test_wrong_use_says_what_is_wrong_and_what_is_right(call: Call, line: str, message: str, hint: str) -> None:
    # When the command line makes no sense
    done = call(*line.split())
    # Then the exit code is not that of a failed run, and nothing is printed but what is wrong and how to go on
    said = [text for text in done.stderr.splitlines() if not text.startswith("invoke.")]
    assert said[0] == f"labfleet: {message}"
    assert hint in "\n".join(said[1:])
    assert all(text.startswith("  hint: ") for text in said[1:])
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(("line", "hint"), [("stop", "lab stop"), ("products prune", "--prune"), ("use x", "lab use")])
def test_a_part_of_a_command_is_not_taken_for_one(line: str, hint: str) -> None:
    # When labfleet is called with a part of lab, or with an option without its dashes
    done = subprocess.run(
        [sys.executable, "-c", "from labfleet import main; main()", *line.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # Then it is said what that is a part of
    assert f"  hint: did you mean {hint}?" in done.stderr
    assert done.returncode == 2


def test_help_is_for_who_runs_campaigns(call: Call, program: str) -> None:
    # When the help of a command is asked for, then it says how that is called, in words that are not of Invoke's
    said = call("campaign", "--help").stdout
    assert said.startswith(f"Usage: {program} campaign [OPTION…]\n\nRun every run.\n\nOptions:\n")
    assert "  -c, --config=VALUE\n" in said
    assert not re.search("STRING|core-opts|Docstring|other tasks", said)


def test_a_hint_names_the_program_that_was_called(call: Call, program: str) -> None:
    assert call("campaign", "--xyzzy").stderr.splitlines()[-1] == f"  hint: {program} campaign --help"


@pytest.mark.parametrize("program", ["labfleet"], indirect=True)
@pytest.mark.parametrize("line", ["--config General", "--list-depth x --list", "--xyzzy", "--dry all-done"])
def test_labfleet_itself_has_few_options(call: Call, line: str) -> None:
    done = call(*line.split())
    assert done.stderr.startswith("labfleet: ")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "1.5", "1_000", "٣", " 4", "9" * 5000])
def test_a_whole_number_is_nothing_else(text: str) -> None:
    with pytest.raises(WrongUse, match="--jobs takes a whole number from 1, not "):
        whole_number(text, "--jobs")


def test_a_whole_number_has_its_minimum() -> None:
    assert whole_number("0", "--retries", minimum=0) == 0
    assert whole_number("16", "--jobs") == 16


# ---- arguments and folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rest",
    [
        ["-j", "4", "./aloha", "-u", "Cmdenv", "-c", "PureAloha", "--sim-time-limit=10s"],
        ["./aloha", '--description="two words"', "", "it's", "$HOME", "a\nb"],
        ["./aloha", "-h"],
        ["./aloha", "--help", "--list", "--version"],
        ["./aloha", "runall", "campaign", "--config", "X"],
        ["./aloha", "--", "more"],
        ["-xyz"],
        [],
    ],
    ids=" ".join,
)
def test_runall_gets_the_rest_of_the_line_word_for_word(call: Call, rest: list[str]) -> None:
    done = call("runall", *rest)
    assert (done.stderr, done.returncode) == ("", 0)
    assert json.loads(done.stdout) == rest


def test_runall_may_be_followed_by_two_dashes(call: Call) -> None:
    assert json.loads(call("runall", "--", "./aloha", "--", "x").stdout) == ["./aloha", "--", "x"]


def test_a_command_that_takes_the_rest_explains_itself(call: Call) -> None:
    assert json.loads(call("runall", "--help").stdout) == ["--help"]


def test_a_value_may_be_the_name_of_a_command(call: Call) -> None:
    assert call("campaign", "--config", "runall").stdout == "runall\n"


def test_commands_run_in_the_folder_they_are_called_in(call: Call, tmp_path: Path) -> None:
    # Given commands that lie in one folder
    # When one is called in another
    # Then that is where `--project .` points to
    assert call("folder").stdout == f"{tmp_path / 'elsewhere'}\n"


# ---- start -------------------------------------------------------------------------------------------------------


def test_labfleet_finds_its_own_commands_in_any_folder(tmp_path: Path) -> None:
    # Given a folder with a tasks.py of somebody else's
    (tmp_path / "tasks.py").write_text("raise SystemExit('wrong file')")
    # When labfleet is called there
    done = subprocess.run(
        [sys.executable, "-c", "from labfleet import main; main()", "--list"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    # Then its own commands are there
    assert "campaign" in done.stdout


def test_a_call_does_not_wait_for_modules_that_it_does_not_need() -> None:
    # When the commands are listed
    program = (
        "import atexit, sys\natexit.register(lambda: print('loaded:', *sys.modules))\nfrom labfleet import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    # Then what takes long to import was not imported
    _, _, loaded = done.stdout.partition("loaded: ")
    assert "invoke" in loaded.split()
    assert not {"rq", "redis", "zmq", "rich"} & set(loaded.split())


def test_compiled_modules_are_kept(call: Call, source: Path) -> None:
    # Given modules that were never imported
    compiled = source / "runner" / "paths" / "__pycache__"
    shutil.rmtree(compiled, ignore_errors=True)
    # When a command imports one
    call("bug")
    # Then the next call need not compile it
    assert list(compiled.glob("lab.*.pyc"))
