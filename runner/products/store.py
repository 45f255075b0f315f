"""The products of one machine: descriptions in products/KEY/, contents in products/files/.

A content gets its name when its checksum is right, and a product its description when all its contents are there.
Both happen while the lock of all products is held, and so does the removal of contents that no product names.
"""

import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from runner import usage
from runner.model import encode
from runner.paths import LabPaths, lock_of
from runner.products.description import (
    Item,
    Product,
    digest_of,
    is_needed,
    mode_of,
    understood,
)

log = logging.getLogger(__name__)

#: The modification time of every content: one that has another was changed after it had got its name.
PLACED = 946684800  # 2000-01-01

#: Seconds for which a checksum counts that was right.
CHECKED = 86400.0


# ---- looking -----------------------------------------------------------------------------------------------------


def read(paths: LabPaths, key: str) -> Product | None:
    """Return what is said here of a product; None if there is none, or one that nobody understands."""
    try:
        return understood(paths.description(key).read_bytes(), key)
    except FileNotFoundError:
        return None


def products(paths: LabPaths) -> Iterator[Product]:
    """Yield the products that are described here."""
    for description in sorted(paths.products.glob("[!.]*/product.json")):
        if product := read(paths, description.parent.name):
            yield product


def missing(paths: LabPaths, product: Product) -> dict[str, int]:
    """Return the contents of a product that are not here in their sizes, and these."""
    return {name: size for name, size in product.contents.items() if not _has_size(paths.content(name), size)}


def damaged(paths: LabPaths, product: Product, *, thoroughly: bool = False) -> list[str]:
    """Return the contents of a product that are here and not what they should be.

    All are read once a day and after each start of the machine; in between, those that somebody has changed.
    ``thoroughly``: all are read in any case.
    """
    stamp = paths.product(product.key) / "checked"
    reads_all = thoroughly or not _is_fresh(stamp)
    found = [name for name in product.contents if _is_damaged(paths.content(name), name, reads_all)]
    if reads_all and not found and not missing(paths, product) and stamp.parent.is_dir():
        stamp.touch()
    return found


def _is_fresh(stamp: Path) -> bool:
    """Say whether everything was read within the last day, by a machine that has not been off since.

    A power failure can leave the name of a file whose bytes have never come to the disk.
    """
    now = time.time()
    started = now - time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        checked = stamp.stat().st_mtime
    except FileNotFoundError:
        return False
    return max(started, now - CHECKED) < checked <= now + 1


def _is_damaged(path: Path, name: str, reads: bool) -> bool:
    try:
        info = path.lstat()
        return (reads or info.st_mtime != PLACED) and digest(path) != digest_of(name)
    except FileNotFoundError:
        return False


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size == size


# ---- changing ----------------------------------------------------------------------------------------------------


def drop_damaged(paths: LabPaths, product: Product, *, thoroughly: bool = False) -> list[str]:
    """Remove what is damaged of a product, and return its names: it can be had again under the same ones."""
    found = damaged(paths, product, thoroughly=thoroughly)
    for name in found:
        log.warning("%s is damaged: it is removed", paths.content(name))
        paths.content(name).unlink(missing_ok=True)
    return found


def accept(paths: LabPaths, folder: Path, wanted: Mapping[str, int]) -> None:
    """Give the contents in a folder that have come, with their sizes, their places; those that are damaged go.

    ``wanted``: contents and their sizes.  The lock of all products has to be held.
    """
    paths.contents.mkdir(parents=True, exist_ok=True)
    for name, size in wanted.items():
        arrived = folder / name
        if not _has_size(arrived, size):
            continue
        if digest(arrived) == digest_of(name):
            _place(paths, arrived, name)
        else:
            log.warning("%s did not arrive as it should be", name)
            arrived.unlink()


def _place(paths: LabPaths, file: Path, name: str) -> None:
    file.chmod(mode_of(name))
    os.utime(file, (PLACED, PLACED))
    os.rename(file, paths.content(name))


def describe(paths: LabPaths, product: Product, *, checked: bool) -> bool:
    """Let a product be there, and say whether it is: all its contents have to be.

    ``checked``: all its contents have just been read.  The lock of all products has to be held.
    """
    if missing(paths, product):
        return False
    folder, half = paths.product(product.key), _half(paths, product.key)
    (half / "product.json").write_bytes(encode(product))
    if checked:
        (half / "checked").touch()
    old = usage.set_aside(folder) if folder.exists() else None
    os.rename(half, folder)
    if old:
        usage.remove(old)
    return True


def wanted(tree: Path, names: Iterable[str], target: str | None) -> list[str]:
    """Return those of the files that are new or changed in a tree that belong into a product."""
    return sorted(name for name in names if is_needed(name, target) and (tree / name).is_file())


def keep(paths: LabPaths, described: Product, tree: Path, made: Iterable[str]) -> Product:
    """Put what a build made into the store, and return the product with its files.

    ``described``: all else that is said of it; ``made``: the files, as :func:`wanted` returns them.
    """
    half = _half(paths, described.key)
    with usage.held(lock_of(paths.products)):
        items = [_keep_file(paths, tree, name, half) for name in made]
        product = msgspec.structs.replace(described, files=tuple(items))
        half.rmdir()
        describe(paths, product, checked=True)
    return product


def _half(paths: LabPaths, key: str) -> Path:
    """Make a folder in which something of a product is made that is renamed then."""
    half = paths.product(key).with_name(f".{key[:20]}-{uuid.uuid4().hex[:8]}")
    half.mkdir(parents=True)
    return half


def _keep_file(paths: LabPaths, tree: Path, name: str, half: Path) -> Item:
    """Have a file's content in the store, and return what is said of the file."""
    file = tree / name
    if file.is_symlink():
        return Item(name, link=os.readlink(file))
    info = file.stat()
    item = Item(name, info.st_size, digest(file), executable=bool(info.st_mode & 0o100))
    there = paths.content(item.content)
    # It costs less to read what is there than to have it noticed later that it is damaged.
    if not _has_size(there, item.size) or _is_damaged(there, item.content, reads=True):
        paths.contents.mkdir(exist_ok=True)
        shutil.copyfile(file, half / item.content)
        _place(paths, half / item.content, item.content)
    return item


def take(store: LabPaths, key: str, parcel: str) -> bool:
    """Put a delivered product into the head's store, and say whether it is there, all of it and undamaged.

    The parcel has the description, and the contents that the head did not have.  Everything is read before anybody
    gets it.  A product that is there already stays unless it is damaged.  Whatever comes of it, the parcel is gone.
    """
    delivered = store.incoming / Path(parcel).name
    try:
        with usage.held(lock_of(store.products)):
            if _is_whole(store, key):
                return True
            try:
                product = understood((delivered / "product.json").read_bytes(), key)
            except OSError:
                product = None
            if product is None:
                return False
            drop_damaged(store, product, thoroughly=True)
            accept(store, delivered, missing(store, product))
            return describe(store, product, checked=True)
    finally:
        if delivered.is_dir():
            usage.remove(delivered)


def is_whole(store: LabPaths, key: str) -> bool:
    """Say whether a product is there with everything, undamaged: all is read.  If not, it is no product any more."""
    with usage.held(lock_of(store.products)):
        return _is_whole(store, key)


def _is_whole(store: LabPaths, key: str) -> bool:
    product = read(store, key)
    if product is None:
        return False
    if drop_damaged(store, product, thoroughly=True) or missing(store, product):
        log.warning("product %s is not whole: it has to be built, or delivered, again", key)
        usage.remove(usage.set_aside(store.product(key)))
        return False
    return True


def note_use(paths: LabPaths, key: str) -> None:
    """Take note that a product is used now, if it is here."""
    if paths.description(key).exists():
        usage.note_use(paths.description(key))


def unnamed(paths: LabPaths) -> list[Path]:
    """Return the contents that no product names; they may go while the lock of all products is held."""
    named = {name for product in products(paths) for name in product.contents}
    there = paths.contents.iterdir() if paths.contents.is_dir() else ()
    return sorted(path for path in there if path.name not in named)


def lay_beside(paths: LabPaths, product: Product, checkout: Path) -> None:
    """Link a product into a checkout, in place of what the commit may have under its names.

    What is there already stays as it is, and what is replaced is never missing.  Raises FileNotFoundError if a content
    is not here.
    """
    for item in product.files:
        if not _is_beside(paths, item, checkout):
            target = checkout / item.path
            target.parent.mkdir(parents=True, exist_ok=True)
            new = target.with_name(f".{uuid.uuid4().hex}.new")
            if item.link is None:
                os.link(paths.content(item.content), new)
            else:
                new.symlink_to(item.link)
            os.replace(new, target)


def is_beside(paths: LabPaths, product: Product, checkout: Path) -> bool:
    """Say whether a checkout has the very files of a product that are here now."""
    return all(_is_beside(paths, item, checkout) for item in product.files)


def _is_beside(paths: LabPaths, item: Item, checkout: Path) -> bool:
    target = checkout / item.path
    if item.link is not None:
        return target.is_symlink() and os.readlink(target) == item.link
    content = paths.content(item.content)
    is_file = not target.is_symlink() and target.exists() and content.exists()
    return is_file and target.samefile(content)
