"""A local lab that faults are injected into: its processes, its disk, its clock."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from runner import shell
from tests.faults import campaign, processes
from tests.faults.campaign import Verdict
from tests.faults.injection import SHIFT, Injection
from tests.faults.passing import Passing, left_after
from tests.faults.wrong_clock import WrongClock
from tests.lab_fixture import LocalLab

#: Slots of the lab: more than the machine has cores, as its runs mostly sleep.
SLOTS = 4
#: Seconds for which a process hangs: longer than a lease.
HANG = 12.0
#: Seconds for which the disk is full, and its size: all of the lab's data are on it.
FULL, DISK = 4.0, "96m"
#: Seconds for which the clock is wrong.
SHIFTED = 5.0

#: Seconds that everything may take after a campaign has ended until nothing is left of it.
CLEAN = 20.0


class LocalWorld:
    """One local lab, and one project after the other."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        """``rng``: decides who is hit."""
        self._rng = rng
        self._folder = folder
        self.home = folder / "lab"
        self.home.mkdir(parents=True)
        self._clock = WrongClock(folder)
        self._has_disk = self._mount()
        variables = {"LABFLEET_SLOTS": str(SLOTS), "LABFLEET_IDLE_SECONDS": "600", **self._clock.variables}
        self.lab = LocalLab(self.home, variables)
        self._stray = campaign.stray()
        self._count = 0
        self.project = folder / "none"
        self._passing = Passing()
        self._pause = threading.Event()
        self.faults: dict[str, Callable[[], Injection | None]] = {
            "slot killed": self._kill_slot,
            "slot hangs for 12 s": self._hang_slot,
            "agent killed": lambda: self._kill("agent", takes_runs=True),
            "agent hangs for 12 s": lambda: self._hang("agent"),
            "foreman killed": lambda: self._kill("foreman"),
            "foreman hangs for 12 s": lambda: self._hang("foreman"),
            "hub killed": lambda: self._kill("hub"),
            "Redis killed": lambda: self._kill("redis"),
            "client killed": self._kill_client,
            "clock 10 min off": self._shift_clock,
        }
        if self._has_disk:
            self.faults["disk full"] = self._fill_disk

    def _mount(self) -> bool:
        """Give the lab a small disk of its own; False where that is not allowed."""
        done = shell.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(self.home)], check=False)
        return done.status == 0

    def close(self) -> None:
        """End the lab and remove its disk."""
        self.undo_all()
        self.lab.stop()
        if self._has_disk:
            shell.run(["umount", "--lazy", str(self.home)], check=False)

    # ---- campaigns ----

    def start(self) -> None:
        """Start a campaign in a new project."""
        self._count += 1
        self.project = self._folder / f"project{self._count}"
        campaign.write(self.project, self._stray)
        self._client = self.lab.start("campaign", "--json", cwd=self.project)

    def poll(self) -> bool:
        """Say whether the campaign is under way; what is due to be undone is undone."""
        self._passing.undo_due()
        self._pause.wait(0.05)
        return self._client.poll() is None

    def undo_all(self) -> None:
        """Undo what was only to last for a while."""
        self._passing.undo_all()

    def finish(self) -> tuple[Any, Verdict]:
        """Return the manifest, and whether everything is as it should be."""
        stdout, stderr = self._client.communicate(timeout=120)
        if self._client.returncode != 0:
            raise AssertionError(f"the client ended with {self._client.returncode}: {stdout}\n{stderr}")
        told = json.loads((self.project / "results" / "campaign.json").read_text())
        results = {path.name: path.read_text() for path in (self.project / "results").glob("*.sca")}
        verdict = campaign.judge(told, results, self._committed(told["campaign"]), campaign.RUNS)
        verdict.wrong += left_after(CLEAN, self._left)
        return told, verdict

    def _committed(self, name: str) -> dict[int, list[str]]:
        attempts: dict[int, list[str]] = {}
        for folder in (self.home / "campaigns" / name / "runs").glob("*.*"):
            attempts.setdefault(int(folder.name.split(".")[0]), []).append(folder.name)
        return attempts

    def _left(self) -> Iterator[str]:
        """Yield what is still there of the runs."""
        yield from self._processes()
        yield from self._files()

    def _processes(self) -> Iterator[str]:
        for pid, argv in processes.all_of_them():
            if self._stray in argv:
                yield f"process {pid} is left: {' '.join(argv)}"
        for slot, runs in self.in_flight().items():
            yield f"runs {runs} are still running on {slot}"

    def _files(self) -> Iterator[str]:
        for folder in ("spool", "incoming", "private", "outgoing"):
            for path in (self.home / folder).glob("*"):
                yield f"{path} is left"
        for pattern in ("**/.*.new", "**/.labfleet-*"):
            for path in (self.project / "results").glob(pattern):
                yield f"{path} is left"
        for path in (self.home / "campaigns").glob("**/.*.new"):
            yield f"{path} is left"

    # ---- what runs ----

    def in_flight(self) -> dict[str, list[int]]:
        """Return the runs of the processes that work just now, by slot; the kernel tells, not labfleet."""
        return {run.slot: run.runs for run in processes.simulations(str(self.home))}

    def _service(self, name: str) -> int | None:
        if name != "redis":
            return self.lab.service(*name.split())
        supervisor = self.lab.supervisor
        for pid, argv in processes.all_of_them():
            if argv and argv[0].startswith("redis-server") and processes.parent(pid) == supervisor:
                return pid
        return None

    # ---- faults ----

    def _signal(self, pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it has ended by itself, or another fault ended it

    def _kill(self, name: str, *, takes_runs: bool = False) -> Injection | None:
        pid = self._service(name)
        if pid is None:
            return None
        title = f"{name.capitalize() if name == 'redis' else name} killed"
        told = Injection(title, time.time(), takes_runs=takes_runs, promised=takes_runs)
        self._signal(pid, signal.SIGKILL)
        return told

    def _busy_slot(self) -> tuple[str, int] | None:
        """Return a slot that works, and its process."""
        running = sorted(self.in_flight())
        slot = self._rng.choice(running) if running else ""
        pid = self._service(f"slot {slot}") if slot else None
        return None if pid is None else (slot, pid)

    def _kill_slot(self) -> Injection | None:
        if (busy := self._busy_slot()) is None:
            return None
        slot, pid = busy
        told = Injection("slot killed", time.time(), slot=slot, takes_runs=True, promised=True)
        self._signal(pid, signal.SIGKILL)
        return told

    def _hang_slot(self) -> Injection | None:
        if (busy := self._busy_slot()) is None:
            return None
        slot, pid = busy
        return self._stop(pid, Injection("slot hangs for 12 s", time.time(), slot=slot, takes_runs=True, promised=True))

    def _hang(self, name: str) -> Injection | None:
        pid = self._service(name)
        takes_runs = name == "agent"
        told = Injection(f"{name} hangs for 12 s", time.time(), takes_runs=takes_runs, promised=takes_runs)
        return None if pid is None else self._stop(pid, told)

    def _stop(self, pid: int, told: Injection) -> Injection:
        """Stop a process for a while."""
        self._signal(pid, signal.SIGSTOP)
        self._passing.later(HANG, lambda: self._signal(pid, signal.SIGCONT))
        return told

    def _kill_client(self) -> Injection | None:
        """Kill the client; another one comes back to the campaign."""
        if not (self.home / "notes").is_dir() or not list((self.home / "notes").glob("*.json")):
            return None
        now = time.time()
        self._client.kill()
        self._client.communicate()
        self._client = self.lab.start("attach", "--json", cwd=self.project)
        return Injection("client killed", now)

    def _fill_disk(self) -> Injection:
        ballast = self.home / "ballast"
        with ballast.open("wb", buffering=0) as file:
            block = b"\0" * (1 << 20)
            try:
                while True:
                    file.write(block)
            except OSError:
                pass
        self._passing.later(FULL, lambda: ballast.unlink(missing_ok=True))
        return Injection("disk full", time.time())

    def _shift_clock(self) -> Injection:
        now = time.time()
        self._clock.set(SHIFT)
        self._passing.later(SHIFTED, lambda: self._clock.set(0))
        return Injection("clock 10 min off", now)
