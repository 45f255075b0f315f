"""A worker's housekeeping: checkouts, products, mirrors and the builder's working trees.  All can be had again."""

import sys
from functools import partial
from pathlib import Path

from runner import usage
from runner.housekeeping import products, repositories
from runner.housekeeping.disk import Shared, all_of, folders, leftovers, remove_old, tidy_shared
from runner.housekeeping.limits import Limits
from runner.paths import LabPaths, index_of, lock_of, use_of


def tidy(paths: LabPaths, limits: Limits, now: float, *, shares_store: bool) -> list[str]:
    """Remove what nobody uses, and return a sentence for each removal.

    ``shares_store``: products are the head's own, who knows which ones are needed.
    """
    steps = [_tidy_checkouts, _tidy_builds, _tidy_mirrors]
    half = [paths.checkout("x", "x").parent, paths.builder("x", "x").parent, paths.mirror("x").parent, paths.outgoing]
    if not shares_store:
        steps.append(_tidy_products)
        half.append(paths.product("x").parent)
    return all_of(
        [
            *(partial(step, paths, limits, now) for step in steps),
            # What could not be delivered: the builder has told the foreman, nobody tries again.
            lambda: remove_old([*leftovers(*half), *folders(paths.outgoing), *_build_logs(paths)], now),
        ]
    )


def _tidy_checkouts(paths: LabPaths, limits: Limits, now: float) -> list[str]:
    found = [
        Shared(folder, use_of(folder), use_of(folder), [lock_of(folder), index_of(folder)])
        for folder in folders(paths.checkout("x", "x").parent)
    ]
    return tidy_shared(found, limits.checkout_bytes, now, days=limits.keep_days)


def _tidy_products(paths: LabPaths, limits: Limits, now: float) -> list[str]:
    return products.tidy(paths, limits.product_bytes, now, days=limits.keep_days)


def _tidy_builds(paths: LabPaths, limits: Limits, now: float) -> list[str]:
    logs = paths.build_log("x").parent
    found = [
        Shared(folder, lock_of(folder), lock_of(folder))
        for folder in folders(paths.builder("x", "x").parent)
        if folder != logs
    ]
    return tidy_shared(found, limits.build_bytes, now, days=limits.keep_days)


def _build_logs(paths: LabPaths) -> list[Path]:
    """Return the build logs that are here: those of builds that were cut short, and of the one that goes on."""
    logs = paths.build_log("x").parent
    return list(logs.iterdir()) if logs.is_dir() else []


def _tidy_mirrors(paths: LabPaths, limits: Limits, now: float) -> list[str]:
    found = [Shared(folder, lock_of(folder), lock_of(folder)) for folder in folders(paths.mirror("x").parent)]
    said = tidy_shared(found, sys.maxsize, now, days=limits.keep_days)
    for mirror in (one for one in found if one.folder.exists()):
        with usage.if_free(mirror.lock, now) as free:
            if free:
                said += repositories.tidy(mirror.folder, (), limits.keep_days, now)
    return said
