"""Jobs, events and descriptions through a real Redis."""

import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis import Redis
from rq import Callback, Queue
from rq.serializers import JSONSerializer

from runner.job_queue import BUILD_QUEUE, EVENTS, JobQueue, WorkerEnd, connect, host_queue, worker_end
from runner.messages import AnyEvent, HostUp, SlotDied
from runner.model import PROTOCOL, Attempt, Build, Campaign, Chunk, Launch, Prepared, Run, decode
from tests.conftest import eventually, needs, running_redis

pytestmark = pytest.mark.timeout(60)  # a reader that misses an event waits for ever

ROOT = Path(__file__).resolve().parent.parent.parent

#: A worker with three handlers: one notes its argument, one fails, one notes its argument and waits for a file.
WORKER = """
import sys, threading
from pathlib import Path
from runner.job_queue import WorkerEnd, connect

redis = connect(sys.argv[1])

def note(argument):
    redis.rpush("done", argument)

def fail(argument):
    raise RuntimeError(argument)

def hold(argument):
    note(argument)
    while not Path("go").exists():
        threading.Event().wait(0.05)

WorkerEnd(redis).serve(sys.argv[2], {"simulate": note, "prepare": note, "fail": fail, "hold": hold})
"""

#: Leaves a mark as soon as it is imported, and another when a function of it is called.
EVIL = """
from pathlib import Path
Path(__file__).with_name("imported").touch()
def leave_a_mark(*arguments):
    Path(__file__).with_name("called").touch()
"""


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as redis:
        yield redis


@pytest.fixture
def jobs(redis: Redis) -> JobQueue:
    return JobQueue(redis)


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker of red's queue, with a module on its path that nobody may run anything of."""
    (tmp_path / "evil.py").write_text(EVIL)
    command = [sys.executable, "-c", WORKER, redis_url, host_queue("red")]
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as worker:
        yield worker
        worker.kill()


def done(redis: Redis) -> list[str]:
    """Return the arguments of the jobs that were done, in order."""
    found: list[bytes] = redis.lrange("done", 0, -1)  # type: ignore[assignment]
    return [argument.decode() for argument in found]


def raw_queue(redis: Redis, name: str = host_queue("red")) -> Queue:
    """Return a queue as somebody has it who knows RQ and can write to Redis."""
    return Queue(name, connection=redis, serializer=JSONSerializer)


def chunk(number: int, campaign: str = "c1", runs: int = 1) -> Chunk:
    attempts = tuple(Attempt(run, 1) for run in range(runs))
    return Chunk(f"{campaign}-{number}", campaign, attempts, shared=runs > 1)


def campaign(name: str) -> Campaign:
    return Campaign(
        id=name,
        protocol=PROTOCOL,
        project="aloha-1",
        name="größe",
        commit="c0",
        tree="t0",
        sources="s0",
        directory="sims",
        config="Foo",
        run_filter='$n>1 && $text=="a b"',
        mode="release",
        build=Build(commands=(("make", "-j2"), ("echo", "")), makefiles=("Makefile",)),
        launch=Launch(ini_files=("a.ini",), arguments=("--x=1",)),
        environment={"PATH": "/usr/bin", "ODD": "two\nlines\t\u2028"},
        submitted=1.5,
        user="anna",
        jobs=3,
    )


# ---- jobs --------------------------------------------------------------------------------------------------------


def test_chunks_are_done_in_order_as_they_were_queued(
    redis: Redis, jobs: JobQueue, worker: "subprocess.Popen[bytes]"
) -> None:
    # Given chunks, one of them large, and jobs of a handler that fails
    chunks = [chunk(number, runs=1000 if number == 2 else 1) for number in range(5)]
    for queued in chunks:
        jobs.put_chunk("red", queued)
        raw_queue(redis).enqueue_call("fail", args=("trouble",))
    # When a worker does its queue's jobs
    eventually(lambda: len(done(redis)) == len(chunks), "all chunks")
    # Then each chunk arrives as it was, in order, whatever happened in between
    assert [decode(argument, Chunk) for argument in done(redis)] == chunks
    assert worker.poll() is None


def test_a_chunk_may_go_ahead_of_what_waits(redis: Redis, jobs: JobQueue) -> None:
    # Given chunks that wait, when another one is to go ahead of them
    jobs.put_chunk("red", chunk(1))
    jobs.put_chunk("red", chunk(2))
    jobs.put_chunk("red", chunk(3), first=True)
    # Then it is the next
    assert [decode(job.args[0], Chunk) for job in raw_queue(redis).jobs] == [chunk(3), chunk(1), chunk(2)]


def test_a_host_s_worker_does_that_host_s_jobs_alone(redis: Redis, jobs: JobQueue, worker: object) -> None:
    # Given jobs for another host and for the builder, and one for this host after them
    jobs.put_chunk("blue", chunk(1))
    jobs.put_build("c1")
    jobs.put_chunk("red", chunk(2))
    # When red's worker has done what it finds
    eventually(lambda: done(redis), "a job")
    # Then that was red's, and the others wait
    assert [decode(argument, Chunk) for argument in done(redis)] == [chunk(2)]
    assert len(raw_queue(redis, host_queue("blue"))) == 1
    assert len(raw_queue(redis, BUILD_QUEUE)) == 1
    assert worker


@pytest.mark.parametrize(
    "name", ["os.system", "posix.system", "subprocess.getoutput", "builtins.exec", "evil.leave_a_mark"]
)
def test_a_worker_runs_listed_handlers_and_nothing_else(
    redis: Redis, jobs: JobQueue, worker: "subprocess.Popen[bytes]", tmp_path: Path, name: str
) -> None:
    # Given jobs of somebody who can write to the queue: a function by its name, as JSON and as RQ's default, pickle
    order = "open('called', 'w')" if name == "builtins.exec" else f"touch {tmp_path}/called"
    raw_queue(redis).enqueue_call(name, args=(order,), job_id="json")
    Queue(host_queue("red"), connection=redis).enqueue_call(name, args=(order,), job_id="pickle")
    # When the worker has come to what is behind them
    jobs.put_chunk("red", chunk(1))
    eventually(lambda: done(redis), "the honest job")
    # Then nothing of it was run, not even imported, and the worker is well
    assert not (tmp_path / "called").exists()
    assert not (tmp_path / "imported").exists()
    assert worker.poll() is None


@pytest.mark.parametrize("handler", ["simulate", "fail", "unknown"])
def test_a_worker_runs_no_callbacks(
    redis: Redis, jobs: JobQueue, worker: "subprocess.Popen[bytes]", tmp_path: Path, handler: str
) -> None:
    # Given a job that names functions to call when it succeeds, fails, or is stopped
    evil = Callback("evil.leave_a_mark")
    raw_queue(redis).enqueue_call(handler, args=("x",), on_success=evil, on_failure=evil, on_stopped=evil)
    # When the worker has come to what is behind it
    jobs.put_chunk("red", chunk(1))
    eventually(lambda: chunk(1).id in "".join(done(redis)), "the honest job")
    # Then none of them was called or imported
    assert not (tmp_path / "called").exists()
    assert not (tmp_path / "imported").exists()
    assert worker.poll() is None


class Bomb:
    """Pickled, it calls a function when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch called",)


def test_a_worker_survives_jobs_that_are_none(
    redis: Redis, jobs: JobQueue, worker: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    # Given jobs whose data is no JSON, or JSON of something else, or a trap for pickle, and one that is not there
    queue = raw_queue(redis)
    for number, data in enumerate([b"", b"\xff\xff", b"{}", b"[1, 2]", b"null", pickle.dumps(Bomb())]):
        job = queue.enqueue_call("simulate", args=("x",), at_front=True)
        redis.hset(job.key, "data", data)
        redis.hset(job.key, "description", f"{number}")
    redis.lpush(queue.key, "no-such-job")
    # When the worker has come to what is behind them
    jobs.put_chunk("red", chunk(1))
    eventually(lambda: chunk(1).id in "".join(done(redis)), "the honest job")
    # Then it is well, and the trap was not sprung
    assert worker.poll() is None
    assert not (tmp_path / "called").exists()


def test_a_worker_ends_when_it_is_told_to(redis: Redis, jobs: JobQueue, worker: "subprocess.Popen[bytes]") -> None:
    # Given a worker that waits for jobs, when it gets SIGTERM, then it ends, and takes no job with it
    jobs.put_chunk("red", chunk(1))
    eventually(lambda: done(redis), "the job")
    worker.send_signal(signal.SIGTERM)
    worker.wait(10)
    jobs.put_chunk("red", chunk(2))
    assert len(raw_queue(redis)) == 1


def test_workers_that_are_told_to_end_lose_no_job(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    # Given more jobs than workers can do, each of which takes no time
    queue, count = raw_queue(redis), 3000
    queue.enqueue_many([Queue.prepare_data("simulate", args=(str(number),)) for number in range(count)])
    command = [sys.executable, "-c", WORKER, redis_url, host_queue("red")]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    # When workers are told to end, one after the other, wherever they are between two jobs
    for _ in range(8):
        before = len(done(redis))
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as worker:
            eventually(lambda before=before: len(done(redis)) > before, "a job")  # type: ignore[misc]
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(10) == 0
    # Then whatever was not done is still in the queue
    left = [str(job.args[0]) for job in queue.get_jobs()]
    assert left, "the workers were through before they were told"
    assert done(redis) + left == [str(number) for number in range(count)]


def test_a_worker_that_is_told_to_end_twice_finishes_its_job(
    redis: Redis, worker: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    # Given a worker that is at a job, when it gets SIGTERM again and again, then it ends when the job is done
    raw_queue(redis).enqueue_call("hold", args=("held",))
    eventually(lambda: done(redis), "the job's begin")
    for _ in range(3):
        worker.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.6)
    (tmp_path / "go").touch()
    assert worker.wait(10) == 0
    assert not redis.smembers("rq:workers")


@contextmanager
def unwritable(redis: Redis) -> Iterator[None]:
    """Let Redis refuse whatever writes, as it does when its disk is full."""
    redis.config_set("min-replicas-to-write", 1)
    try:
        yield
    finally:
        redis.config_set("min-replicas-to-write", 0)


def test_a_worker_waits_while_redis_cannot_write(
    redis: Redis, jobs: JobQueue, worker: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    # Given a worker that is at a job
    raw_queue(redis).enqueue_call("hold", args=("held",))
    eventually(lambda: done(redis), "the job's begin")
    # When Redis cannot write at its end, nor for some time afterwards
    with unwritable(redis):
        (tmp_path / "go").touch()
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(3)
    # Then the same worker does the next job when Redis can write again
    jobs.put_chunk("red", chunk(1))
    eventually(lambda: len(done(redis)) == 2, "the next job")
    assert worker.poll() is None


def test_a_worker_that_waits_for_redis_to_write_ends_when_it_is_told_to(redis: Redis, redis_url: str) -> None:
    # Given a Redis that cannot write, and a worker that was started then
    command = [sys.executable, "-c", WORKER, redis_url, host_queue("red")]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    with unwritable(redis), subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as worker:
        assert worker.stderr is not None
        assert b"cannot write" in next(line for line in worker.stderr if b"next try" in line)
        # When it is told to end, then it does, in good order
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0


def queued(redis: Redis, name: str) -> list[str]:
    """Return the arguments of the jobs in a queue, in order."""
    return [str(job.args[0]) for job in raw_queue(redis, name).get_jobs()]


def test_what_nobody_has_begun_of_a_campaign_can_be_forgotten(redis: Redis, jobs: JobQueue) -> None:
    # Given chunks and build jobs of several campaigns, one's id being the beginning of another's, on several hosts
    names = ("c1", "c10", "xc1", "c2")
    for number in range(3):
        for name in names:
            jobs.put_chunk("red", chunk(number, name))
            jobs.put_chunk("blue", chunk(number, name))
    for name in names:
        jobs.put_build(name)
    # When one campaign is forgotten
    jobs.forget_chunks("c1")
    # Then its jobs are gone, and those of the others are there, in their order
    left = [chunk(number, name) for number in range(3) for name in names[1:]]
    for host in ("red", "blue"):
        assert [decode(argument, Chunk) for argument in queued(redis, host_queue(host))] == left
    assert queued(redis, BUILD_QUEUE) == list(names[1:])


def test_forgetting_also_reaches_campaigns_with_long_names(redis: Redis, jobs: JobQueue) -> None:
    # Given a chunk of a campaign whose id is as long as ids can be, when it is forgotten, then it is gone
    name = "x" * 81
    jobs.put_chunk("red", chunk(1, name, runs=500))
    jobs.forget_chunks(name)
    assert queued(redis, host_queue("red")) == []


# ---- events ------------------------------------------------------------------------------------------------------


END = HostUp("the end", 0)


def events_until_the_end(jobs: JobQueue, last: str = "0") -> list[AnyEvent]:
    """Return what a reader gets, up to the event that is posted last."""
    found: list[AnyEvent] = []
    for _, events in jobs.events(last):
        found += events
        if END in found:
            break
    return found[:-1]


def test_events_arrive_in_order(redis: Redis, jobs: JobQueue) -> None:
    # Given more events than are read at once
    lab = WorkerEnd(redis)
    posted = [SlotDied("red", f"slot{number}") for number in range(2500)]
    for event in [*posted, END]:
        lab.post(event)
    # When they are read, then all are there, in order
    assert events_until_the_end(jobs) == posted


def test_events_that_nobody_reads_are_bounded(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a bound, and nobody who reads, when more is posted, then the oldest go (whole pages of 100 at a time)
    monkeypatch.setattr(worker_end, "MOST_EVENTS", 200)
    lab = WorkerEnd(redis)
    for number in range(1000):
        lab.post(HostUp("red", number))
    assert 200 <= redis.xlen(EVENTS) <= 300
    newest: list[tuple[bytes, dict[bytes, bytes]]] = redis.xrevrange(EVENTS, count=1)  # type: ignore[assignment]
    assert decode(newest[0][1][b"event"], AnyEvent) == HostUp("red", 999)


def test_reading_goes_on_where_it_ended(redis: Redis, jobs: JobQueue) -> None:
    # Given events that have been read, and others that came since
    lab = WorkerEnd(redis)
    for number in range(3):
        lab.post(HostUp("red", number))
    position, _ = next(jobs.events())
    for event in (HostUp("red", 3), HostUp("red", 4), END):
        lab.post(event)
    # When reading begins again behind the last one, then the others come
    assert events_until_the_end(jobs, position) == [HostUp("red", 3), HostUp("red", 4)]


def test_a_reader_waits_for_what_is_posted_later(redis: Redis, redis_url: str, jobs: JobQueue) -> None:
    # Given a reader that has read everything
    read: list[object] = []
    reader = threading.Thread(target=lambda: read.extend(next(jobs.events())[1]))
    reader.start()
    eventually(lambda: any(client["cmd"] == "xread" for client in redis.client_list()), "that it waits")
    # When something is posted, then it comes at once
    with connect(redis_url) as other:
        WorkerEnd(other).post(HostUp("red", 2))
    reader.join(30)
    assert read == [HostUp("red", 2)]


MALFORMED: list[dict[str | bytes, str | bytes]] = [
    {"event": b""},
    {"event": b"\xff\xfe"},
    {"event": b"no JSON"},
    {"event": b"null"},
    {"event": b"[]"},
    {"event": b"{}"},
    {"event": b'{"type":"Nobody"}'},
    {"event": b'{"type":"HostUp","host":1,"slots":2}'},
    {"event": b'{"type":"HostUp","host":"red"}'},
    {"event": b'{"type":"Submit"}'},
    {"event": b"[" * 100_000},
    {"other": b'{"type":"HostUp","host":"red","slots":2}'},
    {b"\xff": b"\xff"},
]


@pytest.mark.parametrize("fields", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_event_is_passed_over(redis: Redis, jobs: JobQueue, fields: dict[str | bytes, str | bytes]) -> None:
    # Given something in the stream that no worker posts, between two events
    lab = WorkerEnd(redis)
    lab.post(HostUp("red", 1))
    redis.xadd(EVENTS, fields)  # type: ignore[arg-type]
    lab.post(HostUp("red", 2))
    lab.post(END)
    # When events are read, then the others come
    assert events_until_the_end(jobs) == [HostUp("red", 1), HostUp("red", 2)]


def test_events_that_were_dealt_with_are_removed(redis: Redis, jobs: JobQueue) -> None:
    # Given three events that have been dealt with, and two that came since
    lab = WorkerEnd(redis)
    for number in range(3):
        lab.post(HostUp("red", number))
    position, _ = next(jobs.events())
    for event in (HostUp("red", 3), HostUp("red", 4), END):
        lab.post(event)
    # When the three are dropped, then whoever begins anew reads the others alone
    jobs.drop_events(position)
    assert events_until_the_end(jobs) == [HostUp("red", 3), HostUp("red", 4)]
    assert redis.xlen(EVENTS) == 3


# ---- descriptions ------------------------------------------------------------------------------------------------


def test_workers_get_a_campaign_as_it_was_submitted(redis: Redis, jobs: JobQueue) -> None:
    # Given a campaign with odd characters in its fields, and its runs
    prepared = Prepared("k3y", True, ("./größe",), "g++ 12", (Run(0, {"a": '"d, e"', "repetition": "0"}),))
    jobs.keep_campaign(campaign("c1"))
    jobs.keep_prepared("c1", prepared)
    # When a worker asks for them, then they are equal
    lab = WorkerEnd(redis)
    assert lab.campaign("c1") == campaign("c1")
    assert lab.prepared("c1") == prepared


def test_a_campaign_that_nobody_keeps_is_not_known(redis: Redis, jobs: JobQueue) -> None:
    # Given one campaign that is kept and one that has been dropped
    for name in ("c1", "c2"):
        jobs.keep_campaign(campaign(name))
        jobs.keep_prepared(name, Prepared("k", False, ("x",), "", ()))
    jobs.drop_campaign("c1")
    # When a worker asks for them, then the one is not known, and the other is
    lab = WorkerEnd(redis)
    for question in (lab.campaign, lab.prepared):
        with pytest.raises(LookupError):
            question("c1")
        assert question("c2") in (campaign("c2"), Prepared("k", False, ("x",), "", ()))


def test_a_cancelled_campaign_is_known_as_such(redis: Redis, jobs: JobQueue) -> None:
    # Given two campaigns, when one is cancelled, then a slot that asks is told so of it alone
    jobs.mark_cancelled("c1")
    lab = WorkerEnd(redis)
    assert lab.is_unwanted("c1", "k1")
    assert not lab.is_unwanted("c10", "k1")


# ---- the connection ----------------------------------------------------------------------------------------------


def test_a_connection_survives_a_restart_of_redis() -> None:
    needs("redis-server")
    with tempfile.TemporaryDirectory(prefix="lf-", dir="/tmp") as folder:
        # Given a connection that has been used, and a Redis that is gone
        with running_redis(folder) as url:
            redis = connect(url)
            redis.set("x", 1)
        # When something is posted meanwhile, and Redis comes back
        posting = threading.Thread(target=lambda: WorkerEnd(redis).post(HostUp("red", 1)))
        posting.start()
        with running_redis(folder):
            posting.join(30)
            # Then it arrives
            assert not posting.is_alive()
            assert redis.xlen(EVENTS) == 1
            redis.close()


#: What `connect` gives, but with less patience.
IMPATIENT = WORKER.replace(
    "redis = connect(sys.argv[1])",
    "from redis.backoff import ConstantBackoff; from redis.retry import Retry\n"
    "redis = connect(sys.argv[1]); redis.set_retry(Retry(ConstantBackoff(0.05), 2))",
)


def test_an_idle_worker_outlives_a_redis_that_is_away_for_longer_than_a_connection_waits(tmp_path: Path) -> None:
    needs("redis-server")
    with tempfile.TemporaryDirectory(prefix="lf-", dir="/tmp") as folder, ExitStack() as stack:
        # Given an idle worker
        with running_redis(folder) as url, connect(url) as redis:
            command = [sys.executable, "-c", IMPATIENT, url, host_queue("red")]
            environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
            worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
            stack.enter_context(worker)
            stack.callback(worker.kill)
            eventually(lambda: redis.smembers("rq:workers"), "the worker")
        # When Redis is away for so long that its connection gives up, and comes back
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(2)
        # Then it does what is put into its queue
        with running_redis(folder) as url, connect(url) as redis:
            JobQueue(redis).put_chunk("red", chunk(1))
            eventually(lambda: done(redis), "the job")
            worker.terminate()
            assert worker.wait(10) == 0


# ---- the rule of missing servers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_server_skips_on_a_laptop_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    # Given a machine without a server, when a test needs it, then it is skipped, or fails where CI=true
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-server"):
        needs("no-such-server")
