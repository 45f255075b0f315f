"""The deployed revision of a role, made ready while the present one serves on.

To fetch code and to lay it out takes seconds on a busy machine, in which an agent has to report what its slots have.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from runner import shell
from runner.machine import START
from runner.model import decode

log = logging.getLogger(__name__)

#: What a service is told by signals, each of which would end it before it listens.
TOLD = {signal.SIGHUP, signal.SIGUSR1}


class Successor:
    """One revision that is to take over."""

    def __init__(self, ready: Callable[[], None]) -> None:
        """Begin to make it ready; ``ready`` is called when it is."""
        self.is_ready = False
        self._ready = ready
        #: The environment of its roles; None if it could not tell, and has to begin from the start.
        self._environment: dict[str, str] | None = None
        threading.Thread(target=self._prepare, daemon=True).start()

    def _prepare(self) -> None:
        try:
            self._environment = decode(shell.run([START, "environment"]).stdout, dict[str, str])
        except (shell.CommandFailed, OSError, ValueError) as error:  # an older revision does not know that role
            log.warning("the deployed revision takes over without preparation: %s", error)
        self.is_ready = True
        self._ready()

    def become(self, role: str, **variables: str) -> NoReturn:
        """Become a role of it, in this very process; signals of TOLD wait until :func:`listen`."""
        signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
        if self._environment is None:
            shell.become([START, role], {**os.environ, **variables})
        shell.become([sys.executable, "-P", "-m", "runner.services", role], {**self._environment, **variables})


def listen() -> None:
    """Take the signals that came while this process became what it is; it has to be able to handle them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
