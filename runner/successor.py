"""The deployed revision of a role, made ready while the present one serves on.

To fetch code and to lay it out takes seconds on a busy machine, in which an agent has to report what its slots have.
"""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Collection
from typing import NoReturn

from runner import shell
from runner.machine import START, become_deployed
from runner.model import decode

log = logging.getLogger(__name__)

#: What a service is told by signals, each of which would end it before it listens.
TOLD = {signal.SIGHUP, signal.SIGUSR1}

#: Seconds after which a start program that does not end has failed.
PATIENCE = 300

#: What Python says of a revision that does not know the role `environment`, as it is older than that.
_UNKNOWN = "KeyError: 'environment'"


class Successor:
    """One revision that is to take over."""

    def __init__(self, ready: Callable[[], None]) -> None:
        """Begin to make it ready; ``ready`` is called when it is.  One that cannot be had is never ready."""
        self.is_ready = False
        self._ready = ready
        #: The environment of its roles; None if it cannot tell that, and has to begin from the start.
        self._environment: dict[str, str] | None = None
        threading.Thread(target=self._prepare, daemon=True).start()

    def _prepare(self) -> None:
        hold_back()
        try:
            told = shell.run([START, "environment"], seconds=PATIENCE).stdout
            self._environment = decode(told, dict[str, str])
        except (shell.CommandFailed, OSError, ValueError) as error:
            if _UNKNOWN not in str(error):
                log.warning("this revision stays, since the deployed one cannot be had: %s", error)
                return
        self.is_ready = True
        self._ready()

    def become(self, role: str, told: Collection[signal.Signals], **variables: str) -> NoReturn:
        """Become a role of it, in this very process, whose signals are held back.

        ``told``: those of them that have come and are left to it.
        """
        if self._environment is None:
            listen()  # it would never do so
            become_deployed(role, **variables)
        for number in told:
            signal.raise_signal(number)
        shell.become([sys.executable, "-P", "-m", "runner.services", role], {**self._environment, **variables})


def hold_back() -> None:
    """Let signals of TOLD wait, even for another program in this process.

    All threads have to do so, hence it is first done before there are others, which inherit it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)


def listen() -> None:
    """Take, in this thread, the signals that were held back; it has to be able to handle them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
