"""The log hub: takes what slots send, and answers viewers."""

import logging
import time
from dataclasses import dataclass

import zmq

from runner import curve
from runner.log_stream.piece import WAITING, Piece, Question, new_socket
from runner.log_stream.shelf import Key, Shelf
from runner.paths import LabPaths
from runner.refusals import Refusals

log = logging.getLogger(__name__)

#: Questions that are answered before slots have their turn again.
MOST_QUESTIONS = 64

#: Questions that wait for an answer, and the seconds after which one is forgotten: a viewer that is there asks again.
MOST_WAITING, FORGOTTEN = 100_000, 15.0

#: Seconds until an answer is offered again to a viewer whose queue was full, and until the store is looked at again for
#: a log that has ended.
SLOW, ENDED = 0.05, 0.25

#: Seconds until a slot is asked again for the same.
PATIENCE = 0.5

#: One in so many pieces that cannot be kept is told of.
ONE_IN = 1000


@dataclass
class _Waiting:
    """A viewer's question that has no answer yet."""

    question: Question
    since: float
    #: There is an answer, but the viewer's queue is full.
    is_slow: bool = False


class Hub:
    """Collects the logs of all slots in files and answers viewers."""

    def __init__(self, paths: LabPaths, guarded: bool = False) -> None:
        """``guarded``: only registered workers may send, only registered people may look."""
        self._paths, self._guarded = paths, guarded
        self._shelf = Shelf(paths)
        self._odd_pieces, self._odd_questions = Refusals("piece of a log"), Refusals("question for a log")
        self._waiting: dict[Key, dict[bytes, _Waiting]] = {}
        self._slow: set[Key] = set()
        self._ended: set[Key] = set()
        self._count, self._unkept = 0, 0
        #: What slots were asked for: stream → from where on, and when.
        self._asked: dict[Key, tuple[int, float]] = {}
        self._next_round, self._next_look = 0.0, 0.0
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._inbox, self._desk = new_socket(context, zmq.ROUTER), new_socket(context, zmq.ROUTER)
        # A viewer whose queue is full gets its answer later; what it has not taken does not pile up here.
        self._desk.set(zmq.ROUTER_MANDATORY, 1)
        self._context = context

    def run(self, slots: str, viewers: str) -> None:
        """Serve until the process is ended."""
        if self._guarded:
            curve.guard(self._context, self._paths.keys)
            keys = curve.own_keys(self._paths.keys, "server")
            curve.serve(self._inbox, keys, curve.WORKERS)
            curve.serve(self._desk, keys, curve.PEOPLE)
        self._inbox.bind(slots)
        self._desk.bind(viewers)
        poller = zmq.Poller()
        poller.register(self._inbox, zmq.POLLIN)
        poller.register(self._desk, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(int(self._seconds_to_wait() * 1000)))
            if self._inbox in ready:
                self._take()
            if self._desk in ready:
                self._serve()
            self._look_again()

    # ---- slots ----

    def _take(self) -> None:
        """Keep what slots sent, and answer the viewers that waited for it."""
        grown: set[Key] = set()
        for _ in range(WAITING):
            try:
                source, *frames = self._inbox.recv_multipart(flags=zmq.DONTWAIT)
            except zmq.Again:
                break
            try:
                piece = Piece.parse(frames)
            except ValueError as error:
                self._odd_pieces.note(error)
                continue
            key = (piece.campaign, piece.stream)
            try:
                lacks = self._shelf.take(piece, source)
            except OSError as error:  # the disk is full: as if the piece was lost
                if self._unkept % ONE_IN == 0:
                    log.warning("a piece of %s cannot be kept: %s", piece.stream, error)
                self._unkept += 1
                continue
            if lacks is not None:
                self._ask(key, source, lacks)
            grown.add(key)
        for key in grown:
            self._answer_all(key)

    def _ask(self, key: Key, slot: bytes, offset: int) -> None:
        """Ask a slot for a log from an offset on, unless that was done just now; what gets lost is asked for again."""
        now = time.monotonic()
        before, asked = self._asked.get(key, (-1, 0.0))
        if before == offset and now - asked < PATIENCE:
            return
        self._asked[key] = offset, now
        try:
            self._inbox.send_multipart([slot, *Question(*key, offset).frames()], flags=zmq.DONTWAIT)
        except zmq.Again:
            pass  # it has not taken what it was asked before

    # ---- viewers ----

    def _serve(self) -> None:
        """Answer viewers, or remember what they wait for."""
        for _ in range(MOST_QUESTIONS):
            try:
                viewer, *frames = self._desk.recv_multipart(flags=zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                question = Question.parse(frames)
            except ValueError as error:
                self._odd_questions.note(error)
                continue
            self._forget((question.campaign, question.stream), viewer)
            self._answer(viewer, _Waiting(question, time.monotonic()))

    def _answer_all(self, key: Key) -> None:
        for viewer, waiting in list(self._waiting.get(key, {}).items()):
            self._forget(key, viewer)
            self._answer(viewer, waiting)

    def _answer(self, viewer: bytes, waiting: _Waiting) -> None:
        """Answer a question; one that has to wait is remembered, and what it needs is asked for."""
        question = waiting.question
        key = (question.campaign, question.stream)
        try:
            answer = self._shelf.read(question)
        except OSError as error:  # too many files are open, or housekeeping was faster: the viewer asks again
            log.warning("%s cannot be read: %s", question.stream, error)
            return
        if wanted := self._shelf.wanted(key, answer.offset + len(answer.data if isinstance(answer, Piece) else b"")):
            self._ask(key, *wanted)
        if isinstance(answer, Question):
            self._remember(viewer, _Waiting(answer, waiting.since))
            return
        try:
            self._desk.send_multipart([viewer, *answer.frames()], flags=zmq.DONTWAIT)
        except zmq.Again:
            self._remember(viewer, _Waiting(question, waiting.since, is_slow=True))
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:  # the viewer is gone
                raise

    def _remember(self, viewer: bytes, waiting: _Waiting) -> None:
        if self._count >= MOST_WAITING:
            return
        key = (waiting.question.campaign, waiting.question.stream)
        self._waiting.setdefault(key, {})[viewer] = waiting
        self._count += 1
        if waiting.is_slow:
            self._slow.add(key)
        if self._shelf.is_over(key):
            self._ended.add(key)

    def _forget(self, key: Key, viewer: bytes) -> None:
        viewers = self._waiting.get(key)
        if viewers and viewers.pop(viewer, None):
            self._count -= 1
            if not viewers:
                del self._waiting[key]

    # ---- what nobody says ----

    def _seconds_to_wait(self) -> float:
        if self._slow:
            return SLOW
        if self._ended:
            return ENDED
        return FORGOTTEN / 3

    def _look_again(self) -> None:
        """Offer answers again to slow viewers, look for logs in the store, forget viewers that are gone."""
        now = time.monotonic()
        if self._slow and now >= self._next_look:
            self._next_look = now + SLOW
            slow, self._slow = self._slow, set()
            for key in slow:
                self._answer_all(key)
        if now < self._next_round:
            return
        self._next_round = now + ENDED
        ended, self._ended = self._ended, set()
        for key in ended:
            self._answer_all(key)
        for key, viewers in list(self._waiting.items()):
            for viewer in [viewer for viewer, one in viewers.items() if now - one.since > FORGOTTEN]:
                self._forget(key, viewer)
        self._asked = {key: asked for key, asked in self._asked.items() if now - asked[1] < PATIENCE}
