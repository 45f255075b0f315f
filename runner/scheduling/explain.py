"""Why a campaign, or one of its runs, is where it is: for people, in a sentence or two."""

from collections.abc import Mapping, Sequence

from runner.messages import CampaignEnded, CampaignRefused, CampaignStatus, MachineStatus
from runner.model import Attempt, Outcome
from runner.scheduling.state import CampaignState, InFlight


def explain(
    state: CampaignState,
    run: int | None,
    machines: Sequence[MachineStatus],
    all_states: Sequence[CampaignState],
    now: float,
) -> str:
    """Return why a campaign that is under way, or one run of it, does not go on, or where it is."""
    if state.prepared is None:
        return _why_not_built(state, machines, now)
    if run is None:
        return _campaign(state, machines, all_states)
    if all(known.number != run for known in state.prepared.runs):
        return f"Campaign {state.campaign.id} has no run {run}: it has {state.total} runs."
    return " ".join(filter(None, (_run(state, run, machines, all_states), _history(state, run))))


def explain_ended(
    status: CampaignStatus, told: CampaignEnded | CampaignRefused, over: Mapping[int, Outcome], run: int | None
) -> str:
    """Return what became of a campaign that has ended, or of one run of it."""
    if run is not None:
        outcome = over.get(run)
        return _outcome(outcome) if outcome else f"Run {run} was not begun before the campaign ended ({status.phase})."
    if isinstance(told, CampaignRefused):
        return f"The campaign could not be run: {told.message}"
    reason = f" ({told.reason})" if told.reason else ""
    failed = f", {status.failed} failed" if status.failed else ""
    return f"The campaign has ended, {status.phase}{reason}: {status.done} of {status.total} runs are done{failed}."


def _why_not_built(state: CampaignState, machines: Sequence[MachineStatus], now: float) -> str:
    if state.cancelled:
        return "The campaign is cancelled; it ends as soon as its build job notices."
    for machine in machines:
        for held in machine.report.holds if machine.report else ():
            if held.slot == "builder" and held.campaign == state.campaign.id:
                return f"The program is being built, or lists its runs, on {machine.name}."
            if held.slot == "builder":
                return f"The builder on {machine.name} works for campaign {held.campaign}; this one is next, or later."
    if not machines:
        return "No machine has told of itself yet, so nobody builds the program."
    return f"The build job waits for a builder; nothing has been heard of it for {now - state.build_renewed:.0f} s."


def _campaign(state: CampaignState, machines: Sequence[MachineStatus], all_states: Sequence[CampaignState]) -> str:
    running = sum(chunk.slot != "" for chunk in state.in_flight.values())
    told = [f"{len(state.over)} of {state.total} runs are over, {running} slots work on the campaign."]
    if state.cancelled:
        told.append("It is cancelled: it ends when what runs has ended.")
    elif state.waiting:
        told.append(f"{len(state.waiting)} runs wait: {_why_waiting(state, machines, all_states)}")
    elif state.expected:
        told.append(f"{_and(sorted(state.expected))}: the results are on their way to the head.")
    return " ".join(told)


def _run(state: CampaignState, run: int, machines: Sequence[MachineStatus], all_states: Sequence[CampaignState]) -> str:
    attempt = Attempt(run, state.latest.get(run, 1))
    chunk = next((chunk for chunk in state.in_flight.values() if attempt in chunk.attempts), None)
    if run in state.over:
        return _outcome(state.over[run])
    if expected := state.expected.get(run):
        trouble = next((m.report.trouble for m in machines if m.name == expected.host and m.report), "")
        because = f": {trouble}" if trouble else "."
        return f"Run {run} is through on {expected.host}; its results are on their way to the head{because}"
    if chunk:
        return _in_flight(state, attempt, chunk)
    if state.cancelled:
        return f"Run {run} does not run, as the campaign is cancelled."
    before = sum(other.run != run for other in _until(state, run))
    return f"Run {run} waits, {before} runs are before it: {_why_waiting(state, machines, all_states)}"


def _in_flight(state: CampaignState, attempt: Attempt, chunk: InFlight) -> str:
    """Return where a run is whose chunk a host has."""
    run = attempt.run
    begun = state.begun.get(run)
    if not chunk.slot:
        return f"Run {run} is in the queue of {chunk.host}: it begins as soon as a slot there is free."
    if chunk.current == attempt or (begun and begun.attempt == attempt.number):
        return f"Run {run} runs on {chunk.host}/{chunk.slot}, as attempt {attempt.number}."
    return f"Run {run} is next on {chunk.host}/{chunk.slot}, which does {len(chunk.attempts)} runs one after another."


def _until(state: CampaignState, run: int) -> list[Attempt]:
    """Return the attempts that wait, up to that of a run."""
    waiting = list(state.waiting)
    index = next((place for place, attempt in enumerate(waiting) if attempt.run == run), len(waiting))
    return waiting[: index + 1]


def _why_waiting(state: CampaignState, machines: Sequence[MachineStatus], all_states: Sequence[CampaignState]) -> str:
    """Return why the runs that wait are not given to a machine."""
    limit = state.campaign.jobs
    if limit is not None and len(state.in_flight) >= limit:
        return f"the campaign wants at most {limit} processes at once (--jobs)."
    ready = [machine for machine in machines if machine.state == "ready"]
    others = [machine for machine in machines if machine.state != "ready"]
    troubled = "; ".join(f"{machine.name} is {machine.state}: {machine.reason}" for machine in others)
    if not machines:
        return "no machine has told of itself yet."
    if not ready:
        return f"no machine takes runs.  {troubled}."
    rivals = [other.campaign.id for other in all_states if other is not state and other.in_flight]
    shared = f", shared with {_and(rivals)}" if rivals else ""
    busy = f"all slots of {_and([machine.name for machine in ready])} are busy{shared}."
    return f"{busy}  {troubled}." if troubled else busy


def _outcome(outcome: Outcome) -> str:
    how = "is done" if outcome.kind == "done" else f"is over: {outcome.kind}"
    why = f" ({outcome.error})" if outcome.error else ""
    where = f" on {outcome.host}/{outcome.slot}" if outcome.host else ""
    return f"Run {outcome.run} {how}{why}, attempt {outcome.attempt}{where}."


def _history(state: CampaignState, run: int) -> str:
    """Return what became of a run's earlier attempts; empty if there were none."""
    past = [one for one in state.past if one.run == run]
    told = ", ".join(
        f"attempt {one.number} on {one.host or 'an unknown host'}: {one.kind} ({one.error})" for one in past
    )
    return f"Before: {told}." if told else ""


def _and(items: Sequence[object]) -> str:
    """Return things as people list them; of many the first three."""
    words = [f"run {item}" if isinstance(item, int) else str(item) for item in items]
    if len(words) > 4:
        return f"{', '.join(words[:3])} and {len(words) - 3} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"
