"""How long things are kept, and how much room they may take."""

from dataclasses import dataclass

GIGABYTE = 10**9


@dataclass(frozen=True)
class Limits:
    """Ages in days, sizes in bytes."""

    #: What is not needed any more goes after so long: campaigns that are at home, snapshots, what nobody has used.
    keep_days: int = 14
    #: A campaign that has ended and that nobody has fetched.
    uncollected_days: int = 90
    campaign_bytes: int = 500 * GIGABYTE
    product_bytes: int = 100 * GIGABYTE
    checkout_bytes: int = 200 * GIGABYTE
    build_bytes: int = 100 * GIGABYTE


def within(room: int, keep_days: int) -> Limits:
    """Return the limits of a machine that may use so many bytes: each kind of thing gets a share."""
    return Limits(
        keep_days=keep_days,
        uncollected_days=max(Limits.uncollected_days, keep_days),
        campaign_bytes=room // 2,
        product_bytes=room // 10,
        checkout_bytes=room // 5,
        build_bytes=room // 10,
    )
