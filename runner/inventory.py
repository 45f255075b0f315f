"""The machines of a lab, as an Ansible inventory names them: any inventory that Ansible can read, dynamic ones too.

Ansible reads it; what labfleet needs of it becomes values, or an error that tells all mistakes at once.  Nothing
here speaks to a machine.
"""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from runner import ansible, chosen_lab
from runner import inventory_rules as rules
from runner.errors import WrongUse
from runner.paths import SOURCE

#: Documentation and a beginning.
EXAMPLE = SOURCE / "inventory" / "example.yml"

#: The folder's own inventory, where the person has none.
BESIDE = Path("inventory") / "lab.yml"

HEAD, WORKERS = "head", "workers"

#: So many machines are named in one mistake.
_NAMED = 4


@dataclass(frozen=True)
class Login:
    """How a machine is reached; what is None is left to the person's SSH configuration."""

    #: "ssh", "local", or another of Ansible's.
    connection: str
    address: str
    port: int | None = None
    user: str | None = None
    key_file: str | None = None
    #: Further arguments of the ssh program.
    arguments: tuple[str, ...] = ()
    interpreter: str | None = None
    become_method: str = "sudo"
    #: Does the inventory hold passwords, for the login and for sudo?
    has_password: bool = False
    has_sudo_password: bool = False


@dataclass(frozen=True)
class Machine:
    """One machine of a lab."""

    name: str
    login: Login
    is_head: bool
    is_worker: bool
    #: None: as many as the machine has cores.
    slots: int | None = None
    tags: tuple[str, ...] = ()
    #: Does somebody sit at it?
    desktop: bool = False
    builder: bool = False
    #: Where the other machines reach it, if the inventory says so.
    lab_address: str | None = None

    @property
    def address(self) -> str:
        """Where this machine reaches it: an address, a host's name, or an alias of the SSH configuration."""
        return self.login.address

    @property
    def user(self) -> str | None:
        """Who logs in; None: whom SSH's configuration names."""
        return self.login.user

    @property
    def port(self) -> int | None:
        """The port for SSH; None: that of SSH's configuration."""
        return self.login.port


@dataclass(frozen=True)
class Lab:
    """All that an inventory says of a lab."""

    #: For Ansible's option -i.
    sources: tuple[str, ...]
    #: The head, then the workers, in the inventory's order.
    machines: tuple[Machine, ...]
    #: Names of machines that are in the inventory, but not of the lab.
    others: tuple[str, ...] = ()

    @property
    def head(self) -> Machine:
        """The one head."""
        return next(machine for machine in self.machines if machine.is_head)

    @property
    def workers(self) -> tuple[Machine, ...]:
        """The machines that do runs; the head may be one."""
        return tuple(machine for machine in self.machines if machine.is_worker)


# ---- reading -----------------------------------------------------------------------------------------------


def load(named: Sequence[str] = ()) -> Lab:
    """Return the lab that inventories describe: those that are named, else the person's, else the folder's.

    Raises WrongUse if there is none, if Ansible cannot read it, or for mistakes in it, all of them at once.
    """
    sources = find(named)
    listing = _completed(_evaluated(sources, ansible.listing(sources)), ansible.ssh_defaults())
    lab, mistakes = understood(listing, sources, lambda path: os.path.exists(os.path.expanduser(path)))
    if lab is None:
        what = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        message = "\n".join([f"the inventory {', '.join(sources)} has {what}:", *(f"  {said}" for said in mistakes)])
        raise WrongUse(message, f"nothing was changed on any machine\n{EXAMPLE} explains what may be set")
    return lab


def find(named: Sequence[str]) -> tuple[str, ...]:
    """Return the inventories to use, for Ansible's option -i.  Raises WrongUse if there is none."""
    own = chosen_lab.settings() / "inventory.yml"
    said = [os.path.expanduser(place) for place in named or (os.environ.get("LABFLEET_INVENTORY", ""),) if place]
    if not said:
        said = [str(place) for place in (own, BESIDE) if place.exists()][:1]
    if not said:
        hint = f"name one with --inventory or LABFLEET_INVENTORY, or put it into {own} or ./{BESIDE}"
        raise WrongUse("there is no inventory of the lab's machines", f"{hint}\ncopy {EXAMPLE} to begin with")
    if missing := [place for place in said if "," not in place and not os.path.exists(place)]:
        raise WrongUse(f"there is no inventory {', '.join(missing)}")
    return tuple(place if "," in place else os.path.abspath(place) for place in said)


def limited(lab: Lab, pattern: str) -> tuple[Machine, ...]:
    """Return the lab's machines that a pattern of Ansible's matches: ``w1,w2``, ``w*``, ``workers:!w3``.

    Raises WrongUse if it matches none.
    """
    listing = ansible.listing(lab.sources, "--limit", pattern)
    names = {name for group in _groups(listing) for name in _members(listing, group)}
    if chosen := tuple(machine for machine in lab.machines if machine.name in names):
        return chosen
    close = get_close_matches(pattern, [machine.name for machine in lab.machines], n=1)
    hint = f"did you mean {close[0]}?\n" if close else ""
    raise WrongUse(
        f"--limit {pattern} matches no machine of the lab",
        f"{hint}there are {', '.join(machine.name for machine in lab.machines)}",
    )


#: The variables that are looked at here.
_WANTED = (
    *(*rules.RULES, *rules.HOST, *rules.PORT, *rules.USER, *rules.KEY_FILE, *rules.CONNECTION),
    *(*rules.ARGUMENTS, *rules.INTERPRETER, *rules.BECOME),
)


def _evaluated(sources: Sequence[str], listing: dict[str, Any]) -> dict[str, Any]:
    """Return the listing with templates evaluated: ``ansible_host: "{{ inventory_hostname }}.example.org"``.

    Ansible lists them as they are written.  Evaluating them costs as much again, so only where there are some.
    """
    machines = {name for group in (HEAD, WORKERS) for name in _members(listing, group)}
    known = {name: variables for name, variables in _variables(listing).items() if name in machines}
    templates = {
        name
        for variables in known.values()
        for name, value in variables.items()
        if name in _WANTED and "{{" in json.dumps(value)
    }
    if not templates:
        return listing
    values = ansible.evaluated(sources, f"{HEAD}:{WORKERS}", sorted(templates))
    merged = {
        machine: {**own, **{name: value for name, value in values.get(machine, {}).items() if name in own}}
        for machine, own in known.items()
    }
    return {**listing, "_meta": {"hostvars": {**_variables(listing), **merged}}}


def _completed(listing: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the listing with what holds for machines of which it does not say otherwise."""
    names = [name for group in (HEAD, WORKERS) for name in _members(listing, group)]
    known = _variables(listing)
    return {
        **listing,
        "_meta": {"hostvars": {**known, **{name: {**defaults, **known.get(name, {})} for name in names}}},
    }


# ---- understanding -----------------------------------------------------------------------------------------


def understood(
    listing: Mapping[str, Any], sources: Sequence[str] = (), exists: rules.Exists = lambda _: True
) -> tuple[Lab | None, list[str]]:
    """Return the lab that a listing of ansible-inventory describes, or None and all the mistakes in it."""
    heads, workers = _members(listing, HEAD), _members(listing, WORKERS)
    names = list(dict.fromkeys([*heads, *workers]))
    variables = {name: _variables(listing).get(name, {}) for name in names}
    mistakes = [
        *_wrong_groups(listing, heads, workers),
        *_wrong_names(names, heads),
        *_wrong_variables(variables, exists),
        *_wrong_builders(variables, workers),
        *_same_addresses(variables),
    ]
    if mistakes:
        return None, mistakes
    chosen = [name for name in workers if variables[name].get("labfleet_builder")] or workers[:1]
    machines = tuple(
        _machine(name, variables[name], is_head=name in heads, is_worker=name in workers, builder=name in chosen)
        for name in names
    )
    others = {name for group in _groups(listing) for name in _members(listing, group)} - set(names)
    return Lab(tuple(sources), machines, tuple(sorted(others))), []


def _machine(name: str, variables: Mapping[str, Any], *, is_head: bool, is_worker: bool, builder: bool) -> Machine:
    port = _first(variables, rules.PORT)
    login = Login(
        connection=str(_first(variables, rules.CONNECTION) or "ssh").removeprefix("ansible.builtin."),
        address=_first(variables, rules.HOST) or name,
        port=int(port) if port else None,
        user=_first(variables, rules.USER),
        key_file=_first(variables, rules.KEY_FILE),
        arguments=tuple(word for key in rules.ARGUMENTS for word in shlex.split(str(variables.get(key) or ""))),
        interpreter=_first(variables, rules.INTERPRETER),
        become_method=str(_first(variables, rules.BECOME) or "sudo").removeprefix("ansible.builtin."),
        has_password=_first(variables, rules.PASSWORD) is not None,
        has_sudo_password=_first(variables, rules.SUDO_PASSWORD) is not None,
    )
    return Machine(
        name=name,
        login=login,
        is_head=is_head,
        is_worker=is_worker,
        slots=variables.get("labfleet_slots"),
        tags=tuple(variables.get("labfleet_tags", ())),
        desktop=variables.get("labfleet_desktop", False),
        builder=builder,
        lab_address=variables.get("labfleet_address"),
    )


def _first(variables: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the first of some variables that is set to something."""
    return next((variables[name] for name in names if variables.get(name) not in (None, "")), None)


def _groups(listing: Mapping[str, Any]) -> list[str]:
    return [name for name in listing if name != "_meta"]


def _members(listing: Mapping[str, Any], group: str) -> list[str]:
    """Return the machines of a group: its own, then those of the groups in it, in Ansible's order."""
    found: dict[str, None] = {}
    waiting, seen = [group], set()
    while waiting:
        here = waiting.pop(0)
        if here not in seen:
            seen.add(here)
            entry = listing.get(here, {})
            found.update(dict.fromkeys(entry.get("hosts", ())))
            waiting += entry.get("children", ())
    return list(found)


def _variables(listing: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    variables: Mapping[str, Mapping[str, Any]] = listing.get("_meta", {}).get("hostvars", {})
    return variables


# ---- mistakes ----------------------------------------------------------------------------------------------


def _wrong_groups(listing: Mapping[str, Any], heads: Sequence[str], workers: Sequence[str]) -> list[str]:
    wrong = []
    if not heads:
        wrong.append(f"no head: the group {HEAD} needs one machine")
    elif len(heads) > 1:
        wrong.append(f"{len(heads)} heads ({_named(heads)}): the group {HEAD} needs one machine")
    if not workers:
        wrong.append(f"no workers: the group {WORKERS} needs at least one machine; the head may be one")
    for group in _groups(listing):
        outside = [name for name in _members(listing, group) if name not in heads and name not in workers]
        close = get_close_matches(group.lower(), [HEAD, WORKERS], n=1, cutoff=0.7)
        if outside and group == "ungrouped":
            wrong.append(f"{_named(outside)}: in neither of the groups {HEAD} and {WORKERS}")
        elif outside and close and group not in (HEAD, WORKERS):
            wrong.append(f"group {group} ({_named(outside)}): unknown; did you mean {close[0]}?")
    return wrong


def _wrong_names(names: Sequence[str], heads: Sequence[str]) -> list[str]:
    wrong = [
        f"{name!r}: a machine's name has letters, digits and _ . - only, and begins with none of . -"
        for name in names
        if not rules.NAME.fullmatch(name)
    ]
    # As a limit, Ansible takes such a name for the group.
    taken = [name for name in names if name in (WORKERS, "all", "ungrouped") or (name == HEAD and name not in heads)]
    return wrong + [f"{name}: a machine cannot be called like that group" for name in taken]


def _wrong_variables(variables: Mapping[str, Mapping[str, Any]], exists: rules.Exists) -> list[str]:
    """Return each mistake once, with the machines that have it: variables of groups are those of many machines."""
    found: dict[str, list[str]] = {}
    for machine, own in variables.items():
        for name, value in own.items():
            if said := _wrong_variable(name, value, exists):
                found.setdefault(said, []).append(machine)
    wrong = [said.replace("\0", f" ({_named(machines)})", 1) for said, machines in found.items()]
    for name in rules.OF_THE_LAB:
        values = {json.dumps(own.get(name), sort_keys=True, default=str) for own in variables.values()}
        if len(values) > 1:
            wrong.append(f"{name}: must be the same for all machines; set it under `all: vars:`")
    return wrong


def _wrong_variable(name: str, value: Any, exists: rules.Exists) -> str:
    """Return what is wrong with a variable, with a NUL where the machines' names belong; empty: nothing is."""
    said = ""
    if name in rules.RULES and isinstance(value, dict) and "__ansible_vault" in value:
        return f"{name}\0: cannot be encrypted, for labfleet has to read it"
    if name in rules.RULES:
        said = rules.RULES[name](value, exists)
    elif name in rules.HOST:
        said = rules.wrong_address(value)
    elif name in rules.PORT:
        said = rules.wrong_port(value)
    elif name in rules.RESERVED:
        return f"{name}\0: labfleet sets it itself"
    elif name.startswith("labfleet_"):
        close = get_close_matches(name, rules.RULES, n=1)
        return f"{name}\0: unknown" + (f"; did you mean {close[0]}?" if close else "")
    elif close := get_close_matches(name, rules.RULES, n=1, cutoff=0.85):
        return f"{name}\0: unknown; did you mean {close[0]}?"
    return f"{name} = {json.dumps(value, default=str)}\0: {said}" if said else ""


def _wrong_builders(variables: Mapping[str, Mapping[str, Any]], workers: Sequence[str]) -> list[str]:
    said = {name for name, own in variables.items() if own.get("labfleet_builder") is True}
    wrong = [f"labfleet_builder = true ({name}): only a worker can be a builder" for name in said - set(workers)]
    if workers and not said and variables[workers[0]].get("labfleet_builder") is False:
        wrong.append("no builder: say of one worker labfleet_builder: true")
    return wrong


def _same_addresses(variables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return which machines are one and the same, or pass for it."""
    reached: dict[str, list[str]] = {}
    for name, own in variables.items():
        place = f"{_first(own, rules.HOST) or name}, port {_first(own, rules.PORT) or 22}".lower()
        reached.setdefault(place, []).append(name)
        if own.get("labfleet_address"):
            reached.setdefault(f"labfleet_address {own['labfleet_address']}".lower(), []).append(name)
    return [f"{_named(names)}: the same address ({place})" for place, names in reached.items() if len(names) > 1]


def _named(names: Sequence[str]) -> str:
    shown = list(names) if len(names) <= _NAMED else [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"]
    return ", ".join(shown)
