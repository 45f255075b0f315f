"""A head and a worker in two folders, with real git between them and no other processes."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from time import time

from runner import checkouts, snapshot
from runner.head import SameMachine
from runner.housekeeping import worker
from runner.housekeeping.limits import Limits
from runner.job_queue import WorkerEnd
from runner.messages import Event
from runner.model import Campaign
from runner.paths import LabPaths
from tests.stored_campaigns import DAY, campaign, product

NOW = time()

KEY = "k" * 40


class OtherMachine(SameMachine):
    """The head of a remote lab, reached without SSH: its products are copied."""

    shares_store = False

    def __init__(self, paths: LabPaths) -> None:
        super().__init__(paths)
        self._store = paths
        self.fetched: list[str] = []

    def fetch(self, names: Sequence[str], folder: Path) -> bool:
        """Copy what there is."""
        there = [name for name in names if (self._store.products / name).exists()]
        for name in there:
            shutil.copyfile(self._store.products / name, folder / Path(name).name)
        self.fetched += there
        return len(there) == len(names)


class Foreman(WorkerEnd):
    """What a builder needs of the lab."""

    def __init__(self, wanted: Campaign) -> None:
        self._wanted = wanted
        self.told: list[Event] = []
        self.is_cancelled = False

    def campaign(self, campaign: str) -> Campaign:  # noqa: ARG002
        """Return the only one."""
        return self._wanted

    def post(self, event: Event) -> None:
        """Take note."""
        self.told.append(event)

    def is_unwanted(self, campaign: str, chunk: str) -> bool:  # noqa: ARG002
        """Say what the test says."""
        return self.is_cancelled


class Lab:
    """A head with a project's snapshots and a product, and a worker that has nothing yet."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "aloha"
        self.root.mkdir()
        (self.root / "omnetpp.ini").write_text("[General]\n")
        self.private = folder / "client" / "snapshots" / "aloha.git"
        self.store, self.paths = LabPaths(folder / "head"), LabPaths(folder / "worker")
        self.paths.home.mkdir()
        product(self.store, KEY, NOW, size=300_000)
        self.head = OtherMachine(self.store)

    def submit(self, text: str = "[General]\n") -> Campaign:
        """Push the project with some text in it, and return a campaign of it."""
        (self.root / "omnetpp.ini").write_text(text)
        taken = snapshot.take(self.root, (), self.private)
        wanted = campaign(commit=taken.commit, tree=taken.tree)
        snapshot.push(taken, self.private, str(self.store.repository(wanted.project)))
        return wanted

    def checkout(self, wanted: Campaign) -> Path:
        """Return a checkout that was used just now, and is not in use."""
        with checkouts.in_use(self.paths, self.head, wanted, KEY) as checkout:
            return checkout

    def tidy(self, limits: Limits, days: float) -> list[str]:
        """Tidy the worker some days later."""
        return worker.tidy(self.paths, limits, time() + days * DAY, shares_store=False)
