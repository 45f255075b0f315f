"""What passes between slots, hub and viewers: pieces of logs, and questions for them."""

import re
import struct
from dataclasses import dataclass
from functools import lru_cache

import zmq

from runner import curve

#: Bytes per message.
PIECE = 256 * 1024
#: Messages that may wait in one direction of one connection.
WAITING = 16
#: Bytes of a stream that can be under way when a hub dies: what waits here, there, and between.
LOSABLE = 3 * WAITING * PIECE

#: Bytes of a stream of which the hub keeps a copy, from its beginning: a run that prints without end must not fill the
#: head's disk, and hardly any other prints as much.  What lies beyond stays with the slot, until somebody asks for it,
#: or it comes with the results.
BUDGET = 64 << 20
#: Bytes that a slot sends at once of what lies beyond, for one question of the hub's: it looks ten times a second.
BURST = 8 * PIECE

BUILD_STREAM = "build"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_OFFSET = struct.Struct("<QB")
_LAST = 1
_FROM_END, _AT_ONCE = 1, 2


def run_stream(run: int, attempt: int) -> str:
    """Return the name of the stream of one attempt's console output."""
    return f"run-{run}.{attempt}"


@lru_cache(maxsize=1024)  # each message has them, and most are those of the one before
def _names(campaign: bytes, stream: bytes) -> tuple[str, str]:
    names = campaign.decode("ascii"), stream.decode("ascii")
    if not all(map(_NAME.fullmatch, names)):
        raise ValueError("odd name of a campaign or stream")
    return names


def _parsed(frames: list[bytes], longest: int) -> tuple[str, str, int, int]:
    """Return campaign, stream, offset and flags of a message.  Raises ValueError for what is none."""
    if len(frames) != 4:
        raise ValueError(f"{len(frames)} frames instead of 4")
    if len(frames[2]) != _OFFSET.size or len(frames[3]) > longest:
        raise ValueError("wrong size")
    offset, flags = _OFFSET.unpack(frames[2])
    if offset > 1 << 50:
        raise ValueError("absurd offset")
    return *_names(frames[0], frames[1]), offset, flags


@dataclass(frozen=True)
class Piece:
    """Bytes of a log, as slots send them and viewers get them.

    Without bytes it tells how long the log is; as an answer to a question that was to be answered at once: that there
    is nothing more for now.
    """

    campaign: str
    stream: str
    offset: int
    data: bytes
    #: Nothing follows.
    last: bool = False

    def frames(self) -> list[bytes]:
        """Return the message's frames."""
        return [self.campaign.encode(), self.stream.encode(), _OFFSET.pack(self.offset, self.last), self.data]

    @classmethod
    def parse(cls, frames: list[bytes]) -> "Piece":
        """Return the piece that a message holds.  Raises ValueError for anything else."""
        campaign, stream, offset, flags = _parsed(frames, PIECE)
        return cls(campaign, stream, offset, frames[3], bool(flags & _LAST))


@dataclass(frozen=True)
class Question:
    """What a viewer asks the hub, and the hub a slot: the bytes of a log from an offset on."""

    campaign: str
    stream: str
    offset: int
    #: The offset is counted back from where the log ends now.
    from_end: bool = False
    #: The answer is not to wait until there is something.
    at_once: bool = False

    def frames(self) -> list[bytes]:
        """Return the message's frames."""
        flags = _FROM_END * self.from_end + _AT_ONCE * self.at_once
        return [self.campaign.encode(), self.stream.encode(), _OFFSET.pack(self.offset, flags), b""]

    @classmethod
    def parse(cls, frames: list[bytes]) -> "Question":
        """Return the question that a message holds.  Raises ValueError for anything else."""
        campaign, stream, offset, flags = _parsed(frames, 0)
        return cls(campaign, stream, offset, bool(flags & _FROM_END), bool(flags & _AT_ONCE))


def new_socket(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    """Return a socket whose queues and messages have limits, and which notices a peer that is gone without a word."""
    socket = context.socket(kind)
    socket.set(zmq.SNDHWM, WAITING)
    socket.set(zmq.RCVHWM, WAITING)
    socket.set(zmq.LINGER, 1000)
    socket.set(zmq.MAXMSGSIZE, PIECE + 1024)
    curve.watch(socket)
    return socket
