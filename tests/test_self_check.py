"""What a worker finds out about itself: with real servers, its own keys, and a disk that may be full."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
from msgspec import structs

from runner import curve, job_queue, self_check
from runner.knock import Knock, Met
from runner.machine import HeadSettings, Machine, Ports, WorkerSettings
from runner.model import decode
from runner.paths import LabPaths
from runner.self_check import SelfCheck
from tests.conftest import needs
from tests.servers import authority, distccd, free_port, redis, serving, users
from tests.ssh_server import SshServer, make_key, ssh_server

#: Of the worker in Redis.
PASSWORD = "right"  # noqa: S105  a test's own

#: Stands for the ssh program: the machine on the other side is this one, and lets in who has a key.
SSH = """#!/bin/sh
while [ "${1%%127.0.0.1}" = "$1" ]; do [ "$1" = -i ] && key=$2; shift; done
shift
[ -s "$key" ] || { echo "labfleet@127.0.0.1: Permission denied (publickey)." >&2; exit 255; }
cd %s && exec sh -c "$*"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Return a worker's folder of settings."""
    folder = tmp_path / "settings"
    folder.mkdir()
    for kind in self_check.KINDS:
        make_key(folder / f"{kind}.key")
    return folder


@pytest.fixture
def head(tmp_path: Path, settings: Path) -> Iterator[SshServer]:
    """Return the head's SSH server, which lets in the key for git."""
    with ssh_server(make_key(tmp_path / "host"), settings / "git.key") as server:
        public = (tmp_path / "host.pub").read_text()
        (settings / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {public}")
        yield server


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which logins at the head are, with the repository of labfleet's code."""
    folder = tmp_path / "head"
    folder.mkdir()
    script = """
    git init --quiet --bare labfleet.git && cd labfleet.git
    commit=$(git -c user.name=x -c user.email=x@example.org commit-tree -m x "$(git mktree </dev/null)")
    git update-ref refs/heads/deployed "$commit"
    """
    subprocess.run(["sh", "-ec", script], cwd=folder, check=True)
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(SSH % folder)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def worker(tmp_path: Path, settings: Path) -> Machine:
    """Return a worker whose head is off."""
    paths = LabPaths(tmp_path / "worker")
    paths.home.mkdir()
    written = WorkerSettings(
        name="w1",
        home=str(paths.home),
        redis=f"rediss://worker@127.0.0.1:{free_port()}",
        logs=f"tcp://127.0.0.1:{free_port()}",
        head="127.0.0.1",
        ssh_port=free_port(),
        slots=2,
        builder=True,
        tags=(),
        desktop=False,
        image="labfleet-worker:1",
    )
    return Machine(
        name="w1",
        paths=paths,
        slots=2,
        redis=written.redis,
        password=PASSWORD,
        authority=str(tmp_path / "certificates" / "ca.pem"),
        foreman="",
        hub="",
        logs=written.logs,
        settings=written,
        folder=settings,
    )


def below(machine: Machine, head: SshServer) -> Machine:
    """Return the worker with a head that is on."""
    assert isinstance(machine.settings, WorkerSettings)
    return replace(machine, settings=structs.replace(machine.settings, ssh_port=head.port))


def checked(machine: Machine, tmp_path: Path) -> SelfCheck:
    return self_check.check(machine, tmp_path / "distcc-hosts")


# ---- the head's stores -----------------------------------------------------------------------------------------------


def test_each_key_opens_its_store(worker: Machine, head: SshServer, store: Path, tmp_path: Path) -> None:
    # Given a head whose stores are there
    needs("rsync")
    before = sorted(path.name for path in store.iterdir())
    # When a worker looks, then all three let it in
    assert checked(below(worker, head), tmp_path).stores == dict.fromkeys(self_check.KINDS, Knock(Met.LET_IN))
    # And nothing has changed there
    assert sorted(path.name for path in store.iterdir()) == before


@pytest.mark.parametrize("kind", self_check.KINDS)
def test_one_key_that_is_refused_is_told_from_the_others(
    worker: Machine, head: SshServer, store: Path, tmp_path: Path, kind: str
) -> None:
    # Given a worker that has lost one of its keys
    assert store.is_dir()
    (worker.folder / f"{kind}.key").write_text("")
    # When it looks
    stores = checked(below(worker, head), tmp_path).stores
    # Then that one is refused, and why is told
    assert {name for name, knock in stores.items() if knock.met is Met.REFUSED} == {kind}
    assert "Permission denied" in stores[kind].said


def test_a_repository_that_is_missing_is_told(worker: Machine, head: SshServer, store: Path, tmp_path: Path) -> None:
    # Given a head without labfleet's code, when a worker looks, then it is told what git says
    (store / "labfleet.git").rename(store / "gone.git")
    found = checked(below(worker, head), tmp_path).stores["git"]
    assert found.met is Met.REFUSED
    assert "labfleet.git" in found.said


def test_keys_that_the_head_does_not_know_are_refused(worker: Machine, head: SshServer, tmp_path: Path) -> None:
    # Given a head that knows none of a worker's keys
    head.authorized = make_key(tmp_path / "another")
    # When it looks, then they are refused, and why is told
    stores = checked(below(worker, head), tmp_path).stores
    assert {found.met for found in stores.values()} == {Met.REFUSED}
    assert all("Permission denied" in found.said for found in stores.values())
    assert head.attempts >= 3


def test_a_head_with_another_host_key_is_shown_no_key(worker: Machine, head: SshServer, tmp_path: Path) -> None:
    # Given a head that has another host key than the worker knows
    head.host_keys = [make_key(tmp_path / "other")]
    # When it looks, then no key is shown to it
    stores = checked(below(worker, head), tmp_path).stores
    assert {found.met for found in stores.values()} == {Met.REFUSED}
    assert head.attempts == 0


def test_a_head_that_is_off_is_told(worker: Machine, tmp_path: Path) -> None:
    # Given a head that is off, when a worker looks, then nothing is there
    assert {found.met for found in checked(worker, tmp_path).stores.values()} == {Met.CLOSED}


# ---- Redis and the hub -----------------------------------------------------------------------------------------------


@pytest.fixture
def services(worker: Machine, tmp_path: Path) -> Iterator[Machine]:
    """Return the worker with a Redis and a hub that let it in."""
    needs("openssl")
    certificates = authority(tmp_path / "certificates")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    guard = curve.guard(context, tmp_path / "keys")
    inbox = context.socket(zmq.ROUTER)
    server = curve.own_keys(tmp_path / "keys", "server")
    curve.serve(inbox, server, curve.WORKERS)
    logs = f"tcp://127.0.0.1:{inbox.bind_to_random_port('tcp://127.0.0.1')}"
    own = curve.own_keys(worker.paths.keys, "worker").public.decode()
    curve.register(tmp_path / "keys", curve.WORKERS, "w1", own)
    with redis(certificates, *users(tmp_path / "acl", {"worker": PASSWORD})) as port:
        url = f"rediss://worker@127.0.0.1:{port}"
        job_queue.JobQueue(job_queue.connect(url, PASSWORD, worker.authority)).keep_lab_key(server.public.decode())
        yield replace(worker, redis=url, logs=logs)
    guard.stop()
    context.destroy(linger=0)


def test_a_worker_that_is_well_is_let_in_everywhere(services: Machine, tmp_path: Path) -> None:
    # Given a head that knows this worker, when it looks, then Redis and the hub let it in
    found = checked(services, tmp_path)
    assert found.redis == Knock(Met.LET_IN)
    assert found.hub == Knock(Met.LET_IN)


def test_an_old_password_is_refused(services: Machine, tmp_path: Path) -> None:
    # Given a worker with an old password, when it looks, then Redis refuses it, and the hub's key cannot be known
    found = checked(replace(services, password=PASSWORD + "old"), tmp_path)
    assert found.redis.met is Met.REFUSED
    assert found.hub is None


def test_a_worker_that_the_hub_does_not_know_is_refused(services: Machine, tmp_path: Path) -> None:
    # Given a worker whose key nobody has told the hub, when it looks, then the hub refuses it
    for file in (tmp_path / "keys" / "workers" / "w1").iterdir():
        file.unlink()
    hub = checked(services, tmp_path).hub
    assert hub is not None
    assert hub.met is Met.REFUSED


def test_a_head_that_has_told_no_key_is_told(services: Machine, tmp_path: Path) -> None:
    # Given a Redis in which the foreman has not told its key, when a worker looks, then it is told that
    queue = job_queue.connect(services.redis, PASSWORD, services.authority)
    queue.delete(job_queue.LAB_KEY)
    assert checked(services, tmp_path).hub == Knock(Met.SILENT, "the head has told no key yet")


def test_looking_makes_no_keys(services: Machine, tmp_path: Path) -> None:
    # Given a worker that has never run, when it looks, then it is told, and no key is made
    for file in services.paths.keys.iterdir():
        file.unlink()
    hub = checked(services, tmp_path).hub
    assert hub == Knock(Met.SILENT, "this worker has no key, so it has never run")
    assert not list(services.paths.keys.iterdir())


def test_the_hubs_key_is_read_where_the_foreman_tells_it() -> None:
    # Given the name under which the foreman keeps it, when compared with the one that is read, then it is the same
    assert self_check.LAB_KEY == job_queue.LAB_KEY


# ---- distcc, compiler, disk, uploads ---------------------------------------------------------------------------------


def test_a_builder_asks_those_who_help_it(worker: Machine, tmp_path: Path) -> None:
    # Given a builder with a helper, one that is off, and itself
    with distccd("127.0.0.1") as port:
        helper, off = f"127.0.0.1:{port}/2,lzo", f"127.0.0.1:{free_port()}/2,lzo"
        (tmp_path / "distcc-hosts").write_text(f"{helper}\n{off}\nlocalhost/2\n")
        # When it looks, then each of the others has been asked
        found = checked(worker, tmp_path).distcc
        assert {name: knock.met for name, knock in found.items()} == {helper: Met.LET_IN, off: Met.CLOSED}
    # And who builds nothing asks nobody
    assert isinstance(worker.settings, WorkerSettings)
    other = structs.replace(worker.settings, builder=False)
    assert checked(replace(worker, settings=other), tmp_path).distcc == {}


def test_the_compiler_is_told(worker: Machine, tmp_path: Path) -> None:
    # Given a worker with a compiler, when it looks, then its version is there
    needs("g++")
    assert checked(worker, tmp_path).toolchain.startswith("g++ ")


def test_a_disk_that_takes_nothing_is_told(worker: Machine, tmp_path: Path) -> None:
    # Given a worker whose home can be written to, when it looks, then that is well, and nothing is left behind
    assert checked(worker, tmp_path).disk == ""
    assert not list(worker.paths.home.glob(".check-*"))
    # And one whose home is gone, then the reason is told
    gone = replace(worker, paths=LabPaths(tmp_path / "gone"))
    assert checked(gone, tmp_path).disk == "No such file or directory"


def test_what_waits_to_be_sent_is_counted(worker: Machine, tmp_path: Path) -> None:
    # Given two finished runs, one of which has waited for an hour, and one that is being moved there
    for name, age in (("a", 3600), ("b", 0), (".half", 9999)):
        folder = worker.paths.spool / name
        folder.mkdir(parents=True)
        then = folder.stat().st_mtime - age
        os.utime(folder, (then, then))
    # When the worker looks
    found = checked(worker, tmp_path)
    # Then it tells how many and for how long
    assert found.unsent == 2
    assert 3600 <= found.unsent_since < 3700


def test_a_head_looks_at_what_it_has(worker: Machine, tmp_path: Path) -> None:
    # Given a head, when it looks, then of a worker's matters there is nothing
    settings = HeadSettings("head", str(tmp_path), worker.redis, Ports(1, 2, 3), "labfleet-worker:1")
    found = checked(replace(worker, settings=settings), tmp_path)
    assert (found.hub, found.stores, found.distcc, found.toolchain) == (None, {}, {}, "")


def test_what_takes_too_long_is_told(worker: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a head that takes connections and says nothing
    monkeypatch.setattr(self_check, "DEADLINE", 3)  # less than one connection's patience, enough for a disk
    with serving(lambda _: None) as port:
        assert isinstance(worker.settings, WorkerSettings)
        silent = replace(worker, settings=structs.replace(worker.settings, ssh_port=port))
        # When a worker looks
        found = checked(silent, tmp_path)
        # Then it does not wait for ever, and tells what it knows
        assert found.stores == dict.fromkeys(self_check.KINDS, Knock(Met.SILENT, "no answer within 3 s"))
        assert found.disk == ""
        # And no connection is waited for longer than the others
        monkeypatch.setattr(self_check, "DEADLINE", 30)
        monkeypatch.setattr(self_check, "PATIENCE", 0.3)
        assert {store.met for store in checked(silent, tmp_path).stores.values()} == {Met.SILENT}


def test_it_is_told_as_json(worker: Machine) -> None:
    # Given a worker, when it reports, then doctor can read that
    assert decode(self_check.report(worker), SelfCheck).unsent == 0
