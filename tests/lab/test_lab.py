"""A lab from three bare machines: provisioned with the real playbooks over real SSH, used as people use it."""

import json
from typing import Any

import pytest

from runner.paths import SOURCE
from tests.conftest import eventually
from tests.lab import campaigns
from tests.lab.campaigns import labfleet
from tests.lab.machines import Lab

#: Where a changed copy of labfleet is put at the client.
CHANGED = "/home/researcher/changed"


def test_two_commands_lead_from_bare_machines_to_results(provisioned_lab: Lab) -> None:
    # Given machines that were bare until `labfleet provision` (the fixture), and a client with nothing of a lab
    client = provisioned_lab.client
    workers = sorted(set(provisioned_lab.machines) - {"head"})
    folder = campaigns.example(client)
    before = len(gate_calls(provisioned_lab))
    # When the campaign is run, with no option that names the lab
    done = labfleet(client, "campaign", "--config", "General", cwd=folder)
    assert done.status == 0, done.stderr
    # Then all runs are done, by all workers, and each worker's journal agrees with the manifest
    told = campaigns.manifest(client, folder)
    assert [run["kind"] for run in told["runs"]] == ["done"] * 24
    hosts = campaigns.runs_by_host(told)
    for name in workers:
        machine = provisioned_lab.machines[name]
        own = {run["run"] for run in told["runs"] if run["host"] == name}
        assert campaigns.runs_in_journal(machine, told["campaign"]) == own
        assert hosts[name] >= 16 // len(workers)
    assert set(hosts) == set(workers)
    # … the files are there as the manifest says
    for run in told["runs"]:
        for file in run["files"]:
            assert client.run(["sha256sum", file["path"]], cwd=folder).stdout.split()[0] == file["sha256"]
    # … nothing ran on the head, and nothing of a lab has come to the client
    assert campaigns.runs_in_journal(provisioned_lab.head, told["campaign"]) == set()
    assert "labfleet-worker" not in provisioned_lab.head.exec_as_root(["docker", "ps", "--format", "{{.Names}}"]).text
    assert client.run(["sh", "-c", "command -v docker redis-server opp_run g++"]).stdout == ""
    # … and commit and products have crossed the network once per host
    gate = gate_calls(provisioned_lab)[before:]
    project, key = told["project"], told["build"]["key"]
    for name in workers:
        calls = [line for line in gate if line.startswith(f"{name} ") and "refused" not in line]
        assert sum(f"git {project}-" in line for line in calls) == 1
        is_builder = name == "w1"  # it has the products, as it made them
        assert sum("products" in line and f"{key}/product.json" in line for line in calls) == int(not is_builder)
        assert sum("products" in line and "files/" in line for line in calls) == 1  # listed, or fetched


def gate_calls(lab: Lab) -> list[str]:
    """Return what workers have asked the head for, a line for each."""
    return lab.head.exec_as_root(["journalctl", "-t", "labfleet-gate", "-o", "cat", "--no-pager"]).text.splitlines()


def test_provisioning_again_changes_nothing(provisioned_lab: Lab) -> None:
    # Given a provisioned lab, when it is provisioned again
    done = labfleet(provisioned_lab.client, "provision", "--inventory", "inventory.yml", "--json")
    assert done.status == 0, done.stderr
    # Then nothing is changed
    assert {machine["changed"] for machine in json.loads(done.stdout)["machines"]} == {0}


def test_a_machine_that_joins_takes_runs_of_the_campaign_under_way(provisioned_lab: Lab) -> None:
    # Given a campaign under way that takes longer than anybody's patience
    client = provisioned_lab.client
    folder = campaigns.scripted(client, "joined", runs=3000, seconds=1)
    running = campaigns.start(client, folder)
    eventually(lambda: campaigns.begun(provisioned_lab, folder) > 3, "the first results", 120)
    campaign = campaigns.under_way(client)
    # When another machine is added to the inventory, and all are provisioned
    name = f"w{len(provisioned_lab.machines)}"
    added = provisioned_lab.add(name)
    done = labfleet(client, "provision", "--inventory", "inventory.yml")
    assert done.status == 0, done.stdout + done.stderr
    # Then the new machine does runs of that campaign
    eventually(lambda: campaigns.runs_in_journal(added, campaign), "runs on the new machine", 120)
    # … and up to its end, no run was lost or begun twice
    told = campaigns.cancelled(client, folder, campaign, running)
    assert {run["kind"] for run in told["runs"]} <= {"done", "cancelled", "not run"}
    assert {run["attempt"] for run in told["runs"] if "attempt" in run} == {1}
    assert campaigns.runs_by_host(told)[name] > 0


def test_an_upgrade_loses_no_run_and_later_ones_are_of_the_new_revision(provisioned_lab: Lab) -> None:
    # Given a campaign under way, and a changed labfleet at the client
    client = provisioned_lab.client
    client.exec_as_root(["rm", "-rf", CHANGED])
    parts = ("runner", "playbooks", "inventory", "tasks.py", "labfleet.py", "requirements-worker.lock")
    client.exec_as_root(["install", "-d", "-o", "researcher", CHANGED])
    client.run(["cp", "-r", *(str(SOURCE / part) for part in parts), CHANGED])
    client.run(
        ["sed", "-i", "s/run %d of %s, attempt/NEW run %d of %s, attempt/", f"{CHANGED}/runner/simulate/slot.py"]
    )
    folder = campaigns.scripted(client, "upgraded", runs=3000, seconds=1)
    running = campaigns.start(client, folder)
    eventually(lambda: campaigns.begun(provisioned_lab, folder) > 3, "the first results", 120)
    campaign = campaigns.under_way(client)
    # When the administrator upgrades the lab
    upgrade = ["python", "-m", "invoke", "--search-root", CHANGED, "upgrade", "--inventory", "inventory.yml"]
    done = client.run(upgrade, env={"PYTHONPATH": CHANGED}, seconds=600)
    assert done.status == 0, done.stdout + done.stderr

    def told_by(name: str) -> list[str]:
        lines = provisioned_lab.machines[name].journal("labfleet-worker").splitlines()
        return [line for line in lines if f" of {campaign}, attempt" in line]

    # Then each worker began with the old revision and goes on with the new one
    eventually(lambda: all("NEW run" in told_by(name)[-1] for name in ("w1", "w2")), "runs of the new revision", 120)
    assert not any("NEW run" in told_by(name)[0] for name in ("w1", "w2"))
    # … no run was lost or begun twice
    told = campaigns.cancelled(client, folder, campaign, running)
    assert {run["kind"] for run in told["runs"]} <= {"done", "cancelled", "not run"}
    assert {run["attempt"] for run in told["runs"] if "attempt" in run} == {1}
    # … and the foreman has taken it, too
    table: dict[str, Any] = {}

    def is_one_revision() -> bool:
        table.update(json.loads(labfleet(client, "machines", "--json").stdout))
        # A foreman that has just become the new one has not heard of every machine yet: null.
        slots = {tuple(machine["revisions"] or ()) for machine in table["machines"]}
        return slots == {(table["deployed"],)} and table["revision"] == table["deployed"]

    eventually(is_one_revision, "one revision everywhere", 120)
    # … and so has the web page
    ask = "tr '\\0' '\\n' </proc/$(pgrep -fo '[r]unner.services web')/environ | sed -n s/^LABFLEET_REVISION=//p"
    assert provisioned_lab.head.exec_as_root(["sh", "-c", ask]).text == table["deployed"]


def test_a_second_person_needs_one_setting_and_cannot_touch_the_first_one_s(provisioned_lab: Lab) -> None:
    # Given a campaign of the first person's under way
    client = provisioned_lab.client
    with campaigns.long_campaign(provisioned_lab, "first") as (campaign, running):
        # When somebody with another login submits a campaign, with one variable and no key of a worker's
        anna = {"LABFLEET_LAB": "head"}
        other = campaigns.scripted(client, "hers", runs=4, user="anna")
        done = labfleet(client, "campaign", "--verbose", cwd=other, user="anna", env=anna)
        # Then it is done, followed and brought home, under her name
        assert done.status == 0, done.stderr
        assert "run 3 begins" in done.stdout + done.stderr
        hers = campaigns.manifest(client, other)
        assert (hers["user"], len(hers["runs"])) == ("anna", 4)
        # … she sees the first one's campaign, and can neither cancel it nor take its results
        assert campaign in labfleet(client, "lab", "status", user="anna", env=anna).stdout
        refused = labfleet(client, "cancel", campaign, user="anna", env=anna)
        assert refused.status == 3
        assert "belongs to admin" in refused.stderr
        fetch = ["rsync", "-r", "--rsync-path=/usr/local/bin/labfleet-head results"]
        assert client.run([*fetch, f"head:{hers['campaign']}/", "own/"], user="anna").status == 0
        assert client.run([*fetch, f"head:{campaign}/", "stolen/"], user="anna").status != 0
        # … while the first one can
        assert labfleet(client, "cancel", campaign).status == 0
        assert running.wait(120).status == 1


def test_a_machine_that_vanishes_loses_no_run(provisioned_lab: Lab) -> None:
    # Given a campaign under way on all machines
    client = provisioned_lab.client
    folder = campaigns.scripted(client, "vanished", runs=60, seconds=1)
    running = campaigns.start(client, folder)
    eventually(lambda: campaigns.begun(provisioned_lab, folder) > 5, "the first results", 120)
    # When a worker loses its power
    provisioned_lab.machines["w2"].kill()
    # Then all runs are done all the same, and the table says what is wrong
    said = running.wait(600)
    assert said.status == 0, said.stderr
    told = campaigns.manifest(client, folder)
    assert [run["kind"] for run in told["runs"]] == ["done"] * 60
    table = json.loads(labfleet(client, "machines", "--json").stdout)
    assert {row["name"]: row["state"] for row in table["machines"]}["w2"] == "away"
    # … and when it is back, it serves again by itself
    provisioned_lab.machines["w2"].start()
    eventually(lambda: "w2 with" in labfleet(client, "lab", "status").stdout, "that the machine serves again", 120)


@pytest.mark.parametrize("name", ["w1", "head"])
def test_a_provisioned_machine_runs_only_what_it_should(provisioned_lab: Lab, name: str) -> None:
    # Given a provisioned machine, when its containers are looked at
    machine = provisioned_lab.machines[name]
    containers = machine.exec_as_root(["docker", "ps", "--format", "{{.Names}}"]).text.split()
    described = json.loads(machine.exec_as_root(["docker", "inspect", *containers]).text)
    # Then each is unprivileged, with a read-only root and limits
    assert containers
    for one in described:
        limits = one["HostConfig"]
        assert one["Config"]["User"] not in ("", "0", "root")
        assert limits["ReadonlyRootfs"]
        assert limits["CapDrop"] == ["ALL"]
        assert not limits["Privileged"]
        assert limits["Memory"] > 0
        assert limits["PidsLimit"] > 0
