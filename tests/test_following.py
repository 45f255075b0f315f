"""A client may vanish at any time, and so may the lab: the campaign goes on, and its results come home."""

import errno
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner import campaign as client
from runner import campaign_command, campaigns, following, homecoming, lab, report
from runner.campaign import Order
from runner.errors import Cancelled, Detached, ExitCode, LabFailed, WrongUse
from runner.messages import (
    AnyEvent,
    AttemptFailed,
    BuildStarted,
    CampaignEnded,
    CampaignRefused,
    CampaignStatus,
    CampaignTaken,
    Cancel,
    Collected,
    Drain,
    Explain,
    Follow,
    Resume,
    RunCommitted,
    Submit,
)
from runner.model import Campaign, Limits, Past, Result
from runner.notes import Arrival, Note
from runner.paths import SNAPSHOT_ROOT
from tests.conftest import eventually
from tests.lab_fixture import manifest
from tests.played_lab import PlayedLab, Script, Watcher, played_lab, prepared


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A client takes signals for itself; the tests' process gets them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedLab]:
    with played_lab(tmp_path / "home", monkeypatch) as played:
        yield played


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, which is the current folder."""
    project = tmp_path / "model"
    project.mkdir()
    (project / "omnetpp.ini").write_text("[General]\n")
    (project / "labfleet.toml").write_text('program = "./simulate"\n')
    (project / "simulate").touch(0o755)
    monkeypatch.chdir(project)
    return project


def two_runs(played: PlayedLab) -> Script:
    """Return a script in which both runs of a campaign are done."""
    return lambda what: [
        prepared(what, 2),
        *(played.committed(what, run) for run in (0, 1)),
        CampaignEnded(what.id, cancelled=False),
    ]


def one_of_two(played: PlayedLab) -> Script:
    """Return a script that stops after the first of two runs."""
    return lambda what: [prepared(what, 2), played.committed(what, 0)]


def the_rest(played: PlayedLab, what: Campaign, attempt: int = 1) -> list[AnyEvent]:
    return [played.committed(what, 1, attempt=attempt), CampaignEnded(what.id, cancelled=False)]


def only(played: PlayedLab) -> Campaign:
    (what,) = played.played.campaigns.values()
    return what


def run(project: Path, watcher: Watcher | None = None, **options: Any) -> Result:
    result, _ = client.run(Order("General", project, **options), watcher or Watcher())
    assert result
    return result


def attach(text: str = "", watcher: Watcher | None = None, *, resume: bool = False) -> Result:
    result, _ = client.attach(text, lambda *_: watcher or Watcher(), resume=resume)
    assert result
    return result


def leaves_at(kind: type) -> Watcher:
    """Return a view at which a person presses Ctrl-C as soon as something is shown."""
    watcher = Watcher()

    def press(event: AnyEvent) -> None:
        if isinstance(event, kind):
            raise KeyboardInterrupt

    watcher.on_event = press
    return watcher


def detached(played: PlayedLab, project: Path) -> Campaign:
    """Begin a campaign of two runs and leave it when the first is at home."""
    played.played.script = one_of_two(played)
    watcher = Watcher()

    def press() -> None:
        arrivals = played.notes.arrivals(only(played).id) if played.played.campaigns else []
        if any(arrival.complete for arrival in arrivals):
            raise KeyboardInterrupt

    watcher.tick = press  # type: ignore[method-assign]
    with pytest.raises(Detached):
        run(project, watcher)
    return only(played)


def contents(project: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (project / "results").glob("*.sca")}


BOTH = {"General-#0.sca": "of run 0", "General-#1.sca": "of run 1"}


# ---- all is well -------------------------------------------------------------------------------------------------


def test_a_campaign_leaves_no_note_when_everything_is_at_home(played: PlayedLab, project: Path) -> None:
    # Given a campaign of two runs, when it is carried out
    played.played.script = two_runs(played)
    result = run(project)

    # Then its results are at home, the lab knows that, and nothing of it is noted any more
    assert contents(project) == BOTH
    assert [outcome.kind for outcome in result.outcomes] == ["done", "done"]
    assert Collected(result.campaign) in played.played.asked
    assert list(played.paths.notes.iterdir()) == []


def test_it_is_noted_where_a_campaign_belongs_before_it_is_submitted(played: PlayedLab, project: Path) -> None:
    # Given a lab that looks, when a campaign arrives, for what its client has noted
    found: list[Note | None] = []

    def script(what: Campaign) -> list[AnyEvent]:
        found.append(played.notes.read(what.id))
        return list(two_runs(played)(what))

    played.played.script = script

    # When one is submitted, then the note is there
    run(project)
    what = only(played)
    assert found == [Note(what.id, "", str(project), ".", "model", "General", what.submitted)]


def test_what_is_told_twice_counts_once(played: PlayedLab, project: Path) -> None:
    # Given a lab that tells everything twice
    def script(what: Campaign) -> list[AnyEvent]:
        lost = AttemptFailed(what.id, Past(0, 7, "lost", "red", "slot1", 1.0, 9.0, "nothing heard for 8 s"))
        events: list[AnyEvent] = [prepared(what, 2), lost, played.committed(what, 0), played.committed(what, 1)]
        return [*events, *events, CampaignEnded(what.id, cancelled=False)]

    played.played.script = script

    # When a campaign is carried out
    watcher = Watcher()
    result = run(project, watcher)

    # Then each run counts once, each attempt too, and each was fetched once
    assert [outcome.run for outcome in result.outcomes] == [0, 1]
    assert len(result.past) == 1
    assert sorted(played.brought) == [0, 1]
    assert sum(isinstance(event, RunCommitted) for event in watcher.events) == 2
    assert [attempt["kind"] for attempt in manifest(project)["runs"][0]["attempts"]] == ["lost", "done"]


def test_the_limits_of_the_project_travel_and_options_win(played: PlayedLab, project: Path) -> None:
    # Given limits in labfleet.toml, and an option
    with (project / "labfleet.toml").open("a") as file:
        file.write('timeout = "2h"\nretries = 1\n')
    played.played.script = two_runs(played)

    # When a campaign is submitted, then it has both
    run(project, limits={"timeout": None, "memory": 2 * 10**9})
    assert only(played).limits == Limits(timeout=None, memory=2 * 10**9, retries=1)


# ---- the client vanishes -----------------------------------------------------------------------------------------


def test_ctrl_c_leaves_the_campaign_which_goes_on(played: PlayedLab, project: Path) -> None:
    # Given a campaign under way
    played.played.script = one_of_two(played)

    # When the person presses Ctrl-C
    with pytest.raises(Detached) as left:
        run(project, leaves_at(RunCommitted))

    # Then nothing is cancelled, and the person is told how to come back
    what = only(played)
    assert not any(isinstance(request, Cancel | Collected) for request in played.played.asked)
    assert left.value.status == 130
    assert left.value.message == (
        f"detached: campaign {what.id} goes on.  labfleet attach {what.id}  comes back; "
        f"labfleet cancel {what.id}  ends it"
    )
    assert played.notes.read(what.id)


def test_who_comes_back_sees_everything_and_gets_what_is_not_at_home(played: PlayedLab, project: Path) -> None:
    # Given a campaign that was left when one run was at home; that file is the person's now
    what = detached(played, project)
    (project / "results" / "General-#0.sca").write_text("edited")
    played.brought.clear()

    # When the other run is done, and the person comes back
    played.played.happen(*the_rest(played, what))
    watcher = Watcher()
    result = attach("", watcher)

    # Then all is told, the run that was at home stays as it is, the other one comes home, and the lab knows
    assert [event.outcome.run for event in watcher.events if isinstance(event, RunCommitted)] == [0, 1]
    assert contents(project) == {"General-#0.sca": "edited", "General-#1.sca": "of run 1"}
    assert played.brought == [1]
    assert [outcome.kind for outcome in result.outcomes] == ["done", "done"]
    assert [file["path"] for run in manifest(project)["runs"] for file in run["files"]] == [
        "results/General-#0.sca",
        "results/General-#1.sca",
    ]
    assert list(played.paths.notes.iterdir()) == []


def test_what_a_killed_client_had_moved_is_found_at_its_place(played: PlayedLab, project: Path) -> None:
    # Given a campaign whose client was killed after it had moved a file, and before it noted that
    what = detached(played, project)
    (committed,) = [event for event in played.played.history[what.id] if isinstance(event, RunCommitted)]
    line = Arrival(0, 1, {"results/General-#0.sca": "results/General-#0.sca"}, complete=False)
    played.paths.brought(what.id).write_bytes(msgspec.json.encode(line) + b"\n" + b'{"run": 0, "atte')
    draft = project / "results" / f".labfleet-{what.id}.0.abcd.new"
    draft.write_text("half")
    assert committed.outcome.files[0].mtime_ns == (project / "results" / "General-#0.sca").stat().st_mtime_ns

    # When the person comes back, then nothing is missing, and no half file is left
    played.played.happen(*the_rest(played, what))
    attach()
    assert contents(project) == BOTH
    assert [run["kind"] for run in manifest(project)["runs"]] == ["done", "done"]
    assert not draft.exists()


def test_a_submitted_campaign_need_not_be_followed(played: PlayedLab, project: Path) -> None:
    # Given a campaign that is submitted by a client which leaves at once
    played.played.script = two_runs(played)
    campaign_id = client.submit(Order("General", project))
    assert contents_or_nothing(project) == {}

    # When somebody comes back by the end of its id, then the results come home
    assert attach(campaign_id[-4:]).campaign == campaign_id
    assert contents(project) == BOTH


def contents_or_nothing(project: Path) -> dict[str, str]:
    return contents(project) if (project / "results").exists() else {}


def test_trouble_at_the_client_cancels_nothing(played: PlayedLab, project: Path) -> None:
    # Given a view whose reader has gone
    watcher = Watcher()

    def gone(_: AnyEvent) -> None:
        raise BrokenPipeError

    watcher.on_event = gone
    played.played.script = one_of_two(played)

    # When a campaign is followed, then it goes on without its client, who says so
    with pytest.raises(BrokenPipeError):
        run(project, watcher)
    assert not any(isinstance(request, Cancel) for request in played.played.asked)
    assert watcher.notes == [f"campaign {only(played).id} goes on: labfleet attach {only(played).id}"]


def test_a_full_disk_is_told_and_what_is_home_stays(
    played: PlayedLab, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that has room for the first run alone
    played.played.script = two_runs(played)
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if "General-#1" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)

        # When a campaign is carried out, then the client says that the disk is full, and what to do
        with pytest.raises(LabFailed, match="the disk of this machine is full") as failed:
            run(project)
    assert f"labfleet attach {only(played).id}" in failed.value.hint
    assert contents(project) == {"General-#0.sca": "of run 0"}
    assert not any(isinstance(request, Cancel | Collected) for request in played.played.asked)

    # And once there is room, coming back brings the rest
    attach()
    assert contents(project) == BOTH


def test_the_note_stays_as_long_as_the_lab_does_not_know_that_all_is_home(
    played: PlayedLab, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a lab that cannot be told
    played.played.script = two_runs(played)
    played.played.deaf_to = (Collected,)

    # When a campaign is over, then its note stays, and the next client says it
    with monkeypatch.context() as impatient:
        impatient.setattr(following, "FAREWELL", 0.1)
        result = run(project)
    assert played.notes.read(result.campaign)
    played.played.deaf_to = ()
    attach()
    assert played.notes.all() == []
    assert contents(project) == BOTH


def test_an_attempt_that_was_taken_for_lost_and_is_committed_was_not_repeated(played: PlayedLab, project: Path) -> None:
    # Given a run whose only attempt is told as lost and delivered after all, and a lab that tells everything twice
    def script(what: Campaign) -> list[AnyEvent]:
        lost = AttemptFailed(what.id, Past(0, 1, "lost", "red", "slot1", 1.0, 9.0, "nothing heard for 8 s"))
        events: list[AnyEvent] = [prepared(what, 1), lost, played.committed(what, 0)]
        return [*events, *events, CampaignEnded(what.id, cancelled=False)]

    played.played.script = script

    # When the campaign is over, then nothing was repeated, as the manifest has it
    result = run(project)
    assert result.past == ()
    assert [attempt["kind"] for attempt in manifest(project)["runs"][0]["attempts"]] == ["done"]


def test_a_campaign_that_was_resumed_meanwhile_is_not_at_home(played: PlayedLab, project: Path) -> None:
    # Given a campaign with a failed run, which somebody resumes while its client brings the rest home
    played.played.script = lambda what: [
        prepared(what, 2),
        played.committed(what, 0),
        played.committed(what, 1, "error"),
        CampaignEnded(what.id, cancelled=False, time=5.0),
    ]
    watcher = Watcher()

    def resume(event: AnyEvent) -> None:
        if isinstance(event, CampaignEnded):
            played.played.reopen(event.campaign)

    watcher.on_event = resume

    # When that client says that everything is at home, then the lab does not agree, and what is noted stays
    first = run(project, watcher)
    assert Collected(first.campaign, ended=5.0) in played.played.asked
    assert played.notes.read(first.campaign)
    assert {arrival.run for arrival in played.notes.arrivals(first.campaign)} == {0, 1}
    assert watcher.notes == [
        f"campaign {first.campaign} was resumed since; labfleet attach {first.campaign}  brings home what is not"
    ]

    # And when the resumed run is done, coming back brings it home
    played.played.happen(
        played.committed(only(played), 1, attempt=2), CampaignEnded(first.campaign, cancelled=False, time=9.0)
    )
    attach()
    assert contents(project) == BOTH
    assert Collected(first.campaign, ended=9.0) in played.played.asked
    assert list(played.paths.notes.iterdir()) == []


@pytest.mark.usefixtures("waited_for")
def test_a_client_is_tidied_when_everything_was_told_and_that_troubles_nobody(
    played: PlayedLab, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a home that keeps the snapshots of a project that is gone, and was tidied days ago
    gone = played.paths.snapshots("gone-1")
    gone.mkdir(parents=True)
    (gone / SNAPSHOT_ROOT).write_bytes(b"/nowhere/at/all")
    for path in (gone / SNAPSHOT_ROOT, played.paths.tidied):
        path.touch()
        os.utime(path, (0, 0))
    played.played.script = two_runs(played)

    # When a campaign is over, then its result was told, and the snapshots go
    assert campaign_command.run(Order("General", project), quiet=True) is ExitCode.DONE
    assert "2 of 2 runs done" in capsys.readouterr().out
    eventually(lambda: not gone.exists(), "the snapshots of the project that is gone")

    # And where nothing can be tidied, nobody is troubled
    played.paths.tidied.unlink()
    played.paths.tidied.mkdir()
    os.utime(played.paths.tidied, (0, 0))
    assert campaign_command.run(Order("General", project), quiet=True) is ExitCode.DONE
    assert capsys.readouterr().err == ""


# ---- several clients ---------------------------------------------------------------------------------------------


def test_a_second_client_waits_until_the_first_is_through(
    played: PlayedLab, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a remote lab's campaign with a client, and a second one that comes to it
    monkeypatch.setattr(played, "is_remote", True)  # its results lie in a folder that both clients would use
    monkeypatch.setattr(client, "_leave_on_signals", lambda: None)  # threads get no signals
    monkeypatch.setattr(homecoming, "TURN", 0.05)
    played.played.script = one_of_two(played)
    first, second = Watcher(), Watcher()
    others: list[Result] = []
    visitor = threading.Thread(target=lambda: others.append(attach("", second)), daemon=True)
    first.on_event = lambda event: visitor.start() if isinstance(event, RunCommitted) and not visitor.ident else None
    told: list[str] = []

    def on_note(text: str) -> None:
        if text == homecoming.ANOTHER and not told:
            told.append(text)
            played.played.happen(*the_rest(played, only(played)))

    second.on_note = on_note

    # When the campaign is over, then the second client has said that it waits, and has moved nothing
    result = run(project, first)
    visitor.join(30)
    assert told == [homecoming.ANOTHER]
    assert sorted(played.brought) == [0, 1]

    # And both have all results
    assert [[outcome.kind for outcome in one.outcomes] for one in (result, *others)] == [["done", "done"]] * 2
    assert contents(project) == BOTH
    assert list(played.paths.notes.iterdir()) == []


def test_who_leaves_lets_another_client_bring_the_rest_home(played: PlayedLab, project: Path) -> None:
    # Given a client that was killed or left in the middle
    what = detached(played, project)

    # When another one comes, then nobody has to be waited for
    played.played.happen(*the_rest(played, what))
    watcher = Watcher()
    attach("", watcher)
    assert watcher.notes == []


def test_a_resumed_run_does_not_take_the_place_of_what_came_home_before(played: PlayedLab, project: Path) -> None:
    # Given a campaign of which everything came home, and whose failed run writes a file of the same name
    played.played.script = lambda what: [
        prepared(what, 2),
        played.committed(what, 0, "error"),
        played.committed(what, 1, path="results/same.txt"),
        CampaignEnded(what.id, cancelled=False),
    ]
    first = run(project)

    # When it is resumed, then both files are kept
    played.played.script = lambda what: [
        played.committed(what, 0, attempt=2, path="results/same.txt"),
        CampaignEnded(what.id, cancelled=False),
    ]
    attach(first.campaign, resume=True)
    apart = project / "results" / "labfleet" / first.campaign / "same-name"
    assert (project / "results" / "same.txt").read_text() == "of run 1"
    assert {path.parts[-3]: path.read_text() for path in apart.rglob("same.txt")} == {
        "run-0": "of run 0",
        "run-1": "of run 1",
    }


# ---- the lab vanishes --------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENCE", 0.2)
    monkeypatch.setattr(following, "PAUSE", 0.1)
    monkeypatch.setattr(lab, "PATIENCE", 3.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("what_happens", ["another foreman", "a connection that was made anew"])
def test_a_foreman_that_knows_no_follower_is_followed_again(
    played: PlayedLab, project: Path, what_happens: str
) -> None:
    # Given a campaign under way
    played.played.script = one_of_two(played)
    watcher = Watcher()

    def exchange(event: AnyEvent) -> None:
        if isinstance(event, RunCommitted) and event.outcome.run == 0:
            if what_happens == "another foreman":
                played.played.be_exchanged(*the_rest(played, only(played)))
            else:
                played.played.forget_followers()
                played.played.happen(played.committed(only(played), 1))
        elif isinstance(event, RunCommitted) and what_happens != "another foreman":
            played.played.happen(CampaignEnded(only(played).id, cancelled=False))

    watcher.on_event = exchange

    # When its foreman forgets who follows, then the client asks again, over the same connection, and misses nothing
    result = run(project, watcher)
    assert [outcome.kind for outcome in result.outcomes] == ["done", "done"]
    assert Follow(result.campaign) in played.played.asked
    assert contents(project) == BOTH
    assert watcher.notes == []


@pytest.mark.usefixtures("impatient")
def test_a_lab_that_does_not_answer_is_tried_until_it_is_back(played: PlayedLab, project: Path) -> None:
    # Given a campaign under way, and a lab that goes away
    played.played.script = one_of_two(played)
    watcher = Watcher()

    def leave(event: AnyEvent) -> None:
        if isinstance(event, RunCommitted) and event.outcome.run == 0:
            played.played.leave()

    def come_back(text: str) -> None:
        if "does not answer" in text:
            played.played.come_back()
            played.played.be_exchanged(*the_rest(played, only(played)))

    watcher.on_event, watcher.on_note = leave, come_back

    # When it is there again, then the campaign comes to its end as if nothing had been
    result = run(project, watcher)
    assert contents(project) == BOTH
    assert watcher.notes == ["the lab does not answer; trying again …", "the lab is back"]
    assert result.total == 2
    # … and the view was told meanwhile for how long nothing was heard
    assert watcher.silence > following.SILENCE


@pytest.mark.usefixtures("impatient")
def test_where_nothing_happens_the_lab_is_asked_why(played: PlayedLab, project: Path) -> None:
    # Given a campaign under way of which a run waits, and nothing happens
    played.played.script = one_of_two(played)
    watcher = Watcher()

    def go_on() -> None:
        if watcher.reasons and len(played.played.history[only(played).id]) == 2:
            played.played.happen(*the_rest(played, only(played)))

    watcher.tick = go_on  # type: ignore[method-assign]

    # When it is followed, then the view is told the reason in the lab's words, and the campaign comes to its end
    result = run(project, watcher)
    assert watcher.reasons[0] == f"{result.campaign} None: all slots are busy"
    assert result.total == 2


@pytest.mark.usefixtures("impatient")
def test_a_build_that_tells_of_itself_is_no_reason_to_wait(played: PlayedLab, project: Path) -> None:
    # Given a campaign that is being built, which the lab has told, and nothing happens for a while
    played.played.script = lambda what: [BuildStarted(what.id, what.name)]
    played.played.why, played.played.is_built = "it is being built", True
    watcher = Watcher()

    def go_on() -> None:
        asked = sum(isinstance(request, Explain) for request in played.played.asked)
        if asked == 2:
            played.played.why, played.played.is_built = "the builder is gone", False
        if watcher.reasons and len(played.played.history[only(played).id]) == 1:
            played.played.happen(*two_runs(played)(only(played)))

    watcher.tick = go_on  # type: ignore[method-assign]

    # When it is followed, then the view is told nothing of that, but what is the matter later
    result = run(project, watcher)
    assert result.total == 2
    assert {reason.partition(": ")[2] for reason in watcher.reasons} == {"the builder is gone"}


def test_a_view_knows_from_the_beginning_what_the_campaign_is(played: PlayedLab, project: Path) -> None:
    # Given a campaign that is submitted, when it is followed, then its view is told what it is before all else
    played.played.script = two_runs(played)
    watcher = Watcher()
    run(project, watcher)
    assert watcher.events[0] == CampaignTaken(only(played).id, only(played))


def test_a_lab_that_does_not_know_the_campaign_says_so(played: PlayedLab, project: Path) -> None:
    # Given a note about a campaign that the lab has lost
    played.notes.write(Note("20260101-120000-dead", "", str(project), ".", "model", "General", 1.0))

    # When somebody comes back to it, then that is said
    with pytest.raises(LabFailed, match="knows no such campaign") as failed:
        attach("dead")
    assert "not noted here any more" in failed.value.hint

    # And it is not taken for the newest one that is not at home again
    with pytest.raises(WrongUse, match="there is no campaign yet"):
        attach()
    assert played.notes.all() == []


def test_a_campaign_that_cannot_be_run_ends_with_the_lab_s_words(played: PlayedLab, project: Path) -> None:
    # Given a model that does not compile
    played.played.script = lambda what: [CampaignRefused(what.id, 3, "the build failed", "see above")]

    # When a campaign is run, then the client says why, and nothing of it is left to come back to
    with pytest.raises(LabFailed, match="the build failed"):
        run(project)
    assert Collected(only(played).id) in played.played.asked
    assert played.notes.all() == []


@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("kind", [Submit, Follow, Resume, Cancel, Collected])
def test_a_foreman_that_restarts_at_the_moment_of_a_request_is_asked_again(
    played: PlayedLab, project: Path, monkeypatch: pytest.MonkeyPatch, kind: type, lost: str
) -> None:
    # Given a foreman that dies when it has read a request, or before its answer has left
    monkeypatch.setattr(lab, "FIRST_TRY", 0.1)
    (played.played.loses_request if lost == "request" else played.played.loses_answer).append(kind)

    # When a campaign is submitted, left, cancelled, resumed and fetched
    what = detached(played, project)
    assert "is cancelled" in campaigns.cancel(what.id)
    played.played.script = lambda _: [played.committed(what, 1)]
    watcher = Watcher()
    watcher.on_event = lambda event: (
        played.played.happen(CampaignEnded(what.id, cancelled=False))
        if isinstance(event, RunCommitted) and event.outcome.run == 1
        else None
    )
    attach(what.id, watcher, resume=True)

    # Then all goes as if nothing had been
    assert sum(isinstance(request, kind) for request in played.played.asked) >= 2
    assert len(played.played.campaigns) == 1
    assert contents(project) == BOTH
    assert played.notes.all() == []


# ---- coming back from elsewhere ----------------------------------------------------------------------------------


def test_results_go_into_the_project_of_that_name_where_there_is_no_note(
    played: PlayedLab, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a campaign that was submitted at another computer
    played.played.script = two_runs(played)
    campaign_id = client.submit(Order("General", project))
    played.notes.forget(campaign_id)

    # When somebody comes back to it in another project, then it is said where to go
    other = tmp_path / "other"
    other.mkdir()
    (other / "labfleet.toml").touch()
    monkeypatch.chdir(other)
    with pytest.raises(WrongUse, match="of the project model"):
        attach(campaign_id)
    assert not any(isinstance(request, Follow) for request in played.played.asked)

    # And in one of the same name the results come home, and it is said why they do
    copy = project_of_that_name(tmp_path)
    monkeypatch.chdir(copy)
    watcher = Watcher()
    attach(campaign_id, watcher)
    assert contents(copy) == BOTH
    assert watcher.notes == [f"it is not known where {campaign_id} was submitted: its results go to {copy}"]


def project_of_that_name(tmp_path: Path) -> Path:
    copy = tmp_path / "copy" / "model"
    copy.mkdir(parents=True)
    (copy / "labfleet.toml").touch()
    return copy


def test_a_campaign_that_is_at_home_still_belongs_to_its_project(
    played: PlayedLab, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a campaign of which everything is at home, one run failed, and another project of the same name
    played.played.script = lambda what: [
        prepared(what, 2),
        played.committed(what, 0),
        played.committed(what, 1, "error"),
        CampaignEnded(what.id, cancelled=False),
    ]
    first = run(project)
    copy = project_of_that_name(tmp_path)
    played.played.script = lambda what: the_rest(played, what, attempt=2)

    # When it is resumed from there, or from a folder that is in no project, then its results go where they belong
    for folder in (copy, tmp_path):
        monkeypatch.chdir(folder)
        watcher = Watcher()
        attach(first.campaign, watcher, resume=folder == copy)
        assert watcher.notes == []
    assert contents(project) == BOTH
    assert [path.name for path in copy.iterdir()] == ["labfleet.toml"]

    # And there is nothing more to resume
    with pytest.raises(WrongUse, match="are done"):
        attach(first.campaign, resume=True)


def test_results_that_were_moved_away_do_not_keep_the_rest_from_coming_home(played: PlayedLab, project: Path) -> None:
    # Given a campaign of which everything came home, one run failed, and whose results were moved away then
    played.played.script = lambda what: [
        prepared(what, 2),
        played.committed(what, 0),
        played.committed(what, 1, "error"),
        CampaignEnded(what.id, cancelled=False),
    ]
    first = run(project)
    (project / "results").rename(project / "elsewhere")

    # When it is resumed, then what is new comes home, and the person is told of the rest
    played.played.script = lambda what: the_rest(played, what, attempt=2)
    second = attach(first.campaign, resume=True)
    assert contents(project) == {"General-#1.sca": "of run 1"}
    assert [run["kind"] for run in manifest(project)["runs"]] == ["done", "done"]
    (warning,) = second.warnings
    assert "run 0 have come home before" in warning
    assert "labfleet campaign --config General --runs 0" in warning


def test_nobody_fetches_the_results_of_somebody_else(played: PlayedLab, project: Path) -> None:
    # Given a campaign of another person's
    played.played.script = two_runs(played)
    campaign_id = client.submit(Order("General", project))
    played.notes.forget(campaign_id)
    played.played.campaigns[campaign_id] = msgspec.structs.replace(only(played), user="bob")

    # When somebody comes to it, then that is said
    with pytest.raises(LabFailed, match="belongs to bob"):
        attach(campaign_id)


# ---- resuming ----------------------------------------------------------------------------------------------------


def test_what_is_told_of_files_is_where_they_are(played: PlayedLab, project: Path) -> None:
    # Given a campaign of which a run failed
    played.played.script = lambda what: [
        prepared(what, 2),
        played.committed(what, 0),
        played.committed(what, 1, "error"),
        CampaignEnded(what.id, cancelled=False),
    ]

    # When it is over, then programs are told of files that are there, and the manifest says how it ended
    told = json.loads(report.as_json(run(project)))
    files = [file for one in told["runs"] for file in one["files"]]
    assert len(files) == 2
    assert all((project / file).is_file() for file in files)
    assert manifest(project)["state"] == "failed"

    # … as it does of one that was cancelled, and of one that is done
    for script, state in ((cancelled_after_one(played), "cancelled"), (two_runs(played), "done")):
        played.played.script = script
        run(project)
        assert manifest(project)["state"] == state


def cancelled_after_one(played: PlayedLab) -> Script:
    return lambda what: [prepared(what, 2), played.committed(what, 0), CampaignEnded(what.id, cancelled=True)]


def test_who_comes_back_is_told_how_long_the_campaign_took(played: PlayedLab, project: Path) -> None:
    # Given a campaign that took a minute and was over before anybody looked
    played.played.script = lambda what: [
        prepared(what, 1),
        played.committed(what, 0),
        CampaignEnded(what.id, cancelled=False, time=what.submitted + 60.0),
    ]
    client.submit(Order("General", project))

    # When its results are fetched, then that is what is told
    assert attach().seconds == pytest.approx(60.0)


def test_resuming_brings_home_only_what_is_new(played: PlayedLab, project: Path) -> None:
    # Given a campaign of which everything came home, one run failed; the other's file is a later campaign's by now
    played.played.script = lambda what: [
        prepared(what, 2),
        played.committed(what, 0),
        played.committed(what, 1, "error"),
        CampaignEnded(what.id, cancelled=False),
    ]
    first = run(project)
    (project / "results" / "General-#0.sca").write_text("of a later campaign")
    played.brought.clear()

    # When it is resumed
    played.played.script = lambda what: [
        played.committed(what, 1, attempt=2),
        CampaignEnded(what.id, cancelled=False),
    ]
    second = attach(first.campaign, resume=True)

    # Then the failed run is done, its result at home, and the other one's place was not touched
    assert Resume(first.campaign) in played.played.asked
    assert [outcome.kind for outcome in second.outcomes] == ["done", "done"]
    assert contents(project) == {"General-#0.sca": "of a later campaign", "General-#1.sca": "of run 1"}
    assert played.brought[-1:] == [1]
    assert 0 not in played.brought
    assert played.notes.all() == []


def test_results_of_two_programs_are_told_from_each_other(played: PlayedLab, project: Path) -> None:
    # Given a campaign that ended with one run done, as its program could not be had again
    played.played.script = lambda what: [
        prepared(what, 2),
        played.committed(what, 0),
        CampaignEnded(what.id, cancelled=True, reason="the program is gone"),
    ]
    first = run(project)
    assert first.warnings == ()
    # When it is resumed, and the other run is done with another program
    played.played.script = lambda what: [
        played.committed(what, 1, key="other"),
        CampaignEnded(what.id, cancelled=False),
    ]
    second = attach(first.campaign, resume=True)
    # Then that is said, and which run was done with which
    assert "not all runs were done by the same program" in second.warnings[0]
    assert [one["build"] for one in manifest(project)["runs"]] == ["k3y", "other"]


# ---- which campaign ----------------------------------------------------------------------------------------------

IDS = ["20260101-120000-3f2a", "20260101-130000-99aa", "20260202-120000-3f2b"]


@pytest.mark.parametrize("text", ["3f2a", "20260101-120000-3f2a", "20260101-12"])
def test_a_part_of_an_id_is_enough(text: str) -> None:
    # Given some campaigns, when one is named by its beginning or end, then it is that one
    assert campaigns.resolve(text, IDS) == IDS[0]


def test_an_ambiguous_part_names_the_candidates() -> None:
    # Given a part that two campaigns have, when it is used, then both are named
    with pytest.raises(WrongUse) as wrong:
        campaigns.resolve("20260101", IDS)
    assert IDS[0] in wrong.value.hint
    assert IDS[1] in wrong.value.hint
    assert IDS[2] not in wrong.value.hint


def test_a_wrong_id_names_the_nearest() -> None:
    # Given a slip of the pen, when it is used, then the campaign that was meant is named
    with pytest.raises(WrongUse, match="no campaign 99ab") as wrong:
        campaigns.resolve("99ab", IDS)
    assert f"did you mean {IDS[1]}" in wrong.value.hint


def test_the_newest_of_this_project_comes_first() -> None:
    # Given notes of two projects
    def note(root: str, submitted: float) -> Note:
        return Note(f"c{submitted:.0f}", "", root, ".", "m", "General", submitted)

    notes = [note("/a", 1), note("/a", 2), note("/b", 3)]
    # When no campaign is named, then it is this project's newest, elsewhere the newest of all
    assert campaigns.newest(notes, Path("/a")) == notes[1]
    assert campaigns.newest(notes, Path("/c")) == notes[2]
    assert campaigns.newest([], Path("/a")) is None


# ---- what else can be asked --------------------------------------------------------------------------------------


def test_cancelling_says_what_is_kept_and_how_to_go_on(played: PlayedLab, project: Path) -> None:
    # Given a campaign under way, one run of it done
    what = detached(played, project)

    # When the only one that is under way is cancelled
    told = campaigns.cancel("")

    # Then the person is told
    assert Cancel(what.id) in played.played.asked
    assert told == (
        f"campaign {what.id} is cancelled: 1 of 2 runs are done\n"
        f"labfleet attach {what.id}  brings home what is not; labfleet resume {what.id}  goes on with it"
    )
    # and nothing more can be cancelled, with a name or without
    with pytest.raises(WrongUse, match="no campaign of yours is under way"):
        campaigns.cancel("")
    with pytest.raises(WrongUse, match="has ended: cancelled"):
        campaigns.cancel(what.id)


def test_a_campaign_that_does_not_end_is_not_waited_for_for_ever(
    played: PlayedLab, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a lab in which something does not end
    what = detached(played, project)
    played.played.on_cancel = lambda _: []
    monkeypatch.setattr(campaigns, "LAST_SECONDS", 0.2)

    # When the campaign is cancelled, then the person is told that it has not ended
    assert f"campaign {what.id} is being cancelled, but has not ended" in campaigns.cancel(what.id)


def test_a_lab_explains_and_drains(played: PlayedLab, project: Path) -> None:
    # Given a campaign under way
    what = detached(played, project)

    # When somebody asks why a run waits, then the lab's words are passed on; and machines are drained by name
    assert campaigns.explain(what.id[-4:], 1) == f"{what.id} 1: all slots are busy"
    campaigns.drain("w2", drained=True)
    assert Drain("w2", True) in played.played.asked
    with pytest.raises(WrongUse, match="no machine w9") as wrong:
        campaigns.drain("w9", drained=True)
    assert wrong.value.hint == "known: w1, w2"


def test_who_waits_for_a_campaign_that_is_cancelled_while_it_is_built_is_told_so(
    played: PlayedLab, project: Path
) -> None:
    # Given a campaign that somebody cancels before there are runs
    played.played.script = lambda what: [CampaignEnded(what.id, cancelled=True)]

    # When its client hears that, then the exit status is that of a cancelled campaign, also for who comes later
    follows: tuple[Callable[[], Result], ...] = (lambda: run(project), lambda: attach(only(played).id))
    for follow in follows:
        with pytest.raises(Cancelled) as cancelled:
            follow()
        assert cancelled.value.exit_code == ExitCode.RUN_FAILED


def test_the_lab_s_campaigns_are_listed_with_those_that_are_elsewhere(played: PlayedLab, project: Path) -> None:
    # Given a campaign in this lab, and a note about one in another
    what = detached(played, project)
    elsewhere = Note("20260101-120000-dead", "ada@head", str(project), ".", "model", "General", 1.0)
    played.notes.write(elsewhere)

    # When campaigns are listed, then both are there
    (status,) = campaigns.listed()
    assert isinstance(status, CampaignStatus)
    assert (status.id, status.total, status.done) == (what.id, 2, 1)
    assert campaigns.elsewhere([status]) == [elsewhere]
