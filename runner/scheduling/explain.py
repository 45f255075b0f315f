"""Why a campaign, or one of its runs, is where it is: for people, in a sentence or two."""

from collections import Counter
from collections.abc import Mapping, Sequence

from runner.messages import CampaignEnded, CampaignRefused, CampaignStatus, MachineStatus
from runner.model import Attempt, Outcome, Past
from runner.quantities import roughly
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
        return f"Campaign {state.campaign.id} has no run {run}: it has {_count(state.total, 'run')}."
    return " ".join(filter(None, (_run(state, run, machines, all_states), _history(state, run))))


def explain_ended(
    status: CampaignStatus, told: CampaignEnded | CampaignRefused, over: Mapping[int, Outcome], run: int | None
) -> str:
    """Return what became of a campaign that has ended, or of one run of it."""
    if isinstance(told, CampaignRefused):
        return f"The campaign could not be run: {_sentence(told.message)}"
    if run is not None:
        if outcome := over.get(run):
            return _outcome(outcome)
        if told.cancelled:
            return f"Run {run} was not over when the campaign was cancelled."
        return f"The campaign had no run {run}: it had {_count(status.total, 'run')}."
    reason = f" ({told.reason})" if told.reason else ""
    failed = f", {status.failed} failed" if status.failed else ""
    done = f"{status.done} of {_count(status.total, 'run')} {'is' if status.total == 1 else 'are'} done"
    return f"The campaign has ended, {status.phase}{reason}: {done}{failed}."


def builds(machines: Sequence[MachineStatus]) -> dict[str, str]:
    """Return which campaigns are being built: campaign → machine."""
    reports = {machine.name: machine.report for machine in machines if machine.report}
    return {held.campaign: name for name, report in reports.items() for held in report.holds if not held.chunk}


def _why_not_built(state: CampaignState, machines: Sequence[MachineStatus], now: float) -> str:
    if state.cancelled:
        return "The campaign was cancelled before its program was built: it ends at once."
    under_way = builds(machines)
    if machine := under_way.pop(state.campaign.id, ""):
        return f"The program is being built, or lists its runs, on {machine}."
    if under_way:
        other, machine = next(iter(under_way.items()))
        return f"The builder on {machine} works for campaign {other}; this one is next, or later."
    if not machines:
        return "No machine has told of itself yet, so nobody builds the program."
    waited = f"nothing has been heard of it for {roughly(now - state.build_renewed)}"
    # A machine that somebody has drained builds on, one that is about to be stopped does not.
    gone = [one for one in machines if one.state == "away" or (one.report and one.report.draining)]
    return f"The build job waits for a builder; {waited}. {_troubles(gone)}".strip()


# ---- all of a campaign -------------------------------------------------------------------------------------------


def _campaign(state: CampaignState, machines: Sequence[MachineStatus], all_states: Sequence[CampaignState]) -> str:
    working = sum(chunk.slot != "" for chunk in state.in_flight.values())
    slots = f"{_count(working, 'slot')} work{'s' if working == 1 else ''} on the campaign" if working else ""
    over = f"{len(state.over)} of {_count(state.total, 'run')} {'is' if state.total == 1 else 'are'} over"
    arriving = f"the results of {_count(len(state.expected), 'run')} are on their way to the head"
    told = [f"{', '.join(filter(None, (over, arriving if state.expected and state.waiting else '', slots)))}."]
    return " ".join(filter(None, (*told, _rest(state, machines, all_states, load_of(all_states)))))


def waits(
    state: CampaignState,
    machines: Sequence[MachineStatus],
    all_states: Sequence[CampaignState],
    load: Mapping[str, int],
    now: float,
) -> str:
    """Return why nothing of a campaign that is under way runs; empty if something does.  ``load``: :func:`load_of`."""
    if any(chunk.slot for chunk in state.in_flight.values()):
        return ""
    if state.prepared is None:
        return _why_not_built(state, machines, now)
    return _rest(state, machines, all_states, load)


def load_of(all_states: Sequence[CampaignState]) -> Counter[str]:
    """Return how many chunks each machine has."""
    return Counter(chunk.host for state in all_states for chunk in state.in_flight.values())


def _rest(
    state: CampaignState,
    machines: Sequence[MachineStatus],
    all_states: Sequence[CampaignState],
    load: Mapping[str, int],
) -> str:
    """Return what is to become of the runs that no slot works on; empty if there is nothing to be said."""
    told = ""
    if state.cancelled:
        told = "It is cancelled: it ends when what runs has ended and its results are at the head."
    elif state.waiting:
        told = f"{_waits(len(state.waiting))}: {_why_waiting(state, machines, all_states, load)}"
    elif queued := Counter(chunk.host for chunk in state.in_flight.values() if not chunk.slot):
        told = f"The rest is in the queue of {_and(sorted(queued))}, and begins when a slot there is free."
    elif state.expected:
        told = f"The results of {_and(sorted(state.expected))} are on their way to the head."
    elif state.hopeless:
        told = f"{_and(sorted(state.hopeless)).capitalize()} was lost too often and is about to be given up."
    return told


# ---- one run -----------------------------------------------------------------------------------------------------


def _run(state: CampaignState, run: int, machines: Sequence[MachineStatus], all_states: Sequence[CampaignState]) -> str:
    attempt = Attempt(run, state.latest.get(run, 1))
    chunk = next((chunk for chunk in state.in_flight.values() if attempt in chunk.attempts), None)
    if run in state.over:
        return _outcome(state.over[run])
    if expected := state.expected.get(run):
        trouble = next((m.report.trouble for m in machines if m.name == expected.host and m.report), "")
        way = f"Run {run} is through on {expected.host}; its results are on their way to the head"
        return _sentence(f"{way}: {trouble}" if trouble else way)
    if chunk:
        return _in_flight(state, attempt, chunk)
    if run in state.hopeless:
        return f"Run {run} was lost too often and is about to be given up."
    if state.cancelled:
        return f"Run {run} does not run, as the campaign is cancelled."
    before = next((place for place, waiting in enumerate(state.waiting) if waiting.run == run), len(state.waiting))
    place = f"waits behind {_count(before, 'other run')}" if before else "is the next that waits"
    return f"Run {run} {place}: {_why_waiting(state, machines, all_states, load_of(all_states))}"


def _in_flight(state: CampaignState, attempt: Attempt, chunk: InFlight) -> str:
    """Return where a run is whose chunk a host has."""
    run, begun = attempt.run, state.begun.get(attempt.run)
    if not chunk.slot:
        return f"Run {run} is in the queue of {chunk.host}: it begins as soon as a slot there is free."
    place = f"{chunk.host}/{chunk.slot}"
    if attempt not in chunk.left:
        return f"Run {run} has run on {place}, and its results are on their way to the head."
    if chunk.current == attempt or (begun and begun.attempt == attempt.number):
        return f"Run {run} runs on {place}, as attempt {attempt.number}."
    return f"Run {run} is one of {_count(len(chunk.attempts), 'run')} that {place} does one after another."


def _outcome(outcome: Outcome) -> str:
    how = "is done" if outcome.kind == "done" else f"is over: {outcome.kind}"
    why = f" ({outcome.error})" if outcome.error else ""
    where = f" on {outcome.host}/{outcome.slot}" if outcome.host and outcome.slot else ""
    return f"Run {outcome.run} {how}{why}, attempt {outcome.attempt}{where}."


def _history(state: CampaignState, run: int) -> str:
    """Return what became of a run's earlier attempts; empty if there were none."""
    past = [one for one in state.past if one.run == run]
    told = ", ".join(map(_past, past))
    return f"Before: {told}." if told else ""


def _past(past: Past) -> str:
    where = f" on {past.host}" if past.host else ""
    why = f" ({past.error})" if past.error else ""
    return f"attempt {past.number}{where}: {past.kind}{why}"


# ---- why runs wait -----------------------------------------------------------------------------------------------


def _why_waiting(
    state: CampaignState,
    machines: Sequence[MachineStatus],
    all_states: Sequence[CampaignState],
    load: Mapping[str, int],
) -> str:
    """Return why the runs that wait are not given to a machine."""
    limit = state.campaign.jobs
    if limit is not None and len(state.in_flight) >= limit:
        return f"the campaign wants at most {_count(limit, 'process', 'processes')} at once (--jobs)."
    if not machines:
        return "no machine has told of itself yet."
    others = [machine for machine in machines if machine.state != "ready"]
    troubled = _troubles(others)
    ready = [machine.name for machine in machines if machine.state == "ready" and _slots(machine)]
    if not ready:
        return f"no machine takes runs. {troubled}".strip()
    if any(load.get(machine.name, 0) < _slots(machine) for machine in machines if machine.state == "ready"):
        return f"there is a free slot, and the next is given out within seconds. {troubled}".strip()
    rivals = sorted(other.campaign.id for other in all_states if other is not state and other.in_flight)
    shared = f", which campaign {_and(rivals)} {'uses' if len(rivals) == 1 else 'use'} too" if rivals else ""
    return f"all slots of {_and(ready)} are busy{shared}. {troubled}".strip()


def _troubles(machines: Sequence[MachineStatus]) -> str:
    """Return what is the matter with machines, and which command helps where they do not say so themselves."""
    told = [f"{machine.name} is {machine.state}: {machine.reason}" for machine in machines]
    silent = any(machine.state == "away" for machine in machines)
    return _sentences([*told, *(["labfleet doctor finds out why nothing is heard"] if silent else [])])


def _slots(machine: MachineStatus) -> int:
    """Return to how many slots a machine may be given runs: to one where that has a reason, or nothing is known."""
    return machine.report.slots if machine.report and not machine.reason else 1


# ---- words -------------------------------------------------------------------------------------------------------


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _waits(number: int) -> str:
    return "1 run waits" if number == 1 else f"{number} runs wait"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _sentences(texts: Sequence[str]) -> str:
    return " ".join(map(_sentence, texts))


def _and(items: Sequence[object]) -> str:
    """Return things as people list them; of many the first three."""
    words = [f"run {item}" if isinstance(item, int) else str(item) for item in items]
    if len(words) > 4:
        return f"{', '.join(words[:3])} and {len(words) - 3} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"
