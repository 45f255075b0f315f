"""What a machine of the lab finds out about itself, from where its service stands: that image, that user, those keys.

``python -m runner.services check`` prints it as JSON, in a container like the service's own, for ``labfleet doctor``.
Nothing is changed but for a file that is written and removed at once.
"""

import os
import secrets
import shlex
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import field

from runner import curve, distcc, head, knock, shell
from runner.knock import Knock, Met
from runner.machine import Machine, WorkerSettings
from runner.model import Value, encode
from runner.paths import CODE, LabPaths
from runner.toolchain import Toolchains

#: Seconds for one connection over SSH, and for everything.
PATIENCE, DEADLINE = 6, 10

#: Where the head tells its public CURVE key (job_queue/), and where a builder's distcc is told who helps.
LAB_KEY = "labfleet:key"
DISTCC_HOSTS = Path("/etc/distcc/hosts")

#: The repository with labfleet's own code, and the branch that the lab runs.
DEPLOYED = "refs/heads/deployed"

#: The head's stores; each has an SSH key of its own.
KINDS = ("git", "products", "results")


class SelfCheck(Value, frozen=True):
    """What was found; None and {}: that is no matter of this machine's."""

    redis: Knock
    #: Why nothing can be written to the disk; empty: it can.
    disk: str
    #: The hub, with this worker's key.
    hub: Knock | None = None
    #: The head's stores, by the kind of this worker's SSH key.
    stores: dict[str, Knock] = field(default_factory=dict)
    #: The workers that compile for this builder, by their entry in distcc's list.
    distcc: dict[str, Knock] = field(default_factory=dict)
    #: One line that is equal for machines that compile alike.
    toolchain: str = ""
    #: Finished runs that have not been sent, and for how many seconds the oldest of them has waited.
    unsent: int = 0
    unsent_since: float = 0


def report(machine: Machine) -> str:
    """Return what a machine finds out about itself, as JSON."""
    return encode(check(machine, DISTCC_HOSTS)).decode()


def check(machine: Machine, distcc_hosts: Path) -> SelfCheck:
    """Return what a machine finds out about itself; ``distcc_hosts``: the file that names a builder's helpers."""
    settings = machine.settings
    stores: dict[str, Callable[[], Knock]] = {}
    helpers: dict[str, Callable[[], Knock]] = {}
    others: dict[str, Callable[[], Any]] = {
        "services": lambda: _services(machine),
        "disk": lambda: _disk(machine.paths),
    }
    if isinstance(settings, WorkerSettings):
        stores = {kind: partial(_store, kind, machine.folder, settings) for kind in KINDS}
        helpers = {entry: partial(_distcc, entry) for entry in _helpers(distcc_hosts) if settings.builder}
        others["toolchain"] = lambda: Toolchains().identify(os.environ)
    found = _at_once({**stores, **helpers, **others})
    late = Knock(Met.SILENT, f"no answer within {DEADLINE} s")
    redis, hub = found.get("services", (late, None))
    unsent, unsent_since = _unsent(machine.paths.spool)
    return SelfCheck(
        redis=redis,
        disk=found.get("disk", late.said),
        hub=hub,
        stores={kind: found.get(kind, late) for kind in stores},
        distcc={entry: found.get(entry, late) for entry in helpers},
        toolchain=found.get("toolchain", ""),
        unsent=unsent,
        unsent_since=unsent_since,
    )


def _at_once(parts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Return what the parts came to, all done at the same time; what is not done in time is missing."""
    found: dict[str, Any] = {}
    threads = [
        threading.Thread(target=lambda name=name, part=part: found.update({name: part()}), daemon=True)
        for name, part in parts.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + DEADLINE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(found)


# ---- Redis and the hub -----------------------------------------------------------------------------------------------


def _services(machine: Machine) -> tuple[Knock, Knock | None]:
    """Return what Redis and, with the key that is in it, the hub say."""
    redis, key = knock.redis(machine.redis, machine.password, machine.authority, LAB_KEY)
    if not isinstance(machine.settings, WorkerSettings) or redis.met is not Met.LET_IN:
        return redis, None
    if not key:
        return redis, Knock(Met.SILENT, "the head has told no key yet")
    if not (machine.paths.keys / "worker.pub").exists():
        return redis, Knock(Met.SILENT, "this worker has no key, so it has never run")
    access = curve.Access(curve.own_keys(machine.paths.keys, "worker"), key.encode())
    return redis, knock.service(machine.logs, access)


# ---- the head's stores -----------------------------------------------------------------------------------------------


def _store(kind: str, folder: Path, settings: WorkerSettings) -> Knock:
    """Do the smallest thing that a key is for: list, or pretend to deliver."""
    there = knock.listens(settings.head, settings.ssh_port)
    if there.met is not Met.LET_IN:
        return there
    ssh = _ssh(kind, folder, settings)
    store = f"{head.HEAD_USER}@{settings.head}:"
    with tempfile.TemporaryDirectory(prefix="labfleet-") as nothing:
        argv = {
            "git": ["git", "ls-remote", f"{store}{CODE}.git", DEPLOYED],
            "products": ["rsync", "-e", ssh, f"{store}./"],  # without a target, it lists
            "results": ["rsync", "-e", ssh, "--dry-run", "-rlpt", f"{nothing}/", f"{store}./"],
        }[kind]
        try:
            done = shell.run(argv, env={**os.environ, "GIT_SSH_COMMAND": ssh}, check=False, seconds=PATIENCE)
        except TimeoutError as error:
            return Knock(Met.SILENT, str(error))
        except OSError as error:
            return Knock(Met.SILENT, f"{argv[0]}: {error.strerror}")
    if done.status != 0:
        return Knock(Met.REFUSED, (done.complaint.splitlines() or [f"exit status {done.status}"])[0])
    return Knock(Met.LET_IN)


def _ssh(kind: str, folder: Path, settings: WorkerSettings) -> str:
    """Return the SSH command with the key of a kind; it makes a connection of its own, to see whether that can be."""
    options = {
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(folder / "known_hosts"),
        "GlobalKnownHostsFile": os.devnull,
        "LogLevel": "ERROR",
    }
    words = ["ssh", "-F", os.devnull, "-p", str(settings.ssh_port), "-i", str(folder / f"{kind}.key")]
    return shlex.join([*words, *(f"-o{name}={value}" for name, value in options.items())])


# ---- distcc, disk ----------------------------------------------------------------------------------------------------


def _helpers(distcc_hosts: Path) -> list[str]:
    """Return the machines that compile for this one, as distcc is told."""
    try:
        return [helper.entry for helper in distcc.listed(distcc_hosts.read_text()) if not helper.is_here]
    except OSError:
        return []


def _distcc(entry: str) -> Knock:
    return knock.distcc(*knock.distcc_place(entry))


def _disk(paths: LabPaths) -> str:
    """Return why nothing can be written; empty: it can."""
    trial = paths.home / f".check-{secrets.token_hex(8)}"
    try:
        try:
            with trial.open("xb") as file:
                file.write(bytes(1 << 16))
                os.fsync(file.fileno())
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _unsent(spool: Path) -> tuple[int, float]:
    """Return how many finished runs wait to be sent, and the age of the oldest in seconds."""
    try:
        ages = [time.time() - entry.stat().st_mtime for entry in os.scandir(spool) if not entry.name.startswith(".")]
    except OSError:  # there is none yet, or something was sent just now
        return 0, 0.0
    return len(ages), max(ages, default=0.0)
