"""What a run or a build prints, for a browser: live from the hub, and afterwards from where the log is kept."""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import zmq

from runner import curve, log_stream
from runner.paths import LabPaths
from runner.web.hearing import Ear
from runner.web.lines import Lines
from runner.web.sse import event

#: Bytes of a log that a browser gets of what was printed before it looked.
TAIL = 256 * 1024

#: Bytes that are read at a time.
BLOCK = 64 * 1024

#: Seconds without news after which it is looked whether the run is over.
PULSE = 1.0


class Logs:
    """The logs of the lab's campaigns."""

    def __init__(self, paths: LabPaths, hub: str, access: curve.Access | None) -> None:
        self._paths, self._hub, self._access = paths, hub, access
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def kept(self, campaign: str, stream: str) -> Path | None:
        """Return the file of a log that is complete; None as long as nobody has it, and when it has gone home."""
        return next((place for place in log_stream.places(self._paths, campaign, stream) if place.is_file()), None)

    def file(self, campaign: str, stream: str) -> Path | None:
        """Return the file that has most of a log; None if the lab has nothing of it."""
        hubs = self._paths.log(campaign, stream)
        return self.kept(campaign, stream) or (hubs if hubs.is_file() else None)

    async def updates(self, campaign: str, stream: str) -> AsyncGenerator[bytes, None]:
        """Yield events: the end of what was printed, then what is printed, and that nothing more comes."""
        lines, known = Lines(), self.file(campaign, stream)
        is_over, is_last = self.is_over(campaign, stream), False
        offset = max(0, known.stat().st_size - TAIL) if known else 0
        yield event("log", {"stream": stream, "from": offset if is_over else 0, "text": ""})
        if not is_over:
            viewer = log_stream.Viewer(self._context, self._hub, campaign, self._access)
            ear = Ear(viewer.socket)
            try:
                # What the hub's file has may be the beginning alone: where the end is, the hub knows.
                viewer.follow(stream, TAIL, from_end=True)
                is_first = True
                while not is_last and not is_over:
                    piece = viewer.receive()
                    if piece is not None:
                        if is_first and piece.offset:
                            yield event("log", {"stream": stream, "from": piece.offset, "text": ""})
                        is_first, is_last = False, piece.last
                        yield _event(stream, lines.take(piece.data))
                    elif not await ear.wait(PULSE):
                        is_over = self.is_over(campaign, stream)
                offset = offset if is_first else viewer.offset(stream)
            finally:
                ear.close()
                viewer.close()
        async for text in self._read(self.file(campaign, stream), offset, lines):
            yield _event(stream, text)
        gone = not is_last and self.kept(campaign, stream) is None  # the hub's file may be the beginning alone
        yield event("log", {"stream": stream, "text": lines.rest(), "ended": True, "gone": gone})

    async def _read(self, file: Path | None, offset: int, lines: Lines) -> AsyncGenerator[str, None]:
        """Yield what a file has behind an offset."""
        while file is not None:
            data = await asyncio.to_thread(_block, file, offset)
            if not data:
                return
            offset += len(data)
            yield lines.take(data)

    def is_over(self, campaign: str, stream: str) -> bool:
        """Say whether nothing more will be printed there."""
        store = self._paths.campaign(campaign)
        if self.kept(campaign, stream) or store.end.exists():
            return True
        attempt = log_stream.attempt_of(stream)
        if attempt is None:
            return store.prepared.exists()  # it is the build's
        return store.record(attempt[0]).exists()  # its files may have gone home already


def _block(file: Path, offset: int) -> bytes:
    """Return some bytes of a file; none if it has gone home meanwhile."""
    try:
        with file.open("rb") as log:
            return os.pread(log.fileno(), BLOCK, offset)
    except FileNotFoundError:
        return b""


def _event(stream: str, text: str) -> bytes:
    return event("log", {"stream": stream, "text": text})
