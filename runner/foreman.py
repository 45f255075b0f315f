"""The foreman: takes campaigns on, keeps the hosts' queues fed, and tells the clients what happens.

All decisions are in scheduling.py; this is the part that listens and acts: to requests of clients, to events of workers
and to what was committed (intake.py).
"""

import logging
import signal
import time
from collections.abc import Iterable

import msgspec
import zmq

from runner import curve, results, scheduling
from runner.errors import ExitCode
from runner.hosts import Hosts
from runner.intake import Intake
from runner.job_queue import JobQueue
from runner.machine import Machine, become_deployed, idle_seconds
from runner.messages import (
    Accepted,
    Answer,
    AnyEvent,
    AnyRequest,
    AskMachines,
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
    HostReport,
    HostUp,
    Machines,
    Refused,
    RunCommitted,
    RunDelivered,
    Shutdown,
    SlotDied,
    Status,
    Submit,
)
from runner.model import PROTOCOL, Attempt, Campaign, Outcome, decode, encode
from runner.scheduling import CampaignState

log = logging.getLogger(__name__)

#: The largest request: a campaign with its environment.
LARGEST_REQUEST = 4 << 20


class Foreman:
    """Serves clients and keeps workers busy until nobody has needed it for a while."""

    def __init__(self, machine: Machine, jobs: JobQueue) -> None:
        self._machine, self._paths, self._jobs = machine, machine.paths, jobs
        #: On a remote lab people come with keys, and machines may vanish; a local lab ends when it is idle.
        self._is_remote = machine.settings is not None
        self._states: dict[str, CampaignState] = {}
        self._followers: dict[str, set[bytes]] = {}
        self._hosts = Hosts()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._desk = self._context.socket(zmq.ROUTER)
        self._desk.set(zmq.SNDHWM, 0)  # an event must never be dropped; a campaign's are few and small
        self._desk.set(zmq.MAXMSGSIZE, LARGEST_REQUEST)
        self._desk.set(zmq.LINGER, 1000)
        self._ends = False
        self._changes = False
        #: Was there nothing but the machines' regular reports in this turn of the loop?
        self._only_reports = True

    def run(self) -> None:
        """Serve until told to shut down; a local lab's also ends when it has been idle for long enough.

        On SIGHUP it becomes the deployed revision of itself as soon as no campaign is under way.
        """
        if self._is_remote:
            self._guard()
        self._desk.bind(self._machine.foreman)
        inbox = self._context.socket(zmq.PULL)
        inbox.set(zmq.RCVHWM, 0)
        inbox.bind("inproc://events")
        Intake(self._paths, self._jobs, self._context, "inproc://events").start()
        poller = zmq.Poller()
        poller.register(self._desk, zmq.POLLIN)
        poller.register(inbox, zmq.POLLIN)
        last_needed = time.monotonic()
        while not self._ends:
            ready = dict(poller.poll(1000))
            self._only_reports = self._desk not in ready
            if self._desk in ready:
                self._serve_client()
            if inbox in ready:
                self._take_events(inbox)
            if self._is_remote:
                self._give_up_silent_hosts()
            self._feed()
            if self._changes and not self._states:
                become_deployed("foreman")
            if self._states or (ready and not self._only_reports):
                last_needed = time.monotonic()
            if not self._is_remote and time.monotonic() - last_needed > idle_seconds():
                log.warning("nobody has needed this lab for %d s: it ends", idle_seconds())
                return
        self._desk.close()

    def _guard(self) -> None:
        """Let only registered people in, and tell the workers whom they may trust."""
        signal.signal(signal.SIGHUP, self._note_change)
        keys = curve.own_keys(self._paths.keys, "server")
        curve.guard(self._context, self._paths.keys)
        curve.serve(self._desk, keys, curve.PEOPLE)
        self._jobs.keep_lab_key(keys.public.decode())
        (self._paths.keys / "protocol").write_text(f"{PROTOCOL}\n")
        for folder in (self._paths.incoming, self._paths.home / "git", self._paths.home / "products"):
            folder.mkdir(exist_ok=True)

    def _note_change(self, *_: object) -> None:
        self._changes = True

    # ---- clients ----

    def _serve_client(self) -> None:
        frames = self._desk.recv_multipart(copy=False)
        client, body = frames[0].bytes, frames[-1]
        try:
            person = self._person(body)
            request: AnyRequest = decode(body.bytes, AnyRequest)
        except ValueError as error:
            log.warning("refused a malformed request: %s", error)
            self._answer(client, Refused("the lab does not understand this request", "is it of the same version?"))
            return
        match request:
            case Submit(campaign):
                self._answer(client, self._submit(client, campaign, person))
            case Cancel(campaign_id):
                self._answer(client, self._cancel(campaign_id, person))
            case AskStatus():
                self._answer(client, self._status())
            case AskMachines():
                self._answer(client, self._machines())
            case Shutdown(force):
                self._answer(client, self._shutdown(force))

    def _person(self, message: zmq.Frame) -> str | None:
        """Return who sent a message, by the key of the connection; None on a local lab, which has one person only.

        Raises ValueError for a key that was withdrawn since.
        """
        if not self._is_remote:
            return None
        person = curve.owner(self._paths.keys, curve.PEOPLE, str(message.get("User-Id")))
        if person is None:
            raise ValueError("unknown key")
        return person

    def _answer(self, client: bytes, answer: Answer) -> None:
        self._desk.send_multipart([client, encode(answer)])

    def _submit(self, client: bytes, campaign: Campaign, person: str | None) -> Answer:
        if person is not None:
            campaign = msgspec.structs.replace(campaign, user=person)
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

    def _cancel(self, campaign: str, person: str | None) -> Answer:
        state = self._states.get(campaign)
        if state is None:
            return Refused(f"no campaign {campaign} is under way")
        if person is not None and person != state.campaign.user:
            return Refused(f"campaign {campaign} belongs to {state.campaign.user}", "ask its owner to cancel it")
        self._jobs.mark_cancelled(campaign)
        self._jobs.forget_chunks(campaign)
        scheduling.take_cancel(state)
        self._finish_if_over(state)
        return Accepted()

    def _status(self) -> Status:
        campaigns = tuple(_status_of(state) for state in self._states.values())
        return Status(PROTOCOL, self._hosts.serving(), campaigns)

    def _machines(self) -> Machines:
        provisioned = {folder.name for folder in (self._paths.keys / curve.WORKERS).glob("*")}
        machines = self._hosts.table(time.monotonic(), provisioned, list(self._states.values()))
        return Machines(machines, self._machine.revision, self._deployed())

    def _deployed(self) -> str:
        """Return the revision of labfleet's code that the git server has for everybody."""
        if not self._is_remote:
            return ""
        ref = self._paths.repository("labfleet") / "refs" / "heads" / "deployed"
        return ref.read_text().strip() if ref.exists() else ""

    def _shutdown(self, force: bool) -> Answer:
        if self._is_remote:
            return Refused("a remote lab is not ended by its clients", "an administrator can: labfleet teardown")
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
            self._only_reports = self._only_reports and isinstance(event, HostReport)
            match event:
                case HostUp(host, slots, key):
                    self._take_host_up(host, slots, key)
                case HostReport():
                    self._take_report(event)
                case SlotDied(_, "builder"):
                    self._build_again()
                case SlotDied(host, slot):
                    for state in list(self._states.values()):
                        self._give_up(state, scheduling.take_slot_died(state, host, slot), "its worker died each time")
                case RunCommitted(outcome):
                    self._take_outcome(outcome)
                case RunDelivered():
                    pass  # the thread that reads events passes these to the one that commits
                case _:
                    self._take_or_end(event)

    # ---- machines ----

    def _take_host_up(self, host: str, slots: int, key: str) -> None:
        self._hosts.take_up(host, slots, time.monotonic())
        if self._is_remote:
            try:
                curve.register(self._paths.keys, curve.WORKERS, host, key)
            except ValueError:
                log.warning("%s has an odd key: its slots cannot send logs", host)
        self._begin_again(host)
        self._build_again()

    def _build_again(self) -> None:
        """Queue the builds that a dead builder may have had; one that is done twice finds the product there."""
        for state in self._states.values():
            campaign = state.campaign.id
            if state.prepared is None and not state.cancelled and not self._jobs.has_build(campaign):
                self._jobs.put_build(campaign)

    def _take_report(self, report: HostReport) -> None:
        began_to_drain = report.draining and not self._hosts.is_draining(report.host)
        self._hosts.take_report(report, time.monotonic())
        if began_to_drain:
            self._take_back(report.host)

    def _give_up_silent_hosts(self) -> None:
        """What hosts have that have been silent for too long is done elsewhere."""
        for host in self._hosts.newly_silent(time.monotonic()):
            log.warning("nothing is heard from %s: its runs are begun again elsewhere", host)
            self._take_back(host)
            self._begin_again(host)

    def _take_back(self, host: str) -> None:
        """Give the chunks that wait in a host's queue to others."""
        chunks = self._jobs.take_back(host)
        for state in self._states.values():
            scheduling.take_back(state, host, chunks)

    def _begin_again(self, host: str) -> None:
        """What the slots of a host have begun is begun again."""
        for state in list(self._states.values()):
            self._give_up(state, scheduling.take_host_up(state, host), "its worker died each time")

    # ---- campaigns ----

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
            case CampaignPrepared(_, prepared, parcel):
                results.take_product(self._paths, prepared.key, parcel)
                results.take_build_log(self._paths, campaign)
                results.note_prepared(self._paths.campaign(campaign), prepared)
                self._jobs.keep_prepared(campaign, prepared)
                scheduling.take_prepared(state, prepared)
                self._tell(campaign, event)
                self._finish_if_over(state)
            case CampaignRefused():
                results.take_build_log(self._paths, campaign)
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
        for feed in scheduling.next_feeds(list(self._states.values()), self._hosts.serving()):
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
