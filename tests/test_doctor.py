"""What doctor makes of facts: each trouble is found, told of the machine that has it, and answered with what to do."""

import copy
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from runner.doctor import view
from runner.doctor.checks import of_machines
from runner.doctor.clocks import Clock, clock_problem, compared, reference
from runner.doctor.facts import Facts, Look
from runner.doctor.findings import HERE, Commands, Finding, Severity, disk_problem
from runner.doctor.foreman_view import of_foreman
from runner.errors import ExitCode
from runner.inventory import Login, Machine
from runner.knock import Knock, Met
from runner.messages import HostReport, Machines, MachineStatus
from runner.model import decode

#: What three machines told that were provisioned a little while ago: a head, and two workers, the first a builder.
RECORDED = Path(__file__).parent / "data" / "doctor"
NAMES = ("head", "w1", "w2")
ADDRESSES = {"head": "192.0.2.11", "w1": "192.0.2.12", "w2": "192.0.2.13"}

IMAGE = "labfleet-worker:74fa46ea1619"
GB = 1000**3

Change = Callable[[dict[str, Any]], None]


@functools.cache
def recorded(name: str) -> str:
    return (RECORDED / f"{name}.json").read_text()


def machine(name: str, user: str | None = "admin") -> Machine:
    login = Login("ssh", ADDRESSES[name], user=user)
    is_head = name == "head"
    return Machine(name, login, is_head=is_head, is_worker=not is_head, builder=name == "w1")


def looks(change: Change = lambda _: None) -> list[Look]:
    """Return looks at the recorded machines, after something was changed in what they told, or in how they are reached.

    That is its ``facts``, its ``trouble``, what ``strangers`` met there, and how far off its ``clock`` is.
    """
    told: dict[str, dict[str, Any]] = {
        name: {"facts": json.loads(recorded(name)), "trouble": "", "strangers": {}, "clock": 0.0} for name in NAMES
    }
    change(told)
    found = []
    for name, its in told.items():
        facts = decode(json.dumps(its["facts"]), Facts) if its["facts"] else None
        # The recorded clocks are this computer's, and it took a tenth of a second to get there and back.
        asked = 100_000.0 - 0.1 - its["clock"]
        answered = asked + 0.2 + (facts.ended - facts.began if facts else 0)
        strangers = {"redis": Knock(Met.REFUSED)} if name == "head" else {"distcc": Knock(Met.REFUSED)}
        strangers |= its["strangers"]
        found.append(
            Look(
                machine(name),
                facts,
                asked=asked,
                answered=answered,
                trouble=its["trouble"],
                hint="do this" if its["trouble"] else "",
                strangers=strangers if facts else {},
            )
        )
    return found


def problems(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.severity is not Severity.OK]


def at(machine: str, *path: str, value: Any) -> Change:
    """Return the change of one thing that a machine told."""

    def change(told: dict[str, Any]) -> None:
        place = told[machine]
        for word in path[:-1]:
            place = place[word]
        assert path[-1] in place or path[0] == "strangers", "what is changed was told"
        place[path[-1]] = copy.deepcopy(value)

    return change


def all_of(*changes: Change) -> Change:
    def change(told: dict[str, Any]) -> None:
        for one in changes:
            one(told)

    return change


def off(machine: str, trouble: str = "does not answer") -> Change:
    return all_of(at(machine, "trouble", value=trouble), at(machine, "facts", value=None))


def disk(path: str, free: float, total: float, files_free: float = 1.0) -> dict[str, Any]:
    return {"path": path, "free": int(free), "total": int(total), "files_free": files_free}


def stopped(name: str, *path: str, **fields: Any) -> Change:
    unit = {"installed": True, "active": "inactive", "sub": "dead", "result": "success", "restarts": 0, "seconds": 0.0}
    return at(name, "facts", "units", *path, value=unit | fields)


def checked(machine: str, *path: str, value: Any) -> Change:
    """Return the change of one thing that a worker found out about itself."""
    return at(machine, "facts", "checks", "worker", "found", *path, value=value)


def met(how: Met, said: str = "") -> dict[str, str]:
    return {"met": how.value, "said": said}


PROVISION = "labfleet provision"
START = "ssh admin@192.0.2.12 sudo systemctl start"
JOURNAL = "ssh admin@192.0.2.12 sudo journalctl -n 30 -u"
ERR, WARN = Severity.ERROR, Severity.WARNING

#: What is wrong, and every problem that is to be found then: how bad, of whom, about what, words of message and advice.
TROUBLES: dict[str, tuple[Change, list[tuple[Severity, str, str, str, str]]]] = {
    "nothing": (lambda _: None, []),
    # ---- reaching it ----
    "switched off": (off("w1", "does not answer at 192.0.2.12"), [(ERR, "w1", "login", "does not answer", "do this")]),
    "the head is off, and the workers' trouble comes from that": (
        all_of(
            off("head"),
            checked("w1", "redis", value=met(Met.CLOSED, "no route to host")),
            checked("w1", "hub", value=None),
            checked("w1", "stores", "git", value=met(Met.CLOSED, "no route to host")),
            checked("w2", "redis", value=met(Met.SILENT)),
        ),
        [(ERR, "head", "login", "does not answer", "do this")],
    ),
    "not provisioned": (
        all_of(
            at("w1", "facts", "settings", value={}),
            at("w1", "facts", "units", value={"docker": json.loads(recorded("w1"))["units"]["docker"]}),
            at("w1", "facts", "images", value={}),
            at("w1", "facts", "containers", value={}),
            at("w1", "facts", "checks", value={}),
        ),
        [(ERR, "w1", "settings", "has it as a worker, but it is not provisioned", f"{PROVISION} --limit w1")],
    ),
    "settings that are none": (
        at("w1", "facts", "settings", "worker", value={}),
        [
            (ERR, "w1", "settings", "has it as a worker, but it is not provisioned", f"{PROVISION} --limit w1"),
        ],
    ),
    # ---- clock, disk, memory ----
    "a clock ten minutes off": (
        at("w1", "clock", value=600.0),
        [(ERR, "w1", "clock", "10 min 00 s ahead of the others", "ssh admin@192.0.2.12 sudo timedatectl set-ntp true")],
    ),
    "a clock ten minutes behind": (
        at("w1", "clock", value=-600.0),
        [(ERR, "w1", "clock", "10 min 00 s behind", "ntp")],
    ),
    "a clock a little off": (at("w1", "clock", value=5.0), [(WARN, "w1", "clock", "5.0 s ahead", "set-ntp")]),
    "a clock within the network's delay": (at("w1", "clock", value=1.9), []),
    "this computer's own clock": (
        all_of(*(at(name, "clock", value=-300.0) for name in NAMES)),
        [(ERR, HERE, "clock", "5 min 00 s ahead of the others", "sudo timedatectl set-ntp true")],
    ),
    "a full disk": (
        at("w1", "facts", "disks", value=[disk("/var/lib/labfleet/worker", 0, 0.5 * GB)]),
        [(ERR, "w1", "disk", "/var/lib/labfleet/worker has only 0 MB of 500 MB free (0%)", "du -xh --max-depth=2")],
    ),
    "a large disk, nearly full": (
        at("w1", "facts", "disks", value=[disk("/var/lib/docker", 49 * GB, 1000 * GB)]),
        [(ERR, "w1", "disk", "49 GB of 1.0 TB free", "sudo docker system df")],
    ),
    "a disk filling up": (
        at("w1", "facts", "disks", value=[disk("/var/lib/labfleet", 14 * GB, 100 * GB)]),
        [(WARN, "w1", "disk", "14 GB of 100 GB free (14%)", "du -xh")],
    ),
    "no more files": (
        at("w1", "facts", "disks", value=[disk("/var/lib/labfleet", 50 * GB, 100 * GB, 0.01)]),
        [(ERR, "w1", "disk", "room for only 1% of the files", "du -xh")],
    ),
    "a disk for reading only": (
        checked("w1", "disk", value="Read-only file system"),
        [
            (
                ERR,
                "w1",
                "disk",
                "nothing can be written below /var/lib/labfleet/worker: Read-only",
                f"{PROVISION} --limit w1",
            )
        ],
    ),
    "a full disk, on which nothing can be written of course": (
        all_of(
            at("w1", "facts", "disks", value=[disk("/var/lib/labfleet", 0, 100 * GB)]),
            checked("w1", "disk", value="No space left on device"),
        ),
        [(ERR, "w1", "disk", "has only 0 MB", "du -xh")],
    ),
    "little memory": (
        at("w1", "facts", "memory", value={"free": GB // 2, "total": 16 * GB}),
        [(WARN, "w1", "memory", "only 500 MB of its 16 GB memory is free", "labfleet_slots")],
    ),
    # ---- Docker and services ----
    "Docker stopped, and all that goes with it": (
        all_of(
            stopped("w1", "docker"),
            stopped("w1", "labfleet-worker"),
            stopped("w1", "labfleet-distcc"),
            at("w1", "facts", "docker", value={"root": "", "complaint": ""}),
            at("w1", "facts", "containers", value={}),
            at("w1", "facts", "images", value={}),
            at("w1", "facts", "checks", value={}),
        ),
        [(ERR, "w1", "Docker", "Docker does not run (it is inactive)", f"{START} docker")],
    ),
    "Docker stopped on the head, where Redis goes on": (
        all_of(
            stopped("head", "docker"),
            stopped("head", "labfleet-redis", active="failed", result="exit-code"),
            at("head", "facts", "docker", value={"root": "", "complaint": ""}),
            at("head", "facts", "listening", value={}),
            at("head", "facts", "checks", value={}),
        ),
        [
            (ERR, "head", "Docker", "Docker does not run", "ssh admin@192.0.2.11 sudo systemctl start docker"),
            (ERR, "head", "services", "labfleet-redis does not run (failed, exit-code)", "journalctl"),
        ],
    ),
    "no Docker": (
        all_of(
            stopped("w1", "docker", installed=False),
            at("w1", "facts", "docker", value={"root": "", "complaint": ""}),
            at("w1", "facts", "checks", value={}),
        ),
        [(ERR, "w1", "Docker", "Docker is not installed", f"{PROVISION} --limit w1")],
    ),
    "Docker hangs": (
        all_of(
            at("w1", "facts", "docker", value={"root": "", "complaint": "no answer within 5 s"}),
            at("w1", "facts", "checks", value={}),
        ),
        [(ERR, "w1", "Docker", "runs, but does not answer: no answer within 5 s", "sudo systemctl restart docker")],
    ),
    "a drained worker": (
        stopped("w1", "labfleet-worker"),
        [
            (
                ERR,
                "w1",
                "services",
                "labfleet-worker does not run: it was drained or stopped",
                f"{START} labfleet-worker",
            )
        ],
    ),
    "a worker that ends again and again": (
        stopped("w1", "labfleet-worker", active="activating", sub="auto-restart", result="exit-code", restarts=7),
        [(ERR, "w1", "services", "has ended (exit-code) and is started again, 7 times", f"{JOURNAL} labfleet-worker")],
    ),
    "a worker that has just ended for the first time": (
        stopped("w1", "labfleet-worker", active="activating", sub="auto-restart", result="signal"),
        [(ERR, "w1", "services", "labfleet-worker has ended (signal) and is started again", JOURNAL)],
    ),
    "a service that had to be started again just now": (
        stopped("w1", "labfleet-distcc", active="active", sub="running", restarts=3, seconds=30.0),
        [(WARN, "w1", "services", "labfleet-distcc had to be started again 3 times, the last time 30 s ago", JOURNAL)],
    ),
    "a service that had to be started again, long ago": (
        stopped("w1", "labfleet-distcc", active="active", sub="running", restarts=30, seconds=601.0),
        [],
    ),
    "a service that is missing": (
        stopped("head", "labfleet-hub", installed=False),
        [(ERR, "head", "services", "labfleet-hub is not installed", f"{PROVISION} --limit head")],
    ),
    # ---- image, code, compiler ----
    "an older image": (
        at("w1", "facts", "settings", "worker", "image", value="labfleet-worker:0123456789ab"),
        [(ERR, "w1", "image", "its image is 0123456789ab; that of the lab is 74fa46ea1619", f"{PROVISION} --limit w1")],
    ),
    "no image": (
        at("w1", "facts", "images", value={}),
        [(ERR, "w1", "image", f"the image {IMAGE} is not there", f"{PROVISION} --limit w1")],
    ),
    "another image of the same name": (
        all_of(
            at("w1", "facts", "images", "worker", "image", value="sha256:other"),
            at("w1", "facts", "containers", "labfleet-worker", "image", value="sha256:other"),
            at("w1", "facts", "containers", "labfleet-distcc", "image", value="sha256:other"),
        ),
        [(ERR, "w1", "image", "is not the one that the head calls so", f"{PROVISION} --limit w1")],
    ),
    "an older image still runs": (
        at("w1", "facts", "containers", "labfleet-worker", "image", value="sha256:older"),
        [(ERR, "w1", "image", "labfleet-worker still runs another image than 74fa46ea1619", f"{PROVISION} --limit w1")],
    ),
    "an older image of which Docker says that it is the same": (
        at("w1", "facts", "containers", "labfleet-worker", "image_name", value="labfleet-worker:0123456789ab"),
        [(ERR, "w1", "image", "labfleet-worker still runs another image than 74fa46ea1619", f"{PROVISION} --limit w1")],
    ),
    "an older image compiles": (
        at("w1", "facts", "containers", "labfleet-distcc", "image", value="sha256:older"),
        [(ERR, "w1", "image", "labfleet-distcc still runs another image", f"{PROVISION} --limit w1")],
    ),
    "the foreman runs an older image": (
        at("head", "facts", "containers", "labfleet-foreman", "image", value="sha256:older"),
        [(ERR, "head", "image", "labfleet-foreman still runs another image", PROVISION)],
    ),
    "older code": (
        at("w1", "facts", "containers", "labfleet-worker", "revision", value="0" * 40),
        [
            (
                WARN,
                "w1",
                "code",
                "labfleet-worker runs revision 0000000 of labfleet's code; deployed is",
                "labfleet upgrade",
            )
        ],
    ),
    "another compiler": (
        checked("w2", "toolchain", value="g++ 14.2.0"),
        [(ERR, "w2", "compiler", "it compiles with g++ 14.2.0, w1 with g++ 12.2.0", f"{PROVISION} --limit w2")],
    ),
    "the builder has another compiler: what it has counts": (
        checked("w1", "toolchain", value="g++ 14.2.0"),
        [(ERR, "w2", "compiler", "it compiles with g++ 12.2.0, w1 with g++ 14.2.0", f"{PROVISION} --limit w2")],
    ),
    "a worker that cannot look at itself": (
        at("w1", "facts", "checks", "worker", value={"complaint": "KeyError: 'check'"}),
        [
            (
                WARN,
                "w1",
                "self-check",
                "could not look at itself: KeyError: 'check'",
                "if its code is old: labfleet upgrade",
            )
        ],
    ),
    # ---- doors that should open ----
    "a changed password of Redis": (
        checked("w1", "redis", value=met(Met.REFUSED, "WRONGPASS invalid username-password pair")),
        [(ERR, "w1", "Redis", "Redis refuses the password of this worker: WRONGPASS", PROVISION)],
    ),
    "the foreman's password of Redis": (
        at("head", "facts", "checks", "head", "found", "redis", value=met(Met.REFUSED, "WRONGPASS")),
        [(ERR, "head", "Redis", "Redis refuses the password of this head: WRONGPASS", PROVISION)],
    ),
    "an old certificate": (
        checked("w1", "redis", value=met(Met.UNTRUSTED, "certificate has expired")),
        [
            (
                ERR,
                "w1",
                "Redis",
                "certificate of Redis does not convince this worker: certificate has expired",
                PROVISION,
            )
        ],
    ),
    "a firewall before Redis": (
        checked("w1", "redis", value=met(Met.CLOSED, "no answer within 4 s")),
        [
            (
                ERR,
                "w1",
                "Redis",
                "Redis cannot be reached from here, though it runs",
                "let w1 in, at the ports 7410 and 7413",
            )
        ],
    ),
    "an odd answer of Redis": (
        checked("w1", "redis", value=met(Met.SILENT, "LOADING")),
        [
            (
                ERR,
                "w1",
                "Redis",
                "no answer that makes sense: LOADING",
                "192.0.2.11 sudo journalctl -n 30 -u labfleet-redis",
            )
        ],
    ),
    "Redis stopped": (
        all_of(stopped("head", "labfleet-redis"), checked("w1", "redis", value=met(Met.CLOSED, "Connection refused"))),
        [(ERR, "head", "services", "labfleet-redis does not run", "systemctl start labfleet-redis")],
    ),
    "a key that the hub does not know": (
        checked("w1", "hub", value=met(Met.REFUSED)),
        [(ERR, "w1", "hub", "the log hub does not know this worker's key", "restart labfleet-worker")],
    ),
    "a hub with another key": (
        checked("w1", "hub", value=met(Met.UNTRUSTED)),
        [(ERR, "w1", "hub", "another key than the one that the foreman told", "restart labfleet-worker")],
    ),
    "a firewall before the hub": (
        checked("w1", "hub", value=met(Met.CLOSED, "no route to host")),
        [(ERR, "w1", "hub", "the log hub cannot be reached from here, though it runs: no route", "firewall of head")],
    ),
    "the hub stopped": (
        all_of(stopped("head", "labfleet-hub"), checked("w1", "hub", value=met(Met.CLOSED, "Connection refused"))),
        [(ERR, "head", "services", "labfleet-hub does not run", "systemctl start labfleet-hub")],
    ),
    "one key that the head does not take": (
        checked("w1", "stores", "results", value=met(Met.REFUSED, "Permission denied")),
        [(ERR, "w1", "stores", "this worker's SSH key for results: Permission denied", f"{PROVISION} --limit w1")],
    ),
    "no key that the head takes": (
        checked("w1", "stores", value=dict.fromkeys(("git", "products", "results"), met(Met.REFUSED, "denied"))),
        [(ERR, "w1", "stores", "SSH keys for git, products and results: denied", f"{PROVISION} --limit w1")],
    ),
    "a firewall before the head's SSH": (
        checked("w1", "stores", value=dict.fromkeys(("git", "products"), met(Met.CLOSED, "no route to host"))),
        [(ERR, "w1", "stores", "the head's SSH server does not answer this worker: no route to host", "firewall")],
    ),
    "a builder that distcc takes for a stranger": (
        checked("w1", "distcc", "192.0.2.13/2,lzo", value=met(Met.REFUSED)),
        [(ERR, "w1", "distcc", "distcc of w2 takes this builder for a stranger", f"{PROVISION} --limit w2")],
    ),
    "a firewall before distcc": (
        checked("w1", "distcc", "192.0.2.13/2,lzo", value=met(Met.CLOSED, "no route to host")),
        [(ERR, "w1", "distcc", "distcc of w2 cannot be used: no route to host", "does a firewall of w2 keep w1 out?")],
    ),
    "distcc of a machine that is off": (
        all_of(off("w2"), checked("w1", "distcc", "192.0.2.13/2,lzo", value=met(Met.CLOSED))),
        [(ERR, "w2", "login", "does not answer", "do this")],
    ),
    "distcc stopped": (
        all_of(stopped("w2", "labfleet-distcc"), checked("w1", "distcc", "192.0.2.13/2,lzo", value=met(Met.CLOSED))),
        [(ERR, "w2", "services", "labfleet-distcc does not run: it was stopped", "systemctl start labfleet-distcc")],
    ),
    "results that are not sent": (
        all_of(checked("w1", "unsent", value=12), checked("w1", "unsent_since", value=600.0)),
        [
            (
                WARN,
                "w1",
                "uploads",
                "12 finished runs wait to be sent to the head, for 10 min",
                f"{JOURNAL} labfleet-worker",
            )
        ],
    ),
    "results that are being sent": (
        all_of(checked("w1", "unsent", value=12), checked("w1", "unsent_since", value=599.0)),
        [],
    ),
    # ---- doors that should be closed ----
    "a foreman open to the network": (
        at("head", "facts", "listening", "7411", value=["::"]),
        [
            (
                ERR,
                "head",
                "ports",
                "port 7411 of labfleet-foreman is open to the network (::)",
                f"{PROVISION} --limit",
            )
        ],
    ),
    "a hub open to the network": (
        at("head", "facts", "listening", "7412", value=["127.0.0.1", "192.0.2.11"]),
        [
            (
                ERR,
                "head",
                "ports",
                "port 7412 of labfleet-hub is open to the network (192.0.2.11)",
                f"{PROVISION} --limit",
            )
        ],
    ),
    "a loopback interface of another kind": (at("head", "facts", "listening", "7412", value=["::1"]), []),
    "a foreman that does not listen": (
        at("head", "facts", "listening", "7411", value=[]),
        [(ERR, "head", "ports", "labfleet-foreman runs, but nothing listens at its port 7411", "journalctl")],
    ),
    "Redis open to anybody": (
        at("head", "strangers", "redis", value=Knock(Met.LET_IN, "without a password")),
        [(ERR, "head", "strangers", "anybody can use Redis, without a password", f"{PROVISION} --limit head")],
    ),
    "Redis without TLS": (
        at("head", "strangers", "redis", value=Knock(Met.UNTRUSTED)),
        [(ERR, "head", "strangers", "Redis takes passwords without TLS", f"{PROVISION} --limit head")],
    ),
    "distcc open to anybody": (
        at("w2", "strangers", "distcc", value=Knock(Met.LET_IN)),
        [(ERR, "w2", "strangers", "distcc compiles for strangers", f"{PROVISION} --limit w2")],
    ),
    "ports that a stranger cannot even reach": (
        all_of(
            at("head", "strangers", "redis", value=Knock(Met.CLOSED)),
            at("w2", "strangers", "distcc", value=Knock(Met.SILENT)),
        ),
        [],
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_each_trouble_is_found_where_it_is_and_answered(name: str) -> None:
    # Given three machines that are well but for one thing
    change, wanted = TROUBLES[name]
    # When what they told is judged
    found = problems(of_machines(looks(change), Commands()))
    # Then that is told, with its machine and what to do, and nothing else
    assert [(one.severity, one.machine, one.topic) for one in found] == [one[:3] for one in wanted]
    for one, (*_, message, advice) in zip(found, wanted, strict=True):
        assert message in one.message
        assert advice in one.advice


def test_what_is_well_is_told_as_checked() -> None:
    # Given machines that are well, when they are judged
    found = of_machines(looks(), Commands())
    # Then everything that was looked at is there, of each machine what it has
    topics = {name: {one.topic for one in found if one.machine == name} for name in (HERE, *NAMES)}
    both = {
        "login",
        "clock",
        "disk",
        "memory",
        "settings",
        "Docker",
        "services",
        "image",
        "code",
        "self-check",
        "Redis",
    }
    worker = both | {"compiler", "hub", "stores", "strangers", "uploads"}
    assert topics == {
        HERE: {"clock"},
        "head": both | {"ports", "strangers"},
        "w1": worker | {"distcc"},
        "w2": worker,
    }


def test_what_cannot_be_known_is_not_told_as_checked() -> None:
    # Given a worker on which Docker does not run, and whose ports nobody could try
    change, _ = TROUBLES["Docker stopped, and all that goes with it"]
    head, w1, w2 = looks(change)
    found = of_machines([head, dataclasses.replace(w1, strangers={}), w2], Commands())
    # When it is judged, then what follows from that is told as neither good nor bad
    topics = {one.topic for one in found if one.machine == "w1"}
    assert topics == {"login", "clock", "disk", "memory", "settings", "Docker"}
    # And of a lab of which nothing could be seen, nothing is told but that
    everything_off = of_machines(looks(all_of(*map(off, NAMES))), Commands())
    assert {(one.machine, one.topic) for one in everything_off} == {(name, "login") for name in NAMES}


def test_a_machine_that_cannot_be_reached_hides_nothing_of_the_others() -> None:
    # Given two machines, one of them off, and trouble on the other
    change = all_of(off("w2"), at("w1", "clock", value=600.0))
    # When they are judged, then both are told
    assert {one.machine for one in problems(of_machines(looks(change), Commands()))} == {"w1", "w2"}


def test_the_order_of_an_inventory_plays_no_part() -> None:
    # Given an inventory whose head comes last, and a worker that a firewall keeps out
    change = all_of(checked("w1", "redis", value=met(Met.CLOSED, "no answer")), checked("w2", "toolchain", value="odd"))
    # When its machines are judged
    redis, compiler = problems(of_machines(looks(change)[::-1], Commands()))[::-1]
    # Then the head is still the head, and the builder the builder
    assert "firewall of head" in redis.advice
    assert compiler.message == "it compiles with odd, w1 with g++ 12.2.0"


def test_without_a_builder_the_compiler_of_most_is_right() -> None:
    # Given four workers, the builder of which is off, and one of which compiles with something else
    head, w1, w2 = looks(off("w1"))
    odd = looks(checked("w2", "toolchain", value="odd"))[2]
    workers = [
        dataclasses.replace(one, machine=dataclasses.replace(w2.machine, name=name))
        for name, one in (("w2", odd), ("w3", w2), ("w4", w2))
    ]
    # When they are judged
    found = problems(of_machines([head, w1, *workers], Commands()))
    # Then it is that one which is told
    assert [(one.machine, one.message) for one in found if one.topic == "compiler"] == [
        ("w2", "it compiles with odd, w3 with g++ 12.2.0"),
    ]
    # And were that one the builder, then the others, however many they are
    builder = dataclasses.replace(workers[0], machine=dataclasses.replace(workers[0].machine, builder=True))
    found = problems(of_machines([head, *workers[1:], builder], Commands()))
    assert {one.machine for one in found if one.topic == "compiler"} == {"w3", "w4"}


# ---- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machines", "right"),
    [
        ([], 0),
        ([600], 0),  # one against one: this computer's counts
        ([-600], 0),
        ([600, 600], 600),  # two against one
        ([0, 600], 0),
        ([0, 0, 600], 0),
        ([-300, -300, -300], -300),
        ([-300, -300, 0, 0], 0),
    ],
)
def test_the_clocks_of_most_are_right(machines: list[int], right: int) -> None:
    # Given clocks of machines, and this computer's, when the right one is looked for, then it is that of most
    assert reference([Clock(offset - 0.1, offset + 0.1) for offset in machines]).middle == pytest.approx(right)


@pytest.mark.parametrize(("ahead", "severity"), [(2.0, None), (2.1, WARN), (-2.1, WARN), (60.0, WARN), (60.1, ERR)])
def test_clocks_are_judged_by_the_documented_bounds(ahead: float, severity: Severity | None) -> None:
    # Given a clock that is off by so many seconds, when it is judged, then as documented
    found = clock_problem(Clock(ahead, ahead), Clock(0, 0), "")
    assert [one.severity for one in found] == ([severity] if severity else [])


def test_a_slow_network_is_no_wrong_clock() -> None:
    # Given a machine whose answer took ten seconds
    clock = compared(asked=100.0, began=109.0, ended=109.5, answered=110.0)
    # When it is compared with one that answered at once, then its clock may well be the same
    assert clock.ahead_of(Clock(-0.01, 0.01)) == 0
    # And one that is ahead by more than that is told by how much it certainly is
    late = compared(asked=100.0, began=119.0, ended=119.5, answered=110.0)
    assert late.ahead_of(Clock(0, 0)) == 9.5
    assert Clock(0, 0).ahead_of(late) == -9.5


def test_the_clock_that_some_programs_are_told_counts() -> None:
    # Given a machine whose logins are told another time than its services
    (head, w1, w2) = looks()
    odd = Look(w1.machine, w1.facts, Clock(599.8, 600.2), w1.asked, w1.answered)
    # When it is judged, then that is found
    (found,) = problems(of_machines([head, odd, w2], Commands()))
    assert (found.machine, found.topic) == ("w1", "clock")
    assert found.severity is ERR


def test_a_clock_is_seen_also_where_sudo_asks() -> None:
    # Given a machine on which nothing more can be seen
    (head, w1, w2) = looks()
    behind = Look(w1.machine, clock=Clock(599.8, 600.2), trouble="sudo asks for a password", wants_password=True)
    # When it is judged, then both are told
    found = problems(of_machines([head, behind, w2], Commands()))
    assert [(one.machine, one.topic) for one in found] == [("w1", "login"), ("w1", "clock")]


# ---- advice ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "command"),
    [
        (Login("ssh", "w1"), "ssh w1 sudo systemctl start docker"),
        (Login("ssh", "w1", user="root"), "ssh root@w1 systemctl start docker"),
        (
            Login("ssh", "192.0.2.7", port=2222, user="admin", key_file="/home/a b/key"),
            "ssh -p 2222 -i '/home/a b/key' admin@192.0.2.7 sudo systemctl start docker",
        ),
        (Login("ssh", "w1", arguments=("-J", "gate")), "ssh -J gate w1 sudo systemctl start docker"),
        (Login("local", "localhost"), "sudo systemctl start docker"),
    ],
)
def test_advice_is_the_command_to_type(login: Login, command: str) -> None:
    # Given a way to a machine, when a command is to be executed there, then it can be copied
    one = Machine("w1", login, is_head=False, is_worker=True)
    assert Commands().on(one, "systemctl start docker") == command


def test_a_pipe_goes_on_there() -> None:
    # Given a command with a pipe, when it is to be executed on a machine, then all of it is
    assert Commands().on(machine("w1"), "du | sort") == "ssh admin@192.0.2.12 'sudo du | sort'"


def test_advice_names_the_inventory_that_the_person_named() -> None:
    # Given inventories that were named, when provision is advised, then it is told of them
    assert Commands(("my lab.yml",)).provision() == "labfleet provision --inventory 'my lab.yml'"
    assert Commands(("a", "b")).upgrade() == "labfleet upgrade --inventory a --inventory b"


@pytest.mark.parametrize(
    ("free", "total", "severity"),
    [
        (15, 100, None),
        (14.9, 100, WARN),
        (5, 100, WARN),
        (4.9, 100, ERR),
        (1.9, 3, ERR),  # less than 2 GB
        (2, 3, None),
        (0, 0, ERR),
    ],
)
def test_disks_are_judged_by_share_and_size(free: float, total: float, severity: Severity | None) -> None:
    # Given a disk, in GB, when it is judged, then it is by the documented bounds
    found = disk_problem("/", int(free * GB), int(total * GB), "")
    assert [one.severity for one in found] == ([severity] if severity else [])


# ---- what the foreman tells ------------------------------------------------------------------------------------------

REPORT = HostReport(
    host="w1",
    slots=2,
    load=1.0,
    memory_free=8 * GB,
    memory_total=16 * GB,
    disk_free=80 * GB,
    disk_total=100 * GB,
    image=IMAGE,
    revisions=("a" * 40,),
)


def told(*others: MachineStatus, revision: str = "a" * 40) -> Machines:
    well = [MachineStatus(replace(REPORT, host=name), name, 0, "ready") for name in ("w1", "w2")]
    return Machines((*well, *others), revision, "a" * 40)


def w3(state: str = "ready", reason: str = "", **changes: Any) -> MachineStatus:
    return MachineStatus(replace(REPORT, host="w3", **changes), "w3", 0, state, reason)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (w3(), None),
        (
            MachineStatus(None, "w3", 0, "away", "nothing was heard"),
            (ERR, "state", "away: nothing was heard", "switched on"),
        ),
        # Of one that is away, its last report says nothing.
        (w3("away", "nothing was heard for 9 s", disk_free=0), (ERR, "state", "for 9 s", "switched on")),
        (w3("draining", "it finishes"), (WARN, "state", "draining: it finishes", "systemctl start labfleet-worker")),
        (
            w3(image="labfleet-worker:0123"),
            (ERR, "image", "its image is 0123; that of the others", "labfleet provision"),
        ),
        (w3(revisions=("b" * 40,)), (WARN, "code", "runs revision bbbbbbb", "labfleet upgrade")),
        # Its slots take the new one after their runs.
        (w3(revisions=("a" * 40, "b" * 40)), None),
        (w3(disk_free=GB), (ERR, "disk", "its disk has only 1.0 GB", "administrator")),
        (w3(memory_free=GB // 10), (WARN, "memory", "only 100 MB", "labfleet_slots")),
        (w3(load=6.1), (WARN, "load", "its load is 6.1 with 2 slots", "labfleet_slots")),
        (w3(load=6.0), None),
    ],
)
def test_what_the_foreman_tells_is_judged(status: MachineStatus, wanted: tuple[Severity, str, str, str] | None) -> None:
    # Given two machines that are well, and a third one
    # When what the foreman tells of them is judged
    found = problems(of_foreman(told(status), "lab"))
    # Then what is wrong with the third one is told, and what to do
    assert [(one.severity, one.machine, one.topic) for one in found] == (
        [(wanted[0], "w3", wanted[1])] if wanted else []
    )
    if wanted:
        assert wanted[2] in found[0].message
        assert wanted[3] in found[0].advice


def test_a_foreman_with_older_code_is_told() -> None:
    # Given a foreman that has not taken the deployed code yet, when it is judged, then that is told of the lab
    (found,) = problems(of_foreman(told(revision="b" * 40), "anna@head"))
    assert (found.severity, found.machine, found.topic) == (WARN, "anna@head", "code")


def test_a_local_lab_has_neither_image_nor_revision() -> None:
    # Given a local lab, when it is judged, then it is well
    report = replace(REPORT, image="", revisions=("",))
    found = of_foreman(Machines((MachineStatus(report, "w1", 0, "ready"),), "", ""), "lab")
    assert not problems(found)
    assert {one.topic for one in found} == {"state", "disk", "memory", "load"}


def test_what_is_well_of_a_machine_is_told_as_checked() -> None:
    # Given machines that are well, when what the foreman tells is judged, then all of it counts as checked
    found = of_foreman(told(), "lab")
    topics = {name: {one.topic for one in found if one.machine == name} for name in ("lab", "w1", "w2")}
    of_each = {"state", "disk", "memory", "load", "image", "code"}
    assert topics == {"lab": {"code"}, "w1": of_each, "w2": of_each}


def test_a_machine_that_seems_well_but_is_not_heard_of() -> None:
    # Given a machine that was asked itself and is well, and of which the foreman hears nothing
    (found,) = problems(of_foreman(told(w3("away", "nothing was heard")), "lab", looked_at=["w3"]))
    # When that is judged, then it is told where to look on
    assert "journalctl -n 30 -u labfleet-worker" in found.advice


def test_what_a_machine_tells_itself_is_not_told_again_by_the_foreman() -> None:
    # Given a machine with a full disk and high load, that was asked itself, and one that was found off
    full = w3(disk_free=0, load=50.0)
    away = MachineStatus(None, "w4", 0, "away", "nothing was heard")
    # When what the foreman tells is judged, too
    found = problems(of_foreman(told(full, away), "lab", looked_at=["w3"], explained=["w4"]))
    # Then only what nobody else knows is told
    assert [(one.machine, one.topic) for one in found] == [("w3", "load")]


# ---- how it looks ----------------------------------------------------------------------------------------------------

FOUND = [
    Finding(Severity.OK, "head", "login"),
    Finding(Severity.OK, "w1", "login"),
    Finding(WARN, "w1", "disk", "14 GB free", "du"),
    Finding(ERR, "w1", "Docker", "Docker does not run", "ssh w1 start docker\nor look"),
]


def test_problems_are_told_by_machine_the_worst_first() -> None:
    # Given findings, when they are shown
    shown = view.text(FOUND)
    # Then problems are there with their advice, and the rest in short
    assert shown == (
        "w1\n"
        "  error: Docker does not run\n"
        "    ssh w1 start docker\n"
        "    or look\n"
        "  warning: 14 GB free\n"
        "    du\n"
        "all is well: head\n"
        "checked: login, disk, Docker\n"
        "1 error, 1 warning"
    )


def test_nothing_is_told_to_be_well_that_is_not() -> None:
    # Given machines that all have trouble, when it is shown, then nobody is told to be well
    assert "all is well" not in view.text(FOUND[1:])


def test_the_exit_code_tells_errors_alone() -> None:
    # Given findings, when the command ends, then errors make it fail and warnings do not
    assert view.exit_code(FOUND) is ExitCode.LAB_FAILED
    assert view.exit_code(FOUND[:3]) is ExitCode.DONE


def test_programs_get_all_of_it() -> None:
    # Given findings, when they are printed for programs, then everything is there, what is well too
    value = json.loads(view.as_json(FOUND))
    assert {key: value[key] for key in ("errors", "warnings", "exit_code")} == {
        "errors": 1,
        "warnings": 1,
        "exit_code": 3,
    }
    assert value["findings"][0] == {"severity": "ok", "machine": "head", "topic": "login", "message": "", "advice": ""}
    assert [one["severity"] for one in value["findings"]] == ["ok", "ok", "warning", "error"]


def test_what_a_machine_says_cannot_play_with_the_terminal() -> None:
    # Given a machine that says something odd
    change = checked("w1", "redis", value=met(Met.REFUSED, "\x1b[31mred\nalert " + 1000 * "x"))
    # When it is shown
    shown = view.text(of_machines(looks(change), Commands()))
    # Then it is one harmless line of a decent length
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) < 500
