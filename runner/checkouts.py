"""What the slots of a host share: mirrors of the projects, products, and checkouts with the products laid beside them.

Whoever needs a revision first fetches it and lays it out, the others wait for it at a lock: whatever the number of
slots, commit and products come to the host once.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner import repository, shell
from runner.head import Head
from runner.model import Campaign
from runner.paths import LabPaths


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def provide_commit(paths: LabPaths, head: Head, campaign: Campaign) -> Path:
    """Return this host's mirror of a campaign's project, with the campaign's commit in it."""
    mirror = paths.mirror(campaign.project)
    with locked(mirror.with_suffix(".lock")):
        repository.create(mirror)
        if not repository.has_commit(mirror, campaign.commit):
            server = head.git_server(campaign.project)
            repository.fetch(mirror, server, f"refs/snapshots/{campaign.commit}", ssh=head.git_ssh)
    return mirror


def provide_product(paths: LabPaths, head: Head, key: str) -> Path | None:
    """Return this host's folder of a product; None if the product store has none of that key."""
    product = paths.product(key)
    if (product / "product.json").exists():
        return product
    with locked(product.with_name(f"{product.name}.lock")):
        if not (product / "product.json").exists() and not head.fetch_product(key, product):
            return None
    return product


def provide_checkout(paths: LabPaths, head: Head, campaign: Campaign, key: str) -> Path:
    """Return a directory with a campaign's files and, laid beside them, the products of its build; read-only.

    Raises LookupError if the product is nowhere.
    """
    checkout = paths.checkout(campaign.tree, key)
    if checkout.exists():
        return checkout
    with locked(checkout.with_suffix(".lock")):
        if not checkout.exists():
            product = provide_product(paths, head, key)
            if product is None:
                raise LookupError(f"the product store has no product {key}")
            mirror = provide_commit(paths, head, campaign)
            half = checkout.with_suffix(".new")
            if half.exists():  # of a slot that died; it may be read-only already
                shell.run(["chmod", "-R", "u+w", str(half)])
                shutil.rmtree(half)
            half.mkdir(parents=True)
            repository.lay_out(mirror, campaign.tree, half, half.with_suffix(".index"))
            _lay_beside(product / "tree", half)
            shell.run(["chmod", "-R", "a-w", str(half)])
            os.rename(half, checkout)
    return checkout


def _lay_beside(products: Path, checkout: Path) -> None:
    """Link the products into a checkout, in place of what the commit may have under their names."""
    for folder, _, names in os.walk(products):
        target = checkout / os.path.relpath(folder, products)
        target.mkdir(exist_ok=True)
        for name in names:
            (target / name).unlink(missing_ok=True)
            os.link(os.path.join(folder, name), target / name, follow_symlinks=False)
