"""A lab whose foreman a test plays: a real socket, real messages and a real result store; no workers."""

import _thread
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from runner import ledger, local_lab, results
from runner.lab import Lab
from runner.messages import (
    Accepted,
    Answer,
    AnyEvent,
    AnyRequest,
    AskCampaigns,
    AskMachines,
    AskStatus,
    CampaignEnded,
    CampaignPrepared,
    CampaignRefused,
    Campaigns,
    CampaignStatus,
    CampaignTaken,
    Cancel,
    Changed,
    Collected,
    Drain,
    Event,
    Explain,
    Explained,
    Follow,
    Machines,
    MachineStatus,
    Overview,
    Refused,
    Resume,
    RunCommitted,
    Status,
    Submit,
    Watch,
)
from runner.model import PROTOCOL, Campaign, Kind, Outcome, Prepared, Run, decode, encode
from runner.notes import Notes
from runner.paths import LabPaths
from runner.report import View
from tests.test_results import deliver

#: A script returns what happens to a campaign once it has begun.
Script = Callable[[Campaign], Iterable[AnyEvent]]


def prepared(campaign: Campaign, runs: int) -> CampaignPrepared:
    found = tuple(Run(number, {"repetition": str(number)}) for number in range(runs))
    return CampaignPrepared(campaign.id, Prepared("k3y", False, ("./simulate",), "g++", found))


class PlayedForeman:
    """Answers as runner.messages says, from a thread of its own; what happens to a campaign is up to the test."""

    def __init__(self, folder: Path, paths: LabPaths) -> None:
        self.endpoint = f"ipc://{folder}/foreman"
        self.paths = paths
        self.asked: list[AnyRequest] = []
        self.script: Script = lambda _: ()
        self.on_cancel: Script = lambda campaign: [CampaignEnded(campaign.id, cancelled=True)]
        #: Why campaigns wait, or that they are being built.
        self.why, self.is_built = "all slots are busy", False
        #: Requests of these types get no answer.
        self.deaf_to: tuple[type, ...] = ()
        #: The next requests of these types are lost, or the answers to them, as when a foreman is started anew.
        self.loses_request: list[type] = []
        self.loses_answer: list[type] = []
        self.campaigns: dict[str, Campaign] = {}
        self.history: dict[str, list[AnyEvent]] = {}
        self.incarnation = "first"
        #: The machines that an overview has, if not one that is away; and the head's clock.
        self.machines: dict[str, MachineStatus] = {}
        self.clock: Callable[[], float] = lambda: 100.0
        self._followers: set[bytes] = set()
        self._watchers: set[bytes] = set()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._ends = False
        self._bind()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    # ---- what a test does with it

    def happen(self, *events: AnyEvent) -> None:
        """Let something happen to a campaign."""
        self._do(lambda: self._happen(events))

    def have(self, campaign: Campaign, *events: AnyEvent) -> None:
        """Have a campaign that others have submitted, to which something has happened."""
        self._do(lambda: self._have(campaign, events))

    def lose(self, campaign: str) -> None:
        """Know nothing more of a campaign."""
        self._do(lambda: self._lose(campaign))

    def change(self, changed: Changed) -> None:
        """Tell the watchers what has changed of the lab."""
        self._do(lambda: self._change(changed))

    def reopen(self, campaign: str) -> None:
        """Let a campaign that has ended go on, as when somebody resumes it."""
        self._do(lambda: self._reopen(campaign))

    def forget_followers(self) -> None:
        """As when a connection was made anew below ZeroMQ: the client does not notice."""
        self._do(self._followers.clear)

    def forget_watchers(self) -> None:
        """Tell nobody any more what changes, as after a minute in which nothing was heard of them."""
        self._do(self._watchers.clear)

    def say_something_odd(self) -> None:
        """Tell the watchers something that nobody can understand, as a foreman of another version may."""
        self._do(self._say_something_odd)

    def callers(self) -> int:
        """Return how many connections there are."""
        while self._monitor.poll(0):
            accepted = recv_monitor_message(self._monitor)["event"] == zmq.EVENT_ACCEPTED
            self._callers += 1 if accepted else -1
        return self._callers

    def be_exchanged(self, *events: AnyEvent) -> None:
        """Die, and be followed by another foreman; meanwhile something happens."""
        self._do(lambda: self._be_exchanged(events))

    def leave(self) -> None:
        """Be away: nothing is heard or said any more."""
        self._do(self._leave)

    def come_back(self) -> None:
        """Be there again, as another foreman."""
        self._do(self._bind)

    def close(self) -> None:
        self._ends = True
        self._thread.join()
        self._context.destroy(linger=0)

    # ---- the thread

    def _say_something_odd(self) -> None:
        for client in self._watchers:
            self._desk.send_multipart([client, b'{"type":"Odd"}'])

    def _change(self, changed: Changed) -> None:
        for client in self._watchers:
            self._send(client, changed)

    def _leave(self) -> None:
        self._desk.disable_monitor()
        self._monitor.close(linger=0)
        self._desk.close(linger=0)

    def _do(self, order: Callable[[], None]) -> None:
        done = threading.Event()

        def carry_out() -> None:
            order()
            done.set()

        self._orders.put(carry_out)
        if threading.current_thread() is not self._thread:
            assert done.wait(10)

    def _bind(self) -> None:
        self._desk = self._context.socket(zmq.ROUTER)
        self._desk.set(zmq.SNDHWM, 0)
        self._monitor = self._desk.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._callers = 0
        self._desk.bind(self.endpoint)

    def _serve(self) -> None:
        try:
            self._serve_until_the_end()
        except Exception:
            _thread.interrupt_main()  # the test would wait for ever
            raise

    def _serve_until_the_end(self) -> None:
        while not self._ends:
            while not self._orders.empty():
                self._orders.get()()
            if self._desk.closed:
                threading.Event().wait(0.01)
            elif self._desk.poll(10):
                client, body = self._desk.recv_multipart()
                request: AnyRequest = decode(body, AnyRequest)
                self.asked.append(request)
                if type(request) in self.loses_request:
                    self.loses_request.remove(type(request))
                elif type(request) in self.loses_answer:
                    self.loses_answer.remove(type(request))
                    self._take(b"a connection that is gone", request)
                elif not isinstance(request, self.deaf_to):
                    self._take(client, request)

    def _take(self, client: bytes, request: AnyRequest) -> None:
        match request:
            case AskStatus():
                under_way = tuple(status for status in self._statuses() if status.ended is None)
                is_watched = client in self._watchers
                self._send(client, Status(3, {"red": 2}, under_way, self.incarnation, is_watched))
            case AskCampaigns():
                self._send(client, Campaigns(self._statuses()))
            case Explain(campaign_id, run):
                self._send(client, Explained(f"{campaign_id} {run}: {self.why}", is_built=self.is_built))
            case Drain():
                self._send(client, Accepted())
            case Watch():
                self._watchers.add(client)
                machine = MachineStatus(None, "w1", 0, "away", f"told by the {self.incarnation}")
                machines = tuple(self.machines.values()) or (machine,)
                self._send(client, Overview(PROTOCOL, self.clock(), machines, self._statuses(), self.incarnation))
            case AskMachines():
                found = [MachineStatus(None, name, 0, "ready") for name in ("w1", "w2")]
                self._send(client, Machines(tuple(found), "", ""))
            case _:
                self._take_campaign(client, request)

    def _take_campaign(self, client: bytes, request: AnyRequest) -> None:
        match request:
            case Submit(campaign) if campaign.id in self.campaigns:
                self._send(client, Accepted())
                self._tell_all(client, campaign.id)
            case Submit(campaign):
                self.campaigns[campaign.id] = campaign
                ledger.accept(self.paths.campaign(campaign.id), campaign)
                self._send(client, Accepted())
                self._followers.add(client)
                self.history.setdefault(campaign.id, [])
                self._happen(self.script(campaign))
            case Follow(campaign_id) if campaign_id in self.campaigns:
                self._send(client, Accepted())
                self._tell_all(client, campaign_id)
            case Resume(campaign_id) if self._ends_of(campaign_id):
                self._send(client, Accepted())
                self._reopen(campaign_id)
                self._happen(self.script(self.campaigns[campaign_id]))
            case Cancel(campaign_id) if campaign_id in self.campaigns and not self._ends_of(campaign_id):
                self._send(client, Accepted())
                self._happen(self.on_cancel(self.campaigns[campaign_id]))
            case Collected(campaign_id, ended) if ended not in self._ends_of(campaign_id):
                self._send(client, Refused(f"campaign {campaign_id} was resumed since"))
            case Collected():
                self._send(client, Accepted())
            case _:
                self._send(client, Refused("the lab knows no such campaign"))

    def _send(self, client: bytes, message: Answer | Event) -> None:
        self._desk.send_multipart([client, encode(message)])

    def _have(self, campaign: Campaign, events: Iterable[AnyEvent]) -> None:
        self.campaigns[campaign.id], self.history[campaign.id] = campaign, list(events)

    def _lose(self, campaign: str) -> None:
        self.campaigns.pop(campaign, None)

    def _happen(self, events: Iterable[AnyEvent]) -> None:
        for event in events:
            campaign = event.outcome.campaign if isinstance(event, RunCommitted) else event.campaign  # type: ignore[union-attr]
            self.history[campaign].append(event)
            for client in self._followers:
                self._send(client, event)

    def _tell_all(self, client: bytes, campaign: str) -> None:
        self._followers.add(client)
        for event in (CampaignTaken(campaign, self.campaigns[campaign]), *self.history[campaign]):
            self._send(client, event)

    def _ends_of(self, campaign: str) -> list[float]:
        """Return when a campaign ended, if it has."""
        ends = [event for event in self.history.get(campaign, ()) if isinstance(event, CampaignEnded | CampaignRefused)]
        return [getattr(event, "time", 0.0) for event in ends]

    def _reopen(self, campaign: str) -> None:
        history = self.history[campaign]
        history[:] = [
            event
            for event in history
            if not isinstance(event, CampaignEnded)
            and not (isinstance(event, RunCommitted) and event.outcome.kind != "done")
        ]

    def _be_exchanged(self, events: Iterable[AnyEvent]) -> None:
        self.incarnation += "'"
        self._followers.clear()
        self._watchers.clear()
        self._happen(events)

    def _statuses(self) -> tuple[CampaignStatus, ...]:
        found = []
        for campaign in self.campaigns.values():
            history = self.history[campaign.id]
            kinds = {event.outcome.run: event.outcome.kind for event in history if isinstance(event, RunCommitted)}
            done = sum(kind == "done" for kind in kinds.values())
            runs = [len(event.prepared.runs) for event in history if isinstance(event, CampaignPrepared)]
            ends = [event for event in history if isinstance(event, CampaignEnded | CampaignRefused)]
            phase = "done" if done == sum(runs) else "failed"
            if ends and isinstance(ends[-1], CampaignEnded) and ends[-1].cancelled:
                phase = "cancelled"
            found.append(
                CampaignStatus(
                    id=campaign.id,
                    name=campaign.name,
                    config=campaign.config,
                    user=campaign.user,
                    phase=phase if ends else "running",
                    total=runs[-1] if runs else 0,
                    done=done,
                    failed=len(kinds) - done,
                    running=0,
                    submitted=campaign.submitted,
                    ended=9.0 if ends else None,
                )
            )
        return tuple(found)


class PlayedLab(Lab):
    """The lab of a played foreman."""

    def __init__(self, folder: Path, home: Path) -> None:
        paths = LabPaths(home)
        self.played = PlayedForeman(folder, paths)
        #: Runs whose files were asked for.
        self.brought: list[int] = []
        super().__init__(self.played.endpoint, f"ipc://{folder}/hub", paths)

    def bring(self, campaign: str, outcomes: Iterable[Outcome]) -> None:  # noqa: ARG002  there is one
        self.brought += [outcome.run for outcome in outcomes]

    @property
    def notes(self) -> Notes:
        """What its client has noted."""
        return Notes(self.paths)

    def committed(
        self,
        campaign: Campaign,
        run: int,
        kind: Kind = "done",
        attempt: int = 1,
        path: str = "",
        key: str = "k3y",
    ) -> RunCommitted:
        """Put a run's file into the result store, and return what is told of it."""
        files: Mapping[str, bytes] = {path or f"results/General-#{run}.sca": f"of run {run}".encode()}
        outcome = deliver(self.paths, run, attempt, files, campaign=campaign.id, kind=kind, key=key)
        self.paths.campaign(campaign.id).record(run).unlink(missing_ok=True)
        results.commit(self.paths, [outcome])
        assert results.record(self.paths.campaign(campaign.id), run) == outcome
        return RunCommitted(outcome)


@contextmanager
def played_lab(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedLab]:
    """A lab of one test's own, which this test's clients take for theirs."""
    monkeypatch.setenv("LABFLEET_HOME", str(home))
    monkeypatch.setenv("LABFLEET_LAB", "local")
    with tempfile.TemporaryDirectory(prefix="lf-", dir="/tmp") as folder:  # short: it holds a socket
        played = PlayedLab(Path(folder), home)
        monkeypatch.setattr(local_lab, "connect", lambda *_: played)
        yield played
        played.played.close()


class Watcher(View):
    """A view that remembers, and lets a test act when something is shown."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.events: list[AnyEvent] = []
        self.reasons: list[str] = []
        self.silence = 0.0
        self.on_event: Callable[[AnyEvent], None] = lambda _: None
        self.on_note: Callable[[str], None] = lambda _: None

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.on_note(text)

    def event(self, event: AnyEvent) -> None:
        self.events.append(event)
        self.on_event(event)

    def log(self, run: str, text: str) -> None:
        self.notes.append(f"{run} | {text}")

    def waits(self, why: str) -> None:
        self.reasons.append(why)

    def unheard(self, seconds: float) -> None:
        self.silence = max(seconds, self.silence)

    def tick(self) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing was drawn."""
