"""What whoever watches the lab is told of it: machines, slots and campaigns, and what of that has changed."""

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import pytest
from msgspec.structs import replace

from runner.foreman.books import status_of
from runner.hosts import Hosts
from runner.messages import CampaignStatus, Changed, Held, HostReport, MachineStatus, RunProgressed, RunStarted
from runner.model import Attempt
from runner.scheduling import feeding, overview, under_way
from runner.scheduling import state as campaign_state
from runner.scheduling.overview import Told
from runner.scheduling.state import CampaignState
from tests.campaigns import begun, outcome_of, started


def machine(name: str = "red", report: HostReport | None = None, state: str = "ready") -> MachineStatus:
    return MachineStatus(report or HostReport(name, 2), name, 0, state)


def begin(state: CampaignState, run: int, slot: str = "slot1", now_is: float = 100.0, host: str = "red") -> None:
    event = RunStarted(state.campaign.id, run, state.latest[run], host, slot, 5.0)
    under_way.take_run_started(state, event, now_is)


def tell(state: CampaignState, run: int, percent: float | None, now_is: float = 110.0) -> None:
    event = RunProgressed(state.campaign.id, run, 1.5, percent, 2.0, 1e6, 5 << 20)
    under_way.take_run_progressed(state, event, now_is)


def test_of_two_attempts_at_a_run_the_one_that_counts_tells_how_far_it_is() -> None:
    # Given a run that was lost on one machine and began again on another one
    state = started(3)
    begun(state)
    begin(state, 0)
    campaign_state.take_slot_died(state, "red", "slot1")
    feeding.next_feeds([state], {"blue": 1})
    begin(state, 0, host="blue")
    # When the first one is there still, and both tell how far they are
    one, other = (
        RunProgressed("c", 0, 1.0, percent, None, attempt=number) for number, percent in ((1, 80.0), (2, 5.0))
    )
    # Then what the second one says is of interest alone
    assert [under_way.take_run_progressed(state, event, 9.0) for event in (other, one)] == [True, False]
    assert state.progress[0].percent == 5.0


def test_a_percentage_is_as_old_as_the_simulation_s_words() -> None:
    # Given a run that has told once how far it is, which its slot repeats every second
    state = started(3)
    begun(state)
    begin(state, 0, now_is=100.0)
    for second in range(20):
        tell(state, 0, 10.0, now_is=140.0 + second)
    # When it is estimated how long it takes, then ten percent were done when that was told first
    assert state.heard[0] == 140.0
    # … and when it tells something else, that is new
    tell(state, 0, 15.0, now_is=160.0)
    assert state.heard[0] == 160.0


# ---- machines ----------------------------------------------------------------------------------------------------


def test_a_machine_tells_what_its_slots_run_and_since_when_by_the_head_s_clock() -> None:
    # Given a machine of which one slot has begun a run, which has told how far it is
    state = started(3)
    begun(state)
    begin(state, 0)
    tell(state, 0, 14.0)
    # When the machines are looked at
    (red,) = overview.machines([machine()], [state])
    # Then the slot's run is there, since the head heard of it
    (slot,) = red.slots
    assert (slot.slot, slot.campaign, slot.run, slot.attempt, slot.since) == ("slot1", "c", 0, 1, 100.0)
    assert (slot.percent, slot.sim_time, slot.events_per_second, slot.memory) == (14.0, 1.5, 1e6, 5 << 20)


def test_of_a_chunk_of_several_runs_the_one_that_began_last_is_shown() -> None:
    # Given a slot that has a chunk of three runs and has begun two of them
    state = started(3, batch=3)
    begun(state)
    begin(state, 0)
    begin(state, 1)
    # When the machines are looked at, then the second one is shown
    (red,) = overview.machines([machine()], [state])
    assert [slot.run for slot in red.slots] == [1]
    # … and one run is what is said to be running
    assert status_of(state).running == 1
    # … and none when they are over, until the next one begins
    for run in (0, 1):
        campaign_state.take_outcome(state, outcome_of(Attempt(run, 1)))
    (red,) = overview.machines([machine()], [state])
    assert red.slots == ()


def test_a_run_that_a_foreman_before_this_one_heard_begin_is_shown_without_its_beginning() -> None:
    # Given a foreman that was started anew: a report tells of a chunk, and the run goes on
    state = started(3)
    chunk = begun(state)
    state.in_flight[chunk.id].current = chunk.attempts[0]
    tell(state, 0, 50.0)
    # When the machines are looked at, then the run is shown, and nobody knows since when
    (red,) = overview.machines([machine()], [state])
    assert [(slot.run, slot.percent, slot.since) for slot in red.slots] == [(0, 50.0, 0.0)]


def test_of_what_a_machine_holds_its_builds_alone_are_told() -> None:
    # Given a report of a machine that builds, has runs, and parcels that wait
    held = Held("builder", "c", age=1.5), Held("slot1", "c", "chunk", (Attempt(0, 1),), 0.5)
    report = HostReport("red", 2, holds=held, spool=("parcel",))
    # When the machines are looked at, then the build is there, and nothing that changes with each report
    (red,) = overview.machines([machine(report=report)], [])
    assert red.report is not None
    assert red.report.holds == (Held("builder", "c"),)
    assert red.report.spool == ()


# ---- campaigns ---------------------------------------------------------------------------------------------------


def shown(
    *states: CampaignState, machines: Iterable[MachineStatus] = (), now_is: float = 110.0
) -> list[CampaignStatus]:
    by_name = {state.campaign.id: state for state in states}
    return list(overview.campaigns(map(status_of, states), by_name, list(machines), 1.0, now_is))


def test_a_campaign_tells_when_it_should_be_over_by_what_was_measured() -> None:
    # Given a campaign whose first run took 10 s, of which one is at a quarter after 10 s, and two wait
    state = started(4, seconds=10.0)
    begun(state)
    begin(state, 1, now_is=100.0)
    tell(state, 1, 25.0, now_is=110.0)
    # When it is asked for, then it is the rest of that one, and the two that wait with the mean of both
    (status,) = shown(state)
    assert status.eta == pytest.approx(30.0 + 2 * 25.0)
    assert status.waiting == ""


def test_a_campaign_of_which_nothing_runs_tells_why_and_no_time() -> None:
    # Given a campaign with a measured run, and no machine that takes runs
    state = started(4, seconds=10.0)
    away = MachineStatus(None, "red", 0, "away", "nothing was heard from it for 9 s")
    # When it is asked for, then it says why it waits, and nobody knows how long
    (status,) = shown(state, machines=[away])
    assert status.eta is None
    assert status.waiting.startswith("3 runs wait: no machine takes runs. red is away: nothing was heard")


def test_a_campaign_that_has_ended_is_told_as_it_is() -> None:
    # Given a campaign that has ended, when it is asked for, then it is what the store has of it
    status = CampaignStatus("old", "aloha", "General", "anna", "done", 4, 4, 0, 0, 1.0, 2.0)
    assert list(overview.campaigns([status], {}, [], 1.0, 100.0)) == [status]


# ---- what has changed --------------------------------------------------------------------------------------------


def test_only_what_has_changed_is_told() -> None:
    # Given two machines and two campaigns that were told
    told = Told()
    red, blue = machine("red"), machine("blue")
    one, two = (CampaignStatus(name, "aloha", "General", "anna", "running", 4, 0, 0, 1) for name in ("c1", "c2"))
    assert told.take(1.0, [red, blue], [one, two]) == Changed(1.0, (red, blue), (one, two))
    # When nothing has changed, then nothing is told
    assert told.take(2.0, [red, blue], [one, two]) is None
    # When a machine and a campaign have, then these are told, once
    later, further = replace(blue, state="away"), replace(one, done=1)
    assert told.take(3.0, [red, later], [further, two]) == Changed(3.0, (later,), (further,))
    assert told.take(4.0, [red, later], [further, two]) is None
    # When others are gone, then their names are told, once
    assert told.take(5.0, [later], [two]) == Changed(5.0, gone=("c1",), gone_machines=("red",))
    assert told.take(6.0, [later], [two]) is None


def test_an_end_that_comes_nearer_as_time_goes_by_is_no_change() -> None:
    # Given a campaign that is to end in 100 s, as was told
    told = Told()
    status = CampaignStatus("c1", "aloha", "General", "anna", "running", 4, 0, 0, 1, eta=100.0)
    told.take(1000.0, [], [status])
    # When 10 s have passed and 91.5 are left, then that is no change, whatever else is
    red = machine()
    assert told.take(1010.0, [red], [replace(status, eta=91.5)]) == Changed(1010.0, (red,))
    # … and no series of such small steps goes unheard
    last = replace(status, eta=83.0)
    assert told.take(1020.0, [red], [last]) == Changed(1020.0, campaigns=(last,))
    # When it is not known any more, then that is told
    assert told.take(1021.0, [red], [replace(status, eta=None)]) is not None


# ---- how much work it is -----------------------------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    """Return how many functions are called for some work."""
    counted = 0

    def count(_: FrameType, event: str, __: Any) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def look_at(machines: int, campaigns: int, runs: int) -> int:
    """Return how many calls a look at a lab takes whose slots are all busy."""
    hosts = Hosts()
    for number in range(machines):
        hosts.take_report(HostReport(f"m{number}", 8, toolchain="g++", builder=number == 0))
    states = {f"c{number}": started(runs, name=f"c{number}", seconds=10.0) for number in range(campaigns)}
    for number, feed in enumerate(feeding.next_feeds(list(states.values()), hosts.serving())):
        state = states[feed.chunk.campaign]
        campaign_state.take_chunk_started(state, feed.chunk.id, f"slot{number}")
        begin(state, feed.chunk.attempts[0].run, f"slot{number}", host=feed.host)
        tell(state, feed.chunk.attempts[0].run, 14.0)
    told = Told()

    def look() -> Changed | None:
        table = hosts.table((), states.values())
        shown = overview.campaigns(map(status_of, states.values()), states, table, 1.0, 110.0)
        return told.take(110.0, overview.machines(table, states.values()), shown)

    look()
    return calls(look)


@pytest.mark.parametrize(
    ("small", "large", "times"),
    [
        # twice as many machines and slots: twice the work
        ((20, 2, 2000), (40, 2, 2000), 2.2),
        # as many slots, more campaigns that wait
        ((4, 80, 10), (4, 160, 10), 2.2),
        # runs that wait or are over are not looked at
        ((4, 2, 200), (4, 2, 2000), 1.1),
    ],
)
def test_a_look_at_the_lab_takes_as_much_work_as_there_is_to_show(
    small: tuple[int, int, int], large: tuple[int, int, int], times: float
) -> None:
    # Given a lab, and one with more machines, campaigns or runs
    # When both are looked at, then the work grows no faster than what is shown
    assert look_at(*large) <= times * look_at(*small)
