"""labfleet's own code as a revision: equal files, equal commit, wherever they come from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner import code_bundle
from runner.errors import LabFailed
from runner.paths import SOURCE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a small labfleet."""
    source = tmp_path / "labfleet"
    (source / "runner" / "report").mkdir(parents=True)
    (source / "runner" / "__init__.py").write_text('__version__ = "1"\n')
    (source / "runner" / "report" / "live.py").write_bytes(b"# one\r\n# two\n$Id$\n")
    (source / "requirements-worker.lock").write_text("msgspec==1\n")
    (source / "tasks.py").write_text("# only the client's\n")
    return source


def git(*words: str, cwd: Path) -> str:
    done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout


def test_equal_files_are_an_equal_revision(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the same files twice: in a checkout of somebody with settings of their own, and installed elsewhere
    installed = shutil.copytree(source, tmp_path / "site-packages" / "labfleet")
    (source / ".gitattributes").write_text("* text eol=crlf ident\n")
    (source / ".gitignore").write_text("live.py\n")
    (source / "runner" / "__init__.py").chmod(0o755)
    os.utime(source / "runner" / "__init__.py", (0, 0))
    before = code_bundle.revision(installed)
    (tmp_path / "gitconfig").write_text(
        "[core]\nautocrlf = true\n[user]\nname = Ada\nemail = a@b\n[commit]\ngpgSign = true\n"
        "[init]\ndefaultObjectFormat = sha256\n[i18n]\ncommitEncoding = latin1\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Bob")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    # When their revisions are compared, then they are one
    assert code_bundle.revision(source) == before


@pytest.mark.parametrize("change", ["runner/__init__.py", "runner/new.py", "requirements-worker.lock"])
def test_what_the_machines_run_makes_the_revision(source: Path, change: str) -> None:
    # Given a revision
    before = code_bundle.revision(source)
    # When a file changes that the machines need, then it is another one
    (source / change).write_text("changed\n")
    assert code_bundle.revision(source) != before


@pytest.mark.parametrize("change", ["tasks.py", "runner/__pycache__/x.pyc", "runner/notes.txt", "README.md"])
def test_other_files_do_not(source: Path, change: str) -> None:
    # Given a revision, when a file changes that only a client or a person needs, then no machine has to take anything
    before = code_bundle.revision(source)
    (source / change).parent.mkdir(exist_ok=True)
    (source / change).write_text("changed\n")
    assert code_bundle.revision(source) == before


def test_the_bundle_brings_the_files_as_they_are(source: Path, tmp_path: Path) -> None:
    # Given a bundle
    bundle = code_bundle.make(tmp_path, source)
    # When a machine fetches the branch from it
    head = tmp_path / "head.git"
    git("init", "--quiet", "--bare", str(head), cwd=tmp_path)
    git("fetch", "--quiet", str(bundle.file), "+refs/heads/deployed:refs/heads/deployed", cwd=head)
    # Then it has the revision, with exactly these files, byte for byte
    assert git("rev-parse", "refs/heads/deployed", cwd=head).strip() == bundle.revision == code_bundle.revision(source)
    files = git("ls-tree", "-r", "--name-only", bundle.revision, cwd=head).split()
    assert files == ["requirements-worker.lock", "runner/__init__.py", "runner/report/live.py"]
    shown = subprocess.run(
        ["git", "show", f"{bundle.revision}:runner/report/live.py"], cwd=head, capture_output=True, check=True
    )
    assert shown.stdout == (source / "runner" / "report" / "live.py").read_bytes()


def test_equal_files_make_equal_bundles(source: Path, tmp_path: Path) -> None:
    # Given two bundles of the same files, then copying the second over the first changes nothing
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = (code_bundle.make(folder, source).file.read_bytes() for folder in folders)
    assert first == second


def test_labfleets_own_code_is_a_revision_that_runs(tmp_path: Path) -> None:
    # Given the code of this very labfleet
    bundle = code_bundle.make(tmp_path)
    git("clone", "--quiet", "--branch=deployed", str(bundle.file), "code", cwd=tmp_path)
    # When it is laid out, then it is the same, and its services can be loaded from there alone
    code = tmp_path / "code"
    assert (code / "runner" / "model.py").read_bytes() == (SOURCE / "runner" / "model.py").read_bytes()
    program = "import runner.services; print(runner.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(code)!r}); {program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(code / "runner" / "__init__.py")


def test_without_git_it_is_said_what_to_install(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(LabFailed, match="git is not installed here"):
        code_bundle.revision(source)
