"""Files in which a project describes itself for OMNeT++'s own tools: the IDE's, and makefiles of opp_makemake's."""

import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import WrongUse
from runner.project_file import Reference

#: Options of the IDE's own that ask for what needed projects export: OMNeT++ User Guide, "C++ Development".
#: They stay among the options until a project is built: only then its references are at hand.
USES_INCLUDES, USES_LIBRARIES = "--meta:use-exported-include-paths", "--meta:use-exported-libs"

#: What OMNeT++ had for the first one before 5.1; templates of the IDE's still have it.
_USED_INCLUDES = "--meta:auto-include-path"

_EXPORTS_INCLUDES, _EXPORTS_LIBRARY = "--meta:export-include-path", "--meta:export-library"

#: The options of a folder for which the IDE has noted none.
_IDES_DEFAULT = f"--deep -I. {_EXPORTS_INCLUDES} {USES_INCLUDES} {_EXPORTS_LIBRARY} {USES_LIBRARIES}"


@dataclass(frozen=True)
class Makemake:
    """A call of opp_makemake: where, and with which options besides ``-f``."""

    folder: Path
    options: tuple[str, ...] = ("--deep",)


def ide_makemake(root: Path, *, needs_others: bool = False) -> Makemake | None:
    """Return the first call of opp_makemake that the OMNeT++ IDE makes, by .oppbuildspec; None if it makes none.

    Options that begin with ``--meta:`` are the IDE's own; those that ask for what other projects export stay if the
    project needs some.
    """
    for call in _ide_makemakes(root):
        kept = (USES_INCLUDES, USES_LIBRARIES) if needs_others else ()
        options = [USES_INCLUDES if option == _USED_INCLUDES else option for option in call.options]
        plain = [option for option in options if option in kept or not option.startswith("--meta:")]
        return Makemake(call.folder, tuple(option for option in plain if option != "-f"))
    return None


def _ide_makemakes(root: Path) -> list[Makemake]:
    """Return all calls of opp_makemake that the IDE makes for a project, with all their options.  Raises WrongUse."""
    file = root / ".oppbuildspec"
    if not file.is_file():
        return []
    try:
        return [
            Makemake(
                Path(os.path.normpath(root / entry.get("path", "."))),
                tuple(shlex.split(entry.get("makemake-options", "").strip() or _IDES_DEFAULT)),
            )
            for entry in parsed_xml(file, "dir")
            if entry.get("type") == "makemake"
        ]
    except ValueError as error:
        raise _damaged(file, error) from error


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

#: How rules that a person has written call it.
_CALLED = re.compile(r"^\t[@-]*\s*(?:cd\s+(\S+)\s*(?:&&|;)\s*)?(opp_makemake\s.*)$", re.MULTILINE)

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
    for beside in _named_in_the_ide(root).values():
        if beside and not _is_inside(root, beside):
            found.setdefault(os.path.realpath(root / beside), Reference(path=beside, said=".project"))
    return tuple(found.values())


def missing_projects(root: Path) -> tuple[str, ...]:
    """Return the projects that a project has in the IDE and that do not stand beside it.  Raises WrongUse."""
    return tuple(name for name, path in _named_in_the_ide(root).items() if path is None)


def _named_in_the_ide(root: Path) -> dict[str, str | None]:
    """Return the projects that .project names: name → path, relative to the root; None if they are not beside it."""
    file = root / ".project"
    if not file.is_file() or not file.stat().st_size:
        return {}
    names = [element[""].strip() for element in parsed_xml(file, "project")]
    return {name: _beside(root, name) for name in names if name}


def _beside(root: Path, name: str) -> str | None:
    """Return where the IDE's project of a name stands beside a project; its folder may be named otherwise."""
    if (root.parent / name).is_dir():
        return f"../{name}"
    for file in sorted(root.parent.glob("*/.project")):
        try:
            named = parsed_xml(file, "name")
        except (OSError, WrongUse):  # another project's file is not this one's concern
            continue
        if named and named[0][""].strip() == name:
            return f"../{file.parent.name}"
    return None


def _is_inside(root: Path, path: str) -> bool:
    return Path(os.path.normpath(root / path)).is_relative_to(root)


def _variables(root: Path, makefiles: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the paths of other projects in makefiles: relative to the root, the variable, and where that is said."""
    for name in makefiles:
        if (root / name).is_file():
            text = (root / name).read_text(errors="replace").replace("\\\n", " ")
            for command in _MADE_BY.findall(text)[:1]:
                yield from _in_options(root, os.path.dirname(name), command, name)
            for said, command in _CALLED.findall(text):
                folder = os.path.join(os.path.dirname(name), said)
                if not (root / folder / "Makefile").is_file():  # else that one tells
                    yield from _in_options(root, folder, command, name)
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


# ---- what projects export to others ----------------------------------------------------------------------------


def with_exported(argv: Sequence[str], folder: Path, needed: Iterable[Path]) -> tuple[str, ...]:
    """Return a build command with what some projects export in the place of the options that ask for it.

    ``folder``: where the command runs; ``needed``: roots of the projects, those that need others before those.
    """
    if not any(option in word for word in argv for option in (USES_INCLUDES, USES_LIBRARIES)):
        return tuple(argv)
    exporting = [(root, call) for root in needed for call in _ide_makemakes(root)]
    includes = [f"-I{one}" for _, call in exporting for one in _exported_includes(call, folder)]
    libraries = [option for root, call in exporting for option in _exported_library(root, call, folder)]
    exported = {USES_INCLUDES: list(dict.fromkeys(includes)), USES_LIBRARIES: list(dict.fromkeys(libraries))}

    def words(word: str) -> list[str]:
        if word in exported:
            return exported[word]
        for option, options in exported.items():  # those in a shell's command
            word = word.replace(option, shlex.join(options))
        return [word]

    return tuple(made for word in argv for made in words(word))


def _exported_includes(call: Makemake, seen_from: Path) -> list[str]:
    """Return the folders in which others find a project's headers.

    The folder of the call itself is among them: the IDE has it there by ``-I.``, or as INET by a setting of .cproject.
    """
    if _EXPORTS_INCLUDES not in call.options:
        return []
    own = [one for one in _values(call.options, "-I") if "$" not in one]
    return [os.path.relpath(call.folder / one, seen_from) for one in (".", *own)]


def _exported_library(root: Path, call: Makemake, seen_from: Path) -> list[str]:
    """Return the options by which others are linked with a project's library; none if it exports none."""
    is_shared = not {"-s", "--make-so"}.isdisjoint(call.options)
    is_library = is_shared or not {"-a", "--make-lib"}.isdisjoint(call.options)
    if not is_library or _EXPORTS_LIBRARY not in call.options:
        return []
    # opp_makemake's own rule.
    usual = root.name if (root / ".project").exists() else call.folder.name
    name = [usual, *_values(call.options, "-o", "--output")][-1]
    symbols = _values(call.options, "-p", "--symbol")[-1:] if is_shared else []
    imports = [f"-D{symbol}_IMPORT" for symbol in symbols]
    return [*imports, f"-L{os.path.relpath(call.folder, seen_from)}", f"-l{name}$(D)"]


def _values(options: Sequence[str], short: str, long: str = "") -> list[str]:
    """Return the values of an option that may be given as ``-oNAME``, ``-o NAME`` and ``--output NAME``."""
    following = [value for option, value in itertools.pairwise(options) if option in (short, long)]
    joined = [option.removeprefix(short) for option in options if option.startswith(short) and option != short]
    return [*following, *joined]
