"""Checksums of files that are on their way: made while these grow, so they are known as soon as the files are there."""

import hashlib
import os
from io import FileIO
from pathlib import Path

#: Bytes that are read at once.
PIECE = 1 << 18


class Arriving:
    """Reads what rsync writes into a folder.

    It adds to the end of a hidden file, and renames that when it is complete.  Files are told apart by their inodes,
    which no other file gets while they are open here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        #: By inode: the file, read as far as it went, and the checksum of that.
        self._files: dict[int, tuple[FileIO, hashlib._Hash]] = {}
        self._piece = memoryview(bytearray(PIECE))

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._files.popitem()[1][0].close()

    def read_on(self) -> None:
        """Read what has come since of files that have not got their names yet."""
        entries = list(os.scandir(self._folder))
        there = {entry.inode() for entry in entries}
        there |= {self._read(entry.path) for entry in entries if entry.name.startswith(".")}
        for inode in self._files.keys() - there:
            self._files.pop(inode)[0].close()

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file in the folder that is complete, in hex."""
        file, checksum = self._files.pop(self._read(str(path)))
        file.close()
        return checksum.hexdigest()

    def _read(self, path: str) -> int:
        """Read on in a file and return its inode; 0 if it has just got another name."""
        try:
            opened = FileIO(path)
        except FileNotFoundError:
            return 0
        inode = os.fstat(opened.fileno()).st_ino
        file, checksum = self._files.setdefault(inode, (opened, hashlib.sha256()))
        if file is not opened:
            opened.close()
        while size := file.readinto(self._piece):
            checksum.update(self._piece[:size])
        return inode
