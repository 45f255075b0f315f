"""Looks at the machines of an inventory: over SSH as Ansible reaches them, all at the same time, none for too long.

It is the ssh program that goes there, as in first_contact.py: it knows all that an inventory may say of the way.
"""

import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from runner import first_contact, host_keys, knock, shell
from runner.doctor import facts_of_machine
from runner.doctor.clocks import Clock, asked
from runner.doctor.facts import Facts, Look
from runner.doctor.findings import Commands
from runner.doctor.known import Known, known
from runner.errors import LabfleetError
from runner.first_contact import Contact, State, Terminal
from runner.inventory import Machine
from runner.knock import Knock
from runner.model import decode

#: Seconds after which nobody waits for a machine any longer.
DEADLINE = 20.0

#: What a machine's shell executes; ``{sudo}`` is how root is called, if the login is not root's.
_QUESTION = """
for python in {interpreters}; do command -v "$python" >/dev/null && break; done
[ "$(id -u)" = 0 ] && exec "$python" -
exec sudo {sudo} "$python" -
"""
_INTERPRETERS = ("python3", "/usr/libexec/platform-python")

Answer = TypeVar("Answer")

#: Is told the names of those that are waited for.
Watch = Callable[[Sequence[str]], None]


def look_at(machines: Sequence[Machine], commands: Commands, terminal: Terminal | None, watch: Watch) -> list[Look]:
    """Return what machines tell, in their order.

    ``terminal``: who knows sudo's password, where it asks for one; None: nobody is there.
    """
    looks = _asked(machines, commands, None, watch)
    if terminal and (behind_password := [look.machine for look in looks if look.wants_password]):
        contacts = {machine.name: Contact(machine.name, asks_password=True) for machine in behind_password}
        try:
            password = first_contact.sudo_password(behind_password, contacts, terminal, given=None, again="")
        except LabfleetError:
            password = None  # three times a wrong one: then it stays at what was found
        if password is not None:
            again = {look.machine.name: look for look in _asked(behind_password, commands, password, watch)}
            looks = [again.get(look.machine.name, look) for look in looks]
    lab = known(looks, commands)
    knocks = {look.machine.name: partial(_as_stranger, look.machine, lab) for look in looks if look.facts}
    met = at_once(knocks, 3 * knock.PATIENCE, watch)
    return [replace(look, strangers=met.get(look.machine.name, {})) for look in looks]


def at_once(questions: Mapping[str, Callable[[], Answer]], seconds: float, watch: Watch) -> dict[str, Answer]:
    """Return the answers to questions that are asked at the same time; those that take longer are missing.

    Raises what the first of them raised.
    """
    answers: dict[str, Answer] = {}
    errors: list[BaseException] = []
    news = threading.Condition()

    def ask(name: str, question: Callable[[], Answer]) -> None:
        try:
            answer = question()
        except BaseException as error:  # noqa: BLE001  it is raised again below
            with news:
                errors.append(error)
                news.notify()
            return
        with news:
            answers[name] = answer
            news.notify()

    for pair in questions.items():
        threading.Thread(target=ask, args=pair, daemon=True).start()
    deadline = time.monotonic() + seconds
    with news:
        while not errors and (waiting := [name for name in questions if name not in answers]):
            watch(waiting)
            if not news.wait(max(0.0, deadline - time.monotonic())):
                break
        if errors:
            raise errors[0]
        return dict(answers)


# ---- what a machine tells --------------------------------------------------------------------------------------------


def _asked(machines: Sequence[Machine], commands: Commands, password: str | None, watch: Watch) -> list[Look]:
    questions = {machine.name: partial(look, machine, commands, password) for machine in machines}
    found = at_once(questions, DEADLINE, watch)
    return [found.get(machine.name) or _late(machine) for machine in machines]


def _late(machine: Machine) -> Look:
    text = f"it takes connections, but has not told how it is within {DEADLINE:.0f} s"
    return Look(machine, trouble=text, hint="is it overloaded, or does it hang?  Look at its screen, or restart it")


def look(machine: Machine, commands: Commands, password: str | None) -> Look:
    """Return what a machine tells of itself."""
    try:
        contact = first_contact.contact(machine)
    except LabfleetError as error:
        return Look(machine, trouble=error.message, hint=error.hint)
    if contact.state is not State.OK:
        ask_first = f"{commands.provision(machine)}  shows the key, and asks whether it is right"
        return Look(machine, trouble=contact.message, hint=ask_first if contact.key else contact.hint)
    clock = asked(partial(_way, machine), DEADLINE)
    if contact.asks_password and password is None:
        return _behind_password(machine, clock)
    return _as_root(machine, commands, password, clock)


def _as_root(machine: Machine, commands: Commands, password: str | None, clock: Clock | None) -> Look:
    """Return what a machine tells root."""
    stdin = Path(facts_of_machine.__file__).read_bytes()
    if password is not None:
        stdin = f"{password}\n".encode() + stdin
    began = time.time()
    try:
        done = shell.run(
            _way(machine, _question(machine, password is not None)), stdin=stdin, check=False, seconds=DEADLINE
        )
    except TimeoutError:
        return _late(machine)
    answered = time.time()
    try:
        # A login's profile may print something of its own before.
        facts: Facts = decode(done.text.rpartition("\n")[2], Facts)
    except ValueError as error:
        if done.status and machine.login.has_sudo_password and password is None:
            return _behind_password(machine, clock)  # Ansible knows it, and nobody else
        said = (done.complaint.splitlines() or ["nothing"])[-1] if done.status else str(error)
        return Look(
            machine, trouble=f"cannot be looked at; it said: {said}", hint=commands.on(machine, "python3 --version")
        )
    return Look(machine, facts, clock, began, answered)


def _behind_password(machine: Machine, clock: Clock | None) -> Look:
    hint = "in a terminal, labfleet doctor asks for it; or let the login use sudo without a password: NOPASSWD"
    trouble = "sudo asks for a password there, so nothing more can be seen"
    return Look(machine, trouble=trouble, hint=hint, wants_password=True, clock=clock)


def _way(machine: Machine, command: str) -> list[str]:
    """Return the command line that executes a command there, as who logs in."""
    if machine.login.connection == "local":
        return ["sh", "-c", command]
    return first_contact.target(machine).command(command, StrictHostKeyChecking="yes")


def _question(machine: Machine, with_password: bool) -> str:
    """Return the command that executes a Python program as root; the program comes on standard input."""
    own = [machine.login.interpreter] if machine.login.interpreter else []
    interpreters = shlex.join([*own, *_INTERPRETERS])
    # Without -k, sudo might not read the password, and Python would.
    script = _QUESTION.format(interpreters=interpreters, sudo="-k -S -p ''" if with_password else "-n")
    return shlex.join(["sh", "-c", script])


# ---- what a stranger meets -------------------------------------------------------------------------------------------


def _as_stranger(machine: Machine, lab: Known) -> dict[str, Knock]:
    """Return what this computer, which is no machine of the lab, meets at a machine's ports."""
    if machine.login.connection == "local":
        return {}
    place = host_keys.place(first_contact.target(machine))
    if not place.is_direct:  # behind a jump host, its address may be another machine's here
        return {}
    met = {}
    if machine.is_head and lab.redis_port:
        met["redis"] = knock.redis_as_stranger(place.host, lab.redis_port)
    offer = lab.offer(machine.name)
    if offer and _own_address(place.host) not in lab.builders:
        met["distcc"] = knock.distcc(place.host, knock.distcc_place(offer.distcc)[1])
    return met


def _own_address(host: str) -> str:
    """Return the address under which a machine sees this computer; nothing is sent for that."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, knock.DISTCC_PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            own: str = probe.getsockname()[0]
            return own
    except OSError:
        return ""
