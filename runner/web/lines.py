"""A log as a browser gets it: whole lines of harmless text, none of them too long to be drawn."""

from runner.harmless import harmless

#: Bytes of a line that are shown; what is not can be downloaded.
LONGEST = 4000


class Lines:
    """Cuts the bytes of a log into lines, whatever they are."""

    def __init__(self) -> None:
        self._half, self._missing = b"", 0

    def take(self, data: bytes) -> str:
        """Return the lines that are complete now, each with its end."""
        *whole, half = data.split(b"\n")
        shown = []
        for line in whole:
            self._add(line)
            shown.append(self._line() + "\n")
        self._add(half)
        return "".join(shown)

    def rest(self) -> str:
        """Return what was left without an end of line."""
        return self._line() if self._half else ""

    def _add(self, data: bytes) -> None:
        room = LONGEST - len(self._half)
        self._half += data[:room]
        self._missing += max(0, len(data) - room)

    def _line(self) -> str:
        text = harmless(self._half.decode(errors="replace").removesuffix("\r"))
        if self._missing:
            text += f" … ({self._missing} more bytes: download the log)"
        self._half, self._missing = b"", 0
        return text
