"""Products: what a build left that runs need, without what was made on the way to it."""

import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from runner.head import Head
from runner.model import Value, decode, encode
from runner.paths import LabPaths

#: What make creates on the way; nobody needs it at run time.
INTERMEDIATE = (".o", ".obj", ".d", ".gch", "_m.cc", "_m.h")


class Product(Value, frozen=True):
    """What a build left, beside its files."""

    key: str
    toolchain: str
    #: Target of the first Makefile that has one, relative to the project's root; None without.
    target: str | None


def read(folder: Path) -> Product:
    """Return what a product's folder says of it."""
    found: Product = decode((folder / "product.json").read_bytes(), Product)
    return found


def keep(paths: LabPaths, product: Product, tree: Path, made: Iterable[str]) -> None:
    """Copy what a build made into the product store; the product appears there complete."""
    final = paths.product(product.key)
    half = final.with_name(f".{product.key[:20]}-{uuid.uuid4().hex[:8]}")
    (half / "tree").mkdir(parents=True)
    for name in made:
        if _is_product(name, product.target) and (tree / name).is_file():
            target = half / "tree" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, target, follow_symlinks=False)
    (half / "product.json").write_bytes(encode(product))
    final.parent.mkdir(exist_ok=True)
    os.rename(half, final)


def _is_product(name: str, target: str | None) -> bool:
    """Say whether a file that make created is needed at run time."""
    if os.path.normpath(name) == target:
        return True
    return not name.endswith(INTERMEDIATE) and "out" not in name.split("/")[:-1]


def deliver(paths: LabPaths, head: Head, key: str) -> str:
    """Bring a product to the head and return the parcel's name; nothing is to be done where the store is here."""
    if head.shares_store:
        return ""
    parcel = paths.outgoing / f"{key}.{uuid.uuid4().hex[:8]}.product"
    shutil.copytree(paths.product(key), parcel, symlinks=True, copy_function=os.link)
    head.deliver([parcel])
    return parcel.name
