"""What the store knows of campaigns: all that another foreman needs, whenever the one before it died."""

import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from runner import ledger, results
from runner.ledger import End
from runner.messages import CampaignEnded, CampaignRefused, CampaignStatus
from runner.model import Limits, Outcome, Past, encode
from runner.paths import LabPaths
from tests.test_collection import PREPARED
from tests.test_results import (
    Crash,
    Disk,
    assert_recorded_runs_are_complete,
    campaign,
    deliver,
    records,
)


@pytest.fixture
def store(tmp_path: Path) -> LabPaths:
    """Return a head's result store with a campaign that is under way."""
    lab = LabPaths(tmp_path / "lab")
    begin(lab)
    return lab


def begin(lab: LabPaths, retries: int = 0) -> None:
    limited = msgspec.structs.replace(campaign(), limits=Limits(retries=retries))
    assert ledger.accept(lab.campaign("one"), limited)
    ledger.note_prepared(lab.campaign("one"), PREPARED)


def lost(run: int, number: int, ended: float = 50.0) -> Past:
    return Past(run, number, "lost", "red", "slot1", 40.0, ended, "its worker died")


def lost_for_good(run: int, number: int) -> Outcome:
    return Outcome("one", run, number, "lost", -1, "red", "slot1", 40.0, 60.0, error="given up")


def end_of(phase: str = "failed") -> End:
    status = CampaignStatus("one", "aloha", "Foo", "anna", phase, 3, 1, 2, 0, 1.5, 99.0)
    return End(CampaignEnded("one", cancelled=phase == "cancelled"), status)


def until_a_crash(step: int, what: Callable[[], object]) -> bool:
    """Do something and die before a step that changes the disk; return True if there was no such step any more."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        Disk(monkeypatch, dies_before=step)
        try:
            what()
        except Crash:
            return False
    return True


# ---- taking on ---------------------------------------------------------------------------------------------------


def test_a_submitted_campaign_is_there_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    # Given a campaign with an environment, when it is accepted
    place = LabPaths(tmp_path).campaign("one")
    assert ledger.accept(place, campaign())
    # Then it is on the disk, under way, and others cannot get at it
    assert ledger.read(place) == ledger.Kept(campaign())
    assert stat.S_IMODE(place.root.stat().st_mode) == 0o700


def test_a_campaign_that_is_submitted_twice_is_taken_on_once(store: LabPaths) -> None:
    # Given a campaign that goes on, when its client submits it again, as it did not hear the answer
    again = msgspec.structs.replace(campaign(), limits=Limits())
    # Then it is as it was
    assert not ledger.accept(store.campaign("one"), again)
    kept = ledger.read(store.campaign("one"))
    assert kept
    assert kept.prepared == PREPARED


@pytest.mark.parametrize("is_understood", [True, False])
def test_another_campaign_of_the_same_id_is_refused(store: LabPaths, is_understood: bool) -> None:
    # Given a campaign, of this version or another
    place = store.campaign("one")
    if not is_understood:
        place.campaign.write_bytes(b'{"id": "one", "protocol": 99}')
    before = place.campaign.read_bytes()
    # When another one of its id is submitted, then it is refused, and the first stays
    with pytest.raises(FileExistsError):
        ledger.accept(place, msgspec.structs.replace(campaign(), config="Bar"))
    assert place.campaign.read_bytes() == before


def test_whenever_the_head_dies_a_campaign_is_taken_on_or_not_at_all(tmp_path: Path) -> None:
    for step in range(100):
        # Given a head that dies before this step of taking a campaign on
        lab = LabPaths(tmp_path / str(step))
        survived = until_a_crash(step, partial(ledger.accept, lab.campaign("one"), campaign()))
        # When it is asked, then it knows of all of it or of nothing
        known = list(ledger.campaigns(lab))
        kept = ledger.read(lab.campaign("one"))
        assert (known, kept and kept.campaign) in (([], None), (["one"], campaign()))
        # And the client can submit it again
        assert ledger.accept(lab.campaign("one"), campaign()) is (kept is None)
        if survived:
            assert kept
            return
    pytest.fail("it never comes to its end")


def test_a_campaign_s_folder_is_on_the_disk_when_it_is_taken_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a head, when it takes a campaign on
    place = LabPaths(tmp_path).campaign("one")
    disk = Disk(monkeypatch)
    ledger.accept(place, campaign())
    # Then the folder, the file and its name are on the disk before the client is told
    for path in (place.root.parent, place.campaign.with_name(".campaign.json.new"), place.root):
        disk.index("fsync", path)


# ---- what another foreman reads ----------------------------------------------------------------------------------


def test_everything_that_happened_is_read(store: LabPaths) -> None:
    # Given a campaign of which run 0 is done, run 1 was lost once and run 2 failed
    place = store.campaign("one")
    done, failed = deliver(store, 0), deliver(store, 2, kind="error")
    results.commit(store, [done, failed])
    ledger.note_lost(place, [lost(1, 1), lost(1, 2, 55.0)])
    ledger.note_cancelled(place, "2 runs have failed")
    # When another foreman reads it, then all of that is there
    kept = ledger.read(place)
    assert kept
    assert (kept.prepared, kept.over, kept.cancelled) == (PREPARED, {0: done, 2: failed}, "2 runs have failed")
    assert kept.past == (lost(1, 1), lost(1, 2, 55.0))
    assert (kept.end, kept.collected, kept.resumed) == (None, False, 0.0)
    # And at its end, how it ended, and whether its owner has everything
    ledger.note_end(place, end_of())
    ledger.note_collected(place)
    kept = ledger.read(place)
    assert kept
    assert (kept.end, ledger.read_end(place), kept.collected) == (end_of(), end_of(), True)


def test_a_campaign_that_was_refused_is_read_as_such(store: LabPaths) -> None:
    # Given a campaign that could not be run, when its end is read, then it is the refusal
    refused = End(CampaignRefused("one", 3, "the build failed", "look"), end_of("refused").status)
    ledger.note_end(store.campaign("one"), refused)
    assert ledger.read_end(store.campaign("one")) == refused


def test_campaigns_are_listed_by_their_names(store: LabPaths) -> None:
    # Given two campaigns, the folder of one that was never taken on, and a store without any
    ledger.accept(store.campaign("later"), msgspec.structs.replace(campaign(), id="later"))
    store.campaign("half").root.mkdir()
    assert list(ledger.campaigns(store)) == ["later", "one"]
    assert list(ledger.campaigns(LabPaths(store.home / "elsewhere"))) == []


def test_there_is_no_campaign_where_there_is_none_or_one_of_another_version(store: LabPaths) -> None:
    # Given a campaign that this labfleet does not understand, when it is read, then there is none; nor where none is
    store.campaign("one").campaign.write_bytes(b'{"id": "one", "protocol": 99}')
    assert ledger.read(store.campaign("one")) is None
    assert ledger.read(store.campaign("none")) is None


def test_half_a_line_of_a_loss_spoils_neither_the_one_before_nor_the_one_after(store: LabPaths) -> None:
    # Given losses, the last of which the power cut short
    place = store.campaign("one")
    ledger.note_lost(place, [lost(0, 1), lost(0, 2)])
    whole = place.lost.read_bytes().rstrip(b"\n")
    for length in range(len(whole) - len(encode(lost(0, 2))), len(whole)):
        place.lost.write_bytes(whole[:length])
        # When another one is written down
        ledger.note_lost(place, [lost(1, 1)])
        # Then that and the complete one before are read
        kept = ledger.read(place)
        assert kept
        assert set(kept.past) == {lost(0, 1), lost(1, 1)}


@pytest.mark.parametrize("junk", [b"\x00" * 40, b"\xff\xfe", b"{}", b"[1, 2]", b"\x0b\x0c\x1c\xc2\x85"])
def test_what_is_no_loss_is_left_out(store: LabPaths, junk: bytes) -> None:
    # Given a list of losses that a bad disk has filled with something else, when it is read, then the losses are there
    place = store.campaign("one")
    ledger.note_lost(place, [lost(0, 1)])
    place.lost.write_bytes(place.lost.read_bytes() + junk + b"\n" + encode(lost(0, 2)))
    kept = ledger.read(place)
    assert kept
    assert set(kept.past) == {lost(0, 1), lost(0, 2)}


def test_the_attempt_that_brought_the_result_was_not_lost(store: LabPaths) -> None:
    # Given an attempt that was given up too early, and came back with the result
    ledger.note_lost(store.campaign("one"), [lost(0, 1), lost(0, 2)])
    results.commit(store, [deliver(store, 0, 1)])
    # When the campaign is read, then it is not among those that came to nothing
    kept = ledger.read(store.campaign("one"))
    assert kept
    assert kept.past == (lost(0, 2),)


@pytest.mark.parametrize("note", ["prepared", "lost", "cancelled", "end", "collected"])
def test_whenever_the_head_dies_what_it_writes_down_is_there_or_not(tmp_path: Path, note: str) -> None:
    for step in range(100):
        # Given a campaign, and a head that dies before this step of writing something down
        lab = LabPaths(tmp_path / str(step))
        place = lab.campaign("one")
        ledger.accept(place, campaign())
        writing: dict[str, Callable[[], object]] = {
            "prepared": partial(ledger.note_prepared, place, PREPARED),
            "lost": partial(ledger.note_lost, place, [lost(0, 1)]),
            "cancelled": partial(ledger.note_cancelled, place, "why"),
            "end": partial(ledger.note_end, place, end_of()),
            "collected": partial(ledger.note_collected, place),
        }
        survived = until_a_crash(step, writing[note])
        # When it is read, then it is all there or not at all
        kept = ledger.read(place)
        assert kept
        found = (kept.prepared, kept.past, kept.cancelled, kept.end, kept.collected)
        assert found[0] in (None, PREPARED)
        assert found[1] in ((), (lost(0, 1),))
        assert found[2:] in ((None, None, False), ("why", None, False), (None, end_of(), False), (None, None, True))
        # And it can be written down again
        writing[note]()
        again = ledger.read(place)
        assert again
        assert (again.prepared, again.past, again.cancelled, again.end, again.collected) != (
            None,
            (),
            None,
            None,
            False,
        )
        if survived:
            return
    pytest.fail("it never comes to its end")


# ---- beginning again ---------------------------------------------------------------------------------------------


def ended_campaign(lab: LabPaths) -> Outcome:
    """Let a campaign end, collected, with run 0 done, run 1 failed at its second attempt, run 2 given up."""
    begin(lab, retries=1)
    place = lab.campaign("one")
    done = deliver(lab, 0)
    for delivered in (done, deliver(lab, 1, 1, kind="error"), deliver(lab, 1, 2, kind="crash")):
        results.commit(lab, [delivered])
    ledger.note_lost(place, [lost(2, 1), lost(2, 2, 60.0)])
    assert results.give_up(place, lost_for_good(2, 2))
    ledger.note_cancelled(place, "2 runs have failed")
    ledger.note_end(place, end_of())
    ledger.note_collected(place)
    return done


def assert_is_under_way_again(lab: LabPaths, done: Outcome) -> None:
    kept = ledger.read(lab.campaign("one"))
    assert kept
    assert (kept.end, kept.cancelled, kept.collected) == (None, None, False)
    assert kept.over == {0: done}
    assert sorted((past.run, past.number, past.kind) for past in kept.past) == [
        (1, 1, "error"),
        (1, 2, "crash"),
        (2, 1, "lost"),
        (2, 2, "lost"),
    ]
    # Losses before that are told from those that follow
    assert all(past.ended <= kept.resumed for past in kept.past)


def test_a_campaign_that_is_resumed_is_under_way_with_what_is_done(tmp_path: Path) -> None:
    # Given a campaign that has ended, with a run that is done and others that are not, when it is resumed
    lab = LabPaths(tmp_path)
    done = ended_campaign(lab)
    ledger.reopen(lab.campaign("one"))
    # Then what is done stays, the rest is not over, and what was tried is known
    assert_is_under_way_again(lab, done)
    assert assert_recorded_runs_are_complete(lab) == 1
    # And the others can be done
    others = [deliver(lab, 1, 3), deliver(lab, 2, 3)]
    results.commit(lab, others)
    assert records(lab.campaign("one")) == {0: done, 1: others[0], 2: others[1]}


def test_a_run_that_was_given_up_keeps_its_last_attempt_s_number_when_it_is_resumed(store: LabPaths) -> None:
    # Given a run that was given up, of whose losses nothing else was written down
    place = store.campaign("one")
    results.give_up(place, lost_for_good(2, 3))
    ledger.note_end(place, end_of())
    # When its campaign is resumed, then the attempt is known, so that no other gets its number
    ledger.reopen(place)
    kept = ledger.read(place)
    assert kept
    assert [(past.run, past.number, past.error) for past in kept.past] == [(2, 3, "given up")]


def test_failures_before_a_resume_do_not_count(tmp_path: Path) -> None:
    # Given a resumed campaign, a run of which had failed as often as it may
    lab = LabPaths(tmp_path)
    ended_campaign(lab)
    for number in (3, 5):
        ledger.reopen(lab.campaign("one"))
        # When it fails again, then it is begun again as often as was asked, and then it is over
        failed = deliver(lab, 1, number, kind="error")
        results.commit(lab, [failed])
        assert results.fate(lab, failed) == results.past_of(failed)
        failed = deliver(lab, 1, number + 1, kind="error")
        results.commit(lab, [failed])
        assert results.fate(lab, failed) == failed
        # … and the same when it is resumed once more
        ledger.note_end(lab.campaign("one"), end_of())


def test_whenever_the_head_dies_while_it_resumes_nothing_done_is_lost_and_it_can_be_resumed(tmp_path: Path) -> None:
    for step in range(200):
        # Given a campaign that has ended, and a head that dies before this step of resuming it
        lab = LabPaths(tmp_path / str(step))
        done = ended_campaign(lab)
        place = lab.campaign("one")
        survived = until_a_crash(step, partial(ledger.reopen, place))
        # When it is read, then what is done is, and it has ended or is completely under way: never something between
        kept = ledger.read(place)
        assert kept
        assert kept.over[0] == done
        assert assert_recorded_runs_are_complete(lab) >= 1
        if kept.end is None:
            assert_is_under_way_again(lab, done)
        # And it can be resumed once more
        ledger.reopen(place)
        assert_is_under_way_again(lab, done)
        if survived:
            assert kept.end is None
            return
    pytest.fail("it never comes to its end")


def test_a_power_failure_finds_a_resumed_campaign_without_old_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a campaign that has ended, when it is resumed
    lab = LabPaths(tmp_path)
    ended_campaign(lab)
    place = lab.campaign("one")
    disk = Disk(monkeypatch)
    ledger.reopen(place)
    # Then the records of what is not done are gone from the disk before the mark of the end is
    gone = max(disk.index("unlink", place.record(run)) for run in (1, 2))
    assert gone < disk.index("fsync", place.records) < disk.index("unlink", place.end)


def test_a_campaign_that_never_had_runs_can_be_resumed(tmp_path: Path) -> None:
    # Given a campaign whose build failed, when it is resumed, then it is under way as if it had just been taken on
    place = LabPaths(tmp_path).campaign("one")
    ledger.accept(place, campaign())
    ledger.note_end(place, End(CampaignRefused("one", 3, "no", ""), end_of("refused").status))
    ledger.reopen(place)
    kept = ledger.read(place)
    assert kept
    assert (kept.end, kept.prepared, kept.over, kept.past) == (None, None, {}, ())
    assert kept.resumed > 0
