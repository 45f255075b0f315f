"""The foreman: takes campaigns on, keeps the hosts' queues fed, and tells the clients what happens.

All decisions are in scheduling.py; this is the part that listens and acts.  It waits for three things at once: requests
of clients, events of workers (a thread reads Redis), and commits to the result store (a thread waits for the disk).
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable

import zmq

from runner import results, scheduling
from runner.errors import ExitCode
from runner.job_queue import JobQueue
from runner.messages import (
    Accepted,
    Answer,
    AnyEvent,
    AnyRequest,
    AskStatus,
    CampaignEnded,
    CampaignEvent,
    CampaignPrepared,
    CampaignRefused,
    CampaignStatus,
    Cancel,
    ChunkEnded,
    ChunkStarted,
    DeliveryFailed,
    Event,
    HostUp,
    Refused,
    RunCommitted,
    RunDelivered,
    Shutdown,
    SlotDied,
    Status,
    Submit,
)
from runner.model import PROTOCOL, Attempt, Campaign, Outcome, decode, encode
from runner.paths import LabPaths
from runner.scheduling import CampaignState

log = logging.getLogger(__name__)

#: Deliveries that are committed together.
MOST_COMMITS = 200
#: Seconds until deliveries that could not be written to the disk are tried again.
COMMIT_PAUSE = 2.0
#: The largest request: a campaign with its environment.
LARGEST_REQUEST = 4 << 20


class Foreman:
    """Serves clients and keeps workers busy until nobody has needed it for a while."""

    def __init__(self, paths: LabPaths, jobs: JobQueue, idle_seconds: float) -> None:
        self._paths, self._jobs, self._idle_seconds = paths, jobs, idle_seconds
        self._states: dict[str, CampaignState] = {}
        self._followers: dict[str, set[bytes]] = {}
        self._hosts: dict[str, int] = {}
        self._delivered: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._desk = self._context.socket(zmq.ROUTER)
        self._desk.set(zmq.SNDHWM, 0)  # an event must never be dropped; a campaign's are few and small
        self._desk.set(zmq.MAXMSGSIZE, LARGEST_REQUEST)
        self._desk.set(zmq.LINGER, 1000)
        self._pause = threading.Event()
        self._ends = False

    def run(self, endpoint: str) -> None:
        """Serve until told to shut down, or idle for long enough."""
        self._desk.bind(endpoint)
        inbox = self._context.socket(zmq.PULL)
        inbox.set(zmq.RCVHWM, 0)
        inbox.bind("inproc://events")
        for work in (self._read_events, self._commit_deliveries):
            threading.Thread(target=_or_end_all, args=(work,), daemon=True).start()
        poller = zmq.Poller()
        poller.register(self._desk, zmq.POLLIN)
        poller.register(inbox, zmq.POLLIN)
        last_needed = time.monotonic()
        while not self._ends:
            ready = dict(poller.poll(1000))
            if self._desk in ready:
                self._serve_client()
            if inbox in ready:
                self._take_events(inbox)
            self._feed()
            if ready or self._states:
                last_needed = time.monotonic()
            if time.monotonic() - last_needed > self._idle_seconds:
                log.warning("nobody has needed this lab for %.0f s: it ends", self._idle_seconds)
                return
        self._desk.close()

    # ---- threads: what waits for something else than a socket ----

    def _inbox(self) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.PUSH)
        socket.set(zmq.SNDHWM, 0)
        socket.connect("inproc://events")
        return socket

    def _read_events(self) -> None:
        """Hand the workers' events to the main thread."""
        socket = self._inbox()
        for position, events in self._jobs.events():
            for event in events:
                if isinstance(event, RunDelivered):
                    self._delivered.put(event.outcome)
                else:
                    socket.send(encode(event))
            self._jobs.drop_events(position)

    def _commit_deliveries(self) -> None:
        """Commit what was delivered, and hand the outcomes to the main thread."""
        socket = self._inbox()
        while True:
            delivered = [self._delivered.get()]
            while len(delivered) < MOST_COMMITS and not self._delivered.empty():
                delivered.append(self._delivered.get())
            try:
                results.commit(self._paths, delivered)
            except OSError as error:
                log.warning("deliveries cannot be committed, the next try follows: %s", error)
                self._pause.wait(COMMIT_PAUSE)
                for outcome in delivered:
                    self._delivered.put(outcome)
                continue
            for outcome in delivered:
                socket.send(encode(self._fate(outcome)))

    def _fate(self, outcome: Outcome) -> RunCommitted | DeliveryFailed:
        """Return what became of a delivery: the run's record tells, whose attempt ever it is."""
        record = results.record(self._paths.campaign(outcome.campaign), outcome.run)
        if record is None:
            return DeliveryFailed(outcome.campaign, Attempt(outcome.run, outcome.attempt))
        return RunCommitted(record)

    # ---- clients ----

    def _serve_client(self) -> None:
        frames = self._desk.recv_multipart()
        client, body = frames[0], frames[-1]
        try:
            request: AnyRequest = decode(body, AnyRequest)
        except ValueError as error:
            log.warning("refused a malformed request: %s", error)
            self._answer(client, Refused("the lab does not understand this request", "is it of the same version?"))
            return
        match request:
            case Submit(campaign):
                self._answer(client, self._submit(client, campaign))
            case Cancel(campaign_id):
                self._answer(client, self._cancel(campaign_id))
            case AskStatus():
                self._answer(client, self._status())
            case Shutdown(force):
                self._answer(client, self._shutdown(force))

    def _answer(self, client: bytes, answer: Answer) -> None:
        self._desk.send_multipart([client, encode(answer)])

    def _submit(self, client: bytes, campaign: Campaign) -> Answer:
        if campaign.protocol != PROTOCOL:
            return Refused(
                f"this labfleet speaks version {campaign.protocol} of the protocol, the lab {PROTOCOL}",
                "use the same version on both sides",
            )
        try:
            results.accept(self._paths.campaign(campaign.id), campaign)
        except FileExistsError:
            return Refused(f"{campaign.id!r} cannot be the id of a new campaign: there is one")
        except OSError as error:
            return Refused(f"the lab cannot take on a campaign: {error}", f"look at the disk of {self._paths.home}")
        self._states[campaign.id] = CampaignState(campaign)
        self._followers[campaign.id] = {client}
        self._jobs.keep_campaign(campaign)
        self._jobs.put_build(campaign.id)
        return Accepted()

    def _cancel(self, campaign: str) -> Answer:
        state = self._states.get(campaign)
        if state is None:
            return Refused(f"no campaign {campaign} is under way")
        self._jobs.mark_cancelled(campaign)
        self._jobs.forget_chunks(campaign)
        scheduling.take_cancel(state)
        self._finish_if_over(state)
        return Accepted()

    def _status(self) -> Status:
        return Status(PROTOCOL, dict(self._hosts), tuple(_status_of(state) for state in self._states.values()))

    def _shutdown(self, force: bool) -> Answer:
        if self._states and not force:
            return Refused(
                f"{len(self._states)} campaigns are under way: {', '.join(self._states)}",
                "wait for them, or stop the lab with --force",
            )
        self._ends = True
        return Accepted()

    def _tell(self, campaign: str, event: Event) -> None:
        """Send an event to everybody who follows a campaign."""
        message = encode(event)
        for client in self._followers.get(campaign, ()):
            self._desk.send_multipart([client, message])

    # ---- events ----

    def _take_events(self, inbox: "zmq.Socket[bytes]") -> None:
        while inbox.poll(0):
            event: AnyEvent = decode(inbox.recv(), AnyEvent)
            log.debug("%s", event)
            match event:
                case HostUp(host, slots):
                    self._hosts[host] = slots
                    for state in list(self._states.values()):
                        self._give_up(state, scheduling.take_host_up(state, host), "its worker died each time")
                case SlotDied(host, slot):
                    for state in list(self._states.values()):
                        self._give_up(state, scheduling.take_slot_died(state, host, slot), "its worker died each time")
                case RunCommitted(outcome):
                    self._take_outcome(outcome)
                case RunDelivered():
                    pass  # the thread that reads events passes these to the one that commits
                case _:
                    self._take_or_end(event)

    def _take_or_end(self, event: CampaignEvent) -> None:
        """Take an event of one campaign; where the disk refuses what has to be written, that campaign alone ends."""
        try:
            self._take_campaign_event(event)
        except OSError as error:
            log.exception("%s", event.campaign)
            refused = CampaignRefused(event.campaign, int(ExitCode.LAB_FAILED), f"the lab cannot go on: {error}", "")
            self._jobs.mark_cancelled(event.campaign)
            self._tell(event.campaign, refused)
            self._forget(event.campaign)

    def _take_campaign_event(self, event: CampaignEvent) -> None:
        campaign = event.campaign
        state = self._states.get(campaign)
        if state is None:
            return  # it has ended or was cancelled
        match event:
            case CampaignPrepared(_, prepared):
                results.note_prepared(self._paths.campaign(campaign), prepared)
                self._jobs.keep_prepared(campaign, prepared)
                scheduling.take_prepared(state, prepared)
                self._tell(campaign, event)
                self._finish_if_over(state)
            case CampaignRefused():
                self._tell(campaign, event)
                self._forget(campaign)
            case ChunkStarted(_, chunk, _, slot):
                scheduling.take_chunk_started(state, chunk, slot)
            case ChunkEnded():
                self._give_up(state, scheduling.take_chunk_ended(state, event), event.error)
            case DeliveryFailed(_, attempt):
                self._give_up(state, scheduling.take_delivery_failed(state, attempt), "its files did not arrive")
            case _:
                self._tell(campaign, event)

    def _take_outcome(self, outcome: Outcome) -> None:
        state = self._states.get(outcome.campaign)
        if state is not None and scheduling.take_outcome(state, outcome):
            self._tell(outcome.campaign, RunCommitted(outcome))
            self._finish_if_over(state)

    def _give_up(self, state: CampaignState, attempts: Iterable[Attempt], reason: str) -> None:
        """End runs that were begun too often without a result, and the campaign if nothing is left of it."""
        for attempt in attempts:
            now = time.time()
            outcome = Outcome(
                campaign=state.campaign.id,
                run=attempt.run,
                attempt=attempt.number,
                kind="lost",
                exit_status=-1,
                host="",
                slot="",
                started=now,
                ended=now,
                error=f"given up after {attempt.number} attempts: {reason}",
            )
            if results.give_up(self._paths.campaign(state.campaign.id), outcome):
                scheduling.take_outcome(state, outcome)
                self._tell(state.campaign.id, RunCommitted(outcome))
        self._finish_if_over(state)

    def _finish_if_over(self, state: CampaignState) -> None:
        if state.is_over:
            if state.in_flight:  # runs that were begun again although their first attempt was on its way
                self._jobs.mark_cancelled(state.campaign.id)
                self._jobs.forget_chunks(state.campaign.id)
            self._tell(state.campaign.id, CampaignEnded(state.campaign.id, state.cancelled))
            self._forget(state.campaign.id)

    def _forget(self, campaign: str) -> None:
        self._jobs.drop_campaign(campaign)
        del self._states[campaign]
        self._followers.pop(campaign, None)

    def _feed(self) -> None:
        for feed in scheduling.next_feeds(list(self._states.values()), self._hosts):
            self._jobs.put_chunk(feed.host, feed.chunk)


def _status_of(state: CampaignState) -> CampaignStatus:
    failed = sum(outcome.kind != "done" for outcome in state.over.values())
    return CampaignStatus(
        id=state.campaign.id,
        name=state.campaign.name,
        config=state.campaign.config,
        user=state.campaign.user,
        phase="cancelled" if state.cancelled else "running" if state.prepared else "building",
        total=state.total,
        done=len(state.over) - failed,
        failed=failed,
        running=sum(len(chunk.attempts) for chunk in state.in_flight.values() if chunk.slot),
    )


def _or_end_all(work: Callable[[], None]) -> None:
    """Do a thread's work; should it ever end, end the process: without it the foreman would be deaf, and not know."""
    try:
        work()
    except Exception:
        log.exception("a thread of the foreman's has ended")
    os._exit(1)
