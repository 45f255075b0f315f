"""What a playbook does, as values: events of ansible-runner → happenings → progress → what came of each machine.

Pure functions; ansible-runner's events are documented at
https://ansible.readthedocs.io/projects/runner/en/stable/intro/#runnerartifactevents.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

#: So many lines of what a failed command printed are told.
_TAIL = 12

#: Ansible's words before those of the module.
_PREFIXES = re.compile(r"^(?:Task failed|Module failed|Action failed): ")

#: Colours that a program has given to what it printed.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

#: Characters of a command that are told.
_LONGEST = 160

#: What it says of commands, whose exit status tells more.
_SAYS_NOTHING = ("non-zero return code", "One or more items failed", "All items completed")


@dataclass(frozen=True)
class Failure:
    """Why a machine is not as it should be."""

    task: str
    #: One sentence, and further lines.
    message: str
    details: tuple[str, ...] = ()


# ---- happenings --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskStarted:
    """A task begins, on one machine after the other or on all at once."""

    play: str
    task: str


@dataclass(frozen=True)
class Began:
    """A machine begins a task."""

    machine: str
    task: str


@dataclass(frozen=True)
class Did:
    """A machine is done with a task, or skips it."""

    machine: str
    task: str
    changed: bool = False
    skipped: bool = False
    #: Cores, where the task was to ask for them.
    cores: int | None = None


@dataclass(frozen=True)
class Failed:
    """A task failed on a machine; ``ignored``: that is no harm."""

    machine: str
    failure: Failure
    ignored: bool = False
    #: Did it change something all the same?
    changed: bool = False


@dataclass(frozen=True)
class Lost:
    """A machine cannot be reached any more."""

    machine: str
    failure: Failure


@dataclass(frozen=True)
class Differs:
    """How a file differs from what it should be, for ``--diff``."""

    machine: str
    task: str
    text: str


@dataclass(frozen=True)
class Said:
    """Ansible says something that belongs to no task: a warning, or why it cannot begin."""

    text: str
    is_warning: bool


@dataclass(frozen=True)
class Ended:
    """The playbook is over: machines with failures that were not rescued, those that were lost, and the counts."""

    failed: frozenset[str]
    lost: frozenset[str]
    ok: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)


Happening = TaskStarted | Began | Did | Failed | Lost | Differs | Said | Ended


def decode(event: Mapping[str, Any]) -> Happening | None:
    """Return what an event of ansible-runner says, or None if it is nothing of interest."""
    data: Mapping[str, Any] = event.get("event_data") or {}
    machine, task, result = str(data.get("host", "")), _task(data), data.get("res") or {}
    found: Happening | None = None
    match event.get("event"):
        case "playbook_on_task_start":
            found = TaskStarted(str(data.get("play", "")), task)
        case "runner_on_start":
            found = Began(machine, task)
        case "runner_on_ok":
            # Of a task that may hold secrets, only the line on the terminal tells.
            changed = result.get("changed", str(event.get("stdout")).startswith("changed:"))
            found = Did(machine, task, changed=bool(changed), cores=_cores(result))
        case "runner_on_skipped":
            found = Did(machine, task, skipped=True)
        case "runner_on_failed":
            found = Failed(
                machine, failure(task, result), bool(data.get("ignore_errors")), changed=bool(result.get("changed"))
            )
        case "runner_on_unreachable":
            found = Lost(machine, failure(task, result))
        case "runner_on_file_diff" if text := _lines(event.get("stdout")):
            found = Differs(machine, task, "\n".join(text))
        case "playbook_on_stats":
            found = Ended(
                failed=frozenset(data.get("failures") or ()),
                lost=frozenset(data.get("dark") or ()),
                ok=data.get("ok") or {},
                changed=data.get("changed") or {},
            )
        case "warning" | "system_warning" | "error" | "verbose" as kind if text := _lines(event.get("stdout")):
            found = Said("\n".join(text), is_warning="warning" in kind or text[0].startswith("[WARNING]"))
    return found


def _task(data: Mapping[str, Any]) -> str:
    """Return a task's name, led by that of its role."""
    name, role = str(data.get("task", "")), data.get("role")
    return f"{role}: {name}" if role else name


def _cores(result: Mapping[str, Any]) -> int | None:
    if "_ansible_delegated_vars" in result:
        return None  # another machine was asked
    facts = result.get("ansible_facts") or {}
    cores = facts.get("ansible_processor_nproc") or facts.get("processor_nproc")
    return cores if isinstance(cores, int) else None


def _lines(text: Any) -> list[str]:
    """Return the lines of what came from a terminal, without empty ones at both ends."""
    return _COLOURS.sub("", str(text or "")).replace("\r\n", "\n").strip("\n").splitlines()


# ---- failures ----------------------------------------------------------------------------------------------


def failure(task: str, result: Mapping[str, Any]) -> Failure:
    """Return why a task failed, from its result: the module's message, else the command and what it printed last."""
    items = [item for item in result.get("results") or () if isinstance(item, dict) and item.get("failed")]
    if not items:
        message, details = _told(result)
        return Failure(task, message, tuple(details))
    told = [(_label(item), *_told(item)) for item in items]
    (label, message, details), others = told[0], told[1:]
    return Failure(task, f"{label}{message}", (*details, *(f"{name}{said}" for name, said, _ in others)))


def _label(item: Mapping[str, Any]) -> str:
    label = item.get("_ansible_item_label", item.get("item"))
    return "" if label is None else f"{_shown(label)}: "


def _told(result: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return a result's message in one line, and further lines."""
    if "censored" in result:
        return "failed; what it said is hidden, for it may hold a secret", []
    message = _PREFIXES.sub("", _PREFIXES.sub("", str(result.get("msg") or "").strip()))
    printed = list(_printed(result))
    if message in ("", *_SAYS_NOTHING) and "rc" in result:
        last = f": {printed[-1]}" if printed else ""
        return f"`{_shown(result.get('cmd', 'command'))}` ended with status {result['rc']}{last}", printed[:-1]
    first, *more = message.splitlines() or ["failed without a word"]
    # Package managers put all that they printed into the message, too.
    return first, [*more[-_TAIL:], *(line for line in printed if line not in message)]


def _shown(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _printed(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the end of what a command, or a module that broke down, printed: errors if there are any."""
    for name in ("stderr", "module_stderr", "stdout", "module_stdout"):
        lines = [line for line in _lines(result.get(name)) if line.strip()]
        if lines:
            yield from lines[-_TAIL:]
            return


# ---- progress ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class At:
    """Where one machine is in the playbook."""

    task: str = ""
    is_busy: bool = False
    ok: int = 0
    changed: int = 0
    failure: Failure | None = None
    #: Did it begin another task after that?  Then the failure was rescued, or the machine tidies up.
    went_on: bool = False
    is_lost: bool = False
    cores: int | None = None


@dataclass(frozen=True)
class Progress:
    """Where a playbook stands; every happening makes a new one."""

    machines: Mapping[str, At]
    play: str = ""
    task: str = ""
    #: What Ansible said that belongs to no task and is no warning.
    complaints: tuple[str, ...] = ()
    ended: Ended | None = None

    def after(self, happening: Happening) -> "Progress":
        """Return where the playbook stands after something has happened."""
        new = self
        match happening:
            case TaskStarted(play=play, task=task):
                new = replace(self, play=play, task=task)
            case Began(machine=machine, task=task):
                went_on = self.at(machine).failure is not None
                new = self._with(machine, task=task, is_busy=True, went_on=went_on)
            case Did():
                new = self._done(happening)
            case Failed(machine=machine, ignored=True, changed=changed):
                at = self.at(machine)
                new = self._with(machine, is_busy=False, ok=at.ok + 1, changed=at.changed + changed)
            case Failed(machine=machine, failure=why):
                new = self._with(machine, is_busy=False, failure=why, went_on=False)
            case Lost(machine=machine, failure=why):
                new = self._with(machine, is_busy=False, failure=why, is_lost=True)
            case Said(text=text, is_warning=False):
                new = replace(self, complaints=(*self.complaints, text))
            case Ended():
                new = self._closed(happening)
        return new

    def at(self, machine: str) -> At:
        """Return where a machine is."""
        return self.machines.get(machine, At())

    def _with(self, machine: str, **changes: Any) -> "Progress":
        return replace(self, machines={**self.machines, machine: replace(self.at(machine), **changes)})

    def _done(self, did: Did) -> "Progress":
        at = self.at(did.machine)
        return self._with(
            did.machine,
            is_busy=False,
            ok=at.ok + (not did.skipped),
            changed=at.changed + did.changed,
            cores=did.cores or at.cores,
        )

    def _closed(self, ended: Ended) -> "Progress":
        """Forget the failures that were rescued: only the end tells which those are."""
        bad = ended.failed | ended.lost
        machines = {
            name: replace(
                at,
                is_busy=False,
                failure=at.failure if name in bad else None,
                ok=ended.ok.get(name, 0),
                changed=ended.changed.get(name, 0),
            )
            for name, at in self.machines.items()
        }
        return replace(self, machines=machines, ended=ended)


# ---- outcome -----------------------------------------------------------------------------------------------


class State(Enum):
    """What came of a machine."""

    READY = "ready"
    FAILED = "failed"
    #: It was not there, or nobody could log in, or it went away in the middle.
    OFF = "off"
    #: The playbook ended before this machine was through.
    UNFINISHED = "not finished"


@dataclass(frozen=True)
class MachineOutcome:
    """What came of one machine."""

    machine: str
    state: State
    ok: int = 0
    changed: int = 0
    failure: Failure | None = None
    #: What the person can do.
    hint: str = ""
    cores: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of all machines, in the inventory's order."""

    machines: tuple[MachineOutcome, ...] = field(default_factory=tuple)
    #: Nothing was changed: it was only looked at what would be.
    is_check: bool = False
    #: The person ended it.
    is_interrupted: bool = False

    @property
    def is_complete(self) -> bool:
        """Is every machine ready?"""
        return not self.is_interrupted and all(one.state is State.READY for one in self.machines)


def outcomes(progress: Progress, essential: Iterable[str] = ()) -> dict[str, MachineOutcome]:
    """Return what came of each machine of a playbook.

    ``essential``: without these, the playbook ends early, and the others are not through.
    """
    ended = progress.ended
    is_early = ended is None or bool(set(essential) & (ended.failed | ended.lost))
    found = {}
    for name, at in progress.machines.items():
        # At the end, Ansible tells which failures were none; before, those count that stopped a machine.
        failure = None if ended is None and at.went_on else at.failure
        if failure is not None:
            state = State.OFF if at.is_lost else State.FAILED
        else:
            state = State.UNFINISHED if is_early else State.READY
        found[name] = MachineOutcome(name, state, at.ok, at.changed, failure, cores=at.cores)
    return found
