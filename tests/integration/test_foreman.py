"""A real foreman with a real Redis; the workers are played by the tests."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from runner.job_queue import BUILD_QUEUE, WorkerEnd, connect, host_queue
from runner.lab import ForemanClient, Lab
from runner.messages import (
    AnyAnswer,
    AnyEvent,
    CampaignEnded,
    CampaignPrepared,
    Cancel,
    ChunkEnded,
    ChunkStarted,
    DeliveryFailed,
    Event,
    HostUp,
    RunCommitted,
    SlotDied,
    Submit,
)
from runner.model import Attempt, Chunk, Prepared, Run, decode
from runner.paths import LabPaths
from tests.conftest import eventually
from tests.integration.test_job_queue import campaign, queued

_FOREMAN = """
import sys
from dataclasses import replace
from pathlib import Path
from runner import machine
from runner.foreman import Foreman
from runner.job_queue import JobQueue, connect
from runner.paths import LabPaths
place = replace(machine.here(), paths=LabPaths(Path(sys.argv[1])), foreman=sys.argv[3])
Foreman(place, JobQueue(connect(sys.argv[2]))).run()
"""


class World:
    """A foreman process, a client that follows a campaign of one run, and the workers' end of Redis."""

    def __init__(self, folder: str, redis_url: str) -> None:
        lab = Lab(f"ipc://{folder}/foreman", "", LabPaths(Path(folder)))
        argv = [sys.executable, "-c", _FOREMAN, folder, redis_url, lab.foreman]
        self.process = subprocess.Popen(argv, cwd=Path(__file__).resolve().parents[2])
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.client, self.other = ForemanClient(self._context, lab), ForemanClient(self._context, lab)
        self.redis = connect(redis_url)
        self.workers = WorkerEnd(self.redis)
        self.seen: list[AnyEvent | AnyAnswer] = []

    def begin(self) -> Chunk:
        """Submit a campaign of one run, and return its chunk, which a slot has begun."""
        self.workers.post(HostUp("red", 1))
        self.client.ask(Submit(campaign("c1")))
        self.workers.post(CampaignPrepared("c1", Prepared("k", False, ("x",), "", (Run(0, {}),))))
        eventually(self.chunks, "a chunk")
        (chunk,) = self.chunks()
        self.workers.post(ChunkStarted("c1", chunk.id, "red", "slot1"))
        eventually(lambda: any(found.running for found in self.other.status().campaigns), "that it is begun")
        return chunk

    def chunks(self) -> list[Chunk]:
        """Return what is in the host's queue."""
        return [decode(argument, Chunk) for argument in queued(self.redis, host_queue("red"))]

    def chunk_of(self, attempt: Attempt) -> Chunk:
        """Return the chunk that holds an attempt, as soon as it is queued."""
        eventually(lambda: any(attempt in chunk.attempts for chunk in self.chunks()), f"{attempt}")
        return next(chunk for chunk in self.chunks() if attempt in chunk.attempts)

    def has_ended(self) -> bool:
        """Say whether the client has been told that the campaign has ended."""
        while (message := self.client.receive(AnyEvent | AnyAnswer)) is not None:
            self.seen.append(message)
        return any(isinstance(message, CampaignEnded) for message in self.seen)

    def close(self) -> None:
        """End everything."""
        self.process.kill()
        self.process.wait()
        self.client.close()
        self.other.close()
        self.redis.close()
        self._context.destroy(linger=0)


@pytest.fixture
def world(redis_url: str) -> Iterator[World]:
    """A foreman of one test."""
    with tempfile.TemporaryDirectory(prefix="lf-", dir="/tmp") as folder:  # short: it holds a socket
        world = World(folder, redis_url)
        yield world
        world.close()


def test_a_campaign_ends_when_its_last_run_is_given_up(world: World) -> None:
    # Given a run that a slot cannot do
    chunk = world.begin()
    for number in (1, 2, 3):
        # When it has been begun as often as it may be
        world.workers.post(ChunkStarted("c1", chunk.id, "red", "slot1"))
        world.workers.post(ChunkEnded("c1", chunk.id, "red", chunk.attempts, "no space left"))
        if number < 3:
            chunk = world.chunk_of(Attempt(0, number + 1))

    # Then it is lost, with the reason, the campaign ends, and the foreman goes on
    eventually(world.has_ended, "the end")
    (committed,) = [message for message in world.seen if isinstance(message, RunCommitted)]
    assert committed.outcome.kind == "lost"
    assert "no space left" in committed.outcome.error
    assert world.other.status().campaigns == ()


def test_a_cancelled_campaign_ends_when_the_slot_dies_that_still_had_a_run(world: World) -> None:
    # Given a campaign that is cancelled while a run is under way
    world.begin()
    world.other.ask(Cancel("c1"))
    # When the run's slot dies, then the campaign has ended
    world.workers.post(SlotDied("red", "slot1"))
    eventually(world.has_ended, "the end")


def test_a_cancelled_campaign_ends_when_its_last_delivery_fails(world: World) -> None:
    # Given a cancelled campaign of which one outcome is still on its way
    chunk = world.begin()
    world.other.ask(Cancel("c1"))
    world.workers.post(ChunkEnded("c1", chunk.id, "red"))
    # When that does not arrive complete, then the campaign has ended
    world.workers.post(DeliveryFailed("c1", chunk.attempts[0]))
    eventually(world.has_ended, "the end")


def test_what_a_host_had_begun_is_begun_again_when_its_agent_is_a_new_one(world: World) -> None:
    # Given a run that a slot has begun
    chunk = world.begin()
    # When another agent of its host appears, then the run is begun again
    world.workers.post(HostUp("red", 1))
    eventually(lambda: any(other.id != chunk.id for other in world.chunks()), "that it is begun again")


@pytest.mark.parametrize("news", [SlotDied("red", "builder"), HostUp("red", 1)])
def test_a_build_whose_builder_died_is_done_again(world: World, news: Event) -> None:
    # Given a campaign whose build a builder has taken from the queue
    world.workers.post(HostUp("red", 1))
    world.client.ask(Submit(campaign("c1")))
    eventually(lambda: queued(world.redis, BUILD_QUEUE) == ["c1"], "the build job")
    world.redis.delete(f"rq:queue:{BUILD_QUEUE}")
    # When the builder dies, alone or with its agent
    world.workers.post(news)
    # Then the build is queued again
    eventually(lambda: queued(world.redis, BUILD_QUEUE) == ["c1"], "the build job")


def test_a_campaign_s_id_is_used_once(world: World) -> None:
    # Given a campaign that was submitted before
    world.begin()
    world.workers.post(SlotDied("red", "slot1"))
    # When another one comes with its id, then it is refused, and the foreman goes on
    world.other.socket.send(b'{"type":"Nonsense"}')
    assert world.other.socket.poll(10_000)
    world.other.socket.recv()
    with pytest.raises(Exception, match="there is one"):
        world.other.ask(Submit(campaign("c1")))
    assert len(world.other.status().campaigns) == 1
