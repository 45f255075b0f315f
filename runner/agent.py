"""One agent per host: what its slots share (mirror, checkouts), the uploader, and the slots themselves.

The first slot that needs a revision fetches it and lays it out, the others wait for it at a lock: whatever the number
of slots, commit and products come to the host once.
"""

import fcntl
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from runner import repository, results, shell
from runner.job_queue import WorkerEnd
from runner.messages import DeliveryFailed, HostUp, RunDelivered, SlotDied
from runner.model import Attempt, Campaign
from runner.paths import AttemptPaths, LabPaths

log = logging.getLogger(__name__)

#: How often an attempt's delivery is tried, about twice a second.
MOST_TRIES = 240


# ---- mirror and checkouts ----------------------------------------------------------------------------------------


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def provide_commit(paths: LabPaths, campaign: Campaign) -> Path:
    """Return this host's mirror of a campaign's project, with the campaign's commit in it."""
    mirror = paths.mirror(campaign.project)
    with locked(mirror.with_suffix(".lock")):
        repository.create(mirror)
        if not repository.has_commit(mirror, campaign.commit):
            repository.fetch(mirror, str(paths.repository(campaign.project)), f"refs/snapshots/{campaign.commit}")
    return mirror


def provide_checkout(paths: LabPaths, campaign: Campaign, key: str) -> Path:
    """Return a directory with a campaign's files and, laid beside them, the products of its build; read-only."""
    checkout = paths.checkout(campaign.tree, key)
    if checkout.exists():
        return checkout
    with locked(checkout.with_suffix(".lock")):
        if not checkout.exists():
            mirror = provide_commit(paths, campaign)
            half = checkout.with_suffix(".new")
            if half.exists():  # of a slot that died; it may be read-only already
                shell.run(["chmod", "-R", "u+w", str(half)])
                shutil.rmtree(half)
            half.mkdir(parents=True)
            repository.lay_out(mirror, campaign.tree, half, half.with_suffix(".index"))
            _lay_beside(paths.product(key) / "tree", half)
            shell.run(["chmod", "-R", "a-w", str(half)])
            os.rename(half, checkout)
    return checkout


def _lay_beside(products: Path, checkout: Path) -> None:
    """Link the products into a checkout, in place of what the commit may have under their names."""
    for folder, _, names in os.walk(products):
        target = checkout / os.path.relpath(folder, products)
        target.mkdir(exist_ok=True)
        for name in names:
            (target / name).unlink(missing_ok=True)
            os.link(os.path.join(folder, name), target / name, follow_symlinks=False)


# ---- the agent's own process -------------------------------------------------------------------------------------


class Agent:
    """Keeps the slots (and the builder) of one host alive and uploads what they have finished."""

    def __init__(self, host: str, slots: int, paths: LabPaths, lab: WorkerEnd) -> None:
        self._host, self._paths, self._lab = host, paths, lab
        self._slots = slots
        self._workers: dict[str, shell.Process] = {}
        self._tries: Counter[str] = Counter()

    def run(self) -> None:
        """Serve until the process is ended.  Workers end with it."""
        self._paths.spool.mkdir(parents=True, exist_ok=True)
        for half in self._paths.spool.glob(".*"):  # of slots that died while they moved files there
            shutil.rmtree(half, ignore_errors=True)
        shell.end_marked(self._paths.home)
        shutil.rmtree(self._paths.private, ignore_errors=True)
        self._paths.private.mkdir(parents=True)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        inbox = context.socket(zmq.PULL)
        inbox.bind(self._paths.endpoint("uploader"))
        for index in range(self._slots):
            self._start_worker("slot", f"slot{index + 1}")
        self._start_worker("builder", "builder")
        self._lab.post(HostUp(self._host, self._slots))
        left = [path.name for path in self._paths.spool.iterdir()]
        while True:
            names = left
            if inbox.poll(500):
                names.append(inbox.recv().decode())
                while inbox.poll(0):
                    names.append(inbox.recv().decode())
            left = self._deliver(names)
            self._watch_workers()

    def _start_worker(self, role: str, name: str) -> None:
        log_file = self._paths.service_logs / f"{name}.log"
        with log_file.open("ab") as output:
            self._workers[name] = shell.start(
                [sys.executable, "-m", "runner.services", role, name],
                cwd=self._paths.home,
                env=os.environ,
                output=output,
                dies_with_parent=True,
            )

    def _watch_workers(self) -> None:
        """Start dead workers again and tell the foreman, whose runs they may have had."""
        for name, process in list(self._workers.items()):
            status = process.wait(0)
            if status is not None:
                log.warning("%s ended with status %s and is started again", name, status)
                shell.end_marked(self._paths.home, name)
                self._lab.post(SlotDied(self._host, name))
                self._start_worker("builder" if name == "builder" else "slot", name)

    def _deliver(self, names: list[str]) -> list[str]:
        """Bring finished attempts from the spool to the result store, tell the foreman, and return what is left."""
        left = []
        for name in names:
            attempt = AttemptPaths(self._paths.spool / name)
            try:
                outcome = results.sealed(attempt)
                store = self._paths.campaign(outcome.campaign)
                target = store.incoming(outcome.run, outcome.attempt)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(target, ignore_errors=True)
                os.rename(attempt.root, target)
            except (OSError, ValueError) as error:
                log.warning("%s cannot be delivered: %s", name, error)
                self._tries[name] += 1
                if self._tries[name] < MOST_TRIES:
                    left.append(name)
                else:
                    self._give_back(name)
            else:
                self._lab.post(RunDelivered(outcome))
        return left

    def _give_back(self, name: str) -> None:
        """Let the foreman begin a run again whose files cannot be delivered; what there is of them goes."""
        shutil.rmtree(self._paths.spool / name, ignore_errors=True)
        campaign, run, number = name.rsplit(".", 2)
        self._lab.post(DeliveryFailed(campaign, Attempt(int(run), int(number))))
