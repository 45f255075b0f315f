"""What a slot makes of a process's end, and the directory that a process gets for itself."""

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from runner import private_directory
from runner.job_queue import WorkerEnd, connect
from runner.line import Line
from runner.log_stream import Sender
from runner.model import Attempt, Chunk, Kind, Prepared, Run
from runner.private_directory import PrivateDirectory
from runner.simulate import Stop, judge
from runner.simulate.process import Place, SimulationProcess, Work
from tests.campaigns import campaign

DONE = ("done", "")

# ---- verdicts ----------------------------------------------------------------------------------------------------


CANCELLED = Stop("cancelled")
SLOW: tuple[Kind, str] = ("timeout", "took longer than 30 s")
FAT: tuple[Kind, str] = ("out-of-memory", "took 3 GB of memory, 2 GB are allowed")


@pytest.mark.parametrize(
    ("status", "errors", "stop", "verdicts"),
    [
        # all went well
        (0, [""], None, [DONE]),
        (0, ["", "", ""], None, [DONE, DONE, DONE]),
        # … but whoever was told to end may say so too
        (0, ["", ""], CANCELLED, [DONE, ("cancelled", "")]),
        # … and whoever had ended before it was killed has ended
        (0, ["", ""], Stop(*SLOW, 2), [DONE, DONE]),
        # the simulation said so
        (1, ["no route"], None, [("error", "no route")]),
        (1, ["", "no route"], None, [DONE, ("error", "no route")]),
        # what was begun after the first error happened in a process that was no longer sound: it is not over
        (1, ["", "no route", ""], None, [DONE, ("error", "no route")]),
        (1, ["", "no route", "cannot switch FES"], None, [DONE, ("error", "no route")]),
        (-9, ["", "no route", ""], Stop(*SLOW, 3), [DONE, ("error", "no route")]),
        # nothing was said
        (3, [""], None, [("error", "the program ended with exit status 3")]),
        (3, ["", ""], None, [DONE, ("error", "the program ended with exit status 3")]),
        # a signal
        (-11, [""], None, [("crash", "ended by SIGSEGV")]),
        (-6, ["", "assertion failed"], None, [DONE, ("crash", "assertion failed")]),
        (-9, ["", "", ""], None, [DONE, DONE, ("crash", "ended by SIGKILL")]),
        # nobody wants it any more: whatever Cmdenv wrote when it was told to end, it is no result
        (2, [""], CANCELLED, [("cancelled", "")]),
        (2, ["", ""], CANCELLED, [DONE, ("cancelled", "")]),
        (-15, [""], CANCELLED, [("cancelled", "")]),
        (-9, ["", "", ""], CANCELLED, [DONE, DONE, ("cancelled", "")]),
        # it took more than it may: that is the failure of the run that was under way then
        (-9, [""], Stop(*SLOW, 1), [SLOW]),
        (-9, [""], Stop(*SLOW, 0), [SLOW]),
        (-9, ["", ""], Stop(*SLOW, 2), [DONE, SLOW]),
        (-9, ["hangs"], Stop(*SLOW, 1), [SLOW]),
        (137, [""], Stop(*FAT, 1), [FAT]),
        # … and not of one that had only just begun, which nobody had seen yet: it is not over
        (-9, ["", ""], Stop(*SLOW, 1), [DONE]),
        # what earlier runs have left in the memory is no run's own failure: it is not over
        (-9, ["", "", ""], Stop(*FAT, 3), [DONE, DONE]),
    ],
)
def test_each_run_that_is_over_gets_its_verdict(
    status: int, errors: list[str], stop: Stop | None, verdicts: list[tuple[Kind, str]]
) -> None:
    # Given how a process ended, why it was ended, and what the log of each run that it began says went wrong
    # When it is judged, then the runs before the failure are done, one has failed, the rest is not over
    assert judge(status, errors, stop) == verdicts


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGXCPU, signal.SIGRTMIN, 40, signal.SIGRTMAX])
def test_any_signal_is_a_crash(number: int) -> None:
    # Given a process that a signal ended, be it one without a name, like 40
    # When it is judged, then that is a crash, and the person is told the signal
    ((kind, error),) = judge(-number, [""])
    assert kind == "crash"
    assert error.startswith("ended by ")


# ---- private directories -----------------------------------------------------------------------------------------

Content = dict[str, tuple[str, bytes | str, int]]


def content(top: Path) -> Content:
    """Return what is below a folder: path → (kind, bytes or target, mode)."""
    found: Content = {}
    for path in sorted(top.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            found[str(path.relative_to(top))] = ("link", os.readlink(path), 0)
        elif path.is_dir():
            found[str(path.relative_to(top))] = ("folder", b"", mode)
        else:
            found[str(path.relative_to(top))] = ("file", path.read_bytes(), mode)
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a project: sources, NED files, and a working directory two levels down."""
    top = tmp_path / "checkout"
    for name in ("src/Host.ned", "src/libmodel.so", "sims/common.ini", "sims/other/x.ini", "sims/aloha/data/trace"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"this is {name}\n")
    aloha = top / "sims" / "aloha"
    (aloha / "omnetpp.ini").write_text("include ../common.ini\n")
    (aloha / "run.sh").write_text("#!/bin/sh\n")
    (aloha / "run.sh").chmod(0o555)
    (aloha / "omnetpp.ini").chmod(0o444)
    (top / "package.ned").write_text("package aloha;\n")
    return top


Create = Callable[..., PrivateDirectory]


def test_what_a_run_has_closed_is_opened_up(create: Create) -> None:
    # Given a private directory in which a run has taken rights away, and the project's files
    private = create("sims/aloha")
    folder = private.working_directory / "closed" / "within"
    folder.mkdir(parents=True)
    modes = {"write-only": 0o200, "none": 0o000, "read-only": 0o444, "shared": 0o664}
    for name, mode in modes.items():
        (folder / name).touch()
        (folder / name).chmod(mode)
    (folder / "link").symlink_to("/etc/passwd")
    for closed, mode in ((folder, 0o600), (folder.parent, 0o000)):
        closed.chmod(mode)
    given = private.working_directory / "run.sh"
    before = given.stat().st_mode
    # When it is opened up
    private.open_up()
    # Then its owner may do with folders and read files; what could be read is as it was
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder)] == [0o700, 0o700]
    found = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in modes}
    assert found == {"write-only": 0o600, "none": 0o600, "read-only": 0o444, "shared": 0o664}
    assert given.stat().st_mode == before
    assert {os.path.basename(path) for path in private.new_files()} == set(modes)


@pytest.fixture
def create(tmp_path: Path, checkout: Path) -> Create:
    """Return a function that makes private directories of the checkout."""

    def make(directory: str = "sims/aloha", top: str = "private") -> PrivateDirectory:
        return PrivateDirectory.create(tmp_path / top, "project", checkout, directory)

    return make


def is_real(path: Path) -> bool:
    return path.exists() and not path.is_symlink()


def test_the_directories_down_to_the_working_directory_are_real(create: Create, tmp_path: Path) -> None:
    # Given a working directory inside a project, when a private directory is made for it
    private = create()
    # Then root, sims and sims/aloha are directories of its own, under the project's own name
    assert private.root == tmp_path / "private" / "project"
    assert private.working_directory == private.root / "sims" / "aloha"
    assert all(is_real(path) for path in (private.root, private.root / "sims", private.working_directory))


@pytest.mark.parametrize("name", ["src", "package.ned", "sims/common.ini", "sims/other"])
def test_what_lies_beside_is_linked(create: Create, checkout: Path, name: str) -> None:
    # Given what lies beside the working directory, when a private directory is made
    private = create()
    # Then it is there under its name, and costs a link however large it is
    assert (private.root / name).is_symlink()
    assert (private.root / name).samefile(checkout / name)


def test_files_of_the_working_directory_are_copies(create: Create, checkout: Path) -> None:
    # Given files of the working directory that are read-only in the checkout, when a private directory is made
    private = create()
    # Then each is a copy that the run may write to, and a program is still a program
    for name in ("omnetpp.ini", "run.sh"):
        copy, original = private.working_directory / name, checkout / "sims" / "aloha" / name
        assert is_real(copy)
        assert copy.read_bytes() == original.read_bytes()
        assert copy.stat().st_mode & stat.S_IWUSR
    assert os.access(private.working_directory / "run.sh", os.X_OK)


def test_large_files_are_linked(create: Create, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file that is larger than what is worth copying for each run
    monkeypatch.setattr(private_directory, "LARGEST_COPY", 100)
    (checkout / "sims/aloha/trace.pcap").write_bytes(bytes(101))
    (checkout / "sims/aloha/small.pcap").write_bytes(bytes(100))
    # When a private directory is made
    private = create()
    # Then it is linked, and smaller ones are copied
    assert (private.working_directory / "trace.pcap").is_symlink()
    assert is_real(private.working_directory / "small.pcap")


def test_folders_of_the_working_directory_are_real_and_their_files_linked(create: Create, checkout: Path) -> None:
    # Given folders in the working directory, one inside another, when a private directory is made
    (checkout / "sims/aloha/data/deep").mkdir()
    (checkout / "sims/aloha/data/deep/map").write_text("map\n")
    private = create()
    # Then a run can leave files there, and finds those that are there
    for name in ("data", "data/deep"):
        assert is_real(private.working_directory / name)
        (private.working_directory / name / "new").write_text("new\n")
    assert (private.working_directory / "data/deep/map").samefile(checkout / "sims/aloha/data/deep/map")
    assert [private.name_at_home(path) for path in private.new_files()] == [
        "sims/aloha/data/deep/new",
        "sims/aloha/data/new",
    ]


def test_large_folders_are_linked_as_a_whole(create: Create, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a folder with more entries than are worth linking for each run, and a small one
    monkeypatch.setattr(private_directory, "MOST_LINKS", 5)
    (checkout / "sims/aloha/many").mkdir()
    for number in range(6):
        (checkout / f"sims/aloha/many/{number}").touch()
    # When a private directory is made
    private = create()
    # Then it is one link, and the small one is real
    assert (private.working_directory / "many").is_symlink()
    assert sorted(os.listdir(private.working_directory / "many")) == list("012345")
    assert is_real(private.working_directory / "data")


def test_a_deep_tree_in_the_working_directory_costs_few_links(create: Create, checkout: Path) -> None:
    # Given a folder with more folders and files below it than are worth linking for each run, and few at its top
    for folder in range(40):
        for number in range(11):
            file = checkout / f"sims/aloha/sources/{folder}/{number}.cc"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    small = checkout / "sims/aloha/sources/small/0.cc"
    small.parent.mkdir()
    small.touch()
    # When a private directory is made
    private = create()
    # Then a run can leave files at its top and in what is small, finds everything, and few of all these were made
    tree = private.working_directory / "sources"
    assert is_real(tree)
    assert is_real(tree / "small")
    assert len([*tree.glob("*/*.cc")]) == 441
    made = [path for folder, folders, files in os.walk(tree) for path in (*folders, *files)]
    assert len(made) <= 41 + private_directory.MOST_LINKS_BELOW


def test_relative_paths_mean_what_they_mean_at_home(create: Create) -> None:
    # Given a private directory, when a run reads along relative paths
    private = create()
    # Then it finds what it would find at home
    read = {name: (private.working_directory / name).read_text() for name in ("../common.ini", "../../src/Host.ned")}
    assert read == {
        "../common.ini": "this is sims/common.ini\n",
        "../../src/Host.ned": "this is src/Host.ned\n",
    }


def test_symbolic_links_keep_their_meaning(create: Create, checkout: Path) -> None:
    # Given relative links in the project: to a file beside, upwards, to a folder, from the root; and dangling ones
    links = {
        "sims/aloha/same.ini": "omnetpp.ini",
        "sims/aloha/up.ini": "../common.ini",
        "sims/aloha/ned": "../../src",
        "sims/default.ini": "aloha/omnetpp.ini",
        "current": "sims/aloha",
    }
    for link, target in {**links, "sims/aloha/gone": "../nowhere", "gone": "nowhere"}.items():
        (checkout / link).symlink_to(target)
    # When a private directory is made
    private = create()
    # Then each leads to the same content as at home, and those that lead nowhere do no harm
    for link in links:
        here, there = private.root / link, checkout / link
        if there.is_dir():
            assert sorted(os.listdir(here)) == sorted(os.listdir(there))
        else:
            assert here.read_bytes() == there.read_bytes()
    # And a link within the working directory leads to the run's own copy
    (private.working_directory / "same.ini").write_text("changed\n")
    assert (private.working_directory / "omnetpp.ini").read_text() == "changed\n"


def test_the_root_itself_can_be_the_working_directory(create: Create) -> None:
    # Given a project whose programs run in its root, when a private directory is made
    for directory in (".", ""):
        private = create(directory, top=f"private{directory}")
        # Then the root is the working directory: its files are copied, those of its folders linked
        assert private.working_directory == private.root
        assert is_real(private.root / "package.ned")
        assert is_real(private.root / "src")
        assert (private.root / "src" / "libmodel.so").is_symlink()


def test_a_working_directory_that_is_not_there_is_an_error(create: Create) -> None:
    # Given a directory that the revision does not have, when it is to be run in, then that is said
    with pytest.raises(FileNotFoundError):
        create("sims/nowhere")


def test_a_directory_in_which_nothing_ran_has_no_new_files(create: Create) -> None:
    # Given a private directory in which nothing has happened, when asked for new files, then there are none
    assert create().new_files() == []


@pytest.mark.parametrize(
    ("name", "at_home"),
    [
        ("results/Foo-#0.sca", "sims/aloha/results/Foo-#0.sca"),
        ("x.sca", "sims/aloha/x.sca"),
        ("../results/x.vec", "sims/results/x.vec"),
        ("../../x.vec", "x.vec"),
        ("../../../x.vec", "../x.vec"),
        ("a/b/c/x", "sims/aloha/a/b/c/x"),
        (".hidden", "sims/aloha/.hidden"),
        ("my results/${x}, 'y' \"z\".vec", "sims/aloha/my results/${x}, 'y' \"z\".vec"),
        ("-rf", "sims/aloha/-rf"),
        ("two\nlines", "sims/aloha/two\nlines"),
        ("größe=5µm", "sims/aloha/größe=5µm"),
        (os.fsdecode(b"latin-\xe9"), "sims/aloha/" + os.fsdecode(b"latin-\xe9")),
    ],
)
def test_new_files_are_found_wherever_a_run_may_leave_them(create: Create, name: str, at_home: str) -> None:
    # Given a run that leaves a file in a directory of its own, new ones and odd names included
    private = create()
    path = private.working_directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("new")
    # When asked for new files, then it is there, under the path that it would have at home
    (found,) = private.new_files()
    assert private.name_at_home(found) == at_home
    assert not private.was_given(found)


def test_files_of_the_project_that_a_run_changed_are_told_apart(create: Create) -> None:
    # Given a run that appends to a file of the project, writes another anew, and leaves the third
    private = create()
    with (private.working_directory / "omnetpp.ini").open("a") as ini:
        ini.write("# changed\n")
    (private.working_directory / "new.ini").write_text("new")
    # When asked for new files
    found = private.new_files()
    # Then the changed and the new one are there, and known apart
    assert {private.name_at_home(path): private.was_given(path) for path in found} == {
        "sims/aloha/omnetpp.ini": True,
        "sims/aloha/new.ini": False,
    }


def test_a_change_that_keeps_the_size_is_a_change(create: Create) -> None:
    # Given a run that overwrites a file of the project with as many other bytes
    private = create()
    ini = private.working_directory / "omnetpp.ini"
    ini.write_bytes(bytes(ini.stat().st_size))
    # When asked for new files, then it is there
    assert private.new_files() == [str(ini)]


def test_links_that_a_run_makes_are_no_files(create: Create) -> None:
    # Given a run that makes a link to the checkout and one that leads nowhere, and a named pipe
    private = create()
    (private.working_directory / "latest").symlink_to("omnetpp.ini")
    (private.working_directory / "nowhere").symlink_to("gone")
    os.mkfifo(private.working_directory / "pipe")
    # When asked for new files, then there are none
    assert private.new_files() == []


def test_nothing_that_a_run_does_beside_its_links_changes_the_checkout(create: Create, checkout: Path) -> None:
    # Given a checkout, with links of every kind
    (checkout / "sims/aloha/same.ini").symlink_to("omnetpp.ini")
    before = content(checkout)
    private = create()
    here = private.working_directory
    # When a run appends to, overwrites, renames and removes what it was given, and leaves files on every level
    with (here / "same.ini").open("a") as ini:
        ini.write("changed\n")
    (here / "run.sh").write_text("changed\n")
    (here / "run.sh").chmod(0o777)
    (here / "omnetpp.ini").rename(here / "old.ini")
    (here / "data" / "trace").rename(here / "data" / "old")
    (here / "data" / "trace").write_text("changed\n")
    (here / "../common.ini").unlink()
    for name in ("new", "data/new", "../new", "../../new", "../common.ini"):
        (here / name).write_text("changed\n")
    # Then the checkout is as it was
    assert content(checkout) == before
    # And when the private directory is removed, then it still is
    private.remove()
    assert not private.top.exists()
    assert content(checkout) == before


def test_two_processes_do_not_see_each_other(create: Create) -> None:
    # Given two private directories of the same checkout, when a run writes in one of them
    one, other = create(top="one"), create(top="other")
    (one.working_directory / "omnetpp.ini").write_text("changed\n")
    (one.working_directory / "new").write_text("new\n")
    # Then the other is as it was
    assert other.new_files() == []
    assert (other.working_directory / "omnetpp.ini").read_text() == "include ../common.ini\n"


def test_the_directories_where_a_run_may_make_files_are_known(create: Create) -> None:
    # Given a run that makes a folder, when asked where it may have made files
    private = create()
    (private.working_directory / "results").mkdir()
    # Then these are the spine, the working directory's folders and the new one, and no folder of the checkout
    folders = {os.path.relpath(folder, private.top) for folder in private.real_directories()}
    aloha = "project/sims/aloha"
    assert folders == {".", "project", "project/sims", aloha, f"{aloha}/data", f"{aloha}/results"}


# ---- processes ---------------------------------------------------------------------------------------------------


def test_a_run_may_remove_folders_while_it_is_looked_at(
    create: Create, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a folder that is gone whenever somebody who has seen it looks into it
    private, seen = create(), private_directory.PrivateDirectory.real_directories

    def seen_too_late(self: PrivateDirectory) -> list[str]:
        brief = self.root / "brief"
        brief.mkdir()
        found = seen(self)
        brief.rmdir()
        return sorted(found, key=lambda folder: folder != str(brief))

    monkeypatch.setattr(PrivateDirectory, "real_directories", seen_too_late)
    # When a run writes its output elsewhere
    work = Work(
        chunk=Chunk("c1-0", "c1", (Attempt(0, 1),), shared=False),
        campaign=campaign("c1"),
        prepared=Prepared("k", False, ("sh", "-c", "mkdir results; echo printed >results/General-#0.out"), "", ()),
        checkout=checkout,
        beside={},
        runs={0: Run(0, {"repetition": "0"})},
    )
    line, sender = Line(WorkerEnd(connect("unix:///nowhere"))), Sender(zmq.Context.instance(), "ipc:///nowhere")
    place = Place("red", "slot1", {}, line, sender, lambda _: None)
    ((outcome, log),) = SimulationProcess(work, [Attempt(0, 1)], private, place).follow()
    sender.close()
    # Then it is done, and its output is in its log
    assert (outcome.kind, log.read_text()) == ("done", "printed\n")
