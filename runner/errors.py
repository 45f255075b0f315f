"""Everything that can go wrong for a reason the person can do something about.

An error carries the sentence to show, a hint that says what to do next, and the exit code of the command.
They are printed in one place, ``commands.reported``; everything else that is raised is a bug of labfleet's own.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status says."""

    DONE = 0  #: every run is done
    RUN_FAILED = 1  #: the campaign was carried out or cancelled, and at least one run is not done
    WRONG_USE = 2  #: what was asked for makes no sense: options, project, configuration, filter
    LAB_FAILED = 3  #: the lab or the build failed before the runs could tell anything


class LabfleetError(Exception):
    """The root of all errors: one sentence, one hint, one exit code."""

    exit_code = ExitCode.LAB_FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class WrongUse(LabfleetError):
    """The request itself is wrong; nothing was started."""

    exit_code = ExitCode.WRONG_USE


class BuildFailed(LabfleetError):
    """The model could not be built."""


class Cancelled(LabfleetError):
    """Somebody has cancelled the campaign before it could have come to anything."""

    exit_code = ExitCode.RUN_FAILED


class LabFailed(LabfleetError):
    """A service of the lab is missing, too old, or does not answer."""


class Detached(LabfleetError):
    """The person has left a campaign, which goes on; nothing is wrong."""

    def __init__(self, campaign: str, signal: int) -> None:
        super().__init__(
            f"detached: campaign {campaign} goes on.  labfleet attach {campaign}  comes back; "
            f"labfleet cancel {campaign}  ends it"
        )
        #: As of a process that a signal has ended.
        self.status = 128 + signal


def from_code(exit_code: int, message: str, hint: str) -> LabfleetError:
    """Return the error that another process reported as (exit code, message, hint)."""
    kind = WrongUse if exit_code == ExitCode.WRONG_USE else LabFailed
    return kind(message, hint)
