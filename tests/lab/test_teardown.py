"""The end of a lab.  In alphabetical order this module is the last one that uses the machines of all."""

from tests.lab.campaigns import labfleet
from tests.lab.machines import Lab


def test_teardown_removes_what_provision_brought(provisioned_lab: Lab) -> None:
    # Given a lab that was used, when it is torn down, and then with its data
    client = provisioned_lab.client
    done = labfleet(client, "teardown", "--inventory", "inventory.yml", "--yes")
    assert done.status == 0, done.stdout + done.stderr
    for machine in provisioned_lab.machines.values():
        # Then neither services nor settings are there
        left = machine.exec_as_root(
            ["sh", "-c", "systemctl list-unit-files 'labfleet*' --no-legend; ls -d /etc/labfleet"], check=False
        )
        assert left.text == ""
        assert "labfleet" not in machine.exec_as_root(["docker", "images"], check=False).text
    # … while the campaigns' data stays until that is asked for, too
    kept = provisioned_lab.head.exec_as_root(["ls", "/var/lib/labfleet/head/campaigns"]).text
    assert kept
    assert labfleet(client, "teardown", "--inventory", "inventory.yml", "--data", "--yes").status == 0
    for machine in provisioned_lab.machines.values():
        assert machine.exec_as_root(["ls", "/var/lib/labfleet"], check=False).status != 0
        assert machine.exec_as_root(["id", "labfleet"], check=False).status != 0
    # … and doing it again does no harm
    assert labfleet(client, "teardown", "--inventory", "inventory.yml", "--data", "--yes").status == 0
