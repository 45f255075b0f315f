"""Who tells the person about a campaign while it runs: a live view on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol, TextIO

from runner import messages
from runner.report.progress import Clock, LogPath, Progress
from runner.report.text import (
    build_words,
    has_failed,
    is_known,
    log_lines,
    one_line,
    over_line,
    prepared_line,
    repeated_line,
    write,
)

#: Seconds between two lines that say how far a build is; of one that takes long, a part of what it has taken so far.
BUILD_PULSE, BUILD_PULSE_PART = 10.0, 0.05


class Verbosity(IntEnum):
    """How much the person wants to see."""

    QUIET = 0  #: failed runs alone
    NORMAL = 1  #: progress
    VERBOSE = 2  #: also what the simulations print


class View(Protocol):
    """Shows what happens.  Any method raises BrokenPipeError when nobody reads a stream any more."""

    def note(self, text: str) -> None:
        """Tell something that no event says, e.g. ``snapshot 3f2a91c0, 2 files changed``."""

    def event(self, event: messages.AnyEvent) -> None:
        """Take notice of something that the lab says about this campaign."""

    def log(self, run: str, text: str) -> None:
        """Show whole lines of a console, without the last newline; ``run`` names it: ``General #14``."""

    def tick(self) -> None:
        """Show what has changed; to be called about four times a second."""

    def close(self) -> None:
        """Leave the terminal as it was; nothing may follow."""


class QuietView:
    """Tells of failed runs and of nothing else."""

    def __init__(self, progress: Progress, stderr: TextIO, log_path: LogPath | None) -> None:
        self._progress = progress
        self._stderr = stderr
        self._log_path = log_path

    def note(self, text: str) -> None:
        """Say nothing."""

    def event(self, event: messages.AnyEvent) -> None:
        """Write a line if the event is the failure of a run."""
        before, self._progress = self._progress, self._progress.after(event, time.monotonic())
        if (
            isinstance(event, messages.RunCommitted)
            and has_failed(event.outcome)
            and not is_known(before, event.outcome)
        ):
            log = self._log_path(event.outcome.run) if self._log_path else None
            write(self._stderr, over_line(self._progress, event.outcome, log) + "\n")

    def log(self, run: str, text: str) -> None:
        """Say nothing."""

    def tick(self) -> None:
        """Flush what was written."""
        self._stderr.flush()

    def close(self) -> None:
        """Flush what was written."""
        self._stderr.flush()


class PlainView:
    """Writes a line for each thing that happens, for pipes, files and simple terminals.

    The lines of consoles go to ``console``; None: they are not wanted.
    """

    def __init__(
        self,
        progress: Progress,
        stderr: TextIO,
        console: TextIO | None,
        log_path: LogPath | None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._progress = progress
        self._stderr = stderr
        self._console = console
        self._log_path = log_path
        self._clock = clock
        #: When it was told last how far the build is.
        self._told = 0.0

    def note(self, text: str) -> None:
        """Write the text as a line."""
        if self._console is not None:
            self._console.flush()  # so that both streams are in order where they end in the same file
        write(self._stderr, one_line(text) + "\n")

    def event(self, event: messages.AnyEvent) -> None:
        """Write a line about the build, the list of runs, or a run that is over."""
        now = self._clock()
        before, self._progress = self._progress, self._progress.after(event, now)
        match event:
            case messages.BuildStarted() if not before.runs:
                self._building(now)
            case messages.BuildProgressed() if not before.runs and now - self._told >= self._pulse(now):
                self._building(now)
            case messages.CampaignPrepared(prepared=prepared) if not before.runs:
                self.note(prepared_line(before, prepared, now))
            case messages.AttemptFailed(past=past) if self._progress.repeated != before.repeated:
                self.note(repeated_line(before.config, past))
            case messages.RunCommitted(outcome=outcome) if not is_known(before, outcome):
                log = self._log_path(outcome.run) if self._log_path else None
                self.note(over_line(self._progress, outcome, log))

    def _building(self, now: float) -> None:
        self._told = now
        self.note(f"{self._progress.config}: {build_words(self._progress, now)}")

    def _pulse(self, now: float) -> float:
        """Return the seconds that pass at least before the next line about the build: an hour is a few dozen lines."""
        return max(BUILD_PULSE, (now - self._progress.since) * BUILD_PULSE_PART)

    def log(self, run: str, text: str) -> None:
        """Write the lines, however long they are."""
        if self._console is not None:
            write(self._console, log_lines(run, text))

    def tick(self) -> None:
        """Flush what was written."""
        for stream in (self._console, self._stderr):
            if stream is not None:
                stream.flush()

    def close(self) -> None:
        """Flush what was written."""
        self.tick()


def view(
    campaign_name: str,
    config: str,
    verbosity: Verbosity,
    stderr: TextIO,
    environ: Mapping[str, str],
    *,
    stdout: TextIO | None = None,
    log_path: LogPath | None = None,
) -> View:
    """Return the view that suits the streams and the wish: quiet, live on a terminal, else plain.

    What the simulations print goes to ``stdout`` if that is given, else to ``stderr``.  The line of a failed
    run names its log, where ``log_path`` knows it.
    """
    progress = Progress(campaign_name, config, since=time.monotonic())
    if verbosity == Verbosity.QUIET:
        return QuietView(progress, stderr, log_path)
    console = (stdout or stderr) if verbosity == Verbosity.VERBOSE else None
    if not stderr.isatty() or environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return PlainView(progress, stderr, console, log_path)

    from runner.report import live  # rich takes its time to import, and nobody else needs it

    return live.LiveView(progress, live.terminal(stderr, environ), console, log_path)
