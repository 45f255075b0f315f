"""Build commands: their environment, how far they are, and what is said when they fail."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from runner import making
from runner.errors import BuildFailed
from runner.line import Line
from runner.log_stream import Sender
from runner.making import Maker
from runner.messages import BuildProgressed, Event
from tests.conftest import eventually


class Told(Line):
    """Takes down what is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_cancelled: Callable[[], bool] = lambda: False

    def post(self, event: Event) -> None:
        """Take it down."""
        self.events.append(event)

    def is_unwanted(self, seconds: float = 0) -> bool:  # noqa: ARG002
        """Say whether somebody wants it."""
        return self.is_cancelled()


@pytest.fixture
def line() -> Told:
    return Told()


@pytest.fixture
def maker(tmp_path: Path, line: Told) -> Iterator[Maker]:
    sender = Sender(zmq.Context.instance(), "ipc:///nowhere")
    maker = Maker("c1", tmp_path / "log" / "c1.log", sender, line)
    yield maker
    maker.close()
    sender.close()


def run(maker: Maker, folder: Path, *argv: str) -> None:
    """Run a build command."""
    environment = making.environment(os.environ, "release", folder, {}, [])
    in_good_order = (folder / "in-good-order").touch
    maker.run(argv, what="m", cwd=folder, environment=environment, in_good_order=in_good_order)


def test_it_is_told_how_many_compilations_there_are_and_are_done(tmp_path: Path, maker: Maker, line: Told) -> None:
    # Given three sources, one of which has been compiled, and the makefile names what it compiles
    for name in "abc":
        (tmp_path / f"{name}.cc").write_text(f"int {name};\n")
    rule = "%.o: %.cc\n\t@echo $<\n\t@g++ -c -o $@ $<\n"
    (tmp_path / "Makefile").write_text(f"all: a.o b.o c.o\n{rule}")
    (tmp_path / "a.o").touch()
    # When it is built, then two are foreseen, and in the end two are done
    run(maker, tmp_path, "make")
    told = [event for event in line.events if isinstance(event, BuildProgressed)]
    assert {event.total for event in told} == {2}
    assert told[-1] == BuildProgressed("c1", 2, 2, "m")
    # When there is nothing to do, then nothing is told
    line.events.clear()
    run(maker, tmp_path, "make")
    assert line.events == []


def test_what_a_makefile_says_itself_gives_way_to_where_a_project_stands(tmp_path: Path) -> None:
    # Given a makefile with a variable of its own, which calls another one
    (tmp_path / "Makefile").write_text("INET_PROJ = ../nowhere\nall:\n\t@echo $(INET_PROJ); $(MAKE) -s -f other\n")
    (tmp_path / "other").write_text("INET_PROJ = ../nowhere\nall:\n\t@echo $(INET_PROJ) $$INET_PROJ\n")
    # When it is made in an environment that says where it is
    place = "/a place/with spaces"
    environment = making.environment(os.environ, "release", tmp_path, {"INET_PROJ": place}, [])
    said = subprocess.check_output(["make", "-s"], cwd=tmp_path, env=environment, text=True)
    # Then that counts, in both
    assert said.splitlines() == [place, f"{place} {place}"]


def test_the_environment_of_a_build(tmp_path: Path) -> None:
    # Given a project with a bin folder, and an environment that a make has left things in
    (tmp_path / "bin").mkdir()
    given = {"PATH": "/usr/bin", "MAKEFLAGS": "n", "MAKELEVEL": "3", "LD_LIBRARY_PATH": "/mine"}
    # When / Then
    made = making.environment(given, "debug", tmp_path, {}, [tmp_path / "inet" / "src"])
    assert made == {
        "PATH": f"{tmp_path}/bin:/usr/bin",
        "MODE": "debug",
        "MAKEFLAGS": f"-j{os.cpu_count()} --eval=.DELETE_ON_ERROR:",
        "LD_LIBRARY_PATH": f"{tmp_path}/inet/src:/mine",
    }


def test_make_is_told_the_folder_that_it_is_in(tmp_path: Path, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a makefile that names the folder, and a client that is elsewhere
    monkeypatch.setenv("PWD", "/elsewhere")
    (tmp_path / "Makefile").write_text("all:\n\t@echo $(PWD) >said\n")
    # When it is made, then that is where it is
    run(maker, tmp_path, "make")
    assert (tmp_path / "said").read_text() == f"{tmp_path}\n"


def test_a_command_that_fails_tells_its_own_errors(tmp_path: Path, maker: Maker) -> None:
    # Given a command that fails after another one has printed what looks like an error
    run(maker, tmp_path, "sh", "-c", "echo 'a.cc:1: error: of the one before'")
    with pytest.raises(BuildFailed) as caught:
        run(maker, tmp_path, "sh", "-c", 'echo fine; echo "b.cc:2: error: none"; exit 3')
    # Then the first errors of that one are told
    assert caught.value.message.splitlines() == [
        """the build of m failed: sh -c 'echo fine; echo "b.cc:2: error: none"; exit 3' ended with exit status 3""",
        "b.cc:2: error: none",
    ]
    # … and nothing below that of one that says nothing
    with pytest.raises(BuildFailed) as caught:
        run(maker, tmp_path, "false")
    assert caught.value.message == "the build of m failed: false ended with exit status 1"


def test_an_omnetpp_without_the_mode_is_explained(tmp_path: Path, maker: Maker) -> None:
    # Given a linker that does not find OMNeT++'s libraries, when it fails, then it is said where to look
    with pytest.raises(BuildFailed) as caught:
        run(maker, tmp_path, "sh", "-c", "echo 'ld: cannot find -loppsim_dbg: No such file'; exit 1")
    assert "compiled for the mode release" in caught.value.hint
    assert "labfleet_omnetpp" in caught.value.hint
    # … which is not said of another library
    with pytest.raises(BuildFailed) as caught:
        run(maker, tmp_path, "sh", "-c", "echo 'ld: cannot find -lqlib_dbg: No such file'; exit 1")
    assert caught.value.hint == ""


def test_a_command_that_is_missing_is_named(tmp_path: Path, maker: Maker) -> None:
    # When / Then
    with pytest.raises(BuildFailed, match="the build needs opp_nothing, which is not on PATH"):
        run(maker, tmp_path, "opp_nothing")


@pytest.mark.timeout(30)
def test_what_make_does_to_say_what_it_would_do_can_be_cancelled(tmp_path: Path, maker: Maker, line: Told) -> None:
    # Given a makefile that has to be made, which make does whatever it is asked, and it takes for ever
    (tmp_path / "Makefile").write_text(
        "all:\ninclude made.mk\nmade.mk:\n\techo half > $@; echo $$$$ > pid; sleep 1000; echo whole > $@\n"
    )
    # When the campaign is cancelled meanwhile
    pid = tmp_path / "pid"
    line.is_cancelled = lambda: pid.exists() and bool(pid.read_text())
    with pytest.raises(BuildFailed):
        run(maker, tmp_path, "make")
    # Then all of it is ended, and nobody takes what it has made for whole
    eventually(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists(), "the end of what it had started")
    assert not (tmp_path / "made.mk").exists()


def test_what_a_cancelled_make_has_made_stays(tmp_path: Path, maker: Maker, line: Told) -> None:
    # Given a makefile that has made one file, and is in the middle of another one, called by another make
    inner = "all: a b\na:\n\techo whole >$@\nb:\n\techo half >$@; touch begun; sleep 1000; echo whole >$@\n"
    (tmp_path / "inner").write_text(inner)
    (tmp_path / "Makefile").write_text("all:\n\t$(MAKE) -f inner -j1\n")
    # When the campaign is cancelled meanwhile
    line.is_cancelled = (tmp_path / "begun").exists
    with pytest.raises(BuildFailed):
        run(maker, tmp_path, "make")
    # Then what is whole is there for the next build, and nothing else
    assert (tmp_path / "in-good-order").exists()
    assert (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


@pytest.mark.timeout(30)
def test_a_command_that_does_not_end_is_killed(tmp_path: Path, maker: Maker, line: Told) -> None:
    # Given a build that does not care for signals, when it is cancelled
    line.is_cancelled = (tmp_path / "begun").exists
    with pytest.raises(BuildFailed):
        run(maker, tmp_path, "sh", "-c", "trap '' TERM; touch begun; while :; do sleep 1; done")
    # Then it is ended all the same, and its tree is not in order
    assert not (tmp_path / "in-good-order").exists()
