"""One machine of the test lab: a container in which systemd runs, with an sshd and nothing of labfleet's."""

import shlex
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner import shell
from runner.errors import LabFailed
from tests.lab import engine
from tests.lab.engine import docker
from tests.lab_fixture import PATIENCE

#: How long a machine may take to boot.
BOOT_SECONDS = 120.0

#: The administrator, whom all machines know and who may use sudo there.
ADMIN = "admin"

#: Makes a login.  $1: its name, $2: options of useradd, $3: the public key that opens it, if any.
LOGIN = """
useradd --create-home --shell /bin/bash $2 "$1"
install -d -m 700 -o "$1" -g "$1" "/home/$1/.ssh"
[ -z "$3" ] || printf '%s\\n' "$3" | install -m 600 -o "$1" -g "$1" /dev/stdin "/home/$1/.ssh/authorized_keys"
"""


class Machine:
    """One machine, under somebody's fingers: cut its power, pull its cable, look at its files."""

    def __init__(self, name: str, prefix: str, address: str) -> None:
        self.name = name
        self.container = f"{prefix}-{name}"
        self.network = prefix
        self.address = address

    # ---- what happens to machines ----

    def kill(self) -> None:
        """Take its power away."""
        docker("kill", self.container)

    def start(self) -> None:
        """Switch it on and wait until it is up."""
        docker("start", self.container)
        self.wait_until_up()

    def pause(self) -> None:
        """Make it hang: it neither answers nor ends."""
        docker("pause", self.container)

    def resume(self) -> None:
        """Let it go on where it hung."""
        docker("unpause", self.container)

    def disconnect(self) -> None:
        """Pull its network cable."""
        docker("network", "disconnect", self.network, self.container)

    def connect(self) -> None:
        """Plug the cable in again."""
        docker("network", "connect", "--ip", self.address, "--alias", self.name, self.network, self.container)

    # ---- what an administrator who sits before it does ----

    def exec_as_root(
        self, argv: Sequence[str], *, stdin: bytes | None = None, check: bool = True, seconds: float = PATIENCE
    ) -> shell.Result:
        """Run a command on it as root; raises LabFailed when it fails, unless ``check`` is false."""
        return docker("exec", "--interactive", self.container, *argv, stdin=stdin, check=check, seconds=seconds)

    def read(self, path: str) -> str:
        """Return a file's text."""
        return self.exec_as_root(["cat", "--", path]).stdout.decode()

    def write(self, path: str, text: str, *, owner: str = "root", mode: str = "644") -> None:
        """Write a file, and the folders on the way to it."""
        install = ["install", "-D", "-m", mode, "-o", owner, "-g", owner, "/dev/stdin", path]
        self.exec_as_root(install, stdin=text.encode())

    def journal(self, unit: str = "", lines: int | None = None) -> str:
        """Return what its journal says, or what it says of one unit."""
        which = [f"--unit={unit}"] if unit else []
        how_many = f"--lines={'all' if lines is None else lines}"
        return self.exec_as_root(["journalctl", "--no-pager", "--quiet", how_many, *which]).text

    # ---- coming up ----

    def create(self, image: str, owner: str) -> None:
        """Switch a new machine on."""
        disk = f"{self.container}-docker"
        docker("volume", "create", *engine.labels(self.network, owner), disk)
        bounds = engine.capabilities(Path("/proc/self/status").read_text())
        docker(
            *("run", "--detach", "--name", self.container, "--hostname", self.name),
            *("--network", self.network, "--ip", self.address, "--network-alias", self.name),
            *engine.labels(self.network, owner),
            *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),
            # On a volume, which is no overlay itself, the machine's own Docker can use its overlay file system.
            *("--volume", f"{disk}:/var/lib/docker"),
            # The machine's own containers are in groups below its own, so what happens to it happens to them.
            *("--cgroupns", "private"),
            *(
                word
                for option in ("seccomp", "apparmor", "systempaths")
                for word in ("--security-opt", f"{option}=unconfined")
            ),
            *("--device-cgroup-rule", "a *:* rwm"),
            *(f"--cap-add={capability}" for capability in bounds),
            image,
        )

    def set_up(self, keys: Mapping[str, str]) -> str:
        """Wait until systemd is up, make what people log in with, and return the public key of the machine.

        ``keys``: the public key of each login.
        """
        self._wait_for_systemd(BOOT_SECONDS)
        script = f"login() {{{LOGIN}}}\n"
        for login, key in keys.items():
            if login == ADMIN or self.name == "head":
                script += f"login {login} '' {shlex.quote(key)}\n"
        script += f"echo '{ADMIN} ALL=(ALL) NOPASSWD: ALL' | install -m 440 /dev/stdin /etc/sudoers.d/{ADMIN}\n"
        try:
            self.exec_as_root(["sh", "-euc", script])
        except LabFailed as error:
            raise self._failed(f"cannot be set up: {error.message}") from error
        self.wait_until_up()
        return " ".join(self.read("/etc/ssh/ssh_host_ed25519_key.pub").split()[:2])

    def wait_until_up(self, seconds: float = BOOT_SECONDS) -> None:
        """Wait until systemd has started what there is to start, and sshd answers.

        Raises LabFailed with the end of the machine's journal.
        """
        self._wait_for_systemd(seconds)
        if not engine.wait_for(self.answers, seconds):
            raise self._failed(f"sshd does not answer at {self.address}:22")

    def _wait_for_systemd(self, seconds: float) -> None:
        states = ("running", "degraded")

        def is_up_or_dead() -> bool:
            state = self.exec_as_root(["systemctl", "is-system-running"], check=False)
            return state.text in states or not self.is_on()

        if not engine.wait_for(is_up_or_dead, seconds) or not self.is_on():
            raise self._failed("systemd does not come up")

    def is_on(self) -> bool:
        """Return whether it has power."""
        return docker("inspect", "--format", "{{.State.Running}}", self.container).text == "true"

    def answers(self) -> bool:
        """Return whether its sshd answers."""
        try:
            with socket.create_connection((self.address, 22), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _failed(self, what: str) -> LabFailed:
        """Return an error with everything that tells why."""
        state = docker("inspect", "--format", "{{json .State}}", self.container, check=False).text
        looks = (
            ("journal", ("exec", self.container, "journalctl", "--no-pager", "--quiet", "--lines=25")),
            ("failed units", ("exec", self.container, "systemctl", "--failed", "--plain", "--no-legend")),
            ("console", ("logs", "--tail", "25", self.container)),
        )
        said = [(title, docker(*words, check=False).complaint) for title, words in looks]
        more = "".join(f"\n--- {title}:\n{text}" for title, text in said if text)
        return LabFailed(f"machine {self.name} ({self.container}): {what}\n--- state: {state}{more}")
