"""How much room a disk has, and how much a machine keeps free so that nothing is ever cut short."""

import os
from pathlib import Path


def reserve(total: int) -> int:
    """Return the bytes below which no run begins on a file system of so many bytes."""
    return max(1 << 20, min(200 << 20, total // 50))


def _free_and_total(folder: Path) -> tuple[int, int]:
    info = os.statvfs(folder)
    return info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize


def shortage(folder: Path) -> str:
    """Say in a sentence that the disk of a folder is too full to begin anything; empty if it is not."""
    free, total = _free_and_total(folder)
    return f"{_sentence(folder, free)}, {size(reserve(total))} have to be" if free < reserve(total) else ""


def exhaustion(folder: Path) -> str:
    """Say in a sentence that the disk of a folder is so full that files may be cut short; empty if it is not."""
    free, total = _free_and_total(folder)
    return _sentence(folder, free) if free < reserve(total) // 4 else ""


def _sentence(folder: Path, free: int) -> str:
    return f"the disk of {folder} is full: {free} bytes ({size(free)}) are free"


def size(number: float) -> str:
    """Return a number of bytes as a person reads it: ``2.1 GB``."""
    for unit in ("bytes", "kB", "MB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
