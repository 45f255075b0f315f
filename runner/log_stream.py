"""Console output on its way: slot → hub → viewers.

A log is a file, addressed by byte offset, at every station.  A slot sends (offset, bytes) of what its file grew by; the
hub writes the bytes at that offset of its own file; a viewer asks for what lies behind its offset and gets the answer
as soon as there is something.  So whatever is repeated does no harm, and nobody has to keep up with anybody: a slow
viewer asks late, and a slot that finds the hub's queue full goes on simulating and sends later from the same offset.
"""

import logging
import os
import re
import struct
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import zmq

from runner import curve
from runner.paths import LabPaths
from runner.refusals import Refusals

log = logging.getLogger(__name__)

#: Bytes per message.
PIECE = 256 * 1024
#: Messages that may wait in one direction of one connection.
WAITING = 16
#: Bytes of a stream that can be under way when a hub dies: what waits here, there, and between.
LOSABLE = 3 * WAITING * PIECE
#: Open log files of the hub.
OPEN_FILES = 64

#: Seconds without any answer after which a viewer asks again.
SILENCE = 3.0

BUILD_STREAM = "build"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_OFFSET = struct.Struct("<Q?")  # offset, and whether the stream ends with this piece


def run_stream(run: int, attempt: int) -> str:
    """Return the name of the stream of one attempt's console output."""
    return f"run-{run}.{attempt}"


@dataclass(frozen=True)
class Piece:
    """Bytes of a log, as slots send them and viewers get them."""

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
        if len(frames) != 4:
            raise ValueError(f"{len(frames)} frames instead of 4")
        campaign, stream = frames[0].decode("ascii"), frames[1].decode("ascii")
        if not _NAME.fullmatch(campaign) or not _NAME.fullmatch(stream):
            raise ValueError("odd name of a campaign or stream")
        if len(frames[2]) != _OFFSET.size or len(frames[3]) > PIECE:
            raise ValueError("wrong size")
        offset, last = _OFFSET.unpack(frames[2])
        if offset > 1 << 50:
            raise ValueError("absurd offset")
        return cls(campaign, stream, offset, frames[3], last)


def _socket(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    socket.set(zmq.SNDHWM, WAITING)
    socket.set(zmq.RCVHWM, WAITING)
    socket.set(zmq.LINGER, 1000)
    socket.set(zmq.MAXMSGSIZE, PIECE + 1024)
    return socket


class Sender:
    """The slot's end: sends what a log file has grown by."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, access: curve.Access | None = None
    ) -> None:
        self._socket = _socket(context, zmq.PUSH)
        curve.call(self._socket, access)
        #: How often a hub was there anew: what the one before it had not written by then is lost.
        self.connections = 0
        self._monitor = self._socket.get_monitor_socket(zmq.Event.HANDSHAKE_SUCCEEDED)
        self._socket.connect(endpoint)

    def look(self) -> None:
        """Take note of connections that were made since the last look."""
        while self._monitor.poll(0):
            self._monitor.recv_multipart()
            self.connections += 1

    def send(self, piece: Piece) -> bool:
        """Hand a piece to the hub; False when its queue is full and the piece has to be offered again later."""
        try:
            self._socket.send_multipart(piece.frames(), flags=zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Give what is under way a second to leave."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close()


class GrowingLog:
    """A log file that one process writes and streams at the same time."""

    def __init__(self, path: Path, campaign: str, stream: str, sender: Sender) -> None:
        self._file = path.open("w+b", buffering=0)
        self._campaign, self._stream, self._sender = campaign, stream, sender
        self._sent, self._connections = 0, sender.connections
        #: Length in bytes.
        self.size = 0

    def append(self, data: bytes) -> None:
        """Write bytes at the end of the file.  Raises OSError where the disk does not take all of them."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._file.fileno(), rest, self.size)
            self.size += written
            rest = rest[written:]

    def stream(self) -> None:
        """Send what has not been sent, as far as the hub takes it; to a new hub also what may have been lost."""
        self._sender.look()
        if self._connections != self._sender.connections:
            self._connections = self._sender.connections
            self._sent = max(0, self._sent - LOSABLE)
        while self._sent < self.size:
            data = os.pread(self._file.fileno(), PIECE, self._sent)
            if not self._sender.send(Piece(self._campaign, self._stream, self._sent, data)):
                return
            self._sent += len(data)

    def close(self) -> None:
        """Send the rest if the hub takes it, and say that the log ends.  The file itself is complete anyway."""
        self.stream()
        if self._sent == self.size:
            self._sender.send(Piece(self._campaign, self._stream, self.size, b"", last=True))
        self._file.close()


class Hub:
    """Collects the logs of all slots in files and answers viewers."""

    def __init__(self, paths: LabPaths, guarded: bool = False) -> None:
        """``guarded``: only registered workers may send, only registered people may look."""
        self._paths, self._guarded = paths, guarded
        self._files: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._odd_pieces, self._odd_questions = Refusals("piece of a log"), Refusals("question for a log")
        self._ended: OrderedDict[tuple[str, str], int] = OrderedDict()
        #: Viewers that wait for more: (campaign, stream) → viewer → offset.
        self._waiting: dict[tuple[str, str], dict[bytes, int]] = {}

    def run(self, slots: str, viewers: str) -> None:
        """Serve until the process is ended."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        inbox = _socket(context, zmq.PULL)
        desk = _socket(context, zmq.ROUTER)
        desk.set(zmq.SNDHWM, 0)  # a viewer has at most one answer per stream under way
        if self._guarded:
            curve.guard(context, self._paths.keys)
            keys = curve.own_keys(self._paths.keys, "server")
            curve.serve(inbox, keys, curve.WORKERS)
            curve.serve(desk, keys, curve.PEOPLE)
        inbox.bind(slots)
        desk.bind(viewers)
        poller = zmq.Poller()
        poller.register(inbox, zmq.POLLIN)
        poller.register(desk, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if inbox in ready:
                self._take(inbox, desk)
            if desk in ready:
                self._serve(desk)

    def _take(self, inbox: "zmq.Socket[bytes]", desk: "zmq.Socket[bytes]") -> None:
        """Write what slots sent, and answer the viewers that waited for it."""
        grown = set()
        for _ in range(WAITING):
            try:
                frames = inbox.recv_multipart(flags=zmq.DONTWAIT)
            except zmq.Again:
                break
            try:
                piece = Piece.parse(frames)
            except ValueError as error:
                self._odd_pieces.note(error)
                continue
            key = (piece.campaign, piece.stream)
            try:
                handle = self._file(key, create=True)
                if piece.offset > os.fstat(handle).st_size:
                    continue  # something before it was lost: no holes, the viewer gets the rest with the run's own log
                os.pwrite(handle, piece.data, piece.offset)
            except OSError as error:  # the disk is full: as if the piece was lost
                log.warning("a piece of %s cannot be kept: %s", piece.stream, error)
                continue
            if piece.last:
                self._note_end(key, piece.offset + len(piece.data))
            grown.add(key)
        for key in grown:
            for viewer, offset in self._waiting.pop(key, {}).items():
                self._answer(desk, viewer, key, offset)

    def _serve(self, desk: "zmq.Socket[bytes]") -> None:
        """Answer a viewer, or remember what it waits for."""
        viewer, *frames = desk.recv_multipart()
        try:
            wish = Piece.parse(frames)
        except ValueError as error:
            self._odd_questions.note(error)
            return
        self._answer(desk, viewer, (wish.campaign, wish.stream), wish.offset)

    def _answer(self, desk: "zmq.Socket[bytes]", viewer: bytes, key: tuple[str, str], offset: int) -> None:
        handle = self._file(key, create=False)
        data = os.pread(handle, PIECE, offset) if handle >= 0 else b""
        end = self._ended.get(key)
        last = end is not None and offset + len(data) >= end
        if not data and not last:
            self._waiting.setdefault(key, {})[viewer] = offset
            return
        desk.send_multipart([viewer, *Piece(*key, offset, data, last).frames()])

    def _note_end(self, key: tuple[str, str], size: int) -> None:
        self._ended[key] = size
        while len(self._ended) > 100_000:
            self._ended.popitem(last=False)

    def _file(self, key: tuple[str, str], create: bool) -> int:
        """Return the handle of a stream's file; -1 if there is none."""
        handle = self._files.pop(key, -1)
        if handle >= 0 and os.fstat(handle).st_nlink == 0:  # housekeeping has removed it
            os.close(handle)
            handle = -1
        if handle < 0:
            path = self._paths.log(*key)
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
            elif not path.exists():
                return -1
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._files[key] = handle
        while len(self._files) > OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return handle


class Viewer:
    """The client's end: follows any number of streams, each from its own offset on."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        campaign: str,
        access: curve.Access | None = None,
    ) -> None:
        self._campaign = campaign
        self._offsets: dict[str, int] = {}
        #: Streams with a question that has not been answered, and when it was asked.
        self._asked: dict[str, float] = {}
        self.connect(context, endpoint, access)

    def connect(
        self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, access: curve.Access | None = None
    ) -> None:
        """Ask this hub from now on, also what no other has answered; the former socket has to be closed."""
        self.socket = _socket(context, zmq.DEALER)
        curve.call(self.socket, access)
        self.socket.connect(endpoint)
        for stream in self._asked:
            self._ask(stream)

    def follow(self, stream: str, offset: int = 0) -> None:
        """Ask for a stream's bytes from an offset on."""
        self._offsets[stream] = offset
        self._ask(stream)

    def offset(self, stream: str) -> int:
        """Return how many bytes of a stream have been received."""
        return self._offsets.get(stream, 0)

    def forget(self, stream: str) -> None:
        """Take no more of a stream."""
        self._offsets.pop(stream, None)
        self._asked.pop(stream, None)

    def receive(self) -> Piece | None:
        """Return the next piece of a followed stream and ask for the one after it; None if nothing is there.

        A hub that was killed has forgotten the questions: each is asked again when it was not answered for a while.
        """
        while True:
            try:
                piece = Piece.parse(self.socket.recv_multipart(flags=zmq.DONTWAIT))
            except zmq.Again:
                self._ask_again()
                return None
            if piece.stream not in self._asked or self._offsets.get(piece.stream) != piece.offset:
                continue  # an answer to a question that is no longer of interest, or was asked twice
            if piece.last:
                self._offsets[piece.stream] += len(piece.data)
                self._asked.pop(piece.stream, None)
            else:
                self.follow(piece.stream, piece.offset + len(piece.data))
            return piece

    def _ask_again(self) -> None:
        now = time.monotonic()
        for stream, asked in list(self._asked.items()):
            if now - asked > SILENCE:
                self._ask(stream)

    def _ask(self, stream: str) -> None:
        """Ask for what lies behind a stream's offset; a question that finds no room is asked as soon as there is."""
        wish = Piece(self._campaign, stream, self._offsets[stream], b"")
        try:
            self.socket.send_multipart(wish.frames(), flags=zmq.DONTWAIT)
        except zmq.Again:
            self._asked[stream] = -SILENCE
        else:
            self._asked[stream] = time.monotonic()

    def close(self) -> None:
        """Leave at once."""
        self.socket.close(linger=0)
