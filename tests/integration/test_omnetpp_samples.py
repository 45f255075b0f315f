"""OMNeT++'s own samples, run by labfleet and by opp_runall: the results must be equal.  Needs OMNeT++ on PATH."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab_fixture import LocalLab, manifest, names
from tests.result_files import differences, stale_indexes

pytestmark = [
    pytest.mark.omnetpp,
    pytest.mark.skipif(shutil.which("opp_run") is None, reason="opp_run is not on PATH"),
    pytest.mark.usefixtures("patience"),
    pytest.mark.timeout(900),
]


def _sample(name: str) -> Path:
    runner = shutil.which("opp_run")
    assert runner
    return Path(runner).parent.parent / "samples" / name


def _copy(name: str, target: Path) -> Path:
    ignored = shutil.ignore_patterns("results", "out", name, f"{name}_dbg", "*.o", "*_m.*", "Makefile")
    shutil.copytree(_sample(name), target, ignore=ignored)
    return target


def _with_makefile(project: Path) -> Path:
    subprocess.run(["opp_makemake", "-f", "--deep"], cwd=project, check=True, capture_output=True)
    return project


@pytest.fixture(scope="module")
def by_opp_runall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Aloha and tictoc, built and run the usual way; the parent of both."""
    parent = tmp_path_factory.mktemp("theirs")
    for name, configs in {"aloha": ["PureAlohaExperiment"], "tictoc": ["TicToc18"]}.items():
        project = _with_makefile(_copy(name, parent / name))
        subprocess.run(["make", "-s", "-j2", "MODE=release"], cwd=project, check=True, capture_output=True)
        for config in configs:
            argv = ["opp_runall", "-j2", f"./{name}", "-c", config]
            subprocess.run(argv, cwd=project, check=True, capture_output=True)
    return parent


def _as_shipped(folder: Path) -> Path:
    return _with_makefile(_copy("aloha", folder / "aloha"))


def _without_makefile_and_git(folder: Path) -> Path:
    return _copy("aloha", folder / "aloha")


def _inside_a_larger_repository(folder: Path) -> Path:
    (folder / "README").write_text("somebody's thesis")
    project = _copy("aloha", folder / "models" / "radio" / "aloha")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return project


@pytest.mark.parametrize("lay_out", [_as_shipped, _without_makefile_and_git, _inside_a_larger_repository])
def test_aloha_equals_what_opp_runall_leaves(
    lab: LocalLab, tmp_path: Path, by_opp_runall: Path, lay_out: Callable[[Path], Path]
) -> None:
    # Given the sample in one of the places where people have their models
    project = lay_out(tmp_path)

    # When its experiment is run
    said = lab("campaign", "--config", "PureAlohaExperiment", cwd=project)

    # Then all 42 runs are there, equal to opp_runall's, and every index fits its vector file
    assert said.status == 0, said.stderr
    assert len(names(project / "results", "*.sca")) == 42
    assert differences(project / "results", by_opp_runall / "aloha" / "results") == []
    assert stale_indexes(project / "results") == []


def test_the_run_filter_is_omnetpps_own(lab: LocalLab, tmp_path: Path) -> None:
    # When runs are selected by an expression, then exactly those are done
    project = _copy("aloha", tmp_path / "aloha")
    words = ("--config", "PureAlohaExperiment", "--runs", "$numHosts>10 && $iaMean<3")
    said = lab("campaign", *words, cwd=project)
    assert said.status == 0, said.stderr
    assert [run["run"] for run in manifest(project)["runs"]] == [14, 15, 16, 17, 28, 29, 30, 31]


def test_tictoc_equals_what_opp_runall_leaves(lab: LocalLab, tmp_path: Path, by_opp_runall: Path) -> None:
    # Given a model with message files; when 200 runs are done
    project = _copy("tictoc", tmp_path / "tictoc")
    said = lab("campaign", "--config", "TicToc18", cwd=project)

    # Then they are equal to opp_runall's
    assert said.status == 0, said.stderr
    assert len(names(project / "results", "TicToc18-*.sca")) == 200
    assert differences(project / "results", by_opp_runall / "tictoc" / "results") == []


@pytest.mark.parametrize("config", ["Tictoc4", "Tictoc5"])
def test_a_configuration_with_one_run_is_a_campaign_too(lab: LocalLab, tmp_path: Path, config: str) -> None:
    # When a configuration without limit on its simulation time is run, then it ends when the model ends it
    project = _copy("tictoc", tmp_path / "tictoc")
    said = lab("campaign", "--config", config, "--args", "--sim-time-limit=100s", cwd=project)
    assert said.status == 0, said.stderr
    assert names(project / "results", "*.sca") == {f"{config}-#0.sca"}


def test_a_model_without_sources_runs_with_opp_run(lab: LocalLab, tmp_path: Path) -> None:
    # Given a folder with NED and ini files only
    project = tmp_path / "pure"
    project.mkdir()
    (project / "Net.ned").write_text("simple Idle { @class(omnetpp::cModule); }\nnetwork Net { }\n")
    (project / "omnetpp.ini").write_text("[General]\nnetwork = Net\n*.x = ${x=1,2}\n")

    # When it is run, then OMNeT++'s own program does it
    said = lab("campaign", cwd=project)
    assert said.status == 0, said.stderr
    assert manifest(project)["program"] == ["opp_run"]
    assert len(names(project / "results", "*.sca")) == 2


def test_a_shared_library_is_run_by_opp_run(lab: LocalLab, tmp_path: Path) -> None:
    # Given a project whose Makefile makes a library
    project = _copy("aloha", tmp_path / "aloha")
    subprocess.run(["opp_makemake", "-f", "--deep", "-s"], cwd=project, check=True, capture_output=True)

    # When it is run, then opp_run loads what was built
    said = lab("campaign", "--config", "PureAlohaExperiment", "--runs", "0,1", cwd=project)
    assert said.status == 0, said.stderr
    assert manifest(project)["program"][:2] == ["opp_run", "-l"]
    assert len(names(project / "results", "*.sca")) == 2


def test_a_project_started_in_a_subfolder_brings_the_whole_project(lab: LocalLab, tmp_path: Path) -> None:
    # Given the usual layout: sources in src/, ini files in simulations/
    project = tmp_path / "project"
    _copy("aloha", project / "src")
    (project / "simulations").mkdir()
    (project / "src" / "omnetpp.ini").rename(project / "simulations" / "omnetpp.ini")
    for name in (".project", ".cproject", ".oppbuildspec", ".nedfolders"):
        (project / "src" / name).unlink(missing_ok=True)
    (project / ".nedfolders").write_text("src\n")
    (project / "src" / "package.ned").write_text("@namespace(aloha);\n")
    subprocess.run(["sed", "-i", "/^package/d", *(project / "src").glob("*.ned")], check=True)

    # When a campaign is started in simulations/
    said = lab("campaign", "--config", "PureAlohaExperiment", "--runs", "0", cwd=project / "simulations")

    # Then program and NED files of src/ are found, and the results are beside the ini file
    assert said.status == 0, said.stderr
    assert len(names(project / "simulations" / "results", "*.sca")) == 1


def test_each_campaign_runs_with_its_own_omnetpp(lab: LocalLab, tmp_path: Path) -> None:
    # Given two environments that differ in what opp_run is
    project = tmp_path / "pure"
    project.mkdir()
    (project / "Net.ned").write_text("network Net { }\n")
    (project / "omnetpp.ini").write_text("[General]\nnetwork = Net\n")
    (project / "labfleet.toml").write_text('program = "opp_run"\n')
    other = tmp_path / "bin"
    other.mkdir()
    (other / "opp_run").write_text(f'#!/bin/sh\nexec {shutil.which("opp_run")} "$@" --description=other\n')
    (other / "opp_run").chmod(0o755)

    # When a campaign is run in each
    def scalars(path: str) -> str:
        said = lab("campaign", cwd=project, env={"PATH": path})
        assert said.status == 0, said.stderr
        return (project / "results" / "General-#0.sca").read_text()

    # Then each one's results are those of its own
    assert "config description other" in scalars(f"{other}:{os.environ['PATH']}")
    assert "config description other" not in scalars(os.environ["PATH"])
