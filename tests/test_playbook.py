"""What ansible-runner's events say of each machine, from the events of a real run."""

import json
from pathlib import Path
from typing import Any

import pytest

from runner import playbook
from runner.playbook import At, Began, Did, Differs, Ended, Failed, Failure, Lost, MachineOutcome, Progress, Said, State

#: ansible-core 2.19.14, ansible-runner 2.4.3, with --diff; of each event the fields that may matter.  The head is made,
#: then six workers: w1 to w4 fail, each in its own way; w5 does not; w6 cannot be reached.
RECORDED = Path(__file__).parent / "data" / "ansible" / "site.jsonl"

MACHINES = ("h", "w1", "w2", "w3", "w4", "w5", "w6")


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RECORDED.read_text().splitlines()]


@pytest.fixture(scope="module")
def happenings(events: list[dict[str, Any]]) -> list[playbook.Happening]:
    return [happening for event in events if (happening := playbook.decode(event))]


def after(happenings: list[playbook.Happening], *machines: str) -> Progress:
    progress = Progress({machine: At() for machine in machines or MACHINES})
    for happening in happenings:
        progress = progress.after(happening)
    return progress


@pytest.fixture(scope="module")
def outcomes(happenings: list[playbook.Happening]) -> dict[str, MachineOutcome]:
    return playbook.outcomes(after(happenings), essential=["h"])


# ---- what came of it ---------------------------------------------------------------------------------------------


def test_every_machine_has_its_own_outcome(outcomes: dict[str, MachineOutcome]) -> None:
    # Given the events of the run, when they are over, then what came of a machine does not depend on the others
    assert {name: one.state for name, one in outcomes.items()} == {
        "h": State.READY,
        "w1": State.FAILED,
        "w2": State.FAILED,
        "w3": State.FAILED,
        "w4": State.FAILED,
        "w5": State.READY,
        "w6": State.OFF,
    }


def test_counts_are_those_of_ansible(outcomes: dict[str, MachineOutcome], events: list[dict[str, Any]]) -> None:
    # Given Ansible's own counts, which include what secret tasks changed
    stats = events[-1]["event_data"]
    # When the events are counted, then it comes to the same
    assert {name: one.ok for name, one in outcomes.items() if one.ok} == stats["ok"]
    assert {name: one.changed for name, one in outcomes.items() if one.changed} == stats["changed"]
    assert outcomes["h"].changed == 3


def test_counts_are_right_while_it_goes_on(happenings: list[playbook.Happening]) -> None:
    # Given all events but the last, which has the counts, when they are counted one by one, then it comes to the same
    assert isinstance(happenings[-1], Ended)
    before, end = after(happenings[:-1]), after(happenings)
    assert {name: (at.ok, at.changed) for name, at in before.machines.items()} == {
        name: (at.ok, at.changed) for name, at in end.machines.items()
    }


def test_cores_are_known_from_the_facts(outcomes: dict[str, MachineOutcome]) -> None:
    assert [outcomes[name].cores for name in ("h", "w5", "w6")] == [2, 2, None]


def test_cores_of_another_machine_are_not_this_ones() -> None:
    # Given facts that were asked for on behalf of another machine
    result = {"ansible_facts": {"ansible_processor_nproc": 64}, "_ansible_delegated_vars": {"ansible_host": "h"}}
    data = {"host": "w1", "task": "Look at the head", "res": result}
    # When the event is read, then they are not this machine's
    assert playbook.decode({"event": "runner_on_ok", "event_data": data}) == Did("w1", "Look at the head")


@pytest.mark.parametrize(
    ("machine", "task", "message", "details"),
    [
        (
            "w1",
            "worker: Install the packages",
            (
                "`echo reading lists; echo 'E: cannot find' >&2; echo 'E: gave up' >&2; exit 100` ended with status "
                "100: E: gave up"
            ),
            ("E: cannot find",),
        ),
        (
            "w2",
            "worker: Fetch the versions",
            "6.2: `sh -c test 6.2 != 6.2 || { echo no answer >&2; exit 7; }` ended with status 7: no answer",
            (),
        ),
        ("w3", "worker: Write the keys", "failed; what it said is hidden, for it may hold a secret", ()),
        ("w4", "worker: Check the distribution", "Plan9 is not supported", ()),
        (
            "w6",
            "worker: Look at the machine",
            (
                'Data could not be sent to remote host "127.0.0.1". Make sure this host can be reached over ssh: ssh: '
                "connect to host 127.0.0.1 port 9: Connection refused"
            ),
            (),
        ),
    ],
)
def test_a_failure_says_which_task_and_why(
    outcomes: dict[str, MachineOutcome], machine: str, task: str, message: str, details: tuple[str, ...]
) -> None:
    assert outcomes[machine].failure == Failure(task, message, details)


def test_what_was_rescued_or_ignored_is_no_failure(
    happenings: list[playbook.Happening], outcomes: dict[str, MachineOutcome]
) -> None:
    # Given a machine on which a task failed and was done in another way, and one failed and was ignored
    failed = [happening for happening in happenings if isinstance(happening, Failed) and happening.machine == "w5"]
    assert [(happening.failure.task, happening.ignored) for happening in failed] == [
        ("worker: Take the image from the registry", False),
        ("worker: Forget what was never there", True),
    ]
    # When the run is over, then the machine is ready
    assert outcomes["w5"] == MachineOutcome("w5", State.READY, ok=4, changed=2, cores=2)


def test_without_the_head_nobody_is_through() -> None:
    # Given a head that failed, and a worker on which all went well as far as it went
    end = Ended(failed=frozenset({"h"}), lost=frozenset(), ok={"w1": 3})
    progress = after([Failed("h", Failure("Make the head", "no")), Did("w1", "Look"), end], "h", "w1")
    # When it is over, then the worker is not ready
    assert {name: one.state for name, one in playbook.outcomes(progress, ["h"]).items()} == {
        "h": State.FAILED,
        "w1": State.UNFINISHED,
    }
    # … but where no machine needs another, it is
    assert playbook.outcomes(progress)["w1"].state is State.READY


def test_a_playbook_that_did_not_end_has_finished_no_machine(happenings: list[playbook.Happening]) -> None:
    # Given the events up to an interruption
    progress = after(happenings[:-1])
    # When it is asked what came of the machines, then none is ready; failures are known
    found = playbook.outcomes(progress)
    assert {found[name].state for name in ("h", "w5")} == {State.UNFINISHED}
    assert found["w1"].state is State.FAILED


def test_an_outcome_is_complete_when_all_machines_are_ready() -> None:
    ready, off = MachineOutcome("a", State.READY), MachineOutcome("b", State.OFF)
    assert playbook.Outcome((ready, ready)).is_complete
    assert not playbook.Outcome((ready, off)).is_complete
    assert not playbook.Outcome((ready,), is_interrupted=True).is_complete


# ---- while it goes on --------------------------------------------------------------------------------------------


def test_a_machine_is_busy_from_the_beginning_of_a_task_to_its_end() -> None:
    # Given a machine that begins a task, when that is over, then it waits
    progress = after([Began("w1", "worker: Install")], "w1")
    assert progress.at("w1") == At(task="worker: Install", is_busy=True)
    for end in (Did("w1", "worker: Install"), Failed("w1", Failure("", "")), Lost("w1", Failure("", ""))):
        assert not progress.after(end).at("w1").is_busy


def test_a_skipped_task_counts_for_nothing() -> None:
    assert after([Did("w1", "x", skipped=True)], "w1").at("w1") == At()


def test_differences_are_shown_but_never_those_of_secrets(happenings: list[playbook.Happening]) -> None:
    # Given a run with --diff in which two files were written, one of them a password
    shown = [happening for happening in happenings if isinstance(happening, Differs)]
    # When the differences are looked at, then only one is there
    assert shown == [
        Differs("h", "Write its settings", "--- before\n+++ after: /etc/labfleet/h/settings\n@@ -0,0 +1 @@\n+slots 2")
    ]


def test_what_ansible_says_besides() -> None:
    # Given lines that belong to no task, as Ansible prints them before it can begin
    lines = ["[WARNING]: Collection at /x\r\n", "[ERROR]: the role 'nix' was not found", "", "Origin: /site.yml:3:11"]
    said = [playbook.decode({"event": "verbose", "stdout": line}) for line in lines]
    # When they are read, then warnings are told apart, and empty lines say nothing
    assert said == [
        Said("[WARNING]: Collection at /x", is_warning=True),
        Said("[ERROR]: the role 'nix' was not found", is_warning=False),
        None,
        Said("Origin: /site.yml:3:11", is_warning=False),
    ]
    # … and what is no warning is kept, for it says why there was nothing to see
    progress = after([happening for happening in said if happening])
    assert progress.complaints == ("[ERROR]: the role 'nix' was not found", "Origin: /site.yml:3:11")


@pytest.mark.parametrize(
    "event", [{}, {"event": "EOF"}, {"event": "playbook_on_start", "event_data": {}}, {"event": 1}]
)
def test_other_events_say_nothing(event: dict[str, Any]) -> None:
    assert playbook.decode(event) is None


# ---- failures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "message", "details"),
    [
        ({"msg": "Task failed: Module failed: no such unit"}, "no such unit", ()),
        ({"msg": "first\nsecond"}, "first", ("second",)),
        ({}, "failed without a word", ()),
        ({"msg": "non-zero return code", "rc": 2, "cmd": ["a", "b"]}, "`a b` ended with status 2", ()),
        ({"msg": "non-zero return code", "rc": 2, "cmd": "a", "stdout": "x\ny"}, "`a` ended with status 2: y", ("x",)),
        (
            {"msg": "MODULE FAILURE", "module_stderr": "Traceback\nKeyError"},
            "MODULE FAILURE",
            ("Traceback", "KeyError"),
        ),
        ({"msg": "apt failed: E: no", "stderr": "E: no\nE: really", "rc": 100}, "apt failed: E: no", ("E: really",)),
        ({"msg": "no", "stderr": "\x1b[91mred\x1b[0m"}, "no", ("red",)),
        ({"rc": 1, "cmd": "x" * 500}, f"`{'x' * 160}…` ended with status 1", ()),
        ({"censored": "hidden", "msg": "sesame"}, "failed; what it said is hidden, for it may hold a secret", ()),
        (
            {"results": [{"failed": True, "item": "a", "msg": "x"}, {"failed": True, "item": "b", "msg": "y"}]},
            "a: x",
            ("b: y",),
        ),
    ],
)
def test_why_a_task_failed(result: dict[str, Any], message: str, details: tuple[str, ...]) -> None:
    assert playbook.failure("t", result) == Failure("t", message, details)


def test_of_a_long_output_the_end_is_told() -> None:
    # Given a command that printed a thousand lines, when it fails, then the last ones are told
    stderr = "\n".join(f"line {number}" for number in range(1000))
    found = playbook.failure("t", {"rc": 1, "cmd": "make", "msg": "non-zero return code", "stderr": stderr})
    assert found.message == "`make` ended with status 1: line 999"
    assert found.details == tuple(f"line {number}" for number in range(988, 999))
