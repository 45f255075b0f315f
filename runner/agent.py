"""One agent per host: keeps the slots (and the builder) alive, uploads what they finish, reports how the machine is.

On SIGUSR1 it drains: every slot finishes its job, what is finished is uploaded, and the agent ends.  On SIGHUP it takes
over the revision of labfleet's code that the git server has now: it becomes the new agent in the same process, and
each slot is replaced when its job is done.  What its slots have must not count as lost meanwhile: it reports until all
is ready, and then as soon as each of them has told it what it has.
"""

import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass

from runner import curve, disk, shell
from runner.head import Head
from runner.holdings import Leases
from runner.housekeeping import regularly
from runner.line import Line
from runner.machine import Machine, WorkerSettings
from runner.messages import Event, HostReport, HostUp, SlotDied
from runner.successor import Successor, hold_back, listen
from runner.toolchain import Toolchains
from runner.uploader import Uploader

log = logging.getLogger(__name__)

#: Seconds between looks at the workers, and between reports.
LOOK, REPORT = 0.5, 2.0

#: Seconds after which it is told that something a dead worker has left is still there.
LONG_TIDYING = 10.0

#: Seconds between looks while workers wait for their start.
SHORT_LOOK = 0.05

#: The variable by which an agent hands its workers over to its successor.
WORKERS = "LABFLEET_WORKERS"

BUILDER = "builder"

#: Parcels that a report names, of those in the spool.
MOST_NAMED = 1000


@dataclass
class Worker:
    """A slot or the builder: its process and the revision of labfleet's code that it runs."""

    process: shell.Process
    revision: str
    #: It was told to end after its job.
    retires: bool = False


class Agent:
    """Serves until the process is ended, or drained.  Workers end with it."""

    def __init__(self, machine: Machine, line: Line, head: Head) -> None:
        self._machine, self._paths, self._line, self._head = machine, machine.paths, line, head
        self._uploader = Uploader(machine.paths, head, line)
        self._leases = Leases(machine.paths.endpoint("agent"))
        self._toolchain = ""
        self._key = curve.own_keys(machine.paths.keys, "worker").public.decode() if machine.settings else ""
        self._workers: dict[str, Worker] = {}
        #: Workers that are to be started → what the foreman has to be told before; None: it knows all.
        self._due: dict[str, Event | None] = {}
        #: Dead workers → threads in which what they have left goes: that may take longer than this host's leases last.
        self._tidying: dict[str, threading.Thread] = {}
        self._tidying_since = 0.0
        self._woken = threading.Event()
        self._drains = False
        self._changes = False
        self._successor: Successor | None = None
        #: Is nothing delivered any more, since the successor takes over?
        self._hands_over = False
        #: The workers that an agent before this one had, and until when the first report waits for their word.
        self._adopted: list[str] = []
        self._listens_until = 0.0

    def _identify(self, image: str) -> None:
        """Find out with what this machine compiles: OMNeT++ is read for that, and the foreman waits to hear of us."""
        self._toolchain = Toolchains(image).identify(os.environ)

    def run(self) -> None:
        """Serve."""
        shell.adopt_orphans()
        self._leases.start()
        self._uploader.start()
        regularly.tidy_worker(self._machine, shares_store=self._head.shares_store)
        if self._machine.settings:
            threading.Thread(target=self._identify, args=[self._machine.settings.image], daemon=True).start()
            signal.signal(signal.SIGUSR1, lambda *_: self._wake(drains=True))
            signal.signal(signal.SIGHUP, lambda *_: self._wake(changes=True))
            listen()  # this thread alone
        if handed_over := os.environ.pop(WORKERS, ""):
            self._take_over(json.loads(handed_over))
        else:
            self._begin()
        next_report, trouble = time.monotonic(), ""
        while not (self._drains and not self._workers and not self._tidying and self._is_all_told()):
            self._watch_workers()
            self._tell_of_dead()
            self._start_due()
            shell.reap()
            may_report = self._may_report()
            if may_report and (time.monotonic() >= next_report or self._trouble() != trouble):
                next_report, trouble = time.monotonic() + REPORT, self._trouble()
                self._line.post(self._report())
            if not self._tidying:  # the thread would not be there any more
                self._change()
            self._woken.wait(LOOK if may_report and not self._due and not self._tidying else SHORT_LOOK)
            self._woken.clear()
        self._line.post(self._report())
        self._line.flush()

    def _is_all_told(self) -> bool:
        """Say whether everything that was finished here is delivered, and the foreman knows."""
        return not self._uploader.waiting() and self._line.is_empty()

    def _wake(self, *, drains: bool = False, changes: bool = False) -> None:
        self._drains = self._drains or drains
        self._changes = self._changes or changes
        self._woken.set()

    # ---- beginning, and becoming another revision ----

    def _begin(self) -> None:
        """Have all workers started; whatever an earlier agent's have left behind is removed."""
        shutil.rmtree(self._paths.private, ignore_errors=True)
        self._paths.private.mkdir(parents=True)
        for half in self._paths.spool.glob(".*"):
            shutil.rmtree(half, ignore_errors=True)
        up = HostUp(self._machine.name, self._machine.slots, self._key)
        self._line.post(up)
        self._due = dict.fromkeys(self._wanted(), up)

    def _wanted(self) -> list[str]:
        """Return the names of this host's workers."""
        settings = self._machine.settings
        builds = not isinstance(settings, WorkerSettings) or settings.builder
        return [*(f"slot{index + 1}" for index in range(self._machine.slots)), *([BUILDER] if builds else [])]

    def _change(self) -> None:
        """Go on with becoming another revision, if that is wanted; one that drains ends instead."""
        if self._drains and not self._hands_over:
            self._changes, self._successor = False, None
        elif self._successor and self._successor.is_ready:
            self._hands_over = True
            self._uploader.stop()
            if self._uploader.is_stopped() and self._line.is_empty():
                self._hand_over(self._successor)
        elif self._changes:
            self._changes, self._successor = False, Successor(self._woken.set)

    def _hand_over(self, successor: Successor) -> None:
        """Become the agent of another revision, in this very process: its children stay its children."""
        log.warning("taking over the deployed revision")
        self._line.post(self._report())
        self._line.flush()
        handed = {name: [worker.process.pid, worker.revision] for name, worker in self._workers.items()}
        # What it was told since is left to the new one, and what it is told from now on.
        hold_back()
        told = [*([signal.SIGHUP] if self._changes else []), *([signal.SIGUSR1] if self._drains else [])]
        successor.become("agent", told, **{WORKERS: json.dumps(handed)})

    def _take_over(self, handed: dict[str, tuple[int, str]]) -> None:
        """Adopt a predecessor's workers; those of another revision end after their job, and are replaced."""
        self._adopted, self._listens_until = [*handed], time.monotonic() + REPORT
        for name, (pid, revision) in handed.items():
            self._workers[name] = Worker(shell.Process(pid), revision)
        for name in self._wanted():
            if name not in self._workers:
                self._start(name)
        for worker in self._workers.values():
            if worker.revision != self._machine.revision:
                self._retire(worker)

    # ---- workers ----

    def _start(self, name: str) -> None:
        role = BUILDER if name == BUILDER else "slot"
        argv = [sys.executable, "-m", "runner.services", role, name]
        if self._machine.settings:  # the machine's journal is the log
            process = shell.start(argv, cwd=self._paths.home, env=os.environ, output=2, dies_with_parent=True)
        else:
            with (self._paths.service_logs / f"{name}.log").open("ab") as output:
                process = shell.start(argv, cwd=self._paths.home, env=os.environ, output=output, dies_with_parent=True)
        self._workers[name] = Worker(process, self._machine.revision)

    def _start_due(self) -> None:
        """Start workers as soon as the foreman has been told that those before them are gone.

        Told later, it would take what the new ones have begun meanwhile for lost.
        """
        if self._drains:
            self._due.clear()
        if self._tidying:  # while processes are being ended, none can be started, and the reports cannot wait for that
            return
        for name in [name for name, news in self._due.items() if news is None or self._line.has_left(news)]:
            del self._due[name]
            self._start(name)

    def _retire(self, worker: Worker) -> None:
        """Let a worker end after its job."""
        if not worker.retires:
            worker.retires = True
            worker.process.signal(signal.SIGTERM)

    def _watch_workers(self) -> None:
        """Have workers that ended started again; the foreman is told of those that died: they may have had runs."""
        for name, worker in list(self._workers.items()):
            if self._drains:
                self._retire(worker)
            status = worker.process.wait(0)
            if status is None:
                continue
            del self._workers[name]
            # Told to end before it could listen, it ends by the signal; it had no job yet.
            if not worker.retires or status not in {0, -signal.SIGTERM}:
                log.warning("%s ended with status %s", name, status)
                if not self._tidying:
                    self._tidying_since = time.monotonic()
                self._tidying[name] = threading.Thread(target=self._tidy_up_after, args=[name], daemon=True)
                self._tidying[name].start()
            elif not self._drains:
                self._due[name] = None

    def _tell_of_dead(self) -> None:
        """Tell the foreman of the workers that died of which nothing is left any more."""
        for name in [name for name, thread in self._tidying.items() if not thread.is_alive()]:
            del self._tidying[name]
            self._leases.forget(name)
            died = SlotDied(self._machine.name, name)
            self._line.post(died)
            self._due[name] = died

    def _tidy_up_after(self, name: str) -> None:
        """End what a dead worker had started, and remove what it has left half done."""
        try:
            shell.end_strays(shell.is_connection)
        except OSError:  # what it has left of files has to go all the same
            log.exception("what %s has started", name)
        for path in self._paths.half_done_by(name):
            shutil.rmtree(path, ignore_errors=True)

    # ---- reports ----

    def _may_report(self) -> bool:
        """Say whether every worker has had the time to tell what it has."""
        return time.monotonic() >= self._listens_until or self._leases.has_heard(self._adopted)

    def _trouble(self) -> str:
        """Return what keeps this machine from working, in a sentence; empty if nothing does."""
        return disk.shortage(self._paths.home) or self._uploader.trouble or self._left_behind()

    def _left_behind(self) -> str:
        """Return whose processes or files are still there though they should be gone, in a sentence."""
        if not self._tidying or time.monotonic() - self._tidying_since < LONG_TIDYING:
            return ""
        names = " and ".join(sorted(self._tidying))
        return f"what {names} left behind is still being removed, and nothing begins until then"

    def _report(self) -> HostReport:
        settings = self._machine.settings
        memory = _memory()
        room = shutil.disk_usage(self._paths.home)
        revisions = {worker.revision for name, worker in self._workers.items() if name != BUILDER}
        revisions |= {self._machine.revision for name in (*self._due, *self._tidying) if name != BUILDER}
        holds = self._leases.current()  # before the spool: what a slot no longer has is there already
        newest_first = sorted(revisions, key=lambda revision: revision != self._machine.revision)
        return HostReport(
            self._machine.name,
            self._machine.slots,
            draining=self._drains,
            tags=settings.tags if isinstance(settings, WorkerSettings) else (),
            desktop=isinstance(settings, WorkerSettings) and settings.desktop,
            load=os.getloadavg()[0],
            memory_free=memory.get("MemAvailable", 0),
            memory_total=memory.get("MemTotal", 0),
            disk_free=room.free,
            disk_total=room.total,
            image=settings.image if settings else "",
            revisions=tuple(newest_first),
            holds=holds,
            spool=tuple(self._uploader.waiting()[:MOST_NAMED]),
            trouble=self._trouble(),
            toolchain=self._toolchain,
            builder=isinstance(settings, WorkerSettings) and settings.builder,
            key=self._key,
        )


def _memory() -> dict[str, int]:
    """Return the sizes in /proc/meminfo in bytes."""
    with open("/proc/meminfo") as file:
        fields = (line.split() for line in file)
        return {words[0].rstrip(":"): int(words[1]) * 1024 for words in fields if len(words) == 3}
