"""Which result stays when several campaigns of a project have done the same run: that of the later execution."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from runner import manifest
from runner.manifest import Execution
from runner.notes import Notes
from runner.paths import CAMPAIGNS, HomePaths

#: Of a file: when it was written, and its size.
_Stamp = tuple[int, int]


class LaterResults:
    """The results that came home from campaigns that were submitted later than one, whether these are over or not.

    The manifest tells them of a campaign that is over; until there is one, the client's notes do.
    """

    def __init__(self, home: HomePaths, root: Path, submitted: float, notes: Notes) -> None:
        """``home``: the campaign's own place; ``root``: the project's; ``submitted``: seconds since the epoch."""
        self._home, self._root, self._submitted, self._notes = home, root, submitted, notes
        #: What manifests tell: it takes time to read those of many campaigns.
        self._told: dict[Path, tuple[_Stamp, Mapping[str, Execution]]] = {}

    def look(self) -> dict[str, Execution]:
        """Return the last execution of each result, by its path relative to the project's root."""
        found: dict[str, Execution] = {}
        # In this order: a campaign that ends meanwhile is told of by its manifest.
        for executions in (*self._under_way(), *self._over()):
            for path, execution in executions.items():
                if path not in found or found[path].ended < execution.ended:
                    found[path] = execution
        return found

    def _under_way(self) -> Iterator[Mapping[str, Execution]]:
        for note in self._notes.all():
            if note.submitted > self._submitted and Path(note.root) == self._root:
                yield {
                    place: Execution(note.campaign, arrival.ended)
                    for arrival in self._notes.arrivals(note.campaign)
                    for place in arrival.places.values()
                }

    def _over(self) -> Iterator[Mapping[str, Execution]]:
        # Ids begin with the client's local time: that may go back by hours.
        since = time.strftime("%Y%m%d", time.localtime(self._submitted - 2 * 86400))
        for place in (self._home.results / CAMPAIGNS).glob("*/campaign.json"):
            if place.parent.name >= since:
                with suppress(FileNotFoundError):  # the person has just removed it
                    yield self._executions(place)

    def _executions(self, place: Path) -> Mapping[str, Execution]:
        written = place.stat()
        stamp = (written.st_mtime_ns, written.st_size)
        known = self._told.get(place)
        if known is None or known[0] != stamp:
            known = self._told[place] = (stamp, manifest.executions(place, self._submitted))
        return known[1]
