"""What slots tell of the runs that are under way.  Times are in seconds since the epoch, by the head's clock."""

from runner.messages import RunProgressed, RunStarted
from runner.model import Attempt
from runner.scheduling.state import CampaignState, forget_progress


def take_run_started(state: CampaignState, event: RunStarted, now_is: float = 0.0) -> bool:
    """A run has begun; False if that is of no interest any more."""
    if not state.is_wanted(Attempt(event.run, event.attempt)):
        return False
    forget_progress(state, event.run)
    state.begun[event.run], state.since[event.run] = event, now_is
    return True


def take_run_progressed(state: CampaignState, event: RunProgressed, now_is: float = 0.0) -> bool:
    """A run goes on; False if that is of no interest, as it is over, or another attempt at it counts by now.

    Of one that a foreman before this one heard begin, that alone is known.
    """
    run = event.run
    if run not in state.latest or run in state.over or event.attempt not in (0, state.latest[run]):
        return False
    before = state.progress.get(run)
    # A slot tells every second what the simulation said last, which may be long ago.
    if before is None or (before.sim_time, before.percent) != (event.sim_time, event.percent):
        state.heard[run] = now_is
    state.progress[run] = event
    return True
