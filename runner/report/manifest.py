"""A campaign's manifest as a report reads it: of this version of labfleet, or of an earlier one that said less."""

from functools import cached_property
from pathlib import Path

import msgspec

from runner.errors import WrongUse
from runner.model import decode
from runner.report.text import count


class Read(msgspec.Struct, dict=True):
    """Base of what is read from a manifest; what it does not have has its default."""


class Try(Read):
    """An attempt at a run; times in seconds since the epoch."""

    kind: str
    host: str = ""
    slot: str = ""
    started: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0.0, self.ended - self.started)


class Entry(Read):
    """A run: a failure, as runner/causes.py takes it, if it has failed."""

    run: int
    kind: str
    variables: dict[str, str] = {}
    exit_status: int = 0
    error: str = ""
    host: str = ""
    slot: str = ""
    started: float = 0.0
    ended: float = 0.0
    command: tuple[str, ...] = ()
    attempts: tuple[Try, ...] = ()
    #: The key of the product with which it was done.
    build: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0.0, self.ended - self.started)

    @property
    def has_failed(self) -> bool:
        """Is it not done, without anybody having wanted that?"""
        return self.kind not in ("done", "cancelled", "not run")


class Snapshot(Read):
    """The project's state."""

    commit: str = ""
    tree: str = ""


class Features(Read):
    """Project features that were switched."""

    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()


class Build(Read):
    """How the program came into being."""

    key: str = ""
    built: bool = False
    commands: tuple[tuple[str, ...], ...] = ()
    toolchain: str = ""
    features: Features = msgspec.field(default_factory=Features)


class Reference(Read):
    """A project that this one needs."""

    place: str
    origin: str = ""
    commit: str = ""
    tree: str = ""
    key: str = ""


class Manifest(Read):
    """What a campaign was and what came of it."""

    campaign: str
    project: str
    config: str
    runs: tuple[Entry, ...]
    labfleet: str = ""
    run_filter: str = ""
    mode: str = ""
    working_directory: str = "."
    user: str = ""
    submitted: float = 0.0
    ended: float = 0.0
    order: tuple[str, ...] = ()
    snapshot: Snapshot = msgspec.field(default_factory=Snapshot)
    build: Build = msgspec.field(default_factory=Build)
    references: tuple[Reference, ...] = ()
    program: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    ini_files: tuple[str, ...] = ()
    ned_path: tuple[str, ...] = ()
    omnetpp: str = ""
    limits: dict[str, float | None] = {}
    state: str = ""
    reason: str = ""
    warnings: tuple[str, ...] = ()

    @cached_property
    def tries(self) -> list[tuple[int, Try]]:
        """The attempts that a slot has begun, and of which run each is."""
        return [(e.run, one) for e in self.runs for one in e.attempts if one.slot and 0 < one.started <= one.ended]

    @cached_property
    def done(self) -> list[Entry]:
        """The runs that are done."""
        return [entry for entry in self.runs if entry.kind == "done"]

    @cached_property
    def failed(self) -> list[Entry]:
        """The runs that have failed."""
        return [entry for entry in self.runs if entry.has_failed]

    @property
    def begin(self) -> float:
        """When it was submitted; clocks of machines differ, so a run may seem to have begun before."""
        return min([self.submitted or float("inf"), *(one.started for _, one in self.tries)], default=0.0)

    @property
    def end(self) -> float:
        """When it ended."""
        return max([self.ended, *(one.ended for _, one in self.tries)], default=0.0)

    @property
    def headline(self) -> str:
        """How it ended, in a line without a full stop."""
        told = [f"{len(self.done)} of {count(len(self.runs), 'run')} done"]
        told += [f"{len(self.failed)} failed"] if self.failed else []
        return ", ".join([*(["cancelled"] if self.state == "cancelled" else []), *told])


def read(data: str | bytes) -> Manifest:
    """Return a manifest.  Raises ValueError for what is none."""
    found: Manifest = decode(data, Manifest)
    return found


def load(file: Path) -> Manifest:
    """Return the manifest in a file.  Raises WrongUse if there is none."""
    try:
        return read(file.read_bytes())
    except FileNotFoundError:
        raise WrongUse(f"there is no manifest {file}", "it is written when a campaign has come home") from None
    except ValueError as error:
        raise WrongUse(f"{file} is no manifest of labfleet's: {error}") from None
