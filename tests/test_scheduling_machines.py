"""Machines that die, fall silent and come back, foremen that start anew: each run ends once and nothing is lost."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from runner.messages import ChunkEnded, Held, HostReport, RunStarted
from runner.model import Attempt, Chunk, Kind, Outcome, Past
from runner.paths import attempt_parcel
from runner.scheduling import leases, under_way
from runner.scheduling import state as campaign_state
from runner.scheduling.leases import LEASE
from runner.scheduling.state import CampaignState, restored
from tests.campaigns import outcome_of
from tests.scheduling_world import SECONDS, SLOTS, THOROUGH, Checked


@dataclass
class Machine:
    """What a machine really has, whatever the foreman believes."""

    slots: int
    queue: deque[Chunk] = field(default_factory=deque)
    #: By slot: its chunk, and what it has still to do of it.
    working: dict[str, tuple[Chunk, list[Attempt]]] = field(default_factory=dict)
    spool: list[Outcome] = field(default_factory=list)
    #: Its network is cut; what it has to say waits.
    is_silent: bool = False
    withheld: list[Callable[[], None]] = field(default_factory=list)
    #: What its slots told when it reported last, and when the foreman heard that.
    told: tuple[Held, ...] = ()
    heard: float = 0.0


class LabOfMachines(Checked):
    """Machines that work, report, die, fall silent and come back; a foreman that does what the real one does.

    Queues, the event stream and the store are as reliable as the real ones; all the rest is not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.machines: dict[str, Machine] = {}
        self.delivered: list[Outcome] = []
        #: The result store's records and failures.
        self.records: dict[tuple[str, int], Outcome] = {}
        self.revoked: set[str] = set()
        self.executions: Counter[tuple[str, int]] = Counter()
        #: Has anything happened that may make an execution necessary that would not be else?
        self.is_disturbed = False
        self.foremen = 1

    # ---- the foreman ----

    def serving(self) -> dict[str, int]:
        return {n: machine.slots for n, machine in self.machines.items() if self.now - machine.heard <= LEASE}

    def host_comes_up(self, host: str, slots: int) -> None:
        if host not in self.machines:
            self.machines[host] = Machine(slots, heard=self.now)
            self.hosts[host] = slots

    @rule()
    def hosts_are_fed(self) -> None:
        for feed in self.feed():
            self.machines[feed.host].queue.append(feed.chunk)

    def tell(self, host: str, name: str, event: Callable[[CampaignState], object]) -> None:
        """Let a machine tell something of a campaign, now or when it is heard again."""

        def take() -> None:
            if name not in self.over:
                event(self.state(name))

        machine = self.machines[host]
        machine.withheld.append(take)
        if not machine.is_silent:
            self.hear(machine)

    def hear(self, machine: Machine) -> None:
        while machine.withheld:
            machine.withheld.pop(0)()

    def report(self, host: str, *, late: bool = False) -> None:
        """Let a machine report; ``late``: what its slots told the last time, before all that has happened since."""
        machine = self.machines[host]
        fresh = tuple(
            Held(slot, chunk.campaign, chunk.id, tuple(left)) for slot, (chunk, left) in machine.working.items()
        )
        holds = machine.told if late else fresh
        machine.told, machine.heard = fresh, self.now
        report = HostReport(host, machine.slots, holds=holds, spool=tuple(outcome.parcel for outcome in machine.spool))
        for state in self.active():
            leases.take_report(state, report, self.now)
            self.revoked |= set(leases.pointless(state))

    @rule(seconds=st.sampled_from([1.0, 2.0, 3.0]), late=st.booleans())
    def time_passes(self, seconds: float, late: bool) -> None:
        self.now += seconds
        for host, machine in self.machines.items():
            if not machine.is_silent:
                self.report(host, late=late)
        self.beat()

    def beat(self) -> None:
        for state in self.active():
            for host, late in leases.unbegun(state, self.now).items():
                queued = {chunk.id for chunk in self.machines[host].queue}
                leases.note_queued(state, late & queued, self.now)
                self.note_begun_again(late - queued, state)
                campaign_state.take_vanished(state, host, late - queued)
            for host in leases.stranded(state, self.serving()):
                self.take_back(host)
            self.lost(state, leases.expire(state, self.now, self.now))
            self.what_is_over_stays_over()

    def note_begun_again(self, chunks: set[str], state: CampaignState) -> None:
        if any(key in state.in_flight for key in chunks):
            self.is_disturbed = True

    def take_back(self, host: str) -> None:
        queue = self.machines[host].queue
        for state in self.active():
            campaign_state.take_back(state, host, {chunk.id for chunk in queue})
        for chunk in queue:
            self.begun.subtract((chunk.campaign, attempt) for attempt in chunk.attempts)
        queue.clear()

    @rule()
    def another_foreman_takes_over(self) -> None:
        for host, machine in self.machines.items():
            self.take_back(host)
            machine.heard = -LEASE - 1  # it has not heard of any
        self.foremen += 1
        self.begun.clear()  # its numbers may be those of executions that no foreman has ever known to have begun
        for index, old in enumerate(self.states):
            if old.campaign.id not in self.over:
                self.states[index] = self.restored(old)
        for host, machine in self.machines.items():
            if machine.is_silent:
                self.is_disturbed = True
            else:
                self.report(host)

    def restored(self, old: CampaignState) -> CampaignState:
        name = old.campaign.id
        over = {run: outcome for (of, run), outcome in self.records.items() if of == name}
        past = [one for one in self.ledger.get(name, []) if not self.is_result(over, one)]
        cancelled = old.reason if old.cancelled else None
        return restored(old.campaign, f"{self.foremen}-", old.prepared, over, past, cancelled)

    def is_result(self, over: dict[int, Outcome], past: Past) -> bool:
        return past.run in over and over[past.run].attempt == past.number

    def lost(self, state: CampaignState, lost: list[Past]) -> None:
        self.is_disturbed = self.is_disturbed or bool(lost)
        super().lost(state, lost)

    def take_outcome(self, state: CampaignState, outcome: Outcome) -> None:
        key = (outcome.campaign, outcome.run)
        super().take_outcome(state, self.records.setdefault(key, outcome))

    # ---- slots ----

    def idle(self) -> list[tuple[str, str]]:
        slots = [(host, slot) for host, machine in self.machines.items() for slot in SLOTS[: machine.slots]]
        return [
            (host, slot)
            for host, slot in slots
            if self.machines[host].queue and slot not in self.machines[host].working
        ]

    def busy(self) -> list[tuple[str, str]]:
        return [(host, slot) for host, machine in self.machines.items() for slot in sorted(machine.working)]

    @precondition(lambda self: self.idle())
    @rule(data=st.data(), network_fails=st.sampled_from([False, False, False, True]))
    def slot_begins(self, data: st.DataObject, network_fails: bool) -> None:
        host, slot = data.draw(st.sampled_from(self.idle()), label="slot")
        if not self.machines[host].is_silent:
            self.machines[host].is_silent = network_fails  # right after it took the job
            self.begin(host, slot)

    def begin(self, host: str, slot: str) -> None:
        machine = self.machines[host]
        chunk = machine.queue.popleft()
        if self.state(chunk.campaign).cancelled:
            return  # the job was taken out of the queue
        machine.working[slot] = (chunk, list(chunk.attempts))
        self.tell(
            host,
            chunk.campaign,
            lambda state: campaign_state.take_chunk_started(state, chunk.id, slot, self.now),
        )
        self.next_run(host, slot)

    def next_run(self, host: str, slot: str) -> None:
        chunk, left = self.machines[host].working[slot]
        if left:
            self.executions[chunk.campaign, left[0].run] += 1
            event = RunStarted(chunk.campaign, left[0].run, left[0].number, host, slot, self.now)
            self.tell(host, chunk.campaign, lambda state: under_way.take_run_started(state, event))

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), seconds=SECONDS, kind=st.sampled_from(["done", "done", "done", "crash"]))
    def slot_goes_on(self, data: st.DataObject, seconds: float, kind: Kind) -> None:
        self.work(*data.draw(st.sampled_from(self.busy()), label="slot"), seconds, kind)

    def work(self, host: str, slot: str, seconds: float, kind: Kind = "done") -> None:
        machine = self.machines[host]
        chunk, left = machine.working[slot]
        unwanted = not machine.is_silent and (self.state(chunk.campaign).cancelled or chunk.id in self.revoked)
        if not left or unwanted:
            self.end(host, slot)
            return
        attempt = left.pop(0)
        outcome = outcome_of(attempt, seconds, of=chunk.campaign, kind=kind)
        token = f"{self.now:.0f}-{slot}-{self.executions[chunk.campaign, attempt.run]}"
        parcel = attempt_parcel(chunk.campaign, attempt.run, attempt.number, token)
        machine.spool.append(msgspec.structs.replace(outcome, host=host, slot=slot, parcel=parcel))
        self.is_disturbed = self.is_disturbed or kind == "crash"
        self.next_run(host, slot)

    def end(self, host: str, slot: str, error: str = "") -> None:
        chunk, left = self.machines[host].working.pop(slot)
        ended = ChunkEnded(chunk.campaign, chunk.id, host, tuple(left), error)
        self.tell(
            host,
            chunk.campaign,
            lambda state: self.lost(state, campaign_state.take_chunk_ended(state, ended, self.now, self.now)),
        )

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), error=st.sampled_from(["", "disk full"]))
    def slot_has_trouble(self, data: st.DataObject, error: str) -> None:
        self.is_disturbed = True
        self.end(*data.draw(st.sampled_from(self.busy()), label="slot"), error)

    @precondition(lambda self: self.busy())
    @rule(data=st.data())
    def slot_dies(self, data: st.DataObject) -> None:
        host, slot = data.draw(st.sampled_from(self.busy()), label="slot")
        machine = self.machines[host]
        del machine.working[slot]
        machine.told = tuple(held for held in machine.told if held.slot != slot)
        for state in self.active():
            self.tell(
                host,
                state.campaign.id,
                lambda state: self.lost(state, campaign_state.take_slot_died(state, host, slot, self.now)),
            )

    # ---- machines ----

    @rule(host=st.sampled_from(["red", "blue", "green"]), spool_too=st.booleans())
    def machine_starts_again(self, host: str, spool_too: bool) -> None:
        if (machine := self.machines.get(host)) is None:
            return
        machine.working.clear()
        machine.told = ()
        machine.withheld.clear()
        machine.is_silent = False
        machine.heard = self.now
        if spool_too:  # another disk
            self.is_disturbed = self.is_disturbed or bool(machine.spool)
            machine.spool.clear()
        for state in self.active():
            self.lost(state, campaign_state.take_host_up(state, host, self.now))

    @rule(host=st.sampled_from(["red", "blue", "green"]))
    def network_is_cut_or_mended(self, host: str) -> None:
        if machine := self.machines.get(host):
            machine.is_silent = not machine.is_silent
            if not machine.is_silent:
                self.hear(machine)
                self.report(host)

    @rule(host=st.sampled_from(["red", "blue", "green"]))
    def redis_forgets_a_queue(self, host: str) -> None:
        if machine := self.machines.get(host):
            machine.queue.clear()

    # ---- results ----

    @precondition(lambda self: any(machine.spool for machine in self.machines.values()))
    @rule(data=st.data())
    def something_is_delivered(self, data: st.DataObject) -> None:
        full = [host for host, machine in self.machines.items() if machine.spool]
        self.deliver(data.draw(st.sampled_from(full), label="host"))

    def deliver(self, host: str) -> None:
        machine = self.machines[host]
        if not machine.is_silent:
            self.delivered.append(machine.spool.pop(0))

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def delivery_is_committed(self, data: st.DataObject) -> None:
        self.commit(data.draw(st.integers(0, len(self.delivered) - 1), label="delivery"))

    def commit(self, number: int) -> None:
        outcome = self.delivered.pop(number)
        name, run = outcome.campaign, outcome.run
        if name in self.over:
            return  # it is not accepted any more
        state = self.state(name)
        failures = {past.number for past in self.ledger.get(name, []) if (past.run, past.kind) == (run, "crash")}
        is_kept = outcome.kind == "crash" and not state.cancelled and (name, run) not in self.records
        if is_kept and len(failures - {outcome.attempt}) < state.campaign.limits.retries:
            past = Past(run, outcome.attempt, "crash", outcome.host, outcome.slot, 0.0, self.now)
            self.ledger.setdefault(name, []).append(past)
            campaign_state.take_failed(state, past)
        else:
            self.take_outcome(state, outcome)

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def delivery_fails(self, data: st.DataObject) -> None:
        outcome = self.delivered.pop(data.draw(st.integers(0, len(self.delivered) - 1), label="delivery"))
        self.is_disturbed = True
        self.delivery_failed(self.state(outcome.campaign), Attempt(outcome.run, outcome.attempt))

    # ---- what always holds here ----

    @invariant()
    def nothing_is_done_twice_without_a_reason(self) -> None:
        if not self.is_disturbed:
            assert set(self.executions.values()) <= {1}

    @invariant()
    def the_foreman_knows_what_the_store_has(self) -> None:
        for state in self.active():
            records = {run: outcome for (name, run), outcome in self.records.items() if name == state.campaign.id}
            assert state.over == records

    def teardown(self) -> None:
        # When the lab is left to itself, and all machines are there, then every campaign comes to its end
        self.host_comes_up("red", 1)
        for machine in self.machines.values():
            machine.is_silent = False
            self.hear(machine)
        for _ in range(500):
            if len(self.over) < len(self.states):
                self.everybody_works()
        for state in self.states:
            assert state.is_over, f"{state.campaign.id} never ends: {state}"
            if not state.cancelled:
                assert sorted(state.over) == list(range(state.total))

    def everybody_works(self) -> None:
        self.time_passes(2.0, late=False)
        self.hosts_are_fed()
        for place in self.idle():
            if self.machines[place[0]].queue:
                self.begin(*place)
        for place in self.busy():
            self.work(*place, 0.3)
        for host, machine in self.machines.items():
            while machine.spool:
                self.deliver(host)
        while self.delivered:
            self.commit(0)
        self.everything_holds()


TestLabOfMachines = LabOfMachines.TestCase
TestLabOfMachines.settings = THOROUGH
