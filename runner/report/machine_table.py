"""The machines of a lab: what each offers and how it is, as a table for people and as JSON for programs."""

import json
from typing import Any

import msgspec

from runner.messages import HostReport, Machines, MachineStatus
from runner.report.text import aligned, count, one_line

#: Digits of a revision, as git shows them.
SHORT = 7

HEADINGS = ("machine", "state", "slots", "busy", "load", "memory free", "disk free", "image", "revision", "tags")

#: Columns of numbers, which are aligned at the right.
_NUMBERS = frozenset(("slots", "busy", "load", "memory free", "disk free"))


def table(lab: Machines) -> str:
    """Return one aligned line per machine, then why some do not serve, and who runs other code than the deployed."""
    if not lab.machines:
        return "the lab has no machines"
    rows = [_row(status, lab.deployed) for status in lab.machines]
    # A local lab has neither image nor revision, and many a lab no tags.
    shown = [at for at, heading in enumerate(HEADINGS) if at == 0 or any(row[at] for row in rows)]
    lines = aligned(
        [[row[at] for at in shown] for row in (HEADINGS, *rows)], [HEADINGS[at] in _NUMBERS for at in shown]
    )
    reasons = [f"{one_line(status.name)}: {one_line(status.reason)}" for status in lab.machines if status.reason]
    return "\n".join([*lines, *reasons, *_code(lab)])


def _row(status: MachineStatus, deployed: str) -> tuple[str, ...]:
    report = status.report
    if report is None:
        return (one_line(status.name), one_line(status.state), *[""] * (len(HEADINGS) - 2))
    return (
        one_line(status.name),
        one_line(status.state),
        str(report.slots),
        str(status.busy),
        f"{report.load:.1f}",
        _part(report.memory_free, report.memory_total),
        _part(report.disk_free, report.disk_total),
        one_line(report.image.removeprefix("labfleet-worker:")),
        _revision(report, deployed),
        ", ".join([*(["desktop"] if report.desktop else []), *map(one_line, report.tags)]),
    )


def _revision(report: HostReport, deployed: str) -> str:
    """Return the code that a machine runs; a slot in the middle of a run takes the new one after it."""
    if not any(report.revisions):
        return ""
    newest, *older = report.revisions
    behind = "" if not deployed or newest == deployed else " (old)"
    also = f" (slots with {', '.join(revision[:SHORT] for revision in older)} after their runs)" if older else ""
    return f"{newest[:SHORT]}{behind}{also}"


def _part(free: int, total: int) -> str:
    return f"{size(free)} of {size(total)}" if total else ""


def size(number: int) -> str:
    """Return bytes as people say them: ``512 MB``, ``1.5 GB``, ``12 GB``, ``3.2 TB``."""
    value, unit = number / 1000**2, "MB"
    for larger in ("GB", "TB"):
        if value >= 999.5:
            value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if value < 9.95 and unit != "MB" else f"{value:.0f} {unit}"


def _code(lab: Machines) -> list[str]:
    """Return what is to be said of machines that do not run the deployed code."""
    if not lab.deployed:
        return []
    behind = [
        status.name for status in lab.machines if status.report and set(status.report.revisions) - {lab.deployed, ""}
    ]
    lines = []
    if behind:
        does = "runs" if len(behind) == 1 else "run"
        lines.append(
            f"deployed is revision {lab.deployed[:SHORT]}; {count(len(behind), 'machine')} still {does} another one: "
            f"{', '.join(map(one_line, behind))}"
        )
    if lab.revision and lab.revision != lab.deployed:
        lines.append(f"the foreman runs revision {lab.revision[:SHORT]}; deployed is {lab.deployed[:SHORT]}")
    return lines


def as_json(lab: Machines) -> str:
    """Return the machines as one line of ASCII JSON without a last newline; fields keep their names and types.

    - ``revision``, ``deployed``: of labfleet's code, that the foreman runs, and that everybody is to run
    - ``machines``: a list of one object per machine, by name:

      - ``name``; ``state``: ``ready``, ``draining``, ``unwell`` or ``away``; ``reason``: a sentence, or empty
      - ``busy``: slots that have a run, or are to get one
      - ``slots``; ``load``; ``memory_free``, ``memory_total``, ``disk_free``, ``disk_total`` in bytes; ``image``;
        ``revisions``: those that its slots run; ``tags``; ``desktop``: null where it has not told of itself
    """
    return json.dumps(
        {
            "revision": lab.revision,
            "deployed": lab.deployed,
            "machines": [as_object(status) for status in lab.machines],
        }
    )


def as_object(status: MachineStatus) -> dict[str, Any]:
    """Return one machine for :func:`as_json`."""
    return {
        "name": status.name,
        "state": status.state,
        "reason": status.reason,
        "busy": status.busy,
        **{field: msgspec.to_builtins(getattr(status.report, field)) if status.report else None for field in _REPORTED},
    }


_REPORTED = (
    *("slots", "load", "memory_free", "memory_total", "disk_free", "disk_total", "image", "revisions", "tags"),
    "desktop",
)
