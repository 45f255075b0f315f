"""Which compiler and which OMNeT++ an environment has: part of a build's key."""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from runner import shell

#: Variables that makefiles, compilers and linkers read by custom: what they hold decides what is built.
_BUILD_VARIABLE = re.compile(
    r"CC|CXX|CPP|LD|AR|AS|(?!MAKE|MF)\w*FLAGS|\w*LIBS|\w*_PROJ|CPATH|\w*INCLUDE_PATH|LIBRARY_PATH|COMPILER_PATH"
)


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
