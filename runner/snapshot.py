"""The first stage: working tree → commit → git server.

A snapshot is a commit of the project's files as they are, committed or not.  It is made in a git directory of
labfleet's own, with an index that lives on.  So the person's repository is only ever read; files travel byte
for byte (no line-end conversion, no LFS); unmerged entries, skip-worktree and the like do not matter; and a
project without git, or deep inside somebody else's repository, goes the same way.

Which files travel is decided anew each time from what is there, never from the last snapshot; the index only
saves reading them again.  There are no alternates: borrowed objects would be lost with the next ``git gc`` of
the person's repository, and all they save is writing files at the very first snapshot (for INET some 2 s).
"""

import fnmatch
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from runner import paths, repository, shell, usage
from runner.errors import LabFailed, WrongUse
from runner.repository import NOT_BUILT_FROM

#: What no project sends unless its own git tracks it or ``include`` names it; gitignore patterns.
IGNORED = (
    *(f"{name}/" for name in (*paths.GENERATED, f"{paths.CAMPAIGNS}/20*", "__pycache__", ".venv")),
    *("*.sca", "*.vec", "*.vci", "*.elog", "*.o", "*.obj", "*.pyc"),
)

#: Beats what a person may have set for all repositories; the private directory's own settings see to the rest.
SETTINGS = (
    *("core.fsmonitor=false", "core.symlinks=true", "core.ignoreStat=false"),
    *("core.trustctime=true", "core.checkStat=default"),
    "index.skipHash=false",  # the index's checksum is how we see that nothing changed
    *("push.gpgSign=false", "push.pushOption=", "protocol.file.allow=always"),
)

#: Seconds for which a client believes that a server still has what was pushed to it; the server keeps it for longer.
BELIEVED = 1800.0

#: Seconds after which a snapshot gets no parent: what came before can only be forgotten when nothing leads there.
CHAIN = 30 * 86400.0

#: Of the person's variables for git these stay: the way to a server, and where the global ignore rules are.
PASSED_ON = ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM")

#: Who commits, so that nobody needs to have told git their name.
IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "labfleet"), ("EMAIL", "labfleet@localhost"))
}

_GENERATED = re.compile(rf"(?:^|/)(?:{'|'.join(paths.GENERATED)})(/|$)".encode())
_SOURCE = re.compile(rb"(?:\.(?:cc|cpp|msg)|(?:^|/)Makefile)$")
_LIBRARY = re.compile(rb"\.(?:so|a|dylib)$")
_MESSAGE_CODE = re.compile(rb"_m\.(?:cc|h)$")
#: No program has such a name; saves looking at most files.
_TEXT = re.compile(rb"\.(?:cc|cpp|h|msg|ned|ini|anf|xml|txt|md|rst|py|sh|test|csv|svg|png)$")


@dataclass(frozen=True)
class Snapshot:
    """One state of a project's files, as a commit in its private git directory."""

    commit: str
    tree: str
    #: SHA-256 in hex over (mode, blob id, path) of the files that a build may read.
    sources: str


def take(root: Path, include: Sequence[str], private: Path) -> Snapshot:
    """Return the snapshot of the files below ``root``; the last one again if nothing has changed.

    ``include``: globs relative to ``root`` of files and folders that must travel although they are ignored.
    ``private``: the project's private git directory, created when missing.
    Raises WrongUse for what cannot be read and for globs that lead out of ``root``, LabFailed when git fails.
    """
    root, private = Path(os.path.realpath(root)), private.absolute()
    with _locked(private):
        try:
            return _record(root, include, private)
        except shell.CommandFailed:
            # Nothing in the private directory is precious: whatever is wrong with it, a new one is right.
            shutil.rmtree(private, ignore_errors=True)
        try:
            return _record(root, include, private)
        except shell.CommandFailed as failed:
            message = f"git could not take a snapshot of {root}: {failed.result.complaint}"
            raise LabFailed(message, "if files were changing just then, try again") from failed


def push(
    snapshot: Snapshot, private: Path, server: str, *, ssh: str = "", receive_pack: str = "", identity: str = ""
) -> None:
    """Make the git server have the snapshot, as ``refs/snapshots/COMMIT``.

    ``server``: path or ssh URL of a bare repository; a path that is not there becomes one.  What a path holds
    is looked up, what a URL was given is remembered for a while in ``private``, along with the server's ``identity``:
    another server at the same address has got nothing yet.  Raises LabFailed.
    """
    private, commit = private.absolute(), snapshot.commit
    memory, git = private / "labfleet-pushed.json", _Git(private)
    is_remote = ":" in server.partition("/")[0]  # git's own rule
    with _locked(private):
        pushed, known = _load(memory), f"{server} {identity}"
        try:
            if not is_remote:
                repository.create(Path(server), durable=True)
                repository.note_push(Path(server))
            is_recent = time.time() - float(pushed.get(f"{known} at", 0)) < BELIEVED
            if pushed.get(known) == commit and is_recent if is_remote else repository.has_commit(Path(server), commit):
                return
            program = (f"--receive-pack={receive_pack}",) if receive_pack else ()
            refs = f"{commit}:refs/snapshots/{commit}"
            git.run("push", "--quiet", "--no-verify", *program, "--", server, refs, ssh=ssh)
        except shell.CommandFailed as failed:
            hint = "see whether the lab's head can be reached and has space"
            if not git.succeeds("fsck", commit):
                # Cut short by a full disk or a power failure; the index would go on trusting such objects.
                shutil.rmtree(private, ignore_errors=True)
                hint = "the snapshot was damaged and is removed; the same command makes it anew"
            raise LabFailed(f"cannot push to {server}: {failed.result.complaint}", hint) from failed
        if is_remote:
            _store(memory, {**pushed, known: commit, f"{known} at": str(time.time())})


# ---- which files travel ------------------------------------------------------------------------------------


def _travelling(root: Path, include: Sequence[str], private: Path) -> set[bytes]:
    """Return the files, relative to root, that belong to a snapshot."""
    top = os.fsencode(root)
    git = next(filter(None, map(_git_at, (root, *root.parents))), _Git(private, root))
    visible, tracked = _listed(root, git, private)
    ignored_but_tracked = {path for path in tracked - visible if _is_file(top, path)}
    wanted = {path for path in visible | ignored_but_tracked if not _is_generated(top, path)}
    if any(map(_SOURCE.search, wanted)):
        wanted -= {path for path in wanted - tracked if _is_product(top, path, wanted, tracked)}
    return wanted | {path for path in _included(root, include) if _is_file(top, path)}


def _listed(folder: Path, git: "_Git", private: Path) -> tuple[set[bytes], set[bytes]]:
    """Return the files that git does not ignore, and those that it tracks (some may be gone).

    Submodules and other repositories inside are flattened: each is asked in turn, by its own rules.
    """
    theirs = git.directory != private
    ignored = (f"--exclude={pattern}" for pattern in (*IGNORED, *_own_places(git.top, private)))
    try:
        # To an index that is empty, every file is an untracked one.
        arguments = ("ls-files", "-z", "--others", "--exclude-standard", *ignored)
        others = git.run(*arguments, folder=folder, GIT_INDEX_FILE=str(private / "none"))
        tracked = _names(git.run("ls-files", "-z", folder=folder)) if theirs else set()
    except shell.CommandFailed as failed:
        if not theirs:
            raise
        message = f"git cannot read {git.directory}: {failed.result.complaint}"
        raise WrongUse(message, f"see what `git status` says in {folder}") from failed
    if b"could not open directory" in others.stderr:
        # Git gives no other sign of it, and goes on; a snapshot without that folder would be a wrong one.
        raise WrongUse(f"cannot read all of {folder}: {others.complaint}", "make it readable or have git ignore it")
    visible = _names(others)
    if theirs and not visible and not tracked:
        # It ignores the whole project, as a repository of dot files in the home directory does.
        return _listed(folder, _Git(private, folder), private)
    inside = {path[:-1] for path in visible if path.endswith(b"/")}
    inside |= {path for path in tracked - visible if _git_at(folder / os.fsdecode(path))}
    for path in inside:
        inner = folder / os.fsdecode(path)
        found = _listed(inner, _git_at(inner) or _Git(private, inner), private)
        visible |= {path + b"/" + name for name in found[0]}
        tracked |= {path + b"/" + name for name in found[1]}
    return visible - {path + b"/" for path in inside}, tracked - inside


def _own_places(top: Path | None, private: Path) -> Iterator[str]:
    """Yield gitignore patterns for labfleet's own files, should they lie inside of the project."""
    for place in (private, paths.home()):
        real = Path(os.path.realpath(place))
        if top and top in real.parents:
            yield "/" + re.sub(r"([][*?\\ ])", r"\\\1", str(real.relative_to(top)))


def _is_file(root: bytes, path: bytes) -> bool:
    """Is it a regular file or a symbolic link, and not one that is reached through a link?"""
    file = os.path.join(root, path)
    try:
        mode = os.lstat(file).st_mode
    except OSError:
        return False
    folder = os.path.dirname(file)
    return (stat.S_ISREG(mode) or stat.S_ISLNK(mode)) and os.path.realpath(folder) == folder


def _is_generated(root: bytes, path: bytes) -> bool:
    """Is it in a folder that simulations fill, or a link in the place of such a folder?"""
    found = _GENERATED.search(path)
    return bool(found and (found[1] or os.path.islink(os.path.join(root, path))))


def _is_product(root: bytes, path: bytes, wanted: set[bytes], tracked: set[bytes]) -> bool:
    """Is it what an earlier build on this machine made?  It would pass for the lab's own: stale numbers."""
    if _MESSAGE_CODE.search(path):
        return path.rpartition(b"_m.")[0] + b".msg" in wanted
    return bool(_LIBRARY.search(path)) or (not _TEXT.search(path) and _is_program(root, path, tracked))


def _is_program(root: bytes, path: bytes, tracked: set[bytes]) -> bool:
    """Is it an ELF executable, or a link to one in the project that is not tracked?"""
    file = os.path.join(root, path)
    if os.path.islink(file):  # opp_makemake leaves one to the program in out/
        file = os.path.realpath(file)
        if not file.startswith(root + b"/") or file[len(root) + 1 :] in tracked:
            return False
    try:
        mode = os.stat(file).st_mode
        if not stat.S_ISREG(mode) or not mode & 0o111:
            return False
        with open(file, "rb") as program:
            return program.read(4) == b"\x7fELF"
    except OSError:
        return False  # a dangling link, or a file that cannot be read: git will say


def _included(root: Path, include: Sequence[str]) -> Iterator[bytes]:
    """Yield what the patterns match; of a folder, all that is in it."""
    for pattern in include:
        if not pattern or pattern.startswith("/") or ".." in Path(pattern).parts:
            raise WrongUse(f"cannot include {pattern!r}", "name what lies below the project's root")
        for match in root.glob(pattern):
            found = [match]
            if match.is_dir() and not match.is_symlink():
                # Links to folders count as folders there; real ones are sorted out with what else is no file.
                found = [Path(top, name) for top, *names in os.walk(match) for name in chain(*names)]
            yield from (os.fsencode(path.relative_to(root)) for path in found)


# ---- how they are recorded ---------------------------------------------------------------------------------


def _record(root: Path, include: Sequence[str], private: Path) -> Snapshot:
    """Bring the private index up to date and return its snapshot; a new commit only for a new tree."""
    repository.create(private)
    (private / paths.SNAPSHOT_ROOT).write_bytes(os.fsencode(root))
    git, index, memory = _Git(private, root), private / "index", private / "labfleet.json"
    index.with_suffix(".lock").unlink(missing_ok=True)  # of a client that was killed; the real lock is ours

    files = _travelling(root, include, private)
    listing = _lines(files)
    listed = hashlib.sha256(listing).hexdigest()
    last = _load(memory)
    if last.get("listed") != listed or last.get("index") != _checksum(index):
        # Before anything is added: a folder may have taken a file's place.
        gone = _names(git.run("ls-files", "-z")) - files
        if gone:
            git.run("update-index", "--force-remove", "-z", "--stdin", stdin=_lines(gone))
    try:
        git.run("update-index", "--add", "--remove", "-z", "--stdin", stdin=listing)
    except shell.CommandFailed:
        _refuse_unreadable(root, files)
        raise

    rule = str(NOT_BUILT_FROM)
    if last.get("index") == _checksum(index) and last.get("rule") == rule:
        return Snapshot(last["commit"], last["tree"], last["sources"])
    tree = git.run("write-tree").text
    commit, began = last.get("commit", ""), float(last.get("began", 0))
    if tree != last.get("tree"):
        # The parent keeps the push small: git sends what the server's last snapshot does not have.
        parent = ("-p", commit) if commit and time.time() - began < CHAIN else ()
        if not parent:
            (private / repository.UNUSED).touch()
            began = time.time()
        commit = git.run("commit-tree", "-m", "snapshot", *parent, tree).text
        git.run("update-ref", "HEAD", commit)
    snapshot = Snapshot(commit, tree, _sources(git.run("ls-files", "--stage", "-z").stdout))
    seen = {"index": _checksum(index), "listed": listed, "rule": rule, "began": str(began)}
    _store(memory, {**vars(snapshot), **seen})
    return snapshot


def _sources(stage: bytes) -> str:
    """Return the digest of what ``git ls-files --stage -z`` printed, less the files that no build reads."""
    skipped = re.compile("|".join(map(fnmatch.translate, NOT_BUILT_FROM)))
    digest = hashlib.sha256()
    for entry in stage.split(b"\0"):
        name = os.fsdecode(re.split(rb"[/\t]", entry)[-1])
        if not skipped.match(name):
            digest.update(entry + b"\0")
    return digest.hexdigest()


def _refuse_unreadable(root: Path, files: set[bytes]) -> None:
    """Raise WrongUse for a file that cannot be read."""
    for path in sorted(files):
        file = root / os.fsdecode(path)
        if os.path.isfile(file) and not os.path.islink(file) and not os.access(file, os.R_OK):
            raise WrongUse(f"cannot read {os.fsdecode(path)!r}", "make it readable or have git ignore it")


# ---- git and files -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Git:
    """A git directory, and the top of the working tree that it is used with.

    A directory that is named is neither searched for nor refused for its owner ("dubious ownership").
    """

    directory: Path
    top: Path | None = None

    def run(
        self, *arguments: str, folder: Path | None = None, stdin: bytes | None = None, ssh: str = "", **variables: str
    ) -> shell.Result:
        """Run a git command, by default at the top.  Raises CommandFailed."""
        place = folder or self.top
        where = ("-C", str(place), f"--work-tree={self.top}") if place else ()
        settings = (word for setting in SETTINGS for word in ("-c", setting))
        variables |= IDENTITY | {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        if ssh:
            variables["GIT_SSH_COMMAND"] = ssh
        return repository.git(self.directory, *where, *settings, *arguments, stdin=stdin, **variables)

    def succeeds(self, *arguments: str) -> bool:
        """Does a git command end with status 0?"""
        try:
            self.run(*arguments)
        except shell.CommandFailed:
            return False
        return True


def _git_at(folder: Path) -> _Git | None:
    """Return the person's repository whose working tree begins at this folder, itself and not a link to it."""
    mark = folder / ".git"
    if os.path.isfile(mark):  # a submodule or a linked working tree
        mark = folder / os.fsdecode(mark.read_bytes().removeprefix(b"gitdir:").strip())
    # What a copied or half removed working tree has left of its repository does not count.
    is_whole = os.path.exists(mark / "HEAD") and os.path.realpath(folder) == str(folder)
    return _Git(mark, folder) if is_whole else None


def _names(result: shell.Result) -> set[bytes]:
    """Return the paths that a command printed with ``-z``."""
    return set(result.stdout.split(b"\0")) - {b""}


def _lines(files: set[bytes]) -> bytes:
    """Return paths as a command reads them with ``-z``."""
    return b"".join(path + b"\0" for path in sorted(files))


def _checksum(index: Path) -> str:
    """Return the checksum that ends a git index; empty if there is none."""
    return index.read_bytes()[-20:].hex() if index.exists() else ""


@contextmanager
def _locked(private: Path) -> Iterator[None]:
    """Keep the project's other clients out; the system takes the lock from a process that dies.

    Raises LabFailed where there is no git.
    """
    if not shutil.which("git"):
        raise LabFailed("git is not installed here", "install it, e.g. `sudo apt install git`")
    with usage.held(paths.lock_of(private)):  # beside the directory, which may be removed and made anew meanwhile
        yield


def _load(file: Path) -> dict[str, str]:
    """Return the values in a JSON file; none if it is missing or cut short."""
    try:
        values: dict[str, str] = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return values


def _store(file: Path, values: dict[str, str]) -> None:
    """Replace a JSON file in one step."""
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(values))
    os.replace(draft, file)
