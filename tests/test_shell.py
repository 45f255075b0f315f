"""Which processes are whose: what a process adopts, spares and ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner import shell
from tests.conftest import eventually
from tests.worker_fixture import is_alive, is_zombie

ROOT = Path(__file__).resolve().parent.parent

#: Adopts orphans, of which one is a connection that stays, and says what is left after each step.
ADOPTS = """
import os, pathlib, sys
from runner import shell
shell.adopt_orphans()
def left_by(*argv):
    before = shell.strays()
    shell.run(["sh", "-c", '"$@" >/dev/null 2>&1 & exit 0', "sh", *argv])
    (new,) = shell.strays() - before
    return new
connection = left_by("env", "LABFLEET_STAYS=1", "sleep", "600")
own = shell.start(["sleep", "600"], cwd=pathlib.Path("/"), env=os.environ, output=os.open(os.devnull, os.O_WRONLY))
stray = left_by("setsid", "sh", "-c", "env -i setsid sleep 600 & wait")
while not shell.is_connection(connection):
    pass  # it is about to become one
shell.end_strays(shell.is_connection)
print(shell.children(os.getpid()) == {connection, own.pid})
print(own.wait(0))
brief = left_by("true")
while shell.strays() != {connection}:
    shell.reap()
shell.end_strays()
print(shell.children(os.getpid()) == {own.pid})
own.signal_group(9)
print(own.wait(10))
"""

#: Ends a stray in one thread, which takes its time, and takes note of ended ones in another; says if that was through.
ENDS = """
import threading
from runner import shell
shell.adopt_orphans()
shell.run(["sh", "-c", "sleep 600 >/dev/null 2>&1 & exit 0"])
begins, is_noted = threading.Event(), threading.Event()
noted = []
def spare(_):
    begins.set()
    noted.append(is_noted.wait(10))
    return False
ending = threading.Thread(target=shell.end_strays, args=[spare])
ending.start()
begins.wait()
shell.reap()
is_noted.set()
ending.join()
print(noted, shell.strays())
"""

#: Runs a process that writes its number into a file, and does not end by itself.
WAITS = """
import sys
from runner import shell
told = "echo $$ >$0.new; mv $0.new $0; exec sleep 600"
shell.run(["sh", "-c", told, sys.argv[1]], dies_with_parent=True)
"""


def result_of(program: str) -> str:
    """Return what a program of Python's prints that has no other children than those it speaks of."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr
    return done.stdout


def test_orphans_are_ended_and_connections_stay() -> None:
    # Given a process that adopts what its descendants leave behind: hidden processes, connections, and zombies
    # When it ends what is to end
    said = result_of(ADOPTS)
    # Then connections stay until they are not spared, its own children always, and no zombie does
    assert said.split() == ["True", "None", "True", "-9"]


def test_who_takes_note_of_what_has_ended_does_not_wait_for_what_is_being_ended() -> None:
    # Given a process that ends another one, for which it has to wait, when one of its threads takes note of others
    # Then that thread is through before
    assert result_of(ENDS) == "[True] frozenset()\n"


def test_what_another_thread_has_just_waited_for_is_no_stray(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a process that has ended, and for which its own thread waits just when another one has listed all children
    own = shell.start(["true"], cwd=Path("/"), env=os.environ, output=subprocess.DEVNULL)
    listed = shell.children

    def list_before(pid: int) -> set[int]:
        found = listed(pid)
        assert own.wait(60) == 0
        return found

    monkeypatch.setattr(shell, "children", list_before)
    # When that one looks for what others have left, then it is not among these: nobody can wait for it any more
    assert own.pid not in shell.strays()


def test_what_is_tied_to_its_parent_dies_with_it(tmp_path: Path) -> None:
    # Given a process that waits for the end of one that it has started
    place = tmp_path / "number"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", WAITS, str(place)], env=environment)
    eventually(place.exists, "the process")
    # When it is killed, then so is the other one
    parent.kill()
    parent.wait()
    number = int(place.read_text())
    eventually(lambda: not is_alive(number) or is_zombie(number), "its end")
