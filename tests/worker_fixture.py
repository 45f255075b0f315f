"""A host with its agent and slots, all real, and a test in the place of the foreman."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from redis import Redis

from runner import checkouts, shell
from runner.job_queue import EVENTS, JobQueue, connect
from runner.messages import AnyEvent, ChunkEnded, Held, HostReport, RunDelivered
from runner.model import PROTOCOL, Attempt, Build, Campaign, Chunk, Launch, Limits, Outcome, Prepared, Run, decode
from runner.paths import LabPaths
from tests.conftest import eventually

ROOT = Path(__file__).resolve().parent.parent

#: Does what do.sh says for each run of -r LIST, with RUN and STEM set; says when a run begins, as Cmdenv does.
PROGRAM = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
        -r) runs=$2; shift ;;
    esac
    shift
done
mkdir -p results
for run in $(echo $runs | tr , ' '); do
    echo "General run #$run: \\$x=$run, \\$repetition=0"
    RUN=$run STEM=results/General-x=$run-#0 sh -e ./do.sh || exit $?
done
"""

NO_LIMITS = Limits()

E = TypeVar("E", bound=AnyEvent)


class Host:
    """A local lab's host without a foreman: what it says is in the event stream."""

    def __init__(self, home: Path, slots: int = 1) -> None:
        self.paths = LabPaths(home)
        for folder in (home, self.paths.sockets, self.paths.service_logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = ["--port", "0", "--unixsocket", str(self.paths.redis_socket), "--save", "", "--appendonly", "no"]
        self.server = subprocess.Popen(["redis-server", *options], cwd="/tmp", stdout=subprocess.DEVNULL)
        eventually(self.paths.redis_socket.exists, "redis-server")
        self.redis: Redis = connect(f"unix://{self.paths.redis_socket}")
        self.jobs = JobQueue(self.redis)
        self.slots = slots
        self.log = (self.paths.service_logs / "agent.log").open("wb")
        self.agent = self._started_agent()
        eventually(lambda: self.redis.scard("rq:workers") == slots + 1, "slots and builder that wait for work")

    def _started_agent(self) -> "subprocess.Popen[bytes]":
        more = {"LABFLEET_HOME": str(self.paths.home), "LABFLEET_SLOTS": str(self.slots), "PYTHONPATH": str(ROOT)}
        argv = [sys.executable, "-m", "runner.services", "agent"]
        return subprocess.Popen(argv, env={**os.environ, **more}, stderr=self.log, start_new_session=True)

    def replace_agent(self) -> None:
        """Kill the agent, whose workers go with it, and start another one."""
        self.agent.kill()
        self.agent.wait()
        self.agent = self._started_agent()

    def close(self) -> None:
        """End everything."""
        self.server.send_signal(signal.SIGCONT)
        self.agent.kill()
        self.agent.wait()
        shell.end_marked(self.paths.home)
        self.redis.close()
        self.server.kill()
        self.server.wait()
        self.log.close()
        for path in self.paths.sockets.iterdir():
            path.unlink()

    # ---- what the foreman does ----

    def campaign(self, do: str, *, limits: Limits = NO_LIMITS) -> Campaign:
        """Make a campaign known whose runs 0 to 9 do what a script says."""
        tree, key = "t" * 20, "k" * 20
        checkout = self.paths.checkout(tree, key)
        checkout.mkdir(parents=True)
        for name, text in (("simulate", PROGRAM), ("do.sh", do)):
            (checkout / name).write_text(text)
        (checkout / "simulate").chmod(0o755)
        checkouts.note_boot(checkout)
        variables = [{"x": str(number), "repetition": "0"} for number in range(10)]
        campaign = Campaign(
            id="c1",
            protocol=PROTOCOL,
            project="p",
            name="model",
            commit="c",
            tree=tree,
            sources="s",
            directory=".",
            config="General",
            run_filter="",
            mode="release",
            build=Build(),
            launch=Launch(program="./simulate"),
            environment={"PATH": os.environ["PATH"]},
            submitted=0.0,
            user="u",
            batch=10,
            limits=limits,
        )
        self.jobs.keep_campaign(campaign)
        runs = tuple(Run(number, values) for number, values in enumerate(variables))
        self.jobs.keep_prepared("c1", Prepared(key, False, ("./simulate",), "", runs))
        return campaign

    def put(self, *runs: int, shared: bool = False) -> Chunk:
        """Give the host a chunk."""
        attempts = tuple(Attempt(run, 1) for run in runs)
        chunk = Chunk(f"c1-{'-'.join(map(str, runs))}", "c1", attempts, shared)
        self.jobs.put_chunk(self.name, chunk)
        return chunk

    @property
    def name(self) -> str:
        """The host's name, as it told it."""
        return self.reports()[0].host

    # ---- what it hears ----

    def events(self, kind: type[E]) -> list[E]:
        """Return what was told, of one kind."""
        entries: list[tuple[bytes, dict[bytes, bytes]]] = self.redis.xrange(EVENTS)  # type: ignore[assignment]
        told = [decode(fields[b"event"], AnyEvent) for _, fields in entries]
        return [event for event in told if isinstance(event, kind)]

    def reports(self) -> list[HostReport]:
        """Return the host's reports; there is one."""
        eventually(lambda: self.events(HostReport), "a report")
        return self.events(HostReport)

    def holds(self) -> tuple[Held, ...]:
        """Return what the last report has of leases, whatever their age."""
        return tuple(msgspec.structs.replace(held, age=0.0) for held in self.reports()[-1].holds)

    def next_report(self) -> HostReport:
        """Return a report that was made from now on."""
        before = len(self.reports())
        eventually(lambda: len(self.reports()) > before + 1, "two more reports")
        return self.reports()[-1]

    def outcomes(self, count: int) -> dict[int, Outcome]:
        """Return run → outcome of what was delivered, as soon as there are so many."""
        eventually(lambda: len(self.events(RunDelivered)) >= count, f"{count} outcomes", 60)
        return {event.outcome.run: event.outcome for event in self.events(RunDelivered)}

    def ended(self, chunk: Chunk) -> ChunkEnded:
        """Return how a chunk ended."""
        eventually(lambda: any(event.chunk == chunk.id for event in self.events(ChunkEnded)), "the chunk's end", 60)
        return next(event for event in self.events(ChunkEnded) if event.chunk == chunk.id)

    # ---- processes ----

    def workers(self) -> dict[str, int]:
        """Return name → process id of the slots and the builder that are there."""
        found = {}
        for pid in shell.children(self.agent.pid):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[-3:-2] in ([b"slot"], [b"builder"]):
                found[words[-2].decode()] = pid
        return found

    def worker(self, name: str) -> int:
        """Return the process id of a slot or the builder."""
        return self.workers()[name]


@contextmanager
def running_host(home: Path, slots: int = 1) -> Iterator[Host]:
    """Run a host until it is no longer needed."""
    host = Host(home, slots)
    try:
        yield host
    finally:
        host.close()


def is_alive(pid: int) -> bool:
    """Say whether a process is there; a zombie is."""
    return Path(f"/proc/{pid}").exists()


def waits_for_lock(pid: int) -> bool:
    """Say whether a process waits for a lock between processes."""
    return any(f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines() if "->" in line)


def is_zombie(pid: int) -> bool:
    """Say whether a process has ended, and its parent has not taken note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return False


def pids_in(*files: Path) -> list[int]:
    """Return the process ids that processes have written to files, as soon as they are there."""
    for file in files:
        eventually(lambda file=file: file.exists() and file.read_text().endswith("\n"), f"{file.name}")  # type: ignore[misc]
    return [int(file.read_text()) for file in files]


def seconds_until_gone(pids: Sequence[int], since: float) -> float:
    """Return how long it took, since some moment, until processes have vanished."""
    eventually(lambda: not any(map(is_alive, pids)), f"the end of processes {pids}")
    return time.monotonic() - since
