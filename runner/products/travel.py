"""How products travel: from the builder to the head, from there to each host, and only what is not there yet."""

import logging
import os
import shutil
import threading
import uuid
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from runner import usage
from runner.head import Head
from runner.model import encode
from runner.paths import LabPaths, half_of, lock_of
from runner.products import store
from runner.products.arriving import Arriving
from runner.products.description import Product, understood

log = logging.getLogger(__name__)

#: Seconds between looks at what has come.
LOOK = 0.05

#: How often a host fetches what does not arrive as it should be.
TRIES = 2


class ProductGone(LookupError):
    """There is no whole product of a key, neither here nor at the head; it can be built again."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the product store has no product {key}")
        self.key = key


def provide(paths: LabPaths, head: Head, key: str) -> Product | None:
    """Return a product whose files are all here, undamaged; it stays for an hour at least.

    What is missing or damaged is fetched from the head; None if that cannot be had.
    """
    with usage.held(lock_of(paths.product(key))):
        product = store.read(paths, key)
        if product is None or store.drop_damaged(paths, product) or store.missing(paths, product):
            product = None if head.shares_store else _fetch(paths, head, key)
        if product is not None:
            store.note_use(paths, key)
        return product


def _fetch(paths: LabPaths, head: Head, key: str) -> Product | None:
    """Fetch what the head has of a product and this host has not."""
    half = half_of(paths.product(key))
    half.mkdir(parents=True, exist_ok=True)
    with usage.held(lock_of(paths.products)):  # what two products have in common comes once
        product = _described(head, key, half)
        if product is None:
            shutil.rmtree(half)
            return None
        store.drop_damaged(paths, product, thoroughly=True)
        for _ in range(TRIES):
            if wanted := store.missing(paths, product):
                _bring(paths, head, wanted, half)
        if not store.describe(paths, product, checked=True):
            log.warning("the head has not all of product %s, or not as it should be", key)
            return None
    shutil.rmtree(half)
    return product


def _bring(paths: LabPaths, head: Head, wanted: Mapping[str, int], half: Path) -> None:
    """Fetch contents, and read them while they come.  Raises OSError."""
    names, failed = [f"files/{name}" for name in wanted], []

    def fetch() -> None:
        try:
            head.fetch(names, half)
        except OSError as error:
            failed.append(error)

    fetching = threading.Thread(target=fetch, daemon=True)
    fetching.start()
    try:
        with closing(Arriving(half)) as arriving:
            is_under_way = True
            while is_under_way:
                fetching.join(LOOK)
                is_under_way = fetching.is_alive()  # asked first: what comes while others are read is looked at, too
                arriving.read_on()
                store.accept(paths, half, wanted, arriving.digest)
    finally:
        fetching.join()  # who tries again must be the only one who writes there
    if failed:
        raise failed[0]


def _described(head: Head, key: str, half: Path) -> Product | None:
    """Ask the head what the product is."""
    if not head.fetch([f"{key}/product.json"], half):
        return None
    return understood((half / "product.json").read_bytes(), key)


def deliver(paths: LabPaths, head: Head, product: Product) -> str:
    """Bring a product to the head, as far as it is not there, and return the parcel's name; empty where it is here."""
    if head.shares_store:
        return ""
    there = head.contents()
    parcel = paths.outgoing / f"{product.key}.{uuid.uuid4().hex[:8]}.product"
    parcel.mkdir(parents=True)
    try:
        for name, size in product.contents.items():
            if there.get(name) != size:
                os.link(paths.content(name), parcel / name)
        (parcel / "product.json").write_bytes(encode(product))
        head.deliver([parcel])
    except OSError:
        shutil.rmtree(parcel, ignore_errors=True)
        raise
    return parcel.name
