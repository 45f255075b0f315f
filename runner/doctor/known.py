"""What looks at all machines together tell of the lab: by it, each machine is judged."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from runner.doctor.clocks import HERE, Clock, compared, reference
from runner.doctor.facts import HEAD, WORKER, Facts, Image, Look, Offer
from runner.doctor.findings import Commands
from runner.inventory import Machine


@dataclass(frozen=True)
class Known:
    """What is known of the lab."""

    commands: Commands
    #: None: it could not be asked.
    head: Facts | None
    clocks: dict[str, Clock]
    #: The clock that counts as right.
    right_clock: Clock
    #: The tool chain that counts as right, and whose it is.
    toolchain: str
    toolchain_of: str
    machines: dict[str, Look]

    @property
    def image(self) -> Image | None:
        """The image that the lab is to run."""
        return self.head.images.get(HEAD) if self.head else None

    @property
    def deployed(self) -> str:
        """The revision of labfleet's code that the lab is to run; empty where that cannot be known."""
        return self.head.deployed if self.head else ""

    @property
    def redis_port(self) -> int | None:
        """The port of Redis."""
        settings = self.head.settings.get(HEAD) if self.head else None
        return urlsplit(settings.redis).port if settings else None

    @property
    def worker_ports(self) -> list[int]:
        """The head's ports that workers use: Redis', and the hub's for logs."""
        settings = self.head.settings.get(HEAD) if self.head else None
        return [*filter(None, [self.redis_port, settings.ports.logs if settings and settings.ports else None])]

    @property
    def head_machine(self) -> Machine:
        """The head; every inventory has one."""
        return next(look.machine for look in self.machines.values() if look.machine.is_head)

    def head_runs(self, unit: str) -> bool:
        """Does a service of the head's run, as far as is known?"""
        return self.head is not None and unit in self.head.units and self.head.units[unit].active == "active"

    def offer(self, name: str) -> Offer | None:
        """Return what the head knows of a worker."""
        offers = self.head.workers if self.head else ()
        return next((offer for offer in offers if offer.name == name), None)

    def worker_of(self, entry: str) -> Machine | None:
        """Return the worker that an entry in distcc's list names."""
        offers = self.head.workers if self.head else ()
        name = next((offer.name for offer in offers if offer.distcc == entry), "")
        return self.machines[name].machine if name in self.machines else None

    @property
    def builders(self) -> set[str]:
        """The addresses for which distcc compiles."""
        return {offer.address for offer in self.head.workers if offer.builder} if self.head else set()


def known(looks: Sequence[Look], commands: Commands) -> Known:
    """Return what looks at all machines of an inventory tell."""
    clocks = {look.machine.name: clock for look in looks if (clock := _clock(look))}
    toolchains = {
        look.machine.name: check.found.toolchain
        for look in looks
        if look.facts and (check := look.facts.checks.get(WORKER)) and check.found and check.found.toolchain
    }
    # What is built runs everywhere, so the builder's counts; without one, what most have is right.
    builder = next(
        (look.machine.name for look in looks if look.machine.builder and look.machine.name in toolchains), ""
    )
    most = Counter(toolchains.values()).most_common(1)
    right = toolchains[builder] if builder else most[0][0] if most else ""
    return Known(
        commands=commands,
        head=next((look.facts for look in looks if look.machine.is_head), None),
        clocks=clocks,
        right_clock=reference(clocks.values()) if clocks else HERE,
        toolchain=right,
        toolchain_of=next((name for name, toolchain in toolchains.items() if toolchain == right), ""),
        machines={look.machine.name: look for look in looks},
    )


def _clock(look: Look) -> Clock | None:
    """Return a machine's clock, as a login and root see it."""
    if look.facts is None:
        return look.clock
    return compared(look.asked, look.facts.began, look.facts.ended, look.answered).worse(look.clock)
