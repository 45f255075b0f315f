"""Who watches the lab, and when the foreman looks for that: by a clock of the test's own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from runner.foreman.books import Books
from runner.foreman.watching import PATIENCE, PULSE, Watching
from runner.hosts import Hosts
from runner.messages import Answer, Changed, Event, HostReport, Overview
from runner.paths import LabPaths


class Lab:
    """A lab with one machine; each look at it counts."""

    def __init__(self, folder: Path) -> None:
        nothing: Any = None
        self.books = Books(LabPaths(folder), nothing, lambda _, __: set())
        self.hosts = Hosts()
        self.sent: list[tuple[bytes, Answer | Event]] = []
        #: Clients whose connections are no more.
        self.gone: set[bytes] = set()
        self.looks = 0
        self.now = 1000.0
        self.watching = Watching(self._send, self._look, lambda: self.now)
        self.load = self.took = 0.0

    def _send(self, clients: Iterable[bytes], message: Answer | Event) -> set[bytes]:
        self.sent += [(client, message) for client in clients if client not in self.gone]
        return self.gone.intersection(clients)

    def _look(self) -> set[str]:
        self.looks += 1
        self.now += self.took
        return set()

    def report(self, after: float = 1.0) -> None:
        """A machine tells something new, some seconds later."""
        self.now += after
        self.load += 1
        self.hosts.take_report(HostReport("red", 1, load=self.load))
        self.watching.note()
        self.watching.turn(self.books, self.hosts)

    def told(self, kind: type[Answer | Event]) -> list[bytes]:
        """Return who was told something of a kind, and forget it."""
        found = [client for client, message in self.sent if isinstance(message, kind)]
        self.sent.clear()
        return found


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_nothing_is_looked_at_while_nobody_watches(lab: Lab) -> None:
    # Given a lab of which nobody wants to know, when its machines tell how they are
    for _ in range(10):
        lab.report()
    # Then it is not looked at, and the foreman waits for the next event
    assert lab.looks == 0
    assert lab.watching.pause() == 1.0


def test_who_is_not_heard_of_any_more_is_told_no_more(lab: Lab) -> None:
    # Given two watchers, one of which asks for something now and then
    for client in (b"a", b"b"):
        lab.watching.begin(client, lab.books, lab.hosts)
    assert lab.told(Overview) == [b"a", b"b"]
    lab.report()
    assert lab.told(Changed) == [b"a", b"b"]
    lab.now += PATIENCE - 2
    lab.watching.hear(b"b")
    # When much time has passed, then that one alone is told what changes
    lab.report(after=10)
    assert lab.told(Changed) == [b"b"]
    assert [lab.watching.tells(client) for client in (b"a", b"b")] == [False, True]
    # … and nothing is looked at when both are gone
    lab.report(after=2 * PATIENCE)
    looks = lab.looks
    lab.report()
    assert (lab.told(Changed), lab.looks) == ([], looks)


def test_whose_connection_is_no_more_is_told_no_more(lab: Lab) -> None:
    # Given two watchers, the connection of one of which is no more
    for client in (b"a", b"b"):
        lab.watching.begin(client, lab.books, lab.hosts)
    lab.gone = {b"a"}
    # When something changes, then that one watches no longer, and the other one does
    lab.report()
    assert [lab.watching.tells(client) for client in (b"a", b"b")] == [False, True]


def test_what_happens_soon_after_a_look_waits_for_the_next_one(lab: Lab) -> None:
    # Given a watcher that was just told something
    lab.watching.begin(b"a", lab.books, lab.hosts)
    lab.report()
    assert lab.told(Changed) == [b"a"]
    # When something happens right after that
    lab.report(after=PULSE / 4)
    # Then it is not told yet, and the foreman waits no longer than until it can be
    assert lab.told(Changed) == []
    assert 0 < lab.watching.pause() < PULSE
    lab.now += lab.watching.pause()
    lab.watching.turn(lab.books, lab.hosts)
    assert lab.told(Changed) == [b"a"]
    assert lab.watching.pause() == 1.0


def test_looks_that_take_long_are_rarer(lab: Lab) -> None:
    # Given a lab so large that a look at it takes half a second
    lab.took = 0.5
    lab.watching.begin(b"a", lab.books, lab.hosts)
    lab.report()
    # When something happens after that, then the foreman has most of its time for other things
    lab.report(after=1.0)
    lab.report(after=3.0)
    assert lab.told(Changed) == [b"a"]
    lab.report(after=1.0)
    assert lab.told(Changed) == [b"a"]


def test_who_comes_later_is_told_all_and_the_others_what_is_new_to_them(lab: Lab) -> None:
    # Given a watcher, and a machine that has told something since
    lab.watching.begin(b"a", lab.books, lab.hosts)
    lab.hosts.take_report(HostReport("red", 1))
    lab.sent.clear()
    # When another one comes
    lab.watching.begin(b"b", lab.books, lab.hosts)
    # Then the first is told what is new, and the other one all of it
    ((first, changed), (second, overview)) = lab.sent
    assert (first, second) == (b"a", b"b")
    assert isinstance(changed, Changed)
    assert isinstance(overview, Overview)
    assert [machine.name for machine in changed.machines] == ["red"]
    assert overview.machines == changed.machines
