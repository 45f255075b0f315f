"""A builder whose head, network or disk fails, or whose job nobody wants: what it tells, and when it lets go."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
import zmq

from runner import repository, usage
from runner.build import Builder
from runner.head import SameMachine
from runner.holdings import Lease
from runner.line import Line
from runner.log_stream import Sender
from runner.machine import Machine, WorkerSettings
from runner.messages import BuildStarted, CampaignPrepared, CampaignRefused, Held
from runner.model import Build, Campaign, Launch
from runner.paths import LabPaths
from tests.conftest import eventually
from tests.head_and_worker import Foreman, Lab, OtherMachine

pytestmark = pytest.mark.timeout(60)


class ShakyHead(OtherMachine):
    """Does not do some of what it is asked for, so many times each."""

    def __init__(self, paths: LabPaths) -> None:
        super().__init__(paths)
        self.failures = dict.fromkeys(("fetch_commit", "has_product", "contents", "fetch", "deliver"), 0)

    def _may_fail(self, what: str) -> None:
        self.failures[what] -= 1
        if self.failures[what] >= 0:
            raise OSError("Connection refused")

    def fetch_commit(self, project: str, commit: str, mirror: Path) -> None:
        self._may_fail("fetch_commit")
        super().fetch_commit(project, commit, mirror)

    def has_product(self, key: str) -> bool:
        self._may_fail("has_product")
        return super().has_product(key)

    def contents(self) -> Mapping[str, int]:
        self._may_fail("contents")
        return super().contents()

    def fetch(self, names: Sequence[str], folder: Path) -> bool:
        self._may_fail("fetch")
        return super().fetch(names, folder)

    def deliver(self, parcels: Iterable[Path]) -> None:
        self._may_fail("deliver")
        super().deliver(parcels)


class NotedLease(Lease):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__("builder", "ipc:///nowhere")
        self.held: list[Held | None] = []

    def hold(self, held: Held | None) -> None:
        self.held.append(held)


class World:
    """A builder that runs in a thread, a head that may fail, and a test in the place of the foreman."""

    def __init__(self, lab: Lab, build: Build = Build(), image: str = "") -> None:  # noqa: B008 (frozen)
        (lab.root / "simulate").write_text("#!/bin/sh\necho 'Run 0: $repetition=0'\n")
        (lab.root / "simulate").chmod(0o755)
        self.paths, self.store = lab.paths, lab.store
        self.foreman = Foreman(msgspec.structs.replace(lab.submit(), launch=Launch("./simulate"), build=build))
        self.head, self.lease, self.line = ShakyHead(lab.store), NotedLease(), Line(self.foreman)
        self.line.start()
        self._sender = Sender(zmq.Context.instance(), "ipc:///nowhere")
        settings = WorkerSettings("w1", "", "", "", "", 22, 1, True, (), False, image) if image else None
        machine = Machine("w1", lab.paths, 1, "", "", "", "", "", "", settings)
        self._builder = Builder(machine, self.foreman, self.head, self._sender, self.line, self.lease)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Have a job, and nothing that was heard of an earlier one."""
        self.job = threading.Thread(target=self._builder.prepare, args=("one",), daemon=True)
        self.lease.held.clear()
        self.foreman.told.clear()

    def close(self) -> None:
        """End the job."""
        self.foreman.is_cancelled = True
        if self.job.is_alive():
            self.job.join(20)
        self._sender.close()

    def is_through(self) -> bool:
        """Say whether the job is over, and everything is told; the builder has nothing any more."""
        self.job.join(20)
        self.line.flush()
        return not self.job.is_alive() and self.lease.held == [Held("builder", "one"), None]


@pytest.fixture
def world(lab: Lab) -> Iterator[World]:
    world = World(lab)
    yield world
    world.close()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LABFLEET_HOME", str(tmp_path / "client"))
    return Lab(tmp_path)


@pytest.mark.parametrize("what", ["fetch_commit", "fetch", "has_product", "contents", "deliver"])
def test_a_head_that_is_away_for_a_moment_ends_no_campaign(
    world: World, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a product that is at the worker alone, if it is asked for at all, and a head that fails twice
    if what == "has_product":
        world.job.start()
        assert world.is_through()
        world.begin_anew()
    world.head.failures[what] = 2
    # When a campaign is prepared
    world.job.start()
    # Then it is, and the log says what it waited for
    assert world.is_through()
    assert [type(event) for event in world.foreman.told] == [CampaignPrepared]
    assert world.head.failures[what] < 0
    assert caplog.text.count("Connection refused") == 2


@pytest.mark.parametrize("what", ["fetch_commit", "fetch"])
def test_a_builder_that_waits_for_the_head_locks_nothing_that_others_need(world: World, what: str) -> None:
    # Given a head that is away, and a builder that waits for it
    world.head.failures[what] = 1_000_000
    world.job.start()
    eventually(lambda: world.head.failures[what] < 999_998, "the second try")
    # When others of this host need what it would have locked: products, mirrors, checkouts
    locks = [*world.paths.home.rglob("*.lock"), *world.paths.home.rglob("*.use")]
    assert locks

    def is_free(lock: Path) -> bool:
        with usage.if_free(lock, 0.0) as free:
            return free

    # Then they have it, and when the head is back, the campaign is prepared
    for lock in locks:
        eventually(lambda lock=lock: is_free(lock), f"{lock}")  # type: ignore[misc]
    world.head.failures[what] = 0
    assert world.is_through()
    assert [type(event) for event in world.foreman.told] == [CampaignPrepared]


def test_a_builder_that_waits_for_the_head_ends_when_nobody_wants_the_campaign(world: World) -> None:
    # Given a head that is away, and a builder that waits for it, and has its job meanwhile
    world.head.failures["fetch"] = 1000
    world.job.start()
    eventually(lambda: world.head.failures["fetch"] < 999, "another try")
    assert world.lease.held == [Held("builder", "one")]
    assert world.foreman.told == []
    # When the campaign is cancelled, then the builder lets go, and says nothing that would end a resumed campaign
    world.foreman.is_cancelled = True
    assert world.is_through()
    assert world.foreman.told == []


def test_another_image_makes_another_product(lab: Lab) -> None:
    # Given builders of labs with two images, when they prepare the same campaign
    prepared = []
    for image in ("labfleet-worker:one", "labfleet-worker:two"):
        world = World(lab, image=image)
        world.job.start()
        assert world.is_through()
        (event,) = world.foreman.told
        assert isinstance(event, CampaignPrepared)
        prepared.append(event.prepared)
        world.close()
    # Then they do not take each other's product, and each says which image made its own
    assert prepared[0].key != prepared[1].key
    assert ["image labfleet-worker:one" in one.toolchain for one in prepared] == [True, False]


def test_a_build_that_was_cancelled_is_no_refusal(lab: Lab) -> None:
    # Given a build under way, when the campaign is cancelled, then the build ends and nothing is told of that
    world = World(lab, Build(commands=(("sleep", "60"),)))
    world.job.start()
    eventually(lambda: world.foreman.told, "the build's begin")
    world.foreman.is_cancelled = True
    assert world.is_through()
    assert [type(event) for event in world.foreman.told] == [BuildStarted]
    world.close()


def test_a_campaign_that_is_not_known_is_not_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a Redis that has forgotten a campaign, when its job comes, then nothing is told: who wants it queues it anew
    def unknown(campaign: str) -> Campaign:
        raise LookupError(campaign)

    monkeypatch.setattr(world.foreman, "campaign", unknown)
    world.job.start()
    assert world.is_through()
    assert world.foreman.told == []


def test_a_missing_commit_is_a_refusal(world: World) -> None:
    # Given a git server that has not got the commit
    wanted = world.foreman.campaign("one")
    repository.forget(world.store.repository(wanted.project), [wanted.commit])
    # When the campaign is to be prepared, then it is refused at once
    world.job.start()
    assert world.is_through()
    (event,) = world.foreman.told
    assert isinstance(event, CampaignRefused)
    assert "the git server has no refs/snapshots/" in event.message


def test_a_git_server_that_does_not_answer_is_not_one_without_the_commit(tmp_path: Path) -> None:
    # Given a mirror, and in place of the git server something that is none
    paths = LabPaths(tmp_path)
    paths.repository("p").mkdir(parents=True)
    mirror = tmp_path / "mirror.git"
    repository.create(mirror)
    # When a commit is fetched, then that is the head's failure, which may be over soon
    with pytest.raises(OSError, match="does not answer"):
        SameMachine(paths).fetch_commit("p", "c" * 40, mirror)


def test_a_builder_that_cannot_write_tells_how_it_went_and_lets_go(lab: Lab) -> None:
    # Given a disk that takes no log: a file is in its way; and a build that fails
    world = World(lab, Build(commands=(("false",),)))
    world.paths.outgoing.write_text("in the way")
    # When the campaign is to be prepared
    world.job.start()
    # Then the person is told of the build, and the builder is free
    assert world.is_through()
    assert isinstance(world.foreman.told[-1], CampaignRefused)
    assert "false ended with exit status 1" in world.foreman.told[-1].message
    world.close()
