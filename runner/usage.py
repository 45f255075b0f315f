"""Who uses a shared folder, and when it was used last: so that it can be removed when nobody does.

Locks belong to the process that holds them and go with it, however it ends.  A lock's file may be removed by whoever
holds it alone: who waited for it notices and takes the new one.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(lock: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock between processes, alone or together with others; its file remembers the time."""
    handle = _locked(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        os.utime(handle)
        yield
        os.utime(handle)
    finally:
        os.close(handle)


@contextmanager
def if_free(lock: Path, since: float) -> Iterator[bool]:
    """Hold a lock alone if nobody else has it, and say whether that is so; it does not count as a use.

    ``since``: the time of the last use, for a lock that has no file yet.
    """
    is_new = not lock.exists()
    try:
        handle = _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        if is_new:
            os.utime(handle, (since, since))
        yield True
    finally:
        os.close(handle)


def _locked(lock: Path, how: int) -> int:
    """Return the handle of a lock's file, locked.  Raises BlockingIOError if that would have to wait and may not."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, how)
            if lock.exists() and os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        except FileNotFoundError:
            pass  # removed between two looks: the next one is tried
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def note_use(path: Path) -> None:
    """Take note that something is used now: the time of a file of its tells."""
    os.utime(path)


def last_use(stamp: Path, folder: Path) -> float:
    """Return when a folder was used last: its stamp's time, or its own where there is no stamp."""
    try:
        return stamp.stat().st_mtime
    except FileNotFoundError:
        return folder.stat().st_mtime


def set_aside(folder: Path) -> Path:
    """Rename a folder so that nobody finds it any more, and return its new place; to be removed from there."""
    aside = folder.with_name(f".{folder.name[:200]}.{secrets.token_hex(4)}")
    os.rename(folder, aside)
    return aside


def remove(folder: Path) -> None:
    """Remove a folder, a read-only one too.  Its files stay as they are where others have links to them."""
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o700)
    shutil.rmtree(folder)
