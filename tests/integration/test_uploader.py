"""The uploader and the line to the lab: what is finished gets there, however long it takes, and is told in order."""

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from runner import results
from runner.head import SameMachine
from runner.job_queue import EVENTS, JobQueue, WorkerEnd, connect
from runner.line import Line
from runner.messages import (
    AnyEvent,
    ChunkStarted,
    DeliveryFailed,
    HostReport,
    HostUp,
    RunDelivered,
    RunProgressed,
    SlotDied,
)
from runner.model import Attempt, File, Outcome, decode, encode
from runner.paths import AttemptPaths, LabPaths
from runner.uploader import Uploader
from tests.conftest import eventually

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    connection = connect(redis_url)
    yield connection
    connection.close()


@pytest.fixture
def paths() -> Iterator[LabPaths]:
    with tempfile.TemporaryDirectory() as folder:
        paths = LabPaths(Path(folder))
        paths.sockets.mkdir(mode=0o700)
        yield paths
        for path in paths.sockets.iterdir():
            path.unlink()
        paths.sockets.rmdir()


def told(redis: Redis) -> list[AnyEvent]:
    entries: list[tuple[bytes, dict[bytes, bytes]]] = redis.xrange(EVENTS)  # type: ignore[assignment]
    return [decode(fields[b"event"], AnyEvent) for _, fields in entries]


class AwayHead(SameMachine):
    """A head that is away, or full, as long as ``reason`` says why."""

    reason = ""
    calls = 0

    def deliver(self, parcels: Iterable[Path]) -> None:
        self.calls += 1
        if self.reason:
            raise OSError(self.reason)
        super().deliver(parcels)


def spooled(paths: LabPaths, run: int, text: str = "scalar") -> AttemptPaths:
    """Put a finished attempt into the spool."""
    parcel = AttemptPaths(paths.spool / f"c1.{run}.1.abcd")
    parcel.files.mkdir(parents=True)
    parcel.log.write_text("log")
    parcel.file("x.sca").write_text(text)
    files = (File("x.sca", len(text), 0),)
    outcome = Outcome("c1", run, 1, "done", 0, "h", "s", 1.0, 2.0, files=files, log_size=3, parcel=parcel.root.name)
    parcel.outcome.write_bytes(encode(outcome))
    return parcel


@contextmanager
def started(paths: LabPaths, redis: Redis, head: AwayHead) -> Iterator[Uploader]:
    line = Line(WorkerEnd(redis))
    line.start()
    uploader = Uploader(paths, head, line)
    uploader.start()
    yield uploader
    uploader.stop()
    eventually(uploader.is_stopped, "the uploader's end")


def test_what_the_head_does_not_take_is_offered_until_it_does(paths: LabPaths, redis: Redis) -> None:
    # Given a head whose disk is full, and many finished attempts
    head = AwayHead(paths)
    head.reason = "No space left on device"
    for run in range(300):
        spooled(paths, run)
    # When they are to be delivered, then none is given up, the reason is told, and the head is not asked for each
    with started(paths, redis, head) as uploader:
        eventually(lambda: uploader.trouble, "the trouble")
        assert uploader.trouble == "results cannot be delivered to the head: No space left on device"
        assert head.calls < 20
        assert len(uploader.waiting()) == 300
        # And when the head is well again, then all are delivered, each once, and nothing is told any more
        head.reason = ""
        eventually(lambda: len(told(redis)) == 300, "all deliveries")
        delivered = [event.outcome for event in told(redis) if isinstance(event, RunDelivered)]
        assert {outcome.run for outcome in delivered} == set(range(300))
        assert all(file.sha256 for outcome in delivered for file in outcome.files)
        assert (uploader.trouble, uploader.waiting()) == ("", [])


def test_what_is_damaged_is_given_back_and_holds_up_nothing(paths: LabPaths, redis: Redis) -> None:
    # Given a spool with attempts whose files are cut short or gone, whose outcome is no outcome, and a good one
    spooled(paths, 0).file("x.sca").write_text("sca")
    spooled(paths, 1).file("x.sca").unlink()
    spooled(paths, 2).outcome.write_text('{"campaign": "c1", "run"')
    spooled(paths, 3).log.write_text("")
    spooled(paths, 4)
    # When they are to be delivered
    with started(paths, redis, AwayHead(paths)):
        eventually(lambda: len(told(redis)) == 5, "news of all")
    # Then the good one is, and the runs of the others are begun again
    events = told(redis)
    assert {event.attempt for event in events if isinstance(event, DeliveryFailed)} == {Attempt(n, 1) for n in range(4)}
    assert [event.outcome.run for event in events if isinstance(event, RunDelivered)] == [4]
    assert not list(paths.spool.iterdir())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENAMETOOLONG])
def test_what_never_can_be_read_is_given_back(
    paths: LabPaths, redis: Redis, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    # Given an attempt with a file that may not be read, or whose name is too long, whoever asks and however often
    def sealed(attempt: AttemptPaths) -> Outcome:
        raise OSError(number, os.strerror(number), str(attempt.log))

    monkeypatch.setattr(results, "sealed", sealed)
    spooled(paths, 0)
    # When it is to be delivered, then its run is begun again, and the spool is empty
    with started(paths, redis, AwayHead(paths)):
        eventually(lambda: told(redis), "the news")
    assert told(redis) == [DeliveryFailed("c1", Attempt(0, 1))]
    assert not list(paths.spool.iterdir())


def test_a_record_of_checksums_is_made_once_and_never_half(paths: LabPaths) -> None:
    # Given a finished attempt that was sealed, and could not be delivered
    parcel = spooled(paths, 0, "attr seedset 7\n")
    first = results.sealed(parcel)
    assert first.seed_set == "7"
    # When it is sealed again, then nothing is read again
    parcel.file("x.sca").write_text("attr seedset 8\n")
    assert results.sealed(parcel) == first
    # And when the disk takes no file, then the record is as it was
    other = spooled(paths, 1)
    before = other.outcome.read_bytes()
    os.mkdir(other.outcome.with_suffix(".new"))  # nothing can be written there
    with pytest.raises(OSError, match="directory"):
        results.sealed(other)
    assert other.outcome.read_bytes() == before


def test_a_seed_set_that_is_cut_off_is_none(paths: LabPaths) -> None:
    # Given a scalar file that ends in the middle of the line, when it is sealed, then it has no seed set
    assert results.sealed(spooled(paths, 0, "version 3\nattr seedset ")).seed_set == ""


class Refusing(WorkerEnd):
    """Refuses everything as long as it is told to, like a Redis whose disk is full."""

    refuses = True

    def post(self, event: object) -> None:
        if self.refuses:
            raise ConnectionError("MISCONF")
        super().post(event)  # type: ignore[arg-type]


def test_a_line_keeps_the_order_and_only_the_latest_report(redis: Redis) -> None:
    # Given a Redis that refuses what is posted
    lab = Refusing(redis)
    line = Line(lab)
    line.start()
    # When much is posted
    line.post(HostUp("h", 1))
    for number in range(50):
        line.post(HostReport("h", 1, load=float(number)))
        line.post(RunProgressed("c1", 0, float(number), None, None))
        line.post(ChunkStarted("c1", f"k{number}", "h", "slot1"))
    line.post(SlotDied("h", "slot1"))
    assert not line.is_empty()
    # Then, as soon as it takes it, all events come in order, and of reports and progress the last
    lab.refuses = False
    line.flush()
    kinds = [type(event).__name__ for event in told(redis)]
    chunks = [event.chunk for event in told(redis) if isinstance(event, ChunkStarted)]
    assert kinds[0] == "HostUp"
    assert kinds[-1] == "SlotDied"
    assert chunks == [f"k{number}" for number in range(50)]
    assert [event.load for event in told(redis) if isinstance(event, HostReport)] == [49.0]
    assert kinds.count("RunProgressed") == 1


def test_a_line_learns_that_a_chunk_is_unwanted(redis: Redis) -> None:
    # Given a line that asks for a chunk
    jobs, line = JobQueue(redis), Line(WorkerEnd(redis))
    line.start()
    line.watch("c1", "k1")
    # When another chunk is revoked, and this one, then it learns of its own
    jobs.revoke("k2")
    assert not line.is_unwanted(1.5)
    jobs.revoke("k1")
    assert line.is_unwanted(5)
    # And when the next chunk is watched, then that is wanted, until its campaign is cancelled
    line.watch("c1", "k3")
    assert not line.is_unwanted()
    jobs.mark_cancelled("c1")
    assert line.is_unwanted(5)
    # Both marks go by themselves
    assert 0 < redis.ttl("labfleet:revoked:k1") <= 7 * 86400
