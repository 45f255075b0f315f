"""Comparing result files: equal but for what differs between any two executions of the same run."""

from pathlib import Path

from runner.sharing import are_equal


def differences(ours: Path, theirs: Path, suffixes: tuple[str, ...] = (".sca", ".vec")) -> list[str]:
    """Return what differs between two results folders, as sentences; empty if they are equal."""

    def names(folder: Path) -> set[str]:
        return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in suffixes and p.is_file()}

    common = sorted(names(ours) & names(theirs))
    return [
        *(f"only in one: {name}" for name in sorted(names(ours) ^ names(theirs))),
        *(f"not equal: {name}" for name in common if not are_equal(ours / name, theirs / name)),
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
