"""What becomes of deliveries: failures that may be repeated, zombies, ends, and what is no delivery at all."""

import shutil
from pathlib import Path

import msgspec
import pytest

from runner import ledger, results
from runner.ledger import End
from runner.messages import CampaignEnded, CampaignStatus
from runner.model import Kind, Outcome, Past, encode
from runner.paths import AttemptPaths, LabPaths, attempt_parcel
from tests.test_results import (
    SCALARS,
    Contents,
    assert_recorded_runs_are_complete,
    committed_until_a_crash,
    deliver,
    records,
    spoil_file,
    take_on,
)


@pytest.fixture
def store(tmp_path: Path) -> LabPaths:
    """Return a head's result store with two campaigns."""
    lab = LabPaths(tmp_path / "lab")
    take_on(lab)
    return lab


@pytest.fixture
def patient(tmp_path: Path) -> LabPaths:
    """Return a store whose campaigns let a run begin again twice that failed."""
    lab = LabPaths(tmp_path / "lab")
    take_on(lab, retries=2)
    return lab


def commit(store: LabPaths, *delivered: Outcome) -> list[Outcome | Past | None]:
    """Commit deliveries together and return what became of each."""
    results.commit(store, delivered)
    return [results.fate(store, outcome) for outcome in delivered]


def end(store: LabPaths, campaign: str = "one", phase: str = "failed") -> None:
    status = CampaignStatus(campaign, "aloha", "Foo", "anna", phase, 3, 1, 1, 0)
    told = CampaignEnded(campaign, cancelled=phase == "cancelled")
    ledger.note_end(store.campaign(campaign), End(told, status))


def parcels(store: LabPaths) -> list[str]:
    return sorted(path.name for path in store.incoming.iterdir())


# ---- failures that may be repeated -------------------------------------------------------------------------------


def test_a_run_that_failed_is_no_result_until_it_has_been_begun_again_often_enough(patient: LabPaths) -> None:
    # Given a run that may be begun again twice
    for number in (1, 2):
        # When it fails
        outcome = deliver(patient, 0, number, kind="error")
        assert commit(patient, outcome) == [results.past_of(outcome)]
        # Then its files are kept, without a record
        assert AttemptPaths(patient.campaign("one").committed(0, number, done=False)).log.exists()
        assert records(patient.campaign("one")) == {}
    # And when it fails once more, then it is over
    last = deliver(patient, 0, 3, kind="crash")
    assert commit(patient, last) == [last]
    assert records(patient.campaign("one")) == {0: last}
    assert assert_recorded_runs_are_complete(patient) == 1


def test_a_run_that_succeeds_at_the_second_time_is_done(patient: LabPaths) -> None:
    # Given a run that failed, when its next attempt is done, then that is its result; the failure stays in the history
    failed, done = deliver(patient, 0, 1, kind="timeout"), deliver(patient, 0, 2)
    commit(patient, failed)
    assert commit(patient, done) == [done]
    kept = ledger.read(patient.campaign("one"))
    assert kept
    assert (kept.over, kept.past) == ({0: done}, (results.past_of(failed),))


def test_a_failure_that_is_told_twice_counts_once(patient: LabPaths) -> None:
    # Given a failure that is announced three times, alone and together with itself
    failed = deliver(patient, 0, 1, kind="error")
    commit(patient, failed)
    commit(patient, failed, failed)
    # When the run fails again, then it may still be begun once more
    assert commit(patient, deliver(patient, 0, 2, kind="error")) != [failed]
    assert records(patient.campaign("one")) == {}


def test_failures_of_different_attempts_that_come_together_count_each(patient: LabPaths) -> None:
    # Given three failed attempts at a run, which come at the same time after an outage
    delivered = [deliver(patient, 0, number, kind="error") for number in (1, 2, 3)]
    # When they are committed together, then the run is over, and whoever asks is told so
    assert commit(patient, *delivered) == [delivered[2]] * 3
    assert records(patient.campaign("one")) == {0: delivered[2]}


def test_a_result_is_not_thrown_away_because_a_failure_came_with_it(patient: LabPaths) -> None:
    # Given a zombie's failure and a result of the same run in one batch, when they are committed
    failed, done = deliver(patient, 0, 1, kind="error"), deliver(patient, 0, 2)
    # Then the result counts
    assert commit(patient, failed, done) == [done, done]
    assert assert_recorded_runs_are_complete(patient) == 1


@pytest.mark.parametrize("kind", ["error", "crash", "timeout", "stalled", "out-of-memory"])
def test_without_retries_a_failed_run_is_over(store: LabPaths, kind: Kind) -> None:
    # Given a campaign without retries, when a run fails, then it is over
    failed = deliver(store, 0, kind=kind)
    assert commit(store, failed) == [failed]


def test_a_cancelled_campaign_begins_nothing_again(patient: LabPaths) -> None:
    # Given a campaign that was cancelled, when a run fails that could have been begun again, then it is over
    ledger.note_cancelled(patient.campaign("one"), "")
    failed = deliver(patient, 0, kind="error")
    assert commit(patient, failed) == [failed]


def test_a_campaign_of_another_version_does_not_stop_the_foreman(store: LabPaths) -> None:
    # Given a campaign that this labfleet does not understand
    store.campaign("one").campaign.write_bytes(b'{"id": "one"}')
    # When a failed run of it is delivered, then it is kept, and those of others are not affected
    strange, other = deliver(store, 0, kind="error"), deliver(store, 0, campaign="two")
    assert commit(store, strange, other) == [strange, other]


# ---- what is not accepted ----------------------------------------------------------------------------------------


def test_what_arrives_after_the_end_is_thrown_away(store: LabPaths) -> None:
    # Given a campaign that has ended
    end(store)
    # When a zombie delivers a run of it, then it is not accepted, and nothing is left of it
    assert commit(store, deliver(store, 0)) == [None]
    assert records(store.campaign("one")) == {}
    assert parcels(store) == []


def test_an_execution_that_somebody_cancelled_is_no_result_of_a_campaign_that_was_resumed(store: LabPaths) -> None:
    # Given a campaign that was cancelled, ended, and was resumed
    ledger.note_cancelled(store.campaign("one"), "")
    end(store, phase="cancelled")
    ledger.reopen(store.campaign("one"))
    # When what was ended then arrives, then it is not accepted
    assert commit(store, deliver(store, 0, kind="cancelled")) == [None]
    # And while a campaign is cancelled, it is
    ledger.note_cancelled(store.campaign("two"), "")
    cancelled = deliver(store, 0, kind="cancelled", campaign="two")
    assert commit(store, cancelled) == [cancelled]


def test_deliveries_of_a_campaign_that_was_removed_are_thrown_away(store: LabPaths) -> None:
    # Given a campaign that housekeeping has removed while a run of it was on its way
    delivered = deliver(store, 0)
    shutil.rmtree(store.campaign("one").root)
    # When it is committed, then nothing of it is left, and nothing is made anew
    assert commit(store, delivered) == [None]
    assert not store.campaign("one").root.exists()
    assert parcels(store) == []


@pytest.mark.parametrize("name", ["", "two.0.1.7f3a", "one.1.1.7f3a", "one.0.2.7f3a", "one", "one.build"])
def test_no_delivery_takes_or_removes_what_is_another_s(store: LabPaths, name: str) -> None:
    # Given what others have delivered
    others = [deliver(store, 0, campaign="two"), deliver(store, 1), deliver(store, 0, 2)]
    (store.incoming / "one.build").mkdir()
    (store.incoming / "one").mkdir()
    before = parcels(store)
    # When somebody says that a run is in a parcel that is not called after it, or in none
    claim = msgspec.structs.replace(deliver(store, 0), parcel=name)
    shutil.rmtree(store.incoming / "one.0.1.7f3a")
    # Then it is not accepted, and everything is where it was
    assert commit(store, claim) == [None]
    assert parcels(store) == before
    assert commit(store, *others[:2]) == others[:2]


def rewrite(store: LabPaths, outcome: Outcome, content: bytes) -> None:
    AttemptPaths(store.incoming / outcome.parcel).outcome.write_bytes(content)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b"another's"])
def test_a_parcel_whose_own_outcome_is_not_what_was_told_is_no_delivery(patient: LabPaths, content: bytes) -> None:
    # Given a parcel with a spoiled outcome, or that of another execution
    failed = deliver(patient, 0, kind="error")
    other = encode(msgspec.structs.replace(failed, ended=5000.0))
    rewrite(patient, failed, other if content == b"another's" else content)
    # When it is committed, then it did not arrive
    assert commit(patient, failed) == [None]


# ---- what has arrived, whether anybody told of it or not ---------------------------------------------------------


def test_what_has_arrived_complete_is_found(store: LabPaths) -> None:
    # Given complete parcels of two campaigns
    delivered = [deliver(store, 0), deliver(store, 1, kind="error"), deliver(store, 0, campaign="two", files={})]
    # When a foreman looks, then it finds them, and can commit them
    found = results.arrived(store)
    assert sorted(found, key=lambda outcome: outcome.parcel) == sorted(delivered, key=lambda outcome: outcome.parcel)
    results.commit(store, found)
    assert results.arrived(store) == []


def test_a_store_without_an_incoming_folder_has_nothing(tmp_path: Path) -> None:
    # Given a lab that has never had a delivery, when asked, then nothing has arrived
    assert results.arrived(LabPaths(tmp_path)) == []


FILES: Contents = {**SCALARS, "../beside.txt": b"beside"}


def test_a_parcel_that_is_still_on_its_way_is_not_found_whatever_has_arrived_of_it(store: LabPaths) -> None:
    # Given a parcel, file by file in any order, the last byte of each missing at first
    outcome = deliver(store, 0, files=FILES)
    source = AttemptPaths(store.incoming / outcome.parcel).root
    whole = source.rename(store.home / "whole")
    names = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    for order in (names, names[::-1]):
        for name in order:
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            for content in ((whole / name).read_bytes()[:-1], (whole / name).read_bytes()):
                # When a foreman looks before it is complete, then it is not there
                assert results.arrived(store) == []
                target.write_bytes(content)
        # And then it is
        assert results.arrived(store) == [outcome]
        shutil.rmtree(source)


def test_what_is_no_parcel_is_left_alone(store: LabPaths) -> None:
    # Given other things in the incoming folder: a build log, a product, a half of rsync's, a parcel of another name
    for name in ("one.build", "product-k3y", ".one.0.1.7f3a.Xy"):
        (store.incoming / name).mkdir(parents=True)
    outcome = deliver(store, 0)
    (store.incoming / outcome.parcel).rename(store.incoming / attempt_parcel("one", 5, 1, "7f3a"))
    # When a foreman looks, then it finds none of them
    assert results.arrived(store) == []


def test_after_a_crash_everything_that_arrived_is_committed_or_begun_again(tmp_path: Path) -> None:
    for step in range(1000):
        # Given a foreman that died before this step of a commit, whichever it is
        lab = LabPaths(tmp_path / str(step))
        take_on(lab, retries=1)
        delivered = [deliver(lab, 0), deliver(lab, 1, kind="error"), deliver(lab, 0, campaign="two")]
        survived = committed_until_a_crash(lab, delivered, step)
        # When another one commits what it finds
        results.commit(lab, results.arrived(lab))
        # Then no delivery waits, what has a record is complete, and the failure is in the history
        assert results.arrived(lab) == []
        assert_recorded_runs_are_complete(lab)
        kept = ledger.read(lab.campaign("one"))
        assert kept
        assert [past.run for past in kept.past] == [1]
        if survived:
            assert assert_recorded_runs_are_complete(lab) == 2
            return
    pytest.fail("the commit never comes to its end")


def test_a_run_that_is_given_up_while_it_is_committed_has_one_record(
    store: LabPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a delivery that is committed in one thread while another one gives its run up, at the last moment
    done = deliver(store, 0)
    lost = msgspec.structs.replace(done, kind="lost", files=(), log_size=0)
    to_disk = results.to_disk
    given_up: list[bool] = []

    def to_disk_slowly(*paths: Path) -> None:
        to_disk(*paths)
        if any(path.name == ".0.json.new" for path in paths) and not given_up:
            given_up.append(True)
            given_up.append(results.give_up(store.campaign("one"), lost))

    monkeypatch.setattr(results, "to_disk", to_disk_slowly)
    # When both have come to their end
    results.commit(store, [done])
    # Then the first record stands, and that is what everybody is told
    assert given_up == [True, True]
    assert results.fate(store, done) == lost
    assert not results.give_up(store.campaign("one"), done)


def test_a_damaged_delivery_of_a_run_that_failed_before_is_no_failure(patient: LabPaths) -> None:
    # Given a run that failed once, and whose next attempt does not arrive complete
    commit(patient, deliver(patient, 0, 1, kind="error"))
    second = deliver(patient, 0, 2, kind="error")
    spoil_file(AttemptPaths(patient.incoming / second.parcel))
    # When it is committed, then nothing is known of that attempt
    assert commit(patient, second) == [None]


def test_what_a_head_had_moved_when_it_died_is_found_again(store: LabPaths) -> None:
    # Given a head that died between moving a run's files to their place and writing its record
    outcome = deliver(store, 0)
    results.commit(store, [outcome])
    store.campaign("one").record(0).unlink()
    # When the next one looks for what has arrived, then it finds the run and commits it
    assert results.arrived(store) == [outcome]
    results.commit(store, results.arrived(store))
    assert results.fate(store, outcome) == outcome
    assert results.arrived(store) == []
    # … unless the campaign has ended without it
    store.campaign("one").record(0).unlink()
    store.campaign("one").end.touch()
    assert results.arrived(store) == []
