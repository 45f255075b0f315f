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

    # ---- what the foreman does with the decisions ----

    def feed(self) -> list[Feed]:
        active = [state for state in self.states if state.campaign.id not in self.over]
        waiting = {state.campaign.id: deque(state.waiting) for state in active}
        over = {state.campaign.id: set(state.over) for state in active}
        seconds = {state.campaign.id: state.run_seconds for state in active}
        feeds = feeding.next_feeds(active, dict(self.hosts))
        for feed in feeds:
            name = feed.chunk.campaign
            self.begun.update((name, attempt) for attempt in feed.chunk.attempts)
            assert not {attempt.run for attempt in feed.chunk.attempts} & over[name], "a run that is over is begun"
            self.check_size(feed.chunk, len(waiting[name]), seconds[name])
            for _ in feed.chunk.attempts:
                waiting[name].popleft()
        self.check_loads(active, feeds)
        self.fed += feeds
        return feeds

    def check_size(self, chunk: Chunk, waiting: int, seconds: float | None) -> None:
        size = len(chunk.attempts)
        batch = next(state.campaign.batch for state in self.states if state.campaign.id == chunk.campaign)
        assert 1 <= size <= waiting
        if chunk.attempts[0].number > 1:
            assert size <= max(1, batch or waiting)  # what failed before may well go alone
        elif batch:
            assert size == min(batch, waiting)
        elif seconds is None:
            assert size == 1
        else:
            assert size <= max(1, round(feeding.CHUNK_SECONDS / seconds))
            assert size <= max(1, math.ceil(waiting / (2 * sum(self.hosts.values()))))

    def check_loads(self, active: list[CampaignState], feeds: list[Feed]) -> None:
        for host in {feed.host for feed in feeds}:
            load = sum(chunk.host == host for state in active for chunk in state.in_flight.values())
            assert load <= self.hosts[host] + feeding.AHEAD

    def take_outcome(self, state: CampaignState, outcome: Outcome) -> None:
        known = outcome.run in state.over
        if campaign_state.take_outcome(state, outcome):
            assert not known
            self.ended[state.campaign.id, outcome.run] += 1

    def give_up(self, state: CampaignState, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            assert attempt.number == campaign_state.MOST_LOSSES
            self.take_outcome(state, outcome_of(attempt, of=state.campaign.id, kind="lost"))

    def slot_died(self, host: str, slot: str) -> None:
        for state in self.states:
            self.give_up(state, campaign_state.take_slot_died(state, host, slot))

    def delivery_failed(self, state: CampaignState, attempt: Attempt) -> None:
        if state.campaign.id not in self.over:  # the foreman has forgotten it
            self.give_up(state, campaign_state.take_delivery_failed(state, attempt))

    # ---- rules that both worlds have ----

    @rule(host=st.sampled_from(["red", "blue", "green"]), slots=st.integers(1, 2))
    def host_comes_up(self, host: str, slots: int) -> None:
        self.hosts.setdefault(host, slots)

    @initialize(runs=st.integers(1, 12), slots=st.integers(1, 2))
    def there_is_something_to_do(self, runs: int, slots: int) -> None:
        self.host_comes_up("red", slots)
        self.campaign_is_submitted(runs, None, None)

    @precondition(lambda self: len(self.states) < 3)
    @rule(runs=st.integers(0, 12), jobs=st.sampled_from([None, 1, 2]), batch=st.sampled_from([None, 1, 2, 4]))
    def campaign_is_submitted(self, runs: int, jobs: int | None, batch: int | None) -> None:
        state = CampaignState(campaign(f"c{len(self.states)}", jobs=jobs, batch=batch))
        self.states.append(state)
        campaign_state.take_prepared(state, prepared(runs))

    @precondition(lambda self: len(self.over) < len(self.states))
    @rule(data=st.data())
    def campaign_is_cancelled(self, data: st.DataObject) -> None:
        active = [state for state in self.states if state.campaign.id not in self.over]
        state = data.draw(st.sampled_from(active), label="campaign")
        campaign_state.take_cancel(state)

    # ---- what always holds ----

    @invariant()
    def everything_holds(self) -> None:
        self.every_run_ends_at_most_once()
        self.no_run_is_in_two_places()
        self.no_campaign_is_beyond_its_limit()
        self.no_run_is_begun_too_often()
        self.what_is_over_stays_over()

    def every_run_ends_at_most_once(self) -> None:
        assert set(self.ended.values()) <= {1}
        assert sum(self.ended.values()) == sum(len(state.over) for state in self.states)

    def no_run_is_in_two_places(self) -> None:
        for state in self.states:
            flying = [attempt.run for chunk in state.in_flight.values() for attempt in chunk.attempts]
            assert len(set(flying)) == len(flying), "two chunks in flight hold the same run"
            waiting = [attempt.run for attempt in state.waiting]
            assert len({*flying, *waiting}) == len(flying) + len(waiting)

    def no_campaign_is_beyond_its_limit(self) -> None:
        assert all(len(state.in_flight) <= (state.campaign.jobs or 999) for state in self.states)

    def no_run_is_begun_too_often(self) -> None:
        assert all(attempt.number <= campaign_state.MOST_LOSSES for _, attempt in self.begun)
        assert set(self.begun.values()) <= {1}, "the same attempt is begun twice"

    def what_is_over_stays_over(self) -> None:
        for state in self.states:
            if state.is_over:
                self.over.add(state.campaign.id)
            assert state.is_over == (state.campaign.id in self.over)


class LabThatWorks(Checked):
    """Slots do what they are given, or die of it; events arrive in order, commits some time later."""

    def __init__(self) -> None:
        super().__init__()
        self.queues: dict[str, deque[Chunk]] = {}
        #: (host, slot) → the chunk that it does, and how many of its runs are through.
        self.working: dict[tuple[str, str], tuple[Chunk, int]] = {}
        self.delivered: list[Outcome] = []

    def state(self, chunk: Chunk) -> CampaignState:
        return next(state for state in self.states if state.campaign.id == chunk.campaign)

    @rule()
    def hosts_are_fed(self) -> None:
        for feed in self.feed():
            self.queues.setdefault(feed.host, deque()).append(feed.chunk)

    def idle(self) -> list[tuple[str, str]]:
        slots = [(host, slot) for host, count in self.hosts.items() for slot in SLOTS[:count]]
        return [place for place in slots if self.queues.get(place[0]) and place not in self.working]

    @precondition(lambda self: self.idle())
    @rule(data=st.data())
    def slot_begins(self, data: st.DataObject) -> None:
        self.begin(data.draw(st.sampled_from(self.idle()), label="slot"))

    def begin(self, place: tuple[str, str]) -> None:
        chunk = self.queues[place[0]].popleft()
        state = self.state(chunk)
        if not state.cancelled:  # else the job was taken out of the queue
            self.working[place] = (chunk, 0)
            campaign_state.take_chunk_started(state, chunk.id, place[1])

    @precondition(lambda self: self.working)
    @rule(data=st.data(), seconds=SECONDS)
    def slot_goes_on(self, data: st.DataObject, seconds: float) -> None:
        self.work(data.draw(st.sampled_from(sorted(self.working)), label="slot"), seconds)

    def work(self, place: tuple[str, str], seconds: float) -> None:
        chunk, through = self.working[place]
        if through < len(chunk.attempts) and not self.state(chunk).cancelled:
            self.delivered.append(outcome_of(chunk.attempts[through], seconds, of=chunk.campaign))
            self.working[place] = (chunk, through + 1)
        else:
            self.end(place, chunk.attempts[through:])

    def end(self, place: tuple[str, str], unfinished: tuple[Attempt, ...]) -> None:
        chunk, _ = self.working.pop(place)
        ended = ChunkEnded(chunk.campaign, chunk.id, place[0], unfinished)
        self.give_up(self.state(chunk), campaign_state.take_chunk_ended(self.state(chunk), ended))

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def slot_has_trouble(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.working)), label="slot")
        chunk, through = self.working[place]
        self.end(place, chunk.attempts[through:])

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def slot_dies(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.working)), label="slot")
        del self.working[place]
        self.slot_died(*place)

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def delivery_is_committed(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.delivered) - 1), label="delivery")
        self.commit(number)

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def delivery_fails(self, data: st.DataObject) -> None:
        outcome = self.delivered.pop(data.draw(st.integers(0, len(self.delivered) - 1), label="delivery"))
        state = next(state for state in self.states if state.campaign.id == outcome.campaign)
        self.delivery_failed(state, Attempt(outcome.run, outcome.attempt))

    def commit(self, number: int) -> None:
        outcome = self.delivered.pop(number)
        state = next(state for state in self.states if state.campaign.id == outcome.campaign)
        self.take_outcome(state, outcome)

    def teardown(self) -> None:
        # When the lab is left to itself, then every campaign comes to its end
        self.hosts.setdefault("red", 1)
        for _ in range(500):
            self.hosts_are_fed()
            for place in self.idle():
                if self.queues[place[0]]:
                    self.begin(place)
            for place in sorted(self.working):
                self.work(place, 0.3)
            while self.delivered:
                self.commit(0)
            self.everything_holds()
            if len(self.over) == len(self.states) and not self.working:
                break
        for state in self.states:
            assert state.is_over, f"{state.campaign.id} never ends: {state}"
            if not state.cancelled:
                assert sorted(state.over) == list(range(state.total))


class LabGoneMad(Checked):
    """Events come in any order, several times, late, or never."""

    @rule()
    def hosts_are_fed(self) -> None:
        self.feed()

    def chunk(self, data: st.DataObject) -> tuple[CampaignState, Feed]:
        feed = data.draw(st.sampled_from(self.fed), label="chunk")
        return next(state for state in self.states if state.campaign.id == feed.chunk.campaign), feed

    @precondition(lambda self: self.fed)
    @rule(data=st.data(), slot=st.sampled_from(SLOTS))
    def chunk_started(self, data: st.DataObject, slot: str) -> None:
        state, feed = self.chunk(data)
        campaign_state.take_chunk_started(state, feed.chunk.id, slot)

    @precondition(lambda self: self.fed)
    @rule(data=st.data())
    def chunk_ended(self, data: st.DataObject) -> None:
        state, feed = self.chunk(data)
        through = data.draw(st.integers(0, len(feed.chunk.attempts)), label="through")
        ended = ChunkEnded(state.campaign.id, feed.chunk.id, feed.host, feed.chunk.attempts[through:])
        self.give_up(state, campaign_state.take_chunk_ended(state, ended))

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
        assert state.prepared is not None
        campaign_state.take_prepared(state, state.prepared)


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

TestLabThatWorks = LabThatWorks.TestCase
TestLabThatWorks.settings = THOROUGH
TestLabGoneMad = LabGoneMad.TestCase
TestLabGoneMad.settings = THOROUGH
