"""The campaigns of a lab as a table for people and as JSON for programs."""

import json
import time
from collections.abc import Sequence
from typing import Any

from runner.messages import CampaignStatus
from runner.notes import Note
from runner.report.text import aligned, one_line

HEADINGS = ("campaign", "project", "config", "user", "state", "done", "failed", "since", "results")

#: Columns of numbers, which are aligned at the right.
_NUMBERS = frozenset(("done", "failed"))


def table(campaigns: Sequence[CampaignStatus], elsewhere: Sequence[Note] = ()) -> str:
    """Return one aligned line per campaign, as they were submitted.

    ``elsewhere``: campaigns of this client's in other labs.
    """
    rows = [HEADINGS, *map(_row, campaigns)]
    lines = aligned(rows, [heading in _NUMBERS for heading in HEADINGS]) if campaigns else ["no campaigns"]
    if elsewhere:
        others = ", ".join(f"{note.campaign} ({one_line(note.lab) or 'the local lab'})" for note in elsewhere)
        lines.append(f"not at home yet, and in other labs: {others}")
    return "\n".join(lines)


def _row(campaign: CampaignStatus) -> tuple[str, ...]:
    return (
        one_line(campaign.id),
        one_line(campaign.name),
        one_line(campaign.config),
        one_line(campaign.user),
        one_line(campaign.phase),
        f"{campaign.done}/{campaign.total}" if campaign.total else "",
        str(campaign.failed) if campaign.total else "",
        time.strftime("%Y-%m-%d %H:%M", time.localtime(campaign.submitted)),
        "home" if campaign.collected else "in the lab",
    )


def as_json(campaigns: Sequence[CampaignStatus]) -> str:
    """Return the campaigns as one line of ASCII JSON without a last newline; fields keep their names and types.

    A list of one object per campaign, as they were submitted:

    - ``campaign``: its id; ``project``, ``config``, ``user``: text
    - ``state``: ``building``, ``running``, ``cancelled``; of one that has ended ``done``, ``failed``, ``cancelled``,
      ``refused``
    - ``total``, ``done``, ``failed``, ``running``: numbers of runs
    - ``submitted``, ``ended``: seconds since the epoch; the latter null while it has not
    - ``results``: ``home`` or ``lab``
    """
    return json.dumps([as_object(campaign) for campaign in campaigns])


def as_object(campaign: CampaignStatus) -> dict[str, Any]:
    """Return one campaign for :func:`as_json`."""
    return {
        "campaign": campaign.id,
        "project": campaign.name,
        "config": campaign.config,
        "user": campaign.user,
        "state": campaign.phase,
        "total": campaign.total,
        "done": campaign.done,
        "failed": campaign.failed,
        "running": campaign.running,
        "submitted": campaign.submitted,
        "ended": campaign.ended,
        "results": "home" if campaign.collected else "lab",
    }
