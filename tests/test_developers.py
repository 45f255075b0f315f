"""The commands of labfleet's developers."""

import sys

import pytest

from runner import developers, paths
from runner.errors import WrongUse


@pytest.mark.parametrize(
    ("module", "folder"), [("benchmarks.everything", "benchmarks"), ("tests.faults.command", "tests")]
)
def test_what_is_missing_for_developers_is_said(monkeypatch: pytest.MonkeyPatch, module: str, folder: str) -> None:
    # Given a checkout whose virtual environment has not what its tests are made of
    monkeypatch.setitem(sys.modules, module, None)
    # When a command needs that, then it is said how it comes
    with pytest.raises(WrongUse) as caught:
        developers._of_checkout(module, "this is")
    assert (caught.value.message, caught.value.hint) == (
        f"this is made of {module}, which is not installed",
        "./bootstrap installs it",
    )
    # … and without a checkout, that there is none
    monkeypatch.setattr(paths, "SOURCE", paths.SOURCE / "runner")
    with pytest.raises(WrongUse, match="not of the installed package"):
        developers._of_checkout(f"{folder}.x", "this is")
