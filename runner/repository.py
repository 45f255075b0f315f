"""Git repositories as labfleet uses them: bytes come out as they went in, without anybody's settings or hooks."""

import fnmatch
import functools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from runner import shell

#: Attributes in a repository's own file outrank those in the tree: no line-end conversion, filters or keywords.
_ATTRIBUTES = "* -text -filter -ident -eol -working-tree-encoding\n"

#: Names of files that no build reads: changing them leaves the digest of a snapshot's sources as it is.  What
#: labfleet.toml says of the build is part of that anyway.
NOT_BUILT_FROM = (
    "labfleet.toml",
    *("*.ini", "*.ned", "*.anf", "*.md", "*.rst", "*.pdf", "*.ipynb"),
    *("*.png", "*.svg", "*.jpg", "*.jpeg", "*.gif", "LICENSE", "COPYING", "README", "AUTHORS", "CREDITS"),
)

#: Settings of a repository in which all is on the disk before it has a name, at the price of two waits for the disk.
DURABLE = {"core.fsync": "objects,derived-metadata,reference", "core.fsyncMethod": "batch"}

#: In a server's repository: its time is that of the last push that has begun (entry.py on a head).
_PUSHED = "labfleet-pushed"

#: In a repository that may hold what no ref leads to any more; its time is that since when.
UNUSED = "labfleet-unused"


def environment(**more: str) -> dict[str, str]:
    """Return the environment for git: the person's, without what would point it to another repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **more}


def git(repository: Path, *arguments: str, stdin: bytes | None = None, **variables: str) -> shell.Result:
    """Run git on a repository.  Raises CommandFailed."""
    return shell.run(_argv(repository, arguments), env=environment(**variables), stdin=stdin)


def _tied_git(repository: Path, *arguments: str, **variables: str) -> None:
    """Run git on a repository, which ends with this process, as does the lock that others wait for.

    Raises CommandFailed.
    """
    shell.run(_argv(repository, arguments), env=environment(**variables), dies_with_parent=True)


def _argv(repository: Path, arguments: Sequence[str]) -> list[str]:
    return ["git", f"--git-dir={repository}", *arguments]


def create(repository: Path, *, durable: bool = False) -> None:
    """Make an empty bare repository unless there is one.

    ``durable``: what comes into it is on the disk before it has a name there.  Git alone would leave refs to objects
    that a power failure has emptied, and takes those for what it has.
    """
    attributes = repository / "info" / "attributes"
    if attributes.exists():
        return
    unlock(repository)
    shell.run(["git", "init", "--quiet", "--bare", "--template=", str(repository)], env=environment())
    git(repository, "config", "gc.auto", "0")
    git(repository, "config", "core.hooksPath", os.devnull)
    for name, value in DURABLE.items() if durable else ():
        git(repository, "config", name, value)
    attributes.parent.mkdir(exist_ok=True)
    half = attributes.with_suffix(".new")
    with half.open("w") as file:
        file.write(_ATTRIBUTES)
        file.flush()
        os.fsync(file.fileno())
    os.replace(half, attributes)


def unlock(repository: Path) -> None:
    """Remove the locks of a git that was killed; nobody else may use the repository now."""
    for lock in (*(repository / "refs").rglob("*.lock"), *repository.glob("*.lock")):
        lock.unlink(missing_ok=True)


def has_commit(repository: Path, commit: str) -> bool:
    """Say whether a commit is there, with all that belongs to it (a fetch is complete or leaves no ref)."""
    return _ref(repository, commit).exists()


def name_of(commit: str) -> str:
    """Return the ref that keeps a snapshot."""
    return f"refs/snapshots/{commit}"


def _ref(repository: Path, commit: str) -> Path:
    return repository / name_of(commit)


def note_use(repository: Path, commit: str) -> None:
    """Take note that a commit is needed now."""
    os.utime(_ref(repository, commit))


def note_push(repository: Path) -> None:
    """Take note that a push begins: it relies on the refs that it is told of."""
    (repository / _PUSHED).touch()


def last_push(repository: Path) -> float:
    """Return when the last push began, in seconds since the epoch; 0 if there was none."""
    mark = repository / _PUSHED
    return mark.stat().st_mtime if mark.exists() else 0.0


def snapshots(repository: Path) -> dict[str, float]:
    """Return the commits that are there, and when each was needed last."""
    folder = repository / "refs" / "snapshots"
    refs = folder.iterdir() if folder.is_dir() else ()
    return {ref.name: ref.stat().st_mtime for ref in refs if ref.suffix != ".lock"}


def forget(repository: Path, commits: Iterable[str]) -> None:
    """Remove the refs of some commits; what they alone held stays until garbage is collected."""
    orders = "".join(f"delete refs/snapshots/{commit}\n" for commit in commits)
    git(repository, "update-ref", "--stdin", stdin=orders.encode())


def collect_garbage(repository: Path) -> None:
    """Remove what no ref holds, but for what has come within the last day; with one core and little memory.

    Refs stay files of their own: that is how :func:`has_commit` finds them.
    """
    history = ("gc.reflogExpire=now", "gc.reflogExpireUnreachable=now")  # nobody goes back by it
    settings = (*history, "gc.packRefs=false", "pack.threads=1", "pack.windowMemory=64m")
    git(repository, *(word for setting in settings for word in ("-c", setting)), "gc", "--quiet", "--prune=1.day.ago")


#: Exit status of ``git ls-remote --exit-code`` when the server answers, and has no such ref.
_NO_SUCH_REF = 2


def _by(ssh: str) -> tuple[str, ...]:
    """Return git's options for an SSH command; none where the server is a folder."""
    return ("-c", f"core.sshCommand={ssh}", "-c", "ssh.variant=ssh") if ssh else ()


def offers(server: str, ref: str, ssh: str = "") -> bool:
    """Say whether a server has a ref.  Raises CommandFailed if it does not answer."""
    argv = ["git", *_by(ssh), "ls-remote", "--exit-code", server, ref]
    answer = shell.run(argv, env=environment(), check=False)
    if answer.status not in (0, _NO_SUCH_REF):
        raise shell.CommandFailed(answer)
    return answer.status == 0


def fetch(repository: Path, server: str, ref: str, ssh: str = "") -> None:
    """Fetch one ref from a server, by an SSH command where it is a remote one."""
    _tied_git(
        repository,
        *_by(ssh),
        "-c",
        "protocol.file.allow=always",
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-auto-gc",
        server,
        f"+{ref}:{ref}",
    )


def lay_out(repository: Path, tree: str, directory: Path, index: Path, *, are_links: bool = False) -> None:
    """Make a directory hold exactly a tree's files, apart from what git does not know.

    The index remembers what is there: only files that differ from it are written, so make sees only real changes.
    ``are_links``: the files are further links to those that the index knows, which changes nothing but their ctime.
    Whoever calls this is alone with directory and index: a lock of the index is of a git that was killed.
    """
    index.with_name(f"{index.name}.lock").unlink(missing_ok=True)
    _tied_git(
        repository,
        f"--work-tree={directory}",
        "-c",
        "core.bare=false",
        "-c",
        f"core.trustctime={'false' if are_links else 'true'}",
        "read-tree",
        "--reset",
        "-u",
        tree,
        GIT_INDEX_FILE=str(index),
    )


def blobs(repository: Path, tree: str, patterns: Sequence[str]) -> list[str]:
    """Return "MODE blob ID<tab>PATH" for the files of a tree whose name matches one of some patterns."""
    listed = os.fsdecode(git(repository, "ls-tree", "-r", "-z", tree).stdout).split("\0")
    return [line for line in listed if has_name(line.partition("\t")[2], patterns)]


def has_name(path: str, patterns: Sequence[str]) -> bool:
    """Say whether the name of a file, without its folder, matches one of some patterns."""
    return bool(_any_of(tuple(patterns)).match(path.rpartition("/")[2]))


@functools.cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, patterns)))


def texts(repository: Path, tree: str, patterns: Sequence[str], size: int) -> dict[str, str]:
    """Return path → content of a tree's programs, and files whose name matches a pattern, up to a size in bytes."""
    found: dict[str, str] = {}
    for line in os.fsdecode(git(repository, "ls-tree", "-r", "-l", "-z", tree).stdout).split("\0"):
        said, _, path = line.partition("\t")
        mode, _, blob, length = said.split() if path else ("", "", "", "")
        is_wanted = mode == "100755" or (mode == "100644" and has_name(path, patterns))
        if is_wanted and int(length) <= size:
            found[path] = blob
    answer = git(repository, "cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in found.values()).encode())
    contents: dict[str, str] = {}
    start = 0
    for path in found:  # each is "ID blob SIZE", the content, and the end of a line
        begin = answer.stdout.index(b"\n", start) + 1
        end = begin + int(answer.stdout[start:begin].split()[2])
        contents[path] = answer.stdout[begin:end].decode(errors="replace")
        start = end + 1
    return contents


def changed_files(repository: Path, directory: Path, index: Path) -> list[str]:
    """Return the files of a directory that are not as the index knows them, new ones included."""
    return _listed(repository, directory, index, "--others", "--modified")


def new_files(repository: Path, directory: Path, index: Path) -> list[str]:
    """Return the files of a directory that the index does not know, and the folders that are repositories."""
    return _listed(repository, directory, index, "--others")


def _listed(repository: Path, directory: Path, index: Path, *which: str) -> list[str]:
    answer = git(
        repository,
        f"--work-tree={directory}",
        "-c",
        "core.bare=false",
        "-C",
        str(directory),
        "ls-files",
        *which,
        "-z",
        GIT_INDEX_FILE=str(index),
    )
    return [os.fsdecode(name) for name in answer.stdout.split(b"\0") if name]
