"""What a lab's administrator types, from the order to what is printed: provision, upgrade, teardown."""

import os
import sys
from collections.abc import Callable

from runner import chosen_lab, first_contact, model
from runner import provision as playbooks
from runner.errors import ExitCode, WrongUse
from runner.first_contact import Terminal
from runner.inventory import Lab, Machine
from runner.playbook import Outcome
from runner.provision import Order, View
from runner.report import machines as report

Work = Callable[[Order, View, Terminal | None], tuple[Lab, Outcome]]


def provision(order: Order, *, json: bool) -> ExitCode:
    """Make the machines a lab; who has chosen none uses this one from then on."""
    lab, code = _carry_out(playbooks.provision, order, "provisioning", "ready", json=json)
    if code is ExitCode.DONE and not order.check and not chosen_lab.is_chosen():
        _choose(lab.head)
    return code


def _choose(head: Machine) -> None:
    """Let campaigns run on the lab from now on, if the ssh program reaches its head by a name alone."""
    login = head.login
    if login.connection == "ssh" and login.port is None and login.key_file is None and not login.arguments:
        name = f"{login.user}@{login.address}" if login.user else login.address
        chosen_lab.use(name)
        print(f"campaigns run on this lab from now on (labfleet lab use {name})", file=sys.stderr)
    else:
        print("to run campaigns on this lab: labfleet lab use NAME, as `ssh NAME` reaches its head", file=sys.stderr)


def upgrade(order: Order, *, json: bool) -> ExitCode:
    """Bring this labfleet's code to a lab."""
    return _carry_out(playbooks.upgrade, order, "upgrading", "ready", json=json)[1]


def teardown(order: Order, *, data: bool, sure: bool, json: bool) -> ExitCode:
    """Remove what provisioning brought.  Raises WrongUse if nobody has said that it is meant."""

    def work(order: Order, view: View, asked: Terminal | None) -> tuple[Lab, Outcome]:
        return playbooks.teardown(order, view, asked, data=data)

    asked = first_contact.terminal(sys.stdin, sys.stderr)
    if not sure and not order.check:
        what = "the lab, and all campaigns' data" if data else "the lab; the campaigns' data stays"
        if asked is None:
            raise WrongUse(f"this removes {what}", "add --yes if it is meant")
        if asked.ask(f"this removes {what}.  Type yes to go on: ").strip() != "yes":
            raise WrongUse("nothing was removed")
    return _carry_out(work, order, "removing", "removed", json=json)[1]


def _carry_out(work: Work, order: Order, title: str, done: str, *, json: bool) -> tuple[Lab, ExitCode]:
    """Do the work with a live view, and print what came of it."""
    view = report.view(title, sys.stderr, os.environ, is_check=order.check)
    try:
        lab, outcome = work(order, view, first_contact.terminal(sys.stdin, sys.stderr))
    finally:
        view.close()
    print(model.pretty(outcome) if json else report.table(lab, outcome, done=done))
    if outcome.is_interrupted:
        raise KeyboardInterrupt
    return lab, report.exit_code(outcome)
