"""Failures as people are told them: by cause, with the run to look at first and the commands that do it again."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from runner import causes, model, omnetpp
from runner.report.text import LONGEST, count, duration, harmless, has_failed, one_line, reason, shortened, variables

#: So many causes are told.
TOLD = 10


@dataclass(frozen=True)
class Commands:
    """How one run is done again, as a person types it in the campaign's working directory."""

    #: By labfleet, which builds what it needs.
    again: str
    #: By the program alone, if it is built there; empty if nobody knows how it was called.
    by_hand: str

    def starting_in(self, folder: str) -> "Commands":
        """Return them for a shell that is elsewhere."""
        change = f"cd {_quoted([folder])} && "
        return Commands(change + self.again, self.by_hand and change + self.by_hand)


def commands(order: Sequence[str], config: str, run: int, command: Sequence[str]) -> Commands:
    """Return how a run is done again; ``command``: how a slot did it."""
    words = ["labfleet", "campaign", *(order or ("--config", config)), "--runs", str(run)]
    return Commands(_quoted(words), _quoted(omnetpp.command_by_hand(command, run)))


def _quoted(words: Sequence[str]) -> str:
    return harmless(shlex.join(words)).replace("\n", "\\n")


def groups(result: model.Result) -> list[causes.Group[model.Outcome]]:
    """Return the failures of a campaign by their causes."""
    return causes.grouped(outcome for outcome in result.outcomes if has_failed(outcome))


def lines(
    result: model.Result, found: Sequence[causes.Group[model.Outcome]], runs: dict[int, model.Run], folder: str
) -> list[str]:
    """Return a few lines for each cause, the most frequent first; ``folder``: change to it first, unless empty."""
    told: list[str] = []
    for group in found[:TOLD]:
        first = group.shortest
        run = runs.get(first.run)
        name = f"#{first.run} ({variables(run.variables)})" if run and run.variables else f"#{first.run}"
        if len(group.failures) == 1:
            told.append(f"  {_word(first)} {name}: {reason(first)}")
        else:
            alike = f"{count(len(group.failures), 'run')} alike"
            told.append(f"  {_word(first)} {alike}, the shortest {name} in {took(first)}: {reason(first)}")
            told.append(f"    runs:    {shortened(causes.ranges(group.runs), LONGEST)}")
        if log := result.logs.get(first.run):
            told.append(f"    log:     {harmless(log)}")
        again = commands(result.order, result.config, first.run, first.command)
        if folder:
            again = again.starting_in(folder)
        told.append(f"    again:   {again.again}")
        if again.by_hand:
            told.append(f"    by hand, where it is built: {again.by_hand}")
    untold = found[TOLD:]
    if untold:
        others = causes.ranges(run for group in untold for run in group.runs)
        number = count(sum(len(group.failures) for group in untold), "run")
        told.append(f"  … and {number} for {count(len(untold), 'other cause')}: {shortened(others, LONGEST)}")
    return told


def took(failure: causes.Failure) -> str:
    """Return how long a run took until it failed."""
    return duration(failure.ended - failure.started)


def _word(outcome: model.Outcome) -> str:
    """Return what became of a run; an error speaks for itself."""
    return "failed" if outcome.kind == "error" else f"failed ({one_line(outcome.kind)})"


def as_builtins(result: model.Result, found: Sequence[causes.Group[model.Outcome]]) -> list[dict[str, object]]:
    """Return the causes for programs."""
    listed: list[dict[str, object]] = []
    for group in found:
        first = group.shortest
        again = commands(result.order, result.config, first.run, first.command)
        listed.append(
            {
                "kind": group.key.kind,
                "text": group.key.text,
                "module": group.key.module,
                "count": len(group.failures),
                "runs": causes.ranges(group.runs),
                "shortest": first.run,
                "error": first.error,
                "again": again.again,
                "by_hand": again.by_hand,
            }
        )
    return listed
