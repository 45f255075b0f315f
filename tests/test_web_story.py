"""What the web page's process knows of a campaign, and when it tells browsers of it."""

import asyncio
import gc
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from runner import ledger
from runner.lab import ForemanClient
from runner.messages import CampaignEnded, CampaignStatus, CampaignTaken, RunProgressed, RunStarted
from runner.web import stories
from runner.web.mirror import Mirror
from runner.web.sse import Glance
from runner.web.stories import Stories
from runner.web.story import Part, Story
from tests.campaigns import campaign as made_campaign
from tests.played_lab import PlayedLab, prepared


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PlayedLab]:
    with tempfile.TemporaryDirectory(prefix="lf-") as folder:
        lab = PlayedLab(Path(folder), tmp_path)
        yield lab
        lab.played.close()


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    gc.collect()
    context.destroy(linger=0)


@pytest.mark.parametrize("is_known", [True, False])
def test_browsers_are_told_nothing_when_there_is_nothing_to_tell(*, is_known: bool) -> None:
    # Given a browser that was told all of a campaign, or that knows nothing of it yet
    campaign = made_campaign("c")

    async def look() -> None:
        story, glance = Story(), Glance[Part]()
        story.glances.add(glance)
        if is_known:
            for event in (
                CampaignTaken("c", campaign),
                prepared(campaign, 3),
                RunStarted("c", 1, 1, "w1", "slot1", 5.0),
            ):
                story.take(event)
            await glance.wait()
            glance.take()
        # When a run goes on, which only the picture of the lab shows
        story.take(RunProgressed("c", 1, 2.5, 50.0, 0.1))
        # Then there is no event
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await glance.wait()
        # When there is something again, then it is told
        story.take(CampaignEnded("c", cancelled=False, time=9.0) if is_known else CampaignTaken("c", campaign))
        async with asyncio.timeout(20):
            await glance.wait()

    asyncio.run(look())


def test_a_store_that_changes_while_it_is_read_is_read_again(
    lab: PlayedLab, context: "zmq.Context[zmq.Socket[bytes]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a campaign that has ended, and of which something cannot be read just now
    monkeypatch.setattr(stories, "PAUSE", 0.05)
    campaign = made_campaign("c")
    store = lab.paths.campaign("c")
    ledger.accept(store, campaign)
    status = CampaignStatus("c", "aloha", "Foo", "anna", "done", 0, 0, 0, 0)
    ledger.note_end(store, ledger.End(CampaignEnded("c", False, "", 77.0), status))
    store.cancelled.mkdir()

    def connect() -> ForemanClient:
        return ForemanClient(context, lab)

    async def look() -> Any:
        updates = Stories(lab.paths, connect, Mirror(connect)).updates("c")
        event = asyncio.ensure_future(anext(updates))
        # When somebody looks, then nothing is told
        done, _ = await asyncio.wait([event], timeout=0.2)
        assert not done
        # When it can be read again, then all is told
        store.cancelled.rmdir()
        async with asyncio.timeout(20):
            told = await event
        await updates.aclose()
        return json.loads(told.decode().splitlines()[1].removeprefix("data: "))

    assert asyncio.run(look())["title"]["id"] == "c"
