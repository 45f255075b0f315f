"""CURVE: registered keys come in, all others do not."""

import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq

from runner import curve
from runner.curve import PEOPLE, WORKERS, Access, KeyPair

#: Milliseconds until a connection counts as refused, and within which one that is let in is heard: two, if not busy.
REFUSED, HEARD = 400, 20_000

#: Seconds in which two who make a pair at the same time meet.
TOGETHER = 0.5


@dataclass
class World:
    """A server that echoes nothing but lets people in, and clients."""

    context: "zmq.Context[zmq.Socket[bytes]]"
    folder: Path
    server: "zmq.Socket[bytes]"
    endpoint: str
    keys: KeyPair

    def register(self, group: str, name: str) -> KeyPair:
        public, secret = zmq.curve_keypair()
        curve.register(self.folder, group, name, public.decode())
        return KeyPair(public, secret)

    def says(self, access: Access | None, wait: int = HEARD) -> bytes | None:
        """Return what the server hears within some milliseconds from a client that says hello."""
        client = self.context.socket(zmq.DEALER)
        client.set(zmq.LINGER, 0)
        curve.call(client, access)
        client.connect(self.endpoint)
        client.send(b"hello")
        try:
            return self.server.recv_multipart(copy=False)[-1].bytes if self.server.poll(wait) else None
        finally:
            client.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    authenticator = curve.guard(context, tmp_path)
    server = context.socket(zmq.ROUTER)
    keys = curve.own_keys(tmp_path, "server")
    curve.serve(server, keys, PEOPLE)
    port = server.bind_to_random_port("tcp://127.0.0.1")
    yield World(context, tmp_path, server, f"tcp://127.0.0.1:{port}", keys)
    authenticator.stop()
    context.destroy(linger=0)


def test_a_registered_key_is_let_in_and_says_whose_it_is(world: World) -> None:
    # Given a person whose key was registered after the server had started
    own = world.register(PEOPLE, "ada")
    # When they connect, then they are heard, and their key names them
    assert world.says(Access(own, world.keys.public)) == b"hello"
    assert curve.owner(world.folder, PEOPLE, own.public.decode()) == "ada"


@pytest.mark.parametrize("who", ["nobody", "a stranger", "a worker", "somebody with the wrong server's key"])
def test_all_others_are_not_heard(world: World, who: str) -> None:
    # Given a person who is let in, and somebody else
    ada = world.register(PEOPLE, "ada")
    stranger = KeyPair(*zmq.curve_keypair())
    access = {
        "nobody": None,
        "a stranger": Access(stranger, world.keys.public),
        "a worker": Access(world.register(WORKERS, "w1"), world.keys.public),
        "somebody with the wrong server's key": Access(ada, stranger.public),
    }[who]
    # When the other one connects, then nothing is heard, while the person still is
    assert world.says(access, REFUSED) is None
    assert world.says(Access(ada, world.keys.public)) == b"hello"


def test_a_withdrawn_key_is_nobody_s(world: World) -> None:
    # Given a registered key, when its file is removed
    own = world.register(PEOPLE, "ada")
    next((world.folder / PEOPLE / "ada").glob("*.key")).unlink()
    # Then whoever has it is refused
    assert world.says(Access(own, world.keys.public), REFUSED) is None


def test_a_key_pair_is_made_once_and_secret(tmp_path: Path) -> None:
    # Given a folder without keys, when they are asked for twice
    first, second = curve.own_keys(tmp_path / "keys", "server"), curve.own_keys(tmp_path / "keys", "server")
    # Then they are the same, and nobody else may read them
    assert first == second
    assert stat.S_IMODE((tmp_path / "keys" / "server.secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_two_that_ask_for_the_first_time_at_once_get_one_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a folder without keys, and whoever makes a pair waits for another one that does so, too
    make, both, made = zmq.curve_keypair, threading.Barrier(2), []

    def made_together() -> tuple[bytes, bytes]:
        made.append(make())
        with suppress(threading.BrokenBarrierError):
            both.wait(TOGETHER)
        return made[-1]

    monkeypatch.setattr(zmq, "curve_keypair", made_together)
    # When two ask at once
    with ThreadPoolExecutor(2) as pool:
        pairs = list(pool.map(lambda _: curve.own_keys(tmp_path, "server"), range(2)))
    # Then one pair was made, and both have it
    assert [(pair.public, pair.secret) for pair in pairs] == [made[0]] * 2
    assert len(made) == 1


@pytest.mark.parametrize(("name", "data"), [("server.pub", b"x" * 40), ("server.secret", b"")])
def test_a_pair_whose_halves_do_not_fit_is_made_anew(tmp_path: Path, name: str, data: bytes) -> None:
    # Given a pair of which a half is another pair's, or was emptied by a power failure
    curve.own_keys(tmp_path, "server")
    (tmp_path / name).write_bytes(data)
    # When it is asked for, then there is one whose halves fit
    pair = curve.own_keys(tmp_path, "server")
    assert zmq.curve_public(pair.secret) == pair.public
    assert curve.own_keys(tmp_path, "server") == pair


@pytest.mark.parametrize("key", ["", "short", "x" * 41, "x" * 39 + " ", "\n" * 40])
def test_what_is_no_key_is_not_registered(tmp_path: Path, key: str) -> None:
    # Given what is no key, when it is registered, then it is refused and leaves no file
    with pytest.raises(ValueError, match="CURVE"):
        curve.register(tmp_path, PEOPLE, "ada", key)
    assert not list(tmp_path.rglob("*.key"))


@pytest.mark.parametrize("name", ["../people/ada", "..", "", "/tmp"])
def test_a_machine_s_name_is_no_way_into_another_folder(world: World, name: str) -> None:
    # Given a worker that would like to be Ada, when it calls itself so, then it is not
    with pytest.raises(ValueError, match="is no name"):
        world.register(WORKERS, name)
    assert not (world.folder / PEOPLE).exists()
