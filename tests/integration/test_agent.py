"""An agent with real workers: it drains, and becomes another revision without losing them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from runner.job_queue import EVENTS, LAB_KEY, JobQueue, connect
from runner.messages import AnyEvent, HostReport, HostUp, SlotDied
from runner.model import Attempt, Chunk, decode
from tests.campaigns import campaign, prepared
from tests.conftest import eventually

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.timeout(60)

#: Stands for the image's start program: the deployed revision is what a file says.  By other files the git server does
#: not answer, nothing can be laid out, the revision does not know all roles, or what a slot has left does not end,
#: or is not removed.
START = """#!{python}
import os, shutil, signal, sys, time
from pathlib import Path
folder = Path(__file__).parent
while (folder / "silent").exists():
    time.sleep(0.01)
if (folder / "full").exists():
    sys.exit("No space left on device")
if (folder / "old").exists():
    if sys.argv[1] == "environment":
        raise KeyError(sys.argv[1])
    # Its agent listens to signals, but does not know that they may be blocked.
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []), "this one is deaf"
os.environ["LABFLEET_REVISION"] = open({deployed!r}).read()
from runner import machine, services, shell
end_strays, rmtree = shell.end_strays, shutil.rmtree
def end_slowly(spare):
    with shell._lock:
        while (folder / "hangs").exists():
            time.sleep(0.01)
    end_strays(spare)
def remove_slowly(*arguments, **named):
    while (folder / "busy").exists():
        time.sleep(0.01)
    rmtree(*arguments, **named)
shell.end_strays, shutil.rmtree = end_slowly, remove_slowly
machine.START = __file__
from runner import agent
agent.LONG_TIDYING = 0.5
sys.argv = ["services", *sys.argv[1:]]
services.main()
"""


class Agent:
    """An agent of a remote lab's worker with two slots, on this machine."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.redis: Redis = connect(redis_url)
        self.redis.set(LAB_KEY, "x" * 40)
        self.deployed = folder / "deployed"
        self.deployed.write_text("one")
        self.silent, self.full, self.old = folder / "silent", folder / "full", folder / "old"
        self.hangs, self.busy = folder / "hangs", folder / "busy"
        self.private = folder / "home" / "private"
        #: Takes connections of slots that fetch, and says nothing.
        self.head = socket.create_server(("127.0.0.1", 0))
        settings = folder / "settings"
        settings.mkdir()
        described = {
            "role": "worker",
            "name": "w1",
            "home": str(folder / "home"),
            "redis": redis_url,
            "logs": "tcp://127.0.0.1:9",
            "head": "127.0.0.1",
            "ssh_port": self.head.getsockname()[1],
            "slots": 2,
            "builder": False,
            "tags": ["big"],
            "desktop": True,
            "image": "labfleet-worker:abc",
        }
        (settings / "settings.json").write_text(json.dumps(described))
        (settings / "redis-password").write_text("unused\n")
        (folder / "home").mkdir()
        start = folder / "start"
        start.write_text(START.format(python=sys.executable, deployed=str(self.deployed)))
        start.chmod(0o755)
        environment = {**os.environ, "LABFLEET_SETTINGS": str(settings), "PYTHONPATH": str(ROOT)}
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen([str(start), "agent"], env=environment, stderr=self.log)

    def events(self) -> list[AnyEvent]:
        """Return everything that was told."""
        entries: list[tuple[bytes, dict[bytes, bytes]]] = self.redis.xrange(EVENTS)  # type: ignore[assignment]
        return [decode(fields[b"event"], AnyEvent) for _, fields in entries]

    def reports(self) -> list[HostReport]:
        return [event for event in self.events() if isinstance(event, HostReport)]

    def children(self) -> list[int]:
        """Return the process ids of its workers."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(word) for word in listed]

    def serving(self) -> set[bytes]:
        """Return the names of the workers that RQ knows."""
        return self.redis.smembers("rq:workers")  # type: ignore[return-value]


@pytest.fixture
def agent(tmp_path: Path, redis_url: str) -> Iterator[Agent]:
    agent = Agent(tmp_path, redis_url)
    try:
        eventually(lambda: len(agent.serving()) == 2, "two slots that wait for work")
        eventually(agent.reports, "a report")
        yield agent
    finally:
        for file in (agent.silent, agent.hangs, agent.busy):
            file.unlink(missing_ok=True)
        agent.process.kill()
        agent.process.wait()
        agent.log.close()
        agent.redis.close()
        agent.head.close()


def test_an_agent_tells_of_itself(agent: Agent) -> None:
    # Given a provisioned worker, when its agent has started
    (up,) = [event for event in agent.events() if isinstance(event, HostUp)]
    report = agent.reports()[0]
    # Then it has told slots and key, and how the machine is
    assert (up.host, up.slots, len(up.key)) == ("w1", 2, 40)
    assert report.key == up.key
    assert (report.tags, report.desktop, report.image, report.revisions) == (
        ("big",),
        True,
        "labfleet-worker:abc",
        ("one",),
    )
    assert 0 < report.memory_free < report.memory_total
    assert 0 < report.disk_free < report.disk_total


def test_a_drained_agent_ends_when_its_slots_have(agent: Agent) -> None:
    # Given idle slots, when the agent is told to drain
    agent.process.send_signal(signal.SIGUSR1)
    # Then it ends in good order, and no slot counts as dead
    assert agent.process.wait(20) == 0
    assert agent.reports()[-1].draining
    assert not any(isinstance(event, SlotDied) for event in agent.events())
    eventually(lambda: not agent.serving(), "that RQ knows no slots any more")


def test_an_agent_becomes_the_deployed_revision_and_keeps_its_name(agent: Agent) -> None:
    # Given an agent of revision one, when revision two is deployed and it is told
    before = set(agent.children())
    agent.deployed.write_text("two")
    agent.process.send_signal(signal.SIGHUP)
    # Then, in the same process, its slots are replaced by those of revision two
    eventually(lambda: agent.reports()[-1].revisions == ("two",), "slots of the new revision", 20)
    eventually(lambda: len(agent.serving()) == 2, "two slots that wait for work")
    assert agent.process.poll() is None
    assert len(agent.children()) == 2
    assert not before & set(agent.children())
    # And nobody was told of a death or a new start, which would have runs begun again
    assert not any(isinstance(event, SlotDied) for event in agent.events())
    assert sum(isinstance(event, HostUp) for event in agent.events()) == 1


def test_only_the_thread_that_hands_over_takes_signals(agent: Agent) -> None:
    # Given an agent, which lets signals wait while it becomes another revision: all of its threads have to
    told = (1 << (signal.SIGHUP - 1)) | (1 << (signal.SIGUSR1 - 1))

    def held_back(task: Path) -> bool:
        (word,) = re.findall(r"^SigBlk:\s*(\w+)$", (task / "status").read_text(), re.MULTILINE)
        return int(word, 16) & told == told

    eventually(lambda: agent.reports()[-1].toolchain, "that it knows with what it compiles")
    # When it serves, then none of the others could take one that comes right then
    tasks = {task.name: held_back(task) for task in Path(f"/proc/{agent.process.pid}/task").iterdir()}
    assert len(tasks) > 3
    assert [name for name, is_held_back in tasks.items() if not is_held_back] == [str(agent.process.pid)]
    # And its workers take them as usual
    assert not any(held_back(Path(f"/proc/{pid}")) for pid in agent.children())


def test_an_agent_reports_until_the_deployed_revision_is_ready(agent: Agent) -> None:
    # Given a git server that does not answer, when the agent is told of another revision
    agent.silent.touch()
    agent.deployed.write_text("two")
    agent.process.send_signal(signal.SIGHUP)
    # Then it goes on to report
    known = len(agent.reports())
    eventually(lambda: len(agent.reports()) > known + 1, "further reports")
    assert agent.reports()[-1].revisions == ("one",)
    # … and takes over what is deployed when the server answers, though it was told twice meanwhile
    agent.deployed.write_text("three")
    agent.process.send_signal(signal.SIGHUP)
    agent.silent.unlink()
    eventually(lambda: agent.reports()[-1].revisions == ("three",), "slots of the new revision", 20)
    assert agent.process.poll() is None


def test_an_agent_that_drains_ends_whatever_is_deployed(agent: Agent) -> None:
    # Given an agent that waits for another revision, when it is told to drain
    agent.silent.touch()
    agent.process.send_signal(signal.SIGHUP)
    known = len(agent.reports())
    eventually(lambda: len(agent.reports()) > known, "a further report")
    agent.process.send_signal(signal.SIGUSR1)
    # Then it ends in good order
    assert agent.process.wait(20) == 0
    assert agent.reports()[-1].draining


def test_an_agent_stays_what_it_is_when_the_deployed_revision_cannot_be_had(agent: Agent) -> None:
    # Given a machine that has no room for another revision, when the agent is told of it
    agent.full.touch()
    agent.deployed.write_text("two")
    agent.process.send_signal(signal.SIGHUP)
    eventually(lambda: "No space left" in Path(agent.log.name).read_text(), "a word of that")
    # Then it serves on, and becomes that revision when it is told again
    known = len(agent.reports())
    eventually(lambda: len(agent.reports()) > known, "a further report")
    assert agent.reports()[-1].revisions == ("one",)
    agent.full.unlink()
    agent.process.send_signal(signal.SIGHUP)
    eventually(lambda: agent.reports()[-1].revisions == ("two",), "slots of the new revision", 20)


def test_an_agent_can_become_an_older_revision(agent: Agent) -> None:
    # Given a deployed revision that cannot tell its environment, when the agent is told of it
    agent.old.touch()
    agent.deployed.write_text("zero")
    agent.process.send_signal(signal.SIGHUP)
    # Then it becomes that one, which can be told to drain
    eventually(lambda: agent.reports()[-1].revisions == ("zero",), "slots of the old revision", 20)
    agent.process.send_signal(signal.SIGUSR1)
    assert agent.process.wait(20) == 0


def test_what_a_slot_has_is_in_every_report_of_an_agent_that_becomes_another_one(agent: Agent) -> None:
    # Given a slot that has begun a chunk, whose model does not come
    jobs = JobQueue(agent.redis)
    lasting = campaign("c1")
    jobs.keep_campaign(lasting)
    jobs.keep_prepared("c1", prepared(1))
    jobs.put_chunk("w1", Chunk("c1-1", "c1", (Attempt(0, 1),), shared=False))
    eventually(lambda: agent.reports()[-1].holds, "a report of the chunk")
    known = len(agent.reports())
    # When the agent becomes another revision
    agent.deployed.write_text("two")
    agent.process.send_signal(signal.SIGHUP)
    eventually(lambda: "two" in agent.reports()[-1].revisions, "a slot of the new revision", 20)
    # Then the foreman was told of it all the time
    for report in agent.reports()[known:]:
        assert [held.chunk for held in report.holds] == ["c1-1"]


def test_a_dead_slot_is_told_of_and_replaced(agent: Agent) -> None:
    # Given two slots, when one is killed
    victim = agent.children()[0]
    os.kill(victim, signal.SIGKILL)
    # Then the foreman is told, and there are two again
    eventually(lambda: any(isinstance(event, SlotDied) for event in agent.events()), "the news of it")
    eventually(lambda: len(agent.children()) == 2 and victim not in agent.children(), "a new slot")
    eventually(lambda: len(agent.serving()) == 2, "two slots that wait for work")


@pytest.mark.parametrize("why", ["hangs", "busy"])
def test_an_agent_reports_while_it_ends_and_removes_what_a_dead_slot_has_left(agent: Agent, why: str) -> None:
    # Given a slot that leaves processes which do not end, or so many files that it takes long to remove them
    slow: Path = getattr(agent, why)
    slow.touch()
    left = agent.private / "slot1.c1-0-0" / "results"
    left.mkdir(parents=True)
    # When it is killed, the other one ends, and another revision is deployed
    (slot1,) = [pid for pid in agent.children() if b"slot1" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    (slot2,) = set(agent.children()) - {slot1}
    os.kill(slot1, signal.SIGKILL)
    os.kill(slot2, signal.SIGTERM)
    eventually(lambda: not agent.children(), "the end of both")
    agent.deployed.write_text("two")
    agent.process.send_signal(signal.SIGHUP)
    # Then the agent reports on, with the reason why it starts no slot into that, nor leaves it to another revision
    eventually(lambda: "what slot1 " in agent.reports()[-1].trouble, "the reason")
    known = len(agent.reports())
    eventually(lambda: len(agent.reports()) > known + 1, "further reports")
    assert left.exists()
    assert not agent.children()
    assert agent.reports()[-1].revisions == ("one",)
    assert SlotDied("w1", "slot1") not in agent.events()
    # … until nothing is left: then the foreman is told
    slow.unlink()
    eventually(lambda: agent.reports()[-1].revisions == ("two",), "slots of the new revision", 20)
    assert not agent.reports()[-1].trouble
    assert SlotDied("w1", "slot1") in agent.events()
    assert not left.parent.exists()


def test_an_agent_that_drains_removes_what_a_dead_slot_has_left_before_it_ends(agent: Agent) -> None:
    # Given a dead slot of which something is left that takes long, when the agent is told to drain
    agent.hangs.touch()
    left = agent.private / "slot1.c1-0-0" / "results"
    left.mkdir(parents=True)
    (slot1,) = [pid for pid in agent.children() if b"slot1" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(slot1, signal.SIGKILL)
    eventually(lambda: slot1 not in agent.children(), "that the agent took note of it")
    agent.process.send_signal(signal.SIGUSR1)
    eventually(lambda: agent.reports()[-1].draining and not agent.children(), "that no slot is there")
    known = len(agent.reports())
    eventually(lambda: len(agent.reports()) > known, "a further report")
    # Then it ends when that is gone
    assert agent.process.poll() is None
    agent.hangs.unlink()
    assert agent.process.wait(20) == 0
    assert SlotDied("w1", "slot1") in agent.events()
    assert not left.parent.exists()
