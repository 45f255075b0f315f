"""File names of a campaign in the person's results folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from runner.paths.campaign import stored_name

#: The folder of a campaign's own files, inside the results folder.
CAMPAIGNS = "labfleet"

#: A file of a run that is not done ends in this, so that no analysis tool takes it for a result.
PARTIAL = ".partial"

#: Bytes in a file's name, on Linux's file systems.
LONGEST_NAME = 255


def report_of(manifest: Path) -> Path:
    """Return where the report of a manifest's campaign is."""
    return manifest.with_name("report.html")


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
    def report(self) -> Path:
        """The report of this campaign, for people: made from its manifest, and needed by nobody."""
        return report_of(self.manifest)

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
