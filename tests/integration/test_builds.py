"""Builds: how far they are, what CMake makes, and a builder that is killed in the middle."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.lab_fixture import LocalLab, manifest, wait_for
from tests.needed_projects import MAIN, library, program, write

CMAKE = """
cmake_minimum_required(VERSION 3.13)
project(model CXX)
add_executable(model main.cc part.cc)
target_include_directories(model PRIVATE .)
"""


def steps(lab: LocalLab, project: Path, pattern: str) -> list[str]:
    """Return what the latest campaign's build log has of a pattern."""
    log = lab.home / "campaigns" / manifest(project)["campaign"] / "build.log"
    return re.findall(pattern, log.read_text(), re.MULTILINE) if log.exists() else []


def test_it_is_told_what_is_built_and_how_far_that_is(lab: LocalLab, tmp_path: Path) -> None:
    # Given a library, one source of which takes until it is looked at, and a model that needs it
    gate = tmp_path / "gate"
    greet = library(tmp_path / "greet")
    write(greet, src__own_dot_h=f"// {tmp_path}\n")
    makefile = greet / "src" / "Makefile"
    wait = f"\t@case $@ in other.o) while [ ! -e {gate} ]; do sleep 0.05; done;; esac\n"
    makefile.write_text(makefile.read_text().replace("%.o: %.cc\n", f"%.o: %.cc\n{wait}"))
    # When a campaign is followed, and its foreman's word is taken down
    with lab.start("campaign", cwd=program(tmp_path / "model")) as client:
        log = wait_for(lambda: list(lab.home.glob("builds/log/*.log")), "a build")[0]
        wait_for(lambda: "greet.o" in log.read_text(), "the first source is compiled")
        gate.touch()
        _, said = client.communicate()
    # Then its two projects are named one after the other
    assert client.returncode == 0, said
    assert [line for line in said.splitlines() if ": building " in line and "/" not in line] == [
        "General: building greet",
        "General: building model",
    ]


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not on PATH")
def test_a_project_of_cmakes_is_built_step_by_step(lab: LocalLab, tmp_path: Path) -> None:
    # Given a project that CMake builds beside its sources
    project = write(
        tmp_path / "model",
        labfleet_dot_toml='build = ["cmake -S . -B build", "cmake --build build"]\nprogram = "build/model"\n',
        CMakeLists_dot_txt=CMAKE,
        main_dot_cc=MAIN,
        greet_dot_h="const char *greet();\n",
        greet_m_dot_h='#define MADE "by CMake"\n',
        part_dot_cc=f'// {tmp_path}\nconst char *greet() {{ return "hello"; }}\n',
        omnetpp_dot_ini="[General]\n",
    )
    pattern = r"Building CXX object \S+/(\w+)\.cc\.o"
    # When it is run, then its program is found
    said = lab("campaign", cwd=project)
    assert said.status == 0, said.stderr
    assert sorted(steps(lab, project, pattern)) == ["main", "part"]
    # When a source is changed, then that one is compiled
    (project / "part.cc").write_text(f'// {tmp_path}\nconst char *greet() {{ return "goodbye"; }}\n')
    assert lab("campaign", cwd=project).status == 0
    assert steps(lab, project, pattern) == ["part"]
    assert (project / "results" / "General-#0.sca").read_text().startswith("goodbye by CMake\n")
    # When nothing is, then nothing is
    assert lab("campaign", cwd=project).status == 0
    assert steps(lab, project, pattern) == []


def test_a_mode_that_omnetpp_does_not_have_is_said_before_anything_is_compiled(lab: LocalLab, tmp_path: Path) -> None:
    # Given an OMNeT++ that was built in release mode, and a model that is made with it
    root = write(tmp_path / "omnetpp", bin__opp_configfilepath="#!/bin/sh\n", lib__liboppsim_dot_so="")
    (root / "bin" / "opp_configfilepath").chmod(0o755)
    path = {"PATH": f"{root}/bin:{os.environ['PATH']}"}
    write(library(tmp_path / "greet"), src__own_dot_h=f"// {tmp_path}\n")
    model = program(tmp_path / "model")
    makefile = model / "Makefile"
    makefile.write_text(makefile.read_text() + "CONFIGFILE = $(shell opp_configfilepath)\n")
    # When it is to be built in another mode
    said = lab("campaign", "--mode", "debug", cwd=model, env=path)
    # Then nothing of it is compiled, and the reason is told once
    assert said.status == 3, said.stderr
    assert "model cannot be built in the mode debug" in said.stderr
    assert said.stderr.count("hint: ") == 2, said.stderr
    assert f"hint: the OMNeT++ in {root} was not built in this mode: make MODE=debug there does so" in said.stderr
    log = Path(said.stderr.partition("the whole log: ")[2].strip())
    assert "main.o" not in log.read_text()
    # When it is not made with that, then it is built
    makefile.write_text(makefile.read_text().partition("TARGET_DIR")[2].replace(" = .", "TARGET_DIR = .", 1))
    makefile.write_text(makefile.read_text().replace("CONFIGFILE = $(shell opp_configfilepath)\n", ""))
    write(model, labfleet_dot_toml='[[reference]]\npath = "../greet"\n')
    said = lab("campaign", "--mode", "debug", cwd=model, env=path)
    assert said.status == 0, said.stderr


@pytest.mark.parametrize("said_by", ["itself", "its labfleet.toml", "who needs it"])
def test_a_command_that_reads_ini_files_is_run_when_they_change(lab: LocalLab, tmp_path: Path, said_by: str) -> None:
    # Given a project that is built by a script which writes an ini file's text into the program
    folder = tmp_path / "generated"
    command = f'build = "sh gen.sh"  # {tmp_path}\n'
    script = "{ echo '#!/bin/sh'; cat omnetpp.ini | sed 's/^/# /'; tail -n +2 template; } >model; chmod +x model\n"
    template = "#\nmkdir -p results; case \"$*\" in *'-q runs'*) echo 'Run 0: $repetition=0'; exit;; esac\n"
    template += 'cp "$(dirname $0)/model" results/General-#0.sca\n'
    write(folder, gen_dot_sh=script, template=template, omnetpp_dot_ini="[General]\nx = 1\n")
    project = folder
    if said_by == "itself":
        write(folder, labfleet_dot_toml=f'program = "./model"\n{command}')
    else:
        project = write(
            tmp_path / "user", omnetpp_dot_ini="[General]\n", model="#!/bin/sh\nexec ../generated/model $*\n"
        )
        (project / "model").chmod(0o755)
        own, theirs = ("", command) if said_by == "who needs it" else (command, "")
        write(folder, labfleet_dot_toml=own)
        write(project, labfleet_dot_toml=f'program = "./model"\n[[reference]]\npath = "../generated"\n{theirs}')
    result = project / "results" / "General-#0.sca"
    said = lab("campaign", cwd=project)
    assert said.status == 0, said.stderr
    assert "# x = 1\n" in result.read_text()
    # When the ini file is changed, then the program has the new text
    write(folder, omnetpp_dot_ini="[General]\nx = 2\n")
    assert lab("campaign", cwd=project).status == 0
    assert "# x = 2\n" in result.read_text()


def test_a_builder_that_is_killed_in_the_middle_of_a_link_leaves_nothing_that_is_used(
    own_lab: LocalLab, tmp_path: Path
) -> None:
    # Given a library whose link writes half of a file and then takes its time, when it is done for the first time
    greet = library(tmp_path / "greet")
    model = program(tmp_path / "model")
    makefile = greet / "src" / "Makefile"
    linked = "\t$(CXX) -shared -o $@ $(OBJS) "
    half = f"\tif [ ! -e {tmp_path}/once ]; then touch {tmp_path}/once; echo half > $@; sleep 1000; fi\n{linked}"
    makefile.write_text(makefile.read_text().replace(linked, half))
    # When the builder is killed in the middle of it
    with own_lab.start("campaign", cwd=model) as client:
        wait_for((tmp_path / "once").exists, "the link")
        builder = wait_for(lambda: own_lab.service("builder", "builder"), "the builder")
        os.kill(builder, signal.SIGKILL)
        _, said = client.communicate()
    # Then the campaign ends well: the library was made anew from the beginning, and is whole
    assert client.returncode == 0, said
    assert (model / "results" / "General-#0.sca").read_text().startswith("hello made\n")
    assert steps(own_lab, model, r"-o (\S+\.o)") == ["greet.o", "other.o", "main.o", "more.o"]
    for library_file in own_lab.home.rglob("libgreet.so"):
        assert library_file.read_bytes().startswith(b"\x7fELF")
