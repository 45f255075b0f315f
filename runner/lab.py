"""What a client has to know of a lab, and how it speaks to the lab's foreman."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from getpass import getuser
from typing import Any

import zmq

from runner import curve
from runner.errors import LabFailed
from runner.messages import (
    Accepted,
    AnyAnswer,
    AnyRequest,
    AskCampaigns,
    AskMachines,
    AskStatus,
    Campaigns,
    CampaignStatus,
    Cancel,
    Heard,
    Machines,
    Refused,
    Resume,
    Shutdown,
    Status,
)
from runner.model import Outcome, decode, encode
from runner.paths import LabPaths

#: Variables of the client's shell that are nobody's business.
PRIVATE_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "PRIVATE_KEY")

#: Seconds that the foreman gets to answer.
PATIENCE = 20.0

#: Seconds after which a request is repeated for the first time: a foreman that was ended meanwhile never read it.  The
#: next times take twice as long each, so that one that is only slow gets its time, too.
FIRST_TRY = 3.0


class LabAway(LabFailed):
    """The lab cannot be reached just now; what was begun can be tried again later."""


class LabRefused(LabFailed):
    """The foreman has understood the request, and will not do it."""


@dataclass(frozen=True)
class GitServer:
    """Where a project's snapshots are pushed."""

    address: str
    #: SSH command, and what runs at the other end; empty where the address is a path.
    ssh: str = ""
    receive_pack: str = ""
    #: Tells this server from one that had the same address before.
    identity: str = ""


class Lab:
    """A lab as a client sees it; this one is on the same machine."""

    #: How a person calls it.
    name = "the local lab"

    #: Do results travel over a network?
    is_remote = False

    #: What to say about the services when they do not answer.
    advice = "labfleet lab status tells more; labfleet lab stop --force ends them"

    def __init__(self, foreman: str, hub: str, paths: LabPaths, access: curve.Access | None = None) -> None:
        """Endpoints; names of the result store's files as the client reaches them; keys of a remote lab."""
        self.foreman, self.hub, self.paths, self.access = foreman, hub, paths, access

    @property
    def user(self) -> str:
        """Whose campaigns this client's are, as the lab calls that person."""
        return getuser()

    @property
    def whereabouts(self) -> str:
        """Where a person finds the lab's data and logs."""
        return f"data: {self.paths.home}; logs: {self.paths.service_logs}"

    def kept(self, campaign: str) -> str:
        """Return where a person finds what is done of a campaign and has not come home."""
        return str(self.paths.campaign(campaign).root)

    def git_server(self, project: str) -> GitServer:
        """Return where a project's snapshots are pushed."""
        return GitServer(str(self.paths.repository(project)))

    def project_id(self, project: str) -> str:
        """Return how the lab calls a project of this client's."""
        return project

    def environment(self, shell: Mapping[str, str]) -> dict[str, str]:
        """Return what a campaign brings of the client's environment: here all that is not private to its shell."""
        return {
            name: value
            for name, value in shell.items()
            if not any(word in name.upper() for word in PRIVATE_WORDS) and not name.startswith("LABFLEET_")
        }

    def was_stopped(self) -> bool:
        """Say whether somebody has ended the lab's services, as far as this client can know that."""
        return False

    def bring(self, campaign: str, outcomes: Sequence[Outcome]) -> None:
        """Have the files of committed runs where ``paths`` names them.  Raises LabFailed."""

    def bring_build_log(self, campaign: str) -> None:
        """Have a campaign's build log there, if there is one."""

    def close(self) -> None:
        """End what this client needed to reach the lab."""


class ForemanClient:
    """A client's connection to the foreman."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", lab: Lab) -> None:
        self._context, self._lab = context, lab
        self.socket = self._connected()

    def _connected(self) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.DEALER)
        socket.set(zmq.RCVHWM, 0)
        socket.set(zmq.LINGER, 1000)
        curve.call(socket, self._lab.access)
        socket.connect(self._lab.foreman)
        return socket

    def ask(self, request: AnyRequest, patience: float = PATIENCE) -> AnyAnswer:
        """Return the foreman's answer; events that were on their way before it are passed over.

        A request is lost, or its answer, when the foreman is started anew just then: so it is repeated over another
        connection, which is ``socket`` from then on.  Raises LabFailed if it refuses or does not answer in time.
        """
        deadline = time.monotonic() + patience
        seconds = patience if isinstance(request, Shutdown) else FIRST_TRY
        answer = self._ask_once(request, min(seconds, patience))
        is_repeated = False
        while answer is None and (left := deadline - time.monotonic()) > 0:
            self.socket.close(linger=0)
            self.socket = self._connected()
            seconds, is_repeated = 2 * seconds, True
            answer = self._ask_once(request, min(seconds, left))
        if answer is None:
            raise LabAway(f"the lab's foreman did not answer within {patience:.0f} s", self._lab.advice)
        if isinstance(answer, Refused):
            if is_repeated and self._is_done(request):
                return Accepted()
            raise LabRefused(answer.message, answer.hint)
        return answer

    def _ask_once(self, request: AnyRequest, patience: float) -> AnyAnswer | None:
        """Return the foreman's answer; None if there is none in time."""
        self.socket.send(encode(request))
        deadline = time.monotonic() + patience
        while self.socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            answer = decode(self.socket.recv(), Heard)
            if isinstance(answer, AnyAnswer):
                return answer
        return None

    def _is_done(self, request: AnyRequest) -> bool:
        """Say whether what is refused the second time was done the first time, as far as can be seen now."""
        match request:
            case Resume(name):
                return any(one.id == name and (one.ended is None or one.phase == "done") for one in self.campaigns())
            case Cancel(name):
                return any(one.id == name and one.ended is not None for one in self.campaigns())
        return False

    def status(self, patience: float = PATIENCE) -> Status:
        """Return what the lab does just now.  Raises LabFailed if there is no answer."""
        answer = self.ask(AskStatus(), patience)
        if not isinstance(answer, Status):
            raise LabFailed("the lab's foreman answered something else than its status")
        return answer

    def campaigns(self) -> tuple[CampaignStatus, ...]:
        """Return all campaigns that the lab has something of.  Raises LabFailed if there is no answer."""
        answer = self.ask(AskCampaigns())
        if not isinstance(answer, Campaigns):
            raise LabFailed("the lab's foreman answered something else than its campaigns")
        return answer.campaigns

    def machines(self) -> Machines:
        """Return the lab's machines.  Raises LabFailed if there is no answer."""
        answer = self.ask(AskMachines())
        if not isinstance(answer, Machines):
            raise LabFailed("the lab's foreman answered something else than its machines")
        return answer

    def receive(self, kind: Any) -> Any:
        """Return the next message, or None if there is none."""
        if not self.socket.poll(0):
            return None
        return decode(self.socket.recv(), kind)

    def close(self) -> None:
        """Let what was sent leave, and close."""
        self.socket.close()
