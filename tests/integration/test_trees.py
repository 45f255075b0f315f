"""The builder's trees: what a build leaves is what a new tree's would leave, whatever was built there before."""

import os
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
