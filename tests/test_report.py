"""What the person sees of a campaign: progress, failures, and the texts at its end."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pyte
import pytest
from pyte.modes import LNM
from rich.console import Console

from runner import messages, model, report
from runner.errors import ExitCode
from runner.notes import Note
from runner.report import campaign_table
from runner.report.live import BATCH, LiveView
from runner.report.views import PlainView, QuietView
from tests.stored_campaigns import campaign as stored_campaign

ROOT = Path(__file__).resolve().parent.parent
OVERLOADED = "Channel overloaded -- in module (AlohaServer) Aloha.server (id=2), at t=12s, event #345"


# ---- what the tests talk about -----------------------------------------------------------------------------


def prepared(count: int) -> model.Prepared:
    runs = (
        model.Run(number, {"numHosts": str(10 + 5 * (number // 2)), "repetition": str(number % 2)})
        for number in range(count)
    )
    return model.Prepared("key", True, ("./aloha",), "omnetpp-6.2", tuple(runs))


#: How a slot does three runs in one process.
COMMAND = ("./aloha", "-n", ".;../src", "-c", "General", "-s", "-u", "Cmdenv", "--cmdenv-redirect-output=true")


def outcome(run: int, kind: model.Kind = "done", error: str = "", seconds: float = 10.0) -> model.Outcome:
    status = 0 if kind == "done" else 1
    files = (model.File(f"results/General-{run}.sca", 100, 0),)
    command = () if kind == "lost" else (*COMMAND, "-r", f"{run},98,99")
    times = (100.0, 100.0 + seconds)
    return model.Outcome("c1", run, 1, kind, status, "lab1", "2", *times, error, command, files=files)


def failed_attempt(run: int, number: int = 1, kind: model.Kind = "lost") -> messages.AttemptFailed:
    return messages.AttemptFailed("c1", model.Past(run, number, kind, "w2", "1", 100.0, 108.0, "nothing heard for 8 s"))


def result(*outcomes: model.Outcome, total: int, cancelled: bool = False) -> model.Result:
    return model.Result(
        campaign="20260101-120000-1f3a",
        name="aloha",
        config="General",
        results="/home/u/aloha/results",
        manifest="/home/u/aloha/results/campaign.json",
        total=total,
        outcomes=outcomes,
        logs={each.run: f"/home/u/logs/run-{each.run}.log" for each in outcomes if each.kind != "lost"},
        cancelled=cancelled,
        seconds=12.4,
    )


def preparing(count: int) -> messages.CampaignPrepared:
    return messages.CampaignPrepared("c1", prepared(count))


def started(run: int, slot: str = "1", host: str = "lab1") -> messages.RunStarted:
    return messages.RunStarted("c1", run, 1, host, slot, 0.0)


def progressed(run: int, percent: float | None, sim_time: float = 5.0) -> messages.RunProgressed:
    return messages.RunProgressed("c1", run, sim_time, percent, 5.2)


def committed(run: int, kind: model.Kind = "done", error: str = "", seconds: float = 10.0) -> messages.RunCommitted:
    return messages.RunCommitted(outcome(run, kind, error, seconds))


def progress_after(*events: messages.AnyEvent, now: float = 0.0) -> report.Progress:
    progress = report.Progress("aloha", "General", since=0.0)
    for event in events:
        progress = progress.after(event, now)
    return progress


class TerminalFile(io.StringIO):
    """What a program wrote to a terminal."""

    def isatty(self) -> bool:
        return True


class Terminal:
    """A live view, the terminal it draws on, and the time it believes in."""

    def __init__(self, verbose: bool = False, height: int = 24) -> None:
        self.now = 0.0
        self.file = TerminalFile()
        environ = {"TERM": "xterm", "NO_COLOR": "1"}
        self.console = Console(file=self.file, width=80, height=height, _environ=environ)
        self.view = LiveView(
            report.Progress("aloha", "General", since=0.0),
            self.console,
            self.file if verbose else None,
            lambda run: Path(f"/logs/run-{run}.log"),
            clock=lambda: self.now,
        )

    def rows(self, width: int = 80, height: int = 24) -> list[str]:
        """Return what a terminal of this size shows, without the empty rows at its end."""
        screen = pyte.Screen(width, height)
        screen.set_mode(LNM)
        pyte.Stream(screen).feed(self.file.getvalue())
        return "\n".join(row.rstrip() for row in screen.display).rstrip().split("\n")


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


class Plain:
    """A plain view and its two streams."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stderr, self.stdout = io.StringIO(), io.StringIO()
        progress = report.Progress("aloha", "General", since=0.0)
        self.view = PlainView(
            progress, self.stderr, self.stdout, lambda run: Path(f"/logs/run-{run}.log"), lambda: self.now
        )


@pytest.fixture
def plain() -> Plain:
    return Plain()


# ---- progress ----------------------------------------------------------------------------------------------


def test_progress_counts_each_run_by_how_it_ended() -> None:
    # Given a campaign of six runs
    # When they end in every possible way
    kinds: tuple[model.Kind, ...] = ("done", "error", "crash", "lost", "cancelled")
    progress = progress_after(preparing(6), *(committed(run, kind) for run, kind in enumerate(kinds)))

    # Then what nobody wanted is failed, and what was cancelled is not
    assert (progress.total, progress.done, progress.failed, progress.cancelled) == (6, 1, 3, 1)
    assert progress.over == 5


def test_what_is_told_twice_counts_once() -> None:
    # Given a campaign of which everything was told
    events = (preparing(6), failed_attempt(3), committed(0), committed(1, "timeout"), committed(2, "cancelled"))
    once = progress_after(*events)

    # When a lab that was away tells it from the beginning
    twice = progress_after(*events, *events)

    # Then nothing counts twice
    assert twice == once
    assert (twice.done, twice.failed, twice.cancelled, len(twice.repeated), twice.work) == (1, 1, 1, 1, 10.0)


def test_a_run_that_is_resumed_counts_as_what_it_is_now() -> None:
    # Given a run that has failed, when it is done by a later attempt, then it counts as done alone
    progress = progress_after(preparing(6), committed(1, "crash"), committed(1))
    assert (progress.done, progress.failed) == (1, 0)


def test_an_attempt_that_came_to_nothing_leaves_its_slot() -> None:
    # Given a run on a slot, when its attempt is lost, then nothing runs there
    progress = progress_after(preparing(6), started(3), failed_attempt(3))
    assert progress.running == []


def test_progress_knows_what_every_slot_does() -> None:
    # Given two slots at work
    # When one run tells how far it is
    progress = progress_after(preparing(6), started(3, "1"), started(4, "2"), progressed(4, 54.0), now=7.0)

    # Then its slot has what it said, and the other slot knows only its run
    first, second = progress.slots["lab1", "1"], progress.slots["lab1", "2"]
    assert first == report.Running(3, since=7.0, reported=7.0)
    assert second == report.Running(4, 7.0, 7.0, sim_time=5.0, percent=54.0, speed=5.2)


def test_a_slot_is_idle_when_its_run_is_over_and_remembered() -> None:
    # Given a slot at work
    # When its run is committed
    progress = progress_after(preparing(6), started(3), committed(3))

    # Then the slot is still there, with nothing to do
    assert progress.slots == {("lab1", "1"): None}


def test_a_run_that_is_begun_anew_elsewhere_leaves_its_slot() -> None:
    # Given a run on a machine that is lost
    # When another machine begins it anew
    progress = progress_after(preparing(6), started(3, host="lab1"), started(3, host="lab2"))

    # Then only that one has it
    assert progress.slots["lab1", "1"] is None
    assert [running.run for running in progress.running] == [3]


def test_the_next_run_of_a_slot_takes_its_place_before_the_last_is_committed() -> None:
    # Given a slot that frees itself before its results are delivered
    # When it begins the next run, and then the last one is committed
    progress = progress_after(preparing(6), started(3), started(4), committed(3))

    # Then it works on the next one
    assert [running.run for running in progress.running] == [4]


def test_news_of_a_run_that_no_slot_has_change_nothing() -> None:
    # Given a run that is over
    progress = progress_after(preparing(6), started(3), committed(3))

    # When its last words arrive late, and a machine joins the lab
    later = progress.after(progressed(3, 99.0), 1.0).after(messages.HostUp("lab9", 4), 1.0)

    # Then nothing changes
    assert later == progress


def test_there_is_no_estimate_before_two_runs_are_done() -> None:
    # Given one run that is done and one that failed
    progress = progress_after(preparing(6), started(0), committed(0), started(1), committed(1, "error"))

    # When the time left is asked for
    # Then nobody knows; but with a second measured run, somebody does
    assert progress.remaining(0.0) is None
    assert progress.after(committed(2), 0.0).remaining(0.0) is not None


def test_the_estimate_follows_measured_times_and_slots() -> None:
    # Given runs of 8 and 12 seconds, two slots, and four runs that wait
    progress = progress_after(
        preparing(8),
        *(started(0, "1"), started(1, "2"), committed(0, seconds=8.0), committed(1, seconds=12.0)),
        *(started(2, "1"), started(3, "2")),
        now=100.0,
    )

    # When four of the usual ten seconds of the present two have passed
    # Then 4 · 10 s and 2 · 6 s are left for two slots
    assert progress.remaining(104.0) == pytest.approx((4 * 10 + 2 * 6) / 2)


def test_the_estimate_trusts_a_percentage_more_than_other_runs() -> None:
    # Given runs that usually take 10 s, and a last one that has come to 25 % in 20 s
    progress = progress_after(preparing(3), committed(0), committed(1), started(2), now=0.0)
    progress = progress.after(progressed(2, 25.0), 20.0)

    # When the time left is asked for, 5 s later
    # Then it is the 60 s that the percentage says, less those 5 s
    assert progress.remaining(25.0) == pytest.approx(55.0)


def test_a_percentage_that_is_repeated_is_no_newer_for_that() -> None:
    # Given a run that has told after 20 s that it is at 25 %, which its slot repeats every second
    progress = progress_after(preparing(5), committed(0), committed(1), started(2), now=0.0)
    for second in range(20, 31):
        progress = progress.after(progressed(2, 25.0), float(second))
    # When the time left is asked for, then it is by what was told first
    assert progress.remaining(30.0) == progress_after(
        preparing(5), committed(0), committed(1), started(2), now=0.0
    ).after(progressed(2, 25.0), 20.0).remaining(30.0)
    assert progress.slots["lab1", "1"].reported == 20.0  # type: ignore[union-attr]


def test_the_estimate_is_never_below_what_the_slowest_run_needs() -> None:
    # Given ten slots, of which one has a run that is far from its end
    slots = (started(run, str(run)) for run in range(2, 12))
    progress = progress_after(preparing(12), committed(0), committed(1), *slots, now=0.0)
    progress = progress.after(progressed(2, 50.0), 100.0)

    # When the time left is asked for
    # Then all the other slots do not make that run any faster
    assert progress.remaining(100.0) == pytest.approx(100.0)


def test_a_campaign_that_has_ended_has_no_time_left_to_tell() -> None:
    # Given a campaign with measured runs
    # When it ends
    progress = progress_after(preparing(3), committed(0), committed(1), messages.CampaignEnded("c1", cancelled=True))

    # Then there is nothing to estimate
    assert progress.phase is report.Phase.ENDED
    assert progress.remaining(0.0) is None


# ---- durations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0.0 s"),
        (0.4, "0.4 s"),
        (1.0, "1.0 s"),
        (9.96, "10 s"),
        (12.4, "12 s"),
        (59.7, "1 min 00 s"),
        (200.0, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (7500.0, "2 h 05 min"),
        (86400.0 * 3 + 3600 * 4, "3 d 4 h"),
    ],
)
def test_durations_are_told_as_people_say_them(seconds: float, text: str) -> None:
    # Given a time, When it is told, Then it has at most two units, and never 60 of one
    assert report.duration(seconds) == text


# ---- which view --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verbosity", "stderr", "environ", "kind"),
    [
        (report.Verbosity.NORMAL, TerminalFile(), {"TERM": "xterm"}, LiveView),
        (report.Verbosity.NORMAL, TerminalFile(), {"TERM": "dumb"}, PlainView),
        (report.Verbosity.NORMAL, TerminalFile(), {}, PlainView),
        (report.Verbosity.NORMAL, io.StringIO(), {"TERM": "xterm"}, PlainView),
        (report.Verbosity.QUIET, TerminalFile(), {"TERM": "xterm"}, QuietView),
    ],
)
def test_the_view_suits_the_stream_and_the_wish(
    verbosity: report.Verbosity, stderr: io.StringIO, environ: dict[str, str], kind: type
) -> None:
    # Given a stream and a wish, When a view is asked for, Then it is the one that suits both
    view = report.view("aloha", "General", verbosity, stderr, environ)
    view.close()
    assert isinstance(view, kind)


def test_rich_is_not_imported_without_a_live_view() -> None:
    # Given a fresh interpreter
    code = (
        "import sys; from runner import report; "
        "report.view('a', 'G', report.Verbosity.NORMAL, sys.stderr, {}).close(); "
        "sys.exit('rich' in sys.modules)"
    )

    # When it makes a plain view, Then it has not waited for rich
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# ---- plain and quiet views ---------------------------------------------------------------------------------


def test_the_plain_view_has_a_line_for_each_run_that_is_over(plain: Plain) -> None:
    # Given a campaign of 24 runs that had to be built
    plain.view.note("snapshot 3f2a91c0, 2 files changed")
    plain.view.event(messages.BuildStarted("c1"))
    plain.now = 12.0
    plain.view.event(preparing(24))

    # When runs begin, go on, and end in three ways
    for event in (started(14), progressed(14, 50.0), committed(14, seconds=1.0)):
        plain.view.event(event)
    plain.view.event(committed(7, "error", OVERLOADED))
    plain.view.event(committed(8, "cancelled"))

    # Then there is one line for each thing worth knowing
    assert plain.stderr.getvalue().splitlines() == [
        "snapshot 3f2a91c0, 2 files changed",
        "General: building aloha",
        "General: built in 12 s, 24 runs",
        "[ 1/24] General #14 numHosts=45, repetition=0: done in 1.0 s (lab1/2)",
        f"[ 2/24] General #7 numHosts=25, repetition=1: FAILED (error): {OVERLOADED}; log: /logs/run-7.log",
        "[ 3/24] General #8 numHosts=30, repetition=0: cancelled",
    ]


def test_the_plain_view_tells_of_attempts_that_are_made_again_and_nothing_twice(plain: Plain) -> None:
    # Given a campaign
    events = (preparing(8), failed_attempt(5), committed(5, "timeout", "took too long"))

    # When an attempt is lost, and the lab tells everything twice
    for event in (*events, *events):
        plain.view.event(event)

    # Then there is a line for each thing
    assert plain.stderr.getvalue().splitlines() == [
        "General: built, 8 runs",
        "General #5: lost on w2 (nothing heard for 8 s), begun again",
        "[1/8] General #5 numHosts=20, repetition=1: FAILED (timeout): took too long; log: /logs/run-5.log",
    ]


def test_a_lost_run_names_no_log_because_none_came_home(plain: Plain) -> None:
    # Given a campaign, When a run of it is lost
    plain.view.event(preparing(2))
    plain.view.event(committed(1, "lost", "given up after 3 attempts: lab1 is gone"))

    # Then its line ends with the reason
    assert plain.stderr.getvalue().endswith("FAILED (lost): given up after 3 attempts: lab1 is gone\n")


def test_a_run_that_failed_without_a_word_tells_its_exit_status(plain: Plain) -> None:
    # Given a campaign, When a run of it fails and says nothing
    plain.view.event(preparing(2))
    plain.view.event(committed(1, "crash", " \n"))

    # Then its exit status stands for the reason
    assert "FAILED (crash): exit status 1;" in plain.stderr.getvalue()


def test_the_plain_view_says_now_and_then_how_far_a_build_is(plain: Plain) -> None:
    # Given builds that tell how far they are every second
    plain.view.event(messages.BuildStarted("c1", "inet"))
    for second in range(25):
        plain.now = float(second)
        plain.view.event(messages.BuildProgressed("c1", 10 * second, 1600, "inet"))
    plain.view.event(messages.BuildStarted("c1", "aloha"))

    # Then there is a line at the beginning of each, and one for each ten seconds, which says how long it will take
    assert plain.stderr.getvalue().splitlines() == [
        "General: building inet",
        "General: building inet: 100/1600, ETA 2 min 30 s",
        "General: building inet: 200/1600, ETA 2 min 20 s",
        "General: building aloha",
    ]


def test_the_plain_view_says_less_often_how_far_a_long_build_is(plain: Plain) -> None:
    # Given a build of an hour; when it tells every second how far it is
    plain.view.event(messages.BuildStarted("c1", "inet"))
    for second in range(3600):
        plain.now = float(second)
        plain.view.event(messages.BuildProgressed("c1", second, 3600, "inet"))
    # Then it makes some dozens of lines
    assert 50 < len(plain.stderr.getvalue().splitlines()) < 100


def test_who_comes_in_the_middle_of_a_build_is_told_how_long_it_will_take_from_what_they_see(plain: Plain) -> None:
    # Given a client that comes when half of the files are done; when a file is done each second
    for second in range(21):
        plain.now = float(100 + second)
        plain.view.event(messages.BuildProgressed("c1", 800 + second, 1600, "inet"))
    # Then it is told what follows from that, as soon as it has seen enough
    assert plain.stderr.getvalue().splitlines() == [
        "General: building inet: 800/1600",
        "General: building inet: 810/1600, ETA 13 min 10 s",
        "General: building inet: 820/1600, ETA 13 min 00 s",
    ]


def test_the_quiet_view_tells_of_failed_runs_alone() -> None:
    # Given a quiet view
    stderr = io.StringIO()
    view = report.view("aloha", "General", report.Verbosity.QUIET, stderr, {})

    # When all kinds of things happen
    view.note("snapshot")
    view.log("General #1", "hello")
    for event in (
        messages.BuildStarted("c1"),
        preparing(3),
        committed(0),
        committed(1, "error", "no such gate"),
    ):
        view.event(event)
    view.tick()
    view.close()

    # Then only the failure is told
    assert stderr.getvalue() == "[2/3] General #1 numHosts=10, repetition=1: FAILED (error): no such gate\n"


@pytest.mark.parametrize(
    ("verbosity", "given", "stdout_text", "stderr_text"),
    [
        (report.Verbosity.VERBOSE, True, "General #14 | a\nGeneral #14 | b\n", ""),
        (report.Verbosity.VERBOSE, False, "", "General #14 | a\nGeneral #14 | b\n"),
        (report.Verbosity.NORMAL, True, "", ""),
    ],
)
def test_consoles_go_to_stdout_if_it_is_given_and_are_shown_when_verbose(
    verbosity: report.Verbosity, given: bool, stdout_text: str, stderr_text: str
) -> None:
    # Given a plain view with or without stdout
    stdout, stderr = io.StringIO(), io.StringIO()
    view = report.view("aloha", "General", verbosity, stderr, {}, stdout=stdout if given else None)

    # When a simulation prints two lines
    view.log("General #14", "a\nb")

    # Then each line is named for its run, in the right stream
    assert (stdout.getvalue(), stderr.getvalue()) == (stdout_text, stderr_text)


def test_console_lines_pass_whole_however_long_they_are(plain: Plain) -> None:
    # Given a line of a million characters, When it is shown, Then nothing of it is missing
    plain.view.log("build", "x" * 1_000_000)
    assert plain.stdout.getvalue() == "build | " + "x" * 1_000_000 + "\n"


def test_nothing_that_a_simulation_prints_reaches_the_terminal_as_a_command(plain: Plain) -> None:
    # Given output that would clear the screen, ring, go back, write from right to left, and one honest tab
    text = "\x1b[2Jred\x07\r\nover\rwritten\x9b31m\u202egnp.exe\tend\x7f\udc80\r"

    # When it is shown
    plain.view.log("General #1", text)

    # Then it is legible and harmless, and lines still end where they ended
    assert plain.stdout.getvalue().splitlines() == [
        "General #1 | ␛[2Jred␇",
        "General #1 | over␍written\ufffd31m\ufffdgnp.exe\tend␡\ufffd",
    ]


def test_names_and_errors_are_made_harmless_too(plain: Plain) -> None:
    # Given a campaign whose iteration variables and errors contain escapes and line ends
    run = model.Run(0, {"host\x1b[1m": "a\nb"})
    plain.view.event(messages.CampaignPrepared("c1", model.Prepared("k", False, (), "", (run,))))

    # When its run fails
    plain.view.event(committed(0, "error", "first\n  second\x1b]0;title\x07"))

    # Then that is one harmless line
    assert plain.stderr.getvalue().splitlines()[1:] == [
        "[1/1] General #0 host␛[1m=a b: FAILED (error): first second␛]0;title␇; log: /logs/run-0.log"
    ]


def test_what_the_encoding_lacks_is_shown_by_its_code() -> None:
    # Given a stream that knows Latin letters alone
    raw = io.BytesIO()
    latin = io.TextIOWrapper(raw, encoding="latin-1")
    view = report.view("aloha", "General", report.Verbosity.VERBOSE, latin, {})

    # When a simulation prints Greek
    view.log("General #1", "λ=2 é")
    view.tick()

    # Then the view survives it, and loses nothing
    assert raw.getvalue().decode("latin-1") == "General #1 | \\u03bb=2 é\n"


def test_a_reader_that_went_away_is_the_callers_business() -> None:
    # Given stdout whose reader has gone, as after `| head`
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    view = report.view("aloha", "General", report.Verbosity.VERBOSE, io.StringIO(), {}, stdout=Gone())
    view.log("General #1", "hello")

    # When the view writes, Then the error reaches the caller
    with pytest.raises(BrokenPipeError):
        view.tick()


# ---- live view ---------------------------------------------------------------------------------------------


def test_the_live_view_shows_the_campaign_and_every_slot(terminal: Terminal) -> None:
    # Given a campaign with two measured runs and a failure, and four slots, one of them idle
    terminal.view.note("snapshot 3f2a91c0, 2 files changed")
    for event in (preparing(24), committed(0), committed(1), committed(2, "error", "no such gate")):
        terminal.view.event(event)
    for slot in range(1, 5):
        terminal.view.event(started(10 + slot, str(slot), "lab1"))
    terminal.view.event(progressed(11, 54.0))
    terminal.view.event(progressed(12, None, sim_time=123.4))
    terminal.view.event(committed(14))
    terminal.now = 3.0

    # When it is drawn
    terminal.view.tick()

    # Then the picture is below what was told, and says how far everything is
    rows = terminal.rows()
    assert rows[:2] == ["snapshot 3f2a91c0, 2 files changed", "General: built, 24 runs"]
    assert rows[2].startswith("[ 3/24] General #2 numHosts=15, repetition=0: FAILED (error): no such gate")
    assert re.fullmatch(r"aloha General ━+[╸ ] +3/24 done, 1 failed, ETA \d+ s", rows[-5])
    assert re.fullmatch(r"  lab1/1 #11 numHosts=35, repetition=1 +━━━━━ +54 %", rows[-4])
    assert re.fullmatch(r"  lab1/2 #12 numHosts=40, repetition=0 +t=123.4s 5.2 simsec/s", rows[-3])
    assert re.fullmatch(r"  lab1/3 #13 numHosts=40, repetition=1 +3.0 s", rows[-2])
    assert rows[-1] == "  lab1/4 idle"


DRAINED = (
    "0 of 24 runs are over. 24 runs wait: no machine takes runs. red is draining: drained by anna; "
    "labfleet undrain red gives it runs again."
)


def test_the_live_view_says_why_nothing_runs_until_something_does(terminal: Terminal) -> None:
    # Given a campaign on a lab that is drained
    terminal.view.event(preparing(24))
    terminal.view.waits(DRAINED)
    # When it is drawn, then all of the reason is there, the command that helps included
    terminal.view.tick()
    assert " ".join(" ".join(terminal.rows()[2:]).split()) == DRAINED
    # … and nothing of it when a run has begun
    terminal.view.event(started(3))
    terminal.view.waits(DRAINED)
    terminal.view.tick()
    assert "drained" not in "\n".join(terminal.rows())


def test_the_live_view_says_so_while_nothing_is_heard(terminal: Terminal) -> None:
    # Given a campaign with a run, and one that is not even built
    for _ in range(2):
        # When nothing is heard from the lab for so long that it is odd, then that is in the picture, and for how long
        for seconds, told in ((4.0, False), (12.0, True), (0.1, False)):
            terminal.view.unheard(seconds)
            terminal.view.tick()
            assert ("  nothing heard from the lab for 12 s" in terminal.rows()) is told
        terminal.view.event(preparing(24))
        terminal.view.event(started(3))


def test_a_picture_is_never_higher_than_its_terminal() -> None:
    # Given little room, when there is a reason of many lines, then the picture is not higher than it may be
    terminal = Terminal(height=7)
    terminal.view.event(preparing(24))
    terminal.view.waits("why " * 200)
    terminal.view.tick()
    assert len(terminal.rows(height=7)) <= 4


def test_the_plain_view_says_why_nothing_runs_once(plain: Plain) -> None:
    # Given a campaign on a lab that is drained, and a lab that says so every few seconds
    plain.view.event(preparing(24))
    for second in range(3, 60, 3):
        plain.now = second
        plain.view.waits(f"nothing has been heard of it for {second} s. red is draining.")
    # Then there is one line about it, after a while
    lines = plain.stderr.getvalue().splitlines()
    assert lines[1:] == ["General: nothing has been heard of it for 12 s. red is draining."]
    # … and another one for another reason, unless runs are under way
    plain.view.waits("red is away")
    plain.view.event(started(3))
    plain.now = 100.0
    plain.view.waits("all slots are busy")
    assert plain.stderr.getvalue().splitlines()[2:] == ["General: red is away"]


@pytest.mark.parametrize(
    ("commands", "built", "told"),
    [
        ((("make",),), True, "built"),
        ((("make",),), False, "already built"),
        ((), False, "nothing to build"),
    ],
)
def test_what_was_built_before_is_told_from_what_needs_no_build(
    plain: Plain, commands: tuple[tuple[str, ...], ...], built: bool, told: str
) -> None:
    # Given a campaign that has something to build, or has not
    what = msgspec.structs.replace(stored_campaign(), build=model.Build(commands=commands))
    plain.view.event(messages.CampaignTaken("c1", what))
    # When it is prepared, then the line says whether it was built, is, or need not be
    plain.view.event(messages.CampaignPrepared("c1", msgspec.structs.replace(prepared(2), built=built)))
    assert plain.stderr.getvalue().splitlines() == [f"General: {told}, 2 runs"]


def test_the_live_view_is_drawn_over_itself(terminal: Terminal) -> None:
    # Given a picture
    terminal.view.event(preparing(24))
    terminal.view.event(started(1))
    terminal.view.tick()

    # When it is drawn again and again, and lines come in between
    for _ in range(5):
        terminal.view.tick()
        terminal.view.note("something else")

    # Then there is one picture, below the lines
    assert [row.split()[0] for row in terminal.rows()] == ["General:", *["something"] * 5, "aloha", "lab1/1"]


def test_the_live_view_shows_how_long_it_has_been_building(terminal: Terminal) -> None:
    # Given a build that started a minute ago
    terminal.view.event(messages.BuildStarted("c1"))
    terminal.now = 65.0

    # When the view is drawn, Then it says so
    terminal.view.tick()
    assert terminal.rows() == ["aloha General: building… 1 min 05 s"]


def test_the_live_view_shows_what_is_built_and_how_far_it_is(terminal: Terminal) -> None:
    # Given a build of a project that is needed, and then of the campaign's own
    told = []
    events: list[messages.AnyEvent] = [
        messages.BuildStarted("c1", "inet"),
        messages.BuildProgressed("c1", 120, 1600, "inet"),
        messages.BuildProgressed("c1", 1600, 1600, "inet"),
        messages.BuildStarted("c1", "aloha"),
        messages.BuildProgressed("c1", 3, None, "aloha"),
    ]
    for now, event in enumerate(events):
        terminal.now = float(now)
        terminal.view.event(event)
        terminal.view.tick()
        told += terminal.rows()
    # Then each picture says so, and the time goes on
    assert told == [
        "aloha General: building inet… 0.0 s",
        "aloha General: building inet: 120/1600… 1.0 s",
        "aloha General: building inet: 1600/1600, then linking… 2.0 s",
        "aloha General: building aloha… 3.0 s",
        "aloha General: building aloha: 3 files… 4.0 s",
    ]


@pytest.mark.parametrize(("height", "shown"), [(24, 18), (60, 54), (5, 0)])
def test_as_many_slots_are_shown_as_the_terminal_has_room_for(height: int, shown: int) -> None:
    # Given a lab of 200 slots
    terminal = Terminal(height=height)
    terminal.view.event(preparing(1000))
    for run in range(200):
        terminal.view.event(started(run, str(run % 8 + 1), f"lab{run // 8 + 1}"))

    # When the view is drawn
    terminal.view.tick()

    # Then it leaves room for the lines above it, and tells how many slots are not shown
    rows = terminal.rows(height=height)
    assert len(rows) <= height - 3
    assert sum(row.startswith("  lab") for row in rows) == shown
    assert (f"  … and {200 - shown} more" in rows) == (shown > 0)


def test_hosts_are_listed_in_the_order_of_their_numbers(terminal: Terminal) -> None:
    # Given slots of lab10, lab2 and lab1
    terminal.view.event(preparing(24))
    for run, host in enumerate(("lab10", "lab2", "lab1")):
        terminal.view.event(started(run, "1", host))

    # When the view is drawn, Then 10 comes after 2
    terminal.view.tick()
    assert [row.split()[0] for row in terminal.rows()[-3:]] == ["lab1/1", "lab2/1", "lab10/1"]


def test_idle_slots_disappear_when_no_run_waits_for_them(terminal: Terminal) -> None:
    # Given two slots, and the last run on one of them
    for event in (preparing(2), started(0, "1"), started(1, "2"), committed(0)):
        terminal.view.event(event)

    # When the view is drawn, Then it shows the busy slot alone
    terminal.view.tick()
    assert [row.split()[0] for row in terminal.rows()[-2:]] == ["aloha", "lab1/2"]


def test_a_failure_is_told_at_once_and_after_ten_they_are_counted(terminal: Terminal) -> None:
    # Given a campaign
    terminal.view.event(preparing(24))
    terminal.view.tick()

    # When twelve runs fail, and nothing is drawn meanwhile
    for run in range(12):
        terminal.view.event(committed(run, "error", "no gate"))

    # Then ten are told above the picture, and after the next tick all are counted in it
    text = "\n".join(terminal.rows(width=200, height=60))
    assert text.count("FAILED (error): no gate; log: /logs/run-") == 10
    assert text.count("more runs fail") == 1
    terminal.view.tick()
    assert "0/24 done, 12 failed, 1 cause" in terminal.rows(height=60)[-1]


def test_a_failure_for_a_new_cause_is_told_however_many_there_were(terminal: Terminal) -> None:
    # Given a live view and a quiet one of a campaign of which a dozen runs have failed for one cause
    stderr = io.StringIO()
    quiet = report.view("aloha", "General", report.Verbosity.QUIET, stderr, {})
    for view in (terminal.view, quiet):
        view.event(preparing(24))
        for run in range(12):
            view.event(committed(run, "error", f"no gate {run}"))

    # When two fail otherwise
    for view in (terminal.view, quiet):
        view.event(committed(20, "error", "no module"))
        view.event(committed(21, "crash", "no gate 21"))
        view.tick()

    # Then both are told, and the dozen are not told one by one
    for text in ("\n".join(terminal.rows(width=200, height=60)), stderr.getvalue()):
        assert text.count("FAILED (error): no gate") == 10
        assert text.count("FAILED (error): no module") == 1
        assert text.count("FAILED (crash): no gate 21") == 1
        assert text.count("more runs fail") == 1
    assert "14 failed, 3 causes" in terminal.rows(height=60)[-1]


def test_a_cause_is_gone_when_its_runs_are_done_after_all() -> None:
    # Given two failures for two causes, when one of them is done after it was begun again
    progress = progress_after(preparing(3), committed(0, "error", "no gate"), committed(1, "error", "no module"))
    assert len(progress.causes) == 2
    progress = progress.after(committed(0), 0.0)

    # Then one cause is left
    assert [key.text for key in progress.causes] == ["no module"]


def test_closing_removes_the_picture_and_keeps_the_lines(terminal: Terminal) -> None:
    # Given a picture below a line
    terminal.view.note("snapshot 3f2a91c0")
    terminal.view.event(started(1))
    terminal.view.tick()

    # When the view is closed and the caller prints
    terminal.view.close()
    terminal.file.write("General: 24 of 24 runs done\n")

    # Then the summary follows the line, and the cursor is visible again
    assert terminal.rows() == ["snapshot 3f2a91c0", "General: 24 of 24 runs done"]
    assert terminal.file.getvalue().rfind("\x1b[?25h") > terminal.file.getvalue().rfind("\x1b[?25l")


@pytest.mark.parametrize("no_color", [True, False])
def test_no_color_is_honoured(no_color: bool) -> None:
    # Given a terminal with colours, and a person who may not want them
    file = TerminalFile()
    environ = {"TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    view = report.view("aloha", "General", report.Verbosity.NORMAL, file, environ)

    # When there is a failure, and everything is drawn
    for event in (preparing(24), started(1), progressed(1, 50.0), committed(2, "error", "no gate")):
        view.event(event)
    view.tick()
    view.close()

    # Then colours are there exactly if they are wanted
    attributes = re.findall(r"\x1b\[([0-9;]*)m", file.getvalue())
    colours = [each for each in attributes if re.search(r"\b(3[0-8]|4[0-8]|9[0-7]|10[0-7])\b", each)]
    assert bool(colours) is not no_color


def test_the_live_view_follows_a_terminal_that_becomes_narrower(terminal: Terminal) -> None:
    # Given a picture, and a line above it
    terminal.view.event(preparing(24))
    for slot in range(1, 5):
        terminal.view.event(started(slot, str(slot)))
        terminal.view.event(progressed(slot, 50.0))
    terminal.view.tick()

    # When the terminal becomes narrower, which folds each line of the picture in two
    terminal.console.size = (40, 24)
    terminal.view.tick()

    # Then the line is still there, and one picture that fits
    assert [row.split()[0] for row in terminal.rows(width=40)] == [
        "General:",
        "aloha",
        *(f"lab1/{slot}" for slot in range(1, 5)),
    ]


def test_console_lines_appear_above_the_picture() -> None:
    # Given a verbose live view whose stdout is the same terminal
    terminal = Terminal(verbose=True)
    terminal.view.event(preparing(24))
    terminal.view.event(started(1))
    terminal.view.tick()

    # When a simulation prints, escapes among it
    terminal.view.log("General #1", "hello\n\x1b[2Jworld")
    terminal.view.tick()

    # Then its lines are above the picture, and the picture is whole
    rows = terminal.rows()
    assert rows[1:3] == ["General #1 | hello", "General #1 | ␛[2Jworld"]
    assert [row.split()[0] for row in rows[3:]] == ["aloha", "lab1/1"]


def test_console_lines_go_into_a_file_if_stdout_is_one() -> None:
    # Given a terminal for progress, and stdout redirected to a file
    stdout, stderr = io.StringIO(), TerminalFile()
    view = report.view("aloha", "General", report.Verbosity.VERBOSE, stderr, {"TERM": "xterm"}, stdout=stdout)

    # When a simulation prints
    view.log("General #1", "hello")
    view.close()

    # Then the line is in the file, and not on the terminal
    assert stdout.getvalue() == "General #1 | hello\n"
    assert "hello" not in stderr.getvalue()


def test_a_flood_of_console_lines_is_written_on_not_kept() -> None:
    # Given a verbose live view on a terminal
    terminal = Terminal(verbose=True)
    line = "x" * 1000

    # When a simulation prints more than a batch between two ticks
    for _ in range(3 * BATCH // len(line)):
        terminal.view.log("General #1", line)

    # Then at most a batch of it waits
    assert terminal.file.getvalue().count("x") >= 2 * BATCH


# ---- the end -----------------------------------------------------------------------------------------------


def test_the_summary_tells_what_failed_and_where_everything_is() -> None:
    # Given 19 runs that are done and one that failed
    ends = [outcome(7, "error", OVERLOADED) if run == 7 else outcome(run) for run in range(20)]

    # When the campaign is summed up
    text = report.summary(result(*ends, total=20), prepared(20))

    # Then the failure has its circumstances, its reason and its log, and the commands that do it again
    assert text.splitlines() == [
        "General: 19 of 20 runs done, 1 failed, in 12 s",
        f"  failed #7 (numHosts=25, repetition=1): {OVERLOADED}",
        "    log:     /home/u/logs/run-7.log",
        "    again:   labfleet campaign --config General --runs 7",
        "    by hand, where it is built: ./aloha -n '.;../src' -c General -u Cmdenv -r 7",
        "labfleet resume 20260101-120000-1f3a  does again what is not done, with the same snapshot",
        "results:  /home/u/aloha/results",
        "manifest: /home/u/aloha/results/campaign.json",
    ]


def test_the_summary_groups_failures_by_their_causes() -> None:
    # Given 14 failures, of which 13 differ in numbers only, and one of these took the least time
    numbers = (0, 2, 3, 4, *range(10, 19))
    said = "Channel overloaded at t={0}.5s, event #{0}"
    alike = [outcome(run, "error", said.format(run), 0.3 if run == 12 else 10.0) for run in numbers]
    other = outcome(5, "crash", "ended by SIGSEGV")

    # When the campaign is summed up
    text = report.summary(result(*alike, other, total=30))

    # Then there are two causes, the frequent one first, with the runs in the words of -r, and its shortest run
    assert text.splitlines()[:8] == [
        "General: 0 of 30 runs done, 14 failed (13 error, 1 crash), 2 causes, 16 without a result, in 12 s",
        "  failed 13 runs alike, the shortest #12 in 0.3 s: Channel overloaded at t=12.5s, event #12",
        "    runs:    0,2..4,10..18",
        "    log:     /home/u/logs/run-12.log",
        "    again:   labfleet campaign --config General --runs 12",
        "    by hand, where it is built: ./aloha -n '.;../src' -c General -u Cmdenv -r 12",
        "  failed (crash) #5: ended by SIGSEGV",
        "    log:     /home/u/logs/run-5.log",
    ]


def test_the_summary_of_two_thousand_failures_is_as_short_as_that_of_two() -> None:
    # Given a campaign all of whose runs fail, for one cause
    ends = [outcome(run, "error", f"no gate {run}") for run in range(2000)]

    # When it is summed up
    lines = report.summary(result(*ends, total=2000)).splitlines()

    # Then the cause is told once
    assert lines[0].startswith("General: 0 of 2000 runs done, 2000 failed, 1 cause, in")
    assert "    runs:    0..1999" in lines
    assert len(lines) == 9


def test_commands_that_do_a_run_again_lead_to_its_folder_from_elsewhere() -> None:
    # Given a failure of a campaign that was ordered with several options
    order = ("--config", "General", "--mode", "debug", "--args", "--a='x y'")
    told = msgspec.structs.replace(result(outcome(7, "error", "no gate"), total=9), order=order)

    # When it is summed up for somebody in another folder, and in its own
    elsewhere, there = (report.summary(told, here=folder).splitlines() for folder in ("/home/u", "/home/u/aloha"))

    # Then the commands can be typed where that person is, with these options
    again = "labfleet campaign --config General --mode debug --args '--a='\"'\"'x y'\"'\"'' --runs 7"
    assert f"    again:   cd /home/u/aloha && {again}" in elsewhere
    assert f"    again:   {again}" in there
    assert any(line.startswith("    by hand, where it is built: cd /home/u/aloha && ./aloha ") for line in elsewhere)


def test_the_summary_counts_kinds_of_failure_and_attempts_that_were_repeated() -> None:
    # Given failures of several kinds, and attempts that were made again
    ends = [outcome(0), *(outcome(run, "timeout") for run in (1, 2, 3)), outcome(4, "out-of-memory")]
    told = msgspec.structs.replace(
        result(*ends, total=5), past=(failed_attempt(0).past, failed_attempt(1, kind="crash").past)
    )

    # When the campaign is summed up
    lines = report.summary(told).splitlines()

    # Then it says so, and each failure has its word
    assert lines[0] == (
        "General: 1 of 5 runs done, 4 failed (3 timeout, 1 out-of-memory), 2 causes, 2 attempts repeated, in 12 s"
    )
    assert "  failed (timeout) 3 runs alike, the shortest #1 in 10 s: exit status 1" in lines
    assert json.loads(report.as_json(told))["kinds"] == {"timeout": 3, "out-of-memory": 1}


def test_the_summary_says_why_a_campaign_was_cancelled_by_the_lab() -> None:
    # Given a campaign that was cancelled because too many runs failed
    told = msgspec.structs.replace(result(outcome(0, "error"), total=9, cancelled=True), reason="1 run has failed")

    # When it is summed up, then that is said
    assert report.summary(told).startswith("General: cancelled (1 run has failed): 0 of 9 runs done, 1 failed, in 12 s")


def test_the_summary_names_ten_causes_and_counts_the_rest() -> None:
    # Given 37 failures, each for a reason of its own
    names = [letter * length for length in (1, 2) for letter in "abcdefghijklmnopqrs"][:37]
    ends = [outcome(run, "error", f"no module {name}") for run, name in enumerate(names)]

    # When the campaign is summed up
    lines = report.summary(result(*ends, total=37)).splitlines()

    # Then ten are told, and of the others which runs they are
    assert sum(line.startswith("  failed ") for line in lines) == 10
    assert "  … and 27 runs for 27 other causes: 10..36" in lines


def test_the_summary_of_a_cancelled_campaign_says_so_first() -> None:
    # Given a campaign that was cancelled after 5 of 20 runs
    ends = [*(outcome(run) for run in range(5)), outcome(5, "cancelled")]

    # When it is summed up, Then that is what it says, and nothing has failed
    text = report.summary(result(*ends, total=20, cancelled=True))
    assert text.splitlines()[0] == "General: cancelled: 5 of 20 runs done, in 12 s"
    assert "failed" not in text


def test_the_summary_passes_warnings_on() -> None:
    # Given a result with a warning
    warned = model.Result("c", "aloha", "General", "/r", "/m", 0, (), {}, warnings=("runs 1 and 2 wrote x.log",))

    # When it is summed up, Then the person is warned
    assert "warning: runs 1 and 2 wrote x.log" in report.summary(warned).splitlines()


@pytest.mark.parametrize(
    ("ends", "total", "code"),
    [
        ((outcome(0), outcome(1)), 2, ExitCode.DONE),
        ((outcome(0), outcome(1, "error")), 2, ExitCode.RUN_FAILED),
        ((outcome(0), outcome(1, "lost")), 2, ExitCode.RUN_FAILED),
        ((outcome(0),), 2, ExitCode.RUN_FAILED),
    ],
)
def test_the_exit_code_is_zero_only_if_every_run_is_done(
    ends: tuple[model.Outcome, ...], total: int, code: ExitCode
) -> None:
    # Given what became of the runs, When the exit code is asked for, Then it is 0 only if all are done
    assert report.exit_code(result(*ends, total=total)) == code


def test_the_table_of_runs_is_aligned_and_counted() -> None:
    # Given runs whose values differ in length
    runs = (model.Run(0, {"n": "5", "repetition": "0"}), model.Run(10, {"n": "1000", "repetition": "1"}))

    # When a dry run lists them
    text = report.run_table(model.Prepared("k", False, (), "", runs))

    # Then every variable has its column, and the last line counts
    assert text.splitlines() == ["#0   n=5     repetition=0", "#10  n=1000  repetition=1", "2 runs"]


def test_json_has_the_documented_fields_on_one_line_of_ascii() -> None:
    # Given a result with a run that is done and one that was lost, and a name that is not ASCII
    lost = outcome(1, "lost", "Größe\n\x1b[2J")

    # When a program asks for it
    text = report.as_json(result(outcome(0, seconds=1.5), lost, total=3))

    # Then it is one line that any terminal and any encoding bears, with everything in it
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == {
        "campaign": "20260101-120000-1f3a",
        "config": "General",
        "total": 3,
        "done": 1,
        "failed": 1,
        "kinds": {"lost": 1},
        "repeated": 0,
        "cancelled": False,
        "reason": "",
        "results": "/home/u/aloha/results",
        "manifest": "/home/u/aloha/results/campaign.json",
        "report": "",
        "causes": [
            {
                "kind": "lost",
                "text": "Größe \x1b[#J",
                "module": "",
                "count": 1,
                "runs": "1",
                "shortest": 1,
                "error": "Größe\n\x1b[2J",
                "again": "labfleet campaign --config General --runs 1",
                "by_hand": "",
            }
        ],
        "seconds": 12.4,
        "runs": [
            {
                "run": 0,
                "kind": "done",
                "attempt": 1,
                "exit_status": 0,
                "error": "",
                "seconds": 1.5,
                "host": "lab1",
                "slot": "2",
                "log": "/home/u/logs/run-0.log",
                "files": ["results/General-0.sca"],
            },
            {
                "run": 1,
                "kind": "lost",
                "attempt": 1,
                "exit_status": 1,
                "error": "Größe\n\x1b[2J",
                "seconds": 10.0,
                "host": "lab1",
                "slot": "2",
                "log": None,
                "files": ["results/General-1.sca"],
            },
        ],
        "warnings": [],
        "exit_code": 1,
    }


# ---- the lab's campaigns -----------------------------------------------------------------------------------


def test_the_table_of_campaigns_says_how_far_each_is_and_where_its_results_are() -> None:
    # Given a campaign under way, one that is at home, one that was refused, and a note about another lab's
    lists = [
        messages.CampaignStatus("20260101-120000-3f2a", "aloha", "General", "ada", "running", 24, 12, 1, 2, 1.0),
        messages.CampaignStatus("20260101-130000-99aa", "inet", "Quick", "bob", "done", 5, 5, 0, 0, 1.0, 2.0, True),
        messages.CampaignStatus("20260101-140000-77bb", "inet", "Quick", "bob", "refused", 0, 0, 0, 0, 1.0, 2.0),
    ]
    note = Note("20260101-150000-dead", "ada@head", "/home/ada/aloha", ".", "aloha", "General", 1.0)

    # When they are listed
    lines = campaign_table.table(lists, [note]).splitlines()

    # Then each has its line, numbers are aligned, and what is elsewhere is named
    assert lines[0].split() == ["campaign", "project", "config", "user", "state", "done", "failed", "since", "results"]
    assert re.fullmatch(
        r"20260101-120000-3f2a  aloha +General +ada +running +12/24 +1 +\d{4}-\S+ \S+  in the lab", lines[1]
    )
    assert lines[2].endswith("home")
    assert lines[4] == "not at home yet, and in other labs: 20260101-150000-dead (ada@head)"
    assert json.loads(campaign_table.as_json(lists))[1] == {
        "campaign": "20260101-130000-99aa",
        "project": "inet",
        "config": "Quick",
        "user": "bob",
        "state": "done",
        "total": 5,
        "done": 5,
        "failed": 0,
        "running": 0,
        "submitted": 1.0,
        "ended": 2.0,
        "results": "home",
    }
    assert campaign_table.table([]) == "no campaigns"


def test_the_live_view_tells_of_repeated_attempts_and_counts_nothing_twice(terminal: Terminal) -> None:
    # Given a campaign
    terminal.view.event(preparing(24))

    # When twelve attempts are lost, and the lab tells everything twice
    events: list[messages.AnyEvent] = [*(failed_attempt(run) for run in range(12)), committed(0)]
    events.append(committed(1, "timeout"))
    for event in (*events, *events):
        terminal.view.event(event)
    terminal.view.tick()

    # Then ten are told, each once, and the picture counts each run once
    text = "\n".join(terminal.rows(width=200, height=60))
    assert text.count("begun again") == 10
    assert text.count("more attempts are made again") == 1
    assert text.count("FAILED (timeout)") == 1
    assert "1/24 done, 1 failed" in terminal.rows(height=60)[-1]
