"""Products that nobody needs go, and with them the contents that no other product has; the head's are read daily."""

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from runner import usage
from runner.housekeeping.decisions import DAY, RECENT
from runner.housekeeping.disk import Shared, nothing, remove_old, tidy_shared
from runner.messages import Products, ProductStatus
from runner.paths import LabPaths, lock_of
from runner.products import is_whole, store
from runner.products.description import Product


def tidy(
    paths: LabPaths,
    limit: int,
    now: float,
    *,
    days: int | None = None,
    needed: Callable[[Collection[str]], Collection[str]] = nothing,
) -> list[str]:
    """Remove products that are not used, and contents that no product has had for a day.

    ``needed``: which of some products are needed just now.
    """
    found = [_shared(paths, product) for product in store.products(paths)]
    said = tidy_shared(found, limit, now, days=days, needed=needed)
    said += remove_old(_not_understood(paths), now)
    with usage.if_free(lock_of(paths.products), now) as free:
        gone = remove_old(store.unnamed(paths), now) if free else []
    return said + ([f"{len(gone)} files in {paths.contents} are removed: no product has them"] if gone else [])


def _shared(paths: LabPaths, product: Product) -> Shared:
    folder = paths.product(product.key)
    return Shared(folder, lock_of(folder), paths.description(product.key), parts=product.contents)


def _not_understood(paths: LabPaths) -> Iterator[Path]:
    """Yield the folders with a description that is damaged, or of another version of labfleet."""
    known = {product.key for product in store.products(paths)}
    for description in paths.products.glob("[!.]*/product.json"):
        if description.parent.name not in known:
            yield description.parent


def check(paths: LabPaths, now: float) -> list[str]:
    """Read all contents once a day, and remove the products that are damaged: they are built again when needed."""
    stamp = paths.products_checked
    if stamp.exists() and now - stamp.stat().st_mtime < DAY:
        return []
    stamp.touch()
    os.utime(stamp, (now, now))
    keys = [product.key for product in store.products(paths)]
    return [f"product {key} is damaged, and removed" for key in keys if not is_whole(paths, key)]


# ---- what people ask -----------------------------------------------------------------------------------------------


def table(paths: LabPaths, limit: int, used_by: Mapping[str, Collection[str]]) -> Products:
    """Return the products of a store; ``used_by``: the campaigns under way that need one, by its key."""
    found = list(store.products(paths))
    holders = Counter(name for product in found for name in product.contents)
    listed = [
        ProductStatus(
            product.key,
            product.project,
            len(product.files),
            sum(product.contents.values()),
            sum(size for name, size in product.contents.items() if holders[name] == 1),
            product.built,
            usage.last_use(paths.description(product.key), paths.product(product.key)),
            tuple(sorted(used_by.get(product.key, ()))),
        )
        for product in found
    ]
    total = sum({name: size for product in found for name, size in product.contents.items()}.values())
    return Products(tuple(sorted(listed, key=lambda one: one.used)), total, limit)


def prune(paths: LabPaths, under_way: Collection[str]) -> tuple[int, int, int]:
    """Remove all products that no campaign under way needs; return how many, and the bytes freed and still held.

    ``under_way``: the keys of the campaigns' products, an empty one if some campaign is being built: it may need
    whatever was used within the last hour.  Checkouts keep the contents that they have: those are free when
    housekeeping removes them.
    """
    removed = freed = held = 0
    now = time.time()
    for one in [_shared(paths, product) for product in store.products(paths)]:
        used = usage.last_use(one.stamp, one.folder)
        if one.folder.name in under_way or ("" in under_way and now - used <= RECENT):
            continue
        with usage.if_free(one.lock, used) as free:
            if free:
                aside = usage.set_aside(one.folder)
                one.lock.unlink(missing_ok=True)
                usage.remove(aside)
                removed += 1
    with usage.held(lock_of(paths.products)):
        for content in store.unnamed(paths):
            info = content.stat()
            freed, held = (freed + info.st_size, held) if info.st_nlink == 1 else (freed, held + info.st_size)
            content.unlink()
    return removed, freed, held
