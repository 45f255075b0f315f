"""Every file name of labfleet, in one place.

Layout of a lab's home (``$LABFLEET_HOME``, by default ``~/.local/state/labfleet``); in a remote lab the head holds
the first half and every worker the second::

    lab.json lab.lock log/        what runs, and what it said
    redis/                        append-only file
    git/PROJECT.git               git server: one bare repository per project
    products/KEY/                 product.json, tree/
    incoming/PARCEL/              what workers have delivered and the foreman has not taken yet
    campaigns/ID/                 the result store: campaign.json, prepared.json, build.log, runs/, failed/, records/,
                                  lost.jsonl, end.json, and the marks cancelled, resumed, collected
    removed.log store.lock        which campaigns were removed, and why; held while one is removed or resumed
    drained.json                  machines that get no runs because somebody said so
    logs/ID/                      the log hub's files
    keys/                         CURVE keys: the lab's own, and the public ones of people and workers

    mirror/PROJECT.git            this host's copy of the repositories
    products/KEY/                 this host's copy of the products
    builds/…/                     the builder's working trees
    checkouts/TREE-KEY/           commit and products, shared by all slots, read-only; TREE-KEY.use is locked by users
    private/…/                    private directories of running processes
    spool/PARCEL/                 finished attempts that wait for the uploader
    outgoing/PARCEL/              what the builder is about to deliver
    keys/                         CURVE keys: the machine's own

    snapshots/PROJECT.git         the client's: index and objects of the snapshots it took
    remote/LAB/                   the client's: its key for a remote lab, and results on their way home
    notes/ID.json                 the client's: where a campaign of its own belongs; ID.home: what has come home of it
"""

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: The folder that holds tasks.py, runner/, playbooks/, inventory/ and examples/: a checkout, or the wheel's folder.
SOURCE = Path(__file__).resolve().parent.parent

EXAMPLE = SOURCE / "examples" / "aloha"

#: Folders that a simulation fills; they never travel with a snapshot.
GENERATED = ("results", "frames", "out")

#: The project at the git server that is labfleet's own code.
CODE = "labfleet"

#: In a project's private git directory: its root.  Written for each snapshot, so its time is that of the last one.
SNAPSHOT_ROOT = "labfleet-root"

#: The folder of a campaign's own files, inside the results folder.
CAMPAIGNS = "labfleet"

#: A file of a run that is not done ends in this, so that no analysis tool takes it for a result.
PARTIAL = ".partial"

#: Bytes in a file's name, on Linux's file systems.
LONGEST_NAME = 255


def home() -> Path:
    """Return the home of this user's local lab and client."""
    if chosen := os.environ.get("LABFLEET_HOME"):
        return Path(chosen).absolute()
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "labfleet"


def stored_name(path: str) -> str:
    """Return where a run's file lies inside its attempt's folder; the parent folder has a name of its own there."""
    return "/".join("_parent" if part == ".." else part for part in path.lstrip("/").split("/"))


def lock_of(folder: Path) -> Path:
    """Return the lock that is held while a shared folder is made, changed or removed."""
    return folder.with_name(f"{folder.name}.lock")


def use_of(folder: Path) -> Path:
    """Return the lock that is held, together with others, by whoever uses a shared folder."""
    return folder.with_name(f"{folder.name}.use")


def half_of(folder: Path) -> Path:
    """Return where a shared folder is made, until it is complete."""
    return folder.with_name(f".{folder.name}.new")


def attempt_parcel(campaign: str, run: int, attempt: int, token: str) -> str:
    """Return the name of the folder in which an attempt travels; ``token`` is its execution's own."""
    return f"{campaign}.{run}.{attempt}.{token}"


def parsed_parcel(name: str) -> tuple[str, int, int] | None:
    """Return campaign, run and attempt of an attempt's parcel; None for any other name."""
    parts = name.rsplit(".", 3)
    if len(parts) != 4 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        return None
    return parts[0], int(parts[1]), int(parts[2])


def build_log_parcel(campaign: str) -> str:
    """Return the name of the folder in which a campaign's build log travels."""
    return f"{campaign}.build"


@dataclass(frozen=True)
class LabPaths:
    """File names of one lab, seen from the machine that they are on."""

    home: Path

    @cached_property
    def sockets(self) -> Path:
        """Folder of the Unix sockets: short names (108 bytes) wherever the home is, the same in every environment."""
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        return Path("/tmp") / f"labfleet-{os.getuid()}-{digest}"

    # services
    @property
    def lab_file(self) -> Path:
        """What runs: process, code version, slots."""
        return self.home / "lab.json"

    @property
    def lab_lock(self) -> Path:
        """Held while services are started or stopped."""
        return self.home / "lab.lock"

    @property
    def service_logs(self) -> Path:
        """One file per service."""
        return self.home / "log"

    @property
    def redis(self) -> Path:
        """Redis's working directory."""
        return self.home / "redis"

    @property
    def redis_socket(self) -> Path:
        """Unix socket of Redis."""
        return self.sockets / "redis"

    def endpoint(self, name: str) -> str:
        """Return the ZeroMQ endpoint of a service: foreman, hub, hub-in, uploader, agent."""
        return f"ipc://{self.sockets / name}"

    # head
    def repository(self, project: str) -> Path:
        """Return the git server's repository of a project."""
        return self.home / "git" / f"{project}.git"

    def product(self, key: str) -> Path:
        """Return the folder of a product."""
        return self.home / "products" / key

    @property
    def campaigns(self) -> Path:
        """Parent of the result store's campaigns."""
        return self.home / "campaigns"

    def campaign(self, campaign: str) -> "CampaignPaths":
        """Return the result store's file names of a campaign."""
        return CampaignPaths(self.campaigns / campaign)

    @property
    def incoming(self) -> Path:
        """Parent of the parcels that workers have delivered."""
        return self.home / "incoming"

    @property
    def outgoing(self) -> Path:
        """Parent of the parcels that the builder is about to deliver."""
        return self.home / "outgoing"

    @property
    def keys(self) -> Path:
        """Folder of CURVE keys."""
        return self.home / "keys"

    @property
    def drained(self) -> Path:
        """The machines that get no runs because somebody said so."""
        return self.home / "drained.json"

    @property
    def removed(self) -> Path:
        """Which campaigns were removed when and why, a line for each, for people."""
        return self.home / "removed.log"

    @property
    def store_lock(self) -> Path:
        """Held while a campaign that has ended is removed from the store, or begins again."""
        return self.home / "store.lock"

    def log(self, campaign: str, stream: str) -> Path:
        """Return the hub's file of one stream: a run's log, or ``build``."""
        return self.home / "logs" / campaign / stream

    # worker
    def mirror(self, project: str) -> Path:
        """Return this host's copy of a project's repository."""
        return self.home / "mirror" / f"{project}.git"

    def builder(self, project: str, variant: str) -> Path:
        """Return the builder's working place for a project built in one way."""
        return self.home / "builds" / f"{project}-{variant}"

    def checkout(self, tree: str, key: str) -> Path:
        """Return the shared checkout of a tree with its products."""
        return self.home / "checkouts" / f"{tree[:20]}-{key[:20]}"

    @property
    def private(self) -> Path:
        """Parent of all private directories."""
        return self.home / "private"

    @property
    def spool(self) -> Path:
        """Parent of the attempts that wait for the uploader."""
        return self.home / "spool"

    def half_parcel(self, worker: str, parcel: str) -> Path:
        """Return where a slot gathers what becomes a parcel in the spool."""
        return self.spool / f".{worker}.{parcel}"

    def private_of(self, worker: str, name: str) -> Path:
        """Return a private directory of a slot's or the builder's."""
        return self.private / f"{worker}.{name}"

    def half_done_by(self, worker: str) -> list[Path]:
        """Return everything unfinished that lies about if a worker is dead."""
        return [*self.private.glob(f"{worker}.*"), *self.spool.glob(f".{worker}.*")]

    def build_log(self, campaign: str) -> Path:
        """Return where the builder writes a campaign's build log."""
        return self.home / "builds" / "log" / f"{campaign}.log"

    # client
    @property
    def remotes(self) -> Path:
        """Parent of what a client keeps of remote labs."""
        return self.home / "remote"

    def remote(self, lab: str) -> "LabPaths":
        """Return the file names of what a client keeps of a remote lab."""
        return LabPaths(self.remotes / re.sub(r"[^A-Za-z0-9@._-]", "_", lab))

    def snapshots(self, project: str) -> Path:
        """Return the client's private git directory of a project."""
        return self.home / "snapshots" / f"{project}.git"

    @property
    def notes(self) -> Path:
        """Folder of what the client has noted of its own campaigns."""
        return self.home / "notes"

    def note(self, campaign: str) -> Path:
        """Return where the client has noted to which project a campaign belongs."""
        return self.notes / f"{campaign}.json"

    def brought(self, campaign: str) -> Path:
        """Return the client's list of what has come home of a campaign, a line for each run."""
        return self.notes / f"{campaign}.home"


@dataclass(frozen=True)
class CampaignPaths:
    """File names of one campaign in the result store."""

    root: Path

    @property
    def campaign(self) -> Path:
        """The submitted campaign."""
        return self.root / "campaign.json"

    @property
    def prepared(self) -> Path:
        """The list of runs and the build key."""
        return self.root / "prepared.json"

    @property
    def build_log(self) -> Path:
        """Everything the campaign's build printed; absent when nothing had to be built."""
        return self.root / "build.log"

    @property
    def lost(self) -> Path:
        """The attempts that were lost, a line for each."""
        return self.root / "lost.jsonl"

    @property
    def cancelled(self) -> Path:
        """Present when nobody wants the campaign's further runs; holds the reason."""
        return self.root / "cancelled"

    @property
    def resumed(self) -> Path:
        """When the campaign was resumed last; absent if it never was."""
        return self.root / "resumed"

    @property
    def end(self) -> Path:
        """How the campaign ended; absent while it is under way."""
        return self.root / "end.json"

    @property
    def collected(self) -> Path:
        """Present when everything is at its owner's home."""
        return self.root / "collected"

    @property
    def failed(self) -> Path:
        """Folder of the attempts that failed."""
        return self.root / "failed"

    def parcel(self, name: str) -> Path:
        """Return where the uploader puts an attempt."""
        return LabPaths(self.root.parent.parent).incoming / name

    def committed(self, run: int, attempt: int, done: bool) -> Path:
        """Return where a committed attempt lies; those of failed runs lie apart."""
        return self.root / ("runs" if done else "failed") / f"{run}.{attempt}"

    @property
    def records(self) -> Path:
        """Folder of the commit records."""
        return self.root / "records"

    def record(self, run: int) -> Path:
        """Return the commit record of a run: present exactly when the run is over and its files are complete."""
        return self.records / f"{run}.json"


@dataclass(frozen=True)
class AttemptPaths:
    """File names inside one attempt's folder: in the spool, incoming, and in the result store."""

    root: Path

    @property
    def outcome(self) -> Path:
        """The attempt's :class:`~runner.model.Outcome`."""
        return self.root / "outcome.json"

    @property
    def log(self) -> Path:
        """Everything the run printed."""
        return self.root / "log"

    @property
    def files(self) -> Path:
        """Top of the files that the run left."""
        return self.root / "files"

    def file(self, path: str) -> Path:
        """Return where one of the run's files lies."""
        return self.files / stored_name(path)


@dataclass(frozen=True)
class HomePaths:
    """File names of one campaign in the person's results folder."""

    results: Path
    campaign: str

    @property
    def root(self) -> Path:
        """Folder of this campaign's own files."""
        return self.results / CAMPAIGNS / self.campaign

    @property
    def manifest(self) -> Path:
        """The manifest of this campaign."""
        return self.root / "campaign.json"

    @property
    def latest(self) -> Path:
        """Beside the results: a link to the latest campaign's manifest."""
        return self.results / "campaign.json"

    @property
    def build_log(self) -> Path:
        """Everything the build printed."""
        return self.root / "build.log"

    def log(self, run: int) -> Path:
        """Return where a run's full log is kept."""
        return self.root / "logs" / f"run-{run}.log"

    def failed(self, run: int, kind: str, path: str) -> Path:
        """Return where a file of a run that is not done goes: apart, and named as what it is."""
        folder, _, name = stored_name(path).rpartition("/")
        shortened = os.fsdecode(os.fsencode(name)[: LONGEST_NAME - len(PARTIAL)])
        return self.root / "failed" / f"run-{run}-{kind}" / folder / (shortened + PARTIAL)

    def own(self, run: int, path: str) -> Path:
        """Return where a file goes whose path another run, or the project itself, has too."""
        return self.root / "same-name" / f"run-{run}" / stored_name(path)
