"""A real foreman with a real Redis; the workers are played by the tests."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest
import zmq
from msgspec.structs import replace

from runner import curve, ledger
from runner.errors import LabFailed
from runner.job_queue import BUILD_QUEUE, WorkerEnd, connect, host_queue
from runner.lab import ForemanClient, Lab
from runner.messages import (
    AnyAnswer,
    AnyEvent,
    AskCampaigns,
    AskProducts,
    AttemptFailed,
    CampaignEnded,
    CampaignPrepared,
    CampaignRefused,
    Campaigns,
    CampaignStatus,
    CampaignTaken,
    Cancel,
    Changed,
    ChunkEnded,
    ChunkStarted,
    Collected,
    DeliveryFailed,
    Drain,
    Event,
    Explain,
    Explained,
    Follow,
    Heard,
    Held,
    HostReport,
    HostUp,
    Overview,
    ProductMissing,
    Products,
    PruneProducts,
    Refused,
    Resume,
    RunCommitted,
    RunDelivered,
    RunProgressed,
    RunStarted,
    SlotDied,
    Submit,
    Watch,
)
from runner.model import PROTOCOL, Attempt, Chunk, Kind, Limits, Outcome, Prepared, Run, decode, encode
from runner.paths import AttemptPaths, LabPaths, attempt_parcel
from tests.conftest import eventually
from tests.integration.test_job_queue import campaign, queued
from tests.stored_campaigns import product

T = TypeVar("T")

#: With what the host compiles.
GXX = "g++ 12.2.0"

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
    """A foreman process, a client that follows a campaign of some runs, and the workers' end of Redis.

    A thread plays the agent of the host "red": it reports every second what ``holds`` and ``spool`` say.
    """

    def __init__(self, folder: str, redis_url: str) -> None:
        self.paths = LabPaths(Path(folder))
        self._lab = Lab(f"ipc://{folder}/foreman", "", self.paths)
        self._redis_url = redis_url
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.redis = connect(redis_url)
        self.workers = WorkerEnd(self.redis)
        self.holds: tuple[Held, ...] = ()
        self.spool: tuple[str, ...] = ()
        self.trouble = ""
        #: Other machines, which have nothing.
        self.others: tuple[str, ...] = ()
        self.reports = threading.Event()
        self._reported = 0
        self._closed = threading.Event()
        self._agent = threading.Thread(target=self._report, daemon=True)
        self.start_foreman()
        self._agent.start()

    def start_foreman(self) -> None:
        """Start a foreman, and clients of it."""
        argv = [sys.executable, "-c", _FOREMAN, str(self.paths.home), self._redis_url, self._lab.foreman]
        with (self.paths.home / "foreman.log").open("ab") as log:
            self.process = subprocess.Popen(argv, cwd=Path(__file__).resolve().parents[2], stderr=log)
        self.client, self.other = ForemanClient(self._context, self._lab), ForemanClient(self._context, self._lab)
        self.seen: list[AnyEvent | AnyAnswer] = []

    def visitor(self) -> ForemanClient:
        """Return a client that follows nothing."""
        return ForemanClient(self._context, self._lab)

    def said(self) -> str:
        """Return what the foreman has logged."""
        return (self.paths.home / "foreman.log").read_text()

    def kill_foreman(self) -> None:
        """Kill the foreman; its clients forget it."""
        self.process.kill()
        self.process.wait()
        self.client.close()
        self.other.close()

    def _report(self) -> None:
        workers = WorkerEnd(connect(self._redis_url))
        while not self._closed.is_set():
            if self.reports.wait(0.2):
                workers.post(
                    HostReport("red", 1, holds=self.holds, spool=self.spool, trouble=self.trouble, toolchain=GXX)
                )
                for other in self.others:
                    workers.post(HostReport(other, 1))
                self._reported += 1
                self._closed.wait(1)

    def begin(self, runs: int = 1) -> Chunk:
        """Submit a campaign, and return its first chunk, which a slot has begun."""
        self.reports.set()
        self.client.ask(Submit(campaign("c1")))
        listed = tuple(Run(number, {}) for number in range(runs))
        self.workers.post(CampaignPrepared("c1", Prepared("k", False, ("x",), "", listed)))
        eventually(self.chunks, "a chunk")
        (chunk,) = self.chunks()
        self.take(chunk)
        eventually(lambda: any(found.running for found in self.other.status().campaigns), "that it is begun")
        return chunk

    def take(self, chunk: Chunk) -> None:
        """A slot takes a chunk from the queue, and has it."""
        self.redis.delete(f"rq:queue:{host_queue('red')}")
        self.holds = (Held("slot1", "c1", chunk.id, chunk.attempts),)
        self.workers.post(ChunkStarted("c1", chunk.id, "red", "slot1"))

    def deliver(
        self, attempt: Attempt, kind: Kind = "done", execution: str = "7f3a", tell: bool = True, of: str = "c1"
    ) -> Outcome:
        """Bring an attempt to the foreman, as an uploader does."""
        name = attempt_parcel(of, attempt.run, attempt.number, execution)
        outcome = Outcome(of, attempt.run, attempt.number, kind, 0, "red", "slot1", 1.0, 2.0, parcel=name)
        parcel = AttemptPaths(self.paths.incoming / name)
        parcel.files.mkdir(parents=True)
        parcel.log.touch()
        parcel.outcome.write_bytes(encode(outcome))
        if tell:
            self.workers.post(RunDelivered(outcome))
        return outcome

    def chunks(self) -> list[Chunk]:
        """Return what is in the host's queue."""
        return [decode(argument, Chunk) for argument in queued(self.redis, host_queue("red"))]

    def reported(self) -> int:
        """Return how many reports there were."""
        return self._reported

    def chunk_of(self, attempt: Attempt) -> Chunk:
        """Return the chunk that holds an attempt, as soon as it is queued."""
        eventually(lambda: any(attempt in chunk.attempts for chunk in self.chunks()), f"{attempt}")
        return next(chunk for chunk in self.chunks() if attempt in chunk.attempts)

    def heard(self, kind: type[T]) -> list[T]:
        """Return what the client has been told of a kind."""
        while (message := self.client.receive(AnyEvent | AnyAnswer)) is not None:
            self.seen.append(message)
        return [message for message in self.seen if isinstance(message, kind)]

    def has_ended(self) -> bool:
        """Say whether the client has been told that the campaign has ended."""
        return bool(self.heard(CampaignEnded))

    def ended_with(self, name: str) -> CampaignEnded | CampaignRefused | None:
        """Return how a campaign ended, as the store has it; None while it has not."""
        end = ledger.read_end(self.paths.campaign(name))
        return end.told if end else None

    def close(self) -> None:
        """End everything."""
        self._closed.set()
        self._agent.join()
        self.kill_foreman()
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
    # Given a run that takes its slot down, whenever it is begun
    chunk = world.begin()
    for number in (1, 2, 3):
        world.holds = ()
        world.workers.post(SlotDied("red", "slot1"))
        if number < 3:
            chunk = world.chunk_of(Attempt(0, number + 1))
            world.take(chunk)
    # Then it is lost, with the reason, the campaign ends, and the foreman goes on
    eventually(world.has_ended, "the end")
    (committed,) = world.heard(RunCommitted)
    assert committed.outcome.kind == "lost"
    assert "its worker died" in committed.outcome.error
    assert [failed.past.number for failed in world.heard(AttemptFailed)] == [1, 2, 3]
    assert world.other.status().campaigns == ()


def test_a_machine_whose_slot_has_trouble_of_its_own_is_left_alone_for_a_while(world: World) -> None:
    # Given a slot that cannot do its chunk
    chunk = world.begin()
    world.holds = ()
    world.workers.post(ChunkEnded("c1", chunk.id, "red", chunk.attempts, "no space left"))
    # Then its machine is unwell and gets nothing, everybody can see why, and the run waits
    eventually(lambda: _state(world) == ("unwell", "no space left"), "that the machine is unwell")
    assert world.chunks() == []
    answer = world.other.ask(Explain("c1", 0))
    assert isinstance(answer, Explained)
    assert "no space left" in answer.text
    # … and after that it gets it again
    world.chunk_of(Attempt(0, 2))


def _state(world: World) -> tuple[str, str]:
    """Return state and reason of the one machine; nothing if the foreman has not heard of it yet."""
    return next(((red.state, red.reason) for red in world.other.machines().machines), ("", ""))


# ---- leases --------------------------------------------------------------------------------------------------------


def test_a_chunk_of_which_no_report_tells_any_more_is_begun_again(world: World) -> None:
    # Given a slot that has begun a chunk
    world.begin()
    # When reports come, but none has the chunk any more: its slot hangs
    world.holds = ()
    # Then its run begins again, and followers are told
    world.chunk_of(Attempt(0, 2))
    eventually(lambda: world.heard(AttemptFailed), "that the attempt failed")
    (failed,) = world.heard(AttemptFailed)
    assert (failed.past.number, failed.past.kind, failed.past.host) == (1, "lost", "red")


def test_a_chunk_that_is_reported_stays_where_it_is(world: World) -> None:
    # Given a slot that works for much longer than a lease, and a second run that waits for it
    chunk = world.begin(runs=2)
    began = world.reported()
    # When more reports have come than a lease is long
    eventually(lambda: world.reported() > began + 10, "ten reports", 60)
    # Then nothing was begun again, and its outcome is the run's first attempt
    assert world.heard(AttemptFailed) == []
    world.deliver(chunk.attempts[0])
    eventually(lambda: world.heard(RunCommitted), "the commit")
    assert world.heard(RunCommitted)[0].outcome.attempt == 1


def test_the_first_of_two_executions_counts_and_the_other_is_ended(world: World) -> None:
    # Given a slot that hung, so that its run was given to another one
    first = world.begin(runs=2)
    world.holds = ()
    second = world.chunk_of(Attempt(0, 2))
    # When the one that hung wakes up, and the other one is done first
    world.redis.delete(f"rq:queue:{host_queue('red')}")
    world.holds = (
        Held("slot1", "c1", first.id, first.attempts),
        Held("slot2", "c1", second.id, second.attempts),
    )
    world.deliver(Attempt(0, 2), execution="beef")
    # Then its result is the run's, and the slot that wakes up is told that nobody needs its own
    eventually(lambda: world.redis.exists(f"labfleet:revoked:{first.id}"), "that the first is revoked")
    world.deliver(Attempt(0, 1), execution="dead")
    eventually(lambda: not list(world.paths.incoming.iterdir()), "that the zombie's parcel is gone")
    assert [committed.outcome.attempt for committed in world.heard(RunCommitted)] == [2]
    assert [path.name for path in (world.paths.campaign("c1").root / "runs").iterdir()] == ["0.2"]


def test_a_chunk_that_is_neither_queued_nor_begun_is_queued_again(world: World) -> None:
    # Given a chunk that was popped by a slot which died before it could tell
    world.reports.set()
    world.client.ask(Submit(campaign("c1")))
    world.workers.post(CampaignPrepared("c1", Prepared("k", False, ("x",), "", (Run(0, {}),))))
    eventually(world.chunks, "a chunk")
    (lost,) = world.chunks()
    world.redis.delete(f"rq:queue:{host_queue('red')}")
    # Then its run is queued once more, by another number, and no attempt is told of
    assert world.chunk_of(Attempt(0, 2)).id != lost.id
    assert world.heard(AttemptFailed) == []


def test_what_arrived_counts_even_if_nobody_could_tell(world: World) -> None:
    # Given an uploader that died between delivering and telling
    chunk = world.begin()
    world.workers.post(ChunkEnded("c1", chunk.id, "red"))
    world.holds = ()
    world.deliver(chunk.attempts[0], tell=False)
    # Then the run is done
    eventually(world.has_ended, "the end")
    assert [committed.outcome.attempt for committed in world.heard(RunCommitted)] == [1]


def test_a_chunk_that_waits_behind_long_runs_goes_to_a_machine_with_room(world: World) -> None:
    # Given a machine whose slot has a long run, with another run in its queue
    long = world.begin(runs=2)
    world.workers.post(RunDelivered(world.deliver(Attempt(1, 1), tell=False)))
    eventually(lambda: world.heard(RunCommitted), "a first outcome, so that runs wait in queues")
    world.client.ask(Submit(replace(campaign("c2"), config="Other")))
    world.workers.post(CampaignPrepared("c2", Prepared("k", False, ("x",), "", (Run(0, {}), Run(1, {})))))
    world.workers.post(RunDelivered(world.deliver(Attempt(0, 1), of="c2", tell=False)))
    eventually(lambda: any(chunk.campaign == "c2" for chunk in world.chunks()), "that one waits behind it")
    # When another machine has nothing to do
    world.others = ("blue",)
    # Then it gets the run that waits
    eventually(lambda: queued(world.redis, host_queue("blue")), "a chunk for the other machine", 60)
    assert world.holds[0].chunk == long.id


def test_only_the_foreman_says_that_a_run_is_over(world: World) -> None:
    # Given a run under way
    chunk = world.begin()
    # When somebody with a worker's password tells that it is committed, and that the campaign has ended
    outcome = world.deliver(chunk.attempts[0], tell=False)
    for told in (RunCommitted(outcome), CampaignEnded("c1", cancelled=False)):
        world.redis.xadd("labfleet:events", {"event": encode(told)})
    eventually(lambda: world.said().count("refused a malformed event") == 2, "that both are refused")
    # Then it is neither
    assert not world.heard(RunCommitted)
    assert not world.has_ended()
    with pytest.raises(ValueError, match="is no name"):
        Prepared("../keys/people/anna", False, ("x",), "", ())


# ---- a foreman that dies -------------------------------------------------------------------------------------------


def test_a_new_foreman_goes_on_where_the_old_one_was_killed(world: World) -> None:
    # Given a campaign of four runs: one done, one under way, one through and waiting for the uploader, one not begun
    chunk = world.begin(runs=4)
    world.deliver(Attempt(0, 1))
    eventually(lambda: world.heard(RunCommitted), "the first commit")
    # When the foreman is killed, and a new one starts
    world.kill_foreman()
    world.holds = (Held("slot1", "c1", "c1-older", (Attempt(1, 3),)),)
    world.spool = (attempt_parcel("c1", 2, 1, "feed"),)
    world.start_foreman()
    # Then it gives out only what nobody has
    world.client.ask(Follow("c1"))
    world.deliver(Attempt(1, 3), execution="beef")
    eventually(lambda: len(world.heard(RunCommitted)) == 2, "the outcome of the one under way")
    world.holds = ()
    world.workers.post(ChunkEnded("c1", "c1-older", "red"))
    assert [attempt.run for attempt in world.chunk_of(Attempt(3, 1)).attempts] == [3]
    # … whoever follows is told everything from the beginning
    (taken,) = world.heard(CampaignTaken)
    assert taken.what == campaign("c1")
    assert len(world.heard(CampaignPrepared)) == 1
    # … and nothing that is done is done again
    assert chunk.attempts == (Attempt(0, 1),)
    assert [committed.outcome.attempt for committed in world.heard(RunCommitted)] == [1, 3]
    assert world.heard(AttemptFailed) == []


def test_who_comes_after_the_end_is_told_the_whole_story(world: World) -> None:
    # Given a campaign that has ended while nobody followed, and a new foreman
    chunk = world.begin()
    world.deliver(chunk.attempts[0])
    eventually(world.has_ended, "the end")
    world.kill_foreman()
    world.start_foreman()
    # When somebody follows it, then everything is told, the end last
    world.client.ask(Follow("c1"))
    eventually(world.has_ended, "the end")
    assert [type(message) for message in world.seen] == [CampaignTaken, CampaignPrepared, RunCommitted, CampaignEnded]


def test_a_campaign_that_nobody_knows_cannot_be_followed(world: World) -> None:
    # Given a lab, when somebody follows a campaign that it does not have, then that is an error which says what to do
    with pytest.raises(LabFailed, match="no campaign c9") as caught:
        world.client.ask(Follow("c9"))
    assert "labfleet campaigns" in caught.value.hint


def test_a_redis_that_forgot_everything_is_told_again(world: World) -> None:
    # Given a run under way
    chunk = world.begin()
    # When Redis and the foreman are gone, and everything that Redis knew
    world.kill_foreman()
    world.redis.flushall()
    world.start_foreman()
    # Then workers find the campaign again, and its run is not begun a second time
    eventually(lambda: world.redis.exists("labfleet:campaign:c1", "labfleet:prepared:c1") == 2, "the campaign")
    assert world.workers.prepared("c1").runs == (Run(0, {}),)
    world.client.ask(Follow("c1"))
    world.deliver(chunk.attempts[0])
    eventually(world.has_ended, "the end")
    assert [committed.outcome.attempt for committed in world.heard(RunCommitted)] == [1]


# ---- failures, cancelling, resuming --------------------------------------------------------------------------------


def test_a_run_that_fails_by_itself_is_begun_again_as_often_as_was_asked(world: World) -> None:
    # Given a campaign that asks for one more attempt
    world.reports.set()
    world.client.ask(Submit(replace(campaign("c1"), limits=Limits(retries=1))))
    world.workers.post(CampaignPrepared("c1", Prepared("k", False, ("x",), "", (Run(0, {}),))))
    for number in (1, 2):
        chunk = world.chunk_of(Attempt(0, number))
        world.take(chunk)
        # When the run fails each time
        world.deliver(Attempt(0, number), "crash")
        world.workers.post(ChunkEnded("c1", chunk.id, "red"))
        world.holds = ()
    # Then it is over after the second, and both are kept
    eventually(world.has_ended, "the end")
    assert [(one.past.number, one.past.kind) for one in world.heard(AttemptFailed)] == [(1, "crash")]
    assert [(one.outcome.attempt, one.outcome.kind) for one in world.heard(RunCommitted)] == [(2, "crash")]
    assert sorted(path.name for path in world.paths.campaign("c1").failed.iterdir()) == ["0.1", "0.2"]


def test_a_campaign_ends_itself_after_too_many_failures(world: World) -> None:
    # Given a campaign of three runs that wants at most one failure
    world.reports.set()
    world.client.ask(Submit(replace(campaign("c1"), limits=Limits(max_failures=1))))
    listed = tuple(Run(number, {}) for number in range(3))
    world.workers.post(CampaignPrepared("c1", Prepared("k", False, ("x",), "", listed)))
    eventually(world.chunks, "a chunk")
    (chunk,) = world.chunks()
    world.take(chunk)
    # When one fails
    world.deliver(chunk.attempts[0], "error")
    world.workers.post(ChunkEnded("c1", chunk.id, "red"))
    world.holds = ()
    # Then the rest is cancelled, with the reason
    eventually(world.has_ended, "the end")
    (ended,) = world.heard(CampaignEnded)
    assert ended.cancelled
    assert "--max-failures is 1" in ended.reason


def test_what_is_not_done_can_be_resumed(world: World) -> None:
    # Given a campaign of two runs: one done, and it was cancelled before the other one
    chunk = world.begin(runs=2)
    world.deliver(chunk.attempts[0])
    eventually(lambda: world.heard(RunCommitted), "the commit")
    world.other.ask(Cancel("c1"))
    world.workers.post(ChunkEnded("c1", chunk.id, "red"))
    world.holds = ()
    eventually(world.has_ended, "the end")
    # When it is resumed
    world.paths.product("k").mkdir(parents=True)
    world.other.ask(Resume("c1"))
    # Then the other one alone is done
    assert not world.redis.exists("labfleet:cancelled:c1")
    second = world.chunk_of(Attempt(1, 1))
    assert len(second.attempts) == 1
    world.client.ask(Follow("c1"))
    world.take(second)
    world.deliver(second.attempts[0], execution="beef")
    eventually(lambda: len(world.heard(CampaignEnded)) == 2, "the second end")
    assert not world.heard(CampaignEnded)[-1].cancelled
    # … and then there is nothing to resume
    with pytest.raises(LabFailed, match="are done"):
        world.other.ask(Resume("c1"))


def test_a_campaign_that_is_resumed_is_built_again_if_its_product_is_gone(world: World) -> None:
    # Given a cancelled campaign, whose product was removed since
    world.begin()
    world.other.ask(Cancel("c1"))
    world.holds = ()
    world.workers.post(SlotDied("red", "slot1"))
    eventually(world.has_ended, "the end")
    world.redis.delete(f"rq:queue:{BUILD_QUEUE}")
    # When it is resumed, then it is built first
    world.other.ask(Resume("c1"))
    eventually(lambda: queued(world.redis, BUILD_QUEUE) == ["c1"], "the build job")
    assert world.chunks() == []
    world.workers.post(CampaignPrepared("c1", Prepared("k", False, ("x",), "", (Run(0, {}),))))
    eventually(world.chunks, "a chunk")


def test_what_was_fetched_before_a_resumption_is_not_everything(world: World) -> None:
    # Given a client that has heard the end of a campaign, which was resumed and has ended once more since
    world.begin()
    world.other.ask(Cancel("c1"))
    world.holds = ()
    world.workers.post(SlotDied("red", "slot1"))
    eventually(world.has_ended, "the end")
    (first,) = world.heard(CampaignEnded)
    world.paths.product("k").mkdir(parents=True)
    world.other.ask(Resume("c1"))
    world.client.ask(Follow("c1"))
    chunk = world.chunk_of(Attempt(0, 2))
    world.deliver(chunk.attempts[0])
    eventually(lambda: len(world.heard(CampaignEnded)) == 2, "the second end")
    # When it says that it has everything at home, then it is told that it has not
    with pytest.raises(LabFailed, match="was resumed since"):
        world.other.ask(Collected("c1", first.time))
    world.other.ask(Collected("c1", world.heard(CampaignEnded)[-1].time))


def test_a_mark_in_redis_that_outlived_a_resumption_does_no_harm(world: World) -> None:
    # Given a campaign that Redis takes for cancelled although it is not
    world.begin()
    world.redis.set("labfleet:cancelled:c1", "1")
    # When the foreman is another one, then the mark goes
    world.kill_foreman()
    world.start_foreman()
    eventually(lambda: not world.redis.exists("labfleet:cancelled:c1"), "that the mark is gone")


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


def test_a_cancelled_campaign_is_cancelled_for_the_next_foreman_too(world: World) -> None:
    # Given a campaign that was cancelled while a run is under way, and then the foreman was killed
    chunk = world.begin(runs=2)
    world.other.ask(Cancel("c1"))
    world.kill_foreman()
    world.redis.flushall()
    world.start_foreman()
    # Then the slots are told again, and nothing else of it begins
    eventually(lambda: world.redis.exists("labfleet:cancelled:c1"), "the mark")
    world.client.ask(Follow("c1"))
    eventually(lambda: world.other.status().campaigns[0].running, "that its slot is known")
    world.holds = ()
    world.workers.post(ChunkEnded("c1", chunk.id, "red", chunk.attempts))
    eventually(world.has_ended, "the end")
    assert world.heard(CampaignEnded)[-1].cancelled
    assert world.chunks() == []


# ---- machines ------------------------------------------------------------------------------------------------------


def test_what_a_host_had_begun_is_begun_again_when_its_agent_is_a_new_one(world: World) -> None:
    # Given a run that a slot has begun
    chunk = world.begin()
    # When another agent of its host appears, then the run is begun again
    world.holds = ()
    world.workers.post(HostUp("red", 1))
    eventually(lambda: any(other.id != chunk.id for other in world.chunks()), "that it is begun again")


def test_workers_are_told_which_machines_serve(world: World) -> None:
    # Given a machine that reports, then it is known to workers that it serves
    world.begin(runs=2)
    eventually(lambda: world.workers.machines() == {"red": GXX}, "the only machine serves")
    # When it is drained, then that is known, too
    world.other.ask(Drain("red", drained=True))
    eventually(lambda: world.workers.machines() == {}, "no machine serves")


def test_a_drained_machine_gets_nothing_until_it_is_undrained(world: World) -> None:
    # Given a machine that somebody drains while it has a run, and another foreman after that
    chunk = world.begin(runs=2)
    world.other.ask(Drain("red", drained=True))
    world.deliver(chunk.attempts[0])
    world.workers.post(ChunkEnded("c1", chunk.id, "red"))
    world.holds = ()
    world.kill_foreman()
    world.start_foreman()
    # Then it gets no further run, and the table says who wanted that
    world.client.ask(Follow("c1"))
    eventually(lambda: world.heard(RunCommitted), "the run that it had")
    eventually(lambda: _state(world)[0] == "draining", "that it is known to be drained")
    assert "labfleet undrain red" in _state(world)[1]
    assert world.chunks() == []
    # When it is undrained, then it does
    world.other.ask(Drain("red", drained=False))
    world.chunk_of(Attempt(1, 1))
    with pytest.raises(LabFailed, match="no machine blue"):
        world.other.ask(Drain("blue", drained=True))


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


def test_a_build_of_which_nobody_tells_is_done_again_and_one_that_is_held_is_not(world: World) -> None:
    # Given two campaigns whose build jobs are gone from the queue, one of them with a builder
    world.reports.set()
    for name in ("c1", "c2"):
        world.other.ask(Submit(campaign(name)))
    eventually(lambda: queued(world.redis, BUILD_QUEUE) == ["c1", "c2"], "the build jobs")
    world.holds = (Held("builder", "c1"),)
    began = world.reported()
    world.redis.delete(f"rq:queue:{BUILD_QUEUE}")
    # When nothing is heard of the other one for a while, then it alone is queued again
    eventually(lambda: "c2" in queued(world.redis, BUILD_QUEUE), "the build job")
    # … by the foreman's count, which began with the beat before this one's
    assert world.reported() > began + 3
    assert queued(world.redis, BUILD_QUEUE) == ["c2"]


# ---- requests ------------------------------------------------------------------------------------------------------


def test_a_campaign_s_id_is_used_once(world: World) -> None:
    # Given a campaign that was submitted before
    world.begin()
    # When nonsense comes, and another campaign with its id, then both are refused, and the foreman goes on
    world.other.socket.send(b'{"type":"Nonsense"}')
    assert world.other.socket.poll(10_000)
    world.other.socket.recv()
    with pytest.raises(LabFailed, match="there is one"):
        world.other.ask(Submit(replace(campaign("c1"), config="Other")))
    assert len(world.other.status().campaigns) == 1


def test_the_same_campaign_submitted_twice_is_taken_on_once(world: World) -> None:
    # Given a client that does not know whether its campaign was taken on
    world.begin()
    # When it submits it once more, then it is told what has happened so far
    world.other.ask(Submit(campaign("c1")))
    assert world.other.socket.poll(10_000)
    assert isinstance(world.other.receive(AnyEvent), CampaignTaken)
    visitor = world.visitor()
    assert len(visitor.status().campaigns) == 1
    visitor.close()


def test_the_list_of_campaigns_has_those_that_have_ended(world: World) -> None:
    # Given a campaign that has ended, and whose results are at home, and one that is under way
    chunk = world.begin()
    world.deliver(chunk.attempts[0])
    eventually(world.has_ended, "the end")
    world.other.ask(Collected("c1"))
    world.other.ask(Submit(campaign("c2")))
    # When the list is asked for, then both are there, each as it stands
    answer = world.other.ask(AskCampaigns())
    assert isinstance(answer, Campaigns)
    assert [(one.id, one.phase, one.done, one.collected) for one in answer.campaigns] == [
        ("c1", "done", 1, True),
        ("c2", "building", 0, False),
    ]


def malformed(chance: random.Random) -> bytes:
    """Return a message that is no request, or one of a kind that the foreman cannot take for anything."""
    request = encode(Submit(campaign("evil")))
    match chance.randrange(6):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 5:
            return b'{"type":"AskStatus","x":' + b"[" * 5000
        case 1:
            return request[: chance.randrange(len(request))]
        case 2:
            return b'{"type":"%s"}' % chance.choice([b"", b"Nonsense", b"RunCommitted", b"Status"])
        case 3:
            return request.replace(b'"evil"', chance.choice([b'"../evil"', b"null", b'""', b"7"]))
        case _:
            return b'{"type":"Follow","campaign":%s}' % chance.choice([b"[]", b"null", b"1", b"{}", b"nan"])


def test_the_foreman_goes_on_after_malformed_messages(world: World) -> None:
    # Given a campaign under way
    chunk = world.begin()
    # When ten thousand messages that make no sense come as requests, and many as events and jobs
    chance = random.Random(4)
    for start in range(0, 10_000, 500):
        for _ in range(500):
            world.other.socket.send(malformed(chance))
        for _ in range(500):
            assert world.other.socket.poll(60_000), f"no answer to one of the messages from {start} on"
            assert isinstance(world.other.receive(AnyAnswer), Refused)
    for _ in range(10):
        world.redis.xadd("labfleet:events", {"event": b'{"type":"HostReport","x":' + b"[" * 5000})
    for _ in range(990):
        world.redis.xadd("labfleet:events", {chance.choice(["event", "x"]): chance.randbytes(chance.randrange(80))})
    queue = f"rq:queue:{host_queue('red')}"
    for number in range(200):
        odd = {"data": chance.randbytes(40), "status": "queued", "created_at": "2026-01-01T00:00:00Z"}
        odd |= chance.choice([{}, {"created_at": "yesterday"}, {"status": "odd"}, {"timeout": "long"}])
        world.redis.hset(f"rq:job:odd-{number}", mapping=odd)  # type: ignore[arg-type]
        world.redis.rpush(queue, f"odd-{number}", f"absent-{number}")
    # Then the campaign goes on to its end
    world.deliver(chunk.attempts[0])
    world.holds = ()
    eventually(world.has_ended, "the end")
    # … and so does a new foreman, which finds those jobs
    world.kill_foreman()
    for number in range(200):
        world.redis.rpush(queue, f"odd-{number}")
    world.start_foreman()
    assert world.other.status().campaigns == ()
    # … and all were counted and the first ones logged
    world.process.terminate()
    said = world.said()
    assert "refused a malformed request (1 so far)" in said
    assert "refused a malformed request (10000 so far)" in said
    assert "refused a malformed event (1000 so far)" in said
    assert said.count("\n") < 200


# ---- products ------------------------------------------------------------------------------------------------------


def builds(world: World) -> list[str]:
    return queued(world.redis, BUILD_QUEUE)


def test_a_product_that_is_found_damaged_is_built_again(world: World) -> None:
    # Given a campaign under way, and a product in whose file a byte has changed
    world.begin()
    product(world.paths, "k", 0.0, size=1000)
    (content,) = world.paths.contents.iterdir()
    world.redis.delete(f"rq:queue:{BUILD_QUEUE}")
    # When a host says that it cannot get it, but the head has it whole, then nobody has to do anything
    world.workers.post(ProductMissing("c1", "k"))
    world.workers.post(CampaignPrepared("c1", Prepared("k", False, ("x",), "", ()), "none.product"))
    eventually(lambda: not world.paths.incoming.exists() or not list(world.paths.incoming.iterdir()), "a look at it")
    assert builds(world) == []
    # … and when it is damaged, then it is no product any more, and the build job is done again
    content.write_bytes(b"damaged")
    world.workers.post(ProductMissing("c1", "k"))
    eventually(lambda: builds(world) == ["c1"], "the build job")
    assert not world.paths.product("k").exists()
    # … once, however many hosts say so
    for _ in range(5):
        world.workers.post(ProductMissing("c1", "k"))
    reported = world.reported()
    eventually(lambda: world.reported() > reported + 1, "time to do so")
    assert builds(world) == ["c1"]
    assert not world.heard(CampaignEnded)


def test_what_a_worker_calls_a_product_names_no_file_elsewhere(world: World) -> None:
    # Given a campaign under way, and somebody with a worker's password
    world.begin()
    world.redis.delete(f"rq:queue:{BUILD_QUEUE}")
    missing = b'{"type":"ProductMissing","campaign":"c1","key":"%s"}'
    prepared = b'{"key":"k","built":true,"program":["x"],"toolchain":"","runs":[]}'
    arrived = b'{"type":"CampaignPrepared","campaign":"c1","parcel":"%s","prepared":' + prepared + b"}"
    # When they tell of products and parcels by names that lead elsewhere
    names = [b"../campaigns", b"..", b"/etc", b"a/b", b"a\\nb"]
    for name in names:
        world.redis.xadd("labfleet:events", {"event": missing % name})
        world.redis.xadd("labfleet:events", {"event": arrived % name})
    # Then all of it is refused, nothing is built for it, and everything is where it was
    refused = "refused a malformed event"
    eventually(lambda: world.said().count(refused) == 2 * len(names), "that all are refused")
    assert builds(world) == []
    assert world.paths.campaign("c1").campaign.exists()
    assert len(world.other.status().campaigns) == 1


def _again(world: World, chunk: Chunk, event: Event) -> CampaignEnded:
    """Have the product of a campaign built again that is nowhere, and return how the campaign ended."""
    world.redis.delete(f"rq:queue:{BUILD_QUEUE}")
    world.workers.post(ProductMissing("c1", "k"))
    eventually(lambda: builds(world) == ["c1"], "the build job")
    world.redis.delete(f"rq:queue:{BUILD_QUEUE}")
    world.workers.post(event)
    eventually(lambda: world.workers.is_unwanted("c1", chunk.id), "that the slot need not wait any more")
    world.holds = ()
    world.workers.post(ChunkEnded("c1", chunk.id, "red", chunk.attempts))
    eventually(world.has_ended, "the end")
    return world.heard(CampaignEnded)[0]


def test_a_campaign_whose_program_cannot_be_had_again_ends_and_goes_on_with_another_when_it_is_resumed(
    world: World,
) -> None:
    # Given a campaign of three runs, one of them done, whose product gets lost
    first = world.begin(runs=3)
    assert first.key == "k"
    world.deliver(first.attempts[0])
    world.workers.post(ChunkEnded("c1", first.id, "red"))
    chunk = world.chunk_of(Attempt(1, 1))
    world.take(chunk)
    # When the tool chain has changed since, so building again makes another one
    listed = tuple(Run(number, {}) for number in range(3))
    other = CampaignPrepared("c1", Prepared("other", True, ("x",), "", listed))
    ended = _again(world, chunk, other)
    # Then no run is given that one, and the campaign ends and says why
    assert ended.cancelled
    assert "compiler, OMNeT++ or image changed; who resumes" in ended.reason
    # … and when it is resumed, then it is built anew, and its other runs are done with that
    world.other.ask(Resume("c1"))
    eventually(lambda: builds(world) == ["c1"], "the build job")
    assert world.chunks() == []
    world.workers.post(other)
    assert world.chunk_of(Attempt(1, 1)).key == "other"


def test_a_campaign_whose_program_cannot_be_built_again_ends_and_keeps_what_is_done(world: World) -> None:
    # Given a campaign under way whose product gets lost
    chunk = world.begin(runs=2)
    # When building it again fails
    ended = _again(world, chunk, CampaignRefused("c1", 3, "g++: internal compiler error", ""))
    # Then it ends as one that was cancelled, with that reason
    assert ended.cancelled
    assert "it cannot be built again: g++: internal compiler error" in ended.reason
    assert not world.heard(CampaignRefused)


def test_a_head_that_damages_what_it_is_given_does_not_let_it_be_built_for_ever(world: World) -> None:
    # Given a campaign that is being built, and one that is under way
    chunk = world.begin()
    world.other.ask(Submit(campaign("c2")))
    # When what the builder delivers is never there whole
    for name in ("c1", "c2"):
        for _ in range(3):
            arrived = CampaignPrepared(name, Prepared("k", True, ("x",), "", (Run(0, {}),)), "k.1.product")
            world.workers.post(arrived)
    # Then the first is refused, with what is to be done
    eventually(lambda: world.ended_with("c2"), "the end of the one that is not built")
    refused = world.ended_with("c2")
    assert isinstance(refused, CampaignRefused)
    assert "built 3 times in a row" in refused.message
    assert "the head's disk; labfleet resume c2" in refused.hint
    # … and the other one ends when its run has, whose results are kept
    eventually(lambda: world.workers.is_unwanted("c1", chunk.id), "that nobody wants its run")
    world.holds = ()
    world.workers.post(ChunkEnded("c1", chunk.id, "red", chunk.attempts))
    eventually(world.has_ended, "the end of the other one")
    assert "the head's disk; labfleet resume c1" in world.heard(CampaignEnded)[0].reason


@pytest.mark.parametrize(
    "event",
    [
        CampaignPrepared("c1", Prepared("other", False, ("x",), "", (Run(0, {}),))),
        CampaignRefused("c1", 3, "the disk is full", ""),
    ],
)
def test_a_build_job_that_is_done_twice_changes_nothing_where_the_product_is_there(world: World, event: Event) -> None:
    # Given a campaign under way, and its product
    chunk = world.begin()
    product(world.paths, "k", 0.0, size=1000)
    # When a second build job of it comes to something else
    world.workers.post(event)
    # Then the campaign goes on to its end
    world.deliver(chunk.attempts[0])
    world.holds = ()
    eventually(world.has_ended, "the end")
    assert not world.heard(CampaignEnded)[0].cancelled


def test_a_campaign_is_prepared_when_its_product_has_arrived_whole(world: World, tmp_path: Path) -> None:
    # Given a campaign whose product has arrived without one of its files
    world.client.ask(Submit(campaign("c1")))
    world.redis.delete(f"rq:queue:{BUILD_QUEUE}")
    worker = LabPaths(tmp_path)
    product(worker, "k", 0.0, size=1000)
    (content,) = worker.contents.iterdir()
    event = CampaignPrepared("c1", Prepared("k", True, ("x",), "", (Run(0, {}),)), "k.1.product")
    parcel = world.paths.incoming / event.parcel
    parcel.mkdir(parents=True)
    shutil.copy(worker.description("k"), parcel)
    # When that is told, then no run is given out, and the build job is done again
    world.workers.post(event)
    eventually(lambda: builds(world) == ["c1"], "the build job")
    assert world.heard(CampaignPrepared) == []
    # … and when it has arrived with it, then there is the product, and runs are given out
    parcel.mkdir()
    shutil.copy(worker.description("k"), parcel)
    shutil.copy(content, parcel)
    world.reports.set()
    world.workers.post(event)
    eventually(world.chunks, "a chunk")
    assert world.paths.content(content.name).read_bytes() == content.read_bytes()
    assert not parcel.exists()


def test_a_campaign_is_prepared_when_the_products_of_its_references_have_arrived_too(
    world: World, tmp_path: Path
) -> None:
    # Given a campaign whose own product is at the head, and the product of a project that it needs arrives in pieces
    world.client.ask(Submit(campaign("c1")))
    world.redis.delete(f"rq:queue:{BUILD_QUEUE}")
    product(world.paths, "k", 0.0, size=1000)
    worker = LabPaths(tmp_path)
    product(worker, "r", 0.0, size=1000)
    (content,) = worker.contents.iterdir()
    prepared = Prepared("k", True, ("x",), "", (Run(0, {}),), {"inet": "r"})
    event = CampaignPrepared("c1", prepared, references=(("r", "r.1.product"),))
    parcel = world.paths.incoming / "r.1.product"
    parcel.mkdir(parents=True)
    shutil.copy(worker.description("r"), parcel)
    # When that is told, then no run is given out, and the build job is done again
    world.workers.post(event)
    eventually(lambda: builds(world) == ["c1"], "the build job")
    assert world.heard(CampaignPrepared) == []
    # … and when it has arrived whole, then it is in the store, and runs are given out
    parcel.mkdir()
    shutil.copy(worker.description("r"), parcel)
    shutil.copy(content, parcel)
    world.reports.set()
    world.workers.post(event)
    eventually(world.chunks, "a chunk")
    assert world.paths.content(content.name).read_bytes() == content.read_bytes()
    # … and both products are listed as needed
    found = world.other.ask(AskProducts())
    assert isinstance(found, Products)
    assert {one.key: one.campaigns for one in found.products} == {"k": ("c1",), "r": ("c1",)}


def test_products_are_listed_and_those_go_that_nobody_needs(world: World) -> None:
    # Given a product that a campaign under way needs, and one that none does
    world.begin()
    for key, size in (("k", 1000), ("unneeded", 2000)):
        product(world.paths, key, 1000.0, size=size)
    # When they are asked for
    found = world.other.ask(AskProducts())
    assert isinstance(found, Products)
    assert [(one.key, one.project, one.size, one.campaigns) for one in found.products] == [
        ("k", "aloha", 1000, ("c1",)),
        ("unneeded", "aloha", 2000, ()),
    ]
    assert (found.total, found.removed) == (3000, 0)
    # … and when they are pruned, then one goes, with its file
    left = world.other.ask(PruneProducts())
    assert isinstance(left, Products)
    assert ([one.key for one in left.products], left.removed, left.freed, left.held) == (["k"], 1, 2000, 0)
    assert len(list(world.paths.contents.iterdir())) == 1


# ---- who watches the lab -------------------------------------------------------------------------------------------


def told(watcher: ForemanClient, kind: type[T]) -> list[T]:
    """Return what a watcher has been told of a kind since it was asked for last."""
    found = []
    while (message := watcher.receive(Heard)) is not None:
        found.append(message)
    return [message for message in found if isinstance(message, kind)]


def test_a_watcher_is_told_how_the_lab_is_and_then_what_changes(world: World) -> None:
    # Given a campaign of which a run has begun
    chunk = world.begin(runs=2)
    world.workers.post(RunStarted("c1", 0, 1, "red", "slot1", 1.0))
    world.workers.post(RunProgressed("c1", 0, 1.5, 14.0, 2.0, 1e6, 5 << 20))
    eventually(lambda: len(world.heard(RunProgressed)) == 1, "that the foreman has heard of it")
    # When somebody watches
    began = time.time()
    watcher = world.visitor()
    overview = watcher.ask(Watch())
    # Then it is told of all of it, since when, and by which foreman
    assert isinstance(overview, Overview)
    assert (overview.protocol, overview.incarnation) == (PROTOCOL, world.other.status().incarnation)
    ((red,), (shown,)) = overview.machines, overview.campaigns
    assert [(slot.slot, slot.run, slot.percent, slot.events_per_second) for slot in red.slots] == [
        ("slot1", 0, 14.0, 1e6)
    ]
    assert began - 60 < red.slots[0].since <= overview.time
    assert (shown.id, shown.phase, shown.done, shown.total, shown.waiting) == ("c1", "running", 0, 2, "")
    # When the run ends, then it is told of that, and no more than it has to be
    world.deliver(chunk.attempts[0])
    changes: list[Changed] = []

    def campaigns() -> list[CampaignStatus]:
        changes.extend(told(watcher, Changed))
        return [one for each in changes for one in each.campaigns]

    eventually(lambda: any(one.done for one in campaigns()), "that it is done")
    # When the campaign has ended, then that is told, and that it is at home
    world.client.ask(Cancel("c1"))
    world.holds = ()
    world.workers.post(ChunkEnded("c1", chunk.id, "red"))
    eventually(world.has_ended, "the end")
    world.other.ask(Collected("c1"))
    eventually(lambda: any(one.collected for one in campaigns()), "that it is at home")
    # … and who comes then, or asks again, is told of it still
    again = watcher.ask(Watch())
    assert isinstance(again, Overview)
    assert [(one.id, one.phase, one.collected) for one in again.campaigns] == [("c1", "cancelled", True)]
    watcher.close()


def test_watchers_are_told_at_most_ten_times_a_second(world: World) -> None:
    # Given somebody who watches
    world.begin()
    world.workers.post(RunStarted("c1", 0, 1, "red", "slot1", 1.0))
    watcher = world.visitor()
    watcher.ask(Watch())
    # When a run tells of its progress much more often
    for number in range(1, 400):
        world.workers.post(RunProgressed("c1", 0, float(number), None, None))
        eventually(lambda number=number: len(world.heard(RunProgressed)) >= number, "that it is heard")  # type: ignore[misc]
    changes: list[Changed] = []

    def last() -> float:
        changes.extend(told(watcher, Changed))
        return max((slot.sim_time for each in changes for red in each.machines for slot in red.slots), default=0.0)

    # Then the last is told, and between two times there is a tenth of a second
    eventually(lambda: last() == 399.0, "the last")
    times = [change.time for change in changes]
    assert min(after - before for before, after in pairwise(times)) > 0.09
    watcher.close()


def test_a_machine_s_key_that_was_lost_comes_with_its_next_report(redis_url: str, tmp_path: Path) -> None:
    # Given a head whose disk takes no keys just now
    paths = LabPaths(tmp_path / "home")
    blocked = paths.keys / curve.WORKERS
    blocked.parent.mkdir(parents=True)
    blocked.touch()
    settings = {"role": "head", "name": "h", "home": str(paths.home), "redis": "x", "image": "x"}
    described = {**settings, "ports": {"foreman": 1, "hub": 2, "logs": 3}}
    (tmp_path / "settings.json").write_text(json.dumps(described))
    (tmp_path / "redis-password").write_text("x")
    argv = [sys.executable, "-c", _FOREMAN, str(paths.home), redis_url, "tcp://127.0.0.1:*"]
    root, said = Path(__file__).resolve().parents[2], tmp_path / "log"
    key = zmq.curve_keypair()[0].decode()
    workers = WorkerEnd(connect(redis_url))
    with said.open("wb") as log:
        environment = {**os.environ, "LABFLEET_SETTINGS": str(tmp_path)}
        process = subprocess.Popen(argv, cwd=root, env=environment, stderr=log)
    try:
        # When a machine tells its key once
        workers.post(HostUp("w1", 1, key))
        eventually(lambda: "its slots cannot send logs" in said.read_text(), "a word of that")
        blocked.unlink()
        # Then its next report tells it again, whatever an older agent's reports tell
        workers.post(HostReport("w2", 1))
        workers.post(HostReport("w1", 1, key=key))
        eventually(lambda: curve.owner(paths.keys, curve.WORKERS, key) == "w1", "that its logs are let in")
        assert os.listdir(blocked) == ["w1"]
    finally:
        process.kill()
        process.wait()
