"""Following a campaign: what the lab says of it is shown, its results come home, whatever happens on the way.

Everything may be told twice, and is told from the beginning whenever the lab is asked for it.  So it does not matter
whether this client has submitted the campaign, comes back to it, or has lost the lab for a while.
"""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import zmq

from runner import collection, lab, log_stream
from runner.errors import Detached, LabFailed, from_code
from runner.homecoming import Destination, Home
from runner.lab import ForemanClient, Lab
from runner.labs import Connection
from runner.live_logs import Logs
from runner.messages import (
    AnyAnswer,
    AnyEvent,
    AnyRequest,
    AskStatus,
    AttemptFailed,
    BuildProgressed,
    BuildStarted,
    CampaignEnded,
    CampaignPrepared,
    CampaignRefused,
    CampaignTaken,
    Cancel,
    Collected,
    Explain,
    Explained,
    Follow,
    Refused,
    RunCommitted,
    RunStarted,
    Status,
    Submit,
)
from runner.model import Attempt, Campaign, Outcome, Past, Prepared, encode
from runner.notes import Notes
from runner.report import View

#: Seconds between redraws of the live view.
TICK = 0.25

#: Seconds without a word from the lab after which it is asked.
SILENCE = 3.0

#: Seconds between two attempts to reach a lab that is away.
PAUSE = 2.0

#: Seconds in which the lab should say that it has heard that everything is at home.
FAREWELL = 5.0


class _Silent(Exception):
    """The lab does not answer any more."""


class Follower:
    """Follows one campaign to its end and brings its results home."""

    def __init__(
        self,
        connection: Connection,
        campaign: str,
        notes: Notes,
        view: View,
        destination: Callable[[Campaign], Destination],
        *,
        verbose: bool = False,
    ) -> None:
        """``destination``: says where the results go, as soon as it is known what the campaign is."""
        self.id = campaign
        self.what: Campaign | None = None
        self.prepared: Prepared | None = None
        self.outcomes: dict[int, Outcome] = {}
        #: Attempts that were made again.
        self.past: dict[Attempt, Past] = {}
        self.ended: CampaignEnded | None = None
        #: Has the lab said that it cannot be run?
        self.is_refused = False
        self.home: Home | None = None
        self._connection, self._notes, self._view, self._destination = connection, notes, view, destination
        self._foreman = ForemanClient(connection.context, connection.lab)
        self._logs = Logs(connection, campaign, view) if verbose else None
        self._incarnation = ""
        self._heard = 0.0
        #: When a question was sent that has not been answered yet.
        self._asked: float | None = None
        self._trouble = ""
        #: Has the lab told of the campaign's build?
        self._builds = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let others bring home what this client does not."""
        if self.home:
            self.home.leave()

    @property
    def lab(self) -> Lab:
        """The lab as it is reached just now."""
        return self._connection.lab

    def follow(self, request: AnyRequest) -> None:
        """Ask the lab for the campaign (Submit, Resume, Follow), and do everything until all of it is at home.

        Raises Detached when the person leaves, and LabfleetError for everything that keeps the runs from being done
        or the results from coming home; the campaign goes on in either case.
        """
        try:
            self._open(request)
            while self.ended is None:
                try:
                    self._listen()
                except _Silent:
                    self._come_back()
            self._await_home()
        except KeyboardInterrupt as interrupt:
            if self.what and self.what.dry_run:  # there is nothing to come back to
                self._foreman.socket.send(encode(Cancel(self.id)))
                raise
            raise Detached(self.id, interrupt.args[0] if interrupt.args else signal.SIGINT) from None
        finally:
            self._close()

    def farewell(self) -> None:
        """Everything is at home: tell the lab, which need not keep it, and expect nothing more of it here.

        What is noted stays where the lab does not agree, e.g. as the campaign was resumed since: there is more to come.
        """
        client = ForemanClient(self._connection.context, self.lab)
        try:
            client.ask(Collected(self.id, self.ended.time if self.ended else 0.0), patience=FAREWELL)
        except lab.LabRefused as error:
            self._view.note(f"{error.message}; labfleet attach {self.id}  brings home what is not")
            return
        except LabFailed:
            return  # a later client says it
        finally:
            client.close()
        if self.home:
            self.home.tidy()
        self._notes.lay_aside(self.id)

    # ---- the way to the lab ----

    def _open(self, request: AnyRequest) -> None:
        """Ask for everything from the beginning.  Raises LabFailed if the lab refuses or does not answer."""
        self._incarnation = self._foreman.status().incarnation
        self._foreman.ask(request)
        if isinstance(request, Submit):
            self._learn(request.campaign)
            self._view.event(CampaignTaken(self.id, request.campaign))
        elif not isinstance(request, Follow):
            self._foreman.ask(Follow(self.id))
        self._heard, self._asked = time.monotonic(), None

    def _come_back(self) -> None:
        """Make the way to the lab anew, until it is there or the person leaves."""
        self._view.note("the lab does not answer; trying again …")
        pause = threading.Event()
        said = ""
        while True:
            self._close()
            self._check_stopped()
            try:
                self._connection.renew()
                self._foreman = ForemanClient(self._connection.context, self.lab)
                self._open(Follow(self.id))
            except lab.LabRefused:
                raise
            except LabFailed as error:
                if error.message != said:
                    said = error.message
                    self._view.note(f"{said}; trying again …")
                self._view.unheard(time.monotonic() - self._heard)
                self._view.tick()
                pause.wait(PAUSE)
            else:
                break
        if self._logs:
            self._logs.connect(self._connection)
        if self.home:
            self.home.try_again()
        self._view.note("the lab is back")

    def _close(self) -> None:
        self._foreman.close()
        if self._logs:
            self._logs.close()

    # ---- what the lab says ----

    def _listen(self) -> None:
        """Take events and log pieces as they come, until the campaign has ended.  Raises _Silent."""
        poller = zmq.Poller()
        poller.register(self._foreman.socket, zmq.POLLIN)
        if self._logs:
            poller.register(self._logs.socket, zmq.POLLIN)
        next_tick = time.monotonic()
        while self.ended is None:
            poller.poll(int(TICK * 1000))
            self._take_all()
            self._check_silence()
            self._show_logs()
            self._check_home()
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK
                self._view.unheard(time.monotonic() - self._heard)
                self._view.tick()

    def _take_all(self) -> None:
        while self.ended is None and (message := self._foreman.receive(AnyEvent | AnyAnswer)) is not None:
            self._heard, self._asked = time.monotonic(), None
            match message:
                case Refused(text, hint):
                    raise LabFailed(text, hint)
                case Status():
                    self._check_status(message)
                case Explained(text, is_built):
                    if not (is_built and self._builds):  # that is told already, and how far it is
                        self._view.waits(text)
                case CampaignEnded():
                    self.ended = message
                    self._view.event(message)
                case _ if isinstance(message, AnyEvent) and self._is_new(message):
                    self._view.event(message)

    def _check_silence(self) -> None:
        """Ask a lab from which nothing is heard whether it is there, and why nothing happens.

        Raises _Silent if it does not answer.
        """
        now = time.monotonic()
        if self.ended is not None or now - self._heard <= SILENCE:
            return
        self._check_stopped()
        if self._asked is None:
            self._asked = now
            for question in (AskStatus(), Explain(self.id)):
                self._foreman.socket.send(encode(question))
        elif now - self._asked > lab.PATIENCE:
            raise _Silent

    def _check_stopped(self) -> None:
        """Raise LabFailed if somebody has ended the lab: who did that would not want it to be started again by this."""
        if self.lab.was_stopped():
            raise LabFailed(
                "the lab's services were ended",
                f"campaign {self.id} goes on when they run again: labfleet attach {self.id}  starts them",
            )

    def _check_status(self, status: Status) -> None:
        """Ask for everything again if the foreman is another one, or knows of more than this client has heard."""
        known = next((one for one in status.campaigns if one.id == self.id), None)
        missed = known is None or known.done + known.failed > len(self.outcomes)
        if missed or status.incarnation != self._incarnation:
            self._incarnation = status.incarnation
            self._foreman.socket.send(encode(Follow(self.id)))

    def _learn(self, what: Campaign) -> None:
        self.what = what
        if self.home is None and not what.dry_run:
            self.home = Home(self._connection, self._destination(what), what, self._notes)

    def _is_new(self, event: AnyEvent) -> bool:
        """Take note of an event; False: it was told before, and changes nothing."""
        match event:
            case CampaignTaken(_, what):
                self._learn(what)
            case CampaignRefused(_, exit_code, text, hint):
                self._refuse(exit_code, text, hint)
            case BuildStarted() | BuildProgressed():
                self._builds = True
            case CampaignPrepared(_, prepared):
                self._prepare(prepared)
            case AttemptFailed(_, past):
                return self._is_past(past)
            case RunStarted(_, run, attempt) if self._logs and run not in self.outcomes:
                self._logs.follow(log_stream.run_stream(run, attempt), self._name(run))
            case RunCommitted(outcome):
                if self.outcomes.get(outcome.run) == outcome:
                    return False
                self.outcomes[outcome.run] = outcome
                self.past.pop(Attempt(outcome.run, outcome.attempt), None)
                if self.home:
                    self.home.bring(outcome)
        return True

    def _is_past(self, past: Past) -> bool:
        """Take note of an attempt that is made again; False: it is the one that counts, it was only taken for lost."""
        outcome = self.outcomes.get(past.run)
        if outcome is not None and outcome.attempt == past.number:
            return False
        self.past[Attempt(past.run, past.number)] = past
        if self._logs:
            self._logs.end(log_stream.run_stream(past.run, past.number), None)
        return True

    def _name(self, run: int) -> str:
        return f"{self.what.config} #{run}" if self.what else f"#{run}"

    def _refuse(self, exit_code: int, text: str, hint: str) -> None:
        """Raise what the lab says of a campaign that cannot be run; nothing more will come of it."""
        self.is_refused = True
        build_log = self._build_log()
        self.farewell()
        log = f"the whole log: {build_log}" if build_log else ""
        raise from_code(exit_code, text, "\n".join(filter(None, (hint, log))))

    def _prepare(self, prepared: Prepared) -> None:
        is_first, self.prepared = self.prepared is None, prepared
        if is_first:
            build_log = self._build_log() if prepared.built else None
            if self._logs:
                self._logs.end(log_stream.BUILD_STREAM, build_log)

    def _build_log(self) -> Path | None:
        """Fetch the campaign's build log, and keep it at home.  None: there is none."""
        self.lab.bring_build_log(self.id)
        log = self.lab.paths.campaign(self.id).build_log
        try:
            return collection.keep_log(log, self.home.paths.build_log) if self.home else log.resolve(strict=True)
        except FileNotFoundError:
            return None  # or another client of this campaign's has just tidied up

    # ---- logs and results ----

    def _show_logs(self) -> None:
        """Show what has come of the logs, and the rest of those whose runs have come home."""
        if self._logs:
            self._logs.show()
        while self.home and (outcome := self.home.next_brought()) is not None:
            if self._logs:
                stream = log_stream.run_stream(outcome.run, outcome.attempt)
                self._logs.end(stream, self.home.paths.log(outcome.run))

    def _check_home(self) -> None:
        """Say why results do not come home just now.  Raises LabFailed if they cannot."""
        if self.home is None:
            return
        self.home.check()
        if self.home.trouble != self._trouble:
            self._trouble = self.home.trouble
            self._view.note(self._trouble or "results come home again")

    def _await_home(self) -> None:
        """Wait until all results are at home."""
        if self.home is None:
            return
        self.home.finish()
        while not self.home.is_finished(TICK):
            self._show_logs()
            self._check_home()
            self._view.tick()
        self._show_logs()
        self.home.check()
