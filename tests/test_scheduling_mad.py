"""Events and reports in any order, several times, late, or never: each run ends at most once and none is forgotten."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from runner.messages import ChunkEnded, Held, HostReport, RunStarted
from runner.model import Kind, Past
from runner.paths import attempt_parcel
from runner.scheduling import leases, under_way
from runner.scheduling import state as campaign_state
from runner.scheduling.feeding import Feed
from runner.scheduling.state import CampaignState
from tests.campaigns import outcome_of
from tests.scheduling_world import SECONDS, SLOTS, THOROUGH, Checked


class LabGoneMad(Checked):
    """Events come in any order, several times, late, or never."""

    @rule()
    def hosts_are_fed(self) -> None:
        self.feed()

    def chunk(self, data: st.DataObject) -> tuple[CampaignState, Feed]:
        feed = data.draw(st.sampled_from(self.fed), label="chunk")
        return self.state(feed.chunk.campaign), feed

    @precondition(lambda self: self.fed)
    @rule(data=st.data(), slot=st.sampled_from(SLOTS))
    def chunk_started(self, data: st.DataObject, slot: str) -> None:
        state, feed = self.chunk(data)
        campaign_state.take_chunk_started(state, feed.chunk.id, slot)

    @precondition(lambda self: self.fed)
    @rule(data=st.data(), error=st.sampled_from(["", "disk full"]))
    def chunk_ended(self, data: st.DataObject, error: str) -> None:
        state, feed = self.chunk(data)
        through = data.draw(st.integers(0, len(feed.chunk.attempts)), label="through")
        ended = ChunkEnded(state.campaign.id, feed.chunk.id, feed.host, feed.chunk.attempts[through:], error)
        if state in self.active():
            self.lost(state, campaign_state.take_chunk_ended(state, ended, self.now, self.now))

    @precondition(lambda self: self.fed)
    @rule(data=st.data(), slot=st.sampled_from(SLOTS), host=st.sampled_from(["red", "blue", "nowhere"]))
    def something_is_reported(self, data: st.DataObject, slot: str, host: str) -> None:
        state, feed = self.chunk(data)
        left = data.draw(st.integers(0, len(feed.chunk.attempts)), label="through")
        spooled = data.draw(st.sampled_from(feed.chunk.attempts), label="in the spool")
        parcel = attempt_parcel(state.campaign.id, spooled.run, spooled.number, "7f3a")
        held = Held(slot, state.campaign.id, feed.chunk.id, feed.chunk.attempts[left:])
        report = HostReport(host, 2, holds=(held,), spool=data.draw(st.sampled_from([(), (parcel,)])))
        for active in self.active():
            leases.take_report(active, report, self.now)

    @precondition(lambda self: self.fed)
    @rule(data=st.data(), vanished=st.booleans())
    def chunk_is_taken_back(self, data: st.DataObject, vanished: bool) -> None:
        state, feed = self.chunk(data)
        take = campaign_state.take_vanished if vanished else campaign_state.take_back
        chunk = state.in_flight.get(feed.chunk.id)
        if chunk is not None and not chunk.slot:
            if not vanished:  # nobody has begun it, for certain
                self.begun.subtract((state.campaign.id, attempt) for attempt in feed.chunk.attempts)
            take(state, feed.host, {feed.chunk.id})

    @rule(seconds=st.floats(0.5, 20.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for state in self.active():
            self.lost(state, leases.expire(state, self.now, self.now))

    @precondition(lambda self: self.fed)
    @rule(data=st.data())
    def run_has_failed(self, data: st.DataObject) -> None:
        state, feed = self.chunk(data)
        attempt = data.draw(st.sampled_from(feed.chunk.attempts), label="attempt")
        if state in self.active():
            failed = Past(attempt.run, attempt.number, "crash", feed.host, "slot1", 0.0, 1.0)
            campaign_state.take_failed(state, failed)

    @precondition(lambda self: self.fed)
    @rule(data=st.data(), slot=st.sampled_from(SLOTS))
    def run_started(self, data: st.DataObject, slot: str) -> None:
        state, feed = self.chunk(data)
        attempt = data.draw(st.sampled_from(feed.chunk.attempts), label="attempt")
        event = RunStarted(state.campaign.id, attempt.run, attempt.number, feed.host, slot, 5.0)
        under_way.take_run_started(state, event)

    @precondition(lambda self: self.fed)
    @rule(data=st.data(), seconds=SECONDS, kind=st.sampled_from(["done", "error", "crash", "cancelled"]))
    def run_committed(self, data: st.DataObject, seconds: float, kind: Kind) -> None:
        state, feed = self.chunk(data)
        attempt = data.draw(st.sampled_from(feed.chunk.attempts), label="attempt")
        self.take_outcome(state, outcome_of(attempt, seconds, of=state.campaign.id, kind=kind))

    @precondition(lambda self: self.fed)
    @rule(data=st.data())
    def delivery_fails(self, data: st.DataObject) -> None:
        state, feed = self.chunk(data)
        self.delivery_failed(state, data.draw(st.sampled_from(feed.chunk.attempts), label="attempt"))

    @rule(host=st.sampled_from(["red", "blue", "green", "nowhere"]), slot=st.sampled_from(SLOTS))
    def slot_is_said_to_be_dead(self, host: str, slot: str) -> None:
        self.slot_died(host, slot)

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def runs_are_listed_again(self, data: st.DataObject) -> None:
        state = data.draw(st.sampled_from(self.states), label="campaign")
        assert state.prepared
        campaign_state.take_prepared(state, state.prepared)


TestLabGoneMad = LabGoneMad.TestCase
TestLabGoneMad.settings = THOROUGH
