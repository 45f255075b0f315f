"""The commands of a lab's administrator, as tasks.py has them; each a few lines over what does it."""

import sys

from invoke.context import Context

from runner.commands import command, remainder
from runner.errors import ExitCode

_ADMINISTRATION = {
    "inventory": "Ansible inventory: a file, folder or script; may be repeated; default: $LABFLEET_INVENTORY, "
    "~/.config/labfleet/inventory.yml, inventory/lab.yml",
    "limit": "only these machines, as Ansible's patterns: 'w1,w2', 'workers:!w3'; the head is always one of them",
    "check": "change nothing, say what would be changed",
    "diff": "show how files differ",
    "accept-new": "take unknown host keys for right, without asking",
    "ask-sudo": "read the password for sudo from standard input where there is no terminal",
    "json": "print the outcome machine-readable",
}


@command(
    help={
        **_ADMINISTRATION,
        "tags": "only some parts: machine, head, image, code, services, workers",
    },
    iterable=["inventory"],
)
def provision(  # noqa: PLR0913, PLR0917  # one parameter per option, as Invoke has it
    c: Context,
    inventory: list[str] | None = None,
    limit: str = "",
    tags: str = "",
    check: bool = False,
    diff: bool = False,
    accept_new: bool = False,
    ask_sudo: bool = False,
    json: bool = False,
) -> ExitCode:
    """Make the machines of an inventory a lab, or bring a lab up to date; doing it again changes nothing."""
    from runner import administration
    from runner.provision import Order

    order = Order(tuple(inventory or ()), limit, tags, check, diff, accept_new, ask_sudo)
    return administration.provision(order, json=json)


@command(help=_ADMINISTRATION, iterable=["inventory"])
def upgrade(
    c: Context,
    inventory: list[str] | None = None,
    limit: str = "",
    check: bool = False,
    diff: bool = False,
    accept_new: bool = False,
    ask_sudo: bool = False,
    json: bool = False,
) -> ExitCode:
    """Bring this labfleet's code to the lab: each slot takes it after its run, the foreman at once."""
    from runner import administration
    from runner.provision import Order

    order = Order(tuple(inventory or ()), limit, "", check, diff, accept_new, ask_sudo)
    return administration.upgrade(order, json=json)


@command(
    help={
        **_ADMINISTRATION,
        "limit": "only these machines, as Ansible's patterns: 'w1,w2', 'workers:!w3'",
        "data": "also the campaigns' results, the snapshots and the products in the lab",
        "yes": "do not ask whether it is meant",
    },
    iterable=["inventory"],
)
def teardown(  # noqa: PLR0913, PLR0917
    c: Context,
    inventory: list[str] | None = None,
    limit: str = "",
    data: bool = False,
    check: bool = False,
    diff: bool = False,
    accept_new: bool = False,
    ask_sudo: bool = False,
    yes: bool = False,
    json: bool = False,
) -> ExitCode:
    """Remove from the machines what provision put there; the packages that it installed stay."""
    from runner import administration
    from runner.provision import Order

    order = Order(tuple(inventory or ()), limit, "", check, diff, accept_new, ask_sudo)
    return administration.teardown(order, data=data, sure=yes, json=json)


@command(takes_rest=True)
def drain(c: Context) -> None:
    """Give a machine no more runs: labfleet drain HOST."""
    from runner import campaigns as known
    from runner import command_line

    print(known.drain(command_line.drain(remainder()), drained=True))


@command(takes_rest=True)
def undrain(c: Context) -> None:
    """Give a machine runs again: labfleet undrain HOST."""
    from runner import campaigns as known
    from runner import command_line

    print(known.drain(command_line.undrain(remainder()), drained=False))


@command(
    help={
        "inventory": "inventory of the machines, to look at each of them over SSH (needs sudo there)",
        "json": "print what was found machine-readable",
    },
    iterable=["inventory"],
)
def doctor(c: Context, inventory: list[str] | None = None, json: bool = False) -> ExitCode:
    """Find what is wrong with the lab, or with the way to it, and say what to do; exit status 3 if something is."""
    from runner import doctor as examination
    from runner import first_contact

    asked = first_contact.terminal(sys.stdin, sys.stderr)
    progress = examination.Progress(sys.stderr)
    try:
        found = examination.examine(tuple(inventory or ()), asked, progress)
    finally:
        progress.close()
    print(examination.as_json(found) if json else examination.text(found))
    return examination.exit_code(found)
