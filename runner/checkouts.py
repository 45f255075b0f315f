"""What the slots of a host share: mirrors of the projects, products, and checkouts with the products laid beside them.

Whoever needs a revision first fetches it and lays it out, the others wait for it at a lock: whatever the number of
slots, commit and products come to the host once.  Housekeeping takes what is not used; it is fetched again when needed.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runner import repository, shell, usage
from runner.head import Head
from runner.model import Campaign, Prepared, Source
from runner.paths import LabPaths, half_of, lock_of, use_of


def provide_commit(paths: LabPaths, head: Head, source: Campaign | Source) -> Path:
    """Return this host's mirror of a project, with its commit in it.

    Raises LookupError if the git server has no such commit.
    """
    mirror = paths.mirror(source.project)
    with usage.held(lock_of(mirror)):
        repository.create(mirror)
        if not repository.has_commit(mirror, source.commit):
            head.fetch_commit(source.project, source.commit, mirror)
        repository.note_use(mirror, source.commit)
    return mirror


def provide_product(paths: LabPaths, head: Head, key: str) -> Path | None:
    """Return this host's folder of a product; it stays for an hour at least.  None if the store has no such."""
    product = paths.product(key)
    with usage.held(lock_of(product)):
        described = product / "product.json"
        if not described.exists() and not head.fetch_product(key, product):
            return None
        usage.note_use(described)
    return product


@contextmanager
def in_use(paths: LabPaths, head: Head, source: Campaign | Source, key: str) -> Iterator[Path]:
    """Yield a directory with a project's files and, laid beside them, the products of its build; read-only.

    It stays for as long as the block lasts, or the process.  Raises LookupError if the product is nowhere.
    """
    with usage.held(use_of(paths.checkout(source.tree, key)), shared=True):
        yield provide_checkout(paths, head, source, key)


@contextmanager
def all_in_use(
    paths: LabPaths, head: Head, campaign: Campaign, prepared: Prepared
) -> Iterator[tuple[Path, dict[str, Path]]]:
    """Yield the checkout of a campaign's project, and place → checkout of the projects that it needs."""
    with ExitStack() as users:
        checkout = users.enter_context(in_use(paths, head, campaign, prepared.key))
        beside = {
            reference.place: users.enter_context(in_use(paths, head, reference, prepared.references[reference.place]))
            for reference in campaign.references
        }
        yield checkout, beside


def provide_checkout(paths: LabPaths, head: Head, source: Campaign | Source, key: str) -> Path:
    """Return that directory; only a user of it can rely on finding it there, see :func:`in_use`."""
    checkout = paths.checkout(source.tree, key)
    if checkout.exists():
        return checkout
    with usage.held(lock_of(checkout)):
        if not checkout.exists():
            product = provide_product(paths, head, key)
            if product is None:
                raise LookupError(f"the product store has no product {key}")
            mirror = provide_commit(paths, head, source)
            half = half_of(checkout)
            if half.exists():  # of a slot that died; it may be read-only already
                usage.remove(half)
            half.mkdir(parents=True)
            index = half.with_suffix(".index")
            index.unlink(missing_ok=True)
            repository.lay_out(mirror, source.tree, half, index)
            index.unlink(missing_ok=True)
            _lay_beside(product / "tree", half)
            shell.run(["chmod", "-R", "a-w", str(half)])
            os.rename(half, checkout)
    return checkout


def product_files(product: Path) -> Iterator[str]:
    """Yield the names of a product's files, relative to the project's root."""
    top = product / "tree"
    for folder, _, names in os.walk(top):
        yield from (os.path.relpath(os.path.join(folder, name), top) for name in names)


def product_file(product: Path, name: str) -> Path:
    """Return where this host has a file of a product."""
    return product / "tree" / name


def _lay_beside(products: Path, checkout: Path) -> None:
    """Link the products into a checkout, in place of what the commit may have under their names."""
    for folder, _, names in os.walk(products):
        target = checkout / os.path.relpath(folder, products)
        target.mkdir(exist_ok=True)
        for name in names:
            (target / name).unlink(missing_ok=True)
            os.link(os.path.join(folder, name), target / name, follow_symlinks=False)
