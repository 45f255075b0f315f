"""Telling who does not watch that a campaign has ended, or needs somebody: by a command or a webhook of their own.

The client that follows the campaign does it, with the person's own rights; nothing of labfleet.toml's [notify] is
ever done in the lab.  Whatever becomes of it is a warning at most.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from runner import __version__, model, shell
from runner.messages import AnyEvent, AttemptFailed, RunCommitted, RunStarted
from runner.project_file import Notify
from runner.report import Clock, View, duration
from runner.report.text import harmless, one_line, shortened

#: Seconds that telling may take; the person waits for it only after everything has been shown.
LIMIT = 10.0

#: Seconds more that ending it may take.
LAST_SECONDS = 2.0

#: Seconds in which nothing runs, or nothing is heard of the lab, after which somebody has to look.
LONG = 600.0

#: Characters of a text that is told.
LONGEST = 8000


class News(model.Value, frozen=True):
    """What is told, as the webhook gets it in JSON."""

    #: ``done``, ``failed``, ``cancelled``, ``refused`` when it has ended; ``stopped`` when the client gave up, as it
    #: could not bring the results home; ``waiting`` when nothing happens any more.
    state: str
    #: One line.
    summary: str
    campaign: str
    project: str
    config: str
    #: All that there is to say; called as chat services call it.
    text: str = ""
    #: Absolute paths, where there are such.
    results: str = ""
    manifest: str = ""
    report: str = ""


class Notifier:
    """Tells the news of one campaign, each by a thread of its own."""

    def __init__(self) -> None:
        self._settings, self._folder, self._about = Notify(), Path(), ("", "", "")
        self._threads: list[threading.Thread] = []
        self._warnings: list[str] = []

    def of(self, campaign: model.Campaign, root: Path, settings: Notify) -> None:
        """Know which campaign the news are of, and whom to tell."""
        self._settings, self._folder = settings, root
        self._about = (campaign.id, campaign.name, campaign.config)

    def tell(self, state: str, summary: str, text: str = "", result: model.Result | None = None) -> None:
        """Tell everybody who is to be told, and wait for nobody."""
        summary = shortened(one_line(summary), LONGEST)
        places = {} if result is None else {name: getattr(result, name) for name in ("results", "manifest", "report")}
        news = News(state, summary, *self._about, shortened(harmless(text), LONGEST) or summary, **places)
        if self._settings.command:
            self._begin("command", lambda: by_command(self._settings.command, self._folder, news))
        if self._settings.webhook:
            self._begin("webhook", lambda: by_webhook(self._settings.webhook, news))

    def _begin(self, name: str, act: Callable[[], str]) -> None:
        def run() -> None:
            try:
                said = act()
            except Exception as error:  # noqa: BLE001  whatever it is, the campaign has nothing to do with it
                said = f"{type(error).__name__}: {error}"
            if said:
                self._warnings.append(f"notify.{name}: {shortened(one_line(said), 400)}")

        thread = threading.Thread(target=run, name=f"notify.{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> list[str]:
        """Wait until all are told, but not long, and return what has gone wrong, as sentences."""
        deadline = time.monotonic() + LIMIT + LAST_SECONDS
        try:
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        except KeyboardInterrupt:
            pass  # the person does not want to wait for it
        late = [f"{one.name}: this takes too long, and is not waited for" for one in self._threads if one.is_alive()]
        return [*self._warnings, *late]


# ---- the ways ----------------------------------------------------------------------------------------------------


def environment(news: News) -> dict[str, str]:
    """Return what a command finds in its environment, apart from what is in the person's own."""
    told = ("campaign", "project", "config", "state", "summary", "results", "manifest", "report")
    return {f"LABFLEET_{name.upper()}": one_line(getattr(news, name)) for name in told}


def by_command(command: str, folder: Path, news: News) -> str:
    """Have the person's shell run a command, with the text as its input; return what has gone wrong, if anything."""
    # timeout(1) ends everything that the command has started, not only the shell.
    argv = ["timeout", "--kill-after=1", str(LIMIT), "sh", "-c", command]
    told = {**os.environ, **environment(news)}
    try:
        ended = shell.run(
            argv, cwd=folder, env=told, stdin=f"{news.text}\n".encode(), check=False, seconds=LIMIT + LAST_SECONDS
        )
    except TimeoutError:
        return f"{command} has left something behind that does not end"
    if ended.status in (124, -signal.SIGKILL):
        return f"{command} did not end within {LIMIT:.0f} s"
    return f"{command} ended with exit status {ended.status}: {ended.complaint}" if ended.status else ""


def by_webhook(url: str, news: News) -> str:
    """Send the news to a web server as JSON; return what has gone wrong, if anything."""
    import http.client
    import urllib.error
    import urllib.request

    where = urlsplit(url).hostname  # what follows it may be a secret
    headers = {"Content-Type": "application/json", "User-Agent": f"labfleet/{__version__}"}
    try:
        request = urllib.request.Request(url, json.dumps(model_fields(news)).encode(), headers)  # noqa: S310  [notify] is checked
        with urllib.request.urlopen(request, timeout=LIMIT):  # noqa: S310  it is http or https
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"{where} answered with {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return f"{where} cannot be reached: {error.reason}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{where}: {error}"


def model_fields(news: News) -> dict[str, str]:
    """Return the news for JSON."""
    return {name: getattr(news, name) for name in News.__struct_fields__}


# ---- who needs somebody --------------------------------------------------------------------------------------------


def needs_somebody(why: str) -> bool:
    """Does what the lab says of a campaign that waits mean that it waits for people, not for its turn?"""
    return "no machine" in why.lower() or "waits for a builder" in why


class Attentive(View):
    """A view that also notices when a campaign needs somebody, whatever it shows."""

    def __init__(self, view: View, notifier: Notifier, clock: Clock = time.monotonic) -> None:
        self._view, self._notifier, self._clock = view, notifier, clock
        self._running: set[int] = set()
        #: Since when nobody can do anything for the campaign; and was that told?
        self._since: float | None = None
        self._told = False

    def note(self, text: str) -> None:
        """Pass it on."""
        self._view.note(text)

    def event(self, event: AnyEvent) -> None:
        """Take notice of what runs: as long as something happens, nobody is needed."""
        match event:
            case RunStarted(run=run):
                self._running.add(run)
                self._told = False
            case RunCommitted(outcome):
                self._running.discard(outcome.run)
            case AttemptFailed(past=past):
                self._running.discard(past.run)
        self._since = None
        self._view.event(event)

    def log(self, run: str, text: str) -> None:
        """Pass it on."""
        self._view.log(run, text)

    def waits(self, why: str) -> None:
        """Tell if the campaign has waited long for something that does not come by itself."""
        if self._running or not needs_somebody(why):
            self._since = None
        elif self._since is None:
            self._since = self._clock()
        elif self._clock() - self._since >= LONG:
            self._tell(f"nothing has run for {duration(self._clock() - self._since)}: {why}")
        self._view.waits(why)

    def unheard(self, seconds: float) -> None:
        """Tell if nothing was heard of the lab for long."""
        if seconds >= LONG:
            self._tell(f"nothing was heard from the lab for {duration(seconds)}")
        self._view.unheard(seconds)

    def _tell(self, summary: str) -> None:
        if not self._told:
            self._told = True
            self._notifier.tell("waiting", summary)

    def tick(self) -> None:
        """Pass it on."""
        self._view.tick()

    def close(self) -> None:
        """Pass it on."""
        self._view.close()
