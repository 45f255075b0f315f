"""The result store: when a run counts as finished, and how its files come home."""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runner import ledger, results
from runner.model import Build, Campaign, File, Kind, Launch, Limits, Outcome, decode, encode
from runner.paths import AttemptPaths, CampaignPaths, LabPaths, attempt_parcel

Contents = Mapping[str, bytes]

SCALARS: Contents = {
    "results/Foo-#0.sca": b"version 3\nattr seedset 5\nscalar x y 1\n",
    "results/Foo-#0.vec": bytes(1000),
}
LOG = b"** Event #1\n"


def records(store: CampaignPaths) -> dict[int, Outcome]:
    """Return the outcomes of all runs that have a record."""
    numbers = [int(path.stem) for path in store.records.glob("[0-9]*.json")]
    found = {number: results.record(store, number) for number in numbers}
    return {number: outcome for number, outcome in found.items() if outcome}


@pytest.fixture
def store(tmp_path: Path) -> LabPaths:
    """Return a head's result store with two campaigns."""
    lab = LabPaths(tmp_path / "lab")
    take_on(lab)
    return lab


def take_on(lab: LabPaths, retries: int = 0) -> None:
    """Let a head have two campaigns, the runs of which may be begun again so often."""
    for name in ("one", "two"):
        limits = Limits(retries=retries)
        ledger.accept(lab.campaign(name), msgspec.structs.replace(campaign(), id=name, limits=limits))


def parcel_name(campaign: str, run: int, attempt: int) -> str:
    """Return the name of a parcel, as a slot would choose one."""
    return attempt_parcel(campaign, run, attempt, "7f3a")


def changed(run: int) -> int:
    """Return when a run changed its files, to the nanosecond."""
    return 1_600_000_000_123_456_789 + run


def deliver(
    store: LabPaths,
    run: int,
    attempt: int = 1,
    files: Contents = SCALARS,
    *,
    campaign: str = "one",
    kind: Kind = "done",
    given: tuple[str, ...] = (),
    key: str = "k3y",
) -> Outcome:
    """Put an attempt into the incoming folder as the uploader does, and return its outcome."""
    incoming = AttemptPaths(store.campaign(campaign).parcel(parcel_name(campaign, run, attempt)))
    incoming.files.mkdir(parents=True)
    for path, data in files.items():
        incoming.file(path).parent.mkdir(parents=True, exist_ok=True)
        incoming.file(path).write_bytes(data)
        os.utime(incoming.file(path), ns=(changed(run), changed(run)))
    incoming.log.write_bytes(LOG)
    outcome = Outcome(
        campaign=campaign,
        run=run,
        attempt=attempt,
        kind=kind,
        exit_status=0 if kind == "done" else 1,
        host="red",
        slot="slot1",
        parcel=parcel_name(campaign, run, attempt),
        started=1000.0,
        ended=1001.5,
        error="" if kind == "done" else "no route",
        files=tuple(File(path, len(data), changed(run), given=path in given) for path, data in files.items()),
        log_size=len(LOG),
        key=key,
    )
    incoming.outcome.write_bytes(encode(outcome))
    return results.sealed(incoming)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def assert_recorded_runs_are_complete(store: LabPaths) -> int:
    """Check THE promise of the result store for every record that is there; return how many there are."""
    found = 0
    for record in store.home.glob("campaigns/*/records/[!.]*"):
        outcome: Outcome = decode(record.read_bytes(), Outcome)
        assert record == store.campaign(outcome.campaign).record(outcome.run)
        found += 1
        if outcome.kind == "lost":
            continue
        place = store.campaign(outcome.campaign).committed(outcome.run, outcome.attempt, outcome.kind == "done")
        attempt = AttemptPaths(place)
        assert attempt.log.stat().st_size == outcome.log_size
        for file in outcome.files:
            assert digest(attempt.file(file.path).read_bytes()) == file.sha256
    return found


# ---- what is sent ------------------------------------------------------------------------------------------------


def test_a_sealed_attempt_has_checksums_and_its_seed_set(store: LabPaths) -> None:
    # Given an attempt with a scalar file, when it is sealed
    outcome = deliver(store, 0)
    # Then each file has its checksum, the seed set is the one that the file records, and both are on the disk
    assert [file.sha256 for file in outcome.files] == [digest(data) for data in SCALARS.values()]
    assert outcome.seed_set == "5"
    attempt = AttemptPaths(store.campaign("one").parcel(parcel_name("one", 0, 1)))
    assert decode(attempt.outcome.read_bytes(), Outcome) == outcome


def test_a_run_without_a_scalar_file_has_no_seed_set(store: LabPaths) -> None:
    # Given a run that left no .sca, when it is sealed, then it has no seed set
    assert deliver(store, 0, files={"x.txt": b"attr seedset 5\n"}).seed_set == ""


# ---- the commit --------------------------------------------------------------------------------------------------


def test_a_complete_delivery_becomes_the_run_s_result(store: LabPaths) -> None:
    # Given complete deliveries of several campaigns, of good and failed runs, also without files
    delivered = [
        deliver(store, 0),
        deliver(store, 1, kind="error"),
        deliver(store, 2, files={}),
        deliver(store, 0, campaign="two", files={"../x.sca": b"beside the project"}),
    ]
    # When they are committed, then all count
    results.commit(store, delivered)
    assert [results.fate(store, outcome) for outcome in delivered] == delivered
    # And their files are complete, failed runs' apart, and there is a record of each
    assert assert_recorded_runs_are_complete(store) == 4
    assert (store.campaign("one").root / "failed" / "1.1").is_dir()
    assert records(store.campaign("one")) == {outcome.run: outcome for outcome in delivered[:3]}
    assert not list(store.home.glob("campaigns/*/incoming/*"))


def spoil_file(attempt: AttemptPaths) -> None:
    truncate(attempt.file("results/Foo-#0.vec"))


def lengthen_file(attempt: AttemptPaths) -> None:
    with attempt.file("results/Foo-#0.vec").open("ab") as file:
        file.write(b"more")


def lose_file(attempt: AttemptPaths) -> None:
    attempt.file("results/Foo-#0.vec").unlink()


def make_file_a_folder(attempt: AttemptPaths) -> None:
    lose_file(attempt)
    attempt.file("results/Foo-#0.vec").mkdir()


def spoil_log(attempt: AttemptPaths) -> None:
    truncate(attempt.log)


def lose_log(attempt: AttemptPaths) -> None:
    attempt.log.unlink()


def lose_everything(attempt: AttemptPaths) -> None:
    shutil.rmtree(attempt.root)


@pytest.mark.parametrize(
    "damage", [spoil_file, lengthen_file, lose_file, make_file_a_folder, spoil_log, lose_log, lose_everything]
)
def test_a_delivery_that_is_not_complete_is_no_result(store: LabPaths, damage: Callable[[AttemptPaths], None]) -> None:
    # Given a delivery of which something is missing, between two that are complete
    delivered = [deliver(store, run) for run in range(3)]
    damage(AttemptPaths(store.campaign("one").parcel(parcel_name("one", 1, 1))))
    # When they are committed together
    results.commit(store, delivered)
    # Then it does not count, has no record, and is thrown away; the others are not affected
    assert [results.fate(store, outcome) for outcome in delivered] == [delivered[0], None, delivered[2]]
    assert sorted(records(store.campaign("one"))) == [0, 2]
    assert assert_recorded_runs_are_complete(store) == 2
    assert not store.campaign("one").parcel(parcel_name("one", 1, 1)).exists()
    # And a later attempt at the run can become its result
    again = deliver(store, 1, 2)
    results.commit(store, [again])
    assert results.fate(store, again) == again


@pytest.mark.parametrize("together", [True, False])
def test_the_first_commit_of_a_run_wins(store: LabPaths, together: bool) -> None:
    # Given two complete attempts at the same run, one of them a zombie's
    first, second = deliver(store, 0, 1), deliver(store, 0, 2, {"results/Foo-#0.sca": b"other"})
    # When they are committed, in one batch or one after the other
    batches = [[first, second]] if together else [[first], [second]]
    for batch in batches:
        results.commit(store, batch)
    # Then the first counts, whoever asks, and the other's files are thrown away
    assert results.fate(store, first) == results.fate(store, second) == first
    assert records(store.campaign("one")) == {0: first}
    assert assert_recorded_runs_are_complete(store) == 1
    assert not store.campaign("one").parcel(parcel_name("one", 0, 2)).exists()
    assert not store.campaign("one").committed(0, 2, done=True).exists()


def test_a_complete_attempt_counts_where_an_earlier_one_did_not_arrive_complete(store: LabPaths) -> None:
    # Given two attempts at a run in one batch, the first of which is damaged
    first, second = deliver(store, 0, 1), deliver(store, 0, 2)
    spoil_file(AttemptPaths(store.campaign("one").parcel(parcel_name("one", 0, 1))))
    # When they are committed, then the second is the result
    results.commit(store, [first, second])
    assert results.fate(store, first) == second


@pytest.mark.parametrize("together", [True, False])
def test_a_delivery_that_is_announced_twice_counts_once(store: LabPaths, together: bool) -> None:
    # Given a delivery whose event came twice (a connection to Redis broke while it was posted), and another run
    twice, other = deliver(store, 0), deliver(store, 1)
    # When it is committed, in one batch or again later
    batches = [[twice, twice, other]] if together else [[twice, other], [twice]]
    for batch in batches:
        results.commit(store, batch)
    # Then both runs count once, and their files are there
    assert records(store.campaign("one")) == {0: twice, 1: other}
    assert assert_recorded_runs_are_complete(store) == 2


def test_a_run_that_is_given_up_has_a_record_without_files(store: LabPaths) -> None:
    # Given a run that was begun too often, when it is given up
    lost = msgspec.structs.replace(deliver(store, 0), kind="lost", files=(), log_size=0)
    assert results.give_up(store.campaign("one"), lost)
    # Then that is its record, and a zombie's delivery does not change it
    zombie = deliver(store, 0, 4)
    results.commit(store, [zombie])
    assert results.fate(store, zombie) == lost
    assert records(store.campaign("one")) == {0: lost}


def test_a_run_that_is_done_cannot_be_given_up(store: LabPaths) -> None:
    # Given a run whose last attempt was committed while its slot died
    done = deliver(store, 0, 3)
    results.commit(store, [done])
    # When the foreman hears of the slot first, and gives the run up
    assert not results.give_up(store.campaign("one"), msgspec.structs.replace(done, kind="lost", files=()))
    # Then the first record stands
    assert records(store.campaign("one")) == {0: done}


# ---- crashes -----------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The head's process dies right here."""


class Disk:
    """Watches every step that changes the disk, and lets the process die before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, dies_before: int = -1) -> None:
        self.steps: list[tuple[str, str]] = []
        self._dies_before = dies_before
        for name in ("rename", "replace", "link", "fsync", "mkdir", "unlink", "utime"):
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))
        monkeypatch.setattr(Path, "write_bytes", self._watched("write", Path.write_bytes))

    def _watched(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            what = arguments[-1] if name in {"rename", "replace", "link"} else arguments[0]
            path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
            if len(self.steps) == self._dies_before:
                raise Crash
            self.steps.append((name, path))
            if name == "fsync" and self._dies_before >= 0:
                return None  # a process that dies leaves the disk's cache as it is; this saves the tests seconds
            return step(*arguments, **options)

        return watched

    def index(self, name: str, path: Path) -> int:
        """Return when a step was done; fails if it was not."""
        return self.steps.index((name, str(path)))


def batch(store: LabPaths) -> list[Outcome]:
    return [deliver(store, 0), deliver(store, 1, kind="error"), deliver(store, 0, campaign="two")]


def committed_until_a_crash(store: LabPaths, delivered: list[Outcome], step: int) -> bool:
    """Commit a batch and die before a step; return True if there was no such step any more."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        Disk(monkeypatch, dies_before=step)
        try:
            results.commit(store, delivered)
        except Crash:
            return False
    return True


def test_whenever_the_process_dies_there_is_no_record_without_complete_files(tmp_path: Path) -> None:
    records_left = set()
    for step in range(1000):
        # Given a batch of deliveries of two campaigns
        lab = LabPaths(tmp_path / str(step))
        take_on(lab)
        # When the process dies before this step of the commit, whichever it is
        survived = committed_until_a_crash(lab, batch(lab), step)
        # Then every record that is there is complete, and so are its files
        records_left.add(assert_recorded_runs_are_complete(lab))
        if survived:
            break
    # And all steps were tried: from one after which nothing is recorded to the one after which everything is
    assert records_left == {0, 1, 2, 3}


@pytest.mark.parametrize("number", [1, 2])
def test_after_a_crash_the_runs_can_be_delivered_again(tmp_path: Path, number: int) -> None:
    for step in range(1000):
        # Given a process that died while it committed
        lab = LabPaths(tmp_path / str(step))
        take_on(lab)
        survived = committed_until_a_crash(lab, batch(lab), step)
        # When the runs are delivered again, as the same attempt or as the next
        again = []
        for name, run in (("one", 0), ("one", 1), ("two", 0)):
            shutil.rmtree(lab.campaign(name).parcel(parcel_name(name, run, number)), ignore_errors=True)
            again.append(deliver(lab, run, number, campaign=name))
        assert committed_until_a_crash(lab, again, step=10_000)
        # Then each has one record with complete files
        assert assert_recorded_runs_are_complete(lab) == 3
        if survived:
            return
    pytest.fail("the commit never comes to its end")


def test_a_power_failure_finds_the_files_on_the_disk_before_the_record(
    store: LabPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a batch of deliveries
    delivered = batch(store)
    disk = Disk(monkeypatch)
    # When it is committed
    results.commit(store, delivered)
    for outcome in delivered:
        paths = store.campaign(outcome.campaign)
        incoming = AttemptPaths(paths.parcel(outcome.parcel))
        place = paths.committed(outcome.run, outcome.attempt, outcome.kind == "done")
        record = paths.record(outcome.run)
        # Then each file is on the disk before the folder is renamed,
        renamed = disk.index("rename", place)
        for path in (incoming.log, incoming.outcome, *(incoming.file(file.path) for file in outcome.files)):
            assert disk.index("fsync", path) < renamed
        # the folder's new name before the record appears, and the record's content before its name
        recorded = disk.index("link", record)
        assert renamed < disk.index("fsync", place.parent) < recorded
        assert disk.index("fsync", record.with_name(f".{record.name}.new")) < recorded
        # and the record's name before anybody is told
        assert recorded < disk.index("fsync", record.parent)


def campaign() -> Campaign:
    return Campaign(
        id="one",
        protocol=1,
        project="aloha-1f3a9c04",
        name="aloha",
        commit="c0ffee",
        tree="7ree",
        sources="50ce5",
        directory="sims",
        config="Foo",
        run_filter="$n>1",
        mode="debug",
        build=Build(commands=(("make", "MODE=debug"),)),
        launch=Launch(),
        environment={"SOMETHING": "of the person's"},
        submitted=1_700_000_000.5,
        user="anna",
    )


def test_records_that_are_half_written_are_no_records(store: LabPaths) -> None:
    # Given a record, and the half of another that a crash left
    paths: CampaignPaths = store.campaign("one")
    outcome = deliver(store, 0)
    results.commit(store, [outcome])
    (paths.records / ".1.json.new").write_bytes(b'{"camp')
    # When the records are read, together or one by one, then there is the complete one
    assert records(paths) == {0: outcome}
    assert results.record(paths, 0) == outcome
    assert results.record(paths, 1) is None
