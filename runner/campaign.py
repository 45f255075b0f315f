"""A campaign from the client's side: project → snapshot → submit → follow → collect → manifest."""

import os
import queue
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path

import zmq

from runner import config, lab, log_stream, results, snapshot
from runner.errors import LabfleetError, LabFailed, from_code
from runner.lab import ForemanClient, Lab
from runner.model import (
    PROTOCOL,
    AnyAnswer,
    AnyEvent,
    Campaign,
    CampaignEnded,
    CampaignPrepared,
    CampaignRefused,
    Cancel,
    Outcome,
    Prepared,
    Result,
    RunCommitted,
    RunStarted,
    Submit,
    encode,
)
from runner.paths import AttemptPaths, HomePaths
from runner.report import View

#: Seconds between redraws of the live view.
TICK = 0.25

#: Variables of the client's shell that are nobody's business.
PRIVATE_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "PRIVATE_KEY")


@dataclass(frozen=True)
class Order:
    """What a person asks for: the options of ``campaign`` and ``runall``."""

    config: str
    folder: Path
    run_filter: str = ""
    program: str | None = None
    ini_files: tuple[str, ...] = ()
    mode: str = "release"
    arguments: tuple[str, ...] = ()
    jobs: int | None = None
    batch: int | None = None
    #: Stream the console output of all runs.
    verbose: bool = False
    #: End as soon as the runs are listed.
    dry_run: bool = False


def campaign_environment(environment: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that goes with a campaign: the client's, without what is private to its shell."""
    kept = {
        name: value
        for name, value in environment.items()
        if not any(word in name.upper() for word in PRIVATE_WORDS) and not name.startswith("LABFLEET_")
    }
    return {**kept, **more}


def new_id(now: float) -> str:
    """Return a campaign's id: sorts by time, and two clients never choose the same."""
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(now)) + f"-{secrets.token_hex(2)}"


def describe(order: Order, project: config.Project, taken: snapshot.Snapshot, environment: Mapping[str, str]) -> Campaign:
    """Return the campaign that an order means."""
    now = time.time()
    launch = project.launch
    return Campaign(
        id=new_id(now),
        protocol=PROTOCOL,
        project=project.id,
        name=project.name,
        commit=taken.commit,
        tree=taken.tree,
        sources=taken.sources,
        directory=project.directory,
        config=order.config,
        run_filter=order.run_filter,
        mode=order.mode,
        build=project.build,
        launch=type(launch)(launch.program, launch.ini_files, launch.ned_path, (*launch.arguments, *order.arguments)),
        environment=campaign_environment(environment, project.environment),
        submitted=now,
        user=getuser(),
        jobs=order.jobs,
        batch=order.batch,
        dry_run=order.dry_run,
    )


def run(order: Order, view: View) -> tuple[Result | None, Prepared]:
    """Carry an order out and return what it came to; no result for a dry run.

    Raises LabfleetError for everything that keeps the runs from being done at all.
    """
    began = time.monotonic()
    project = config.load(order.folder, program=order.program, ini_files=order.ini_files, mode=order.mode)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        the_lab = lab.connect(context)
        private = the_lab.paths.snapshots(project.id)
        taken = snapshot.take(project.root, project.include, private)
        snapshot.push(taken, private, the_lab.git_server(project.id))
        campaign = describe(order, project, taken, os.environ)
        follower = Follower(context, the_lab, project, campaign, order, view)
        result = follower.follow(began)
    finally:
        context.destroy(linger=1000)
    assert follower.prepared is not None
    return result, follower.prepared


@dataclass
class Home:
    """What has come home of a campaign, by a thread of its own: the disk must not hold up the live view."""

    the_lab: Lab
    project: config.Project
    campaign: Campaign
    collector: results.Collector | None = None
    places: dict[int, dict[str, str]] = field(default_factory=dict)
    failure: LabfleetError | OSError | None = None
    _waiting: "queue.SimpleQueue[Outcome | None]" = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def bring(self, outcome: Outcome) -> None:
        """Bring a committed run's files home."""
        if self.collector is None:
            folder = results.results_folder(self.project.working_directory, self.project.root, [outcome])
            home = HomePaths(folder, self.campaign.id)
            store = self.the_lab.paths.campaign(self.campaign.id)
            self.collector = results.Collector(store, home, self.project.root)
        self._waiting.put(outcome)

    def finish(self) -> None:
        """Wait until everything is home.  Raises what went wrong on the way."""
        self._waiting.put(None)
        self._thread.join()
        if isinstance(self.failure, OSError):
            raise LabFailed(
                f"results cannot be written: {self.failure}",
                f"they are complete in {self.the_lab.paths.campaign(self.campaign.id).root}",
            )
        if self.failure:
            raise self.failure

    def _collect(self) -> None:
        while (outcome := self._waiting.get()) is not None:
            if self.failure or self.collector is None:
                continue
            try:
                self.places[outcome.run] = self.collector.collect(outcome)
            except (OSError, LabfleetError) as error:
                self.failure = error


class Follower:
    """Submits a campaign, follows it to its end, and brings its results home."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        the_lab: Lab,
        project: config.Project,
        campaign: Campaign,
        order: Order,
        view: View,
    ) -> None:
        self._project, self._campaign, self._order, self._view = project, campaign, order, view
        self._foreman = ForemanClient(context, the_lab)
        self._viewer = log_stream.Viewer(context, the_lab.hub, campaign.id) if order.verbose else None
        self._logs: dict[str, _LogLines] = {}
        self._home = Home(the_lab, project, campaign)
        self._store = the_lab.paths.campaign(campaign.id)
        self.prepared: Prepared | None = None
        self._outcomes: dict[int, Outcome] = {}
        self._ended: CampaignEnded | None = None

    def follow(self, began: float) -> Result | None:
        """Do everything from submission to the manifest; no result for a dry run."""
        self._foreman.ask(Submit(self._campaign))
        try:
            self._listen()
        except BaseException:  # Ctrl-C included: nobody is left who wants these runs
            self._foreman.socket.send(encode(Cancel(self._campaign.id)))
            raise
        finally:
            self._foreman.close()
            if self._viewer:
                self._viewer.close()
        if self._order.dry_run:
            return None
        self._home.finish()
        return self._result(began)

    def _listen(self) -> None:
        """Take events and log pieces as they come, until the campaign has ended."""
        poller = zmq.Poller()
        poller.register(self._foreman.socket, zmq.POLLIN)
        if self._viewer:
            poller.register(self._viewer.socket, zmq.POLLIN)
            self._follow_log(log_stream.BUILD_STREAM, "build")
        next_tick = time.monotonic()
        while self._ended is None:
            poller.poll(TICK * 1000)
            while (event := self._foreman.receive(AnyEvent | AnyAnswer)) is not None:
                self._take(event)
            while self._viewer and (piece := self._viewer.receive()) is not None:
                self._logs[piece.stream].take(piece.data)
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK
                self._view.tick()

    def _take(self, event: AnyEvent) -> None:
        """Take note of one event and show it."""
        match event:
            case CampaignRefused(_, exit_code, message, hint):
                raise from_code(exit_code, message, hint)
            case CampaignPrepared(_, prepared):
                self.prepared = prepared
                self._drain("build", None)
            case RunStarted(_, run, attempt):
                self._follow_log(log_stream.run_stream(run, attempt), f"{self._campaign.config} #{run}")
            case RunCommitted(outcome):
                self._outcomes[outcome.run] = outcome
                self._home.bring(outcome)
                self._drain(log_stream.run_stream(outcome.run, outcome.attempt), outcome)
            case CampaignEnded():
                self._ended = event
        self._view.event(event)

    # ---- logs ----

    def _follow_log(self, stream: str, name: str) -> None:
        if self._viewer:
            self._logs[stream] = _LogLines(name, self._view)
            self._viewer.follow(stream)

    def _drain(self, stream: str, outcome: Outcome | None) -> None:
        """A log has ended: show what the hub has not sent yet, from the log that came with the results."""
        lines = self._logs.pop(stream, None)
        if self._viewer is None or lines is None:
            return
        if outcome and outcome.kind != "lost":
            committed = self._store.committed(outcome.run, outcome.attempt, outcome.kind == "done")
            with AttemptPaths(committed).log.open("rb") as log:
                log.seek(self._viewer.offset(stream))
                while data := log.read(results.BLOCK):
                    lines.take(data)
        lines.close()
        self._viewer.forget(stream)

    # ---- the end ----

    def _result(self, began: float) -> Result:
        """Write the manifest and sum up."""
        assert self.prepared is not None and self._ended is not None
        outcomes = [self._outcomes[run] for run in sorted(self._outcomes)]
        collector = self._home.collector
        home = collector.home if collector else HomePaths(self._project.working_directory / "results", self._campaign.id)
        warnings = tuple(collector.warnings) if collector else ()
        text = results.manifest(self._campaign, self.prepared, self._outcomes, self._home.places, warnings)
        results.write_manifest(home, text)
        return Result(
            campaign=self._campaign.id,
            name=self._campaign.name,
            config=self._campaign.config,
            results=str(home.results),
            manifest=str(home.latest),
            total=len(self.prepared.runs),
            outcomes=tuple(outcomes),
            logs={outcome.run: str(home.log(outcome.run)) for outcome in outcomes if outcome.kind != "lost"},
            warnings=warnings,
            cancelled=self._ended.cancelled,
            product_reused=not self.prepared.built,
            seconds=time.monotonic() - began,
        )


class _LogLines:
    """Cuts a log into lines for the view."""

    def __init__(self, name: str, view: View) -> None:
        self._name, self._view = name, view
        self._half_line = b""

    def take(self, data: bytes) -> None:
        """Show the lines that are complete."""
        data = self._half_line + data
        end = data.rfind(b"\n")
        self._half_line = data[end + 1 :]
        if end >= 0:
            self._view.log(self._name, data[:end].decode(errors="replace"))

    def close(self) -> None:
        """Show what was left without an end of line."""
        if self._half_line:
            self._view.log(self._name, self._half_line.decode(errors="replace"))
