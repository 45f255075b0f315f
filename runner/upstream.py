"""Repositories that references name by a URL: each is cloned once, and brought to the revision that is wanted.

Submodules come with it.  It is the person's git that does so, with the person's settings and keys.  A commit or tag
that was fetched is not asked for again; what a branch is, is asked anew each time.
"""

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from runner import shell, usage
from runner.checksums import digest
from runner.errors import LabFailed, WrongUse
from runner.paths import LabPaths, lock_of

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Cache:
    """The clones of one client.

    What it has fetched stays as it is until the block is left: others who want another revision wait.
    """

    def __init__(self, paths: LabPaths, note: Callable[[str], None] = lambda _: None) -> None:
        """``note``: is told what is about to be fetched, which can take its time."""
        self._paths, self._note = paths, note
        self._held: set[Path] = set()
        self._use = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._use.close()

    def _hold(self, place: Path) -> None:
        if place not in self._held:
            self._use.enter_context(usage.held(lock_of(place)))
            self._held.add(place)

    def fetched(self, url: str, revision: str) -> Path:
        """Return a folder with the files of a revision: commit, tag or branch.

        Raises WrongUse if there is no such revision, LabFailed if the repository cannot be reached.
        """
        name = re.sub(r"\.git$", "", re.split(r"[/:]", url.rstrip("/"))[-1]) or "reference"
        place = self._paths.clones / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}-{digest(url, revision)[:8]}" / name
        self._hold(self._paths.clones)  # the first of all: two who wait for each other's would wait for ever
        self._hold(place.parent)
        if not (place / ".git").exists():
            place.mkdir(parents=True, exist_ok=True)
            _git(place, "init", "--quiet")
        for lock in (place / ".git").rglob("*.lock"):  # of a git that was killed: nobody else is here
            lock.unlink()
        commit = self._known(place, revision)
        if commit is None:
            self._note(f"fetching {revision} of {url}")
            commit = self._fetch(place, url, revision)
        _git(place, "checkout", "--quiet", "--force", "--no-recurse-submodules", "--detach", commit)
        _lay_out_submodules(place, url)
        _git(place, "clean", "--quiet", "-dffx")
        return place

    def _known(self, place: Path, revision: str) -> str | None:
        """Return the commit of a revision that is here and cannot become another one."""
        if not _COMMIT.fullmatch(revision) and not (place / ".git" / "refs" / "tags" / revision).exists():
            return None
        answer = _git(
            place, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", check=False
        )
        return answer.text if answer.status == 0 else None

    def _fetch(self, place: Path, url: str, revision: str) -> str:
        """Fetch a revision and return its commit; a tag stays as one.

        Its history is not needed, of INET that is most of it; only a server that does not hand out single commits gives
        all.
        """
        for wanted, *words in (
            (f"refs/tags/{revision}", "--depth=1", "--", url, f"+refs/tags/{revision}:refs/tags/{revision}"),
            ("FETCH_HEAD", "--depth=1", "--", url, revision),
            (revision, "--", url, "+refs/heads/*:refs/remotes/origin/*"),
        ):
            answer = _git(place, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", *words, check=False)
            found = _git(
                place, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{wanted}^{{commit}}", check=False
            )
            if answer.status == 0 and found.status == 0:
                return found.text
        if answer.status == 0:
            raise WrongUse(
                f"{url} has no revision {revision}", "name a commit, tag or branch: git ls-remote lists them"
            )
        raise LabFailed(f"{url} cannot be fetched: {answer.complaint}", "does `git ls-remote` with this URL work here?")


def _lay_out_submodules(place: Path, url: str) -> None:
    """Have the files of all submodules as the revision names them, as `git clone --recurse-submodules` would.

    Raises LabFailed if one cannot be had; which protocols are allowed is what the person's git says.
    """
    if not (place / ".gitmodules").exists():
        return
    _git(place, "config", "remote.origin.url", url)  # URLs of submodules may be relative to it
    _git(place, "submodule", "--quiet", "sync", "--recursive")
    answer = _git(place, "submodule", "--quiet", "update", "--init", "--recursive", "--force", check=False)
    if answer.status != 0:
        raise LabFailed(
            f"submodules of {url} cannot be fetched: {answer.complaint}",
            "does `git clone --recurse-submodules` with this URL work here?",
        )


def _git(place: Path, *arguments: str, check: bool = True) -> shell.Result:
    """Run git in a clone, the person's variables left as they are but for those that name another repository."""
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in others}
    environment = {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    settings = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", "-c", "core.autocrlf=false")
    return shell.run(["git", "-C", str(place), *settings, *arguments], env=environment, check=check)
