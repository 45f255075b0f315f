"""The way to a remote lab: a person's own SSH login, host keys, tunnels, and what the head says."""

import errno
import getpass
import hashlib
import json
import os
import random
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from runner import remote_lab
from runner.collection import Collector
from runner.curve import KeyPair
from runner.errors import LabFailed
from runner.lab import LabAway
from runner.model import PROTOCOL, File, Outcome
from runner.paths import AttemptPaths, CampaignPaths, HomePaths, LabPaths
from runner.remote_lab import RemoteLab, Welcome
from runner.ssh import Login
from tests.conftest import eventually, needs
from tests.ssh_server import SshServer, make_key, ssh_server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home, with one key and nothing known."""
    needs("ssh-keygen")
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    make_key(home / ".ssh" / "id_ed25519")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def head(tmp_path: Path, home: Path) -> Iterator[SshServer]:
    """A machine that lets the person in, and that the person's configuration calls head."""
    with ssh_server(make_key(tmp_path / "host"), home / ".ssh" / "id_ed25519") as server:
        (home / ".ssh" / "config").write_text(
            f"Host head\n  HostName 127.0.0.1\n  Port {server.port}\n  User {getpass.getuser()}\n"
        )
        know(home, server)
        yield server


def know(home: Path, server: SshServer, key: Path | None = None) -> None:
    """Have the person know a machine's host key, or take another one for it."""
    public = Path(f"{key or server.host_keys[0]}.pub").read_text()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {public}")


@pytest.fixture
def login(home: Path, head: SshServer) -> Iterator[Callable[[], Login]]:
    assert head.port
    made: list[Login] = []

    def make() -> Login:
        made.append(Login("head", LabPaths(home / "state")))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_command_gets_its_input_and_tells_its_output_and_status(login: Callable[[], Login]) -> None:
    # Given a known machine, when a command is run there, then what it reads, prints and ends with is right
    done = login().run("cat; echo grief >&2; exit 7", "hello\n")
    assert (done.status, done.stdout, done.stderr) == (7, b"hello\n", b"grief\n")


def test_an_unknown_host_key_is_refused_with_the_line_that_accepts_it(
    home: Path, head: SshServer, login: Callable[[], Login]
) -> None:
    # Given a machine whose host key the person does not know
    (home / ".ssh" / "known_hosts").unlink()
    # When labfleet connects, then it refuses before it shows who is there
    with pytest.raises(LabFailed) as failed:
        login().run("true")
    assert "unknown" in failed.value.message
    assert "ssh -o StrictHostKeyChecking=ask head true" in failed.value.hint
    assert head.attempts == 0
    assert not (home / ".ssh" / "known_hosts").exists()


def test_a_changed_host_key_is_refused(tmp_path: Path, home: Path, head: SshServer, login: Callable[[], Login]) -> None:
    # Given a machine that shows another key than the known one
    know(home, head, make_key(tmp_path / "other"))
    # When labfleet connects, then it refuses, and says what to do if the key was changed
    with pytest.raises(LabFailed) as failed:
        login().run("true")
    assert "another host key" in failed.value.message
    assert "ssh-keygen -R" in failed.value.hint
    assert head.attempts == 0


def test_the_known_hosts_of_the_configuration_count(home: Path, login: Callable[[], Login]) -> None:
    # Given a person who keeps known hosts elsewhere
    (home / ".ssh" / "known_hosts").rename(home / "elsewhere")
    with (home / ".ssh" / "config").open("a") as config:
        config.write(f"  UserKnownHostsFile {home}/elsewhere\n")
    # When labfleet connects, then the machine is known
    assert login().run("true").status == 0


def test_a_refused_login_says_how_to_get_in(tmp_path: Path, head: SshServer, login: Callable[[], Login]) -> None:
    # Given a machine that knows another key
    head.authorized = make_key(tmp_path / "somebody")
    # When labfleet connects, then it says so
    with pytest.raises(LabFailed, match="refuses the login") as failed:
        login().run("true")
    assert "ssh-copy-id head" in failed.value.hint


def test_a_machine_that_is_off_is_told_in_a_sentence(head: SshServer, login: Callable[[], Login]) -> None:
    # Given a machine that is off, when labfleet connects, then it says so
    head.close()
    with pytest.raises(LabFailed, match="head cannot be reached"):
        login().run("true")


def test_a_jump_host_is_used_and_has_to_be_known_too(tmp_path: Path, home: Path, login: Callable[[], Login]) -> None:
    # Given a head behind a jump host
    with ssh_server(make_key(tmp_path / "jump"), home / ".ssh" / "id_ed25519") as jump:
        with (home / ".ssh" / "config").open("a") as config:
            config.write(f"  ProxyJump {getpass.getuser()}@localhost:{jump.port}\n")
        # When the jump host is unknown, then it is refused
        with pytest.raises(LabFailed, match="unknown"):
            login().run("true")
        assert jump.attempts == 0
        # … and when it is known, then it leads to the head
        public = Path(f"{jump.host_keys[0]}.pub").read_text()
        with (home / ".ssh" / "known_hosts").open("a") as known:
            known.write(f"[localhost]:{jump.port} {public}")
        assert login().run("echo here").text == "here"
        assert jump.attempts > 0


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1024):
            self.request.sendall(data)


def test_a_tunnel_leads_to_the_other_end_and_ends_with_the_client(login: Callable[[], Login]) -> None:
    # Given a service on the head's loopback interface
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as service:
        service.daemon_threads = True
        threading.Thread(target=service.serve_forever, daemon=True).start()
        # When a tunnel is opened to it, then what is sent comes back
        with (
            login().tunnel(service.server_address[1]) as port,
            socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        ):
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
        # … and afterwards the port is closed
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=1)
        service.shutdown()


# ---- what the head says ------------------------------------------------------------------------------------------

KEYS = KeyPair(b"p" * 40, b"s" * 40)


def welcome(protocol: int) -> Welcome:
    return Welcome("ada", "lab", protocol, 1, 2, "k" * 40, "abc")


def test_the_head_is_shown_the_key_and_its_answer_is_understood(head: SshServer, login: Callable[[], Login]) -> None:
    # Given a head that answers with what it was asked
    answer = json.dumps(
        {"user": "ada", "name": "lab", "protocol": 9, "foreman": 1, "hub": 2, "key": "k", "revision": ""}
    )
    head.forced = f"read line; case $line in *'\"key\":\"{'p' * 40}\"'*) echo '{answer}';; esac"
    # When a client joins, then it learns ports and key
    found = remote_lab.join(login(), KEYS)
    assert (found.user, found.protocol, found.hub) == ("ada", 9, 2)


@pytest.mark.parametrize(
    ("forced", "said", "hint"),
    [
        ("exit 127", "is no head of a lab", "labfleet provision"),
        ("echo 'labfleet: not you' >&2; exit 3", "does not let you in: labfleet: not you", "administrator"),
        ("echo Welcome to this machine", "answered what is no answer", "profile"),
    ],
)
def test_what_is_no_welcome_is_explained(
    head: SshServer, login: Callable[[], Login], forced: str, said: str, hint: str
) -> None:
    # Given a machine that is no head, one that lets this person not in, or a login that prints something
    head.forced = forced
    # When a client joins, then it says so, and what to do
    with pytest.raises(LabFailed, match=said) as failed:
        remote_lab.join(login(), KEYS)
    assert hint in failed.value.hint


@pytest.mark.parametrize(("protocol", "command"), [(PROTOCOL - 1, "labfleet upgrade"), (PROTOCOL + 1, "git pull")])
def test_another_version_of_the_protocol_names_the_command_to_run(protocol: int, command: str) -> None:
    # Given a lab that is older or newer, when a client meets it, then it says who has to do what
    with pytest.raises(LabFailed, match=f"version {PROTOCOL} .*version {protocol}") as failed:
        remote_lab.check_protocol(welcome(protocol))
    assert command in failed.value.hint


def test_the_same_version_is_fine() -> None:
    remote_lab.check_protocol(welcome(PROTOCOL))


def test_a_client_that_leaves_cuts_off_no_other(
    tmp_path: Path, home: Path, login: Callable[[], Login], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an ssh program that takes this test's home for the person's
    needs("ssh")
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nexec {shutil.which('ssh')} -F {home}/.ssh/config -i {home}/.ssh/id_ed25519 "
        f'-o UserKnownHostsFile={home}/.ssh/known_hosts "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    # … and two labfleets of that person's, whose git and rsync share a connection to the head
    one, other = login(), login()
    with subprocess.Popen([*one.ssh(), "head", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as busy:
        eventually(lambda: list(LabPaths(home / "state").sockets.glob("ssh-*")), "the shared connection")
        # When one leaves while the other is in the middle of something
        other.ssh()
        other.close()
        # Then that comes to its end
        assert busy.communicate(b"all of it")[0] == b"all of it"
        assert busy.returncode == 0


# ---- results on their way home -----------------------------------------------------------------------------------


#: Stands for the ssh program: runs the command here, and its connection ends after so many bytes.
SSH = """
import os, subprocess, sys
from pathlib import Path
os.set_blocking(1, True)  # rsync hands over a pipe that is not
folder = Path({folder!r})
number = len(list(folder.glob("sent.*")))
limits = (folder / "limits").read_text().split()
left = int(limits[number]) if number < len(limits) else 1 << 40
with (folder / f"sent.{{number}}").open("wb", buffering=0) as sent:
    server = subprocess.Popen(" ".join(sys.argv[2:]), shell=True, stdout=subprocess.PIPE, start_new_session=True)
    while left and (data := os.read(server.stdout.fileno(), min(left, 65536))):
        left -= len(data)
        sent.write(data)
        while data:
            data = data[os.write(1, data):]
if not left:
    os.killpg(server.pid, 9)
sys.exit(server.wait() if left else 255)
"""


class Transfer:
    """A remote lab whose connections are cut after so many bytes: real rsync at both ends, a pipe between them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        needs("rsync")
        self.folder = folder
        self.store = CampaignPaths(folder / "head" / "one")
        entry = folder / "entry"
        entry.write_text(f'#!/bin/sh\nshift; cd {folder}/head; exec rsync "$@"\n')
        entry.chmod(0o755)
        self._ssh = folder / "ssh"
        self._ssh.write_text(f"#!{sys.executable}\n{SSH.format(folder=str(folder))}")
        self._ssh.chmod(0o755)
        monkeypatch.setattr(remote_lab, "ENTRY", str(entry))
        (folder / "limits").touch()
        login = SimpleNamespace(name="head", ssh=lambda: [str(self._ssh)], tunnel=nullcontext)
        self.lab = RemoteLab(cast("Login", login), welcome(PROTOCOL), KEYS, LabPaths(folder / "client"))

    def commit(self, data: bytes) -> Outcome:
        """Put a run's file into the lab's result store."""
        attempt = AttemptPaths(self.store.committed(0, 1, done=True))
        attempt.file("x.vec").parent.mkdir(parents=True)
        attempt.file("x.vec").write_bytes(data)
        attempt.log.write_bytes(b"log")
        file = File("x.vec", len(data), attempt.file("x.vec").stat().st_mtime_ns, hashlib.sha256(data).hexdigest())
        return Outcome("one", 0, 1, "done", 0, "red", "slot1", 0.0, 1.0, files=(file,))

    def cut(self, *limits: int) -> None:
        """Have the next connections end after so many bytes."""
        (self.folder / "limits").write_text("".join(f"{limit}\n" for limit in limits))

    @property
    def arrived(self) -> Path:
        """Where the run's file comes home to first."""
        return AttemptPaths(self.lab.paths.campaign("one").committed(0, 1, done=True)).file("x.vec")

    @property
    def sent(self) -> list[int]:
        """Bytes that came over each connection."""
        return [path.stat().st_size for path in sorted(self.folder.glob("sent.*"))]


@pytest.fixture
def transfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Transfer:
    return Transfer(tmp_path, monkeypatch)


def test_a_transfer_that_was_cut_goes_on_where_it_was(transfer: Transfer) -> None:
    # Given a large result, and a connection that breaks when most of it has come
    data = random.Random(1).randbytes(4 << 20)
    outcome = transfer.commit(data)
    transfer.cut(3 << 20)
    # When it is fetched, then it is complete, and what had come was not sent again
    transfer.lab.bring("one", [outcome])
    assert transfer.arrived.read_bytes() == data
    first, second = transfer.sent
    assert first == 3 << 20
    assert second < 3 << 20


def test_a_truncated_file_never_has_its_name(transfer: Transfer) -> None:
    # Given a lab that cannot be reached for longer, in the middle of a result
    outcome = transfer.commit(random.Random(1).randbytes(4 << 20))
    transfer.cut(*[1 << 20] * remote_lab.MOST_TRIES)
    # When it is fetched, then the client says that it can be tried again, and no half file passes for a whole one
    with pytest.raises(LabAway, match="just now"):
        transfer.lab.bring("one", [outcome])
    assert not transfer.arrived.exists()


def test_a_file_that_was_damaged_on_its_way_is_fetched_again(transfer: Transfer, tmp_path: Path) -> None:
    # Given a file of which bytes changed at the client, not its size or time
    outcome = transfer.commit(b"as it was sent")
    transfer.lab.bring("one", [outcome])
    when = transfer.arrived.stat().st_mtime_ns
    transfer.arrived.write_bytes(b"as it was sEnt")
    os.utime(transfer.arrived, ns=(when, when))
    home = HomePaths(tmp_path / "home" / "results", "one")
    collector = Collector(transfer.lab.paths.campaign("one"), home, tmp_path / "home", verify=True)
    # When it is brought home, then that is said, and how it goes on
    with pytest.raises(LabFailed, match="did not arrive as it was sent") as failed:
        collector.collect(outcome)
    assert "labfleet attach one fetches it again" in failed.value.hint
    # And the next client gets it as it was sent
    transfer.lab.bring("one", [outcome])
    collector.collect(outcome)
    assert (tmp_path / "home" / "x.vec").read_bytes() == b"as it was sent"


@pytest.mark.parametrize("signal", ["exit 137", "kill -9 $$"])
def test_a_head_that_dies_is_one_that_is_away(transfer: Transfer, signal: str) -> None:
    # Given a head whose processes are killed while the connection still stands
    outcome = transfer.commit(b"x")
    entry = Path(remote_lab.ENTRY)
    entry.write_text(f"#!/bin/sh\n{signal}\n")
    # When results are fetched, then they are tried again later, and not given up
    with pytest.raises(LabAway, match="just now"):
        transfer.lab.bring("one", [outcome])


def test_a_full_disk_of_the_client_is_told_as_such(transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an rsync whose own end finds no room
    outcome = transfer.commit(b"x")
    program = transfer.folder / "bin" / "rsync"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'rsync: [receiver] write failed: No space left on device (28)' >&2; exit 11\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    # When results are fetched, then that is what is said
    with pytest.raises(OSError, match="No space left") as full:
        transfer.lab.bring("one", [outcome])
    assert full.value.errno == errno.ENOSPC


def test_what_the_lab_does_not_have_is_no_reason_to_try_again(transfer: Transfer) -> None:
    # Given a run whose files are not in the lab, when they are fetched, then that is an error at once
    outcome = transfer.commit(b"x")
    shutil.rmtree(transfer.store.root)
    with pytest.raises(LabFailed, match="cannot be fetched") as failed:
        transfer.lab.bring("one", [outcome])
    assert not isinstance(failed.value, LabAway)
    assert len(transfer.sent) == 1
