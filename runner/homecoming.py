"""Results on their way home while the campaign goes on."""

import queue
import threading
from dataclasses import dataclass, field

from runner import config, results
from runner.errors import LabFailed, LabfleetError
from runner.lab import Lab
from runner.model import Campaign, Outcome
from runner.paths import HomePaths


@dataclass
class Home:
    """What has come home of a campaign, by a thread of its own: the disk must not hold up the live view."""

    the_lab: Lab
    project: config.Project
    campaign: Campaign
    places: dict[int, dict[str, str]] = field(default_factory=dict)
    failure: LabfleetError | OSError | None = None
    _waiting: "queue.SimpleQueue[Outcome | None]" = field(default_factory=queue.SimpleQueue)

    _brought: "queue.SimpleQueue[Outcome]" = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        store = self.the_lab.paths.campaign(self.campaign.id)
        paths = HomePaths(self.project.working_directory / "results", self.campaign.id)
        self.collector = results.Collector(store, paths, self.project.root, verify=self.the_lab.is_remote)
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def bring(self, outcome: Outcome) -> None:
        """Bring a committed run's files home."""
        self._waiting.put(outcome)

    def finish(self) -> None:
        """Wait until everything is home.  Raises what went wrong on the way."""
        self._waiting.put(None)
        self._thread.join()
        if isinstance(self.failure, OSError):
            raise LabFailed(
                f"results cannot be written: {self.failure}",
                f"they are complete in {self.the_lab.kept(self.campaign.id)}",
            )
        if self.failure:
            raise self.failure

    def _collect(self) -> None:
        ends = False
        while not ends:
            together = [self._waiting.get()]
            while not self._waiting.empty():
                together.append(self._waiting.get())
            ends = None in together
            outcomes = [outcome for outcome in together if outcome is not None]
            if outcomes and not self.failure:
                try:
                    self._collect_together(outcomes)
                except (OSError, LabfleetError) as error:
                    self.failure = error

    def _collect_together(self, outcomes: list[Outcome]) -> None:
        self.the_lab.bring(self.campaign.id, outcomes)
        for outcome in outcomes:
            self.places[outcome.run] = self.collector.collect(outcome)
            self._brought.put(outcome)

    def next_brought(self) -> Outcome | None:
        """Return a run that has come home since, each once; None if there is none."""
        return None if self._brought.empty() else self._brought.get()
