"""Logs as a person reads them: lines, names, colours, filters."""

import io
from collections.abc import Callable

import pytest

from runner.report import consoles
from runner.report.consoles import LONGEST_LINE, Log, Printer, is_coloured, pattern


class Terminal(io.TextIOWrapper):
    """A stream whose bytes can be looked at."""

    def __init__(self, is_terminal: bool = False) -> None:
        self._is_terminal = is_terminal
        super().__init__(io.BytesIO(), encoding="utf-8", newline="")

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def shown(self) -> bytes:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue()


def shown(data: bytes, piece: int, make: Callable[[Terminal], Printer] = Printer, tail: int | None = None) -> bytes:
    """Return what is shown of a log that comes in pieces."""
    stream = Terminal()
    log = Log("#3", make(stream), tail)
    for start in range(0, len(data), piece):
        log.take(data[start : start + piece])
    log.close()
    return stream.shown


TEXT = "grüße\nzwei\r\n\nvier\nfünf".encode()


@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
def test_lines_come_whole_however_they_arrive(piece: int) -> None:
    # Given a log in pieces that cut lines and characters, when it is shown, then all lines are there
    lines = ["grüße", "zwei", "", "vier", "fünf"]
    assert shown(TEXT, piece).decode() == "".join(f"{line}\n" for line in lines)
    named = shown(TEXT, piece, lambda stream: Printer(stream, named=True))
    assert named.decode() == "".join(f"#3 | {line}\n" for line in lines)


@pytest.mark.parametrize("piece", [1, 3, 1000])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 99])
def test_the_last_lines_are_the_last_lines(piece: int, count: int) -> None:
    # Given a log, when its last lines are wanted, then they come, the last one without its end, too
    lines = ["grüße", "zwei", "", "vier", "fünf"]
    expected = lines[len(lines) - min(count, 5) :]
    assert shown(TEXT, piece, tail=count).decode() == "".join(f"{line}\n" for line in expected)


def test_grep_takes_expressions_and_words() -> None:
    # Given lines, when some are looked for, then only those come, and of these the last ones
    def looking_for(text: str, tail: int | None = None) -> str:
        return shown(TEXT, 4, lambda stream: Printer(stream, grep=pattern(text)), tail).decode()

    assert looking_for("ü") == "grüße\nfünf\n"
    assert looking_for("^.{4}$") == "zwei\nvier\nfünf\n"
    assert looking_for("^.{4}$", 1) == "fünf\n"
    assert looking_for("nothing") == ""
    assert pattern("what (").search("so what (is it") is not None


def test_raw_is_what_was_printed() -> None:
    # Given bytes of any kind, when they are wanted as they are, then they are
    data = bytes(range(256)) * 3 + b"\n\n\x1b[2J no end"
    assert shown(data, 5, lambda stream: Printer(stream, raw=True)) == data
    assert shown(data, 5, lambda stream: Printer(stream, raw=True), tail=2) == b"\n\x1b[2J no end"


def test_a_line_without_end_takes_no_memory_and_is_shown() -> None:
    # Given a megabyte without an end of line
    stream = Terminal()
    log = Log("#3", Printer(stream))
    # When it comes, then it is shown as it comes, in parts
    for _ in range(100):
        log.take(b"x" * 10_000)
    assert len(stream.shown) > 1_000_000 - 2 * LONGEST_LINE
    log.close()
    assert stream.shown.count(b"x") == 1_000_000


def test_names_have_colours_on_a_terminal_that_has_some() -> None:
    # Given a terminal, and reasons to have no colours
    terminal = Terminal(is_terminal=True)
    assert is_coloured(terminal, {"TERM": "xterm"})
    for environment in ({"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}, {}):
        assert not is_coloured(terminal, environment)
    assert not is_coloured(Terminal(), {"TERM": "xterm"})
    # When lines of two logs are shown there, then names have colours, each its own, and lines have none
    printer = Printer(terminal, named=True, coloured=True)
    for name in ("#1", "#2", "#1"):
        printer.block(name, b"hello\n")
    assert terminal.shown.decode().splitlines() == [
        "\x1b[36m#1 | \x1b[0mhello",
        "\x1b[33m#2 | \x1b[0mhello",
        "\x1b[36m#1 | \x1b[0mhello",
    ]
    assert consoles.lines(b"") == []
