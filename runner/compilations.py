"""Counting compilations in what make and others print.  Pure functions."""

import re

#: A command that compiles: the compiler, wherever it is and whatever stands before it, and -c.
_COMMAND = re.compile(
    rb"(?:^|[\s/;])(?:[\w.-]*-)?(?:g\+\+|gcc|c\+\+|cc|clang\+\+|clang)(?:-[\d.]+)?\s(?:.*\s)?-c(?:\s|$)"
)

#: Makefiles of opp_makemake's name the file instead; CMake and ninja say what they build.
_NAMED = re.compile(
    rb"^\S+\.(?:cc|cpp|cxx|c)\s*$|^\[[ \d]+%\] Building C(?:XX)? object |^\[\d+/\d+\] Building C(?:XX)? object "
)

#: Ninja says how much there is to do, CMake's makefiles in percent.
_OF = re.compile(rb"^\[(\d+)/(\d+)\] ")

#: Longer lines tell nothing.
_LONGEST = 1 << 16


def planned(text: bytes) -> int:
    """Return how many compilations there are among the commands that make would run (``make -n``)."""
    return sum(bool(_COMMAND.search(line)) for line in text.replace(b"\\\n", b" ").splitlines())


class Count:
    """How many compilations a build has begun, by what it has printed so far."""

    def __init__(self, total: int | None = None) -> None:
        """``total``: how many it will make, if that is known."""
        self.done = 0
        self._total = total
        self._rest = b""

    @property
    def total(self) -> int | None:
        """How many it makes in all; None: nobody knows."""
        return None if self._total is None else max(self._total, self.done)

    @property
    def is_known(self) -> bool:
        """Is there anything to tell?"""
        return bool(self.done or self._total)

    def take(self, data: bytes) -> None:
        """Take notice of what was printed."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[:_LONGEST]
        for line in lines:
            if told := _OF.match(line):
                self.done, self._total = int(told[1]), int(told[2])
            elif _NAMED.match(line) or _COMMAND.search(line):
                self.done += 1
