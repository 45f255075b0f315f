"""Which campaign a person means, and what can be asked of a lab about campaigns and machines."""

import difflib
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from runner import chosen_lab, config
from runner.errors import LabFailed, WrongUse
from runner.lab import ForemanClient
from runner.labs import Connection
from runner.local_lab import Start
from runner.messages import (
    AnyAnswer,
    AnyEvent,
    AnyRequest,
    AskProducts,
    CampaignEnded,
    CampaignPrepared,
    CampaignRefused,
    CampaignStatus,
    Cancel,
    Drain,
    Explain,
    Explained,
    Follow,
    Products,
    PruneProducts,
    RunCommitted,
)
from runner.notes import Note, Notes
from runner.paths import LabPaths, home

#: Seconds that a campaign gets to end when it is cancelled.
LAST_SECONDS = 10.0

#: Campaigns that a message names.
MOST_NAMED = 5


class Known(NamedTuple):
    """What is known of a campaign before it is followed."""

    id: str
    name: str
    config: str
    note: Note | None
    #: Where it stands; None if the lab does not have it.
    status: CampaignStatus | None


def resolve(text: str, ids: Collection[str]) -> str:
    """Return the id that a person means by its beginning or its end.  Raises WrongUse for none, or more than one."""
    meant = [text] if text in ids else sorted(one for one in ids if one.startswith(text) or one.endswith(text))
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise WrongUse(f"{text} may be one of {len(meant)} campaigns", f"which one?  {_named(meant)}")
    tails = {one.rpartition("-")[2]: one for one in ids}
    near = difflib.get_close_matches(text, [*ids, *tails], n=MOST_NAMED, cutoff=0.5)
    nearest = dict.fromkeys(tails.get(one, one) for one in near) or sorted(ids)[-3:]
    hint = f"did you mean {_named(list(nearest))}?\n" if nearest else ""
    raise WrongUse(f"there is no campaign {text}", f"{hint}labfleet campaigns lists all of them")


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return ", ".join(ids[-MOST_NAMED:]) + more


def newest(notes: Sequence[Note], root: Path | None) -> Note | None:
    """Return the newest of the campaigns that are not at home, those of a project first; None if all are."""
    of_project = [note for note in notes if root is not None and Path(note.root) == root]
    return max(of_project or notes, key=lambda note: note.submitted, default=None)


# ---- which one -----------------------------------------------------------------------------------------------------


@contextmanager
def found(text: str, notes: Notes) -> Iterator[tuple[Connection, Known]]:
    """Yield the way to the lab of a campaign, and the campaign that is meant by a part of its id.

    Empty: the newest of this client's that is not at home.  Raises LabfleetError.
    """
    own, former = notes.all(), notes.at_home()
    note = newest(own, project_here()) if not text else _only(_fitting(own, text) or _fitting(former, text))
    with Connection(note.lab or None if note else chosen_lab.chosen(), Start.IF_NONE_RUNS) as connection:
        client = ForemanClient(connection.context, connection.lab)
        try:
            there = {campaign.id: campaign for campaign in client.campaigns()}
        finally:
            client.close()
        if not text:
            meant = note.campaign if note else _not_at_home(there.values(), connection.lab.user)
        else:
            meant = resolve(text, {*there, *(n.campaign for n in (*own, *former) if n.lab == (connection.name or ""))})
        status, note = there.get(meant), notes.read(meant)
        if status is not None and status.user != connection.lab.user and note is None:
            raise LabFailed(f"campaign {meant} belongs to {status.user}", "only its owner can fetch its results")
        what = note or status
        assert what is not None  # noqa: S101  it is from one of both
        yield connection, Known(meant, what.name, what.config, note, status)


def _fitting(notes: Sequence[Note], text: str) -> list[Note]:
    return [note for note in notes if note.campaign.startswith(text) or note.campaign.endswith(text)]


def _only(notes: Sequence[Note]) -> Note | None:
    return notes[0] if len(notes) == 1 else None


def _not_at_home(campaigns: Collection[CampaignStatus], user: str) -> str:
    """Return the newest of a person's campaigns that is not at home.  Raises WrongUse if there is none."""
    waiting = [campaign for campaign in campaigns if campaign.user == user and not campaign.collected]
    if not campaigns:
        raise WrongUse("there is no campaign yet", "labfleet campaign starts one")
    if not waiting:
        raise WrongUse("all campaigns of yours are at home", "labfleet campaigns lists them")
    return max(waiting, key=lambda campaign: campaign.submitted).id


def project_here() -> Path | None:
    """Return the root of the project of the current folder; None if it is in none."""
    try:
        return config.root_of(Path.cwd())
    except WrongUse:
        return None


def destination(known: Known) -> Path:
    """Return the root of the project that a campaign's results belong to.  Raises WrongUse if it is not here."""
    if known.note is not None and Path(known.note.root).is_dir():
        return Path(known.note.root)
    here = project_here()
    if here is not None and here.name == known.name:
        return here
    where = f"its project {known.note.root} is gone" if known.note else "it was submitted elsewhere"
    raise WrongUse(
        f"campaign {known.id} is one of the project {known.name}, and {where}",
        f"change to the folder {known.name} that its results are to go to, and say it again",
    )


# ---- what is asked -------------------------------------------------------------------------------------------------


@contextmanager
def _asking() -> Iterator[tuple[ForemanClient, str]]:
    """Yield a client of the chosen lab's foreman, and the person's name there."""
    with Connection(chosen_lab.chosen(), Start.IF_NONE_RUNS) as connection:
        client = ForemanClient(connection.context, connection.lab)
        try:
            yield client, connection.lab.user
        finally:
            client.close()


def listed() -> tuple[CampaignStatus, ...]:
    """Return all campaigns that the lab still has something of, by the time of their submission."""
    with _asking() as (client, _):
        return client.campaigns()


def elsewhere(shown: Collection[CampaignStatus]) -> list[Note]:
    """Return the notes about this client's campaigns that are not among these: they are in other labs."""
    ids = {campaign.id for campaign in shown}
    return [note for note in Notes(LabPaths(home())).all() if note.campaign not in ids]


def cancel(text: str) -> str:
    """End a campaign's runs and return what is kept, for a person.  Raises LabfleetError.

    Empty: the only one of this person's that is under way.
    """
    with _asking() as (client, user):
        there = {campaign.id: campaign for campaign in client.campaigns()}
        meant = resolve(text, there) if text else _under_way(there.values(), user)
        if there[meant].ended is not None:
            raise WrongUse(f"campaign {meant} has ended: {there[meant].phase}", "labfleet campaigns lists all of them")
        client.ask(Cancel(meant))
        client.ask(Follow(meant))
        total, done, has_ended = _last_words(client)
        state = "is cancelled" if has_ended else f"is being cancelled, but has not ended within {LAST_SECONDS:.0f} s"
        kept = f"{done or 'none'} of {total} runs are done" if total else "it had no runs yet"
        brings = f"labfleet attach {meant}  brings home what is not; " if total else ""
        return f"campaign {meant} {state}: {kept}\n{brings}labfleet resume {meant}  goes on with it"


def _under_way(campaigns: Collection[CampaignStatus], user: str) -> str:
    """Return the only campaign of a person's that is under way.  Raises WrongUse if there is none, or more."""
    own = [campaign.id for campaign in campaigns if campaign.user == user and campaign.ended is None]
    if len(own) == 1:
        return own[0]
    if own:
        raise WrongUse(f"{len(own)} campaigns of yours are under way", f"which one?  {_named(own)}")
    raise WrongUse("no campaign of yours is under way", "labfleet campaigns lists all of them")


def _last_words(client: ForemanClient) -> tuple[int, int, bool]:
    """Return how many runs a campaign has, how many of them are done, and whether it has ended in time."""
    total, done = 0, set()
    deadline = time.monotonic() + LAST_SECONDS
    while client.socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
        match client.receive(AnyEvent | AnyAnswer):
            case CampaignPrepared(prepared=prepared):
                total = len(prepared.runs)
            case RunCommitted(outcome) if outcome.kind == "done":
                done.add(outcome.run)
            case CampaignEnded() | CampaignRefused():
                return total, len(done), True
    return total, len(done), False


def explain(text: str, run: int | None) -> str:
    """Return why a campaign, or one run of it, is where it is.  Raises LabfleetError."""
    with _asking() as (client, _):
        meant = resolve(text, [campaign.id for campaign in client.campaigns()])
        answer = client.ask(Explain(meant, run))
        if not isinstance(answer, Explained):
            raise LabFailed("the lab's foreman answered something else than an explanation")
        return answer.text


def products(*, prune: bool) -> Products:
    """Return the lab's products; ``prune``: after those were removed that nobody needs.  Raises LabfleetError."""
    request: AnyRequest = PruneProducts() if prune else AskProducts()
    with _asking() as (client, _):
        answer = client.ask(request)
        if not isinstance(answer, Products):
            raise LabFailed("the lab's foreman answered something else than its products")
        return answer


def drain(host: str, *, drained: bool) -> str:
    """Give a machine no more runs, or give it runs again, and say so.  Raises LabfleetError."""
    request: AnyRequest = Drain(host, drained)
    with _asking() as (client, _):
        names = [machine.name for machine in client.machines().machines]
        if host not in names:
            raise WrongUse(f"there is no machine {host}", f"known: {', '.join(names) or 'none'}")
        client.ask(request)
    return f"{host} gets {'no more runs' if drained else 'runs again'}"
