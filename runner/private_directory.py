"""A run's own view of the project: nothing that it does can change the checkout that all slots share.

From the project's root down to the working directory there are real directories (a spine); what lies beside the spine
is linked; the files of the working directory are copied, and its folders are real, with links to their files, unless
they are large.  So a relative path means what it means at home, a new file is a real one in a real directory, and the
whole costs milliseconds however large the project is.  The projects that it needs are links, at the places that they
have at home.
"""

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Larger files of the working directory are linked: copying them for each run costs more than it protects.
LARGEST_COPY = 16 * 1024 * 1024


#: So many entries of a folder in the working directory are linked one by one; a larger folder is linked as a whole.
#: So are folders below it once so many entries of these were linked: a run in the root of a project has all its sources
#: there, and a busy disk makes a few thousand links a second.
MOST_LINKS, MOST_LINKS_BELOW = 500, 50


_FOLDER = "folder"

#: Of a project that needs no other.
NOTHING: Mapping[str, Path] = {}


@dataclass
class PrivateDirectory:
    """A private directory, and what was in it before anything ran."""

    #: The project's root is in there, and what it needs beside it; everything inside belongs to one process.
    top: Path
    root: Path
    #: Where the program runs.
    working_directory: Path
    #: Real files at the beginning: path → (modification time, size).
    _given: dict[str, tuple[int, int]] = field(default_factory=dict)
    _at_first: dict[str, object] = field(default_factory=dict)

    @classmethod
    def create(
        cls, top: Path, place: str, checkout: Path, directory: str, beside: Mapping[str, Path] = NOTHING
    ) -> "PrivateDirectory":
        """Lay out a private directory ``top`` for running in ``directory`` of a checkout.

        ``place``: where the project's root stands below ``top``, its name at home or more; ``beside``: place → checkout
        of the projects that it needs.  Raises FileNotFoundError if the checkout has no such directory.
        """
        root = top / place
        parts = [part for part in directory.split("/") if part not in ("", ".")]
        private = cls(top, root, root.joinpath(*parts))
        try:
            private._lay_out(checkout, parts, beside)
        except OSError:  # e.g. a full disk: what is there of it takes room
            private.remove()
            raise
        return private

    def _lay_out(self, checkout: Path, parts: Sequence[str], beside: Mapping[str, Path]) -> None:
        """Make the spine, its links and the working directory."""
        source, target = checkout, self.root
        target.mkdir(parents=True)
        for place, other in beside.items():
            link = self.top / place
            link.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(other, link)
        for part in parts:
            _link_all(source, target, skip=part)
            source, target = source / part, target / part
            target.mkdir()
        self._fill(source)
        self._at_first = _content(self.top)

    def _fill(self, source: Path) -> None:
        """Copy the files of the working directory and link its folders."""
        with os.scandir(source) as entries:
            for entry in entries:
                target = self.working_directory / entry.name
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), target)
                elif entry.is_file() and entry.stat().st_size <= LARGEST_COPY:
                    shutil.copyfile(entry.path, target)
                    os.chmod(target, entry.stat().st_mode | 0o200)
                    info = target.stat()
                    self._given[str(target)] = (info.st_mtime_ns, info.st_size)
                elif entry.is_dir():
                    _link_files(Path(entry.path), target, [MOST_LINKS], [MOST_LINKS_BELOW])
                else:
                    os.symlink(entry.path, target)

    def open_up(self) -> None:
        """Let everything be read and moved, whatever modes a run has given it."""
        left = [str(self.top)]
        while left:
            folder = left.pop()
            _permit(folder, needed=0o700, given=0o700)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        _permit(entry.path, needed=0o400, given=0o600)

    def real_directories(self) -> list[str]:
        """Return the directories in which a run may have made files."""
        return [folder for folder, _, _ in os.walk(self.top)]

    def new_files(self) -> list[str]:
        """Return the files that were made or changed since the beginning, sorted."""
        found = []
        for folder, _, names in os.walk(self.top):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                info = os.stat(path)
                if self._given.get(path) != (info.st_mtime_ns, info.st_size):
                    found.append(path)
        return sorted(found)

    def was_given(self, path: str) -> bool:
        """Say whether the project itself brought a file of that name."""
        return path in self._given

    def name_at_home(self, path: str) -> str:
        """Return a file's path relative to the project's root."""
        return os.path.relpath(path, self.root)

    def is_as_new(self) -> bool:
        """Say whether the next process may use it: nothing was added that is still there, nothing changed or gone.

        Empty folders that were added are removed.
        """
        now = _content(self.top)
        for folder in sorted(now.keys() - self._at_first.keys(), reverse=True):
            if now[folder] != _FOLDER:
                return False
            try:
                os.rmdir(folder)
            except OSError:
                return False
            del now[folder]
        return now == self._at_first

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.top, ignore_errors=True)


def _permit(path: str, *, needed: int, given: int) -> None:
    """Give the owner of a file or folder what it is given where something needed is missing."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & needed != needed:
        os.chmod(path, mode | given)


def _link_all(source: Path, target: Path, skip: str) -> None:
    """Link what is in one folder into another, but for one name."""
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.name != skip:
                os.symlink(entry.path, target / entry.name)


def _link_files(source: Path, target: Path, left: list[int], left_below: list[int]) -> None:
    """Make a folder like another one, real with all its folders, its files being links.

    ``left``, ``left_below``: how many more entries may be made in this way here, and in the folders below; a folder
    with more than that is a link itself.
    """
    with os.scandir(source) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)  # the same on each machine
    if len(entries) > left[0]:
        os.symlink(source, target)
        return
    left[0] -= len(entries)
    target.mkdir()
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            _link_files(Path(entry.path), target / entry.name, left_below, left_below)
        else:
            os.symlink(entry.path, target / entry.name)


def _content(top: Path) -> dict[str, object]:
    """Return what is in a directory: folders, the targets of links, time and size of files."""
    found: dict[str, object] = {}
    left = [str(top)]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    found[entry.path] = os.readlink(entry.path)
                elif entry.is_dir():
                    found[entry.path] = _FOLDER
                    left.append(entry.path)
                else:
                    info = entry.stat()
                    found[entry.path] = (info.st_mtime_ns, info.st_size, info.st_mode)
    return found
