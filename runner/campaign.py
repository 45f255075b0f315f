"""A campaign from the client's side: project → snapshot → submit → follow → collect → manifest."""

import os
import secrets
import shutil
import signal
import time
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import zmq

from runner import config, lab, labs, log_stream, results, snapshot
from runner.errors import LabFailed, from_code
from runner.homecoming import Home
from runner.lab import ForemanClient, Lab
from runner.messages import (
    AnyAnswer,
    AnyEvent,
    AskStatus,
    CampaignEnded,
    CampaignPrepared,
    CampaignRefused,
    Cancel,
    RunCommitted,
    RunStarted,
    Status,
    Submit,
)
from runner.model import PROTOCOL, Campaign, Outcome, Prepared, Result, encode
from runner.report import View

#: Seconds between redraws of the live view.
TICK = 0.25

#: Seconds without a word from the lab after which it is asked.
SILENCE = 3.0

#: Pieces of logs that are shown in a row.
MOST_PIECES = 32


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


def new_id(now: float) -> str:
    """Return a campaign's id: sorts by time, and two clients never choose the same."""
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(now)) + f"-{secrets.token_hex(2)}"


def describe(order: Order, project: config.Project, taken: snapshot.Snapshot, the_lab: Lab) -> Campaign:
    """Return the campaign that an order means."""
    now = time.time()
    launch = project.launch
    return Campaign(
        id=new_id(now),
        protocol=PROTOCOL,
        project=the_lab.project_id(project.id),
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
        environment={**the_lab.environment(os.environ), **project.environment},
        submitted=now,
        user=getuser(),
        jobs=order.jobs,
        batch=order.batch,
        dry_run=order.dry_run,
    )


def run(order: Order, view: View) -> tuple[Result | None, Prepared]:
    """Carry an order out and return what it came to (nothing for a dry run), and which runs there are.

    Raises LabfleetError for everything that keeps the runs from being done at all.
    """
    began = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal is a Ctrl-C: nobody is left who waits
        signal.signal(number, signal.default_int_handler)
    project = config.load(order.folder, program=order.program, ini_files=order.ini_files, mode=order.mode)
    with labs.connected(start=True) as (context, the_lab):
        private = the_lab.paths.snapshots(project.id)
        taken = snapshot.take(project.root, project.include, private)
        server = the_lab.git_server(project.id)
        snapshot.push(
            taken,
            private,
            server.address,
            ssh=server.ssh,
            receive_pack=server.receive_pack,
            identity=server.identity,
        )
        campaign = describe(order, project, taken, the_lab)
        return Follower(context, the_lab, project, campaign, order, view).follow(began)


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
        self._lab = the_lab
        self._foreman = ForemanClient(context, the_lab)
        self._viewer = log_stream.Viewer(context, the_lab.hub, campaign.id, the_lab.access) if order.verbose else None
        self._logs: dict[str, _LogLines] = {}
        self._home = Home(the_lab, project, campaign)
        self._store = the_lab.paths.campaign(campaign.id)
        self.prepared: Prepared | None = None
        self._outcomes: dict[int, Outcome] = {}
        self._ended: CampaignEnded | None = None
        self._heard = time.monotonic()
        #: When a question was sent that has not been answered yet.
        self._asked: float | None = None

    def follow(self, began: float) -> tuple[Result | None, Prepared]:
        """Do everything from submission to the manifest."""
        try:
            self._listen_until_cancelled()
            self._home.finish()
            self._drain_brought()
        finally:
            self._foreman.close()
            if self._viewer:
                self._viewer.close()
        if self.prepared is None:  # cancelled by somebody before there was anything to do
            raise LabFailed(f"campaign {self._campaign.id} was cancelled while it was built")
        return (None if self._order.dry_run else self._result(self.prepared, began)), self.prepared

    def _listen_until_cancelled(self) -> None:
        """Listen to the end; Ctrl-C cancels the campaign and keeps what is done, a second one leaves at once."""
        try:
            self._foreman.ask(Submit(self._campaign))
            self._follow_log(log_stream.BUILD_STREAM, "build")
            self._listen()
        except KeyboardInterrupt:
            self._cancel()
            self._view.note("cancelling: what runs is ended, what is done is kept (Ctrl-C again leaves at once)")
            self._listen()
        except BaseException:  # nobody is left who wants these runs
            self._cancel()
            raise

    def _cancel(self) -> None:
        self._foreman.socket.send(encode(Cancel(self._campaign.id)))

    def _listen(self) -> None:
        """Take events and log pieces as they come, until the campaign has ended."""
        poller = zmq.Poller()
        poller.register(self._foreman.socket, zmq.POLLIN)
        if self._viewer:
            poller.register(self._viewer.socket, zmq.POLLIN)
        next_tick = time.monotonic()
        self._heard = time.monotonic()
        while self._ended is None:
            poller.poll(int(TICK * 1000))
            while (message := self._foreman.receive(AnyEvent | AnyAnswer)) is not None:
                self._heard, self._asked = time.monotonic(), None
                if isinstance(message, Status):
                    self._check_status(message)
                elif not isinstance(message, AnyAnswer):  # that a cancellation was accepted is nothing to tell
                    self._take(message)
            self._check_silence()
            self._drain_brought()
            for _ in range(MOST_PIECES):  # then events and the live view have their turn
                piece = self._viewer.receive() if self._viewer else None
                if piece is None:
                    break
                self._logs[piece.stream].take(piece.data)
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK
                self._view.tick()

    def _check_silence(self) -> None:
        """Ask a lab from which nothing is heard whether it still has the campaign.  Raises LabFailed without answer."""
        now = time.monotonic()
        if self._asked is not None and now - self._asked > lab.PATIENCE:
            raise LabFailed("the lab does not answer any more", f"was it stopped?  {self._lab.advice}")
        if self._asked is None and now - self._heard > SILENCE:
            self._asked = now
            self._foreman.socket.send(encode(AskStatus()))

    def _check_status(self, status: Status) -> None:
        """Raise LabFailed if the lab has forgotten the campaign: its foreman is another one."""
        if self._ended is None and all(campaign.id != self._campaign.id for campaign in status.campaigns):
            raise LabFailed(
                f"the lab's services were started anew and do not know campaign {self._campaign.id}",
                f"runs that were done are in {self._lab.kept(self._campaign.id)}\n{self._lab.advice}",
            )

    def _take(self, event: AnyEvent) -> None:
        """Take note of one event and show it."""
        match event:
            case CampaignRefused(_, exit_code, message, hint):
                self._lab.bring_build_log(self._campaign.id)
                log = f"the whole log: {self._store.build_log}" if self._store.build_log.exists() else ""
                raise from_code(exit_code, message, "\n".join(filter(None, (hint, log))))
            case CampaignPrepared(_, prepared):
                self.prepared = prepared
                if prepared.built:
                    self._lab.bring_build_log(self._campaign.id)
                self._drain(log_stream.BUILD_STREAM, self._store.build_log)
            case RunStarted(_, run, attempt):
                self._follow_log(log_stream.run_stream(run, attempt), f"{self._campaign.config} #{run}")
            case RunCommitted(outcome):
                self._outcomes[outcome.run] = outcome
                self._home.bring(outcome)
            case CampaignEnded():
                self._ended = event
        self._view.event(event)

    # ---- logs ----

    def _follow_log(self, stream: str, name: str) -> None:
        if self._viewer:
            self._logs[stream] = _LogLines(name, self._view)
            self._viewer.follow(stream)

    def _drain_brought(self) -> None:
        """Runs have come home: show the rest of their logs."""
        while (outcome := self._home.next_brought()) is not None:
            whole = self._home.collector.home.log(outcome.run)
            self._drain(log_stream.run_stream(outcome.run, outcome.attempt), whole)

    def _drain(self, stream: str, whole: Path) -> None:
        """A log has ended: show what the hub has not sent yet, from the log that came with the results."""
        lines = self._logs.pop(stream, None)
        if self._viewer is None or lines is None:
            return
        if whole.exists():
            with whole.open("rb") as log:
                log.seek(self._viewer.offset(stream))
                while data := log.read(results.BLOCK):
                    lines.take(data)
        lines.close()
        self._viewer.forget(stream)

    # ---- the end ----

    def _result(self, prepared: Prepared, began: float) -> Result:
        """Write the manifest and sum up."""
        outcomes = [self._outcomes[run] for run in sorted(self._outcomes)]
        home = self._home.collector.home
        warnings = list(self._home.collector.warnings)
        if any(outcome.kind == "done" and not outcome.files for outcome in outcomes):
            warnings.append("some runs left no file in the project: is an absolute result directory set?")
        text = results.manifest(self._campaign, prepared, self._outcomes, self._home.places, warnings)
        results.write_manifest(home, text)
        if self._store.build_log.exists():
            shutil.copyfile(self._store.build_log, home.build_log)
        return Result(
            campaign=self._campaign.id,
            name=self._campaign.name,
            config=self._campaign.config,
            results=str(home.results),
            manifest=str(home.latest),
            total=len(prepared.runs),
            outcomes=tuple(outcomes),
            logs={outcome.run: str(home.log(outcome.run)) for outcome in outcomes if outcome.kind != "lost"},
            warnings=tuple(warnings),
            cancelled=self._ended is not None and self._ended.cancelled,
            product_reused=not prepared.built,
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
