"""How the lab is: the foreman is watched while somebody looks, and each browser is told what it has not been told."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable

from runner.lab import ForemanClient
from runner.messages import (
    AskStatus,
    CampaignStatus,
    Changed,
    Heard,
    HostReport,
    MachineStatus,
    Overview,
    SlotStatus,
    Status,
    Watch,
)
from runner.model import Value, encode
from runner.web.hearing import Ear
from runner.web.sse import Glance, event, raw_event

log = logging.getLogger(__name__)

#: Seconds between questions that show the foreman that somebody listens, and without an answer until it is away.
PULSE, SILENCE = 4.0, 10.0


class MachineView(Value, frozen=True):
    """What a browser is told of a machine; sizes in bytes."""

    name: str
    state: str
    reason: str
    slots: int
    #: Slots that have a run, or are to get one.
    busy: int
    load: float
    memory_free: int
    memory_total: int
    disk_free: int
    disk_total: int
    builder: bool
    runs: tuple[SlotStatus, ...]


def view_of(machine: MachineStatus) -> MachineView:
    """Return what a browser is told of a machine."""
    report = machine.report or HostReport(machine.name, 0)
    return MachineView(
        machine.name,
        machine.state,
        machine.reason,
        report.slots,
        machine.busy,
        report.load,
        report.memory_free,
        report.memory_total,
        report.disk_free,
        report.disk_total,
        report.builder,
        machine.slots,
    )


#: What browsers are told of: ``machine`` or ``campaign``, and its name.
Part = tuple[str, str]


class Mirror:
    """The lab as the foreman tells it."""

    def __init__(self, connect: Callable[[], ForemanClient]) -> None:
        """``connect``: makes a connection to the foreman."""
        self._connect = connect
        self._told: dict[Part, bytes] = {}
        self._time = 0.0
        self._incarnation = ""
        #: Since when nothing is heard of the foreman, in seconds since the epoch; 0: it is there.
        self._away = 0.0
        self._is_known = False
        self._glances: set[Glance[Part]] = set()
        self._task: asyncio.Task[None] | None = None
        #: Are called when a foreman is there that knows nobody who listens, and with campaigns that changed.
        self.on_new_foreman: list[Callable[[], None]] = []
        self.on_campaigns: list[Callable[[Iterable[CampaignStatus]], None]] = []

    async def updates(self) -> AsyncGenerator[bytes, None]:
        """Yield events: first how the lab is, then what changes.  The foreman is watched meanwhile."""
        glance: Glance[Part] = Glance()
        self._glances.add(glance)
        if self._is_known or self._away:
            glance.stir()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            while True:
                await glance.wait()
                if self._away:
                    yield event("away", {"since": self._away})
                    glance.everything = True
                else:
                    yield self._event(glance.take())
        finally:
            self._glances.discard(glance)
            if not self._glances and self._task is not None:
                self._task.cancel()
                self._task = None  # whoever looks next begins anew, even before this one has ended
                self._is_known = False  # until somebody looks again

    def _event(self, parts: set[Part] | None) -> bytes:
        """Return the event with these parts as they are now, or with all that there are."""
        known = self._told.keys() if parts is None else [part for part in parts if part in self._told]
        gone = [] if parts is None else [part for part in parts if part not in self._told]
        machines = b",".join(self._told[part] for part in known if part[0] == "machine")
        campaigns = b",".join(self._told[part] for part in known if part[0] == "campaign")
        return raw_event(
            "lab",
            b'{"time":%s,"everything":%s,"machines":[%s],"campaigns":[%s],"gone":%s}'
            % (encode(self._time), encode(parts is None), machines, campaigns, encode(gone)),
        )

    # ---- watching ----

    async def _watch(self) -> None:
        """Watch the foreman until nobody looks any more."""
        while True:
            client = self._connect()
            ear = Ear(client.socket)
            try:
                await self._listen(client, ear)
            except Exception:  # what the foreman says cannot be understood: it may be of another version for now
                log.exception("watching the foreman")
                await asyncio.sleep(PULSE)
            finally:
                ear.close()
                client.socket.close(linger=0)

    async def _listen(self, client: ForemanClient, ear: Ear) -> None:
        """Take what the foreman says; return when it says nothing any more."""
        client.socket.send(encode(Watch()))
        heard = asked = time.monotonic()
        while True:
            if await ear.wait(PULSE):
                heard = time.monotonic()
                while (message := client.receive(Heard)) is not None:
                    self._take(client, message)
            now = time.monotonic()
            if now - asked >= PULSE:
                client.socket.send(encode(AskStatus()))
                asked = now
            if now - heard > SILENCE:
                self._miss(now - heard)
                return

    def _take(self, client: ForemanClient, message: object) -> None:
        match message:
            case Overview():
                self._take_overview(message)
            case Changed():
                self._time = message.time
                self._change(message)
            case Status() if message.incarnation != self._incarnation or not message.is_watched:
                client.socket.send(encode(Watch()))

    def _take_overview(self, overview: Overview) -> None:
        self._told = {("machine", one.name): encode(view_of(one)) for one in overview.machines}
        self._told |= {("campaign", one.id): encode(one) for one in overview.campaigns}
        self._time, self._away, self._is_known = overview.time, 0.0, True
        is_new, self._incarnation = overview.incarnation != self._incarnation, overview.incarnation
        if is_new:
            for call in self.on_new_foreman:
                call()
        self._note(overview.campaigns)
        for glance in self._glances:
            glance.stir(everything=True)

    def _change(self, changed: Changed) -> None:
        told: dict[Part, bytes] = {("machine", one.name): encode(view_of(one)) for one in changed.machines}
        told |= {("campaign", one.id): encode(one) for one in changed.campaigns}
        gone = {*(("campaign", name) for name in changed.gone), *(("machine", name) for name in changed.gone_machines)}
        self._told |= told
        for part in gone:
            self._told.pop(part, None)
        self._note(changed.campaigns)
        for glance in self._glances:
            glance.stir({*told, *gone})

    def _note(self, campaigns: Iterable[CampaignStatus]) -> None:
        for call in self.on_campaigns:
            call(campaigns)

    def _miss(self, seconds: float) -> None:
        """The foreman does not answer."""
        if not self._away:
            self._away = time.time() - seconds
            for glance in self._glances:
                glance.stir()
