"""What the person sees of provisioning: each machine's task while it goes on, and a table of what came of them."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.style import Style
from rich.table import Table
from rich.text import Text

from runner.errors import ExitCode
from runner.inventory import Lab, Machine
from runner.playbook import (
    At,
    Began,
    Did,
    Differs,
    Ended,
    Failed,
    Failure,
    Happening,
    Lost,
    MachineOutcome,
    Outcome,
    Progress,
    Said,
    State,
    TaskStarted,
)
from runner.report.live import terminal
from runner.report.progress import Clock
from runner.report.text import count, duration, harmless, is_drawable, one_line, shortened, write

#: Rows of a terminal that are left to the lines above the picture.
_SPARE_ROWS = 6

#: Characters of a failure in a line; the table's foot has all of it.
_LONGEST = 200

#: How a difference is coloured, by its first character.
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


# ---- while it goes on --------------------------------------------------------------------------------------


class _Failures:
    """Holds failures back until it is clear that they are some: a playbook may try another way.

    A machine that begins a task after its failure was rescued, or tidies up; which of both, only the end tells.
    """

    def __init__(self) -> None:
        self._held: dict[str, tuple[Failure, int]] = {}
        self._tasks = 0

    def after(self, happening: Happening) -> list[tuple[str, Failure]]:
        """Return the machines that have failed for good, as far as that is known now, each once."""
        match happening:
            case TaskStarted():
                self._tasks += 1
                return self._told(lambda _, since: self._tasks > since + 1)
            case Began(machine=machine):
                self._held.pop(machine, None)
            case Failed(machine=machine, failure=failure, ignored=False) | Lost(machine=machine, failure=failure):
                self._held[machine] = failure, self._tasks
            case Ended(failed=failed, lost=lost):
                return self._told(lambda machine, _: machine in failed | lost)
        return []

    def _told(self, is_due: Callable[[str, int], bool]) -> list[tuple[str, Failure]]:
        told = [(machine, failure) for machine, (failure, since) in self._held.items() if is_due(machine, since)]
        for machine, _ in told:
            del self._held[machine]
        return told


class PlainMachines:
    """Writes a line for each play, change and failure: for pipes, files and simple terminals."""

    def __init__(self, stderr: TextIO, *, is_check: bool = False) -> None:
        self._stderr = stderr
        self._verb = "would change" if is_check else "changed"
        self._failures = _Failures()
        self._play = ""
        self._task = ""
        self._changed: list[str] = []
        self._warnings: set[str] = set()

    def note(self, text: str) -> None:
        """Write the text as a line."""
        write(self._stderr, one_line(text) + "\n")

    def happened(self, happening: Happening) -> None:
        """Write lines about what is worth one."""
        if isinstance(happening, TaskStarted | Ended):
            self._tell_changes()
        for machine, failure in self._failures.after(happening):
            self.note(failed_line(machine, failure))
        match happening:
            case TaskStarted(play=play, task=task):
                if play != self._play:
                    self.note(f"{play} …")
                self._play, self._task = play, task
            case Did(machine=machine, changed=True):
                self._changed.append(machine)
            case Differs(text=text):
                write(self._stderr, f"{differs_line(happening)}\n{harmless(text)}\n")
            case Said(text=text, is_warning=True) if text not in self._warnings:
                self._warnings.add(text)
                self.note(text)

    def _tell_changes(self) -> None:
        if self._changed:
            write(self._stderr, "  " + one_line(f"{self._verb}: {self._task} ({', '.join(self._changed)})") + "\n")
        self._changed = []

    def tick(self, progress: Progress) -> None:  # noqa: ARG002  it is for pictures
        """Flush what was written."""
        self._stderr.flush()

    def close(self) -> None:
        """Flush what was written."""
        self._stderr.flush()


class LiveMachines:
    """Keeps a picture of all machines at the bottom of a terminal, and failures and differences above it."""

    def __init__(self, title: str, screen: Console, clock: Clock = time.monotonic) -> None:
        self._title, self._screen, self._clock = title, screen, clock
        self._began: float | None = None
        self._failures = _Failures()
        self._warnings: set[str] = set()
        self._live = Live(
            console=screen, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def note(self, text: str) -> None:
        """Show the text as a line above the picture."""
        self._above(one_line(text))

    def happened(self, happening: Happening) -> None:
        """Show lines about what is worth one; the picture follows with the next tick."""
        for machine, failure in self._failures.after(happening):
            self._above(failed_line(machine, failure), "red")
        match happening:
            case Differs(text=text):
                self._above(differs_line(happening), "bold")
                for line in harmless(text).splitlines():
                    self._above(line, _COLOURS.get(line[:1]))
            case Said(text=text, is_warning=True) if text not in self._warnings:
                self._warnings.add(text)
                self._above(one_line(text), "yellow")

    def tick(self, progress: Progress) -> None:
        """Draw the picture anew; it appears with the first tick, after all questions."""
        if not self._live.is_started:
            self._live.start()
        self._began = self._clock() if self._began is None else self._began
        rows = max(2, self._screen.height - _SPARE_ROWS)
        self._live.update(picture(self._title, progress, self._clock() - self._began, rows), refresh=True)

    def close(self) -> None:
        """Remove the picture; the lines above it stay."""
        self._live.stop()

    def _above(self, text: str, style: str | None = None) -> None:
        self._screen.print(Text(text, Style.parse(style) if style else ""), soft_wrap=True)


def view(
    title: str, stderr: TextIO, environ: Mapping[str, str], *, is_check: bool = False
) -> PlainMachines | LiveMachines:
    """Return the view that suits the stream: live on a terminal, else plain.  ``title``: what is done."""
    if not is_drawable(stderr, environ):
        return PlainMachines(stderr, is_check=is_check)
    return LiveMachines(title, terminal(stderr, environ))


def picture(title: str, progress: Progress, seconds: float, rows: int) -> RenderableType:
    """Return what the live region shows, in at most so many rows: the play, and a row per machine."""
    headline = Text(
        f"{title}: {one_line(progress.play) or 'starting'}  {duration(seconds)}", no_wrap=True, overflow="ellipsis"
    )
    # Those at work first: they are what one waits for.
    machines = sorted(progress.machines.items(), key=lambda item: (not item[1].is_busy, item[1].failure is None))
    shown = machines if len(machines) < rows else machines[: rows - 2]
    names = {name for name, _ in shown}
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, max_width=24)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True, justify="right")
    for name, at in progress.machines.items():
        if name in names:
            table.add_row(f"  {one_line(name)}", _doing(at), _counts(at))
    parts: list[RenderableType] = [headline, table]
    if len(shown) < len(machines):
        parts.append(Text(f"  … and {len(machines) - len(shown)} more", style="dim"))
    return Group(*parts)


def _doing(at: At) -> Text:
    if at.is_busy:
        return Text(one_line(at.task))
    if at.failure is not None:
        return Text(f"{'off' if at.is_lost else 'failed'}: {one_line(at.failure.message)}", style="red")
    return Text("waits" if at.task else "", style="dim")


def _counts(at: At) -> Text:
    changed = Text(f", {at.changed} changed", style="yellow") if at.changed else Text("")
    return Text(f"{at.ok} ok").append_text(changed)


def failed_line(machine: str, failure: Failure) -> str:
    """Return the line of a machine that has failed."""
    return f"{one_line(machine)}: FAILED: {shortened(one_line(f'{failure.task}: {failure.message}'), _LONGEST)}"


def differs_line(differs: Differs) -> str:
    """Return the line above a difference."""
    return one_line(f"{differs.machine}: {differs.task}")


# ---- afterwards --------------------------------------------------------------------------------------------


def exit_code(outcome: Outcome) -> ExitCode:
    """Return the command's exit code: DONE if every machine is as it should be."""
    return ExitCode.DONE if outcome.is_complete else ExitCode.LAB_FAILED


def table(lab: Lab, outcome: Outcome, *, done: str = "ready") -> str:
    """Return a row per machine, what it offers and what came of it, then the failures; without a last newline.

    ``done``: what a machine is on which all went well.
    """
    machines = {machine.name: machine for machine in lab.machines}
    rows = [["machine", "role", "slots", "builder", "tags", "state"]]
    rows += [_row(machines[one.machine], one, done, is_check=outcome.is_check) for one in outcome.machines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for one in outcome.machines:
        lines += _explained(one)
    if outcome.is_interrupted:
        lines += ["", "interrupted: what is done stays, and the same command goes on from there"]
    return "\n".join([*lines, "", _summary(outcome, done)])


def _row(machine: Machine, one: MachineOutcome, done: str, *, is_check: bool) -> list[str]:
    roles = [name for name, has in (("head", machine.is_head), ("worker", machine.is_worker)) if has]
    state = done if one.state is State.READY else one.state.value
    if one.state is State.READY and one.changed:
        state = f"{one.changed} would change" if is_check else f"{done}, {one.changed} changed"
    elif one.failure is not None and one.state is State.FAILED:
        state = f"failed: {one_line(one.failure.task)}"
    return [
        one_line(machine.name),
        ", ".join(roles),
        _slots(machine, one.cores) if machine.is_worker else "",
        "yes" if machine.builder else "",
        ", ".join([*machine.tags, *(["desktop"] if machine.desktop else [])]),
        state,
    ]


def _slots(machine: Machine, cores: int | None) -> str:
    """Return how many slots a worker has: by default its cores, less one for the services of a head."""
    if machine.slots is not None:
        return str(machine.slots)
    return "?" if cores is None else str(max(1, cores - machine.is_head))


def _explained(one: MachineOutcome) -> Iterable[str]:
    """Yield all that is known of a failure, and what to do."""
    if one.failure is None:
        return
    yield ""
    yield f"{one_line(one.machine)}: {one_line(one.failure.task)}"
    yield from (f"  {line}" for line in harmless(one.failure.message).splitlines())
    yield from (f"  | {harmless(line)}" for line in one.failure.details)
    yield from (f"  hint: {harmless(line)}" for line in one.hint.splitlines())


def _summary(outcome: Outcome, done: str) -> str:
    counted = [
        f"{number} {done if state is State.READY else state.value}"
        for state in State
        if (number := sum(one.state is state for one in outcome.machines))
    ]
    again = (
        "" if outcome.is_complete or outcome.is_interrupted else "; once that is mended, the same command does the rest"
    )
    return f"{count(len(outcome.machines), 'machine')}: {', '.join(counted)}{again}"
