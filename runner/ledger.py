"""What the result store knows of campaigns: which there are, what was lost, how they ended.  Written durably.

The records of runs are results.py's; together they are all that a foreman needs to go on where another one stopped.
"""

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from runner import results
from runner.messages import CampaignEnded, CampaignRefused, CampaignStatus
from runner.model import Campaign, Outcome, Past, Prepared, Value, decode, encode
from runner.paths import AttemptPaths, CampaignPaths, LabPaths

log = logging.getLogger(__name__)

T = TypeVar("T")


class End(Value, frozen=True):
    """How a campaign ended."""

    told: CampaignEnded | CampaignRefused
    #: What it came to, so that nobody has to count records.
    status: CampaignStatus


@dataclass(frozen=True)
class Kept:
    """A campaign as the store has it."""

    campaign: Campaign
    prepared: Prepared | None = None
    over: dict[int, Outcome] = field(default_factory=dict)
    past: tuple[Past, ...] = ()
    #: Why nobody wants it any more (empty where somebody asked for that); None: it is wanted.
    cancelled: str | None = None
    #: Absent while it is under way.
    end: End | None = None
    #: When it was resumed last, in seconds since the epoch.
    resumed: float = 0.0
    collected: bool = False


def accept(store: CampaignPaths, campaign: Campaign) -> bool:
    """Write down a submitted campaign; False if it is there already.  Raises FileExistsError if another one is.

    Its environment may hold private things, so only its owner may read it.
    """
    store.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    results.to_disk(store.root.parent)
    known = _read(store.campaign, Campaign)
    if known is None:
        if store.campaign.exists():
            raise FileExistsError(store.campaign)
        results.write_durably({store.campaign: encode(campaign)})
        return True
    if known != campaign:
        raise FileExistsError(store.campaign)
    return False


def note_prepared(store: CampaignPaths, prepared: Prepared) -> None:
    """Write down the runs of a campaign."""
    results.write_durably({store.prepared: encode(prepared)})


def note_lost(store: CampaignPaths, past: list[Past]) -> None:
    """Write down attempts that were lost."""
    is_new = not store.lost.exists()
    with store.lost.open("ab") as file:
        # The line before may be half a line, if the power failed: so each begins with its own end of line.
        file.write(b"".join(b"\n" + encode(one) for one in past) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        results.to_disk(store.root)


def note_cancelled(store: CampaignPaths, reason: str) -> None:
    """Write down that nobody wants a campaign's further runs."""
    results.write_durably({store.cancelled: reason.encode()})


def note_end(store: CampaignPaths, end: End) -> None:
    """Write down that nothing more will come from a campaign."""
    results.write_durably({store.end: encode(end)})


def note_collected(store: CampaignPaths) -> None:
    """Write down that everything of a campaign is at its owner's home."""
    results.write_durably({store.collected: b""})


def reopen(store: CampaignPaths) -> None:
    """Make a campaign that has ended one that is under way again: what is not done in it is not over.

    The mark of its end goes last: whatever happens in between, it can be reopened once more.
    """
    undone = [record for record in _records(store) if record.kind != "done"]
    without_files = [
        results.past_of(one)
        for one in undone
        if one.kind == "lost"  # of the others, the folder of the attempt tells
    ]
    if without_files:
        note_lost(store, without_files)
    failed = sorted(path.name for path in store.failed.iterdir()) if store.failed.is_dir() else []
    results.write_durably({store.resumed: str(time.time()).encode(), store.forgiven: "\n".join(failed).encode()})
    for record in undone:
        store.record(record.run).unlink()
    for mark in (store.cancelled, store.collected):
        mark.unlink(missing_ok=True)
    results.to_disk(*(folder for folder in (store.records, store.root) if folder.is_dir()))
    store.end.unlink(missing_ok=True)
    results.to_disk(store.root)


# ---- reading -----------------------------------------------------------------------------------------------------


def campaigns(store: LabPaths) -> Iterator[str]:
    """Yield the ids of all campaigns that the store has something of, the oldest first."""
    folder = store.campaign("x").root.parent
    if folder.is_dir():
        yield from sorted(path.name for path in folder.iterdir() if (path / "campaign.json").is_file())


def read(store: CampaignPaths) -> Kept | None:
    """Return a campaign; None if there is none, or one that this labfleet does not understand."""
    campaign = _read(store.campaign, Campaign)
    if campaign is None:
        return None
    over = {record.run: record for record in _records(store)}
    return Kept(
        campaign,
        _read(store.prepared, Prepared),
        over,
        tuple(_past(store, over)),
        store.cancelled.read_text() if store.cancelled.exists() else None,
        read_end(store),
        float(store.resumed.read_text()) if store.resumed.exists() else 0.0,
        store.collected.exists(),
    )


def read_end(store: CampaignPaths) -> End | None:
    """Return how a campaign ended; None while it is under way."""
    return _read(store.end, End)


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        value: T = decode(path.read_bytes(), kind)
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("%s is not understood: %s", path, error)
        return None
    return value


def _records(store: CampaignPaths) -> list[Outcome]:
    if not store.records.is_dir():
        return []
    found = [_read(path, Outcome) for path in store.records.iterdir() if not path.name.startswith(".")]
    return [record for record in found if record is not None]


def _past(store: CampaignPaths, over: dict[int, Outcome]) -> list[Past]:
    """Return the attempts that did not make their run over, in the order in which they ended."""
    found = {(past.run, past.number): past for past in _lost(store)}
    for folder in store.failed.iterdir() if store.failed.is_dir() else ():
        if failed := _read(AttemptPaths(folder).outcome, Outcome):
            found[failed.run, failed.attempt] = results.past_of(failed)
    last = {
        (outcome.run, outcome.attempt) for outcome in over.values()
    }  # e.g. of a machine that was given up too early
    return sorted((past for key, past in found.items() if key not in last), key=lambda past: past.ended)


def _lost(store: CampaignPaths) -> Iterator[Past]:
    if not store.lost.exists():
        return
    for line in filter(None, store.lost.read_bytes().split(b"\n")):
        try:
            yield decode(line, Past)
        except ValueError:  # the power failed in the middle of a line
            log.warning("%s has a line that is not complete", store.lost)
