"""Which compiler and which OMNeT++ an environment has, part of a build's key; and another OMNeT++ that is to be had."""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from runner import omnetpp, shell
from runner.errors import WrongUse
from runner.model import Campaign

#: Variables that makefiles, compilers and linkers read by custom: what they hold decides what is built.
_BUILD_VARIABLE = re.compile(
    r"CC|CXX|CPP|LD|AR|AS|(?!MAKE|MF)\w*FLAGS|\w*LIBS|\w*_PROJ|CPATH|\w*INCLUDE_PATH|LIBRARY_PATH|COMPILER_PATH"
)


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
    root = _root(campaign.environment)
    if root is None:
        raise WrongUse(
            f"{campaign.name} wants OMNeT++ {wanted}, and there is none", "source setenv in its folder first"
        )
    there = _installed(root)
    fitting = [version for version in there if f"{version}.".startswith(f"{wanted}.")]
    if not fitting:
        raise WrongUse(
            f"{campaign.name} wants OMNeT++ {wanted}, which is not there",
            f"there is {', '.join(sorted(there, key=_in_order))}; `omnetpp` in labfleet.toml says which it is to be",
        )
    best = there[max(fitting, key=_in_order)]
    return campaign if best == root else msgspec.structs.replace(campaign, environment=_moved(campaign, root, best))


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


def _moved(campaign: Campaign, old: Path, new: Path) -> dict[str, str]:
    """Return the environment with one OMNeT++ in the place of another, as its setenv would have it."""

    def moved(part: str) -> str:
        return part.replace(str(old), str(new), 1) if Path(part).is_relative_to(old) else part

    lists = {name: ":".join(map(moved, value.split(":"))) for name, value in campaign.environment.items()}
    return {**lists, "OMNETPP_RELEASE": f"omnetpp-{new.name}"}


def lacks_mode(environment: Mapping[str, str], mode: str) -> str:
    """Return a sentence if OMNeT++ is there but was not built in a mode; else an empty one."""
    root = _root(environment)
    if (
        root is None
        or not (root / "lib").is_dir()
        or any((root / "lib").glob(f"*oppsim{omnetpp.SUFFIXES.get(mode, '')}.*"))
    ):
        return ""
    return f"the OMNeT++ in {root} was not built in this mode: make MODE={mode} there does so"


class Toolchains:
    """Identifies tool chains, each once while its files stay as they are."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], str] = {}

    def identify(self, environment: Mapping[str, str]) -> str:
        """Return one line that is equal exactly for environments that compile alike."""
        path = environment.get("PATH", os.defpath)
        compiler = shutil.which((environment.get("CXX") or "g++").split()[-1], path=path)  # "ccache g++" is g++
        asker = shutil.which("opp_configfilepath", path=path)
        makefile_inc = Path(asker).parent.parent / "Makefile.inc" if asker else None
        flags = sorted(f"{name}={value}" for name, value in environment.items() if _BUILD_VARIABLE.fullmatch(name))
        seen = (*map(_stamp, (compiler, asker, makefile_inc)), *flags)
        if seen not in self._known:
            parts = [*_compiler(compiler, environment), *_omnetpp(asker, environment), *flags]
            self._known[seen] = "; ".join(parts) or "no compiler"
        return self._known[seen]


def _stamp(file: "str | Path | None") -> str:
    """Return what changes when a file does."""
    return f"{file} {os.stat(file).st_mtime_ns}" if file and os.path.exists(file) else "-"


def _compiler(compiler: str | None, environment: Mapping[str, str]) -> list[str]:
    if compiler is None:
        return []
    answer = shell.run([compiler, "-dumpfullversion", "-dumpmachine"], env=environment, check=False)
    return [f"{os.path.basename(compiler)} {' '.join(answer.text.split())}"]


def _omnetpp(asker: str | None, environment: Mapping[str, str]) -> list[str]:
    """Return OMNeT++'s Makefile.inc, which holds its version and configuration, and a digest of it."""
    if asker is None:
        return []
    makefile_inc = Path(shell.run([asker], env=environment, check=False).text)
    content = makefile_inc.read_bytes() if makefile_inc.is_file() else b""
    return [f"{makefile_inc} {hashlib.sha256(content).hexdigest()[:16]}"]
