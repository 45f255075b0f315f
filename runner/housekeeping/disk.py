"""What every kind of housekeeping does with folders: look, measure, remove."""

import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner import shell, usage
from runner.housekeeping.decisions import DAY, Thing, unused

log = logging.getLogger(__name__)


def folders(parent: Path) -> Iterator[Path]:
    """Yield the folders in a folder, but for those that are half made or half removed."""
    for path in _entries(parent):
        if path.is_dir() and not path.name.startswith("."):
            yield path


def _entries(parent: Path) -> list[Path]:
    return sorted(parent.iterdir()) if parent.is_dir() else []


def size_of(folder: Path) -> int:
    """Return how many bytes a folder takes on the disk; of a file with several names, the share of the names here."""
    total = 0.0
    for place, _, names in os.walk(folder):
        for name in ("", *names):
            try:
                info = os.lstat(os.path.join(place, name))
            except FileNotFoundError:
                continue  # gone since
            total += info.st_blocks * 512 / (info.st_nlink if name else 1)
    return int(total)


def measure(parent: Path, limit: int) -> Callable[[Path], int]:
    """Return what measures the folders in a folder.

    They are not looked at while the whole file system has not more than the limit: then they cannot have more, either.
    """
    if not parent.is_dir() or shutil.disk_usage(parent).used <= limit:
        return lambda _: 0
    return size_of


@dataclass(frozen=True)
class Shared:
    """A folder that can be had again, the lock that its users hold, and the file whose time tells of its last use."""

    folder: Path
    lock: Path
    stamp: Path
    #: What else goes with it.
    others: Sequence[Path] = ()
    #: What it needs elsewhere, maybe together with others, and the sizes of that.
    parts: Mapping[str, int] = field(default_factory=dict)


def nothing(_: Collection[str]) -> Collection[str]:
    """Need none of some names."""
    return ()


def tidy_shared(
    shared: Iterable[Shared],
    limit: int,
    now: float,
    *,
    days: int | None = None,
    needed: Callable[[Collection[str]], Collection[str]] = nothing,
) -> list[str]:
    """Remove the folders that are not used, and return a sentence for each.  One that is in use stays.

    ``needed``: which of some names are needed just now.
    """
    there = {one.folder.name: one for one in shared}
    if not there:
        return []
    size = measure(next(iter(there.values())).folder.parent, limit)
    used = {name: usage.last_use(one.stamp, one.folder) for name, one in there.items()}
    kept = needed(there)
    things = [Thing(name, size(one.folder), used[name], name in kept, one.parts) for name, one in there.items()]
    said = []
    for removal in unused(things, limit, now, days):
        one = there[removal.name]
        with usage.if_free(one.lock, used[removal.name]) as free:
            if free and not one.folder.exists():  # it became another one
                one.lock.unlink(missing_ok=True)
                continue
            # Somebody may have begun to use it since.
            if not free or usage.last_use(one.stamp, one.folder) != used[removal.name] or needed([removal.name]):
                continue
            aside = usage.set_aside(one.folder)
            for path in (*one.others, one.lock):
                path.unlink(missing_ok=True)
        usage.remove(aside)
        said.append(f"{one.folder} is removed: {removal.why}")
    return said


def remove_old(paths: Iterable[Path], now: float, days: float = 1) -> list[str]:
    """Remove files and folders in which nothing has happened for so long, and return a sentence for each.

    The time of the inode counts, by this machine's clock: modification times come with what other machines send.
    """
    said = []
    for path in paths:
        if now - path.lstat().st_ctime > days * DAY:
            if path.is_dir() and not path.is_symlink():
                usage.remove(path)
            else:
                path.unlink()
            said.append(f"{path} is removed: it was left over")
    return said


def leftovers(*parents: Path) -> Iterator[Path]:
    """Yield what is half made or half removed in some folders."""
    for parent in parents:
        yield from (path for path in _entries(parent) if path.name.startswith("."))


def all_of(steps: Iterable[Callable[[], list[str]]]) -> list[str]:
    """Do one step after the other, and return what all of them said; one that fails does not hold up the others."""
    said = []
    for step in steps:
        try:
            said += step()
        except (OSError, ValueError, shell.CommandFailed):
            log.exception("housekeeping")
    return said
