"""The table of machines: what people see of a lab, and what programs get."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from runner.messages import HostReport, Machines, MachineStatus
from runner.report.machine_table import as_json, size, table

GB = 1000**3
NEW, OLD = "a" * 40, "b" * 40

REPORT = HostReport(
    host="w1",
    slots=4,
    tags=("fast", "big"),
    desktop=True,
    load=3.14,
    memory_free=12 * GB,
    memory_total=16 * GB,
    disk_free=80 * GB,
    disk_total=1500 * GB,
    image="labfleet-worker:74fa46ea1619",
    revisions=(NEW,),
)

READY = MachineStatus(REPORT, "w1", 3, "ready")


def lab(*machines: MachineStatus, revision: str = NEW, deployed: str = NEW) -> Machines:
    return Machines(machines, revision, deployed)


def other(name: str, state: str = "ready", reason: str = "", **changes: Any) -> MachineStatus:
    return MachineStatus(replace(REPORT, host=name, **changes), name, 0, state, reason)


def test_each_machine_is_a_line_of_the_table() -> None:
    # Given a machine that is well, a smaller one that drains, and one that has told nothing
    draining = other("longer-name", "draining", "it finishes what runs", slots=12, load=0.0, tags=(), desktop=False)
    silent = MachineStatus(None, "w9", 0, "away", "nothing was heard from it since the foreman started")
    # When they are shown
    shown = table(lab(READY, draining, silent))
    # Then columns are aligned, numbers at the right, and below it is told why some do not serve
    assert shown == (
        "machine      state     slots  busy  load     memory free        disk free  image         revision  tags\n"
        "w1           ready         4     3   3.1  12 GB of 16 GB  80 GB of 1.5 TB  74fa46ea1619  aaaaaaa   desktop, fast, big\n"  # noqa: E501
        "longer-name  draining     12     0   0.0  12 GB of 16 GB  80 GB of 1.5 TB  74fa46ea1619  aaaaaaa\n"
        "w9           away\n"
        "longer-name: it finishes what runs\n"
        "w9: nothing was heard from it since the foreman started"
    )


def test_a_local_lab_shows_what_it_has() -> None:
    # Given a local lab, which has neither image nor revision nor tags
    here = MachineStatus(replace(REPORT, image="", revisions=("",), tags=(), desktop=False), "pc", 1, "ready")
    # When it is shown, then those columns are not there
    assert table(lab(here, revision="", deployed="")) == (
        "machine  state  slots  busy  load     memory free        disk free\n"
        "pc       ready      4     1   3.1  12 GB of 16 GB  80 GB of 1.5 TB"
    )


def test_what_a_machine_does_not_tell_is_left_empty() -> None:
    # Given a machine whose slots have not started yet, and that knows nothing of its memory
    starting = other("w1", memory_free=0, memory_total=0, revisions=())
    # When it is shown, then nothing is made up, and nothing is said of its code
    assert table(lab(starting)) == (
        "machine  state  slots  busy  load        disk free  image         tags\n"
        "w1       ready      4     0   3.1  80 GB of 1.5 TB  74fa46ea1619  desktop, fast, big"
    )


def test_without_deployed_code_no_machine_is_behind() -> None:
    # Given a head that does not know what is deployed, when machines are shown, then no code counts as old
    shown = table(lab(READY, deployed=""))
    assert "(old)" not in shown
    assert len(shown.splitlines()) == 2


def test_a_lab_without_machines_says_so() -> None:
    # Given a lab whose machines were all taken away, when it is shown, then that is said
    assert table(lab()) == "the lab has no machines"


def test_code_that_is_not_the_deployed_is_told() -> None:
    # Given a machine with new code, one with old, and one whose slots take it after their runs
    shown = table(lab(READY, other("w2", revisions=(OLD,)), other("w3", revisions=(NEW, OLD))))
    # When they are shown
    rows = {line.split()[0]: line for line in shown.splitlines()}
    # Then each line tells what runs there, and the last one what that comes to
    assert "  aaaaaaa  " in rows["w1"]
    assert "  bbbbbbb (old)  " in rows["w2"]
    assert "  aaaaaaa (slots with bbbbbbb after their runs)  " in rows["w3"]
    last = shown.splitlines()[-1]
    assert last == "deployed is revision aaaaaaa; 2 machines still run another one: w2, w3"
    # And of one alone it is told as of one
    last = table(lab(READY, other("w2", revisions=(OLD,)))).splitlines()[-1]
    assert last == "deployed is revision aaaaaaa; 1 machine still runs another one: w2"


def test_the_foremans_own_code_is_told() -> None:
    # Given a foreman that waits for its campaigns to end, when the lab is shown, then that is said
    last = table(lab(READY, revision=OLD)).splitlines()[-1]
    assert last == "the foreman runs revision bbbbbbb; deployed is aaaaaaa"
    # And when nothing is to be said of code, nothing is
    assert "revision " not in table(lab(READY)).splitlines()[-1]


def test_what_machines_say_cannot_play_with_the_terminal() -> None:
    # Given a machine with odd tags and an odd reason, when it is shown, then nothing of it is obeyed
    shown = table(lab(other("w\n1", "away\x1b[2J", "gone\x07", tags=("\x9b31m",))))
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}
    assert len(shown.splitlines()) == 3


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 MB"),
        (512 * 1000**2, "512 MB"),
        (999 * 1000**2, "999 MB"),
        (999_600_000, "1.0 GB"),
        (9_940_000_000, "9.9 GB"),
        (9_960_000_000, "10 GB"),
        (999 * GB, "999 GB"),
        (1_500 * GB, "1.5 TB"),
        (20_000 * GB, "20 TB"),
    ],
)
def test_sizes_are_said_as_people_do(number: int, text: str) -> None:
    # Given bytes, when they are said, then with a unit, and no more digits than are of use
    assert size(number) == text


def test_programs_get_all_of_it() -> None:
    # Given a machine, and one that has told nothing of itself
    silent = MachineStatus(None, "w9", 0, "away", "nothing was heard")
    # When they are printed for programs
    printed = as_json(lab(READY, silent, revision=OLD))
    value = json.loads(printed)
    # Then it is one line, with every field; what is not known is null
    assert "\n" not in printed
    assert (value["revision"], value["deployed"]) == (OLD, NEW)
    assert value["machines"][0] == {
        "name": "w1",
        "state": "ready",
        "reason": "",
        "busy": 3,
        "slots": 4,
        "load": 3.14,
        "memory_free": 12 * GB,
        "memory_total": 16 * GB,
        "disk_free": 80 * GB,
        "disk_total": 1500 * GB,
        "image": "labfleet-worker:74fa46ea1619",
        "revisions": [NEW],
        "tags": ["fast", "big"],
        "desktop": True,
    }
    assert value["machines"][1]["name"] == "w9"
    assert value["machines"][1]["slots"] is None
    assert value["machines"][1].keys() == value["machines"][0].keys()
