"""On which line each key of a TOML text stands, which tomllib keeps to itself."""

from collections.abc import Iterator
from typing import Any

#: Where a key stands: ``("program",)``, ``("environment", "SEED")``.
Key = tuple[str, ...]


def lines_of_keys(text: str) -> dict[Key, int]:
    """Return the line on which each key of a valid TOML text first stands, counted from 1.

    A statement is the fewest lines that are TOML by themselves, so tomllib deals with quoted and dotted keys and
    with values over several lines.
    """
    import tomllib  # most projects have no labfleet.toml

    places: dict[Key, int] = {}
    table: Key = ()
    #: How many tables of an array there have been.
    counts: dict[str, int] = {}
    statement: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        statement.append(line)
        try:
            content = tomllib.loads("\n".join(statement))
        except tomllib.TOMLDecodeError:
            continue  # the value goes on in the next line
        is_header = statement[0].lstrip().startswith("[")
        keys = list(_keys(content, () if is_header else table))
        if is_header and keys:
            name = keys[0][0]
            if statement[0].lstrip().startswith("[[") and len(keys) == 1:
                counts[name] = counts.get(name, -1) + 1
                keys.append((name,))
            keys = [(name, str(counts[name]), *key[1:]) if name in counts else key for key in keys]
            places.setdefault((name,), number - len(statement) + 1)
        for key in keys:
            places.setdefault(key, number - len(statement) + 1)
        if is_header:
            table = keys[-1]
        statement = []
    return places


def line_of(key: Key, lines: dict[Key, int]) -> int:
    """Return the line of a key, or of what it is in where that is written in one."""
    while key and key not in lines:
        key = key[:-1]
    return lines.get(key, 1)


def _keys(content: dict[str, Any], table: Key) -> Iterator[Key]:
    """Yield every key of nested tables, outer ones first."""
    for name, value in content.items():
        yield (*table, name)
        if isinstance(value, dict):
            yield from _keys(value, (*table, name))
