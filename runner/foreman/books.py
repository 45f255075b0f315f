"""The campaigns under way, each kept the same in three places: here, in the result store, and with its followers."""

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import msgspec

from runner import ledger, products, results, usage
from runner.errors import ExitCode
from runner.job_queue import JobQueue, Unwritable
from runner.ledger import End, Kept
from runner.messages import (
    AttemptFailed,
    CampaignEnded,
    CampaignPrepared,
    CampaignRefused,
    CampaignStatus,
    CampaignTaken,
    Event,
    ProductMissing,
    RunCommitted,
)
from runner.model import Campaign, Outcome, Past, Prepared
from runner.paths import LabPaths
from runner.scheduling import state as campaign_state
from runner.scheduling.rebuilds import MOST_IN_A_ROW, Rebuilds
from runner.scheduling.state import CampaignState

log = logging.getLogger(__name__)

#: Where a campaign stands that only had to list its runs, and has, or cannot; nobody asks for it any more.
LISTED = "listed"

#: So many campaigns are remembered as just ended.
MOST_ENDED = 1000

#: Sends an event to clients, and returns those that are gone.
Send = Callable[[Iterable[bytes], Event], set[bytes]]


class UnknownCampaign(Exception):
    """The store has no campaign of that name, or one that this labfleet does not understand."""


class Books:
    """All campaigns that have not ended, and who follows them."""

    def __init__(self, paths: LabPaths, jobs: JobQueue, send: Send) -> None:
        self._paths, self._jobs, self._send = paths, jobs, send
        self.states: dict[str, CampaignState] = {}
        self._followers: dict[str, set[bytes]] = {}
        self._rebuilds = Rebuilds()
        #: How campaigns ended, the last ones, until somebody takes note of it.
        self.just_ended: deque[CampaignStatus] = deque(maxlen=MOST_ENDED)
        #: Tells this process's chunks, and this process, from others.
        self.series = secrets.token_hex(3)
        #: Has every machine had time to tell what it has?  Before that, no cancelled campaign ends.
        self.is_settled = True

    # ---- beginning ----

    def restore(self, now: float) -> None:
        """Take up the campaigns that have not ended, as the store knows them."""
        for name in ledger.campaigns(self._paths):
            if ledger.read_end(self._paths.campaign(name)) is None:
                self.take_up(name, now)

    def take_up(self, name: str, now: float) -> None:
        """Take up a campaign that is in the store."""
        kept = ledger.read(self._paths.campaign(name))
        if kept is None:
            return
        state = campaign_state.restored(
            kept.campaign, f"{self.series}-", kept.prepared, kept.over, kept.past, kept.cancelled, kept.resumed
        )
        state.build_renewed = now
        self.states[name] = state
        self.remind(state)

    def submit(self, campaign: Campaign, now: float) -> None:
        """Take on a new campaign; one that was taken on before stays as it is.

        Raises FileExistsError if there is another one of that id, OSError where it cannot be kept.
        """
        if not ledger.accept(self._paths.campaign(campaign.id), campaign):
            return
        self.states[campaign.id] = CampaignState(campaign, f"{self.series}-", build_renewed=now)
        try:
            self._jobs.keep_campaign(campaign)
            self._jobs.put_build(campaign.id)
        except Unwritable as error:  # it is taken on: a build job of which nothing is heard is queued again
            log.warning("%s cannot be queued yet: %s", campaign.id, error)

    def remind(self, state: CampaignState) -> None:
        """Make sure that Redis knows of a campaign what workers have to know."""
        self._jobs.keep_campaign(state.campaign)
        if state.prepared:
            self._jobs.keep_prepared(state.campaign.id, state.prepared)
        if state.cancelled:
            self._jobs.mark_cancelled(state.campaign.id)
        else:  # an earlier mark may have outlived a resumption
            self._jobs.unmark_cancelled(state.campaign.id)

    # ---- followers ----

    def follow(self, client: bytes, name: str) -> Iterator[Event]:
        """Return everything that has happened to a campaign; a client is told from now on what happens.

        Raises UnknownCampaign if there is none of that name.
        """
        state = self.states.get(name)
        if state is not None:
            self.add_follower(name, client)
            return _story_of(state)
        kept = ledger.read(self._paths.campaign(name))
        if kept is None:
            raise UnknownCampaign(name)
        return _story_kept(kept)

    def add_follower(self, name: str, client: bytes) -> None:
        """Tell a client from now on what happens to a campaign."""
        self._followers.setdefault(name, set()).add(client)

    def tell(self, name: str, event: Event) -> None:
        """Send an event to everybody who follows a campaign, as long as they are there."""
        if followers := self._followers.get(name):
            followers -= self._send(followers, event)

    # ---- what happens ----

    def prepared(self, state: CampaignState, event: CampaignPrepared) -> None:
        """Product and runs of a campaign are there."""
        name, prepared = state.campaign.id, event.prepared
        self._rebuilds.take_prepared(name)
        for key in prepared.keys:
            products.note_use(self._paths, key)
        results.take_build_log(self._paths, name)
        if state.prepared is not None:  # the build job was done twice
            if state.prepared.keys != prepared.keys:
                self._end_unbuildable(
                    state,
                    "building it again makes another one, as compiler, OMNeT++ or image changed; who resumes the "
                    "campaign goes on with that",
                )
            return
        ledger.note_prepared(self._paths.campaign(name), prepared)
        self._jobs.keep_prepared(name, prepared)
        campaign_state.take_prepared(state, prepared)
        self.tell(name, event)
        self.end_if_over(state)

    def outcome(self, state: CampaignState, outcome: Outcome) -> bool:
        """A run is over; False if that was known."""
        if not campaign_state.take_outcome(state, outcome):
            return False
        self.tell(state.campaign.id, RunCommitted(outcome))
        if reason := campaign_state.too_many_failures(state):
            self.cancel(state, reason)
        else:
            self.end_if_over(state)
        return True

    def failed(self, state: CampaignState, past: Past) -> bool:
        """A run has failed by itself and is begun again; False if that was known."""
        if not campaign_state.take_failed(state, past):
            return False
        self.tell(state.campaign.id, AttemptFailed(state.campaign.id, past))
        return True

    def lost(self, state: CampaignState, lost: list[Past]) -> None:
        """Attempts are lost: their runs begin again, or are given up."""
        if lost:
            ledger.note_lost(self._paths.campaign(state.campaign.id), lost)
        for past in lost:
            self.tell(state.campaign.id, AttemptFailed(state.campaign.id, past))
        for past in campaign_state.given_up(state):
            if state.campaign.id in self.states:
                self._give_up(state, past)
        self.end_if_over(state)

    def _give_up(self, state: CampaignState, last: Past) -> None:
        """End a run that was lost too often."""
        times = sum(past.run == last.run and past.kind == "lost" for past in state.past)
        outcome = Outcome(
            campaign=state.campaign.id,
            run=last.run,
            attempt=last.number,
            kind="lost",
            exit_status=-1,
            host=last.host,
            slot=last.slot,
            started=last.started,
            ended=last.ended,
            error=f"given up after it was lost {times} times: {last.error}",
        )
        if results.give_up(self._paths.campaign(state.campaign.id), outcome):
            self.outcome(state, outcome)

    def cancel(self, state: CampaignState, reason: str = "") -> None:
        """Nobody wants a campaign's further runs."""
        name = state.campaign.id
        ledger.note_cancelled(self._paths.campaign(name), reason)
        campaign_state.take_cancel(state, reason)
        self._jobs.mark_cancelled(name)
        self._jobs.forget_chunks(name)
        self.end_if_over(state)

    def missing(self, state: CampaignState, missing: ProductMissing, now: float) -> bool:
        """A product of a campaign's got lost; say whether that ends the campaign: building it again is in vain."""
        name = state.campaign.id
        if not self._rebuilds.take_missing(name, missing.key, now, delivered=missing.delivered):
            return False
        why = f"what its runs need was built {MOST_IN_A_ROW} times in a row, and was then damaged or gone at the head"
        hint = f"an administrator should look at the head's disk; labfleet resume {name} tries again"
        if state.prepared is None:
            self.refuse(state, CampaignRefused(name, int(ExitCode.LAB_FAILED), why, hint))
        else:
            self.cancel(state, f"{why}; {hint}")
        return True

    def _end_unbuildable(self, state: CampaignState, why: str) -> None:
        """End a campaign for whose runs there is no product any more, and will not be: slots would ask for it for ever.

        Its further runs are not given another program: that is only done if somebody resumes it, and written down.
        """
        if state.prepared and not state.cancelled and not self._are_here(state.prepared):
            self.cancel(state, f"the program that its runs need is gone, and {why}")

    def _are_here(self, prepared: Prepared) -> bool:
        """Say whether the products that a campaign needs are at the head."""
        return all(self._paths.product(key).exists() for key in prepared.keys)

    # ---- the end ----

    def end_if_over(self, state: CampaignState) -> None:
        """End a campaign of which nothing more will come."""
        if state.cancelled and not self.is_settled:
            return
        if state.is_over and state.campaign.id in self.states:
            for chunk in state.in_flight:  # whatever a slot has of it still, others have brought it to an end
                self._jobs.revoke(chunk)
            self._end(state, CampaignEnded(state.campaign.id, state.cancelled, state.reason, time.time()))

    def refuse(self, state: CampaignState, refused: CampaignRefused) -> None:
        """End a campaign that cannot be run; one that is prepared has been built, so it goes on if it can."""
        results.take_build_log(self._paths, state.campaign.id)
        if state.prepared is not None:
            self._end_unbuildable(state, f"it cannot be built again: {refused.message}")
            return
        self._jobs.mark_cancelled(state.campaign.id)
        self._end(state, refused)

    def _end(self, state: CampaignState, told: CampaignEnded | CampaignRefused) -> None:
        name = state.campaign.id
        status = status_of(state, told, time.time())
        ledger.note_end(self._paths.campaign(name), End(told, status))
        if status.phase == LISTED:
            ledger.note_collected(self._paths.campaign(name))
        else:
            self.just_ended.append(status)
        self._jobs.forget_chunks(name)
        self._jobs.drop_campaign(name)
        self.tell(name, told)
        del self.states[name]
        self._rebuilds.forget(name)
        self._followers.pop(name, None)

    def resume(self, name: str, now: float) -> None:
        """Take up a campaign again that has ended; what is done stays.  Raises UnknownCampaign if it was removed."""
        with usage.held(self._paths.store_lock):
            kept = ledger.read(self._paths.campaign(name))
            if kept is None:
                raise UnknownCampaign(name)
            if kept.prepared and not self._are_here(kept.prepared):
                self._paths.campaign(name).prepared.unlink()  # it is built again
            ledger.reopen(self._paths.campaign(name))
        self._jobs.unmark_cancelled(name)
        self.take_up(name, now)
        if self.states[name].prepared is None:
            self._jobs.put_build(name)

    # ---- looking ----

    def statuses(self) -> Iterator[CampaignStatus]:
        """Yield where each campaign of the store stands, the oldest first."""
        for name in ledger.campaigns(self._paths):
            if state := self.states.get(name):
                yield status_of(state)
            elif (end := ledger.read_end(self._paths.campaign(name))) and end.status.phase != LISTED:
                collected = self._paths.campaign(name).collected.exists()
                yield msgspec.structs.replace(end.status, collected=collected)


def status_of(
    state: CampaignState, told: CampaignEnded | CampaignRefused | None = None, ended: float | None = None
) -> CampaignStatus:
    """Return where a campaign stands; ``told``: how it ended, if it has."""
    return CampaignStatus(
        id=state.campaign.id,
        name=state.campaign.name,
        config=state.campaign.config,
        user=state.campaign.user,
        phase=_phase(state, told),
        total=state.total,
        done=state.kinds["done"],
        failed=state.failed,
        running=0 if told else sum(chunk.slot != "" for chunk in state.in_flight.values()),
        submitted=state.campaign.submitted,
        ended=ended,
    )


def _phase(state: CampaignState, told: CampaignEnded | CampaignRefused | None) -> str:
    if told and state.campaign.dry_run:
        return LISTED  # whoever asked has been told, also that there is no list
    if isinstance(told, CampaignRefused):
        return "refused"
    if state.cancelled:
        return "cancelled"
    if told:
        return "failed" if state.failed else "done"
    return "running" if state.prepared else "building"


# ---- what a follower is told ---------------------------------------------------------------------------------------


def _story_of(state: CampaignState) -> Iterator[Event]:
    """Yield what has happened to a campaign that is under way."""
    yield from _story(state.campaign, state.prepared, state.past, state.over.values())
    for run, begun in state.begun.items():
        yield begun
        if run in state.progress:
            yield state.progress[run]


def _story_kept(kept: Kept) -> Iterator[Event]:
    """Yield what has happened to a campaign that has ended."""
    yield from _story(kept.campaign, kept.prepared, kept.past, kept.over.values())
    if kept.end:
        yield kept.end.told


def _story(
    campaign: Campaign, prepared: Prepared | None, past: Iterable[Past], over: Iterable[Outcome]
) -> Iterator[Event]:
    yield CampaignTaken(campaign.id, campaign)
    if prepared:
        yield CampaignPrepared(campaign.id, prepared)
    for one in past:
        yield AttemptFailed(campaign.id, one)
    for outcome in over:
        yield RunCommitted(outcome)
