"""What goes, and why: decisions over what is there.  They know no clock and no disk."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.housekeeping.limits import GIGABYTE, Limits
from runner.paths import parsed_parcel

DAY = 86400.0

#: Seconds in which what was used is as good as in use: its user may be about to name it.
RECENT = 3600.0

#: Days after which nothing is old: it dates from a time when the clock was wrong, mostly 1970, or the clock is now.
INCREDIBLE_DAYS = 3650

#: Days after which a delivery that nobody has claimed goes.
UNCLAIMED_DAYS = 7


@dataclass(frozen=True)
class Removal:
    """Something that goes."""

    name: str
    why: str


# ---- campaigns and what comes with them ------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """A campaign in the result store; times in seconds since the epoch."""

    id: str
    user: str
    #: The snapshots of its project and of those that it needs; an empty name where nobody can tell.
    commits: tuple[str, ...] = ()
    size: int = 0
    #: None while it is under way.
    ended: float | None = None
    #: When its owner said that everything is at home.
    collected: float | None = None

    @property
    def is_home(self) -> bool:
        """Is everything at its owner's home?  A campaign that was resumed since has to be collected again."""
        return self.ended is not None and self.collected is not None and self.collected >= self.ended


def campaigns(stored: Sequence[Stored], limits: Limits, now: float) -> list[Removal]:
    """Return the campaigns that go: too old, or the oldest of those that are at home while all take too much room."""
    total = sum(campaign.size for campaign in stored)
    going = []
    for campaign in sorted(stored, key=lambda campaign: campaign.ended or 0.0):
        if why := _why(campaign, total, limits, now):
            total -= campaign.size
            going.append(Removal(campaign.id, why))
    return going


def _why(campaign: Stored, total: int, limits: Limits, now: float) -> str:
    """Return why a campaign goes; empty if it stays."""
    if campaign.ended is None:
        return ""
    age = now - campaign.ended
    if not campaign.is_home:
        # Whatever room it takes: it may be the only copy.
        return "" if age > INCREDIBLE_DAYS * DAY else _older(age, limits.uncollected_days, "and was never fetched")
    if age > limits.keep_days * DAY:
        return _older(age, limits.keep_days, "and is at its owner's home")
    if total > limits.campaign_bytes:
        return f"it is at its owner's home, and all campaigns take more than {in_gigabytes(limits.campaign_bytes)}"
    return ""


def _older(age: float, days: int, also: str) -> str:
    return f"it ended more than {days} days ago {also}" if age > days * DAY else ""


def logs(used: Mapping[str, float], stored: Mapping[str, Stored], now: float) -> list[Removal]:
    """Return the campaigns whose live logs go; ``used``: when each folder of logs got its last one."""
    going = []
    for name, last in used.items():
        campaign = stored.get(name)
        if campaign is None:
            if now - last > RECENT:
                going.append(Removal(name, "its campaign is gone"))
        elif campaign.is_home and now - (campaign.collected or now) > DAY:
            going.append(Removal(name, "its campaign is at its owner's home, logs included"))
    return going


def parcels(since: Mapping[str, float], under_way: Collection[str], now: float, *, some_build: bool) -> list[Removal]:
    """Return the deliveries that go: nobody has claimed them, and nobody will.

    ``since``: when each arrived; ``some_build``: is there a campaign that may still name a product?
    """
    old = (name for name, arrived in since.items() if now - arrived > UNCLAIMED_DAYS * DAY)
    why = f"nobody has claimed it for {UNCLAIMED_DAYS} days"
    return [Removal(name, why) for name in old if not _is_expected(name, under_way, some_build)]


def _is_expected(parcel: str, under_way: Collection[str], some_build: bool) -> bool:
    if parcel.endswith(".product"):
        return some_build
    attempt = parsed_parcel(parcel)
    return (attempt[0] if attempt else parcel.removesuffix(".build")) in under_way


# ---- what can be had again -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thing:
    """Something that is there for everybody, and can be fetched or made again."""

    name: str
    size: int
    #: When it was used last.
    used: float
    needed: bool = False
    #: What it has besides and may have in common with others, by name, and its sizes.
    parts: Mapping[str, int] = field(default_factory=dict)


def unused(things: Iterable[Thing], limit: int, now: float, days: int | None = None) -> list[Removal]:
    """Return what goes: not used for so many days, or used longest ago while all take more room than the limit."""
    found = sorted(things, key=lambda thing: thing.used)
    holders = Counter(part for thing in found for part in thing.parts)
    total = sum(thing.size for thing in found) + sum({p: s for one in found for p, s in one.parts.items()}.values())
    going = []
    for thing in found:
        age = now - thing.used
        if thing.needed or age <= RECENT:
            continue
        if days is not None and age > days * DAY:
            why = f"not used for {days} days"
        elif total > limit:
            why = f"others were used later, and all take more than {in_gigabytes(limit)}"
        else:
            continue
        holders.subtract(thing.parts.keys())
        total -= thing.size + sum(size for part, size in thing.parts.items() if not holders[part])
        going.append(Removal(thing.name, why))
    return going


def snapshots(used: Mapping[str, float], named: Collection[str], days: int, now: float) -> list[str]:
    """Return the commits that go: no campaign names them, and none has for so many days."""
    return sorted(commit for commit, last in used.items() if commit not in named and now - last > days * DAY)


def in_gigabytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / GIGABYTE:.3g} GB"
