"""Which compiler and which OMNeT++ an environment has, part of a build's key; and another OMNeT++ that is to be had."""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from runner import omnetpp, shell
from runner.errors import WrongUse
from runner.model import Campaign

#: Variables that makefiles, compilers and linkers read by custom: what they hold decides what is built.
_BUILD_VARIABLE = re.compile(
    r"CC|CXX|CPP|LD|AR|AS|(?!MAKE|MF)\w*FLAGS|\w*LIBS|\w*_PROJ|CPATH|\w*INCLUDE_PATH|LIBRARY_PATH|COMPILER_PATH"
    r"|GCC_EXEC_PREFIX|LD_RUN_PATH|SOURCE_DATE_EPOCH|MAKEFILES|CCACHE_(CC|COMPILER)|CMAKE_\w+|PKG_CONFIG_\w+"
)

#: Variables that decide nothing although makefiles name them: what PATH leads to is identified by itself, the mode is
#: labfleet's, the folder is the builder's, and the rest is the terminal's or what OMNeT++'s setenv adds.
NOT_READ = frozenset(
    {
        *("PATH", "MODE", "PWD", "OLDPWD", "SHLVL", "_", "TERM", "COLORTERM", "COLUMNS", "LINES"),
        *("OMNETPP_IMAGE_PATH", "OMNETPP_RELEASE", "__omnetpp_root_dir"),
    }
)

#: In OMNeT++'s Makefile.inc: words, variables that it sets whatever the environment says, and what it compiles with.
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ASSIGNED = re.compile(r"^[ \t]*(\w+)[ \t]*:?=", re.MULTILINE)
_COMPILER = re.compile(r"^[ \t]*(?:CC|CXX|SHLIB_LD)[ \t]*:?=[ \t]*(.*)$", re.MULTILINE)

#: Programs that are called as compilers are, and call one.
_WRAPPERS = ("ccache", "distcc", "sccache", "icecc")


#: The folder in which the worker image has the versions of OMNeT++ side by side, each in one of its own.
SHELF = "omnetpp"

_VERSION = re.compile(r"\d+(\.\w+)*")


def chosen(campaign: Campaign) -> Campaign:
    """Return a campaign with the environment of the OMNeT++ that it wants.

    Raises WrongUse, which lists those that there are.
    """
    wanted = campaign.omnetpp
    if not wanted:
        return campaign
    root = _root(campaign.run_environment)
    who = campaign.omnetpp_said or campaign.name
    if root is None:
        raise WrongUse(f"{who} wants OMNeT++ {wanted}, and there is none", "source setenv in its folder first")
    there = _installed(root)
    fitting = [version for version in there if f"{version}.".startswith(f"{wanted}.")]
    if not fitting:
        raise WrongUse(
            f"{who} wants OMNeT++ {wanted}, which is not there",
            f"there is {', '.join(sorted(there, key=_in_order))}; `omnetpp` in labfleet.toml says which it is to be",
        )
    best = there[max(fitting, key=_in_order)]
    if best == root:
        return campaign
    environment = {**_moved(campaign.environment, root, best), "OMNETPP_RELEASE": f"omnetpp-{best.name}"}
    own = _moved(campaign.own_environment, root, best)
    return msgspec.structs.replace(campaign, environment=environment, own_environment=own)


def refuse_mixed(campaign: Campaign) -> None:
    """Raise WrongUse if a project and one that it needs would be built with two OMNeT++, by what they say of PATH."""
    own = _root(campaign.run_environment)
    for source in campaign.references:
        other = _root({**campaign.environment, **source.environment})
        if own and other and own != other:
            raise WrongUse(
                f"{campaign.name} would be built with the OMNeT++ in {own}, and {source.name} with that in {other}",
                "set OMNeT++'s environment before you call labfleet, not in [environment] of labfleet.toml",
            )


def _root(environment: Mapping[str, str]) -> Path | None:
    """Return the folder of the OMNeT++ that is on PATH."""
    tool = shutil.which("opp_configfilepath", path=environment.get("PATH", os.defpath))
    return Path(tool).resolve().parent.parent if tool else None


def _installed(root: Path) -> dict[str, Path]:
    """Return version → folder of the OMNeT++ in one folder, and of those beside it if it stands on a shelf of them."""
    if root.parent.name == SHELF and _VERSION.fullmatch(root.name):
        shelf = (folder for folder in root.parent.iterdir() if _VERSION.fullmatch(folder.name))
        return {folder.name: folder for folder in shelf if (folder / "bin" / "opp_configfilepath").exists()}
    named = root / "Version"
    version = named.read_text().strip().removeprefix("omnetpp-") if named.is_file() else "of an unknown version"
    return {version: root}


def _in_order(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in version.split(".")]


def _moved(environment: Mapping[str, str], old: Path, new: Path) -> dict[str, str]:
    """Return an environment with one OMNeT++ in the place of another, as its setenv would have it."""

    def moved(part: str) -> str:
        return part.replace(str(old), str(new), 1) if Path(part).is_relative_to(old) else part

    return {name: ":".join(map(moved, value.split(":"))) for name, value in environment.items()}


def lacks_mode(environment: Mapping[str, str], mode: str) -> str:
    """Return a sentence if OMNeT++ is there but was not built in a mode; else an empty one."""
    root = _root(environment)
    if (
        root is None
        or not (root / "lib").is_dir()
        or any((root / "lib").rglob(f"*oppsim{omnetpp.SUFFIXES.get(mode, '')}.*"))
    ):
        return ""
    return f"the OMNeT++ in {root} was not built in this mode: make MODE={mode} there does so"


#: What separates the parts of a tool chain's identity: compilers, OMNeT++, the image, variables.
PARTS = "; "


class Toolchains:
    """Identifies tool chains, each once while its files stay as they are."""

    def __init__(self, image: str = "") -> None:
        """``image``: the one that this machine's programs are from; it has the same name everywhere in a lab."""
        self._image = [f"image {image}"] if image else []
        self._known: dict[tuple[str, ...], str] = {}
        #: By the files' stamps: what OMNeT++'s Makefile.inc says, and the digest of what a build reads.
        self._makefiles: dict[str, _MakefileInc] = {}
        self._digests: dict[tuple[str, ...], str] = {}

    def identify(self, environment: Mapping[str, str], mode: str = "release") -> str:
        """Return one line that is equal exactly for environments that compile alike in a mode.

        Of OMNeT++ that is the content of what a build reads; it is read again when some file has another stamp.
        """
        path = environment.get("PATH", os.defpath)
        root = _root(environment)
        said = self._said(root) if root else _MakefileInc("")
        compilers = [_candidates(name, path) for name in said.compilers(environment)]
        files = _read_by_builds(str(root), mode) if root else []
        stamps = tuple(map(_stamp, files))
        flags = sorted(
            f"{name}={value}"
            for name, value in environment.items()
            if name in said.variables or _BUILD_VARIABLE.fullmatch(name)
        )
        seen = (*(_stamp(file) for there in compilers for file in there), str(root), *stamps, *flags)
        if seen not in self._known:
            parts = [_version(there, environment) for there in compilers if there]
            if root:
                if stamps not in self._digests:
                    self._digests[stamps] = _digest(root, files)
                parts.append(f"{root / 'Makefile.inc'} {self._digests[stamps][:16]}")
            self._known[seen] = PARTS.join([*dict.fromkeys(parts), *self._image, *flags]) or "no compiler"
        return self._known[seen]

    def _said(self, root: Path) -> "_MakefileInc":
        file = root / "Makefile.inc"
        stamp = _stamp(str(file))
        if stamp not in self._makefiles:
            self._makefiles[stamp] = _MakefileInc(file.read_text(errors="replace") if file.is_file() else "")
        return self._makefiles[stamp]


class _MakefileInc:
    """What OMNeT++'s own makefile says."""

    def __init__(self, text: str) -> None:
        #: The variables that it reads from the environment.
        self.variables = set(_NAME.findall(text)) - set(_ASSIGNED.findall(text)) - NOT_READ
        self._compilers = _COMPILER.findall(text)

    def compilers(self, environment: Mapping[str, str]) -> list[str]:
        """Return the names of the compilers that builds call: by custom, by the environment, and by this makefile."""
        commands = [environment.get("CXX") or "g++", environment.get("CC", ""), *self._compilers]
        return list(dict.fromkeys(name for name in map(_compiler, commands) if name))


def _stamp(file: str) -> str:
    """Return what changes when a file does."""
    try:
        found = os.stat(file)
    except OSError:
        return f"{file} -"
    return f"{file} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


# ---- compilers -------------------------------------------------------------------------------------------------


def _compiler(command: str) -> str:
    """Return the compiler of a command: that of ``ccache g++ -m32`` is g++."""
    words = (word for word in command.split() if os.path.basename(word) not in _WRAPPERS)
    return next((word for word in words if word[0] != "-" and not set("=$") & set(word)), "")


def _candidates(name: str, path: str) -> list[str]:
    """Return the programs of a name, first the one that is called: wrappers look for the next one by themselves."""
    if "/" in name:
        return [name] if os.path.exists(name) else []
    found = (shutil.which(name, path=folder) for folder in path.split(os.pathsep) if folder)
    return [file for file in found if file]


def _version(candidates: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return which compiler it is that compiles, whoever is called first."""
    real = [file for file in candidates if os.path.basename(os.path.realpath(file)) not in _WRAPPERS]
    compiler = [*real, *candidates][0]
    said = [
        (shell.run([compiler, option], env=environment, check=False).text.splitlines() or [""])[0].strip()
        for option in ("--version", "-dumpmachine")
    ]
    return " ".join([*filter(None, said), os.path.realpath(compiler)])


# ---- OMNeT++ ---------------------------------------------------------------------------------------------------


def _read_by_builds(root: str, mode: str) -> list[str]:
    """Return the files of OMNeT++'s that decide what a build in a mode makes: tools, headers and libraries."""
    headers = (f"{folder}/{name}" for folder, _, names in os.walk(f"{root}/include/omnetpp") for name in names)
    libraries = (f"{root}/lib/{name}" for name in _listed(f"{root}/lib") if "opp" in name and _mode_of(name) == mode)
    tools = (f"{root}/bin/{name}" for name in _listed(f"{root}/bin") if name.startswith("opp_"))
    return sorted([f"{root}/Makefile.inc", f"{root}/include/omnetpp.h", *headers, *libraries, *tools])


def _listed(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _mode_of(library: str) -> str:
    """Return the mode that a library of OMNeT++'s is for: release also for those of modes that are not labfleet's."""
    stem = library.partition(".")[0]
    return next((mode for mode, suffix in omnetpp.SUFFIXES.items() if stem.endswith(suffix)), "release")


def _digest(root: Path, files: Sequence[str]) -> str:
    """Return the SHA-256 of names and contents of those of some files that are there."""
    digest = hashlib.sha256()
    for file in filter(os.path.isfile, files):
        with open(file, "rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{os.path.relpath(file, root)} {content}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
