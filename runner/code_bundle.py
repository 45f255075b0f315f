"""labfleet's own code as a revision: a git commit of what the machines run, and a bundle that carries it there.

Equal files give an equal commit, from a checkout or an installed package: names, dates and message are fixed.  So
the commit says whether a machine runs this very code.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runner import repository, shell
from runner.errors import LabFailed
from runner.paths import SOURCE

#: The branch of the machines' code.
REF = "refs/heads/deployed"

#: What the machines need besides runner/: it tells which dependencies the code was written for.
LOCK = "requirements-worker.lock"

#: Nothing of the person's, and nothing of the moment, may get into the commit.
_FIXED = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "labfleet"), ("EMAIL", "labfleet@localhost"), ("DATE", "2000-01-01T00:00:00Z"))
    },
}


@dataclass(frozen=True)
class CodeBundle:
    """The code as a file, for ``git fetch FILE refs/heads/deployed``."""

    file: Path
    revision: str


def make(folder: Path, source: Path = SOURCE) -> CodeBundle:
    """Write the bundle into a folder.  Raises LabFailed where there is no git."""
    directory = folder / "code.git"
    commit = _commit(directory, source)
    file = folder / "code.bundle"
    _git(directory, "update-ref", REF, commit)
    # One thread: the same objects are packed in the same way.
    _git(directory, "-c", "pack.threads=1", "bundle", "create", "--quiet", str(file), REF)
    return CodeBundle(file, commit)


def revision(source: Path = SOURCE) -> str:
    """Return the commit of this code.  Raises LabFailed where there is no git."""
    with tempfile.TemporaryDirectory(prefix="labfleet-") as folder:
        return _commit(Path(folder) / "code.git", source)


def _commit(directory: Path, source: Path) -> str:
    """Make a git directory that holds the code, and return the commit."""
    try:
        _git(directory, "init", "--quiet", "--bare", "--template=", str(directory))
    except FileNotFoundError:
        raise LabFailed("git is not installed here", "install it, e.g. `sudo apt install git`") from None
    (directory / "info").mkdir(exist_ok=True)
    (directory / "info" / "attributes").write_text("* -text -filter -ident -eol -working-tree-encoding\n")
    tree = (f"--work-tree={source}", "-C", str(source))
    # Whose execute bit is set may differ between a checkout and an installed package.
    files = "".join(f"{path}\0" for path in _files(source)).encode()
    _git(directory, *tree, "-c", "core.fileMode=false", "update-index", "--add", "-z", "--stdin", stdin=files)
    written = _git(directory, "write-tree")
    return _git(directory, "commit-tree", "-m", "labfleet's code", written)


def _git(directory: Path, *words: str, stdin: bytes | None = None) -> str:
    env = repository.environment(**_FIXED, GIT_INDEX_FILE=str(directory / "code.index"))
    return shell.run(["git", f"--git-dir={directory}", *words], env=env, stdin=stdin).text


def _files(source: Path) -> list[str]:
    """Return what the machines need of labfleet's files, relative to its folder."""
    modules = (source / "runner").rglob("*.py")
    return sorted(path.relative_to(source).as_posix() for path in (*modules, source / LOCK) if path.is_file())
