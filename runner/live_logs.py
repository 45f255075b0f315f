"""What runs print, in the live view: from the hub while they run, and the rest from the logs that come with results."""

from pathlib import Path

import zmq

from runner import log_stream
from runner.labs import Connection
from runner.report import View

#: Pieces of logs that are shown in a row.
MOST_PIECES = 32

#: Bytes of a log that are read at a time.
BLOCK = 1 << 20


class Logs:
    """The consoles of what runs, line by line in the view."""

    def __init__(self, connection: Connection, campaign: str, view: View) -> None:
        the_lab = connection.lab
        self._viewer = log_stream.Viewer(connection.context, the_lab.hub, campaign, the_lab.access)
        self._view = view
        self._lines: dict[str, _LogLines] = {}
        self.follow(log_stream.BUILD_STREAM, "build")

    @property
    def socket(self) -> "zmq.Socket[bytes]":
        """Readable when a piece has come."""
        return self._viewer.socket

    def connect(self, connection: Connection) -> None:
        """The lab is reached in another way now."""
        self._viewer.connect(connection.context, connection.lab.hub, connection.lab.access)

    def follow(self, stream: str, name: str) -> None:
        """Show a log from its beginning; one that is shown already goes on."""
        if stream not in self._lines:
            self._lines[stream] = _LogLines(name, self._view)
            self._viewer.follow(stream)

    def show(self) -> None:
        """Show some of what has come; then events and the live view have their turn."""
        for _ in range(MOST_PIECES):
            piece = self._viewer.receive()
            if piece is None:
                return
            self._lines[piece.stream].take(piece.data)

    def end(self, stream: str, whole: Path | None) -> None:
        """A log has ended: show what the hub has not sent yet, from the log that came with the results."""
        lines = self._lines.pop(stream, None)
        if lines is None:
            return
        if whole and whole.exists():
            with whole.open("rb") as log:
                log.seek(self._viewer.offset(stream))
                while data := log.read(BLOCK):
                    lines.take(data)
        lines.close()
        self._viewer.forget(stream)

    def close(self) -> None:
        """Leave the hub."""
        self._viewer.close()


class _LogLines:
    """Cuts a log into lines for the view."""

    def __init__(self, name: str, view: View) -> None:
        self._name, self._view = name, view
        self._half_line = b""

    def take(self, data: bytes) -> None:
        """Show the lines that are complete."""
        data = self._half_line + data
        end = data.rfind(b"\n")
        self._half_line = data[end + 1 :]
        if end >= 0:
            self._view.log(self._name, data[:end].decode(errors="replace"))

    def close(self) -> None:
        """Show what was left without an end of line."""
        if self._half_line:
            self._view.log(self._name, self._half_line.decode(errors="replace"))
