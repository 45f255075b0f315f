"""Logs that have come home with the results."""

import json
from dataclasses import dataclass
from pathlib import Path

from runner.homecoming import Destination
from runner.logs.asked import State
from runner.notes import Note
from runner.paths import CAMPAIGNS, HomePaths
from runner.report.consoles import Log

#: Bytes of a file that are read at a time.
BLOCK = 1 << 18


@dataclass(frozen=True)
class AtHome:
    """A campaign as it lies in a results folder."""

    paths: HomePaths
    title: str
    runs: dict[int, State]


def campaigns_in(results: Path) -> list[str]:
    """Return the ids of the campaigns that have something in a results folder, the newest one last."""
    return sorted(path.parent.name for path in (results / CAMPAIGNS).glob("*/campaign.json"))


def noted(note: Note) -> AtHome | None:
    """Return the campaign that a note is about; None if it is not where it belongs any more."""
    return found(Destination(Path(note.root), note.directory).results, note.campaign)


def found(results: Path, campaign: str) -> AtHome | None:
    """Return a campaign in a results folder, as its manifest tells; None if there is none."""
    paths = HomePaths(results, campaign)
    try:
        manifest = json.loads(paths.manifest.read_bytes())
        runs = {
            int(run["run"]): State("waiting" if run["kind"] == "not run" else run["kind"], run.get("attempt", 0))
            for run in manifest["runs"]
        }
        return AtHome(paths, f"{manifest['project']} {manifest['config']}", runs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # there is none, or somebody has made another file of it


def show(path: Path, log: Log, tail: int | None) -> None:
    """Show a log, or its last lines.  Raises OSError if it is not there."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        wanted = end if tail is None else min(end, BLOCK)
        while True:
            file.seek(end - wanted)
            while data := file.read(BLOCK):
                log.take(data)
            if wanted == end or not log.lacks:
                break
            wanted = min(end, 4 * wanted)
            log.restart()
    log.close()
