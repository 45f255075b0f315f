"""The test lab's machines behave like a lab's, and nothing of them stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.errors import LabFailed
from tests.conftest import eventually
from tests.lab import command, engine, images
from tests.lab.conftest import need_machines
from tests.lab.machine import Machine
from tests.lab.machines import Lab
from tests.lab_fixture import ROOT

#: What labfleet brings, or needs OMNeT++'s owner for.
BROUGHT = "docker redis-server opp_run g++ ccache distcc"


def test_machines_are_bare_and_their_administrator_logs_in(bare_lab: Lab) -> None:
    # Given the machines of a lab
    for name, machine in bare_lab.machines.items():
        # When the administrator logs in over SSH
        said = bare_lab.ssh(name, ["hostname; id -un; sudo -n id -un; systemctl is-system-running"]).text
        # Then it is that machine, all of its services run, and sudo asks for nothing
        assert said.split() == [name, "admin", "root", "running"]
        # And nothing of what labfleet brings is there
        found = machine.exec_as_root(["sh", "-c", f"for name in {BROUGHT}; do command -v $name; done"], check=False)
        assert found.text == ""


def test_each_machine_has_an_identity_of_its_own(lab_machines: Lab) -> None:
    # Given the machines of a lab, when their identities are read
    identities = {
        (machine.read("/etc/machine-id"), machine.read("/etc/ssh/ssh_host_ed25519_key.pub"))
        for machine in lab_machines.machines.values()
    }
    # Then no two are the same
    assert len({machine_id for machine_id, _ in identities}) == len(lab_machines.machines)
    assert len({key for _, key in identities}) == len(lab_machines.machines)


@pytest.mark.parametrize("person", ["anna", "bob"])
def test_other_people_reach_only_the_head_without_sudo(lab_machines: Lab, person: str) -> None:
    # Given a person who is no administrator, at the client
    client = lab_machines.client
    # When they log in to the head, try sudo there, and try a worker
    head = client.run(["ssh", "head", "id -un"], user=person)
    sudo = client.run(["ssh", "head", "sudo -n true"], user=person)
    worker = client.run(["ssh", "w1", "true"], user=person)
    # Then only the first is allowed
    assert (head.status, head.stdout) == (0, f"{person}\n")
    assert sudo.status != 0
    assert "password is required" in sudo.stderr
    assert worker.status == 255
    assert "Permission denied" in worker.stderr


def test_the_client_has_labfleet_and_nothing_of_a_lab(lab_machines: Lab) -> None:
    # Given the client
    client = lab_machines.client
    # When its person runs labfleet, looks for what labs have, and asks git about the checkout
    labfleet = client.run(["labfleet", "--version"])
    found = client.run(["sh", "-c", f"for name in {BROUGHT}; do command -v $name; done"])
    git = client.run(["git", "rev-parse", "HEAD"], cwd=str(ROOT))
    # Then labfleet runs, git trusts the checkout, which cannot be changed, and nothing else is there
    assert labfleet.status == 0, labfleet.stderr
    assert found.stdout == ""
    assert git.status == 0, git.stderr
    assert client.run(["touch", str(ROOT / "README.md")]).status != 0


def test_the_inventories_reach_all_machines(lab_machines: Lab) -> None:
    # Given the client's inventory and this machine's
    ansible = ["ansible", "all", "--become", "-m", "ansible.builtin.command", "-a", "id -un", "-i"]
    here = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    # When Ansible uses each
    at_client = lab_machines.client.run([*ansible, "inventory.yml"])
    local = subprocess.run(
        [*ansible, str(lab_machines.inventory_file)], env=here, capture_output=True, text=True, check=False
    )
    # Then it is root on every machine
    for status, said in ((at_client.status, at_client.stdout), (local.returncode, local.stdout)):
        assert status == 0, said
        assert said.count("root") == len(lab_machines.machines)


def test_a_command_at_the_client_can_be_interrupted(lab_machines: Lab) -> None:
    # Given a command under way at the client
    client = lab_machines.client
    running = client.start_command(
        ["sh", "-c", "trap 'echo interrupted; exit 3' INT; touch ready; while :; do :; done"]
    )
    eventually(lambda: client.run(["test", "-e", "ready"]).status == 0, "the command")
    # When it gets Ctrl-C's signal
    running.signal("INT")
    # Then the command itself decides how to end
    said = running.wait()
    assert (said.status, said.stdout) == (3, "interrupted\n")


def test_power_cable_and_hanging(spare: Lab) -> None:
    # Given a machine that people have worked on
    machine = spare.machines["w1"]
    machine.write("/srv/work", "a day's work\n")
    # When its cable is pulled, it hangs, or its power fails, then it does not answer
    for harm, mend in (
        (machine.disconnect, machine.connect),
        (machine.pause, machine.resume),
        (machine.kill, machine.start),
    ):
        harm()
        assert not machine.answers()
        mend()
        eventually(machine.answers, "sshd")
    # And afterwards it is the same machine, with the same work on it
    assert spare.ssh("w1", ["cat /srv/work"]).text == "a day's work"


def groups_of(machine: Machine, pid: int) -> dict[str, str]:
    """Return the control group of a process in each hierarchy, as the machine sees it."""
    lines = (line.split(":", 2) for line in machine.read(f"/proc/{pid}/cgroup").splitlines())
    return {controllers: path for _, controllers, path in lines}


def test_what_happens_to_a_machine_happens_to_its_containers(spare: Lab) -> None:
    # Given a machine with an engine of its own, in which an unprivileged container runs
    machine = spare.machines["w1"]
    install = "apt-get -qq update && apt-get -qq -y --no-install-recommends install docker.io >/dev/null 2>&1"
    machine.exec_as_root(["env", "DEBIAN_FRONTEND=noninteractive", "sh", "-euc", install])
    machine.exec_as_root(["docker", "import", "-", "base"], stdin=images.base().read_bytes())
    bounds = ["--cap-drop", "ALL", "--user", "1234", "--memory", "100m", "--pids-limit", "20", "--network", "host"]
    machine.exec_as_root(["docker", "run", "--detach", "--name", "inner", *bounds, "base", "sleep", "infinity"])
    inner = int(machine.exec_as_root(["docker", "inspect", "--format", "{{.State.Pid}}", "inner"]).text)
    # When its control groups are compared with the machine's
    outer, groups = groups_of(machine, 1), groups_of(machine, inner)
    # Then all are below: what freezes, limits or ends the machine does so to the container
    for controllers, path in groups.items():
        above = outer[controllers].removesuffix("/init.scope").rstrip("/")
        assert path.startswith(f"{above}/"), (controllers, path, outer)
        assert not path.startswith("/.."), (controllers, path)


def test_a_machine_that_does_not_come_up_says_why(spare: Lab) -> None:
    # Given a machine whose sshd is misconfigured
    machine = spare.machines["w1"]
    machine.write("/etc/ssh/sshd_config.d/mistake.conf", "NoSuchKeyword yes\n")
    machine.exec_as_root(["systemctl", "restart", "ssh.service"], check=False)
    # When it is waited for, then the error names machine, reason, and what the journal says
    with pytest.raises(LabFailed) as failed:
        machine.wait_until_up(seconds=1)
    assert "machine w1" in failed.value.message
    assert "sshd does not answer" in failed.value.message
    assert "NoSuchKeyword" in failed.value.message
    machine.exec_as_root(["rm", "/etc/ssh/sshd_config.d/mistake.conf"])
    # And when it has no power, the error says so at once
    machine.kill()
    with pytest.raises(LabFailed, match='"Running":false'):
        machine.wait_until_up()
    machine.start()


#: Brings a machine up, then waits to be killed.
KILLED_SESSION = """
import pathlib, sys, signal
from tests.lab import engine
from tests.lab.machine import Machine
from tests.lab.machines import Lab
Lab(sys.argv[1], pathlib.Path(sys.argv[2]), engine.this_session()).up(["w1"])
print("up", flush=True)
signal.pause()
"""


def things(prefix: str) -> list[str]:
    """Return containers, networks and volumes that carry a prefix's label."""
    ours = ("--quiet", "--filter", f"label={engine.LABEL}={prefix}")
    listings = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
    return [name for listing in listings for name in engine.docker(*listing, *ours).text.split()]


def test_a_prefix_in_use_is_left_alone(spare: Lab, tmp_path: Path) -> None:
    # Given a lab that is up
    before = things(spare.prefix)
    # When somebody wants another of the same prefix
    with pytest.raises(LabFailed, match="already exists"), Lab(spare.prefix, tmp_path) as other:
        other.up(["w1"])
    # Then the first one is still there, all of it
    assert things(spare.prefix) == before


def test_a_lab_to_play_with_belongs_to_its_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given two people's state folders, when each brings a lab up, then neither removes the other's
    prefixes = set()
    for person in ("anna", "bob"):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / person))
        prefixes.add(command.prefix())
    assert len(prefixes) == 2


def test_nothing_stays_of_a_session_that_was_killed(tmp_path: Path) -> None:
    need_machines()
    # Given a session that has a lab
    prefix = f"labfleet-killed-{os.getpid()}"
    argv = [sys.executable, "-c", KILLED_SESSION, prefix, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as session:
        try:
            assert session.stdout is not None
            assert session.stdout.readline() == "up\n"
            # When another begins meanwhile, then it leaves that lab alone
            engine.remove_leftovers()
            assert len(things(prefix)) == 4
            # When the first is killed, and another begins
            session.kill()
            session.wait()
            engine.remove_leftovers()
            # Then nothing of it is left: neither machine and client nor network nor volume
            assert things(prefix) == []
        finally:
            session.kill()
            engine.remove(prefix)


def test_without_an_engine_the_reason_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    need_machines()
    # Given a docker that finds no engine
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    # When machines are wanted, then the tests are skipped with the reason, and fail where nothing may be missing
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no Docker engine answers: .*nobody\.sock"):
        need_machines()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no Docker engine answers"):
        need_machines()
    # And without any docker, that is the reason
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="docker, ssh, ssh-keygen not installed"):
        need_machines()


def test_who_cannot_make_debians_base_is_told_who_can(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given somebody who is not root, and has no base from before
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "debootstrap").touch(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    # When machines are wanted, then the reason says what to type; and with the base there is none
    assert f"sudo env XDG_CACHE_HOME={tmp_path} ./bootstrap testlab up" in images.why_no_base()
    images.base_path().parent.mkdir()
    images.base_path().touch()
    assert images.why_no_base() == ""


def test_a_machine_gets_what_this_one_can_give() -> None:
    # Given the bounding set of a machine that has every capability, and of one without SYS_RESOURCE
    everything, without = "CapBnd:\t000001ffffffffff\n", "CapBnd:\t000001fffeffffff\n"
    # When a container's capabilities are chosen, then they are those, but for what would reach this machine itself
    assert "SYS_RESOURCE" in engine.capabilities(everything)
    assert set(engine.capabilities(everything)) - set(engine.capabilities(without)) == {"SYS_RESOURCE"}
    assert not {"SYS_TIME", "SYS_MODULE"} & set(engine.capabilities(everything))


def test_wheels_are_for_debians_python_whatever_this_one_is() -> None:
    # Given a lock with requirements for some Pythons only
    lock = (
        "async-timeout==5.0.1 ; python_full_version < '3.11.3' \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "    # via redis\n"
        "cffi==2.1.1 ; implementation_name == 'pypy' \\\n    --hash=sha256:cc\n"
        "redis==8.1.0 \\\n    --hash=sha256:dd\n"
    )
    # When it is read for the worker image, then what Debian 12's Python 3.11.2 needs is there, with all hashes
    assert list(images.requirements(lock)) == [
        "async-timeout==5.0.1 --hash=sha256:aa --hash=sha256:bb",
        "redis==8.1.0 --hash=sha256:dd",
    ]
