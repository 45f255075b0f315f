"""Which OMNeT++ a campaign gets."""

from pathlib import Path

import msgspec
import pytest

from runner.errors import WrongUse
from runner.model import Campaign
from runner.toolchain import chosen, lacks_mode
from tests.campaigns import campaign


def installed(root: Path, version: str = "") -> Path:
    """Make a folder that looks like an OMNeT++."""
    (root / "bin").mkdir(parents=True)
    (root / "lib").mkdir()
    (root / "bin" / "opp_configfilepath").touch(mode=0o755)
    (root / "lib" / "liboppsim.so").touch()
    if version:
        (root / "Version").write_text(f"omnetpp-{version}\n")
    return root


def wanting(version: str, root: Path) -> Campaign:
    environment = {
        "PATH": f"/opt/venv/bin:{root}/bin:/usr/bin",
        "PYTHONPATH": f"{root}/python",
        "__omnetpp_root_dir": str(root),
        "OMNETPP_RELEASE": f"omnetpp-{root.name}",
        "HOME": "/home/ada",
    }
    return msgspec.structs.replace(campaign(), omnetpp=version, environment=environment)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A machine with three versions, as the worker image has them."""
    for version in ("6.0.3", "6.2.0", "6.10.1"):
        installed(tmp_path / "omnetpp" / version)
    return tmp_path / "omnetpp"


@pytest.mark.parametrize(
    ("wanted", "got"),
    [("", "6.2.0"), ("6.2", "6.2.0"), ("6.2.0", "6.2.0"), ("6.0", "6.0.3"), ("6", "6.10.1"), ("6.10", "6.10.1")],
)
def test_a_version_is_picked_by_its_beginning(shelf: Path, wanted: str, got: str) -> None:
    # Given the environment of one of them; when a campaign wants one, then everything points to it
    environment = chosen(wanting(wanted, shelf / "6.2.0")).environment
    assert environment == {
        "PATH": f"/opt/venv/bin:{shelf}/{got}/bin:/usr/bin",
        "PYTHONPATH": f"{shelf}/{got}/python",
        "__omnetpp_root_dir": f"{shelf}/{got}",
        "OMNETPP_RELEASE": f"omnetpp-{got}",
        "HOME": "/home/ada",
    }


def test_a_version_that_is_not_there_is_refused_with_those_that_are(shelf: Path) -> None:
    # When / Then
    with pytest.raises(WrongUse, match=r"aloha wants OMNeT\+\+ 6.1, which is not there") as caught:
        chosen(wanting("6.1", shelf / "6.2.0"))
    assert caught.value.hint.startswith("there is 6.0.3, 6.2.0, 6.10.1; ")


def test_on_a_machine_with_one_it_has_to_be_that_one(tmp_path: Path) -> None:
    # Given a person's own OMNeT++, in a folder of any name
    root = installed(tmp_path / "simulators" / "omnetpp", "6.2.0")
    # When / Then
    wanted = wanting("6.2", root)
    assert chosen(wanted) == wanted
    with pytest.raises(WrongUse) as caught:
        chosen(wanting("6.3", root))
    assert caught.value.hint.startswith("there is 6.2.0; ")


def test_a_machine_without_any_says_so(tmp_path: Path) -> None:
    # When / Then
    with pytest.raises(WrongUse, match="and there is none"):
        chosen(wanting("6.3", tmp_path))


def test_a_mode_in_which_omnetpp_was_not_built_is_explained(tmp_path: Path) -> None:
    # Given an OMNeT++ that was built in release mode
    environment = wanting("", installed(tmp_path / "x")).environment
    # When / Then
    assert lacks_mode(environment, "release") == ""
    assert lacks_mode(environment, "sanitize").endswith("was not built in this mode: make MODE=sanitize there does so")
    assert lacks_mode({"PATH": "/nowhere"}, "sanitize") == ""
