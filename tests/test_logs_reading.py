"""Logs are read whatever happens to the connection to the foreman, which a test plays."""

import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from runner.lab import ForemanClient
from runner.labs import Connection
from runner.logs import reading
from runner.messages import CampaignEnded, RunCommitted, Submit
from runner.model import Campaign
from runner.report.consoles import Printer
from tests.campaigns import campaign
from tests.played_lab import PlayedLab, played_lab, prepared


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedLab]:
    """A lab of one test's own; its readers are impatient."""
    monkeypatch.setattr(reading, "SILENCE", 0.2)
    with played_lab(tmp_path / "home", monkeypatch) as played:
        yield played


@pytest.mark.parametrize("how", ["done", "ended"])
def test_a_foreman_that_has_forgotten_who_follows_is_asked_again(played: PlayedLab, how: str) -> None:
    # Given somebody who follows a run that has not begun
    what = campaign("20261128-101010-abcd")
    played.played.script = lambda _: [prepared(what, 2)]
    connection = Connection(None)
    submit(connection, what)
    reader = reading.Reading(connection, what.id, Printer(io.StringIO()), lambda _: None)
    reader.listen()
    # When the foreman forgets about that, and the run is given up, or the campaign ends
    played.played.forget_followers()
    if how == "done":
        outcome = msgspec.structs.replace(played.committed(what, 1, kind="lost").outcome, attempt=0)
        played.played.happen(RunCommitted(outcome))
    else:
        played.played.happen(CampaignEnded(what.id, cancelled=True))
    # Then that is heard all the same, over the same connection
    reader.follow([(1, None)])
    reader.close()
    connection.close()


def submit(connection: Connection, what: Campaign) -> None:
    client = ForemanClient(connection.context, connection.lab)
    client.ask(Submit(what))
    client.close()
