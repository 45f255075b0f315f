"""Who tells the person about a campaign while it runs: a live view on a terminal, plain lines elsewhere."""

import re
import time
from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol, TextIO

from runner import messages
from runner.report.progress import Clock, LogPath, Progress
from runner.report.text import (
    build_words,
    has_failed,
    is_drawable,
    is_known,
    log_lines,
    one_line,
    over_line,
    prepared_line,
    repeated_line,
    write,
)

#: Seconds between two lines that say how far a build is, of one that takes long a part of what it has taken so far; and
#: until it is said why nothing happens.
PULSE, PART_OF_BUILD = 10.0, 0.05


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

    def waits(self, why: str) -> None:
        """Take notice of where the campaign is, and why it waits, in the lab's words; asked when it says nothing."""

    def unheard(self, seconds: float) -> None:
        """Take notice of how long nothing was heard from the lab."""

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

    def waits(self, why: str) -> None:
        """Say nothing."""

    def unheard(self, seconds: float) -> None:
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
        #: When it was told last how far the build is, and when something happened last.
        self._told, self._happened = 0.0, progress.since
        #: Why the campaign waits, as it was told last, without numbers.
        self._reason = ""

    def note(self, text: str) -> None:
        """Write the text as a line."""
        if self._console is not None:
            self._console.flush()  # so that both streams are in order where they end in the same file
        write(self._stderr, one_line(text) + "\n")

    def event(self, event: messages.AnyEvent) -> None:
        """Write a line about the build, the list of runs, or a run that is over."""
        now = self._happened = self._clock()
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
        return max(PULSE, (now - self._progress.since) * PART_OF_BUILD)

    def log(self, run: str, text: str) -> None:
        """Write the lines, however long they are."""
        if self._console is not None:
            write(self._console, log_lines(run, text))

    def waits(self, why: str) -> None:
        """Write a line where nothing has happened for a while, once for each reason."""
        reason = re.sub(r"\d+", "#", why)
        idle = not self._progress.running and self._clock() - self._happened >= PULSE
        if idle and reason != self._reason:
            self._reason = reason
            self.note(f"{self._progress.config}: {why}")

    def unheard(self, seconds: float) -> None:
        """Say nothing: that the lab does not answer is a note."""

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
    if not is_drawable(stderr, environ):
        return PlainView(progress, stderr, console, log_path)

    from runner.report import live  # rich takes its time to import, and nobody else needs it

    return live.LiveView(progress, live.terminal(stderr, environ), console, log_path)
