"""How the simulation program is started: what it loads, and which NED packages it leaves out."""

from pathlib import Path

import msgspec

from runner.model import Campaign, Launch
from runner.program import with_needed, without_excluded
from tests.campaigns import campaign


def in_folder(directory: str = ".", place: str = "", mode: str = "release", *arguments: str) -> Campaign:
    launch = Launch(arguments=arguments)
    return msgspec.structs.replace(campaign(), directory=directory, place=place, mode=mode, launch=launch)


def test_omnetpps_own_program_loads_the_libraries_that_are_needed() -> None:
    # Given two projects with libraries, in debug mode
    libraries = {"libs/inet": ["src/libINET_dbg.so"], "libs/q": ["libq_dbg.so", "more/libr_dbg.so"]}
    wanted = in_folder("simulations/one", "models/deep/aloha", "debug")
    # When / Then
    assert with_needed(("opp_run_dbg", "-l", "../../src/aloha"), wanted, libraries) == (
        "opp_run_dbg",
        *("-l", "../../../../../libs/inet/src/INET"),
        *("-l", "../../../../../libs/q/q"),
        *("-l", "../../../../../libs/q/more/r"),
        *("-l", "../../src/aloha"),
    )
    # … and any other program is linked with them
    assert with_needed(("./aloha",), wanted, libraries) == ("./aloha",)


def test_packages_that_any_of_the_projects_excludes_are_left_out(tmp_path: Path) -> None:
    # Given what opp_featuretool writes, in two projects, and a third one without
    lists = {"own": "a.b\n\n# comment\nc", "inet": "inet.emulation\na.b", "plain": None}
    checkouts = [tmp_path / name for name in lists]
    for checkout, text in zip(checkouts, lists.values(), strict=True):
        checkout.mkdir()
        if text:
            (checkout / ".nedexclusions").write_text(text)
    # When / Then
    assert without_excluded(("./aloha",), in_folder(), checkouts) == ("./aloha", "-x", "a.b;c;inet.emulation")
    assert without_excluded(("./aloha",), in_folder(), checkouts[2:]) == ("./aloha",)
    assert without_excluded(("./aloha",), in_folder(".", "", "release", "-x", "d"), checkouts) == ("./aloha",)
