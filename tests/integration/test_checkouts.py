"""What a host's slots share, with real git: it stays while somebody uses it, goes when nobody does, and comes again."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from time import time

import msgspec
import pytest
import zmq

from runner import checkouts, products, repository, shell, snapshot, usage
from runner.build import Builder
from runner.holdings import Lease
from runner.housekeeping import client, head, repositories, worker
from runner.housekeeping.disk import size_of
from runner.housekeeping.limits import Limits
from runner.line import Line
from runner.log_stream import Sender
from runner.machine import Machine
from runner.messages import BuildStarted, CampaignPrepared
from runner.model import Build, Campaign, Launch
from runner.paths import LabPaths, half_of, index_of, lock_of, use_of
from tests.conftest import eventually
from tests.head_and_worker import KEY, NOW, Foreman, Lab
from tests.stored_campaigns import DAY, needed, stored
from tests.worker_fixture import waits_for_lock

ROOT = Path(__file__).resolve().parent.parent.parent

#: Nothing goes because of its size, or everything may.
ROOMY = Limits(campaign_bytes=1 << 60, product_bytes=1 << 60, checkout_bytes=1 << 60, build_bytes=1 << 60)
NARROW = Limits(campaign_bytes=0, product_bytes=0, checkout_bytes=0, build_bytes=0)

#: Holds a checkout as a slot does, until it is killed.
HOLD = """
import os, signal, sys
from pathlib import Path
from runner import usage
with usage.held(Path(sys.argv[1]), shared=True):
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LABFLEET_HOME", str(tmp_path / "client"))
    return Lab(tmp_path)


def content(checkout: Path) -> tuple[str, int]:
    """Return what a run reads of a checkout: the project's text, and the program's size."""
    return (checkout / "omnetpp.ini").read_text(), (checkout / "aloha").stat().st_size


def hold(checkout: Path) -> "subprocess.Popen[bytes]":
    """Start a process that uses a checkout."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(use_of(checkout))], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_what_was_removed_is_fetched_again_when_it_is_needed(lab: Lab) -> None:
    # Given a worker on which nobody has used anything for weeks
    wanted = lab.submit()
    before = content(lab.checkout(wanted))
    said = lab.tidy(ROOMY, days=14.1)
    # Then checkout, product and mirror are gone, with all their files, and it is said why
    assert sum(sentence.endswith("is removed: not used for 14 days") for sentence in said) == 3
    assert len(said) == 4
    assert [path for path in lab.paths.home.glob("*/*") if path.is_dir()] == [lab.paths.contents]
    assert list(lab.paths.contents.iterdir()) == []
    # When a campaign needs them, then they are there again, as they were
    assert content(lab.checkout(wanted)) == before
    assert len(lab.head.fetched) == 4
    assert lab.head.fetched[:2] == lab.head.fetched[2:]


def test_a_checkout_that_a_slot_uses_never_goes(lab: Lab) -> None:
    # Given a checkout that two processes use, one of which is killed
    checkout = lab.checkout(lab.submit())
    with hold(checkout) as first, hold(checkout) as second:
        first.kill()
        first.wait()
        # When the worker is tidied however late, with however little room, then it is there
        lab.tidy(NARROW, days=1000)
        assert content(checkout)
        # … until the other one is killed, too
        second.send_signal(signal.SIGKILL)
        second.wait()
    lab.tidy(NARROW, days=1000)
    assert not checkout.exists()


def test_a_checkout_is_in_use_from_the_moment_it_is_given_out(lab: Lab) -> None:
    # Given two slots that were given the same checkout
    wanted = lab.submit()
    with (
        checkouts.in_use(lab.paths, lab.head, wanted, KEY) as checkout,
        checkouts.in_use(lab.paths, lab.head, wanted, KEY) as the_other,
    ):
        assert checkout == the_other
        # When the worker is tidied, however late, then the slot finds it complete
        lab.tidy(NARROW, days=1000)
        assert content(checkout) == ("[General]\n", 300_000)


def test_what_was_used_just_now_stays(lab: Lab) -> None:
    # Given a checkout and its product that were used within the hour, when there is no room, then they are there
    checkout = lab.checkout(lab.submit())
    assert lab.tidy(NARROW, days=0.5 / 24) == []
    assert content(checkout)


def test_a_product_that_was_used_again_stays(lab: Lab) -> None:
    # Given a product that came long ago, and a checkout that was made of it today
    products.provide(lab.paths, lab.head, KEY)
    os.utime(lab.paths.product(KEY) / "product.json", (NOW - 20 * DAY, NOW - 20 * DAY))
    lab.checkout(lab.submit())
    # When the worker is tidied, then it is there
    lab.tidy(ROOMY, days=1)
    assert lab.paths.product(KEY).exists()


def test_checkouts_go_that_were_used_longest_ago(lab: Lab) -> None:
    # Given three checkouts of one product, the first of which was used again
    campaigns = [lab.submit(f"# {number}\n" * 30_000) for number in range(3)]
    with ExitStack() as users:  # else the first would become the third
        places = [users.enter_context(checkouts.in_use(lab.paths, lab.head, one, KEY)) for one in campaigns]
    for days, place in ((1, places[0]), (3, places[1]), (2, places[2])):
        os.utime(use_of(place), (NOW - days * DAY, NOW - days * DAY))
    # When there is room for two, then the one goes that nobody has used for the longest time, with its locks
    room = sum(map(size_of, places)) - 1000
    lab.tidy(Limits(checkout_bytes=room), days=0)
    assert [place.exists() for place in places] == [True, False, True]
    assert not use_of(places[1]).exists()
    assert not lock_of(places[1]).exists()


def test_removing_a_checkout_leaves_the_product_and_others_as_they_are(lab: Lab) -> None:
    # Given two checkouts with the same product, linked and read-only
    one, two = lab.checkout(lab.submit("# one\n")), lab.checkout(lab.submit("# two\n"))
    shared = two / "aloha"
    assert shared.stat().st_nlink == 3
    before = shared.stat().st_mode
    os.utime(use_of(one), (0, 0))
    # When one is removed
    lab.tidy(ROOMY, days=0)
    # Then the other's files are there and cannot be written to
    assert not one.exists()
    assert (shared.stat().st_nlink, shared.stat().st_mode) == (2, before)
    assert before & 0o222 == 0


def test_who_waits_for_a_lock_that_is_removed_gets_the_new_one(tmp_path: Path) -> None:
    # Given a lock that housekeeping holds, and somebody who waits for it
    lock = tmp_path / "x.use"
    with usage.if_free(lock, 0.0) as free:
        assert free
        command = [sys.executable, "-c", HOLD, str(lock)]
        waiting = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        eventually(lambda: waits_for_lock(waiting.pid), "somebody who waits")
        # When it is removed with what it is for
        lock.unlink()
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == b"held\n"
    # Then the other one holds a lock that the next one sees
    with usage.if_free(lock, 0.0) as free:
        assert not free
    waiting.kill()
    waiting.wait()
    waiting.stdout.close()


def test_a_working_tree_goes_unless_somebody_builds_in_it(lab: Lab) -> None:
    # Given two of the builder's working trees and logs of builds that were cut short
    for name in ("busy", "idle"):
        place = lab.paths.builder("aloha", name)
        place.mkdir(parents=True)
        with usage.held(lock_of(place)):
            pass
    lab.paths.build_log("x").parent.mkdir()
    lab.paths.build_log("x").touch()
    # When the worker is tidied while something is built in one
    with usage.held(lock_of(lab.paths.builder("aloha", "busy"))):
        lab.tidy(NARROW, days=0.9)
        assert lab.paths.build_log("x").exists()
        lab.tidy(NARROW, days=1.1)
    # Then the other one goes
    assert lab.paths.builder("aloha", "busy").exists()
    assert not lab.paths.builder("aloha", "idle").exists()
    assert not lab.paths.build_log("x").exists()


def test_a_product_that_only_its_builder_has_left_comes_to_the_head_again(lab: Lab) -> None:
    # Given a builder, and a project that needs no compiler
    (lab.root / "simulate").write_text("#!/bin/sh\necho 'Run 0: $repetition=0'\n")
    (lab.root / "simulate").chmod(0o755)
    foreman = Foreman(msgspec.structs.replace(lab.submit(), launch=Launch("./simulate")))
    sender = Sender(zmq.Context.instance(), "ipc:///nowhere")
    line, lease = Line(foreman), Lease("builder", "ipc:///nowhere")
    line.start()
    builder = Builder(Machine("w1", lab.paths, 1, "", "", "", "", "", ""), foreman, lab.head, sender, line, lease)

    def prepared() -> CampaignPrepared:
        builder.prepare("one")
        line.flush()
        event = foreman.told.pop()
        assert isinstance(event, CampaignPrepared), event
        return event

    # When a campaign is prepared for the first time, again, and after the head has removed the product
    first = prepared()
    products.take(lab.store, first.prepared.key, first.parcel)
    again = prepared()
    shutil.rmtree(lab.store.product(first.prepared.key))
    later = prepared()
    # Then the product travels when the head has none
    assert [bool(event.parcel) for event in (first, again, later)] == [True, False, True]
    products.take(lab.store, later.prepared.key, later.parcel)
    assert lab.head.has_product(first.prepared.key)
    sender.close()


def test_on_a_local_lab_a_worker_leaves_products_to_the_head(lab: Lab) -> None:
    # Given a home that is both head's and worker's, and a product that a campaign needs
    stored(lab.store, "runs", key=KEY)
    # When both are tidied, however late
    for _ in range(2):
        worker.tidy(lab.store, NARROW, time() + 100 * DAY, shares_store=True)
        head.tidy(lab.store, NARROW, time() + 100 * DAY)
    # Then the product is there
    assert lab.store.product(KEY).exists()


def test_a_checkout_that_was_cut_short_is_made_anew(lab: Lab) -> None:
    # Given what a slot left that was killed while it laid a checkout out
    wanted = lab.submit()
    half = half_of(lab.paths.checkout(wanted.tree, KEY))
    (half / "folder").mkdir(parents=True)
    (half / "folder" / "file").write_text("half")
    shell.run(["chmod", "-R", "a-w", str(half)])
    # When the next one needs it, then it is complete, and nothing is left over
    checkout = lab.checkout(wanted)
    assert sorted(os.listdir(checkout)) == ["aloha", "omnetpp.ini"]
    assert [path.name for path in checkout.parent.glob(".*")] == []


def test_the_locks_of_a_git_that_was_killed_hold_nobody_up(lab: Lab) -> None:
    # Given what is left of a git that fetched, and of one that wrote a checkout's files
    wanted = lab.submit()
    lab.checkout(lab.submit("[General]\nrepeat = 2\n"))
    mirror = lab.paths.mirror(wanted.project)
    index = index_of(half_of(lab.paths.checkout(wanted.tree, KEY)))
    for lock in (mirror / f"{repository.name_of(wanted.commit)}.lock", index.with_name(f"{index.name}.lock")):
        lock.touch()
    # When the next one needs the checkout, then it is there, and they are not
    assert content(lab.checkout(wanted))[0] == "[General]\n"
    assert not [path for path in lab.paths.home.rglob("*.lock") if path.is_relative_to(mirror) or path == lock]


def test_a_ref_is_on_the_disk_after_what_it_leads_to(lab: Lab, tmp_path: Path) -> None:
    # Given a git that tells how often it has waited for the disk
    told = tmp_path / "told"
    (tmp_path / ".gitconfig").write_text(f"[trace2]\neventTarget = {told}\n")

    def waits() -> int:
        events = [json.loads(line) for line in told.read_text().splitlines()]
        told.unlink()
        return sum(int(event["value"]) for event in events if event.get("key") == "fsync/hardware-flush")

    # When a snapshot comes to the git server, and to a worker, then once for its objects and once for its ref
    wanted = lab.submit()
    assert waits() >= 2
    lab.checkout(wanted)
    assert waits() >= 2


def test_a_checkout_is_not_trusted_after_the_machine_was_off(lab: Lab) -> None:
    # Given a checkout of which a power failure has left a file without its bytes
    wanted = lab.submit()
    checkout = lab.checkout(wanted)
    for path, text in ((checkout / "omnetpp.ini", ""), (use_of(checkout), "an earlier boot")):
        path.chmod(0o644)
        path.write_text(text)
    # When it is needed again, then it is whole
    assert (lab.checkout(wanted) / "omnetpp.ini").read_text() == "[General]\n"
    assert [path.name for path in checkout.parent.glob(".*")] == []
    # … and stays as it is until the next time
    (checkout / "omnetpp.ini").chmod(0o644)
    (checkout / "omnetpp.ini").write_text("mine")
    assert (lab.checkout(wanted) / "omnetpp.ini").read_text() == "mine"


def test_products_of_what_is_needed_come_to_the_head_too(lab: Lab, tmp_path: Path) -> None:
    # Given a builder, a project that needs no compiler, and one that it needs, with a shared library
    (lab.root / "simulate").write_text("#!/bin/sh\necho 'Run 0: $repetition=0'\n")
    (lab.root / "simulate").chmod(0o755)
    other = tmp_path / "inet"
    other.mkdir()
    (other / "Makefile").write_text("TARGET = libinet.so\n$(TARGET):\n\techo > $@\n")
    private = tmp_path / "client" / "snapshots" / "inet.git"
    taken = snapshot.take(other, (), private)
    inet = msgspec.structs.replace(
        needed(taken.commit, taken.tree), build=Build(".", (("make",),), ("Makefile",)), sources=taken.sources
    )
    snapshot.push(taken, private, str(lab.store.repository(inet.project)))
    environment = {"PATH": os.environ["PATH"]}
    wanted = msgspec.structs.replace(
        lab.submit(), launch=Launch("./simulate"), references=(inet,), environment=environment
    )
    foreman = Foreman(wanted)
    sender = Sender(zmq.Context.instance(), "ipc:///nowhere")
    line, lease = Line(foreman), Lease("builder", "ipc:///nowhere")
    line.start()
    builder = Builder(Machine("w1", lab.paths, 1, "", "", "", "", "", ""), foreman, lab.head, sender, line, lease)
    # When a campaign is prepared
    builder.prepare("one")
    line.flush()
    event = foreman.told[-1]
    assert isinstance(event, CampaignPrepared), event
    # Then there is a parcel for each product, and the library's folder is told
    ((key, parcel),) = event.references
    assert event.prepared.references == {"inet": key}
    assert event.prepared.libraries == ("inet",)
    assert products.take(lab.store, key, parcel)
    assert products.take(lab.store, event.prepared.key, event.parcel)
    # … and how far the build was
    assert BuildStarted("one", "inet") in foreman.told
    # … and another worker gets both
    elsewhere = LabPaths(tmp_path / "w2")
    with checkouts.all_in_use(elsewhere, lab.head, wanted, event.prepared) as (checkout, beside):
        assert (checkout / "simulate").exists()
        assert (beside["inet"] / "libinet.so").exists()
    sender.close()


# ---- repositories --------------------------------------------------------------------------------------------------


def refs(git_directory: Path) -> set[str]:
    return set(repository.snapshots(git_directory))


def has(git_directory: Path, thing: str) -> bool:
    """Is an object there?"""
    answer = shell.run(["git", f"--git-dir={git_directory}", "cat-file", "-e", thing], check=False)
    return answer.status == 0


def age(git_directory: Path, days: float) -> None:
    """Let everything in a repository have been there for some days."""
    for path in git_directory.rglob("*"):
        os.utime(path, (NOW - days * DAY, NOW - days * DAY))


def unrelated(lab: Lab, text: str) -> Campaign:
    """Submit a snapshot that does not follow from the ones before, as a month later."""
    shutil.rmtree(lab.private, ignore_errors=True)
    return lab.submit(text)


def test_snapshots_go_that_no_campaign_names(lab: Lab) -> None:
    # Given snapshots of which one was pushed long ago and is named by a campaign, and one by none
    named, old = unrelated(lab, "# named"), unrelated(lab, "# old")
    git_directory = lab.store.repository(named.project)
    age(git_directory, 14.1)
    new = unrelated(lab, "# new")
    age_of_push = NOW - 0.1 * DAY
    os.utime(git_directory / "labfleet-pushed", (age_of_push, age_of_push))
    stored(lab.store, "one", commit=named.commit)
    # When the head is tidied
    head.tidy(lab.store, ROOMY, NOW)
    # Then one ref is gone, its objects are there: somebody may have begun to push
    assert refs(git_directory) == {named.commit, new.commit}
    assert has(git_directory, old.commit)
    # … a day later they go, and all else can be fetched
    head.tidy(lab.store, ROOMY, time() + 1.1 * DAY)
    assert [has(git_directory, one.commit) for one in (named, old, new)] == [True, False, True]
    assert repository.has_commit(git_directory, named.commit)
    assert content(lab.checkout(named))[0] == "# named"
    # … and the one that is gone can come again
    lab.root.joinpath("omnetpp.ini").write_text("# old")
    assert content(lab.checkout(lab.submit("# old")))[0] == "# old"


def test_a_snapshot_stays_that_a_campaigns_project_needs(lab: Lab) -> None:
    # Given a campaign whose project needs another one, as it was long ago
    inet = lab.submit()
    git_directory = lab.store.repository(inet.project)
    age(git_directory, 100)
    stored(lab.store, "one", commit="f" * 40, references={inet.commit: "k"})
    # When the head is tidied, then that is there
    head.tidy(lab.store, ROOMY, NOW)
    assert refs(git_directory) == {inet.commit}


def test_clones_of_repositories_go_when_nobody_has_needed_them_for_half_a_year(lab: Lab) -> None:
    # Given a clone
    paths = LabPaths(lab.private.parent.parent)
    clone = paths.clones / "inet-1f3a9c04"
    clone.mkdir(parents=True)
    with usage.held(lock_of(clone)):
        pass
    # When the client is tidied, then it is there for a while
    client.tidy(paths, time() + 179 * DAY)
    assert clone.exists()
    client.tidy(paths, time() + 181 * DAY)
    assert not clone.exists()


def test_a_snapshot_is_kept_for_as_long_after_its_last_campaign(lab: Lab) -> None:
    # Given a campaign of an old snapshot that is removed today
    named = lab.submit()
    git_directory = lab.store.repository(named.project)
    age(git_directory, 100)
    stored(lab.store, "one", commit=named.commit, ended=NOW - 13 * DAY, collected=NOW - 13 * DAY)
    head.tidy(lab.store, ROOMY, NOW)
    head.tidy(lab.store, ROOMY, NOW + 1.1 * DAY)
    assert not lab.store.campaign("one").root.exists()
    # When the head is tidied, then its owner can do it again for two weeks
    head.tidy(lab.store, ROOMY, NOW + 13.9 * DAY)
    assert refs(git_directory) == {named.commit}
    head.tidy(lab.store, ROOMY, time() + 14.1 * DAY)
    assert refs(git_directory) == set()


def test_no_snapshot_goes_while_somebody_may_be_pushing(lab: Lab) -> None:
    # Given an old snapshot, and a push that has just begun
    named = lab.submit()
    git_directory = lab.store.repository(named.project)
    age(git_directory, 100)
    repository.note_push(git_directory)
    # When the head is tidied, then what the client was told of is there
    head.tidy(lab.store, ROOMY, NOW)
    assert refs(git_directory) == {named.commit}


def test_while_objects_may_go_no_further_snapshot_does(lab: Lab) -> None:
    # Given a repository from which snapshots were removed less than a day ago
    named = lab.submit()
    git_directory = lab.store.repository(named.project)
    age(git_directory, 100)
    (git_directory / repository.UNUSED).touch()
    # When it is tidied, then what has become old since waits for its turn
    assert repositories.tidy(git_directory, (), 14, NOW) == []
    assert refs(git_directory) == {named.commit}


def test_labfleet_s_own_code_stays(lab: Lab) -> None:
    # Given a git server with labfleet's code, which no campaign names
    lab.submit()
    shutil.move(lab.store.repository("aloha-1f3a9c04"), lab.store.repository("labfleet"))
    age(lab.store.repository("labfleet"), 100)
    # When the head is tidied, then it is as it was
    head.tidy(lab.store, ROOMY, NOW)
    assert refs(lab.store.repository("labfleet"))


def test_a_mirror_forgets_what_it_does_not_need(lab: Lab) -> None:
    # Given a mirror with a snapshot that is new, one that was used again, and one that was not
    old, used, new = unrelated(lab, "# old"), unrelated(lab, "# used"), unrelated(lab, "# new")
    mirror = checkouts.provide_commit(lab.paths, lab.head, old)
    checkouts.provide_commit(lab.paths, lab.head, used)
    age(mirror, 20)
    for one in (used, new):
        checkouts.provide_commit(lab.paths, lab.head, one)
    # When the worker is tidied, then that one goes, and comes again when it is needed
    lab.tidy(ROOMY, days=0)
    assert refs(mirror) == {used.commit, new.commit}
    lab.tidy(ROOMY, days=1.1)
    assert not has(mirror, old.commit)
    assert content(lab.checkout(old))[0] == "# old"


def test_a_snapshot_a_month_later_needs_none_of_those_before(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a project with snapshots
    first, second = lab.submit("# 1"), lab.submit("# 2")
    assert parents(lab.private, second.commit) == [first.commit]
    # When one is taken a month after the first, then nothing leads from it to those before
    later = time() + 31 * DAY
    with monkeypatch.context() as patched:
        patched.setattr("runner.snapshot.time.time", lambda: later)
        third = lab.submit("# 3")
        fourth = lab.submit("# 4")
    assert parents(lab.private, third.commit) == []
    assert parents(lab.private, fourth.commit) == [third.commit]
    # … so the client can forget them, and goes on as ever
    age(lab.private / "objects", 20)
    os.utime(lab.private / repository.UNUSED, (NOW - 2 * DAY, NOW - 2 * DAY))
    client.tidy(LabPaths(lab.private.parent.parent), NOW)
    assert not has(lab.private, second.commit)
    assert has(lab.private, fourth.commit)
    assert content(lab.checkout(lab.submit("# 5")))[0] == "# 5"


def parents(git_directory: Path, commit: str) -> list[str]:
    answer = shell.run(["git", f"--git-dir={git_directory}", "rev-list", "--parents", "-1", commit])
    return answer.text.split()[1:]
