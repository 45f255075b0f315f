"""The machines as the foreman knows them, and its clock."""

import pytest

from runner.hosts import LONGEST_BEAT, Hosts
from runner.messages import HostReport
from runner.model import Attempt
from runner.scheduling.health import MOST_IN_A_ROW
from runner.scheduling.leases import LEASE
from runner.scheduling.state import CampaignState, InFlight
from tests.campaigns import campaign


def beats(hosts: Hosts, seconds: float, start: float = 0.0) -> None:
    """Let Redis answer every second for so long."""
    for number in range(int(seconds) + 1):
        hosts.beat(start + number)


def row(hosts: Hosts, name: str) -> tuple[str, str]:
    (found,) = [status for status in hosts.table((), ()) if status.name == name]
    return found.state, found.reason


# ---- the clock ---------------------------------------------------------------------------------------------------


def test_the_clock_goes_with_the_answers_of_redis() -> None:
    # Given a foreman whose Redis answers every second, when ten seconds have passed, then its clock says so
    hosts = Hosts()
    beats(hosts, 10.0, start=5000.0)
    assert hosts.now == 10.0


def test_the_clock_stands_still_while_nobody_answers() -> None:
    # Given a foreman that has heard for ten seconds
    hosts = Hosts()
    beats(hosts, 10.0)
    # When Redis is away for an hour, or the foreman was stopped
    hosts.beat(3600.0)
    # Then hardly any time has passed, and machines are where they were
    assert hosts.now == 10.0 + LONGEST_BEAT


def test_an_outage_makes_no_machine_away() -> None:
    # Given a machine that reported right before Redis was away for a minute
    hosts = Hosts()
    beats(hosts, 10.0)
    hosts.take_report(HostReport("w1", 4))
    hosts.beat(70.0)
    # When Redis is back, then the machine has time to report
    assert hosts.serving() == {"w1": 4}
    # And if it does not, it is away
    beats(hosts, LEASE, start=71.0)
    assert hosts.serving() == {}


# ---- states ------------------------------------------------------------------------------------------------------


def test_a_machine_serves_from_its_start_on() -> None:
    # Given a machine that has started
    hosts = Hosts()
    hosts.take_up("w1", 4)
    # Then it serves, before it has reported anything
    assert hosts.serving() == {"w1": 4}


def test_a_machine_that_drains_takes_nothing_more() -> None:
    # Given two machines, one of which drains
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4, draining=True))
    hosts.take_report(HostReport("w2", 2))
    # Then only the other serves, and the table says why
    assert hosts.serving() == {"w2": 2}
    assert hosts.takes_nothing("w1")
    assert row(hosts, "w1") == ("draining", "it finishes what runs and takes nothing more")
    assert row(hosts, "w2") == ("ready", "")
    # And when it starts again, it serves again
    hosts.take_up("w1", 4)
    assert hosts.serving() == {"w1": 4, "w2": 2}


def test_a_silent_machine_is_away_until_its_next_report() -> None:
    # Given a machine that reported
    hosts = Hosts()
    hosts.beat(0.0)
    hosts.take_report(HostReport("w1", 4))
    beats(hosts, LEASE)
    assert hosts.serving() == {"w1": 4}
    # When nothing is heard from it for too long, then it is away
    beats(hosts, 2, start=LEASE + 1)
    assert hosts.serving() == {}
    assert row(hosts, "w1") == ("away", "nothing was heard from it for a few seconds")
    # And when it reports again, it serves again
    hosts.take_report(HostReport("w1", 4))
    assert hosts.serving() == {"w1": 4}


def test_a_provisioned_machine_that_never_reported_is_in_the_table() -> None:
    # Given a foreman that has just started, and a machine that was provisioned earlier
    (found,) = Hosts().table({"w9"}, ())
    # Then it is away, and nothing is known of it
    assert (found.name, found.state, found.report) == ("w9", "away", None)
    assert found.reason == "nothing was heard from it since the foreman started"


def test_slots_with_a_run_are_busy() -> None:
    # Given a chunk that a slot has begun, one that waits in the queue, and one on another machine
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4))
    state = CampaignState(campaign())
    state.in_flight = {
        "a": InFlight("w1", (Attempt(0, 1),), "slot1"),
        "b": InFlight("w1", (Attempt(1, 1),)),
        "c": InFlight("w2", (Attempt(2, 1),), "slot1"),
    }
    # Then one of its slots is busy
    assert hosts.table((), [state])[0].busy == 1


@pytest.mark.parametrize("after_a_restart", [True, False])
def test_a_machine_that_somebody_drained_gets_nothing_until_somebody_says_otherwise(after_a_restart: bool) -> None:
    # Given a machine that anna has drained, at this foreman or at the one before it
    hosts = Hosts(drained={"w1": "anna"} if after_a_restart else None)
    hosts.take_report(HostReport("w1", 4))
    if not after_a_restart:
        hosts.drain("w1", "anna")
    # When it reports, or starts again, then it gets nothing, and the table says who wanted that and what ends it
    hosts.take_up("w1", 4)
    assert hosts.serving() == {}
    assert hosts.takes_nothing("w1")
    assert row(hosts, "w1") == ("draining", "drained by anna; labfleet undrain w1 gives it runs again")
    assert hosts.drained == {"w1": "anna"}
    # And when somebody says otherwise, it serves
    hosts.undrain("w1")
    assert hosts.serving() == {"w1": 4}
    assert hosts.on_trial() == set()
    assert hosts.drained == {}


def test_a_machine_that_says_what_is_wrong_gets_nothing() -> None:
    # Given a machine with trouble, when it reports, then it gets nothing, and the table has its words
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4, trouble="its disk is full"))
    assert hosts.serving() == {}
    assert row(hosts, "w1") == ("unwell", "its disk is full")


def test_a_machine_that_compiles_unlike_the_builder_gets_nothing() -> None:
    # Given a builder, a machine like it, and one with another compiler
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4, toolchain="g++ 12.2.0", builder=True))
    hosts.take_report(HostReport("w2", 4, toolchain="g++ 12.2.0"))
    hosts.take_report(HostReport("w3", 4, toolchain="g++ 14.2.0"))
    # Then that one gets nothing, compiles nothing, and the table says why
    assert hosts.serving() == {"w1": 4, "w2": 4}
    assert hosts.compilers() == {"w1": "g++ 12.2.0", "w2": "g++ 12.2.0"}
    assert row(hosts, "w3") == (
        "unwell",
        "it compiles with g++ 14.2.0, the builder w1 with g++ 12.2.0: labfleet provision --limit w3",
    )
    # And also while the builder is away
    beats(hosts, LEASE + 1)
    hosts.take_report(HostReport("w3", 4, toolchain="g++ 14.2.0"))
    assert row(hosts, "w1")[0] == "away"
    assert row(hosts, "w3")[0] == "unwell"
    # And when another builder is there, what that has counts
    hosts.take_report(HostReport("w4", 4, toolchain="g++ 14.2.0", builder=True))
    assert row(hosts, "w3")[0] == "ready"


def test_a_machine_that_has_not_told_with_what_it_compiles_does_runs_only() -> None:
    # Given a builder, a machine that has just started, and one whose agent is of an earlier revision
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4, toolchain="g++ 12.2.0", builder=True))
    hosts.take_up("w2", 4)
    hosts.take_report(HostReport("w3", 4))
    # Then they get runs, and a builder is not told that they compile as it does
    assert hosts.serving() == {"w1": 4, "w2": 4, "w3": 4}
    assert hosts.compilers() == {"w1": "g++ 12.2.0", "w3": ""}


def crashes(hosts: Hosts, name: str) -> None:
    """Let runs crash on a machine while another one does well."""
    for _ in range(MOST_IN_A_ROW - 1):
        hosts.take_outcome(name, "crash")
    hosts.take_outcome("other", "done")
    hosts.take_outcome(name, "crash")


def test_a_suspect_machine_stays_alone_when_its_agent_is_started_again() -> None:
    # Given a machine on which runs crash
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4))
    crashes(hosts, "w1")
    assert row(hosts, "w1")[0] == "unwell"
    # When its agent starts, and has not reported yet, then it gets nothing
    hosts.take_up("w1", 4)
    assert hosts.serving() == {}


def test_a_machine_on_trial_serves_with_one_slot() -> None:
    # Given a machine on which runs crashed, and whose pause is over
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4))
    crashes(hosts, "w1")
    beats(hosts, 40)
    hosts.take_report(HostReport("w1", 4))
    # Then it gets one run at a time, and the table says why
    assert hosts.serving() == {"w1": 1}
    assert hosts.on_trial() == {"w1"}
    assert row(hosts, "w1") == (
        "ready",
        "3 runs in a row crashed or were lost here: it gets one at a time until one is done",
    )
    # And somebody who knows that it is well can say so
    hosts.undrain("w1")
    assert hosts.serving() == {"w1": 4}


def test_a_slot_s_trouble_is_the_machine_s() -> None:
    # Given a slot that could not do its chunk, then its machine gets nothing for a moment; and a run without a host
    # (given up before it was begun anywhere) is nobody's
    hosts = Hosts()
    hosts.take_report(HostReport("w1", 4))
    hosts.take_outcome("", "lost")
    hosts.take_trouble("w1", "OSError: no space left")
    assert row(hosts, "w1") == ("unwell", "OSError: no space left")
    assert hosts.names == {"w1"}
