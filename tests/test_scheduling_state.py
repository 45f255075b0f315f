"""What becomes of a campaign's runs, whatever happens to those who do them."""

from collections import Counter

import pytest

from runner.messages import ChunkEnded, RunStarted
from runner.model import Attempt, Limits, Past
from runner.scheduling import feeding, under_way
from runner.scheduling import state as campaign_state
from runner.scheduling.state import CampaignState, restored
from tests.campaigns import ONE_HOST, begun, campaign, finish, outcome_of, prepared, runs_in, started


def test_a_campaign_is_over_when_the_last_run_is() -> None:
    # Given a campaign of three runs on two slots
    state = started(3)
    while not state.is_over:
        # When its chunks are done one after the other
        for feed in feeding.next_feeds([state], ONE_HOST):
            finish(state, feed)
    # Then every run is over and nothing is left
    assert sorted(state.over) == [0, 1, 2]
    assert not state.waiting
    assert not state.in_flight
    assert not state.expected


def test_the_first_outcome_of_a_run_counts() -> None:
    # Given a run that is over
    state = started(2)
    first = outcome_of(Attempt(0, 1))
    assert campaign_state.take_outcome(state, first)
    # When a zombie's outcome of the same run arrives, then it changes nothing
    assert not campaign_state.take_outcome(state, outcome_of(Attempt(0, 2), 99.0, kind="error"))
    assert state.over[0] == first
    assert state.run_seconds == 1.0


def test_what_a_dead_slot_had_begun_comes_first_again() -> None:
    # Given two slots, each with a run
    state = started(10)
    one, two = feeding.next_feeds([state], ONE_HOST)
    campaign_state.take_chunk_started(state, one.chunk.id, "slot1")
    campaign_state.take_chunk_started(state, two.chunk.id, "slot2")
    # When one of them dies
    (lost,) = campaign_state.take_slot_died(state, "red", "slot1", 100.0)
    # Then its attempt is lost, and its run alone is next, as its second attempt
    run = one.chunk.attempts[0].run
    assert lost == Past(run, 1, "lost", "red", "slot1", 100.0, 100.0, campaign_state.DIED)
    assert state.past == [lost]
    assert campaign_state.given_up(state) == []
    assert list(state.in_flight) == [two.chunk.id]
    assert state.waiting[0] == Attempt(run, 2)
    assert len(state.waiting) == 9


def test_a_slot_of_the_same_name_on_another_host_is_another_slot() -> None:
    # Given a chunk on red's slot1, when blue's slot1 dies, then nothing happens to it
    state = started(1)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    campaign_state.take_slot_died(state, "blue", "slot1")
    assert list(state.in_flight) == [feed.chunk.id]


def test_a_run_is_given_up_when_its_worker_died_each_time() -> None:
    # Given a run whose slot dies whenever it does it
    state = started(1)
    for number in range(1, campaign_state.MOST_LOSSES + 1):
        (feed,) = feeding.next_feeds([state], {"red": 1})
        assert feed.chunk.attempts == (Attempt(0, number),)
        campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
        assert campaign_state.given_up(state) == []
        campaign_state.take_slot_died(state, "red", "slot1")
    # When that was the last attempt
    (last,) = campaign_state.given_up(state)
    # Then the run is given up and not begun again
    assert (last.run, last.number, last.error) == (0, campaign_state.MOST_LOSSES, campaign_state.DIED)
    assert feeding.next_feeds([state], {"red": 1}) == []
    # And that is told until it is written down, as the disk may be full just now
    assert campaign_state.given_up(state) == [last]
    campaign_state.take_outcome(state, outcome_of(Attempt(0, last.number), kind="lost"))
    assert campaign_state.given_up(state) == []
    assert state.is_over


def test_what_a_slot_could_not_do_is_tried_again() -> None:
    # Given a chunk of four runs of which a slot came to two, because of trouble of its own
    state = started(4, batch=4)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    unfinished = feed.chunk.attempts[2:]
    # When the chunk ends
    ended = ChunkEnded("c", feed.chunk.id, "red", unfinished, "disk full")
    lost = campaign_state.take_chunk_ended(state, ended, now_is=100.0)
    # Then that is told, the two wait again, in their order, and the outcomes of the others are expected
    assert [(past.run, past.number, past.error, past.ended) for past in lost] == [
        (2, 1, "disk full", 100.0),
        (3, 1, "disk full", 100.0),
    ]
    assert list(state.waiting) == [Attempt(2, 2), Attempt(3, 2)]
    assert sorted(state.expected) == [0, 1]


def in_flight_or_waiting(state: CampaignState) -> list[Attempt]:
    flying = [attempt for chunk in state.in_flight.values() for attempt in chunk.attempts]
    return [*flying, *state.waiting]


def test_a_run_whose_files_did_not_arrive_is_begun_again() -> None:
    # Given two runs of a chunk that has ended
    state = started(2, batch=2)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
    # When the files of one did not arrive complete
    (lost,) = campaign_state.take_delivery_failed(state, Attempt(1, 1))
    # Then that is told, with the host that had it; it waits as the next attempt, and the other is still expected
    assert (lost.run, lost.host, lost.error) == (1, "red", campaign_state.NOT_ARRIVED)
    assert list(state.waiting) == [Attempt(1, 2)]
    assert sorted(state.expected) == [0]


def test_a_run_whose_files_never_arrive_is_given_up() -> None:
    # Given a run at its last attempt, when its files do not arrive complete, then it is given up
    state = started(1)
    for number in range(1, campaign_state.MOST_LOSSES + 1):
        (feed,) = feeding.next_feeds([state], {"red": 1})
        campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
        campaign_state.take_delivery_failed(state, Attempt(0, number))
    assert [past.number for past in campaign_state.given_up(state)] == [campaign_state.MOST_LOSSES]
    assert not state.waiting


def test_a_delivery_may_fail_while_its_chunk_goes_on() -> None:
    # Given a chunk of two runs, of which a slot has delivered the first and does the second
    state = started(2, batch=2)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    # When the first one's files do not arrive complete, and then the chunk ends
    campaign_state.take_delivery_failed(state, Attempt(0, 1))
    assert len({attempt.run for attempt in in_flight_or_waiting(state)}) == len(in_flight_or_waiting(state))
    campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
    # Then it waits once, and is not expected any more
    assert list(state.waiting) == [Attempt(0, 2)]
    assert sorted(state.expected) == [1]


@pytest.mark.parametrize("slot_died_too", [True, False])
def test_a_failed_delivery_counts_once(slot_died_too: bool) -> None:
    # Given a run that is begun again already, because its slot died, or because its delivery failed
    state = started(1)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    if slot_died_too:
        campaign_state.take_slot_died(state, "red", "slot1")
    else:
        campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
        campaign_state.take_delivery_failed(state, Attempt(0, 1))
    # When its first attempt's delivery is said to have failed (again)
    campaign_state.take_delivery_failed(state, Attempt(0, 1))
    # Then it waits once
    assert list(state.waiting) == [Attempt(0, 2)]


def test_a_delivery_of_another_execution_does_not_concern_a_run_that_waits() -> None:
    # Given a run that waits, e.g. as its campaign was resumed
    state = started(1)
    # When what somebody did of it before does not count, then it waits as it did
    assert campaign_state.take_delivery_failed(state, Attempt(0, 1)) == []
    assert list(state.waiting) == [Attempt(0, 1)]
    # And if it is a failure that is kept, then it gets another number
    assert campaign_state.take_failed(state, Past(0, 1, "crash", "red", "slot1", 1.0, 2.0))
    assert list(state.waiting) == [Attempt(0, 2)]


def test_a_run_that_kills_its_worker_does_not_take_others_with_it() -> None:
    # Given short runs, of which run 3 kills every worker that begins it, and what came before it is delivered
    state = started(40, batch=5)
    lost: list[Attempt] = []
    begun: Counter[int] = Counter()
    while not state.is_over and len(lost) < 10:
        for feed in feeding.next_feeds([state], {"red": 1}):
            campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
            deadly = [attempt.run for attempt in feed.chunk.attempts].index(3) if 3 in runs_in([feed]) else None
            begun.update(attempt.run for attempt in feed.chunk.attempts[: None if deadly is None else deadly + 1])
            for attempt in feed.chunk.attempts[:deadly]:
                campaign_state.take_outcome(state, outcome_of(attempt))
            if deadly is None:
                campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
            else:
                campaign_state.take_slot_died(state, "red", "slot1")
                # When runs are given up
                for past in campaign_state.given_up(state):
                    lost.append(Attempt(past.run, past.number))
                    campaign_state.take_outcome(state, outcome_of(lost[-1], kind="lost"))
    # Then it is the one that was begun as often as it may be, and the others are done
    assert begun[3] == campaign_state.MOST_LOSSES
    assert [attempt.run for attempt in lost] == [3]


def test_an_outcome_that_comes_after_its_slot_died_is_enough() -> None:
    # Given a slot that delivered its run and died before it could say that it is through
    state = started(1)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    campaign_state.take_slot_died(state, "red", "slot1")
    # When the result store has committed the delivery
    campaign_state.take_outcome(state, outcome_of(Attempt(0, 1)))
    # Then the run is over and not done again
    assert state.is_over
    assert feeding.next_feeds([state], {"red": 1}) == []


def test_the_list_of_runs_counts_once() -> None:
    # Given a campaign whose runs are under way
    state = started(2)
    feeds = feeding.next_feeds([state], ONE_HOST)
    assert runs_in(feeds) == [0, 1]
    # When its list of runs arrives a second time (an event is repeated when a connection breaks)
    campaign_state.take_prepared(state, prepared(2))
    # Then no run is begun a second time
    assert feeding.next_feeds([state], {"red": 8}) == []


def test_runs_that_are_over_are_not_begun() -> None:
    # Given a campaign of which the result store has records already
    state = CampaignState(campaign())
    state.over[1] = outcome_of(Attempt(1, 1))
    # When its runs become known, then only the others wait
    campaign_state.take_prepared(state, prepared(3))
    assert [attempt.run for attempt in state.waiting] == [0, 2]


def test_a_dry_run_is_over_when_the_runs_are_known() -> None:
    # Given a campaign that is only to list its runs
    state = CampaignState(campaign(dry_run=True))
    assert not state.is_over
    # When they are known, then it is over and no run is begun
    campaign_state.take_prepared(state, prepared(3))
    assert state.is_over
    assert feeding.next_feeds([state], ONE_HOST) == []


def test_a_cancelled_campaign_begins_nothing_more_and_waits_for_what_is_begun() -> None:
    # Given a campaign with one chunk begun and two in the queue
    state = started(10, seconds=1.0)
    first, *_ = feeding.next_feeds([state], ONE_HOST)
    campaign_state.take_chunk_started(state, first.chunk.id, "slot1")
    # When it is cancelled
    campaign_state.take_cancel(state)
    # Then nothing is handed out, and it is over when the begun chunk has ended and its outcome is there
    assert feeding.next_feeds([state], ONE_HOST) == []
    assert not state.is_over
    campaign_state.take_chunk_ended(state, ChunkEnded("c", first.chunk.id, "red"))
    assert not state.is_over
    for attempt in first.chunk.attempts:
        campaign_state.take_outcome(state, outcome_of(attempt, kind="cancelled"))
    assert state.is_over


def test_a_campaign_that_is_cancelled_while_it_is_built_is_over() -> None:
    # Given a campaign that is being built, when it is cancelled, then it is over, also if the build ends later
    state = CampaignState(campaign())
    campaign_state.take_cancel(state)
    assert state.is_over
    campaign_state.take_prepared(state, prepared(3))
    assert state.is_over
    assert feeding.next_feeds([state], ONE_HOST) == []


def test_what_a_slot_had_of_a_cancelled_campaign_is_not_begun_again() -> None:
    # Given a cancelled campaign with a begun chunk
    state = started(2)
    feed, _ = feeding.next_feeds([state], ONE_HOST)
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    campaign_state.take_cancel(state)
    # When its slot dies, then nothing is given up or begun again, and the campaign is over
    campaign_state.take_slot_died(state, "red", "slot1")
    assert campaign_state.given_up(state) == []
    assert not state.waiting
    assert state.is_over


# ---- losses ------------------------------------------------------------------------------------------------------


def test_runs_of_a_lost_chunk_that_had_not_begun_are_not_said_to_be_lost() -> None:
    # Given a chunk of four runs whose slot was at the second when it told last, the first of which is done
    state = started(4, batch=4)
    chunk = begun(state)
    under_way.take_run_started(state, RunStarted("c", 1, 1, "red", "slot1", 50.0))
    campaign_state.take_outcome(state, outcome_of(chunk.attempts[0]))
    # When the slot dies
    lost = campaign_state.take_slot_died(state, "red", "slot1", 60.0)
    # Then one attempt is lost, and three runs wait, the lost one first and alone
    assert [(past.run, past.number, past.started, past.ended) for past in lost] == [(1, 1, 50.0, 60.0)]
    assert list(state.waiting) == [Attempt(1, 2), Attempt(2, 2), Attempt(3, 2)]
    assert begun(state).attempts == (Attempt(1, 2),)


def test_a_slot_that_dies_before_it_told_anything_was_at_its_first_run() -> None:
    # Given a chunk that a slot has begun, without a word about runs, when the slot dies
    state = started(3, batch=3)
    begun(state)
    lost = campaign_state.take_slot_died(state, "red", "slot1")
    # Then its first run counts as lost, so that it does not take others down for ever
    assert [past.run for past in lost] == [0]


@pytest.mark.parametrize("reason", [campaign_state.UNHEARD, "the slot's disk is full"])
def test_what_is_lost_for_no_fault_of_its_own_is_begun_more_often(reason: str) -> None:
    # Given a run that gets lost again and again, as its machines fall silent or have trouble of their own
    state = started(1)
    for number in range(1, campaign_state.MOST_LOSSES_OF_ALL_KINDS + 1):
        assert campaign_state.given_up(state) == []
        campaign_state.lose_chunk(state, begun(state).id, reason)
        assert [past.number for past in state.past][-1] == number
    # When it has been lost as often as it may be, then it is given up
    assert len(campaign_state.given_up(state)) == 1


def test_times_of_a_machine_whose_clock_is_ahead_are_brought_into_order() -> None:
    # Given a run that began in the future, by its machine's clock
    state = started(1)
    begun(state)
    under_way.take_run_started(state, RunStarted("c", 0, 1, "red", "slot1", 9000.0))
    # When it is lost, then it ended now, and began no later than that
    (lost,) = campaign_state.take_slot_died(state, "red", "slot1", 100.0)
    assert (lost.started, lost.ended) == (100.0, 100.0)


def test_an_agent_that_starts_has_none_of_the_slots_that_it_had() -> None:
    # Given two hosts, with a begun chunk each, and one in red's queue
    state = started(10, seconds=1.0)
    for feed in feeding.next_feeds([state], {"red": 1}) + feeding.next_feeds([state], {"blue": 1}):
        if not any(chunk.host == feed.host and chunk.slot for chunk in state.in_flight.values()):
            campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    before = Counter(chunk.host for chunk in state.in_flight.values())
    # When red's agent starts (again)
    (lost,) = campaign_state.take_host_up(state, "red", 100.0)
    # Then what its slot had is lost, and what waits in its queue and blue's are as they were
    assert (lost.host, lost.slot) == ("red", "slot1")
    left = Counter(chunk.host for chunk in state.in_flight.values())
    assert left == before - Counter(["red"])


def test_chunks_that_were_taken_back_go_to_others_as_they_are() -> None:
    # Given three chunks in a host's queue, one of which its slot has begun
    state = started(6, batch=2)
    feeds = feeding.next_feeds([state], {"red": 3})
    campaign_state.take_chunk_started(state, feeds[0].chunk.id, "slot1")
    # When the others are taken out of the queue
    campaign_state.take_back(state, "red", {feed.chunk.id for feed in feeds[1:]})
    # Then their runs come first, in their order and with the numbers that they had, and the begun one goes on
    assert list(state.waiting) == [Attempt(run, 1) for run in (2, 3, 4, 5)]
    assert list(state.in_flight) == [feeds[0].chunk.id]


def test_a_chunk_that_vanished_from_its_queue_may_have_been_taken_by_a_slot() -> None:
    # Given a chunk that is not in its queue any more, and of which no slot has told
    state = started(1)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    # When it is given up
    campaign_state.take_vanished(state, "red", {feed.chunk.id})
    # Then its run is begun under another number, so that the logs of two executions are never mixed
    assert list(state.waiting) == [Attempt(0, 2)]
    assert state.past == []


# ---- failures of the run's own -----------------------------------------------------------------------------------


def test_a_run_that_failed_is_begun_again_when_the_store_says_so() -> None:
    # Given a run that failed, and the store has kept that as an attempt only
    state = started(2, limits=Limits(retries=1))
    chunk = begun(state)
    campaign_state.take_chunk_ended(state, ChunkEnded("c", chunk.id, "red"))
    failed = Past(0, 1, "crash", "red", "slot1", 1.0, 2.0, "SIGSEGV")
    # When that is told, then it is the next, it is in the history, and told twice it counts once
    assert campaign_state.take_failed(state, failed)
    assert not campaign_state.take_failed(state, failed)
    assert state.waiting[0] == Attempt(0, 2)
    assert state.past == [failed]
    # And it may share a chunk: it took no worker down
    assert campaign_state.given_up(state) == []


def test_the_attempt_that_brought_the_result_is_not_among_those_that_came_to_nothing() -> None:
    # Given an attempt that was given up too early
    state = started(1)
    begun(state)
    campaign_state.take_slot_died(state, "red", "slot1")
    # When its result arrives all the same, then it is the run's, and nothing was lost
    campaign_state.take_outcome(state, outcome_of(Attempt(0, 1)))
    assert state.past == []


def test_so_many_failures_end_the_campaign() -> None:
    # Given a campaign that is to end after two failed runs
    state = started(5, limits=Limits(max_failures=2))
    campaign_state.take_outcome(state, outcome_of(Attempt(0, 1), kind="error"))
    campaign_state.take_outcome(state, outcome_of(Attempt(1, 1), kind="cancelled"))
    assert campaign_state.too_many_failures(state) == ""
    # When the second fails, then the reason is told, until it is cancelled
    campaign_state.take_outcome(state, outcome_of(Attempt(2, 1), kind="lost"))
    reason = campaign_state.too_many_failures(state)
    assert reason == "runs that have failed: 2; --max-failures is 2"
    campaign_state.take_cancel(state, reason)
    assert campaign_state.too_many_failures(state) == ""


def test_failures_do_not_cancel_what_is_over_anyway() -> None:
    # Given a campaign whose last run fails as the second one, when it is over, then there is nothing to cancel
    state = started(2, limits=Limits(max_failures=2))
    for run in range(2):
        campaign_state.take_outcome(state, outcome_of(Attempt(run, 1), kind="error"))
    assert campaign_state.too_many_failures(state) == ""


# ---- another foreman ---------------------------------------------------------------------------------------------


def lost(run: int, number: int, ended: float) -> Past:
    return Past(run, number, "lost", "red", "slot1", ended, ended, campaign_state.DIED)


def test_another_foreman_goes_on_with_what_is_not_over() -> None:
    # Given a campaign in the store: run 0 is done, run 2 was lost once and failed once
    done = outcome_of(Attempt(0, 1), 4.0)
    past = [lost(2, 1, 50.0), Past(2, 2, "error", "red", "slot1", 60.0, 61.0)]
    # When another foreman takes it up
    state = restored(campaign(), "x-", prepared(3), {0: done}, past, None)
    # Then the others wait, those that were tried before first, and it is known how long a run takes
    assert list(state.waiting) == [Attempt(2, 3), Attempt(1, 1)]
    assert state.run_seconds == 4.0
    # And its chunks have names of their own
    assert begun(state).id == "c-x-1"


def test_another_foreman_knows_that_a_campaign_is_cancelled() -> None:
    # Given a campaign that was cancelled for a reason, when another foreman takes it up
    state = restored(campaign(), "x-", prepared(3), {}, [], "too many failures")
    # Then nothing of it is begun
    assert (state.cancelled, state.reason) == (True, "too many failures")
    assert not state.waiting


def test_losses_from_before_a_campaign_was_resumed_do_not_count() -> None:
    # Given a run that was given up after three losses, and a campaign that was resumed since
    past = [lost(0, number, 10.0 * number) for number in (1, 2, 3)]
    state = restored(campaign(), "x-", prepared(1), {}, past, None, 40.0)
    # When it is lost again, then it may be begun as often as any other run
    for _ in range(campaign_state.MOST_LOSSES):
        assert campaign_state.given_up(state) == []
        begun(state)
        campaign_state.take_slot_died(state, "red", "slot1", 50.0)
    assert [past.number for past in campaign_state.given_up(state)] == [6]


def test_losses_since_a_campaign_was_resumed_count_at_the_next_foreman_too() -> None:
    # Given a run that was lost three times since its campaign was resumed, when another foreman takes it up
    past = [lost(0, number, 10.0 * number) for number in range(1, 7)]
    state = restored(campaign(), "x-", prepared(1), {}, past, None, 35.0)
    # Then it is given up
    assert [past.number for past in campaign_state.given_up(state)] == [6]


def test_a_campaign_that_is_resumed_calls_its_chunks_by_other_names() -> None:
    # Given one foreman that takes a campaign up, and again when it was resumed, twice
    names = set()
    for resumed in (0.0, 1_700_000_000.1, 1_700_000_000.2):
        state = restored(campaign(), "x-", prepared(1), {}, [], None, resumed)
        names.add(begun(state).id)
    # When each has its first chunk, then none has the name of another, which may have been revoked
    assert len(names) == 3
