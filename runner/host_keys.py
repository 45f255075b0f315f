"""Host keys: which are known here, which one a machine shows, and how one is accepted.

All by the ssh program itself, so that the person's configuration counts, jump hosts included.
"""

import base64
import hashlib
import os
import shlex
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from runner import shell
from runner.errors import LabFailed, WrongUse

#: Seconds for a machine to answer.
PATIENCE = 5

#: Of any connection: nobody is asked, nothing is waited for long, and no connection of the person's own is used.
OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": str(PATIENCE),
    "ConnectionAttempts": "1",
    "ServerAliveInterval": str(PATIENCE),
    "ServerAliveCountMax": "2",
    "ControlMaster": "no",
    "ControlPath": "none",
    "ClearAllForwardings": "yes",
    "UpdateHostKeys": "no",
}

#: For RSA keys, ssh has several names of algorithms.
_ALGORITHMS = {"ssh-rsa": "rsa-sha2-512,rsa-sha2-256,ssh-rsa"}


@dataclass(frozen=True)
class Target:
    """What the ssh program is told, to reach a machine."""

    #: What people call it.
    name: str
    destination: str
    options: tuple[str, ...] = ()

    def command(self, *words: str, **options: str) -> list[str]:
        """Return the command line of a connection without questions; ``words`` are executed there."""
        given = {**OPTIONS, **options}
        return ["ssh", *(f"-o{name}={value}" for name, value in given.items()), *self.options, self.destination, *words]

    @property
    def shown(self) -> str:
        """The command that a person would type."""
        return shlex.join(["ssh", *self.options, self.destination])


@dataclass(frozen=True)
class Place:
    """Where the person's SSH configuration says that a machine is."""

    host: str
    port: int
    #: Under which its key is known: a name, or ``[name]:port``.
    label: str
    #: The files that known keys are in; new ones go to the first.
    known_hosts: tuple[str, ...]
    #: Jump hosts on the way, in the order in which they are passed.
    hops: tuple[Target, ...]
    #: Is there no jump host and no other program between?
    is_direct: bool


@dataclass(frozen=True)
class HostKey:
    """A host key, and where it belongs."""

    #: What people call the machine, and its label in the file.
    machine: str
    label: str
    #: As the file has it.
    line: str
    file: str

    @property
    def type(self) -> str:
        """Its algorithm's name: ``ssh-ed25519``."""
        return self.line.split()[1]

    @property
    def data(self) -> str:
        """The key itself."""
        return self.line.split()[2]

    @property
    def identity(self) -> tuple[str, str]:
        """What makes two of them the same; their lines may differ."""
        return self.label, self.data

    @property
    def kind(self) -> str:
        """What people call its algorithm: ``ed25519``, ``rsa``, ``ecdsa``."""
        return self.type.removeprefix("sk-").removeprefix("ssh-").partition("-")[0].partition("@")[0]

    @property
    def fingerprint(self) -> str:
        """What people compare: ``ED25519 SHA256:…``."""
        digest = base64.b64encode(hashlib.sha256(base64.b64decode(self.data)).digest()).decode().rstrip("=")
        return f"{self.kind.upper()} SHA256:{digest}"


class Verdict(Enum):
    """How the key that a machine shows compares with those that are known."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    SILENT = "silent"  #: it shows none


def place(target: Target) -> Place:
    """Return where a machine is.  Raises WrongUse for a configuration that ssh cannot read."""
    try:
        done = shell.run(["ssh", "-G", *target.options, target.destination], check=False)
    except FileNotFoundError:
        raise LabFailed("ssh is not installed here", "install it, e.g. `sudo apt install openssh-client`") from None
    if done.status != 0:
        raise WrongUse(f"{target.name}: ssh cannot be told to reach it: {done.complaint}", f"try: {target.shown}")
    said: dict[str, str] = {}
    for line in done.text.splitlines():
        name, _, value = line.partition(" ")
        said.setdefault(name, value)
    host, port = said["hostname"], int(said["port"])
    label = said.get("hostkeyalias") or (host if port == 22 else f"[{host}]:{port}")
    files = [*said.get("userknownhostsfile", "").split(), *said.get("globalknownhostsfile", "").split()]
    jumps = said.get("proxyjump", "none")
    return Place(
        host=host,
        port=port,
        label=label.lower(),
        known_hosts=tuple(os.path.expanduser(file) for file in files),
        hops=_hops(target, [] if jumps == "none" else jumps.split(",")),
        is_direct=jumps == "none" and said.get("proxycommand", "none") == "none",
    )


def _hops(target: Target, jumps: list[str]) -> tuple[Target, ...]:
    """Return the jump hosts as ssh reaches them: the configuration file counts for them, other options do not."""
    words = target.options
    config = [words[at : at + 2] for at, word in enumerate(words[:-1]) if word == "-F"]
    own = tuple(word for pair in config[:1] for word in pair)
    return tuple(
        Target(jump, _destination(jump), (*own, "-J", ",".join(jumps[:at])) if at else own)
        for at, jump in enumerate(jumps)
    )


def _destination(jump: str) -> str:
    """Return a jump host, ``[user@]host[:port]``, as a destination."""
    host = jump.rpartition("@")[2]
    has_port = "://" not in jump and ":" in host.rpartition("]")[2]
    return f"ssh://{jump}" if has_port else jump


# ---- known keys, shown keys ----------------------------------------------------------------------------------


def known(there: Place) -> list[str]:
    """Return what is known of a machine's key: lines of known_hosts files."""
    lines = []
    for file in there.known_hosts:
        if os.path.isfile(file):
            found = shell.run(["ssh-keygen", "-F", there.label, "-f", file], check=False)
            lines += [line for line in found.text.splitlines() if line and not line.startswith("#")]
    return lines


def shown(target: Target, there: Place, types: Iterable[str] = ()) -> HostKey | None:
    """Return the key that a machine shows; None: it shows none, or none of these types.

    ssh writes it down before it would log in, and is not allowed to do that here.
    """
    algorithms = ",".join(_ALGORITHMS.get(name, name) for name in types)
    with tempfile.TemporaryDirectory(prefix="labfleet-") as folder:
        file = Path(folder) / "known"
        argv = target.command(
            "true",
            StrictHostKeyChecking="accept-new",
            UserKnownHostsFile=str(file),
            GlobalKnownHostsFile=os.devnull,
            CheckHostIP="no",
            VerifyHostKeyDNS="no",
            PreferredAuthentications="none",
            PubkeyAuthentication="no",
            **({"HostKeyAlgorithms": algorithms} if algorithms else {}),
        )
        try:
            shell.run(argv, check=False, seconds=3 * PATIENCE)
        except TimeoutError:
            return None
        lines = file.read_text().splitlines() if file.exists() else []
    if not lines:
        return None
    return HostKey(target.name, there.label, lines[-1], there.known_hosts[0] if there.known_hosts else os.devnull)


def verdict(target: Target, there: Place) -> tuple[Verdict, HostKey | None]:
    """Return whether a machine shows the key that is known of it, and the key if that is not so."""
    entries = [line.split() for line in known(there)]
    # Of a key with a certificate, only ssh can tell.
    keys = {entry[2]: entry[1] for entry in entries if not entry[0].startswith("@")}
    key = shown(target, there, dict.fromkeys(keys.values())) or (shown(target, there) if keys else None)
    if key is None:
        return Verdict.SILENT, None
    if not entries:
        return Verdict.UNKNOWN, key
    is_known = key.data in keys or any(entry[0] == "@cert-authority" for entry in entries)
    is_known &= all(entry[3:4] != [key.data] for entry in entries if entry[0] == "@revoked")
    return (Verdict.KNOWN, None) if is_known else (Verdict.CHANGED, key)


def accept(key: HostKey) -> None:
    """Add a key to those that are known.  Raises LabFailed where none can be kept."""
    file = Path(key.file)
    if key.file in (os.devnull, "none"):
        raise LabFailed(
            f"{key.machine}: its host key cannot be kept, for the file of known keys is {key.file}",
            "take UserKnownHostsFile out of the inventory or the SSH configuration",
        )
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(handle, "rb+") as known_hosts:
        text = known_hosts.read()
        start = "" if not text or text.endswith(b"\n") else "\n"
        known_hosts.write(f"{start}{key.line}\n".encode())
