"""The head's housekeeping: campaigns, the hub's logs, products, snapshots, deliveries."""

import logging
import os
import time
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from runner import usage
from runner.housekeeping import decisions, products, repositories
from runner.housekeeping.decisions import Removal, Stored
from runner.housekeeping.disk import all_of, folders, leftovers, measure, remove_old
from runner.housekeeping.limits import Limits
from runner.model import Value, decode
from runner.paths import CODE, LabPaths

log = logging.getLogger(__name__)


class _Needed(Value, frozen=True):
    """What has to be known of a project that a campaign's project needs."""

    commit: str = ""


class _Known(Value, frozen=True):
    """What has to be known of a campaign, of whatever version of labfleet it is."""

    user: str = "?"
    commit: str = ""
    references: tuple[_Needed, ...] = ()


class _Built(Value, frozen=True):
    """What has to be known of a campaign that is prepared."""

    key: str
    references: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def keys(self) -> set[str]:
        """The keys of all products that it needs."""
        return {self.key, *self.references.values()}


def tidy(paths: LabPaths, limits: Limits, now: float, *, checks: bool = False) -> list[str]:
    """Remove what nobody needs, and return a sentence for each removal; ``checks``: read all products once a day.

    What is under way is told by the store alone: a campaign without an end.
    """
    home = paths.home
    steps = [_tidy_campaigns, _tidy_logs, _tidy_products, _tidy_repositories, _tidy_incoming]
    half = [home / name for name in ("campaigns", "logs", "products", "git", "incoming")]
    return all_of(
        [
            *(partial(step, paths, limits, now) for step in steps),
            lambda: remove_old(leftovers(*half), now),
            lambda: products.check(paths, now) if checks else [],
        ]
    )


def why_gone(paths: LabPaths, campaign: str) -> str:
    """Return why a campaign was removed, in a sentence; empty if that was not written down."""
    lines = paths.removed.read_text(errors="replace").splitlines() if paths.removed.exists() else []
    told = [words for line in lines if (words := line.split(" ", 3))[1:2] == [campaign] and len(words) > 3]
    return f"campaign {campaign} was removed on {told[-1][0][:10]}: {told[-1][3]}" if told else ""


# ---- campaigns -------------------------------------------------------------------------------------------------


def _tidy_campaigns(paths: LabPaths, limits: Limits, now: float) -> list[str]:
    store = paths.campaigns
    size = measure(store, limits.campaign_bytes)
    found = {campaign.id: campaign for campaign in _stored(paths)}
    sized = [replace(campaign, size=size(store / name)) for name, campaign in found.items()]
    said = []
    for removal in decisions.campaigns(sized, limits, now):
        folder = store / removal.name
        with usage.held(paths.store_lock):
            if _read(folder) != found[removal.name]:  # its owner has had it resumed
                continue
            _write_down(paths, found[removal.name], removal, now)
            aside = usage.set_aside(folder)
        usage.remove(aside)
        said.append(f"campaign {removal.name} of {found[removal.name].user} is removed: {removal.why}")
    # A folder that got no campaign: nobody has been told that it was taken on.
    halves = [folder for folder in folders(store) if not paths.campaign(folder.name).campaign.exists()]
    return said + remove_old(halves, now)


def _stored(paths: LabPaths) -> list[Stored]:
    """Return all campaigns of the store, without their sizes."""
    found = (_read(folder) for folder in folders(paths.campaigns))
    return [campaign for campaign in found if campaign is not None]


def _read(folder: Path) -> Stored | None:
    """Return a campaign; None if there is none.  Whether one has ended, its marks tell, and nothing that it says."""
    store = LabPaths(folder.parent.parent).campaign(folder.name)
    if not store.campaign.exists():
        return None
    try:
        known = decode(store.campaign.read_bytes(), _Known)
    except ValueError as error:
        log.warning("campaign %s cannot be read: %s", folder.name, error)
        known = _Known()
    commits = (known.commit, *(needed.commit for needed in known.references))
    return Stored(folder.name, known.user, commits, ended=_time_of(store.end), collected=_time_of(store.collected))


def _time_of(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _write_down(paths: LabPaths, campaign: Stored, removal: Removal, now: float) -> None:
    """Say in a file for people that a campaign is removed.  Raises OSError if that would remain unsaid."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    try:
        with paths.removed.open("a") as file:
            file.write(f"{when} {campaign.id} {campaign.user} {removal.why}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        if not campaign.is_home:
            raise
        # A full disk must not keep what is at home anyway.
        log.exception("%s", paths.removed)


# ---- what campaigns need ---------------------------------------------------------------------------------------


def _tidy_logs(paths: LabPaths, _: Limits, now: float) -> list[str]:
    logs = paths.log("x", "x").parent.parent
    used = {folder.name: folder.stat().st_mtime for folder in folders(logs)}
    stored = {campaign.id: campaign for campaign in _stored(paths)}
    said = []
    for removal in decisions.logs(used, stored, now):
        usage.remove(usage.set_aside(logs / removal.name))
        said.append(f"the live logs of {removal.name} are removed: {removal.why}")
    return said


def under_way(paths: LabPaths) -> dict[str, set[str]]:
    """Return the campaigns that are under way, and the keys of each one's products; none while it is built."""
    found: dict[str, set[str]] = {}
    for campaign in _stored(paths):
        if campaign.ended is None:
            prepared = paths.campaign(campaign.id).prepared
            found[campaign.id] = decode(prepared.read_bytes(), _Built).keys if prepared.exists() else set()
    return found


def needed_products(paths: LabPaths, keys: Collection[str]) -> Collection[str]:
    """Return which of some products a campaign under way needs, or may need."""
    named = under_way(paths).values()
    # Nobody knows yet which ones a campaign will need that is being built.
    return set().union(*named) & set(keys) if all(named) else keys


def _tidy_products(paths: LabPaths, limits: Limits, now: float) -> list[str]:
    return products.tidy(paths, limits.product_bytes, now, needed=partial(needed_products, paths))


def _tidy_repositories(paths: LabPaths, limits: Limits, now: float) -> list[str]:
    named = {commit for campaign in _stored(paths) for commit in campaign.commits}
    found = [folder for folder in folders(paths.repository("x").parent) if folder != paths.repository(CODE)]
    return all_of(partial(repositories.tidy, folder, named, limits.keep_days, now) for folder in found)


def _tidy_incoming(paths: LabPaths, _: Limits, now: float) -> list[str]:
    there = {folder.name: folder.stat().st_ctime for folder in folders(paths.incoming)}
    named = under_way(paths)
    going = decisions.parcels(there, named, now, some_build=not all(named.values()))
    for removal in going:
        usage.remove(usage.set_aside(paths.incoming / removal.name))
    return [f"delivery {removal.name} is removed: {removal.why}" for removal in going]
