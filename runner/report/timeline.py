"""Which slot ran which run when, as rows of SVG: each attempt by itself, or how busy a slot was where they are many."""

from collections.abc import Callable, Sequence

from runner.report.figures import in_order
from runner.report.manifest import Manifest, Try
from runner.report.markup import Markup, element
from runner.report.text import count, duration

#: So many attempts are drawn each for itself.
MOST_ATTEMPTS = 1500

#: So many slots have a row; of more, each machine has one, and so many machines.
MOST_SLOTS, MOST_MACHINES = 64, 200

#: Of a row without single attempts: its pieces, and the shades that say how busy it was.
PIECES, SHADES = 240, 4

#: A row's own measures; it is stretched to the width that there is.
WIDTH, HEIGHT = 1000, 20

Row = list[tuple[int, Try]]


class Timeline:
    """The rows of a campaign's timeline."""

    def __init__(self, manifest: Manifest) -> None:
        tries = manifest.tries
        self.begin = manifest.begin
        self.seconds = max(manifest.end - self.begin, 1e-3)
        self.is_single = len(tries) <= MOST_ATTEMPTS
        slots = {(one.host, one.slot) for _, one in tries}
        self.by_machine = len(slots) > MOST_SLOTS
        #: How many slots each row stands for, by its name.
        self.slots: dict[str, int] = {}
        rows: dict[str, Row] = {}
        name: Callable[[str, str], str] = (lambda host, _: host) if self.by_machine else lambda h, s: f"{h}/{s}"
        for host, slot in slots:
            self.slots[name(host, slot)] = self.slots.get(name(host, slot), 0) + 1
        for run, one in tries:
            rows.setdefault(name(one.host, one.slot), []).append((run, one))
        ordered = sorted(rows, key=in_order)
        self.rows = {name: rows[name] for name in ordered[:MOST_MACHINES]}
        self.untold = len(ordered) - len(self.rows)

    def busy(self, name: str) -> float:
        """Return for which part of the time a row's slots were busy, between 0 and 1."""
        return sum(one.seconds for _, one in self.rows[name]) / (self.seconds * self.slots[name])

    def picture(self, name: str) -> Markup:
        """Return a row's picture."""
        row = self.rows[name]
        failed = sum(one.kind != "done" for _, one in row)
        told = f"{name}: {count(len(row), 'attempt')}, {failed} not done, busy {self.busy(name):.0%}"
        drawn = self._single(row) if self.is_single else self._shaded(row, self.slots[name])
        return element(
            "svg",
            element("title", told),
            *drawn,
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            preserveAspectRatio="none",
            role="img",
            aria_label=told,
        )

    def _x(self, time: float) -> float:
        return (time - self.begin) / self.seconds * WIDTH

    def _single(self, row: Row) -> list[Markup]:
        drawn = []
        for run, one in sorted(row, key=lambda item: item[1].started):
            is_done = one.kind == "done"
            told = f"run {run}: {one.kind}, {duration(one.seconds)}, from {duration(one.started - self.begin)}"
            # What is not done is told by its height, too, not only by its colour.
            drawn.append(
                element(
                    "rect",
                    element("title", told),
                    x=_short(self._x(one.started)),
                    y=4 if is_done else 0,
                    width=_short(max(1.0, self._x(one.ended) - self._x(one.started) - 0.5)),
                    height=HEIGHT - 8 if is_done else HEIGHT,
                    class_="done" if is_done else "failed",
                )
            )
        return drawn

    def _shaded(self, row: Row, slots: int) -> list[Markup]:
        """Return a row as pieces: the darker the busier, with a mark where something was not done."""
        busy, failed = [0.0] * PIECES, [False] * PIECES
        long = self.seconds / PIECES
        for _, one in row:
            first, last = (self._piece(time, long) for time in (one.started, one.ended))
            for piece in range(first, last + 1):
                begin = self.begin + piece * long
                busy[piece] += max(0.0, min(one.ended, begin + long) - max(one.started, begin))
            failed[last] |= one.kind != "done"
        shades = [min(SHADES, round(SHADES * part / (long * slots) + 0.3)) for part in busy]
        drawn = [
            _path([shade == wanted for shade in shades], f"done s{wanted}", 4, HEIGHT - 8)
            for wanted in range(1, SHADES + 1)
            if wanted in shades
        ]
        return [*drawn, *([_path(failed, "failed", HEIGHT - 4, 4)] if any(failed) else [])]

    def _piece(self, time: float, long: float) -> int:
        return max(0, min(PIECES - 1, int((time - self.begin) / long)))


def _path(pieces: Sequence[bool], look: str, top: int, height: int) -> Markup:
    """Return rectangles where pieces are wanted, neighbours as one."""
    steps, piece = [], 0
    while piece < len(pieces):
        end = piece
        while end < len(pieces) and pieces[end]:
            end += 1
        if end > piece:
            left, width = (_short(number * WIDTH / PIECES) for number in (piece, end - piece))
            steps.append(f"M{left} {top}h{width}v{height}h-{width}z")
        piece = max(end, piece + 1)
    return element("path", d="".join(steps), class_=look)


def _short(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
