"""What the client keeps of its own campaigns: where each belongs, and what of it has come home.

A note is there from before a campaign is submitted until everything of it is at home.  So whatever happens to the
client in between, a later one knows what to fetch, from which lab, and where to put it.  Then it is laid aside: who
resumes the campaign later knows that, too.
"""

import errno
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from runner.model import Value, decode, encode
from runner.paths import LabPaths

log = logging.getLogger(__name__)


class Note(Value, frozen=True):
    """Where a campaign of this client belongs."""

    campaign: str
    #: The lab as it was chosen; empty: the one on this machine.
    lab: str
    #: The project's root at this client.
    root: str
    #: The working directory relative to the root.
    directory: str
    name: str
    config: str
    #: Seconds since the epoch.
    submitted: float


class Arrival(Value, frozen=True):
    """A run's way home: path in the run → path at home, both relative to the project's root."""

    run: int
    attempt: int
    places: dict[str, str]
    #: False: this is where its files are about to go.
    complete: bool = True
    #: When the run was over, in seconds since the epoch.
    ended: float = 0.0


class ArrivalList:
    """The end of a campaign's list of arrivals."""

    def __init__(self, place: Path) -> None:
        self._place = place
        place.touch(mode=0o600)
        self._write(b"\n")  # ends the half line of a client that was killed while it wrote

    def append(self, arrival: Arrival) -> None:
        """Append a line, whole for whoever appends to the same list.  Raises OSError."""
        try:
            self._write(encode(arrival) + b"\n")
        except FileNotFoundError:
            pass  # another client of this campaign's has brought everything home, and forgot it

    def _write(self, line: bytes) -> None:
        handle = os.open(self._place, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            if os.write(handle, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._place))
        finally:
            os.close(handle)


class Notes:
    """The notes of one client."""

    def __init__(self, paths: LabPaths) -> None:
        self._paths = paths

    def write(self, note: Note) -> None:
        """Keep a note; it is there complete or not at all."""
        place = self._paths.note(note.campaign)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        half = place.with_name(f".{place.name}.{secrets.token_hex(4)}.new")
        half.write_bytes(encode(note))
        os.replace(half, place)

    def read(self, campaign: str) -> Note | None:
        """Return the note about a campaign, at home or not; None if there is none."""
        return _decoded(self._paths.note(campaign)) or _decoded(self._paths.note_at_home(campaign))

    def all(self) -> list[Note]:
        """Return the notes about all campaigns that are not at home, the newest campaign first."""
        return _all_in(self._paths.notes)

    def at_home(self) -> list[Note]:
        """Return the notes about all campaigns of which everything has come home, the newest campaign first."""
        return _all_in(self._paths.at_home)

    def arrivals(self, campaign: str) -> list[Arrival]:
        """Return what has come home of a campaign, or was about to; the last word about a run counts."""
        found: dict[int, Arrival] = {}
        try:
            lines = self._paths.brought(campaign).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                arrival: Arrival = decode(line, Arrival)
            except ValueError:
                continue  # of a client that was killed while it wrote: the files are looked at again
            found[arrival.run] = arrival
        return list(found.values())

    def arrival_list(self, campaign: str) -> "ArrivalList":
        """Return the end of the list of a campaign's arrivals."""
        place = self._paths.brought(campaign)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return ArrivalList(place)

    def turn(self, campaign: str) -> Path:
        """Return the lock that a client holds while it brings a campaign home."""
        return self._paths.turn(campaign)

    def placing(self, results: Path) -> Path:
        """Return the lock that a client holds while it finds out what goes into a results folder, and puts it there."""
        return self._paths.placing(results)

    def lay_aside(self, campaign: str) -> None:
        """Everything of a campaign is at home."""
        self._paths.at_home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):  # another client of this campaign's has done so
            os.replace(self._paths.note(campaign), self._paths.note_at_home(campaign))
        self._forget_arrivals(campaign)

    def forget(self, campaign: str) -> None:
        """There is no such campaign."""
        self._paths.note(campaign).unlink(missing_ok=True)
        self._paths.note_at_home(campaign).unlink(missing_ok=True)
        self._forget_arrivals(campaign)

    def _forget_arrivals(self, campaign: str) -> None:
        self._paths.brought(campaign).unlink(missing_ok=True)
        self._paths.turn(campaign).unlink(missing_ok=True)  # who waits for it takes a new one


def _all_in(folder: Path) -> list[Note]:
    found = [_decoded(path) for path in folder.glob("[!.]*.json")]
    return sorted((note for note in found if note), key=lambda note: note.submitted, reverse=True)


def _decoded(path: Path) -> Note | None:
    try:
        note: Note = decode(path.read_bytes(), Note)
    except FileNotFoundError:
        return None
    except ValueError:
        log.warning("%s is damaged", path)
        return None
    return note
