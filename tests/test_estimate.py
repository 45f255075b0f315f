"""How long a campaign will still take: what is measured goes in, seconds come out."""

import heapq
import random

import pytest

from runner.estimate import UnderWay, remaining


def one_by_one(waiting: int, usual: float, free: list[float]) -> float:
    """Return when the last run ends, by giving each run that waits to the slot that is free first."""
    heapq.heapify(free)
    for _ in range(waiting):
        heapq.heapreplace(free, free[0] + usual)
    return max(free)


@pytest.mark.parametrize(
    ("waiting", "under_way", "done", "work"),
    [
        (10, [UnderWay(5.0), UnderWay(1.0)], 0, 0.0),
        (10, [UnderWay(5.0), UnderWay(1.0)], 1, 7.0),
        # one percentage is one measured run
        (10, [UnderWay(5.0, 50.0), UnderWay(1.0)], 0, 0.0),
        # … and says nothing yet if it is small, or nobody knows when the run began
        (0, [UnderWay(5.0, 4.0)], 1, 7.0),
        (0, [UnderWay(None, 50.0)], 1, 7.0),
    ],
)
def test_nobody_knows_before_enough_is_measured(
    waiting: int, under_way: list[UnderWay], done: int, work: float
) -> None:
    # Given a campaign of which fewer than two runs are measured, when it is asked for, then nobody knows
    assert remaining(waiting, under_way, 2, done, work) is None


def test_a_campaign_whose_runs_are_all_under_way_needs_no_other_runs_to_be_measured() -> None:
    # Given one run that has done a quarter in 20 s, as it said 5 s ago, and nothing else
    # When it is asked for, then it is the rest of the 80 s
    assert remaining(0, [UnderWay(25.0, 25.0, 5.0)], 1, 0, 0.0) == pytest.approx(55.0)


def test_nothing_left_takes_no_time() -> None:
    # Given a campaign whose runs are over, when it is asked for, then nothing is left
    assert remaining(0, [], 4, 10, 100.0) == 0.0


def test_a_last_run_that_waits_is_not_shared_out() -> None:
    # Given two slots that are busy for 100 s each, and one run of usually 100 s that waits
    under_way = [UnderWay(0.0), UnderWay(0.0)]
    # When it is asked for, then it is two rounds, however many slots would share the work
    assert remaining(1, under_way, 2, 2, 200.0) == pytest.approx(200.0)


def test_slots_that_join_shorten_it_at_once() -> None:
    # Given 100 runs of 10 s that wait for one slot, which is in the middle of one
    under_way = [UnderWay(5.0)]
    assert remaining(100, under_way, 1, 4, 40.0) == pytest.approx(1005.0)
    # When nine others join, then it is a tenth of that, in whole runs
    assert remaining(100, under_way, 10, 4, 40.0) == pytest.approx(105.0)
    assert remaining(100, under_way, 10, 4, 40.0) == one_by_one(100, 10.0, [5.0] + [0.0] * 9)


def test_short_runs_that_end_first_do_not_deceive() -> None:
    # Given a campaign with runs of 1 s and of 1000 s: the short ones are done, the long ones have told how far they are
    under_way = [UnderWay(500.0, 50.0), UnderWay(500.0, 50.0)]
    # When it is asked for with ten more that wait
    seconds = remaining(10, under_way, 2, 10, 10.0)
    # Then those are taken for a mixture of both kinds, and not for short ones
    usual = (10 * 1.0 + 2 * 1000.0) / 12
    assert seconds == pytest.approx(one_by_one(10, usual, [500.0, 500.0]))


def test_a_run_that_tells_nothing_and_is_late_is_measured_too_and_never_about_to_end() -> None:
    # Given runs that took 10 s, and one that has taken 100 s and tells no percentage
    early = remaining(0, [UnderWay(100.0)], 1, 2, 20.0)
    late = remaining(0, [UnderWay(200.0)], 1, 2, 20.0)
    # When it is asked for, then something is left, and more the later it is
    assert early is not None
    assert late is not None
    assert 10.0 < early < late


def test_what_is_told_is_what_giving_out_the_runs_one_by_one_comes_to() -> None:
    # Given campaigns of all kinds
    chance = random.Random(7)
    for _ in range(500):
        under_way = [UnderWay(chance.uniform(0, 9.9)) for _ in range(chance.randrange(12))]
        slots = len(under_way) + chance.randrange(4)
        waiting = chance.choice([1, 2, 7, 100, 1003])
        # When it is asked for, then it is what one finds by giving each run to the slot that is free first
        free = [10.0 - (run.age or 0.0) for run in under_way] + [0.0] * (slots - len(under_way))
        expected = one_by_one(waiting, 10.0, free or [0.0])
        assert remaining(waiting, under_way, slots, 3, 30.0) == pytest.approx(expected)
