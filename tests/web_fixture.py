"""The lab's web page as its own process, with a foreman that a test plays and a real log hub."""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.messages import CampaignStatus, Changed, HostReport, MachineStatus, SlotStatus
from runner.paths import LabPaths
from runner.web import whereabouts
from runner.web.people import own_token
from tests.conftest import eventually
from tests.lab_fixture import ROOT
from tests.played_lab import PlayedForeman


@dataclass(frozen=True)
class Answer:
    """What the page's server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.body)


class WebLab:
    """A lab's home with a web page, a hub, and a foreman that is played."""

    def __init__(self, home: Path) -> None:
        self.home, self.paths = home, LabPaths(home)
        self.paths.sockets.mkdir(mode=0o700, parents=True)
        self.foreman = PlayedForeman(self.paths.sockets, self.paths)
        self.foreman.clock = time.time
        self._environment = {**os.environ, "LABFLEET_HOME": str(home), "PYTHONPATH": str(ROOT)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for role in ("hub", "web"):
            self.start(role)
        self.found = self.whereabouts()

    def change(self, *machines: MachineStatus, campaigns: Sequence[CampaignStatus] = (), gone: str = "") -> None:
        """Let machines and campaigns be otherwise, and a campaign go, for those who watch."""
        self.foreman.machines |= {one.name: one for one in machines}
        self.foreman.change(Changed(time.time(), machines, tuple(campaigns), (gone,) if gone else ()))

    def start(self, role: str) -> None:
        command = [sys.executable, "-m", "runner.services", role]
        with (self.home / f"{role}.log").open("ab") as log:
            self._processes[role] = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def kill(self, role: str) -> None:
        self._processes[role].kill()
        self._processes[role].wait()

    def whereabouts(self) -> whereabouts.WebFile:
        """Return where the page is, as soon as its process says so."""

        def found() -> whereabouts.WebFile | None:
            assert self._processes["web"].poll() is None, (self.home / "web.log").read_text()
            said = whereabouts.read(self.paths.web_file)
            return said if said and said.pid == self._processes["web"].pid else None

        eventually(lambda: found() is not None, "the web page's file")
        said = found()
        assert said is not None
        return said

    def token(self, person: str) -> str:
        return own_token(self.paths, person)

    def bearer(self, person: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(person)}"}

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: str = "", port: int = 0
    ) -> Answer:
        """Say one request; names are not made clean, so that tests may send what browsers do not."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.found.page, timeout=30)
        try:
            connection.putrequest(method, path, skip_host="Host" in (headers or {}))
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body.encode())
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read())
        finally:
            connection.close()

    def cookie(self, person: str) -> dict[str, str]:
        """Return what a person's browser sends once it was let in."""
        ticket = self.ask("POST", "/ticket", self.bearer(person)).told["ticket"]
        entered = self.ask("POST", "/enter", {"Origin": self.origin}, ticket)
        assert entered.status == 204
        return {"Cookie": entered.headers["set-cookie"].partition(";")[0]}

    def address(self, person: str) -> str:
        """Return the address that ``labfleet web`` would print."""
        ticket = self.ask("POST", "/ticket", self.bearer(person)).told["ticket"]
        return f"{self.origin}/enter#{ticket},{self.found.dashboard}"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.found.page}"

    @contextmanager
    def events(self, path: str, person: str = "anna") -> "Iterator[Events]":
        connection = http.client.HTTPConnection("127.0.0.1", self.found.page, timeout=30)
        try:
            connection.request("GET", path, headers=self.bearer(person))
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield Events(answer)
        finally:
            connection.close()

    def close(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(30)
        self.foreman.close()
        shutil.rmtree(self.paths.sockets, ignore_errors=True)


class Events:
    """Server-sent events as they come."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer

    def next(self) -> tuple[str, Any]:
        """Return name and data of the next event."""
        name = ""
        while True:
            line = self._answer.readline()
            assert line, "the stream has ended"
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                return name, json.loads(line[6:])

    def until(self, name: str, condition: Any = lambda _: True) -> Any:
        """Return the data of the next event of that name for which something holds."""
        while True:
            found, data = self.next()
            if found == name and condition(data):
                return data


@contextmanager
def web_lab() -> Iterator[WebLab]:
    with tempfile.TemporaryDirectory(prefix="lf-web-") as folder:
        lab = WebLab(Path(folder))
        try:
            yield lab
        finally:
            lab.close()


def machine(name: str, slots: int, runs: Sequence[SlotStatus] = (), state: str = "ready") -> MachineStatus:
    report = HostReport(name, slots, load=1.5, memory_free=5 << 30, memory_total=8 << 30, disk_free=90 << 30)
    return MachineStatus(report, name, len(runs), state, slots=tuple(runs))
