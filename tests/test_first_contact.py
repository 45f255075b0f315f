"""The first contact with machines: what is wrong with each, questions about host keys, and the password for sudo."""

import io
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from runner import first_contact, host_keys
from runner.errors import LabFailed, WrongUse
from runner.first_contact import Contact, State, Terminal
from runner.inventory import Login, Machine
from tests.conftest import needs
from tests.ssh_server import SshServer, make_key, ssh_server

#: Stands for a sudo that asks for a password: it takes "sesame", from standard input.
SUDO = """#!/bin/sh
for word; do [ "$word" = -n ] && exit 1; done
read -r given && [ "$given" = sesame ]
"""

FREE_SUDO = "#!/bin/sh\nexit 0\n"


class Person(Terminal):
    """Somebody who gives prepared answers, and remembers what they were asked."""

    def __init__(self, *answers: str) -> None:
        self.shown = io.StringIO()
        super().__init__(io.StringIO("".join(f"{answer}\n" for answer in answers)), self.shown)

    def secret(self, question: str) -> str:
        return self.ask(question)


@dataclass
class Site:
    """SSH servers and the files of a person who logs in there."""

    folder: Path
    stack: ExitStack
    keys: dict[str, Path] = field(default_factory=dict)

    @property
    def known_hosts(self) -> Path:
        return self.folder / "ssh" / "known_hosts"

    def key(self, name: str, kind: str = "ed25519") -> Path:
        if name not in self.keys:
            self.keys[name] = make_key(self.folder / name, kind)
        return self.keys[name]

    def tool(self, name: str, text: str, folder: str = "bin") -> str:
        """Put a program into a folder, and return a PATH with that folder first."""
        file = self.folder / folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
        return f"{file.parent}:{os.environ['PATH']}"

    def server(self, host_key: str = "host", path: str | None = None) -> SshServer:
        path = path or self.tool("sudo", FREE_SUDO)
        return self.stack.enter_context(ssh_server(self.key(host_key), self.key("person"), path))

    def configure(self, *more: str) -> tuple[str, ...]:
        """Write the person's SSH configuration, and return the arguments that choose it."""
        lines = ["UserKnownHostsFile", str(self.known_hosts), "GlobalKnownHostsFile", os.devnull]
        text = f"{' '.join(lines[:2])}\n{' '.join(lines[2:])}\n"
        text += f"IdentityFile {self.key('person')}\nIdentitiesOnly yes\nIdentityAgent none\nUser ada\n"
        file = self.folder / "config"
        file.write_text("\n".join(more) + "\nHost *\n" + text)
        return "-F", str(file)

    def machine(self, server: SshServer | int, name: str = "w1", address: str = "127.0.0.1") -> Machine:
        port = server if isinstance(server, int) else server.port
        login = Login("ssh", address, port=port, arguments=self.configure())
        return Machine(name, login, is_head=False, is_worker=True)

    def trust(self, machine: Machine, *keys: str) -> None:
        """Make keys known as this machine's."""
        self.known_hosts.parent.mkdir(exist_ok=True)
        with self.known_hosts.open("a") as file:
            for key in keys:
                public = self.key(key).with_name(f"{self.key(key).name}.pub").read_text()
                file.write(f"[{machine.address}]:{machine.port} {public}")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    needs("ssh")
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def meet(*machines: Machine, asked: Terminal | None = None, accept_new: bool = False) -> dict[str, Contact]:
    notes: list[str] = []
    return first_contact.meet(machines, asked, accept_new=accept_new, again="labfleet provision", note=notes.append)


# ---- what is wrong with a machine --------------------------------------------------------------------------------


def test_a_machine_that_is_as_it_was_is_fine(site: Site) -> None:
    # Given a machine whose host key is known
    machine = site.machine(site.server())
    site.trust(machine, "host")
    # When it is contacted, then nothing is to be said
    assert first_contact.contact(machine) == Contact("w1")


def test_a_port_where_nothing_listens(site: Site) -> None:
    # Given a machine that was switched off
    server = site.server()
    server.close()
    found = first_contact.contact(site.machine(server.port))
    assert (found.state, found.message) == (State.OFF, f"nothing listens on port {server.port} of 127.0.0.1")


def test_a_name_that_nobody_has(site: Site) -> None:
    found = first_contact.contact(site.machine(22, address="no-such-machine.invalid"))
    assert (found.state, found.message) == (State.OFF, "no machine is known by the name no-such-machine.invalid")


def test_a_machine_that_hangs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine that takes connections and says nothing
    monkeypatch.setitem(host_keys.OPTIONS, "ConnectTimeout", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # When it is contacted, then it counts as off, for nothing can be done with it
        found = first_contact.contact(site.machine(silent.getsockname()[1]))
    assert found.state is State.OFF
    assert found.message.startswith("its SSH server does not answer: ")


def test_a_machine_never_seen_before(site: Site) -> None:
    # Given a machine whose key nobody has accepted
    server = site.server()
    machine = site.machine(server)
    # When it is contacted
    found = first_contact.contact(machine)
    # Then its key is shown as people compare keys; nothing was accepted, and nobody has tried to log in there
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", str(site.key("host"))], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert (found.state, found.message) == (State.UNKNOWN_KEY, f"has the unknown host key ED25519 {fingerprint}")
    assert not site.known_hosts.exists()
    assert server.attempts == 0


def test_a_machine_with_another_key_than_it_had(site: Site) -> None:
    # Given a machine that shows another key than the known one
    machine = site.machine(site.server("host"))
    site.trust(machine, "old")
    # When it is contacted, even by somebody who would accept new keys
    found = meet(machine, accept_new=True)["w1"]
    # Then it is refused, and it is said what to do once the reason is known
    assert found.state is State.CHANGED_KEY
    assert "ask its administrator" in found.hint
    command = found.hint.splitlines()[-1]
    assert command == f"ssh-keygen -R '[127.0.0.1]:{machine.port}' -f {site.known_hosts}"


def test_a_known_key_among_several_is_enough(site: Site) -> None:
    # Given a machine with two keys, of which the one that ssh likes less is known
    server = site.server("host")
    server.host_keys.append(site.key("other", "ecdsa"))
    machine = site.machine(server)
    site.trust(machine, "other")
    assert first_contact.contact(machine).state is State.OK
    # … also when the login is refused, and the reason is looked for
    server.authorized = site.key("somebody")
    assert first_contact.contact(machine).state is State.REFUSED


def test_a_known_key_of_another_kind_is_not_this_one(site: Site) -> None:
    # Given a machine of which only a key is known that it does not have any more
    machine = site.machine(site.server("host"))
    site.key("old", "ecdsa")
    site.trust(machine, "old")
    assert first_contact.contact(machine).state is State.CHANGED_KEY


def test_a_revoked_key_is_refused(site: Site) -> None:
    # Given a machine whose key is known, and marked as stolen
    machine = site.machine(site.server("host"))
    site.trust(machine, "host")
    line = site.known_hosts.read_text()
    site.known_hosts.write_text(f"{line}@revoked {line}")
    assert meet(machine, accept_new=True)["w1"].state is State.CHANGED_KEY


def test_a_login_that_is_refused(site: Site) -> None:
    # Given a machine that knows somebody else
    server = site.server()
    server.authorized = site.key("somebody")
    machine = site.machine(server)
    site.trust(machine, "host")
    # When it is contacted
    found = first_contact.contact(machine)
    # Then ssh's own words are passed on, and how to try and mend it
    assert (found.state, found.message) == (
        State.REFUSED,
        "refuses the login: ada@127.0.0.1: Permission denied (publickey).",
    )
    assert f"ssh-copy-id -oPort={server.port} -F {site.folder / 'config'} 127.0.0.1" in found.hint


def test_a_login_by_password_is_left_to_ansible(site: Site) -> None:
    # Given an inventory with a password, which only Ansible can give
    server = site.server()
    server.authorized = site.key("somebody")
    machine = site.machine(server)
    site.trust(machine, "host")
    login = replace(machine.login, has_password=True)
    # When the machine is contacted, then that the key is refused does not matter; but an unknown host key would
    assert first_contact.contact(replace(machine, login=login)) == Contact("w1", asks_password=True)
    site.known_hosts.unlink()
    assert first_contact.contact(replace(machine, login=login)).state is State.UNKNOWN_KEY


def test_a_login_without_a_shell(site: Site) -> None:
    server = site.server()
    server.forced = "echo This account is currently not available.; exit 1"
    machine = site.machine(server)
    site.trust(machine, "host")
    found = first_contact.contact(machine)
    assert found.state is State.REFUSED
    assert found.message == "its login runs no commands: This account is currently not available."


def test_a_machine_without_python(site: Site) -> None:
    # Given an interpreter that is not there
    machine = site.machine(site.server())
    site.trust(machine, "host")
    login = replace(machine.login, interpreter="/opt/python 3/bin/python")
    found = first_contact.contact(replace(machine, login=login))
    assert (found.state, found.message) == (State.NO_PYTHON, "has no Python 3.8 or newer")


def test_a_python_that_is_too_old(site: Site) -> None:
    # Given an interpreter of an old release
    old = site.tool("python", '#!/bin/sh\necho "$2" | grep -q "3, 8" && exit 1\n').partition(":")[0]
    machine = site.machine(site.server())
    site.trust(machine, "host")
    login = replace(machine.login, interpreter=f"{old}/python")
    assert first_contact.contact(replace(machine, login=login)).state is State.NO_PYTHON


def test_a_machine_without_sudo(site: Site) -> None:
    # Given a machine that has only a few programs
    folder = site.folder / "few"
    folder.mkdir()
    for name in ("python3", "sh"):
        (folder / name).symlink_to(shutil.which(name) or name)
    machine = site.machine(site.server(path=str(folder)))
    site.trust(machine, "host")
    # When it is contacted by an ordinary user, then nothing could be installed there
    assert first_contact.contact(machine).state is State.NO_SUDO
    # … but root needs no sudo, nor who becomes root in another way
    for login in (replace(machine.login, user="root"), replace(machine.login, become_method="doas")):
        assert first_contact.contact(replace(machine, login=login)) == Contact("w1")


def test_this_machine_needs_no_ssh(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a person who sits at the head
    machine = Machine("h", Login("local", "h"), is_head=True, is_worker=False)
    monkeypatch.setenv("PATH", site.tool("sudo", SUDO))
    # When it is contacted, then Python and sudo are looked at as anywhere else
    assert first_contact.contact(machine) == Contact("h", asks_password=True)
    monkeypatch.setenv("PATH", site.tool("sudo", FREE_SUDO))
    assert first_contact.contact(machine) == Contact("h")


def test_other_connections_are_left_to_ansible() -> None:
    machine = Machine("h", Login("community.docker.docker", "h"), is_head=True, is_worker=False)
    assert first_contact.contact(machine) == Contact("h")


def test_an_ssh_configuration_that_cannot_be_read_is_told(site: Site) -> None:
    machine = site.machine(22)
    (site.folder / "config").write_text("Nonsense yes\n")
    with pytest.raises(WrongUse, match=r"w1: ssh cannot be told to reach it: (?s:.*)nonsense"):
        first_contact.contact(machine)


# ---- jump hosts --------------------------------------------------------------------------------------------------


def behind_a_gate(site: Site, gate: SshServer, server: SshServer) -> Machine:
    arguments = site.configure(
        f"Host gate\n  HostName 127.0.0.1\n  Port {gate.port}",
        f"Host inner\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyJump gate",
    )
    login = Login("ssh", "inner", arguments=arguments)
    return Machine("w1", login, is_head=False, is_worker=True)


def test_a_machine_behind_a_jump_host(site: Site) -> None:
    # Given a machine that only another one reaches, and nothing known of both
    gate, server = site.server("gate key"), site.server("host")
    machine = behind_a_gate(site, gate, server)
    person = Person("yes", "yes")
    # When it is contacted
    found = meet(machine, asked=person)
    # Then both are questions, the one on the way first; afterwards all is well
    assert found == {"w1": Contact("w1")}
    assert re.findall(r"(\w+) \([^)]*\) has the host key", person.shown.getvalue()) == ["gate", "w1"]
    assert meet(machine) == found


def test_a_jump_host_that_is_off(site: Site) -> None:
    # Given a jump host where nothing listens
    gate, server = site.server("gate key"), site.server("host")
    machine = behind_a_gate(site, gate, server)
    meet(machine, accept_new=True)
    gate.close()
    # When the machine is contacted, then it is said who is to blame
    found = first_contact.contact(machine)
    assert found.state is State.OFF
    assert found.message == f"its jump host gate: nothing listens on port {gate.port} of 127.0.0.1"


def test_a_machine_behind_a_jump_host_that_is_off(site: Site) -> None:
    # Given a machine behind a jump host, switched off
    gate, server = site.server("gate key"), site.server("host")
    machine = behind_a_gate(site, gate, server)
    meet(machine, accept_new=True)
    server.close()
    found = first_contact.contact(machine)
    assert found.state is State.OFF
    assert "its jump host" not in found.message


# ---- questions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def three(site: Site) -> list[Machine]:
    """Return three machines that were never seen before."""
    return [site.machine(site.server(f"host{number}"), f"w{number}") for number in range(3)]


def test_a_key_is_accepted_by_saying_yes(site: Site, three: list[Machine]) -> None:
    # Given a person who knows two of the keys, and answers carefully
    person = Person("maybe", "yes", "no", "y")
    # When the machines are met
    found = meet(*three, asked=person)
    # Then those two are fine, and their keys are known from now on; the third is not, and asked about once
    assert {name: one.state for name, one in found.items()} == {
        "w0": State.OK,
        "w1": State.UNKNOWN_KEY,
        "w2": State.OK,
    }
    assert len(site.known_hosts.read_text().splitlines()) == 2
    assert person.shown.getvalue().count("Is it right?") == 4
    assert first_contact.contact(three[0]).state is State.OK


def test_all_keys_may_be_accepted_at_once(three: list[Machine]) -> None:
    # Given a person who says so at the second question
    found = meet(*three, asked=Person("no", "all"))
    assert [one.state for one in found.values()] == [State.UNKNOWN_KEY, State.OK, State.OK]


def test_no_answer_is_no(three: list[Machine]) -> None:
    # Given a terminal that is closed in the middle
    found = meet(three[0], asked=Person())
    assert found["w0"].state is State.UNKNOWN_KEY


def test_without_a_terminal_nothing_is_accepted(site: Site, three: list[Machine]) -> None:
    # Given nobody to ask, when machines are met, then the command that accepts is told, with what it would accept
    with pytest.raises(LabFailed, match="host keys are unknown here") as refused:
        meet(*three)
    assert len([line for line in refused.value.message.splitlines() if "ED25519 SHA256:" in line]) == 3
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in refused.value.hint
    assert refused.value.hint.splitlines()[-1] == "if they are right: labfleet provision"
    assert not site.known_hosts.exists()


def test_accepting_new_keys_says_which(site: Site, three: list[Machine]) -> None:
    # Given the option that accepts, when machines are met, then each acceptance is told
    notes: list[str] = []
    found = first_contact.meet(three, None, accept_new=True, again="", note=notes.append)
    assert {one.state for one in found.values()} == {State.OK}
    assert [note.partition(" SHA256:")[0] for note in notes] == [
        f"w{number}: accepted the host key ED25519" for number in range(3)
    ]
    # … and the file is one that ssh takes, its folder only the person's
    assert site.known_hosts.stat().st_mode & 0o777 == 0o600
    assert site.known_hosts.parent.stat().st_mode & 0o777 == 0o700


def test_an_accepted_key_is_added_behind_a_line_that_was_not_ended(site: Site, three: list[Machine]) -> None:
    # Given a file that somebody has edited
    site.known_hosts.parent.mkdir()
    site.known_hosts.write_text("# mine")
    # When a key is accepted, then both are there
    meet(three[0], accept_new=True)
    lines = site.known_hosts.read_text().splitlines()
    assert lines[0] == "# mine"
    assert len(lines) == 2


def test_a_key_that_cannot_be_kept_is_told(site: Site) -> None:
    # Given an inventory that throws known keys away
    machine = site.machine(site.server())
    arguments = ("-oUserKnownHostsFile=/dev/null", *machine.login.arguments)
    machine = replace(machine, login=replace(machine.login, arguments=arguments))
    # When its key is accepted, then that would have to be done each time: it is refused
    with pytest.raises(LabFailed, match="its host key cannot be kept"):
        meet(machine, accept_new=True)


def test_asking_needs_a_terminal_on_both_sides() -> None:
    # Given a terminal, and what is none
    master, slave = os.openpty()
    with os.fdopen(master), os.fdopen(slave) as there:
        # When somebody is looked for, then only a terminal on both sides is somebody
        assert first_contact.terminal(there, there) is not None
        assert first_contact.terminal(there, io.StringIO()) is None
        assert first_contact.terminal(io.StringIO(), there) is None


# ---- sudo --------------------------------------------------------------------------------------------------------


@pytest.fixture
def asking(site: Site) -> Callable[[str], Machine]:
    """Return what makes a machine whose sudo asks for a password."""

    def asking(name: str) -> Machine:
        machine = site.machine(site.server(path=site.tool("sudo", SUDO, "asking")), name)
        site.trust(machine, "host")
        return machine

    return asking


def password(*machines: Machine, asked: Terminal | None = None, given: str | None = None) -> str | None:
    return first_contact.sudo_password(machines, meet(*machines), asked, given=given, again="labfleet provision")


def test_nobody_is_asked_where_sudo_does_not_ask(site: Site) -> None:
    machine = site.machine(site.server())
    site.trust(machine, "host")
    assert password(machine, asked=Person()) is None


def test_the_password_is_tried_before_it_is_used(asking: Callable[[str], Machine]) -> None:
    # Given a person who mistypes it once
    person = Person("sesam", "sesame")
    # When it is asked for, then the right one is returned, after it was said where the wrong one failed
    assert password(asking("w1"), asking("w2"), asked=person) == "sesame"
    assert "sudo refuses it on w1, w2." in person.shown.getvalue()


def test_after_three_wrong_ones_it_ends(asking: Callable[[str], Machine]) -> None:
    person = Person("a", "b", "c", "sesame")
    with pytest.raises(LabFailed, match="sudo refuses the password on w1") as refused:
        password(asking("w1"), asked=person)
    assert "ansible_become_password" in refused.value.hint


def test_without_a_terminal_the_password_must_be_given(asking: Callable[[str], Machine]) -> None:
    # Given nobody to ask
    machine = asking("w1")
    with pytest.raises(LabFailed, match="sudo asks for a password on w1") as refused:
        password(machine)
    assert "--ask-sudo: labfleet provision" in refused.value.hint
    assert "NOPASSWD" in refused.value.hint
    # When it is given, then it is tried, too
    assert password(machine, given="sesame") == "sesame"
    with pytest.raises(LabFailed, match="sudo refuses the password on w1"):
        password(machine, given="wrong")


def test_a_password_in_the_inventory_is_used_by_ansible(asking: Callable[[str], Machine]) -> None:
    # Given a machine whose password the inventory has, encrypted
    machine = asking("w1")
    machine = replace(machine, login=replace(machine.login, has_sudo_password=True))
    assert password(machine, asked=Person()) is None


# ---- at once -----------------------------------------------------------------------------------------------------


def test_an_error_of_one_machine_is_raised_when_all_are_done() -> None:
    # Given a question that fails for one of three
    done = []

    def ask(number: int) -> int:
        done.append(number)
        if number == 1:
            raise LabFailed("no")
        return number

    # When all are asked, then that is raised, and the others were asked nevertheless
    with pytest.raises(LabFailed, match="no"):
        first_contact.at_once(ask, [0, 1, 2])
    assert sorted(done) == [0, 1, 2]
    assert first_contact.at_once(ask, [3, 2]) == [3, 2]
