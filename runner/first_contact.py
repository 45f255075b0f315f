"""Before anything is changed: can each machine be reached, is it the one that it was, and may labfleet work on it?

An unknown host key is a question, a changed one is refused.  What is wrong is seen from the state of things (ports,
known keys, the key that a machine shows); ssh's own words are only passed on.
"""

import getpass
import shlex
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import TextIO, TypeVar

from runner import host_keys, shell
from runner.errors import LabFailed, LabfleetError
from runner.host_keys import HostKey, Target
from runner.inventory import Login, Machine

#: Seconds for all that is looked at on a machine.
_LOOKING = 30

#: So often may a password be wrong.
_TRIES = 3

#: ssh's own exit status; every other is the remote command's.
_SSH_FAILED = 255

#: What is looked at.  The oldest Python that Ansible takes on a machine is 3.8.
_LOOK = """
for python in {interpreters}; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' </dev/null >/dev/null 2>&1 && break
    python=none
done
if ! command -v sudo >/dev/null; then sudo=missing
elif sudo -n true </dev/null >/dev/null 2>&1; then sudo=free
else sudo=password
fi
echo "labfleet $python $sudo"
"""
_INTERPRETERS = (
    "python3",
    "/usr/bin/python3",
    "/usr/libexec/platform-python",
    *(f"python3.{n}" for n in range(14, 7, -1)),
)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class State(Enum):
    """What came of the first contact."""

    OK = "ok"
    OFF = "off"
    UNKNOWN_KEY = "unknown host key"
    CHANGED_KEY = "changed host key"
    REFUSED = "login refused"
    NO_PYTHON = "no Python"
    NO_SUDO = "no sudo"


@dataclass(frozen=True)
class Contact:
    """What is known of a machine after the first contact."""

    machine: str
    state: State = State.OK
    #: What is wrong, and what to do.
    message: str = ""
    hint: str = ""
    #: The key that nobody has accepted yet: the machine's own, or that of a jump host before it.
    key: HostKey | None = None
    #: Does sudo ask for a password there?
    asks_password: bool = False


class Terminal:
    """Somebody who can be asked."""

    def __init__(self, answers: TextIO, questions: TextIO) -> None:
        self._answers, self._questions = answers, questions

    def ask(self, question: str) -> str:
        """Return the answer, in small letters; no answer is "no"."""
        self._questions.write(question)
        self._questions.flush()
        answer = self._answers.readline()
        return answer.strip().lower() if answer else "no"

    def secret(self, question: str) -> str:
        """Return an answer that is not shown."""
        return getpass.getpass(question, self._questions)

    def tell(self, text: str) -> None:
        """Show a line."""
        self._questions.write(f"{text}\n")


def terminal(stdin: TextIO, stderr: TextIO) -> Terminal | None:
    """Return the terminal of this process; None: nobody is there."""
    return Terminal(stdin, stderr) if stdin.isatty() and stderr.isatty() else None


# ---- one machine -------------------------------------------------------------------------------------------


def contact(machine: Machine) -> Contact:
    """Return what can be seen of a machine without changing anything.  Raises WrongUse for an odd SSH configuration."""
    login = machine.login
    if login.connection == "local":
        return _looked_at(machine, shell.run(["/bin/sh"], stdin=_script(login), check=False, seconds=_LOOKING))
    if login.connection not in ("ssh", "smart", "paramiko", "paramiko_ssh"):
        return Contact(machine.name)  # reached in a way that only Ansible knows
    found = _by_ssh(machine)
    if found.state is State.REFUSED and login.has_password:
        return Contact(machine.name, asks_password=not login.has_sudo_password)  # Ansible logs in with a password
    return found


def _by_ssh(machine: Machine) -> Contact:
    way = target(machine)
    there = host_keys.place(way)
    if there.is_direct and (wrong := _closed(there)):
        return Contact(machine.name, State.OFF, wrong, _SWITCH_ON)
    try:
        argv = way.command("/bin/sh", StrictHostKeyChecking="yes")
        done = shell.run(argv, stdin=_script(machine.login), check=False, seconds=_LOOKING)
    except TimeoutError:
        return Contact(machine.name, State.OFF, f"does not finish a simple command within {_LOOKING} s", _SWITCH_ON)
    if done.status != _SSH_FAILED:
        return _looked_at(machine, done)
    said = (done.complaint.splitlines() or ["ssh said nothing"])[-1]
    for hop in there.hops:
        # A jump host may refuse to do more than to pass on: that it lets nobody in says nothing.
        if (before := _diagnosis(hop, said)).state is not State.REFUSED:
            return replace(before, machine=machine.name, message=f"its jump host {hop.name}: {before.message}")
    return _diagnosis(way, said)


_SWITCH_ON = "switch it on, or take it out of the inventory"


def target(machine: Machine) -> Target:
    """Return the machine as Ansible would reach it."""
    login = machine.login
    said = {"Port": login.port, "User": login.user, "IdentityFile": login.key_file}
    # Of an option that is given twice, ssh takes the first; Ansible puts these first, too.
    options = [f"-o{name}={value}" for name, value in said.items() if value is not None]
    return Target(machine.name, login.address, (*options, *login.arguments))


def _script(login: Login) -> bytes:
    """Return what a shell on the machine executes; the words are few, and need no PATH but its own."""
    interpreters = (login.interpreter,) if login.interpreter and "/" in login.interpreter else _INTERPRETERS
    return _LOOK.format(interpreters=shlex.join(interpreters)).encode()


def _closed(there: host_keys.Place) -> str:
    """Return why no connection to a machine's SSH server is possible; empty: one is."""
    try:
        socket.create_connection((there.host, there.port), timeout=host_keys.PATIENCE).close()
    except socket.gaierror:
        return f"no machine is known by the name {there.host}"
    except ConnectionRefusedError:
        return f"nothing listens on port {there.port} of {there.host}"
    except OSError as error:
        return f"does not answer at {there.host}, port {there.port}: {error.strerror or error}"
    return ""


def _diagnosis(target: Target, said: str) -> Contact:
    """Return why ssh could not log in; ``said``: its own last words."""
    there = host_keys.place(target)
    if there.is_direct and (wrong := _closed(there)):
        return Contact(target.name, State.OFF, wrong, _SWITCH_ON)
    verdict, key = host_keys.verdict(target, there)
    if verdict is host_keys.Verdict.SILENT:
        return Contact(target.name, State.OFF, f"its SSH server does not answer: {said}", _SWITCH_ON)
    if verdict is host_keys.Verdict.KNOWN:
        copy = shlex.join(["ssh-copy-id", *target.options, target.destination])
        hint = f"does this work without a password?  {target.shown}\nif not, give the machine your key: {copy}"
        return Contact(target.name, State.REFUSED, f"refuses the login: {said}", hint)
    assert key is not None  # noqa: S101  for the type checker: the other verdicts come with a key
    if verdict is host_keys.Verdict.UNKNOWN:
        return Contact(target.name, State.UNKNOWN_KEY, f"has the unknown host key {key.fingerprint}", key=key)
    forget = "\n".join(shlex.join(["ssh-keygen", "-R", there.label, "-f", file]) for file in there.known_hosts[:1])
    return Contact(
        target.name,
        State.CHANGED_KEY,
        f"has another host key than it had: {key.fingerprint}",
        f"ask its administrator whether it was installed anew; only then forget the old key:\n{forget}",
    )


def _looked_at(machine: Machine, done: shell.Result) -> Contact:
    """Return what a machine's answer says."""
    answers = [
        line.split() for line in done.stdout.decode(errors="replace").splitlines() if line.startswith("labfleet ")
    ]
    if not answers or len(answers[-1]) != 3:
        message = f"its login runs no commands: {(done.complaint.splitlines() or ['it said nothing'])[-1]}"
        return Contact(machine.name, State.REFUSED, message, "take a login with an ordinary shell")
    _, python, sudo = answers[-1]
    if python == "none":
        hint = "install it there: apt install python3, or dnf install python3"
        return Contact(machine.name, State.NO_PYTHON, "has no Python 3.8 or newer", hint)
    if machine.login.become_method != "sudo" or machine.login.user == "root":
        return Contact(machine.name)  # Ansible does not use sudo
    if sudo == "missing":
        hint = "install sudo there, or log in as root and say so: ansible_user: root"
        return Contact(machine.name, State.NO_SUDO, "has no sudo", hint)
    return Contact(machine.name, asks_password=sudo == "password" and not machine.login.has_sudo_password)


# ---- all machines ------------------------------------------------------------------------------------------


def meet(
    machines: Sequence[Machine], asked: Terminal | None, *, accept_new: bool, again: str, note: Callable[[str], None]
) -> dict[str, Contact]:
    """Return the first contact with each machine, after the question whether unknown host keys are right.

    ``asked``: who answers; None: nobody is there.  ``accept_new``: all are right.  ``again``: the command that says
    so.  ``note`` is told which keys were accepted.  Raises LabFailed if there are unknown keys and nobody is asked.
    """
    found = dict(zip([machine.name for machine in machines], at_once(contact, machines), strict=True))
    refused: set[tuple[str, str]] = set()
    # Machines behind the same jump host are one question.  Once its key is accepted, their own are the next one.
    while unknown := {
        one.key.identity: one.key for one in found.values() if one.key and one.key.identity not in refused
    }:
        if accept_new:
            accepted = list(unknown.values())
        elif asked is None:
            raise _nobody_asked(list(unknown.values()), again)
        else:
            accepted = _asked(list(unknown.values()), asked)
        for key in accepted:
            host_keys.accept(key)
            note(f"{key.machine}: accepted the host key {key.fingerprint}, now in {key.file}")
        now_known = {key.identity for key in accepted}
        refused |= unknown.keys() - now_known
        waiting = [machine for machine in machines if (own := found[machine.name].key) and own.identity in now_known]
        found |= dict(zip([machine.name for machine in waiting], at_once(contact, waiting), strict=True))
    return found


def _nobody_asked(keys: Sequence[HostKey], again: str) -> LabfleetError:
    lines = [f"  {key.machine}, {key.label}: {key.fingerprint}" for key in keys]
    return LabFailed(
        "\n".join(["host keys are unknown here, and there is no terminal to ask on:", *lines]),
        f"on the machine, this prints the right one: ssh-keygen -lf /etc/ssh/ssh_host_{keys[0].kind}_key.pub\n"
        f"if they are right: {again}",
    )


def _asked(keys: Sequence[HostKey], asked: Terminal) -> list[HostKey]:
    """Return the keys that somebody says are right."""
    accepted: list[HostKey] = []
    for number, key in enumerate(keys):
        asked.tell(f"{key.machine} ({key.label}) has the host key {key.fingerprint}, which is unknown here.")
        answer = ""
        while answer not in ("yes", "no", "all"):
            answer = asked.ask(f"Is it right?  yes, no{', all of these' if number + 1 < len(keys) else ''}: ")
            answer = {"y": "yes", "n": "no", "a": "all", "all of these": "all"}.get(answer, answer)
        if answer == "all":
            return [*accepted, *keys[number:]]
        if answer == "yes":
            accepted.append(key)
    return accepted


def sudo_password(
    machines: Sequence[Machine], found: Mapping[str, Contact], asked: Terminal | None, *, given: str | None, again: str
) -> str | None:
    """Return the password that sudo asks for, tried out on each machine that does; None: none of them asks.

    ``given``: a password that came without a question.  Raises LabFailed if nobody can be asked, or for a wrong one.
    """
    asking = [machine for machine in machines if found[machine.name].asks_password]
    if not asking:
        return None
    names = ", ".join(machine.name for machine in asking)
    if given is None and asked is None:
        hint = f"it is read from standard input with --ask-sudo: {again}\nor let the login use sudo without: NOPASSWD"
        raise LabFailed(f"sudo asks for a password on {names}, and there is no terminal to ask on", hint)
    refusing: list[str] = []
    for _ in range(_TRIES):
        password = given if given is not None or asked is None else asked.secret("sudo password for lab machines: ")
        assert password is not None  # noqa: S101  for the type checker
        takes = at_once(partial(_takes, password), asking)
        refusing = [machine.name for machine, right in zip(asking, takes, strict=True) if not right]
        if not refusing:
            return password
        if given is not None or asked is None:
            break
        asked.tell(f"sudo refuses it on {', '.join(refusing)}.")
    hint = "for machines with passwords of their own: ansible_become_password, encrypted by ansible-vault; or NOPASSWD"
    raise LabFailed(f"sudo refuses the password on {', '.join(refusing)}", hint)


def _takes(password: str, machine: Machine) -> bool:
    """Say whether sudo takes the password; it goes by standard input, where no list of processes shows it."""
    if machine.login.has_password:
        return True  # logging in needs Ansible
    sudo = ["sudo", "-k", "-S", "-p", "", "true"]
    is_here = machine.login.connection == "local"
    argv = sudo if is_here else target(machine).command(shlex.join(sudo), StrictHostKeyChecking="yes")
    return shell.run(argv, stdin=f"{password}\n".encode(), check=False, seconds=_LOOKING).status == 0


def at_once(function: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Return what a function says of each item, asked at the same time.  Raises what the first one raises."""
    items = list(items)
    answers: dict[int, Answer] = {}
    errors: dict[int, BaseException] = {}

    def ask(number: int, item: Item) -> None:
        try:
            answers[number] = function(item)
        except BaseException as error:  # noqa: BLE001  it is raised again below
            errors[number] = error

    threads = [threading.Thread(target=ask, args=pair, daemon=True) for pair in enumerate(items)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[min(errors)]
    return [answers[number] for number in range(len(items))]
