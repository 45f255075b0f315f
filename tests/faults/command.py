"""``invoke faults``: many faults, at random moments, into campaigns that go on all the same; a table at the end."""

import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from runner.errors import LabFailed
from tests.faults import injection, suite
from tests.faults.injection import Tally
from tests.faults.local_world import LocalWorld
from tests.faults.machine_world import MachineWorld
from tests.faults.suite import World
from tests.lab import engine, images
from tests.lab.machines import Lab

#: How many of each kind, on a local lab and on machines: two hundred and more, in less than 25 minutes.
LOCAL: Mapping[str, int] = {
    "slot killed": 40,
    "slot hangs for 12 s": 14,
    "agent killed": 24,
    "agent hangs for 12 s": 6,
    "foreman killed": 30,
    "foreman hangs for 12 s": 6,
    "hub killed": 20,
    "Redis killed": 26,
    "client killed": 20,
    "disk full": 8,
    "clock 10 min off": 6,
}
#: After these, what was lost has to be begun again within ten seconds: so each is also injected when all else is well.
LOCAL_CALM: Mapping[str, int] = {"slot killed": 4, "slot hangs for 12 s": 4, "agent killed": 4}
MACHINES: Mapping[str, int] = {
    "network cut for 5 s": 4,
    "network cut for 30 s": 2,
    "machine hangs for 12 s": 2,
    "machine killed": 3,
    "head killed": 2,
    "result transfer cut": 4,
}


def main(seed: int | None, share: float, places: str) -> int:
    """Inject the faults, print the table and return the exit status: 0 if nothing was lost, 3 otherwise.

    ``share``: of the usual number of faults; ``places``: ``local``, ``machines`` or ``all``.
    """
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)
    tally = Tally()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lf-faults-") as folder:
        if places in ("local", "all"):
            local = LocalWorld(Path(folder) / "local", rng)
            try:
                _inject(local, LOCAL_CALM, share, rng, tally, calm=True)
                _inject(local, LOCAL, share, rng, tally, calm=False)
            finally:
                local.close()
        if places in ("machines", "all"):
            _on_machines(Path(folder) / "machines", share, rng, tally)
    print(injection.table(tally))
    for complaint in tally.complaints:
        print(f"NOT GOOD: {complaint}")
    for slow in tally.too_slow():
        print(f"TOO SLOW: {slow}")
    print(f"{time.monotonic() - began:.0f} s, seed {seed}")
    return 3 if tally.complaints or tally.too_slow() else 0


def _on_machines(folder: Path, share: float, rng: random.Random, tally: Tally) -> None:
    if reason := engine.why_not() or images.why_no_base():
        raise LabFailed(f"no machines can be run here: {reason}", "--places local leaves them out")
    with Lab("labfleet-faults", folder, engine.this_session()) as lab:
        lab.up()
        done = lab.client.run(["labfleet", "provision", "--inventory", "inventory.yml"], seconds=900)
        if done.status != 0:
            raise LabFailed(f"the machines cannot be provisioned: {done.stderr[-2000:]}")
        _inject(MachineWorld(lab, rng), MACHINES, share, rng, tally, calm=True)


def _inject(
    world: World, counts: Mapping[str, int], share: float, rng: random.Random, tally: Tally, *, calm: bool
) -> None:
    known = {name: max(1, round(count * share)) for name, count in counts.items() if name in world.faults}
    plan = suite.plan_of(known, rng)
    while plan:
        suite.disturb(world, plan, rng, tally, suite.told_on_stderr, calm=calm)
