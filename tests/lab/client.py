"""The machine that people sit at: it has labfleet, SSH and git, and is no machine of the lab."""

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner import shell
from runner.errors import LabFailed
from tests.lab import engine, images
from tests.lab.engine import docker
from tests.lab.machine import ADMIN, LOGIN, Machine
from tests.lab_fixture import PATIENCE, ROOT, Said

#: The person at the client who is the machines' administrator.
RESEARCHER = "researcher"


@dataclass(frozen=True)
class Running:
    """A command under way at the client."""

    process: "subprocess.Popen[str]"
    container: str
    pid_file: str

    def signal(self, name: str) -> None:
        """Send a signal to the command itself, e.g. INT as Ctrl-C does."""
        script = f"kill -s {name} $(cat {self.pid_file})"
        docker("exec", self.container, "sh", "-euc", script)

    def wait(self, seconds: float = PATIENCE) -> Said:
        """Return how it ended."""
        stdout, stderr = self.process.communicate(timeout=seconds)
        return Said(self.process.returncode, stdout, stderr)


class Client(Machine):
    """The client.  Neither Docker nor Redis nor OMNeT++ are on it.

    ``researcher`` logs in to all machines as ``admin``, ``anna`` and ``bob`` to the head as themselves.
    """

    _started = 0

    def create(self, image: str, owner: str) -> None:
        """Switch it on; labfleet and the Python that runs this are at the same paths as here, for reading only."""
        mounts = [word for path in self._shared() for word in ("--volume", f"{path}:{path}:ro")]
        docker(
            *("run", "--detach", "--init", "--name", self.container, "--hostname", self.name),
            *("--network", self.network, "--ip", self.address, "--network-alias", self.name),
            *(*engine.labels(self.network, owner), *mounts, "--stop-signal", "KILL", image, "sleep", "infinity"),
        )

    @staticmethod
    def _shared() -> list[Path]:
        """Return the folders without which labfleet does not run, none inside another."""
        git = shell.run(["git", "rev-parse", "--path-format=absolute", "--git-common-dir"], cwd=ROOT, check=False)
        wanted = {ROOT, Path(sys.prefix), Path(sys.base_prefix), images.cache()}
        wanted |= {Path(git.text)} if git.status == 0 else set()
        wanted |= {path.resolve() for path in wanted}
        # The Python of a distribution is in the image already.
        wanted.discard(Path("/usr"))
        return sorted(path for path in wanted if not wanted & set(path.parents))

    def set_up(self, keys: Mapping[str, str]) -> str:
        """Make the people.  ``keys``: as for other machines, but nobody logs in here."""
        owner = ROOT.stat().st_uid or 1000
        script = f"login() {{{LOGIN}}}\nlogin {RESEARCHER} '--uid {owner}' ''\n"
        script += "".join(f"login {login} '' ''\n" for login in keys if login != ADMIN)
        # What is mounted below a folder that is somebody's own, like /root, can be reached by all.
        above = sorted({str(parent) for path in self._shared() for parent in path.parents})
        script += f"chmod a+x {shlex.join(above)}\n"
        script += f"echo 'PATH={sys.prefix}/bin:$PATH' >/etc/profile.d/labfleet.sh\n"
        script += f"git config --system safe.directory {shlex.quote(str(ROOT))}\n"
        self.exec_as_root(["sh", "-euc", script])
        tried = self.run(["python", "-c", "import ansible, msgspec, paramiko, zmq"])
        if tried.status != 0:
            this = f"the Python of {sys.prefix} does not run on the client, which is a Debian {images.SUITE}"
            raise LabFailed(f"{this}: {tried.stderr.strip()}")
        return ""

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str = RESEARCHER,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        seconds: float = PATIENCE,
    ) -> Said:
        """Run a command as somebody, at home or in another folder; ``labfleet`` is on PATH."""
        words = self._words(argv, user=user, cwd=cwd, env=env)
        done = docker("exec", "--interactive", *words, stdin=stdin.encode(), check=False, seconds=seconds)
        return Said(done.status, done.stdout.decode(), done.stderr.decode())

    def start_command(
        self, argv: Sequence[str], *, user: str = RESEARCHER, cwd: str = "", env: Mapping[str, str] | None = None
    ) -> Running:
        """Start a command as somebody, without waiting for its end."""
        Client._started += 1
        pid_file = f"/tmp/command-{Client._started}.pid"
        told = ["sh", "-c", f'echo $$ >{pid_file}; exec "$@"', "sh", *argv]
        process = subprocess.Popen(
            ["docker", "exec", *self._words(told, user=user, cwd=cwd, env=env)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Running(process, self.container, pid_file)

    def _words(self, argv: Sequence[str], *, user: str, cwd: str, env: Mapping[str, str] | None) -> list[str]:
        path = f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin"
        variables = {"PATH": path, "LANG": "C.UTF-8", "NO_COLOR": "1", "USER": user, "LOGNAME": user, **(env or {})}
        options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        return ["--user", user, "--workdir", cwd or f"/home/{user}", *options, self.container, *argv]

    def put(self, source: Path, target: str, *, user: str = RESEARCHER) -> None:
        """Copy a folder's content to a folder of somebody's."""
        packed = shell.run(["tar", "-C", str(source), "-c", "."]).stdout
        script = 'mkdir -p "$1" && tar -C "$1" -x --no-same-owner'
        words = ("exec", "--interactive", "--user", user, self.container, "sh", "-euc", script, "sh", target)
        docker(*words, stdin=packed)

    def publish(self, user: str, key: Path, ssh_config: str, known_hosts: str) -> None:
        """Give a person a key, and machines to use it for."""
        for name, text in (("id_ed25519", key.read_text()), ("config", ssh_config), ("known_hosts", known_hosts)):
            self.write(f"/home/{user}/.ssh/{name}", text, owner=user, mode="600")
