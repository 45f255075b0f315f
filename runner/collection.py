"""The way home: where the files of finished runs go at the client.

A file appears under its name complete and checked, or not at all.  Every step can be done again: what a client that was
killed had already moved is found at its place.
"""

import errno
import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import LabFailed
from runner.manifest import Execution
from runner.model import File, Outcome
from runner.paths import AttemptPaths, CampaignPaths, HomePaths

#: Bytes read or copied at a time.
BLOCK = 1 << 20

#: Warnings that a person reads.
MOST_WARNINGS = 20


@dataclass
class Collector:
    """Brings the files of finished runs to the places where a local run would have left them."""

    store: CampaignPaths
    home: HomePaths
    #: The project's root.
    root: Path
    warnings: list[str] = field(default_factory=list)
    #: The campaign's configuration.
    config: str = "…"
    #: Read what is moved, and compare it with what was sent.
    verify: bool = False
    #: Results of campaigns that were submitted later, by their paths at home.
    later: Mapping[str, Execution] = field(default_factory=dict)
    #: Runs that are not done, though there are results of earlier executions of theirs.
    outdated: set[int] = field(default_factory=set)
    #: Whose file is at a path, or will be.
    _owners: dict[str, int] = field(default_factory=dict)
    #: Paths that other runs wrote, too.
    _contended: set[str] = field(default_factory=set)
    #: Files that have come home to the paths at which runs wrote them.
    _there: dict[str, File] = field(default_factory=dict)

    def collect(self, outcome: Outcome) -> dict[str, str]:
        """Bring one run's files home and return path in the run → path at home, both relative to the root.

        Files that are already there under the same names are replaced, one by one and only by complete ones.
        Raises LabFailed if a file does not arrive as it was sent.
        """
        places = self.plan(outcome)
        self.bring(outcome, places)
        return places

    def plan(self, outcome: Outcome) -> dict[str, str]:
        """Return where the files of a run are to go: path in the run → path at home.  Raises LabFailed."""
        if outcome.kind == "lost":
            return {}
        for file in outcome.files:
            _check_path(outcome, file)
        return {file.path: os.path.relpath(self._place(outcome, file), self.root) for file in outcome.files}

    def remember(self, run: int, places: Mapping[str, str]) -> None:
        """Take note of a run of which an earlier client has chosen the places: whose file is where it belongs?"""
        for path, place in places.items():
            if os.path.normpath(path) == place:
                self._owners.setdefault(path, run)

    def bring(self, outcome: Outcome, places: Mapping[str, str], *, again: bool = False) -> None:
        """Move a run's files to their places.  Raises LabFailed if a file does not arrive as it was sent.

        ``again``: a client began to that was killed, so some may be there already.
        """
        if outcome.kind == "lost":
            return
        source = AttemptPaths(self.store.committed(outcome.run, outcome.attempt, outcome.kind == "done"))
        _copy(source.log, self.home.log(outcome.run), None, _half(outcome))
        for file in outcome.files:
            target = self.root / places[file.path]
            try:
                if self.verify:
                    _check(source.file(file.path), target, file)
                _move(source.file(file.path), target, file, _half(outcome))
            except FileNotFoundError:
                self._look_at_home(outcome, file, target, again)
            except _Damaged as damaged:
                if self.verify:  # there is a good one in the lab; this one would pass for it when it is fetched again
                    source.file(file.path).unlink(missing_ok=True)
                    fetched = f"labfleet attach {outcome.campaign} fetches it again"
                    damaged.hint = f"{fetched}; if it is damaged then, too, {damaged.hint}"
                raise
        self.arrived(outcome, places)

    def arrived(self, outcome: Outcome, places: Mapping[str, str]) -> None:
        """Take note that all files of a run are at their places."""
        if outcome.kind != "done":
            return
        for file in outcome.files:
            is_in_place = places.get(file.path) == os.path.normpath(file.path)
            if is_in_place and self._owners.get(file.path) == outcome.run:
                self._there[file.path] = file
                self._keep_first(file.path)

    def _look_at_home(self, outcome: Outcome, file: File, target: Path, again: bool) -> None:
        """A file is not in the lab: an earlier client of this campaign's has moved it home.  Is it still there?"""
        if self._is_there(target, file):
            return
        if target.exists() and again:
            self._warn(f"{target} is not as run {outcome.run} left it: somebody has changed it since")
            return
        command = f"labfleet campaign --config {self.config} --runs {outcome.run}"
        self._warn(
            f"files of run {outcome.run} have come home before, and are not where they were: {command} makes them anew"
        )

    def tidy(self, outcome: Outcome, places: Mapping[str, str]) -> None:
        """Remove half files that a killed client left."""
        for folder in {self.home.log(outcome.run).parent, *((self.root / place).parent for place in places.values())}:
            for half in folder.glob(f"{_half(outcome)}.*.new"):
                half.unlink(missing_ok=True)

    def is_home(self, outcome: Outcome, places: Mapping[str, str]) -> bool:
        """Say whether all that a run left is at its places, log included."""
        log = self.home.log(outcome.run)
        return (log.is_file() and log.stat().st_size == outcome.log_size) and all(
            file.path in places and self._is_there(self.root / places[file.path], file) for file in outcome.files
        )

    def _is_there(self, target: Path, file: File) -> bool:
        """Say whether a file is at home as the run left it."""
        try:
            found = target.stat()
        except OSError:
            return False
        is_same = (found.st_size, found.st_mtime_ns) == (file.size, file.mtime_ns)
        return is_same and (not self.verify or _checksum(target) == file.sha256)

    def _place(self, outcome: Outcome, file: File) -> Path:
        """Return where a file goes."""
        if outcome.kind != "done":
            if not file.given and (self.root / file.path).is_file():
                self.outdated.add(outcome.run)
            return self.home.failed(outcome.run, outcome.kind, file.path)
        if file.given:
            self._warn(f"run {outcome.run} changed {file.path}, a file of the project: its version is kept apart")
            return self.home.own(outcome.run, file.path)
        owner = self._owners.setdefault(file.path, outcome.run)
        if owner == outcome.run:
            if not self._is_replaced(outcome, file.path):
                return self.root / file.path
            self._warn(f"{file.path} is of a later execution: that of this campaign is kept under its run")
            return self.home.own(outcome.run, file.path)
        self._warn(f"runs {owner} and {outcome.run} both wrote {file.path}: each one's is kept under its run")
        self._contended.add(file.path)
        self._keep_first(file.path)
        return self.home.own(outcome.run, file.path)

    def note_replaced(self, outcome: Outcome, places: Mapping[str, str]) -> None:
        """Tell of results that came home before, and are another campaign's by now."""
        for path in places.values():
            if self._is_replaced(outcome, path):
                self._warn(f"{path} is campaign {self.later[path].campaign}'s by now, whose run was done later")

    def _is_replaced(self, outcome: Outcome, path: str) -> bool:
        """Say whether the result of a later execution is at a path: an older one does not replace that."""
        later = self.later.get(os.path.normpath(path))
        return later is not None and later.ended > outcome.ended and (self.root / path).exists()

    def _keep_first(self, path: str) -> None:
        """Keep what the owner of a path left there under its run, too, as soon as it is there and others want the path.

        What is there otherwise is somebody else's: an earlier campaign's, or the person's own.
        """
        file = self._there.get(path)
        if path not in self._contended or file is None:
            return
        place, first = self.root / path, self.home.own(self._owners[path], path)
        if first.exists() or not self._is_there(place, file):
            return
        first.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(place, first)
        except FileNotFoundError:
            pass  # the person has just removed it
        except OSError:  # the results folder is on another disk, or this one has no links
            _copy(place, first, file, _half_of(self.home.campaign, self._owners[path]))

    def _warn(self, text: str) -> None:
        if len(self.warnings) < MOST_WARNINGS and text not in self.warnings:
            self.warnings.append(text)


def _check_path(outcome: Outcome, file: File) -> None:
    """Raise LabFailed for a path that leads further than beside the project: no worker writes elsewhere."""
    parts = file.path.split("/")
    inside = parts[1:] if parts[0] == ".." else parts
    if not inside or any(part in ("", ".", "..") for part in inside):
        raise LabFailed(f"run {outcome.run} left {file.path!r}, which is neither in the project nor beside it")


class _Damaged(LabFailed):
    """A file is not as it was sent."""

    def __init__(self, target: Path) -> None:
        super().__init__(f"{target} did not arrive as it was sent", "look at the disk of the lab's head")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(source: Path, target: Path, file: File) -> None:
    """Have a file that came over a network on the disk.  Raises LabFailed if it is not as it was sent."""
    with source.open("rb") as reader:
        if hashlib.file_digest(reader, "sha256").hexdigest() != file.sha256:
            raise _Damaged(target)
        os.fsync(reader.fileno())


def _half(outcome: Outcome) -> str:
    """Return how the names begin that files of a run have while they are copied."""
    return _half_of(outcome.campaign, outcome.run)


def _half_of(campaign: str, run: int) -> str:
    return f".labfleet-{campaign}.{run}"


def _move(source: Path, target: Path, file: File, half: str) -> None:
    """Move a file home: within a file system by renaming, so that no result needs its space twice."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.utime(source, ns=(file.mtime_ns, file.mtime_ns))
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target, file, half)
        source.unlink()


def _copy(source: Path, target: Path, expected: File | None, half: str) -> None:
    """Copy a file so that it appears complete; one that is expected as it was when it was sent, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"{half}.{secrets.token_hex(8)}.new")
    digest = hashlib.sha256()
    try:
        with source.open("rb") as reader, draft.open("wb") as writer:
            while block := reader.read(BLOCK):
                digest.update(block)
                writer.write(block)
            if expected:  # the only copy from now on
                writer.flush()
                os.fsync(writer.fileno())
        if expected:
            if digest.hexdigest() != expected.sha256:
                raise _Damaged(target)
            os.utime(draft, ns=(expected.mtime_ns, expected.mtime_ns))
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def keep_log(log: Path, place: Path) -> Path:
    """Keep a campaign's build log at home, and return where it is."""
    _copy(log, place, None, ".labfleet-build")
    return place
