"""Logs are read whatever happens to the connection to the foreman, which a test plays."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from runner import log_stream
from runner.lab import ForemanClient
from runner.labs import Connection
from runner.logs import reading
from runner.messages import CampaignEnded, RunCommitted, RunProgressed, RunStarted, Submit
from runner.model import Campaign
from runner.report.consoles import Printer
from tests.campaigns import campaign
from tests.conftest import eventually
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


def test_what_runs_say_of_their_progress_has_nobody_look_for_new_ones(
    played: PlayedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given somebody who follows all of many runs
    what, many = campaign("20261128-101010-abcd"), 50
    looked_for: list[str] = []

    def run_stream(run: int, attempt: int) -> str:
        looked_for.append(log_stream.run_stream(run, attempt))
        return looked_for[-1]

    monkeypatch.setattr(reading, "run_stream", run_stream)
    monkeypatch.setattr(reading, "OVERDUE", 0.2)  # there is no hub
    begun = [RunStarted(what.id, run, 1, "red", "slot1", 1.0) for run in range(many)]
    played.played.script = lambda _: [prepared(what, many), *begun]
    connection = Connection(None)
    submit(connection, what)
    reader = reading.Reading(connection, what.id, Printer(io.StringIO()), lambda _: None)
    reader.listen()
    follower = threading.Thread(target=reader.follow, args=(None,), daemon=True)
    follower.start()
    eventually(lambda: len(looked_for) >= many, "a look at all runs")
    # When they tell of their progress again and again
    for percent in range(100):
        played.played.happen(RunProgressed(what.id, percent % many, 1.0, float(percent), None))
    played.played.happen(RunStarted(what.id, 0, 2, "red", "slot1", 1.0))
    eventually(lambda: "run-0.2" in looked_for, "a look at the new attempt")
    # Then each log was looked for once
    assert sorted(looked_for) == sorted({f"run-{run}.1" for run in range(many)} | {"run-0.2"})
    played.played.happen(CampaignEnded(what.id, cancelled=True))
    follower.join(60)
    assert not follower.is_alive()
    reader.close()
    connection.close()


def submit(connection: Connection, what: Campaign) -> None:
    client = ForemanClient(connection.context, connection.lab)
    client.ask(Submit(what))
    client.close()
