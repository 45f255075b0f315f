"""Servers of the lab's kind, of a test's own: Redis with its certificates, distcc, and some that do something odd."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import eventually, needs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(*argv: str, port: int) -> Iterator[int]:
    """Run a server until it is no longer needed."""
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: server.poll() is not None or listens(port), argv[0])
            assert server.poll() is None, f"{argv[0]} has ended"
            yield port
        finally:
            server.terminate()


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Run a server that does something odd with every connection."""
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def loop() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                try:
                    serve(connection)
                except OSError:
                    pass  # whoever knocked has gone again

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in kept:
        connection.close()


def authority(folder: Path) -> Path:
    """Make a certificate authority, and a certificate for 127.0.0.1."""
    folder.mkdir()
    script = """
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -keyout ca.key -out ca.pem
    openssl req -newkey rsa:2048 -nodes -subj /CN=redis -keyout redis.key -out redis.csr
    printf 'subjectAltName = IP:127.0.0.1' >names
    openssl x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out redis.crt
    """
    subprocess.run(["sh", "-ec", script], cwd=folder, check=True, capture_output=True)
    return folder


@contextmanager
def redis(certificates: Path | None, *options: str) -> Iterator[int]:
    """Run a Redis; with certificates it speaks TLS alone."""
    needs("redis-server")
    port = free_port()
    words = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--protected-mode", "no"]
    if certificates:
        words += ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
        words += ["--tls-ca-cert-file", str(certificates / "ca.pem")]
        words += ["--tls-cert-file", str(certificates / "redis.crt"), "--tls-key-file", str(certificates / "redis.key")]
    else:
        words += ["--port", str(port)]
    with running("redis-server", *words, *options, port=port):
        yield port


def users(file: Path, passwords: Mapping[str, str]) -> list[str]:
    """Return the options of a Redis that lets in these users alone; they are written to a file."""
    known = [f"user {name} on >{password} ~* +@all" for name, password in passwords.items()]
    file.write_text("\n".join(["user default off", *known, ""]))
    return ["--aclfile", str(file)]


@contextmanager
def distccd(allowed: str) -> Iterator[int]:
    """Run a distcc that compiles for one address."""
    needs("distccd")
    port = free_port()
    words = ["--daemon", "--no-detach", "--log-stderr", "--listen", "127.0.0.1", "--port", str(port), "--jobs", "1"]
    with running("distccd", *words, "--allow", allowed, port=port):
        yield port
