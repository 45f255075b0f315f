"""The workers' SSH keys: each does the one thing that it is for, and nothing else.

git and rsync are real, and so is the script; in place of sshd stands a shell script that gives it the command.
"""

import ast
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from playbooks.roles.head.files import gate
from runner.head import RSYNC_MISSING
from tests.conftest import eventually

SCRIPT = Path(gate.__file__)
KEY = "3f2a9c04"
PRIVATE = "WHAT-REDIS-IS-TOLD"

#: As sshd does: the forced command gets what the client asked for in a variable, and what the client may set besides.
SSH = """#!/bin/sh
while [ "$1" != head ]; do shift; done
shift
SSH_ORIGINAL_COMMAND="$*" exec {command}
"""

#: The script, but what it says to the journal goes to a file.
RECORDED = """
import sys, syslog
sys.path.insert(0, sys.argv[1])
journal = sys.argv[2]
def record(level, text):
    with open(journal, "a") as file:
        print(text, file=file)
syslog.syslog = record
import gate
{more}
sys.exit(gate.main(sys.argv[3:]))
"""


def missing(reason: str) -> None:
    """Skip; fail where everything has to be there (CI=true)."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def has_landlock() -> bool:
    program = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import gate; sys.exit(not gate.confine({{}}))"
    return subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.fixture
def landlock() -> None:
    if not has_landlock():
        missing("this kernel has no Landlock")


class Head:
    """A head's home, and the way in with each of a worker's keys."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        for name in ("git", "products", "incoming"):
            (self.home / name).mkdir(parents=True)
        (self.home / "secret").write_text(f"{PRIVATE}\n")
        self.settings = folder / "settings.json"
        self.settings.write_text(json.dumps({"role": "head", "name": "head1", "home": str(self.home)}))
        self.journal_file = folder / "journal"

    def journal(self) -> list[str]:
        return self.journal_file.read_text().splitlines() if self.journal_file.exists() else []

    def forced_command(self, kind: str, more: str = "") -> list[str]:
        recorded = [sys.executable, "-c", RECORDED.format(more=more), str(SCRIPT.parent), str(self.journal_file)]
        return [*recorded, kind, "w1", "--settings", str(self.settings)]

    def ask(
        self, kind: str, command: str | None, more: str = "", **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Call the gate as sshd does, with nothing on stdin."""
        said = {"SSH_ORIGINAL_COMMAND": command} if command is not None else {}
        environment = {"PATH": os.environ["PATH"], **said, **variables}
        argv = self.forced_command(kind, more)
        return subprocess.run(argv, env=environment, input=b"", capture_output=True, check=False, timeout=60)

    def ssh(self, kind: str) -> str:
        """Return a command like ssh's with the key of a kind."""
        script = self.folder / f"ssh-{kind}"
        script.write_text(SSH.format(command=shlex.join(self.forced_command(kind))))
        script.chmod(0o755)
        return str(script)

    def rsync(self, kind: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        argv = ["rsync", "--timeout=60", "-e", self.ssh(kind), *arguments]
        return subprocess.run(argv, capture_output=True, check=False, timeout=60)

    def git(self, kind: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "GIT_SSH_COMMAND": self.ssh(kind), "GIT_SSH_VARIANT": "ssh", **variables}
        argv = ["git", "-C", str(self.folder / "mirror"), *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, check=False, timeout=60)


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path)


@pytest.fixture
def stores(head: Head) -> Head:
    """Return a head with a product that holds a program and a link to it, beside what is not to be read."""
    if not any(map(os.path.exists, gate.RRSYNC)):
        missing("rrsync is not installed; it comes with rsync >= 3.2.4")
    tree = head.home / "products" / KEY / "tree"
    tree.mkdir(parents=True)
    (tree.parent / "product.json").write_text("{}")
    (tree / "aloha").write_text("program")
    (tree / "aloha").chmod(0o755)
    (head.home / "products" / "other").mkdir()
    (head.home / "products" / "other" / "x").write_text("other")
    return head


@pytest.fixture
def repositories(head: Head) -> Head:
    """Return a head with a project's repository and, outside of git/, another; and a worker's mirror."""
    for place in (head.home / "git" / "aloha.git", head.home / "outside.git"):
        run("git", "init", "--quiet", "--bare", str(place))
        environment = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        tree = run("git", f"--git-dir={place}", "mktree")
        commit = run("git", f"--git-dir={place}", "commit-tree", "-m", "one", tree, **environment)
        run("git", f"--git-dir={place}", "update-ref", "refs/snapshots/one", commit)
    run("git", "init", "--quiet", str(head.folder / "mirror"))
    return head


def run(*argv: str, **variables: str) -> str:
    answer = subprocess.run(argv, env={**os.environ, **variables}, input=b"", capture_output=True, check=True)
    return answer.stdout.decode().strip()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def assert_refused(answer: subprocess.CompletedProcess[bytes], journal: Sequence[str], who: str) -> None:
    """The gate said no: in one line to the caller, and in one to the journal."""
    assert answer.returncode != 0
    assert re.search(rb"^labfleet: ", answer.stderr, re.MULTILINE), answer.stderr
    assert b"Traceback" not in answer.stderr
    (line,) = journal
    assert line.startswith(f"{who} refused: ")


# ---- git ---------------------------------------------------------------------------------------------------------

FETCH = "git-upload-pack 'aloha.git'"
REF = "refs/snapshots/one:refs/snapshots/one"


def test_a_worker_fetches_a_revision(repositories: Head) -> None:
    # Given a repository with a snapshot, when a worker fetches it, then it has it, and the journal counts it once
    answer = repositories.git("git", "fetch", "--quiet", "head:aloha.git", REF)
    assert answer.returncode == 0, answer.stderr
    assert repositories.git("git", "cat-file", "-t", "refs/snapshots/one").stdout == b"commit\n"
    assert repositories.journal() == ["w1 git aloha.git"]


def test_a_worker_cannot_push(repositories: Head) -> None:
    # Given a worker's mirror with a commit
    assert repositories.git("git", "fetch", "--quiet", "head:aloha.git", REF).returncode == 0
    # When it pushes it under another name, then that is refused and the repository is as it was
    repositories.journal_file.unlink()
    answer = repositories.git("git", "push", "head:aloha.git", "refs/snapshots/one:refs/heads/deployed")
    assert_refused(answer, repositories.journal(), "w1 git")
    assert run("git", f"--git-dir={repositories.home}/git/aloha.git", "for-each-ref", "refs/heads") == ""


@pytest.mark.parametrize(
    "command",
    [
        None,
        "",
        "id",
        "sh -c id",
        "git-receive-pack 'aloha.git'",
        "git-upload-archive 'aloha.git'",
        "git-upload-pack aloha.git",
        "git-upload-pack 'aloha'",
        "git-upload-pack 'none.git'",
        "git-upload-pack '../outside.git'",
        "git-upload-pack 'x/../../outside.git'",
        "git-upload-pack '{home}/git/aloha.git'",
        "git-upload-pack '~/git/aloha.git'",
        "git-upload-pack '.git'",
        "git-upload-pack '--strict.git'",
        "git-upload-pack --help 'aloha.git'",
        "git-upload-pack 'aloha.git' 'aloha.git'",
        "git-upload-pack 'aloha.git'; id",
        "git-upload-pack 'aloha.git'\n",
        "git-upload-pack 'aloha.git\n'",
        "git-upload-pack 'aloha.git'\nid",
        " git-upload-pack 'aloha.git'",
        "rsync --server --sender -r . aloha.git/",
    ],
)
def test_the_key_for_git_does_nothing_else(repositories: Head, command: str | None) -> None:
    # Given a command that fetches, which is obeyed
    right = repositories.ask("git", FETCH)
    assert b"refs/snapshots/one" in right.stdout
    # When the command is another one, then it is refused
    repositories.journal_file.unlink()
    answer = repositories.ask("git", command and command.replace("{home}", str(repositories.home)))
    assert_refused(answer, repositories.journal(), "w1 git")
    assert answer.stdout == b""


def test_no_variable_of_the_caller_s_reaches_git(repositories: Head, tmp_path: Path) -> None:
    # Given variables that would make git run a program, or look at another repository
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\ntouch {tmp_path}/hooked\nexec "$@"\n')
    hook.chmod(0o755)
    variables = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "uploadpack.packObjectsHook",
        "GIT_CONFIG_VALUE_0": str(hook),
        "GIT_DIR": str(repositories.home / "outside.git"),
    }
    # When a worker fetches, then it gets what it asked for, and nothing was run
    script = Path(repositories.ssh("git"))
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    script.write_text(script.read_text().replace("SSH_ORIGINAL", f"{exports}SSH_ORIGINAL"))
    environment = {**os.environ, "GIT_SSH_COMMAND": str(script), "GIT_SSH_VARIANT": "ssh"}
    argv = ["git", "-C", str(tmp_path / "mirror"), "fetch", "--quiet", "head:aloha.git", REF]
    assert subprocess.run(argv, env=environment, check=False, timeout=60).returncode == 0
    assert not (tmp_path / "hooked").exists()


# ---- products ----------------------------------------------------------------------------------------------------

READ = f"rsync --server --sender -ltpre.iLsfxCIvu --timeout=60 . {KEY}/"


def test_a_worker_fetches_a_product(stores: Head, tmp_path: Path) -> None:
    # Given a product, when a worker fetches it, also over what an interrupted transfer left
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "left").touch()
    answer = stores.rsync("products", "-rlpt", "--delete", f"head:{KEY}/", f"{tmp_path}/got/")
    # Then it is there with its modes, and the journal says who fetched what
    assert answer.returncode == 0, answer.stderr
    assert files(tmp_path / "got") == {"product.json", "tree/aloha"}
    assert (tmp_path / "got/tree/aloha").stat().st_mode & 0o777 == 0o755
    (line,) = stores.journal()
    assert line.startswith("w1 products --server --sender ")
    assert line.endswith(f" . {KEY}/")


def test_a_worker_asks_whether_there_is_a_product(stores: Head, tmp_path: Path) -> None:
    # Given a product, when a builder asks for it without having it sent, then it learns that it is there
    answer = stores.rsync("products", "-nrlpt", f"head:{KEY}/product.json", f"{tmp_path}/")
    assert answer.returncode == 0, answer.stderr
    assert not (tmp_path / "product.json").exists()
    # … and that another is not
    answer = stores.rsync("products", "-nrlpt", "head:0ther/product.json", f"{tmp_path}/")
    assert answer.returncode == RSYNC_MISSING


@pytest.mark.usefixtures("landlock")
def test_a_worker_learns_that_there_is_no_product(stores: Head, tmp_path: Path) -> None:
    # Given a store, when a product is fetched that nobody has built yet, then rsync's own exit status says that it is
    # missing, whichever version the head has; and it does not count as fetched
    answer = stores.rsync("products", "-rlpt", "--delete", "head:0ther/", f"{tmp_path}/got/")
    assert answer.returncode == RSYNC_MISSING
    assert stores.journal() == ["w1 products refused: there is no 0ther/"]
    assert stores.rsync("products", "-rlpt", "--delete", f"head:{KEY}/", f"{tmp_path}/got/").returncode == 0


def test_a_worker_lists_the_contents_and_fetches_some_of_them(stores: Head, tmp_path: Path) -> None:
    # Given contents of products
    folder = stores.home / "products" / "files"
    folder.mkdir()
    names = [f"{number:064x}" for number in range(3)]
    for name in names:
        (folder / name).write_text(name)
    # When a builder has them listed, then it learns their names and sizes
    listed = stores.rsync("products", "head:files/").stdout.decode().splitlines()
    assert [line.split()[-1] for line in listed if line.startswith("-")] == names
    assert all(line.split()[1] == "64" for line in listed if line.startswith("-"))
    # … and when a worker fetches two of them over one connection, one of which is gone, then it has the other
    answer = stores.rsync("products", "-t", f"head:files/{names[2]}", ":files/gone", f"{tmp_path}/")
    assert answer.returncode == RSYNC_MISSING
    assert (tmp_path / names[2]).read_text() == names[2]


def test_an_image_archive_is_fetched_into_its_place(stores: Head, tmp_path: Path) -> None:
    # Given an archive of an image, when a worker fetches it so that only changes travel, then it is there
    (stores.home / "products" / "image").mkdir()
    (stores.home / "products" / "image" / "0123456789ab.tar").write_text("layers")
    answer = stores.rsync("products", "-t", "--partial", "--inplace", "head:image/0123456789ab.tar", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "0123456789ab.tar").read_text() == "layers"


@pytest.mark.parametrize(
    "command",
    [
        None,
        "",
        "true",
        "sh -c id",
        FETCH,
        "rsync",
        "rsync --server",
        "rsync --server --daemon .",
        "rsync --server --sender --daemon .",
        "sh --server --sender -r . {key}/",
        "rsync --server --sender -r .",
        "rsync --server --sender -r",
        "rsync  --server --sender -r . {key}/",
        "rsync --server --sender -r . {key}/ ",
        "rsync --server --sender -r . {key}/\n",
        "rsync --server --sender -r .\n{key}/",
        "rsync --server --sender -r . ../secret",
        "rsync --server --sender -r . {key}/../../secret",
        "rsync --server --sender -r . {key}/..",
        "rsync --server --sender -r . {home}/secret",
        "rsync --server --sender -r . /",
        "rsync --server --sender -r . ~",
        "rsync --server --sender -r . .hidden",
        "rsync --server --sender -r . -rf",
        "rsync --server --sender -r . --help",
        "rsync --server --sender -r . {key}/*",
        "rsync --server --sender -r . {{{key},other}}/",
        "rsync --server --sender -r . {key}\\/",
        "rsync --server --sender -r . '{key}/'",
        "rsync --server --sender -r . $HOME",
        "rsync --server --sender -r . {key}/;id",
        "rsync --server --sender -sr . {key}/",
        "rsync --server --sender -s",
        "rsync --server --sender -Lr . {key}/",
        "rsync --server --sender -kr . {key}/",
        "rsync --server --sender -r --copy-unsafe-links . {key}/",
        "rsync --server --sender -r --copy-links . {key}/",
        "rsync --server --sender -r --files-from=- . {key}/",
        "rsync --server --sender -r --files-from={home}/secret . {key}/",
        "rsync --server --sender -r --log-file=x . {key}/",
        "rsync --server --sender -r --remove-source-files . {key}/",
        "rsync --server --sender -r --remove-sent-files . {key}/",
        "rsync --server --sender -r --no-munge-links . {key}/",
        "rsync --server --sender -r --filter=:{home}/secret . {key}/",
        "rsync --server --sender -r --timeout=1\n. . {key}/",
        "rsync --server -ltpre.iLsfxCIvu . {key}/",
        "rsync --server -ltpre.iLsfxCIvu --delete . {key}/",
        "rsync --server -r --sender . {key}/",
    ],
)
def test_the_key_for_products_only_reads_in_the_store(stores: Head, command: str | None) -> None:
    # Given a command that reads a product, which is obeyed: rsync begins to speak (its protocol's number comes first)
    assert stores.ask("products", READ).stdout[1:4] == b"\0\0\0"
    # When the command is another one, then it is refused
    stores.journal_file.unlink()
    answer = stores.ask("products", command and command.format(key=KEY, home=stores.home))
    assert_refused(answer, stores.journal(), "w1 products")
    assert answer.stdout == b""


def test_the_key_for_products_changes_nothing(stores: Head, tmp_path: Path) -> None:
    # Given a product, and a worker that could fetch it
    before = files(stores.home)
    product = f"head:{KEY}/"
    assert stores.rsync("products", "-rt", product, f"{tmp_path}/right/").returncode == 0
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "bad").touch()
    # When it uploads, deletes, or wants to have moved what it fetches
    for arguments in (
        ("-rt", f"{tmp_path}/more/", product),
        ("-rt", "--delete", f"{tmp_path}/more/", product),
        ("-rt", "--remove-source-files", product, f"{tmp_path}/wrong/"),
    ):
        # Then that is refused, and the store is as it was
        stores.journal_file.unlink()
        assert_refused(stores.rsync("products", *arguments), stores.journal(), "w1 products")
    assert files(stores.home) == before


def test_a_link_out_of_the_store_is_not_followed(stores: Head, tmp_path: Path) -> None:
    # Given a product with a link to a file and one to a folder outside of the store
    tree = stores.home / "products" / KEY / "tree"
    (tree / "file").symlink_to(stores.home / "secret")
    (tree / "folder").symlink_to(stores.home)
    # When the product is fetched, then links come as links, and the rest with them
    answer = stores.rsync("products", "-rlt", f"head:{KEY}/", f"{tmp_path}/got/")
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "got/tree/file").is_symlink()
    assert (tmp_path / "got/tree/folder").is_symlink()
    assert (tmp_path / "got/tree/aloha").read_text() == "program"
    # And what lies behind them does not come under their names
    for path in ("file", "folder/", "folder/secret"):
        stores.rsync("products", "-rt", f"head:{KEY}/tree/{path}", f"{tmp_path}/{path.replace('/', '-')}")
    assert not [path for path in tmp_path.glob("f*") if path.is_file()]
    assert "secret" not in {path.name for path in tmp_path.glob("folder*/*")}


@pytest.mark.usefixtures("landlock")
def test_filter_rules_read_no_file_outside_of_the_store(stores: Head, tmp_path: Path) -> None:
    # Given a filter, which goes through rsync's own protocol and is obeyed
    right = stores.rsync("products", "-rt", "--filter=- product.json", f"head:{KEY}/", f"{tmp_path}/right/")
    assert right.returncode == 0, right.stderr
    assert files(tmp_path / "right") == {"tree/aloha"}
    # When its rules are said to be in a file elsewhere, whose wrong lines rsync would quote
    for name in (stores.home / "secret", "../../secret"):
        answer = stores.rsync("products", "-rt", f"--filter=: {name}", f"head:{KEY}/", f"{tmp_path}/wrong/")
        # Then nothing of it comes out
        assert PRIVATE.encode() not in answer.stderr + answer.stdout


# ---- results -----------------------------------------------------------------------------------------------------

WRITE = "rsync --server -ltpre.iLsfxCIvu --timeout=60 . ./"


@pytest.fixture
def parcels(tmp_path: Path) -> list[str]:
    """Return the folders of two attempts."""
    for name in ("one.1.1", "one.2.1"):
        (tmp_path / name / "files").mkdir(parents=True)
        (tmp_path / name / "files" / "Foo-$n=1,#0 'ü'.sca").write_text(name)
        (tmp_path / name / "log").write_text("Event #1")
        os.utime(tmp_path / name / "log", ns=(10**18, 10**18))
    return [str(tmp_path / "one.1.1"), str(tmp_path / "one.2.1")]


def test_a_worker_delivers_parcels(stores: Head, parcels: list[str]) -> None:
    # Given two attempts, and another worker that delivers just now (whose rrsync would hold a lock)
    other = os.open(stores.home / "incoming", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    # When they are delivered over one connection
    answer = stores.rsync("results", "-rlpt", *parcels, "head:./")
    os.close(other)
    # Then they are there as they were, whatever their files are called, and the journal says so once
    assert answer.returncode == 0, answer.stderr
    for parcel in map(Path, parcels):
        delivered = stores.home / "incoming" / parcel.name
        assert files(delivered) == files(parcel)
        assert (delivered / "files" / "Foo-$n=1,#0 'ü'.sca").read_text() == parcel.name
        assert (delivered / "log").stat().st_mtime_ns == 10**18
    (line,) = stores.journal()
    assert line.startswith("w1 results --server ")
    assert line.endswith(" . ./")


def test_what_is_delivered_is_nobody_else_s(stores: Head, parcels: list[str]) -> None:
    # Given an attempt, when it is delivered without its modes, then only the system user can read it
    assert stores.rsync("results", "-rt", *parcels, "head:./").returncode == 0
    assert {path.stat().st_mode & 0o077 for path in (stores.home / "incoming").rglob("*")} == {0}


@pytest.mark.parametrize("options", ["", "-t", "-rlptgo", "-rtvi --inplace --partial", "-rtz --bwlimit=100000"])
def test_a_worker_s_rsync_may_have_the_usual_options(stores: Head, tmp_path: Path, options: str) -> None:
    # Given a file, when it is delivered with other options, then it is there
    (tmp_path / "log").write_text("Event #1")
    answer = stores.rsync("results", *options.split(), f"{tmp_path}/log", "head:one.1.1/")
    assert answer.returncode == 0, answer.stderr
    assert (stores.home / "incoming/one.1.1/log").read_text() == "Event #1"
    (line,) = stores.journal()
    assert line.startswith("w1 results --server ")


@pytest.mark.parametrize(
    "command",
    [
        None,
        "",
        "sh -c id",
        FETCH,
        READ,
        "rsync --server --sender -r . ./",
        "rsync --server --daemon .",
        "rsync --server -r . ../products/",
        "rsync --server -r . {home}/products/",
        "rsync --server -r . x/../../products/",
        "rsync --server -r . .ssh/",
        "rsync --server -r . ./.ssh/",
        "rsync --server -r . ./\n",
        "rsync --server -sr . ./",
        "rsync --server -Kr . ./",
        "rsync --server -Dr . ./",
        "rsync --server -mr . ./",
        "rsync --server -br . ./",
        "rsync --server -Rr . ./",
        "rsync --server -r --specials . ./",
        "rsync --server -r --delete . ./",
        "rsync --server -r --delete-during . ./",
        "rsync --server -r --sender . ./",
        "rsync --server -r --log-file=x . ./",
        "rsync --server -r --backup-dir=x . ./",
        "rsync --server -r --partial-dir=x . ./",
        "rsync --server -r --temp-dir=../products . ./",
        "rsync --server -r --link-dest={home}/products . ./",
        "rsync --server -r --copy-dest=../products . ./",
        "rsync --server -r --files-from={home}/secret . ./",
        "rsync --server -r --write-devices . ./",
        "rsync --server -r --no-munge-links . ./",
    ],
)
def test_the_key_for_results_only_delivers(stores: Head, command: str | None) -> None:
    # Given a command that delivers, which is obeyed: rsync begins to speak
    assert stores.ask("results", WRITE).stdout[1:4] == b"\0\0\0"
    # When the command is another one, then it is refused
    stores.journal_file.unlink()
    answer = stores.ask("results", command and command.format(home=stores.home))
    assert_refused(answer, stores.journal(), "w1 results")
    assert answer.stdout == b""


def test_what_is_delivered_cannot_be_read_or_deleted_again(stores: Head, parcels: list[str], tmp_path: Path) -> None:
    # Given deliveries, and a worker that may deliver more
    assert stores.rsync("results", "-rt", *parcels, "head:./").returncode == 0
    before = files(stores.home / "incoming")
    (tmp_path / "empty").mkdir()
    # When it reads them, or deletes what others have delivered
    for arguments in (
        ("-rt", "head:one.1.1/", f"{tmp_path}/read/"),
        ("-rt", "--delete", f"{tmp_path}/empty/", "head:./"),
        ("-rt", "--delete-excluded", f"{tmp_path}/empty/", "head:./"),
        ("-rt", "--remove-source-files", "head:one.1.1/", f"{tmp_path}/read/"),
    ):
        # Then that is refused
        stores.journal_file.unlink()
        assert_refused(stores.rsync("results", *arguments), stores.journal(), "w1 results")
    # And all is there still
    assert files(stores.home / "incoming") == before
    assert not (tmp_path / "read").exists()


def test_a_delivered_link_leads_nowhere_on_the_head(stores: Head, tmp_path: Path) -> None:
    # Given a parcel with links, one within it and some to the head's secrets
    parcel = tmp_path / "product"
    (parcel / "tree").mkdir(parents=True)
    (parcel / "tree" / "libx.so.1").write_text("library")
    (parcel / "tree" / "libx.so").symlink_to("libx.so.1")
    (parcel / "absolute").symlink_to(stores.home / "secret")
    (parcel / "relative").symlink_to("../../secret")
    (parcel / "folder").symlink_to(stores.home / "products")
    # When it is delivered
    assert stores.rsync("results", "-rlpt", str(parcel), "head:./").returncode == 0
    # Then on the head none of them leads anywhere
    delivered = stores.home / "incoming" / "product"
    for link in ("tree/libx.so", "absolute", "relative", "folder"):
        assert (delivered / link).is_symlink()
        assert not (delivered / link).exists()
    # And when the product is fetched from the store, they are what they were
    delivered.rename(stores.home / "products" / "made")
    assert stores.rsync("products", "-rlpt", "head:made/", f"{tmp_path}/got/").returncode == 0
    for link in ("tree/libx.so", "absolute", "relative", "folder"):
        assert os.readlink(tmp_path / "got" / link) == os.readlink(parcel / link)
    assert (tmp_path / "got/tree/libx.so").read_text() == "library"


def test_nothing_is_written_through_a_link(stores: Head, tmp_path: Path) -> None:
    # Given links in the incoming folder, wherever they came from, and a worker that delivers into other folders
    (stores.home / "incoming" / "link").symlink_to(stores.home / "products")
    (stores.home / "incoming" / "file").symlink_to(stores.home / "secret")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x").write_text("bad")
    assert stores.rsync("results", "-rt", f"{tmp_path}/bad/", "head:right/").returncode == 0
    assert (stores.home / "incoming/right/x").exists()
    # When it delivers into the links
    stores.rsync("results", "-rt", f"{tmp_path}/bad/", "head:link/")
    stores.rsync("results", "-rt", f"{tmp_path}/bad/x", "head:link/x")
    stores.rsync("results", "-t", "--inplace", f"{tmp_path}/bad/x", "head:file")
    (tmp_path / "bad" / "link").mkdir()
    (tmp_path / "bad" / "link" / "x").write_text("bad")
    stores.rsync("results", "-rt", f"{tmp_path}/bad/", "head:./")
    # Then nothing is changed behind them
    assert files(stores.home / "products") == {f"{KEY}/product.json", f"{KEY}/tree/aloha", "other/x"}
    assert (stores.home / "secret").read_text() == f"{PRIVATE}\n"


def test_special_files_are_not_delivered(stores: Head, tmp_path: Path) -> None:
    # Given a parcel with a pipe, which would stop whoever reads it
    (tmp_path / "parcel").mkdir()
    (tmp_path / "parcel" / "log").touch()
    os.mkfifo(tmp_path / "parcel" / "pipe")
    # When it is delivered, then the log is there, the pipe is not
    stores.rsync("results", "-rlpt", f"{tmp_path}/parcel", "head:./")
    assert files(stores.home / "incoming") == {"parcel/log"}
    # And when it is delivered with special files, then that is refused
    stores.journal_file.unlink()
    assert_refused(stores.rsync("results", "-a", f"{tmp_path}/parcel", "head:./"), stores.journal(), "w1 results")


# ---- the walls behind --------------------------------------------------------------------------------------------

#: Stands in for rrsync: says what it can open, and what it knows of its caller.
PROBE = """
import json, os, sys
def opens(path, mode):
    try:
        open(path, mode).close()
        return True
    except PermissionError:
        return False
answer = {{
    "reads inside": opens("{home}/{store}/probe.py", "r"),
    "writes inside": opens("{home}/{store}/new", "w"),
    "reads outside": opens("{home}/secret", "r"),
    "writes outside": opens("{home}/new", "w"),
    "runs programs": os.access("/usr/bin/env", os.X_OK) and os.system("/usr/bin/env true") == 0,
    "arguments": sys.argv[1:],
    "variables": sorted(os.environ),
    "mask": os.umask(0),
    "isolated": bool(sys.flags.isolated and sys.flags.no_site),
}}
print(json.dumps(answer))
"""


def probe(head: Head, kind: str, store: str, command: str, **variables: str) -> dict[str, object]:
    script = head.home / store / "probe.py"
    script.write_text(PROBE.format(home=head.home, store=store))
    answer = head.ask(kind, command, more=f"gate.RRSYNC = ({str(script)!r},)", **variables)
    assert answer.returncode == 0, answer.stderr
    found: dict[str, object] = json.loads(answer.stdout)
    return found


@pytest.mark.usefixtures("landlock")
@pytest.mark.parametrize(("kind", "store", "writes"), [("products", "products", False), ("results", "incoming", True)])
def test_the_kernel_opens_nothing_but_the_store(stores: Head, kind: str, store: str, writes: bool) -> None:
    # Given what stands behind the gate, when it tries to open files, then it can do so in its store, and nowhere else
    found = probe(stores, kind, store, READ if kind == "products" else WRITE)
    assert found["reads inside"]
    assert found["writes inside"] == writes
    assert found["runs programs"]
    assert not found["reads outside"]
    assert not found["writes outside"]


def test_no_variable_of_the_caller_s_reaches_rsync(stores: Head) -> None:
    # Given variables of all kinds, when rsync is started, then it knows none of them, and its files are its own
    wrong = {"LD_LIBRARY_PATH": "/x", "PYTHONPATH": "/x", "RSYNC_PARTIAL_DIR": "/x", "GIT_DIR": "/x", "TMPDIR": "/x"}
    found = probe(stores, "products", "products", READ, **wrong)
    assert found["variables"] == ["HOME", "LC_ALL", "PATH", "SSH_ORIGINAL_COMMAND"]
    assert found["mask"] == 0o077
    assert found["isolated"]
    assert found["arguments"] == ["-ro", "-munge", f"{stores.home}/products"]


def test_delivering_does_not_lock_others_out_or_delete(stores: Head) -> None:
    # Given the key for results, when rrsync is started, then it neither reads, nor deletes, nor follows links
    found = probe(stores, "results", "incoming", WRITE)
    assert found["arguments"] == ["-wo", "-no-del", "-no-lock", "-munge", f"{stores.home}/incoming"]


CONFINED = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import gate
folder = Path(sys.argv[2])
rights = {Path(name): gate.READ for name in ("/usr", "/lib", "/lib64", folder / "read")}
assert gate.confine({**rights, folder / "write": gate.WRITE, folder / "gone": gate.WRITE})
def can(act):
    try:
        act()
        return True
    except PermissionError:
        return False
print(json.dumps({
    "read": can((folder / "read" / "x").read_text),
    "write": can(lambda: (folder / "write" / "x").write_text("y")),
    "make": can(lambda: (folder / "write" / "new").write_text("x")),
    "link": can(lambda: (folder / "write" / "link").symlink_to("x")),
    "remove": can((folder / "write" / "x").unlink),
    "empty what is to be read": can(lambda: (folder / "read" / "x").write_text("x")),
    "change what is to be read": can(lambda: (folder / "read" / "x").open("r+").close()),
    "make a pipe": can(lambda: os.mkfifo(folder / "write" / "pipe")),
    "read elsewhere": can((folder / "x").read_text),
    "list elsewhere": can(lambda: os.listdir(folder)),
    "remove elsewhere": can((folder / "x").unlink),
    "run": can(lambda: os.execv(folder / "write" / "program", ["program"])),
}))
"""


@pytest.mark.usefixtures("landlock")
def test_rights_are_what_they_say(tmp_path: Path) -> None:
    # Given a folder to read and one to write, with files that anybody could read, write and run
    for folder in (tmp_path, tmp_path / "read", tmp_path / "write"):
        folder.mkdir(exist_ok=True)
        (folder / "x").write_text("x")
    shutil.copy("/usr/bin/true", tmp_path / "write" / "program")
    # When a process is confined to them
    said = run(sys.executable, "-c", CONFINED, str(SCRIPT.parent), str(tmp_path))
    # Then it can do that, and nothing else
    can: Mapping[str, bool] = json.loads(said)
    assert {name for name, could in can.items() if could} == {
        "read",
        "write",
        "make",
        "link",
        "remove",
    }


# ---- journal, and what may go wrong ------------------------------------------------------------------------------


def test_no_command_can_forge_a_line_of_the_journal(repositories: Head) -> None:
    # Given a command with line ends, terminal codes and bytes that are no text
    command = os.fsdecode(b"x\nw2 git aloha.git\r\x1b[2J\xff \\n")
    # When it is refused, then the journal has one line, in which each of them can be seen for what it is
    answer = repositories.ask("git", command)
    assert_refused(answer, repositories.journal(), "w1 git")
    assert repositories.journal()[0].endswith(r"x\nw2 git aloha.git\r\x1b[2J\udcff \\n")


def test_a_long_command_fills_no_journal(repositories: Head) -> None:
    # Given a command of 100 kB, when it is refused, then the journal has the beginning of it
    repositories.ask("git", "x" * 100_000)
    assert 1000 < len(repositories.journal()[0]) <= 4000


def test_a_head_without_settings_refuses(repositories: Head) -> None:
    # Given a head that is half taken down, and a command that it would obey
    assert b"refs/snapshots/one" in repositories.ask("git", FETCH).stdout
    repositories.settings.unlink()
    # When a worker asks again, then it is told no more than that, and the journal has the reason
    repositories.journal_file.unlink()
    answer = repositories.ask("git", FETCH)
    assert_refused(answer, repositories.journal(), "w1 git")
    assert str(repositories.settings) not in answer.stderr.decode()
    assert str(repositories.settings) in repositories.journal()[0]


@pytest.mark.parametrize("kind", ["", "shell", "keys"])
def test_an_unknown_kind_of_key_does_nothing(stores: Head, kind: str) -> None:
    # Given a key for products that may read, when its kind is not one of the three, then nothing is obeyed
    assert stores.ask("products", READ).returncode != gate.REFUSED
    for command in (READ, WRITE, FETCH):
        answer = stores.ask(kind, command)
        assert answer.returncode == gate.REFUSED
        assert b"this key is for rsync alone" in answer.stderr


def test_the_script_runs_as_it_is_installed(repositories: Head, tmp_path: Path) -> None:
    # Given the script in a folder of its own, when sshd runs it with the system's Python, then it serves
    installed = tmp_path / "lib" / "gate.py"
    installed.parent.mkdir()
    installed.write_text(SCRIPT.read_text())
    argv = ["/usr/bin/python3", str(installed), "git", "w1", "--settings", str(repositories.settings)]
    environment = {"PATH": "/usr/bin:/bin", "SSH_ORIGINAL_COMMAND": FETCH}
    answer = subprocess.run(argv, env=environment, input=b"", capture_output=True, check=False)
    assert b"refs/snapshots/one" in answer.stdout


@pytest.mark.parametrize("name", ["gate.py", "entry.py"])
def test_the_scripts_are_for_every_python_from_3_8(name: str) -> None:
    # Given a script, when it is parsed as Python 3.8 would, then it is a program of that version
    ast.parse((SCRIPT.parent / name).read_text(), feature_version=(3, 8))


def test_a_delivery_that_was_cut_goes_on_and_half_of_it_is_no_delivery(stores: Head, tmp_path: Path) -> None:
    # Given a delivery of a large file
    parcel = tmp_path / "c1.0.1.abcd"
    parcel.mkdir()
    (parcel / "x.vec").write_bytes(os.urandom(4_000_000))
    arrived = stores.home / "incoming" / parcel.name
    options = ["-rlpt", "--partial", str(parcel), "head:./"]
    argv = ["rsync", "--timeout=60", "-e", stores.ssh("results"), "--bwlimit=500", *options]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as transfer:
        eventually(lambda: any(path.stat().st_size > 500_000 for path in arrived.glob(".x.vec.*")), "the first half")
        # When it is cut
        transfer.kill()
    # Then what has come is kept, and nobody can take it for the whole: it has not its size
    eventually((arrived / "x.vec").exists, "what has come")
    half = (arrived / "x.vec").stat().st_size
    assert 500_000 < half < 4_000_000
    # And the next delivery brings the rest only
    again = stores.rsync("results", "--stats", *options)
    assert again.returncode == 0, again.stderr
    literal = next(line for line in again.stdout.decode().splitlines() if line.startswith("Literal data"))
    assert int(literal.split()[2].replace(",", "")) <= 4_000_000 - half + 100_000
    assert (arrived / "x.vec").read_bytes() == (parcel / "x.vec").read_bytes()
    assert os.listdir(arrived) == ["x.vec"]
