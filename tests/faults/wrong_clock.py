"""A clock that can be set wrong, for the processes of one lab.

libfaketime 0.9.10 would be the tool; but with it Python's own sleep fails (EINVAL), and Redis's allocator recurses.
"""

import struct
from pathlib import Path

from runner import shell

SOURCE = Path(__file__).with_suffix(".c")


class WrongClock:
    """Says by how many seconds the wall clock is wrong; right at first."""

    def __init__(self, folder: Path) -> None:
        """Compile the library that does it into a folder."""
        self._library, self._file = folder / "wrong_clock.so", folder / "wrong_by"
        self.set(0)
        shell.run(["gcc", "-shared", "-fPIC", "-O", "-o", str(self._library), str(SOURCE)])

    @property
    def variables(self) -> dict[str, str]:
        """What has to be in the environment of the processes."""
        return {"LD_PRELOAD": str(self._library), "WRONG_CLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """Let the clock be wrong by so many seconds from now on."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))
