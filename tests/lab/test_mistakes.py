"""What provisioning does when something is not as it should be: it says so, and changes nothing that it need not."""

import json

from tests.lab.campaigns import labfleet
from tests.lab.machine import Machine
from tests.lab.machines import Lab

#: Everything that provisioning could have left.
LOOK = "ls -d /etc/labfleet /var/lib/labfleet /usr/local/lib/labfleet 2>/dev/null; id labfleet 2>/dev/null; true"

BAD = """
all:
  vars: {ansible_user: admin, labfleet_slotz: 3}
  children:
    head:
      hosts:
        head: {ansible_host: HEAD}
        w2: {ansible_host: W2}
    workers:
      hosts:
        w1: {ansible_host: W1, labfleet_slots: -1}
"""


def is_bare(machine: Machine) -> bool:
    return machine.exec_as_root(["sh", "-c", LOOK]).text == ""


def test_all_mistakes_of_an_inventory_are_told_at_once_and_nothing_is_changed(bare_lab: Lab) -> None:
    # Given an inventory with an unknown key, two heads and a negative number of slots
    client = bare_lab.client
    text = BAD
    for name, machine in bare_lab.machines.items():
        text = text.replace(name.upper(), machine.address)
    client.write("/home/researcher/bad.yml", text, owner="researcher")
    # When it is to be provisioned
    done = labfleet(client, "provision", "--inventory", "bad.yml")
    # Then all three are told, and no machine was touched
    assert done.status == 2
    assert "labfleet_slotz" in done.stderr
    assert "labfleet_slots" in done.stderr
    assert "-1" in done.stderr
    assert "head" in done.stderr
    assert "two" in done.stderr or "one" in done.stderr
    assert "nothing was changed" in done.stderr
    assert all(map(is_bare, bare_lab.machines.values()))
    # … and so it is without any head
    client.write("/home/researcher/bad.yml", "workers: {hosts: {w1: {}}}\n", owner="researcher")
    headless = labfleet(client, "provision", "--inventory", "bad.yml")
    assert headless.status == 2
    assert "head" in headless.stderr


def test_an_unknown_host_key_is_never_taken_silently(bare_lab: Lab) -> None:
    # Given a client that knows no machine
    client = bare_lab.client
    known = client.read("/home/researcher/.ssh/known_hosts")
    client.write("/home/researcher/.ssh/known_hosts", "", owner="researcher", mode="600")
    # When machines are to be provisioned, and nobody is there to answer
    done = labfleet(client, "provision", "--inventory", "inventory.yml")
    # Then it ends with the command that accepts them, and nothing was changed
    assert done.status == 3
    assert "--accept-new" in done.stderr
    assert client.read("/home/researcher/.ssh/known_hosts") == ""
    assert all(map(is_bare, bare_lab.machines.values()))
    client.write("/home/researcher/.ssh/known_hosts", known, owner="researcher", mode="600")


def test_without_the_head_nothing_is_changed(bare_lab: Lab) -> None:
    # Given a head without power
    bare_lab.head.kill()
    try:
        # When the lab is to be provisioned
        done = labfleet(bare_lab.client, "provision", "--inventory", "inventory.yml")
    finally:
        bare_lab.head.start()
    # Then that is said, and the workers are as they were
    assert done.status == 3
    assert "head" in done.stderr
    assert "nothing was changed" in done.stderr
    assert all(map(is_bare, bare_lab.machines.values()))


def test_a_worker_that_is_off_holds_up_no_other(bare_lab: Lab) -> None:
    # Given a worker without power
    worker = bare_lab.machines["w2"]
    worker.kill()
    try:
        # When it is looked at what provisioning would change
        done = labfleet(bare_lab.client, "provision", "--inventory", "inventory.yml", "--check", "--json")
    finally:
        worker.start()
    # Then the others are looked at, the one that is off is told of, and the exit status tells
    assert done.status == 3, done.stdout + done.stderr
    states = {one["machine"]: one["state"] for one in json.loads(done.stdout)["machines"]}
    assert states == {"head": "ready", "w1": "ready", "w2": "off"}
    # … and a check changes nothing
    assert all(map(is_bare, bare_lab.machines.values()))
