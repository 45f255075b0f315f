"""Faults at random moments into campaigns that go on all the same."""

import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tests.faults import injection
from tests.faults.campaign import RUNS, Verdict
from tests.faults.injection import Injection, Tally

#: Seconds between two faults in a storm; and where each is to be over before the next one comes.
STORM, CALM = (0.5, 3.0), (14.0, 16.0)
#: Seconds that a campaign may take; undisturbed it takes about half a minute.
PATIENCE = 300.0


class World(Protocol):
    """A lab and a person's campaigns on it."""

    @property
    def faults(self) -> Mapping[str, Callable[[], Injection | None]]:
        """What can be done to it, by name; None: not just now."""
        ...

    def start(self) -> None:
        """Start a campaign."""
        ...

    def poll(self) -> bool:
        """Say whether it is under way."""
        ...

    def in_flight(self) -> Mapping[str, list[int]]:
        """Return what runs just now."""
        ...

    def undo_all(self) -> None:
        """Undo what was only to last for a while."""
        ...

    def finish(self) -> tuple[Any, Verdict]:
        """Return the manifest, and what is wrong."""
        ...


def disturb(
    world: World, plan: list[str], rng: random.Random, tally: Tally, say: Callable[[str], None], *, calm: bool
) -> None:
    """Run one campaign and inject faults of the plan while it goes on; what it did not come to stays in the plan.

    ``calm``: one is over before the next one comes.
    """
    injected: list[Injection] = []
    began = time.monotonic()
    world.start()
    apart = CALM if calm else STORM
    next_fault = began + rng.uniform(*STORM)
    while world.poll():
        assert time.monotonic() - began < PATIENCE, f"the campaign does not end; injected so far: {injected}"
        if plan and time.monotonic() >= next_fault and world.in_flight():
            fault = world.faults[plan[-1]]()
            if fault is not None:
                plan.pop()
                fault.calm = calm
                injected.append(fault)
                next_fault = time.monotonic() + rng.uniform(*apart)
            else:  # whom it would hit is not there just now
                plan.insert(0, plan.pop())
    world.undo_all()
    told, verdict = world.finish()
    injection.explain(injected, told)
    for one in injected:
        one.lost, one.twice = len(verdict.lost), len(verdict.twice)
    tally.campaigns += 1
    tally.runs += RUNS
    tally.injections += injected
    tally.lost += verdict.lost
    tally.twice += verdict.twice
    if not verdict.is_good:
        tally.complaints.append(f"campaign {tally.campaigns} ({told['campaign']}), {injected}: {verdict}")
    repeated = sum(len(run["attempts"]) - 1 for run in told["runs"] if "attempts" in run)
    say(
        f"campaign {tally.campaigns}: {len(injected)} faults, {repeated} attempts repeated, "
        f"{time.monotonic() - began:.0f} s{'' if verdict.is_good else ', NOT GOOD: ' + str(verdict)[:300]}"
    )


def plan_of(counts: Mapping[str, int], rng: random.Random) -> list[str]:
    """Return so many faults of each kind, in a random order."""
    plan = [name for name, count in counts.items() for _ in range(count)]
    rng.shuffle(plan)
    return plan


def told_on_stderr(text: str) -> None:
    """Say something about the progress."""
    print(text, file=sys.stderr, flush=True)
