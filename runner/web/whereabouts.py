"""Where the page is: written by its process, read by who wants to see it."""

import os
from pathlib import Path

from runner.model import Value, decode


class WebFile(Value, frozen=True):
    """The page's process, and its ports on the loopback interface."""

    pid: int
    page: int
    dashboard: int


def read(file: Path) -> WebFile | None:
    """Return where the page is; None if it never was anywhere."""
    try:
        found: WebFile = decode(file.read_bytes(), WebFile)
    except (OSError, ValueError):
        return None
    return found


def runs(found: WebFile) -> bool:
    """Say whether the process is there, and not another one that got its number later, or another person's."""
    process = Path(f"/proc/{found.pid}")
    try:
        is_own = process.stat().st_uid == os.getuid()
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return is_own and b"runner.services" in words and b"web" in words
