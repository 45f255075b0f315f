"""The slot's end: a log that grows, and what the hub gets of it."""

import os
from collections.abc import Iterable
from pathlib import Path

import zmq

from runner import curve
from runner.log_stream.piece import BUDGET, BURST, LOSABLE, PIECE, Piece, Question, new_socket

#: Questions of the hub's that are kept; it asks again.
MOST_WANTED = 64


class Sender:
    """A slot's connection to the hub."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, access: curve.Access | None = None
    ) -> None:
        self._socket = new_socket(context, zmq.DEALER)
        curve.call(self._socket, access)
        #: How often a hub was there anew: what the one before it had not written by then is lost.
        self.connections = 0
        self._monitor = self._socket.get_monitor_socket(zmq.Event.HANDSHAKE_SUCCEEDED)
        self._wanted: dict[tuple[str, str], set[int]] = {}
        self._socket.connect(endpoint)

    def look(self) -> None:
        """Take note of connections that were made since the last look, and of what the hub asks for."""
        while self._monitor.poll(0):
            self._monitor.recv_multipart()
            self.connections += 1
        while self._socket.poll(0):
            try:
                question = Question.parse(self._socket.recv_multipart())
            except ValueError:
                continue  # a hub of another version: it gets what it does not ask for
            self.want(question.campaign, question.stream, [question.offset])

    def want(self, campaign: str, stream: str, offsets: Iterable[int]) -> None:
        """Remember from where on the hub wants a stream."""
        self._wanted.setdefault((campaign, stream), set()).update(offsets)
        while sum(map(len, self._wanted.values())) > MOST_WANTED and len(self._wanted) > 1:
            del self._wanted[next(iter(self._wanted))]  # of the logs that were asked for first, some have ended
        if len(self._wanted[campaign, stream]) > MOST_WANTED:
            self._wanted[campaign, stream] = set(sorted(self._wanted[campaign, stream])[:MOST_WANTED])

    def wanted(self, campaign: str, stream: str) -> list[int]:
        """Return the offsets from which on the hub wants a stream, each once, the first ones first."""
        return sorted(self._wanted.pop((campaign, stream), ()))

    def forget(self, campaign: str, stream: str) -> None:
        """Nobody can send a stream any more."""
        self._wanted.pop((campaign, stream), None)

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
        #: The length that the hub was told, where it does not get all of the bytes.
        self._told = 0
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
        """Send what has not been sent, as far as the hub takes it; to a new hub also what may have been lost.

        Beyond the stream's budget, the hub is told how long the log is, and gets what it asks for.
        """
        self._sender.look()
        wanted = self._sender.wanted(self._campaign, self._stream)
        if self._connections != self._sender.connections:
            self._connections, self._told = self._sender.connections, 0
            self._sent = max(0, self._sent - LOSABLE)
        self._sent = min(self._sent, *wanted, self._sent)  # a hub that asks for what was sent has lost it
        self._sent = self._send(self._sent, min(self.size, BUDGET))
        if self.size <= BUDGET or self._sent < BUDGET:
            return
        for offset in wanted:
            end = min(self.size, offset + BURST)
            if BUDGET <= offset < end and (reached := self._send(offset, end)) < end:
                self._sender.want(self._campaign, self._stream, [reached])
        if self._told != self.size and self._sender.send(Piece(self._campaign, self._stream, self.size, b"")):
            self._told = self.size

    def _send(self, offset: int, end: int) -> int:
        """Send the bytes between two offsets, as far as the hub takes them, and return how far that is."""
        while offset < end:
            data = os.pread(self._file.fileno(), min(PIECE, end - offset), offset)
            if not self._sender.send(Piece(self._campaign, self._stream, offset, data)):
                break
            offset += len(data)
        return offset

    def close(self) -> None:
        """Send the rest if the hub takes it, and say that the log ends.  The file itself is complete anyway."""
        self.stream()
        if self._sent == min(self.size, BUDGET):
            self._sender.send(Piece(self._campaign, self._stream, self.size, b"", last=True))
        self._sender.forget(self._campaign, self._stream)
        self._file.close()
