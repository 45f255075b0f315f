"""A campaign's report made again, from its manifest."""

from pathlib import Path

from runner import campaigns, config
from runner.errors import LabFailed, WrongUse
from runner.notes import Notes
from runner.paths import CAMPAIGNS, HomePaths, LabPaths, home, report_of
from runner.report import manifest, page


def make(text: str) -> Path:
    """Make the report of a campaign, named by its id or its manifest, and return where it is.  Raises LabfleetError.

    Empty: the latest campaign of this folder, or of the project's root.
    """
    file = _manifest(text).resolve()  # results/campaign.json is a link
    found = manifest.load(file)
    place = report_of(file)
    try:
        page.write(place, found)
    except OSError as error:
        raise LabFailed(f"the report cannot be written: {error}") from error
    return place


def _manifest(text: str) -> Path:
    """Return the manifest that a person means."""
    named = Path(text)
    if text and named.is_file():
        return named
    if text and (named / "campaign.json").is_file():
        return named / "campaign.json"
    folders = _results()
    if not text:
        latest = [file for results in folders if (file := results / "campaign.json").is_file()]
        if not latest:
            raise WrongUse("no campaign has come home to this folder", "labfleet report ID, or results/campaign.json")
        return latest[0]
    there = {file.parent.name: file for results in folders for file in results.glob(f"{CAMPAIGNS}/*/campaign.json")}
    notes = Notes(LabPaths(home()))
    for note in (*notes.at_home(), *notes.all()):
        results = Path(note.root) / note.directory / "results"
        there.setdefault(note.campaign, HomePaths(results, note.campaign).manifest)
    return there[campaigns.resolve(text, there)]


def _results() -> list[Path]:
    """Return the results folders that are meant where none is named: this folder's, then that of the project's root."""
    here = Path.cwd()
    try:
        root = config.root_of(here)
    except WrongUse:  # it belongs to no project
        root = here
    return [folder / "results" for folder in dict.fromkeys((here, root))]
