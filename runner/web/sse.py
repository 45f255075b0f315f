"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), and who is told what."""

import asyncio
from collections.abc import AsyncGenerator, Hashable, Iterable
from contextlib import aclosing
from typing import Generic, TypeVar

from starlette.types import Receive, Scope, Send

from runner.model import encode

#: Seconds without anything to tell after which a browser is told that much: so one that is gone is noticed.
PULSE = 15.0

#: Events that may wait for one browser: a slow one is told less often, and of more at once.
WAITING = 2

Part = TypeVar("Part", bound=Hashable)


class Glance(Generic[Part]):
    """What one browser has not been told of something yet: names of its parts, or all of it."""

    def __init__(self) -> None:
        self.everything = True
        self._parts: set[Part] = set()
        self._stirred = asyncio.Event()

    def stir(self, parts: Iterable[Part] = (), *, everything: bool = False) -> None:
        """Something is otherwise than the browser was told."""
        self._parts.update(parts)
        self.everything = self.everything or everything
        self._stirred.set()

    async def wait(self) -> None:
        """Return as soon as there is something to tell."""
        await self._stirred.wait()
        self._stirred.clear()

    def take(self) -> set[Part] | None:
        """Return the parts that are to be told, which count as told then; None: everything."""
        parts = None if self.everything else self._parts
        self.everything, self._parts = False, set()
        return parts


def event(name: str, data: object) -> bytes:
    """Return an event whose data is JSON."""
    return raw_event(name, encode(data))


def raw_event(name: str, data: bytes) -> bytes:
    """Return an event with the one line of JSON that is there already."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


class _Gone(Exception):
    """The browser is gone."""


class EventStream:
    """A response that does not end: the events of several sources, as they come, until the browser goes."""

    def __init__(self, *sources: AsyncGenerator[bytes, None]) -> None:
        self._sources = sources
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(WAITING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Serve one browser."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._notice_end(receive))
                group.create_task(self._send(send))
                for source in self._sources:
                    group.create_task(self._pump(source))
        except* _Gone:
            pass  # as browsers do

    async def _notice_end(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        raise _Gone

    async def _pump(self, source: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(source):
            async for one in source:
                await self._queue.put(one)

    async def _send(self, send: Send) -> None:
        while True:
            try:
                async with asyncio.timeout(PULSE):
                    body = await self._queue.get()
            except TimeoutError:
                body = b": nothing new\n\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})
