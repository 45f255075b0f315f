"""What a worker needs of the head: its git server, its product store, and a place to deliver to.

On a local lab these are folders of the same machine; on a remote one SSH leads there, with a key for each of the three
and a forced command behind it (playbooks/roles/head/files/gate.py).
"""

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from runner import repository, shell
from runner.machine import Machine, WorkerSettings
from runner.paths import LabPaths

#: Exit status of rsync when the source is not there.
RSYNC_MISSING = 23

#: Fetches that may fail although the git server answers: the connection may have broken.
MOST_FETCHES = 3

#: Files that are named on one command line: it is one word for the head's gate, and words have a largest length.
MOST_AT_ONCE = 200

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

    def contents(self) -> Mapping[str, int]:
        """Return the files of all products that the store has, by their names, and their sizes."""
        ...

    def fetch(self, names: Sequence[str], folder: Path) -> bool:
        """Copy files of the product store into a folder, all of them or what there is; False if one is missing."""
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
        return self._paths.description(key).exists()

    def contents(self) -> Mapping[str, int]:
        """Look."""
        there = self._paths.contents.iterdir() if self._paths.contents.is_dir() else ()
        return {path.name: path.stat().st_size for path in there}

    def fetch(self, names: Sequence[str], folder: Path) -> bool:  # noqa: ARG002
        """There is nowhere else to fetch from."""
        return False

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
        """Ask for its description."""
        return self._has([f"{key}/product.json"])

    def contents(self) -> Mapping[str, int]:
        """Have the folder listed."""
        answer = self._rsync("products", self._address("files/"))
        if answer.status == RSYNC_MISSING:
            return {}
        _check(answer)
        return _listed(answer.text)

    def fetch(self, names: Sequence[str], folder: Path) -> bool:
        """Copy them, many over one connection; what an interrupted transfer has brought into the folder is used."""
        is_all_there = True
        for begin in range(0, len(names), MOST_AT_ONCE):
            some = names[begin : begin + MOST_AT_ONCE]
            answer = self._rsync("products", "-t", *self._addresses(some), f"{folder}/")
            # What cannot be written here ends with the same status as what is not there.
            if answer.status == RSYNC_MISSING and not self._has(some):
                is_all_there = False
            else:
                _check(answer)
        return is_all_there

    def _has(self, names: Sequence[str]) -> bool:
        """Ask for files of the product store without having them sent."""
        answer = self._rsync("products", "-nt", *self._addresses(names), f"{self._paths.home}/")
        if answer.status != RSYNC_MISSING:
            _check(answer)
        return answer.status == 0

    def _addresses(self, names: Sequence[str]) -> list[str]:
        """Return sources that come over one connection."""
        return [self._address(names[0]), *(f":{name}" for name in names[1:])]

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


def _listed(text: str) -> dict[str, int]:
    """Return the files that rsync lists, and their sizes: ``-r--r--r--  1,234,567 2026/01/31 12:00:00 NAME``."""
    words = (line.split(maxsplit=4) for line in text.splitlines() if line.startswith("-"))
    return {line[4]: int(re.sub(r"\D", "", line[1])) for line in words if len(line) == 5}


def _check(answer: shell.Result) -> None:
    """Raise OSError unless rsync succeeded."""
    if answer.status != 0:
        raise OSError(f"rsync ended with status {answer.status}: {answer.complaint[-500:]}")


def of(machine: Machine) -> Head:
    """Return the head of the lab that a machine belongs to."""
    if isinstance(machine.settings, WorkerSettings):
        return OverSsh(machine.settings, machine.folder, machine.paths)
    return SameMachine(machine.paths)
