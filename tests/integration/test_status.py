"""How a local lab is shown: in a terminal of 80 by 24, in a pipe, and to programs; every part is the real one."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab_fixture import LocalLab, wait_for
from tests.pseudo_terminal import HEIGHT, PseudoTerminal, terminal

COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:[39][0-7]|38;)")

#: What a run prints that wants to be more than text: title, empty screen, colour, direction, bytes that are no text.
HOSTILE = r"\033]0;pwned\007\033[2J\033[31m\342\200\256\377<b>"

#: A run that tells how far it is, as Cmdenv does, until a test lets it go on.
RUN = """
echo '** Event #256   t=1.5   Elapsed: 1s (0m 01s)  14% completed  (14% total)'
echo '     Speed:     ev/sec=1.5e+06   simsec/sec=2   ev/simsec=500'
while [ ! -e {gate} ]; do sleep 0.1; done
echo done >$STEM.sca
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that lets the runs go on when it is there."""
    return tmp_path / "gate"


@pytest.fixture
def busy(lab: LocalLab, scripted: Path, gate: Path) -> Iterator[str]:
    """The id of a campaign of four runs whose first two are under way, until the gate is open."""
    (scripted / "do.sh").write_text(RUN.format(gate=gate))
    said = lab("campaign", "--detach", cwd=scripted)
    assert said.status == 0, said.stderr
    name = said.stdout.strip()
    yield name
    gate.touch()
    assert lab("attach", name, cwd=scripted).status == 0


def is_telling(lab: LocalLab, scripted: Path, campaign: str) -> bool:
    """Say whether both runs that are under way have told how far they are."""
    found = lab("status", "--json", cwd=scripted).result
    running = [slot for machine in found["machines"] for slot in machine["running"] if slot["campaign"] == campaign]
    return [slot["percent"] for slot in running] == [14.0, 14.0]


@contextmanager
def in_terminal(lab: LocalLab, cwd: Path, *words: str, colour: bool = False) -> Iterator[PseudoTerminal]:
    """Run labfleet in a terminal of 80 by 24."""
    environment = lab.environment({"TERM": "xterm-256color", "NO_COLOR": "" if colour else "1"})
    with terminal(lab.argv(*words), cwd, environment) as opened:
        yield opened


# ---- once --------------------------------------------------------------------------------------------------------


def test_in_a_pipe_there_are_lines_and_for_programs_json(lab: LocalLab, scripted: Path, busy: str) -> None:
    # Given a campaign with two runs under way that tell how far they are
    wait_for(lambda: is_telling(lab, scripted, busy), "that both runs tell how far they are")
    # When the lab is looked at in a pipe
    said = lab("status", cwd=scripted, env={"NO_COLOR": ""})
    # Then the lines say it, and hold nothing but text
    assert said.status == 0
    assert f"campaign {busy} scripted General of " in said.stdout
    slot = rf"  slot\d: scripted General #\d \({busy}\), 14 %, 1.5M ev/s, \d+ MB, .* s"
    slots = [line for line in said.stdout.splitlines() if re.fullmatch(slot, line)]
    assert len(slots) == 2, said.stdout
    assert "\x1b" not in said.stdout
    # … and programs are told the same, in figures
    (machine,) = lab("status", "--json", cwd=scripted).result["machines"]
    assert sorted((slot["run"], slot["sim_time"], slot["events_per_second"]) for slot in machine["running"]) == [
        (0, 1.5, 1.5e6),
        (1, 1.5, 1.5e6),
    ]
    assert all(slot["memory"] > 100_000 for slot in machine["running"])
    # … which is what the other commands say
    assert "with 2 slots" in lab("lab", "status", cwd=scripted).stdout
    assert lab("machines", "--json", cwd=scripted).result["machines"][0]["busy"] == machine["busy"] == 2


def test_without_a_lab_it_says_what_to_do(own_lab: LocalLab, scripted: Path) -> None:
    # Given a lab that does not run
    for words in (("status",), ("status", "--json"), ("status", "--watch")):
        # When it is looked at
        said = own_lab(*words, cwd=scripted)
        # Then that is said, as other commands say it, and nothing is started
        assert (said.status, said.stdout) == (3, "")
        assert said.stderr == own_lab("machines", cwd=scripted).stderr
        assert "a campaign starts them" in said.stderr
    assert own_lab.supervisor is None


# ---- as it changes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [False, True])
def test_in_a_terminal_the_picture_changes_in_its_place_until_ctrl_c(
    lab: LocalLab, scripted: Path, busy: str, gate: Path, colour: bool
) -> None:
    # Given a campaign with two runs under way, when somebody watches the lab in a terminal
    its = rf"{busy[-4:]} scripted General of \w+ .* "
    with in_terminal(lab, scripted, "status", "--watch", colour=colour) as screen:
        # Then it shows what the slots run
        wait_for(lambda: sum("14 % 1.5M ev/s" in row for row in screen.rows()) == 2, "both runs")
        rows = screen.rows()
        assert any(re.match(rf"{its}0/4 done(, ETA .+)?$", row) for row in rows), rows
        # When the runs end, then it shows that, and nothing has scrolled
        gate.touch()
        wait_for(lambda: any(re.match(rf"{its}4/4 done$", row) for row in screen.rows()), "the end")
        assert not any("14 %" in row for row in screen.rows())
        assert not screen.scrolled()
        assert len(screen.rows()) < HEIGHT
        # When Ctrl-C is pressed, then it ends with one line below what was shown last
        screen.type(b"\x03")
        assert screen.wait() == 130
        rows = screen.rows()
        assert rows[-1] == "labfleet: interrupted"
        assert sum(bool(re.search(r" at \d\d:\d\d:\d\d: ", row)) for row in rows) == 1
        assert not screen.scrolled()
        assert bool(COLOUR.search(screen.written)) is colour


def test_in_a_pipe_changes_are_blocks_of_lines_and_ctrl_c_is_one_line(
    lab: LocalLab, scripted: Path, busy: str, gate: Path
) -> None:
    # Given somebody who watches a lab through a pipe
    watcher = lab.start("status", "--watch", cwd=scripted, env={"NO_COLOR": ""})
    assert watcher.stdout
    assert watcher.stderr
    lines = iter(watcher.stdout.readline, "")
    assert next(lines).startswith("the local lab at ")
    # When the campaign ends
    gate.touch()
    # Then a later block says so
    assert any(line.startswith(f"campaign {busy} ") and "ended at" in line for line in lines)
    # … and Ctrl-C ends it with one line
    watcher.send_signal(signal.SIGINT)
    rest, stderr = watcher.communicate(timeout=60)
    assert (watcher.returncode, stderr) == (130, "labfleet: interrupted\n")
    assert "\x1b" not in rest


def test_programs_get_a_line_for_each_change(lab: LocalLab, scripted: Path, busy: str, gate: Path) -> None:
    # Given a program that watches a lab in which a campaign runs
    wait_for(lambda: is_telling(lab, scripted, busy), "that both runs tell how far they are")
    watcher = lab.start("status", "--watch", "--json", cwd=scripted)
    assert watcher.stdout
    lines = map(json.loads, iter(watcher.stdout.readline, ""))
    first = next(lines)
    assert first["complete"] is True
    assert busy in [campaign["campaign"] for campaign in first["campaigns"]]
    # When the campaign ends
    gate.touch()
    # Then lines with what has changed tell how far it is, and that it has ended
    states = []
    for line in lines:
        assert line["complete"] is False
        states += [(one["state"], one["done"]) for one in line["campaigns"] if one["campaign"] == busy]
        if states and states[-1][0] == "done":
            break
    watcher.kill()
    watcher.communicate()
    assert states[-1] == ("done", 4)
    assert all(state == "running" for state, _ in states[:-1])


# ---- a campaign's own view ---------------------------------------------------------------------------------------


def test_a_campaign_in_a_terminal_fits_and_is_left_with_ctrl_c(lab: LocalLab, scripted: Path, gate: Path) -> None:
    # Given a campaign in a terminal, whose runs tell how far they are
    (scripted / "do.sh").write_text(RUN.format(gate=gate))
    with in_terminal(lab, scripted, "campaign") as screen:
        wait_for(lambda: sum("14 % 1.5M ev/s" in row for row in screen.rows()) == 2, "both runs")
        assert any("0/4 done" in row for row in screen.rows())
        # When Ctrl-C is pressed
        screen.type(b"\x03")
        assert screen.wait() == 130
        # Then the picture is gone, and what was told is there
        assert not screen.scrolled()
        assert not any("%" in row or "0/4 done" in row for row in screen.rows())
        assert " ".join(screen.rows()[-2:]).count("detached: campaign ") == 1
        assert not COLOUR.search(screen.written)
    # When somebody comes back in a terminal, and the runs end, then the summary is all that is left
    with in_terminal(lab, scripted, "attach", colour=True) as screen:
        wait_for(lambda: sum("14 % 1.5M ev/s" in row for row in screen.rows()) == 2, "both runs")
        gate.touch()
        assert screen.wait() == 0
        assert any("4 of 4 runs done" in row for row in screen.rows())
        assert not any("1.5M ev/s" in row for row in screen.rows())
        assert COLOUR.search(screen.written)


def test_what_runs_say_and_are_called_does_nothing_to_a_terminal(lab: LocalLab, scripted: Path) -> None:
    # Given runs that print, and fail with, what a terminal would obey
    (scripted / "do.sh").write_text(f"printf '{HOSTILE}\\n<!> Error: {HOSTILE}\\n'; exit 1\n")
    with in_terminal(lab, scripted, "campaign", "--verbose", colour=True) as screen:
        # When that is shown while they run, and at the end
        assert screen.wait() == 1
        shown = [*screen.scrolled(), *screen.rows()]
        # Then it is text: the screen is as it was, and so are title and direction
        assert sum("<b>" in row for row in shown) >= 4
        assert any("0 of 4 runs done" in row for row in shown)
        assert not re.search(rb"\x1b\]|\x1b\[2J|\x07|\xe2\x80\xae|\xff", screen.written)
    # … and so it is in a pipe
    said = lab("campaign", "--verbose", cwd=scripted, env={"NO_COLOR": ""})
    assert said.status == 1
    assert "<b>" in said.stdout + said.stderr
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", said.stdout + said.stderr)
