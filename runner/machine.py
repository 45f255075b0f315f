"""What a process of the lab knows of the machine it is on, and of those that it speaks to.

On a local lab that follows from the environment; on the machines of a remote lab ``provision`` has written it down, in
the folder that LABFLEET_SETTINGS names: settings.json, redis-password, ca.pem, and on workers the SSH keys.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from runner import shell
from runner.errors import LabFailed, WrongUse
from runner.model import Value, decode
from runner.paths import LabPaths, home

#: What makes the image's labfleet the deployed revision, and then starts a role of it.
START = "/opt/labfleet/start"


#: How long a machine keeps what is not needed any more, unless it was told otherwise.
KEEP_DAYS = 14


class Ports(Value, frozen=True):
    """TCP ports of the head's services."""

    #: For people, on the loopback interface: their tunnels end there.
    foreman: int
    hub: int
    #: For the slots' logs, on the lab's network.
    logs: int
    #: For people's browsers, on the loopback interface too: the web page, and RQ's dashboard; 0: any.
    web: int = 0
    dashboard: int = 0


class HeadSettings(Value, frozen=True, tag="head", tag_field="role"):
    """settings.json of the head."""

    name: str
    home: str
    redis: str
    ports: Ports
    image: str
    #: How long things are kept, and of how many gigabytes they may take their shares; 0: of the whole file system.
    keep_days: int = KEEP_DAYS
    keep_gb: int = 0


class WorkerSettings(Value, frozen=True, tag="worker", tag_field="role"):
    """settings.json of a worker."""

    name: str
    home: str
    redis: str
    #: The hub's endpoint for logs.
    logs: str
    #: The head's address, and its port for SSH.
    head: str
    ssh_port: int
    slots: int
    builder: bool
    tags: tuple[str, ...]
    desktop: bool
    image: str
    #: As for the head.
    keep_days: int = KEEP_DAYS
    keep_gb: int = 0


@dataclass(frozen=True)
class Machine:
    """This machine, as one of the lab's processes sees it."""

    name: str
    paths: LabPaths
    slots: int
    #: URL of Redis; password and the certificate authority's file where it is a remote one.
    redis: str
    password: str
    authority: str
    #: ZeroMQ endpoints: where the foreman and the hub serve clients, and where the hub takes logs.
    foreman: str
    hub: str
    logs: str
    #: What ``provision`` wrote down for a machine of a remote lab, and where.
    settings: HeadSettings | WorkerSettings | None = None
    folder: Path = Path()
    #: For housekeeping; no gigabytes: as much as the file system has.
    keep_days: int = KEEP_DAYS
    keep_gigabytes: int = 0

    @property
    def revision(self) -> str:
        """The revision of labfleet's code that this process runs; empty on a local lab."""
        return os.environ.get("LABFLEET_REVISION", "")


def here() -> Machine:
    """Return this machine.

    Raises LabFailed if what provision wrote down cannot be read, WrongUse for odd variables.
    """
    folder = os.environ.get("LABFLEET_SETTINGS")
    return _provisioned(Path(folder)) if folder else _local()


def _local() -> Machine:
    paths = LabPaths(Path(home()))
    return Machine(
        name=socket.gethostname().split(".")[0] or "localhost",
        paths=paths,
        slots=slots(),
        redis=f"unix://{paths.redis_socket}",
        password="",
        authority="",
        foreman=paths.endpoint("foreman"),
        hub=paths.endpoint("hub"),
        logs=paths.endpoint("hub-in"),
        keep_days=_whole_number("LABFLEET_KEEP_DAYS", KEEP_DAYS),
        keep_gigabytes=_whole_number("LABFLEET_KEEP_GB", 0),
    )


def _provisioned(folder: Path) -> Machine:
    try:
        settings = decode((folder / "settings.json").read_bytes(), HeadSettings | WorkerSettings)
        password = (folder / "redis-password").read_text().strip()
    except (OSError, ValueError) as error:
        raise LabFailed(f"{folder} is not as provisioning leaves it: {error}", "run: labfleet provision") from None
    is_head = isinstance(settings, HeadSettings)
    return Machine(
        name=settings.name,
        paths=LabPaths(Path(settings.home)),
        slots=0 if is_head else settings.slots,
        redis=settings.redis,
        password=password,
        authority=str(folder / "ca.pem"),
        foreman=f"tcp://127.0.0.1:{settings.ports.foreman}" if is_head else "",
        hub=f"tcp://127.0.0.1:{settings.ports.hub}" if is_head else "",
        logs=f"tcp://*:{settings.ports.logs}" if is_head else settings.logs,
        settings=settings,
        folder=folder,
        keep_days=settings.keep_days,
        keep_gigabytes=settings.keep_gb,
    )


def become_deployed(role: str, **variables: str) -> NoReturn:
    """Become the deployed revision of a role, in this very process."""
    shell.become([START, role], {**os.environ, **variables})


def idle_seconds() -> int:
    """Return the seconds without any campaign or request after which a local lab ends.  Raises WrongUse."""
    return _whole_number("LABFLEET_IDLE_SECONDS", 15 * 60)


def slots() -> int:
    """Return how many runs this machine does at once.  Raises WrongUse."""
    return _whole_number("LABFLEET_SLOTS", len(os.sched_getaffinity(0)))


def _whole_number(variable: str, default: int) -> int:
    text = os.environ.get(variable)
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise WrongUse(f"the variable {variable} has to be a whole number from 1, not {text!r}")
    return int(text)
