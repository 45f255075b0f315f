"""The example model: right answers, and the promises of Cmdenv that labfleet builds on."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "aloha"
TIMEOUT = 120.0  # seconds; only a broken program takes that long
FAILING_RUN = 20


@dataclass(frozen=True)
class Aloha:
    """A built copy of the example."""

    directory: Path
    program: str = "aloha"

    def command(self, *arguments: str) -> list[str]:
        return [str(self.directory / self.program), "-u", "Cmdenv", "-s", *arguments]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def query(self, *arguments: str) -> list[str]:
        """The lines of an answer to -q."""
        answer = self(*arguments)
        assert (answer.returncode, answer.stderr) == (0, "")
        return answer.stdout.splitlines()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(*arguments), cwd=self.directory, stdout=subprocess.PIPE, text=True)


def make(directory: Path, *arguments: str) -> None:
    subprocess.run(["make", f"-j{os.cpu_count()}", *arguments], cwd=directory, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def aloha(tmp_path_factory: pytest.TempPathFactory) -> Aloha:
    """Built once from a copy of the sources, whatever has been built beside the originals."""
    directory = tmp_path_factory.mktemp("example") / "aloha"
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("out", "results", "aloha", "aloha_dbg"))
    make(directory)
    return Aloha(directory)


def only(directory: Path, suffix: str) -> Path:
    """The one file with that suffix."""
    (path,) = directory.glob(f"*{suffix}")
    return path


def scalars(file: Path) -> dict[str, float]:
    """The scalars of the server by name."""
    lines = re.findall(r"^scalar Aloha\.server (\S+) (\S+)$", file.read_text(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


def measured_load_and_throughput(aloha: Aloha, results: Path, think_time: str, slot_time: str) -> tuple[float, float]:
    """What a short run with very many hosts finds."""
    run = aloha(
        "-c",
        "Quick",
        "-r",
        "0",
        f"--result-dir={results}",
        "--Aloha.numHosts=200",
        f"--Aloha.host[*].iaTime=exponential({think_time})",
        f"--Aloha.slotTime={slot_time}",
    )
    assert run.returncode == 0
    found = scalars(only(results, ".sca"))
    return found["offeredLoad:last"], found["channelUtilization:last"]


# --- The answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("think_time", ["80s", "40s", "20s"])
def test_pure_aloha_has_the_throughput_that_theory_predicts(aloha: Aloha, tmp_path: Path, think_time: str) -> None:
    # Given hosts that send whenever they like
    # When a run measures the offered load and the throughput
    load, throughput = measured_load_and_throughput(aloha, tmp_path, think_time, slot_time="0s")
    # Then a frame gets through if no other one begins within two frame times
    assert throughput == pytest.approx(load * math.exp(-2 * load), rel=0.02)


@pytest.mark.parametrize("think_time", ["40s", "20s", "10s"])
def test_slotted_aloha_has_the_throughput_that_theory_predicts(aloha: Aloha, tmp_path: Path, think_time: str) -> None:
    # Given hosts that begin to send only at the beginnings of slots
    # When a run measures the offered load and the throughput
    load, throughput = measured_load_and_throughput(aloha, tmp_path, think_time, slot_time="100ms")
    # Then a frame gets through if no other one is in the same slot
    assert throughput == pytest.approx(load * math.exp(-load), rel=0.02)


def test_offered_load_is_what_the_parameters_say(aloha: Aloha, tmp_path: Path) -> None:
    # Given 20 hosts that think for 4 seconds, and frames of 952 bits at 9.6 kbps
    frame_time = 952 / 9600
    # When they run
    aloha("-c", "Quick", "-r", "$numHosts==20 && $iaMean==4", f"--result-dir={tmp_path}")
    # Then each of them sends for its share of the time
    measured = scalars(only(tmp_path, ".sca"))["offeredLoad:last"]
    assert measured == pytest.approx(20 * frame_time / (4 + frame_time), rel=0.01)


def results_without_run_identity(file: Path) -> str:
    """The text of a result file but for the lines that differ in each execution."""
    return re.sub(
        r"^(run|attr datetimef?|attr processid|attr resultdir|config \S+) .*\n",
        "",
        file.read_text(),
        flags=re.MULTILINE,
    )


@pytest.mark.parametrize("suffix", [".sca", ".vec"])
def test_executing_a_run_again_gives_the_same_results(aloha: Aloha, tmp_path: Path, suffix: str) -> None:
    # Given two executions of the same run
    for name in ("first", "second"):
        aloha("-c", "Quick", "-r", "3", f"--result-dir={tmp_path / name}")
    # When their results are compared
    first, second = (only(tmp_path / name, suffix) for name in ("first", "second"))
    # Then they are the same
    assert results_without_run_identity(first) == results_without_run_identity(second)


def test_another_seed_set_gives_other_results(aloha: Aloha, tmp_path: Path) -> None:
    # Given a run with two different seed sets
    for seed_set in ("1", "2"):
        aloha("-c", "Quick", "-r", "3", f"--seed-set={seed_set}", f"--result-dir={tmp_path / seed_set}")
    # When their results are compared
    first, second = (scalars(only(tmp_path / name, ".sca")) for name in ("1", "2"))
    # Then they differ
    assert first["receivedFrames:last"] != second["receivedFrames:last"]


# --- Queries and run filters ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "runs"),
    [
        ("General", 24),
        ("Slotted", 24),
        ("Quick", 12),
        ("OneFails", 24),
        ("Endless", 1),
        ("Chatty", 1),
        ("Heavy", 1),
    ],
)
def test_each_configuration_has_its_number_of_runs(aloha: Aloha, config: str, runs: int) -> None:
    # Given the ini file of the example
    # When the program is asked for the number of runs of a configuration
    answer = aloha.query("-c", config, "-q", "numruns")
    # Then the answer is that number and nothing else
    assert answer == [str(runs)]


def test_general_is_the_default_configuration(aloha: Aloha) -> None:
    # Given a command line without -c
    # When the program is asked for its runs
    # Then it answers about General
    assert aloha.query("-q", "runs") == aloha.query("-c", "General", "-q", "runs")


def test_query_runs_describes_each_run(aloha: Aloha) -> None:
    # Given the combinations of the iteration variables, with the repetition changing fastest
    # When the program is asked for some of its runs
    answer = aloha.query("-q", "runs", "-r", "1,2")
    # Then it names the variables of each of them
    assert answer == [
        "Run 1: $numHosts=10, $iaMean=2, $repetition=1",
        "Run 2: $numHosts=10, $iaMean=3, $repetition=0",
    ]


def test_query_rundetails_shows_what_varies(aloha: Aloha) -> None:
    # Given a run
    # When the program is asked for its details
    answer = aloha.query("-q", "rundetails", "-r", "2")
    # Then they are the entries with iteration variables
    assert answer[1:] == ["\tAloha.numHosts = 10", "\tAloha.host[*].iaTime = exponential(3s)"]


def test_query_runconfig_shows_overrides_before_the_ini_file(aloha: Aloha) -> None:
    # Given an override on the command line
    # When the program is asked for the configuration of a run
    answer = aloha.query("-q", "runconfig", "-r", "2", "--Aloha.numHosts=5")
    # Then the override comes first, since the first entry wins
    assert answer[1] == "\tAloha.numHosts = 5"
    assert answer.index("\tAloha.numHosts = 10") > 1


def test_answers_for_people_have_headings(aloha: Aloha) -> None:
    # Given a query without -s
    command = [argument for argument in aloha.command("-q", "numruns", "-r", "1,2") if argument != "-s"]
    # When the program answers it
    answer = subprocess.run(command, cwd=aloha.directory, capture_output=True, text=True, check=True)
    # Then it says what the numbers are
    assert "Config: General\nNumber of runs: 24\nNumber of runs selected: 2\n" in answer.stdout


def test_repeat_can_be_overridden(aloha: Aloha) -> None:
    # Given a configuration that repeats each of 12 combinations twice
    # When the command line asks for five repetitions
    # Then there are five runs of each combination
    assert aloha.query("-q", "numruns", "--repeat=5") == ["60"]


@pytest.mark.parametrize(
    ("run_filter", "expected"),
    [
        ("7", [7]),
        ("5,3,5", [5, 3, 5]),
        ("1,2,5-7", [1, 2, 5, 6, 7]),
        ("2..4", [2, 3, 4]),
        (" 1 , 4 - 6, 8 .. 9", [1, 4, 5, 6, 8, 9]),
        ("6-4", []),
        ("$numHosts==10 && $iaMean<3", [0, 1]),
        ("$numHosts>10 && $iaMean<3 || $repetition==0 && $iaMean>=5", [6, 8, 9, 14, 16, 17, 22]),
        ("!($numHosts > 10 || $iaMean != 4)", [4, 5]),
        ("${numHosts} <= 10 && ($iaMean > 4)", [6, 7]),
        ("$numHosts > 100", []),
        ("", list(range(24))),
    ],
)
def test_run_filters_select_runs(aloha: Aloha, run_filter: str, expected: Sequence[int]) -> None:
    # Given a run filter in one of the forms of Cmdenv
    # When the program is asked which runs it selects
    (answer,) = aloha.query("-q", "runnumbers", "-r", run_filter)
    # Then it names just those runs, in the order asked for
    assert [int(number) for number in answer.split()] == list(expected)


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-c", "Nope"], "No such config: Nope"),
        (["-c", "Nope", "-q", "runs"], "No such config: Nope"),
        (["-f", "no.ini"], "Cannot open ini file 'no.ini'"),
        (["no.ini"], "Cannot open ini file 'no.ini'"),
        (["-r", "99"], "Run number 99 in run list '99' is out of range 0..23"),
        (["-r", "3.."], "Syntax error in run list '3..'"),
        (["-r", "$foo>3"], "Cannot evaluate run filter: Unknown variable $foo"),
        (
            ["-r", "$numHosts>"],
            "Cannot evaluate run filter: Parse error in expression '$numHosts>': syntax error",
        ),
        (["-q", "bogus"], "Unrecognized -q argument 'bogus'"),
        (["--bogus=3"], "Unknown command-line configuration option --bogus"),
        (["-c"], "command-line option -c is missing required argument"),
    ],
)
def test_wrong_arguments_are_errors(aloha: Aloha, arguments: list[str], message: str) -> None:
    # Given arguments that make no sense
    # When the program is started with them
    result = aloha(*arguments)
    # Then it says why it cannot obey, and fails
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"\n<!> Error: {message}\n")


def test_a_wrong_parameter_fails_the_run(aloha: Aloha, tmp_path: Path) -> None:
    # Given a parameter that is not a number
    # When a run reads it
    result = aloha("-c", "Quick", "-r", "0", f"--result-dir={tmp_path}", "--Aloha.numHosts=many")
    # Then the run fails before its first event
    assert result.returncode == 1
    assert result.stderr == "<!> Error: Aloha.numHosts: 'many' is not a number\n"


def test_a_redirected_log_ends_with_the_error_of_its_run(aloha: Aloha, tmp_path: Path) -> None:
    # Given a run that fails in the middle of its simulation, with its output redirected
    # When it is executed
    result = aloha(
        "-c", "OneFails", "-r", str(FAILING_RUN), f"--result-dir={tmp_path}", "--cmdenv-redirect-output=true"
    )
    # Then its log tells what happened, where and when
    log = only(tmp_path, ".out")
    assert re.fullmatch(
        r"<!> Error: Channel overloaded: .* exceeds maxLoad=1\.05"
        r" -- in module \(aloha::Server\) Aloha\.server \(id=2\), at t=\d+s, event #\d+",
        log.read_text().splitlines()[-1],
    )
    # And the program points to that log
    assert result.stderr == f"<!> Error -- see {log} for details\n"


def test_a_failed_run_leaves_its_vectors_but_no_scalars(aloha: Aloha, tmp_path: Path) -> None:
    # Given a run that fails in the middle of its simulation
    # When it is executed
    aloha("-c", "OneFails", "-r", str(FAILING_RUN), f"--result-dir={tmp_path}")
    # Then there are the vectors up to that moment, but not the scalars of its end
    assert {file.suffix for file in tmp_path.iterdir()} == {".vec", ".vci"}
    assert len(vector_values(only(tmp_path, ".vec"))) > 100


def test_a_failed_run_leaves_no_scalars_of_an_earlier_one(aloha: Aloha, tmp_path: Path) -> None:
    # Given the results of a run that succeeded
    arguments = ["-c", "OneFails", "-r", str(FAILING_RUN), f"--result-dir={tmp_path}"]
    aloha(*arguments, "--Aloha.server.maxLoad=2")
    assert list(tmp_path.glob("*.sca"))
    # When the same run is executed again and fails
    aloha(*arguments)
    # Then no scalar file makes it look successful
    assert not list(tmp_path.glob("*.sca"))


def test_runs_after_a_failed_one_are_skipped(aloha: Aloha, tmp_path: Path) -> None:
    # Given three runs of which the second fails
    runs = f"{FAILING_RUN - 1}..{FAILING_RUN + 1}"
    # When one process is to execute them
    result = aloha("-c", "OneFails", "-r", runs, f"--result-dir={tmp_path}")
    # Then it does not begin the third, and fails
    assert result.returncode == 1
    assert result.stdout.endswith("\nRun statistics: total 3, successful 1, errors 1, skipped 1\n")


def test_exactly_one_run_of_one_fails_fails(aloha: Aloha, tmp_path: Path) -> None:
    # Given a process that goes on after an error
    # When it executes all runs of OneFails
    result = aloha("-c", "OneFails", f"--result-dir={tmp_path}", "--cmdenv-stop-batch-on-error=false")
    # Then one has an error and the others have not
    assert result.returncode == 1
    assert result.stdout.endswith("\nRun statistics: total 24, successful 23, errors 1\n")


# --- Output ---------------------------------------------------------------------------------------


def test_a_run_has_four_files_named_after_it(aloha: Aloha, tmp_path: Path) -> None:
    # Given a result directory
    # When a run with redirected output writes to it
    aloha("-c", "Quick", "-r", "1", f"--result-dir={tmp_path}", "--cmdenv-redirect-output=true")
    # Then the names of its files contain its iteration variables and its repetition
    names = {f"Quick-numHosts=10,iaMean=3-#0{suffix}" for suffix in (".sca", ".vec", ".vci", ".out")}
    assert {file.name for file in tmp_path.iterdir()} == names


def test_one_process_executes_several_runs(aloha: Aloha, tmp_path: Path) -> None:
    # Given a list of runs
    # When one process executes them
    result = aloha("-c", "Quick", "-r", "3,5,9", f"--result-dir={tmp_path}")
    # Then each has its results
    assert result.returncode == 0
    contents = "".join(file.read_text() for file in tmp_path.glob("*.sca"))
    numbers = re.findall(r"^attr runnumber (\d+)$", contents, re.MULTILINE)
    assert sorted(numbers) == ["3", "5", "9"]


def test_redirected_output_leaves_one_line_per_run(aloha: Aloha, tmp_path: Path) -> None:
    # Given redirected output
    # When two runs are executed
    result = aloha("-c", "Quick", "-r", "0,1", f"--result-dir={tmp_path}", "--cmdenv-redirect-output=true")
    # Then standard output only announces the runs and sums them up
    assert re.fullmatch(
        r"Quick run #0: \$numHosts=10, \$iaMean=2, \$repetition=0 \(runID: Quick-0-\d{8}-[\d:]{8}-\d+\)\n"
        r"Quick run #1: \$numHosts=10, \$iaMean=3, \$repetition=0 \(runID: Quick-1-\d{8}-[\d:]{8}-\d+\)\n"
        r"\nRun statistics: total 2, successful 2\n",
        result.stdout,
    )


def test_the_log_has_status_lines_from_the_start_to_the_end(aloha: Aloha, tmp_path: Path) -> None:
    # Given redirected output
    # When a run is executed
    aloha("-c", "Quick", "-r", "0", f"--result-dir={tmp_path}", "--cmdenv-redirect-output=true")
    # Then its log shows its progress in the words of Cmdenv
    lines = only(tmp_path, ".out").read_text().splitlines()
    assert re.fullmatch(r"\*\* Event #0   t=0   Elapsed: \S+s \(0m 00s\)  0% completed  \(0% total\)", lines[0])
    assert re.fullmatch(r"     Speed:     ev/sec=\S+   simsec/sec=\S+   ev/simsec=\S+", lines[-4])
    assert re.fullmatch(
        r"\*\* Event #\d+   t=80000   Elapsed: \S+s \(\d+m \d\ds\)  100% completed  \(100% total\)",
        lines[-5],
    )
    assert re.fullmatch(r"<!> Simulation time limit reached -- at t=80000s, event #\d+", lines[-1])


def test_without_redirection_the_status_is_on_standard_output(aloha: Aloha, tmp_path: Path) -> None:
    # Given output that is not redirected
    # When a run is executed
    result = aloha("-c", "Quick", "-r", "0", f"--result-dir={tmp_path}")
    # Then its progress is on standard output, and in no file
    assert "100% completed" in result.stdout
    assert not list(tmp_path.glob("*.out"))


def test_the_log_can_be_followed_while_the_run_goes_on(aloha: Aloha, tmp_path: Path) -> None:
    # Given a run that does not end, whose log is a pipe with a reader
    log = tmp_path / "log"
    os.mkfifo(log)
    process = aloha.start(
        "-c",
        "Endless",
        f"--result-dir={tmp_path}",
        "--cmdenv-status-frequency=50ms",
        "--cmdenv-redirect-output=true",
        f"--cmdenv-output-file={log}",
    )
    # When the reader reads, it gets lines
    with process, log.open() as lines:
        events = (int(match[1]) for line in lines if (match := re.match(r"\*\* Event #(\d+)", line)))
        seen = [next(events) for _ in range(3)]
        process.kill()
    # Then they tell of ever more events
    assert 0 == seen[0] < seen[1] < seen[2]


def test_without_express_mode_each_event_has_a_line(aloha: Aloha, tmp_path: Path) -> None:
    # Given a run of ten simulated seconds
    arguments = ["-c", "Quick", "-r", "0", f"--result-dir={tmp_path}", "--sim-time-limit=10s"]
    # When it is not in express mode
    result = aloha(*arguments, "--cmdenv-express-mode=false")
    # Then each event has a line, with its time and its module
    events = re.findall(
        r"^\*\* Event #(\d+)  t=\S+ .* Aloha\.host\[\d\] \(Host, id=\d+\)$", result.stdout, re.MULTILINE
    )
    assert [int(event) for event in events] == list(range(1, len(events) + 1))


def test_overrides_are_recorded_and_obeyed(aloha: Aloha, tmp_path: Path) -> None:
    # Given an override of a parameter and one of an option
    # When a run is executed with them
    aloha("-c", "Quick", "-r", "0", f"--result-dir={tmp_path}", "--Aloha.numHosts=5", "--sim-time-limit=2min")
    # Then its results say so
    text = only(tmp_path, ".sca").read_text()
    assert "\nconfig Aloha.numHosts 5\n" in text
    assert "\nconfig sim-time-limit 2min\n" in text
    # And they come from that many hosts and that much time
    assert text.count("sentFrames:last") == 5
    assert scalars(only(tmp_path, ".sca"))["duration"] == 120


def test_chatty_writes_numbered_lines(aloha: Aloha, tmp_path: Path) -> None:
    # Given a number of lines
    # When Chatty is executed with it
    aloha(
        "-c",
        "Chatty",
        f"--result-dir={tmp_path}",
        "--sim-time-limit=1000s",
        "--Aloha.numLines=300",
        "--cmdenv-redirect-output=true",
    )
    # Then its log has just those lines, in order
    lines = only(tmp_path, ".out").read_text().splitlines()
    written = [line for line in lines if line.startswith("line ")]
    assert written == [f"line {number}" for number in range(1, 301)]


def test_heavy_writes_a_vector_file_of_the_given_size(aloha: Aloha, tmp_path: Path) -> None:
    # Given a size of three megabytes
    # When Heavy is executed with it
    aloha("-c", "Heavy", f"--result-dir={tmp_path}", "--Aloha.vectorMegabytes=3")
    # Then the vector file has that size
    assert only(tmp_path, ".vec").stat().st_size == pytest.approx(3e6, rel=0.01)


# --- Vector files and their index -----------------------------------------------------------------


def vector_values(file: Path) -> list[list[str]]:
    """The data lines of a vector file (or the block lines of an index), split at the tabs."""
    return [line.split("\t") for line in file.read_text().splitlines() if re.match(r"\d+\t", line)]


def assert_index_is_up_to_date(index: Path) -> None:
    """The first line of an index tells size and modification time of the vector file."""
    status = index.with_suffix(".vec").stat()
    fingerprint = index.read_text().splitlines()[0]
    assert fingerprint == f"file {status.st_size} {int(status.st_mtime)}".ljust(64)


def test_the_index_belongs_to_the_vector_file(aloha: Aloha, tmp_path: Path) -> None:
    # Given a run
    # When it has ended
    aloha("-c", "Quick", "-r", "0", f"--result-dir={tmp_path}")
    # Then tools will find its index to be up to date
    assert_index_is_up_to_date(only(tmp_path, ".vci"))


def test_the_index_finds_every_block_of_the_vector_file(aloha: Aloha, tmp_path: Path) -> None:
    # Given vectors of several blocks
    aloha("-c", "Heavy", f"--result-dir={tmp_path}", "--Aloha.vectorMegabytes=0.5")
    data = only(tmp_path, ".vec").read_bytes()
    # When their blocks are looked up in the index
    blocks = vector_values(only(tmp_path, ".vci"))
    assert len(blocks) > 3
    for vector, summary in blocks:
        offset, size, first_event, last_event, _, _, count, *_ = summary.split()
        lines = data[int(offset) : int(offset) + int(size)].decode().splitlines()
        # Then each holds the lines of that vector that the index tells of
        assert all(line.startswith(f"{vector}\t") for line in lines)
        assert len(lines) == int(count)
        assert (lines[0].split("\t")[1], lines[-1].split("\t")[1]) == (first_event, last_event)


@pytest.mark.omnetpp
@pytest.mark.skipif(shutil.which("opp_scavetool") is None, reason="needs opp_scavetool of OMNeT++")
def test_the_tools_of_omnetpp_read_the_results(aloha: Aloha, tmp_path: Path) -> None:
    # Given the results of a run, and the vectors of a failed one
    aloha("-c", "Quick", "-r", "0", f"--result-dir={tmp_path}")
    aloha("-c", "OneFails", "-r", str(FAILING_RUN), f"--result-dir={tmp_path}")
    indexes = {file: file.read_bytes() for file in tmp_path.glob("*.vci")}
    # When the tool of OMNeT++ exports them
    exported = subprocess.run(
        ["opp_scavetool", "export", "-F", "CSV-R", "-o", str(tmp_path / "all.csv"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    # Then it has nothing to complain of
    assert exported.stderr == ""
    assert "4 vectors, 1 histogram" in exported.stdout
    # And no index to write anew
    assert indexes == {file: file.read_bytes() for file in tmp_path.glob("*.vci")}


# --- Signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_simulation_properly(aloha: Aloha, tmp_path: Path, number: signal.Signals) -> None:
    # Given a simulation that has begun and does not end by itself
    arguments = ["-c", "Endless", f"--result-dir={tmp_path}", "--repeat=2", "--cmdenv-status-frequency=50ms"]
    with aloha.start(*arguments) as process:
        assert process.stdout is not None
        assert any(re.match(r"\*\* Event #[1-9]", line) for line in process.stdout)
        # When it gets a signal
        process.send_signal(number)
        output, _ = process.communicate(timeout=TIMEOUT)
    # Then it ends, and the next run does not begin
    assert process.returncode == 2
    assert re.search(r"\n<!> SIGINT or SIGTERM received, exiting -- at t=\S+s, event #\d+\n", output)
    assert output.endswith("\nRun statistics: total 2, successful 1, skipped 1\n")
    # And its result files look complete
    assert scalars(only(tmp_path, ".sca"))["duration"] > 0
    assert_index_is_up_to_date(only(tmp_path, ".vci"))


# --- Building -------------------------------------------------------------------------------------


def test_debug_mode_builds_a_program_of_its_own(aloha: Aloha, tmp_path: Path) -> None:
    # Given the release build
    # When the debug build is made beside it
    make(aloha.directory, "MODE=debug")
    debug = Aloha(aloha.directory, program="aloha_dbg")
    # Then both programs give the same results
    for program in (aloha, debug):
        program("-c", "Quick", "-r", "0", f"--result-dir={tmp_path / program.program}")
    release_results, debug_results = (only(tmp_path / name, ".sca") for name in ("aloha", "aloha_dbg"))
    assert scalars(release_results) == scalars(debug_results)
