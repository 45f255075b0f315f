"""What can be seen from this computer: its own programs, and every step of its way to the lab that was chosen."""

import os
import shutil
from collections.abc import Collection, Mapping

import zmq

from runner import first_contact, knock, labs, local_lab, remote_lab
from runner.doctor.clocks import HERE as THIS_CLOCK
from runner.doctor.clocks import asked, clock_problem
from runner.doctor.findings import HERE, Finding, Problem, disk_problem, error, findings
from runner.doctor.foreman_view import of_foreman
from runner.errors import LabfleetError
from runner.first_contact import State
from runner.host_keys import Target
from runner.inventory import Login, Machine
from runner.knock import Knock, Met
from runner.lab import ForemanClient
from runner.messages import AskMachines, Machines
from runner.paths import home

#: Seconds for an answer of the foreman, and of the head's clock.
PATIENCE = 8.0

#: What is called here, and the packages of it.
_ALWAYS = {"git": "git"}
_REMOTE = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "rsync": "rsync"}
_LOCAL = {"redis-server": "redis-server", "setpriv": "util-linux", "choom": "util-linux"}


def this_computer(*, is_remote: bool) -> list[Finding]:
    """Return what is missing on this computer."""
    wanted = {**_ALWAYS, **(_REMOTE if is_remote else _LOCAL)}
    folder = next(path for path in (home(), *home().parents) if path.exists())
    there = os.statvfs(folder)
    free, total = there.f_bavail * there.f_frsize, there.f_blocks * there.f_frsize
    advice = f"du -xh --max-depth=2 {folder} | sort -h | tail -n 15  shows what takes it"
    return [
        *findings(HERE, "programs", _missing(wanted)),
        *findings(HERE, "disk", disk_problem(f"the disk of {folder}", free, total, advice)),
    ]


def _missing(wanted: Mapping[str, str]) -> list[Problem]:
    return [
        error(f"{program} is not installed", f"sudo apt install {package}")
        for program, package in wanted.items()
        if shutil.which(program) is None
    ]


# ---- a lab behind a head ---------------------------------------------------------------------------------------------


def remote(name: str, looked_at: Collection[str], explained: Collection[str]) -> list[Finding]:
    """Return what is wrong on the way to the lab whose head is reached by this SSH name, and in it.

    ``looked_at``: machines that were asked themselves; ``explained``: those of which it is said what is wrong.
    """
    try:
        contact = first_contact.contact(Machine(name, Login("ssh", name), is_head=True, is_worker=False))
    except LabfleetError as wrong:
        return findings(name, "login", [error(wrong.message, wrong.hint)])
    if contact.state in (State.OFF, State.CHANGED_KEY, State.REFUSED, State.UNKNOWN_KEY):
        accept = f"if that is right, accept it with: ssh -o StrictHostKeyChecking=ask {name} true"
        ask = "is the machine on, and is its name right?  The lab's administrator knows"
        hint = accept if contact.key else ask if contact.state is State.OFF else contact.hint
        return findings(name, "login", [error(contact.message, hint)])
    return [*findings(name, "login", []), *_clock(name), *_services(name, looked_at, explained)]


def _clock(name: str) -> list[Finding]:
    clock = asked(Target(name, name).command, PATIENCE)
    if clock is None:
        return []
    return findings(name, "clock", clock_problem(clock, THIS_CLOCK, "one of the two is wrong; see: timedatectl"))


def _services(name: str, looked_at: Collection[str], explained: Collection[str]) -> list[Finding]:
    try:
        lab = remote_lab.connect(name)
    except LabfleetError as wrong:
        return findings(name, "head", [error(wrong.message, wrong.hint)])
    try:
        assert lab.access is not None  # noqa: S101  for the type checker: a remote lab has keys
        foreman, hub = knock.service(lab.foreman, lab.access), knock.service(lab.hub, lab.access)
        found = [
            *findings(name, "head", []),
            *findings(name, "foreman", _door("foreman", foreman, name)),
            *findings(name, "hub", _door("hub", hub, name)),
        ]
        if foreman.met is Met.LET_IN:
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            try:
                found += _told(ForemanClient(context, lab), name, looked_at, explained)
            finally:
                context.destroy(linger=0)
        return found
    finally:
        lab.close()


def _door(service: str, knock: Knock, name: str) -> list[Problem]:
    """Return what is wrong with a service that people are let in to."""
    restart = f"the administrator looks on {name}: journalctl -n 30 -u labfleet-{service}"
    match knock.met:
        case Met.LET_IN:
            return []
        case Met.REFUSED:
            return [error(f"the {service} does not let you in: {knock.said}", restart)]
        case Met.UNTRUSTED:
            return [error(f"the {service} is not the one that the head tells of: {knock.said}", restart)]
        case _:
            return [error(f"the {service} cannot be reached: {knock.said}", restart)]


def _told(
    client: ForemanClient, name: str, looked_at: Collection[str] = (), explained: Collection[str] = ()
) -> list[Finding]:
    """Return what the foreman tells of the machines."""
    try:
        answer = client.ask(AskMachines(), patience=PATIENCE)
    except LabfleetError as wrong:
        return findings(name, "foreman", [error(wrong.message, wrong.hint)])
    assert isinstance(answer, Machines)  # noqa: S101  no other is an answer to that
    return of_foreman(answer, name, looked_at, explained)


# ---- the lab on this computer ----------------------------------------------------------------------------------------


def local() -> list[Finding]:
    """Return what is wrong with the local lab; one that does not run is well."""
    if local_lab.idle():
        return findings(HERE, "lab", [])
    try:
        with labs.connected() as (context, lab):
            return _told(ForemanClient(context, lab), HERE)
    except LabfleetError as wrong:
        return findings(HERE, "lab", [error(wrong.message, wrong.hint)])
