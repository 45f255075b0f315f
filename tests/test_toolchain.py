"""Which OMNeT++ a campaign gets, and what is told of tool chains that compile otherwise."""

import os
from pathlib import Path

import msgspec
import pytest

from runner.errors import WrongUse
from runner.model import Campaign
from runner.toolchain import Toolchains, chosen, lacks_mode, refuse_mixed
from tests.campaigns import campaign
from tests.stored_campaigns import needed


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


def test_a_project_may_name_its_omnetpp_in_an_environment_of_its_own(shelf: Path) -> None:
    # Given a project that says so, when it wants another one, then that takes its place there
    own = {"PATH": f"{shelf}/6.2.0/bin:/usr/bin"}
    wanted = msgspec.structs.replace(campaign(), omnetpp="6.0", environment={"PATH": "/usr/bin"}, own_environment=own)
    assert chosen(wanted).run_environment["PATH"] == f"{shelf}/6.0.3/bin:/usr/bin"


def test_a_project_and_what_it_needs_cannot_have_two(shelf: Path) -> None:
    # Given a project that needs another one
    inet = msgspec.structs.replace(needed("c" * 40), place="inet")
    wanted = msgspec.structs.replace(wanting("", shelf / "6.2.0"), references=(inet,))
    refuse_mixed(wanted)
    # When it alone names another OMNeT++, then that is refused
    own = {"PATH": f"{shelf}/6.0.3/bin:/usr/bin"}
    with pytest.raises(WrongUse, match=f"aloha would be built with .*6.0.3, and inet with that in {shelf}/6.2.0"):
        refuse_mixed(msgspec.structs.replace(wanted, own_environment=own))


def test_a_mode_in_which_omnetpp_was_not_built_is_explained(tmp_path: Path) -> None:
    # Given an OMNeT++ that was built in release mode
    environment = wanting("", installed(tmp_path / "x")).environment
    # When / Then
    assert lacks_mode(environment, "release") == ""
    assert lacks_mode(environment, "sanitize").endswith("was not built in this mode: make MODE=sanitize there does so")
    assert lacks_mode({"PATH": "/nowhere"}, "sanitize") == ""


# ---- what compiles ---------------------------------------------------------------------------------------------

FILES = ("Makefile.inc", "include/omnetpp.h", "include/omnetpp/csimplemodule.h", "lib/liboppsim.so", "bin/opp_msgtool")


@pytest.fixture
def omnetpp(tmp_path: Path) -> Path:
    """An OMNeT++ with headers, libraries and tools."""
    root = installed(tmp_path / "omnetpp")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("CXX = g++\n")
    return root


def on_path(*folders: Path) -> dict[str, str]:
    return {"PATH": ":".join([*map(str, folders), os.environ["PATH"]])}


def compiler(folder: Path, name: str, version: str) -> Path:
    """Make something that says that it is a compiler, and return the folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\ncase $1 in --version) echo {name} version {version};; *) echo x86;; esac\n")
    (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("changed", FILES)
def test_another_omnetpp_in_the_same_place_is_another_tool_chain(omnetpp: Path, changed: str) -> None:
    # Given a tool chain that was identified
    toolchains, environment = Toolchains(), on_path(omnetpp / "bin")
    before = toolchains.identify(environment)
    # When a file of OMNeT++ is another one, then so is the tool chain
    content = (omnetpp / changed).read_text()
    (omnetpp / changed).write_text(f"{content}# another state\n")
    assert toolchains.identify(environment) != before
    # When the file is as it was, then the tool chain is, too: for everybody who asks
    (omnetpp / changed).write_text(content)
    assert toolchains.identify(environment) == before
    assert Toolchains().identify(environment) == before


def test_what_another_mode_is_linked_with_does_not_matter(omnetpp: Path) -> None:
    # Given a tool chain that was identified for two modes
    toolchains, environment = Toolchains(), on_path(omnetpp / "bin")
    before = [toolchains.identify(environment, mode) for mode in ("release", "debug")]
    # When OMNeT++ is built in one of them, then the tool chain is another one for that mode alone
    (omnetpp / "lib" / "liboppsim_dbg.so").write_text("debug")
    after = [toolchains.identify(environment, mode) for mode in ("release", "debug")]
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_the_compiler_that_omnetpp_names_is_part_of_the_tool_chain(omnetpp: Path, tmp_path: Path) -> None:
    # Given an OMNeT++ that was configured for a compiler that is neither usual nor in the environment
    (omnetpp / "Makefile.inc").write_text("CXX = ccache kompiler -std=c++17\n")
    toolchains = Toolchains()
    environment = on_path(omnetpp / "bin", compiler(tmp_path / "kit", "kompiler", "1.0"))
    before = toolchains.identify(environment)
    assert f"kompiler version 1.0 x86 {tmp_path}/kit/kompiler" in before
    # When it is another version, then the tool chain is another one
    compiler(tmp_path / "kit", "kompiler", "1.1")
    assert "kompiler version 1.1" in toolchains.identify(environment)


def test_a_compiler_behind_ccache_is_seen(tmp_path: Path) -> None:
    # Given a folder before all others in which g++ is ccache, by its name
    compiler(tmp_path / "masks", "ccache", "4.7")
    (tmp_path / "masks" / "g++").symlink_to("ccache")
    environment = on_path(tmp_path / "masks", compiler(tmp_path / "kit", "g++", "12"))
    toolchains = Toolchains()
    # When the compiler behind it is replaced, then that is seen
    assert f"g++ version 12 x86 {tmp_path}/kit/g++" in toolchains.identify(environment)
    compiler(tmp_path / "kit", "g++", "13")
    assert "g++ version 13" in toolchains.identify(environment)


def test_variables_that_omnetpps_makefile_reads_are_part_of_the_tool_chain(omnetpp: Path) -> None:
    # Given a makefile of OMNeT++'s that reads one variable and sets another, when both are in the environment
    (omnetpp / "Makefile.inc").write_text("OWN = 1\nDEFINES = $(EXPORT_MACRO) $(OWN)\n")
    environment = {**on_path(omnetpp / "bin"), "EXPORT_MACRO": "-DX", "OWN": "2", "TERM": "dumb"}
    # Then the first one is told
    assert Toolchains().identify(environment).endswith("; EXPORT_MACRO=-DX")
