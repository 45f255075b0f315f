"""A short form of ``invoke faults``: every kind of fault of a local lab once or twice, on two campaigns."""

import os
import random
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.faults import injection, suite
from tests.faults.injection import Tally
from tests.faults.local_world import LocalWorld


@pytest.mark.timeout(900)
def test_whatever_dies_no_run_is_lost_and_none_counts_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a lab, and every fault that it knows, in an order that the seed decides
    needs("redis-server")
    seed = int(os.environ.get("LABFLEET_FAULTS_SEED") or random.SystemRandom().randrange(10**6))
    rng = random.Random(seed)
    world = LocalWorld(tmp_path, rng)
    tally = Tally()
    plan = suite.plan_of(dict.fromkeys(world.faults, 1) | {"slot killed": 2, "foreman killed": 2}, rng)
    try:
        # When some are injected one after the other, and then all of them in a storm
        for faults, calm in ((["slot killed", "slot hangs for 12 s", "agent killed"], True), (plan, False)):
            while faults:
                suite.disturb(world, faults, rng, tally, suite.told_on_stderr, calm=calm)
    finally:
        world.close()
    with capsys.disabled():
        print(f"\nseed {seed}\n{injection.table(tally)}")
    # Then each run was committed once, the results are those of an undisturbed campaign, nothing is left over
    assert tally.complaints == [], f"seed {seed}"
    # … and what a dead slot or agent had was begun elsewhere soon.  Normally that takes up to nine of the ten seconds
    # that are promised; `invoke faults` measures it, on a machine that does nothing else.
    assert tally.too_slow(2 * injection.PROMISED) == [], f"seed {seed}"
