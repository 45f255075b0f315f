"""The sentences that all views share, and how text of others is made fit for a terminal."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

from runner import model
from runner.harmless import OBEYED, harmless
from runner.report.progress import MOST_CAUSES, Phase, Progress

#: What is made fit for a terminal comes from here, too.
__all__ = ["OBEYED", "harmless"]

#: Characters of an error, or of a list of runs, that people are told; log and manifest have all of it.
LONGEST = 400

#: So many failures are told when they happen, and after that those of a new cause; what else fails is counted, and told
#: by the summary.
TOLD_FAILURES = 10

#: Seconds for which a lab that is well may say nothing: it is asked after three.
UNHEARD = 5.0


def one_line(text: str) -> str:
    """Return text as one harmless line with single spaces."""
    return harmless(" ".join(text.split()))


def shortened(text: str, length: int) -> str:
    """Return at most so many characters of a text, the last one an ellipsis where some are missing."""
    return text if len(text) <= length else text[: length - 1] + "…"


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 05 min``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole:02} s" if minutes else f"{whole} s"


def in_order(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts lab2 before lab10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d{1,18})", name)]


def is_drawable(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Say whether a picture can be drawn anew in its place: on a terminal that is more than a printer."""
    return stream.isatty() and environ.get("TERM", "dumb") not in ("dumb", "unknown")


def rate(events: float | None) -> str:
    """Return events per second as people say them: ``1.2M ev/s``, ``950k ev/s``, ``12 ev/s``; empty if not known."""
    if events is None:
        return ""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if events >= 0.9995 * factor:
            value = events / factor
            return f"{value:.1f}{unit} ev/s" if value < 9.95 else f"{value:.0f}{unit} ev/s"
    return f"{events:.0f} ev/s"


def count(number: int, noun: str) -> str:
    """Return a number of things: ``1 run``, ``2 runs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def variables(values: Mapping[str, str]) -> str:
    """Return iteration variables as ``numHosts=15, repetition=0``."""
    return one_line(", ".join(f"{name}={value}" for name, value in values.items()))


def run_name(config: str, run: model.Run) -> str:
    """Return what a run is called: ``General #14 numHosts=15, repetition=0``."""
    return f"{one_line(config)} #{run.number} {variables(run.variables)}".rstrip()


def has_failed(outcome: model.Outcome) -> bool:
    """Is the run not done, without anybody having wanted that?"""
    return outcome.kind not in ("done", "cancelled")


def is_known(progress: Progress, outcome: model.Outcome) -> bool:
    """Was this told before?"""
    runs = {"done": progress.done_runs, "cancelled": progress.cancelled_runs}.get(outcome.kind, progress.failed_runs)
    return bool(runs >> outcome.run & 1)


def is_new_cause(before: Progress, after: Progress) -> bool:
    """Did the failure between both have a cause that none before had?"""
    return len(after.causes) > len(before.causes)


def causes_words(progress: Progress) -> str:
    """Return how many causes the failures have: ``, 1 cause``; empty for less than two failures."""
    if progress.failed < 2:
        return ""
    many = "at least " if len(progress.causes) >= MOST_CAUSES else ""
    return f", {many}{count(len(progress.causes), 'cause')}"


def reason(outcome: model.Outcome) -> str:
    """Return why a run is not done, in one line: the program's own words, else its exit status."""
    return shortened(one_line(outcome.error), LONGEST) or f"exit status {outcome.exit_status}"


def prepared_line(before: Progress, prepared: model.Prepared, now: float) -> str:
    """Return the line that says how the program came into being and how many runs it listed."""
    if before.phase is Phase.BUILDING:
        build = f"built in {duration(now - before.since)}"
    else:
        build = "built" if prepared.built else "already built" if before.builds else "nothing to build"
    return f"{one_line(before.config)}: {build}, {count(len(prepared.runs), 'run')}"


def build_words(progress: Progress, now: float) -> str:
    """Return what is built and how far that is: ``building inet: 120/1600, ETA 18 min 30 s``."""
    building = progress.building
    if building is None:
        return f"building {one_line(progress.campaign)}"
    if building.total is not None:
        remaining = building.remaining(now)
        eta = "" if not remaining else f", ETA {duration(max(1, round(remaining)))}"
        end = ", then linking" if building.done == building.total else ""  # they are begun
        far = f": {building.done}/{building.total}{eta}{end}"
    else:
        far = f": {count(building.done, 'file')}" if building.done else ""
    return f"building {one_line(building.what)}{far}"


def unheard_line(seconds: float) -> str:
    """Return that the lab is silent; empty while it need not have said anything."""
    return f"nothing heard from the lab for {duration(seconds)}" if seconds >= UNHEARD else ""


def over_line(progress: Progress, outcome: model.Outcome, log: Path | None) -> str:
    """Return the line of a run that is over; ``progress`` counts it already, ``log`` is its log, if known."""
    total = str(progress.total)
    place = f"[{progress.over:{len(total)}}/{total}] {run_name(progress.config, progress.run(outcome.run))}"
    if outcome.kind == "done":
        took = duration(outcome.ended - outcome.started)
        return f"{place}: done in {took} ({one_line(outcome.host)}/{one_line(outcome.slot)})"
    if not has_failed(outcome):
        return f"{place}: cancelled"
    # Of a lost run nothing came home.
    where = "" if log is None or outcome.kind == "lost" else f"; log: {harmless(str(log))}"
    return f"{place}: FAILED ({outcome.kind}): {reason(outcome)}{where}"


def repeated_line(config: str, past: model.Past) -> str:
    """Return the line of an attempt that is made again: ``General #5: lost on w2 (nothing heard for 8 s), …``."""
    where = f" on {one_line(past.host)}" if past.host else ""
    why = shortened(one_line(past.error), LONGEST)
    return f"{one_line(config)} #{past.run}: {past.kind}{where}{f' ({why})' if why else ''}, begun again"


def kinds(outcomes: Iterable[model.Outcome]) -> str:
    """Return how often each kind of failure was there: ``3 timeout, 1 crash``."""
    counted = Counter(outcome.kind for outcome in outcomes if has_failed(outcome))
    return ", ".join(f"{number} {kind}" for kind, number in counted.most_common())


def log_lines(name: str, text: str) -> str:
    """Return lines of a console, each led by its name: ``General #14 | text``, ``build | text``."""
    lead = one_line(name) + " | "
    lines = harmless(text.replace("\r\n", "\n").removesuffix("\r"))
    return lead + lines.replace("\n", "\n" + lead) + "\n"


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Return the rows of a table as lines; ``right``: for each column, whether it is aligned at the right."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def write(stream: TextIO, text: str) -> None:
    """Write text to a stream; what its encoding lacks appears as its code.  Raises what the stream raises."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
