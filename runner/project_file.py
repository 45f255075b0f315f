"""The files in which a project describes itself: labfleet.toml, and those of the OMNeT++ IDE.

labfleet.toml is checked as a whole before anything happens, and all mistakes in it are reported at once, each
with its line.  docs/labfleet.toml.md describes its keys for people.
"""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner import quantities
from runner.errors import WrongUse

NAME = "labfleet.toml"

_HINT = "docs/labfleet.toml.md describes the keys"

_STRING = "a string"
_ARRAY = "an array of strings"
_EITHER = "a string or an array of strings"
_TABLE = "a table of strings"
_QUANTITY = "a string or an integer"
_NUMBER = "an integer"

#: Every key, and what its value must be.
KEYS = {
    "build": _EITHER,
    "build-directory": _STRING,
    "program": _STRING,
    "directory": _STRING,
    "ini": _EITHER,
    "ned-path": _ARRAY,
    "include": _ARRAY,
    "arguments": _ARRAY,
    "timeout": _QUANTITY,
    "stall": _QUANTITY,
    "memory": _QUANTITY,
    "retries": _NUMBER,
    "max-failures": _NUMBER,
    "environment": _TABLE,
}

#: Keys whose values are paths relative to the project's root, inside of it.
_PATHS = ("build-directory", "program", "directory", "ini", "ned-path", "include")

#: Where a key stands: ``("program",)``, ``("environment", "SEED")``.
_Key = tuple[str, ...]


@dataclass(frozen=True)
class ProjectFile:
    """What labfleet.toml says, paths relative to the project's root; the defaults stand for missing keys."""

    #: Shell commands; None: labfleet finds out, empty: there is nothing to build.
    build: tuple[str, ...] | None = None
    build_directory: str | None = None
    program: str | None = None
    directory: str = "."
    ini: tuple[str, ...] = ()
    ned_path: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    #: The limits of runs that are given, by the names of model.Limits.
    limits: dict[str, Any] = field(default_factory=dict)


def read(root: Path) -> ProjectFile:
    """Return what the labfleet.toml of a project says; all defaults if it has none.

    Raises WrongUse that lists every mistake in it.
    """
    file = root / NAME
    if not file.is_file():
        return ProjectFile()
    text, content = _parsed(file)
    if mistakes := list(_mistakes(content, root)):
        lines = _lines_of_keys(text)
        located = sorted((lines[key], sentence) for key, sentence in mistakes)
        raise WrongUse("\n".join(f"{NAME}, line {line}: {sentence}" for line, sentence in located), _HINT)
    values: dict[str, Any] = {
        key.replace("-", "_"): value if KEYS[key] in (_STRING, _TABLE) else tuple(_strings(value))
        for key, value in content.items()
        if key not in quantities.LIMITS
    }
    limits = {
        key.replace("-", "_"): quantities.limit(key, str(value))
        for key, value in content.items()
        if key in quantities.LIMITS
    }
    return ProjectFile(**values, limits=limits)


def _parsed(file: Path) -> tuple[str, dict[str, Any]]:
    """Return the text and its content; raises WrongUse if it is not TOML."""
    import tomllib  # 14 ms that most projects need not pay

    try:
        text = file.read_bytes().decode().replace("\r\n", "\n")
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise WrongUse(f"{NAME}, line {line}: this is not UTF-8", "save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        sentence, _, place = str(error).partition(" (at ")
        number = re.match(r"line (\d+)", place)
        last = len(text.rstrip().split("\n"))
        raise WrongUse(f"{NAME}, line {number[1] if number else last}: {sentence}", _HINT) from error


def _strings(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


# ---- the OMNeT++ IDE's files -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Makemake:
    """A call of opp_makemake: where, and with which options besides ``-f``."""

    folder: Path
    options: tuple[str, ...] = ("--deep",)


def ide_makemake(root: Path) -> Makemake | None:
    """Return the first call of opp_makemake that the OMNeT++ IDE makes, by .oppbuildspec; None if it makes none.

    Options that begin with ``--meta:`` are the IDE's own (OMNeT++ User Guide, "C++ Development").
    """
    file = root / ".oppbuildspec"
    if not file.is_file():
        return None
    from xml.parsers import expat

    entries: list[dict[str, str]] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: entries.append(attributes) if tag == "dir" else None
    try:
        parser.Parse(file.read_bytes(), True)
        for entry in entries:
            if entry.get("type") == "makemake":
                options = shlex.split(entry.get("makemake-options", "--deep"))
                plain = [option for option in options if not option.startswith("--meta:") and option != "-f"]
                return Makemake(Path(os.path.normpath(root / entry.get("path", "."))), tuple(plain))
    except (expat.ExpatError, ValueError) as error:
        hint = "save it anew in the OMNeT++ IDE, or delete it"
        raise WrongUse(f"{file} is damaged: {error}", hint) from error
    return None


def listed(file: Path) -> list[str]:
    """Return the lines of .nedfolders or .nedexclusions; none if there is no such file.

    Without blanks, comments, and OMNeT++ 4's lines ``-package``, which opp_featuretool ignores too.
    """
    if not file.is_file():
        return []
    lines = (line.strip() for line in file.read_text(errors="replace").splitlines())
    return [line for line in lines if line and line[0] not in "#-"]


# ---- mistakes in labfleet.toml -----------------------------------------------------------------------------


def _mistakes(content: dict[str, Any], root: Path) -> Iterator[tuple[_Key, str]]:
    """Yield what is wrong with a labfleet.toml: the key, and a sentence about it."""
    for key, value in content.items():
        if key not in KEYS:
            yield (key,), f"unknown key `{key}`{_suggestion(key)}"
        elif not _has_type(value, KEYS[key]):
            yield (key,), f"`{key}` must be {KEYS[key]}, not {_type_name(value)}"
        elif KEYS[key] == _TABLE:
            yield from _wrong_variables(value)
        elif key in quantities.LIMITS:
            try:
                quantities.limit(key, str(value))
            except ValueError as error:
                yield (key,), f"`{key}`: {error}"
        else:
            for text in _strings(value):
                if trouble := _trouble(key, text, root):
                    yield (key,), f"`{key}`: {trouble}"


def _suggestion(key: str) -> str:
    import difflib

    similar = difflib.get_close_matches(key, KEYS, n=1)
    return f" (did you mean `{similar[0]}`?)" if similar else ""


def _has_type(value: Any, wanted: str) -> bool:
    if wanted == _TABLE:
        return isinstance(value, dict)  # each variable is looked at by itself
    if isinstance(value, int) and not isinstance(value, bool):
        return wanted in (_QUANTITY, _NUMBER)
    if isinstance(value, str):
        return wanted not in (_ARRAY, _NUMBER)
    return isinstance(value, list) and wanted in (_ARRAY, _EITHER) and all(isinstance(item, str) for item in value)


def _type_name(value: Any) -> str:
    """Return TOML's name for the type of a value."""
    if isinstance(value, list):
        return "an array" if all(isinstance(item, str) for item in value) else "an array of other things"
    names = {str: "a string", bool: "a boolean", int: "an integer", float: "a float", dict: "a table"}
    return names.get(type(value), "a date or time")


def _trouble(key: str, text: str, root: Path) -> str:
    """Return what is wrong with one string; empty if nothing is."""
    if not text.strip():
        return "an empty string says nothing"
    if key not in _PATHS or (key == "program" and os.path.isabs(text)):
        return ""  # an absolute program is one that every machine of the lab has
    if os.path.isabs(text):
        return f"{text} is absolute, but each machine has the project elsewhere; make it relative"
    if os.path.normpath(text).split("/")[0] == "..":
        return f"{text} leaves the project, and only the project travels to the lab"
    if key == "ini":
        return "" if (root / text).is_file() else f"there is no file {text}"
    missing = key in ("directory", "build-directory") and not (root / text).is_dir()
    return f"there is no folder {text}" if missing else ""


def _wrong_variables(table: dict[str, Any]) -> Iterator[tuple[_Key, str]]:
    for name, value in table.items():
        key = ("environment", name)
        if name in KEYS:
            yield key, f"`{name}` is no environment variable: it belongs above [environment]"
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield key, f"`{name}` cannot be the name of an environment variable"
        elif not isinstance(value, str):
            yield key, f"the environment variable `{name}` must be a string, not {_type_name(value)}"


# ---- line numbers, which tomllib keeps to itself -----------------------------------------------------------


def _lines_of_keys(text: str) -> dict[_Key, int]:
    """Return the line on which each key of a valid TOML text first stands, counted from 1.

    A statement is the fewest lines that are TOML by themselves, so tomllib deals with quoted and dotted keys and
    with values over several lines.
    """
    import tomllib

    places: dict[_Key, int] = {}
    table: _Key = ()
    statement: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        statement.append(line)
        try:
            content = tomllib.loads("\n".join(statement))
        except tomllib.TOMLDecodeError:
            continue  # the value goes on in the next line
        is_header = statement[0].lstrip().startswith("[")
        keys = list(_keys(content, () if is_header else table))
        for key in keys:
            places.setdefault(key, number - len(statement) + 1)
        if is_header:
            table = keys[-1]
        statement = []
    return places


def _keys(content: dict[str, Any], table: _Key) -> Iterator[_Key]:
    """Yield every key of nested tables, outer ones first."""
    for name, value in content.items():
        yield (*table, name)
        if isinstance(value, dict):
            yield from _keys(value, (*table, name))
