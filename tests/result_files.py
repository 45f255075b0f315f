"""Comparing result files: equal but for what differs between any two executions of the same run."""

import re
from pathlib import Path

#: Run ids, dates, process ids and the options of Cmdenv; a line each, in .sca, .vec and .vci files alike.
_DIFFERS = re.compile(rb"^(run |attr datetimef? |attr processid |config cmdenv-|file )")
_RUN_ID = re.compile(rb"-\d{8}-\d\d:\d\d:\d\d-\d+")


def comparable(path: Path) -> bytes:
    """Return a result file's content without what differs between two executions of the same run."""
    lines = path.read_bytes().splitlines(keepends=True)
    return b"".join(_RUN_ID.sub(b"", line) for line in lines if not _DIFFERS.match(line))


def differences(ours: Path, theirs: Path, suffixes: tuple[str, ...] = (".sca", ".vec")) -> list[str]:
    """Return what differs between two results folders, as sentences; empty if they are equal."""

    def names(folder: Path) -> set[str]:
        return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in suffixes and p.is_file()}

    common = sorted(names(ours) & names(theirs))
    return [
        *(f"only in one: {name}" for name in sorted(names(ours) ^ names(theirs))),
        *(f"not equal: {name}" for name in common if comparable(ours / name) != comparable(theirs / name)),
    ]


def stale_indexes(folder: Path) -> list[str]:
    """Return the .vci files that do not fit their .vec: an analysis tool would have to index again."""
    stale = []
    for index in folder.rglob("*.vci"):
        vector = index.with_suffix(".vec").stat()
        _, size, when = index.read_bytes().split(b"\n", 1)[0].split()
        if (int(size), int(when)) != (vector.st_size, int(vector.st_mtime)):
            stale.append(index.name)
    return stale
