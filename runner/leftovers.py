"""What earlier builds have left in a tree: what of it goes before the next one, so that a product is what its key says.

Objects stay, make knows when they are old.  Headers and sources that were made stay as long as there is what they are
made from: all that includes them would be compiled again.  Of all else nobody knows whether the next build makes it,
too, so that is removed; as long as only C++ has changed, it costs a link.
"""

import fnmatch
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from runner.checksums import digest
from runner.model import Value, decode, encode
from runner.products import is_intermediate, is_kept_apart
from runner.repository import NOT_BUILT_FROM

#: What compilers read.
_SOURCES = (".h", ".hh", ".hpp", ".hxx", ".inc", ".ipp", ".tcc", ".c", ".cc", ".cpp", ".cxx", ".moc")

#: Files that change without another file being made, or none.
_HARMLESS = re.compile(
    "|".join(map(fnmatch.translate, (*(f"*{suffix}" for suffix in _SOURCES), "*.msg", *NOT_BUILT_FROM)))
)

#: What opp_featuretool and makefiles like INET's make of features and options.  All that is compiled includes it, or
#: what is made from it; a tree is for one .oppfeatures.
_OF_FEATURES = {"features.h", "opp_defines.h", ".oppfeaturestate", ".nedexclusions"}

_LIBRARIES = (".a", ".so", ".dylib")


class Record(Value, frozen=True):
    """What a tree was used for the last time."""

    key: str = ""
    #: Digest of what files are made by and from, C++ and messages aside.
    makers: str = ""
    #: Digest of what the project is linked with.
    linked: str = ""
    #: Files that were removed, and that no build has made again.
    awaited: tuple[str, ...] = ()


def read(file: Path) -> Record:
    """Return the record of a tree; of one that has none, nothing is known."""
    try:
        record: Record = decode(file.read_bytes(), Record)
    except (FileNotFoundError, ValueError):
        return Record()
    return record


def makers(blobs: Iterable[str]) -> str:
    """Return the digest of the files, as "MODE blob ID<tab>PATH", by which and from which others may be made."""
    return digest(*(blob for blob in blobs if not _HARMLESS.match(os.path.basename(blob.partition("\t")[2]))))


def remove(file: Path, root: Path, left: Collection[str], committed: Collection[str], new: Record) -> None:
    """Remove from a tree what may be of other builds than that of a key, and take note of that.

    ``file``: the record; ``left``: the files that are not as in the commit; ``committed``: those that are in it.
    """
    old = read(file)
    if old.key == new.key:
        return
    has_archives = any(name.endswith(".a") for name in (*left, *committed))
    gone = [
        name
        for name in left
        if not _stays(name, committed, same_makers=old.makers == new.makers)
        or (_is_linked(root, name) and (has_archives or old.linked != new.linked))
    ]
    for name in gone:
        (root / name).unlink(missing_ok=True)
    awaited = {*old.awaited, *(name for name in gone if not _is_from_message(name))}
    file.write_bytes(encode(Record(new.key, new.makers, new.linked, tuple(sorted(awaited)))))


def _stays(name: str, committed: Collection[str], *, same_makers: bool) -> bool:
    if _is_from_message(name):
        return f"{name.rpartition('_m.')[0]}.msg" in committed
    if os.path.basename(name) in _OF_FEATURES and ".oppfeatures" in committed:
        return True
    return is_intermediate(name) or (same_makers and name.endswith(_SOURCES))


def _is_from_message(name: str) -> bool:
    return name.endswith(("_m.h", "_m.cc"))


def _is_linked(root: Path, name: str) -> bool:
    """Say whether a file is what a linker has made: makefiles of opp_makemake's do not name the libraries in it."""
    file = root / name
    return is_kept_apart(name) and (name.endswith(_LIBRARIES) or (file.is_file() and os.access(file, os.X_OK)))


def missing(file: Path, root: Path) -> bool:
    """Say whether something was removed that is not there again: nobody knows if this build was to make it."""
    record = read(file)
    if any(not os.path.lexists(root / name) for name in record.awaited):
        return True
    file.write_bytes(encode(Record(record.key, record.makers, record.linked)))
    return False
