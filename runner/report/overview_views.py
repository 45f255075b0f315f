"""Who shows a lab that is watched: a picture on a terminal, blocks of lines elsewhere, lines of JSON for programs."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, TextIO

from runner.messages import Changed, MachineStatus, Overview
from runner.report import overview
from runner.report.overview import Picture
from runner.report.progress import Clock
from runner.report.text import is_drawable, write

if TYPE_CHECKING:
    from runner.report.overview_live import LiveOverview

#: Seconds between two blocks of lines at least.
PULSE = 5.0


class Show(Protocol):
    """Shows a lab.  Any method raises BrokenPipeError when nobody reads any more."""

    def told(self, what: Overview | Changed, picture: Picture) -> None:
        """Take notice of what the lab has told; ``picture`` is the lab with that."""

    def tick(self, picture: Picture, said: str) -> None:
        """Show what has changed; ``said``: that nothing is heard of the lab, if that is so."""

    def close(self) -> None:
        """Leave the terminal as it was; nothing may follow."""


class Drawn:
    """Draws the lab anew in its place."""

    def __init__(self, live: "LiveOverview", clock: Clock = time.monotonic) -> None:
        self._live, self._clock = live, clock

    def told(self, what: Overview | Changed, picture: Picture) -> None:
        """Wait for the next tick: many changes are one drawing."""

    def tick(self, picture: Picture, said: str) -> None:
        """Draw the lab, in which time goes by."""
        self._live.draw(picture, picture.at(self._clock), said)

    def close(self) -> None:
        """Leave what was drawn last."""
        self._live.close()


class Blocks:
    """Writes all of the lab when it has changed, every few seconds at most.

    A load or a free memory that is another one is no change.
    """

    def __init__(self, stdout: TextIO, clock: Clock = time.monotonic) -> None:
        self._stdout, self._clock = stdout, clock
        self._shown: object = None
        self._next = 0.0
        self._is_silent = False

    def told(self, what: Overview | Changed, picture: Picture) -> None:
        """Wait for the next tick."""

    def tick(self, picture: Picture, said: str) -> None:
        """Write the lab if it is time, and that nothing is heard of it, once."""
        if bool(said) != self._is_silent:
            self._is_silent = bool(said)
            write(self._stdout, f"{said}\n\n" if said else "the lab is heard again\n\n")
        now = self._clock()
        if now >= self._next and (telling := _telling(picture)) != self._shown:
            self._shown, self._next = telling, now + PULSE
            write(self._stdout, overview.text(picture, picture.at(self._clock)) + "\n\n")
        self._stdout.flush()

    def close(self) -> None:
        """Flush what was written."""
        self._stdout.flush()


def _telling(picture: Picture) -> object:
    """Return what of a lab is worth lines when it changes."""
    machines = {name: _of_machine(machine) for name, machine in picture.machines.items()}
    campaigns = {
        name: (one.phase, one.total, one.done, one.failed, one.running, bool(one.waiting), one.collected)
        for name, (_, one) in picture.campaigns.items()
    }
    return machines, campaigns


def _of_machine(machine: MachineStatus) -> object:
    return machine.state, machine.report and machine.report.slots, machine.slots


class JsonLines:
    """Writes a line for everything that is told."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout

    def told(self, what: Overview | Changed, picture: Picture) -> None:  # noqa: ARG002  it is for pictures
        """Write it."""
        write(self._stdout, overview.as_json(what) + "\n")
        self._stdout.flush()

    def tick(self, picture: Picture, said: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Flush what was written."""
        self._stdout.flush()


def show(stdout: TextIO, environ: Mapping[str, str], *, json: bool) -> Show:
    """Return what suits the stream and the wish."""
    if json:
        return JsonLines(stdout)
    if not is_drawable(stdout, environ):
        return Blocks(stdout)
    from runner.report import live, overview_live  # rich takes its time to import, and nobody else needs it

    return Drawn(overview_live.LiveOverview(live.terminal(stdout, environ)))


def print_once(told: Overview, picture: Picture, stdout: TextIO, environ: Mapping[str, str], *, json: bool) -> None:
    """Print how a lab is: what fits a terminal, all of it elsewhere."""
    if json:
        write(stdout, overview.as_json(told) + "\n")
    elif is_drawable(stdout, environ):
        from runner.report import live, overview_live

        screen = live.terminal(stdout, environ)
        screen.print(overview_live.shown(picture, told.time, screen))
    else:
        write(stdout, overview.text(picture, told.time) + "\n")
