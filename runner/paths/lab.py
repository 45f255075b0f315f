"""File names of a lab's home, as its services, its workers and the client have them."""

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runner.paths.campaign import CampaignPaths

#: The folder that holds tasks.py, runner/, playbooks/, inventory/ and examples/: a checkout, or the wheel's folder.
SOURCE = Path(__file__).resolve().parents[2]

EXAMPLE = SOURCE / "examples" / "aloha"

#: Folders that a simulation fills; they never travel with a snapshot.
GENERATED = ("results", "frames", "out")

#: The project at the git server that is labfleet's own code.
CODE = "labfleet"

#: In a project's private git directory: its root.  Written for each snapshot, so its time is that of the last one.
SNAPSHOT_ROOT = "labfleet-root"


def home() -> Path:
    """Return the home of this user's local lab and client."""
    if chosen := os.environ.get("LABFLEET_HOME"):
        return Path(chosen).absolute()
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "labfleet"


def lock_of(folder: Path) -> Path:
    """Return the lock that is held while a shared folder is made, changed or removed."""
    return folder.with_name(f"{folder.name}.lock")


def use_of(folder: Path) -> Path:
    """Return the lock that is held, together with others, by whoever uses a shared folder."""
    return folder.with_name(f"{folder.name}.use")


def half_of(folder: Path) -> Path:
    """Return where a shared folder is made, until it is complete."""
    return folder.with_name(f".{folder.name}.new")


def index_of(folder: Path) -> Path:
    """Return git's index of a checkout: what its files were like when they were written."""
    return folder.with_name(f"{folder.name}.index")


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
    def local_lock(self) -> Path:
        """Held by the supervisor of a local lab's services for as long as it lives."""
        return self.home / "local.lock"

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

    @property
    def products(self) -> Path:
        """Parent of all that is kept of products; its lock is held while contents are placed or removed."""
        return self.home / "products"

    def product(self, key: str) -> Path:
        """Return the folder of a product."""
        return self.products / key

    def description(self, key: str) -> Path:
        """Return what is said of a product; its time is that of its last use."""
        return self.product(key) / "product.json"

    @property
    def contents(self) -> Path:
        """Parent of the products' files, each called by its checksum."""
        return self.products / "files"

    def content(self, name: str) -> Path:
        """Return a file of products."""
        return self.contents / name

    @property
    def products_checked(self) -> Path:
        """Its time is that of the head's last look at all files of products."""
        return self.home / "products.checked"

    @property
    def campaigns(self) -> Path:
        """Parent of the result store's campaigns."""
        return self.home / "campaigns"

    def campaign(self, campaign: str) -> CampaignPaths:
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

    @property
    def web(self) -> Path:
        """Folder of the web page: who may look, and where it is."""
        return self.home / "web"

    @property
    def web_wanted(self) -> Path:
        """Present when somebody wants a local lab's web page."""
        return self.web / "wanted"

    @property
    def web_file(self) -> Path:
        """The process and the ports of the web page, as long as it runs."""
        return self.web / "service.json"

    def web_token(self, person: str) -> Path:
        """Return the secret part of a person's token; ``person`` as it can be the name of a file."""
        return self.web / "people" / person

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
    def clones(self) -> Path:
        """Parent of the client's clones of repositories that references name."""
        return self.home / "references"

    @property
    def notes(self) -> Path:
        """Folder of what the client has noted of its own campaigns."""
        return self.home / "notes"

    def note(self, campaign: str) -> Path:
        """Return where the client has noted to which project a campaign belongs."""
        return self.notes / f"{campaign}.json"

    @property
    def at_home(self) -> Path:
        """Folder of the notes about campaigns of which everything has come home."""
        return self.home / "at-home"

    def note_at_home(self, campaign: str) -> Path:
        """Return where the client remembers to which project a campaign belongs of which everything has come home."""
        return self.at_home / f"{campaign}.json"

    def brought(self, campaign: str) -> Path:
        """Return the client's list of what has come home of a campaign, a line for each run."""
        return self.notes / f"{campaign}.home"

    def turn(self, campaign: str) -> Path:
        """Return the lock that a client holds while it brings a campaign home."""
        return self.notes / f"{campaign}.lock"

    def placing(self, results: Path) -> Path:
        """Return the lock that a client holds while it finds out what goes into a results folder, and puts it there.

        It is not in there: not every network's file system has locks.
        """
        return self.home / f"placing-{_named(results)}.lock"

    def linking(self, results: Path) -> Path:
        """Return the lock that a client holds for a moment, while it links a manifest beside the results."""
        return self.home / f"linking-{_named(results)}.lock"

    @property
    def tidied(self) -> Path:
        """What this client's housekeeping has said last; its time tells when that began."""
        return self.home / "tidied"


def _named(folder: Path) -> str:
    """Return a name for a folder that is somewhere else."""
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
