"""CURVE: who may speak to whom over ZeroMQ.

A key pair is two files, made where it is used.  A server knows its clients by their public keys, one file per key in a
folder per person or machine: ``keys/people/LOGIN/DIGEST.key``, ``keys/workers/HOST/DIGEST.key``.
"""

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator

from runner import usage
from runner.paths import lock_of

#: A public or secret key in Z85 (https://rfc.zeromq.org/spec/32).
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")

#: Seconds between signs of life, and without any until a connection is made anew.
HEARTBEAT, SILENCE = 5, 20

PEOPLE, WORKERS = "people", "workers"

#: Who the head's own web page is among people: no login's name begins so.  It asks for all of them.
HEAD_ITSELF = "+head"


@dataclass(frozen=True)
class KeyPair:
    """A public and a secret key, in Z85."""

    public: bytes
    secret: bytes


@dataclass(frozen=True)
class Access:
    """What a client needs to be let in, and to know that it is the right server."""

    own: KeyPair
    #: The server's public key.
    server: bytes


def own_keys(folder: Path, name: str) -> KeyPair:
    """Return the key pair NAME.pub, NAME.secret in a folder; made if there is none, or if it is damaged."""
    public, secret = folder / f"{name}.pub", folder / f"{name}.secret"
    if pair := _read(public, secret):
        return pair
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with usage.held(lock_of(folder / name)):  # of two that make a pair, each may leave a half
        if pair := _read(public, secret):
            return pair
        made = KeyPair(*zmq.curve_keypair())
        _write(secret, made.secret)
        _write(public, made.public)
        return made


def _read(public: Path, secret: Path) -> KeyPair | None:
    """Return a key pair; None unless there are two halves that fit."""
    try:
        pair = KeyPair(public.read_bytes().strip(), secret.read_bytes().strip())
        return pair if zmq.curve_public(pair.secret) == pair.public else None
    except (FileNotFoundError, ValueError, zmq.ZMQError):
        return None


def _write(path: Path, data: bytes) -> None:
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    os.replace(half, path)


def register(folder: Path, group: str, name: str, key: str) -> None:
    """Let whoever has this public key in.  Raises ValueError for what is no key, or whose name is no folder's."""
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"{name!r} is no name")
    if not _KEY.fullmatch(key):
        raise ValueError("no CURVE key")
    place = folder / group / name
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (place / _file(key)).exists():
        _write(place / _file(key), key.encode())


def owner(folder: Path, group: str, key: str) -> str | None:
    """Return whose a public key is; None for a stranger's."""
    return next((path.parent.name for path in (folder / group).glob(f"*/{_file(key)}")), None)


def fingerprint(text: str) -> str:
    """Return 16 hexadecimal digits that tell a text from others."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file(key: str) -> str:
    return f"{fingerprint(key)}.key"


class _Registered:
    """What pyzmq's authenticator asks: may this key come in?"""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def callback(self, domain: str, key: bytes) -> bool:
        return owner(self._folder, domain, key.decode()) is not None


def guard(context: "zmq.Context[zmq.Socket[bytes]]", folder: Path) -> ThreadAuthenticator:
    """Let only registered keys in at the context's server sockets; keys that are registered later count at once."""
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    for group in (PEOPLE, WORKERS):
        authenticator.configure_curve_callback(group, credentials_provider=_Registered(folder))
    return authenticator


def serve(socket: "zmq.Socket[bytes]", keys: KeyPair, group: str) -> None:
    """Make a socket that is about to be bound one that only a group's keys may connect to."""
    socket.set(zmq.ZAP_DOMAIN, group.encode())
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_PUBLICKEY, keys.public)
    socket.set(zmq.CURVE_SECRETKEY, keys.secret)
    watch(socket)


def call(socket: "zmq.Socket[bytes]", access: Access | None) -> None:
    """Make a socket that is about to be connected show its key, and insist on the server's; None: a local lab's."""
    if access:
        socket.set(zmq.CURVE_SERVERKEY, access.server)
        socket.set(zmq.CURVE_PUBLICKEY, access.own.public)
        socket.set(zmq.CURVE_SECRETKEY, access.own.secret)
        watch(socket)


def watch(socket: "zmq.Socket[bytes]") -> None:
    """Notice a peer that is gone without a word."""
    socket.set(zmq.HEARTBEAT_IVL, HEARTBEAT * 1000)
    socket.set(zmq.HEARTBEAT_TIMEOUT, SILENCE * 1000)
    socket.set(zmq.HEARTBEAT_TTL, SILENCE * 1000)
