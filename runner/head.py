"""What a worker needs of the head: its git server, its product store, and a place to deliver to.

On a local lab these are folders of the same machine; on a remote one SSH leads there, with a key for each of the three
and a forced command behind it (playbooks/roles/head/files/gate.py).
"""

import os
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from runner import repository, shell
from runner.machine import Machine, WorkerSettings
from runner.paths import LabPaths

#: Exit status of rsync when the source is not there.
RSYNC_MISSING = 23

#: Fetches that may fail although the git server answers: the connection may have broken.
MOST_FETCHES = 3

#: The head's system user.
HEAD_USER = "labfleet"


class Head(Protocol):
    """The head as a worker sees it.  What it does not do now raises OSError."""

    def fetch_commit(self, project: str, commit: str, mirror: Path) -> None:
        """Bring a snapshot of a project into a mirror.  Raises LookupError if the git server has none of that name."""
        ...

    def has_product(self, key: str) -> bool:
        """Say whether the product store has a product."""
        ...

    def fetch_product(self, key: str, folder: Path) -> bool:
        """Make a folder hold a product, complete or not at all; False if the store has none of that key."""
        ...

    def deliver(self, parcels: Iterable[Path]) -> None:
        """Bring folders to the head's incoming folder; they are gone here afterwards."""
        ...

    @property
    def shares_store(self) -> bool:
        """Is the product store this machine's own folder?"""
        ...


class SameMachine:
    """The head of a local lab."""

    shares_store = True

    def __init__(self, paths: LabPaths) -> None:
        self._paths = paths

    def fetch_commit(self, project: str, commit: str, mirror: Path) -> None:
        """Fetch it from the repository's folder."""
        server = self._paths.repository(project)
        if not server.exists():
            raise LookupError(f"there is no repository {server}")
        _fetch(mirror, str(server), commit)

    def has_product(self, key: str) -> bool:
        """Look."""
        return (self._paths.product(key) / "product.json").exists()

    def fetch_product(self, key: str, folder: Path) -> bool:
        """Say whether it is there; it is the same folder."""
        return (folder / "product.json").exists() and folder == self._paths.product(key)

    def deliver(self, parcels: Iterable[Path]) -> None:
        """Rename the folders."""
        self._paths.incoming.mkdir(exist_ok=True)
        for parcel in parcels:
            target = self._paths.incoming / parcel.name
            shutil.rmtree(target, ignore_errors=True)  # of a delivery that was not taken
            os.rename(parcel, target)


class OverSsh:
    """The head of a remote lab."""

    shares_store = False

    def __init__(self, settings: WorkerSettings, folder: Path, paths: LabPaths) -> None:
        self._settings, self._folder, self._paths = settings, folder, paths

    def _ssh(self, kind: str) -> str:
        """Return the SSH command with the key of a kind: git, products or results."""
        options = {
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self._folder / "known_hosts"),
            "GlobalKnownHostsFile": os.devnull,
            "ConnectTimeout": "10",
            "ServerAliveInterval": "5",
            # A transfer over a connection that is there costs half of one that has to make its own.
            "ControlMaster": "auto",
            "ControlPath": f"{self._paths.sockets}/ssh-{kind}",
            "ControlPersist": "60",
        }
        self._paths.sockets.mkdir(mode=0o700, exist_ok=True)
        # The connection stays when the command that made it has ended, so it is marked as what may do so.
        words = [
            "env",
            f"{shell.STAYS}=1",
            "ssh",
            "-F",
            os.devnull,
            "-p",
            str(self._settings.ssh_port),
            "-i",
            str(self._folder / f"{kind}.key"),
        ]
        return shlex.join([*words, *(f"-o{name}={value}" for name, value in options.items())])

    def _address(self, path: str) -> str:
        return f"{HEAD_USER}@{self._settings.head}:{path}"

    def fetch_commit(self, project: str, commit: str, mirror: Path) -> None:
        """Fetch it with the key for git."""
        _fetch(mirror, self._address(f"{project}.git"), commit, self._ssh("git"))

    def has_product(self, key: str) -> bool:
        """Ask for it without having it sent."""
        answer = self._rsync("products", "-nrlpt", self._address(f"{key}/product.json"), f"{self._paths.home}/")
        if answer.status != RSYNC_MISSING:
            _check(answer)
        return answer.status == 0

    def fetch_product(self, key: str, folder: Path) -> bool:
        """Copy a product from the store."""
        half = folder.with_name(f".{folder.name}.new")
        half.mkdir(parents=True, exist_ok=True)  # what an interrupted transfer brought is used again
        answer = self._rsync("products", "-rlpt", "--delete", self._address(f"{key}/"), f"{half}/")
        if answer.status == RSYNC_MISSING and not ((half / "product.json").exists() and self.has_product(key)):
            shutil.rmtree(half)
            return False
        _check(answer)
        os.rename(half, folder)
        return True

    def deliver(self, parcels: Iterable[Path]) -> None:
        """Copy the folders over one connection, and remove them here."""
        folders = list(parcels)
        _check(self._rsync("results", "-rlpt", *(str(folder) for folder in folders), self._address("./")))
        for folder in folders:
            shutil.rmtree(folder)

    def _rsync(self, kind: str, *arguments: str) -> shell.Result:
        # Without compression: the lab's network is faster than a core.  With what an interrupted transfer has brought
        # of a large file the next goes on; nobody takes it for the file: only a transfer that ended well is told of.
        return shell.run(["rsync", "-e", self._ssh(kind), "--timeout=60", "--partial", *arguments], check=False)


def _fetch(mirror: Path, server: str, commit: str, ssh: str = "") -> None:
    """Fetch a snapshot.

    Raises LookupError if the server has none of that name, OSError if it does not answer, and CommandFailed if it does,
    and nothing comes of it all the same: then it is not the server's fault.
    """
    ref = repository.name_of(commit)
    failures = 0
    while True:
        try:
            repository.fetch(mirror, server, ref, ssh)
            return
        except shell.CommandFailed:
            failures += 1
            _require_offer(server, ref, ssh)
            if failures == MOST_FETCHES:
                raise


def _require_offer(server: str, ref: str, ssh: str) -> None:
    """Raise LookupError if a git server has no such ref, OSError if it does not answer."""
    try:
        is_there = repository.offers(server, ref, ssh)
    except shell.CommandFailed as error:
        raise OSError(f"the git server does not answer: {error}") from error
    if not is_there:
        raise LookupError(f"the git server has no {ref}")


def _check(answer: shell.Result) -> None:
    """Raise OSError unless rsync succeeded."""
    if answer.status != 0:
        raise OSError(f"rsync ended with status {answer.status}: {answer.complaint[-500:]}")


def of(machine: Machine) -> Head:
    """Return the head of the lab that a machine belongs to."""
    if isinstance(machine.settings, WorkerSettings):
        return OverSsh(machine.settings, machine.folder, machine.paths)
    return SameMachine(machine.paths)
