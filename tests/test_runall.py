"""opp_runall's command line is understood as opp_runall understands it."""

from pathlib import Path

import pytest

from runner import runall
from runner.errors import WrongUse
from runner.model import Run


def test_options_before_the_program_are_runalls_and_those_after_it_the_programs() -> None:
    # Given a -j of runall's and further options of the program's
    words = [
        "-j",
        "4",
        "-b",
        "7",
        "-C",
        "models",
        "./sim",
        "-f",
        "a.ini",
        "-c",
        "Foo",
        "--x=1",
        "-n",
        "a;b",
        "-r",
        "1..3",
    ]

    # When the line is read
    order, makefile = runall.parse(words)

    # Then each has its own
    assert (order.jobs, order.batch, order.folder) == (4, 7, Path("models"))
    assert (order.program, order.config, order.run_filter) == ("./sim", "Foo", "1..3")
    assert (order.ini_files, order.arguments) == (("a.ini",), ("--x=1", "-n", "a;b"))
    assert makefile is None


@pytest.mark.parametrize("words", [["./sim", "-cFoo", "-r2", "b.ini"], ["./sim", "b.ini", "-c", "Foo", "-r", "2"]])
def test_values_may_stick_to_their_option_and_ini_files_need_none(words: list[str]) -> None:
    # When either form is used, then both mean the same
    order, _ = runall.parse(words)
    assert (order.config, order.run_filter, order.ini_files, order.arguments) == ("Foo", "2", ("b.ini",), ())


def test_without_a_configuration_it_is_general() -> None:
    # When only a program is named, then all runs of General are meant
    order, _ = runall.parse(["./sim"])
    assert (order.config, order.run_filter) == ("General", "")


@pytest.mark.parametrize(
    "words", [[], ["-j", "x", "./sim"], ["-j", "0", "./sim"], ["-b", "0", "./sim"], ["./sim", "-c"]]
)
def test_what_makes_no_sense_is_wrong_use(words: list[str]) -> None:
    # When something is missing or no number, then the person is told
    with pytest.raises(WrongUse):
        runall.parse(words)


def test_the_exported_makefile_has_a_target_per_batch_and_keeps_dollars(tmp_path: Path) -> None:
    # Given five runs in batches of two
    order, makefile = runall.parse(["-e", str(tmp_path / "Runfile"), "-b", "2", "./sim", "-c", "Foo", "--p=$x"])
    assert makefile

    # When they are exported
    runall.export(order, [Run(number, {}) for number in (0, 1, 4, 5, 8)], makefile)

    # Then make does them as opp_runall would
    text = makefile.read_text()
    assert "all: run0 run4 run8" in text
    assert "\t./sim '--p=$$x' -c Foo -s -u Cmdenv --cmdenv-redirect-output=true -r 4,5\n" in text


@pytest.mark.parametrize(("text", "words"), [("", ()), ("--a=1 '--b=x y'", ("--a=1", "--b=x y"))])
def test_further_options_are_split_as_a_shell_does(text: str, words: tuple[str, ...]) -> None:
    # When options are given in one word, then quotes keep them together
    assert runall.split(text, "--args") == words
