"""The command lines of commands that name a campaign or a machine."""

from collections.abc import Callable, Sequence

import pytest

from runner import command_line
from runner.command_line import Following
from runner.errors import WrongUse


def test_a_campaign_may_be_left_out_where_there_is_a_natural_one() -> None:
    # Given no id, when a command line is read, then attach and cancel mean the natural one
    assert command_line.attach([]) == Following("", json=False, quiet=False, verbose=False)
    assert command_line.cancel([]) == ""
    # and resume and explain, which have none, ask for it
    for read in (command_line.resume, command_line.explain):
        with pytest.raises(WrongUse, match="ID"):
            read([])


def test_options_and_ids_may_come_in_any_order() -> None:
    # Given an id between options, when it is read, then all are understood
    expected = Following("3f2a", json=True, quiet=False, verbose=True)
    assert command_line.attach(["--json", "3f2a", "-v"]) == command_line.resume(["3f2a", "-v", "--json"]) == expected
    assert command_line.explain(["3f2a", "7"]) == ("3f2a", "7")
    assert [command_line.lab_stop(words) for words in ([], ["--force"])] == [False, True]
    assert (command_line.drain(["w2"]), command_line.undrain(["w3"])) == ("w2", "w3")


@pytest.mark.parametrize("words", [["a", "b"], ["--no-such"]])
def test_what_makes_no_sense_names_the_help(words: list[str]) -> None:
    # Given too much, or an unknown option, when it is read, then the person is told where the help is
    with pytest.raises(WrongUse) as wrong:
        command_line.cancel(words)
    assert wrong.value.message.startswith("cancel: ")
    assert wrong.value.hint == "labfleet cancel --help"


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (command_line.attach, "bring the results home"),
        (command_line.resume, "what is done stays done"),
        (command_line.cancel, "What is done is kept"),
        (command_line.explain, "what it waits for"),
        (command_line.drain, "labfleet undrain HOST"),
        (command_line.undrain, "quarantine"),
        (command_line.lab_stop, "Nothing is lost"),
        (command_line.lab_status, "which campaigns are under way"),
        (command_line.lab_use, "~/.ssh/config"),
    ],
)
def test_help_teaches(read: Callable[[Sequence[str]], object], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    # When help is asked for, then it says what the command is for, and nothing else happens
    with pytest.raises(SystemExit) as end:
        read(["--help"])
    assert end.value.code == 0
    assert told in capsys.readouterr().out
