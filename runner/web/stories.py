"""The campaigns that somebody looks at: followed at the foreman while they are under way, else read from the store."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable

from runner import ledger
from runner.lab import ForemanClient
from runner.messages import AnyEvent, CampaignStatus, Follow, Heard
from runner.model import encode
from runner.paths import LabPaths
from runner.web.hearing import Ear
from runner.web.mirror import Mirror
from runner.web.sse import Glance
from runner.web.story import Part, Story, of_kept

log = logging.getLogger(__name__)

#: Seconds; there is nothing to do when nothing is told for so long.
PULSE = 60.0

#: Seconds until it is tried again, when what the foreman says cannot be understood.
PAUSE = 4.0

#: Messages that are taken in a row; then others have their turn.
MOST_IN_A_ROW = 200


class _Chapter:
    """A campaign that somebody looks at, and what hears of it."""

    def __init__(self) -> None:
        self.story = Story()
        self.task: asyncio.Task[None] | None = None
        #: Set when all has to be asked for again.
        self.again = asyncio.Event()


class Stories:
    """All campaigns that somebody looks at."""

    def __init__(self, paths: LabPaths, connect: Callable[[], ForemanClient], mirror: Mirror) -> None:
        self._paths, self._connect = paths, connect
        self._chapters: dict[str, _Chapter] = {}
        mirror.on_new_foreman.append(self._ask_again)
        mirror.on_campaigns.append(self._look)

    async def updates(self, campaign: str) -> AsyncGenerator[bytes, None]:
        """Yield events: first all that happened to a campaign, then what happens."""
        chapter = self._chapters.setdefault(campaign, _Chapter())
        glance: Glance[Part] = Glance()
        chapter.story.glances.add(glance)
        if chapter.story.title is not None:
            glance.stir()
        if chapter.task is None:
            chapter.task = asyncio.create_task(self._hear(campaign, chapter))
        try:
            while True:
                await glance.wait()
                yield chapter.story.event(glance.take())
        finally:
            chapter.story.glances.discard(glance)
            if not chapter.story.glances:
                chapter.task.cancel()
                self._chapters.pop(campaign, None)

    # ---- whatever the lab's overview says ----

    def _ask_again(self) -> None:
        """Another foreman is there: it does not know who follows."""
        for chapter in self._chapters.values():
            chapter.again.set()

    def _look(self, campaigns: Iterable[CampaignStatus]) -> None:
        """A campaign may have been resumed, or have ended without a word."""
        for one in campaigns:
            chapter = self._chapters.get(one.id)
            title = chapter.story.title if chapter else None
            if chapter and title and (one.ended is None) != (title.ended is None):
                chapter.again.set()

    # ---- one campaign ----

    async def _hear(self, campaign: str, chapter: _Chapter) -> None:
        """Have the story told, and told again whenever that is needed."""
        while True:
            chapter.again.clear()
            try:
                if self._paths.campaign(campaign).end.exists():
                    await self._read(campaign, chapter)
                    await chapter.again.wait()
                else:
                    await self._follow(campaign, chapter)
            except Exception:  # as in mirror.py; and the store may change while it is read
                log.exception("hearing of %s", campaign)
                await asyncio.sleep(PAUSE)

    async def _read(self, campaign: str, chapter: _Chapter) -> None:
        """Take what the store has of a campaign that has ended."""
        kept = await asyncio.to_thread(ledger.read, self._paths.campaign(campaign))
        for number, told in enumerate(of_kept(kept) if kept else ()):
            chapter.story.take(told)
            if number % MOST_IN_A_ROW == 0:
                await asyncio.sleep(0)

    async def _follow(self, campaign: str, chapter: _Chapter) -> None:
        """Hear of a campaign until it has ended, or all has to be asked for again."""
        client = self._connect()
        ear = Ear(client.socket)
        again = asyncio.create_task(chapter.again.wait())
        try:
            client.socket.send(encode(Follow(campaign)))
            while not again.done():
                heard = asyncio.create_task(ear.wait(PULSE))
                await asyncio.wait((heard, again), return_when=asyncio.FIRST_COMPLETED)
                heard.cancel()
                await self._take_all(client, chapter)
        finally:
            again.cancel()
            ear.close()
            client.socket.close(linger=0)

    async def _take_all(self, client: ForemanClient, chapter: _Chapter) -> None:
        number = 0
        while (told := client.receive(Heard)) is not None:
            if isinstance(told, AnyEvent):
                chapter.story.take(told)
            number += 1
            if number % MOST_IN_A_ROW == 0:
                await asyncio.sleep(0)
