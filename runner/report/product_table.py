"""The products of a lab as a table for people and as JSON for programs."""

import json
import time

from runner.disk import size
from runner.housekeeping.limits import Limits
from runner.messages import Products, ProductStatus
from runner.report.text import aligned, count, one_line

#: Digits of a key.
SHORT = 12

HEADINGS = ("product", "project", "files", "size", "own", "built", "last used", "campaigns under way")

#: Columns of numbers, which are aligned at the right.
_NUMBERS = frozenset(("files", "size", "own"))


def text(lab: Products, *, prune: bool) -> str:
    """Return one aligned line per product, and what all of them take; ``prune``: first, what was removed."""
    rows = [HEADINGS, *map(_row, lab.products)]
    lines = aligned(rows, [heading in _NUMBERS for heading in HEADINGS]) if lab.products else ["no products"]
    removed = [_removed(lab)] if prune else []
    own = "; own: what no other product has" if lab.products else ""
    return "\n".join([*removed, *lines, f"all together {size(lab.total)}, of at most {size(lab.limit)}{own}"])


def _removed(lab: Products) -> str:
    if not lab.removed and not lab.freed and not lab.held:
        return "nothing to remove: campaigns under way need all products"
    later = (
        f"; {size(lab.held)} more are free when housekeeping, hourly, removes the checkouts that use them: "
        f"those unused for {Limits.keep_days} days, where nothing else is set, or sooner if room is short"
    )
    return f"{count(lab.removed, 'product')} removed, {size(lab.freed)} freed{later if lab.held else ''}"


def _row(product: ProductStatus) -> tuple[str, ...]:
    return (
        one_line(product.key)[:SHORT],
        one_line(product.project),
        str(product.files),
        size(product.size),
        size(product.own),
        _time(product.built),
        _time(product.used),
        ", ".join(map(one_line, product.campaigns)),
    )


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def as_json(lab: Products) -> str:
    """Return the products as one line of ASCII JSON without a last newline.

    - ``total``, ``limit``: bytes that all of them take, and may take
    - ``removed``, ``freed``, ``held``: what ``--prune`` removed: how many, their bytes, and those that checkouts on the
      same machine keep for now
    - ``products``: a list of one object per product, those first that were used longest ago:

      - ``key``, ``project``: text; ``files``: number
      - ``size``, ``own``: bytes, and those of them that no other product has
      - ``built``, ``used``: seconds since the epoch
      - ``campaigns``: ids of the campaigns under way that need it
    """
    fields = ("key", "project", "files", "size", "own", "built", "used", "campaigns")
    return json.dumps(
        {
            **{name: getattr(lab, name) for name in ("total", "limit", "removed", "freed", "held")},
            "products": [{name: getattr(product, name) for name in fields} for product in lab.products],
        }
    )
