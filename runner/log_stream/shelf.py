"""What the hub has of logs: its own files, the result store's, and what slots have just sent beyond the budget."""

import os
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from runner.log_stream.piece import BUDGET, BUILD_STREAM, BURST, PIECE, Piece, Question
from runner.paths import AttemptPaths, LabPaths

#: Open log files of the hub.
OPEN_FILES = 64

#: Streams of which the hub remembers what slots said; of others, its files tell.
MOST_STREAMS = 20_000

#: Bytes beyond the budget that are kept in memory for viewers who are about to ask for them, and of how many streams.
RELAYED, MOST_RELAYS = 2 * BURST, 16

#: Campaign and stream.
Key = tuple[str, str]

_RUN = re.compile(r"run-([0-9]{1,18})\.([0-9]{1,18})")


@dataclass
class _Stream:
    """What slots said of a stream."""

    #: The connection over which it comes.
    source: bytes
    #: Its length, as far as is known.
    length: int = 0
    #: Its length when it ended; None while it grows.
    end: int | None = None
    #: Bytes that slots sent because somebody asked for them, and where they begin.
    relayed: bytearray = field(default_factory=bytearray)
    relayed_from: int = 0


class Shelf:
    """The logs that the hub has."""

    def __init__(self, paths: LabPaths) -> None:
        self._paths = paths
        self._files: OrderedDict[Key, int] = OrderedDict()
        self._streams: OrderedDict[Key, _Stream] = OrderedDict()
        self._relays: OrderedDict[Key, None] = OrderedDict()

    # ---- what slots send ----

    def take(self, piece: Piece, source: bytes) -> int | None:
        """Keep what a slot sent, and return from where on the hub lacks something of it; None: nothing.

        Raises OSError where the disk does not take it.
        """
        key = (piece.campaign, piece.stream)
        stream = self._streams.get(key) or self._new(key, source)
        stream.source = source
        end = piece.offset + len(piece.data)
        stream.length = max(stream.length, end)
        size = self._keep(key, stream, piece)
        if piece.last:
            stream.end = stream.length = end
        return size if size < min(stream.length, BUDGET) else None

    def _new(self, key: Key, source: bytes) -> _Stream:
        while len(self._streams) >= MOST_STREAMS:
            self._streams.popitem(last=False)
        return self._streams.setdefault(key, _Stream(source))

    def _keep(self, key: Key, stream: _Stream, piece: Piece) -> int:
        """Write what fits into the budget where it belongs, pass on the rest, and return the length of the hub's file.

        There are no holes: what does not come next is as if it was lost.
        """
        handle = self._file(key, create=True)
        size = os.fstat(handle).st_size
        data = piece.data
        if piece.offset < size and self._is_another(handle, size, piece):
            # The attempt is made once more, e.g. as it shared a process with others and goes alone now.
            os.ftruncate(handle, piece.offset)
            size, stream.end, stream.length = piece.offset, None, piece.offset + len(data)
            stream.relayed, stream.relayed_from = bytearray(), 0
        if piece.offset <= size:
            new = data[size - piece.offset : max(0, BUDGET - piece.offset)]
            size += os.pwrite(handle, new, size) if new else 0
        if data and piece.offset >= BUDGET:
            self._relay(key, stream, piece.offset, data)
        return size

    def _is_another(self, handle: int, size: int, piece: Piece) -> bool:
        """Say whether a piece does not belong to the log of which the hub has so many bytes."""
        if piece.last and piece.offset + len(piece.data) < size:
            return True
        known = os.pread(handle, min(len(piece.data), size - piece.offset), piece.offset)
        return known != piece.data[: len(known)]

    def _relay(self, key: Key, stream: _Stream, offset: int, data: bytes) -> None:
        if offset != stream.relayed_from + len(stream.relayed):
            stream.relayed, stream.relayed_from = bytearray(), offset
        stream.relayed += data
        if (surplus := len(stream.relayed) - RELAYED) > 0:
            del stream.relayed[:surplus]
            stream.relayed_from += surplus
        self._relays[key] = None
        self._relays.move_to_end(key)
        while len(self._relays) > MOST_RELAYS:
            forgotten = self._streams.get(self._relays.popitem(last=False)[0])
            if forgotten:
                forgotten.relayed = bytearray()

    # ---- what viewers ask for ----

    def read(self, question: Question) -> Piece | Question:
        """Return the answer to a question; as long as there is none, the question from where on it waits."""
        key = (question.campaign, question.stream)
        if (whole := self._stored(key)) >= 0:
            try:
                size = os.fstat(whole).st_size
                start = max(0, size - question.offset) if question.from_end else question.offset
                data = os.pread(whole, PIECE, start)
            finally:
                os.close(whole)
            return Piece(*key, start, data, last=start + len(data) >= size)
        stream, handle = self._streams.get(key), self._file(key, create=False)
        size = os.fstat(handle).st_size if handle >= 0 else 0
        length = max(size, stream.length if stream else 0)
        start = max(0, length - question.offset) if question.from_end else question.offset
        data = b""
        if start < size:
            data = os.pread(handle, PIECE, start)
        elif stream and start >= stream.relayed_from:
            begin = start - stream.relayed_from
            data = bytes(stream.relayed[begin : begin + PIECE])
        last = stream is not None and stream.end is not None and start + len(data) >= stream.end
        if data or last or (question.at_once and start >= length):
            return Piece(*key, start, data, last)
        return Question(*key, start, at_once=question.at_once)

    def wanted(self, key: Key, offset: int) -> tuple[bytes, int] | None:
        """Return whom to ask for what a viewer needs now or next, and from where on; None: it is here, or nowhere."""
        stream = self._streams.get(key)
        if stream is None or stream.end is not None or not BUDGET <= offset < stream.length:
            return None
        reached = stream.relayed_from + len(stream.relayed)
        if not stream.relayed_from <= offset < reached:
            return stream.source, offset
        is_ahead = reached - offset > RELAYED // 2 or reached >= stream.length
        return None if is_ahead else (stream.source, reached)

    def is_over(self, key: Key) -> bool:
        """Say whether no slot sends a stream any more: what is missing comes with the results."""
        stream = self._streams.get(key)
        return stream is not None and stream.end is not None

    def _stored(self, key: Key) -> int:
        """Return a handle of the log in the result store; -1 if it is not there."""
        for place in places(self._paths, *key):
            try:
                return os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
        return -1

    def _file(self, key: Key, create: bool) -> int:
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


def attempt_of(stream: str) -> tuple[int, int] | None:
    """Return run and attempt of a stream's name; None if it is no attempt's."""
    match = _RUN.fullmatch(stream)
    return (int(match[1]), int(match[2])) if match else None


@lru_cache(maxsize=4096)
def places(paths: LabPaths, campaign: str, stream: str) -> tuple[Path, ...]:
    """Return where the result store has a log as soon as it is complete: one of these."""
    store = paths.campaign(campaign)
    if stream == BUILD_STREAM:
        return (store.build_log,)
    if (known := attempt_of(stream)) is None:
        return ()
    run, attempt = known
    return tuple(AttemptPaths(store.committed(run, attempt, done)).log for done in (True, False))
