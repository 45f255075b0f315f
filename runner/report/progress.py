"""Where a campaign stands: a value computed from the lab's events, without a terminal or clock of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from runner import estimate, messages, model
from runner.causes import Key
from runner.causes import key as cause_of

#: Tells where the full log of a run will be at the client, if that is known.
LogPath = Callable[[int], Path | None]

#: Seconds of any clock that never goes back.
Clock = Callable[[], float]

#: Host and the slot's name there.
Slot = tuple[str, str]

#: So many files must have been compiled, in so many seconds, before it is worth telling how long the others will take.
TELLING_FILES, TELLING_SECONDS = 10, 10.0

#: So many causes of failures are told apart.
MOST_CAUSES = 100


class Phase(Enum):
    """What the lab does for the campaign just now."""

    WAITING = "preparing"
    BUILDING = "building"
    RUNNING = "running"
    ENDED = "collecting the results"


@dataclass(frozen=True)
class Running:
    """A run on a slot, and what the simulation said of itself last.  All times are of the client's clock."""

    run: int
    since: float
    reported: float
    #: Simulation time in seconds.
    sim_time: float | None = None
    #: Between 0 and 100; None without a sim-time-limit.
    percent: float | None = None
    #: Simulated seconds per second, and events per second.
    speed: float | None = None
    events_per_second: float | None = None


@dataclass(frozen=True)
class Building:
    """How far a build is, as the lab told last."""

    what: str
    done: int
    #: None: nobody knows.
    total: int | None
    #: When it was heard of first, and what was done then: a client may have come later.
    since: float = 0.0
    begun: int = 0

    def remaining(self, now: float) -> float | None:
        """Return the seconds until all should be done, or None while too little is measured."""
        made, took = self.done - self.begun, now - self.since
        if self.total is None or made < TELLING_FILES or took < TELLING_SECONDS:
            return None
        return took * (self.total - self.done) / made


@dataclass(frozen=True)
class Progress:
    """Where a campaign stands; every event makes a new one.

    Each ``now`` is in seconds of one clock of the client's: the clocks of the lab's machines may disagree.
    """

    campaign: str
    config: str
    #: When the present phase began.
    since: float
    phase: Phase = Phase.WAITING
    #: Has the project, or one that it needs, something to build?
    builds: bool = True
    #: What is built, while something is built and it is known how far that is.
    building: Building | None = None
    #: The campaign's runs by number; empty until the program has listed them.
    runs: Mapping[int, model.Run] = field(default_factory=dict)
    #: The runs that ended, by how they did: sets of run numbers, as the bits of a number.  So nothing counts twice, and
    #: a new value costs little however many runs there are.
    done_runs: int = 0
    failed_runs: int = 0
    cancelled_runs: int = 0
    #: The failed runs by the cause of their failure, as sets like these; what comes after MOST_CAUSES is in none.
    causes: Mapping[Key, int] = field(default_factory=dict)
    #: The attempts that were made again, as (run, attempt).
    repeated: frozenset[tuple[int, int]] = frozenset()
    #: Seconds that the runs which are done took, together.
    work: float = 0.0
    #: Every slot that was seen busy; None where it waits for its next run.
    slots: Mapping[Slot, Running | None] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of runs; 0 until it is known."""
        return len(self.runs)

    @property
    def done(self) -> int:
        """Number of runs that are done."""
        return self.done_runs.bit_count()

    @property
    def failed(self) -> int:
        """Number of runs that are not done, without anybody having wanted that."""
        return self.failed_runs.bit_count()

    @property
    def cancelled(self) -> int:
        """Number of runs that nobody wanted any more."""
        return self.cancelled_runs.bit_count()

    @property
    def over(self) -> int:
        """Number of runs that ended, however they did."""
        return self.done + self.failed + self.cancelled

    @property
    def running(self) -> list[Running]:
        """The runs that slots work on."""
        return [running for running in self.slots.values() if running is not None]

    @property
    def waiting(self) -> int:
        """Number of runs that no slot has begun."""
        return max(0, self.total - self.over - len(self.running))

    @property
    def advance(self) -> float:
        """Number of runs that ended, and the known parts of those that run."""
        return self.over + sum(running.percent or 0.0 for running in self.running) / 100

    def run(self, number: int) -> model.Run:
        """Return a run with its iteration variables, as far as they are known."""
        return self.runs.get(number) or model.Run(number, {})

    def remaining(self, now: float) -> float | None:
        """Return the seconds until the last run should be over, or None while too few are measured."""
        if self.phase is not Phase.RUNNING:
            return None
        under_way = [
            estimate.UnderWay(now - running.since, running.percent, now - running.reported) for running in self.running
        ]
        return estimate.remaining(self.waiting, under_way, len(self.slots), self.done, self.work)

    def after(self, event: messages.AnyEvent, now: float) -> "Progress":
        """Return where the campaign stands after an event of it."""
        new = self
        match event:
            case messages.CampaignTaken(what=what):
                new = replace(self, builds=any((what.build.commands, *(one.build.commands for one in what.references))))
            case messages.BuildStarted(what=what) if not self.runs:
                new = self._builds(Building(what, 0, None) if what else None, now)
            case messages.BuildProgressed(done=done, total=total, what=what) if not self.runs:
                new = self._builds(self._build_of(what, done, total, now), now)
            case messages.CampaignPrepared(prepared=prepared) if not self.runs:
                runs = {run.number: run for run in prepared.runs}
                new = replace(self, phase=Phase.RUNNING, since=now, runs=runs, building=None)
            case messages.RunStarted(run=run, host=host, slot=slot):
                new = replace(self, slots={**self._slots_without(run), (host, slot): Running(run, now, now)})
            case messages.RunProgressed():
                new = replace(self, slots={slot: _heard(at, event, now) for slot, at in self.slots.items()})
            case messages.AttemptFailed(past=past) if (past.run, past.number) not in self.repeated:
                repeated = self.repeated | {(past.run, past.number)}
                new = replace(self, slots=self._slots_without(past.run), repeated=repeated)
            case messages.RunCommitted(outcome=outcome):
                new = self._without(outcome)
            case messages.CampaignEnded() | messages.CampaignRefused():
                new = replace(self, phase=Phase.ENDED, since=now)
        return new

    def _build_of(self, what: str, done: int, total: int | None, now: float) -> Building:
        """Return how far a build is, measured since it was heard of first how much there is to do."""
        known = self.building
        if known is None or (known.what, known.total is None) != (what, total is None):
            return Building(what, done, total, now, done)
        return replace(known, done=done, total=total)

    def _builds(self, building: Building | None, now: float) -> "Progress":
        """Return where the campaign stands when it builds; the projects that it needs and itself are one phase."""
        began = self.since if self.phase is Phase.BUILDING else now
        return replace(self, phase=Phase.BUILDING, since=began, building=building)

    def _without(self, outcome: model.Outcome) -> "Progress":
        run = 1 << outcome.run
        took = max(0.0, outcome.ended - outcome.started) if outcome.kind == "done" and not self.done_runs & run else 0.0
        return replace(
            self,
            slots=self._slots_without(outcome.run),
            work=self.work + took,
            done_runs=_with(self.done_runs, run, outcome.kind == "done"),
            failed_runs=_with(self.failed_runs, run, outcome.kind not in ("done", "cancelled")),
            causes=self._causes_with(outcome),
            cancelled_runs=_with(self.cancelled_runs, run, outcome.kind == "cancelled"),
        )

    def _causes_with(self, outcome: model.Outcome) -> Mapping[Key, int]:
        """Return the causes when a run is over, which may have failed otherwise before it was begun again."""
        run, known = 1 << outcome.run, self.causes
        if self.failed_runs & run:
            known = {key: runs & ~run for key, runs in known.items() if runs != run}
        if outcome.kind in ("done", "cancelled"):
            return known
        key = cause_of(outcome)
        is_told_apart = key in known or len(known) < MOST_CAUSES
        return {**known, key: known.get(key, 0) | run} if is_told_apart else known

    def _slots_without(self, run: int) -> dict[Slot, Running | None]:
        """Return the slots with none of them at this run: it is over, or was begun anew elsewhere."""
        return {slot: None if at is not None and at.run == run else at for slot, at in self.slots.items()}


def _with(runs: int, run: int, is_one: bool) -> int:
    """Return a set of runs with a run in it, or without it."""
    return runs | run if is_one else runs & ~run


def _heard(at: Running | None, event: messages.RunProgressed, now: float) -> Running | None:
    if at is None or at.run != event.run:
        return at
    sim_time = event.sim_time or None  # nothing was told yet
    # A slot tells every second what the simulation said last, which may be long ago.
    is_news = (at.sim_time, at.percent) != (sim_time, event.percent)
    return replace(
        at,
        reported=now if is_news else at.reported,
        sim_time=sim_time,
        percent=event.percent,
        speed=event.speed,
        events_per_second=event.events_per_second,
    )
