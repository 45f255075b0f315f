"""How a lab is shown: as lines, as JSON, and as a picture that fits a terminal."""

import io
import json
import re
from typing import Any

import pyte
import pytest
from msgspec.structs import replace
from pyte.modes import LNM
from rich.console import Console

from runner.messages import CampaignStatus, Changed, HostReport, MachineStatus, Overview, SlotStatus
from runner.model import PROTOCOL
from runner.report import overview
from runner.report.overview import Picture
from runner.report.overview_live import LiveOverview, shown
from runner.report.overview_views import PULSE, Blocks, Drawn, JsonLines, show
from runner.report.text import rate
from tests.test_report import TerminalFile

#: What a terminal obeys: its title, its screen, its colours, the direction of text; and a line's end.
HOSTILE = "\x1b]0;title\x07\x1b[2J\x1b[31m\u202e\x9b1m\rx\ny"


def slot(name: str = "slot1", campaign: str = "20261128-034923-3f2a", run: int = 7) -> SlotStatus:
    return SlotStatus(name, campaign, run, 1, 60.0, 14.0, events_per_second=1.23e6, memory=34_000_000)


def machine(name: str, slots: int = 2, busy: int = 0, state: str = "ready", reason: str = "") -> MachineStatus:
    report = HostReport(name, slots, load=1.94, memory_free=3_100_000_000, memory_total=8_000_000_000)
    return MachineStatus(report, name, busy, state, reason, tuple(slot(f"slot{n + 1}", run=n) for n in range(busy)))


def campaign(name: str = "20261128-034923-3f2a", phase: str = "running", **more: Any) -> CampaignStatus:
    usual = {"total": 42, "done": 12, "failed": 1, "running": 2, "eta": 200.0, "submitted": 10.0}
    return CampaignStatus(name, "aloha", "General", "anna", phase, **{**usual, **more})


def picture(machines: list[MachineStatus], campaigns: list[CampaignStatus]) -> Picture:
    return Picture.of("the local lab", Overview(PROTOCOL, 100.0, tuple(machines), tuple(campaigns)), 5.0)


def rows(picture: Picture, width: int = 80, height: int = 24, now: float = 100.0, said: str = "") -> list[str]:
    """Return what a terminal shows of a lab, which must stay there when it ends with a line."""
    file = TerminalFile()
    screen = Console(file=file, width=width, height=height, _environ={"TERM": "xterm", "NO_COLOR": "1"})
    live = LiveOverview(screen)
    live.draw(picture, now, said)
    live.draw(picture, now, said)
    live.close()
    file.write("labfleet: interrupted\n")
    terminal = pyte.HistoryScreen(width, height)
    terminal.set_mode(LNM)
    pyte.Stream(terminal).feed(file.getvalue())
    assert not terminal.history.top, "it has scrolled"
    *drawn, end = "\n".join(row.rstrip() for row in terminal.display).rstrip().split("\n")
    assert end == "labfleet: interrupted"[:width]
    return drawn


# ---- the value ---------------------------------------------------------------------------------------------------


def test_a_picture_follows_what_is_told_to_have_changed() -> None:
    # Given a lab with two machines and two campaigns
    before = picture([machine("w1"), machine("w2")], [campaign("c1"), campaign("c2")])
    # When a machine and a campaign change, and others are gone
    later, further = machine("w1", busy=1), campaign("c1", done=13, eta=50.0)
    after = before.after(Changed(110.0, (later,), (further,), ("c2",), ("w2",)), 15.0)
    # Then the picture has that, by the head's clock
    assert after.machines == {"w1": later}
    assert [one.done for _, one in after.campaigns.values()] == [13]
    assert after.at(lambda: 17.5) == 112.5
    # … and the end comes nearer, until it is due
    assert after.left("c1", 130.0) == 30.0
    assert after.left("c1", 170.0) == 0.0


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (None, ""),
        (12.4, "12 ev/s"),
        (999.4, "999 ev/s"),
        (999.6, "1.0k ev/s"),
        (9_940.0, "9.9k ev/s"),
        (950_000.0, "950k ev/s"),
        (1_230_000.0, "1.2M ev/s"),
        (3e9, "3.0G ev/s"),
    ],
)
def test_events_per_second_are_said_in_few_characters(events: float | None, words: str) -> None:
    # Given events per second, when they are said, then it is with two or three digits
    assert rate(events) == words


# ---- lines and JSON ----------------------------------------------------------------------------------------------


def test_lines_tell_all_of_the_lab() -> None:
    # Given a lab in which one campaign runs, one waits, and one has ended
    lab = picture(
        [machine("w10"), machine("w2", busy=1), machine("w3", state="unwell", reason="its disk is full")],
        [
            campaign(),
            campaign("20261128-040000-beef", done=0, failed=0, running=0, eta=None, waiting="42 runs wait: …"),
            campaign("20261127-040000-cafe", "failed", done=41, running=0, eta=None, ended=50.0),
        ],
    )
    # When it is told in lines
    lines = overview.text(lab, 120.0).splitlines()
    # Then everything is there, of machines first those with which something is the matter
    assert re.fullmatch(
        r"the local lab at \d\d:\d\d:\d\d: 3 machines \(1 unwell\), 1/6 slots busy, 2 campaigns under way", lines[0]
    )
    assert lines[1:6] == [
        "campaign 20261128-034923-3f2a aloha General of anna: 12/42 done, 1 failed, ETA 3 min 00 s; 2 runs under way",
        "campaign 20261128-040000-beef aloha General of anna: 0/42 done",
        "  42 runs wait: …",
        lines[4],
        "machine w3: unwell, 0 of 2 slots busy, load 1.9, 3.1 GB free",
    ]
    assert re.fullmatch(
        r"campaign 20261127-040000-cafe aloha General of anna: ended at \d\d:\d\d: 41/42 done, 1 failed", lines[4]
    )
    assert lines[6:] == [
        "  its disk is full",
        "machine w2: ready, 1 of 2 slots busy, load 1.9, 3.1 GB free",
        "  slot1: aloha General #0 (20261128-034923-3f2a), 14 %, 1.2M ev/s, 34 MB, 1 min 00 s",
        "machine w10: ready, 0 of 2 slots busy, load 1.9, 3.1 GB free",
    ]


def test_json_has_the_fields_that_its_documentation_names() -> None:
    # Given a lab
    told = Overview(PROTOCOL, 100.0, (machine("w1", busy=1),), (campaign(),))
    # When it is printed for programs
    found = json.loads(overview.as_json(told))
    # Then all is there, and a change looks the same
    assert found["complete"] is True
    assert found["machines"][0]["running"][0] == {
        "slot": "slot1",
        "campaign": "20261128-034923-3f2a",
        "run": 0,
        "attempt": 1,
        "since": 60.0,
        "percent": 14.0,
        "sim_time": 0.0,
        "events_per_second": 1.23e6,
        "memory": 34_000_000,
    }
    assert (found["campaigns"][0]["eta"], found["campaigns"][0]["waiting"]) == (200.0, "")
    changed = json.loads(overview.as_json(Changed(101.0, told.machines, gone=("c0",))))
    assert changed == {**found, "complete": False, "time": 101.0, "campaigns": [], "gone": ["c0"]}


# ---- a picture that fits -----------------------------------------------------------------------------------------


def test_a_small_lab_is_shown_whole() -> None:
    # Given a lab with a campaign, and two machines of which one is busy
    lab = picture([machine("w1", busy=2), machine("w2")], [campaign()])
    # When it is drawn on a terminal of 80 by 24
    drawn = rows(lab)
    # Then everything is there
    assert drawn[0].startswith("the local lab at ")
    assert re.fullmatch(r"3f2a aloha General of anna +━+[╸ ] +12/42 done, 1 failed, ETA 3 min 20 s", drawn[1])
    assert re.fullmatch(r"w1  ready  2 of 2 slots busy +load 1.9, 3.1 GB free", drawn[2])
    assert re.fullmatch(r"  slot1  3f2a #0 aloha General +[━╸]+ +14 % 1.2M ev/s 34 MB 40 s", drawn[3])
    assert re.fullmatch(r"w2  ready  0 of 2 slots busy +load 1.9, 3.1 GB free", drawn[5])
    assert len(drawn) == 6


def test_a_large_lab_is_shown_as_far_as_it_fits_and_what_is_left_out_is_counted() -> None:
    # Given 200 machines of eight busy slots, three of them in trouble, and 40 campaigns
    machines = [machine(f"w{number}", 8, 8) for number in range(197)]
    machines += [machine(f"x{number}", 8, 0, "away", "nothing was heard from it for 9 s") for number in range(3)]
    lab = picture(machines, [campaign(f"20261128-034923-{number:04}") for number in range(40)])
    # When it is drawn on terminals of several sizes, then it fits, and never scrolls
    for width, height in ((80, 24), (80, 10), (40, 24), (200, 60), (40, 5)):
        drawn = rows(lab, width, height)
        assert len(drawn) < height
    # … and at 80 by 24 neither crowds the other out, trouble comes first, and the rest is counted
    drawn = rows(lab)
    assert len(drawn) == 22
    assert " ".join(drawn[:2]).endswith(": 200 machines (3 away), 1576/1576 slots busy, 40 campaigns under way")
    campaigns = [row for row in drawn if row.startswith("0")]
    shown_machines = [row for row in drawn if row[:1] in ("w", "x")]
    assert drawn[2 + len(campaigns)] == f"… and {40 - len(campaigns)} more campaigns"
    assert [row.split()[0] for row in shown_machines[:4]] == ["x0", "x1", "x2", "w0"]
    assert drawn[-1] == f"… and {200 - len(shown_machines)} more machines"
    assert len(campaigns) >= 9
    assert len(shown_machines) >= 9


def test_slots_for_which_there_is_no_room_are_counted() -> None:
    # Given two machines of twenty busy slots, when they are drawn
    drawn = rows(picture([machine("w1", 20, 20), machine("w2", 20, 20)], []))
    # Then both are there, with as many slots as fit
    assert len(drawn) == 22
    assert drawn[1].startswith("w1 ")
    assert drawn[11].startswith("w2 ")
    assert [drawn[10], drawn[21]] == ["    … and 12 more", "    … and 11 more"]


def test_reasons_are_told_in_two_rows_at_most() -> None:
    # Given a campaign that waits for a reason of many words, and a machine in trouble
    why = "42 runs wait: no machine takes runs. " + "w1 is away: nothing was heard from it for 9 s. " * 5
    lab = picture(
        [machine("w1", state="away", reason="nothing was heard from it for 9 s")],
        [campaign(running=0, eta=None, waiting=why.strip())],
    )
    # When they are drawn, then they are below what they are of
    _, _, of_campaign, first, second, of_machine, its = rows(lab)
    assert of_campaign.startswith("3f2a aloha General")
    assert first == "    42 runs wait: no machine takes runs. w1 is away: nothing was heard from it"
    assert second.startswith("    for 9 s. w1 is away")
    assert second.endswith("…")
    assert of_machine.startswith("w1  away")
    assert its == "    nothing was heard from it for 9 s"


def test_that_nothing_is_heard_is_in_the_picture() -> None:
    # Given a lab of which nothing is heard, when it is drawn, then that is told
    assert rows(picture([machine("w1")], []), said="nothing heard from the lab for 12 s")[1] == (
        "nothing heard from the lab for 12 s"
    )


def test_without_colour_there_is_none_and_with_colour_there_is() -> None:
    # Given a lab with everything that has a colour
    lab = picture(
        [machine("w1", busy=1), machine("w2", state="away", reason="silent")], [campaign(waiting="all slots are busy")]
    )
    for wanted, environ in ((False, {"TERM": "xterm", "NO_COLOR": "1"}), (True, {"TERM": "xterm"})):
        # When it is drawn, then there are colours as the person wants it
        file = TerminalFile()
        screen = Console(file=file, width=80, height=24, _environ=environ)
        screen.print(shown(lab, 100.0, screen))
        assert bool(re.search(r"\x1b\[(?:\d+;)*(?:[39][0-7]|38;)", file.getvalue())) is wanted


def test_what_others_wrote_cannot_command_the_terminal() -> None:
    # Given a lab in which every name and reason is hostile
    bad = replace(
        machine("w1", busy=1), name=f"w{HOSTILE}", state=HOSTILE, reason=HOSTILE, slots=(slot(HOSTILE, HOSTILE),)
    )
    one = CampaignStatus(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 4, 1, 0, 0, waiting=HOSTILE)
    lab = replace_lab(picture([bad], [one, replace(one, id=f"x{HOSTILE}", ended=50.0, waiting="")]), HOSTILE)
    # When it is told in lines, as JSON, and as a picture
    lines = overview.text(lab, 100.0)
    as_json = overview.as_json(Overview(PROTOCOL, 100.0, (bad,), (one,)))
    file = TerminalFile()
    screen = Console(file=file, width=80, height=24, _environ={"TERM": "xterm", "NO_COLOR": "1"})
    screen.print(shown(lab, 100.0, screen))
    # Then nothing in there is obeyed, and each thing has one line
    for told in (lines, as_json, re.sub(r"\x1b\[\d*m", "", file.getvalue())):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", told)
    assert len(lines.splitlines()) == 7
    assert as_json.isascii()


def replace_lab(picture: Picture, lab: str) -> Picture:
    return Picture(lab, picture.time, picture.heard, picture.machines, picture.campaigns)


# ---- who shows it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "term", "json", "kind"),
    [
        (io.StringIO(), "xterm", False, Blocks),
        (TerminalFile(), "dumb", False, Blocks),
        (TerminalFile(), "xterm", False, Drawn),
        (TerminalFile(), "xterm", True, JsonLines),
    ],
)
def test_the_stream_and_the_wish_decide_how_it_is_shown(stream: io.StringIO, term: str, json: bool, kind: type) -> None:
    # Given a stream, when a lab is to be shown there, then it is as suits it
    assert isinstance(show(stream, {"TERM": term}, json=json), kind)


def test_in_a_pipe_there_is_a_block_for_a_change_every_few_seconds_at_most() -> None:
    # Given a lab that is shown in a pipe
    now = [0.0]
    stream = io.StringIO()
    blocks = Blocks(stream, lambda: now[0])
    lab = picture([machine("w1", busy=1)], [campaign()])

    def count(lab: Picture, at: float, said: str = "") -> int:
        """Return how many blocks there are after a tick."""
        now[0] = at
        blocks.tick(lab, said)
        return stream.getvalue().count("the local lab at")

    assert count(lab, 10.0) == 1
    # When nothing has changed, or only a load, then nothing follows
    assert count(lab, 100.0) == 1
    other = replace(machine("w1", busy=1), report=HostReport("w1", 2, load=7.0))
    assert count(lab.after(Changed(101.0, (other,)), 101.0), 101.0) == 1
    # When runs go on all the time, then there is a block every few seconds
    for step in range(101):
        lab = lab.after(Changed(200.0 + step / 10, campaigns=(campaign(done=step),)), 200.0 + step / 10)
        blocks.told(Changed(0.0), lab)
        last = count(lab, 200.0 + step / 10)
    assert last == 1 + 1 + 10 // PULSE
    # When nothing is heard, then that is said once, and that it is over
    for at in (300.0, 301.0, 302.0):
        count(lab, at, "nothing heard from the lab for 12 s")
    count(lab, 303.0)
    assert stream.getvalue().count("nothing heard") == 1
    assert stream.getvalue().count("is heard again") == 1
