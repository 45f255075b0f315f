"""Fixtures with real services: a local lab, and projects to run on it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import lab_fixture
from tests.lab_fixture import EXAMPLE, LocalLab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalLab]:
    """One local lab for the whole session: what was built for one test is there for the next."""
    lab = LocalLab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.stop()


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[LocalLab]:
    """A local lab of one test, which may break it."""
    lab = LocalLab(tmp_path / "own-lab")
    yield lab
    lab.stop()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command take long that compiles with OMNeT++, and waits for whatever else does so."""
    monkeypatch.setattr(lab_fixture, "PATIENCE", 600.0)


@pytest.fixture
def aloha(tmp_path: Path) -> Path:
    """A copy of the example, outside of any git repository."""
    project = tmp_path / "aloha"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("results", "out", "aloha", "aloha_dbg"))
    return project


@pytest.fixture
def scripted(tmp_path: Path) -> Path:
    """A project whose program is a script: nothing to build, and it does what a test writes into ``do.sh``.

    ``do.sh`` runs once per run, with RUN and STEM (results/General-x=N-#0) set.
    """
    project = tmp_path / "scripted"
    project.mkdir()
    (project / "omnetpp.ini").write_text("[General]\nnetwork = None\n*.x = ${x=0..3}\n")
    (project / "labfleet.toml").write_text('program = "./simulate"\n')
    (project / "do.sh").write_text('echo "run $RUN" > $STEM.sca\n')
    program = project / "simulate"
    program.write_text(_PROGRAM)
    program.chmod(0o755)
    return project


#: Understands what labfleet asks a Cmdenv program: -q runs, and -r LIST.
_PROGRAM = """#!/bin/sh
runs=0,1,2,3
while [ $# -gt 0 ]; do
    case $1 in
        -r) runs=$2; shift ;;
        -q) query=yes; shift ;;
    esac
    shift
done
mkdir -p results
for run in $(echo $runs | tr , ' '); do
    if [ $query ]; then
        echo "Run $run: \\$x=$run, \\$repetition=0"
    else
        echo "General run #$run: \\$x=$run, \\$repetition=0"
        RUN=$run STEM=results/General-x=$run-#0 sh -e ./do.sh || exit $?
    fi
done
"""
