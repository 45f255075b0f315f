"""What a browser is told of one campaign: the whole of it, its runs, and which slot did which of them when."""

from collections.abc import Iterator

from msgspec.structs import replace

from runner.harmless import harmless
from runner.ledger import Kept
from runner.messages import (
    AttemptFailed,
    BuildProgressed,
    BuildStarted,
    CampaignEnded,
    CampaignPrepared,
    CampaignRefused,
    CampaignTaken,
    Event,
    RunCommitted,
    RunStarted,
)
from runner.model import Campaign, Value, encode
from runner.web.sse import Glance, raw_event

#: Characters of an error that a browser is told; the log has all of it.
LONGEST = 400

#: What a browser is told of: an attempt by run and number; this one is the campaign as a whole.
Part = tuple[int, int]
TITLE: Part = (-1, -1)


class Bar(Value, frozen=True, array_like=True):
    """One attempt at a run; times in seconds since the epoch."""

    run: int
    attempt: int
    host: str
    slot: str
    started: float
    #: None while it runs.
    ended: float | None = None
    kind: str = "running"
    error: str = ""


class Title(Value, frozen=True):
    """The campaign as a whole."""

    id: str
    name: str
    config: str
    user: str
    mode: str
    commit: str
    run_filter: str
    submitted: float
    #: What is being built and how far that is; empty: nothing.
    build: str = ""
    is_prepared: bool = False
    ended: float | None = None
    cancelled: bool = False
    #: Why it was cancelled or refused.
    reason: str = ""


class Story:
    """What is known of one campaign; whatever is told twice counts once."""

    def __init__(self) -> None:
        self.title: Title | None = None
        #: Run → its iteration variables, as one text.
        self.runs: dict[int, str] = {}
        self.bars: dict[Part, Bar] = {}
        self.glances: set[Glance[Part]] = set()

    def take(self, told: object) -> None:
        """Take note of what happened to the campaign."""
        part = self._take(told)
        if part is None:
            return  # e.g. how far a run is, which the picture of the lab shows
        everything = isinstance(told, CampaignTaken | CampaignPrepared)
        for glance in self.glances:
            glance.stir([part], everything=everything)

    def _take(self, told: object) -> Part | None:
        """Return what is otherwise than before."""
        match told:
            case CampaignTaken(_, what):
                self.title, self.runs, self.bars = _title(what), {}, {}
                return TITLE
            case AttemptFailed(_, past):
                bar = Bar(past.run, past.number, past.host, past.slot, past.started, past.ended, past.kind, past.error)
                return self._draw(bar)
            case RunStarted(_, run, attempt, host, slot, began):
                return None if (run, attempt) in self.bars else self._draw(Bar(run, attempt, host, slot, began))
            case RunCommitted(outcome):
                one = outcome
                return self._draw(
                    Bar(one.run, one.attempt, one.host, one.slot, one.started, one.ended, one.kind, one.error)
                )
        return self._take_of_whole(told)

    def _draw(self, bar: Bar) -> Part:
        self.bars[bar.run, bar.attempt] = replace(bar, error=harmless(bar.error[:LONGEST]))
        return bar.run, bar.attempt

    def _take_of_whole(self, told: object) -> Part | None:
        if self.title is None:
            return None
        match told:
            case BuildStarted(_, what):
                self.title = replace(self.title, build=harmless(what))
            case BuildProgressed(_, done, total, what):
                of_all = f" of {total}" if total is not None else ""
                self.title = replace(self.title, build=f"{harmless(what)}, {done}{of_all} compiled")
            case CampaignPrepared(_, prepared):
                self.runs = {
                    run.number: harmless(", ".join(f"{name}={value}" for name, value in run.variables.items()))
                    for run in prepared.runs
                }
                self.title = replace(self.title, build="", is_prepared=True)
            case CampaignEnded(_, cancelled, reason, ended):
                self.title = replace(
                    self.title, build="", ended=ended or 0.0, cancelled=cancelled, reason=harmless(reason)
                )
            case CampaignRefused(_, _, message, hint):
                reason = harmless("\n".join(filter(None, (message, hint))))
                self.title = replace(self.title, build="", ended=0.0, reason=reason)
            case _:
                return None
        return TITLE

    def event(self, parts: set[Part] | None) -> bytes:
        """Return the event with these parts as they are now, or with all that there are."""
        bars = self.bars.values() if parts is None else [self.bars[part] for part in parts if part in self.bars]
        runs = list(self.runs.items()) if parts is None else None
        title = self.title if parts is None or TITLE in parts else None
        told = {"everything": parts is None, "title": title, "runs": runs, "bars": list(bars)}
        return raw_event("campaign", encode(told))


def _title(what: Campaign) -> Title:
    return Title(
        what.id,
        harmless(what.name),
        harmless(what.config),
        harmless(what.user),
        what.mode,
        what.commit,
        harmless(what.run_filter),
        what.submitted,
    )


def of_kept(kept: Kept) -> Iterator[Event]:
    """Yield what the result store has of a campaign, as the foreman tells it."""
    campaign = kept.campaign.id
    yield CampaignTaken(campaign, kept.campaign)
    if kept.prepared:
        yield CampaignPrepared(campaign, kept.prepared)
    for past in kept.past:
        yield AttemptFailed(campaign, past)
    for outcome in kept.over.values():
        yield RunCommitted(outcome)
    if kept.end:
        yield kept.end.told
