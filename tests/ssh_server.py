"""A machine to log in on: a real SSH server on the loopback interface, in threads of the test's own process.

It lets in who has one key, executes commands by /bin/sh as this user, and passes connections on as a jump host does.
"""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko

#: The other side has gone; that is what it does with an unknown host key.
GONE = (OSError, EOFError, paramiko.SSHException)


def make_key(file: Path, kind: str = "ed25519") -> Path:
    """Make a key without a passphrase; the public one lies beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(file)], check=True)
    return file


class SshServer:
    """One machine; what it is may be changed while it runs."""

    def __init__(self, host_key: Path, authorized: Path, environment: Mapping[str, str]) -> None:
        self.host_keys = [host_key]
        self.authorized = authorized
        self.environment = environment
        #: Replaces what a login executes; None: the command that is asked for.
        self.forced: str | None = None
        #: How often somebody has tried to log in.
        self.attempts = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Listen no more, as a machine that is switched off."""
        if self._socket.fileno() >= 0:
            self._socket.shutdown(socket.SHUT_RDWR)  # closing alone would not wake up the thread that waits
            self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._welcome, args=(client,), daemon=True).start()

    def _welcome(self, client: socket.socket) -> None:
        transport = paramiko.Transport(client)
        for file in self.host_keys:
            transport.add_server_key(paramiko.PKey.from_path(file))
        try:
            transport.start_server(server=_Session(self, transport))
        except GONE:
            transport.close()


class _Session(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko has no types
    def __init__(self, server: SshServer, transport: paramiko.Transport) -> None:
        self._server, self._transport = server, transport

    def get_allowed_auths(self, *_: object) -> str:
        return "publickey"

    def check_auth_publickey(self, _: str, key: paramiko.PKey) -> int:
        self._server.attempts += 1
        public = self._server.authorized.with_name(f"{self._server.authorized.name}.pub").read_text().split()[1]
        return int(paramiko.AUTH_SUCCESSFUL if key.get_base64() == public else paramiko.AUTH_FAILED)

    def check_channel_request(self, *_: object) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._execute, args=(channel, command.decode()), daemon=True).start()
        return True

    def _execute(self, channel: paramiko.Channel, command: str) -> None:
        with suppress(*GONE):
            done = subprocess.run(
                ["/bin/sh", "-c", self._server.forced or command],
                input=channel.makefile("rb").read(),
                env=dict(self._server.environment),
                capture_output=True,
                check=False,
            )
            channel.sendall(done.stdout)
            channel.sendall_stderr(done.stderr)
            channel.send_exit_status(done.returncode)
            channel.close()

    def check_channel_direct_tcpip_request(self, _: int, __: tuple[str, int], destination: tuple[str, int]) -> int:
        try:
            there = socket.create_connection(destination, timeout=5)
        except OSError:
            return int(paramiko.OPEN_FAILED_CONNECT_FAILED)
        there.settimeout(None)
        threading.Thread(target=self._pass_on, args=(there,), daemon=True).start()
        return int(paramiko.OPEN_SUCCEEDED)

    def _pass_on(self, there: socket.socket) -> None:
        channel = self._transport.accept(5)
        if channel is None:
            there.close()
            return
        threading.Thread(target=_pump, args=(there, channel), daemon=True).start()
        _pump(channel, there)


def _pump(source: socket.socket | paramiko.Channel, sink: socket.socket | paramiko.Channel) -> None:
    with suppress(*GONE):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with suppress(*GONE):
        sink.close()


@contextmanager
def ssh_server(host_key: Path, authorized: Path, path: str | None = None) -> Iterator[SshServer]:
    """Run a machine; ``path`` is PATH of the commands that are executed there."""
    server = SshServer(host_key, authorized, {**os.environ, "PATH": path or os.environ["PATH"]})
    try:
        yield server
    finally:
        server.close()
