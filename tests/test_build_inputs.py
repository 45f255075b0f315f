"""What a build reads, by what its files name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from runner import checkouts, snapshot
from runner.build_inputs import BuildInputs, read, words
from runner.head import SameMachine
from runner.model import Build, Source
from runner.paths import LabPaths
from tests.needed_projects import write


def named(files: Mapping[str, str], commands: Sequence[str]) -> frozenset[str]:
    """Return what a build names."""
    return words(read(files, commands))


MAKE = Build(commands=(("make",),))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("Makefile", "x: y\n\techo $(RADIO)\n"),
        ("src/Makefile.inc", "ifdef RADIO\nendif\n"),
        ("makefrag", "CFLAGS += ${RADIO}\n"),
        ("CMakeLists.txt", "set(X $ENV{RADIO})\n"),
        ("a.cmake", "if(DEFINED ENV{RADIO})\n"),
    ],
)
def test_a_makefile_names_what_it_reads(file: str, text: str) -> None:
    # When / Then
    assert "RADIO" in named({file: text}, ["make"])
    assert "RADIO" not in named({}, ["make"])


def test_commands_name_what_they_read() -> None:
    # When / Then
    assert "RADIO" in named({}, ["sh", "-c", "make RADIO=$RADIO"])


def test_a_script_counts_where_something_names_it() -> None:
    # Given a makefile that calls a program, which calls another one; and one that nobody calls
    files = {
        "Makefile": "x:\n\t./tools/generate >x\n",
        "tools/generate": "#!/bin/sh\npython3 $(dirname $0)/more.py $FIRST\n",
        "tools/more.py": "import os\nprint(os.environ.get('SECOND'))\n",
        "bin/model": "#!/bin/sh\nopp_run -n $THIRD\n",
    }
    # When / Then
    assert {"FIRST", "SECOND", "THIRD"} & named(files, ["make"]) == {"FIRST", "SECOND"}
    assert {"FIRST", "SECOND", "THIRD"} & named(files, ["sh", "-c", "bin/model && make"]) == {
        "FIRST",
        "SECOND",
        "THIRD",
    }


def test_cmake_looks_for_packages_where_variables_say() -> None:
    # When / Then
    assert {"Foo_ROOT", "FOO_DIR"} <= named({"CMakeLists.txt": "find_package( Foo 2.1 REQUIRED)\n"}, [])


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A snapshot of a project whose makefile reads variables."""
    root = write(tmp_path / "model", Makefile="x:\n\techo $(RADIO) $(PWD) $(PATH)\n", main_dot_cc="\u00fcber")
    (root / "generate").write_bytes(b"\xff\x00 OTHER\n")
    (root / "generate").chmod(0o755)
    taken = snapshot.take(root, (), tmp_path / "private")
    snapshot.push(taken, tmp_path / "private", str(LabPaths(tmp_path / "lab").repository("model")))
    return Source("model", taken.commit, taken.tree, taken.sources, "model", MAKE)


def test_what_decides_is_what_is_named_and_what_the_project_sets(tmp_path: Path, source: Source) -> None:
    # Given a shell, and a project with an environment of its own
    paths = LabPaths(tmp_path / "lab")
    inputs = BuildInputs(lambda one: checkouts.provide_commit(paths, SameMachine(paths), one))
    shell = {"RADIO": "yes", "PATH": "/bin", "PWD": "/home/ada", "SSH_TTY": "/dev/pts/3", "OTHER": "x", "OWN": "1"}
    # When / Then
    assert inputs.variables(source, shell) == ("RADIO=yes",)
    own = {"environment": {"OWN": "1", "PATH": "/bin"}}
    assert inputs.variables(msgspec.structs.replace(source, **own), shell) == ("OWN=1", "PATH=/bin", "RADIO=yes")
    # Then nothing does where nothing is built
    assert inputs.variables(msgspec.structs.replace(source, build=Build()), shell) == ()


def test_ini_files_decide_about_a_build_that_names_some(tmp_path: Path, source: Source) -> None:
    # Given projects whose makefile names none, and one
    paths = LabPaths(tmp_path / "lab")
    inputs = BuildInputs(lambda one: checkouts.provide_commit(paths, SameMachine(paths), one))
    reading = msgspec.structs.replace(source, build=Build(commands=(("sh", "-c", "awk -f x <omnetpp.ini >params.h"),)))
    # When / Then
    assert inputs.files(source) == source.sources
    assert inputs.files(reading) == source.tree
