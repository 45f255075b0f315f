"""A remote lab as a client sees it: everything goes over the person's own SSH login on the head.

``git push`` and ``rsync`` use the ssh program; Fabric asks the head for its keys and holds the tunnels to the foreman
and the hub, which end with the client.
"""

import errno
import os
import re
import shlex
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from getpass import getuser
from pathlib import Path

from runner import curve, shell
from runner.errors import LabFailed
from runner.lab import GitServer, Lab, LabAway
from runner.model import PROTOCOL, Outcome, Value, decode, encode
from runner.paths import LabPaths, home
from runner.ssh import Login

#: What people's logins call on the head (playbooks/roles/head/files/entry.py).
ENTRY = "/usr/local/bin/labfleet-head"

#: How often rsync is tried when a connection breaks.
MOST_TRIES = 3

#: Half files of an interrupted transfer, inside the folder that they belong to.
PARTIAL_FOLDER = ".labfleet-partial"

#: What this end of rsync says of a disk that takes nothing more.
NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")

#: Sources of one rsync: a command line has its limits.
MOST_SOURCES = 500


class Welcome(Value, frozen=True):
    """The head's answer to ``join``."""

    #: The person's login.
    user: str
    name: str
    protocol: int
    #: Ports on the head's loopback interface.
    foreman: int
    hub: int
    #: The services' public CURVE key.
    key: str
    #: The deployed revision of labfleet's code.
    revision: str


class WebWelcome(Value, frozen=True):
    """The head's answer to ``web``: the person's token; ports on the loopback interface of page and dashboard."""

    token: str
    page: int
    dashboard: int


class _Join(Value, frozen=True):
    """What ``join`` reads: the client's protocol and public CURVE key."""

    protocol: int
    key: str


class RemoteLab(Lab):
    """The lab behind a head."""

    is_remote = True

    def __init__(self, login: Login, welcome: Welcome, own: curve.KeyPair, paths: LabPaths) -> None:
        self._login, self.welcome = login, welcome
        self._tunnels = ExitStack()
        self.name = login.name
        self.advice = f"on {login.name}: systemctl status labfleet-foreman; labfleet doctor finds out more"
        access = curve.Access(own, welcome.key.encode())
        try:
            endpoints = [self._tunnels.enter_context(login.tunnel(port)) for port in (welcome.foreman, welcome.hub)]
        except BaseException:
            self.close()
            raise
        super().__init__(f"tcp://127.0.0.1:{endpoints[0]}", f"tcp://127.0.0.1:{endpoints[1]}", paths, access)

    @property
    def user(self) -> str:
        """The person's login on the head."""
        return self.welcome.user

    @property
    def whereabouts(self) -> str:
        """Where an administrator finds the lab's logs."""
        return f"logs on {self.name}: journalctl -u 'labfleet-*'"

    def kept(self, campaign: str) -> str:
        """Return how a person fetches it."""
        return f"the lab; rsync -r --rsync-path='{ENTRY} results' {self.name}:{campaign}/ FOLDER fetches them"

    def git_server(self, project: str) -> GitServer:
        """Return the repository on the head; the lab's key tells it from one that was there before."""
        return GitServer(
            f"{self._login.name}:{self.project_id(project)}.git",
            ssh=shlex.join(self._login.ssh()),
            receive_pack=f"{ENTRY} git-receive-pack",
            identity=self.welcome.key,
        )

    def project_id(self, project: str) -> str:
        """Return a name that no other person's or computer's project of the same path has."""
        stem, _, digest = project.rpartition("-")
        return re.sub(r"[^A-Za-z0-9_.-]", "_", f"{stem}-{self.welcome.user}-{_here()}-{digest}")

    def environment(self, shell: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002
        """Return nothing: the lab's machines have their own environment."""
        return {}

    def bring(self, campaign: str, outcomes: Sequence[Outcome]) -> None:
        """Fetch the files of committed runs, many over one connection."""
        store = self.paths.campaign(campaign)
        for done in (True, False):
            folders = [
                store.committed(outcome.run, outcome.attempt, done)
                for outcome in outcomes
                if (outcome.kind == "done") == done and outcome.kind != "lost"
            ]
            for start in range(0, len(folders), MOST_SOURCES):
                part = folders[start : start + MOST_SOURCES]
                self._fetch(campaign, [str(folder.relative_to(store.root)) for folder in part], part[0].parent)

    def bring_build_log(self, campaign: str) -> None:
        """Fetch a campaign's build log."""
        log = self.paths.campaign(campaign).build_log
        self._fetch(campaign, [log.name], log.parent, may_lack=True)

    def _fetch(self, campaign: str, names: Sequence[str], folder: Path, *, may_lack: bool = False) -> None:
        """Copy files or folders of a campaign's result store.  Raises LabFailed."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        first, *others = (f"{campaign}/{name}" for name in names)
        sources = [f"{self._login.name}:{first}", *(f":{other}" for other in others)]
        argv = ["rsync", "-e", shlex.join(self._login.ssh()), f"--rsync-path={ENTRY} results", "--timeout=60", "-rpt"]
        argv.append(f"--partial-dir={PARTIAL_FOLDER}")  # the next try goes on from there
        # The head wants to see each word that it is asked for.
        environment = {**os.environ, "RSYNC_PROTECT_ARGS": "0"}
        for _ in range(MOST_TRIES):  # what has arrived is not sent again
            answer = shell.run([*argv, *sources, f"{folder}/"], env=environment, check=False)
            if not _was_interrupted(answer.status):
                break
        if _was_interrupted(answer.status):
            raise LabAway(f"results cannot be fetched from {self._login.name} just now: {answer.complaint[-500:]}")
        if answer.status == 0 or may_lack:
            return
        if NO_SPACE.search(answer.complaint):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        raise LabFailed(
            f"results cannot be fetched from {self._login.name}: {answer.complaint[-500:]}",
            f"they are in {self.kept(campaign)}",
        )

    def web_page(self) -> WebWelcome:
        """Return the person's token, and the ports here that lead to the lab's web page.  Raises LabFailed."""
        answer = self._login.run(f"{ENTRY} web")
        if answer.status != 0:
            raise LabFailed(
                f"{self.name} does not show its web page: {answer.complaint}",
                "is the lab's labfleet older than this one?  Its administrator runs: labfleet provision",
            )
        try:
            told: WebWelcome = decode(answer.stdout, WebWelcome)
        except ValueError as error:
            raise LabFailed(f"{self.name} answered what is no answer: {error}") from None
        page, dashboard = (
            self._tunnels.enter_context(self._login.tunnel(port)) for port in (told.page, told.dashboard)
        )
        return WebWelcome(told.token, page, dashboard)

    def close(self) -> None:
        """End the tunnels and the connection."""
        self._tunnels.close()
        self._login.close()


def _was_interrupted(status: int) -> bool:
    """Say whether rsync's exit status tells that connection or head broke away.

    Above 128 it is another's: ssh's own (255), or what says that a signal ended rsync on a head that died.
    """
    return status in (10, 12, 30, 35) or status > 128


def _here() -> str:
    """Return what tells this computer and account from the person's others."""
    return curve.fingerprint(f"{socket.gethostname()} {getuser()}")[:6]


def connect(name: str) -> RemoteLab:
    """Return the lab whose head is reached by this SSH name.  Raises LabFailed."""
    paths = LabPaths(Path(home())).remote(name)
    own = curve.own_keys(paths.keys, "client")
    login = Login(name, paths)
    try:
        welcome = join(login, own)
        check_protocol(welcome)
        return RemoteLab(login, welcome, own, paths)
    except BaseException:
        login.close()
        raise


def join(login: Login, own: curve.KeyPair) -> Welcome:
    """Show the head this client's key and learn its.  Raises LabFailed."""
    request = encode(_Join(PROTOCOL, own.public.decode())).decode()
    answer = login.run(f"{ENTRY} join", request + "\n")
    if answer.status == 127:
        raise LabFailed(
            f"{login.name} is no head of a lab: it has no {ENTRY}",
            "its administrator makes it one: labfleet provision",
        )
    if answer.status != 0:
        raise LabFailed(f"{login.name} does not let you in: {answer.complaint}", "ask the lab's administrator")
    try:
        welcome: Welcome = decode(answer.stdout, Welcome)
    except ValueError as error:
        raise LabFailed(
            f"{login.name} answered what is no answer: {error}", "does your login's profile there print something?"
        ) from None
    return welcome


def check_protocol(welcome: Welcome) -> None:
    """Raise LabFailed if client and lab do not understand each other."""
    if welcome.protocol == PROTOCOL:
        return
    older = "the lab's is the older one: its administrator runs labfleet upgrade"
    newer = "yours is the older one: update labfleet here, e.g. git pull, or pip install --upgrade labfleet"
    raise LabFailed(
        f"this labfleet speaks version {PROTOCOL} of the protocol, the lab {welcome.name} version {welcome.protocol}",
        older if welcome.protocol < PROTOCOL else newer,
    )
