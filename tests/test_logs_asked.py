"""What a person means by the words of ``labfleet logs``."""

import pytest

from runner.errors import WrongUse
from runner.logs import asked
from runner.logs.asked import State

KNOWN = ("20261128-034618-8929", "20261128-034648-f547")


@pytest.mark.parametrize(
    ("words", "campaign", "runs"),
    [
        ((), "", []),
        (("3",), "", [3]),
        (("0,3,5..7", "9", "3"), "", [0, 3, 5, 6, 7, 9]),
        (("f547",), "f547", []),
        (("f547", "3"), "f547", [3]),
        (("8929",), "8929", []),
        (("8929", "8929"), "8929", [8929]),
        (("1234",), "", [1234]),
        (("2026",), "", [2026]),
        (("3-5",), "", [3, 4, 5]),
        (("20261128",), "20261128", []),
        (("20261129",), "", [20261129]),
        (("20261128-034648-f547", "2"), "20261128-034648-f547", [2]),
    ],
)
def test_words_are_a_campaign_and_runs(words: tuple[str, ...], campaign: str, runs: list[int]) -> None:
    # Given words, when they are taken apart, then the campaign and the runs are what a person would mean
    assert asked.split(words, KNOWN) == (campaign, runs)


@pytest.mark.parametrize(
    "words", [("1", "f547"), ("f547", "x"), ("f547", "3-"), ("f547", "9..3"), ("0..99999",), ("f547", "-1")]
)
def test_what_is_no_run_is_refused(words: tuple[str, ...]) -> None:
    # Given words that are no runs where runs are expected, when they are taken apart, then that is said
    with pytest.raises(WrongUse, match="run"):
        asked.split(words, KNOWN)


def test_an_overview_names_all_runs_by_where_they_are() -> None:
    # Given runs, when they are summed up, then each is there, with what it has come to
    runs = {number: State("done", 1) for number in (0, 1, 2, 5)} | {3: State("error", 2), 4: State("waiting")}
    lines = asked.overview("c1", "aloha \x1b General", runs).splitlines()
    assert lines[0] == "campaign c1, aloha ␛ General: 6 runs"
    assert [line.split() for line in lines[1:4]] == [["done", "0..2,5"], ["error", "3"], ["waiting", "4"]]
