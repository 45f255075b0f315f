"""The live view: lines above, and below them a region that is redrawn, with the campaign and every slot."""

import time
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment, Segments
from rich.style import Style
from rich.table import Table
from rich.text import Text

from runner import messages, model
from runner.report.progress import Clock, LogPath, Phase, Progress, Running, Slot
from runner.report.text import (
    build_words,
    duration,
    has_failed,
    in_order,
    is_known,
    log_lines,
    one_line,
    over_line,
    prepared_line,
    rate,
    repeated_line,
    unheard_line,
    variables,
    write,
)

#: So many failures are told when they happen; what follows is counted, and told by the summary.
TOLD_FAILURES = 10

#: Rows that the live region leaves to the lines above it.
SPARE_ROWS = 4

#: Characters of console lines that are shown together, so that the picture is not drawn for every line.
BATCH = 128 * 1024


def terminal(stderr: TextIO, environ: Mapping[str, str]) -> Console:
    """Return rich's console for a terminal; it follows NO_COLOR and the terminal's size."""
    return Console(file=stderr, _environ=environ)


class LiveView:
    """Keeps a picture of the campaign at the bottom of a terminal.

    The lines of consoles go to ``console``, or above the picture where that is a terminal; None: they are not
    wanted.
    """

    def __init__(
        self,
        progress: Progress,
        screen: Console,
        console: TextIO | None,
        log_path: LogPath | None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._progress = progress
        self._screen = screen
        self._console = console
        self._console_above = console is not None and console.isatty()
        self._log_path = log_path
        self._clock = clock
        self._batch: list[str] = []
        self._batched = 0
        self._width = screen.width
        #: Why the campaign waits, in the lab's words; and that nothing is heard of the lab.
        self._why = self._unheard = ""
        # No thread of rich's, and the process's streams stay what they are: the client's loop alone writes.
        self._live = Live(
            console=screen, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def note(self, text: str) -> None:
        """Show the text as a line above the picture."""
        self._above(one_line(text) + "\n")

    def event(self, event: messages.AnyEvent) -> None:
        """Take notice; show the list of runs and the first failures as lines above the picture."""
        now, self._why = self._clock(), ""
        before, self._progress = self._progress, self._progress.after(event, now)
        match event:
            case messages.CampaignPrepared(prepared=prepared) if not before.runs:
                self.note(prepared_line(before, prepared, now))
            case messages.AttemptFailed(past=past) if self._progress.repeated != before.repeated:
                self._repetition(past)
            case messages.RunCommitted(outcome=outcome) if has_failed(outcome) and not is_known(before, outcome):
                self._failure(outcome)

    def log(self, run: str, text: str) -> None:
        """Show lines of a console, many at a time."""
        if self._console is None:
            return
        lines = log_lines(run, text)
        if not self._console_above:
            write(self._console, lines)
            return
        self._batch.append(lines)
        self._batched += len(lines)
        if self._batched >= BATCH:
            self._above()

    def waits(self, why: str) -> None:
        """Have the reason in the picture until something happens."""
        self._why = why

    def unheard(self, seconds: float) -> None:
        """Have that in the picture if it is long."""
        self._unheard = unheard_line(seconds)

    def tick(self) -> None:
        """Draw the picture anew; where nothing runs, it says why."""
        self._flush()
        self._follow_width()
        height = self._screen.height
        rows = height // 2 if self._console_above else height - SPARE_ROWS
        told = self._unheard or ("" if self._progress.running else one_line(self._why))
        said = wrap(told, max(20, self._screen.width - 3))
        drawn = picture(self._progress, self._clock(), max(1, rows), said)
        # The terminal shows ^C behind the last row, which must not break for that.
        self._live.update(Constrain(drawn, self._screen.width - len("^C")), refresh=True)

    def close(self) -> None:
        """Remove the picture; the lines above it stay."""
        try:
            self._flush()
        finally:
            self._live.stop()

    def _failure(self, outcome: model.Outcome) -> None:
        failed = self._progress.failed
        if failed <= TOLD_FAILURES:
            log = self._log_path(outcome.run) if self._log_path else None
            self._above(over_line(self._progress, outcome, log) + "\n", Style(color="red"))
        elif failed == TOLD_FAILURES + 1:
            self.note("… more runs fail: they are counted below and told at the end")

    def _repetition(self, past: model.Past) -> None:
        repeated = len(self._progress.repeated)
        if repeated <= TOLD_FAILURES:
            self.note(repeated_line(self._progress.config, past))
        elif repeated == TOLD_FAILURES + 1:
            self.note("… more attempts are made again: they are counted at the end")

    def _flush(self) -> None:
        if self._batch:
            self._above()
        if self._console is not None:
            self._console.flush()

    def _above(self, text: str = "", style: Style | None = None) -> None:
        """Write the batch, then the text, above the picture; the terminal folds what is too long."""
        batch = Segment("".join(self._batch))
        self._batch.clear()
        self._batched = 0
        self._follow_width()
        self._screen.print(Segments([batch, Segment(text, style)]), end="", crop=False)

    def _follow_width(self) -> None:
        """Erase the rows that the picture grew by when the terminal became narrower and folded its lines."""
        width, self._width = self._width, self._screen.width
        if self._width < width:
            drawn = self._screen.options.update(width=width)
            lines = self._screen.render_lines(self._live.renderable, drawn, pad=False)
            folded = sum((Segment.get_line_length(line) - 1) // self._width for line in lines)
            self._screen.control(Control(*[(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * folded))


def picture(progress: Progress, now: float, rows: int, said: Sequence[str] = ()) -> RenderableType:
    """Return what the live region shows, in at most so many rows: the campaign, and a row per slot.

    ``said``: lines that say why nothing happens.
    """
    reasons = [Text(f"  {line}", style="yellow", no_wrap=True) for line in said[: rows - 1]]
    title = one_line(f"{progress.campaign} {progress.config}")
    if not progress.total:
        phase = build_words(progress, now) if progress.building else progress.phase.value
        state = f"{title}: {phase}… {duration(now - progress.since)}"
        return Group(Text(state, no_wrap=True, overflow="ellipsis"), *reasons)
    campaign = Table.grid(padding=(0, 1), expand=True)
    campaign.add_column(no_wrap=True, max_width=30)
    campaign.add_column(ratio=1, min_width=4)
    campaign.add_column(no_wrap=True)
    campaign.add_row(title, ProgressBar(progress.total, progress.advance), counts(progress, now))
    # Idle slots keep their row while runs wait, so that short runs do not make the picture jump.
    slots = sorted(
        (item for item in progress.slots.items() if progress.waiting or item[1] is not None),
        key=lambda item: tuple(map(in_order, item[0])),
    )
    free = rows - 1 - len(reasons)
    shown = slots if len(slots) <= free else slots[: max(0, free - 1)]
    parts: list[RenderableType] = [campaign, *reasons]
    if shown:
        parts.append(_slot_rows(progress, shown, now))
    if free and len(shown) < len(slots):
        parts.append(Text(f"  … and {len(slots) - len(shown)} more", style="dim"))
    return Group(*parts)


def counts(progress: Progress, now: float) -> Text:
    """Return how far the campaign is: ``12/24 done, 1 failed, ETA 3 min 20 s``."""
    text = Text(f"{progress.done}/{progress.total} done")
    if progress.failed:
        text.append(f", {progress.failed} failed", style="red")
    if progress.phase is Phase.ENDED:
        return text.append(f", {progress.phase.value}")
    remaining = progress.remaining(now)
    # Below a second the estimate says nothing but that the end is near.
    return text if remaining is None else text.append(f", ETA {duration(max(1, round(remaining)))}")


def _slot_rows(progress: Progress, slots: list[tuple[Slot, Running | None]], now: float) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, max_width=22, style="dim")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    for (host, slot), running in slots:
        place = "  " + one_line(f"{host}/{slot}")
        if running is None:
            table.add_row(place, Text("idle", style="dim"))
            continue
        run = progress.run(running.run)
        bar = "" if running.percent is None else ProgressBar(100, running.percent, width=10)
        table.add_row(place, f"#{run.number} {variables(run.variables)}", bar, _state(running, now))
    return table


def _state(running: Running, now: float) -> str:
    """Return how far a run is: ``54 % 1.2M ev/s``, ``t=123.4s 5.2 simsec/s``, its age if it has said nothing yet."""
    if running.percent is not None:
        return f"{running.percent:.0f} % {rate(running.events_per_second)}".rstrip()
    if running.sim_time is None:
        return duration(now - running.since)
    speed = "" if running.speed is None else f" {_number(running.speed)} simsec/s"
    return f"t={_number(running.sim_time)}s{speed}"


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.3g}"
