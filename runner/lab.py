"""What a client has to know of a lab, and how it speaks to the lab's foreman."""

from dataclasses import dataclass
from typing import Any

import zmq

from runner.errors import LabFailed
from runner.messages import AnyAnswer, AnyRequest, AskStatus, Refused, Status
from runner.model import decode, encode
from runner.paths import LabPaths

#: Seconds that the foreman gets to answer.
PATIENCE = 20.0


@dataclass(frozen=True)
class Lab:
    """Where the parts of a lab are that a client speaks to."""

    foreman: str
    hub: str
    #: Names of the store's and server's files as the client reaches them.
    paths: LabPaths

    def git_server(self, project: str) -> str:
        """Return where a project's snapshots are pushed."""
        return str(self.paths.repository(project))


class ForemanClient:
    """A client's connection to the foreman."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", lab: Lab) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.set(zmq.LINGER, 1000)
        self.socket.connect(lab.foreman)
        self._lab = lab

    def ask(self, request: AnyRequest, patience: float = PATIENCE) -> AnyAnswer:
        """Return the foreman's answer.  Raises LabFailed if it refuses or does not answer in time."""
        self.socket.send(encode(request))
        if not self.socket.poll(int(patience * 1000)):
            raise LabFailed(
                f"the lab's foreman did not answer within {patience:.0f} s",
                f"its logs are in {self._lab.paths.service_logs}; labfleet lab stop --force ends it",
            )
        answer: AnyAnswer = decode(self.socket.recv(), AnyAnswer)
        if isinstance(answer, Refused):
            raise LabFailed(answer.message, answer.hint)
        return answer

    def status(self) -> Status:
        """Return what the lab does just now.  Raises LabFailed if there is no answer."""
        answer = self.ask(AskStatus())
        if not isinstance(answer, Status):
            raise LabFailed("the lab's foreman answered something else than its status")
        return answer

    def receive(self, kind: Any) -> Any:
        """Return the next message, or None if there is none."""
        if not self.socket.poll(0):
            return None
        return decode(self.socket.recv(), kind)

    def close(self) -> None:
        """Let what was sent leave, and close."""
        self.socket.close()
