"""Snapshots that no campaign names go; what they alone hold goes when that harms nobody."""

from collections.abc import Collection
from pathlib import Path

from runner import repository
from runner.housekeeping import decisions
from runner.housekeeping.decisions import DAY, RECENT


def tidy(git_directory: Path, named: Collection[str], days: int, now: float) -> list[str]:
    """Remove the snapshots that nobody names, or a day later what they alone held; return a sentence for it.

    A push that has begun relies on the refs that it was told of.  So refs go only when nobody has pushed for a while,
    and objects go a day after their refs: no ref is removed meanwhile.
    """
    mark = git_directory / repository.UNUSED
    if mark.exists():
        return clean(git_directory, now)
    used = repository.snapshots(git_directory)
    for commit in used.keys() & set(named):
        repository.note_use(git_directory, commit)
    going = decisions.snapshots(used, named, days, now)
    if not going or now - repository.last_push(git_directory) <= RECENT:
        return []
    mark.touch()
    repository.forget(git_directory, going)
    return [f"{len(going)} snapshots in {git_directory} are removed: no campaign has named them for {days} days"]


def clean(git_directory: Path, now: float) -> list[str]:
    """Remove what no ref has led to for a day, if there may be anything; return a sentence for it."""
    mark = git_directory / repository.UNUSED
    if not mark.exists() or now - mark.stat().st_mtime <= DAY:
        return []
    repository.collect_garbage(git_directory)
    mark.unlink()
    return [f"{git_directory} is cleaned up"]
