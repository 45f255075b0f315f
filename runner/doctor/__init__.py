"""``labfleet doctor``: what is wrong, where, and what to do about it.

A person who has chosen a lab sees the way there and what the foreman tells; an administrator, who has the inventory,
also what each machine tells of itself.  machines.py and client.py gather facts; what they mean, pure functions say.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial

from runner import chosen_lab, inventory
from runner.doctor import client
from runner.doctor.checks import of_machines
from runner.doctor.findings import HERE, Commands, Finding, Severity, error, findings
from runner.doctor.machines import at_once, look_at
from runner.doctor.view import Progress, as_json, exit_code, text
from runner.errors import WrongUse
from runner.first_contact import Terminal

__all__ = ["Progress", "as_json", "examine", "exit_code", "text"]

#: Seconds for the way to the lab, which has several steps.
PATIENCE = 45.0


def examine(named: Sequence[str], terminal: Terminal | None, progress: Progress) -> list[Finding]:
    """Return everything that was looked at, and how it is.

    ``named``: inventories; none: those that are found, or a person's view.  ``terminal``: who knows sudo's password.
    Raises WrongUse for mistakes in an inventory or in the name of the lab.
    """
    name = chosen_lab.chosen()
    lab = _inventory(named)
    found = client.this_computer(is_remote=bool(name or lab))
    looked_at: list[str] = []
    explained: set[str] = set()
    if lab:
        commands = Commands(tuple(named))
        looks = look_at(lab.machines, commands, terminal, progress.waiting)
        looked_at = [look.machine.name for look in looks if look.facts]
        found += of_machines(looks, commands)
        explained = {finding.machine for finding in found if finding.severity is Severity.ERROR}
    if name:
        found += _in_time(name, partial(client.remote, name, looked_at, explained), progress)
    elif not lab:
        found += _in_time(HERE, client.local, progress)
    return found


def _inventory(named: Sequence[str]) -> inventory.Lab | None:
    """Return the inventory; None: there is none, and nobody said so."""
    try:
        inventory.find(named)
    except WrongUse:
        if named or os.environ.get("LABFLEET_INVENTORY"):
            raise
        return None
    return inventory.load(named)


def _in_time(name: str, look: Callable[[], list[Finding]], progress: Progress) -> list[Finding]:
    """Return what is found on the way to the lab, or that it takes too long."""
    found = at_once({name: look}, PATIENCE, progress.waiting)
    late = findings(name, "lab", [error(f"the lab has not answered within {PATIENCE:.0f} s")])
    return found.get(name, late)
