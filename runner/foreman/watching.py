"""Who watches the lab, and what they are told: all of it first, then what changes of it.

Nothing is looked at while nobody watches.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from runner.foreman.books import Books, status_of
from runner.hosts import Hosts
from runner.messages import Answer, CampaignStatus, Changed, Event, MachineStatus, Overview
from runner.model import PROTOCOL
from runner.scheduling import overview
from runner.scheduling.overview import Told

#: Seconds between two looks at what has changed; and what a look may take of the foreman's time at most.
PULSE, PART = 0.1, 0.1

#: Seconds after which a watcher that is not heard of is told no more.
PATIENCE = 60.0

#: Seconds for which a campaign that has ended is shown.
SHOWN = 86400.0

#: Sends the same to clients, and returns those that are gone.
Send = Callable[[Iterable[bytes], Answer | Event], set[bytes]]


class Watching:
    """The watchers, and what they were told last."""

    def __init__(
        self, send: Send, provisioned: Callable[[], set[str]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``provisioned``: tells the machines that the lab should have."""
        self._send, self._provisioned, self._clock = send, provisioned, clock
        #: When each was heard of last.
        self._watchers: dict[bytes, float] = {}
        self._told = Told()
        #: Campaigns that have ended within the last day.
        self._ended: dict[str, CampaignStatus] = {}
        self._next_look = 0.0
        #: Has something happened since the last look?
        self._is_due = False

    @property
    def is_watched(self) -> bool:
        """Say whether anybody watches."""
        return bool(self._watchers)

    def tells(self, client: bytes) -> bool:
        """Say whether a client is told what changes."""
        return client in self._watchers

    def hear(self, client: bytes) -> None:
        """A client asks for something: so it is there still."""
        if client in self._watchers:
            self._watchers[client] = self._clock()

    def note(self) -> None:
        """Something happened of which watchers may have to be told."""
        self._is_due = True

    def note_collected(self, books: Books, campaign: str) -> None:
        """All of a campaign that has ended is at home."""
        self._take_ends(books)
        if campaign in self._ended:
            self._ended[campaign] = replace(self._ended[campaign], collected=True)

    def pause(self) -> float:
        """Return the seconds until the next look; a second where nothing is to be told."""
        return max(0.0, min(1.0, self._next_look - self._clock())) if self._watchers and self._is_due else 1.0

    def begin(self, client: bytes, books: Books, hosts: Hosts) -> None:
        """Tell a client all, and from now on what changes; others are told of what has changed before."""
        if not self._watchers:
            self._told = Told()
            books.just_ended.clear()
            self._ended = {one.id: one for one in books.statuses() if (one.ended or 0.0) > time.time() - SHOWN}
        self._watchers.pop(client, None)
        self._look(books, hosts)
        self._watchers[client] = self._clock()
        machines, campaigns = self._picture(books, hosts)
        self._send([client], Overview(PROTOCOL, time.time(), machines, campaigns, books.series))

    def turn(self, books: Books, hosts: Hosts) -> None:
        """Tell the watchers what has changed, if it is time."""
        now = self._clock()
        if not self._watchers or not self._is_due or now < self._next_look:
            return
        self._watchers = {client: heard for client, heard in self._watchers.items() if now - heard <= PATIENCE}
        if self._watchers:
            self._look(books, hosts)
        took = self._clock() - now
        self._next_look, self._is_due = now + took + max(PULSE, took / PART), False

    def _look(self, books: Books, hosts: Hosts) -> None:
        machines, campaigns = self._picture(books, hosts)
        changed: Changed | None = self._told.take(time.time(), machines, campaigns)
        if changed:
            for client in self._send(self._watchers, changed):
                del self._watchers[client]

    def _picture(self, books: Books, hosts: Hosts) -> tuple[tuple[MachineStatus, ...], tuple[CampaignStatus, ...]]:
        states, now_is = books.states, time.time()
        table = hosts.table(self._provisioned(), states.values())
        statuses = overview.campaigns(self._statuses(books, now_is), states, table, hosts.now, now_is)
        shown = tuple(sorted(statuses, key=lambda one: (one.submitted, one.id)))
        return overview.machines(table, states.values()), shown

    def _statuses(self, books: Books, now_is: float) -> Iterator[CampaignStatus]:
        """Yield where the campaigns stand: those under way, and those that have ended."""
        self._take_ends(books)
        for name, status in list(self._ended.items()):
            if name in books.states or (status.ended or 0.0) < now_is - SHOWN:
                del self._ended[name]
        yield from map(status_of, books.states.values())
        yield from self._ended.values()

    def _take_ends(self, books: Books) -> None:
        while books.just_ended:
            status = books.just_ended.popleft()
            self._ended[status.id] = status
