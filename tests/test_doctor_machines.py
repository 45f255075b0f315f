"""How doctor looks: over real SSH connections, at all machines at the same time, at none for too long."""

import dataclasses
import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner import chosen_lab, doctor, host_keys, local_lab
from runner.doctor import client, machines, view
from runner.doctor.checks import of_machines
from runner.doctor.facts import Facts, Look
from runner.doctor.findings import HERE, Commands, Finding, Severity
from runner.doctor.known import known
from runner.errors import WrongUse
from runner.first_contact import Terminal
from runner.inventory import Login, Machine
from runner.knock import Knock, Met
from runner.model import decode
from tests.conftest import needs
from tests.servers import distccd, free_port, serving
from tests.ssh_server import SshServer, make_key, ssh_server

COMMANDS = Commands()

#: Stands for sudo: it may be used without a password, or with "sesame"; what it is to execute, it executes.
SUDO = """#!/bin/sh
[ {asks} = yes ] && asked=yes
while :; do
    case "$1" in
    -n) [ "$asked" ] && {{ echo "sudo: a password is required" >&2; exit 1; }} ;;
    -p) shift ;;
    -k|-S) ;;
    *) break ;;
    esac
    shift
done
if [ "$asked" ]; then read -r given; [ "$given" = sesame ] || exit 1; fi
[ "$1" = true ] || touch {used}
exec "$@"
"""


class Person(Terminal):
    """Somebody who gives prepared answers."""

    def __init__(self, *answers: str) -> None:
        super().__init__(io.StringIO("".join(f"{answer}\n" for answer in answers)), io.StringIO())

    def secret(self, question: str) -> str:
        return self.ask(question)


class Site:
    """A machine with an SSH server, whose sudo may ask for a password."""

    def __init__(self, folder: Path, server: SshServer) -> None:
        self.folder, self.server = folder, server
        self.tool("id", "#!/bin/sh\necho 1000\n")
        self.sudo(asks=False)

    def tool(self, name: str, text: str) -> None:
        file = self.folder / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def sudo(self, *, asks: bool) -> None:
        self.tool("sudo", SUDO.format(asks="yes" if asks else "no", used=self.folder / "was-root"))

    @property
    def was_root(self) -> bool:
        return (self.folder / "was-root").exists()

    def machine(self, name: str = "w1", port: int | None = None) -> Machine:
        words = (f"-oUserKnownHostsFile={self.folder / 'known_hosts'}", "-oIdentitiesOnly=yes", "-oIdentityAgent=none")
        key = str(self.folder / "person")
        login = Login("ssh", "127.0.0.1", port=port or self.server.port, key_file=key, arguments=("-Fnone", *words))
        return Machine(name, login, is_head=False, is_worker=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    needs("ssh")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    with ssh_server(make_key(tmp_path / "host"), make_key(tmp_path / "person"), path) as server:
        public = (tmp_path / "host.pub").read_text()
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {public}")
        yield Site(tmp_path, server)


def watched(names: list[list[str]]) -> machines.Watch:
    return lambda waiting: names.append(list(waiting))


# ---- one machine -----------------------------------------------------------------------------------------------------


def test_a_machine_tells_its_facts_as_root(site: Site) -> None:
    # Given a machine whose login may use sudo
    # When it is looked at
    look = machines.look(site.machine(), COMMANDS, None)
    # Then it told its facts, as root, and its clock agrees with this computer's, which it is
    assert look.trouble == ""
    assert look.facts is not None
    assert look.facts.memory.total > 0
    assert site.was_root
    assert look.asked <= look.facts.began <= look.facts.ended <= look.answered
    assert look.clock is not None
    assert look.clock.least <= 0 <= look.clock.most


def test_root_needs_no_sudo(site: Site) -> None:
    # Given a machine whose login is root's, when it is looked at, then sudo is not called
    site.tool("id", "#!/bin/sh\necho 0\n")
    assert machines.look(site.machine(), COMMANDS, None).facts is not None
    assert not site.was_root


def test_sudo_that_asks_is_told_and_the_password_helps(site: Site) -> None:
    # Given a machine whose sudo asks for a password
    site.sudo(asks=True)
    # When it is looked at without one, then that is told; its clock is seen all the same
    look = machines.look(site.machine(), COMMANDS, None)
    assert look.trouble == "sudo asks for a password there, so nothing more can be seen"
    assert look.wants_password
    assert look.clock is not None
    # And with the password everything is seen
    (look,) = machines.look_at([site.machine()], COMMANDS, Person("sesame"), watched([]))
    assert look.facts is not None


def test_a_password_that_only_ansible_knows_is_asked_for(site: Site) -> None:
    # Given an inventory that holds sudo's password, perhaps encrypted
    site.sudo(asks=True)
    login = dataclasses.replace(site.machine().login, has_sudo_password=True)
    machine = dataclasses.replace(site.machine(), login=login)
    # When it is looked at, then it is asked for all the same
    assert machines.look(machine, COMMANDS, None).wants_password
    (look,) = machines.look_at([machine], COMMANDS, Person("sesame"), watched([]))
    assert look.facts is not None
    # And where sudo asks nobody, neither does doctor
    site.sudo(asks=False)
    assert machines.look(machine, COMMANDS, None).facts is not None


def test_a_wrong_password_is_no_end_of_all(site: Site) -> None:
    # Given a machine whose sudo asks for a password, when somebody does not know it, then it stays untold
    site.sudo(asks=True)
    (look,) = machines.look_at([site.machine()], COMMANDS, Person("wrong", "wrong", "wrong"), watched([]))
    assert look.facts is None
    assert "sudo asks" in look.trouble


def test_a_wrong_key_is_told_with_what_to_do(site: Site, tmp_path: Path) -> None:
    # Given a machine that lets in another key
    site.server.authorized = make_key(tmp_path / "another")
    # When it is looked at, then that is told
    look = machines.look(site.machine(), COMMANDS, None)
    assert "refuses the login" in look.trouble
    assert "ssh-copy-id" in look.hint


def test_a_machine_that_is_off_is_told(site: Site) -> None:
    # Given a machine that is off, when it is looked at, then that is told
    site.server.close()
    look = machines.look(site.machine(), COMMANDS, None)
    assert f"nothing listens on port {site.server.port}" in look.trouble


def test_an_unknown_host_key_is_accepted_by_provision_alone(site: Site) -> None:
    # Given a machine whose host key is unknown here
    (site.folder / "known_hosts").write_text("")
    # When it is looked at
    look = machines.look(site.machine(), COMMANDS, None)
    # Then nobody logs in, nothing is accepted, and it is told which command asks
    assert "unknown host key" in look.trouble
    assert look.hint.startswith("labfleet provision --limit w1")
    assert site.server.attempts == 0
    assert (site.folder / "known_hosts").read_text() == ""


def test_odd_ssh_options_are_that_machines_trouble(site: Site) -> None:
    # Given an inventory with an option that ssh does not know, when it is looked at, then that is told of this machine
    login = Login("ssh", "127.0.0.1", port=site.server.port, arguments=("-oNoSuchOption=1",))
    look = machines.look(Machine("w1", login, is_head=False, is_worker=True), COMMANDS, None)
    assert "NoSuchOption".lower() in look.trouble.lower()


def test_an_answer_that_makes_no_sense_is_told(site: Site) -> None:
    # Given a machine whose Python does not work
    site.tool("python3", '#!/bin/sh\n[ "$1" = - ] || exit 0\necho "python3: broken" >&2\nexit 1\n')
    # When it is looked at, then what it said is told
    look = machines.look(site.machine(), COMMANDS, None)
    assert look.facts is None
    assert look.trouble == "cannot be looked at; it said: python3: broken"


def test_a_login_may_greet(site: Site) -> None:
    # Given a machine whose profile prints something at every login
    site.tool("date", '#!/bin/sh\necho Welcome; exec /bin/date "$@"\n')
    site.tool("sudo", '#!/bin/sh\n[ "$1" = -n ] && shift\necho Welcome\nexec "$@"\n')
    # When it is looked at, then that does no harm
    look = machines.look(site.machine(), COMMANDS, None)
    assert look.facts is not None
    assert look.clock is not None


def test_this_machine_is_looked_at_without_ssh(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an inventory that names this machine itself
    monkeypatch.setenv("PATH", f"{site.folder / 'bin'}:{os.environ['PATH']}")
    here = Machine("head", Login("local", "localhost"), is_head=True, is_worker=False)
    # When it is looked at
    (look,) = machines.look_at([here], COMMANDS, None, watched([]))
    # Then it told its facts, nobody logged in, and no stranger was played
    assert look.facts is not None
    assert site.server.attempts == 0
    assert look.strangers == {}


def test_the_inventorys_python_is_taken(site: Site) -> None:
    # Given an inventory that names a Python of its own
    site.tool("python3", "#!/bin/sh\nexit 1\n")
    login = Login(**{**vars(site.machine().login), "interpreter": sys.executable})
    # When the machine is looked at, then it is that one
    assert machines.look(Machine("w1", login, is_head=False, is_worker=True), COMMANDS, None).facts is not None


# ---- all machines ----------------------------------------------------------------------------------------------------


def test_machines_are_told_in_their_order_and_none_blocks_the_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a machine that hangs, one that is off, and one that is well
    monkeypatch.setattr(machines, "DEADLINE", 10.0)
    monkeypatch.setitem(host_keys.OPTIONS, "ConnectTimeout", "30")
    waited: list[list[str]] = []
    with serving(lambda _: None) as silent:
        all_machines = [site.machine("w1", silent), site.machine("w2", free_port()), site.machine("w3")]
        # When they are looked at
        looks = machines.look_at(all_machines, COMMANDS, None, watched(waited))
    # Then each has its answer; of the one that hangs, that is told
    assert [look.machine.name for look in looks] == ["w1", "w2", "w3"]
    assert looks[0].trouble == "it takes connections, but has not told how it is within 10 s"
    assert "nothing listens" in looks[1].trouble
    assert looks[2].facts is not None
    # And who was waited for was told
    assert waited[0] == ["w1", "w2", "w3"]
    assert ["w1"] in waited


def test_questions_are_asked_at_the_same_time() -> None:
    # Given two questions of which each waits for the other
    meeting = threading.Barrier(2, timeout=10)
    # When they are asked, then both are answered
    answers = machines.at_once({"a": meeting.wait, "b": meeting.wait}, 20, watched([]))
    assert answers.keys() == {"a", "b"}


def test_what_takes_too_long_is_left_behind() -> None:
    # Given a question that is never answered
    never = threading.Event()
    began = time.monotonic()
    # When it is asked with another one, then only the other's answer is there, in time
    answers = machines.at_once({"a": never.wait, "b": lambda: True}, 0.2, watched([]))
    assert answers == {"b": True}
    assert time.monotonic() - began < 10
    never.set()


def test_a_mistake_in_a_question_is_raised() -> None:
    # Given a question that fails, when it is asked, then its error comes, and not a finding
    def fail() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        machines.at_once({"a": fail}, 10, watched([]))


# ---- strangers -------------------------------------------------------------------------------------------------------

RECORDED = Path(__file__).parent / "data" / "doctor"


def head_with(distcc: str, builder: str) -> Look:
    """Return the recorded head with one worker: its entry in distcc's list, and the address of a builder."""
    told = json.loads((RECORDED / "head.json").read_text())
    told["settings"]["head"]["redis"] = f"rediss://foreman@127.0.0.1:{free_port()}"
    told["workers"] = [{"name": "w1", "address": builder, "builder": True, "distcc": distcc}]
    head = Machine("head", Login("ssh", "192.0.2.11"), is_head=True, is_worker=False)
    return Look(head, decode(json.dumps(told), Facts))


def test_this_computer_plays_the_stranger(site: Site) -> None:
    # Given a lab, and a worker whose distcc compiles for this computer, which is no builder
    with distccd("127.0.0.1") as port:
        worker = site.machine("w1")
        lab = known([head_with(f"127.0.0.1:{port}/2,lzo", "192.0.2.1")], COMMANDS)
        # When it knocks there, then it is let in, and that is to be told
        assert machines._as_stranger(worker, lab) == {"distcc": Knock(Met.LET_IN)}
        # And who is the builder itself is no stranger
        lab = known([head_with(f"127.0.0.1:{port}/2,lzo", "127.0.0.1")], COMMANDS)
        assert machines._as_stranger(worker, lab) == {}


def test_of_a_lab_that_is_not_known_nothing_is_tried(site: Site) -> None:
    # Given a worker of which the head has noted nothing, and a head that could not be asked
    entry = f"127.0.0.1:{free_port()}/2,lzo"
    assert machines._as_stranger(site.machine("w2"), known([head_with(entry, "192.0.2.1")], COMMANDS)) == {}
    head = Machine("head", site.machine().login, is_head=True, is_worker=False)
    # When a stranger is to knock there, then nothing is tried
    assert machines._as_stranger(head, known([Look(head)], COMMANDS)) == {}


def test_behind_a_jump_host_nobody_is_taken_for_a_machine_of_the_lab(site: Site) -> None:
    # Given a worker behind a jump host, whose address is another machine's here
    login = site.machine().login
    behind = dataclasses.replace(login, arguments=(*login.arguments, "-oProxyJump=gate.invalid"))
    worker = Machine("w1", behind, is_head=False, is_worker=True)
    # When a stranger is to knock there, then nothing is tried
    with distccd("127.0.0.1") as port:
        lab = known([head_with(f"127.0.0.1:{port}/2,lzo", "192.0.2.1")], COMMANDS)
        assert machines._as_stranger(worker, lab) == {}


def test_a_stranger_knocks_at_the_heads_redis(site: Site) -> None:
    # Given a head, when a stranger knocks, then at Redis' port of the address at which the head is reached
    head = Machine("head", site.machine().login, is_head=True, is_worker=False)
    met = machines._as_stranger(head, known([head_with("w1", "192.0.2.1")], COMMANDS))
    assert met["redis"].met is Met.CLOSED


# ---- the way to the lab ----------------------------------------------------------------------------------------------


def problems(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.severity is not Severity.OK]


def test_programs_that_are_missing_here_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a computer on which nothing is installed
    monkeypatch.setenv("PATH", str(tmp_path))
    # When it is looked at, for a lab far away and for one here
    remote = {one.message: one.advice for one in client.this_computer(is_remote=True) if one.topic == "programs"}
    local = {one.message: one.advice for one in client.this_computer(is_remote=False) if one.topic == "programs"}
    # Then what each needs is told, with how it is installed
    assert remote["rsync is not installed"] == "sudo apt install rsync"
    assert "ssh is not installed" in remote
    assert local["redis-server is not installed"] == "sudo apt install redis-server"
    assert "ssh is not installed" not in local
    assert {"git is not installed"} == remote.keys() & local.keys()


def test_a_head_that_is_off_is_told_to_whoever_uses_the_lab() -> None:
    # Given a head that is not there, when somebody's way there is looked at
    found = client.remote("no-such-head.invalid", [], [])
    # Then it is told, with what somebody can do who is no administrator
    assert [(one.severity, one.machine, one.topic) for one in found] == [
        (Severity.ERROR, "no-such-head.invalid", "login"),
    ]
    assert "no machine is known by the name" in found[0].message
    assert "administrator" in found[0].advice


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be somebody without settings, in an empty folder."""
    for name in ("LABFLEET_LAB", "LABFLEET_INVENTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LABFLEET_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("nobody")
def test_a_local_lab_that_does_not_run_is_well() -> None:
    # Given somebody who has chosen no lab, and whose own does not run
    assert chosen_lab.chosen() is None
    assert local_lab.idle()
    # When doctor is asked, then this computer is looked at, and the lab is well
    found = doctor.examine([], None, view.Progress(io.StringIO()))
    assert {one.machine for one in found} == {HERE}
    assert {one.topic for one in found} == {"programs", "disk", "lab"}
    assert [one.severity for one in found if one.topic == "lab"] == [Severity.OK]


@pytest.mark.usefixtures("nobody")
def test_an_inventory_that_was_named_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an inventory that is not there, when it is named by option or variable, then that is wrong use
    with pytest.raises(WrongUse, match=r"lab\.yml"):
        doctor.examine(["lab.yml"], None, view.Progress(io.StringIO()))
    monkeypatch.setenv("LABFLEET_INVENTORY", "other.yml")
    with pytest.raises(WrongUse, match=r"other\.yml"):
        doctor.examine([], None, view.Progress(io.StringIO()))


@pytest.mark.usefixtures("nobody")
def test_everything_is_told_together(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an administrator with an inventory of a machine that is not provisioned, and a lab whose head is off
    (tmp_path / "inventory").mkdir()
    login = site.machine().login
    settings = {
        "ansible_host": login.address,
        "ansible_port": login.port,
        "ansible_ssh_private_key_file": login.key_file,
        "ansible_ssh_common_args": " ".join(login.arguments),
    }
    groups = {"head": {"hosts": {"w1": settings}}, "workers": {"hosts": {"w1": {}}}}
    (tmp_path / "inventory" / "lab.yml").write_text(json.dumps({"all": {"children": groups}}))
    monkeypatch.setenv("LABFLEET_LAB", "no-such-head.invalid")
    # When doctor is asked
    found = doctor.examine([], None, view.Progress(io.StringIO()))
    # Then the machine, and the way to the lab, are told
    told = {(one.machine, one.topic) for one in problems(found)}
    assert {("w1", "settings"), ("no-such-head.invalid", "login")} <= told
    assert view.exit_code(found) == 3
    # And who has chosen no lab is told of the inventory's alone
    monkeypatch.delenv("LABFLEET_LAB")
    found = doctor.examine([], None, view.Progress(io.StringIO()))
    assert {one.machine for one in found} == {HERE, "w1"}
    assert "lab" not in {one.topic for one in found}


def test_progress_is_for_terminals() -> None:
    # Given a terminal, and a file
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, file = Screen(), io.StringIO()
    for stream in (screen, file):
        progress = view.Progress(stream)
        # When machines are waited for
        progress.waiting(["w1", "w2"])
        progress.close()
    # Then the terminal shows which, and nothing is left there; the file stays empty
    assert "waiting for w1, w2" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")
    assert file.getvalue() == ""


def test_looks_of_machines_without_facts_are_judged() -> None:
    # Given a lab none of whose machines can be reached, when that is judged, then each is told
    off = [Look(Machine(name, Login("ssh", name), is_head=name == "a", is_worker=True), trouble="off") for name in "ab"]
    assert [one.machine for one in problems(of_machines(off, COMMANDS))] == ["a", "b"]
