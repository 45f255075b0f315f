"""What the lab tells of a campaign's runs, as far as it matters to their logs."""

from dataclasses import dataclass, field

from runner.logs.asked import State
from runner.messages import (
    AnyAnswer,
    AnyEvent,
    AttemptFailed,
    CampaignEnded,
    CampaignPrepared,
    CampaignRefused,
    CampaignTaken,
    RunCommitted,
    RunStarted,
)
from runner.model import Campaign, Outcome, Past, Prepared


@dataclass
class Story:
    """Which runs there are, and where each is; everything may be told twice."""

    what: Campaign | None = None
    prepared: Prepared | None = None
    over: dict[int, Outcome] = field(default_factory=dict)
    #: Attempts that were made again: (run, attempt).
    past: dict[tuple[int, int], Past] = field(default_factory=dict)
    #: The latest attempt that was begun at each run.
    begun: dict[int, int] = field(default_factory=dict)
    #: Attempts that began, or came to an end, since somebody looked: (run, attempt).
    news: set[tuple[int, int]] = field(default_factory=set)
    has_ended: bool = False
    #: Why it could not be run.
    refusal: str = ""

    def take(self, event: AnyEvent | AnyAnswer) -> None:
        """Take note of what happened."""
        match event:
            case CampaignTaken(_, what):
                self.what = what
            case CampaignPrepared(_, prepared):
                self.prepared = prepared
            case RunStarted(_, run, attempt):
                self.begun[run] = max(attempt, self.begun.get(run, 0))
                self.news.add((run, attempt))
            case AttemptFailed(_, past):
                self.past[past.run, past.number] = past
                self.news.add((past.run, past.number))
            case RunCommitted(outcome):
                self.over[outcome.run] = outcome
                self.news.add((outcome.run, outcome.attempt))
            case CampaignRefused(_, _, message):
                self.has_ended, self.refusal = True, message
            case CampaignEnded():
                self.has_ended = True

    @property
    def title(self) -> str:
        """What the campaign is called."""
        return f"{self.what.name} {self.what.config}" if self.what else ""

    def state(self, run: int) -> State:
        """Return where a run is."""
        if run in self.over:
            outcome = self.over[run]
            return State(outcome.kind, outcome.attempt)
        attempt = self.begun.get(run, 0)
        if attempt and (run, attempt) not in self.past:
            return State("running", attempt)
        return State("waiting", max((number for other, number in self.past if other == run), default=0))

    @property
    def runs(self) -> dict[int, State]:
        """Where each run is."""
        return {run.number: self.state(run.number) for run in (self.prepared.runs if self.prepared else ())}

    def take_news(self) -> list[tuple[int, int]]:
        """Return the attempts that began, or came to an end, since this was asked before."""
        news, self.news = sorted(self.news), set()
        return news

    def is_over(self, run: int, attempt: int) -> bool:
        """Say whether an attempt has come to its end."""
        return run in self.over or (run, attempt) in self.past or self.begun.get(run, 0) > attempt

    def left_nothing(self, run: int, attempt: int) -> bool:
        """Say whether an attempt was lost: nothing comes of its log but what the hub has got."""
        outcome, past = self.over.get(run), self.past.get((run, attempt))
        kind = outcome.kind if outcome and outcome.attempt == attempt else past.kind if past else ""
        return kind == "lost"
