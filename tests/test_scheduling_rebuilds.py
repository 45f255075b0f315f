"""Products that get lost again and again."""

import pytest

from runner.scheduling.rebuilds import MOST_IN_A_ROW, ROW, Rebuilds


@pytest.mark.parametrize("delivered", [True, False])
def test_a_product_that_gets_lost_each_time_is_built_so_often_and_not_for_ever(delivered: bool) -> None:
    # Given a product that is built, and damaged when it has arrived or soon after; several hosts say so each time
    rebuilds = Rebuilds()
    in_vain: list[bool] = []
    for number in range(MOST_IN_A_ROW + 2):
        in_vain.append(rebuilds.take_missing("c1", "k", 100.0 * number, delivered=delivered))
        for other in range(5):
            assert rebuilds.take_missing("c1", "k", 100.0 * number + other, delivered=False) is in_vain[-1]
        if not delivered:
            rebuilds.take_prepared("c1")
    # Then it is built again so often, and then no more
    allowed = MOST_IN_A_ROW - delivered
    assert in_vain == [False] * allowed + [True] * (MOST_IN_A_ROW + 2 - allowed)


def test_a_build_that_takes_long_is_one_however_often_hosts_ask() -> None:
    # Given a product that is built for an hour, when hosts miss it all the time, then that is no reason to give up
    rebuilds = Rebuilds()
    assert not any(rebuilds.take_missing("c1", "k", 3.0 * number, delivered=False) for number in range(1200))


def test_losses_of_other_products_campaigns_and_days_do_not_count() -> None:
    # Given a product that got lost as often as is allowed
    rebuilds = Rebuilds()
    for _ in range(MOST_IN_A_ROW):
        assert not rebuilds.take_missing("c1", "k", 0.0, delivered=False)
        rebuilds.take_prepared("c1")
    # When others get lost, and it does so much later, or in the campaign that was resumed since
    assert not rebuilds.take_missing("c1", "r", 1.0, delivered=False)
    assert not rebuilds.take_missing("c2", "k", 1.0, delivered=False)
    assert not rebuilds.take_missing("c1", "k", 2 * ROW, delivered=False)
    rebuilds.take_prepared("c1")
    rebuilds.forget("c1")
    # Then each is the first
    assert not any(rebuilds.take_missing("c1", "k", 2 * ROW, delivered=False) for _ in range(2))
