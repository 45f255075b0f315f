"""A world in which anything may happen to campaigns, and what has to hold after every step, whatever it was."""

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runner.messages import HostReport, MachineStatus
from runner.model import Attempt, Chunk, Limits, Outcome, Past
from runner.scheduling import feeding
from runner.scheduling import state as campaign_state
from runner.scheduling.explain import explain
from runner.scheduling.feeding import Feed
from runner.scheduling.state import CampaignState
from tests.campaigns import campaign, outcome_of, prepared

SECONDS = st.sampled_from([0.0, 0.001, 0.3, 1.5, 30.0])
SLOTS = ("slot1", "slot2")


class Checked(RuleBasedStateMachine):
    """Several campaigns on several hosts; what has to hold after every step, whatever the step was."""

    def __init__(self) -> None:
        super().__init__()
        self.hosts: dict[str, int] = {}
        self.states: list[CampaignState] = []
        self.fed: list[Feed] = []
        self.begun: Counter[tuple[str, Attempt]] = Counter()
        self.ended: Counter[tuple[str, int]] = Counter()
        self.over: set[str] = set()
        #: The foreman's clock.
        self.now = 0.0
        #: What the store knows of attempts that came to nothing.
        self.ledger: dict[str, list[Past]] = {}

    # ---- what the foreman does with the decisions ----

    def feed(self) -> list[Feed]:
        active = self.active()
        waiting = {state.campaign.id: deque(state.waiting) for state in active}
        over = {state.campaign.id: set(state.over) for state in active}
        seconds = {state.campaign.id: state.run_seconds for state in active}
        under_way = Counter({state.campaign.id: len(state.in_flight) for state in active})
        feeds = feeding.next_feeds(active, self.serving(), self.now)
        for feed in feeds:
            name = feed.chunk.campaign
            self.begun.update((name, attempt) for attempt in feed.chunk.attempts)
            assert not {attempt.run for attempt in feed.chunk.attempts} & over[name], "a run that is over is begun"
            self.check_turn(name, under_way, waiting)
            self.check_size(feed.chunk, waiting[name], seconds[name])
            under_way[name] += 1
            for _ in feed.chunk.attempts:
                waiting[name].popleft()
            assert len(self.state(name).in_flight) <= (self.state(name).campaign.jobs or 999)
        self.check_loads(active, feeds)
        self.fed += feeds
        return feeds

    def check_turn(self, name: str, under_way: Counter[str], waiting: Mapping[str, Sequence[Attempt]]) -> None:
        """No campaign starves: who has the least under way is never overtaken, whatever its runs are like."""
        for other, runs in waiting.items():
            limit = self.state(other).campaign.jobs or 999
            if runs and under_way[other] < limit:
                assert under_way[name] <= under_way[other], f"{name} overtakes {other}"

    def check_size(self, chunk: Chunk, waiting: Sequence[Attempt], seconds: float | None) -> None:
        size = len(chunk.attempts)
        state = self.state(chunk.campaign)
        lost = {past.run for past in state.past if past.kind == "lost"}
        assert 1 <= size <= len(waiting)
        if any(attempt.run in lost for attempt in chunk.attempts):
            assert size == 1, "a run that was lost is not alone"
        elif state.campaign.batch:
            following = len(waiting) > size and waiting[size].run in lost
            assert size == min(state.campaign.batch, len(waiting)) or following
        elif seconds is None:
            assert size == 1
        else:
            assert size <= max(1, round(feeding.CHUNK_SECONDS / seconds))
            assert size <= max(1, math.ceil(len(waiting) / (2 * sum(self.serving().values()))))

    def check_loads(self, active: list[CampaignState], feeds: list[Feed]) -> None:
        for host in {feed.host for feed in feeds}:
            load = sum(chunk.host == host for state in active for chunk in state.in_flight.values())
            assert load <= self.serving()[host] + feeding.AHEAD

    def take_outcome(self, state: CampaignState, outcome: Outcome) -> None:
        known = outcome.run in state.over
        if campaign_state.take_outcome(state, outcome):
            assert not known
            self.ended[state.campaign.id, outcome.run] += 1

    def lost(self, state: CampaignState, lost: list[Past]) -> None:
        """Do what the foreman does with attempts that are lost."""
        self.ledger.setdefault(state.campaign.id, []).extend(lost)
        for past in campaign_state.given_up(state):
            losses = [one for one in state.past if (one.run, one.kind) == (past.run, "lost")]
            own = sum(one.error != campaign_state.UNHEARD for one in losses)
            assert own >= campaign_state.MOST_LOSSES or len(losses) >= campaign_state.MOST_LOSSES_OF_ALL_KINDS
            attempt = Attempt(past.run, past.number)
            self.take_outcome(state, outcome_of(attempt, of=state.campaign.id, kind="lost"))

    def state(self, name: str) -> CampaignState:
        return next(state for state in self.states if state.campaign.id == name)

    def active(self) -> list[CampaignState]:
        """Return the campaigns that the foreman has not forgotten."""
        return [state for state in self.states if state.campaign.id not in self.over]

    def serving(self) -> dict[str, int]:
        return dict(self.hosts)

    def slot_died(self, host: str, slot: str) -> None:
        for state in self.active():
            self.lost(state, campaign_state.take_slot_died(state, host, slot, self.now))

    def delivery_failed(self, state: CampaignState, attempt: Attempt) -> None:
        if state.campaign.id not in self.over:
            self.lost(state, campaign_state.take_delivery_failed(state, attempt, self.now))

    # ---- rules that both worlds have ----

    @rule(host=st.sampled_from(["red", "blue", "green"]), slots=st.integers(1, 2))
    def host_comes_up(self, host: str, slots: int) -> None:
        self.hosts.setdefault(host, slots)

    @initialize(runs=st.integers(1, 12), slots=st.integers(1, 2), batch=st.sampled_from([None, 3, 4]))
    def there_is_something_to_do(self, runs: int, slots: int, batch: int | None) -> None:
        self.host_comes_up("red", slots)
        self.campaign_is_submitted(runs, None, batch, 0)

    @precondition(lambda self: len(self.states) < 3)
    @rule(
        runs=st.integers(0, 12),
        jobs=st.sampled_from([None, 1, 2]),
        batch=st.sampled_from([None, 1, 2, 4]),
        retries=st.integers(0, 1),
    )
    def campaign_is_submitted(self, runs: int, jobs: int | None, batch: int | None, retries: int) -> None:
        limits = Limits(retries=retries)
        state = CampaignState(campaign(f"c{len(self.states)}", jobs=jobs, batch=batch, limits=limits))
        self.states.append(state)
        campaign_state.take_prepared(state, prepared(runs))

    @precondition(lambda self: len(self.over) < len(self.states))
    @rule(data=st.data())
    def campaign_is_cancelled(self, data: st.DataObject) -> None:
        state = data.draw(st.sampled_from(self.active()), label="campaign")
        campaign_state.take_cancel(state)

    # ---- what always holds ----

    @invariant()
    def everything_holds(self) -> None:
        self.every_run_ends_at_most_once()
        self.every_run_is_somewhere()
        self.no_attempt_is_begun_twice()
        self.what_is_over_stays_over()
        self.everything_is_explained()

    def every_run_ends_at_most_once(self) -> None:
        assert set(self.ended.values()) <= {1}
        assert sum(self.ended.values()) == sum(len(state.over) for state in self.states)

    def every_run_is_somewhere(self) -> None:
        for state in self.active():
            flying = {attempt for chunk in state.in_flight.values() for attempt in chunk.attempts}
            under_way = {run for run, number in state.latest.items() if Attempt(run, number) in flying}
            waiting = [attempt.run for attempt in state.waiting]
            assert len(set(waiting)) == len(waiting), "a run waits twice"
            assert not set(waiting) & (under_way | set(state.expected) | set(state.hopeless) | set(state.over))
            assert all(state.latest[attempt.run] == attempt.number for attempt in state.waiting)
            if not state.cancelled:
                somewhere = {*waiting, *under_way, *state.expected, *state.hopeless, *state.over}
                assert somewhere == set(range(state.total)), "a run is forgotten"

    def no_attempt_is_begun_twice(self) -> None:
        assert set(self.begun.values()) <= {0, 1}, "the same attempt is begun twice"

    def what_is_over_stays_over(self) -> None:
        for state in self.states:
            if state.is_over:
                self.over.add(state.campaign.id)
            assert state.is_over == (state.campaign.id in self.over)

    def everything_is_explained(self) -> None:
        machines = [MachineStatus(HostReport(name, slots), name, 0, "ready") for name, slots in self.hosts.items()]
        for state in self.active():
            for run in (None, *range(state.total)):
                text = explain(state, run, machines, self.active(), self.now)
                assert text.endswith("."), text
                assert run is None or f"Run {run} " in text


THOROUGH = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,  # the same on every machine
    database=None,
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
