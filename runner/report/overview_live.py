"""A lab on a terminal: as many rows as there are, of most interest first, drawn anew in their place."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import wrap

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runner.messages import CampaignStatus, MachineStatus, SlotStatus
from runner.report import overview
from runner.report.overview import Picture
from runner.report.text import count, one_line, rate

#: Rows of a reason why something waits, or is out of use.
MOST_REASONS = 2

#: How states are coloured; the words say them, too.
_STYLES = {"unwell": "red", "away": "red", "draining": "yellow", "failed": "red", "refused": "red", "done": "green"}


class LiveOverview:
    """Keeps a lab on a terminal until it is closed; what was drawn last stays there."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        # No thread of rich's, and the process's streams stay what they are.
        self._live = Live(console=screen, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._is_drawn = False

    def draw(self, picture: Picture, now: float, said: str = "") -> None:
        """Draw the lab anew; ``said``: that nothing is heard of it, if that is so."""
        if not self._is_drawn:
            self._is_drawn = True
            self._live.start()
        self._live.update(shown(picture, now, self._screen, said), refresh=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._is_drawn:
            self._live.stop()


@dataclass
class _Block:
    """Rows that belong together: the first counts most, then the reasons."""

    first: RenderableType
    reasons: list[RenderableType]
    slots: list[RenderableType] = field(default_factory=list)

    def __len__(self) -> int:
        return 1 + len(self.reasons) + len(self.slots)

    def rows(self, room: int) -> list[RenderableType]:
        """Return the first row and at most so many others; slots that are left out are counted."""
        others = [*self.reasons, *self.slots]
        if room < len(others):
            counts = room > len(self.reasons)
            others = others[: room - counts]
            if counts:
                others.append(_row(f"    … and {len(self) - 1 - len(others)} more", "dim"))
        return [self.first, *others]


def shown(picture: Picture, now: float, screen: Console, said: str = "") -> RenderableType:
    """Return the lab in rows that fit a terminal, and leave two: how it ended, and the prompt after that."""
    # The terminal shows ^C behind the last row, which must not break for that.
    width, rows = screen.width - len("^C"), max(3, screen.height - 2)
    top = [_row(line, "bold") for line in wrap(overview.headline(picture, now), width)[:MOST_REASONS]]
    if said:
        top.append(_row(one_line(said), "yellow"))
    rows -= len(top)
    campaigns = _campaigns(picture, now, width)
    machines = _machines(picture, now, width)
    wanted = sum(map(len, machines))
    # Neither crowds the other out; what one does not need, the other has.
    share = max(min(rows // 2, sum(map(len, campaigns))), rows - wanted)
    of_campaigns = _fitted(campaigns, share, "campaign")
    return Constrain(Group(*top, *of_campaigns, *_fitted(machines, rows - len(of_campaigns), "machine")), width)


def _fitted(blocks: Sequence[_Block], rows: int, noun: str) -> list[RenderableType]:
    """Return at most so many rows: the first one of as many blocks as there is room for, and what else fits."""
    if rows <= 0 or not blocks:
        return []
    kept = blocks if len(blocks) <= rows else blocks[: rows - 1]
    left_out = len(blocks) - len(kept)
    room = rows - len(kept) - (left_out > 0)
    # What one does not need, the others have.
    rooms, hungriest_last = {}, sorted(range(len(kept)), key=lambda at: len(kept[at]))
    for done, at in enumerate(hungriest_last):
        rooms[at] = min(len(kept[at]) - 1, room // (len(kept) - done))
        room -= rooms[at]
    parts = [row for at, block in enumerate(kept) for row in block.rows(rooms[at])]
    if left_out:
        parts.append(_row(f"… and {count(left_out, f'more {noun}')}", "dim"))
    return parts


# ---- campaigns ---------------------------------------------------------------------------------------------------


def _campaigns(picture: Picture, now: float, width: int) -> list[_Block]:
    statuses = [*picture.under_way, *picture.ended]
    fars = {status.id: _far(picture, status, now) for status in statuses}
    widest = max((far.cell_len for far in fars.values()), default=0)
    return [_campaign(status, fars[status.id], min(widest, width // 2), width) for status in statuses]


def _far(picture: Picture, status: CampaignStatus, now: float) -> Text:
    style = "" if status.ended is None else _STYLES.get(status.phase, "")
    text = Text(overview.far(status, picture.left(status.id, now)), style)
    text.highlight_regex(r"\d+ failed", "red")
    return text


def _campaign(status: CampaignStatus, far: Text, widest: int, width: int) -> _Block:
    name = Text(f"{overview.short_id(status.id)} {overview.title(status)} of {one_line(status.user)}")
    over = status.done + status.failed
    bar = "" if status.ended is not None or not status.total else ProgressBar(status.total, over)
    first = _columns(width, (name, None), (bar, 12), (far, widest))
    return _Block(first, _reason(status.waiting, width))


# ---- machines ----------------------------------------------------------------------------------------------------


def _machines(picture: Picture, now: float, width: int) -> list[_Block]:
    machines = picture.by_interest
    cells = {(machine.name, slot.slot): _cells(slot, now) for machine in machines for slot in machine.slots}
    widths = [max(map(len, column)) for column in zip(*cells.values(), strict=True)]
    blocks = []
    for machine in machines:
        slots = [
            _slot(picture, slot, list(zip(cells[machine.name, slot.slot], widths, strict=True)), width)
            for slot in overview.slots_in_order(machine)
        ]
        blocks.append(_Block(_machine(machine, width), _reason(machine.reason, width), slots))
    return blocks


def _machine(machine: MachineStatus, width: int) -> RenderableType:
    state = Text.assemble(
        (one_line(machine.name), "bold"),
        "  ",
        (one_line(machine.state), _STYLES.get(machine.state, "")),
        f"  {overview.use(machine)}" if machine.report else "",
    )
    return _columns(width, (state, None), (overview.weight(machine), 22))


def _cells(slot: SlotStatus, now: float) -> tuple[str, ...]:
    return overview.progress(slot), rate(slot.events_per_second), overview.memory(slot), overview.age(slot, now)


def _slot(picture: Picture, slot: SlotStatus, cells: list[tuple[str, int]], width: int) -> RenderableType:
    known = picture.campaigns.get(slot.campaign)
    name = f"  {one_line(slot.slot)}  {overview.short_id(slot.campaign)} #{slot.run}"
    if known:
        name += f" {overview.title(known[1])}"
    bar = "" if slot.percent is None else ProgressBar(100, slot.percent)
    return _columns(width, (Text(name), None), (bar, 6), *cells)


# ---- rows --------------------------------------------------------------------------------------------------------


def _row(text: str, style: str = "") -> RenderableType:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _reason(text: str, width: int) -> list[RenderableType]:
    """Return why something waits, in few rows."""
    lines = wrap(one_line(text), max(20, width - 4))
    if len(lines) > MOST_REASONS:
        lines = [*lines[: MOST_REASONS - 1], " ".join(lines[MOST_REASONS - 1 :])]
    return [_row(f"    {line}", "yellow") for line in lines]


def _columns(width: int, *cells: tuple[RenderableType, int | None]) -> Table:
    """Return one row; the column without a width gets what the others, which are aligned at the right, leave."""
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    table.width = width
    for _, wide in cells:
        if wide is None:
            table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        else:
            table.add_column(no_wrap=True, overflow="ellipsis", justify="right", width=wide)
    table.add_row(*(cell for cell, _ in cells))
    return table
