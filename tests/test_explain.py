"""Why a campaign or a run is where it is: sentences for people who know OMNeT++, and nothing of what is inside."""

from collections.abc import Sequence

import pytest

from runner.messages import (
    CampaignEnded,
    CampaignRefused,
    CampaignStatus,
    ChunkEnded,
    Held,
    HostReport,
    MachineStatus,
    RunStarted,
)
from runner.model import Attempt, Outcome, Past
from runner.scheduling import feeding, under_way
from runner.scheduling import state as campaign_state
from runner.scheduling.explain import builds, explain, explain_ended
from runner.scheduling.state import CampaignState
from tests.campaigns import begun, campaign, outcome_of, prepared, started


def machine(name: str, state: str = "ready", reason: str = "", *, slots: int = 1, **told: object) -> MachineStatus:
    return MachineStatus(HostReport(name, slots, **told), name, 0, state, reason)  # type: ignore[arg-type]


RED = machine("red")


def told(
    state: CampaignState,
    run: int | None = None,
    machines: Sequence[MachineStatus] = (RED,),
    others: Sequence[CampaignState] = (),
    now: float = 0.0,
) -> str:
    return explain(state, run, machines, [state, *others], now)


# ---- before there are runs ---------------------------------------------------------------------------------------


def building() -> CampaignState:
    return CampaignState(campaign(), build_renewed=3.0)


def builder(name: str, of: str) -> MachineStatus:
    return machine(name, holds=(Held("builder", of),))


@pytest.mark.parametrize(
    ("machines", "why"),
    [
        ([], "No machine has told of itself yet, so nobody builds the program."),
        ([RED], "The build job waits for a builder; nothing has been heard of it for a few seconds."),
        (
            [machine("red", "away", "nothing was heard from it for 30 s")],
            (
                "The build job waits for a builder; nothing has been heard of it for a few seconds. "
                "red is away: nothing was heard from it for 30 s. labfleet doctor finds out why nothing is heard."
            ),
        ),
        (
            [machine("red", "draining", "it finishes what runs and takes nothing more", draining=True)],
            (
                "The build job waits for a builder; nothing has been heard of it for a few seconds. "
                "red is draining: it finishes what runs and takes nothing more."
            ),
        ),
        ([builder("red", "c")], "The program is being built, or lists its runs, on red."),
        ([builder("blue", "b"), builder("red", "c")], "The program is being built, or lists its runs, on red."),
        ([builder("red", "b")], "The builder on red works for campaign b; this one is next, or later."),
    ],
)
@pytest.mark.parametrize("run", [None, 5])
def test_why_there_are_no_runs_yet(machines: list[MachineStatus], why: str, run: int | None) -> None:
    # Given a campaign whose program is not built, when asked for it or for one of its runs, then that is the reason
    assert told(building(), run, machines, now=10.0) == why


def test_which_campaigns_are_being_built() -> None:
    # Given a builder that has something to do, one that has not, and a machine that has told nothing
    # When / Then
    assert builds([builder("red", "c"), machine("green"), MachineStatus(None, "blue", 0, "away")]) == {"c": "red"}


def test_a_campaign_that_was_cancelled_while_it_was_built() -> None:
    # Given such a campaign, when asked, then it is said to end
    state = building()
    campaign_state.take_cancel(state)
    assert told(state) == "The campaign was cancelled before its program was built: it ends at once."


# ---- all of a campaign -------------------------------------------------------------------------------------------


def test_a_campaign_that_waits_for_its_own_runs() -> None:
    # Given four runs and a machine with one slot, which has one of them
    state = started(4)
    begun(state)
    # When asked, then it is said how far it is and what it waits for
    assert told(state) == "0 of 4 runs are over, 1 slot works on the campaign. 3 runs wait: all slots of red are busy."


def test_a_campaign_that_shares_the_machines() -> None:
    # Given two campaigns, one of which has the only slot, when the other is asked for, then it is named
    state, other = started(1), started(1, name="other")
    begun(other)
    assert told(state, others=[other]) == (
        "0 of 1 run is over. 1 run waits: all slots of red are busy, which campaign other uses too."
    )


def test_a_campaign_that_does_not_want_more() -> None:
    # Given a campaign with --jobs 1, when asked while other slots are idle, then that is the reason
    state = started(3, jobs=1)
    begun(state)
    assert told(state, machines=[machine("red", slots=8)]) == (
        "0 of 3 runs are over, 1 slot works on the campaign. 2 runs wait: the campaign wants at most 1 process at once "
        "(--jobs)."
    )


@pytest.mark.parametrize(
    ("machines", "why"),
    [
        ([], "no machine has told of itself yet."),
        ([machine("red", slots=2)], "there is a free slot, and the next is given out within seconds."),
        (
            [
                machine("red", "unwell", "its disk is full"),
                machine("blue", "away", "nothing was heard from it for 9 s"),
            ],
            (
                "no machine takes runs. red is unwell: its disk is full. blue is away: nothing was heard from it for "
                "9 s. labfleet doctor finds out why nothing is heard."
            ),
        ),
        (
            [machine("red", "draining", "drained by anna; labfleet undrain red gives it runs again")],
            "no machine takes runs. red is draining: drained by anna; labfleet undrain red gives it runs again.",
        ),
        (
            [RED, machine("blue", "draining", "drained by anna; labfleet undrain blue gives it runs again")],
            (
                "all slots of red are busy. "
                "blue is draining: drained by anna; labfleet undrain blue gives it runs again."
            ),
        ),
        ([machine("red", reason="it gets one at a time", slots=4)], "all slots of red are busy."),
        ([RED, machine("builder", slots=0)], "all slots of red are busy."),
    ],
)
def test_why_runs_wait(machines: list[MachineStatus], why: str) -> None:
    # Given a campaign of which a run is under way on red and one waits, when asked, then it is told what for
    state = started(2)
    begun(state)
    assert told(state, machines=machines).endswith(f" 1 run waits: {why}")
    assert told(state, 1, machines) == f"Run 1 is the next that waits: {why}"


def test_a_campaign_near_its_end() -> None:
    # Given a campaign whose last chunk is in a queue
    state = started(2, seconds=1.0)
    feeding.next_feeds([state], {"red": 1})
    assert told(state) == "1 of 2 runs are over. The rest is in the queue of red, and begins when a slot there is free."
    # When its run is through, then its result is on its way
    (key,) = state.in_flight
    campaign_state.take_chunk_ended(state, ChunkEnded("c", key, "red"))
    assert told(state) == "1 of 2 runs are over. The results of run 1 are on their way to the head."


def test_a_campaign_that_is_cancelled() -> None:
    # Given a cancelled campaign with a run under way, when asked, then it is told what it waits for
    state = started(3)
    begun(state)
    campaign_state.take_cancel(state)
    assert told(state) == (
        "0 of 3 runs are over, 1 slot works on the campaign. "
        "It is cancelled: it ends when what runs has ended and its results are at the head."
    )
    assert told(state, 2) == "Run 2 does not run, as the campaign is cancelled."


# ---- one run -----------------------------------------------------------------------------------------------------


def test_a_run_that_there_is_not() -> None:
    # Given a campaign of three runs, when a fourth is asked for, then that is said
    assert told(started(3), 3) == "Campaign c has no run 3: it has 3 runs."


def test_a_run_on_its_way() -> None:
    # Given three runs of a chunk in red's queue
    state = started(3, batch=3)
    (feed,) = feeding.next_feeds([state], {"red": 1})
    assert told(state, 1) == "Run 1 is in the queue of red: it begins as soon as a slot there is free."
    # When a slot begins it and is at the second, then each run is where it is
    campaign_state.take_chunk_started(state, feed.chunk.id, "slot1")
    under_way.take_run_started(state, RunStarted("c", 0, 1, "red", "slot1", 1.0))
    assert told(state, 0) == "Run 0 runs on red/slot1, as attempt 1."
    state.in_flight[feed.chunk.id].current = Attempt(1, 1)
    assert told(state, 0) == "Run 0 has run on red/slot1, and its results are on their way to the head."
    assert told(state, 1) == "Run 1 runs on red/slot1, as attempt 1."
    assert told(state, 2) == "Run 2 is one of 3 runs that red/slot1 does one after another."
    # And when it is through, its results are on their way, unless they are held up
    campaign_state.take_chunk_ended(state, ChunkEnded("c", feed.chunk.id, "red"))
    assert told(state, 2) == "Run 2 is through on red; its results are on their way to the head."
    assert told(state, 2, [machine("red", "unwell", "x", trouble="results cannot be delivered")]) == (
        "Run 2 is through on red; its results are on their way to the head: results cannot be delivered."
    )


def test_a_run_behind_others() -> None:
    # Given a run behind others, when asked, then it is said how many
    state = started(4)
    begun(state)
    assert told(state, 3) == "Run 3 waits behind 2 other runs: all slots of red are busy."
    assert told(state, 2) == "Run 2 waits behind 1 other run: all slots of red are busy."


def test_a_run_with_a_past() -> None:
    # Given a run that was lost, and failed once
    state = started(1)
    begun(state)
    campaign_state.take_slot_died(state, "red", "slot1")
    campaign_state.take_failed(state, Past(0, 2, "crash", "", "", 0.0, 1.0))
    # When asked, then that is told, too
    assert told(state, 0).endswith(" Before: attempt 1 on red: lost (its worker died), attempt 2: crash.")


def test_a_run_that_is_about_to_be_given_up() -> None:
    # Given a run that was lost too often, before that is written down, when asked, then that is said
    state = started(1)
    for _ in range(campaign_state.MOST_LOSSES):
        begun(state)
        campaign_state.take_slot_died(state, "red", "slot1")
    campaign_state.given_up(state)
    assert told(state, 0).startswith("Run 0 was lost too often and is about to be given up. Before: ")
    assert told(state) == "0 of 1 run is over. Run 0 was lost too often and is about to be given up."


def test_runs_that_are_over() -> None:
    # Given a run that is done and one that failed, when asked, then it is told how and where
    state = started(2)
    campaign_state.take_outcome(state, outcome_of(Attempt(0, 2)))
    campaign_state.take_outcome(state, failed())
    assert told(state, 0) == "Run 0 is done, attempt 2 on red/slot1."
    assert told(state, 1) == "Run 1 is over: error (no route), attempt 1 on red/slot1."


def failed() -> Outcome:
    return Outcome("c", 1, 1, "error", 1, "red", "slot1", 0.0, 1.0, error="no route")


def test_many_things_are_not_listed_one_by_one() -> None:
    # Given ten results on their way, when asked, then three are named
    state = started(10, batch=10)
    chunk = begun(state)
    campaign_state.take_chunk_ended(state, ChunkEnded("c", chunk.id, "red"))
    assert told(state).endswith(" The results of run 0, run 1, run 2 and 7 more are on their way to the head.")


# ---- after the end -----------------------------------------------------------------------------------------------


def ended(phase: str, *, done: int = 2, failures: int = 1) -> CampaignStatus:
    return CampaignStatus("c", "aloha", "Foo", "anna", phase, 3, done, failures, 0)


def test_what_became_of_a_campaign_that_has_ended() -> None:
    # Given campaigns that have ended in different ways, when asked, then it is told how
    assert explain_ended(ended("failed"), CampaignEnded("c", cancelled=False), {}, None) == (
        "The campaign has ended, failed: 2 of 3 runs are done, 1 failed."
    )
    assert explain_ended(
        ended("cancelled", failures=0), CampaignEnded("c", cancelled=True, reason="1 run has failed"), {}, None
    ) == ("The campaign has ended, cancelled (1 run has failed): 2 of 3 runs are done.")
    refused = CampaignRefused("c", 3, "there is no configuration Foo", "")
    for run in (None, 1):
        assert explain_ended(ended("refused"), refused, {}, run) == (
            "The campaign could not be run: there is no configuration Foo."
        )


def test_what_became_of_a_run_of_a_campaign_that_has_ended() -> None:
    # Given a campaign that was cancelled, when a run is asked for, then it is told what came of it
    cancelled = CampaignEnded("c", cancelled=True)
    assert explain_ended(ended("cancelled"), cancelled, {1: failed()}, 1) == (
        "Run 1 is over: error (no route), attempt 1 on red/slot1."
    )
    assert explain_ended(ended("cancelled"), cancelled, {}, 2) == "Run 2 was not over when the campaign was cancelled."
    # And of one that went to its end, what is not there was never
    assert explain_ended(ended("done"), CampaignEnded("c", cancelled=False), {}, 7) == (
        "The campaign had no run 7: it had 3 runs."
    )


def test_a_campaign_that_only_lists_its_runs() -> None:
    # Given such a campaign right before its end, when asked, then there is an answer
    state = CampaignState(campaign(dry_run=True))
    campaign_state.take_prepared(state, prepared(2))
    assert told(state) == "0 of 2 runs are over."
