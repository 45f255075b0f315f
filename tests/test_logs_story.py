"""What the lab tells of runs, as far as their logs need it."""

from runner.logs.story import Story
from runner.messages import AttemptFailed, RunProgressed, RunStarted
from runner.model import Past


def test_each_attempt_is_news_however_short_it_was() -> None:
    # Given an attempt that has begun and failed, and the next one
    story = Story()
    story.take(RunStarted("c", 0, 1, "red", "slot1", 1.0))
    story.take(AttemptFailed("c", Past(0, 1, "error", "red", "slot1", 1.0, 2.0)))
    story.take(RunStarted("c", 0, 2, "red", "slot1", 3.0))
    # When one looks, then both are news, and then neither is
    assert story.take_news() == [(0, 1), (0, 2)]
    story.take(RunProgressed("c", 0, 1.0, 50.0, None))
    assert story.take_news() == []
