"""The project description: which project a folder belongs to, how it is built, how its program is launched.

The usual OMNeT++ project needs no configuration: its files tell.  What they cannot tell is said in labfleet.toml
(project_file.py).  Every campaign asks, so only a few known places are looked at, and nothing is started.
"""

import glob
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner import project_file
from runner.errors import WrongUse
from runner.model import Build, Launch, Limits
from runner.omnetpp import opp_run
from runner.paths import GENERATED
from runner.project_file import Makemake, ProjectFile, ide_makemake, listed

#: The root of a project has one of these; the last three are the OMNeT++ IDE's.
MARKERS = (project_file.NAME, ".oppbuildspec", ".project", ".nedfolders")

#: What opp_makemake takes for C++.
SOURCES = (".cc", ".cpp")

#: How many levels of folders are searched for sources where nothing says where they are.
DEPTH = 3

DEFAULT_INI = "omnetpp.ini"


@dataclass(frozen=True)
class Project:
    """A project as labfleet sees it from one of its folders."""

    #: Absolute, without symbolic links.
    root: Path
    #: The working directory of the runs relative to the root; ``.`` for the root itself.
    directory: str
    #: Unique for this root, of letters, digits, ``_`` and ``-``, e.g. ``aloha-1f3a9c04``.
    id: str
    name: str
    build: Build
    launch: Launch
    #: Glob patterns relative to the root: files that go to the lab even where git ignores them.
    include: tuple[str, ...]
    #: Additional variables for builds and runs.
    environment: dict[str, str]
    #: What a run may take, and what follows when it fails.
    limits: Limits = field(default_factory=Limits)

    @property
    def working_directory(self) -> Path:
        """Where the runs are started, as an absolute path."""
        return Path(os.path.normpath(self.root / self.directory))


def load(folder: Path, *, program: str | None = None, ini_files: Sequence[str] = (), mode: str = "release") -> Project:
    """Return the project that a folder belongs to, with that folder as working directory.

    ``program`` and ``ini_files`` are what the person typed, relative to the working directory; they win over
    labfleet.toml.  Raises WrongUse for whatever in folder, arguments or labfleet.toml cannot work.
    """
    folder = _existing_folder(folder)
    root = _root(folder)
    said = project_file.read(root)
    usual = Path(os.path.normpath(root / said.directory))
    directory = usual if folder == root else folder
    if not ini_files and directory == usual:
        ini_files = [os.path.relpath(root / ini, directory) for ini in said.ini]
    build = _build(root, directory, said, mode)
    launch = Launch(
        program=_program(root, directory, said, program, build, mode),
        ini_files=_ini_files(root, directory, ini_files),
        ned_path=_ned_path(root, directory, said),
        arguments=_package_exclusions(root) + said.arguments,
    )
    return Project(
        root=root,
        directory=os.path.relpath(directory, root),
        id=_id(root),
        name=root.name,
        build=build,
        launch=launch,
        include=tuple(dict.fromkeys((*said.include, *_needed_files(root, directory, build, launch)))),
        environment=said.environment,
        limits=Limits(**said.limits),
    )


# ---- where -------------------------------------------------------------------------------------------------


def root_of(folder: Path) -> Path:
    """Return the root of the project that a folder belongs to.  Raises WrongUse for a folder that can be in none."""
    return _root(_existing_folder(folder))


def _existing_folder(folder: Path) -> Path:
    """Return a folder as an absolute path without symbolic links."""
    resolved = Path(os.path.expanduser(folder)).resolve()
    if not resolved.is_dir():
        what = "is not a folder" if resolved.exists() else "does not exist"
        raise WrongUse(f"{folder} {what}", "--project names the folder that has the ini file")
    if resolved in _never_a_project():
        raise WrongUse(
            f"{resolved} as a whole is not a project: all of it would travel to the lab",
            "put the model into a folder of its own, or name its folder with --project",
        )
    return resolved


def _never_a_project() -> tuple[Path, Path]:
    return Path(os.path.expanduser("~")).resolve(), Path("/")


def _root(folder: Path) -> Path:
    """Return the project's root: the nearest marker upwards, else git's toplevel, else the folder itself."""
    for place in (folder, *folder.parents):
        if place in _never_a_project():
            break
        if any((place / marker).exists() for marker in MARKERS):
            return place
        if (place / ".git").exists():
            # A model of its own, deep inside somebody else's repository, does not need the rest.
            own = (folder / "Makefile").is_file() or _has_sources(folder, depth=0)
            return folder if own else place
    return folder


def _id(root: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", root.name).strip("-") or "project"
    return f"{name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"


def _has_sources(folder: Path, depth: int = DEPTH) -> bool:
    """Has this folder C++ sources, at most so many levels below it?"""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as found:
        entries = list(found)
    if any(entry.name.endswith(SOURCES) and entry.is_file() for entry in entries):
        return True
    return depth > 0 and any(
        _has_sources(Path(entry.path), depth - 1)
        for entry in entries
        if entry.is_dir(follow_symlinks=False) and entry.name[0] != "." and entry.name not in GENERATED
    )


# ---- build -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Recipe:
    """The commands that build the program, and where."""

    folder: Path
    commands: tuple[tuple[str, ...], ...] = ()
    #: The folder whose Makefile the commands create, if they do.
    creates: Path | None = None


def _build(root: Path, directory: Path, said: ProjectFile, mode: str) -> Build:
    """Return how the program comes into being; without commands if there is nothing to build."""
    recipe = _recipe(root, directory, said, mode)
    folders = (directory, root, root / "src", recipe.folder, recipe.creates)
    makefiles = [
        os.path.relpath(folder / "Makefile", root)
        for folder in dict.fromkeys(folders)
        if folder and (folder == recipe.creates or (folder / "Makefile").is_file())
    ]
    return Build(os.path.relpath(recipe.folder, root), recipe.commands, tuple(makefiles))


def _recipe(root: Path, directory: Path, said: ProjectFile, mode: str) -> _Recipe:
    """Return the build that labfleet.toml says, else that of a Makefile, else that of the C++ sources."""
    named = Path(os.path.normpath(root / said.build_directory)) if said.build_directory else None
    if said.build is not None:
        return _Recipe(named or root, tuple(("sh", "-c", command) for command in said.build))
    make = ("make", f"MODE={mode}")
    for folder in (named,) if named else (root, directory, root / "src"):
        if (folder / "Makefile").is_file():
            if creates := _folder_of_missing_makefile(root, folder):
                return _Recipe(folder, (("make", "makefiles"), make), creates)
            return _Recipe(folder, (make,))
    makemake = _makemake(root, directory, named)
    if makemake is None:
        return _Recipe(named or root)
    return _Recipe(makemake.folder, (("opp_makemake", "-f", *makemake.options), make), makemake.folder)


def _folder_of_missing_makefile(root: Path, folder: Path) -> Path | None:
    """Return where ``make makefiles`` has yet to create a Makefile, as in a fresh INET; None if it has not.

    An existing one is the person's own and stays; besides, INET's rule needs more than OMNeT++'s environment.
    """
    text = (folder / "Makefile").read_text(errors="replace")
    if not re.search(r"^makefiles\s*:(?!=)", text, re.MULTILINE):
        return None
    specified = ide_makemake(root)
    if specified is None or (specified.folder / "Makefile").is_file():
        return None
    return specified.folder


# ---- sources without a Makefile ----------------------------------------------------------------------------


def _makemake(root: Path, directory: Path, named: Path | None) -> Makemake | None:
    """Return the call of opp_makemake that makes the Makefile; None if there are no sources."""
    specified = ide_makemake(root)
    if named:
        folder = named if _has_sources(named) else None
    elif specified and _has_sources(specified.folder):
        folder = specified.folder
    else:
        folder = _source_folder(root, directory)
    if folder is None:
        return None
    return specified if specified and specified.folder == folder else Makemake(folder)


def _source_folder(root: Path, directory: Path) -> Path | None:
    """Return the folder that has all the C++ sources found; None if there are none."""
    if _has_sources(root, depth=0):
        return root
    holders = [folder for folder in (root / "src", directory) if folder != root and _has_sources(folder)]
    if holders:
        return Path(os.path.commonpath(holders))
    return root if _has_sources(root) else None


# ---- launch ------------------------------------------------------------------------------------------------


def _program(root: Path, directory: Path, said: ProjectFile, typed: str | None, build: Build, mode: str) -> str | None:
    """Return the program for Launch: typed, or from labfleet.toml, or seen; None if the Makefile will tell."""
    if typed is not None:
        program, start = typed, directory
    elif said.program is not None:
        program, start = said.program, root
    elif build.commands:
        return None
    else:
        return _own_executable(root, directory, mode) or opp_run(mode)
    if not _is_path(program):
        return program
    file = _located(start / program)
    if not build.commands and not _can_be_started(file):
        fault = "is not executable" if file.is_file() else "is not there"
        raise WrongUse(
            f"the program {file} {fault}, and nothing would build it",
            "name another with --program, or say in labfleet.toml how it is built",
        )
    if file.is_relative_to(root):
        return _with_slash(os.path.relpath(file, directory))
    if os.path.isabs(program):
        return program  # one that every machine of the lab has
    raise _outside(root, program)


def _is_path(program: str) -> bool:
    """Is this a path or a shared library, rather than a name on PATH?"""
    return "/" in program or program.endswith((".so", ".dylib"))


def _can_be_started(file: Path) -> bool:
    return file.is_file() and (os.access(file, os.X_OK) or file.suffix in (".so", ".dylib"))


def _own_executable(root: Path, directory: Path, mode: str) -> str | None:
    """Return the executable that is named as its folder, as opp_makemake does; None if there is none."""
    for folder in (directory, root):
        file = folder / (folder.name + ("_dbg" if mode == "debug" else ""))
        if _can_be_started(file):
            return _with_slash(os.path.relpath(file, directory))
    return None


def _with_slash(path: str) -> str:
    """Return a relative path of a program such that it is not searched on PATH."""
    return path if "/" in path else f"./{path}"


def _located(file: Path) -> Path:
    """Return where a file is, were it not for symbolic links in its folder's name."""
    return file.parent.resolve() / file.name


def _outside(root: Path, name: str) -> WrongUse:
    return WrongUse(
        f"{name} is outside of the project {root}, and only the project travels to the lab",
        "copy it into the project, or put a labfleet.toml where the project really begins",
    )


def _ini_files(root: Path, directory: Path, given: Sequence[str]) -> tuple[str, ...]:
    """Return the ini files to name on the command line: none if it is the default one.  All have to exist."""
    for name in given or (DEFAULT_INI,):
        if not (directory / name).is_file():
            raise WrongUse(
                f"there is no {name} in {directory}",
                "name the ini file with --ini, or the folder that has it with --project",
            )
        if not _located(directory / name).is_relative_to(root):
            raise _outside(root, name)
    return tuple(os.path.relpath(_located(Path(ini)), directory) if os.path.isabs(ini) else ini for ini in given)


def _ned_path(root: Path, directory: Path, said: ProjectFile) -> tuple[str, ...]:
    """Return the NED folders relative to the working directory; empty where the program's default will do."""
    folders: Sequence[str] = said.ned_path
    if not folders:
        # OMNeT++ refuses a NED path with a folder that is not there.
        folders = [line for line in listed(root / ".nedfolders") if (root / line).is_dir()]
        if directory == root and folders in ([], ["."]):
            return ()
    if not folders:
        sources = root / "src" if (root / "src").is_dir() else root
        return tuple(dict.fromkeys((".", os.path.relpath(sources, directory))))
    return tuple(os.path.relpath(root / folder, directory) for folder in folders)


def _package_exclusions(root: Path) -> tuple[str, ...]:
    packages = listed(root / ".nedexclusions")
    return ("-x", ";".join(packages)) if packages else ()


# ---- files -------------------------------------------------------------------------------------------------


def _needed_files(root: Path, directory: Path, build: Build, launch: Launch) -> list[str]:
    """Return what has to travel although git may ignore it, as patterns that match nothing else."""
    needed = [directory / ini for ini in launch.ini_files or (DEFAULT_INI,)]
    needed += [root / makefile for makefile in build.makefiles]
    needed += [root / ".oppfeaturestate", root / ".nedexclusions"]
    if not build.commands and launch.program and _is_path(launch.program):
        needed.append(directory / launch.program)
    inside = [file for file in map(_located, needed) if file.is_file() and file.is_relative_to(root)]
    return [glob.escape(os.path.relpath(file, root)) for file in inside]
