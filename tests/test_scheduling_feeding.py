"""Which chunk goes to which host, and which runs share a process."""

import math
from collections import Counter

import pytest

from runner.model import Attempt, Run
from runner.scheduling import feeding
from runner.scheduling import state as campaign_state
from runner.scheduling.sharing import is_shareable
from tests.campaigns import ONE_HOST, TWO_HOSTS, campaign, finish, outcome_of, sizes, started

# ---- chunks ------------------------------------------------------------------------------------------------------


def test_every_slot_starts_with_a_single_run() -> None:
    # Given 100 runs of unknown length
    state = started(100)
    # When the hosts are fed
    feeds = feeding.next_feeds([state], TWO_HOSTS)
    # Then each slot gets one run, nothing waits in a queue beyond that, and no process is shared
    assert Counter(feed.host for feed in feeds) == TWO_HOSTS
    assert sizes(feeds) == [1] * 6
    assert not any(feed.chunk.shared for feed in feeds)


@pytest.mark.parametrize(("seconds", "size"), [(0.25, 4), (0.02, 50), (1.0, 1), (10.0, 1)])
def test_chunks_follow_the_measured_run_time(seconds: float, size: int) -> None:
    # Given many runs, of which one has shown how long they take
    state = started(10_000, seconds=seconds)
    # When the hosts are fed, then a chunk holds about a second of work, and at least a run
    assert set(sizes(feeding.next_feeds([state], TWO_HOSTS))) == {size}


def test_chunks_shrink_towards_the_end_so_that_no_slot_idles() -> None:
    # Given runs so short that one chunk could hold them all
    state = started(101, seconds=0.001)
    handed_out: list[int] = []
    while state.waiting:
        # When one host after the other gets what it has room for
        before = len(state.waiting)
        feeds = feeding.next_feeds([state], ONE_HOST)
        # Then no chunk is more than its share of what remains, and the last ones are single runs
        assert sizes(feeds)[0] <= math.ceil(before / (2 * 2))
        handed_out += sizes(feeds)
        for feed in feeds:
            finish(state, feed, 0.001)
    assert handed_out == sorted(handed_out, reverse=True)
    assert handed_out[-1] == 1
    assert state.is_over


def test_the_size_that_a_person_chose_is_kept() -> None:
    # Given a campaign with a batch size, before any run has been timed
    state = started(10, batch=4)
    # When its runs are handed out, then each process gets so many, the last one the rest
    feeds = feeding.next_feeds([state], {"red": 8})
    assert sizes(feeds) == [4, 4, 2]


def test_a_queue_is_kept_only_slightly_ahead_of_its_slots() -> None:
    # Given runs that are known to be short
    state = started(1000, seconds=1.0)
    # When the hosts are fed, then one chunk per host waits beyond its slots
    feeds = feeding.next_feeds([state], TWO_HOSTS)
    assert Counter(feed.host for feed in feeds) == {"red": 2 + 1, "blue": 4 + 1}
    # And there is no more until something ends
    assert feeding.next_feeds([state], TWO_HOSTS) == []
    finish(state, feeds[0])
    assert [feed.host for feed in feeding.next_feeds([state], TWO_HOSTS)] == [feeds[0].host]


def test_long_runs_do_not_wait_in_a_queue() -> None:
    # Given runs that take a minute: another host might be idle before this one's slots are
    state = started(1000, seconds=60.0)
    # When the hosts are fed, then nothing waits beyond their slots
    assert Counter(feed.host for feed in feeding.next_feeds([state], TWO_HOSTS)) == TWO_HOSTS


@pytest.mark.parametrize("batch", [None, 4])
def test_a_host_on_trial_gets_one_run_at_a_time(batch: int | None) -> None:
    # Given many short runs, and two hosts, one of which has to show that it is well
    state = started(1000, seconds=0.001, batch=batch)
    # When they are fed again and again
    hosts = {"red": 1, "blue": 2}
    feeds = feeding.next_feeds([state], hosts, 0.0, {"red"}) + feeding.next_feeds([state], hosts, 0.0, {"red"})
    # Then that one has a single run and nothing ahead, the other one as much as ever
    assert sizes([feed for feed in feeds if feed.host == "red"]) == [1]
    others = sizes([feed for feed in feeds if feed.host == "blue"])
    assert len(others) == 3
    assert min(others) > 1
    # … and when that is done, another one
    finish(state, next(feed for feed in feeds if feed.host == "red"), 0.001)
    assert [(feed.host, len(feed.chunk.attempts)) for feed in feeding.next_feeds([state], hosts, 0.0, {"red"})] == [
        ("red", 1)
    ]


def test_a_campaign_s_own_limit_is_respected() -> None:
    # Given a campaign that wants three jobs at once, and six slots
    state = started(100, jobs=3)
    # When the hosts are fed, then it gets three, and one more for each that ends
    feeds = feeding.next_feeds([state], TWO_HOSTS)
    assert len(feeds) == 3
    finish(state, feeds[0])
    assert len(feeding.next_feeds([state], TWO_HOSTS)) == 1


def test_campaigns_take_turns() -> None:
    # Given two campaigns, one of them there first and larger
    first, second = started(100, name="first"), started(10, name="second")
    # When four slots are fed, then each campaign gets half of them
    feeds = feeding.next_feeds([first, second], {"red": 4})
    assert Counter(feed.chunk.campaign for feed in feeds) == {"first": 2, "second": 2}


@pytest.mark.parametrize("seconds", [None, 60.0, 1.0])
def test_a_campaign_gets_its_share_though_another_one_s_chunks_wait_for_every_slot(seconds: float | None) -> None:
    # Given a campaign of short runs, which keeps the queues ahead of their slots
    first = started(100_000, name="first", seconds=1.0)
    under_way = feeding.next_feeds([first], ONE_HOST)
    # When another one comes, whose runs are long, or of which nothing is known, and chunks end one by one
    second = started(100_000, name="second", seconds=seconds)
    for _ in range(20):
        finish(first, next(feed for feed in under_way if feed.chunk.campaign == "first"))
        under_way = [feed for feed in under_way if feed.chunk.id in first.in_flight | second.in_flight]
        under_way += feeding.next_feeds([first, second], ONE_HOST)
        # Then both slots are in use all the time
        assert len(under_way) >= 2
    # … and the other one has one of them
    assert len(second.in_flight) >= 1


@pytest.mark.parametrize("seconds", [None, 1.0])
def test_without_a_host_nothing_is_handed_out(seconds: float | None) -> None:
    # Given a campaign and no host (yet, or any more), when it is time to feed, then the runs just wait
    state = started(10, seconds=seconds)
    waiting = list(state.waiting)
    assert feeding.next_feeds([state], {}) == []
    assert list(state.waiting) == waiting


def test_a_run_that_was_lost_goes_ahead_of_what_waits() -> None:
    # Given short runs, a queue ahead of its slots, and a chunk whose slot dies
    state = started(100, seconds=1.0)
    first, *others = feeding.next_feeds([state], ONE_HOST)
    assert not any(feed.first for feed in (first, *others))
    campaign_state.take_chunk_started(state, first.chunk.id, "slot1")
    campaign_state.take_slot_died(state, "red", "slot1", 0.0)
    # When the host is fed, then what was lost goes there first, and alone; all else goes behind
    (again,) = feeding.next_feeds([state], ONE_HOST)
    assert (again.first, len(again.chunk.attempts)) == (True, 1)
    finish(state, others[0])
    assert [feed.first for feed in feeding.next_feeds([state], ONE_HOST)] == [False]


def test_a_host_without_slots_gets_no_work() -> None:
    # Given a host that serves no slots beside one that does, and short runs
    state = started(100, seconds=1.0)
    # When the hosts are fed, then nothing goes where nobody would ever do it
    feeds = feeding.next_feeds([state], {"red": 2, "builder": 0})
    assert {feed.host for feed in feeds} == {"red"}


# ---- shared processes --------------------------------------------------------------------------------------------


def test_runs_share_a_process_once_the_first_outcome_has_shown_that_they_may() -> None:
    # Given short runs with plain values, the first of which left files that are called after it
    state = started(1000, seconds=0.1, files=("results/Foo-n=0-#0.sca", "results/Foo-n=0-#0.vec"))
    # When the hosts are fed, then chunks share a process
    assert all(feed.chunk.shared for feed in feeding.next_feeds([state], ONE_HOST))


@pytest.mark.parametrize("name", ["results/all.sca", "results/Foo-n=0-#0.sca.bak/x", "eventlog"])
def test_runs_whose_files_have_other_names_get_a_process_each(name: str) -> None:
    # Given a run that left a file whose name does not say whose it is
    state = started(1000, seconds=0.1, files=("results/Foo-n=0-#0.sca", name))
    # When the hosts are fed, then no chunk shares a process
    assert not any(feed.chunk.shared for feed in feeding.next_feeds([state], ONE_HOST))


def test_a_single_run_shares_with_nobody() -> None:
    # Given runs that may share, and are long, when the hosts are fed, then single runs are not called shared
    state = started(10, seconds=10.0, files=("results/Foo-n=0-#0.sca",))
    assert not any(feed.chunk.shared for feed in feeding.next_feeds([state], ONE_HOST))


@pytest.mark.parametrize(
    ("values", "may"),
    [(["1", "2"], True), (["1", "1"], False), (["1", '"a b"'], False), (["1", "a/b"], False)],
)
def test_runs_that_cannot_be_told_apart_by_name_do_not_share(values: list[str], may: bool) -> None:
    # Given runs with these values of n, when asked whether they may share a process
    runs = tuple(Run(number, {"n": value, "repetition": "0"}) for number, value in enumerate(values))
    outcome = outcome_of(Attempt(0, 1), files=("results/Foo-n=1-#0.sca",))
    # Then they may if every file of every run is certain to have a name of its own
    assert is_shareable(campaign(), runs, outcome) is may
