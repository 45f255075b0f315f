"""A lab on a terminal: as many rows as there are, of most interest first, drawn anew in their place."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import wrap

from rich.console import Console, Group, RenderableType
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
    """Rows that belong together: the first counts most."""

    first: RenderableType
    more: list[RenderableType] = field(default_factory=list)

    def __len__(self) -> int:
        return 1 + len(self.more)


def shown(picture: Picture, now: float, screen: Console, said: str = "") -> RenderableType:
    """Return the lab in rows that fit a terminal, one less than it has."""
    width, rows = screen.width, max(4, screen.height - 1)
    top: list[RenderableType] = [_row(overview.headline(picture, now), "bold")]
    if said:
        top.append(_row(one_line(said), "yellow"))
    rows -= len(top)
    campaigns = _campaigns(picture, now, width)
    machines = [_machine(picture, machine, now, width) for machine in picture.by_interest]
    wanted = sum(map(len, machines))
    # Neither crowds the other out; what one does not need, the other has.
    share = max(min(rows // 2, sum(map(len, campaigns))), rows - wanted)
    of_campaigns = _fitted(campaigns, share, "campaign")
    return Group(*top, *of_campaigns, *_fitted(machines, rows - len(of_campaigns), "machine"))


def _fitted(blocks: Sequence[_Block], rows: int, noun: str) -> list[RenderableType]:
    """Return at most so many rows: of as many blocks as there is room for the first one, then the others in order."""
    if rows <= 0 or not blocks:
        return []
    kept = blocks if len(blocks) <= rows else blocks[: rows - 1]
    left_out = len(blocks) - len(kept)
    room = rows - len(kept) - (left_out > 0)
    parts: list[RenderableType] = []
    for block in kept:
        parts.append(block.first)
        more = block.more if len(block.more) <= room else block.more[: max(0, room - 1)]
        if len(more) < len(block.more) and room:
            more = [*more, _row(f"    … and {len(block.more) - len(more)} more", "dim")]
        parts += more
        room -= len(more)
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
    words = overview.far(status, picture.left(status.id, now))
    ended = f"{one_line(status.phase)}: " if status.ended is not None and status.total else ""
    text = Text(ended + words, _STYLES.get(status.phase, "") if ended else "")
    text.highlight_regex(r"\d+ failed", "red")
    return text


def _campaign(status: CampaignStatus, far: Text, widest: int, width: int) -> _Block:
    name = Text(f"{overview.short_id(status.id)} {overview.title(status)} of {one_line(status.user)}")
    over = status.done + status.failed
    bar = "" if status.ended is not None or not status.total else ProgressBar(status.total, over)
    first = _columns(width, (name, None), (bar, 12), (far, widest))
    return _Block(first, _reason(status.waiting, width))


# ---- machines ----------------------------------------------------------------------------------------------------


def _machine(picture: Picture, machine: MachineStatus, now: float, width: int) -> _Block:
    state = Text.assemble(
        (one_line(machine.name), "bold"),
        "  ",
        (one_line(machine.state), _STYLES.get(machine.state, "")),
        f"  {overview.use(machine)}" if machine.report else "",
    )
    first = _columns(width, (state, None), (overview.weight(machine), 22))
    slots = [_slot(picture, slot, now, width) for slot in overview.slots_in_order(machine)]
    return _Block(first, [*_reason(machine.reason, width), *slots])


def _slot(picture: Picture, slot: SlotStatus, now: float, width: int) -> RenderableType:
    known = picture.campaigns.get(slot.campaign)
    name = f"  {one_line(slot.slot)}  {overview.short_id(slot.campaign)} #{slot.run}"
    if known:
        name += f" {overview.title(known[1])}"
    return _columns(
        width,
        (Text(name), None),
        ("" if slot.percent is None else ProgressBar(100, slot.percent), 6),
        (overview.progress(slot), 9),
        (rate(slot.events_per_second), 10),
        (overview.memory(slot), 6),
        (overview.age(slot, now), 12),
    )


# ---- rows --------------------------------------------------------------------------------------------------------


def _row(text: str, style: str = "") -> Text:
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
