"""Results on their way home while the campaign goes on."""

import errno
import os
import queue
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from runner import collection, manifest, usage
from runner.causes import ranges
from runner.errors import LabFailed
from runner.lab import LabAway
from runner.labs import Connection
from runner.model import Campaign, Outcome
from runner.notes import Arrival, Notes
from runner.paths import HomePaths
from runner.precedence import LaterResults

#: Seconds until a transfer is tried again when the lab could not be reached.
PAUSE = 5.0

#: Seconds until it is looked again whether another client is through.
TURN = 0.5

#: Seconds in which a client puts files to their places before another campaign's may, and between looks of that one.
PLACING, GLANCE = 0.5, 0.02

#: Seconds that what is under way gets to come to an end when the client leaves.
LAST_SECONDS = 0.5

#: What is said while another client brings the same campaign home.
ANOTHER = "another labfleet of yours brings the results of this campaign home; waiting until it is through …"

#: What is said while a client puts results of another campaign into the same folder.
ANOTHER_CAMPAIGN = "another labfleet of yours puts results into the same folder; waiting until it is through …"

#: A disk that takes nothing more.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Destination:
    """Where a campaign's results go: the project at this client."""

    root: Path
    #: The working directory relative to the root.
    directory: str

    @property
    def results(self) -> Path:
        """The folder that has the manifest."""
        return Path(os.path.normpath(self.root / self.directory)) / "results"


class Home:
    """What has come home of a campaign, by a thread of its own: the disk must not hold up the live view.

    One client at a time brings a campaign home; another one waits for its turn.  What an earlier client has brought is
    not brought again; what it had begun with is brought to its end.
    """

    def __init__(self, connection: Connection, destination: Destination, campaign: Campaign, notes: Notes) -> None:
        self.paths = HomePaths(destination.results, campaign.id)
        #: Path in the run → path at home, of each run that is at home.
        self.places: dict[int, dict[str, str]] = {}
        self.failure: Exception | None = None
        #: Why nothing comes home just now, for the person; empty while all is well.
        self.trouble = ""
        self._connection, self._campaign, self._notes = connection, campaign, notes
        lab = connection.lab
        store = lab.paths.campaign(campaign.id)
        self._collector = collection.Collector(
            store, self.paths, destination.root, config=campaign.config, verify=lab.is_remote
        )
        self._placing = notes.placing(destination.results)
        self._later = LaterResults(self.paths, destination.root, campaign.submitted, notes)
        self._arrivals: dict[int, Arrival] = {}
        self._came_home: dict[tuple[int, int], list[str]] = {}
        self._waiting: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._brought: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._retry, self._over, self._left = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._take_turn, daemon=True)
        self._thread.start()

    @property
    def warnings(self) -> list[str]:
        """Sentences that the person has to know."""
        outdated = ranges(self._collector.outdated)
        told = f"results of earlier executions are still there of runs that are not done now: {outdated}"
        return [*self._collector.warnings, *([told] if outdated else [])]

    def bring(self, outcome: Outcome) -> None:
        """Bring a committed run's files home."""
        self._waiting.put(outcome)

    def try_again(self) -> None:
        """The lab is back: what could not be fetched is tried again at once."""
        self._retry.set()

    def finish(self) -> None:
        """Nothing more will come."""
        self._waiting.put(None)

    def is_finished(self, seconds: float) -> bool:
        """Wait so long, and say whether everything is home, or nothing more can come."""
        return self._over.wait(seconds)

    def leave(self) -> None:
        """Bring nothing more; another client may."""
        self._left.set()
        self._retry.set()
        self.finish()
        self._thread.join(LAST_SECONDS)

    def check(self) -> None:
        """Raise LabFailed for what has gone wrong on the way."""
        if isinstance(self.failure, OSError):
            full = self.failure.errno in NO_SPACE
            what = f"the disk of this machine is full: {self.failure}" if full else str(self.failure)
            raise LabFailed(f"results cannot be written: {what}", self._rest("once there is room" if full else "then"))
        if self.failure:
            raise self.failure

    def _rest(self, when: str) -> str:
        return f"what is home stays; {when}, this brings the rest: labfleet attach {self._campaign.id}"

    # ---- the thread ----

    def _take_turn(self) -> None:
        """Bring home what comes as soon as no other client does, and let none until this one leaves."""
        with ExitStack() as turn:
            try:
                if self._is_turn(turn, self._notes.turn(self._campaign.id), TURN, (0.0, ANOTHER)):
                    self._take_over()
                    self._collect()
            except Exception as error:  # noqa: BLE001  whatever it is, check raises it
                self.failure = error
            self._over.set()
            self._left.wait()

    def _is_turn(self, turn: ExitStack, lock: Path, pause: float, told: tuple[float, str]) -> bool:
        """Wait until no other client holds a lock; False if this one has left meanwhile.

        ``told``: seconds after which the person is told that it waits, and why.
        """
        waits_since = time.monotonic()
        while not self._left.is_set():
            with ExitStack() as attempt:
                if attempt.enter_context(usage.if_free(lock, time.time())):
                    turn.push(attempt.pop_all())
                    self.trouble = ""
                    return True
            if time.monotonic() - waits_since >= told[0]:
                self.trouble = told[1]
            self._left.wait(pause)
        return False

    def _take_over(self) -> None:
        """Learn what other clients have brought home, and where they were about to put the rest."""
        self._arrivals = {arrival.run: arrival for arrival in self._notes.arrivals(self._campaign.id)}
        for arrival in self._arrivals.values():
            self._collector.remember(arrival.run, arrival.places)
        self._came_home = manifest.came_home(self.paths)
        for (run, _), homes in self._came_home.items():
            self._collector.remember(run, dict(zip(homes, homes, strict=True)))
        self._list = self._notes.arrival_list(self._campaign.id)

    def _collect(self) -> None:
        ends = False
        while not ends:
            together = [self._waiting.get()]
            while not self._waiting.empty():
                together.append(self._waiting.get())
            ends = None in together
            outcomes = [outcome for outcome in together if outcome is not None]
            # In this order each client would choose the same places, whatever the order in which it is told of runs.
            self._collect_together(sorted(outcomes, key=lambda outcome: outcome.run))

    def _collect_together(self, outcomes: Sequence[Outcome]) -> None:
        self._collector.later = self._later.look()
        missing: Sequence[Outcome] = [outcome for outcome in outcomes if not self._is_home(outcome)]
        self._fetch(missing)
        while missing:
            with ExitStack() as turn:
                if not self._is_turn(turn, self._placing, GLANCE, (PAUSE, ANOTHER_CAMPAIGN)):
                    return
                self._collector.later = self._later.look()  # true until these are at their places
                missing = self._place(missing)
                self._placing.unlink()
        if not self._left.is_set():
            for outcome in outcomes:
                self._brought.put(outcome)

    def _place(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Move what is fetched to its places, as long as others may have to wait for that, and return the rest."""
        until = time.monotonic() + PLACING
        for number, outcome in enumerate(outcomes):
            if self._left.is_set() or (number and time.monotonic() > until):
                return outcomes[number:]
            known = self._arrivals.get(outcome.run)
            again = known is not None and known.attempt == outcome.attempt
            places = self._collector.plan(outcome)
            self._note(outcome, places, complete=False)
            self._collector.bring(outcome, places, again=again)
            self._arrive(outcome, places)
        return ()

    def _is_home(self, outcome: Outcome) -> bool:
        """Say whether an earlier client has brought this attempt, and take note of its places."""
        arrival = self._arrivals.get(outcome.run)
        if arrival is not None and arrival.attempt == outcome.attempt:
            if arrival.complete:
                self._collector.arrived(outcome, arrival.places)
                self.places[outcome.run] = arrival.places
                return True
            self._collector.tidy(outcome, arrival.places)
            if self._collector.is_home(outcome, arrival.places):
                self._collector.arrived(outcome, arrival.places)
                self._arrive(outcome, arrival.places)
                return True
        homes = self._came_home.get((outcome.run, outcome.attempt))
        if homes is None or len(homes) != len(outcome.files):
            return False
        places = {file.path: place for file, place in zip(outcome.files, homes, strict=True)}
        self._collector.note_replaced(outcome, places)
        self._collector.arrived(outcome, places)
        self._arrive(outcome, places)
        return True

    def _arrive(self, outcome: Outcome, places: dict[str, str]) -> None:
        self._note(outcome, places)
        self.places[outcome.run] = places

    def _note(self, outcome: Outcome, places: dict[str, str], *, complete: bool = True) -> None:
        arrival = Arrival(outcome.run, outcome.attempt, places, complete, outcome.ended)
        self._list.append(arrival)
        self._arrivals[arrival.run] = arrival

    def _fetch(self, outcomes: Sequence[Outcome]) -> None:
        """Have the files of runs where they can be moved from, as soon as the lab can be reached."""
        while outcomes and not self._left.is_set():
            try:
                self._connection.lab.bring(self._campaign.id, outcomes)
            except LabAway as error:
                self.trouble = f"{error.message}; trying again …"
                self._retry.wait(PAUSE)
                self._retry.clear()
            else:
                self.trouble = ""
                return

    def next_brought(self) -> Outcome | None:
        """Return a run that has come home since, each once; None if there is none."""
        return None if self._brought.empty() else self._brought.get()

    def tidy(self) -> None:
        """Everything is home: remove what was kept on the way from a remote lab."""
        lab = self._connection.lab
        if lab.is_remote:
            shutil.rmtree(lab.paths.campaign(self._campaign.id).root, ignore_errors=True)
