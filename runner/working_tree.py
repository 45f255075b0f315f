"""Where the builder makes a project: its files, beside them the projects that it needs, each at its place as at home.

The tree stays, so make sees what really changed.  Files get a new time exactly when their content changes: git writes
only those that differ, and so do we with what the builds of other projects left.
"""

import filecmp
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner import checkouts, products, repository, usage
from runner.checksums import digest
from runner.features import Stamps
from runner.head import Head
from runner.model import Source, Value, decode, encode
from runner.paths import LabPaths, lock_of
from runner.products import Item, Product, ProductGone

#: Files that say how things are made: objects of other rules are not reused, make itself does not look at its rules.
BUILD_RULES = ("Makefile", "makefile", "GNUmakefile", "makefrag", "*.mk", "CMakeLists.txt", "*.cmake", ".oppfeatures")


#: Of these only objects are made, which nobody gets if they are not linked any more.
_SOURCES = (".c", ".cc", ".cpp", ".cxx")

#: How a program or shared library begins: what it is, and which of the two (https://refspecs.linuxfoundation.org/elf).
_ELF, _TYPE, _LINKED = b"\x7fELF", 16, (2, 3)


class Record(Value, frozen=True):
    """What a tree was used for the last time."""

    #: The files of the commit of which others may be made.
    files: tuple[str, ...] = ()
    #: Digest of the keys of what the project is linked with.
    linked: str = ""


@dataclass(frozen=True)
class _Needed:
    """A project that another one needs: its commit is in the mirror, its product's files are in the store."""

    tree: str
    mirror: Path
    product: Product

    @classmethod
    def provided(cls, paths: LabPaths, head: Head, source: Source, key: str) -> "_Needed":
        """Have it here.  Raises ProductGone if nobody has the product."""
        product = products.provide(paths, head, key)
        if product is None:
            raise ProductGone(key)
        return cls(source.tree, checkouts.provide_commit(paths, head, source), product)


class WorkingTree:
    """The builder's place for one project that is built in one way."""

    def __init__(
        self,
        paths: LabPaths,
        head: Head,
        source: Source,
        needed: Mapping[str, tuple[Source, str]],
        *ways: str,
        reads_all: bool,
    ) -> None:
        """Have everything here that the head has to give, so that nothing is locked or half-done while that is away.

        ``needed``: place → the project that stands there, and its key; ``ways``: what else decides what is made;
        ``reads_all``: the build may read files that others do not, such as NED files.
        """
        self._reads_all = reads_all
        self._paths, self._source = paths, source
        self._mirror = checkouts.provide_commit(paths, head, source)
        self._needed = {place: _Needed.provided(paths, head, *one) for place, one in needed.items()}
        rules = repository.blobs(self._mirror, source.tree, BUILD_RULES)
        # Wherever a campaign has them, they are as far from each other.
        self._shared = os.path.commonpath([os.path.dirname(place) for place in (source.place, *needed)])
        places = [self._inner(place) for place in (source.place, *needed)]
        variant = digest(*ways, repr(source.build), *places, *rules)
        self._folder = paths.builder(source.project, variant[:12])
        #: The project's root.
        self.root = self.at(source.place)
        #: What was written about features the last time.
        self.stamps: Stamps

    def _inner(self, place: str) -> str:
        return os.path.relpath(place, self._shared or ".")

    def at(self, place: str) -> Path:
        """Return where something is that stands at a place in the campaign."""
        return self._folder / "trees" / self._inner(place)

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Hold the place for oneself, with the files of the commits in it.

        A tree in which this was cut short is made anew, as nobody knows which of its files are whole; and one in which
        there may be something made of a file that is gone.
        """
        with usage.held(lock_of(self._folder)):
            if self._folder.exists() and (self._busy.exists() or self._has_lost(self._record())):
                usage.remove(usage.set_aside(self._folder))
            self._lay_out()
            yield
            self.is_in_order()

    def _lay_out(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._busy.touch()
        self.stamps = Stamps(self.root)
        for place, needed in self._needed.items():
            self._lay_out_needed(place, needed)
        self.root.mkdir(parents=True, exist_ok=True)
        repository.lay_out(self._mirror, self._source.tree, self.root, self._index(self._source.place))
        linked = digest(*(needed.product.key for needed in self._needed.values()))
        self._unlink_programs(is_same=linked == self._record().linked)
        self._record_file.write_bytes(encode(Record(self._makers(), linked)))

    def _record(self) -> Record:
        """Return what is known of the tree."""
        try:
            record: Record = decode(self._record_file.read_bytes(), Record)
        except (FileNotFoundError, ValueError):
            return Record()
        return record

    def _makers(self) -> tuple[str, ...]:
        """Return the files of the commit of which others may be made."""
        return tuple(
            name
            for name in self.committed("*")
            if not name.endswith(_SOURCES)
            and (self._reads_all or not repository.has_name(name, repository.NOT_BUILT_FROM))
        )

    def _has_lost(self, record: Record) -> bool:
        return not set(record.files) <= set(self._makers())

    def _unlink_programs(self, *, is_same: bool) -> None:
        """Remove what a linker has made of other libraries: makefiles of opp_makemake's do not name those.

        ``is_same``: what is linked from other projects; a library of the project's own may be another one all the same.
        """
        left = self.changed_files()
        if not is_same or any(name.endswith(".a") for name in (*left, *self.committed("*.a"))):
            for name in filter(lambda name: _is_linked(self.root / name), left):
                (self.root / name).unlink()

    def is_in_order(self) -> None:
        """Take note that what has been made so far is whole, even if the power fails now."""
        if self._source.build.commands:
            os.sync()
        self._busy.unlink(missing_ok=True)

    def changed_files(self) -> list[str]:
        """Return the files of the project that are not as in its commit, new ones included."""
        return repository.changed_files(self._mirror, self.root, self._index(self._source.place))

    def committed(self, *patterns: str) -> list[str]:
        """Return the files of the project's commit whose names match one of some patterns."""
        return [line.partition("\t")[2] for line in repository.blobs(self._mirror, self._source.tree, patterns)]

    @property
    def _busy(self) -> Path:
        return self._folder / "busy"

    @property
    def _record_file(self) -> Path:
        return self._folder / "record.json"

    def _index(self, place: str) -> Path:
        return self._folder / f"{digest(self._inner(place))[:8]}.index"

    def _lay_out_needed(self, place: str, needed: _Needed) -> None:
        """Make a place hold a project's files with the products of its build; what is the same stays as it is."""
        root, index = self.at(place), self._index(place)
        root.mkdir(parents=True, exist_ok=True)
        made = {item.path: item for item in needed.product.files}
        with self._out_of_the_way(root, made.keys() & repository.changed_files(needed.mirror, root, index)):
            repository.lay_out(needed.mirror, needed.tree, root, index)
        for name in repository.changed_files(needed.mirror, root, index):
            if name not in made and os.path.lexists(root / name):  # of another build of it
                (root / name).unlink()
        for name, item in made.items():
            _renew(item, self._paths.content(item.content), root / name)

    @contextmanager
    def _out_of_the_way(self, root: Path, names: Iterable[str]) -> Iterator[None]:
        """Keep files as they are, with their times, while git makes those of its own that have the same names."""
        aside = self._folder / "aside"
        aside.mkdir()
        kept = [(root / name, aside / str(number)) for number, name in enumerate(names) if os.path.lexists(root / name)]
        for file, place in kept:
            os.rename(file, place)
        yield
        for file, place in kept:
            file.parent.mkdir(parents=True, exist_ok=True)
            os.replace(place, file)
        aside.rmdir()


def _is_linked(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        begin = opened.read(_TYPE + 1)
    return begin.startswith(_ELF) and len(begin) > _TYPE and begin[_TYPE] in _LINKED


def _renew(item: Item, content: Path, target: Path) -> None:
    """Make a file like one of a product, with a time of its own unless it is like that already."""
    if item.link is not None:
        if not target.is_symlink() or os.readlink(target) != item.link:
            target.unlink(missing_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(item.link)
        return
    mode = 0o755 if item.executable else 0o644
    if target.is_file() and not target.is_symlink() and filecmp.cmp(content, target, shallow=False):
        target.chmod(mode)  # which is no change for make
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(content, target)
    target.chmod(mode)
