"""Products: what builds leave that runs need, and other builds.

A product is a description, ``product.json``, and its files lie once per content, under the content's SHA-256, whatever
number of products names them: on the head and on each host.  ``store`` keeps them on one machine, ``travel`` brings
them from the builder to the head and from there to the hosts: only what is not there yet.
"""

from runner.products.description import Item, Product, is_intermediate, is_kept_apart
from runner.products.store import is_whole, keep, note_use, take, wanted
from runner.products.travel import ProductGone, deliver, provide

__all__ = [
    "Item",
    "Product",
    "ProductGone",
    "deliver",
    "is_intermediate",
    "is_kept_apart",
    "is_whole",
    "keep",
    "note_use",
    "provide",
    "take",
    "wanted",
]
