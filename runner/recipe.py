"""How a project is built: by labfleet.toml, by its Makefile, or by opp_makemake for its C++ sources."""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from runner import features, ide_files
from runner.ide_files import Makemake, ide_makemake
from runner.model import Build
from runner.paths import GENERATED
from runner.project_file import ProjectFile

#: What opp_makemake takes for C++.
SOURCES = (".cc", ".cpp")

#: How many levels of folders are searched for sources where nothing says where they are.
DEPTH = 3


@dataclass(frozen=True)
class _Recipe:
    """The commands that build the program, and where."""

    folder: Path
    commands: tuple[tuple[str, ...], ...] = ()
    #: The folder whose Makefile the commands create, if they do.
    creates: Path | None = None


def build_of(root: Path, directory: Path, said: ProjectFile, mode: str) -> Build:
    """Return how the program comes into being; without commands if there is nothing to build."""
    recipe = _recipe(root, directory, said, mode)
    folders = (directory, root, root / "src", recipe.folder, recipe.creates)
    makefiles = [
        os.path.relpath(folder / "Makefile", root)
        for folder in dict.fromkeys(folders)
        if folder and (folder == recipe.creates or (folder / "Makefile").is_file())
    ]
    return Build(
        os.path.relpath(recipe.folder, root),
        recipe.commands,
        tuple(makefiles),
        said.features.enable,
        said.features.disable,
    )


def _recipe(root: Path, directory: Path, said: ProjectFile, mode: str) -> _Recipe:
    """Return the build that labfleet.toml says, else that of a Makefile, else that of the C++ sources."""
    named = Path(os.path.normpath(root / said.build_directory)) if said.build_directory else None
    if said.build is not None:
        return _Recipe(named or root, tuple(("sh", "-c", command) for command in said.build))
    make = ("make", f"MODE={mode}")
    switched = bool(said.features.enable or said.features.disable)
    needs_others = bool(ide_files.needed_projects(root, ("Makefile",)) if said.references is None else said.references)
    for folder in (named,) if named else (root, directory, root / "src"):
        if (folder / "Makefile").is_file():
            if creates := _folder_of_missing_makefile(root, folder, anew=switched):
                if needs_others and (specified := _better_specified(root, folder)):
                    return _Recipe(creates, (_makemake_command(root, specified), make), creates)
                return _Recipe(folder, (("make", "makefiles"), make), creates)
            if not (switched and _is_made_by_makemake(folder / "Makefile")):
                return _Recipe(folder, (make,))
    makemake = _makemake(root, directory, named, needs_others=needs_others)
    if makemake is None:
        return _Recipe(named or root)
    return _Recipe(makemake.folder, (_makemake_command(root, makemake), make), makemake.folder)


def _makemake_command(root: Path, makemake: Makemake) -> tuple[str, ...]:
    """Return the call of opp_makemake, with the options that follow from the project's features."""
    command = ("opp_makemake", "-f", *makemake.options)
    options = features.makemake_options(root, makemake.folder)
    return ("sh", "-c", f"{shlex.join(command)} {options}") if options else command


def _is_made_by_makemake(makefile: Path) -> bool:
    """Is a Makefile one that opp_makemake can make anew, as what features are enabled is written in there?"""
    return "opp_makemake" in makefile.read_text(errors="replace")[:2000]


def _folder_of_missing_makefile(root: Path, folder: Path, *, anew: bool) -> Path | None:
    """Return where ``make makefiles`` has yet to create a Makefile, as in a fresh INET; None if it has not.

    An existing one is the person's own and stays, unless it has to be made ``anew``: INET's rule needs more than
    OMNeT++'s environment.
    """
    text = (folder / "Makefile").read_text(errors="replace")
    if not re.search(r"^makefiles\s*:(?!=)", text, re.MULTILINE):
        return None
    specified = ide_makemake(root)
    if specified is None or ((specified.folder / "Makefile").is_file() and not anew):
        return None
    return specified.folder


def _better_specified(root: Path, folder: Path) -> Makemake | None:
    """Return the IDE's call of opp_makemake if it knows of other projects and ``make makefiles`` does not.

    So it is in projects of the IDE's wizards: their rule calls opp_makemake without them.
    """
    if re.search(r"_PROJ\b", (folder / "Makefile").read_text(errors="replace")):
        return None
    specified = ide_makemake(root, needs_others=True)
    uses_others = specified and {ide_files.USES_INCLUDES, ide_files.USES_LIBRARIES}.intersection(specified.options)
    return specified if uses_others else None


# ---- sources without a Makefile ----------------------------------------------------------------------------


def _makemake(root: Path, directory: Path, named: Path | None, *, needs_others: bool) -> Makemake | None:
    """Return the call of opp_makemake that makes the Makefile; None if there are no sources."""
    specified = ide_makemake(root, needs_others=needs_others)
    if named:
        folder = named if has_sources(named) else None
    elif specified and has_sources(specified.folder):
        folder = specified.folder
    else:
        folder = _source_folder(root, directory)
    if folder is None:
        return None
    if specified and specified.folder == folder:
        return specified
    exported = (ide_files.USES_INCLUDES, ide_files.USES_LIBRARIES) if needs_others else ()
    return Makemake(folder, ("--deep", *exported))


def _source_folder(root: Path, directory: Path) -> Path | None:
    """Return the folder that has all the C++ sources found; None if there are none."""
    if has_sources(root, depth=0):
        return root
    holders = [folder for folder in (root / "src", directory) if folder != root and has_sources(folder)]
    if holders:
        return Path(os.path.commonpath(holders))
    return root if has_sources(root) else None


def has_sources(folder: Path, depth: int = DEPTH) -> bool:
    """Has this folder C++ sources, at most so many levels below it?"""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as found:
        entries = list(found)
    if any(entry.name.endswith(SOURCES) and entry.is_file() for entry in entries):
        return True
    return depth > 0 and any(
        has_sources(Path(entry.path), depth - 1)
        for entry in entries
        if entry.is_dir(follow_symlinks=False) and entry.name[0] != "." and entry.name not in GENERATED
    )
