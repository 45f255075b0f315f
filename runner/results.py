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

from runner.model import Campaign, File, Outcome, Prepared, decode, encode
from runner.paths import AttemptPaths, CampaignPaths, LabPaths, build_log_parcel

log = logging.getLogger(__name__)


# ---- worker: what is sent ----------------------------------------------------------------------------------------


def sealed(attempt: AttemptPaths) -> Outcome:
    """Return an attempt's outcome with the checksums of its files, and record them beside the files."""
    outcome: Outcome = decode(attempt.outcome.read_bytes(), Outcome)
    files = tuple(msgspec.structs.replace(file, sha256=_digest(attempt.file(file.path))) for file in outcome.files)
    outcome = msgspec.structs.replace(outcome, files=files, seed_set=_seed_set(attempt, files))
    attempt.outcome.write_bytes(encode(outcome))
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
                    if line.startswith(b"attr seedset "):
                        return line.split()[2].decode(errors="replace")
    return ""


# ---- head: the commit --------------------------------------------------------------------------------------------


def commit(store: LabPaths, delivered: Sequence[Outcome]) -> list[Outcome]:
    """Make delivered attempts the results of their runs; return those that count: a run's first, if it is complete.

    Several at once cost hardly more than one: what takes time is the disk's journal, once for all files and once for
    all records.  An attempt that did not arrive complete gets no record, and its run counts as not done.
    """
    complete: list[Outcome] = []
    for outcome in delivered:
        is_first = all((other.campaign, other.run) != (outcome.campaign, outcome.run) for other in complete)
        if is_first and _is_acceptable(store.campaign(outcome.campaign), outcome):
            complete.append(outcome)
    for outcome in complete:
        incoming = _delivery(store.campaign(outcome.campaign), outcome)
        _to_disk(incoming.log, incoming.outcome, *(incoming.file(file.path) for file in outcome.files))
    places = set()
    for outcome in complete:
        campaign = store.campaign(outcome.campaign)
        place = campaign.committed(outcome.run, outcome.attempt, outcome.kind == "done")
        place.parent.mkdir(exist_ok=True)
        incoming = _delivery(campaign, outcome)
        if incoming.root != place:
            shutil.rmtree(place, ignore_errors=True)  # of a commit that was cut short before its record
            os.rename(incoming.root, place)
        places.add(place.parent)
    _to_disk(*places)
    _write_durably({store.campaign(outcome.campaign).record(outcome.run): encode(outcome) for outcome in complete})
    for outcome in delivered:  # what is still there was not accepted
        incoming_folder = store.campaign(outcome.campaign).parcel(outcome.parcel)
        shutil.rmtree(incoming_folder, ignore_errors=True)
    return complete


def give_up(store: CampaignPaths, outcome: Outcome) -> bool:
    """Record that a run is over without having left anything; False if it is over already."""
    if store.record(outcome.run).exists():
        return False
    _write_durably({store.record(outcome.run): encode(outcome)})
    return True


def _delivery(store: CampaignPaths, outcome: Outcome) -> AttemptPaths:
    """Return where an attempt's files are: in the incoming folder, or at their place if a commit was cut short."""
    incoming = store.parcel(outcome.parcel)
    place = store.committed(outcome.run, outcome.attempt, outcome.kind == "done")
    return AttemptPaths(place if place.exists() and not incoming.exists() else incoming)


def _is_acceptable(store: CampaignPaths, outcome: Outcome) -> bool:
    """Say whether a delivery is complete and the first of its run."""
    incoming = _delivery(store, outcome)
    sizes = {incoming.log: outcome.log_size} | {incoming.file(file.path): file.size for file in outcome.files}
    wrong = [path for path, size in sizes.items() if not _is_own_file(incoming.root, path, size)]
    if wrong:
        log.error("run %d of %s: %s was not delivered complete", outcome.run, outcome.campaign, wrong[0])
    return not wrong and not store.record(outcome.run).exists()


def _is_own_file(top: Path, path: Path, size: int) -> bool:
    """Say whether a regular file of that size lies below a folder, not reached through any link."""
    return path.is_file() and path.stat().st_size == size and path.resolve() == top.resolve() / path.relative_to(top)


def _to_disk(*paths: Path) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_durably(contents: Mapping[Path, bytes]) -> None:
    """Write files so that each is there complete or not at all, whenever the power fails."""
    halves = {path.with_name(f".{path.name}.new"): path for path in contents}
    for half, path in halves.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(contents[path])
    _to_disk(*halves)
    for half, path in halves.items():
        os.rename(half, path)
    _to_disk(*{path.parent for path in contents})


def take_product(store: LabPaths, key: str, parcel: str) -> None:
    """Put a delivered product into the product store; the first of a key stays.  No parcel: it is there already."""
    if not parcel:
        return
    delivered, place = store.incoming / Path(parcel).name, store.product(key)
    if place.exists():
        shutil.rmtree(delivered, ignore_errors=True)
    else:
        place.parent.mkdir(exist_ok=True)
        os.rename(delivered, place)


def take_build_log(store: LabPaths, campaign: str) -> None:
    """Put a delivered build log beside the campaign's other files; there is none when nothing had to be built."""
    parcel = store.incoming / build_log_parcel(campaign)
    if (parcel / "build.log").is_file():
        os.replace(parcel / "build.log", store.campaign(campaign).build_log)
    shutil.rmtree(parcel, ignore_errors=True)


def accept(store: CampaignPaths, campaign: Campaign) -> None:
    """Write down a submitted campaign; its environment may hold private things, so only its owner may read it."""
    store.root.mkdir(parents=True, mode=0o700)
    _write_durably({store.campaign: encode(campaign)})


def note_prepared(store: CampaignPaths, prepared: Prepared) -> None:
    """Write down the runs of a campaign."""
    _write_durably({store.prepared: encode(prepared)})


def record(store: CampaignPaths, run: int) -> Outcome | None:
    """Return the outcome of a run; None while it is not over."""
    path = store.record(run)
    if not path.exists():
        return None
    found: Outcome = decode(path.read_bytes(), Outcome)
    return found
