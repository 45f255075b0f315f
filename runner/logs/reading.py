"""Logs from a lab's hub: what there is of them, or all that comes until their runs end."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from runner import lab
from runner.errors import LabFailed, WrongUse
from runner.lab import ForemanClient, LabAway
from runner.labs import Connection
from runner.log_stream import BUILD_STREAM, PIECE, Piece, Viewer, run_stream
from runner.logs.story import Story
from runner.messages import AnyAnswer, AnyEvent, AskStatus, Follow, Refused, Status
from runner.model import encode
from runner.report.consoles import Log, Printer
from runner.report.text import one_line

#: Seconds between looks at what nobody tells.
TICK = 0.25

#: Seconds without a word from the lab after which it is asked, between attempts to reach it again, and that the hub
#: gets to answer.
SILENCE, PAUSE, PATIENCE = 3.0, 2.0, 20.0

#: Seconds without a piece, and since a run is known to be over, after which nothing more will come of its log.
OVERDUE = 10.0

#: Bytes for the last lines of a log, to begin with, and for each line.
LAST_BYTES, LINE = 1 << 16, 200


@dataclass
class _Open:
    """A log that is being read."""

    log: Log
    run: int | None
    attempt: int
    #: How many bytes before its end it is read from; None: from its beginning.
    last_bytes: int | None
    #: When there was a piece, or another reason to expect one.
    heard: float
    #: Where its first piece began.
    first: int | None = None
    #: Is only what is there now read?
    is_at_once: bool = False
    #: Is its run known to be over?
    is_over: bool = False
    received: int = 0


class Reading:
    """Reads logs of one campaign."""

    def __init__(
        self,
        connection: Connection,
        campaign: str,
        printer: Printer,
        note: Callable[[str], None],
        *,
        tail: int | None = None,
        reads_all: bool = False,
    ) -> None:
        """``tail``: so many last lines of what is there; ``reads_all``: to find them, as not every line is shown."""
        self.id, self.story = campaign, Story()
        self._connection, self._printer, self._note = connection, printer, note
        self._tail, self._reads_all = tail, reads_all
        self._foreman = ForemanClient(connection.context, connection.lab)
        self._viewer = Viewer(connection.context, connection.lab.hub, campaign, connection.lab.access)
        self._open: dict[str, _Open] = {}
        #: All that were opened: what is told twice is shown once.
        self._shown: set[str] = set()
        self._incarnation = ""
        self._heard, self._asked = time.monotonic(), 0.0
        self._width = 0

    def close(self) -> None:
        """Leave the lab."""
        self._foreman.close()
        self._viewer.close()

    # ---- what the lab tells ----

    def listen(self) -> None:
        """Learn what has happened to the campaign so far.  Raises LabFailed."""
        self._foreman.ask(Follow(self.id))
        self._foreman.socket.send(encode(AskStatus()))
        deadline = time.monotonic() + PATIENCE
        self._incarnation = ""
        while not self._incarnation:
            if not self._foreman.socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
                raise LabAway(f"the lab's foreman did not answer within {PATIENCE:.0f} s", self._connection.lab.advice)
            self._take_events()
        self._heard, self._asked = time.monotonic(), 0.0

    def _take_events(self) -> None:
        while (message := self._foreman.receive(AnyEvent | AnyAnswer)) is not None:
            self._heard, self._asked = time.monotonic(), 0.0
            match message:
                case Refused(text, hint):
                    raise LabFailed(text, hint)
                case Status():
                    self._check_status(message)
                case _:
                    self.story.take(message)

    def _check_status(self, status: Status) -> None:
        """Ask for everything again if the foreman is another one, or knows of more than it has told."""
        known = next((one for one in status.campaigns if one.id == self.id), None)
        over = len(self.story.over)
        missed = not self.story.has_ended and (known is None or known.done + known.failed > over)
        if self._incarnation and (missed or status.incarnation != self._incarnation):
            self._foreman.socket.send(encode(Follow(self.id)))
        self._incarnation = status.incarnation

    def _check_silence(self) -> None:
        """Ask a lab from which nothing is heard whether it is there, and come back to it if it was away."""
        now = time.monotonic()
        if self._asked and now - self._asked > lab.PATIENCE:
            self._come_back()
        elif not self._asked and now - self._heard > SILENCE:
            self._asked = now
            self._foreman.socket.send(encode(AskStatus()))

    def _come_back(self) -> None:
        """Make the way to the lab anew, until it is there or the person leaves."""
        pause, said = threading.Event(), ""
        self._note("the lab does not answer; trying again …")
        self.close()
        while True:
            try:
                self._connection.renew()
                self._foreman = ForemanClient(self._connection.context, self._connection.lab)
                self.listen()
            except lab.LabRefused:
                raise
            except LabFailed as error:
                self._foreman.close()
                if self._connection.lab.was_stopped():
                    raise
                if error.message != said:
                    said = error.message
                    self._note(f"{said}; trying again …")
                pause.wait(PAUSE)
            else:
                break
        self._viewer.connect(self._connection.context, self._connection.lab.hub, self._connection.lab.access)
        for one in self._open.values():  # their runs may have ended meanwhile: the hub has not been heard since
            one.heard = time.monotonic()
        self._note("the lab is back")

    # ---- reading ----

    def present(self, runs: Sequence[tuple[int, int]]) -> None:
        """Show what there is of the logs of attempts at runs, one after the other."""
        self._width = len(str(max((run for run, _ in runs), default=0)))
        for run, attempt in runs:
            self._begin(run_stream(run, attempt), run, attempt, at_once=True)
            self._read_open()

    def present_build(self) -> int:
        """Show what there is of the build's log, and return how many bytes that is."""
        one = self._begin(BUILD_STREAM, None, 0, at_once=True)
        self._read_open()
        return one.received

    def _read_open(self) -> None:
        """Read what is open until there is no more for now.  Raises LabAway if the hub does not answer."""
        heard = time.monotonic()
        while self._open:
            if time.monotonic() - heard > PATIENCE:
                raise LabAway(f"the lab's hub did not answer within {PATIENCE:.0f} s", self._connection.lab.advice)
            self._viewer.socket.poll(int(TICK * 1000))
            if self._take_pieces():
                heard = time.monotonic()
        self._printer.flush()

    def follow(self, wanted: Sequence[tuple[int, int | None]] | None) -> None:
        """Show logs as they grow, until their runs have ended; None: of all that begin before the campaign ends.

        An attempt of ``None`` is each one from the latest on.
        """
        highest = max([run for run, _ in wanted or ()] + [0 if wanted else max(self.story.runs, default=0)])
        self._width = len(str(highest))
        for run, attempt in wanted or ():
            latest = attempt or self.story.state(run).attempt
            if latest:
                self._begin(run_stream(run, latest), run, latest)
        numbers = None if wanted is None else {run for run, attempt in wanted if attempt is None}
        self._loop(numbers, lambda: self._is_over(numbers))

    def follow_build(self) -> int:
        """Show the build's log as it grows, and return how many bytes it has."""
        one = self._begin(BUILD_STREAM, None, 0)
        self._loop(set(), lambda: not self._open)
        return one.received

    def _is_over(self, numbers: set[int] | None) -> bool:
        """Say whether nothing more will come of all runs (None), or of some."""
        return not self._open and (self.story.has_ended or (numbers is not None and numbers <= self.story.over.keys()))

    def _loop(self, numbers: set[int] | None, is_over: Callable[[], bool]) -> None:
        before = {one for one in self.story.news if self.story.is_over(*one)}
        while True:
            for run, attempt in self.story.take_news():  # a short one has ended between two looks
                stream = run_stream(run, attempt)
                is_new = attempt and stream not in self._shown and (run, attempt) not in before
                if is_new and (numbers is None or run in numbers):
                    self._begin(stream, run, attempt)
            self._tail = None  # what begins from now on is shown from its beginning
            self._close_what_ended()
            self._printer.flush()
            if is_over():
                return
            poller = zmq.Poller()
            poller.register(self._foreman.socket, zmq.POLLIN)
            poller.register(self._viewer.socket, zmq.POLLIN)
            poller.poll(int(TICK * 1000))
            self._take_events()
            self._take_pieces()
            self._check_silence()

    def _begin(self, stream: str, run: int | None, attempt: int, *, at_once: bool = False) -> _Open:
        """Open a log."""
        self._shown.add(stream)
        last_bytes = None
        if self._tail == 0:
            last_bytes = 0
        elif self._tail is not None and not self._reads_all:
            last_bytes = max(LAST_BYTES, LINE * self._tail)
        name = "build" if run is None else f"#{run:<{self._width}}"
        one = _Open(Log(name, self._printer, self._tail), run, attempt, last_bytes, time.monotonic(), None, at_once)
        self._open[stream] = one
        self._ask(stream, one)
        return one

    def _ask(self, stream: str, one: _Open) -> None:
        """Ask for what is there of a log; only the hub's answer tells that it was all, however long that takes."""
        self._viewer.follow(stream, one.last_bytes or 0, from_end=one.last_bytes is not None, at_once=True)

    def _take_pieces(self) -> bool:
        """Show some of what has come; say whether it was something."""
        for number in range(32):
            piece = self._viewer.receive()
            if piece is None:
                return number > 0
            self._take(piece)
        return True

    def _take(self, piece: Piece) -> None:
        one = self._open[piece.stream]
        one.heard = time.monotonic()
        one.first = piece.offset if one.first is None else one.first
        one.received += len(piece.data)
        one.log.take(piece.data)
        if (piece.last or len(piece.data) < PIECE) and not self._caught_up(piece.stream, one):
            return
        if piece.last or (one.is_at_once and not piece.data):
            self._close(piece.stream, has_ended=piece.last)
        elif not piece.data and self._is_lost(one):
            self._give_up(piece.stream, one)
        elif not piece.data:
            self._viewer.follow(piece.stream, piece.offset)

    def _caught_up(self, stream: str, one: _Open) -> bool:
        """All that is there has come; False: it begins too late, and is asked for again from further ahead."""
        if one.last_bytes and one.first and one.log.lacks:
            one.last_bytes, one.first = 4 * one.last_bytes, None
            one.log.restart()
            self._ask(stream, one)
            return False
        if not one.is_at_once:
            one.log.caught_up()
        return True

    def _close(self, stream: str, *, has_ended: bool = True) -> None:
        self._open.pop(stream).log.close(has_ended=has_ended)
        self._viewer.forget(stream)

    def _close_what_ended(self) -> None:
        """Let go of logs of which nothing more will come."""
        now = time.monotonic()
        for stream, one in list(self._open.items()):
            if not self._has_ended(one):
                continue
            if not one.is_over:  # the foreman was faster than the hub
                one.is_over, one.heard = True, now
                if self._is_lost(one):
                    self._viewer.hurry(stream)
            elif now - one.heard > OVERDUE:
                self._give_up(stream, one)

    def _has_ended(self, one: _Open) -> bool:
        """Say whether what prints a log is known to have come to its end."""
        if one.run is None:
            return self.story.prepared is not None or self.story.has_ended
        return self.story.is_over(one.run, one.attempt) or self.story.has_ended

    def _is_lost(self, one: _Open) -> bool:
        """Say whether nothing comes of a log but what the hub has got."""
        if one.run is not None:
            return self.story.left_nothing(one.run, one.attempt)
        return self._has_ended(one) and not (self.story.prepared and self.story.prepared.built)

    def _give_up(self, stream: str, one: _Open) -> None:
        """Let go of a log whose end did not come."""
        self._close(stream)
        if one.run is not None:
            self._note(self._last_words(one.run, one.attempt))

    def _last_words(self, run: int, attempt: int) -> str:
        past = self.story.past.get((run, attempt))
        if past:
            return f"run {run}: attempt {attempt} was over ({one_line(past.error) or past.kind}), and is made again"
        return f"run {run}: nothing more is known of its log"


def latest(story: Story, runs: Sequence[int], attempt: int | None) -> list[tuple[int, int]]:
    """Return which attempt at each run is meant.  Raises WrongUse for one that was not made."""
    if attempt is None:
        return [(run, story.state(run).attempt) for run in runs]
    for run in runs:
        if not 1 <= attempt <= (last := story.state(run).attempt):
            made = f"attempts so far: {last}" if last else "it has not begun"
            raise WrongUse(f"there was no attempt {attempt} at run {run}", made)
    return [(run, attempt) for run in runs]
