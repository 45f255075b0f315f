"""Failures that have one cause: what is left of an error when everything is taken out that differs from run to run.

Pure functions; nothing here knows who shows the causes, so foreman, web page, terminal and report group alike.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from runner.model import Value

#: Characters of an error that tell its cause; a program may print a megabyte.
TELLING = 1000

#: Where an error came about, as cException::getFormattedMessage writes it: after the last `` -- ``.
_WHERE = re.compile(
    r"(?:in \w+ \((?P<type>[^)]*)\) (?P<module>\S+) \(id=\d+\))?(?:, )?"
    r"(?P<when>at t=\S+, event #\d+|during [\w ]+)?"
)

#: What differs from run to run, and what stands for it; the order counts.
_DIFFERS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A run's private directory: /home/u/.local/state/labfleet/private/slot1.5f3a/aloha/omnetpp.ini
    (re.compile(r"(?:/[^\s/'\"]+){0,20}/private/[^\s/'\"]+/"), "…/"),
    # The iteration variables in the name of a result file: Err-n=3,p=-5b-#0.vec
    (re.compile(r"-\w{1,80}=[^\s'\"]{0,200}#\d+"), "-*"),
    (re.compile(r"\[\d+\]"), "[*]"),
    (re.compile(r"\b0[xX][0-9a-fA-F]+"), "#"),
    # UUIDs, and hardware addresses.
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "#"),
    (re.compile(r"\b[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5,7}\b"), "#"),
    # Pointers and digests without 0x: letters and digits in one word that is long enough not to be one.
    (re.compile(r"\b(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{8,}\b"), "#"),
    # Numbers, versions and addresses, with their units of time; those inside of names stay (Ieee80211Mac), and those
    # of an exit status, which is all that some programs say.
    (
        re.compile(
            r"(?<!exit status )#?(?:(?<![\w.)\]#-])[-+])?(?<![A-Za-z_0-9])"
            r"[0-9]+(?:\.[0-9]+)*(?:[eE][-+]?[0-9]+)?(?:(?:[munpf]?s|min|h|d)\b)?"
        ),
        "#",
    ),
    (re.compile(r"#(?:, ?#)+"), "#"),
)


class Failure(Protocol):
    """What is asked of a run that has failed: an :class:`~runner.model.Outcome`, or a run of a manifest."""

    @property
    def run(self) -> int:
        """Its number."""

    @property
    def kind(self) -> str:
        """How it failed."""

    @property
    def exit_status(self) -> int:
        """The process's, for who says nothing else."""

    @property
    def error(self) -> str:
        """The program's own words."""

    @property
    def started(self) -> float:
        """When it began, in seconds since the epoch."""

    @property
    def ended(self) -> float:
        """When it ended."""


class Key(NamedTuple):
    """What failures have in common that have one cause; kinds of failure never mix."""

    kind: str
    #: The error's words without what differs from run to run: numbers are ``#``.
    text: str
    #: The module in which it came about, indices as ``[*]``: ``Net.host[*].mac``; empty where none is named.
    module: str


class Cause(Value, frozen=True):
    """A cause of failures, as it travels: which one, how many runs, and which of them took the least time."""

    text: str
    runs: int
    shortest: int
    kind: str = "error"
    module: str = ""


F = TypeVar("F", bound=Failure)


@dataclass(frozen=True)
class Group(Generic[F]):
    """The failures that have one cause."""

    key: Key
    #: By run number.
    failures: tuple[F, ...]

    @property
    def shortest(self) -> F:
        """The failure to look at first: the one that took the least time."""
        return min(self.failures, key=lambda failure: (failure.ended - failure.started, failure.run))

    @property
    def runs(self) -> list[int]:
        """The numbers of its runs."""
        return [failure.run for failure in self.failures]

    @property
    def cause(self) -> Cause:
        """What travels of it."""
        return Cause(self.key.text, len(self.failures), self.shortest.run, self.key.kind, self.key.module)


def key(failure: Failure) -> Key:
    """Return what a failure has in common with others of the same cause."""
    text = " ".join(failure.error[:TELLING].split())
    if not text:
        return Key(failure.kind, f"exit status {failure.exit_status}", "")
    module = ""
    words, _, where = text.rpartition(" -- ")
    if words and (found := _WHERE.fullmatch(where)):
        text, module = words, normalised(found["module"] or "")
    return Key(failure.kind, normalised(text), module)


def normalised(text: str) -> str:
    """Return a text without what differs from run to run; its words stay, those in quotes too."""
    for pattern, sign in _DIFFERS:
        text = pattern.sub(sign, text)
    return text


def grouped(failures: Iterable[F]) -> list[Group[F]]:
    """Return failures by their causes, the most frequent first."""
    found: dict[Key, list[F]] = {}
    for failure in sorted(failures, key=lambda failure: failure.run):
        found.setdefault(key(failure), []).append(failure)
    groups = [Group(one, tuple(members)) for one, members in found.items()]
    return sorted(groups, key=lambda group: -len(group.failures))


def ranges(runs: Iterable[int]) -> str:
    """Return run numbers as OMNeT++'s ``-r`` takes them: ``0,3,5..9``."""
    spans: list[list[int]] = []
    for number in sorted(runs):
        if spans and number == spans[-1][-1] + 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ",".join("..".join(map(str, span)) for span in spans)
