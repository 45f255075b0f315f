"""Files in which a project describes itself for OMNeT++'s own tools: the IDE's, and makefiles of opp_makemake's."""

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.errors import WrongUse
from runner.project_file import Reference


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
    try:
        for entry in parsed_xml(file, "dir"):
            if entry.get("type") == "makemake":
                options = shlex.split(entry.get("makemake-options", "--deep"))
                plain = [option for option in options if not option.startswith("--meta:") and option != "-f"]
                return Makemake(Path(os.path.normpath(root / entry.get("path", "."))), tuple(plain))
    except ValueError as error:
        raise _damaged(file, error) from error
    return None


def parsed_xml(file: Path, wanted: str) -> list[dict[str, str]]:
    """Return the attributes of a file's elements of one name; ``""``: the text in them.  Raises WrongUse."""
    from xml.parsers import expat

    found: list[dict[str, str]] = []
    inside: list[str] = []

    def begin(tag: str, attributes: dict[str, str]) -> None:
        inside.append(tag)
        if tag == wanted:
            found.append({**attributes, "": ""})

    def text(data: str) -> None:
        if inside and inside[-1] == wanted:
            found[-1][""] += data

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.CharacterDataHandler = begin, text
    parser.EndElementHandler = lambda _: inside.pop()
    try:
        parser.Parse(file.read_bytes(), True)
    except expat.ExpatError as error:
        raise _damaged(file, error) from error
    return found


def _damaged(file: Path, error: Exception) -> WrongUse:
    return WrongUse(f"{file} is damaged: {error}", "save it anew in the OMNeT++ IDE, or delete it")


def listed(file: Path) -> list[str]:
    """Return the lines of .nedfolders or .nedexclusions; none if there is no such file.

    Without blanks, comments, and OMNeT++ 4's lines ``-package``, which opp_featuretool ignores too.
    """
    if not file.is_file():
        return []
    lines = (line.strip() for line in file.read_text(errors="replace").splitlines())
    return [line for line in lines if line and line[0] not in "#-"]


# ---- other projects that a project needs -----------------------------------------------------------------------

#: How opp_makemake begins a makefile: with the command that made it.
_MADE_BY = re.compile(r"^#\s+(opp_makemake\s.*)$", re.MULTILINE)

#: A variable that makefiles have for another project, e.g. INET_PROJ=../inet.
_PROJECT_VARIABLE = re.compile(r"(\w+_PROJ)=([^$]+)")


def needed_projects(root: Path, makefiles: Iterable[str]) -> tuple[Reference, ...]:
    """Return the projects that a project's makefiles name by variables, and those that it has in the IDE.

    ``makefiles``: relative to the root; of the IDE's, only those that stand beside the project.  Raises WrongUse.
    """
    found: dict[str, Reference] = {}
    for path, variable, said in _variables(root, makefiles):
        if not _is_inside(root, path):
            found.setdefault(os.path.realpath(root / path), Reference(path=path, variable=variable, said=said))
    described = root / ".project"
    for element in parsed_xml(described, "project") if described.is_file() and described.stat().st_size else ():
        path = f"../{element[''].strip()}"
        if (root / path).is_dir() and not _is_inside(root, path):
            found.setdefault(os.path.realpath(root / path), Reference(path=path, said=".project"))
    return tuple(found.values())


def _is_inside(root: Path, path: str) -> bool:
    return Path(os.path.normpath(root / path)).is_relative_to(root)


def _variables(root: Path, makefiles: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the paths of other projects in makefiles: relative to the root, the variable, and where that is said."""
    for name in makefiles:
        if (root / name).is_file():
            command = _MADE_BY.search((root / name).read_text(errors="replace"))
            if command:
                yield from _in_options(root, os.path.dirname(name), command[1], name)
    spec = root / ".oppbuildspec"
    for entry in parsed_xml(spec, "dir") if spec.is_file() else ():
        if entry.get("type") == "makemake":
            yield from _in_options(root, entry.get("path", "."), entry.get("makemake-options", ""), spec.name)


def _in_options(root: Path, folder: str, options: str, said: str) -> Iterator[tuple[str, str, str]]:
    try:
        words = shlex.split(options)
    except ValueError:  # whoever wrote it will hear it from the build
        return
    for before, word in zip(["", *words], words, strict=False):
        defined = word if before == "-K" else word.removeprefix("-K") if word.startswith("-K") else ""
        if match := _PROJECT_VARIABLE.fullmatch(defined):
            path = match[2] if os.path.isabs(match[2]) else os.path.relpath(root / folder / match[2], root)
            yield path, match[1], f"{said}: {match[0]}"
