"""What runs print, or have printed: of campaigns that are at home from the files there, of all others from the lab."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner import campaigns
from runner.command_line import LogsWish
from runner.errors import WrongUse
from runner.logs import asked, home
from runner.logs.asked import FEW, State
from runner.logs.home import AtHome
from runner.logs.reading import Reading, latest
from runner.notes import Note, Notes
from runner.paths import LabPaths
from runner.paths import home as home_of_lab
from runner.report.consoles import Log, Printer, is_coloured, pattern
from runner.report.text import one_line, write


def show(wish: LogsWish) -> None:
    """Show the logs that a person asks for.  Raises LabfleetError."""
    notes = Notes(LabPaths(home_of_lab()))
    own, former = notes.all(), notes.at_home()
    here = Path.cwd() / "results"
    ids = list(dict.fromkeys([*(note.campaign for note in (*own, *former)), *home.campaigns_in(here)]))
    text, wanted = asked.split(wish.words, ids)
    _check(wish, wanted)
    meant, there = _meant(text, own, former, here, ids)
    if there is not None and _show_from_home(there, wish, wanted):
        return
    with campaigns.found(meant, notes) as (connection, known):
        printer = _printer(wish)
        reading = Reading(connection, known.id, printer, _note, tail=wish.tail, reads_all=wish.grep is not None)
        try:
            reading.listen()
            if wish.build:
                _show_build(reading, wish)
            else:
                _show_from_lab(reading, printer, wish, wanted)
        finally:
            reading.close()


def _check(wish: LogsWish, wanted: Sequence[int]) -> None:
    """Raise WrongUse for what makes no sense together."""
    if wish.build and wanted:
        raise WrongUse("--build shows the log of the build, which is no run's")
    if wish.attempt is not None and len(wanted) != 1:
        raise WrongUse("--attempt is one of a run's", "labfleet logs ID RUN --attempt N")
    if wish.raw and sys.stdout.isatty():
        raise WrongUse(
            "--raw is not for a terminal, which would obey what a log has in it", "labfleet logs … --raw > FILE"
        )


def _meant(
    text: str, own: Sequence[Note], former: Sequence[Note], here: Path, ids: Sequence[str]
) -> tuple[str, AtHome | None]:
    """Return the campaign that is meant, as far as this client knows it, and what lies at home if all of it does."""
    if text:
        fits = [text] if text in ids else [one for one in ids if one.startswith(text) or one.endswith(text)]
        meant = fits[0] if len(fits) == 1 else text
    elif note := campaigns.newest([*own, *former], campaigns.project_here()):
        meant = note.campaign
    else:
        meant = max(home.campaigns_in(here), default="")
    if any(note.campaign == meant for note in own):  # there is, or will be, more in the lab
        return meant, None
    note = next((note for note in former if note.campaign == meant), None)
    return meant, (home.noted(note) if note else None) or home.found(here, meant)


def _printer(wish: LogsWish) -> Printer:
    return Printer(
        sys.stdout,
        coloured=is_coloured(sys.stdout, os.environ),
        grep=pattern(wish.grep) if wish.grep is not None else None,
        raw=wish.raw,
    )


def _name(printer: Printer, wish: LogsWish, runs: Sequence[int]) -> None:
    """Have lines led by their run if there are several.  Raises WrongUse where only one may be shown."""
    printer.named = len(runs) > 1
    if wish.raw and len(runs) > 1:
        raise WrongUse("--raw shows one log as it is", "name one run")


def _note(text: str) -> None:
    """Tell what is no line of a log."""
    sys.stdout.flush()
    print(f"labfleet: {text}", file=sys.stderr, flush=True)


def _chosen(
    wish: LogsWish, campaign: str, title: str, runs: Mapping[int, State], wanted: Sequence[int], *, is_over: bool
) -> list[int]:
    """Return the runs whose logs are shown: those wanted, else all where they are few; else say which there are.

    A few lines of each are never too much.  ``is_over``: none will begin any more.  Raises WrongUse for runs that there
    are not, or that have nothing to show.
    """
    asked.check(campaign, wanted, runs)
    begun = [run for run in (wanted or runs) if runs[run].attempt]
    is_short = wish.grep is not None or wish.tail is not None
    if (not wanted and not begun) or (not wanted and len(runs) > FEW and not is_short):
        write(sys.stdout, asked.overview(campaign, title, runs) + "\n")
        return []
    missing = [run for run in wanted if run not in begun]
    if missing and not begun:
        raise WrongUse(
            f"run {missing[0]} {'was never' if is_over else 'has not'} begun",
            f"{'' if is_over else '--follow waits for it; '}labfleet explain {campaign} {missing[0]}  says why",
        )
    for run in missing:
        _note(f"run {run} has not begun")
    return begun


def _tell_end(run: int, state: State) -> None:
    """Say how a run ended whose log does not: an error is in there."""
    if state.kind not in ("done", "error", "running", "waiting"):
        _note(f"run {run} came to this end: {state.kind}")


# ---- from home -----------------------------------------------------------------------------------------------------


def _show_from_home(there: AtHome, wish: LogsWish, wanted: Sequence[int]) -> bool:
    """Show logs that have come home; False if what is asked for is not there, but may be in the lab."""
    paths = there.paths
    if wish.build:
        if not paths.build_log.exists():
            return False
        home.show(paths.build_log, Log("build", _printer(wish), wish.tail), _end_of(wish))
        return True
    if wish.attempt is not None and any(there.runs[run].attempt != wish.attempt for run in wanted if run in there.runs):
        return False
    runs = _chosen(wish, paths.campaign, there.title, there.runs, wanted, is_over=True)
    missing = [run for run in runs if not paths.log(run).exists()]
    if any(there.runs[run].kind != "lost" for run in missing):
        return False
    printer, width = _printer(wish), len(str(max(runs, default=0)))
    _name(printer, wish, runs)
    for run in runs:
        if run in missing:
            _note(f"run {run} was lost: nothing of it came home")
        else:
            home.show(paths.log(run), Log(f"#{run:<{width}}", printer, wish.tail), _end_of(wish))
            _tell_end(run, there.runs[run])
    return True


def _end_of(wish: LogsWish) -> int | None:
    """Return how many last lines have to be read; None: all, as not every line counts."""
    return None if wish.grep is not None else wish.tail


# ---- from the lab --------------------------------------------------------------------------------------------------


def _show_from_lab(reading: Reading, printer: Printer, wish: LogsWish, wanted: Sequence[int]) -> None:
    story = reading.story
    if wish.follow and not story.has_ended:
        if story.prepared is None:
            _note(f"campaign {reading.id} is being built; --build shows that")
        else:
            asked.check(reading.id, wanted, story.runs)
        _name(printer, wish, wanted or range(len(story.runs) if story.prepared else FEW))
        attempts = latest(story, wanted, wish.attempt) if wish.attempt else [(run, None) for run in wanted]
        reading.follow(attempts or None)
        return
    if story.prepared is None:
        if story.refusal:
            raise WrongUse(
                f"campaign {reading.id} could not be run: {one_line(story.refusal)}",
                f"labfleet logs {reading.id} --build  shows its build; labfleet campaigns  says which others there are",
            )
        raise WrongUse(f"campaign {reading.id} has no runs yet", f"labfleet logs {reading.id} --build  shows its build")
    runs = _chosen(wish, reading.id, story.title, story.runs, wanted, is_over=story.has_ended)
    _name(printer, wish, runs)
    reading.present(latest(story, runs, wish.attempt))
    for run in runs:
        _tell_end(run, story.runs[run])


def _show_build(reading: Reading, wish: LogsWish) -> None:
    size = reading.follow_build() if wish.follow else reading.present_build()
    if not size:
        prepared = reading.story.prepared
        why = "nothing had to be built" if prepared and not prepared.built else "nothing was built yet"
        _note(f"campaign {reading.id}: {why}")
