"""Who compiles for a builder: the machines that provisioning has listed, as far as they are up and compile as it does.

distcc reads its list before each compilation, so a machine that goes is left out, and one that comes is taken in, while
a build goes on.  A compilation that was on its way to a machine that dies is done here.
"""

import logging
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.job_queue import REFUSALS

log = logging.getLogger(__name__)

#: Seconds between two looks at who is up.
LOOK = 2.0

#: Seconds for which a machine that did not do its part is left alone, and for which one that hangs is waited for at
#: most.  What it did not do is done here.
PATIENCE = {"DISTCC_BACKOFF_PERIOD": "30", "DISTCC_IO_TIMEOUT": "90", "DISTCC_FALLBACK": "1"}


@dataclass(frozen=True)
class Helper:
    """An entry of distcc's list."""

    #: As distcc has it: ``10.0.0.3:3632/8,lzo``.
    entry: str
    #: The machine's name in the lab; empty if it is not told.
    machine: str = ""

    @property
    def is_here(self) -> bool:
        """Is it the builder itself, or an option?"""
        return self.entry.startswith(("localhost", "-"))


class Knows(Protocol):
    """Whoever knows which machines are up."""

    def machines(self) -> Mapping[str, str] | None:
        """Return the machines that serve, and with what each compiles; None if nobody knows."""
        ...


def listed(text: str) -> list[Helper]:
    """Return the entries of distcc's list; provisioning writes the machine's name behind each, as a comment."""
    found = []
    for line in text.splitlines():
        entries, _, comment = line.partition("#")
        found += [Helper(entry, comment.strip()) for entry in entries.split()]
    return found


def serving(helpers: Collection[Helper], up: Mapping[str, str], toolchain: str) -> list[Helper]:
    """Return those that are up and compile as the builder does, itself last; who has no name may be one of them.

    ``up``: the machines that serve, and with what each compiles.
    """
    others = [helper for helper in helpers if not helper.is_here]
    there = [helper for helper in others if not helper.machine or up.get(helper.machine) == toolchain]
    return [*there, *(helper for helper in helpers if helper.is_here)]


def is_used(environment: Mapping[str, str]) -> bool:
    """Say whether ccache passes on to distcc what it does not know."""
    return environment.get("CCACHE_PREFIX") == "distcc"


class Hosts:
    """Keeps distcc's list of a builder true while something is built."""

    def __init__(self, provisioned: Path, lab: Knows, toolchain: str) -> None:
        """``provisioned``: the list that provisioning has written; ``toolchain``: with what this machine compiles."""
        self._provisioned, self._lab, self._toolchain = provisioned, lab, toolchain

    @contextmanager
    def followed(self, environment: Mapping[str, str]) -> Iterator[None]:
        """Have the list follow who is up; it is in the folder that the environment names.

        Nothing is done where there is no distcc, or somebody has made a list of their own.
        """
        folder = environment.get("DISTCC_DIR", "")
        if not folder or "DISTCC_HOSTS" in environment or not is_used(environment) or not self._provisioned.exists():
            yield
            return
        target = Path(folder) / "hosts"
        target.unlink(missing_ok=True)  # of the last build: who was right then need not be so now
        self._write(target)
        ends = threading.Event()

        def follow() -> None:
            while not ends.wait(LOOK):
                self._write(target)

        threading.Thread(target=follow, daemon=True).start()
        try:
            yield
        finally:
            ends.set()  # a look that waits for Redis is not waited for

    def _write(self, target: Path) -> None:
        """Write the list if it is to be another one; while nobody knows who compiles, it stays, or is the builder."""
        up: Mapping[str, str] | None = None
        try:
            up = self._lab.machines()
        except (*REFUSALS, ValueError) as error:
            log.warning("who compiles is not known: %s", error)
        if up is None and target.exists():
            return
        try:
            helpers = serving(listed(self._provisioned.read_text()), up or {}, self._toolchain)
            text = "".join(f"{helper.entry}\n" for helper in helpers)
            if not target.exists() or target.read_text() != text:
                target.parent.mkdir(parents=True, exist_ok=True)
                draft = target.with_suffix(".new")
                draft.write_text(text)
                os.replace(draft, target)
        except OSError as error:  # the build goes on with the list that there is
            log.warning("who compiles cannot be written: %s", error)
