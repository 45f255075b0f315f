"""A local lab's services: one set of them per home, whoever comes, goes or is killed while they begin or end."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from runner import local_lab, shell, usage
from runner.errors import LabFailed
from runner.paths import LabPaths
from tests.conftest import eventually
from tests.lab_fixture import LocalLab, wait_for


def ready(lab: LocalLab) -> LabPaths:
    """Return the places of a lab, with the folders that its client makes before it starts a supervisor."""
    paths = LabPaths(lab.home)
    for folder in (paths.sockets, paths.service_logs, paths.redis):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return paths


@pytest.fixture
def supervisor(own_lab: LocalLab) -> Iterator[Callable[[], shell.Process]]:
    """Return what starts a supervisor of a lab as a client does."""
    paths = ready(own_lab)
    argv = [sys.executable, "-m", "runner.services", "local", local_lab.code_version()]
    started = []

    def begin() -> shell.Process:
        with (paths.service_logs / "local.log").open("ab") as output:
            started.append(shell.start(argv, cwd=own_lab.home, env=own_lab.environment(), output=output))
        return started[-1]

    yield begin
    for process in started:
        process.signal(signal.SIGTERM)
        eventually(lambda process=process: process.wait(0) is not None, "its end")  # type: ignore[misc]


def test_services_are_found_whose_client_was_killed_when_it_had_started_them(
    own_lab: LocalLab, supervisor: Callable[[], shell.Process], scripted: Path
) -> None:
    # Given a client that was killed as soon as it had started a supervisor
    started = supervisor()
    # When the next one comes, then those services are its, too
    said = own_lab("campaign", cwd=scripted)
    assert said.status == 0, said.stderr
    assert own_lab.supervisor == started.pid


def test_a_second_supervisor_ends_before_it_starts_anything(
    own_lab: LocalLab, supervisor: Callable[[], shell.Process]
) -> None:
    # Given services
    paths, first = LabPaths(own_lab.home), supervisor()
    eventually(lambda: own_lab.service("foreman"), "services")
    told, foreman = paths.lab_file.read_bytes(), own_lab.service("foreman")
    # When a second supervisor is started, then it says why it ends, and all stays as it is
    second = supervisor()
    eventually(lambda: second.wait(0) is not None, "its end")
    assert "another process keeps the services of" in (paths.service_logs / "local.log").read_text()
    assert (paths.lab_file.read_bytes(), own_lab.service("foreman")) == (told, foreman)
    # … and when the first one has ended, nothing keeps its lock, what it had started neither
    first.signal(signal.SIGTERM)
    eventually(lambda: first.wait(0) is not None, "its end")
    with usage.if_free(paths.local_lock, time.time()) as is_free:
        assert is_free
    assert not paths.lab_file.exists()


def test_a_supervisor_that_nobody_knows_of_is_waited_for(own_lab: LocalLab, scripted: Path) -> None:
    # Given one that has just begun or is about to end: it holds the lock, and has no lab.json
    paths = ready(own_lab)
    with usage.held(paths.local_lock):
        # When a client comes, then it starts nothing beside that
        client = own_lab.start("campaign", cwd=scripted)
        log = paths.service_logs / "local.log"
        eventually(lambda: log.exists() and "not needed" in log.read_text(), "a supervisor that is not needed")
        assert own_lab.service("foreman") is None
    # … and goes on as soon as it can
    _, stderr = client.communicate(timeout=60)
    assert client.returncode == 0, stderr


def test_services_that_cannot_be_reached_from_here_are_named(
    own_lab: LocalLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given services in a home that several machines share, on another one of these
    paths = ready(own_lab)
    monkeypatch.setenv("LABFLEET_HOME", str(own_lab.home))
    monkeypatch.setattr(local_lab, "PATIENCE", 1.0)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with usage.held(paths.local_lock):
        paths.local_lock.write_text("process 42 on maple")
        # When a client needs some, then it is told where they are, and what to do
        with pytest.raises(LabFailed, match="has services already: process 42 on maple") as told:
            local_lab.connect(context, local_lab.Start.AS_WANTED)
    assert "LABFLEET_HOME" in told.value.hint
    context.term()


def test_a_lab_that_ends_as_idle_while_a_snapshot_is_taken_is_there_again(
    own_lab: LocalLab, scripted: Path, tmp_path: Path
) -> None:
    # Given a lab that may be idle for some seconds, and a snapshot that takes longer: until the lab has ended
    own_lab.variables["LABFLEET_IDLE_SECONDS"] = "5"
    git, seen = tmp_path / "bin" / "git", tmp_path / "seen"
    git.parent.mkdir()
    waiting = f"[ -e {own_lab.home}/lab.json ] && : > {seen}; while [ -e {own_lab.home}/lab.json ]; do sleep 0.05; done"
    git.write_text(f'#!/bin/sh\ncase " $* " in *" push "*) {waiting} ;; esac\nexec {shutil.which("git")} "$@"\n')
    git.chmod(0o755)
    # When the campaign is to be submitted, then the lab is there again
    said = own_lab("campaign", cwd=scripted, env={"PATH": f"{git.parent}:{os.environ['PATH']}"})
    assert said.status == 0, said.stderr
    assert seen.exists()


@pytest.mark.parametrize("words", [("campaign",), ("lab", "stop")])
def test_who_comes_while_services_end_waits_for_their_end(
    own_lab: LocalLab, scripted: Path, words: tuple[str, ...]
) -> None:
    # Given services that end as they are idle, but not at once: the hub does not listen
    own_lab.variables["LABFLEET_IDLE_SECONDS"] = "5"
    gate = scripted.parent / "gate"
    (scripted / "do.sh").write_text(f"while [ ! -e {gate} ]; do sleep 0.05; done; echo x > $STEM.sca\n")
    with own_lab.start("campaign", cwd=scripted) as client:
        first = wait_for(lambda: own_lab.supervisor, "services")
        hub = wait_for(lambda: own_lab.service("hub"), "a hub")
        gate.touch()
        assert client.wait(60) == 0
    os.kill(hub, signal.SIGSTOP)
    wait_for(lambda: own_lab.service("foreman") is None, "the foreman has ended")
    assert own_lab.supervisor == first
    # When somebody comes
    said = own_lab(*words, cwd=scripted)
    # Then they get what they want as soon as all has ended
    assert said.status == 0, said.stderr
    assert own_lab.supervisor != first
