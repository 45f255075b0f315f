"""labfleet.toml: what a project says of itself.

It is checked as a whole before anything happens, and all mistakes in it are reported at once, each
with its line.  docs/labfleet.toml.md describes its keys for people.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner import quantities
from runner.errors import WrongUse
from runner.toml_lines import Key, line_of, lines_of_keys

NAME = "labfleet.toml"

_HINT = "docs/labfleet.toml.md describes the keys"

_STRING = "a string"
_ARRAY = "an array of strings"
_EITHER = "a string or an array of strings"
_TABLE = "a table of strings"
_QUANTITY = "a string or an integer"
_NUMBER = "an integer"
_FEATURES = "a table with `enable` and `disable`, arrays of strings"
_NOTIFY = "a table with `command`, `webhook` or both, strings"
_REFERENCES = "an array of tables, [[reference]]"

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
    "omnetpp": _STRING,
    "features": _FEATURES,
    "environment": _TABLE,
    "notify": _NOTIFY,
    "reference": _REFERENCES,
}

#: Those of [notify].
NOTIFY_KEYS = ("command", "webhook")

#: Those of a [[reference]].
REFERENCE_KEYS = {
    "path": _STRING,
    "git": _STRING,
    "revision": _STRING,
    "name": _STRING,
    "features": _FEATURES,
    "build": _EITHER,
}

#: Keys whose values are paths relative to the project's root, inside of it.
_PATHS = ("build-directory", "program", "directory", "ini", "ned-path", "include")


@dataclass(frozen=True)
class Features:
    """Which of a project's features are switched on and off."""

    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notify:
    """Whom the client tells when a campaign ends, or needs somebody; empty: nobody."""

    #: A shell command, run in the project's root.
    command: str = ""
    #: A URL to which the news is sent.
    webhook: str = ""


@dataclass(frozen=True)
class Reference:
    """Another project that this one needs: a folder, or a revision of a repository."""

    #: Relative to the project's root, or absolute; None for a repository.
    path: str | None = None
    git: str = ""
    revision: str = ""
    name: str = ""
    #: None: as its own labfleet.toml says.
    features: Features | None = None
    build: tuple[str, ...] | None = None
    #: The variable by which makefiles name it; empty if that is not known.
    variable: str = ""
    #: Where this is said, and its features, for people.
    said: str = ""
    features_said: str = ""


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
    #: The version of OMNeT++ that is wanted, e.g. 6.2; empty: whichever is there.
    omnetpp: str = ""
    #: Where that is said: its line.
    omnetpp_line: int = 0
    #: The limits of runs that are given, by the names of model.Limits.
    limits: dict[str, Any] = field(default_factory=dict)
    features: Features = Features()
    notify: Notify = Notify()
    #: None: the project's makefiles tell.
    references: tuple[Reference, ...] | None = None


def read(root: Path) -> ProjectFile:
    """Return what the labfleet.toml of a project says; all defaults if it has none.

    Raises WrongUse that lists every mistake in it.
    """
    file = root / NAME
    if not file.is_file():
        return ProjectFile()
    text, content = _parsed(file)
    lines = lines_of_keys(text)
    if mistakes := list(_mistakes(content, root)):
        located = sorted((line_of(key, lines), sentence) for key, sentence in mistakes)
        raise WrongUse("\n".join(f"{NAME}, line {line}: {sentence}" for line, sentence in located), _HINT)
    values: dict[str, Any] = {
        key.replace("-", "_"): value if KEYS[key] in (_STRING, _TABLE) else tuple(_strings(value))
        for key, value in content.items()
        if key not in quantities.LIMITS and key not in ("features", "notify", "reference")
    }
    limits = {
        key.replace("-", "_"): quantities.limit(key, str(value))
        for key, value in content.items()
        if key in quantities.LIMITS
    }
    return ProjectFile(
        **values,
        limits=limits,
        omnetpp_line=lines.get(("omnetpp",), 0),
        features=_features(content.get("features")) or Features(),
        notify=Notify(**content.get("notify", {})),
        references=_references(content["reference"], lines) if "reference" in content else None,
    )


def _references(tables: list[dict[str, Any]], lines: "dict[Key, int]") -> tuple[Reference, ...]:
    """Return what [[reference]] says."""

    def where(*key: str) -> str:
        return f"{NAME}, line {line_of(('reference', *key), lines)}"

    return tuple(
        Reference(
            path=table.get("path"),
            git=table.get("git", ""),
            revision=table.get("revision", ""),
            name=table.get("name", ""),
            features=_features(table.get("features")),
            build=tuple(_strings(table["build"])) if "build" in table else None,
            said=where(str(number)),
            features_said=where(str(number), "features"),
        )
        for number, table in enumerate(tables)
    )


def _features(table: dict[str, list[str]] | None) -> Features | None:
    if table is None:
        return None
    return Features(tuple(table.get("enable", ())), tuple(table.get("disable", ())))


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


# ---- mistakes in labfleet.toml -----------------------------------------------------------------------------


def _mistakes(content: dict[str, Any], root: Path) -> Iterator[tuple[Key, str]]:
    """Yield what is wrong with a labfleet.toml: the key, and a sentence about it."""
    for key, value in content.items():
        if key not in KEYS:
            yield (key,), f"unknown key `{key}`{_suggestion(key)}"
        elif not _has_type(value, KEYS[key]):
            yield (key,), f"`{key}` must be {KEYS[key]}, not {_type_name(value)}"
        else:
            yield from _wrong_content(key, value, root)


def _wrong_content(key: str, value: Any, root: Path) -> Iterator[tuple[Key, str]]:
    """Yield what is wrong with a value that has the right type."""
    if KEYS[key] == _TABLE:
        yield from _wrong_variables(value)
    elif KEYS[key] == _FEATURES:
        yield from _wrong_features((key,), value)
    elif KEYS[key] == _NOTIFY:
        yield from _wrong_notify(value)
    elif KEYS[key] == _REFERENCES:
        for number, table in enumerate(value):
            yield from _wrong_reference((key, str(number)), table)
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
    if wanted in (_TABLE, _FEATURES, _NOTIFY):
        return isinstance(value, dict)  # what is in it is looked at by itself
    if wanted == _REFERENCES:
        return isinstance(value, list) and all(isinstance(item, dict) for item in value)
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
    if key == "omnetpp":
        return "" if re.fullmatch(r"\d+(\.\w+)*", text) else f'{text} is no version; one is "6.2" or "6.2.0"'
    return _trouble_of_path(key, text, root)


def _trouble_of_path(key: str, text: str, root: Path) -> str:
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


def _wrong_variables(table: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    for name, value in table.items():
        key = ("environment", name)
        if name in KEYS:
            yield key, f"`{name}` is no environment variable: it belongs above [environment]"
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield key, f"`{name}` cannot be the name of an environment variable"
        elif not isinstance(value, str):
            yield key, f"the environment variable `{name}` must be a string, not {_type_name(value)}"


def _wrong_features(key: Key, table: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    for name, value in table.items():
        if name not in ("enable", "disable"):
            yield (*key, name), f"unknown key `{name}` in `features`: it has `enable` and `disable`"
        elif not _has_type(value, _ARRAY) or not all(item.strip() for item in value):
            yield (*key, name), f"`features.{name}` must be {_ARRAY}, not {_type_name(value)}"
    if not any(name in table for name in ("enable", "disable")):
        yield key, f"`features` must be {_FEATURES}"


def _wrong_notify(table: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    for name, value in table.items():
        key = ("notify", name)
        if name not in NOTIFY_KEYS:
            yield key, f"unknown key `{name}` in `notify`: it has `command` and `webhook`"
        elif not isinstance(value, str):
            yield key, f"`notify.{name}` must be a string, not {_type_name(value)}"
        elif not value.strip():
            yield key, f"`notify.{name}`: an empty string says nothing"
        elif name == "webhook" and not re.fullmatch(r"https?://[^\s/?#]+([/?#]\S*)?", value, re.ASCII | re.IGNORECASE):
            yield key, f"`notify.webhook`: {value} is no URL of a web server, https://… or http://…"
        elif "\0" in value:
            yield key, f"`notify.{name}`: no command has a null character"
    if not table:
        yield ("notify",), f"`notify` must be {_NOTIFY}"


def _wrong_reference(key: Key, table: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    for name, value in table.items():
        wanted = REFERENCE_KEYS.get(name)
        if wanted is None:
            yield (*key, name), f"unknown key `{name}` of a reference; it has {', '.join(REFERENCE_KEYS)}"
        elif not _has_type(value, wanted):
            yield (*key, name), f"`{name}` of a reference must be {wanted}, not {_type_name(value)}"
        elif wanted == _FEATURES:
            yield from _wrong_features((*key, name), value)
        elif not all(text.strip() for text in _strings(value)):
            yield (*key, name), f"`{name}` of a reference: an empty string says nothing"
    if ("path" in table) == ("git" in table):
        yield key, "a reference has either `path`, a folder, or `git`, a URL"
    elif ("git" in table) != ("revision" in table):
        yield key, "`git` and `revision` of a reference belong together"
    yield from _wrong_name((*key, "name"), table.get("name"), table.get("path"))


def _wrong_name(key: Key, folder: Any, path: Any) -> Iterator[tuple[Key, str]]:
    if not isinstance(folder, str) or not folder.strip():
        return
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", folder):
        yield key, f"`{folder}` cannot be the name of a folder"
    elif isinstance(path, str) and not _is_absolute(path) and folder != os.path.basename(os.path.normpath(path)):
        at_home = "what has a relative path stands where it stands at home"
        yield key, f"`name` does nothing for {path}: {at_home}; it is for `git` and absolute paths"


def _is_absolute(path: str) -> bool:
    return os.path.isabs(os.path.expanduser(path))
