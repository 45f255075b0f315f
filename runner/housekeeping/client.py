"""A client's housekeeping: snapshots of projects that are gone, clones, what is left of campaigns that are at home.

``python -m runner.housekeeping.client`` does it.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from runner import shell, usage
from runner.housekeeping import repositories
from runner.housekeeping.decisions import DAY
from runner.housekeeping.disk import Shared, all_of, folders, leftovers, remove_old, tidy_shared
from runner.paths import SNAPSHOT_ROOT, SOURCE, LabPaths, home, lock_of

#: Days after which nobody comes back to a project, or to a campaign: labs keep none for so long.
FORGOTTEN_DAYS = 180

#: Days for which results stay here that were fetched and did not get to their places; the lab has them, too.
HALFWAY_DAYS = 14


def begin(paths: LabPaths, now: float) -> None:
    """Have this client tidied if that was not begun today: by a process of its own, for which nobody waits."""
    if not is_due(paths.tidied, now):
        return
    environment = {**os.environ, "LABFLEET_HOME": str(paths.home), "PYTHONPATH": str(SOURCE)}
    with paths.tidied.open("wb") as output:
        shell.start([sys.executable, "-m", __name__], cwd=paths.home, env=environment, output=output)


def is_due(stamp: Path, now: float) -> bool:
    """Say whether a day has passed; one that has just begun to be a client has nothing to tidy."""
    try:
        return abs(now - stamp.stat().st_mtime) > DAY
    except FileNotFoundError:
        stamp.touch()
        return False


def tidy(paths: LabPaths, now: float) -> list[str]:
    """Remove what this client keeps and nobody needs, and return a sentence for each removal."""
    return all_of(partial(step, paths, now) for step in (_tidy_snapshots, _tidy_clones, _tidy_notes, _tidy_results))


def _tidy_snapshots(paths: LabPaths, now: float) -> list[str]:
    """Remove private git directories: a new one is made when the project is used again."""
    parent = paths.snapshots("x").parent
    found = [Shared(folder, lock_of(folder), folder / SNAPSHOT_ROOT) for folder in folders(parent)]
    gone = [one for one in found if _is_gone(one)]
    said = tidy_shared(gone, sys.maxsize, now, days=1)
    said += tidy_shared([one for one in found if one not in gone], sys.maxsize, now, days=FORGOTTEN_DAYS)
    for one in found:
        if one.folder.exists():
            with usage.if_free(one.lock, now) as free:
                said += repositories.clean(one.folder, now) if free else []
    return said + remove_old(leftovers(parent), now)


def _tidy_clones(paths: LabPaths, now: float) -> list[str]:
    """Remove clones of repositories that references name: they are cloned again when they are needed."""
    found = [Shared(folder, lock_of(folder), lock_of(folder)) for folder in folders(paths.clones)]
    return tidy_shared(found, sys.maxsize, now, days=FORGOTTEN_DAYS)


def _is_gone(one: Shared) -> bool:
    """Is the project's root known, and not there any more?"""
    return one.stamp.exists() and not os.path.isdir(one.stamp.read_bytes())


def _tidy_notes(paths: LabPaths, now: float) -> list[str]:
    notes = [note for folder in (paths.notes, paths.at_home) if folder.is_dir() for note in folder.iterdir()]
    old = [note for note in notes if now - note.stat().st_mtime > FORGOTTEN_DAYS * DAY]
    for note in old:
        note.unlink()
    return [f"{note} is removed: no lab has that campaign any more" for note in old]


def _tidy_results(paths: LabPaths, now: float) -> list[str]:
    """Remove what came from remote labs: of a campaign that is at home after a day, of others later."""
    said = []
    for folder in _fetched(paths):
        # Without a note the client expects nothing more of the campaign.
        days = HALFWAY_DAYS if paths.note(folder.name).exists() else 1
        if now - _last_change(folder) > days * DAY:
            with usage.if_free(paths.turn(folder.name), now) as free:
                if free:
                    usage.remove(usage.set_aside(folder))
                    paths.turn(folder.name).unlink(missing_ok=True)
                    said.append(f"{folder} is removed: nothing came there for {days} days")
    return said + remove_old(leftovers(*(LabPaths(lab).campaigns for lab in folders(paths.remotes))), now)


def _fetched(paths: LabPaths) -> Iterator[Path]:
    for lab in folders(paths.remotes):
        yield from folders(LabPaths(lab).campaigns)


def _last_change(folder: Path) -> float:
    """Return when something came to a folder last; the time of the inodes, for others come with what is fetched."""
    return max(os.lstat(place).st_ctime for place, _, _ in os.walk(folder))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for sentence in tidy(LabPaths(home()), time.time()):
        print(sentence)
