"""The foreman's loop: events of workers and requests of clients come in, chunks go out."""

import logging
import signal
import time
from collections.abc import Callable

import zmq

from runner import curve
from runner.foreman.books import Books
from runner.foreman.desk import Desk
from runner.hosts import Hosts
from runner.housekeeping import regularly
from runner.intake import BEAT, REPLACED, Intake
from runner.job_queue import JobQueue, Unwritable
from runner.machine import Machine, become_deployed, idle_seconds
from runner.messages import (
    AnyEvent,
    AttemptFailed,
    CampaignEvent,
    CampaignPrepared,
    CampaignRefused,
    ChunkEnded,
    ChunkStarted,
    DeliveryFailed,
    HostReport,
    HostUp,
    ProductMissing,
    RunCommitted,
    RunDelivered,
    RunProgressed,
    RunStarted,
    SlotDied,
)
from runner.model import PROTOCOL, Outcome, Past, decode
from runner.scheduling import feeding, leases, under_way
from runner.scheduling import state as campaign_state
from runner.scheduling.rebuilds import REBUILD
from runner.scheduling.state import CampaignState

log = logging.getLogger(__name__)

#: Seconds for which a foreman listens to the machines' reports before it gives out the runs of campaigns that it found.
ROUND_OF_REPORTS = 2.5

#: Milliseconds until a Redis that cannot write is tried again.
PAUSE = 1000


class Foreman:
    """Serves clients and keeps workers busy until nobody has needed it for a while."""

    def __init__(self, machine: Machine, jobs: JobQueue) -> None:
        self._machine, self._paths, self._jobs = machine, machine.paths, jobs
        #: On a remote lab people come with keys; a local lab ends when it is idle.
        self._is_remote = machine.settings is not None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._desk = Desk(machine, self._context)
        self._books = Books(self._paths, jobs, self._desk.send_all)
        self._hosts = Hosts(machine.settings.image if machine.settings else "", self._drained())
        self._intake = Intake(self._paths, jobs, self._context, "inproc://events")
        self._feeds_from, self._settled_from = 0.0, 0.0
        #: The machines that the workers were told of, and with what each compiles.
        self._told: dict[str, str] = {}
        #: The machines whose logs are let in, each by its key.
        self._keys: dict[str, str] = {}
        self._changes = False
        #: When the product of a campaign that is not here may be asked for again.
        self._builds_from: dict[str, float] = {}
        #: Was there nothing but the machines' regular reports in this turn of the loop?
        self._only_reports = True

    def run(self) -> None:
        """Serve until told to shut down; a local lab's also ends when it has been idle for long enough.

        On SIGHUP it becomes the deployed revision of itself.
        """
        if self._is_remote:
            self._guard()
        self._begin()
        self._desk.open()
        inbox = self._context.socket(zmq.PULL)
        inbox.set(zmq.RCVHWM, 0)
        inbox.bind("inproc://events")
        self._intake.start()
        poller = zmq.Poller()
        poller.register(self._desk.socket, zmq.POLLIN)
        poller.register(inbox, zmq.POLLIN)
        watching = self._desk.watching
        last_needed = time.monotonic()
        while not self._desk.ends:
            ready = dict(poller.poll(round(watching.pause() * 1000)))
            self._only_reports = self._desk.socket not in ready
            try:
                self._turn(ready, inbox)
                if ready:
                    watching.note()
                watching.turn(self._books, self._hosts)
            except (Unwritable, OSError) as error:  # what is missing now is found to be so, and done later
                log.warning("the disk is full, or does not work: %s", error)
                poller.poll(PAUSE)
            if self._changes:
                become_deployed("foreman")
            if self._books.states or not self._only_reports:
                last_needed = time.monotonic()
            if not self._is_remote and time.monotonic() - last_needed > idle_seconds():
                log.warning("nobody has needed this lab for %d s: it ends", idle_seconds())
                return
        self._desk.socket.close()

    def _turn(self, ready: dict[object, int], inbox: "zmq.Socket[bytes]") -> None:
        if self._desk.socket in ready:
            self._desk.serve(self._books, self._hosts)
        if inbox in ready:
            self._take_events(inbox)
        if self._hosts.now >= self._feeds_from:
            states = list(self._books.states.values())
            for feed in feeding.next_feeds(states, self._hosts.serving(), self._hosts.now, self._hosts.on_trial()):
                self._jobs.put_chunk(feed.host, feed.chunk, first=feed.first)

    # ---- beginning ----

    def _guard(self) -> None:
        """Let only registered people in, and tell the workers whom they may trust."""
        signal.signal(signal.SIGHUP, self._note_change)
        curve.guard(self._context, self._paths.keys)
        self._jobs.keep_lab_key(curve.own_keys(self._paths.keys, "server").public.decode())
        (self._paths.keys / "protocol").write_text(f"{PROTOCOL}\n")
        for folder in (self._paths.incoming, self._paths.home / "git", self._paths.contents):
            folder.mkdir(parents=True, exist_ok=True)

    def _note_change(self, *_: object) -> None:
        self._changes = True

    def _drained(self) -> dict[str, str]:
        """Return the machines that somebody has drained."""
        if not self._paths.drained.exists():
            return {}
        found: dict[str, str] = decode(self._paths.drained.read_bytes(), dict[str, str])
        return found

    def _begin(self) -> None:
        """Take up the campaigns that have not ended; what the machines have of them, the next reports tell."""
        self._books.restore(self._hosts.now)
        for host in self._jobs.hosts():
            self._jobs.take_back(host)
        if self._books.states:
            self._feeds_from, self._settled_from = ROUND_OF_REPORTS, leases.LEASE
            self._books.is_settled = False
        regularly.tidy_head(self._machine)

    # ---- events ----

    def _take_events(self, inbox: "zmq.Socket[bytes]") -> None:
        while inbox.poll(0):
            message = inbox.recv()
            if message in (BEAT, REPLACED):
                self._take_beat(is_replaced=message == REPLACED)
                continue
            event: AnyEvent = decode(message, AnyEvent)
            log.debug("%s", event)
            self._only_reports = self._only_reports and isinstance(event, HostReport)
            self._take(event)

    def _take(self, event: AnyEvent) -> None:
        match event:
            case HostUp(host, slots, key):
                self._take_host_up(host, slots, key)
            case HostReport():
                self._take_report(event)
            case SlotDied(_, "builder"):
                self._build_again(self._states())
            case SlotDied(host, slot):
                self._lose(lambda state, now_is: campaign_state.take_slot_died(state, host, slot, now_is))
            case RunCommitted(outcome):
                self._take_outcome(outcome)
            case RunDelivered():
                pass  # the thread that reads events passes these to the one that commits
            case _:
                self._take_campaign_event(event)

    def _take_beat(self, *, is_replaced: bool) -> None:
        """Redis answers: time goes on, and what has not been heard of for too long is lost."""
        self._hosts.beat(time.monotonic())
        self._tell_machines(anew=is_replaced)
        if is_replaced:
            log.warning("Redis was started again: it is told what it may have forgotten")
            if self._is_remote:
                self._jobs.keep_lab_key(curve.own_keys(self._paths.keys, "server").public.decode())
            for state in self._books.states.values():
                self._books.remind(state)
        now = self._hosts.now
        self._look_for_unbegun(now)
        self._look_for_arrived(now)
        self._lose(lambda state, now_is: leases.expire(state, now, now_is))
        self._build_again([state for state in self._states() if leases.is_build_lost(state, now)])
        self._books.is_settled = now >= self._settled_from
        for state in self._states():
            self._books.end_if_over(state)

    def _tell_machines(self, *, anew: bool) -> None:
        """Tell the workers who serves, once every machine has had the time to report."""
        serving = self._hosts.compilers()
        if self._hosts.now >= ROUND_OF_REPORTS and (anew or serving != self._told):
            self._jobs.keep_machines(serving)
            self._told = serving

    def _look_for_arrived(self, now: float) -> None:
        """Outcomes that are overdue may have arrived without anybody to tell; then they are committed, and not lost."""
        overdue = [state for state in self._states() if leases.has_overdue(state, now)]
        if overdue:
            arrived = self._intake.look_again()
            for state in overdue:
                leases.note_arrived(state, arrived, now)

    def _states(self) -> list[CampaignState]:
        return list(self._books.states.values())

    def _look_for_unbegun(self, now: float) -> None:
        """Chunks that nobody has begun for a while should be in their queues; those that are not go to others."""
        for state in self._states():
            for host, late in leases.unbegun(state, now).items():
                queued = self._jobs.queued(host)
                leases.note_queued(state, late & queued, now)
                campaign_state.take_vanished(state, host, late - queued)
                if late & queued and feeding.has_room(self._states(), self._hosts.serving(), besides=host):
                    self._take_back(host)  # it is behind long runs there, and others have nothing to do
            for host in leases.stranded(state, self._hosts.serving()):
                self._take_back(host)

    def _lose(self, losing: Callable[[CampaignState, float], list[Past]]) -> None:
        """Let each campaign lose what is gone, and its runs begin again."""
        now_is = time.time()
        for state in self._states():
            lost = losing(state, now_is)
            for past in lost:
                self._hosts.take_loss(past)
            self._books.lost(state, lost)

    # ---- machines ----

    def _take_host_up(self, host: str, slots: int, key: str) -> None:
        self._hosts.take_up(host, slots)
        self._let_in(host, key)
        self._lose(lambda state, now_is: campaign_state.take_host_up(state, host, now_is))
        self._build_again(self._states())

    def _let_in(self, host: str, key: str) -> None:
        """Let a machine's slots send logs, if they may not yet."""
        if not self._is_remote or self._keys.get(host) == key:
            return
        try:
            curve.register(self._paths.keys, curve.WORKERS, host, key)
        except ValueError as error:
            log.warning("%r has an odd name or key: its slots cannot send logs: %s", host, error)
        except OSError as error:  # the machine's next report tells the key again
            log.warning("the key of %s cannot be kept, so its slots cannot send logs: %s", host, error)
            return
        self._keys[host] = key

    def _take_report(self, report: HostReport) -> None:
        if report.key:  # an agent of another revision tells none
            self._let_in(report.host, report.key)
        took_nothing = self._hosts.takes_nothing(report.host)
        self._hosts.take_report(report)
        if self._hosts.takes_nothing(report.host) and not took_nothing:
            self._take_back(report.host)
        for state in self._states():
            leases.take_report(state, report, self._hosts.now)
            for chunk in leases.pointless(state):
                self._jobs.revoke(chunk)

    def _take_back(self, host: str) -> None:
        """Give the chunks that wait in a host's queue to others."""
        chunks = self._jobs.take_back(host)
        for state in self._states():
            campaign_state.take_back(state, host, chunks)

    def _build_again(self, states: list[CampaignState]) -> None:
        """Queue the builds that a dead builder may have had; one that is done twice finds the product there."""
        for state in states:
            campaign = state.campaign.id
            if state.prepared is None and not state.cancelled:
                self._books.remind(state)
                state.build_renewed = self._hosts.now
                if not self._jobs.has_build(campaign):
                    self._jobs.put_build(campaign)

    def _build_missing(self, state: CampaignState, missing: ProductMissing) -> None:
        """Have a campaign's product built, or delivered, again; all hosts that miss it say so every few seconds."""
        campaign, now = state.campaign.id, self._hosts.now
        if state.cancelled or self._books.missing(state, missing, now):
            return
        if now < self._builds_from.get(campaign, 0.0) or self._jobs.has_build(campaign):
            return
        log.warning("the product of campaign %s is not here as it should be: its build job is done again", campaign)
        self._builds_from[campaign] = now + REBUILD
        state.build_renewed = now
        self._jobs.put_build(campaign)

    # ---- campaigns ----

    def _take_campaign_event(self, event: CampaignEvent) -> None:
        state = self._books.states.get(event.campaign)
        if state is None:
            return  # it has ended
        match event:
            case CampaignPrepared():
                self._books.prepared(state, event)
            case CampaignRefused():
                self._books.refuse(state, event)
            case ProductMissing():
                self._build_missing(state, event)
            case DeliveryFailed(_, attempt):
                self._books.lost(state, campaign_state.take_delivery_failed(state, attempt, time.time()))
            case AttemptFailed(_, past):
                if self._books.failed(state, past):
                    self._hosts.take_outcome(past.host, past.kind)
            case _:
                self._take_slot_event(state, event)

    def _take_slot_event(self, state: CampaignState, event: CampaignEvent) -> None:
        match event:
            case ChunkStarted(_, chunk, _, slot):
                campaign_state.take_chunk_started(state, chunk, slot, self._hosts.now)
            case ChunkEnded():
                if event.error:
                    self._hosts.take_trouble(event.host, event.error)
                self._books.lost(state, campaign_state.take_chunk_ended(state, event, self._hosts.now, time.time()))
            case RunStarted():
                if under_way.take_run_started(state, event, time.time()):
                    self._books.tell(event.campaign, event)
            case RunProgressed():
                if under_way.take_run_progressed(state, event, time.time()):
                    self._books.tell(event.campaign, event)
            case _:
                self._books.tell(event.campaign, event)

    def _take_outcome(self, outcome: Outcome) -> None:
        state = self._books.states.get(outcome.campaign)
        if state is not None and self._books.outcome(state, outcome):
            self._hosts.take_outcome(outcome.host, outcome.kind)
