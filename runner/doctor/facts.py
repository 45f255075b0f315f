"""What is known of a machine after a look at it: the JSON of facts_of_machine.py as values."""

from dataclasses import dataclass, field

import msgspec

from runner.doctor.clocks import Clock
from runner.inventory import Machine
from runner.knock import Knock
from runner.machine import Ports
from runner.model import Value
from runner.self_check import SelfCheck

HEAD, WORKER = "head", "worker"

#: The services of each role.
SERVICES = {
    HEAD: ("labfleet-redis", "labfleet-hub", "labfleet-foreman", "labfleet-web"),
    WORKER: ("labfleet-worker", "labfleet-distcc"),
}


class Settings(Value, frozen=True):
    """What provisioning wrote down for a role, as far as it is looked at here."""

    image: str = ""
    redis: str = ""
    ports: Ports | None = None
    slots: int = 0
    builder: bool = False


class Unit(Value, frozen=True):
    """A service of systemd's."""

    installed: bool
    #: ``active``, ``inactive``, ``failed``, ``activating``, …, and in more detail.
    active: str
    sub: str
    #: How it ended last: ``success``, ``exit-code``, …
    result: str
    restarts: int
    #: For how long it has been active.
    seconds: float


class Docker(Value, frozen=True):
    """The Docker engine."""

    #: The folder of its data; empty: it does not answer.
    root: str = ""
    complaint: str = ""


class Container(Value, frozen=True):
    """A container that runs."""

    #: Id and name of its image.
    image: str
    image_name: str
    #: Of labfleet's code that it runs; empty where it runs none.
    revision: str = ""


class Image(Value, frozen=True):
    """An image that the settings name, and that is there."""

    name: str
    image: str


class Disk(Value, frozen=True):
    """A file system, in bytes."""

    path: str
    free: int
    total: int
    #: How much of the number of files that it can hold is still free, between 0 and 1.
    files_free: float = 1.0


class Memory(Value, frozen=True):
    """Main memory, in bytes."""

    free: int
    total: int


class Offer(Value, frozen=True):
    """What the head has noted of a worker."""

    name: str
    #: Where the other machines reach it.
    address: str
    builder: bool = False
    #: Its entry in distcc's list of hosts.
    distcc: str = ""


class Answer(Value, frozen=True):
    """A self-check, or why there is none."""

    found: SelfCheck | None = None
    complaint: str = ""


class Facts(Value, frozen=True):
    """What a machine told."""

    #: Its clock when it began and ended to look.
    began: float
    ended: float
    #: By role: those that the machine was provisioned for.
    settings: dict[str, Settings] = msgspec.field(default_factory=dict)
    images: dict[str, Image] = msgspec.field(default_factory=dict)
    checks: dict[str, Answer] = msgspec.field(default_factory=dict)
    units: dict[str, Unit] = msgspec.field(default_factory=dict)
    docker: Docker = Docker()
    containers: dict[str, Container] = msgspec.field(default_factory=dict)
    disks: tuple[Disk, ...] = ()
    memory: Memory = Memory(0, 0)
    #: The addresses at which ports are listened to.
    listening: dict[int, tuple[str, ...]] = msgspec.field(default_factory=dict)
    #: Of a head: the revision of labfleet's code that the lab is to run, and its workers.
    deployed: str = ""
    workers: tuple[Offer, ...] = ()


@dataclass(frozen=True)
class Look:
    """What came of a look at a machine of an inventory."""

    machine: Machine
    #: What it told; None: it could not be asked.
    facts: Facts | None = None
    #: Its clock as a login sees it.
    clock: Clock | None = None
    #: This computer's clock before the question and after the answer.
    asked: float = 0.0
    answered: float = 0.0
    #: Why it could not be asked, and what to do.
    trouble: str = ""
    hint: str = ""
    wants_password: bool = False
    #: What a stranger met at its ports, by service: ``redis``, ``distcc``.
    strangers: dict[str, Knock] = field(default_factory=dict)
