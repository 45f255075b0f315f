"""Products that get lost: how often they are built, or delivered, once more before that is in vain.

A head whose disk damages what it is given would have the same thing built for ever.  Times are seconds of the
foreman's clock.
"""

from dataclasses import dataclass

#: Seconds for which nobody asks again for a product that is to be built, or delivered, once more.
REBUILD = 5.0
#: A product that was there, or was delivered, so often and got lost each time is not built again.
MOST_IN_A_ROW = 3
#: Seconds after which a loss has nothing to do with the one before.
ROW = 86400.0


@dataclass
class _Row:
    """Losses of one product, one after the other."""

    losses: int = 0
    last: float = 0.0
    #: It was asked for, and no build job has ended since: who misses it meanwhile tells nothing new.
    is_awaited: bool = False


class Rebuilds:
    """What campaigns have had built again."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, _Row]] = {}

    def take_prepared(self, campaign: str) -> None:
        """A build job of a campaign has ended well, and what it made has arrived."""
        for row in self._rows.get(campaign, {}).values():
            row.is_awaited = False

    def take_missing(self, campaign: str, key: str, now: float, *, delivered: bool) -> bool:
        """A product is not at the head as it should be; say whether it is in vain to have it built again.

        ``delivered``: it has come just now, and is not there whole all the same.
        """
        rows = self._rows.setdefault(campaign, {})
        row = rows.get(key)
        if row is None or now - row.last > ROW:
            row = rows[key] = _Row(losses=int(delivered))
        elif delivered or not row.is_awaited:
            row.losses += 1
        row.last, row.is_awaited = now, True
        return row.losses >= MOST_IN_A_ROW

    def forget(self, campaign: str) -> None:
        """A campaign has ended; should somebody resume it, it begins anew."""
        self._rows.pop(campaign, None)
