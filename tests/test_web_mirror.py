"""What the web page's process knows of the lab: as long as somebody looks, and while the foreman is away."""

import asyncio
import gc
import json
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from runner.lab import ForemanClient
from runner.messages import AskStatus, Changed, Watch
from runner.web import lines, mirror
from runner.web.lines import Lines
from runner.web.mirror import Mirror
from runner.web.sse import EventStream, Glance
from tests.played_lab import PlayedLab
from tests.web_fixture import machine


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PlayedLab]:
    with tempfile.TemporaryDirectory(prefix="lf-") as folder:
        lab = PlayedLab(Path(folder), tmp_path)
        lab.played.machines = {name: machine(name, 2) for name in ("w1", "w2")}
        yield lab
        lab.played.close()


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    gc.collect()
    context.destroy(linger=0)


async def told(updates: AsyncGenerator[bytes, None]) -> tuple[str, Any]:
    """Return name and data of the next event."""
    async with asyncio.timeout(20):
        name, data = (await anext(updates)).decode().splitlines()[:2]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_a_foreman_that_is_away_is_missed_and_found_again(
    lab: PlayedLab, context: "zmq.Context[zmq.Socket[bytes]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given somebody who looks at the lab
    monkeypatch.setattr(mirror, "PULSE", 0.1)
    monkeypatch.setattr(mirror, "SILENCE", 0.5)

    async def look() -> None:
        updates = Mirror(lambda: ForemanClient(context, lab)).updates()
        name, data = await told(updates)
        assert (name, len(data["machines"])) == ("lab", 2)
        # When the foreman does not answer, then that is told, and since when
        lab.played.leave()
        name, data = await told(updates)
        assert name == "away"
        assert data["since"] > 1e9
        # When another one is there, then all is told anew
        lab.played.machines.pop("w2")
        lab.played.come_back()
        name, data = await told(updates)
        assert (name, data["everything"], [one["name"] for one in data["machines"]]) == ("lab", True, ["w1"])
        await updates.aclose()

    asyncio.run(look())


def test_what_changes_for_a_slow_browser_is_told_at_once(
    lab: PlayedLab, context: "zmq.Context[zmq.Socket[bytes]]"
) -> None:
    # Given a browser that takes nothing for a while, and another one that takes everything
    async def look() -> None:
        kept = Mirror(lambda: ForemanClient(context, lab))
        slow, other = kept.updates(), kept.updates()
        await told(slow)
        await told(other)
        # When a machine is told of a hundred times meanwhile
        for number in range(1, 101):
            lab.played.change(Changed(100.0 + number, (machine("w1", number),)))
        while (await told(other))[1]["time"] < 200.0:
            pass
        # Then the slow one is told once, how it is now
        name, data = await told(slow)
        assert (name, [(one["name"], one["slots"]) for one in data["machines"]]) == ("lab", [("w1", 100)])
        await slow.aclose()
        await other.aclose()

    asyncio.run(look())


def test_the_foreman_hears_of_nobody_when_nobody_looks(
    lab: PlayedLab, context: "zmq.Context[zmq.Socket[bytes]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given somebody who looks, so that the foreman is asked again and again
    monkeypatch.setattr(mirror, "PULSE", 0.05)

    async def look() -> int:
        updates = Mirror(lambda: ForemanClient(context, lab)).updates()
        await told(updates)
        async with asyncio.timeout(20):
            while AskStatus() not in lab.played.asked:
                await asyncio.sleep(0.01)
        # When nobody looks any more, then nobody can ask any more, and nobody comes again
        await updates.aclose()
        async with asyncio.timeout(20):
            while lab.played.callers():
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        return lab.played.callers()

    assert asyncio.run(look()) == 0
    assert lab.played.asked.count(Watch()) == 1


def test_a_browser_that_goes_is_forgotten_at_once() -> None:
    # Given a browser to which events are sent that are more than it takes
    closed = []

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"event: x\ndata: 1\n\n"
        finally:
            closed.append(True)

    async def serve() -> None:
        gone, sent = asyncio.Event(), []

        async def send(message: Any) -> None:
            sent.append(message)
            await asyncio.sleep(0)
            if len(sent) > 5:
                gone.set()
                await asyncio.Event().wait()  # its buffers are full

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        # When it goes
        async with asyncio.timeout(20):
            await EventStream(events())({"type": "http"}, receive, send)

    asyncio.run(serve())
    # Then what was sent to it has ended
    assert closed == [True]


def test_what_a_browser_was_told_is_not_told_again() -> None:
    # Given a browser that was told everything
    async def look() -> None:
        glance: Glance[str] = Glance()
        assert glance.take() is None
        # When parts are otherwise, then these are told, once
        glance.stir(["a"])
        glance.stir(["b", "a"])
        assert glance.take() == {"a", "b"}
        assert glance.take() == set()
        # When all is otherwise, then all is told, and no part besides
        glance.stir(["a"], everything=True)
        assert glance.take() is None
        assert glance.take() == set()

    asyncio.run(look())


def test_a_line_is_cut_wherever_its_bytes_come_from() -> None:
    # Given a line that is too long, and comes in pieces
    cut = Lines()
    parts = [cut.take(b"y" * 3000) for _ in range(4)]
    # When its end comes
    parts.append(cut.take(b"\nnext\n"))
    # Then its beginning is shown, and how much is missing
    first, second, rest = "".join(parts).split("\n")
    assert first == "y" * lines.LONGEST + " … (8000 more bytes: download the log)"
    assert (second, rest) == ("next", "")


def test_who_opens_a_view_while_the_last_one_closes_is_told_all(
    lab: PlayedLab, context: "zmq.Context[zmq.Socket[bytes]]"
) -> None:
    # Given somebody who looks
    async def look() -> None:
        kept = Mirror(lambda: ForemanClient(context, lab))
        first = kept.updates()
        await told(first)
        # When that view is closed and another one opened at once, again and again, then that one is told, too
        for _ in range(20):
            second = kept.updates()
            closing = asyncio.create_task(first.aclose())
            name, data = (await asyncio.gather(told(second), closing))[0]
            assert (name, len(data["machines"])) == ("lab", 2)
            first = second
        await first.aclose()

    asyncio.run(look())


def test_a_foreman_that_has_forgotten_its_watcher_is_asked_again(
    lab: PlayedLab, context: "zmq.Context[zmq.Socket[bytes]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given somebody who looks, and of whom the same foreman has not heard for too long
    monkeypatch.setattr(mirror, "PULSE", 0.1)

    async def look() -> None:
        updates = Mirror(lambda: ForemanClient(context, lab)).updates()
        await told(updates)
        lab.played.forget_watchers()
        lab.played.machines.pop("w2")
        # When it answers the next question, then all is told anew
        name, data = await told(updates)
        assert (name, data["everything"], [one["name"] for one in data["machines"]]) == ("lab", True, ["w1"])
        await updates.aclose()

    asyncio.run(look())


def test_what_cannot_be_understood_is_no_end(
    lab: PlayedLab, context: "zmq.Context[zmq.Socket[bytes]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given somebody who looks
    monkeypatch.setattr(mirror, "PULSE", 0.1)

    async def look() -> None:
        updates = Mirror(lambda: ForemanClient(context, lab)).updates()
        await told(updates)
        # When the foreman says something that this page has never heard of, then it goes on
        lab.played.say_something_odd()
        name, data = await told(updates)
        assert (name, data["everything"]) == ("lab", True)
        await updates.aclose()

    asyncio.run(look())
