"""Repositories that references name by a URL, with the real git."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import LabFailed
from runner.paths import LabPaths
from runner.upstream import Cache
from tests.needed_projects import write

GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "protocol.file.allow=always"]


def git(root: Path, *words: str) -> str:
    said = subprocess.run([*GIT, *words], cwd=root, check=True, capture_output=True, text=True)
    return said.stdout.strip()


def commit(root: Path, **files: str) -> str:
    """Commit files, and return the commit."""
    if not (root / ".git").exists():
        root.mkdir(parents=True)
        git(root, "init", "-q", "-b", "main")
    write(root, **files)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "all")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(LabPaths(tmp_path / "home")) as cache:
        yield cache


def test_what_came_before_a_revision_is_not_fetched(tmp_path: Path, cache: Cache) -> None:
    # Given a repository with a history
    server = tmp_path / "server" / "greet"
    first = commit(server, a="1")
    git(server, "tag", "v1")
    second = commit(server, a="2")
    # When a tag, a commit and a branch are wanted
    for revision, is_now in (("v1", "1"), (first, "1"), (second, "2"), ("main", "2")):
        place = cache.fetched(f"file://{server}", revision)
        # Then it is there, alone
        assert (place / "a").read_text() == is_now
        assert git(place, "rev-list", "--count", "HEAD") == "1"
    # When the branch goes on, then so does its clone
    commit(server, a="3")
    assert (cache.fetched(f"file://{server}", "main") / "a").read_text() == "3"


def test_a_commit_may_be_shortened(tmp_path: Path, cache: Cache) -> None:
    # Given an older commit
    server = tmp_path / "server" / "greet"
    first = commit(server, a="1")
    commit(server, a="2")
    # When / Then
    assert (cache.fetched(f"file://{server}", first[:8]) / "a").read_text() == "1"


def test_people_are_told_what_is_fetched_and_only_that(tmp_path: Path) -> None:
    # Given a repository with a tag
    server = tmp_path / "server" / "greet"
    commit(server, a="1")
    git(server, "tag", "v1")
    told: list[str] = []
    # When it is wanted twice
    for _ in range(2):
        with Cache(LabPaths(tmp_path / "home"), told.append) as cache:
            cache.fetched(f"file://{server}", "v1")
    # Then it was fetched once
    assert told == [f"fetching v1 of file://{server}"]


def test_a_clone_that_was_cut_short_is_gone_on_with(tmp_path: Path) -> None:
    # Given a clone in which git was killed
    server = tmp_path / "server" / "greet"
    commit(server, a="1")
    with Cache(LabPaths(tmp_path / "home")) as cache:
        place = cache.fetched(f"file://{server}", "main")
    commit(server, a="2")
    for lock in ("index.lock", "shallow.lock"):
        (place / ".git" / lock).touch()
    # When the branch has gone on, then so does the clone
    with Cache(LabPaths(tmp_path / "home")) as cache:
        assert (cache.fetched(f"file://{server}", "main") / "a").read_text() == "2"


def test_what_somebody_uses_stays_as_it_is(tmp_path: Path, cache: Cache) -> None:
    # Given somebody who takes a snapshot of a branch
    server = tmp_path / "server" / "greet"
    commit(server, a="1")
    place = cache.fetched(f"file://{server}", "main")
    # When somebody else wants the same, and the branch has gone on
    commit(server, a="2")

    def other() -> None:
        with Cache(LabPaths(tmp_path / "home")) as others:
            others.fetched(f"file://{server}", "main")

    thread = threading.Thread(target=other)
    thread.start()
    # Then nothing changes until it is not needed any more
    thread.join(0.3)
    assert (place / "a").read_text() == "1"
    with cache:
        pass
    thread.join()
    assert (place / "a").read_text() == "2"


def test_submodules_come_too(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a repository with a submodule that is named relative to it, and a person whose git takes those from files
    for number, (name, value) in enumerate({"protocol.file.allow": "always"}.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    inner, server = tmp_path / "server" / "inner", tmp_path / "server" / "greet"
    commit(inner, b="1")
    commit(server, a="1")
    git(server, "remote", "add", "origin", f"file://{server}")
    git(server, "submodule", "--quiet", "add", "../inner", "lib/inner")
    first = commit(server, a="1")
    # When a revision is wanted, then the submodule's files are there
    place = cache.fetched(f"file://{server}", first)
    assert (place / "lib/inner/b").read_text() == "1"
    # When both servers are gone, then nobody asks them
    (tmp_path / "server").rename(tmp_path / "gone")
    assert cache.fetched(f"file://{server}", first) == place
    (tmp_path / "gone").rename(tmp_path / "server")
    # When the branch has another revision of it, then that is there
    assert (cache.fetched(f"file://{server}", "main") / "lib/inner/b").read_text() == "1"
    commit(inner, b="2")
    git(server / "lib/inner", "pull", "--quiet", "origin", "main")
    commit(server)
    assert (cache.fetched(f"file://{server}", "main") / "lib/inner/b").read_text() == "2"


def test_submodules_that_cannot_be_fetched_are_said(tmp_path: Path, cache: Cache) -> None:
    # Given a repository whose submodule is nowhere
    server = tmp_path / "server" / "greet"
    inner = commit(tmp_path / "server" / "inner", b="1")
    commit(server, _dot_gitmodules='[submodule "x"]\n\tpath = x\n\turl = ../nowhere\n')
    git(server, "update-index", "--add", "--cacheinfo", f"160000,{inner},x")
    git(server, "commit", "-qm", "x")
    # When / Then
    with pytest.raises(LabFailed) as caught:
        cache.fetched(f"file://{server}", "main")
    assert f"submodules of file://{server} cannot be fetched" in caught.value.message
    assert os.fspath(tmp_path / "server" / "nowhere") in caught.value.message
