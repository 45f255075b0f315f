"""Leases: what machines report, held against what the foreman believes that they have."""

import pytest

from runner.messages import ChunkEnded, Held, HostReport
from runner.model import Attempt, Chunk
from runner.paths import attempt_parcel
from runner.scheduling import feeding, leases
from runner.scheduling import state as campaign_state
from runner.scheduling.leases import LEASE
from runner.scheduling.state import CampaignState, restored
from tests.campaigns import begun, campaign, outcome_of, prepared, started


def held(chunk: Chunk | str, *attempts: Attempt, slot: str = "slot1", of: str = "c") -> Held:
    """Return what a slot tells of a chunk; without attempts all of it is still to be done."""
    if isinstance(chunk, str):
        return Held(slot, of, chunk, attempts)
    return Held(slot, of, chunk.id, attempts or chunk.attempts)


def report(*holds: Held, host: str = "red", spool: tuple[tuple[int, int], ...] = (), of: str = "c") -> HostReport:
    """Return a machine's report; ``spool``: run and attempt of each parcel."""
    names = tuple(attempt_parcel(of, run, number, "7f3a") for run, number in spool)
    return HostReport(host, 2, holds=holds, spool=names)


def lost_at(state: CampaignState, now: float) -> list[tuple[int, int]]:
    return [(past.run, past.number) for past in leases.expire(state, now, 1000.0 + now)]


# ---- renewal and expiry ------------------------------------------------------------------------------------------


def test_what_is_reported_is_not_lost() -> None:
    # Given a chunk that a slot has begun
    state = started(1)
    chunk = begun(state, now=0.0)
    # When its machine reports it every two seconds for a minute, then it is nobody else's
    for now in range(2, 60, 2):
        leases.take_report(state, report(held(chunk)), float(now))
        assert lost_at(state, float(now) + 1.9) == []
    assert not state.waiting


def test_what_no_report_has_had_for_too_long_is_lost() -> None:
    # Given a chunk whose slot was at its second run when its machine reported last
    state = started(3, batch=3)
    chunk = begun(state, now=0.0)
    leases.take_report(state, report(held(chunk, *chunk.attempts[1:])), 4.0)
    # When its lease has run out, and not before
    assert lost_at(state, 4.0 + LEASE) == []
    (past,) = leases.expire(state, 4.1 + LEASE, 1000.0)
    # Then that run is lost, and all begin again
    assert (past.run, past.number, past.kind, past.host, past.slot) == (1, 1, "lost", "red", "slot1")
    assert (past.error, past.ended) == (campaign_state.UNHEARD, 1000.0)
    assert {attempt.run for attempt in state.waiting} == {0, 1, 2}
    assert not state.in_flight


def test_a_report_of_another_campaign_renews_nothing() -> None:
    # Given a begun chunk, when its machine reports something of another campaign only
    state = started(1)
    chunk = begun(state, now=0.0)
    leases.take_report(state, report(held(chunk, of="other"), spool=((0, 1),), of="other"), 8.0)
    # Then the lease runs out
    assert lost_at(state, 9.0) == [(0, 1)]


def test_an_outcome_is_expected_as_long_as_its_parcel_is_reported() -> None:
    # Given a run that its slot is through with
    state = started(1)
    chunk = begun(state, now=0.0)
    campaign_state.take_chunk_ended(state, ChunkEnded("c", chunk.id, "red"), 1.0)
    # When its parcel waits for the uploader for a long time, as the head's disk is full, then nothing is lost
    for now in range(2, 60, 2):
        leases.take_report(state, report(spool=((0, 1),)), float(now))
        assert lost_at(state, float(now) + 1.9) == []
    # And when neither parcel nor outcome has been heard of for too long, then it is
    assert lost_at(state, 58.0 + LEASE + 0.1) == [(0, 1)]
    assert list(state.waiting) == [Attempt(0, 2)]


def test_what_is_over_cannot_be_lost() -> None:
    # Given a run whose outcome was committed while its chunk goes on
    state = started(2, batch=2)
    begun(state, now=0.0)
    campaign_state.take_outcome(state, outcome_of(Attempt(0, 1)))
    # When its machine falls silent, then only the other is lost
    assert lost_at(state, 9.0) == [(1, 1)]
    assert list(state.waiting) == [Attempt(1, 2)]


def test_a_report_that_was_written_before_a_chunk_ended_does_not_bring_it_back() -> None:
    # Given a chunk that has ended
    state = started(2, seconds=1.0)
    chunk = begun(state, now=0.0)
    campaign_state.take_chunk_ended(state, ChunkEnded("c", chunk.id, "red"), 1.0)
    # When a report comes that has what its slot told before
    leases.take_report(state, report(held(chunk)), 1.5)
    # Then its slot counts as free, and the outcome is expected
    assert not state.in_flight
    assert sorted(state.expected) == [attempt.run for attempt in chunk.attempts]


@pytest.mark.parametrize("agent_too", [True, False])
def test_a_report_that_was_written_before_its_slot_died_does_not_bring_a_chunk_back(agent_too: bool) -> None:
    # Given a chunk whose slot has died, or whose agent was started again
    state = started(1)
    chunk = begun(state, now=0.0)
    if agent_too:
        campaign_state.take_host_up(state, "red")
    else:
        campaign_state.take_slot_died(state, "red", "slot1")
    # When a report comes that has what the slot told before, then its run waits for another slot all the same
    leases.take_report(state, report(held(chunk)), 1.0)
    assert list(state.waiting) == [Attempt(0, 2)]
    assert not state.in_flight


def test_a_report_that_was_written_before_a_delivery_failed_does_not_hide_its_run() -> None:
    # Given a chunk whose first run is through, but did not arrive complete
    state = started(2, batch=2)
    chunk = begun(state, now=0.0)
    campaign_state.take_delivery_failed(state, Attempt(0, 1))
    # When a report comes that has what its slot told before, then the run waits all the same
    leases.take_report(state, report(held(chunk)), 1.0)
    assert list(state.waiting) == [Attempt(0, 2)]


# ---- what nobody has begun ---------------------------------------------------------------------------------------


def test_a_chunk_in_its_queue_is_not_lost() -> None:
    # Given a chunk in a host's queue
    state = started(1)
    (feed,) = feeding.next_feeds([state], {"red": 1}, 0.0)
    # When nobody begins it, then it is asked for, and stays there as long as it is found in the queue
    assert leases.unbegun(state, LEASE) == {}
    assert leases.unbegun(state, LEASE + 0.1) == {"red": {feed.chunk.id}}
    leases.note_queued(state, {feed.chunk.id, "another campaign's"}, LEASE + 0.1)
    assert leases.unbegun(state, LEASE + 0.2) == {}
    assert lost_at(state, LEASE * 3) == []


def test_a_chunk_that_a_slot_has_begun_need_not_be_in_its_queue() -> None:
    # Given a chunk that a slot has begun, when its lease has run out, then nobody looks for it in the queue
    state = started(1)
    begun(state, now=0.0)
    assert leases.unbegun(state, 100.0) == {}


def test_chunks_in_the_queue_of_a_machine_that_is_away_are_stranded() -> None:
    # Given a chunk in the queue of each of two hosts, and one that was begun on a third
    state = started(3)
    feeding.next_feeds([state], {"red": 1, "blue": 1})
    begun(state, host="green")
    # When only one of them takes runs, then the other's queue is to be taken back, and what was begun is not its matter
    assert leases.stranded(state, {"blue": 1}) == {"red"}
    assert leases.stranded(state, {"blue": 1, "red": 2, "green": 1}) == set()


# ---- the build job -----------------------------------------------------------------------------------------------


def test_a_build_of_which_nothing_is_heard_is_lost() -> None:
    # Given a campaign whose build job was queued
    state = CampaignState(campaign(), build_renewed=0.0)
    # When its builder reports it, then it is not lost until that is too long ago
    leases.take_report(state, HostReport("red", 2, holds=(Held("builder", "c"),)), 6.0)
    assert not leases.is_build_lost(state, 6.0 + LEASE)
    assert leases.is_build_lost(state, 6.1 + LEASE)
    # And what is built, or not wanted any more, cannot be lost
    cancelled = CampaignState(campaign())
    campaign_state.take_cancel(cancelled)
    campaign_state.take_prepared(state, prepared(1))
    assert not leases.is_build_lost(state, 1000.0)
    assert not leases.is_build_lost(cancelled, 1000.0)


# ---- machines that come back -------------------------------------------------------------------------------------


def given_up_too_early(count: int = 1) -> tuple[CampaignState, Chunk]:
    """Return a campaign of so many runs in one chunk, and that chunk, whose machine has been silent for too long."""
    state = started(count, batch=count)
    chunk = begun(state, now=0.0)
    assert lost_at(state, 10.0)
    return state, chunk


def test_a_machine_that_comes_back_keeps_what_only_waits() -> None:
    # Given a chunk that was given up
    state, chunk = given_up_too_early(2)
    # When its machine reports that it is still at it
    leases.take_report(state, report(held(chunk)), 11.0)
    # Then nobody else begins it, and its outcome counts
    assert not state.waiting
    assert feeding.next_feeds([state], {"blue": 2}) == []
    assert campaign_state.take_chunk_ended(state, ChunkEnded("c", chunk.id, "red"), 12.0) == []
    assert sorted(state.expected) == [0, 1]


def test_a_machine_that_comes_back_does_not_get_what_another_one_has() -> None:
    # Given a run that was given up and is under way elsewhere
    state, old = given_up_too_early()
    new = begun(state, host="blue", now=10.0)
    # When the first machine comes back with it, as a run or as a parcel
    leases.take_report(state, report(held(old)), 11.0)
    leases.take_report(state, report(spool=((0, 1),)), 11.0)
    # Then the other execution is the one that counts
    assert state.latest[0] == 2
    assert state.is_wanted(new.attempts[0])
    assert not state.expected
    # And whichever arrives first is the result, the other is ended
    assert campaign_state.take_outcome(state, outcome_of(Attempt(0, 1)))
    assert leases.pointless(state) == [new.id]


def test_the_other_execution_counts_when_the_one_that_counted_is_lost() -> None:
    # Given a run that two machines work on
    state, old = given_up_too_early()
    new = begun(state, host="blue", now=10.0)
    leases.take_report(state, report(held(old)), 11.0)
    # When the one that counts dies, and the other reports again
    campaign_state.take_slot_died(state, "blue", "slot1")
    assert list(state.waiting) == [Attempt(0, 3)]
    leases.take_report(state, report(held(old)), 13.0)
    # Then it is the one that counts, and nothing waits
    assert state.latest[0] == 1
    assert not state.waiting
    assert new.id not in state.in_flight


def test_no_number_is_given_twice() -> None:
    # Given a run whose first attempt was given up, is under way elsewhere as the second, and adopted again
    state, old = given_up_too_early()
    begun(state, host="blue", now=10.0)
    campaign_state.take_slot_died(state, "blue", "slot1")
    leases.take_report(state, report(held(old)), 11.0)
    # When the first attempt is lost, too
    campaign_state.take_slot_died(state, "red", "slot1")
    # Then the next has a number that none had
    assert list(state.waiting) == [Attempt(0, 4)]


def test_a_parcel_of_a_run_that_waits_is_enough() -> None:
    # Given a run that waits, as its slot died right after it was through
    state = started(1)
    begun(state)
    campaign_state.take_slot_died(state, "red", "slot1")
    # When its machine reports the parcel, then the outcome is expected, and the run not done again
    leases.take_report(state, report(spool=((0, 1),)), 3.0)
    assert not state.waiting
    assert state.expected[0].attempt == Attempt(0, 1)


def test_a_parcel_of_a_chunk_that_goes_on_is_the_chunk_s() -> None:
    # Given a chunk of two runs, the first of which is through
    state = started(2, batch=2)
    chunk = begun(state)
    # When its machine reports both, then the chunk's end will tell
    leases.take_report(state, report(held(chunk, chunk.attempts[1]), spool=((0, 1),)), 3.0)
    assert not state.expected
    # And a parcel that nobody knows, or that has no attempt's name, does no harm
    leases.take_report(state, HostReport("red", 2, spool=("c.build", "x", "c.99.1.aa", "c.-1.1.aa")), 4.0)
    assert not state.expected


def test_a_run_that_is_about_to_be_given_up_is_not_adopted() -> None:
    # Given a run that was lost so often that it is given up
    state = started(1)
    old = begun(state)
    for number in range(2, 2 + campaign_state.MOST_LOSSES):
        campaign_state.lose_chunk(state, next(iter(state.in_flight)), campaign_state.DIED)
        campaign_state.given_up(state)
        if number <= campaign_state.MOST_LOSSES:
            begun(state)
    # When an early execution of it comes back, then it stays as it is
    leases.take_report(state, report(held(old)), 3.0)
    assert sorted(state.hopeless) == [0]
    assert not state.waiting


# ---- a foreman that starts anew ----------------------------------------------------------------------------------


def test_another_foreman_takes_over_what_the_machines_have() -> None:
    # Given a campaign of five runs, taken up by another foreman
    state = restored(campaign(), "y-", prepared(5), {}, [], None)
    # When the machines report: red works on run 1 and has run 0 in its spool, blue has attempt 3 of run 2
    leases.take_report(state, report(held("c-x-1", Attempt(1, 1)), spool=((0, 1),)), 1.0)
    leases.take_report(state, report(held("c-x-2", Attempt(2, 3)), host="blue"), 1.0)
    # Then only the others are given out
    (feed,) = feeding.next_feeds([state], {"green": 1})
    assert feed.chunk.attempts == (Attempt(3, 1),)
    assert list(state.waiting) == [Attempt(4, 1)]
    assert (state.expected[0].host, state.latest[2]) == ("red", 3)
    # And what is lost of them begins again under the next number
    campaign_state.take_slot_died(state, "blue", "slot1")
    assert state.waiting[0] == Attempt(2, 4)


def test_another_foreman_waits_for_what_is_under_way_of_a_cancelled_campaign() -> None:
    # Given a cancelled campaign, taken up by another foreman
    state = restored(campaign(), "y-", prepared(3), {}, [], "")
    # When a slot still has runs of it, and results are on their way
    leases.take_report(state, report(held("c-x-1", Attempt(1, 1)), spool=((0, 1),)), 1.0)
    # Then it is not over before they are, as what is done is kept
    assert not state.is_over
    campaign_state.take_chunk_ended(state, ChunkEnded("c", "c-x-1", "red"), 2.0)
    campaign_state.take_outcome(state, outcome_of(Attempt(1, 1), kind="cancelled"))
    assert not state.is_over
    campaign_state.take_outcome(state, outcome_of(Attempt(0, 1)))
    assert state.is_over


# ---- executions that nobody needs --------------------------------------------------------------------------------


def test_a_slot_is_freed_from_runs_that_others_have_brought_to_an_end() -> None:
    # Given a zombie that has done the first of its three runs, and the others are done elsewhere
    state = started(3, batch=3)
    chunk = begun(state)
    campaign_state.take_outcome(state, outcome_of(Attempt(0, 1)))
    campaign_state.take_outcome(state, outcome_of(Attempt(1, 2)))
    leases.take_report(state, report(held(chunk, *chunk.attempts[1:])), 1.0)
    assert leases.pointless(state) == []
    # When the last of them is over, too, then its chunk is to be revoked
    campaign_state.take_outcome(state, outcome_of(Attempt(2, 2)))
    assert leases.pointless(state) == [chunk.id]


def test_a_slot_that_brought_its_runs_to_an_end_itself_is_not_disturbed() -> None:
    # Given a chunk all of whose runs are over by their own attempts, before its end was told
    state = started(2, batch=2)
    chunk = begun(state)
    for attempt in chunk.attempts:
        campaign_state.take_outcome(state, outcome_of(attempt))
    # When asked, then there is nothing to revoke; nor is anything that waits in a queue
    assert leases.pointless(state) == []
    other = started(1)
    feeding.next_feeds([other], {"red": 1})
    campaign_state.take_outcome(other, outcome_of(Attempt(0, 7)))
    assert leases.pointless(other) == []


def test_a_lease_counts_from_the_slot_s_own_last_word() -> None:
    # Given a slot that hangs, while its machine reports
    state = started(1)
    chunk = begun(state)
    for second in range(2, 10, 2):
        held = Held("slot1", "c", chunk.id, chunk.attempts, age=max(0.0, second - 4.0))
        leases.take_report(state, HostReport("red", 2, holds=(held,)), now=float(second))
    # When it has said nothing for as long as a lease lasts, then its run is lost, however fresh the reports are
    assert leases.expire(state, 4.0 + LEASE, 0.0) == []
    assert [past.run for past in leases.expire(state, 4.1 + LEASE, 0.0)] == [0]
