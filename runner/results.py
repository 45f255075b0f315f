"""The result store: where the files of finished runs are kept, and when a run counts as finished.

A run is over when its commit record is there.  The record is written last: files complete and on the disk, folder
renamed to its place, and only then the record.  The first commit of a run wins; a later attempt's files are thrown
away.  At home a file appears under its name complete and checked, or not at all.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from runner.model import OWN_FAILURES, Campaign, File, Outcome, Past, decode, encode
from runner.paths import AttemptPaths, CampaignPaths, LabPaths, build_log_parcel, parsed_parcel

log = logging.getLogger(__name__)


# ---- worker: what is sent ----------------------------------------------------------------------------------------


def sealed(attempt: AttemptPaths) -> Outcome:
    """Return an attempt's outcome with the checksums of its files, and record them beside the files.

    Raises ValueError if a file is not as the slot has left it, OSError if one cannot be read or the record not written.
    """
    outcome: Outcome = decode(attempt.outcome.read_bytes(), Outcome)
    sizes = {attempt.log: outcome.log_size} | {attempt.file(file.path): file.size for file in outcome.files}
    damaged = [path for path, size in sizes.items() if path.stat().st_size != size]
    if damaged:
        raise ValueError(f"{damaged[0]} has {damaged[0].stat().st_size} bytes instead of {sizes[damaged[0]]}")
    if outcome.files and all(file.sha256 for file in outcome.files):
        return outcome  # an earlier delivery came to nothing
    files = tuple(msgspec.structs.replace(file, sha256=_digest(attempt.file(file.path))) for file in outcome.files)
    outcome = msgspec.structs.replace(outcome, files=files, seed_set=_seed_set(attempt, files))
    half = attempt.outcome.with_suffix(".new")  # a full disk must not leave half of a record
    half.write_bytes(encode(outcome))
    os.replace(half, attempt.outcome)
    return outcome


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seed_set(attempt: AttemptPaths, files: Iterable[File]) -> str:
    """Return the seed set that the run's scalar file records; empty where there is none."""
    for file in files:
        if file.path.endswith(".sca"):
            with attempt.file(file.path).open("rb") as scalars:
                for line in scalars.read(8192).splitlines():
                    words = line.split()
                    if words[:2] == [b"attr", b"seedset"] and len(words) > 2:
                        return words[2].decode(errors="replace")
    return ""


# ---- head: the commit --------------------------------------------------------------------------------------------


def commit(store: LabPaths, delivered: Sequence[Outcome]) -> None:
    """Make delivered attempts the results of their runs, if they are complete and a run's first; see :func:`fate`.

    Several at once cost hardly more than one: what takes time is the disk's journal, once for all files and once for
    all records.  An attempt that did not arrive complete gets no record, and its run counts as not done.  A run that
    failed by itself, and may be begun again, gets none either: its files are kept with those of failed runs.
    """
    complete: dict[str, Outcome] = {}
    final: dict[tuple[str, int], Outcome] = {}
    for outcome in delivered:
        campaign, run = store.campaign(outcome.campaign), (outcome.campaign, outcome.run)
        if run in final or outcome.parcel in complete or not _is_acceptable(campaign, outcome):
            continue
        earlier = [other.attempt for other in complete.values() if (other.campaign, other.run) == run]
        if not _may_be_retried(campaign, outcome, earlier):
            final[run] = outcome
        complete[outcome.parcel] = outcome
    for outcome in complete.values():
        incoming = _delivery(store.campaign(outcome.campaign), outcome)
        to_disk(incoming.log, incoming.outcome, *(incoming.file(file.path) for file in outcome.files))
    places = set()
    for outcome in complete.values():
        campaign = store.campaign(outcome.campaign)
        place = campaign.committed(outcome.run, outcome.attempt, outcome.kind == "done")
        place.parent.mkdir(exist_ok=True)
        incoming = _delivery(campaign, outcome)
        if incoming.root != place:
            shutil.rmtree(place, ignore_errors=True)  # of a commit that was cut short before its record
            os.rename(incoming.root, place)
        places.add(place.parent)
    to_disk(*places)
    records = {store.campaign(outcome.campaign).record(outcome.run): encode(outcome) for outcome in final.values()}
    write_durably(records, replace=False)
    for outcome in delivered:  # what is still there was not accepted
        if _is_own_parcel(outcome):
            shutil.rmtree(store.campaign(outcome.campaign).parcel(outcome.parcel), ignore_errors=True)


def fate(store: LabPaths, outcome: Outcome) -> Outcome | Past | None:
    """Return what became of a delivery: its run's record, whose attempt ever it is; or the failure that is kept.

    None: it did not arrive complete, and nothing is known of the run.
    """
    campaign = store.campaign(outcome.campaign)
    if found := record(campaign, outcome.run):
        return found
    kept = AttemptPaths(campaign.committed(outcome.run, outcome.attempt, done=False))
    return past_of(decode(kept.outcome.read_bytes(), Outcome)) if kept.outcome.exists() else None


def arrived(store: LabPaths) -> list[Outcome]:
    """Return the attempts that are here complete and not committed, whether anybody told of them or not.

    They are in the incoming folder, or at their places, if a commit was cut short before the record.
    """
    parcels = [path for path in _folders(store.incoming) if parsed_parcel(path.name)]
    under_way = [path for path in _folders(store.campaigns) if not CampaignPaths(path).end.exists()]
    places = [place for path in under_way for place in _folders(path / "runs") if not _has_record(path, place.name)]
    found = []
    for folder in [*parcels, *places]:
        try:
            outcome: Outcome = decode(AttemptPaths(folder).outcome.read_bytes(), Outcome)
            right_name = {outcome.parcel, f"{outcome.run}.{outcome.attempt}"}
            complete = not _missing(AttemptPaths(folder), outcome)
            if folder.name in right_name and _is_own_parcel(outcome) and complete:
                found.append(outcome)
        except (OSError, ValueError):
            continue  # it is still on its way, or was taken just now
    return found


def _folders(parent: Path) -> list[Path]:
    return list(parent.iterdir()) if parent.is_dir() else []


def _has_record(campaign: Path, place: str) -> bool:
    run = place.partition(".")[0]
    return not run.isdecimal() or CampaignPaths(campaign).record(int(run)).exists()


def give_up(store: CampaignPaths, outcome: Outcome) -> bool:
    """Record that a run is over without having left anything; False if it is over already."""
    return write_durably({store.record(outcome.run): encode(outcome)}, replace=False, half="lost") != []


def past_of(outcome: Outcome) -> Past:
    """Return what is told of an attempt that did not make its run over."""
    return Past(
        outcome.run,
        outcome.attempt,
        outcome.kind,
        outcome.host,
        outcome.slot,
        outcome.started,
        outcome.ended,
        outcome.error,
    )


def _may_be_retried(store: CampaignPaths, outcome: Outcome, others: Iterable[int]) -> bool:
    """Say whether a run that failed by itself is to be begun again.

    What failed before is on the disk, and counts if it was after the campaign was resumed last; ``others``: its
    attempts that came together with this one.
    """
    if outcome.kind not in OWN_FAILURES or store.cancelled.exists():
        return False
    try:
        campaign: Campaign = decode(store.campaign.read_bytes(), Campaign)
    except ValueError:  # of another version of labfleet
        return False
    if not campaign.limits.retries:
        return False
    failed = {path.name for path in store.failed.glob(f"{outcome.run}.*")} | {f"{outcome.run}.{n}" for n in others}
    forgiven = store.forgiven.read_text().split() if store.forgiven.exists() else []
    return len(failed - {f"{outcome.run}.{outcome.attempt}", *forgiven}) < campaign.limits.retries


def _is_own_parcel(outcome: Outcome) -> bool:
    """Say whether the folder that is to hold an attempt's files is called after it: all others are somebody else's."""
    return parsed_parcel(outcome.parcel) == (outcome.campaign, outcome.run, outcome.attempt)


def _delivery(store: CampaignPaths, outcome: Outcome) -> AttemptPaths:
    """Return where an attempt's files are: in the incoming folder, or at their place if a commit was cut short."""
    incoming = store.parcel(outcome.parcel)
    place = store.committed(outcome.run, outcome.attempt, outcome.kind == "done")
    return AttemptPaths(place if place.exists() and not incoming.exists() else incoming)


def _is_acceptable(store: CampaignPaths, outcome: Outcome) -> bool:
    """Say whether a delivery is complete, the first of its run, and of a campaign that is under way."""
    if not store.root.is_dir() or not _is_own_parcel(outcome):
        return False  # the campaign was removed, or never was
    missing = _missing(_delivery(store, outcome), outcome)
    if missing:
        log.error("run %d of %s: %s was not delivered complete", outcome.run, outcome.campaign, missing)
    if missing or store.record(outcome.run).exists() or store.end.exists():
        return False
    # Somebody else has ended this execution: a campaign that was resumed since wants another one.
    return outcome.kind != "cancelled" or store.cancelled.exists()


def _missing(delivery: AttemptPaths, outcome: Outcome) -> Path | None:
    """Return a file that is not there as the outcome says; None if all are."""
    try:
        if decode(delivery.outcome.read_bytes(), Outcome) != outcome:
            return delivery.outcome  # that of another execution
    except (OSError, ValueError):
        return delivery.outcome
    sizes = {delivery.log: outcome.log_size} | {delivery.file(file.path): file.size for file in outcome.files}
    return next((path for path, size in sizes.items() if not _is_own_file(delivery.root, path, size)), None)


def _is_own_file(top: Path, path: Path, size: int) -> bool:
    """Say whether a regular file of that size lies below a folder, not reached through any link."""
    return path.is_file() and path.stat().st_size == size and path.resolve() == top.resolve() / path.relative_to(top)


def to_disk(*paths: Path) -> None:
    """Wait until files or folders are on the disk as they are now."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_durably(contents: Mapping[Path, bytes], *, replace: bool = True, half: str = "new") -> list[Path]:
    """Write files so that each is there complete or not at all, whenever the power fails; return those written.

    ``replace``: False lets a file stay that is there already, also one that appears meanwhile.  Threads that may write
    the same file do so under different names first: ``half`` is their end.
    """
    drafts = {path.with_name(f".{path.name}.{half}"): path for path in contents}
    for draft, path in drafts.items():
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            to_disk(path.parent.parent)
        draft.write_bytes(contents[path])
    to_disk(*drafts)
    written = [path for draft, path in drafts.items() if _put_in_place(draft, path, replace=replace)]
    to_disk(*{path.parent for path in contents})
    return written


def _put_in_place(half: Path, path: Path, *, replace: bool) -> bool:
    """Give a complete file its name; False if there is another one, which stays."""
    if replace:
        os.rename(half, path)
        return True
    try:
        os.link(half, path)
    except FileExistsError:
        return False
    finally:
        half.unlink()
    return True


def take_build_log(store: LabPaths, campaign: str) -> None:
    """Put a delivered build log beside the campaign's other files; there is none when nothing had to be built."""
    parcel = store.incoming / build_log_parcel(campaign)
    if (parcel / "build.log").is_file():
        os.replace(parcel / "build.log", store.campaign(campaign).build_log)
    shutil.rmtree(parcel, ignore_errors=True)


def record(store: CampaignPaths, run: int) -> Outcome | None:
    """Return the outcome of a run; None while it is not over."""
    path = store.record(run)
    if not path.exists():
        return None
    found: Outcome = decode(path.read_bytes(), Outcome)
    return found
