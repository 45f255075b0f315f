"""A real terminal for tests: a pseudo-terminal with a program in it, and what its screen shows."""

import fcntl
import os
import select
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyte

WIDTH, HEIGHT = 80, 24


class PseudoTerminal:
    """A program whose standard streams are a terminal, and the screen that a person would see."""

    def __init__(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], width: int, height: int) -> None:
        self.master, slave = os.openpty()
        self.resize(width, height)
        #: All that the program has written.
        self.written = b""
        self._screen = pyte.HistoryScreen(width, height, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        try:
            # With a session of its own, whose terminal this is: Ctrl-C reaches it as in a shell.
            self.process = subprocess.Popen(
                ["setsid", "--ctty", "--wait", *argv],
                cwd=cwd,
                env={"TERM": "xterm-256color", **env},
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=False,
            )
        finally:
            os.close(slave)

    def resize(self, width: int, height: int) -> None:
        """Give the terminal a size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def _read(self) -> None:
        """Take what the program has written."""
        while select.select([self.master], [], [], 0)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the program has ended
                return
            if not data:
                return
            self.written += data
            self._stream.feed(data)

    def rows(self) -> list[str]:
        """Return what the screen shows now, without the empty rows at its end."""
        self._read()
        return "\n".join(row.rstrip() for row in self._screen.display).rstrip().split("\n")

    def scrolled(self) -> list[str]:
        """Return the rows that have left the screen at its top."""
        self._read()
        return [
            "".join(row[at].data for at in range(self._screen.columns)).rstrip() for row in self._screen.history.top
        ]

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def wait(self, seconds: float = 60.0) -> int:
        """Return the program's exit status as soon as it has ended."""
        while True:
            self._read()
            try:
                return self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                seconds -= 0.05
                if seconds <= 0:
                    raise

    def close(self) -> None:
        """End the program, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@contextmanager
def terminal(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str], width: int = WIDTH, height: int = HEIGHT
) -> Iterator[PseudoTerminal]:
    """Run a program in a terminal until it is no longer needed."""
    opened = PseudoTerminal(argv, cwd, env, width, height)
    try:
        yield opened
    finally:
        opened.close()
