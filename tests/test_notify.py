"""Who is told when a campaign ends or needs somebody: by a real shell and a real web server, and nobody waits long."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from runner import messages, notify
from runner.model import Result
from runner.notify import Attentive, Notifier
from runner.project_file import Notify
from runner.scheduling import explain
from runner.scheduling.state import CampaignState
from tests.campaigns import campaign, outcome_of, started
from tests.conftest import eventually
from tests.played_lab import Watcher

COMING_HOME = Result("c", "aloha", "Foo", "/r", "/r/campaign.json", 1, (), {}, report="/r/report.html")


class Hook(HTTPServer):
    """A web server that remembers what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, str | None, object]] = []
        self.answer = 204
        #: Set: it answers.
        self.goes_on = threading.Event()
        self.goes_on.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/secret"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.server.goes_on.wait()
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.goes_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tells nothing that takes longer than three seconds."""
    monkeypatch.setattr(notify, "LIMIT", 3.0)


def telling(folder: Path, command: str = "", webhook: str = "") -> Notifier:
    notifier = Notifier()
    notifier.of(campaign("c7"), folder, Notify(command, webhook))
    return notifier


def test_a_command_gets_the_news_in_its_environment_and_the_text_as_its_input(tmp_path: Path) -> None:
    # Given a command that keeps what it gets
    notifier = Notifier()
    command = "cat > text; env | grep ^LABFLEET_ | sort > news"
    notifier.of(msgspec.structs.replace(campaign("c7"), config="F\0o\no"), tmp_path, Notify(command))
    # When a campaign ends, with something hostile in its summary
    notifier.tell("failed", "1 failed: \x1b[2J $(touch hit) `touch hit`\0", "the\nwhole $(touch hit)\n", COMING_HOME)
    assert notifier.close() == []
    # Then it is all there, in the project's root, and nothing of it was executed
    assert (tmp_path / "text").read_text() == "the\nwhole $(touch hit)\n\n"
    told = dict(line.split("=", 1) for line in (tmp_path / "news").read_text().splitlines())
    assert {key: told[f"LABFLEET_{key}"] for key in ("STATE", "CAMPAIGN", "PROJECT", "CONFIG", "REPORT")} == {
        "STATE": "failed",
        "CAMPAIGN": "c7",
        "PROJECT": "aloha",
        "CONFIG": "F␀o o",
        "REPORT": "/r/report.html",
    }
    assert told["LABFLEET_SUMMARY"] == "1 failed: ␛[2J $(touch hit) `touch hit`␀"
    assert not (tmp_path / "hit").exists()


def test_a_webhook_gets_the_news_as_json(tmp_path: Path, hook: Hook) -> None:
    # Given a web server, when a campaign ends
    notifier = telling(tmp_path, webhook=hook.url)
    notifier.tell("done", "all done", "all done\nresults: /r", COMING_HOME)
    assert notifier.close() == []
    # Then it got one request
    assert hook.received == [
        (
            "/hooks/secret",
            "application/json",
            {
                "state": "done",
                "summary": "all done",
                "campaign": "c7",
                "project": "aloha",
                "config": "Foo",
                "text": "all done\nresults: /r",
                "results": "/r",
                "manifest": "/r/campaign.json",
                "report": "/r/report.html",
            },
        )
    ]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("echo no such host >&2; exit 3", "ended with exit status 3: no such host"),
        ("nosuchcommand", "ended with exit status 127"),
    ],
)
def test_a_command_that_fails_is_a_warning(tmp_path: Path, command: str, said: str) -> None:
    # Given a command that fails, when something is told by it, then that is said in a sentence
    notifier = telling(tmp_path, command)
    notifier.tell("done", "all done")
    (warning,) = notifier.close()
    assert warning.startswith("notify.command: ")
    assert said in warning


def test_a_webhook_that_fails_is_a_warning_without_its_secret(tmp_path: Path, hook: Hook) -> None:
    # Given a server that refuses, and one that is not there
    hook.answer = 500
    for url, said in ((hook.url, "answered with 500"), ("http://127.0.0.1:1/hooks/secret", "cannot be reached")):
        # When something is told by it
        notifier = telling(tmp_path, webhook=url)
        notifier.tell("done", "all done")
        # Then that is said, and what follows the server's name is not
        (warning,) = notifier.close()
        assert said in warning
        assert "secret" not in warning


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("command", ["(sleep 1000; echo) & sleep 1000; echo", "trap '' TERM; sleep 1000; sleep 1000"])
def test_what_hangs_is_not_waited_for_and_leaves_nothing(tmp_path: Path, hook: Hook, command: str) -> None:
    # Given a command and a web server that hang
    hook.goes_on.clear()
    notifier = telling(tmp_path, f"touch begun; {command}", hook.url)
    # When something is told by both
    notifier.tell("done", "all done")
    # Then nobody waits for them meanwhile,
    assert {"notify.command", "notify.webhook"} <= {thread.name for thread in threading.enumerate()}
    began = time.monotonic()
    warnings = notifier.close()
    # both are warnings after a moment,
    assert time.monotonic() - began < 60
    assert sorted(warning.partition(":")[0] for warning in warnings) == ["notify.command", "notify.webhook"]
    assert any("did not end within 3 s" in warning for warning in warnings)
    # and nothing is left of what the command has started
    assert (tmp_path / "begun").exists()
    eventually(lambda: not _left(tmp_path), "the end of what the command has started")


def _left(folder: Path) -> list[str]:
    """Return the processes whose working directory is a folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # it has ended
    return found


def test_nobody_is_told_where_nobody_wants_it(tmp_path: Path) -> None:
    # Given no [notify], when a campaign ends, then nothing is started
    notifier = telling(tmp_path)
    notifier.tell("done", "all done")
    assert notifier.close() == []
    assert not any(thread.name.startswith("notify.") for thread in threading.enumerate())


# ---- who needs somebody --------------------------------------------------------------------------------------------


class Told(Notifier):
    """Remembers what is told."""

    def __init__(self) -> None:
        super().__init__()
        self.news: list[tuple[str, str]] = []

    def tell(self, state: str, summary: str, text: str = "", result: Result | None = None) -> None:  # noqa: ARG002
        self.news.append((state, summary))


class Scene:
    """A view that is attentive, and its clock."""

    def __init__(self) -> None:
        self.now, self.told, self.shown = 0.0, Told(), Watcher()
        self.view = Attentive(self.shown, self.told, lambda: self.now)

    def wait(self, why: str, seconds: float) -> None:
        """Have the lab say the same for so long, every four seconds."""
        end = self.now + seconds
        while self.now < end:
            self.view.waits(why)
            self.now += 4.0


NO_MACHINE = "3 runs wait: no machine takes runs. w1 is away: nothing heard for 30 s."


def test_a_campaign_that_no_machine_takes_for_long_needs_somebody_once() -> None:
    # Given a campaign that waits, as no machine is there
    scene = Scene()
    # When that lasts
    scene.wait(NO_MACHINE, 590)
    assert scene.told.news == []
    scene.wait(NO_MACHINE, 3000)
    # Then somebody is told why, once, and the view is told every time
    assert scene.told.news == [("waiting", f"nothing has run for 10 min 00 s: {NO_MACHINE}")]
    assert len(scene.shown.reasons) > 100
    # And again only when something has run meanwhile
    scene.view.event(messages.RunStarted("c", 0, 1, "w1", "slot1", 0.0))
    scene.wait(NO_MACHINE, 1000)
    assert len(scene.told.news) == 1
    scene.view.event(messages.RunCommitted(outcome_of(started(1).waiting[0])))
    scene.wait(NO_MACHINE, 1000)
    assert len(scene.told.news) == 2


def test_a_lab_that_is_silent_for_long_needs_somebody() -> None:
    # Given a lab of which nothing is heard, when that lasts, then somebody is told once
    scene = Scene()
    for seconds in (10.0, 599.0, 600.0, 700.0):
        scene.view.unheard(seconds)
    assert scene.told.news == [("waiting", "nothing was heard from the lab for 10 min 00 s")]


def test_who_waits_for_its_turn_needs_nobody() -> None:
    # Given what the foreman says of campaigns that wait
    report = messages.HostReport("w1", 1)
    ready = messages.MachineStatus(report, "w1", 1, "ready")
    away = messages.MachineStatus(report, "w1", 0, "away", "nothing heard for 30 s")
    waiting, unbuilt = started(3), CampaignState(campaign("d"))

    def said(state: CampaignState, *machines: messages.MachineStatus) -> bool:
        return notify.needs_somebody(explain.explain(state, None, machines, [state], 0.0))

    # When it is about machines that are not there, then somebody is needed
    assert said(waiting, away)
    assert said(waiting)
    assert said(unbuilt, away)
    assert said(unbuilt)
    # And when its turn comes by itself, nobody
    assert not said(waiting, ready)
    scene = Scene()
    scene.wait(explain.explain(waiting, None, (ready,), [waiting], 0.0), 3000)
    assert scene.told.news == []
