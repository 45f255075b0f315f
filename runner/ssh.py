"""A login on another machine, by the person's own SSH: configuration, agent and jump hosts as for the ssh program.

Fabric runs commands and holds tunnels; what git and rsync need is a command line of the ssh program.  An unknown host
key is refused by both.
"""

import io
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection
from invoke.exceptions import ThreadException
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)

from runner import shell
from runner.errors import LabFailed
from runner.paths import LabPaths

#: Seconds to reach a machine.
PATIENCE = 10

# What it has to say, Login says in an error; logging would print it too.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Login:
    """One person's login on one machine."""

    def __init__(self, name: str, paths: LabPaths, **connection: Any) -> None:
        """``name`` as the ssh program takes it; further arguments are Fabric's, e.g. the key file of an inventory."""
        self.name, self._paths = name, paths
        self._is_shared = False
        self._connection = Connection(name, connect_timeout=PATIENCE, config=Config(), **connection)
        _distrust(self._connection)

    def ssh(self) -> list[str]:
        """Return the command line of the ssh program, for git and rsync; its connection is shared."""
        self._is_shared = True
        self._paths.sockets.mkdir(mode=0o700, exist_ok=True)
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(PATIENCE),
            "ServerAliveInterval": "15",
            "ControlMaster": "auto",
            "ControlPath": f"{self._paths.sockets}/ssh-%C",
            "ControlPersist": "60",
        }
        return ["ssh", *(f"-o{name}={value}" for name, value in options.items())]

    def run(self, command: str, stdin: str = "") -> shell.Result:
        """Run a command there and return what it printed.  Raises LabFailed if the machine cannot be reached."""
        with self._explained():
            done = self._connection.run(command, in_stream=_AtOnce(stdin), hide=True, warn=True, pty=False)
        return shell.Result((command,), done.return_code, done.stdout.encode(), done.stderr.encode())

    @contextmanager
    def tunnel(self, port: int) -> Iterator[int]:
        """Yield a local port from which connections lead to a port of that machine's loopback interface."""
        local = _free_port()
        with self._explained():
            self._connection.open()
            # A sign of life every quarter of a minute: a connection that died is noticed, one that idles is kept.
            self._connection.transport.set_keepalive(15)
        forwarding = self._connection.forward_local(local, remote_port=port, remote_host="127.0.0.1")
        forwarding.__enter__()
        try:
            _wait_for(local)
            yield local
        finally:
            try:
                forwarding.__exit__(None, None, None)
            except ThreadException:
                pass  # a connection was reset, or the service was not there; who used the tunnel knows

    def close(self) -> None:
        """End the connection; the one that git and rsync share ends when nobody uses it any more.

        Another labfleet of this person's may use it just now, so it is only told to take on nothing new.
        """
        self._connection.close()
        if self._is_shared:
            shell.run([*self.ssh(), "-O", "stop", self.name], check=False)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what can go wrong on the way into LabFailed, with what to do about it."""
        try:
            yield
        except BadHostKeyException:
            raise LabFailed(
                f"{self.name} shows another host key than the one that is known",
                f"ask its administrator whether the key was changed; if so: ssh-keygen -R {self._connection.host}",
            ) from None
        except PasswordRequiredException:
            raise LabFailed(
                f"the SSH key for {self.name} is protected by a passphrase", "unlock it for this session: ssh-add"
            ) from None
        except AuthenticationException:
            raise LabFailed(
                f"{self.name} refuses the login",
                f"does `ssh {self.name}` work without a password?  If not: ssh-copy-id {self.name}",
            ) from None
        except SSHException as error:
            if "not found in known_hosts" in str(error):
                raise LabFailed(
                    f"the host key of {self.name} is unknown here",
                    f"look at its fingerprint, and accept it, with: ssh -o StrictHostKeyChecking=ask {self.name} true",
                ) from None
            raise LabFailed(f"{self.name} cannot be reached: {error}", f"does `ssh {self.name}` work?") from None
        except (OSError, EOFError, NoValidConnectionsError) as error:
            raise LabFailed(
                f"{self.name} cannot be reached: {error}",
                f"is the machine on, and is its name right?  Try: ssh {self.name}",
            ) from None


class _AtOnce(io.StringIO):
    """Input that is given at once, however little is asked for: Invoke would take a character every 10 ms."""

    def read(self, _: int | None = -1) -> str:
        return super().read()


def _distrust(connection: Connection) -> None:
    """Have a connection, and those that it leads through, refuse unknown host keys; Fabric would trust them."""
    hop: Any = connection
    while isinstance(hop, Connection):
        hop.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        own = hop.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
        for name in (*own.split(), "/etc/ssh/ssh_known_hosts"):
            file = Path(name).expanduser()
            if file.is_file():
                hop.client.load_system_host_keys(os.fspath(file))
        hop = hop.gateway


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    """Return when the tunnel takes connections: Fabric says nothing when it does.  Raises LabFailed."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        # A connection would be carried to the other end; the kernel's table tells as well.
        if _is_listening(port):
            return
        time.sleep(0.01)
    raise LabFailed("the SSH tunnel does not open")


def _is_listening(port: int) -> bool:
    address = f"0100007F:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1] == address and row[3] == "0A" for row in rows)
