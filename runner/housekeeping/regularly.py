"""Housekeeping goes on beside a service, in a thread of its own: removing can take long, and nobody waits for it."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial

from runner.housekeeping import head, worker
from runner.housekeeping.limits import GIGABYTE, Limits, within
from runner.machine import Machine

log = logging.getLogger(__name__)

#: Seconds until the first time, and between two.
FIRST, PAUSE = 60.0, 3600.0

#: What is done, given the time.
Tidy = Callable[[float], list[str]]


def tidy_head(machine: Machine) -> None:
    """Have the head tidied from now on; for the foreman, when it has read the store."""
    # A local lab's products are read by whoever lays them out, and there is no other copy to compare them with.
    checks = machine.settings is not None
    begin(lambda now: head.tidy(machine.paths, limits_of(machine), now, checks=checks))


def tidy_worker(machine: Machine, *, shares_store: bool) -> None:
    """Have a worker tidied from now on; for its agent."""
    begin(lambda now: worker.tidy(machine.paths, limits_of(machine), now, shares_store=shares_store))


def limits_of(machine: Machine) -> Limits:
    """Return the limits of a machine: what was said for it, else shares of the file system that holds its data."""
    room = machine.keep_gigabytes * GIGABYTE or shutil.disk_usage(machine.paths.home).total
    return within(room, machine.keep_days)


def begin(tidy: Tidy) -> None:
    """Tidy at regular times for as long as the process lives."""
    threading.Thread(target=partial(_go_on, tidy), name="housekeeping", daemon=True).start()


def _go_on(tidy: Tidy) -> None:
    pause = threading.Event()
    seconds = FIRST
    while not pause.wait(seconds):
        seconds = PAUSE
        try:
            for sentence in tidy(time.time()):
                log.info("%s", sentence)
        except Exception:  # whatever it was, the service it runs beside has to go on
            log.exception("housekeeping")
