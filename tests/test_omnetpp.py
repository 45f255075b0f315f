"""What labfleet knows of OMNeT++, compared with what OMNeT++ 6.2 printed (tests/data/cmdenv/record.sh recorded it)."""

import re
import shlex
from pathlib import Path

import pytest

from runner import omnetpp, shell
from runner.model import Launch, Run, decode, encode

RECORDED = Path(__file__).parent / "data" / "cmdenv"

#: Configurations of which runs, console and result files were recorded.
CONFIGURATIONS = (
    "Short",
    "Repeated",
    "Dash-ed_name",
    "Unnamed",
    "Underscore",
    "Values",
    "Encoded",
    "Foreign",
    "Commas",
)

ALOHA = ("./aloha",)


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


def recorded_stems(config: str) -> dict[int, str]:
    """Return run number → stem of the .sca file that the run really left."""
    stems = {}
    for line in recorded(f"files-{config}").splitlines():
        path, _, number = line.partition(":attr runnumber ")
        stems[int(number)] = omnetpp.stem_of(path)
    return stems


# ---- argument lists ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "mode", "command"),
    [
        ("./aloha", "release", ("./aloha",)),
        ("/opt/sim/aloha", "debug", ("/opt/sim/aloha",)),
        ("inet", "release", ("inet",)),
        ("../src/libINET.so", "release", ("opp_run", "-l", "../src/INET")),
        ("../src/libINET_dbg.so", "debug", ("opp_run_dbg", "-l", "../src/INET")),
        ("/opt/inet/libINET.dylib", "release", ("opp_run", "-l", "/opt/inet/INET")),
        ("libmodel.so", "release", ("opp_run", "-l", "./model")),
    ],
)
def test_a_program_is_started_by_itself_and_a_library_by_opp_run(
    program: str, mode: str, command: tuple[str, ...]
) -> None:
    # Given an executable, a name on PATH, or a shared library in one of its two modes
    # When it is asked how it is started, then libraries go through opp_run, without "lib", suffix and "_dbg"
    assert omnetpp.program_command(program, mode) == command


def test_runs_are_listed_by_the_program_s_own_query_mode() -> None:
    # Given a campaign with ini files, NED folders, further options, and a filter
    launch = Launch(ini_files=("a.ini", "b.ini"), ned_path=(".", "../src"), arguments=("--repeat=3",))
    # When the question is made, then it is the campaign's own command line, and -q at its end
    question = omnetpp.query_command(ALOHA, launch, "Foo", "$n>10")
    model = ("-f", "a.ini", "-f", "b.ini", "-n", ".;../src", "--repeat=3")
    assert question == ("./aloha", *model, "-c", "Foo", "-r", "$n>10", "-s", "-q", "runs")


def test_without_a_filter_all_runs_are_asked_for() -> None:
    # Given no filter, when the question is made, then it has no -r: an empty one would select no run
    assert "-r" not in omnetpp.query_command(ALOHA, Launch(), "General", "")


@pytest.mark.parametrize(
    ("recording", "launch", "config"),
    [
        ("runall-batches", Launch(), "PureAlohaExperiment"),
        ("runall-single", Launch(ini_files=("recorded.ini",)), "PureAlohaExperiment"),
        (
            "runall-options",
            Launch(arguments=("-s", "-u", "Cmdenv", "--cmdenv-redirect-output=false", "--sim-time-limit=5s")),
            "General",
        ),
    ],
)
def test_the_runs_of_a_process_are_done_by_opp_runall_s_command(recording: str, launch: Launch, config: str) -> None:
    # Given a makefile that opp_runall -e exported
    text = recorded(recording)
    theirs = next(line for line in text.splitlines() if line.startswith("SIMULATIONCMD"))
    command = shlex.split(theirs.partition("=")[2])
    if "-c" not in command:  # what is not said means General
        command += ["-c", "General"]
    batches = [line.split()[-1] for line in text.splitlines() if line.startswith("\t$(SIMULATIONCMD)")]
    assert batches
    for batch in batches:
        # When labfleet makes the command for the same runs
        ours = omnetpp.simulation_command(ALOHA, launch, config, [int(number) for number in batch.split(",")])
        # Then it has the same words, each as often, and selects the same runs at its end
        assert sorted(ours) == sorted([*command, "-r", batch])
        assert ours[0] == "./aloha"
        assert ours[-2:] == ("-r", batch)


@pytest.mark.parametrize(
    ("makefile", "target"),
    [
        ("TARGET_DIR = .\nTARGET = $(TARGET_DIR)aloha\nTARGET = aloha\n", "./aloha"),
        ("TARGET_DIR = ../src\nTARGET = libINET.so\n", "../src/libINET.so"),
        ("TARGET = simple\n", "./simple"),
        ("all:\n\techo no target\n", ""),
    ],
)
def test_a_makefile_tells_its_target(tmp_path: Path, makefile: str, target: str) -> None:
    # Given a Makefile as opp_makemake writes it, or by hand, or without a target
    (tmp_path / "Makefile").write_text(makefile)
    # When make is asked
    answer = shell.run(omnetpp.make_target_command("Makefile"), cwd=tmp_path)
    # Then it answers with the target alone, and makes nothing
    assert answer.text == target


# ---- answers to queries ------------------------------------------------------------------------------------------


def test_the_listed_runs_have_their_numbers_and_variables_in_order() -> None:
    # Given the runs of a parameter study, when they are parsed
    runs = omnetpp.parse_runs(recorded("runs-PureAlohaExperiment"))
    # Then each has its number and its variables, repetition last
    assert [run.number for run in runs] == [0, 1, 2, 3, 4, 5, 6]
    assert runs[3] == Run(3, {"numHosts": "10", "iaMean": "2", "repetition": "1"})
    assert list(runs[3].variables) == ["numHosts", "iaMean", "repetition"]


def test_inet_s_own_script_lists_runs_the_same_way() -> None:
    # Given the answer of INET's bin/inet, when it is parsed, then the runs are there
    runs = omnetpp.parse_runs(recorded("runs-throughput"))
    assert [run.variables["packetLength"] for run in runs] == ["100", "1000", "2268"]


def test_odd_values_come_as_the_program_writes_them() -> None:
    # Given iteration variables whose values have commas, spaces, quotes, braces, semicolons, or nothing in them
    values = [run.variables["a"] for run in omnetpp.parse_runs(recorded("runs-Values"))]
    # When the list is parsed, then each value is complete
    assert values == [
        *("-1", "1e-3", "+2.5", "true", "a+b", "1:2", '"plain"', "100%", "a*b", "{1}", "1;2", "~x", "(1+2)"),
        *('""', '"a b/c"', '"d,e"', r'"q\"q"'),
    ]


def test_values_with_commas_and_spaces_do_not_run_into_the_next_variable() -> None:
    # Given two variables whose values have ", " in them, when they are parsed, then both are complete
    assert omnetpp.parse_runs(recorded("runs-Commas")) == (
        Run(0, {"t": "uniform(1s,2s)", "b": '"d, e"', "repetition": "0"}),
        Run(1, {"t": "exponential(1s)", "b": '"d, e"', "repetition": "0"}),
    )


def test_a_variable_without_a_name_has_its_number() -> None:
    # Given ${952b, 800b} in the ini file, when the list is parsed, then the variable is there under "0"
    assert omnetpp.parse_runs(recorded("runs-Unnamed"))[1].variables == {
        "x": "1",
        "0": "800b",
        "repetition": "0",
    }


@pytest.mark.parametrize("recording", ["query-nothing", "query-no-configuration", "query-no-variable"])
def test_no_run_is_listed_where_there_is_none(recording: str) -> None:
    # Given a filter that selects nothing, or an error, when it is parsed, then there are no runs
    assert omnetpp.parse_runs(recorded(recording)) == ()


# ---- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recording", "text"),
    [
        ("query-no-configuration", "No such config: Nope"),
        ("query-no-variable", "Cannot evaluate run filter: Unknown variable $nope"),
        ("query-out-of-range", "Run number 100 in run list '100' is out of range 0..41"),
        ("query-no-file", "Cannot open ini file 'nope.ini'"),
        (
            "query-no-library",
            "Cannot load library 'libnope.so': libnope.so: cannot open shared object file: No such file",
        ),
        ("query-no-option", "Unknown command-line configuration option --nope"),
        (
            "query-cycle",
            "Could not compute number of runs in config Cycle: Cycle detected in iteration variable",
        ),
        (
            "out-error",
            "(omnetpp::cPacket)pk-4-#0: setBitLength(): Negative length -5 -- in module (aloha::Host)",
        ),
        (
            "console-not-redirected",
            "(omnetpp::cPacket)pk-4-#0: setBitLength(): Negative length -5 -- in module",
        ),
    ],
)
def test_an_error_is_told_in_the_program_s_own_words(recording: str, text: str) -> None:
    # Given what a program printed that failed
    # When it is asked for the error, then that is the text after "<!> Error:"
    assert omnetpp.error_text(recorded(recording)).startswith(text)


@pytest.mark.parametrize(
    ("recording", "text"),
    [
        ("out-setup-error", "Error setting up parameter 'length': Cannot convert unit 'g' (gram) to none"),
        ("console-early", "Error during startup/shutdown: Too early"),
    ],
)
def test_an_error_whose_text_begins_with_error_is_told_too(recording: str, text: str) -> None:
    # Given an error that Cmdenv prints without a second "Error:" (EnvirBase::errWithoutPrefix)
    # When it is asked for, then its words are there, with or without the first of them
    assert text.removeprefix("Error ") in omnetpp.error_text(recorded(recording))


def test_the_error_itself_is_told_rather_than_where_to_look_for_it() -> None:
    # Given a log that holds the console, which only says where, and the .out file, which says what
    for recording in ("error", "setup-error"):
        log = recorded(f"console-{recording}") + recorded(f"out-{recording}")
        # When it is asked for the error, then it says what
        assert not omnetpp.error_text(log).startswith("see ")


def test_where_to_look_is_better_than_nothing() -> None:
    # Given a console that only says where to look, when it is asked for the error, then it says that
    text = omnetpp.error_text(recorded("console-error"))
    assert text == "see results/Err-n=3,p=-5b-#0.out for details"


@pytest.mark.parametrize("recording", ["console-batch", "console-progress", "console-banners", "query-nothing"])
def test_a_run_that_went_well_has_no_error(recording: str) -> None:
    # Given the output of runs that ended well, when it is asked for the error, then there is none
    assert omnetpp.error_text(recorded(recording)) == ""


def test_what_the_model_prints_is_not_taken_for_the_program_s_error() -> None:
    # Given a model that prints lines which begin with "Error", before the error that ends the run
    log = "Error: no route, trying again\nErrors so far: 1\n" + recorded("out-error")
    # When it is asked for the error, then it is Cmdenv's own, which is marked with <!>
    assert omnetpp.error_text(log).startswith("(omnetpp::cPacket)pk-4-#0: setBitLength()")


# ---- configurations ----------------------------------------------------------------------------------------------


def test_the_configurations_are_asked_of_the_program_with_the_same_ini_files() -> None:
    # Given a campaign with ini files and further options, when the question is made, then it has them, and -a
    launch = Launch(ini_files=("a.ini",), ned_path=("src",), arguments=("--x=1",))
    question = omnetpp.configurations_command(ALOHA, launch)
    assert question == ("./aloha", "-f", "a.ini", "-n", "src", "--x=1", "-s", "-a")


def test_the_configurations_of_all_section_forms_and_included_files_are_known() -> None:
    # Given what a program lists of an ini file with [Config X] sections that includes one with [X] sections
    names = omnetpp.parse_configurations(recorded("configurations"))
    # When it is parsed, then all are there, General first, with odd characters as they are
    assert names[:3] == ("General", "PureAloha1", "PureAloha2")
    assert {"PureAlohaExperiment", "Err", *CONFIGURATIONS} <= set(names)
    assert len(names) == len(recorded("configurations").split("Config ")) - 1


def test_without_an_ini_file_no_configuration_is_known() -> None:
    # Given the error of a program that finds no ini file, when it is parsed, then there is no configuration
    assert omnetpp.parse_configurations(recorded("query-no-file")) == ()


# ---- console -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGURATIONS)
def test_the_console_announces_each_run_of_a_process(config: str) -> None:
    # Given the console of a process that did all runs of a configuration, whatever their values
    announced = [omnetpp.started_run(line) for line in recorded(f"console-{config}").splitlines()]
    # When its lines are looked at, then each run is announced once, in order
    expected = [run.number for run in omnetpp.parse_runs(recorded(f"runs-{config}"))]
    assert [number for number in announced if number is not None] == expected


def test_other_lines_announce_nothing() -> None:
    # Given lines of a console that are none of Cmdenv's announcements
    lines = recorded("out-error").splitlines() + recorded("query-out-of-range").splitlines()
    # When they are looked at, then none announces a run
    assert [line for line in lines if omnetpp.started_run(line) is not None] == []


def last_status(text: str) -> omnetpp.Status | None:
    """Return what the last line about an event tells, with what follows it."""
    begin = text.rfind("** Event #")
    return omnetpp.status(text[begin:]) if begin >= 0 else None


def test_a_status_tells_time_percentage_and_speeds() -> None:
    # Given the console of a run with a limit on its simulation time, up to any of its statuses but the first
    beginning, _, *statuses = recorded("console-progress").split("** Event ")
    for status in statuses:
        # When its last status is read
        found = last_status(f"{beginning}** Event {statuses[0]}** Event {status}")
        # Then it is the numbers of that status
        assert found is not None
        assert found.percent is not None
        time, event = re.search(r" t=(\S+)", status), re.match(r"#(\d+)", status)
        speed, events = re.search(r"simsec/sec=(\S+)", status), re.search(r" ev/sec=(\S+)", status)
        assert time is not None
        assert event is not None
        assert speed is not None
        assert events is not None
        assert (found.event, found.sim_time, found.speed) == (int(event[1]), float(time[1]), float(speed[1]) or None)
        assert found.events_per_second == (float(events[1]) or None)
        assert f" {found.percent:.0f}% completed" in status


def test_the_percentage_is_the_run_s_own_not_the_process_s() -> None:
    # Given the .out file of the third of four runs: "3% completed  (50% total)", when it is read, then it is 3
    status = last_status(recorded("out-error"))
    assert status == omnetpp.Status(0.386451669022, 3.0, None, None, 1)


def test_without_a_limit_there_is_no_percentage() -> None:
    # Given a simulation that never ends, when its last status is read
    status = last_status(recorded("console-endless"))
    # Then there is time and speed, but no percentage
    assert status is not None
    assert status.sim_time > 0
    assert status.percent is None
    assert status.speed is not None
    assert status.events_per_second is not None


def test_a_status_in_one_line_tells_events_per_second() -> None:
    # Given the console of a run with cmdenv-performance-display=false, when its last status is read
    # Then there are time, percentage, and events per second
    assert last_status(recorded("console-brief")) == omnetpp.Status(500000.0, 100.0, None, 8.86165e06, 5000001)


def test_the_banner_of_an_event_tells_time_and_percentage() -> None:
    # Given the console of a run that is not in express mode, when its last banner is read, then it tells no speeds
    assert last_status(recorded("console-banners")) == omnetpp.Status(1.0, 100.0, None, None, 11)


@pytest.mark.parametrize("recording", ["console-batch", "console-error", "query-nothing"])
def test_without_a_status_there_is_none(recording: str) -> None:
    # Given output without a status, when it is read, then there is none
    assert last_status(recorded(recording)) is None


def test_a_status_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    # Given output that was cut anywhere, as it is read while the program writes
    text = recorded("console-progress")
    for end in range(0, len(text), 7):
        # When the last status is read, then that never fails, and never tells more than was there
        status = last_status(text[:end])
        assert status is None or status.percent is None or status.percent <= 100


@pytest.mark.parametrize(
    "line",
    [
        "** Event #1  t=1e999  Net.host\n",
        f"** Event #1  t={'9' * 400}  Net.host\n",
        f"** Event #{'9' * 5000}  t=1  Net.host\n",
        "** Event #1  t=-1  Net.host\n",
        "** Event #1  t=nan  Net.host\n",
        "** Event #\u0661  t=1  Net.host\n",
        f"** Event #1  t=1{' ' * 10**6}",
    ],
)
def test_what_a_model_prints_in_the_guise_of_a_status_does_no_harm(line: str) -> None:
    # Given a line that looks like Cmdenv's, and tells what no JSON holds, when it is read
    status = omnetpp.status(line)
    # Then it is none, or all its numbers can travel
    assert status is None or decode(encode([status.sim_time, status.event]), list[float]) == [1.0, 1.0]


# ---- names of result files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGURATIONS)
def test_a_stem_that_is_certain_is_the_real_one(config: str) -> None:
    # Given the runs of a configuration, and the files that they left
    real = recorded_stems(config)
    for run in omnetpp.parse_runs(recorded(f"runs-{config}")):
        # When it is asked what a run's files begin with
        stem = omnetpp.file_stem(config, run)
        # Then that is right, or said to be uncertain
        assert stem in (real[run.number], None), f"{run}: really {real[run.number]}"


@pytest.mark.parametrize("config", ["Short", "Repeated", "Dash-ed_name"])
def test_the_stem_of_usual_runs_is_certain(config: str) -> None:
    # Given runs without odd values, when asked for their stems, then they are those of the real files
    real = recorded_stems(config)
    runs = omnetpp.parse_runs(recorded(f"runs-{config}"))
    assert {run.number: omnetpp.file_stem(config, run) for run in runs} == real


def test_numbers_and_words_as_values_are_usual() -> None:
    # Given values like -1, 1e-3, +2.5, true, a+b, when asked for their stems, then these are certain
    runs = omnetpp.parse_runs(recorded("runs-Values"))
    real = recorded_stems("Values")
    assert [omnetpp.file_stem("Values", run) for run in runs[:5]] == [real[number] for number in range(5)]


@pytest.mark.parametrize("value", ['"a b"', "1:2", "a/b", "100%", "{1}", r'"q\"q"', "a*b", ""])
def test_the_stem_of_odd_values_is_uncertain(value: str) -> None:
    # Given a value that OMNeT++ writes differently in a file's name
    run = Run(0, {"a": value, "repetition": "0"})
    # When asked for the stem, then there is none, unless the value is simply empty
    assert omnetpp.file_stem("Foo", run) == (None if value else "Foo-a=-#0")


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("results/Foo-n=1.5-#0.sca", "Foo-n=1.5-#0"),
        ("../results/Foo-#0.vec", "Foo-#0"),
        ("Foo-#0", "Foo-#0"),
    ],
)
def test_the_stem_of_a_file_is_its_name_without_folder_and_suffix(path: str, stem: str) -> None:
    # Given the path of a result file, when asked for its stem, then folder and suffix are gone
    assert omnetpp.stem_of(path) == stem


@pytest.mark.parametrize("given", [("-n", "a;b"), ("-na;b",)])
def test_a_ned_path_that_is_given_is_the_only_one(given: tuple[str, ...]) -> None:
    # Given a project with a NED path, when the person gives another one, then that alone is used
    launch = Launch(ned_path=("src",), arguments=given)
    command = omnetpp.simulation_command(("./sim",), launch, "Foo", [1])
    assert "src" not in command
    assert [word for word in command if word in given] == list(given)
