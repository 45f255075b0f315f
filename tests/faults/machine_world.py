"""A lab of machines that faults are injected into: cables, power, and what travels between them."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from runner.scheduling.leases import LEASE
from tests.faults import campaign, processes
from tests.faults.campaign import Verdict
from tests.faults.injection import Injection
from tests.faults.passing import Passing, left_after
from tests.lab import campaigns
from tests.lab.client import RESEARCHER
from tests.lab.engine import docker
from tests.lab.machine import Machine
from tests.lab.machines import Lab

WORKER_HOME, HEAD_HOME = "/var/lib/labfleet/worker", "/var/lib/labfleet/head"

#: Seconds for which a machine is off, or hangs.
OFF, HANG = 12.0, 12.0
#: Seconds that everything may take after a campaign has ended until nothing is left of it.
CLEAN = 60.0
#: Seconds that is waited for a transfer, to cut it in the middle.
TRANSFER = 5.0


class MachineWorld:
    """A provisioned lab, and one project after the other at its client."""

    def __init__(self, lab: Lab, rng: random.Random) -> None:
        """``rng``: decides who is hit."""
        self._rng = rng
        self._lab = lab
        self._stray = campaign.stray()
        self._count = 0
        self._passing = Passing()
        self._pause = threading.Event()
        self._workers = [machine for name, machine in lab.machines.items() if name != "head"]
        self._ids = {
            name: docker("inspect", "--format", "{{.Id}}", machine.container).text
            for name, machine in lab.machines.items()
        }
        self.faults: dict[str, Callable[[], Injection | None]] = {
            "network cut for 5 s": lambda: self._cut(5.0),
            "network cut for 30 s": lambda: self._cut(30.0),
            "machine hangs for 12 s": self._hang,
            "machine killed": self._kill,
            "head killed": self._kill_head,
            "result transfer cut": self._cut_transfer,
        }

    # ---- campaigns ----

    def start(self) -> None:
        """Start a campaign in a new project."""
        self._count += 1
        self._project = f"/home/{RESEARCHER}/faults{self._count}-{os.getpid()}"
        for name, text in campaign.files(self._stray).items():
            mode = "755" if name == "simulate" else "644"
            self._lab.client.write(f"{self._project}/{name}", text, owner=RESEARCHER, mode=mode)
        self._lab.client.exec_as_root(["chown", "-R", f"{RESEARCHER}:{RESEARCHER}", self._project])
        self._running = campaigns.start(self._lab.client, self._project, "--json")

    def poll(self) -> bool:
        """Say whether the campaign is under way; what is due to be undone is undone."""
        self._passing.undo_due()
        self._pause.wait(0.1)
        return self._running.process.poll() is None

    def undo_all(self) -> None:
        """Undo what was only to last for a while."""
        self._passing.undo_all()

    def finish(self) -> tuple[Any, Verdict]:
        """Return the manifest, and whether everything is as it should be."""
        said = self._running.wait(120)
        if said.status != 0:
            raise AssertionError(f"the client ended with {said.status}: {said.stdout}\n{said.stderr}")
        told = campaigns.manifest(self._lab.client, self._project)
        verdict = campaign.judge(told, self._results(), self._committed(told["campaign"]), campaign.RUNS)
        verdict.wrong += left_after(CLEAN, self._left)
        return told, verdict

    def _results(self) -> dict[str, str]:
        found = "{path.name: path.read_text() for path in pathlib.Path(sys.argv[1]).glob('*.sca')}"
        script = f"import json, pathlib, sys; print(json.dumps({found}))"
        done = self._lab.client.run(["python3", "-c", script, f"{self._project}/results"])
        results: dict[str, str] = json.loads(done.stdout)
        return results

    def _committed(self, name: str) -> dict[int, list[str]]:
        attempts: dict[int, list[str]] = {}
        for folder in self._lab.head.exec_as_root(["ls", f"{HEAD_HOME}/campaigns/{name}/runs"]).text.split():
            attempts.setdefault(int(folder.split(".")[0]), []).append(folder)
        return attempts

    def _left(self) -> Iterator[str]:
        """Yield what is still there of the runs."""
        yield from self._processes()
        yield from self._files()

    def _processes(self) -> Iterator[str]:
        for pid, argv in processes.all_of_them():
            if self._stray in argv:
                yield f"process {pid} is left: {' '.join(argv)}"

    def _files(self) -> Iterator[str]:
        places = dict.fromkeys(self._workers, f"{WORKER_HOME}/{{spool,private,outgoing}}")
        for machine, place in {**places, self._lab.head: f"{HEAD_HOME}/incoming"}.items():
            listed = machine.exec_as_root(["bash", "-c", f"ls -A {place} 2>/dev/null | grep -v : || true"], check=False)
            yield from (f"{name} is left on {machine.name}" for name in listed.text.split())

    # ---- what runs ----

    def in_flight(self) -> dict[str, list[int]]:
        """Return the runs of the processes that work just now, by machine and slot; the kernel tells, not labfleet."""
        found = {}
        for run in processes.simulations(WORKER_HOME):
            group = processes.container(run.pid)
            name = next((name for name, full in self._ids.items() if full in group), None)
            if name:
                found[f"{name}/{run.slot}"] = run.runs
        return found

    def _busy(self) -> Machine | None:
        """Return a machine with runs, if nothing is wrong with any machine just now: one has to stay."""
        if self._passing:
            return None
        names = {place.split("/")[0] for place in self.in_flight()}
        busy = [machine for machine in self._workers if machine.name in names]
        return self._rng.choice(busy) if busy else None

    # ---- faults ----

    def _cut(self, seconds: float) -> Injection | None:
        machine = self._busy()
        if machine is None:
            return None
        is_long = seconds > LEASE
        told = Injection(
            f"network cut for {seconds:.0f} s", time.time(), machine.name, takes_runs=is_long, promised=is_long
        )
        machine.disconnect()
        self._passing.later(seconds, machine.connect)
        return told

    def _hang(self) -> Injection | None:
        machine = self._busy()
        if machine is None:
            return None
        told = Injection("machine hangs for 12 s", time.time(), machine.name, takes_runs=True, promised=True)
        machine.pause()
        self._passing.later(HANG, machine.resume)
        return told

    def _kill(self) -> Injection | None:
        machine = self._busy()
        if machine is None:
            return None
        told = Injection("machine killed", time.time(), machine.name, takes_runs=True, promised=True)
        machine.kill()
        self._passing.later(OFF, machine.start)
        return told

    def _kill_head(self) -> Injection | None:
        if self._passing:
            return None
        told = Injection("head killed", time.time())
        self._lab.head.kill()
        self._passing.later(2.0, self._lab.head.start)
        return told

    def _cut_transfer(self) -> Injection | None:
        """End an rsync that brings results to the head."""
        deadline = time.monotonic() + TRANSFER
        while time.monotonic() < deadline:
            for pid, argv in processes.all_of_them():
                if (
                    argv
                    and argv[0].endswith("rsync")
                    and "--server" in argv
                    and self._ids["head"] in processes.container(pid)
                ):
                    now = time.time()
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    return Injection("result transfer cut", now)
        return None
