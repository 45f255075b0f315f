"""Housekeeping goes on beside a service, in a thread of its own: removing can take long, and nobody waits for it."""

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from runner.housekeeping import head, worker
from runner.housekeeping.clock import Trust
from runner.housekeeping.decisions import DAY
from runner.housekeeping.limits import GIGABYTE, Limits, within
from runner.machine import Machine

log = logging.getLogger(__name__)

#: Seconds until the first time, and between two.
FIRST, PAUSE = 60.0, 3600.0

#: What is done, given the time, and whether it is believed.
Tidy = Callable[[float, bool], list[str]]


def tidy_head(machine: Machine) -> None:
    """Have the head tidied from now on; for the foreman, when it has read the store."""
    # A local lab's products are read by whoever lays them out, and there is no other copy to compare them with.
    is_remote = machine.settings is not None

    def tidy(now: float, is_believed: bool) -> list[str]:
        limits = limits_of(machine)
        if not is_believed:
            limits = replace(limits, uncollected_days=sys.maxsize)  # what cannot be had again stays
        return head.tidy(machine.paths, limits, now, checks=is_remote)

    # A head serves for months, so it can wait: its clock may be wrong until it has found the network, or was set while
    # there was no foreman.
    begin(tidy, Trust(clocks()[1] + DAY if is_remote else 0.0))


def tidy_worker(machine: Machine, *, shares_store: bool) -> None:
    """Have a worker tidied from now on; for its agent."""
    begin(lambda now, _: worker.tidy(machine.paths, limits_of(machine), now, shares_store=shares_store))


def limits_of(machine: Machine) -> Limits:
    """Return the limits of a machine: what was said for it, else shares of the file system that holds its data."""
    room = machine.keep_gigabytes * GIGABYTE or shutil.disk_usage(machine.paths.home).total
    return within(room, machine.keep_days)


def begin(tidy: Tidy, trust: Trust | None = None) -> None:
    """Tidy at regular times for as long as the process lives."""
    threading.Thread(target=partial(_go_on, tidy, trust or Trust()), name="housekeeping", daemon=True).start()


def clocks() -> tuple[float, float]:
    """Return the time of day, and the time since the machine's start, the time for which it slept included."""
    return time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)


def _go_on(tidy: Tidy, trust: Trust) -> None:
    pause = threading.Event()
    seconds = FIRST
    trust.look(*clocks())
    while not pause.wait(seconds):
        seconds = PAUSE
        now, since_start = clocks()
        if set_by := trust.look(now, since_start):
            log.warning("the clock was set by %.0f s: what nobody has fetched stays for a day, however old", set_by)
        try:
            for sentence in tidy(now, trust.believes(since_start)):
                log.info("%s", sentence)
        except Exception:  # whatever it was, the service it runs beside has to go on
            log.exception("housekeeping")
