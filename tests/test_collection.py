"""The way home: how the files of finished runs come to their places, and what the manifest says of them."""

import errno
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from runner import ledger, manifest, results
from runner.collection import Collector
from runner.errors import LabFailed, LabfleetError
from runner.messages import CampaignEnded
from runner.model import File, Kind, Limits, Outcome, Past, Prepared, Run, encode
from runner.paths import AttemptPaths, HomePaths, LabPaths
from tests.test_results import LOG, SCALARS, Contents, Crash, Disk, campaign, deliver, digest, store

__all__ = ["store"]

#: A file system that every Linux has, and that is not the one of the tests' files.
SHARED_MEMORY = Path("/dev/shm")

#: Seconds in which two who do the same at the same time meet.
TOGETHER = 0.5

# ---- the way home ------------------------------------------------------------------------------------------------


class Home:
    """A person's project, and the collector that brings results into it."""

    def __init__(self, store: LabPaths, root: Path) -> None:
        self.store, self.root = store, root
        root.mkdir(parents=True)
        store.campaign("one").campaign.write_bytes(encode(campaign()))
        self.paths = HomePaths(root / "results", "one")
        self.collector = Collector(store.campaign("one"), self.paths, root)

    def collect(self, run: int, files: Contents = SCALARS, kind: Kind = "done", given: tuple[str, ...] = ()) -> Outcome:
        """Deliver, commit and collect a run."""
        outcome = deliver(self.store, run, files=files, kind=kind, given=given)
        if kind == "cancelled":
            ledger.note_cancelled(self.store.campaign("one"), "")
        results.commit(self.store, [outcome])
        assert results.record(self.store.campaign("one"), run) == outcome
        self.collector.collect(outcome)
        return outcome

    def files(self) -> dict[str, bytes]:
        """Return all files of the project, apart from logs."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.suffix != ".log"
        }


def has_room_elsewhere(folder: Path) -> bool:
    return SHARED_MEMORY.is_dir() and SHARED_MEMORY.stat().st_dev != folder.stat().st_dev


@pytest.fixture(params=["same file system", "another file system"])
def home(request: pytest.FixtureRequest, store: LabPaths, tmp_path: Path) -> Iterator[Home]:
    """Return a home on the store's file system, where files are renamed, and on another, where they are copied."""
    if request.param == "same file system":
        yield Home(store, tmp_path / "home" / "anna" / "project")
    else:
        yield from home_elsewhere(store)


@pytest.fixture
def home_on_another_disk(store: LabPaths) -> Iterator[Home]:
    yield from home_elsewhere(store)


def home_elsewhere(store: LabPaths) -> Iterator[Home]:
    if not has_room_elsewhere(store.home):
        pytest.skip(f"{SHARED_MEMORY} is no file system of its own")
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        yield Home(store, Path(folder) / "home" / "anna" / "project")


def test_files_land_where_a_local_run_would_have_left_them(home: Home) -> None:
    # Given a run that left files in results, elsewhere in the project, and beside it
    files = {**SCALARS, "sims/x.txt": b"x", "../beside.txt": b"beside"}
    # When it is collected
    outcome = home.collect(0, files)
    # Then each is at its path, with its modification time to the nanosecond, and the log is kept
    assert home.files() == {name: data for name, data in files.items() if not name.startswith("..")}
    assert (home.root.parent / "beside.txt").read_bytes() == b"beside"
    for file in outcome.files:
        assert (home.root / file.path).stat().st_mtime_ns == file.mtime_ns
    assert home.paths.log(0).read_bytes() == LOG


def test_the_way_home_is_told(home: Home, store: LabPaths) -> None:
    # Given a run of which the project has a file itself
    outcome = deliver(store, 0, files={"x.sca": b"x", "table.csv": b"new"}, given=("table.csv",))
    results.commit(store, [outcome])
    # When it is collected, then it is told where each file is now
    assert home.collector.collect(outcome) == {
        "x.sca": "x.sca",
        "table.csv": "results/labfleet/one/same-name/run-0/table.csv",
    }


def test_files_of_earlier_campaigns_are_replaced_and_others_left_alone(home: Home) -> None:
    # Given a results folder with a file of the same name and others
    (home.root / "results").mkdir()
    (home.root / "results/Foo-#0.sca").write_bytes(b"old")
    (home.root / "results/Foo-#1.sca").write_bytes(b"another run's")
    (home.root / "results/notes.txt").write_bytes(b"the person's")
    # When a run is collected
    home.collect(0)
    # Then its files are there, the others as they were, and nothing else
    assert home.files() == {
        **SCALARS,
        "results/Foo-#1.sca": b"another run's",
        "results/notes.txt": b"the person's",
    }


def test_a_file_that_does_not_arrive_as_it_was_sent_leaves_the_old_one(
    home_on_another_disk: Home, store: LabPaths
) -> None:
    # Given a result at home, and a newer one of which bytes changed on the way
    home = home_on_another_disk
    home.collect(0)
    newer = deliver(store, 1, files={"results/Foo-#0.sca": b"newer", "results/z.sca": b"z"})
    results.commit(store, [newer])
    AttemptPaths(store.campaign("one").committed(1, 1, done=True)).file("results/Foo-#0.sca").write_bytes(b"never")
    # When it is collected by the next campaign's client, then that is said
    collector = Collector(store.campaign("one"), home.paths, home.root)
    with pytest.raises(LabFailed, match="did not arrive as it was sent"):
        collector.collect(newer)
    # And the old file is complete, with nothing half beside it; the only copy that there is stays in the store
    assert home.files() == dict(SCALARS)
    assert AttemptPaths(store.campaign("one").committed(1, 1, done=True)).file("results/Foo-#0.sca").exists()


def test_whenever_the_client_dies_each_file_is_the_old_or_the_new_one(home: Home, store: LabPaths) -> None:
    for step in range(100):
        # Given a results folder from an earlier campaign, and new results
        for name in SCALARS:
            (home.root / name).parent.mkdir(exist_ok=True)
            (home.root / name).write_bytes(b"old")
        outcome = deliver(store, step)
        results.commit(store, [outcome])
        # When the client dies before this step of the way home, whichever it is
        survived = True
        with pytest.MonkeyPatch.context() as monkeypatch:
            Disk(monkeypatch, dies_before=step)
            try:
                Collector(store.campaign("one"), home.paths, home.root).collect(outcome)
            except Crash:
                survived = False
        stored = AttemptPaths(store.campaign("one").committed(step, 1, done=True))
        for file in outcome.files:
            # Then under each name there is the old file or the new one, complete with its modification time,
            found = home.root / file.path
            assert found.read_bytes() in (b"old", SCALARS[file.path])
            assert found.read_bytes() == b"old" or found.stat().st_mtime_ns == file.mtime_ns
            # and nothing is lost: what is not at home is in the store
            assert found.read_bytes() != b"old" or stored.file(file.path).read_bytes() == SCALARS[file.path]
        if survived:
            return
    pytest.fail("the collection never comes to its end")


@pytest.mark.parametrize("kind", ["error", "crash", "cancelled"])
def test_files_of_a_failed_run_never_pass_for_results(home: Home, kind: Kind) -> None:
    # Given a result of an earlier campaign, and a run that failed and left files that look complete
    (home.root / "results").mkdir()
    (home.root / "results/Foo-#0.sca").write_bytes(b"good")
    # When it is collected
    home.collect(0, kind=kind)
    # Then its files are apart, and called what they are; the good one is as it was
    failed = f"results/labfleet/one/failed/run-0-{kind}/results"
    assert home.files() == {
        "results/Foo-#0.sca": b"good",
        f"{failed}/Foo-#0.sca.partial": SCALARS["results/Foo-#0.sca"],
        f"{failed}/Foo-#0.vec.partial": SCALARS["results/Foo-#0.vec"],
    }
    assert home.paths.log(0).exists()
    # … and that there is one is known
    assert home.collector.outdated == {0}


def test_a_lost_run_brings_nothing(home: Home, store: LabPaths) -> None:
    # Given a run that was given up, when it is collected, then there is nothing to bring, and no error
    lost = msgspec.structs.replace(deliver(store, 0), kind="lost", files=(), log_size=0)
    results.give_up(store.campaign("one"), lost)
    assert home.collector.collect(lost) == {}
    assert home.files() == {}


def test_two_runs_that_write_the_same_path_are_both_kept_with_a_warning(home: Home) -> None:
    # Given three runs that all write log.txt
    for run in range(3):
        home.collect(run, {"log.txt": f"of run {run}".encode(), f"results/Foo-#{run}.sca": b"own"})
    # Then each one's is kept under its run, the first one's also where it belongs
    kept = {name: data for name, data in home.files().items() if name.endswith("log.txt")}
    apart = "results/labfleet/one/same-name"
    assert kept == {
        "log.txt": b"of run 0",
        f"{apart}/run-0/log.txt": b"of run 0",
        f"{apart}/run-1/log.txt": b"of run 1",
        f"{apart}/run-2/log.txt": b"of run 2",
    }
    # And the person is told, once per pair
    assert [warning for warning in home.collector.warnings if "log.txt" in warning] == [
        "runs 0 and 1 both wrote log.txt: each one's is kept under its run",
        "runs 0 and 2 both wrote log.txt: each one's is kept under its run",
    ]


@pytest.mark.parametrize("before", [None, b"of an earlier campaign"])
def test_no_result_is_lost_where_a_client_was_killed_before_it_moved_the_first_of_two(
    home: Home, store: LabPaths, before: bytes | None
) -> None:
    # Given two runs that both write log.txt, and a client that was killed when it had chosen the place of run 3
    outcomes = {run: deliver(store, run, files={"log.txt": f"of run {run}".encode()}) for run in (3, 7)}
    results.commit(store, list(outcomes.values()))
    if before is not None:
        (home.root / "log.txt").write_bytes(before)
    places = {3: home.collector.plan(outcomes[3])}

    # When the next client sees run 7 first
    collector = Collector(store.campaign("one"), home.paths, home.root)
    collector.remember(3, places[3])
    collector.collect(outcomes[7])
    collector.bring(outcomes[3], places[3], again=True)

    # Then each run's file is there under its run, and where it was to go is that of run 3
    apart = "results/labfleet/one/same-name"
    assert home.files() == {
        "log.txt": b"of run 3",
        f"{apart}/run-3/log.txt": b"of run 3",
        f"{apart}/run-7/log.txt": b"of run 7",
    }


def test_what_the_person_has_changed_is_not_kept_as_a_run_s(home: Home, store: LabPaths) -> None:
    # Given a run whose file is at home, and was edited there
    first = home.collect(3, {"log.txt": b"of run 3"})
    (home.root / "log.txt").write_bytes(b"edited")

    # When another client brings a run that wrote the same path
    other = deliver(store, 7, files={"log.txt": b"of run 7"})
    results.commit(store, [other])
    collector = Collector(store.campaign("one"), home.paths, home.root)
    collector.remember(3, {"log.txt": "log.txt"})
    collector.arrived(first, {"log.txt": "log.txt"})
    collector.collect(other)

    # Then both are left alone
    assert home.files() == {
        "log.txt": b"edited",
        "results/labfleet/one/same-name/run-7/log.txt": b"of run 7",
    }


def test_files_of_the_same_name_are_kept_where_results_are_on_another_disk(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a results folder that is a link to another disk: nothing in the project can have a second name there
    link = os.link

    def refusing(source: Path, target: Path) -> None:
        if target.is_relative_to(home.paths.results):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(target))
        link(source, target)

    monkeypatch.setattr(os, "link", refusing)
    # When two runs that write the same path are collected, then each one's is kept
    for run in (0, 1):
        home.collect(run, {"log.txt": f"of run {run}".encode()})
    kept = home.paths.own(0, "log.txt")
    assert kept.read_bytes() == b"of run 0"
    assert kept.stat().st_mtime_ns == (home.root / "log.txt").stat().st_mtime_ns


def test_a_file_of_the_project_that_a_run_changed_is_kept_apart(home: Home) -> None:
    # Given a project with a file, and a run that changed its own copy of it
    (home.root / "table.csv").write_bytes(b"the person's")
    # When the run is collected
    home.collect(3, {"table.csv": b"the run's"}, given=("table.csv",))
    # Then the person's file is as it was, the run's is kept apart, and the person is told
    assert home.files() == {
        "table.csv": b"the person's",
        "results/labfleet/one/same-name/run-3/table.csv": b"the run's",
    }
    (warning,) = home.collector.warnings
    assert "run 3" in warning
    assert "table.csv" in warning


def test_warnings_do_not_flood(home: Home) -> None:
    # Given 25 runs that all write the same path, when they are collected, then 20 warnings are enough
    for run in range(25):
        home.collect(run, {"log.txt": b"x"})
    assert len(home.collector.warnings) == 20


@pytest.mark.parametrize("kind", ["done", "error"])
@pytest.mark.parametrize("name", ["x" * 255, "x" * 251 + ".sca", "ü" * 127], ids=["255", "251.sca", "254 bytes"])
def test_a_name_may_be_as_long_as_the_disk_allows(home: Home, name: str, kind: Kind) -> None:
    # Given a run that left a file whose name has as many bytes as a name can have
    # When it is collected, then its content is at home
    home.collect(0, {name: b"content"}, kind=kind)
    assert b"content" in home.files().values()


@pytest.mark.parametrize("path", ["/{tmp}/elsewhere", "../../elsewhere", "x/../../../elsewhere"])
def test_a_worker_cannot_write_elsewhere_in_the_person_s_home(
    home: Home, store: LabPaths, tmp_path: Path, path: str
) -> None:
    # Given an outcome with a path that no private directory could have led to
    path = path.format(tmp=str(tmp_path).lstrip("/"))
    honest = deliver(store, 0, files={})
    results.commit(store, [honest])
    stored = AttemptPaths(store.campaign("one").committed(0, 1, done=True))
    stored.file(path).parent.mkdir(parents=True, exist_ok=True)
    stored.file(path).write_bytes(b"bad")
    outcome = msgspec.structs.replace(honest, files=(File(path, 3, 1, digest(b"bad")),))
    # When it is collected, then it is refused
    with pytest.raises((LabfleetError, ValueError)):
        home.collector.collect(outcome)


# ---- results folder and manifest ---------------------------------------------------------------------------------


PREPARED = Prepared(
    key="k3y",
    built=True,
    program=("./aloha_dbg",),
    toolchain="g++ 12.2.0",
    runs=tuple(Run(number, {"n": str(number), "repetition": "0"}) for number in range(3)),
)


def test_the_manifest_says_where_each_result_came_from(home: Home) -> None:
    # Given a campaign of three runs: one done, one failed, one that was not begun before the campaign was cancelled
    done = msgspec.structs.replace(home.collect(0), key="k0y")
    failed = home.collect(1, kind="error")
    places = {0: {name: name for name in SCALARS}}
    # When its manifest is made
    text = manifest.text_of(campaign(), PREPARED, {0: done, 1: failed}, places, ["careful"])
    # Then it says what was run, from which sources, how it was built,
    found = json.loads(text)
    assert {
        key: found[key] for key in ("campaign", "project", "config", "run_filter", "mode", "user", "submitted")
    } == {
        "campaign": "one",
        "project": "aloha",
        "config": "Foo",
        "run_filter": "$n>1",
        "mode": "debug",
        "user": "anna",
        "submitted": 1_700_000_000.5,
    }
    assert found["snapshot"] == {"commit": "c0ffee", "tree": "7ree"}
    assert found["build"] == {
        "key": "k3y",
        "built": PREPARED.built,
        "commands": [["make", "MODE=debug"]],
        "toolchain": "g++ 12.2.0",
        "features": {"enable": [], "disable": []},
    }
    assert found["program"] == ["./aloha_dbg"]
    assert found["working_directory"] == "sims"
    assert found["warnings"] == ["careful"]
    # what became of each run and where,
    assert [(run["run"], run["kind"]) for run in found["runs"]] == [(0, "done"), (1, "error"), (2, "not run")]
    assert [run["variables"]["n"] for run in found["runs"]] == ["0", "1", "2"]
    first, second, _ = found["runs"]
    assert (first["host"], first["slot"], first["attempt"], first["seed_set"]) == ("red", "slot1", 1, "5")
    assert first["build"] == "k0y"
    assert (first["started"], first["ended"]) == (1000.0, 1001.5)
    assert (second["exit_status"], second["error"]) == (1, "no route")
    # and each file with its checksum
    assert first["files"] == [
        {"path": name, "size": len(data), "sha256": digest(data)} for name, data in SCALARS.items()
    ]
    # And the person's environment is in none of it
    assert "SOMETHING" not in text


def test_the_manifest_has_every_attempt_the_limits_and_the_reason(home: Home) -> None:
    # Given a run that was done by its third attempt, one that was only ever lost, and a campaign that was cancelled
    done = msgspec.structs.replace(home.collect(0), attempt=3)
    past = [
        Past(0, 2, "crash", "blue", "slot2", 20.0, 30.0, "SIGSEGV"),
        Past(0, 1, "lost", "red", "slot1", 1.0, 9.0, "nothing heard for 8 s"),
        Past(1, 1, "lost", "red", "slot1", 1.0, 9.0),
    ]
    limited = msgspec.structs.replace(campaign(), limits=Limits(timeout=60.0, retries=2))
    # When its manifest is made
    end = CampaignEnded("one", cancelled=True, reason="too many failed", time=40.0)
    found = json.loads(manifest.text_of(limited, PREPARED, {0: done}, {}, [], past, end))
    # Then each run has its attempts in order, the one that counts last,
    first, second, third = (run["attempts"] for run in found["runs"])
    assert [(attempt["attempt"], attempt["kind"]) for attempt in first] == [(1, "lost"), (2, "crash"), (3, "done")]
    assert first[0] == {
        "attempt": 1,
        "kind": "lost",
        "host": "red",
        "slot": "slot1",
        "started": 1.0,
        "ended": 9.0,
        "error": "nothing heard for 8 s",
    }
    assert [attempt["kind"] for attempt in second] == ["lost"]
    assert third == []
    # and it says what runs were allowed to take, that it was cancelled, when, and why
    assert found["limits"]["timeout"] == 60.0
    assert found["limits"]["retries"] == 2
    assert (found["state"], found["reason"], found["ended"]) == ("cancelled", "too many failed", 40.0)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the client of a test a home of its own."""
    monkeypatch.setenv("LABFLEET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.usefixtures("own_home")
def test_the_manifest_of_the_campaign_that_ended_last_lies_beside_the_results(tmp_path: Path) -> None:
    # Given two campaigns, one after the other, when their manifests are written
    results = tmp_path / "results"
    for name, ended in (("first", 1.0), ("second", 2.0)):
        assert manifest.write(HomePaths(results, name), json.dumps({"ended": ended})) == results / "campaign.json"
    # Then both are kept, and beside the results is the latest
    assert json.loads((results / "campaign.json").read_text()) == {"ended": 2.0}
    # … also when somebody comes back to the first one
    first = HomePaths(results, "first")
    assert manifest.write(first, json.dumps({"ended": 1.0})) == first.manifest
    assert json.loads((results / "campaign.json").read_text()) == {"ended": 2.0}
    # … but not when that one was resumed, and if the whole folder moves
    manifest.write(first, json.dumps({"ended": 3.0}))
    results.rename(tmp_path / "elsewhere")
    assert json.loads((tmp_path / "elsewhere/campaign.json").read_text()) == {"ended": 3.0}


def test_campaigns_that_end_at_the_same_time_leave_the_manifest_of_the_last(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two campaigns of one project; whoever links a manifest waits for another one that does so, too
    link, both = Path.symlink_to, threading.Barrier(2)

    def linked_together(place: Path, target: str) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(TOGETHER)
        link(place, target)

    monkeypatch.setattr(Path, "symlink_to", linked_together)
    ends = {"later": 2.0, "earlier": 1.0}
    # When their clients write the manifests at once
    with ThreadPoolExecutor(2) as pool:
        homes = [HomePaths(tmp_path / "results", name) for name in ends]
        list(pool.map(manifest.write, homes, [json.dumps({"ended": ended}) for ended in ends.values()]))
    # Then beside the results is that of the one that ended last, and nothing is left of their turns
    assert json.loads((tmp_path / "results" / "campaign.json").read_text()) == {"ended": 2.0}
    assert list(own_home.iterdir()) == []
