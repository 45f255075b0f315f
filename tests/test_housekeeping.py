"""What the head and clients remove, and what they never do: real folders, times set by hand."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from time import time

import pytest

from runner import usage
from runner.errors import WrongUse
from runner.housekeeping import client, decisions, head, products, regularly
from runner.housekeeping.clock import Trust
from runner.housekeeping.decisions import Stored, Thing
from runner.housekeeping.disk import Shared, size_of, tidy_shared
from runner.housekeeping.limits import GIGABYTE, Limits, within
from runner.housekeeping.regularly import limits_of
from runner.machine import here
from runner.paths import SNAPSHOT_ROOT, LabPaths, lock_of, use_of
from runner.products import store
from tests.conftest import eventually
from tests.stored_campaigns import COMMIT, DAY, built, product, stored

NOW = time()

#: Nothing goes because of its size.
ROOMY = Limits(campaign_bytes=1 << 60, product_bytes=1 << 60, checkout_bytes=1 << 60, build_bytes=1 << 60)

#: Everything that may go because of its size does.
NARROW = Limits(campaign_bytes=0, product_bytes=0, checkout_bytes=0, build_bytes=0)


def ago(days: float) -> float:
    return NOW - days * DAY


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def keys(lab: LabPaths) -> list[str]:
    """Return the keys of the products that are there."""
    return [found.key for found in store.products(lab)]


@pytest.fixture
def lab(tmp_path: Path) -> LabPaths:
    lab = LabPaths(tmp_path / "lab")
    lab.home.mkdir()
    return lab


# ---- campaigns ---------------------------------------------------------------------------------------------------


def test_a_campaign_that_is_at_home_goes_with_age(lab: LabPaths) -> None:
    # Given campaigns that their owner has, of which one ended before the limit
    stored(lab, "old", ended=ago(14.1), collected=ago(14))
    stored(lab, "new", ended=ago(13.9), collected=ago(13.9))
    # When the head is tidied
    (said,) = head.tidy(lab, ROOMY, NOW)
    # Then the old one is gone, and that is said, also to whoever asks later
    assert names(lab.campaigns) == ["new"]
    assert said == "campaign old of ada is removed: it ended more than 14 days ago and is at its owner's home"
    assert head.why_gone(lab, "old").endswith("it ended more than 14 days ago and is at its owner's home")
    assert head.why_gone(lab, "new") == ""


def test_a_campaign_that_ended_while_the_clock_said_1970_stays(lab: LabPaths) -> None:
    # Given campaigns that nobody has fetched, of which one ended before there was any
    stored(lab, "of-1970", ended=3600.0)
    stored(lab, "old", ended=ago(200))
    # When the head is tidied, then that one is there
    head.tidy(lab, NARROW, NOW)
    assert names(lab.campaigns) == ["of-1970"]


@pytest.mark.parametrize("limits", [ROOMY, NARROW])
def test_a_campaign_that_runs_never_goes(lab: LabPaths, limits: Limits) -> None:
    # Given campaigns that are under way: built, running, and one that nobody can read any more
    for name in ("built", "running", "odd"):
        stored(lab, name, size=5000, key="k" if name == "running" else "")
    lab.campaign("odd").campaign.write_text("{")
    # When the head is tidied years later
    said = head.tidy(lab, limits, NOW + 5000 * DAY)
    # Then they are there
    assert names(lab.campaigns) == ["built", "odd", "running"]
    assert said == []


def test_a_campaign_of_another_version_goes_like_others(lab: LabPaths) -> None:
    # Given campaigns that ended, of versions of labfleet that this one does not understand
    for name, text in (("one", '{"user": "ben", "protocol": 99}'), ("two", "nonsense")):
        stored(lab, name, ended=ago(20), collected=ago(20)).campaign.write_text(text)
    # When the head is tidied, then they go
    head.tidy(lab, ROOMY, NOW)
    assert names(lab.campaigns) == []
    assert " one ben " in lab.removed.read_text()


def test_a_campaign_that_nobody_has_fetched_goes_late_and_not_without_a_word(lab: LabPaths) -> None:
    # Given campaigns that ended and were not fetched, and far too little room
    stored(lab, "one", ended=ago(89.9), size=100_000)
    stored(lab, "two", ended=ago(90.1), size=100_000)
    # When the head is tidied
    (said,) = head.tidy(lab, NARROW, NOW)
    # Then only the one goes that has waited for three months, and it is written down
    assert names(lab.campaigns) == ["one"]
    assert said == "campaign two of ada is removed: it ended more than 90 days ago and was never fetched"
    assert lab.removed.read_text().split(" ", 1)[1] == "two ada it ended more than 90 days ago and was never fetched\n"


def test_what_cannot_be_written_down_is_not_removed_unless_it_is_at_home(lab: LabPaths) -> None:
    # Given a disk on which nothing can be written down
    stored(lab, "forgotten", ended=ago(100))
    stored(lab, "fetched", ended=ago(100), collected=ago(99))
    lab.removed.mkdir()
    # When the head is tidied, then only what its owner has goes
    head.tidy(lab, ROOMY, NOW)
    assert names(lab.campaigns) == ["forgotten"]


def test_the_oldest_campaigns_go_while_all_take_too_much_room(lab: LabPaths) -> None:
    # Given three campaigns at home, and one that is not, with room for less than three
    for days in (1, 2, 3):
        stored(lab, f"day{days}", ended=ago(days), collected=ago(days), size=200_000)
    stored(lab, "precious", ended=ago(9), size=200_000)
    # When the head is tidied, then the oldest of those at home go, and no more than need be
    (said, *_) = head.tidy(lab, Limits(campaign_bytes=700_000), NOW)
    assert names(lab.campaigns) == ["day1", "day2", "precious"]
    assert "all campaigns take more than 0.0007 GB" in said


def test_a_campaign_that_was_resumed_has_to_be_fetched_again(lab: LabPaths) -> None:
    # Given one that was fetched, resumed, and has ended once more
    stored(lab, "one", ended=ago(20), collected=ago(30))
    # When the head is tidied, then it stays
    head.tidy(lab, NARROW, NOW)
    assert names(lab.campaigns) == ["one"]


def test_a_campaign_that_is_resumed_at_that_very_moment_stays(lab: LabPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an old campaign whose owner has it resumed while the head decides that it goes
    store = stored(lab, "one", ended=ago(20), collected=ago(20))
    decide = decisions.campaigns

    def resumed(campaigns: Sequence[Stored], limits: Limits, now: float) -> list[decisions.Removal]:
        going = decide(campaigns, limits, now)
        with usage.held(lab.store_lock):
            store.end.unlink()
        return going

    monkeypatch.setattr(decisions, "campaigns", resumed)
    # When the head is tidied, then it is there
    head.tidy(lab, ROOMY, NOW)
    assert names(lab.campaigns) == ["one"]


# ---- logs --------------------------------------------------------------------------------------------------------


def test_live_logs_go_with_their_campaign_or_a_day_after_it_came_home(lab: LabPaths) -> None:
    # Given logs of campaigns that run, were just fetched, were fetched, were not, were resumed since, and are gone
    stored(lab, "runs")
    stored(lab, "just", ended=ago(3), collected=ago(0.9))
    stored(lab, "home", ended=ago(3), collected=ago(1.1))
    stored(lab, "waits", ended=ago(80))
    stored(lab, "resumed", ended=ago(3), collected=ago(5))
    for name in ("runs", "just", "home", "waits", "resumed", "gone", "begins"):
        folder = lab.log(name, "run-0.1").parent
        folder.mkdir(parents=True)
        os.utime(folder, (ago(80), ago(80)))
    os.utime(lab.home / "logs" / "begins")
    # When the head is tidied, then logs that somebody may look at are there
    head.tidy(lab, ROOMY, NOW)
    assert names(lab.home / "logs") == ["begins", "just", "resumed", "runs", "waits"]


# ---- products ----------------------------------------------------------------------------------------------------


def test_products_go_that_were_used_longest_ago(lab: LabPaths) -> None:
    # Given three products, and room for two; age alone is no reason
    for key, days in (("a", 300), ("b", 200), ("c", 100)):
        product(lab, key, ago(days), size=200_000)
    # When the head is tidied
    head.tidy(lab, ROOMY, NOW)
    assert keys(lab) == ["a", "b", "c"]
    (said,) = head.tidy(lab, Limits(product_bytes=500_000), NOW)
    # Then the one goes that was not used for the longest time
    assert "others were used later, and all take more than 0.0005 GB" in said
    assert keys(lab) == ["b", "c"]


def test_a_product_that_a_campaign_uses_never_goes(lab: LabPaths) -> None:
    # Given a campaign that runs with an old product, one that has ended, and a product that was just used
    stored(lab, "runs", key="needed", references={"c" * 40: "reference"})
    stored(lab, "over", key="unneeded", ended=ago(1))
    product(lab, "needed", ago(300))
    product(lab, "reference", ago(300))
    product(lab, "unneeded", ago(1))
    product(lab, "fresh", NOW - 3000)
    # When there is no room at all, then only the product of the one that is over goes
    head.tidy(lab, NARROW, NOW)
    assert keys(lab) == ["fresh", "needed", "reference"]


def test_no_product_goes_while_a_campaign_is_built(lab: LabPaths) -> None:
    # Given a campaign of which nobody knows yet which product it needs
    stored(lab, "built")
    product(lab, "perhaps", ago(300))
    # When there is no room at all, then the product stays
    head.tidy(lab, NARROW, NOW)
    assert keys(lab) == ["perhaps"]


def test_a_product_that_is_used_at_that_very_moment_stays(lab: LabPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an old product that somebody uses while the head decides that it goes
    folder = product(lab, "a", ago(300))

    def slow(things: Sequence[Thing], limit: int, now: float, days: int | None = None) -> list[decisions.Removal]:
        going = decisions.unused(things, limit, now, days)
        with usage.held(lock_of(folder)):
            usage.note_use(folder / "product.json")
        return going

    monkeypatch.setattr("runner.housekeeping.disk.unused", slow)
    # When the head is tidied, then it is there
    head.tidy(lab, NARROW, NOW)
    assert "a" in keys(lab)


def test_of_a_file_with_several_names_each_folder_has_its_share(lab: LabPaths) -> None:
    # Given a product of 1 MB, laid beside a checkout by a link
    product(lab, "a", NOW, size=1_000_000)
    folder, checkout = lab.contents, lab.checkout("t", "a")
    checkout.mkdir(parents=True)
    alone = size_of(folder)
    os.link(next(folder.iterdir()), checkout / "aloha")
    # When both are measured, then the file counts once
    assert alone > 1_000_000
    assert size_of(folder) < 600_000
    assert abs(size_of(folder) + size_of(checkout) - alone) < 50_000


# ---- deliveries and what was half done -----------------------------------------------------------------------------


def test_deliveries_go_that_nobody_claims(lab: LabPaths) -> None:
    # Given deliveries of a campaign that is under way and prepared, and of one that is over, whatever their files say
    stored(lab, "runs", key="k")
    stored(lab, "over", ended=ago(1))
    for parcel in ("runs.0.1.ab", "runs.build", "over.0.1.ab", "over.build", "key.abcd.product"):
        (lab.incoming / parcel).mkdir(parents=True)
        os.utime(lab.incoming / parcel, (0, 0))
    # When the head is tidied now, then all are there
    assert head.tidy(lab, ROOMY, NOW) == []
    # … and after more than a week, those are that the foreman may still be told of
    assert len(head.tidy(lab, ROOMY, NOW + 7.1 * DAY)) == 3
    assert names(lab.incoming) == ["runs.0.1.ab", "runs.build"]


def test_a_product_that_was_delivered_waits_for_its_campaign(lab: LabPaths) -> None:
    # Given a delivered product, and a campaign that is being built
    stored(lab, "built")
    (lab.incoming / "key.abcd.product").mkdir(parents=True)
    # When the head is tidied, however late, then it is there
    head.tidy(lab, ROOMY, NOW + 100 * DAY)
    assert names(lab.incoming) == ["key.abcd.product"]


def test_what_was_left_half_done_goes_after_a_day(lab: LabPaths) -> None:
    # Given what a head that was cut off has left
    for half in ("campaigns/.gone.1f", "products/.key-1f", "incoming/.new", "logs/.gone", "git/.ab"):
        (lab.home / half / "inner").mkdir(parents=True)
        (lab.home / half / "inner").chmod(0o500)
    lab.campaign("never").root.mkdir()
    # When it is tidied at once, then it may be somebody's work; a day later it is not
    head.tidy(lab, ROOMY, NOW)
    assert names(lab.campaigns) == [".gone.1f", "never"]
    head.tidy(lab, ROOMY, NOW + 1.1 * DAY)
    assert [names(lab.home / kind) for kind in ("campaigns", "products", "incoming", "logs", "git")] == [[]] * 5


def test_what_fails_does_not_hold_up_the_rest(lab: LabPaths) -> None:
    # Given a repository that a power failure has spoilt, and a delivery that nobody claims
    refs = lab.repository("aloha") / "refs" / "snapshots"
    refs.mkdir(parents=True)
    (refs / COMMIT).touch()
    (lab.incoming / "over.0.1.ab").mkdir(parents=True)
    # When the head is tidied weeks later, then the delivery goes all the same
    head.tidy(lab, ROOMY, NOW + 20 * DAY)
    assert names(refs) == [COMMIT]
    assert names(lab.incoming) == []


# ---- limits ------------------------------------------------------------------------------------------------------


def test_limits_are_shares_of_the_room() -> None:
    # Given a disk of a terabyte, when limits follow from it, then there is room besides
    limits = within(1000 * GIGABYTE, 14)
    assert (limits.campaign_bytes, limits.product_bytes, limits.checkout_bytes) == tuple(
        share * GIGABYTE for share in (500, 100, 200)
    )
    # and what nobody has fetched is never kept for less time than what its owner has
    assert (within(1, 200).keep_days, within(1, 200).uncollected_days) == (200, 200)


def test_a_person_says_how_much_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the variables of a local lab
    monkeypatch.setenv("LABFLEET_HOME", str(tmp_path))
    monkeypatch.delenv("LABFLEET_SETTINGS", raising=False)
    room = os.statvfs(tmp_path)
    assert limits_of(here()) == within(room.f_blocks * room.f_frsize, 14)
    monkeypatch.setenv("LABFLEET_KEEP_DAYS", "3")
    monkeypatch.setenv("LABFLEET_KEEP_GB", "20")
    # When the machine is asked, then they count
    assert limits_of(here()) == within(20 * GIGABYTE, 3)
    monkeypatch.setenv("LABFLEET_KEEP_DAYS", "soon")
    with pytest.raises(WrongUse):
        here()


# ---- regularly -----------------------------------------------------------------------------------------------------


def test_housekeeping_goes_on_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given housekeeping that fails
    monkeypatch.setattr(regularly, "FIRST", 0.0)
    monkeypatch.setattr(regularly, "PAUSE", 0.01)
    times: list[float] = []

    def fail(now: float, _: bool) -> list[str]:
        times.append(now)
        raise RuntimeError("a bug")

    # When it is begun, then it is done again and again, beside the service
    regularly.begin(fail)
    eventually(lambda: len(times) >= 3, "three times")


def test_machines_are_tidied_by_their_own_limits(
    lab: LabPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a machine of a remote lab for which the inventory says how long things are kept
    settings = {"role": "head", "name": "h", "home": str(lab.home), "redis": "x", "image": "x", "keep_days": 5}
    described = {**settings, "ports": {"foreman": 1, "hub": 2, "logs": 3}, "code": "git", "keep_gb": 30}
    (tmp_path / "settings.json").write_text(json.dumps(described))
    (tmp_path / "redis-password").write_text("x")
    monkeypatch.setenv("LABFLEET_SETTINGS", str(tmp_path))
    assert limits_of(here()) == within(30 * GIGABYTE, 5)
    # When its housekeeping is begun, then campaigns go that are older
    monkeypatch.setattr(regularly, "FIRST", 0.0)
    for days in (4, 6):
        stored(lab, f"day{days}", ended=ago(days), collected=ago(days))
    regularly.tidy_head(here())
    eventually(lambda: names(lab.campaigns) == ["day4"], "the older one is gone")


@pytest.mark.parametrize(
    ("looks", "believed"),
    [
        # time goes on, and the clock is put right by seconds; the machine sleeps for weeks
        ([(1000.0, 10.0), (4603.0, 3610.0), (2_004_600.0, 2_003_610.0)], [True, True, True]),
        # it is put on by 90 days, and put back: a day counts from the last time
        (
            [(0.0, 10.0), (90 * DAY, 20.0), (600.0, 610.0), (600 + 0.9 * DAY, 610 + 0.9 * DAY), (600 + DAY, 610 + DAY)],
            [True, False, False, False, True],
        ),
        # it said 1970
        ([(5.0, 5.0), (NOW, 3605.0)], [True, False]),
    ],
)
def test_a_clock_that_was_set_is_not_believed_for_a_day(looks: list[tuple[float, float]], believed: list[bool]) -> None:
    # Given looks at the time of day, and at the time since the machine's start
    trust = Trust()
    # When each is taken note of, then it is said whether the time of day is believed
    found = []
    for time_of_day, since_start in looks:
        trust.look(time_of_day, since_start)
        found.append(trust.believes(since_start))
    assert found == believed


@pytest.mark.parametrize("is_remote", [True, False])
def test_a_wrong_clock_removes_no_campaign_that_nobody_has_fetched(
    lab: LabPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_remote: bool
) -> None:
    # Given a head that was just started, or a local lab, with campaigns that have ended today
    settings = {"role": "head", "name": "h", "home": str(lab.home), "redis": "x", "image": "x", "keep_days": 5}
    (tmp_path / "settings.json").write_text(json.dumps({**settings, "ports": {"foreman": 1, "hub": 2, "logs": 3}}))
    (tmp_path / "redis-password").write_text("x")
    monkeypatch.setenv("LABFLEET_HOME", str(lab.home))
    monkeypatch.setenv("LABFLEET_SETTINGS", str(tmp_path))
    if not is_remote:
        monkeypatch.delenv("LABFLEET_SETTINGS")
    monkeypatch.setattr(regularly, "FIRST", 0.0)
    stored(lab, "there", ended=ago(0.1))
    stored(lab, "at-home", ended=ago(0), collected=ago(0))
    # When its clock is wrong by 100 days: at once, or set so before the first look
    times = iter([] if is_remote else [(NOW, 60.0)])
    monkeypatch.setattr(regularly, "clocks", lambda: next(times, (NOW + 100 * DAY, 120.0)))
    regularly.tidy_head(here())
    # Then what is nowhere else stays
    eventually(lambda: names(lab.campaigns) == ["there"], "what is at home is removed")


# ---- clients -----------------------------------------------------------------------------------------------------


def private(lab: LabPaths, name: str, root: Path, used: float) -> Path:
    """Make a project's private git directory."""
    folder = lab.snapshots(name)
    folder.mkdir(parents=True)
    (folder / SNAPSHOT_ROOT).write_bytes(os.fsencode(root))
    os.utime(folder / SNAPSHOT_ROOT, (used, used))
    return folder


def test_a_client_forgets_projects_that_are_gone_or_not_used(lab: LabPaths, tmp_path: Path) -> None:
    # Given projects that are there and were used or not, and such that are gone
    private(lab, "used", tmp_path, ago(170))
    private(lab, "forgotten", tmp_path, ago(181))
    private(lab, "gone", tmp_path / "gone", ago(1.1))
    private(lab, "just-moved", tmp_path / "moved", ago(0.9))
    used = private(lab, "at-work", tmp_path, ago(200))
    for name, days in (("of-old", 170), ("of-long-ago", 181)):  # of versions that wrote no root down
        lab.snapshots(name).mkdir()
        os.utime(lab.snapshots(name), (ago(days), ago(days)))
    # When the client is tidied while one of them is worked on
    with usage.held(lock_of(used)):
        client.tidy(lab, NOW)
    # Then those are there that may be needed
    there = {path.name for path in used.parent.iterdir() if path.suffix == ".git"}
    assert there == {"used.git", "just-moved.git", "at-work.git", "of-old.git"}


@pytest.mark.usefixtures("waited_for")
def test_a_client_is_tidied_once_a_day_by_a_process_of_its_own(lab: LabPaths, tmp_path: Path) -> None:
    # Given a client that has just begun, with a project that is gone
    gone = private(lab, "gone", tmp_path / "gone", ago(2))
    client.begin(lab, NOW)
    # When a day has passed, then somebody else tidies it, and what is said is kept; before and afterwards nobody does
    client.begin(lab, NOW + 0.9 * DAY)
    assert not lab.tidied.read_text()
    os.utime(lab.tidied, (ago(1.1), ago(1.1)))
    client.begin(lab, NOW)
    eventually(lambda: not gone.exists(), "the project that is gone")
    eventually(lambda: f"{gone} is removed" in lab.tidied.read_text(), "what was said")
    again = private(lab, "again", tmp_path / "gone", ago(2))
    assert not client.is_due(lab.tidied, NOW)
    assert again.exists()


def test_what_a_client_is_about_to_bring_home_stays(lab: LabPaths) -> None:
    # Given results of which nothing has come for weeks, and a client that waits for the rest
    folder = lab.remote("ada@head").campaign("long").committed(0, 1, done=True)
    folder.mkdir(parents=True)
    # When the client is tidied, then they stay for as long as somebody brings them home
    with usage.held(lab.turn("long")):
        client.tidy(lab, NOW + 15 * DAY)
        assert folder.exists()
    client.tidy(lab, NOW + 15 * DAY)
    assert not folder.exists()
    assert names(lab.notes) == []


def test_what_came_from_a_remote_lab_goes_when_it_is_at_home(lab: LabPaths) -> None:
    # Given results of two campaigns on their way, one of which the client still follows
    for name in ("over", "follows"):
        lab.remote("ada@head").campaign(name).committed(0, 1, done=True).mkdir(parents=True)
    lab.notes.mkdir()
    lab.note("follows").write_text("{}")
    folder = lab.remote("ada@head").campaigns
    # When the client is tidied at once, after a day and after weeks, then they go in that order
    client.tidy(lab, NOW)
    assert names(folder) == ["follows", "over"]
    client.tidy(lab, NOW + 1.1 * DAY)
    assert names(folder) == ["follows"]
    client.tidy(lab, NOW + 14.1 * DAY)
    assert names(folder) == []
    assert lab.note("follows").exists()
    client.tidy(lab, NOW + 181 * DAY)
    assert names(lab.notes) == []


# ---- contents of products ------------------------------------------------------------------------------------------


def shared(lab: LabPaths, tmp_path: Path) -> None:
    """Put three products into a store: two with a large file in common, and each with one of its own."""
    for key, days in (("a", 3), ("b", 2), ("c", 1)):
        tree = tmp_path / key
        tree.mkdir()
        (tree / "own").write_text(key * 100_000)
        (tree / "common").write_text(("c" if key == "c" else "ab") * 400_000)
        built(lab, key, tree)
        os.utime(lab.description(key), (ago(days), ago(days)))


def test_what_products_have_in_common_counts_once_and_stays_with_the_last(lab: LabPaths, tmp_path: Path) -> None:
    # Given 1.5 MB of products, of which two have 0.8 MB in common
    shared(lab, tmp_path)
    head.tidy(lab, Limits(product_bytes=1_500_000 + 200_000), NOW)
    assert keys(lab) == ["a", "b", "c"]
    # When there is room for 1.45 MB, then the one goes that was used longest ago, which makes room for its own file
    head.tidy(lab, Limits(product_bytes=1_450_000), NOW)
    assert keys(lab) == ["b", "c"]
    # … and when there is room for 1 MB, then the next goes too, with what was in common
    head.tidy(lab, Limits(product_bytes=1_000_000), NOW)
    assert keys(lab) == ["c"]
    # Their files go when nobody has touched them for a day
    assert len(names(lab.contents)) == 6 - 1
    head.tidy(lab, ROOMY, NOW + 1.1 * DAY)
    assert len(names(lab.contents)) == 2


def test_no_content_goes_while_a_product_is_put_there(lab: LabPaths) -> None:
    # Given a content that no product names, for long, while one arrives that may name it
    lab.contents.mkdir(parents=True)
    (lab.contents / "x").touch()
    with usage.held(lock_of(lab.products)):
        # When the head is tidied, then it stays; afterwards it goes
        head.tidy(lab, ROOMY, NOW + 2 * DAY)
        assert names(lab.contents) == ["x"]
    head.tidy(lab, ROOMY, NOW + 2 * DAY)
    assert names(lab.contents) == []


def test_an_image_is_no_product(lab: LabPaths) -> None:
    # Given the archive of the worker image, which lies beside the products
    (lab.products / "image").mkdir(parents=True)
    (lab.products / "image" / "1.tar").write_bytes(b"x" * 100_000)
    # When there is no room for products, however late, then it stays
    head.tidy(lab, NARROW, NOW + 300 * DAY)
    assert names(lab.products / "image") == ["1.tar"]


def test_a_head_reads_its_products_once_a_day(lab: LabPaths) -> None:
    # Given a head that has read its products, and a byte that changes then without a trace
    product(lab, "a", NOW, size=1000)
    product(lab, "b", NOW, size=1000)
    assert head.tidy(lab, ROOMY, NOW, checks=True) == []
    (name,) = (name for one in store.products(lab) if one.key == "a" for name in one.contents)
    lab.content(name).chmod(0o600)
    lab.content(name).write_bytes(b"?" * 1000)
    os.utime(lab.content(name), (store.PLACED, store.PLACED))
    # When it is tidied within the day, then it does not read again; a day later it says which product is gone
    assert head.tidy(lab, ROOMY, NOW + 0.9 * DAY, checks=True) == []
    assert head.tidy(lab, ROOMY, NOW + 1.1 * DAY, checks=False) == []
    assert "product a is damaged, and removed" in head.tidy(lab, ROOMY, NOW + 1.1 * DAY, checks=True)
    assert keys(lab) == ["b"]


def test_a_product_of_another_version_goes_after_a_day(lab: LabPaths) -> None:
    # Given a product that nobody understands
    (lab.product("old") / "tree").mkdir(parents=True)
    lab.description("old").write_text('{"key": "old", "toolchain": "gcc", "target": null}')
    # When the head is tidied at once and a day later, then it goes the second time
    head.tidy(lab, ROOMY, NOW)
    assert lab.product("old").exists()
    head.tidy(lab, ROOMY, NOW + 1.1 * DAY)
    assert not lab.product("old").exists()


def test_pruning_spares_what_may_be_needed_and_tells_what_checkouts_keep(lab: LabPaths, tmp_path: Path) -> None:
    # Given products that were used long ago or just now, one of them laid out, while a campaign is built
    product(lab, "old", ago(3), size=1000)
    product(lab, "laid-out", ago(2), size=2000)
    product(lab, "new", NOW, size=4000)
    (name,) = (name for one in store.products(lab) if one.key == "laid-out" for name in one.contents)
    os.link(lab.content(name), tmp_path / "checkout")
    # When the store is pruned
    assert products.prune(lab, [""]) == (2, 1000, 2000)
    # Then only that stays which the campaign may need; without one it goes, too
    assert keys(lab) == ["new"]
    assert products.prune(lab, []) == (1, 4000, 0)
    assert names(lab.contents) == []


def test_a_shared_folder_that_becomes_another_one_meanwhile_is_passed_over(lab: LabPaths) -> None:
    # Given two shared folders that nobody has used for long
    places = [lab.home / "first", lab.home / "second"]
    for place in places:
        place.mkdir()
        use_of(place).touch()
        os.utime(use_of(place), (ago(20), ago(20)))

    def vanishing(_: object) -> tuple[str, ...]:
        """Let the first one become another one while it is looked at, with what belongs to it."""
        if places[0].exists():
            places[0].rename(lab.home / "other")
            use_of(places[0]).unlink()
        return ()

    # When they are tidied, then the other one goes, and nothing is left of the first one's name
    shared = [Shared(place, use_of(place), use_of(place)) for place in places]
    (said,) = tidy_shared(shared, 0, NOW, days=14, needed=vanishing)
    assert str(places[1]) in said
    assert names(lab.home) == ["other"]
