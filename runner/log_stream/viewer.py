"""The client's end: follows any number of streams, each from its own offset on."""

import time
from dataclasses import replace

import zmq

from runner import curve
from runner.log_stream.piece import Piece, Question, new_socket

#: Seconds without any answer after which a viewer asks again.
SILENCE = 3.0


class Viewer:
    """Follows streams of one campaign."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        campaign: str,
        access: curve.Access | None = None,
    ) -> None:
        self._campaign = campaign
        #: Bytes received of each stream, counted from its beginning; None: the answer says where it begins.
        self._offsets: dict[str, int | None] = {}
        #: Streams with a question that has not been answered, which it was, and when it was asked.
        self._asked: dict[str, tuple[Question, float]] = {}
        self.connect(context, endpoint, access)

    def connect(
        self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, access: curve.Access | None = None
    ) -> None:
        """Ask this hub from now on, also what no other has answered; the former socket has to be closed."""
        self.socket = new_socket(context, zmq.DEALER)
        curve.call(self.socket, access)
        self.socket.connect(endpoint)
        for question, _ in list(self._asked.values()):
            self._ask(question)

    def follow(self, stream: str, offset: int = 0, *, from_end: bool = False, at_once: bool = False) -> None:
        """Ask for a stream's bytes from an offset on.

        ``from_end``: the offset is counted back from where the log ends now.  ``at_once``: when nothing more is there
        for now, a piece without bytes says so, and the stream is not asked for any further.
        """
        self._offsets[stream] = None if from_end else offset
        self._ask(Question(self._campaign, stream, offset, from_end, at_once))

    def hurry(self, stream: str) -> None:
        """Have what a stream was asked for last answered at once, if that has no answer yet."""
        if stream in self._asked:
            question, _ = self._asked[stream]
            self._ask(replace(question, at_once=True))

    def offset(self, stream: str) -> int:
        """Return how many bytes of a stream have been received."""
        return self._offsets.get(stream) or 0

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
            if piece.stream not in self._asked or self._offsets.get(piece.stream) not in (None, piece.offset):
                continue  # an answer to a question that is no longer of interest, or was asked twice
            self._offsets[piece.stream] = piece.offset + len(piece.data)
            question, _ = self._asked.pop(piece.stream)
            if piece.data and not piece.last:
                self.follow(piece.stream, piece.offset + len(piece.data), at_once=question.at_once)
            return piece

    def _ask_again(self) -> None:
        now = time.monotonic()
        for question, asked in list(self._asked.values()):
            if now - asked > SILENCE:
                self._ask(question)

    def _ask(self, question: Question) -> None:
        """Ask a question; one that finds no room is asked as soon as there is."""
        try:
            self.socket.send_multipart(question.frames(), flags=zmq.DONTWAIT)
        except zmq.Again:
            self._asked[question.stream] = question, -SILENCE
        else:
            self._asked[question.stream] = question, time.monotonic()

    def close(self) -> None:
        """Leave at once."""
        self.socket.close(linger=0)
