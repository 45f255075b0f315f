"""What a campaign came to, as the texts for stdout: for people, and for programs."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import zip_longest

from runner import errors, model
from runner.report.text import (
    LONGEST,
    count,
    duration,
    harmless,
    has_failed,
    kinds,
    one_line,
    reason,
    shortened,
    variables,
)

#: More failures than this are grouped by what they say, and so many groups are told.
TOLD = 10

NUMBER = re.compile(r"\d+(\.\d+)?")


def exit_code(result: model.Result) -> errors.ExitCode:
    """Return the command's exit code: DONE when every run of the campaign is done, else RUN_FAILED."""
    return errors.ExitCode.DONE if _done(result) == result.total else errors.ExitCode.RUN_FAILED


def _done(result: model.Result) -> int:
    return sum(outcome.kind == "done" for outcome in result.outcomes)


def _failed(result: model.Result) -> list[model.Outcome]:
    return [outcome for outcome in result.outcomes if has_failed(outcome)]


def summary(result: model.Result, prepared: model.Prepared | None = None) -> str:
    """Return what the person is told at the end, without a last newline.

    ``prepared`` adds the iteration variables of the runs that failed.
    """
    runs = {} if prepared is None else {run.number: run for run in prepared.runs}
    return "\n".join(
        [
            _headline(result),
            *_failures(result, runs),
            *(f"warning: {one_line(warning)}" for warning in result.warnings),
            *_again(result),
            f"results:  {harmless(result.results)}",
            f"manifest: {harmless(result.manifest)}",
        ]
    )


def _headline(result: model.Result) -> str:
    failed = len(_failed(result))
    missing = result.total - _done(result) - failed
    told = [f"{_done(result)} of {count(result.total, 'run')} done"]
    if failed:
        by_kind = kinds(result.outcomes)
        told.append(f"{failed} failed" if by_kind == f"{failed} error" else f"{failed} failed ({by_kind})")
    if missing > 0 and not result.cancelled:
        told.append(f"{missing} without a result")
    if result.past:
        told.append(f"{count(len(result.past), 'attempt')} repeated")
    why = f" ({one_line(result.reason)})" if result.reason else ""
    state = f"cancelled{why}: " if result.cancelled else ""
    return f"{one_line(result.config)}: {state}{', '.join(told)}, in {duration(result.seconds)}"


def _again(result: model.Result) -> list[str]:
    """Return how to go on where something is not done."""
    if _done(result) == result.total:
        return []
    return [f"labfleet resume {result.campaign}  does again what is not done, with the same snapshot"]


def _failures(result: model.Result, runs: dict[int, model.Run]) -> list[str]:
    """Return the failed runs one by one, or the groups of those that say the same, the largest first."""
    failed = _failed(result)
    groups: dict[object, list[model.Outcome]] = {}
    for outcome in failed:
        key = (outcome.kind, NUMBER.sub("#", reason(outcome))) if len(failed) > TOLD else outcome.run
        groups.setdefault(key, []).append(outcome)
    told = sorted(groups.values(), key=len, reverse=True)[:TOLD]
    lines = []
    for group in told:
        first = group[0]
        run = runs.get(first.run)
        name = f"#{first.run} ({variables(run.variables)})" if run and run.variables else f"#{first.run}"
        why = reason(first)
        if len(group) == 1:
            lines.append(f"  {_word(first)} {name}: {why}")
        else:
            lines.append(f"  {_word(first)} {count(len(group), 'run')} alike, first {name}: {why}")
            lines.append(f"    runs: {shortened(ranges(outcome.run for outcome in group), LONGEST)}")
        if log := result.logs.get(first.run):
            lines.append(f"    log: {harmless(log)}")
    untold = len(failed) - sum(map(len, told))
    return [*lines, f"  … and {untold} more: see the manifest"] if untold else lines


def _word(outcome: model.Outcome) -> str:
    """Return what became of a run; an error speaks for itself."""
    return "failed" if outcome.kind == "error" else f"failed ({outcome.kind})"


def ranges(numbers: Iterable[int]) -> str:
    """Return run numbers as OMNeT++'s ``-r`` takes them: ``3,7..9``."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ",".join("..".join(map(str, span)) for span in spans)


def run_table(prepared: model.Prepared) -> str:
    """Return one aligned line per run, number and iteration variables, and as the last line their count."""
    rows = [
        [f"#{run.number}", *(f"{one_line(name)}={one_line(value)}" for name, value in run.variables.items())]
        for run in prepared.runs
    ]
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "\n".join([*lines, count(len(rows), "run")])


def as_json(result: model.Result) -> str:
    """Return a result as one line of ASCII JSON without a last newline; fields keep their names and types.

    - ``campaign``, ``config``, ``results``, ``manifest``: text; the latter two are absolute paths
    - ``total``, ``done``, ``failed``: numbers of runs; ``kinds``: of failures, kind → number of runs
    - ``repeated``: number of attempts that were made again
    - ``cancelled``: true or false; ``reason``: why, where nobody asked for that
    - ``seconds``: of the whole command, of ``attach`` from the campaign's submission to its end
    - ``exit_code``: the command's; ``warnings``: a list of sentences
    - ``runs``: a list of one object per run that is over, ordered by run number:

      - ``run``: its number; ``kind``: ``done``, ``error``, ``crash``, ``timeout``, ``stalled``, ``out-of-memory``,
        ``cancelled`` or ``lost``; ``attempt``: the number of the attempt that counts
      - ``exit_status``: negative for a signal; ``error``: the program's own words
      - ``seconds``; ``host``; ``slot``
      - ``log``: an absolute path, or null; ``files``: paths relative to the project's root
    """
    value = {
        "campaign": result.campaign,
        "config": result.config,
        "total": result.total,
        "done": _done(result),
        "failed": len(_failed(result)),
        "kinds": Counter(outcome.kind for outcome in _failed(result)),
        "repeated": len(result.past),
        "cancelled": result.cancelled,
        "reason": result.reason,
        "results": result.results,
        "manifest": result.manifest,
        "seconds": round(result.seconds, 3),
        "runs": [
            {
                "run": outcome.run,
                "kind": outcome.kind,
                "attempt": outcome.attempt,
                "exit_status": outcome.exit_status,
                "error": outcome.error,
                "seconds": round(outcome.ended - outcome.started, 3),
                "host": outcome.host,
                "slot": outcome.slot,
                "log": result.logs.get(outcome.run),
                "files": [result.places.get(outcome.run, {}).get(file.path, file.path) for file in outcome.files],
            }
            for outcome in result.outcomes
        ],
        "warnings": result.warnings,
        "exit_code": int(exit_code(result)),
    }
    return json.dumps(value)
