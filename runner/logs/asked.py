"""What a person means by ``labfleet logs``: of which campaign, which runs.  Nothing but words here."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from runner.causes import ranges
from runner.errors import WrongUse
from runner.report.text import count, one_line

#: A campaign of so few runs is shown whole; of others, it is said which runs there are.
FEW = 8

#: Digits of the date with which a campaign's id begins.
DATE = 8

#: Runs that one may ask for at once.
MOST_RUNS = 1000

_PART = r"\d{1,9}((\.\.|-)\d{1,9})?"
_RUNS = re.compile(rf"{_PART}(,{_PART})*")


@dataclass(frozen=True)
class State:
    """Where a run is."""

    #: What became of it, else ``running`` or ``waiting``.
    kind: str
    #: The latest attempt at it; 0: there was none.
    attempt: int = 0


def split(words: Sequence[str], known: Collection[str]) -> tuple[str, list[int]]:
    """Return the campaign that is named, empty if none is, and the numbers of the runs that are.

    ``known``: ids of campaigns.  Digits are a run, unless they are the last four of an id, or begin it with its date at
    least.  Raises WrongUse.
    """
    first = words[0] if words else ""
    is_end = any(one.endswith(f"-{first}") for one in known)
    is_beginning = len(first) >= DATE and any(one.startswith(first) for one in known)
    campaign = first if first and (is_end or is_beginning or not _RUNS.fullmatch(first)) else ""
    numbers: dict[int, None] = {}
    for word in words[bool(campaign) :]:
        if not _RUNS.fullmatch(word):
            raise WrongUse(f"{word!r} is no run", "runs are numbers: 3, or 0,3,5..9; the campaign comes before them")
        for part in word.split(","):
            begin, _, end = part.replace("-", "..").partition("..")
            if end and int(end) < int(begin):
                raise WrongUse(f"{part} are no runs", "the smaller number comes first: 3..9")
            if int(end or begin) - int(begin) >= MOST_RUNS:
                raise WrongUse(f"{part} are more than {MOST_RUNS} runs", "their logs come home with the results")
            numbers.update(dict.fromkeys(range(int(begin), int(end or begin) + 1)))
    return campaign, list(numbers)


def check(campaign: str, wanted: Iterable[int], runs: Collection[int]) -> None:
    """Raise WrongUse for runs that a campaign does not have."""
    missing = [number for number in wanted if number not in runs]
    if missing:
        there = f"its runs are {ranges(runs)}" if runs else "it has no runs"
        what = f"run {missing[0]}" if len(missing) == 1 else f"runs {ranges(missing)}"
        raise WrongUse(f"campaign {campaign} has no {what}", there)


def overview(campaign: str, title: str, runs: Mapping[int, State]) -> str:
    """Return which runs there are, and how one sees what they print."""
    by_kind: dict[str, list[int]] = {}
    for number, state in runs.items():
        by_kind.setdefault(state.kind, []).append(number)
    lines = [f"campaign {campaign}, {one_line(title)}: {count(len(runs), 'run')}"]
    lines += [f"  {kind:<9} {ranges(numbers)}" for kind, numbers in sorted(by_kind.items())]
    shown = f"labfleet logs {campaign} RUN…  shows what these have printed"
    return "\n".join([*lines, f"{shown}; --follow what runs now; --build the build" if runs else shown])
