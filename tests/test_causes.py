"""Failures that have one cause are told as one, whatever differs from run to run.  The errors are OMNeT++ 6.2's."""

import shutil
import subprocess
from pathlib import Path

import pytest

from runner import causes, omnetpp
from runner.model import Kind, Launch, Outcome

IN_HOST = "-- in module (aloha::Host) Aloha.host[{0}] (id={1}), at t=0.{2}451669022s, event #{3}"
INI = "/home/{0}/.local/state/labfleet/private/slot{1}.5f3a.{2}/aloha/omnetpp.ini:66"


def failure(run: int, error: str, kind: Kind = "error", seconds: float = 1.0, status: int = 1) -> Outcome:
    return Outcome("c", run, 1, kind, status, "red", "slot1", 100.0, 100.0 + seconds, error)


def same(*errors: str) -> causes.Key:
    """Return what errors have in common that have to have one cause."""
    (group,) = causes.grouped(failure(run, error) for run, error in enumerate(errors))
    return group.key


def test_errors_that_differ_in_numbers_times_events_and_indices_have_one_cause() -> None:
    # Given what a model says of the same mistake in two runs, when they are grouped
    packet = "(omnetpp::cPacket)pk-{0}-#{1}: setBitLength(): Negative length -{0}"
    found = same(
        f"{packet.format(4, 0)} {IN_HOST.format(1, 4, 386, 1)}",
        f"{packet.format(17, 30)} {IN_HOST.format(12, 15, 1, 99)}",
    )
    # Then they are one cause, with its words, and with the module without an index
    assert found.text == "(omnetpp::cPacket)pk-#-#: setBitLength(): Negative length #"
    assert found.module == "Aloha.host[*]"


def test_errors_of_private_directories_have_one_cause() -> None:
    # Given an error that names an ini file in a run's private directory, of two workers
    said = "Cannot assign '0' to parameter 'Aloha.slotTime': Cannot convert unit none to 'ms' (millisecond) -- at {0}"
    during = " -- in module (omnetpp::cModule) Aloha (id=1), during network setup"
    # When they are grouped
    found = same(said.format(INI.format("u", 1, 14)) + during, said.format(INI.format("v", 12, "ab")) + during)
    # Then they have one cause; what stands in quotes is words, and stays
    assert found.text == (
        "Cannot assign '#' to parameter 'Aloha.slotTime': Cannot convert unit none to 'ms' (millisecond)"
        " -- at …/aloha/omnetpp.ini:#"
    )
    assert found.module == "Aloha"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no object at 0x7ffc2a10", "no object at 0x55D0"),
        ("no object at 55d0a1b2c3d4", "no object at 7ffc2a10b2c3"),
        ("no route to 10.0.0.1", "no route to 192.168.17.254"),
        ("no owner of 0A-AA-00-00-00-01", "no owner of 0A-AA-00-00-00-FF"),
        ("no session 7d444840-9dc0-11d1-b245-5ffdce74fad2", "no session 123e4567-e89b-12d3-a456-426614174000"),
        ("Cannot open 'results/Err-n=3,p=-5b-#0.vec'", "Cannot open 'results/Err-n=12,p=udp-#17.vec'"),
        ("took 1.5e-9s", "took -3ms"),
        ("Module 'host[3].app[0]' not found", "Module 'host[12].app[1]' not found"),
        ("delays 1, 2, 3 do not fit", "delays 4, 5 do not fit"),
        ("run #14 has a line\n  break", "run #3 has a line break"),
        (
            "no signal -- in module (M) N.a[1].b[2] (id=7), at t=1s, event #3",
            "no signal -- in module (M) N.a[0].b[1] (id=2), during finalization",
        ),
    ],
)
def test_what_differs_from_run_to_run_plays_no_part(one: str, other: str) -> None:
    # Given two errors that differ in such a thing alone, when they are grouped, then they have one cause
    same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no gate 'in'", "no gate 'out'"),
        ("Ieee80211Mac is idle", "Ieee802154Mac is idle"),
        (
            "no route -- in module (Ip) N.a.ip (id=3), at t=1s, event #3",
            "no route -- in module (Ip) N.b.ip (id=3), at t=1s, event #3",
        ),
        ("the program ended with exit status 3", "the program ended with exit status 4"),
    ],
)
def test_what_is_said_in_other_words_is_another_cause(one: str, other: str) -> None:
    # Given two errors that differ in a word, when they are grouped, then there are two causes
    assert len(causes.grouped([failure(0, one), failure(1, other)])) == 2


def test_kinds_of_failure_never_mix() -> None:
    # Given one text for every kind of failure, when they are grouped
    kinds: tuple[Kind, ...] = ("error", "crash", "timeout", "stalled", "out-of-memory", "lost")
    groups = causes.grouped(failure(run, "gone", kind) for run, kind in enumerate(kinds * 2))
    # Then each kind has a cause of its own
    assert [(group.key.kind, group.runs) for group in groups] == [(k, [i, i + 6]) for i, k in enumerate(kinds)]


def test_who_says_nothing_is_told_by_the_exit_status() -> None:
    # Given failures without a word, when they are grouped, then by their exit status
    groups = causes.grouped([failure(0, ""), failure(1, "", status=3), failure(2, " ")])
    assert [(group.key.text, group.runs) for group in groups] == [("exit status 1", [0, 2]), ("exit status 3", [1])]


def test_the_frequent_cause_comes_first_with_the_run_that_took_least_time() -> None:
    # Given one failure of a kind, and three of another that took different times
    failures = [failure(0, "b"), failure(5, "a 5", seconds=3.0), failure(7, "a 7", seconds=0.2), failure(6, "a 6")]
    # When they are grouped
    first, second = causes.grouped(failures)
    # Then that is what travels of them
    assert first.cause == causes.Cause("a #", 3, 7, "error", "")
    assert second.cause == causes.Cause("b", 1, 0, "error", "")
    assert first.runs == [5, 6, 7]


def test_run_numbers_are_told_as_r_takes_them() -> None:
    # Given run numbers in any order, when they are told, then in order and short
    assert causes.ranges([9, 0, 5, 6, 3, 8, 7]) == "0,3,5..9"
    assert causes.ranges([]) == ""


@pytest.mark.parametrize(
    "said", ["-a=", "/a", "1", "#, ", "- ", "1.1", "[1]", "ab1", " -- in module (", "\x1b[2J", "'"]
)
def test_hostile_errors_are_grouped_too(said: str) -> None:
    # Given an error of a megabyte, made to have patterns go astray, from each of a thousand runs
    failures = [failure(run, said * (1_000_000 // len(said))) for run in range(3)] * 300
    # When they are grouped
    groups = causes.grouped(failures)
    # Then that comes to an end, and what is told of them is short
    assert all(len(group.key.text) <= causes.TELLING for group in groups)


def test_the_command_by_hand_does_one_run_and_shows_what_it_prints() -> None:
    # Given how a slot does several runs, when a person wants to do one of them
    launch = Launch(ini_files=("x.ini",), ned_path=(".", "../src"), arguments=("--seed-set=3",))
    command = omnetpp.simulation_command(("./aloha",), launch, "Err", [3, 4, 5])
    # Then nothing is redirected, and the rest is the same
    by_hand = omnetpp.command_by_hand(command, 4)
    assert " ".join(by_hand) == "./aloha -f x.ini -n .;../src --seed-set=3 -c Err -u Cmdenv -r 4"
    # And nothing is made up for a run of which no command is known
    assert omnetpp.command_by_hand((), 4) == ()


@pytest.mark.omnetpp
@pytest.mark.skipif(shutil.which("opp_run") is None, reason="opp_run is not on PATH")
def test_real_errors_of_many_runs_have_one_cause_each(tmp_path: Path) -> None:
    # Given OMNeT++'s own program, and a configuration whose runs fail in three ways
    (tmp_path / "n.ned").write_text("module S { parameters: double x; } network N { submodules: s[3]: S; }")
    (tmp_path / "omnetpp.ini").write_text(
        "[General]\nnetwork = N\nrepeat = 3\n**.dummy = ${k=1..4}\n"
        '**.s[*].x = ${x="1kg", "12kg", foo(1), foo(2), bar(1, 2, 3)}\n'
    )
    # When all are done
    failures = []
    for run in range(60):
        argv = ["opp_run", "-u", "Cmdenv", "-s", "-r", str(run)]
        said = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        failures.append(failure(run, omnetpp.error_text(said.stdout + said.stderr), status=said.returncode))
    # Then there are three causes
    groups = causes.grouped(failures)
    assert [len(group.failures) for group in groups] == [24, 24, 12], [group.key for group in groups]
