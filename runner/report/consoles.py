"""What simulations print, as a person reads it: cut into lines, filtered, named and coloured, and always harmless."""

import re
from collections import deque
from collections.abc import Mapping
from typing import TextIO

from runner.report.text import harmless, one_line, write

#: Bytes of a line that is shown before its end has come; the rest of it is shown as further lines.
LONGEST_LINE = 1 << 16

#: Colours of names, as a terminal is told: cyan, yellow, green, magenta, blue, red.
_COLOURS = (36, 33, 32, 35, 34, 31)


def is_coloured(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Say whether a stream is to have colours: a terminal that has some, and nobody has said no (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") not in ("dumb", "unknown")


def pattern(text: str) -> re.Pattern[str]:
    """Return what ``--grep`` looks for: a regular expression; what is none is meant word for word."""
    try:
        return re.compile(text)
    except re.error:
        return re.compile(re.escape(text))


class Printer:
    """Shows lines of logs on a stream, those of several with names."""

    def __init__(
        self,
        stream: TextIO,
        *,
        named: bool = False,
        coloured: bool = False,
        grep: re.Pattern[str] | None = None,
        raw: bool = False,
    ) -> None:
        """``raw``: the bytes as they are, terminal escapes and all."""
        self._stream, self._coloured, self._grep, self._raw = stream, coloured, grep, raw
        #: Are lines led by the name of their log?
        self.named = named
        self._leads: dict[str, str] = {}

    @property
    def passes_all(self) -> bool:
        """Is everything shown as it is?"""
        return self._raw and self._grep is None

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._stream.flush()
        self._stream.buffer.write(data)

    def block(self, name: str, data: bytes) -> None:
        """Show whole lines; the last one may lack its end."""
        if self._grep is not None:
            data = b"".join(line for line in lines(data) if self._is_wanted(line))
        if not data:
            return
        if self._raw:
            self.write(data)
            return
        lead = self._lead(name) if self.named else ""
        text = harmless(data.decode(errors="replace").replace("\r\n", "\n").removesuffix("\n"))
        write(self._stream, lead + text.replace("\n", "\n" + lead) + "\n")

    def _is_wanted(self, line: bytes) -> bool:
        return self._grep is None or self._grep.search(line.decode(errors="replace").rstrip("\r\n")) is not None

    def wanted(self, data: bytes) -> list[bytes]:
        """Return those lines of some whole ones that would be shown."""
        return [line for line in lines(data) if self._is_wanted(line)]

    def _lead(self, name: str) -> str:
        if name not in self._leads:
            lead, colour = one_line(name) + " | ", _COLOURS[len(self._leads) % len(_COLOURS)]
            self._leads[name] = f"\x1b[{colour}m{lead}\x1b[0m" if self._coloured else lead
        return self._leads[name]

    def flush(self) -> None:
        """Have everything shown."""
        self._stream.flush()


def lines(data: bytes) -> list[bytes]:
    """Return the lines of some text with their ends; the last one may lack it."""
    found = [line + b"\n" for line in data.split(b"\n")]
    last = found.pop()[:-1]
    return [*found, last] if last else found


class Log:
    """One log on its way to the person: whole lines as they come, or at first only the last ones of what is there."""

    def __init__(self, name: str, printer: Printer, tail: int | None = None) -> None:
        self._name, self._printer = name, printer
        self._half_line = b""
        #: The last lines of what is there, until that is all.
        self._last: deque[bytes] | None = None if tail is None else deque(maxlen=tail)
        self._seen = 0

    @property
    def lacks(self) -> bool:
        """Are there so few lines so far that the first one that is wanted may not be among them whole?"""
        return self._last is not None and 0 < (self._last.maxlen or 0) >= self._seen

    def take(self, data: bytes) -> None:
        """Show what is complete."""
        if self._last is None and self._printer.passes_all:
            self._printer.write(data)
            return
        data = self._half_line + data if self._half_line else data
        end = data.rfind(b"\n") + 1
        if len(data) - end >= LONGEST_LINE:
            end = len(data)
        self._half_line = data[end:]
        self._show(data[:end])

    def _show(self, data: bytes) -> None:
        if self._last is None:
            self._printer.block(self._name, data)
        else:
            wanted = self._printer.wanted(data)
            self._seen += len(wanted)
            self._last.extend(wanted)

    def restart(self) -> None:
        """What has come was too little: more of it comes, from further ahead."""
        self._half_line, self._seen = b"", 0
        if self._last is not None:
            self._last.clear()

    def caught_up(self) -> None:
        """All that is there has come: from now on everything is shown."""
        if self._last is not None:
            last, self._last = self._last, None
            self._printer.block(self._name, b"".join(last))

    def close(self, *, has_ended: bool = True) -> None:
        """Show what was left without an end of line; of a log that has not ended, that is on its way."""
        rest, self._half_line = self._half_line, b""
        if rest and has_ended:
            self._show(rest)
        self.caught_up()
