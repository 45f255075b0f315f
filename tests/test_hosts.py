"""The machines as the foreman knows them."""

from runner.hosts import SILENCE, Hosts
from runner.messages import HostReport
from runner.model import Attempt
from runner.scheduling import CampaignState, InFlight
from tests.test_scheduling import campaign


def test_a_machine_serves_from_its_start_on() -> None:
    # Given a machine that has started
    hosts = Hosts()
    hosts.take_up("w1", 4, now=0)
    # Then it serves, before it has reported anything
    assert hosts.serving() == {"w1": 4}


def test_a_machine_that_drains_takes_nothing_more() -> None:
    # Given two machines, one of which drains
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4, draining=True), now=0)
    hosts.take_report(HostReport("w2", 2), now=0)
    # Then only the other serves, and the table says why
    assert hosts.serving() == {"w2": 2}
    (first, second) = hosts.table(0, (), ())
    assert (first.name, first.state, second.state) == ("w1", "draining", "ready")
    # And when it starts again, it serves again
    hosts.take_up("w1", 4, now=1)
    assert hosts.serving() == {"w1": 4, "w2": 2}


def test_a_silent_machine_is_found_once_and_comes_back_with_its_next_report() -> None:
    # Given a machine that reported
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4), now=0)
    assert hosts.newly_silent(SILENCE) == []
    # When nothing is heard from it for too long, then it is away, which is told once
    assert hosts.newly_silent(SILENCE + 1) == ["w1"]
    assert hosts.newly_silent(SILENCE + 2) == []
    assert hosts.serving() == {}
    (row,) = hosts.table(SILENCE + 2, (), ())
    assert (row.state, row.reason) == ("away", f"nothing was heard from it for {SILENCE + 2:.0f} s")
    # And when it reports again, it serves again, and can get lost again
    hosts.take_report(HostReport("w1", 4), now=20)
    assert hosts.serving() == {"w1": 4}
    assert hosts.newly_silent(20 + SILENCE + 1) == ["w1"]


def test_a_provisioned_machine_that_never_reported_is_in_the_table() -> None:
    # Given a foreman that has just started, and a machine that was provisioned earlier
    (row,) = Hosts().table(0, {"w9"}, ())
    # Then it is away, and nothing is known of it
    assert (row.name, row.state, row.report) == ("w9", "away", None)


def test_slots_with_a_run_are_busy() -> None:
    # Given a chunk that a slot has begun, one that waits in the queue, and one on another machine
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4), now=0)
    state = CampaignState(campaign())
    state.in_flight = {
        "a": InFlight("w1", (Attempt(0, 1),), "slot1"),
        "b": InFlight("w1", (Attempt(1, 1),)),
        "c": InFlight("w2", (Attempt(2, 1),), "slot1"),
    }
    # Then one of its slots is busy
    assert hosts.table(0, (), [state])[0].busy == 1
