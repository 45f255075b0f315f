"""What became of the runs of a process.  Pure functions."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from runner.model import Kind


@dataclass(frozen=True)
class Stop:
    """Why a process was ended from outside."""

    kind: Kind
    error: str = ""
    #: How many runs it had begun then.
    begun: int = 1


def judge(status: int, errors: Sequence[str], stop: Stop | None = None) -> list[tuple[Kind, str]]:
    """Return (kind, error) for each run that is over, in the order in which a process began them.

    ``status`` is the exit status (negative: a signal), ``errors`` what the log of each begun run says went wrong.
    A process ends with 0 only if all went well.  Otherwise the first run with an error has failed, or else the last
    that began; those before it are done, those after it are not over: whatever happened to them happened in a
    process that was no longer sound.
    """
    is_cancelled = stop is not None and stop.kind == "cancelled"
    if status == 0 and not is_cancelled:
        return [("done", "")] * len(errors)
    failed = next((index for index, error in enumerate(errors) if error), len(errors) - 1)
    done: list[tuple[Kind, str]] = [("done", "")] * failed
    if stop is not None and (is_cancelled or failed == len(errors) - 1):
        return done if _is_meant_for_another(stop, len(errors), failed) else [*done, (stop.kind, stop.error)]
    text = errors[failed]
    if status < 0 and stop is None:
        return [*done, ("crash", text or f"ended by {_signal_name(-status)}")]
    return [*done, ("error", text or f"the program ended with exit status {status}")]


def _is_meant_for_another(stop: Stop, begun: int, failed: int) -> bool:
    """Say whether the run that was hit is not to blame, and is not over.

    It had only just begun, and what was too long was the one before it; or the memory is what those before it had left.
    """
    if stop.kind == "cancelled":
        return False
    return begun > max(1, stop.begun) or (stop.kind == "out-of-memory" and failed > 0)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
