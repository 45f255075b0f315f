"""Who watches a lab sees it as it is, whatever happens to the lab; the foreman is played by the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner import status
from runner.errors import LabFailed
from runner.labs import Connection
from runner.messages import AskStatus, Changed, MachineStatus, Overview, Watch
from runner.report.overview import Picture
from tests.played_lab import PlayedLab, played_lab


class Shown:
    """Remembers what it is to show, and lets a test act with each tick; it ends when the test has seen enough."""

    def __init__(self) -> None:
        self.told_of: list[Overview | Changed] = []
        self.said: list[str] = []
        self.steps: list[Callable[[Picture], bool]] = []

    def told(self, what: Overview | Changed, picture: Picture) -> None:  # noqa: ARG002  others draw it
        self.told_of.append(what)

    def tick(self, picture: Picture, said: str) -> None:
        self.said.append(said)
        while self.steps and self.steps[0](picture):
            self.steps.pop(0)
        if not self.steps:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Nothing was drawn."""


def reason(picture: Picture) -> str:
    return picture.machines["w1"].reason


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedLab]:
    """A lab of one test's own; its watchers are impatient."""
    monkeypatch.setattr(status, "QUESTION", 0.1)
    monkeypatch.setattr(status, "PAUSE", 0.1)
    with played_lab(tmp_path / "home", monkeypatch) as played:
        yield played


def watch(*steps: Callable[[Picture], bool]) -> Shown:
    """Watch until all steps are done, one after the other: each says with every tick whether it is."""
    shown = Shown()
    shown.steps = list(steps)
    connection = Connection(None)
    try:
        with pytest.raises(KeyboardInterrupt):
            status.Watcher(connection, shown).run()
    finally:
        connection.close()
    return shown


def done(action: Callable[[], object]) -> Callable[[Picture], bool]:
    """Return a step that does something, once."""

    def step(_: Picture) -> bool:
        action()
        return True

    return step


def test_what_changes_is_shown(played: PlayedLab) -> None:
    # Given a watcher; when something changes
    changed = Changed(101.0, (MachineStatus(None, "w1", 0, "away", "otherwise"),))
    shown = watch(done(lambda: played.played.change(changed)), lambda picture: reason(picture) == "otherwise")
    # Then that is shown
    assert isinstance(shown.told_of[0], Overview)
    assert shown.told_of[1:] == [changed]


def test_another_foreman_is_asked_for_everything_again(played: PlayedLab) -> None:
    # Given a watcher; when the foreman dies and another one comes, which knows no watchers
    shown = watch(done(played.played.be_exchanged), lambda picture: reason(picture) == "told by the first'")
    # Then that one is asked, and it was asked regularly
    assert [type(told) for told in shown.told_of] == [Overview, Overview]
    assert sum(isinstance(asked, Watch) for asked in played.played.asked) == 2
    assert any(isinstance(asked, AskStatus) for asked in played.played.asked)


def test_a_lab_that_is_away_is_waited_for(played: PlayedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a watcher; when the lab does not answer for longer than anybody waits, and then does again
    monkeypatch.setattr("runner.lab.PATIENCE", 0.5)
    monkeypatch.setattr(status, "unheard_line", lambda seconds: "silence" if seconds > 0.2 else "")
    said: list[str] = []

    def is_missed(_: Picture) -> bool:
        return "silence" in said

    shown = Shown()
    said = shown.said
    shown.steps = [
        done(played.played.leave),
        is_missed,
        done(played.played.come_back),
        lambda _: not said[-1],
    ]
    connection = Connection(None)
    with pytest.raises(KeyboardInterrupt):
        status.Watcher(connection, shown).run()
    connection.close()
    # Then that is shown, and the lab again
    assert "silence" in said


def test_a_lab_that_is_ended_is_watched_no_longer(played: PlayedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a watcher of a lab; when somebody ends its services
    monkeypatch.setattr(played, "was_stopped", lambda: True)
    shown = Shown()
    shown.steps = [lambda _: False]
    connection = Connection(None)
    # Then the watcher ends with that, and does not start them again
    with pytest.raises(LabFailed, match="services have ended"):
        status.Watcher(connection, shown).run()
    connection.close()


@pytest.mark.usefixtures("played")
def test_an_answer_to_another_question_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a foreman of another labfleet, which takes the question for another one, when it is asked
    connection = Connection(None)
    monkeypatch.setattr(status, "Watch", AskStatus)
    # Then that is an error that says so
    with pytest.raises(LabFailed, match="something else"):
        status.Watcher(connection, Shown())
    connection.close()
