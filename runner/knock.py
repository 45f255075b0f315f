"""Knocking at the lab's doors: who answers at a port, and who is let in?

A knock does no harm and takes a few seconds at most.  It tells what was met; whether that is right, the caller knows: a
worker is to be let in where a stranger is not.
"""

import io
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import IO
from urllib.parse import urlsplit

import zmq
from zmq.utils.monitor import recv_monitor_message

from runner import curve
from runner.model import Value

#: Seconds for a connection, for each answer, and for a handshake.
PATIENCE = 4.0

NO_ANSWER = f"no answer within {PATIENCE:.0f} s"

#: distcc's port, if none is named.
DISTCC_PORT = 3632

#: distcc's answer: the compiler's exit status, and how much it printed.
_DONE = re.compile(rb"DONE[0-9a-f]{8}STAT(?P<status>[0-9a-f]{8})SERR(?P<length>[0-9a-f]{8})")

#: What every ZeroMQ server says first (https://rfc.zeromq.org/spec/23).
_GREETING = b"\xff"


class Met(StrEnum):
    """What a knock met."""

    LET_IN = "let in"
    REFUSED = "refused"  #: it does not let this one in
    UNTRUSTED = "untrusted"  #: it is not who it should be
    SILENT = "silent"  #: there is a connection, but no answer that makes sense
    CLOSED = "closed"  #: there is no connection


class Knock(Value, frozen=True):
    """What was met, and what it said of itself."""

    met: Met
    said: str = ""


class _ClosedError(Exception):
    """There is no connection."""


@contextmanager
def _connected(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a connection on which each answer is waited for, but not for ever.

    Raises _ClosedError; ConnectionResetError if it was there, and closed before we could look at it.
    """
    try:
        connection = socket.create_connection((host, port), timeout=PATIENCE)
    except ConnectionResetError:
        raise
    except OSError as error:
        raise _ClosedError(_why(error)) from None
    with connection:
        yield connection


def listens(host: str, port: int) -> Knock:
    """Say whether anything takes connections at a port: LET_IN or CLOSED."""
    try:
        with _connected(host, port):
            return Knock(Met.LET_IN)
    except ConnectionResetError:
        return Knock(Met.LET_IN)
    except _ClosedError as error:
        return Knock(Met.CLOSED, str(error))


def _why(error: OSError) -> str:
    return NO_ANSWER if isinstance(error, TimeoutError) else error.strerror or str(error)


# ---- Redis (https://redis.io/docs/latest/develop/reference/protocol-spec) --------------------------------------------


def redis(url: str, password: str, authority: str, key: str) -> tuple[Knock, str]:
    """Log in to Redis over TLS; return what was met, and the value of a key, empty if there is none.

    ``authority``: the file of the certificate authority that vouches for the server.
    """
    place = urlsplit(url)
    host = place.hostname or ""
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        return Knock(Met.UNTRUSTED, f"{authority}: {_why(error)}"), ""
    try:
        with _connected(host, place.port or 0) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
            stream = secured.makefile("rwb")
            said = _ask(stream, "AUTH", place.username or "default", password)
            if said != "+OK":
                refused = said.startswith(("-WRONGPASS", "-NOAUTH", "-ERR", "-NOPERM"))
                return Knock(Met.REFUSED if refused else Met.SILENT, said.removeprefix("-")), ""
            value = _ask(stream, "GET", key)
            return Knock(Met.LET_IN), value.removeprefix("$") if value.startswith("$") else ""
    except _ClosedError as error:
        return Knock(Met.CLOSED, str(error)), ""
    except ssl.SSLCertVerificationError as error:
        return Knock(Met.UNTRUSTED, error.verify_message), ""
    except OSError as error:
        return Knock(Met.SILENT, _why(error)), ""


def redis_as_stranger(host: str, port: int) -> Knock:
    """Try to use Redis without a password: over TLS, and without.

    LET_IN: anybody may use it.  UNTRUSTED: it wants a password, but takes it without TLS, where others can read it.
    """
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False  # a stranger knows no certificate, and looks all the same
    anybody.verify_mode = ssl.CERT_NONE
    said = []
    for context in (anybody, None):
        try:
            with _connected(host, port) as plain, context.wrap_socket(plain) if context else plain as connection:
                said.append(_ask(connection.makefile("rwb"), "PING"))
        except _ClosedError as error:
            return Knock(Met.CLOSED, str(error))
        except OSError:
            said.append("")
    secured, plainly = said
    if "+PONG" in said:
        return Knock(Met.LET_IN, "without a password" if secured == "+PONG" else "without TLS and password")
    if plainly.startswith("-"):
        return Knock(Met.UNTRUSTED, "without TLS")
    return Knock(Met.REFUSED if secured.startswith("-") else Met.SILENT, secured.removeprefix("-"))


def _ask(stream: io.BufferedRWPair, *words: str) -> str:
    """Return Redis' answer to a command, with its first character; of a text ($) its content.  Raises OSError."""
    parts = [word.encode() for word in words]
    stream.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
    stream.flush()
    line = stream.readline(10_000).decode(errors="replace").rstrip("\r\n")
    if not line:
        raise OSError("the connection was closed")
    if line.startswith("$") and (length := int(line[1:])) >= 0:
        return "$" + stream.read(length).decode(errors="replace")
    return line if line != "$-1" else "_"


# ---- distcc (its doc/protocol-1.txt) ---------------------------------------------------------------------------------


def distcc(host: str, port: int = DISTCC_PORT) -> Knock:
    """Have an empty source file compiled.  REFUSED: the connection is closed at once, as it is for strangers."""
    arguments = (b"g++", b"-c", b"knock.ii", b"-o", b"knock.o")
    source = b"// labfleet doctor\n"
    words = [(b"DIST", 1), (b"ARGC", len(arguments))]
    request = b"".join(b"%s%08x" % word for word in words)
    request += b"".join(b"ARGV%08x%s" % (len(argument), argument) for argument in arguments)
    request += b"DOTI%08x%s" % (len(source), source)
    try:
        with _connected(host, port) as connection:
            connection.sendall(request)
            stream = connection.makefile("rb")
            return _compiled(stream)
    except _ClosedError as error:
        return Knock(Met.CLOSED, str(error))
    except TimeoutError:
        return Knock(Met.SILENT, NO_ANSWER)
    except OSError:  # closed before it has read what was sent
        return Knock(Met.REFUSED)


def distcc_place(entry: str) -> tuple[str, int]:
    """Return the address and port of an entry in distcc's list of hosts: ``HOST[:PORT][/LIMIT][,OPTION…]``."""
    place = urlsplit(f"//{entry.split(',', maxsplit=1)[0].split('/', maxsplit=1)[0]}")
    return place.hostname or "", place.port or DISTCC_PORT


def _compiled(stream: IO[bytes]) -> Knock:
    """Return what the answer says: DONE, the compiler's exit status, and what it printed."""
    if not (first := stream.read(12)):
        return Knock(Met.REFUSED)
    answer = _DONE.fullmatch(first + stream.read(24))
    if not answer:
        return Knock(Met.SILENT, "it is no distcc")
    if int(answer["status"], 16) != 0:
        printed = stream.read(int(answer["length"], 16)).decode(errors="replace").split("\n")[0]
        return Knock(Met.SILENT, f"the compiler failed there: {printed}")
    return Knock(Met.LET_IN)


# ---- ZeroMQ with CURVE -----------------------------------------------------------------------------------------------


def service(endpoint: str, access: curve.Access, kind: int = zmq.DEALER) -> Knock:
    """Show a service of the lab's one's key.  UNTRUSTED: it has another key than it should have.

    ``kind``: of the socket; the service does not take every kind.
    """
    place = urlsplit(endpoint)
    try:
        with _connected(place.hostname or "", place.port or 0) as connection:
            # A tunnel to where nothing listens is closed again.  All is read: what is left unread would be an error.
            if not connection.recv(4096).startswith(_GREETING):
                return Knock(Met.CLOSED, "nothing listens there")
    except _ClosedError as error:
        return Knock(Met.CLOSED, str(error))
    except TimeoutError:
        return Knock(Met.SILENT, NO_ANSWER)
    except OSError as error:
        return Knock(Met.CLOSED, _why(error))
    return _handshake(endpoint, access, kind)


def _handshake(endpoint: str, access: curve.Access, kind: int) -> Knock:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    client = context.socket(kind)
    try:
        client.set(zmq.LINGER, 0)
        curve.call(client, access)
        monitor = client.get_monitor_socket()
        client.connect(endpoint)
        deadline = time.monotonic() + PATIENCE
        while monitor.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            event = recv_monitor_message(monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return Knock(Met.LET_IN)
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                return Knock(Met.REFUSED, "it does not know the key")
            # A server that has another key than the one it is called with says nothing: it cannot read the call.
            if event in (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL):
                return Knock(Met.UNTRUSTED, "its key is another one")
        return Knock(Met.SILENT, NO_ANSWER)
    finally:
        client.disable_monitor()
        context.destroy(linger=0)
