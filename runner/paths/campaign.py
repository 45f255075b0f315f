"""File names of a campaign in the result store, and of what travels there."""

from dataclasses import dataclass
from pathlib import Path


def stored_name(path: str) -> str:
    """Return where a run's file lies inside its attempt's folder; the parent folder has a name of its own there."""
    return "/".join("_parent" if part == ".." else part for part in path.lstrip("/").split("/"))


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
    def forgiven(self) -> Path:
        """Names of the folders of failed attempts that do not count any more, as it was resumed since; one a line."""
        return self.root / "forgiven"

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
        return self.root.parent.parent / "incoming" / name

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
