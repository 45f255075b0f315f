"""The builder's trees: what a build leaves is what a new tree's would leave, whatever was built there before."""

import os
import shutil
from pathlib import Path

import pytest

from runner.model import Build
from tests.build_lab import BuildLab
from tests.needed_projects import write


@pytest.fixture
def builds(tmp_path: Path) -> BuildLab:
    return BuildLab(tmp_path / "lab")


#: Stands in for opp_featuretool: switching off excludes a package.
FEATURETOOL = """#!/bin/sh
[ $1 = disable ] && echo "pkg.$3" > .nedexclusions
"""


def test_a_feature_that_is_switched_off_counts_without_a_compiler(
    builds: BuildLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a project of NED files alone
    tool = write(tmp_path / "bin", opp_featuretool=FEATURETOOL) / "opp_featuretool"
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    network = write(tmp_path / "network", Net_dot_ned="network Net {}\n")
    # When a feature is switched off, then what that excludes is told by its product
    came = builds.build(network, build=Build(disable=("Alpha",)))
    assert came.files == {".nedexclusions": b"pkg.Alpha\n"}, came.refusal


@pytest.mark.parametrize("command", ["make", "[ -e table.h ] || { cat table.part > table.h; sh gen.sh >> table.h; }"])
def test_a_file_that_was_made_by_half_is_not_used(builds: BuildLab, tmp_path: Path, command: str) -> None:
    # Given a rule that writes a header, in a makefile that another one calls, and fails in the middle of it
    model = write(
        tmp_path / "model",
        Makefile="all:\n\t$(MAKE) -f inner\n",
        inner="model: table.h main.cc\n\tg++ -o $@ main.cc\ntable.h:\n\tcat table.part > $@\n\tsh gen.sh >> $@\n",
        table_dot_part="// the beginning\n",
        gen_dot_sh="grep there there.txt\n",
        main_dot_cc='#include "table.h"\nint main() {}\n',
    )
    assert "ended with exit status" in builds.build(model, command).refusal
    # When it does not fail any more, though nothing has changed that the rule names
    write(model, there_dot_txt="// there\n")
    # Then the header is made from the beginning
    came = builds.build(model, command)
    assert came.files["table.h"] == b"// the beginning\n// there\n", came.refusal


def test_a_tree_that_was_cut_short_is_gone_before_it_is_removed(
    builds: BuildLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a build that is killed in the middle the first time
    model = write(tmp_path / "model", omnetpp_dot_ini="[General]\n")
    once = tmp_path / "once"
    half = f"[ -e {once} ] || {{ touch {once}; echo half > made; kill -9 $$; }}"
    command = f"{half}; [ -e made ] || echo whole > made"
    assert builds.build(model, command).refusal

    # … and a builder that is killed while it removes what that has left
    def killed(folder: Path) -> None:
        (folder / "busy").unlink(missing_ok=True)
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        assert builds.build(model, command).refusal.endswith("killed")
    # When it is built once more, then nothing of it is used
    assert builds.build(model, command).files["made"] == b"whole\n"


def test_what_a_needed_project_rewrites_of_its_own_is_no_change(builds: BuildLab, tmp_path: Path) -> None:
    # Given a project that writes to a header of its commit, and a model that includes that
    makefile = "TARGET = lib.txt\nlib.txt: text\n\techo '#define VERSION 2' > version.h; cp text $@\n"
    needed = write(tmp_path / "needed", Makefile=makefile, version_dot_h="#define VERSION 1\n", text="one\n")
    model = write(
        tmp_path / "model",
        Makefile="TARGET = model\nmodel: main.o\n\tg++ -o $@ $<\n%.o: %.cc ../needed/version.h\n\tg++ -c -o $@ $<\n",
        main_dot_cc='#include "../needed/version.h"\nint main() { return VERSION; }\n',
    )
    build = Build(commands=(("make",),), makefiles=("Makefile",))
    assert builds.build(model, "make", needed=(builds.source(needed, build),)).made == ["main.o", "model"]
    # When that project is another one, and the header is the same
    write(needed, text="two\n")
    # Then the model is not compiled
    assert builds.build(model, "make", needed=(builds.source(needed, build),)).made == []
