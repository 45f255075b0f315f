"""A lab as large as labs are at most: 200 machines with 16 slots, and a campaign of 10,000 runs."""

import time
from collections.abc import Callable

from msgspec.structs import replace

from runner import ledger
from runner.messages import CampaignPrepared, MachineStatus, RunCommitted, SlotStatus
from runner.model import Campaign, File, Outcome, Prepared, Run
from tests.campaigns import campaign as made_campaign
from tests.web_fixture import WebLab, machine

MACHINES, SLOTS, RUNS, OVER = 200, 16, 10_000, 6_000

ID = "20261128-100000-big1"


def machines(events_per_second: Callable[[int], float]) -> list[MachineStatus]:
    """Return all machines, each slot with a run; ``events_per_second``: of each machine's runs, by its number."""
    return [
        machine(
            f"w{number:03}",
            SLOTS,
            [
                SlotStatus(f"slot{slot + 1}", ID, OVER + number * SLOTS + slot, 1, 0.0, 1.0, 1.0, rate, 200 << 20)
                for slot in range(SLOTS)
            ],
        )
        for number in range(MACHINES)
        for rate in (events_per_second(number),)
    ]


def over(run: int, began: float) -> RunCommitted:
    """Return that a run is done."""
    files = tuple(File(f"results/General-{run}.{kind}", 1000, 1, "0" * 64) for kind in ("sca", "vec", "vci"))
    host, slot = f"w{run % MACHINES:03}", f"slot{run // MACHINES % SLOTS + 1}"
    start = began + run / 40
    return RunCommitted(Outcome(ID, run, 1, "done", 0, host, slot, start, start + 10, files=files))


def fill(lab: WebLab) -> Campaign:
    """Have a played foreman tell of such a lab."""
    began = time.time() - 300
    what = replace(made_campaign(ID), user="anna", submitted=began)
    runs = tuple(Run(number, {"numHosts": str(number % 50), "repetition": str(number)}) for number in range(RUNS))
    lab.foreman.campaigns[ID] = what
    lab.foreman.history[ID] = [
        CampaignPrepared(ID, Prepared("k3y", False, ("./simulate",), "g++", runs)),
        *(over(run, began) for run in range(OVER)),
    ]
    ledger.accept(lab.paths.campaign(ID), what)
    lab.foreman.machines = {one.name: one for one in machines(lambda _: 1000.0)}
    return what
