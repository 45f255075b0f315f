"""What a snapshot promises, with real git: the files that travel, as they are, and nothing else is touched."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runner import repository, shell, snapshot
from runner.errors import LabFailed, WrongUse
from runner.paths import SNAPSHOT_ROOT
from runner.snapshot import Snapshot

ELF = b"\x7fELF\x02\x01\x01" + bytes(range(32))

#: What a file is: ("link", its target), ("program", content) or ("file", content).
Files = dict[bytes, tuple[str, bytes]]


def write(root: Path, files: dict[str, bytes | str]) -> None:
    """Write files, with the folders that they need."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def program(file: Path, content: bytes = ELF) -> None:
    """Write an executable file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(0o755)


def git(folder: Path, *arguments: str) -> str:
    """Run git as the person would."""
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "protocol.file.allow=always")
    return shell.run(["git", *identity, *arguments], cwd=folder).text


def commit_all(folder: Path) -> None:
    """Make a folder a repository of the person's and commit all that is not ignored."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "theirs")


def content_of(folder: Path) -> Files:
    """Return every file below a folder, byte for byte; without git's own."""
    found: Files = {}
    top = os.fsencode(folder)
    for place, folders, names in os.walk(top):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if name != b".git"]
        for name in (*links, *names):
            path = os.path.join(place, name)
            if os.path.islink(path):
                value = ("link", os.readlink(path))
            else:
                with open(path, "rb") as file:
                    kind = "program" if os.stat(path).st_mode & 0o100 else "file"
                    value = (kind, file.read())
            if name != b".git":
                found[os.path.relpath(path, top)] = value
    return found


class Client:
    """A project, and all that labfleet keeps of it."""

    def __init__(self, home: Path, root: Path) -> None:
        self.home = home
        self.root = root
        self.private = home / "snapshots" / "project.git"
        self.server = home / "git" / "project.git"

    def take(self, *include: str) -> Snapshot:
        return snapshot.take(self.root, include, self.private)

    def push(self, taken: Snapshot) -> None:
        snapshot.push(taken, self.private, str(self.server))

    def delivered(self, taken: Snapshot) -> Files:
        """Return what a worker has after fetching a snapshot from the server."""
        mirror, place = self.home / "mirror.git", self.home / f"checkout-{taken.commit}"
        if not place.exists():
            repository.create(mirror)
            repository.fetch(mirror, str(self.server), f"refs/snapshots/{taken.commit}")
            place.mkdir()
            repository.lay_out(mirror, taken.tree, place, self.home / "index")
            (self.home / "index").unlink(missing_ok=True)
        return content_of(place)

    def travel(self, *include: str) -> Files:
        """Take the project to a worker."""
        taken = self.take(*include)
        self.push(taken)
        return self.delivered(taken)

    def names(self, *include: str) -> set[str]:
        """Return the names of the files that travel."""
        return {os.fsdecode(path) for path in self.travel(*include)}


@pytest.fixture(autouse=True)
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory of a person who has told git nothing."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [*(name for name in os.environ if name.startswith("GIT_")), "XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LABFLEET_HOME", str(tmp_path / "lab"))
    return home


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A project without git: a model with a build."""
    root = tmp_path / "project"
    write(root, {"omnetpp.ini": "[General]\n", "Host.cc": "int x;\n", "Host.ned": "simple Host {}\n"})
    return Client(tmp_path / "lab", root)


MODEL = {"omnetpp.ini", "Host.cc", "Host.ned"}


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The git commands that were run, as they come."""
    seen: list[str] = []
    run = repository.git

    def watched(directory: Path, *arguments: str, stdin: bytes | None = None, **variables: str) -> shell.Result:
        seen.append(" ".join(arguments))
        return run(directory, *arguments, stdin=stdin, **variables)

    monkeypatch.setattr(repository, "git", watched)
    return seen


# ---- files travel as they are ------------------------------------------------------------------------------


@pytest.mark.parametrize("with_git", [True, False])
def test_committed_changed_and_new_files_travel(client: Client, with_git: bool) -> None:
    # Given a project with a changed, a staged, a removed and a new file
    write(client.root, {"gone.cc": "", "staged.cc": "1"})
    if with_git:
        commit_all(client.root)
    write(client.root, {"Host.cc": "int y;\n", "staged.cc": "2", "new/Server.cc": "int z;\n", "empty": ""})
    if with_git:
        git(client.root, "add", "staged.cc")
    write(client.root, {"staged.cc": "3"})
    (client.root / "gone.cc").unlink()

    # When it travels
    there = client.travel()

    # Then the worker has what the folder has
    assert there == content_of(client.root)
    assert there.keys() == {*map(os.fsencode, MODEL), b"staged.cc", b"new/Server.cc", b"empty"}


def test_bytes_are_not_converted(client: Client, person: Path) -> None:
    # Given attributes and settings that make git convert line ends, keywords, encodings and large files
    attributes = "* text=auto eol=crlf ident\n*.bin filter=lfs\n*.utf working-tree-encoding=UTF-16\n"
    write(client.root, {".gitattributes": attributes, "id.txt": "$Id: 123 $\r\nx\n", "a.bin": b"\0\r\n\xff"})
    write(client.root, {"a.utf": b"\xff\xfe\x61\x00", "unix.txt": "a\nb\n", "dos.txt": "a\r\nb\r\n"})
    write(person, {".gitconfig": '[core]\nautocrlf=true\n[filter "lfs"]\nclean=false\nrequired=true\n'})
    # When it travels, Then every byte is there
    assert client.travel() == content_of(client.root)


def test_links_travel_as_links(client: Client) -> None:
    # Given links to a file, to a folder, to nothing, and out of the project
    write(client.root, {"data/trace.csv": "1,2\n"})
    links = {"f": "Host.cc", "d": "data", "dangling": "no/where", "out-of-it": "/etc/hostname"}
    for name, target in links.items():
        (client.root / name).symlink_to(target)
    # When it travels
    there = client.travel()
    # Then they are links there, and what is behind a folder's link came once
    assert there == content_of(client.root)
    assert there[b"dangling"] == ("link", b"no/where")
    assert there[b"d"] == ("link", b"data")
    assert b"d/trace.csv" not in there


def test_executable_bit_travels_and_counts_as_a_change(client: Client) -> None:
    # Given a script that is not executable, in a repository told not to care
    write(client.root, {"run.sh": "#!/bin/sh\n"})
    commit_all(client.root)
    git(client.root, "config", "core.fileMode", "false")
    before = client.take()
    # When only the bit changes
    (client.root / "run.sh").chmod(0o755)
    # Then the worker gets it
    assert client.travel()[b"run.sh"] == ("program", b"#!/bin/sh\n")
    assert client.take().tree != before.tree


NAMES = [b"two words", b"new\nline", b"quote\"'", b"-n", b"--all", b"back\\slash", b"\xff\xfe", b"tab\t"]


@pytest.mark.parametrize("name", [*NAMES, b"\xc3\xa9", b":(top)", b"*", b"[a]", b"#x", b"!x", b" "])
@pytest.mark.parametrize("with_git", [True, False])
def test_any_name_travels(client: Client, name: bytes, with_git: bool) -> None:
    # Given a file and a folder of that name, one of the files ignored but tracked
    folder = os.path.join(os.fsencode(client.root), name + b".d")
    os.mkdir(folder)
    for file in (os.path.join(os.fsencode(client.root), name), os.path.join(folder, name + b".log")):
        with open(file, "wb") as stream:
            stream.write(name)
    if with_git:
        commit_all(client.root)
        write(client.root, {".gitignore": "*.log\n"})
    # When it travels, Then it arrives, and the next time nothing has changed
    assert client.travel() == content_of(client.root)
    assert client.take() == client.take()


def test_pipes_and_sockets_stay_behind(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a pipe and a socket in the project
    os.mkfifo(client.root / "pipe")
    monkeypatch.chdir(client.root)
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind("socket")
        # When it travels, Then they do not hold it up
        assert client.names() == MODEL


# ---- what is ignored ---------------------------------------------------------------------------------------


def test_ignore_rules_of_all_kinds_hold(client: Client, person: Path) -> None:
    # Given rules in .gitignore, info/exclude, the repository's and the person's settings
    commit_all(client.root)
    write(client.root, {".gitignore": "*.log\n!keep.log\n", "sub/.gitignore": "/local\n"})
    write(client.root, {".git/info/exclude": "todo\n"})
    write(person, {".config/git/ignore": "*~\n"})
    write(client.root, dict.fromkeys(("a.log", "keep.log", "sub/local", "todo", "Host.cc~", "sub/x"), ""))
    # When it travels, Then what they match is not there
    assert client.names() == MODEL | {".gitignore", "sub/.gitignore", "keep.log", "sub/x"}


def test_the_repository_s_own_excludes_file_holds(client: Client) -> None:
    # Given a repository whose settings name a file of ignore rules
    commit_all(client.root)
    write(client.root, {"rules": "*.log\n", "a.log": ""})
    git(client.root, "config", "core.excludesFile", str(client.root / "rules"))
    # When it travels, Then they hold
    assert client.names() == MODEL | {"rules"}


def test_rules_hold_without_git_too(client: Client) -> None:
    # Given a folder without git that has a .gitignore and what every project leaves behind
    write(client.root, {".gitignore": "*.log\n", "a.log": "", "x.o": "", "m.pyc": "", "__pycache__/a": ""})
    write(client.root, {".venv/bin/python": "", "sub/__pycache__/b": "", "sub/y.o": ""})
    # When it travels, Then they stay
    assert client.names() == MODEL | {".gitignore"}


def test_tracked_files_travel_although_ignored(client: Client) -> None:
    # Given files that the person added by force, in ignored folders too, one of them changed since and one removed
    write(client.root, {"lib/a.o": "1", "data/b.log": "1", "data/c.log": "1", "data/.gitignore": "*\n"})
    commit_all(client.root)
    git(client.root, "add", "-f", "lib/a.o", "data/b.log", "data/c.log")
    write(client.root, {"lib/a.o": "2", "data/other.log": ""})
    (client.root / "data/c.log").unlink()
    # When it travels
    there = client.travel()
    # Then they are there as they are now, and their neighbours that are not tracked are not
    assert there[b"lib/a.o"] == ("file", b"2")
    assert {*map(os.fsdecode, there)} == MODEL | {"lib/a.o", "data/b.log"}


def test_files_follow_the_rules_of_the_moment(client: Client) -> None:
    # Given a project that travelled with a file that no rule matched, and with one that was tracked by force
    commit_all(client.root)
    write(client.root, {"notes": "", "big.log": "", ".git/info/exclude": "*.log\n"})
    git(client.root, "add", "-f", "big.log")
    assert client.names() == MODEL | {"notes", "big.log"}
    # When a rule comes, and the other file is tracked no longer
    write(client.root, {".git/info/exclude": "*.log\nnotes\n"})
    git(client.root, "rm", "-q", "--cached", "big.log")
    # Then both stay behind from now on
    assert client.names() == MODEL


@pytest.mark.parametrize("folder", ["results", "frames", "out", "sub/results", "sub/out/gcc-release"])
def test_generated_folders_never_travel(client: Client, folder: str) -> None:
    # Given files in it that the person's git tracks, and a rule that wants them
    write(client.root, {f"{folder}/a": "", f"{folder}/deep/b": "", ".gitignore": f"!{folder}/\n"})
    commit_all(client.root)
    git(client.root, "add", "-f", folder)
    # When it travels, Then they are not there; with a pattern they are
    assert client.names() == MODEL | {".gitignore"}
    assert client.names(f"{folder}/a") == MODEL | {".gitignore", f"{folder}/a"}


def test_a_link_in_the_place_of_results_stays_behind(client: Client, tmp_path: Path) -> None:
    # Given results that are kept on another disk, and a file that has the name without being a folder
    (tmp_path / "scratch").mkdir()
    (client.root / "results").symlink_to(tmp_path / "scratch")
    write(client.root, {"doc/results": "we found…"})
    # When it travels, Then the link does not: runs would write through it
    assert client.names() == MODEL | {"doc/results"}


def test_labfleet_s_own_files_never_travel(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a lab whose home is inside of the project
    home = client.root / "ci [x] *" / "lab"
    monkeypatch.setenv("LABFLEET_HOME", str(home))
    write(home, {"redis/appendonly.aof": "x"})
    inside = Client(home, client.root)
    # When it travels, Then the lab does not, and its own changes are none of the project's
    assert inside.names() == MODEL
    assert inside.take() == inside.take()


def test_a_project_reached_through_a_link(client: Client, tmp_path: Path) -> None:
    # Given a link to a project with git, and a file that is tracked though ignored
    write(client.root, {"data/a.log": "x"})
    commit_all(client.root)
    write(client.root, {".gitignore": "*.log\n"})
    (tmp_path / "link").symlink_to(client.root)
    # When it travels from there, Then as from its own place
    assert Client(tmp_path / "lab2", tmp_path / "link").names() == MODEL | {".gitignore", "data/a.log"}


# ---- include -----------------------------------------------------------------------------------------------


def test_include_brings_ignored_files_back(client: Client) -> None:
    # Given ignored files at several places
    write(client.root, {"a.csv": "", "in/b.csv": "", "in/deep/c.csv": "", "traces/x/y.bin": "", ".hidden/d": ""})
    write(client.root, {".gitignore": "*.csv\ntraces\n.hidden\n"})
    base = MODEL | {".gitignore"}
    # When patterns name some of them, Then those travel, and no longer than they are named
    assert client.names("*.csv") == base | {"a.csv"}
    assert client.names("**/*.csv") == base | {"a.csv", "in/b.csv", "in/deep/c.csv"}
    assert client.names("in/*.csv", ".hidden/d") == base | {"in/b.csv", ".hidden/d"}
    assert client.names("traces") == base | {"traces/x/y.bin"}
    assert client.names("traces/", "no such") == base | {"traces/x/y.bin"}
    assert client.names() == base


def test_include_brings_a_program_back(client: Client) -> None:
    # Given a built program beside its sources
    program(client.root / "aloha")
    # When the person names it, Then it travels
    assert client.names("aloha") == MODEL | {"aloha"}


def test_include_does_not_follow_links(client: Client, tmp_path: Path) -> None:
    # Given a link to a folder elsewhere
    write(tmp_path, {"elsewhere/a.csv": ""})
    (client.root / "link").symlink_to(tmp_path / "elsewhere")
    write(client.root, {"results/r": "", ".gitignore": "link\n"})
    (client.root / "results/latest").symlink_to(".")
    # When a pattern reaches through it, or names a folder with links in it, Then they travel as links
    assert client.travel("link/*.csv", "link", "results") == content_of(client.root)


@pytest.mark.parametrize("pattern", ["", "/etc/passwd", "../other/*", "in/../../x"])
def test_include_stays_in_the_project(client: Client, pattern: str) -> None:
    # Given a pattern that leads out of the project
    # When a snapshot is taken, Then the person is told which one
    with pytest.raises(WrongUse, match="cannot include"):
        client.take(pattern)


def test_include_never_takes_git_s_own_files(client: Client) -> None:
    # Given a project with git
    commit_all(client.root)
    # When a pattern matches everything, Then .git still stays
    assert client.names("**/*", ".git", ".git/config") == MODEL


# ---- what an earlier build left ----------------------------------------------------------------------------

STALE = ["libx.so", "lib/libx.a", "x.obj", "x.o", "libx.dylib", "Packet_m.cc", "Packet_m.h", "aloha", "bin/x_dbg"]


def build(root: Path, *names: str) -> None:
    """Leave behind what a build leaves: programs, and what is known by its name."""
    write(root, {"Packet.msg": "packet Packet {}\n"})
    for name in names:
        if name in {"aloha", "bin/x_dbg"}:
            program(root / name)
        else:
            write(root, {name: "x"})


@pytest.mark.parametrize("name", STALE)
def test_stale_products_stay_behind(client: Client, name: str) -> None:
    # Given a project that has sources, and what a build on this machine made
    build(client.root, name)
    # When it travels, Then that is not there, the second time neither
    assert client.names() == MODEL | {"Packet.msg"}
    write(client.root, {"Host.cc": "changed"})
    assert client.names() == MODEL | {"Packet.msg"}


def test_tracked_products_travel(client: Client) -> None:
    # Given a project whose git tracks such files, and one that was built after
    build(client.root, *STALE)
    commit_all(client.root)
    git(client.root, "add", "-f", *STALE)
    program(client.root / "other")
    # When it travels, Then the tracked ones are part of the project
    assert client.names() == MODEL | {"Packet.msg", *STALE}


def test_a_project_without_sources_keeps_its_programs(client: Client) -> None:
    # Given a program and its library, but nothing to build them from
    (client.root / "Host.cc").unlink()
    program(client.root / "aloha")
    program(client.root / "libx.so")
    # When it travels, Then the program is taken as it is
    assert client.names() == MODEL - {"Host.cc"} | {"aloha", "libx.so"}


def test_a_script_that_became_a_program_stays_behind(client: Client) -> None:
    # Given a script that has travelled
    program(client.root / "aloha", b"#!/bin/sh\n")
    assert "aloha" in client.names()
    # When a build puts a program in its place, Then that stays
    program(client.root / "aloha")
    assert client.names() == MODEL


def test_what_only_looks_like_a_product_travels(client: Client) -> None:
    # Given generated code without its .msg, ELF data that is not executable, an executable script
    write(client.root, {"Other_m.cc": "", "core.elf": ELF})
    program(client.root / "run", b"#!/bin/sh\n")
    # When it travels, Then they are there
    assert client.names() == MODEL | {"Other_m.cc", "core.elf", "run"}


def test_the_link_to_a_stale_program_stays_behind(client: Client, tmp_path: Path) -> None:
    # Given the link that opp_makemake's Makefile leaves, and one to a tool of the machine's
    program(client.root / "out/gcc-release/aloha")
    (client.root / "aloha").symlink_to("out/gcc-release/aloha")
    program(tmp_path / "tool")
    (client.root / "tool").symlink_to(tmp_path / "tool")
    # When it travels, Then the former stays: it would change the sources with each build
    assert client.names() == MODEL | {"tool"}


# ---- repositories around and inside ------------------------------------------------------------------------


def test_a_project_deep_inside_another_repository(client: Client, tmp_path: Path) -> None:
    # Given a project in a folder of a larger repository, whose rules at the top reach down
    write(tmp_path, {".gitignore": "*.log\n/project/private\n/lab\n/home\n", "other/x": "", "forced.log": ""})
    write(client.root, {"a.log": "", "private": "", "forced.log": "", "private2": ""})
    commit_all(tmp_path)
    git(tmp_path, "add", "-f", "project/forced.log", "forced.log")
    # When it travels, Then its own folder alone does, by those rules
    assert client.names() == MODEL | {"forced.log", "private2"}


def test_a_repository_that_ignores_the_project_has_no_say(client: Client, tmp_path: Path) -> None:
    # Given a home directory under git for its dot files, everything else ignored
    write(tmp_path, {".gitignore": "*\n"})
    commit_all(tmp_path)
    git(tmp_path, "add", "-f", ".gitignore")
    # When a project in it travels, Then it goes as one without git
    assert client.names() == MODEL


def clone_as_submodule(tmp_path: Path, into: Path, name: str) -> Path:
    """Add a submodule with a file, an ignored file, and one that is tracked though ignored."""
    origin = tmp_path / f"origin-{name}"
    write(origin, {"lib.cc": "old", "data.csv": "x", ".gitignore": "*.tmp\n*.csv\n"})
    commit_all(origin)
    git(origin, "add", "-f", "data.csv")
    git(origin, "commit", "-qm", "data")
    git(into, "submodule", "--quiet", "add", str(origin), name)
    return into / name


OF_SUBMODULE = {"lib.cc", "data.csv", ".gitignore", "new.cc"}


def test_submodules_are_flattened(client: Client, tmp_path: Path) -> None:
    # Given a submodule in a submodule, both with a change, a new and an ignored file
    commit_all(client.root)
    outer = clone_as_submodule(tmp_path, client.root, "outer")
    inner = clone_as_submodule(tmp_path, outer, "in ner")
    for place in (outer, inner):
        write(place, {"lib.cc": "uncommitted", "new.cc": "", "x.tmp": "", "results/r.sca": ""})
    # When it travels
    there = client.travel()
    # Then the files of all are there as they are in the folders
    of_both = {f"outer/{name}" for name in OF_SUBMODULE} | {f"outer/in ner/{name}" for name in OF_SUBMODULE}
    assert {*map(os.fsdecode, there)} == MODEL | of_both | {".gitmodules", "outer/.gitmodules"}
    assert there[b"outer/in ner/lib.cc"] == ("file", b"uncommitted")


def test_a_change_in_a_submodule_is_a_change(client: Client, tmp_path: Path) -> None:
    # Given a submodule that has travelled
    commit_all(client.root)
    inner = clone_as_submodule(tmp_path, client.root, "inner")
    before = client.take()
    # When a file of it changes and a new one comes, Then both travel
    write(inner, {"lib.cc": "newer", "more.cc": "x"})
    there = client.travel()
    assert there[b"inner/lib.cc"] == ("file", b"newer")
    assert there[b"inner/more.cc"] == ("file", b"x")
    assert client.take().sources != before.sources


@pytest.mark.parametrize("with_git", [True, False])
def test_repositories_inside_are_flattened(client: Client, with_git: bool) -> None:
    # Given a clone that nobody made a submodule, and one that has no commit yet
    if with_git:
        commit_all(client.root)
    write(client.root, {"inet/src/Ip.cc": "", "inet/.gitignore": "*.tmp\n", "fresh/a.cc": "", "inet/x.tmp": ""})
    commit_all(client.root / "inet")
    git(client.root / "fresh", "init", "-q")
    # When it travels, Then their files are ordinary files
    assert client.names() == MODEL | {"inet/src/Ip.cc", "inet/.gitignore", "fresh/a.cc"}


def test_a_submodule_that_a_rule_ignores_travels(client: Client, tmp_path: Path) -> None:
    # Given a submodule in a folder that is ignored
    commit_all(client.root)
    clone_as_submodule(tmp_path, client.root, "inner")
    write(client.root, {".gitignore": "/inner\n"})
    # When it travels, Then it is tracked, hence there
    assert client.names() == MODEL | {".gitmodules", ".gitignore"} | {
        f"inner/{name}" for name in OF_SUBMODULE - {"new.cc"}
    }


def test_a_link_to_a_repository_stays_a_link(client: Client, tmp_path: Path) -> None:
    # Given a link to a clone elsewhere, tracked though ignored
    write(tmp_path, {"elsewhere/a.cc": ""})
    commit_all(tmp_path / "elsewhere")
    (client.root / "inet").symlink_to(tmp_path / "elsewhere")
    commit_all(client.root)
    write(client.root, {".gitignore": "/inet\n"})
    # When it travels, Then as the link that it is
    assert client.travel() == content_of(client.root)


def test_a_submodule_alone_is_a_project(client: Client, tmp_path: Path) -> None:
    # Given a project that is itself a submodule, and one in a linked working tree
    commit_all(client.root)
    inner = clone_as_submodule(tmp_path, client.root, "inner")
    git(client.root, "worktree", "add", "-q", str(tmp_path / "linked"))
    # When they travel, Then the rules of their repositories hold
    assert Client(tmp_path / "lab2", inner).names() == OF_SUBMODULE - {"new.cc"}
    assert Client(tmp_path / "lab3", tmp_path / "linked").names() == MODEL


@pytest.mark.parametrize("rest", [".git", ".git/config"])
def test_the_rest_of_a_repository_does_not_matter(client: Client, rest: str) -> None:
    # Given folders copied out of a submodule, so that .git names what is not there, or is there in part
    write(client.root, {rest: "gitdir: ../.git/modules/x\n", f"sub/{rest}": "gitdir: /no/where\n", "sub/a.cc": ""})
    # When it travels, Then it goes as folders without git
    assert client.names() == MODEL | {"sub/a.cc"}


# ---- the person's repository -------------------------------------------------------------------------------


def trace_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return everything about the files of a git directory."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file): (file.stat().st_mtime_ns, file.stat().st_ino, file.read_bytes()) for file in files}


def test_the_person_s_repository_is_untouched(client: Client, tmp_path: Path) -> None:
    # Given a repository with staged, changed and new files, a submodule, and stale times in its index
    commit_all(client.root)
    clone_as_submodule(tmp_path, client.root, "inner")
    write(client.root, {"staged": "1", "Host.cc": "changed", "new": ""})
    git(client.root, "add", "staged")
    os.utime(client.root / "omnetpp.ini", (1, 1))
    before = trace_of(client.root / ".git")
    seen = [("status", "--porcelain"), ("rev-parse", "HEAD"), ("for-each-ref",), ("count-objects", "-v")]
    told = [git(client.root, "--no-optional-locks", *command) for command in seen]

    # When snapshots are taken and pushed
    client.travel()
    write(client.root, {"new": "more"})
    client.travel()

    # Then not a byte of .git has changed, nor a time
    assert trace_of(client.root / ".git") == before
    assert [git(client.root, "--no-optional-locks", *command) for command in seen] == told


def test_unmerged_files_travel_as_they_are(client: Client) -> None:
    # Given a merge with a conflict that is not yet resolved
    commit_all(client.root)
    git(client.root, "checkout", "-q", "-b", "other")
    write(client.root, {"Host.cc": "theirs\n"})
    git(client.root, "commit", "-qam", "theirs")
    git(client.root, "checkout", "-q", "-")
    write(client.root, {"Host.cc": "ours\n"})
    git(client.root, "commit", "-qam", "ours")
    with pytest.raises(shell.CommandFailed):
        git(client.root, "merge", "-q", "other")
    # When it travels, Then with the markers that are in the file
    assert client.travel() == content_of(client.root)
    assert client.names() == MODEL


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_flags_in_the_person_s_index_hide_nothing(client: Client, flag: str) -> None:
    # Given a changed file that the person's git was told to overlook
    commit_all(client.root)
    git(client.root, "update-index", flag, "Host.cc")
    write(client.root, {"Host.cc": "overlooked\n"})
    # When it travels, Then as it is
    assert client.travel()[b"Host.cc"] == ("file", b"overlooked\n")


def test_a_sparse_checkout_travels_as_far_as_it_is_there(client: Client) -> None:
    # Given a repository of which one folder is checked out
    write(client.root, {"one/a": "", "two/b": ""})
    commit_all(client.root)
    git(client.root, "sparse-checkout", "set", "--cone", "--sparse-index", "one")
    # When it travels, Then what is there
    assert client.travel() == content_of(client.root)
    assert client.names() == MODEL | {"one/a"}


def test_an_unreadable_repository_is_named(client: Client) -> None:
    # Given a repository whose index is broken
    commit_all(client.root)
    write(client.root, {".git/index": "broken"})
    # When a snapshot is taken, Then the person is told: which files are tracked cannot be known
    with pytest.raises(WrongUse, match="index file"):
        client.take()


def test_nothing_of_the_person_s_git_plays_a_part(
    client: Client, person: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given settings, hooks and variables that would make git fail, ask, run programs or look elsewhere
    trap = tmp_path / "trap"
    ran = tmp_path / "ran"
    hooks = ("pre-push", "post-index-change", "reference-transaction", "pre-commit")
    for name in (*(f"hooks/{hook}" for hook in hooks), "monitor"):
        program(trap / name, f"#!/bin/sh\necho {name} >> {ran}\nexit 1\n".encode())
    commit_all(client.root)
    git(client.root, "config", "core.fsmonitor", str(trap / "monitor"))
    settings = f"hooksPath={trap}/hooks\nfsmonitor={trap}/monitor\nsplitIndex=true\nuntrackedCache=true\n"
    settings += "ignoreStat=true\nsymlinks=false\nfileMode=false\nsparseCheckout=true\ncheckStat=minimal\n"
    settings += "trustctime=false\nignoreCase=true\nautocrlf=true\n"
    more = "[commit]\ngpgSign=true\n[push]\ngpgSign=true\npushOption=x\n[feature]\nmanyFiles=true\n"
    more += "[protocol]\nallow=never\n[init]\ntemplateDir=" + str(trap) + "\n[user]\nuseConfigOnly=true\n"
    write(person, {".gitconfig": f"[core]\n{settings}{more}"})
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"):
        monkeypatch.setenv(name, str(trap))
    (client.root / "link").symlink_to("Host.cc")
    # When snapshots are taken and pushed
    client.push(client.take())
    (client.root / "link").unlink()
    write(client.root, {"Host.cc": "int Y;\n", "host.cc": "other case", "link": "no link any more"})
    taken = client.take()
    client.push(taken)
    # Then all goes as ever, and nothing was run
    (person / ".gitconfig").unlink()
    assert client.delivered(taken) == content_of(client.root)
    assert not ran.exists()


def test_no_home_is_needed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a service without HOME
    monkeypatch.delenv("HOME")
    # When it travels, Then as ever, by a committer of labfleet's own
    taken = client.take()
    client.push(taken)
    assert client.delivered(taken) == content_of(client.root)
    told = shell.run(["git", f"--git-dir={client.server}", "log", "-1", "--format=%an %ae %cn %ce", taken.commit])
    assert told.text == "labfleet labfleet@localhost labfleet labfleet@localhost"


# ---- one snapshot after the other --------------------------------------------------------------------------


@pytest.mark.parametrize("with_git", [True, False])
def test_nothing_changed_means_the_same_snapshot_at_once(client: Client, processes: list[str], with_git: bool) -> None:
    # Given a project that has travelled, with products that stay behind and ignored files that do not
    build(client.root, *STALE)
    if with_git:
        commit_all(client.root)
    before = client.take("results/*")
    client.push(before)
    processes.clear()
    # When nothing has changed
    again = client.take("results/*")
    client.push(again)
    # Then the snapshot is the same, and cost listing the files and looking at them
    assert again == before
    assert len(processes) == (3 if with_git else 2)


def test_a_touched_file_is_no_change(client: Client) -> None:
    # Given a snapshot
    before = client.take()
    # When a file gets a new time, Then there is no new commit
    os.utime(client.root / "Host.cc", (1, 1))
    assert client.take() == before


def test_a_change_that_keeps_size_and_time_is_seen(client: Client, person: Path) -> None:
    # Given a snapshot of an old file, and a person whose git looks at size and time alone
    write(person, {".gitconfig": "[core]\ntrustctime=false\ncheckStat=minimal\n"})
    write(client.root.parent, {"other": "int z;\n"})
    for file in (client.root / "Host.cc", client.root.parent / "other"):
        os.utime(file, (10**9, 10**9))
    client.take()
    # When another file of the same size and time is moved into its place
    os.replace(client.root.parent / "other", client.root / "Host.cc")
    # Then it travels
    assert client.travel()[b"Host.cc"] == ("file", b"int z;\n")


def test_edits_in_quick_succession_are_all_seen(client: Client) -> None:
    # Given a file that keeps its size
    for number in range(20):
        # When it changes again within the resolution of the clock
        write(client.root, {"Host.cc": f"int {number:05};\n"})
        # Then each time the snapshot is of the latest
        assert client.travel()[b"Host.cc"] == ("file", f"int {number:05};\n".encode())


def test_files_and_folders_take_each_other_s_place(client: Client) -> None:
    # Given files, folders and links that travelled
    write(client.root, {"a": "file", "b/c": "in a folder", "d/e": "behind"})
    (client.root / "l").symlink_to("d")
    commit_all(client.root)
    client.travel()
    # When a file becomes a folder, a folder a file, a link a folder, a folder a link
    (client.root / "a").unlink()
    shutil.rmtree(client.root / "b")
    (client.root / "l").unlink()
    (client.root / "d").rename(client.root / "l")
    (client.root / "d").symlink_to("l")
    write(client.root, {"a/x": "in a folder", "b": "file"})
    # Then the worker sees the same
    assert client.travel() == content_of(client.root)


def test_each_snapshot_follows_the_last_and_sends_only_what_is_new(client: Client) -> None:
    # Given a project of many files that has travelled
    write(client.root, {f"src/{number}.cc": str(number) for number in range(200)})
    first = client.take()
    client.push(first)
    objects = sum(1 for _ in client.server.glob("objects/??/*"))
    packs = [*client.server.glob("objects/pack/*")]
    # When one file changes
    write(client.root, {"src/7.cc": "seven"})
    second = client.take()
    client.push(second)
    # Then four objects travel: the file, two folders, the commit, whose parent is the first
    assert sum(1 for _ in client.server.glob("objects/??/*")) - objects == 4
    assert [*client.server.glob("objects/pack/*")] == packs
    parent = shell.run(["git", f"--git-dir={client.server}", "rev-parse", f"{second.commit}^"])
    assert parent.text == first.commit


# ---- sources -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["omnetpp.ini", "Host.ned", "x.anf", "README.md", "LICENSE", "doc/a.png"])
def test_files_that_no_build_reads_leave_sources_as_they_are(client: Client, name: str) -> None:
    # Given a project
    before = client.take()
    # When such a file comes or changes
    write(client.root, {name: "changed"})
    after = client.take()
    # Then the snapshot is another one, of the same sources
    assert after.tree != before.tree
    assert after.sources == before.sources


@pytest.mark.parametrize("name", ["Host.cc", "new.h", "Makefile", "src/CMakeLists.txt", "a.msg", "gen.py", "ini/x"])
def test_files_that_a_build_may_read_change_sources(client: Client, name: str) -> None:
    # Given a project
    before = client.take()
    # When such a file comes or changes, Then the sources are others
    write(client.root, {name: "changed"})
    changed = client.take().sources
    assert changed != before.sources
    # … and others again when it becomes executable or has another name; and as before when it is as before
    (client.root / name).chmod(0o755)
    assert client.take().sources not in {before.sources, changed}
    (client.root / name).rename(client.root / "renamed.cc")
    assert client.take().sources not in {before.sources, changed}
    (client.root / "renamed.cc").unlink()
    write(client.root, {"Host.cc": "int x;\n"})
    assert client.take().sources == before.sources


def test_sources_depend_on_nothing_but_the_files(client: Client, tmp_path: Path) -> None:
    # Given the same files on another machine, under git there
    shutil.copytree(client.root, tmp_path / "copy")
    commit_all(tmp_path / "copy")
    # When both take a snapshot, Then the sources are the same: nothing is built twice
    assert Client(tmp_path / "lab2", tmp_path / "copy").take().sources == client.take().sources


def test_sources_follow_a_new_rule(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a snapshot, taken by an older labfleet
    before = client.take()
    # When a newer one finds that builds do read .ned files after all
    monkeypatch.setattr(snapshot, "NOT_BUILT_FROM", ("*.ini",))
    after = client.take()
    # Then the same commit has other sources
    assert after.commit == before.commit
    assert after.sources != before.sources


# ---- two clients, and clients that died --------------------------------------------------------------------


def test_clients_at_the_same_time(client: Client) -> None:
    # Given several processes that take and push the same project, and one that edits it
    code = (
        "import sys; from pathlib import Path; from runner import snapshot\n"
        "root, private, server = map(Path, sys.argv[1:])\n"
        "for _ in range(5):\n"
        "    taken = snapshot.take(root, (), private)\n"
        "    snapshot.push(taken, private, str(server))\n"
        "    print(taken.commit)\n"
    )
    top = Path(snapshot.__file__).parent.parent
    argv = [sys.executable, "-c", code, *map(str, (client.root, client.private, client.server))]
    clients = [
        subprocess.Popen(argv, cwd=top, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)
    ]
    for number in range(30):
        write(client.root, {f"new/{number}.cc": str(number)})
    # When all are through
    told = [process.communicate() for process in clients]
    # Then every snapshot is on the server, complete, and the last one is what is there now
    assert [complaint for _, complaint in told] == [""] * 6
    for commit in {commit for commits, _ in told for commit in commits.split()}:
        shell.run(["git", f"--git-dir={client.server}", "rev-list", "--objects", f"refs/snapshots/{commit}"])
    assert client.travel() == content_of(client.root)


def test_threads_at_the_same_time(client: Client) -> None:
    # Given one project that several threads take at once
    with ThreadPoolExecutor(8) as pool:
        taken = {*pool.map(lambda _: client.take(), range(24))}
    # When all are through, Then it was one snapshot
    assert len(taken) == 1


def leave_locks(private: Path) -> None:
    (private / "index.lock").touch()
    (private / "HEAD.lock").touch()


def cut_index_short(private: Path) -> None:
    index = private / "index"
    index.write_bytes(index.read_bytes()[:50])


def begin_to_create(private: Path) -> None:
    shutil.rmtree(private)
    private.mkdir()
    (private / "HEAD").touch()


def lose_objects(private: Path) -> None:
    shutil.rmtree(private / "objects")


def lose_memory(private: Path) -> None:
    (private / "labfleet.json").write_text('{"commit": "12')


def lose_index(private: Path) -> None:
    (private / "index").unlink()


@pytest.mark.parametrize(
    "harm",
    [leave_locks, cut_index_short, begin_to_create, lose_objects, lose_memory, lose_index, shutil.rmtree],
)
@pytest.mark.parametrize("changed", [True, False])
def test_a_damaged_private_directory_heals(client: Client, harm: Callable[[Path], None], changed: bool) -> None:
    # Given what a client that died, a full disk or a curious person may leave
    client.travel()
    harm(client.private)
    # When the next snapshot is taken, Then as if nothing had been
    if changed:
        write(client.root, {"Host.cc": "changed"})
    assert client.travel() == content_of(client.root)


def test_a_client_killed_before_it_was_through_leaves_nothing(client: Client) -> None:
    # Given a client that had brought a file into the index, and was killed
    client.take()
    memory = (client.private / "labfleet.json").read_bytes()
    write(client.root, {"new.cc": ""})
    client.take()
    (client.private / "labfleet.json").write_bytes(memory)
    # When the next one comes after the file has moved to where it stays behind, Then it does
    (client.root / "results").mkdir()
    (client.root / "new.cc").rename(client.root / "results/new.cc")
    assert client.names() == MODEL


def test_cleaning_up_costs_nothing(client: Client) -> None:
    # Given somebody who has git clean up wherever it finds a repository
    before = client.take()
    shell.run(["git", f"--git-dir={client.private}", "gc", "--quiet", "--prune=now"])
    # When the next snapshot is taken, Then it follows the last one
    write(client.root, {"Host.cc": "changed"})
    after = client.take()
    parent = shell.run(["git", f"--git-dir={client.private}", "rev-parse", f"{after.commit}^"])
    assert parent.text == before.commit
    assert client.travel() == content_of(client.root)


def test_a_lock_left_behind_costs_nothing(client: Client) -> None:
    # Given the lock of a client that was killed while git wrote the index
    before = client.take()
    (client.private / "index.lock").touch()
    # When the next snapshot is taken, Then it follows the last one: its push is small
    write(client.root, {"Host.cc": "changed"})
    after = client.take()
    parent = shell.run(["git", f"--git-dir={client.private}", "rev-parse", f"{after.commit}^"])
    assert parent.text == before.commit


def test_objects_cut_short_are_found_out_when_they_are_sent(client: Client) -> None:
    # Given a snapshot that a power failure has emptied before it was pushed
    taken = client.take()
    for file in client.private.glob("objects/??/*"):
        file.chmod(0o644)
        file.write_bytes(b"")
    # When it is pushed, Then the person hears that the same command will do
    with pytest.raises(LabFailed) as failure:
        client.push(taken)
    assert "again" in failure.value.hint or "anew" in failure.value.hint
    # … and it does
    assert client.travel() == content_of(client.root)


def test_a_client_that_is_killed_blocks_nobody(client: Client) -> None:
    # Given a client that is killed while it holds the lock
    code = (
        "import sys, signal; from pathlib import Path; from runner import snapshot\n"
        "with snapshot._locked(Path(sys.argv[1])):\n"
        "    print('locked', flush=True); signal.pause()\n"
    )
    top = Path(snapshot.__file__).parent.parent
    argv = [sys.executable, "-c", code, str(client.private)]
    with subprocess.Popen(argv, cwd=top, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.send_signal(signal.SIGKILL)
    # When the next one comes, Then it is served
    assert client.names() == MODEL


# ---- the server --------------------------------------------------------------------------------------------


def test_a_push_makes_the_local_server(client: Client) -> None:
    # Given no server yet
    taken = client.take()
    # When the snapshot is pushed, also twice
    client.push(taken)
    client.push(taken)
    # Then there is a bare repository with one ref and no hooks
    refs = shell.run(["git", f"--git-dir={client.server}", "for-each-ref", "--format=%(refname) %(objectname)"])
    assert refs.text == f"refs/snapshots/{taken.commit} {taken.commit}"
    assert not [*client.server.glob("hooks/*")]


@pytest.mark.parametrize("lost", ["ref", "server"])
def test_what_a_local_server_lost_is_pushed_again(client: Client, lost: str) -> None:
    # Given a snapshot that was pushed, and lab data that the person deleted since
    taken = client.take()
    client.push(taken)
    if lost == "server":
        shutil.rmtree(client.server)
    else:
        (client.server / "refs/snapshots" / taken.commit).unlink()
    # When the same snapshot is pushed, Then the server has it again
    client.push(client.take())
    assert client.delivered(taken) == content_of(client.root)


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for ssh that runs the command here, and the log of its calls."""
    log = tmp_path / "ssh.log"
    program(
        tmp_path / "ssh",
        f'#!/bin/sh\nfor last; do :; done\necho "$*" >> {log}\nexec sh -c "$last"\n'.encode(),
    )
    monkeypatch.setenv("GIT_SSH_COMMAND", str(tmp_path / "ssh"))
    return log


@pytest.mark.parametrize("form", ["ssh://head{}", "user@head:{}"])
def test_a_url_is_pushed_to_once(client: Client, ssh: Path, form: str) -> None:
    # Given a git server behind ssh
    repository.create(client.server)
    url = form.format(client.server)
    taken = client.take()
    snapshot.push(taken, client.private, url)
    calls = ssh.read_text()
    # When an unchanged project is pushed again, Then nobody asks the head
    snapshot.push(client.take(), client.private, url)
    assert ssh.read_text() == calls
    assert client.delivered(taken) == content_of(client.root)
    # … and a changed one, or another head, is another matter
    write(client.root, {"Host.cc": "changed"})
    snapshot.push(client.take(), client.private, url)
    assert client.travel() == content_of(client.root)
    assert ssh.read_text() > calls


def test_a_head_that_may_have_removed_a_snapshot_is_asked_again(
    client: Client, ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a snapshot that was pushed to a head, which has removed it since
    repository.create(client.server)
    taken = client.take()
    snapshot.push(taken, client.private, f"ssh://head{client.server}")
    repository.forget(client.server, [taken.commit])
    calls = ssh.read_text()
    # When the same is pushed an hour later, then it is there again
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    snapshot.push(client.take(), client.private, f"ssh://head{client.server}")
    assert ssh.read_text() > calls
    assert repository.has_commit(client.server, taken.commit)


def test_a_private_directory_tells_whose_it_is(client: Client) -> None:
    # Given a project, when snapshots are taken, then its root and the time of the last one are written down
    client.take()
    mark = client.private / SNAPSHOT_ROOT
    os.utime(mark, (1, 1))
    client.take()
    assert Path(os.fsdecode(mark.read_bytes())) == client.root
    assert mark.stat().st_mtime > 1


@pytest.mark.usefixtures("ssh")
def test_a_server_that_does_not_answer_is_named(client: Client) -> None:
    # Given a head without the repository
    taken = client.take()
    # When a snapshot is pushed, Then the complaint names the server, and the snapshot is still good
    with pytest.raises(LabFailed, match="cannot push to ssh://head/no/where"):
        snapshot.push(taken, client.private, "ssh://head/no/where")
    assert client.take() == taken


# ---- what cannot be --------------------------------------------------------------------------------------


def test_without_git_the_person_is_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine without git
    monkeypatch.setenv("PATH", "/no/where")
    # When a snapshot is taken, Then the error says what to install
    with pytest.raises(LabFailed) as failure:
        client.take()
    assert "install" in failure.value.hint


def take_unprivileged(client: Client) -> str:
    """Take a snapshot in a process that, though root's, is bound by permissions; return its error."""
    code = (
        "import sys; from pathlib import Path; from runner import errors, snapshot\n"
        "try: snapshot.take(Path(sys.argv[1]), (), Path(sys.argv[2]))\n"
        "except errors.WrongUse as error: print(error.message, '|', error.hint)\n"
    )
    argv = [sys.executable, "-c", code, str(client.root), str(client.private)]
    if os.getuid() == 0:
        argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--", *argv]
    return shell.run(argv, cwd=Path(snapshot.__file__).parent.parent).text


@pytest.fixture
def closed(client: Client) -> Iterator[Callable[[str], None]]:
    """Take all permissions from files, until the end of the test."""
    modes: dict[Path, int] = {}

    def close(name: str) -> None:
        file = client.root / name
        modes[file] = stat.S_IMODE(file.stat().st_mode)
        file.chmod(0)

    yield close
    for file, mode in modes.items():
        file.chmod(mode)


@pytest.mark.parametrize("name", ["Host.cc", "sub/\udcff\n.cc", "sub"])
def test_what_cannot_be_read_is_named(client: Client, closed: Callable[[str], None], name: str) -> None:
    # Given a file or folder that belongs to the project and cannot be read
    write(client.root, {"sub/\udcff\n.cc": "x"})
    take_unprivileged(client)
    write(client.root, {"sub/\udcff\n.cc": "changed", "Host.cc": "changed"})
    (client.root / "A link").symlink_to(name)
    closed(name)
    # When a snapshot is taken, Then it is refused with the name; one without the file would be a wrong one
    told = take_unprivileged(client)
    assert told.startswith("cannot read ")
    assert repr(Path(name).name)[1:-1] in told
    assert "A link" not in told
    assert "make it readable" in told


@pytest.mark.parametrize("name", ["private", "results", "a.log"])
def test_what_is_ignored_need_not_be_readable(
    client: Client, person: Path, closed: Callable[[str], None], name: str
) -> None:
    # Given a folder or file that cannot be read and would not travel, and settings that cannot either
    write(client.root, {".gitignore": "private\n*.log\n", "private/x": "", "results/x": "", "a.log": ""})
    commit_all(client.root)
    write(person, {".config/git/ignore": ""})
    closed(str(person / ".config/git/ignore"))
    closed(name)
    # When a snapshot is taken, Then nobody cares
    assert not take_unprivileged(client)
