"""What the slots of a host share: mirrors of the projects, products, and checkouts with the products laid beside them.

Whoever needs a revision first fetches it and lays it out, the others wait for it at a lock: whatever the number of
slots, commit and products come to the host once.  Housekeeping takes what is not used; it is fetched again when needed.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runner import repository, shell, usage
from runner.head import Head
from runner.model import Campaign, Prepared, Source
from runner.paths import LabPaths, half_of, index_of, lock_of, use_of
from runner.products import Product, ProductGone, provide, store


def provide_commit(paths: LabPaths, head: Head, source: Campaign | Source) -> Path:
    """Return this host's mirror of a project, with its commit in it.

    Raises LookupError if the git server has no such commit.
    """
    mirror = paths.mirror(source.project)
    with usage.held(lock_of(mirror)):
        repository.create(mirror, durable=True)
        if not repository.has_commit(mirror, source.commit):
            repository.unlock(mirror)
            head.fetch_commit(source.project, source.commit, mirror)
        repository.note_use(mirror, source.commit)
    return mirror


@contextmanager
def in_use(paths: LabPaths, head: Head, source: Campaign | Source, key: str) -> Iterator[Path]:
    """Yield a directory with a project's files and, laid beside them, the products of its build; read-only.

    It stays for as long as the block lasts, or the process.  Raises ProductGone if the product cannot be had.
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
    if checkout.exists() and _is_of_this_boot(checkout) and _has_sound_products(paths, key, checkout):
        return checkout
    with usage.held(lock_of(checkout)):
        product = provide(paths, head, key)
        if product is None:
            raise ProductGone(key)
        if checkout.exists() and not _is_of_this_boot(checkout):
            usage.remove(usage.set_aside(checkout))
        if checkout.exists():
            _mend(paths, product, checkout)
        else:
            _lay_out(paths, head, source, product, checkout)
    return checkout


def _is_of_this_boot(checkout: Path) -> bool:
    """Say whether a checkout was made since this machine was started.

    A power failure can leave names of files whose bytes have never come to the disk, and it takes less to make the
    checkout again than to wait for the disk each time.
    """
    made = use_of(checkout)
    return made.exists() and made.read_text() == _boot()


def note_boot(checkout: Path) -> None:
    """Take note of when a checkout is made; that comes to the disk before the checkout has its name."""
    with use_of(checkout).open("w") as file:
        file.write(_boot())
        file.flush()
        os.fsync(file.fileno())


def _boot() -> str:
    """Return what names the time since the machine was started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _has_sound_products(paths: LabPaths, key: str, checkout: Path) -> bool:
    """Say whether a checkout's products are as they should be; its files are the product store's own."""
    product = store.read(paths, key)
    # What was removed from the store since is nowhere else but here, and as good as it was.
    return product is None or (store.is_beside(paths, product, checkout) and not store.damaged(paths, product))


def _mend(paths: LabPaths, product: Product, checkout: Path) -> None:
    """Put the store's files in place of damaged ones, whoever uses the checkout."""
    folders = _open_folders(checkout)
    store.lay_beside(paths, product, checkout)
    for folder in folders:
        os.chmod(folder, os.stat(folder).st_mode & ~stat.S_IWUSR)


def _open_folders(checkout: Path) -> list[str]:
    """Let files be put into a checkout's folders, and return these."""
    folders = []
    for folder, _, _ in os.walk(checkout):
        os.chmod(folder, os.stat(folder).st_mode | stat.S_IWUSR)
        folders.append(folder)
    return folders


def _lay_out(paths: LabPaths, head: Head, source: Campaign | Source, product: Product, checkout: Path) -> None:
    """Make a checkout; it appears complete."""
    mirror = provide_commit(paths, head, source)
    half = half_of(checkout)
    if half.exists():  # of a slot that died; it may be read-only already
        usage.remove(half)
    index = index_of(half)
    index.unlink(missing_ok=True)
    is_begun = _begin(checkout, half, index)
    half.mkdir(parents=True, exist_ok=True)
    repository.lay_out(mirror, source.tree, half, index, are_links=is_begun)
    for name in repository.new_files(mirror, half, index) if is_begun else ():  # products, or left there by somebody
        path = half / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    store.lay_beside(paths, product, half)
    # Those that are read-only stay untouched: a change of mode that is none is written, too.
    writable = ["find", str(half), "-perm", "/222", "!", "-type", "l"]
    shell.run([*writable, "-exec", "chmod", "a-w", "{}", "+"], dies_with_parent=True)
    note_boot(checkout)
    os.replace(index, index_of(checkout))
    os.rename(half, checkout)


def _begin(checkout: Path, half: Path, index: Path) -> bool:
    """Begin a checkout with the files of another one that has the same product, and say whether there is one.

    Most of them are in the next tree, too, and writing INET's takes half a second.  Git notices by its index what
    somebody has changed in there, and writes a file of its own for whatever differs.  All are read-only.
    """
    of_product = checkout.parent.glob(f"[!.]*-{checkout.name.rpartition('-')[2]}.index")
    others = [path.with_suffix("") for path in sorted(of_product, key=_written, reverse=True)]
    if not (_becomes_oldest(others[1:], half, index) or _links_latest(others, half, index)):
        return False
    _open_folders(half)
    return True


def _becomes_oldest(others: Iterable[Path], half: Path, index: Path) -> bool:
    """Let the checkout that has not been used for longest become the new one, and say whether one is free for that.

    Links to so many files take a quarter of a second themselves.
    """
    for other in sorted(others, key=lambda path: _written(use_of(path))):
        with usage.if_free(use_of(other), since=0) as free:
            if free and _is_whole(other):
                os.rename(index_of(other), index)
                os.rename(other, half)
                lock_of(other).unlink(missing_ok=True)
                use_of(other).unlink()
                return True
    return False


def _links_latest(others: Iterable[Path], half: Path, index: Path) -> bool:
    """Begin with links to the files of the latest checkout, and say whether there is one."""
    for latest in others:
        # Its lock is not waited for: whoever holds that may wait for the one that is held here.
        with usage.held(use_of(latest), shared=True):
            if _is_whole(latest):
                shell.run(["cp", "-al", str(latest), str(half)], dies_with_parent=True)
                shutil.copyfile(index_of(latest), index)
                return True
    return False


def _written(file: Path) -> float:
    """Return when a file was written or used last; 0 if somebody has just removed it."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_whole(checkout: Path) -> bool:
    return checkout.exists() and index_of(checkout).exists() and _is_of_this_boot(checkout)
