"""The project description: which project a folder belongs to, how it is built, how its program is launched.

The usual OMNeT++ project needs no configuration: its files tell.  What they cannot tell is said in labfleet.toml
(project_file.py).  Every campaign asks, so only a few known places are looked at, and nothing is started.
"""

import glob
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner import features, ide_files, project_file, recipe
from runner.errors import WrongUse
from runner.ide_files import listed
from runner.model import Build, Launch, Limits
from runner.omnetpp import SUFFIXES, is_shared_library, opp_run
from runner.project_file import Notify, ProjectFile, Reference

#: The root of a project has one of these; the last three are the OMNeT++ IDE's.
MARKERS = (project_file.NAME, ".oppbuildspec", ".project", ".nedfolders")

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
    #: Additional variables for its build and its runs.
    environment: dict[str, str]
    #: What a run may take, and what follows when it fails.
    limits: Limits = field(default_factory=Limits)
    #: The version of OMNeT++ that it wants; empty: whichever is there.
    omnetpp: str = ""
    #: The line of its labfleet.toml that says so.
    omnetpp_line: int = 0
    #: Its NED folders relative to the root, for projects that need this one.
    ned_folders: tuple[str, ...] = ()
    #: The projects that it needs.
    references: tuple[Reference, ...] = ()
    #: What the person should know before anything is built, as sentences.
    remarks: tuple[str, ...] = ()
    #: Whom the client tells of its campaigns; nothing of that is done in the lab.
    notify: Notify = field(default_factory=Notify)
    #: Is it built by commands of its own, which may read any file?
    is_built_from_all: bool = False

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
    features.refuse_impossible(root, said.features.enable, said.features.disable)
    usual = Path(os.path.normpath(root / said.directory))
    directory = usual if folder == root else folder
    if not ini_files and directory == usual:
        ini_files = [os.path.relpath(root / ini, directory) for ini in said.ini]
    build = recipe.build_of(root, directory, said, mode)
    launch = Launch(
        program=_program(root, directory, said, program, build, mode),
        ini_files=_ini_files(root, directory, ini_files),
        ned_path=_ned_path(root, directory, said),
        arguments=said.arguments,
    )
    needed_files = _needed_files(root, [directory / ini for ini in launch.ini_files or (DEFAULT_INI,)], build)
    if not build.commands and launch.program and _is_path(launch.program):
        needed_files += _inside(root, [directory / launch.program])
    return Project(
        root=root,
        directory=os.path.relpath(directory, root),
        id=_id(root),
        name=root.name,
        build=build,
        launch=launch,
        include=tuple(dict.fromkeys((*said.include, *needed_files))),
        environment=said.environment,
        limits=Limits(**said.limits),
        omnetpp=said.omnetpp,
        omnetpp_line=said.omnetpp_line,
        references=_references(root, said, build),
        remarks=_remarks(root, said),
        notify=said.notify,
        is_built_from_all=bool(said.build),
    )


def load_needed(folder: Path, reference: Reference, *, mode: str = "release") -> Project:
    """Return a project that another one needs: it is only built.  Raises WrongUse for what cannot work.

    What the reference says of its build and features counts more than what its own labfleet.toml says.
    """
    root = _existing_folder(folder)
    said = project_file.read(root)
    if reference.features is not None:
        said = replace(said, features=reference.features)
    if reference.build is not None:
        said = replace(said, build=reference.build)
    features.refuse_impossible(root, said.features.enable, said.features.disable)
    build = recipe.build_of(root, root, said, mode)
    return Project(
        root=root,
        directory=".",
        id=_id(root),
        name=root.name,
        build=build,
        launch=Launch(),
        include=tuple(dict.fromkeys((*said.include, *_needed_files(root, [], build)))),
        environment=said.environment,
        omnetpp=said.omnetpp,
        omnetpp_line=said.omnetpp_line,
        ned_folders=said.ned_path or tuple(_listed_ned_folders(root)) or ("src" if (root / "src").is_dir() else ".",),
        references=_references(root, said, build),
        is_built_from_all=bool(said.build),
    )


def agreed_version(project: Project, needed: Sequence[Project]) -> str:
    """Return the version of OMNeT++ that fits a project and all that it needs; empty: any does.  Raises WrongUse."""
    wishes = [one for one in (project, *needed) if one.omnetpp]
    most = max(wishes, key=lambda one: len(one.omnetpp), default=project)
    for one in wishes:
        if not f"{most.omnetpp}.".startswith(f"{one.omnetpp}."):
            first, second = sorted((one, most), key=wishes.index)
            raise WrongUse(
                f"{first.name} wants OMNeT++ {first.omnetpp}, and {second.name} {second.omnetpp}",
                "a project and those that it needs are built with the same one; `omnetpp` in labfleet.toml says which",
            )
    return most.omnetpp


def said_version(project: Project, needed: Sequence[Project], version: str) -> str:
    """Return where that version is said, for people: whose labfleet.toml, and its line."""
    said = (
        f"{one.name}/{project_file.NAME}, line {one.omnetpp_line},"
        for one in (project, *needed)
        if one.omnetpp == version
    )
    return next(said, "") if version else ""


def _references(root: Path, said: ProjectFile, build: Build) -> tuple[Reference, ...]:
    """Return the projects that a project needs: those that labfleet.toml says, else those that its makefiles name."""
    return ide_files.needed_projects(root, build.makefiles) if said.references is None else said.references


def _remarks(root: Path, said: ProjectFile) -> tuple[str, ...]:
    """Return what may be the reason why a build fails, or why a program does not find what it loads."""
    if said.references is not None:
        return ()
    where = "copy it there, or name it with [[reference]] in labfleet.toml"
    missing = ide_files.missing_projects(root)
    return tuple(f".project names {name}, which is not in ../{name}: {where}" for name in missing)


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
            own = (folder / "Makefile").is_file() or recipe.has_sources(folder, depth=0)
            return folder if own else place
    return folder


def _id(root: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", root.name).strip("-") or "project"
    return f"{name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"


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
    return "/" in program or is_shared_library(program)


def _can_be_started(file: Path) -> bool:
    return file.is_file() and (os.access(file, os.X_OK) or is_shared_library(file.name))


def _own_executable(root: Path, directory: Path, mode: str) -> str | None:
    """Return the executable that is named as its folder, as opp_makemake does; None if there is none."""
    for folder in (directory, root):
        file = folder / (folder.name + SUFFIXES.get(mode, ""))
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
        folders = _listed_ned_folders(root)
        if directory == root and folders in ([], ["."]):
            return ()
    if not folders:
        sources = root / "src" if (root / "src").is_dir() else root
        return tuple(dict.fromkeys((".", os.path.relpath(sources, directory))))
    return tuple(os.path.relpath(root / folder, directory) for folder in folders)


def _listed_ned_folders(root: Path) -> list[str]:
    """Return what .nedfolders lists; OMNeT++ refuses a NED path with a folder that is not there."""
    return [line for line in listed(root / ".nedfolders") if (root / line).is_dir()]


# ---- files -------------------------------------------------------------------------------------------------


def _needed_files(root: Path, ini_files: list[Path], build: Build) -> list[str]:
    """Return what has to travel although git may ignore it, as patterns that match nothing else."""
    made = [root / makefile for makefile in build.makefiles]
    return _inside(root, [*ini_files, *made, root / features.STATE, root / features.EXCLUSIONS])


def _inside(root: Path, files: list[Path]) -> list[str]:
    """Return patterns for those of some files that are there, inside of the project."""
    found = [file for file in map(_located, files) if file.is_file() and file.is_relative_to(root)]
    return [glob.escape(os.path.relpath(file, root)) for file in found]
