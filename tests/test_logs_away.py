"""Logs are whole though their hub, a real one, answers late, or the lab is away while a run ends."""

import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from runner import lab
from runner.lab import ForemanClient
from runner.labs import Connection
from runner.log_stream import run_stream, viewer
from runner.logs import reading
from runner.messages import RunCommitted, RunStarted, Submit
from runner.model import Campaign
from runner.paths import AttemptPaths
from runner.report.consoles import Printer
from tests.campaigns import campaign
from tests.conftest import eventually
from tests.lab_fixture import ROOT
from tests.played_lab import PlayedLab, played_lab, prepared

#: Seconds after which a reader here believes that nothing more comes, and longer than that.
OVERDUE, LONG = 3.0, 3.5

#: What a hub's process does when it is told to: the lab's home, where slots send, and where viewers ask.
HUB = """
import sys
from pathlib import Path
from runner.log_stream import Hub
from runner.paths import LabPaths
print("ready", flush=True)
input()
Hub(LabPaths(Path(sys.argv[1]))).run(sys.argv[2], sys.argv[3])
"""

#: As many hubs as a test has, one after the other.
HUBS = 2


def numbered(begin: int, end: int) -> bytes:
    """Return lines that tell which ones they are."""
    return b"".join(b"line %d\n" % number for number in range(begin, end))


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process; its pipes are closed."""
    process.kill()
    process.communicate()


class Follower:
    """Somebody who follows one run of a campaign, or several; the first attempts at them have begun."""

    def __init__(self, played: PlayedLab) -> None:
        self.played, self.what = played, campaign("20261128-101010-abcd")
        self.notes: list[str] = []
        command = [sys.executable, "-c", HUB, str(played.paths.home), f"{played.hub}-slots", played.hub]
        pipe = subprocess.PIPE
        self._to_be = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) for _ in range(HUBS)]
        for process in self._to_be:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        self._hub: subprocess.Popen[bytes] | None = None
        self._output, self._connection = io.StringIO(), Connection(None)
        begun = [RunStarted(self.what.id, run, 1, "red", "slot1", 1.0) for run in range(2)]
        played.played.script = lambda _: [prepared(self.what, 2), *begun]
        submit(self._connection, self.what)

    def start_hub(self) -> None:
        """Have a hub, which answers soon, as its Python is there already; there is no hub before."""
        self._hub = self._to_be.pop()
        assert self._hub.stdin
        self._hub.stdin.write(b"\n")
        self._hub.stdin.flush()

    def kill_hub(self) -> None:
        """Have no hub any more."""
        if self._hub:
            end(self._hub)

    def end_hubs(self) -> None:
        """Leave no process of a hub's."""
        self.kill_hub()
        for process in self._to_be:
            end(process)

    def begin(self, *runs: int, tail: int | None = None) -> None:
        printer = Printer(self._output)
        self.reader = reading.Reading(self._connection, self.what.id, printer, self.notes.append, tail=tail)
        self.reader.listen()
        self._thread = threading.Thread(target=self.reader.follow, args=([(run, None) for run in runs],), daemon=True)
        self._thread.start()

    def lines(self) -> bytes:
        return self._output.getvalue().encode()

    def at_hub(self, run: int) -> Path:
        return self.played.paths.log(self.what.id, run_stream(run, 1))

    def print(self, data: bytes, run: int = 0) -> None:
        """Let a run print something that the hub gets."""
        path = self.at_hub(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(data)

    def ended(self, kind: Literal["done", "lost"], rest: bytes) -> RunCommitted:
        """Let run 0 end with the rest of its log; nobody has told yet."""
        self.print(rest)
        told = self.played.committed(self.what, 0, kind=kind)
        log = AttemptPaths(self.played.paths.campaign(self.what.id).committed(0, 1, kind == "done")).log
        log.unlink()
        if kind == "done":
            self.at_hub(0).rename(log)
        return told

    def close(self) -> None:
        """Wait until there is nothing more to follow."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        self.reader.close()
        self._connection.close()


def submit(connection: Connection, what: Campaign) -> None:
    client = ForemanClient(connection.context, connection.lab)
    client.ask(Submit(what))
    client.close()


@pytest.fixture
def follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follower]:
    """Somebody impatient."""
    monkeypatch.setattr(reading, "SILENCE", 0.2)
    monkeypatch.setattr(reading, "PAUSE", 0.1)
    monkeypatch.setattr(reading, "OVERDUE", OVERDUE)
    monkeypatch.setattr(viewer, "SILENCE", 0.2)
    monkeypatch.setattr(lab, "PATIENCE", LONG)
    with played_lab(tmp_path / "home", monkeypatch) as played:
        follower = Follower(played)
        yield follower
        follower.end_hubs()


def test_the_rest_of_a_log_comes_though_the_lab_was_away_when_its_run_ended(follower: Follower) -> None:
    # Given somebody who follows a run, and a lab that is away
    follower.print(numbered(0, 1000))
    follower.start_hub()
    follower.begin(0)
    eventually(lambda: follower.lines() == numbered(0, 1000), "the first lines")
    follower.played.played.leave()
    follower.kill_hub()
    eventually(lambda: follower.notes, "that the lab does not answer")
    # When the run ends meanwhile, and the lab is there again
    told = follower.ended("done", numbered(1000, 50_000))
    follower.played.played.be_exchanged(told)
    follower.start_hub()
    follower.played.played.come_back()
    # Then all of the log comes, once and in order
    follower.close()
    assert follower.notes[-1] == "the lab is back"
    assert follower.lines() == numbered(0, 50_000)


@pytest.mark.parametrize("kind", ["done", "lost"])
def test_the_last_words_of_a_quiet_run_come_though_its_end_is_told_before(
    follower: Follower, kind: Literal["done", "lost"]
) -> None:
    # Given a run that has been quiet for long, and a hub that is being started anew
    follower.print(numbered(0, 10))
    follower.start_hub()
    follower.begin(0)
    eventually(lambda: follower.lines() == numbered(0, 10), "the first lines")
    quiet_from = time.monotonic()
    eventually(lambda: time.monotonic() - quiet_from > LONG, "a long silence")
    follower.kill_hub()
    # When the run's end is told before the hub is there
    follower.played.played.happen(follower.ended(kind, numbered(10, 20)))
    eventually(lambda: follower.reader.story.over, "the run's end")
    follower.start_hub()
    # Then its last lines come all the same
    follower.close()
    assert follower.lines() == numbered(0, 20)
    assert follower.notes == (["run 0: nothing more is known of its log"] if kind == "lost" else [])


def test_only_the_last_lines_come_however_long_the_first_answer_takes(follower: Follower) -> None:
    # Given a log of which more is there than is asked for at first, and a hub that takes its time
    follower.print(numbered(0, 50_000))
    follower.begin(0, tail=3)
    asked = time.monotonic()
    eventually(lambda: time.monotonic() - asked > LONG, "a long silence")
    follower.start_hub()
    # When it answers, then the last lines come, and then all others
    eventually(lambda: follower.lines() == numbered(49_997, 50_000), "the last lines")
    follower.played.played.happen(follower.ended("done", numbered(50_000, 50_010)))
    follower.close()
    assert follower.lines() == numbered(49_997, 50_010)


def test_all_lines_of_a_log_come_that_was_empty_when_the_last_ones_were_asked_for(follower: Follower) -> None:
    # Given somebody who wants the last lines of two runs, of which the first has printed nothing
    follower.print(b"other\n", run=1)
    follower.start_hub()
    follower.begin(0, 1, tail=1)
    eventually(lambda: follower.lines() == b"other\n", "what is there")
    # When that prints several lines at once, then all of them come
    follower.played.played.happen(follower.ended("done", numbered(0, 10)))
    eventually(lambda: follower.lines() == b"other\n" + numbered(0, 10), "the first run's lines")
    follower.played.played.happen(follower.played.committed(follower.what, 1, kind="lost"))
    follower.close()
