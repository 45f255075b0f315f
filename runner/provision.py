"""Machines become a lab, get new code, and become ordinary machines again: playbooks, carried out by ansible-runner.

First everything is looked at (inventory, host keys, logins, sudo), and nothing is changed before all of that is right.
A worker that is off is left out and told of at the end; without the head there is nothing to do.
"""

import json
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from runner import ansible, code_bundle, first_contact, inventory, playbook
from runner.errors import LabFailed
from runner.first_contact import Contact, Terminal
from runner.inventory import Lab, Machine
from runner.paths import SOURCE
from runner.playbook import Happening, MachineOutcome, Outcome, Progress, State

PLAYBOOKS = SOURCE / "playbooks"

#: So many machines are worked on at once.
_MOST_FORKS = 20

#: Seconds between two looks at the view and at whether the person has had enough.
_TICK = 0.25

#: Seconds that Ansible gets to end by itself.
_ENDING = 15.0


class View(Protocol):
    """Shows what happens; :mod:`runner.report.machines` has some."""

    def note(self, text: str) -> None:
        """Tell something that is no happening of a playbook."""

    def happened(self, happening: Happening) -> None:
        """Take notice of something that has happened."""

    def tick(self, progress: Progress) -> None:
        """Show where the playbook stands; called about four times a second."""

    def close(self) -> None:
        """Leave the terminal as it was; nothing may follow."""


@dataclass(frozen=True)
class Order:
    """What the person asks for."""

    inventories: tuple[str, ...] = ()
    #: Machines, as Ansible's patterns; empty: all.
    limit: str = ""
    #: Only tasks with these marks; empty: all.
    tags: str = ""
    #: Change nothing; say what would be changed.
    check: bool = False
    #: Show how files differ.
    diff: bool = False
    #: Take unknown host keys for right.
    accept_new: bool = False
    #: Read the password for sudo from standard input where there is no terminal.
    ask_sudo: bool = False


def provision(order: Order, view: View, asked: Terminal | None) -> tuple[Lab, Outcome]:
    """Make the machines a lab.

    Raises WrongUse for mistakes in the inventory, LabFailed if the head cannot be reached or nobody is there to answer
    a question; then no machine was changed.
    """
    return _carry_out(order, view, asked, "site.yml")


def upgrade(order: Order, view: View, asked: Terminal | None) -> tuple[Lab, Outcome]:
    """Bring this very code to a lab that runs; raises what :func:`provision` raises."""
    return _carry_out(order, view, asked, "upgrade.yml")


def teardown(order: Order, view: View, asked: Terminal | None, *, data: bool) -> tuple[Lab, Outcome]:
    """Remove what provisioning has put on the machines, with ``data`` also the campaigns' data.

    No machine needs another one for that.  Raises what :func:`provision` raises, but a head may be off.
    """
    return _carry_out(order, view, asked, "teardown.yml", needs_head=False, variables={"labfleet_teardown_data": data})


def _carry_out(
    order: Order,
    view: View,
    asked: Terminal | None,
    name: str,
    *,
    needs_head: bool = True,
    variables: Mapping[str, Any] | None = None,
) -> tuple[Lab, Outcome]:
    lab = inventory.load(order.inventories)
    machines = _concerned(lab, order.limit, needs_head=needs_head)
    if lab.others:
        view.note(f"in neither head nor workers, so left as they are: {', '.join(lab.others)}")
    found = first_contact.meet(
        machines, asked, accept_new=order.accept_new, again=_again("--accept-new"), note=view.note
    )
    reached = [machine for machine in machines if found[machine.name].state is first_contact.State.OK]
    absent = [found[machine.name] for machine in machines if machine not in reached]
    if needs_head and lab.head not in reached:
        head = found[lab.head.name]
        raise LabFailed(f"the head {head.machine} {head.message}\nnothing was changed on any machine", head.hint)
    for contact in absent:
        view.note(f"{contact.machine}: {contact.state.value}: {contact.message}; the others go on")
    if not reached:
        raise LabFailed("no machine can be reached", absent[0].hint)
    password = _password(reached, found, order, asked)
    with _private_folder() as folder, _Ending() as ending:
        told = {**_code(folder), **(variables or {})}
        play = _Play(PLAYBOOKS / name, lab, reached, order, told, password)
        progress = play.run(folder, view, ending)
    essential = [lab.head.name] if needs_head else []
    outcomes = {**playbook.outcomes(progress, essential), **{one.machine: _absent(one) for one in absent}}
    outcome = Outcome(
        tuple(outcomes[machine.name] for machine in machines),
        is_check=order.check,
        is_interrupted=ending.is_wanted and progress.ended is None,
    )
    if progress.ended is None and not outcome.is_interrupted:
        raise LabFailed("\n".join([f"Ansible could not carry out {name}:", *progress.complaints]))
    return lab, outcome


def _concerned(lab: Lab, limit: str, *, needs_head: bool) -> tuple[Machine, ...]:
    """Return the machines to work on; the head is one of them, for it lets the others in."""
    if not limit:
        return lab.machines
    chosen = inventory.limited(lab, limit)
    return tuple(machine for machine in lab.machines if machine in chosen or (needs_head and machine.is_head))


def _password(
    machines: Sequence[Machine], found: Mapping[str, Contact], order: Order, asked: Terminal | None
) -> str | None:
    """Return the password for sudo, if any machine asks for one."""
    given = None
    if order.ask_sudo and asked is None and any(contact.asks_password for contact in found.values()):
        given = sys.stdin.readline().rstrip("\n")
    return first_contact.sudo_password(machines, found, asked, given=given, again=_again("--ask-sudo"))


def _absent(contact: Contact) -> MachineOutcome:
    """Return what came of a machine that nothing was done on."""
    failure = playbook.Failure("first contact", contact.message)
    state = State.OFF if contact.state is first_contact.State.OFF else State.FAILED
    return MachineOutcome(contact.machine, state, failure=failure, hint=contact.hint)


def _again(option: str) -> str:
    """Return this process's command with an option more."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return shlex.join(words if option in words else [*words, option])


def _code(folder: Path) -> dict[str, Any]:
    """Return what the playbooks are told of labfleet's own files."""
    bundle = code_bundle.make(folder)
    lock = SOURCE / code_bundle.LOCK
    return {
        "labfleet_source": str(SOURCE),
        "labfleet_code_bundle": str(bundle.file),
        "labfleet_code_revision": bundle.revision,
        "labfleet_lock": str(lock),
        "labfleet_lock_sha256": sha256(lock.read_bytes()).hexdigest(),
    }


# ---- ansible-runner ----------------------------------------------------------------------------------------


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Yield a folder that nobody else can read, preferably in memory; it is gone afterwards, with all in it."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    where = runtime if os.access(runtime, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="labfleet-provision-", dir=where) as folder:
        yield Path(folder).resolve()


class _Ending:
    """Turns Ctrl-C and other signals to end into a wish, while a playbook runs.

    Ansible is in a process group of its own and does not hear of them; killed, it would leave half of its processes
    at work.  So it is asked to end, in its own way, and only after a while made to.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._count = 0
        self._deadline = float("inf")
        #: Ansible's process, as soon as it is known.
        self.pid: int | None = None

    @property
    def is_wanted(self) -> bool:
        """Has somebody asked for the end?"""
        return self._count > 0

    def is_overdue(self) -> bool:
        """Has Ansible been asked and not ended, or is it asked a second time?"""
        return self._count > 1 or time.monotonic() > self._deadline

    def __enter__(self) -> "_Ending":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        self._count += 1
        if self._count > 1:
            return
        self._deadline = time.monotonic() + (_ENDING if self.pid else 0)
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGINT)
            except ProcessLookupError:
                pass


class _Play:
    """One playbook, carried out once."""

    def __init__(
        self,
        file: Path,
        lab: Lab,
        machines: Sequence[Machine],
        order: Order,
        variables: Mapping[str, Any],
        password: str | None,
    ) -> None:
        self._file, self._lab, self._machines = file, lab, machines
        self._order, self._variables, self._password = order, variables, password
        self._progress = Progress({machine.name: playbook.At() for machine in machines})
        self._broken: Exception | None = None
        self._told = False

    def run(self, folder: Path, view: View, ending: _Ending) -> Progress:
        """Carry the playbook out and return where it ended.

        A view that breaks is not shown any more, but the machines are finished; then its exception is raised.
        """
        import ansible_runner

        temporary, data = folder / "tmp", folder / "runner"
        temporary.mkdir()
        data.mkdir()
        secret = self._written(folder / "sudo", self._password)
        options = ["--extra-vars", f"@{self._written(folder / 'variables.json', json.dumps(dict(self._variables)))}"]
        options += ["--become-password-file", str(secret)] if secret else []
        options += ["--check"] * self._order.check + ["--diff"] * self._order.diff

        def handle(event: dict[str, Any]) -> bool:
            if ending.pid is None and event.get("pid"):
                ending.pid = event["pid"]
                if secret:  # it has been read before the first event
                    secret.unlink(missing_ok=True)
            if happening := playbook.decode(event):
                self._progress = self._progress.after(happening)
                self._shown(lambda: view.happened(happening))
            return False  # nothing of it is kept

        def tick() -> bool:
            if ending.is_wanted and not self._told:
                self._told = True
                self._shown(lambda: view.note("ending after what is under way; once more ends at once"))
            self._shown(lambda: view.tick(self._progress))
            return ending.is_overdue()

        ansible_runner.run(
            private_data_dir=str(data),
            project_dir=str(Path.cwd()),  # where ansible.cfg is looked for
            playbook=str(self._file),
            inventory=list(self._lab.sources),
            limit=",".join(machine.name for machine in self._machines),
            forks=min(len(self._machines), _MOST_FORKS),
            cmdline=shlex.join(options),
            tags=self._order.tags or None,
            envvars=ansible.variables(temporary),
            settings={"pexpect_timeout": _TICK, "suppress_output_file": True},
            quiet=True,
            event_handler=handle,
            cancel_callback=tick,
        )
        if self._broken is not None:
            raise self._broken
        return self._progress

    def _shown(self, show: Callable[[], None]) -> None:
        """Show something; ansible-runner would give up all machines for an exception."""
        if self._broken is None:
            try:
                show()
            except Exception as error:  # noqa: BLE001  whatever it is, it is raised when the machines are done
                self._broken = error

    @staticmethod
    def _written(file: Path, text: str | None) -> Path | None:
        """Return a file that only this person can read, with a text in it; None: there is no text."""
        if text is None:
            return None
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as private:
            private.write(text)
        return file
