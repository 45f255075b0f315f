"""Files of the result store for a browser: those that a run's record names, and nothing that a link leads to."""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import StreamingResponse

from runner.model import Outcome
from runner.paths import AttemptPaths, CampaignPaths

#: Bytes that are read at a time.
BLOCK = 256 * 1024


def place_of(store: CampaignPaths, outcome: Outcome) -> AttemptPaths:
    """Return where what a run left lies that is over, as long as it is in the lab."""
    return AttemptPaths(store.committed(outcome.run, outcome.attempt, outcome.kind == "done"))


def opened(folder: Path, file: Path) -> BinaryIO | None:
    """Return a regular file somewhere below a folder; None if there is none, or a link is on the way."""
    *parents, last = file.relative_to(folder).parts
    if ".." in parents or last == "..":
        return None
    at_folder = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        here = os.open(folder, at_folder & ~os.O_NOFOLLOW)  # where that is, whoever runs the lab has decided
        try:
            for part in parents:
                below = os.open(part, at_folder, dir_fd=here)
                os.close(here)
                here = below
            handle = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
        finally:
            os.close(here)
    except (OSError, ValueError):  # a name that is none is no file's
        return None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    return open(handle, "rb", buffering=0)


def is_here(folder: Path, file: Path) -> bool:
    """Say whether the lab has a file that a browser may get."""
    if (found := opened(folder, file)) is None:
        return False
    found.close()
    return True


def attachment(file: BinaryIO, name: str) -> StreamingResponse:
    """Return the answer that has a browser save a file, whatever is in it; the file is closed by that."""
    size = os.fstat(file.fileno()).st_size
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='', errors='replace')}",
        "Content-Length": str(size),
    }
    return StreamingResponse(_blocks(file, size), 200, headers, "application/octet-stream")


async def _blocks(file: BinaryIO, size: int) -> AsyncGenerator[bytes, None]:
    """Yield as many bytes as the file had at first: a log may grow meanwhile."""
    with file:
        done = 0
        while done < size and (data := await asyncio.to_thread(file.read, min(BLOCK, size - done))):
            done += len(data)
            yield data
