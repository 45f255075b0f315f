"""What is met at the lab's doors: real servers, who is let in and who is not."""

import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from runner import curve, knock
from runner.knock import Met
from tests.conftest import needs
from tests.servers import authority, distccd, free_port, redis, serving, users

PASSWORDS = {"foreman": "right", "worker": "another"}


@contextmanager
def impatience() -> Iterator[None]:
    """Have what does not answer at once pass for silent; not where an answer is expected, which may take its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knock, "PATIENCE", 0.6)
        yield


@pytest.fixture
def silent() -> Iterator[int]:
    """Return the port of a server that says nothing."""
    with serving(lambda _: None) as port:
        yield port


def echo(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n" * 10)


# ---- Redis -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("openssl")
    return authority(tmp_path_factory.mktemp("lab") / "certificates")


@pytest.fixture(scope="module")
def labs_redis(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of a Redis as the lab has it."""
    with redis(certificates, *users(tmp_path_factory.mktemp("redis") / "acl", PASSWORDS)) as port:
        yield port


def test_who_has_the_password_is_let_in(labs_redis: int, certificates: Path) -> None:
    # Given the lab's Redis, when its foreman and a worker come with their passwords
    for user, password in PASSWORDS.items():
        url, ca = f"rediss://{user}@127.0.0.1:{labs_redis}", str(certificates / "ca.pem")
        met, value = knock.redis(url, password, ca, "key")
        # Then they are let in; a key that is not there is empty
        assert (met.met, value) == (Met.LET_IN, "")


def test_the_value_of_a_key_is_read(labs_redis: int, certificates: Path) -> None:
    # Given a key with a value of an odd form
    url, ca = f"rediss://foreman@127.0.0.1:{labs_redis}", str(certificates / "ca.pem")
    value = "$5\r\nodd\r\n+OK"
    argv = ["redis-cli", "--tls", "--cacert", ca, "-p", str(labs_redis), "--user", "foreman", "--pass", "right"]
    subprocess.run([*argv, "set", "odd", value], check=True, capture_output=True)
    # When it is asked for, then all of it is there
    assert knock.redis(url, "right", ca, "odd")[1] == value


@pytest.mark.parametrize(("user", "password"), [("foreman", "wrong"), ("foreman", ""), ("default", "right")])
def test_a_wrong_password_is_refused(labs_redis: int, certificates: Path, user: str, password: str) -> None:
    # Given the lab's Redis, when somebody comes with a wrong password
    url = f"rediss://{user}@127.0.0.1:{labs_redis}"
    met, value = knock.redis(url, password, str(certificates / "ca.pem"), "key")
    # Then that is what is told
    assert (met.met, value) == (Met.REFUSED, "")
    assert "WRONGPASS" in met.said


def test_another_labs_certificate_is_not_trusted(labs_redis: int, tmp_path: Path) -> None:
    # Given another certificate authority, when the lab's Redis is knocked at, then that is told, whatever the password
    other = authority(tmp_path / "other")
    met, _ = knock.redis(f"rediss://foreman@127.0.0.1:{labs_redis}", "right", str(other / "ca.pem"), "key")
    assert met.met is Met.UNTRUSTED
    assert "certificate" in met.said


def test_a_missing_certificate_is_told(labs_redis: int, tmp_path: Path) -> None:
    # Given no authority's certificate, when Redis is knocked at, then it is told which file is missing
    met, _ = knock.redis(f"rediss://foreman@127.0.0.1:{labs_redis}", "right", str(tmp_path / "ca.pem"), "key")
    assert met.met is Met.UNTRUSTED
    assert "ca.pem: No such file" in met.said


def test_a_redis_that_does_not_answer_is_told(certificates: Path, silent: int) -> None:
    # Given a port where nothing listens, and one that says nothing
    ca = str(certificates / "ca.pem")
    # When they are knocked at, then the two are told apart
    assert knock.redis(f"rediss://foreman@127.0.0.1:{free_port()}", "right", ca, "key")[0].met is Met.CLOSED
    with impatience():
        met, _ = knock.redis(f"rediss://foreman@127.0.0.1:{silent}", "right", ca, "key")
    assert met == knock.Knock(Met.SILENT, knock.NO_ANSWER)


def test_a_redis_that_cannot_serve_yet_is_told(certificates: Path) -> None:
    # Given a Redis that still loads its data
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "redis.crt", certificates / "redis.key")

    def loading(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            secured.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")

    # When it is knocked at, then that is told, and not taken for a wrong password
    with serving(loading) as port:
        met, _ = knock.redis(f"rediss://foreman@127.0.0.1:{port}", "right", str(certificates / "ca.pem"), "key")
    assert (met.met, met.said) == (Met.SILENT, "LOADING Redis is loading the dataset in memory")


def test_a_stranger_is_asked_for_a_password(labs_redis: int) -> None:
    # Given the lab's Redis, when a stranger comes, then it asks for a password
    assert knock.redis_as_stranger("127.0.0.1", labs_redis).met is Met.REFUSED


def test_an_open_redis_is_found(certificates: Path) -> None:
    # Given a Redis without a password, with TLS and without, when a stranger comes, then it is let in
    with redis(certificates) as port:
        assert knock.redis_as_stranger("127.0.0.1", port) == knock.Knock(Met.LET_IN, "without a password")
    with redis(None) as port:
        assert knock.redis_as_stranger("127.0.0.1", port) == knock.Knock(Met.LET_IN, "without TLS and password")


def test_a_password_without_tls_is_found() -> None:
    # Given a Redis that takes passwords as they are, when a stranger comes, then that is told
    with redis(None, "--requirepass", "right") as port:
        assert knock.redis_as_stranger("127.0.0.1", port).met is Met.UNTRUSTED


def test_where_no_redis_is_a_stranger_meets_none(silent: int) -> None:
    # Given nothing, something silent and something else, when a stranger knocks, then none of it passes for Redis
    assert knock.redis_as_stranger("127.0.0.1", free_port()).met is Met.CLOSED
    with impatience(), serving(echo) as port:
        assert knock.redis_as_stranger("127.0.0.1", silent).met is Met.SILENT
        assert knock.redis_as_stranger("127.0.0.1", port).met is Met.SILENT


# ---- distcc ----------------------------------------------------------------------------------------------------------


def test_distcc_compiles_for_builders() -> None:
    # Given a distcc for this address, when it is knocked at, then it has compiled something
    with distccd("127.0.0.1") as port:
        assert knock.distcc("127.0.0.1", port).met is Met.LET_IN


def test_distcc_refuses_strangers() -> None:
    # Given a distcc for another address, when it is knocked at, then it refuses
    with distccd("192.0.2.1") as port:
        assert knock.distcc("127.0.0.1", port).met is Met.REFUSED


def reset(connection: socket.socket) -> None:
    """Close a connection in the harshest way: what was sent is not even read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_reset_connection_is_a_refusal() -> None:
    # Given a distcc that is quick to close the connection, when it is knocked at, then it refuses
    with serving(reset) as port:
        assert knock.distcc("127.0.0.1", port).met is Met.REFUSED


def test_a_connection_that_is_reset_at_once_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a distcc that is quicker still: it has closed before the kernel has told of the connection
    def quick(*_: object, **__: object) -> socket.socket:
        raise ConnectionResetError

    monkeypatch.setattr(socket, "create_connection", quick)
    # When it is knocked at, then it refuses, and something listens there
    assert knock.distcc("127.0.0.1", 3632).met is Met.REFUSED
    assert knock.listens("127.0.0.1", 3632).met is Met.LET_IN


def test_a_compiler_that_fails_is_told() -> None:
    # Given a distcc whose compiler fails
    def fail(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"DONE00000001STAT00000100SERR00000012g++: not installed")

    # When it is knocked at, then that is told
    with serving(fail) as port:
        met = knock.distcc("127.0.0.1", port)
    assert (met.met, met.said) == (Met.SILENT, "the compiler failed there: g++: not installed")


def test_where_no_distcc_is_none_is_met(silent: int) -> None:
    # Given nothing, something silent and something else, when it is knocked at, then none of it passes for distcc
    assert knock.distcc("127.0.0.1", free_port()).met is Met.CLOSED
    with impatience(), serving(echo) as port:
        assert knock.distcc("127.0.0.1", silent).met is Met.SILENT
        assert knock.distcc("127.0.0.1", port).met is Met.SILENT


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("192.0.2.1/4,lzo", ("192.0.2.1", 3632)),
        ("192.0.2.1:4000/4,lzo", ("192.0.2.1", 4000)),
        ("w1", ("w1", 3632)),
        ("w1,lzo", ("w1", 3632)),
        ("[2001:db8::1]:4000/4", ("2001:db8::1", 4000)),
    ],
)
def test_an_entry_of_distccs_list_names_a_place(entry: str, place: tuple[str, int]) -> None:
    # Given an entry of distcc's list of hosts, when it is read, then it is the place that distcc connects to
    assert knock.distcc_place(entry) == place


# ---- ZeroMQ ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def people(tmp_path: Path) -> Iterator[tuple[str, curve.Access]]:
    """Return the endpoint of a service for people, and what somebody needs who is registered."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    guard = curve.guard(context, tmp_path)
    server, own = curve.own_keys(tmp_path, "server"), curve.own_keys(tmp_path / "own", "client")
    curve.register(tmp_path, curve.PEOPLE, "anna", own.public.decode())
    desk = context.socket(zmq.ROUTER)
    curve.serve(desk, server, curve.PEOPLE)
    port = desk.bind_to_random_port("tcp://127.0.0.1")
    yield f"tcp://127.0.0.1:{port}", curve.Access(own, server.public)
    guard.stop()
    context.destroy(linger=0)


def test_a_registered_key_is_let_in(people: tuple[str, curve.Access]) -> None:
    # Given a service, when somebody knocks who is registered, then they are let in
    assert knock.service(*people).met is Met.LET_IN


def test_a_strangers_key_is_refused(people: tuple[str, curve.Access], tmp_path: Path) -> None:
    # Given a service, when a stranger knocks, then it is refused
    endpoint, access = people
    stranger = curve.Access(curve.own_keys(tmp_path / "stranger", "client"), access.server)
    assert knock.service(endpoint, stranger).met is Met.REFUSED


def test_a_service_with_another_key_is_not_trusted(people: tuple[str, curve.Access], tmp_path: Path) -> None:
    # Given a service, when somebody knocks who expects another key, then that is told
    endpoint, access = people
    other = curve.Access(access.own, curve.own_keys(tmp_path / "other", "server").public)
    assert knock.service(endpoint, other).met is Met.UNTRUSTED


def test_a_service_that_takes_logs_is_knocked_at_as_slots_do(tmp_path: Path) -> None:
    # Given a service that takes logs of workers
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    guard = curve.guard(context, tmp_path)
    server, own = curve.own_keys(tmp_path, "server"), curve.own_keys(tmp_path / "own", "worker")
    curve.register(tmp_path, curve.WORKERS, "w1", own.public.decode())
    inbox = context.socket(zmq.PULL)
    curve.serve(inbox, server, curve.WORKERS)
    port = inbox.bind_to_random_port("tcp://127.0.0.1")
    # When a worker knocks as its slots do, then it is let in
    met = knock.service(f"tcp://127.0.0.1:{port}", curve.Access(own, server.public), zmq.PUSH)
    guard.stop()
    context.destroy(linger=0)
    assert met.met is Met.LET_IN


def test_where_no_service_is_none_is_met(people: tuple[str, curve.Access], silent: int) -> None:
    # Given nothing, a tunnel to nothing, something silent and something else
    _, access = people
    # When it is knocked at, then none of it passes for the service
    assert knock.service(f"tcp://127.0.0.1:{free_port()}", access).met is Met.CLOSED
    with impatience():
        assert knock.service(f"tcp://127.0.0.1:{silent}", access).met is Met.SILENT
    for close in (lambda connection: connection.shutdown(socket.SHUT_RDWR), reset):
        with serving(close) as port:
            assert knock.service(f"tcp://127.0.0.1:{port}", access).met is Met.CLOSED
    with serving(echo) as port:
        assert knock.service(f"tcp://127.0.0.1:{port}", access).met is Met.CLOSED


def test_a_service_that_hangs_is_silent(people: tuple[str, curve.Access]) -> None:
    # Given a service that greets and then says nothing more, when it is knocked at, then it is silent
    with impatience(), serving(lambda connection: connection.sendall(b"\xff\0\0\0\0\0\0\0\x01\x7f")) as port:
        assert knock.service(f"tcp://127.0.0.1:{port}", people[1]) == knock.Knock(Met.SILENT, knock.NO_ANSWER)


def test_a_port_listens_or_not() -> None:
    # Given a port with a server, and one without, when they are looked at, then they are told apart
    with serving(echo) as port:
        assert knock.listens("127.0.0.1", port).met is Met.LET_IN
    assert knock.listens("127.0.0.1", free_port()).met is Met.CLOSED
