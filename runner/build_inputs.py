"""What a build reads, by what its makefiles, scripts and commands name: variables, and whether ini and NED files, too.

A shell has variables by the dozen, and each terminal other ones: few matter to a build, and it says which by naming
them, as $(NAME), $NAME, $ENV{NAME}, getenv("NAME") or otherwise.  So every word of these files may be such a name.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner import repository
from runner.checksums import digest
from runner.model import Source
from runner.toolchain import NOT_READ

#: Names of files that say how things are made.
RULES = (
    *("[Mm]akefile*", "GNUmakefile", "makefrag*", "*.mk", "*.mak", "*.make", "CMakeLists.txt", "*.cmake"),
    *("meson.build", "SConstruct", "SConscript", "configure*"),
)

#: Names of scripts, which count where something names them, as programs of other names do.
SCRIPTS = ("*.sh", "*.py", "*.pl")

#: Bytes; what is larger has been written by no person.
MOST = 1 << 20

_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PATH = re.compile(r"[\w.+/-]+")

#: Files that builds do not read, as a rule; see repository.NOT_BUILT_FROM.
_NOT_BUILT_FROM = re.compile(r"\.(?:ini|ned|anf)\b")

#: Makefiles of opp_makemake's, and whoever makes them, name one of these.
_OF_OMNETPP = ("opp_makemake", "opp_configfilepath")

#: CMake looks for a package where NAME_ROOT and NAME_DIR say.
_PACKAGE = re.compile(r"find_package\s*\(\s*(\w+)")


class BuildInputs:
    """Finds out what builds read, once for each state of a project's sources."""

    def __init__(self, provide: Callable[[Source], Path]) -> None:
        """``provide``: returns a repository that has a project's commit."""
        self._provide = provide
        self._known: dict[tuple[str, str], _Inputs] = {}

    def variables(self, source: Source, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Return as ``NAME=value`` what decides about a build: what it names of an environment, and its own."""
        if not _is_built(source):
            return ()
        names = (self._read(source).words - NOT_READ) | source.environment.keys()
        return tuple(f"{name}={value}" for name, value in sorted(environment.items()) if name in names)

    def files(self, source: Source) -> str:
        """Return the digest of the files that decide about a build."""
        return source.tree if self.reads_all(source) else source.sources

    def reads_all(self, source: Source) -> bool:
        """Say whether ini and NED files count, too, as something names them."""
        return _is_built(source) and (source.tree == source.sources or self._read(source).reads_all)

    def rules(self, source: Source) -> str:
        """Return the digest of what says how things are made."""
        return self._read(source).rules if _is_built(source) else ""

    def uses_omnetpp(self, source: Source) -> bool:
        """Say whether a build compiles and links with OMNeT++, as far as that can be seen."""
        return _is_built(source) and not self._read(source).words.isdisjoint(_OF_OMNETPP)

    def _read(self, source: Source) -> "_Inputs":
        known = source.sources, repr(source.build)
        if known not in self._known:
            files = repository.texts(self._provide(source), source.tree, (*RULES, *SCRIPTS), MOST)
            texts = read(files, [word for command in source.build.commands for word in command])
            reads_all = any(map(_NOT_BUILT_FROM.search, texts))
            self._known[known] = _Inputs(words(texts), reads_all, digest(*sorted(texts)))
        return self._known[known]


@dataclass(frozen=True)
class _Inputs:
    """What the makefiles, scripts and commands of a project name."""

    #: Among them are all variables.
    words: frozenset[str]
    reads_all: bool
    #: Digest of all these texts.
    rules: str


def _is_built(source: Source) -> bool:
    return bool(source.build.commands or source.build.enable or source.build.disable)


def read(files: Mapping[str, str], commands: Iterable[str]) -> list[str]:
    """Return the texts that say what is done: commands, makefiles, and the scripts that these name.

    ``files``: path → text of what there is.
    """
    unread = dict(files)
    waiting = [*commands, *(unread.pop(path) for path in files if repository.has_name(path, RULES))]
    done: list[str] = []
    while waiting:
        done.append(waiting.pop())
        called = {os.path.basename(path) for path in _PATH.findall(done[-1])}
        waiting += [unread.pop(path) for path in list(unread) if os.path.basename(path) in called]
    return done


def words(texts: Iterable[str]) -> frozenset[str]:
    """Return all that may be a variable's name in some texts."""
    found: set[str] = set()
    for text in texts:
        found.update(_WORD.findall(text))
        for package in _PACKAGE.findall(text):
            found |= {f"{name}_{end}" for name in (package, package.upper()) for end in ("ROOT", "DIR")}
    return frozenset(found)
