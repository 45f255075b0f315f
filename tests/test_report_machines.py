"""What the person sees of provisioning, from the events of a real run: while it goes on, and at its end."""

import io
import json
from pathlib import Path

import pyte
import pytest
from pyte.modes import LNM
from rich.console import Console

from runner import playbook
from runner.errors import ExitCode
from runner.inventory import Lab, Login, Machine
from runner.playbook import (
    At,
    Began,
    Differs,
    Ended,
    Failed,
    Failure,
    Happening,
    Lost,
    MachineOutcome,
    Outcome,
    Progress,
    Said,
    State,
    TaskStarted,
)
from runner.report import machines
from runner.report.machines import LiveMachines, PlainMachines

#: A head and six workers; see test_playbook.py.
RECORDED = Path(__file__).parent / "data" / "ansible" / "site.jsonl"

NAMES = ("h", "w1", "w2", "w3", "w4", "w5", "w6")
BROKEN = Failure("worker: Install", "no such package", ("E: none",))
NOBODY_FAILED = Ended(failed=frozenset(), lost=frozenset())


@pytest.fixture(scope="module")
def happenings() -> list[Happening]:
    events = (json.loads(line) for line in RECORDED.read_text().splitlines())
    return [happening for event in events if (happening := playbook.decode(event))]


def lab(*names: str) -> Lab:
    head, *others = names
    return Lab(
        ("lab.yml",),
        (
            Machine(head, Login("ssh", head), is_head=True, is_worker=not others, tags=("old",)),
            *(Machine(name, Login("ssh", name), is_head=False, is_worker=True) for name in others),
        ),
    )


def plain(*happenings: Happening, is_check: bool = False) -> list[str]:
    stream = io.StringIO()
    view = PlainMachines(stream, is_check=is_check)
    for happening in happenings:
        view.happened(happening)
    view.close()
    return stream.getvalue().splitlines()


def shown(stream: io.StringIO, columns: int = 80, lines: int = 24) -> list[str]:
    """Return what is on the screen."""
    screen = pyte.Screen(columns, lines)
    screen.set_mode(LNM)
    pyte.Stream(screen).feed(stream.getvalue())
    return [line.rstrip() for line in screen.display]


def live(columns: int = 80, lines: int = 24) -> tuple[LiveMachines, io.StringIO]:
    stream = io.StringIO()
    screen = Console(file=stream, force_terminal=True, width=columns, height=lines, _environ={})
    clock = iter(range(0, 1000, 10))
    return LiveMachines("provision", screen, clock=lambda: float(next(clock))), stream


# ---- plain lines -------------------------------------------------------------------------------------------------


def test_a_pipe_gets_plays_changes_and_failures(happenings: list[Happening]) -> None:
    # Given the events of a run, when they go to a pipe, then each play is a line, each change, and each failure that
    # was one; a failure is told when it is clear that nothing else is tried, and what a secret task said is not
    assert plain(*happenings) == [
        "Make the head …",
        "h: Write its settings",
        "--- before",
        "+++ after: /etc/labfleet/h/settings",
        "@@ -0,0 +1 @@",
        "+slots 2",
        "  changed: Write its settings (h)",
        "  changed: Write the password (h)",
        "  changed: Restart (h)",
        "Make the workers …",
        (
            'w6: FAILED: worker: Look at the machine: Data could not be sent to remote host "127.0.0.1". Make sure '
            "this host can be reached over ssh: ssh: connect to host 127.0.0.1 port 9: Connection refused"
        ),
        "  changed: worker: Build it (w2, w1, w3, w4, w5)",
        (
            "w1: FAILED: worker: Install the packages: `echo reading lists; echo 'E: cannot find' >&2; echo 'E: gave "
            "up' >&2; exit 100` ended with status 100: E: gave up"
        ),
        (
            "w2: FAILED: worker: Fetch the versions: 6.2: `sh -c test 6.2 != 6.2 || { echo no answer >&2; exit 7; }` "
            "ended with status 7: no answer"
        ),
        "w3: FAILED: worker: Write the keys: failed; what it said is hidden, for it may hold a secret",
        "w4: FAILED: worker: Check the distribution: Plan9 is not supported",
    ]


def test_what_would_change_is_said_as_that() -> None:
    happenings: list[Happening] = [TaskStarted("p", "t"), playbook.Did("w1", "t", changed=True), NOBODY_FAILED]
    assert plain(*happenings, is_check=True) == ["p …", "  would change: t (w1)"]


def test_a_failure_that_is_tried_another_way_is_not_told() -> None:
    # Given a machine that goes on after its failure, when the end says that all is well, then there is no line
    happenings: list[Happening] = [
        TaskStarted("p", "a"),
        Failed("w1", BROKEN),
        TaskStarted("p", "b"),
        Began("w1", "b"),
        TaskStarted("p", "c"),
        TaskStarted("p", "d"),
        NOBODY_FAILED,
    ]
    assert plain(*happenings) == ["p …"]


def test_a_machine_that_goes_away_is_told() -> None:
    # Given one that is lost in the last task
    happenings: list[Happening] = [TaskStarted("p", "a"), Lost("w1", BROKEN), Ended(frozenset(), frozenset({"w1"}))]
    assert plain(*happenings) == ["p …", "w1: FAILED: worker: Install: no such package"]


def test_a_warning_is_told_once() -> None:
    warning = Said("[WARNING]: be\r\ncareful", is_warning=True)
    assert plain(warning, warning, Said("[ERROR]: x", is_warning=False)) == ["[WARNING]: be careful"]


def test_what_others_wrote_cannot_command_the_terminal() -> None:
    # Given a machine that sends control characters
    evil = Failure("t\x1b[2J", "m\x1b]0;x\x07\u202e", ("d\x1b[A",))
    end = Ended(frozenset({"w1"}), frozenset())
    lines = plain(TaskStarted("p", "t"), Failed("w1", evil), Differs("w1", "t", "+\x1b[2J"), end)
    outcome = Outcome((MachineOutcome("w1", State.FAILED, failure=evil, hint="h\x9b"),))
    # When that is shown, then they are signs
    text = "\n".join([*lines, machines.table(lab("w1"), outcome)])
    assert not {character for character in text if not character.isprintable()} - {"\n"}
    assert text.count("␛") == 7


def test_an_output_that_takes_no_typography_is_no_reason_to_fail() -> None:
    # Given a terminal of the old kind
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    PlainMachines(stream).happened(TaskStarted("Prüfen", "t"))
    stream.flush()
    assert stream.buffer.getvalue() == b"Pr\\xfcfen \\u2026\n"


# ---- live --------------------------------------------------------------------------------------------------------


def test_a_terminal_shows_what_each_machine_does() -> None:
    # Given machines at work, waiting, failed and gone
    at = {
        "head": At("head: Make the certificates", is_busy=True, ok=12, changed=5),
        "w1": At("worker: Install", ok=3, failure=BROKEN),
        "w2": At("worker: Install", ok=3),
        "w3": At("worker: Install", is_lost=True, failure=Failure("t", "no answer")),
    }
    view, stream = live()
    # When the picture is drawn
    view.tick(Progress(at, play="Make the workers"))
    # Then each has a row
    assert [line.split(maxsplit=1) for line in shown(stream) if line] == [
        ["provision:", "Make the workers  10 s"],
        ["head", "head: Make the certificates".ljust(57) + "12 ok, 5 changed"],
        ["w1", "failed: no such package".ljust(69) + "3 ok"],
        ["w2", "waits".ljust(69) + "3 ok"],
        ["w3", "off: no answer".ljust(69) + "0 ok"],
    ]
    # … and when it is over, the picture is gone
    view.close()
    assert shown(stream) == [""] * 24


def test_lines_stay_above_the_picture() -> None:
    # Given a picture
    view, stream = live()
    progress = Progress({"w1": At("t", is_busy=True)})
    view.tick(progress)
    # When something happens that is worth a line
    view.note("w9: off")
    view.happened(TaskStarted("p", "t"))
    view.happened(Differs("w1", "Write", "@@ -1 +1 @@\n-a\n+b"))
    view.happened(Said("[WARNING]: careful", is_warning=True))
    view.happened(Failed("w1", BROKEN))
    view.happened(Ended(frozenset({"w1"}), frozenset()))
    view.tick(progress)
    view.close()
    # Then the lines stay
    assert [line for line in shown(stream) if line] == [
        "w9: off",
        "w1: Write",
        "@@ -1 +1 @@",
        "-a",
        "+b",
        "[WARNING]: careful",
        "w1: FAILED: worker: Install: no such package",
    ]


def test_questions_come_before_the_picture() -> None:
    # Given a view of which nothing was asked but a note, when it is closed, then nothing was drawn
    view, stream = live()
    view.note("w1: accepted")
    view.close()
    assert stream.getvalue() == "w1: accepted\n"


def test_the_picture_fits_the_terminal() -> None:
    # Given more machines than rows, of which a few are at work or have failed
    at = {f"w{number:02}": At("t", ok=1) for number in range(40)}
    at |= {"w30": At("busy", is_busy=True), "w35": At("t", failure=BROKEN)}
    view, stream = live(columns=60, lines=12)
    # When the picture is drawn
    view.tick(Progress(at, play="p" * 100))
    lines = [line for line in shown(stream, 60, 12) if line]
    # Then those are among the rows
    assert len(lines) == 6
    assert lines[-1] == "  … and 36 more"
    assert [line.split()[0] for line in lines[1:-1]] == ["w00", "w01", "w30", "w35"]


@pytest.mark.parametrize("terminal", ["", "dumb"])
def test_the_view_suits_the_stream(terminal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a pipe, or a terminal that can do little, then there are lines; on any other a picture
    stream = io.StringIO()
    assert isinstance(machines.view("provision", stream, {"TERM": "xterm"}), PlainMachines)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    assert isinstance(machines.view("provision", stream, {"TERM": terminal} if terminal else {}), PlainMachines)
    assert isinstance(machines.view("provision", stream, {"TERM": "xterm"}), LiveMachines)


# ---- afterwards --------------------------------------------------------------------------------------------------


def test_the_table_says_what_each_machine_offers_and_what_came_of_it(happenings: list[Happening]) -> None:
    # Given the end of a run
    progress = Progress({name: At() for name in NAMES})
    for happening in happenings:
        progress = progress.after(happening)
    found = playbook.outcomes(progress, ["h"])
    off = MachineOutcome("w6", State.OFF, failure=Failure("first contact", "does not answer"), hint="switch it on")
    outcome = Outcome((found["h"], found["w4"], found["w5"], off))
    there = Lab(
        ("lab.yml",),
        (
            Machine("h", Login("ssh", "h"), is_head=True, is_worker=True),
            Machine(
                "w4", Login("ssh", "w4"), is_head=False, is_worker=True, slots=4, tags=("big", "gpu"), desktop=True
            ),
            Machine("w5", Login("ssh", "w5"), is_head=False, is_worker=True, builder=True),
            Machine("w6", Login("ssh", "w6"), is_head=False, is_worker=True),
        ),
    )
    # When it is told, then a head keeps one core, and what is not known is not guessed
    assert machines.table(there, outcome).splitlines() == [
        "machine  role          slots  builder  tags               state",
        "h        head, worker  1                                  ready, 3 changed",
        "w4       worker        4               big, gpu, desktop  failed: worker: Check the distribution",
        "w5       worker        2      yes                         ready, 2 changed",
        "w6       worker        ?                                  off",
        "",
        "w4: worker: Check the distribution",
        "  Plan9 is not supported",
        "",
        "w6: first contact",
        "  does not answer",
        "  hint: switch it on",
        "",
        "4 machines: 2 ready, 1 failed, 1 off; once that is mended, the same command does the rest",
    ]


def test_a_failure_is_explained_in_full() -> None:
    outcome = Outcome((MachineOutcome("w1", State.FAILED, failure=BROKEN),))
    assert "w1: worker: Install\n  no such package\n  | E: none" in machines.table(lab("w1"), outcome)


def test_a_check_and_a_teardown_have_their_own_words() -> None:
    # Given machines on which all went well
    outcome = Outcome((MachineOutcome("w1", State.READY, changed=3),), is_check=True)
    assert machines.table(lab("w1"), outcome).splitlines()[1].endswith("3 would change")
    text = machines.table(lab("w1"), Outcome((MachineOutcome("w1", State.READY, changed=3),)), done="removed")
    assert text.splitlines()[1].endswith("removed, 3 changed")
    assert text.endswith("1 machine: 1 removed")


def test_an_interruption_is_explained() -> None:
    outcome = Outcome((MachineOutcome("w1", State.UNFINISHED),), is_interrupted=True)
    assert "interrupted: what is done stays, and the same command goes on from there" in machines.table(
        lab("w1"), outcome
    )


def test_the_exit_code_tells() -> None:
    assert machines.exit_code(Outcome((MachineOutcome("w1", State.READY),))) is ExitCode.DONE
    for state in (State.FAILED, State.OFF, State.UNFINISHED):
        outcome = Outcome((MachineOutcome("w1", State.READY), MachineOutcome("w2", state)))
        assert machines.exit_code(outcome) is ExitCode.LAB_FAILED
