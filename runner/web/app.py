"""What browsers can ask for: the page, what happens in the lab, files; and to cancel and resume one's own campaigns."""

import asyncio
import logging
import os
import re
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner import log_stream, results
from runner.errors import LabFailed
from runner.harmless import harmless
from runner.lab import ForemanClient, LabAway
from runner.messages import AnyRequest, Cancel, Resume
from runner.model import Campaign, Value, decode, encode
from runner.paths import LabPaths
from runner.web import downloads, logs
from runner.web.mirror import Mirror
from runner.web.people import SESSION, People
from runner.web.sse import EventStream
from runner.web.static import FILES, TYPES
from runner.web.stories import Stories

log = logging.getLogger(__name__)

#: Seconds that the foreman gets to answer a person who waits at a page.
PATIENCE = 8.0

_CAMPAIGN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}")


class Me(Value, frozen=True):
    """What the page has to know of who looks at it, and at what."""

    person: str
    lab: str


class RunFile(Value, frozen=True):
    """A file that a run left; size in bytes."""

    path: str
    size: int
    #: It is in the lab; else its owner has it at home.
    here: bool
    #: Its number among the run's files.
    number: int


class RunView(Value, frozen=True):
    """What a run that is over left."""

    run: int
    attempt: int
    kind: str
    exit_status: int
    seed_set: str
    command: str
    error: str
    files: tuple[RunFile, ...]
    #: The lab has all of what it printed.
    log: bool


class Told(Value, frozen=True):
    """What came of something that was asked for."""

    message: str
    hint: str = ""


class App:
    """Answers requests of people who were let in."""

    def __init__(
        self,
        lab: str,
        paths: LabPaths,
        people: People,
        cookie: str,
        connect: Callable[[], ForemanClient],
        its_logs: logs.Logs,
    ) -> None:
        """``lab``: what people call it; ``connect``: makes a connection to the foreman."""
        self._lab, self._paths, self._people, self._cookie = lab, paths, people, cookie
        self._connect, self._logs = connect, its_logs
        self._mirror = Mirror(connect)
        self._stories = Stories(paths, connect, self._mirror)

    def asgi(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/", self._page),
            Route("/enter", self._way_in),
            Route("/enter", self._enter, methods=["POST"]),
            Route("/ticket", self._ticket, methods=["POST"]),
            Route("/static/{name}", self._static),
            Route("/me", self._me),
            Route("/events", self._events),
            Route("/campaigns/{campaign}/cancel", self._cancel, methods=["POST"]),
            Route("/campaigns/{campaign}/resume", self._resume, methods=["POST"]),
            Route("/campaigns/{campaign}/logs/{stream}", self._log),
            Route("/campaigns/{campaign}/logs/{stream}/live", self._live),
            Route("/campaigns/{campaign}/runs/{run}", self._run),
            Route("/campaigns/{campaign}/runs/{run}/files/{number}", self._file),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _explained, LabFailed: _explained})

    # ---- the page ----

    async def _page(self, request: Request) -> Response:  # noqa: ARG002
        return Response(FILES["index.html"], media_type=TYPES["html"])

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            raise HTTPException(404, "there is no such file")
        return Response(FILES[name], media_type=TYPES[name.rpartition(".")[2]])

    async def _me(self, request: Request) -> Response:
        return _json(Me(harmless(request.state.person), harmless(self._lab)))

    # ---- the way in ----

    async def _ticket(self, request: Request) -> Response:
        return _json({"ticket": self._people.ticket(request.state.person)})

    async def _way_in(self, request: Request) -> Response:  # noqa: ARG002
        return Response(FILES["enter.html"], media_type=TYPES["html"])

    async def _enter(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > 200:
                break
        session = self._people.session(body.decode(errors="replace"))
        if session is None:
            raise HTTPException(401, "this address was used already, or is too old: labfleet web gives a new one")
        answer = Response(status_code=204)
        answer.set_cookie(self._cookie, session, max_age=SESSION, httponly=True, samesite="strict")
        return answer

    # ---- what happens ----

    async def _events(self, request: Request) -> Response:
        sources = [self._mirror.updates()]
        if name := request.query_params.get("campaign"):
            sources.append(self._stories.updates(self._known(name).id))
        return EventStream(*sources)  # type: ignore[return-value]  # any ASGI application will do

    async def _live(self, request: Request) -> Response:
        campaign = self._known(request.path_params["campaign"])
        updates = self._logs.updates(campaign.id, _stream(request.path_params["stream"]))
        return EventStream(updates)  # type: ignore[return-value]

    # ---- campaigns ----

    async def _cancel(self, request: Request) -> Response:
        name = self._own(request)
        await self._order(request, Cancel(name))
        return _json(Told(f"campaign {name} is cancelled: what runs is ended, what is done is kept"))

    async def _resume(self, request: Request) -> Response:
        name = self._own(request)
        await self._order(request, Resume(name))
        return _json(Told(f"campaign {name} goes on: what was not done begins again"))

    async def _order(self, request: Request, order: AnyRequest) -> None:
        """Have the foreman do something for a person.  Raises LabFailed."""
        log.info("%s asks for %s", request.state.person, order)
        await asyncio.to_thread(self._ask, order)

    def _ask(self, order: AnyRequest) -> None:
        client = self._connect()
        try:
            client.ask(order, patience=PATIENCE)
        finally:
            client.close()

    def _known(self, name: str) -> Campaign:
        """Return a campaign of the store.  Raises HTTPException if there is none of that name."""
        if _CAMPAIGN.fullmatch(name):
            try:
                found: Campaign = decode(self._paths.campaign(name).campaign.read_bytes(), Campaign)
                return found
            except (OSError, ValueError):
                pass  # it is none, or none that this labfleet understands
        raise HTTPException(404, "the lab has no such campaign")

    def _own(self, request: Request) -> str:
        """Return the campaign that is meant, if it is the person's own.  Raises HTTPException.

        To the foreman this process speaks for all people, so here it is seen to that each has to do with his own.
        """
        campaign = self._known(request.path_params["campaign"])
        if campaign.user != request.state.person:
            raise HTTPException(403, f"campaign {campaign.id} belongs to {harmless(campaign.user)}")
        return campaign.id

    # ---- files ----

    async def _run(self, request: Request) -> Response:
        campaign = self._known(request.path_params["campaign"])
        return _json(await asyncio.to_thread(self._left, campaign.id, _number(request, "run")))

    def _left(self, campaign: str, run: int) -> RunView:
        store = self._paths.campaign(campaign)
        outcome = results.record(store, run)
        if outcome is None:
            raise HTTPException(404, f"run {run} is not over")
        place = downloads.place_of(store, outcome)
        files = tuple(
            RunFile(harmless(one.path), one.size, downloads.is_here(store.root, place.file(one.path)), number)
            for number, one in enumerate(outcome.files)
        )
        return RunView(
            outcome.run,
            outcome.attempt,
            outcome.kind,
            outcome.exit_status,
            harmless(outcome.seed_set),
            harmless(" ".join(outcome.command)),
            harmless(outcome.error),
            files,
            self._logs.kept(campaign, log_stream.run_stream(outcome.run, outcome.attempt)) is not None,
        )

    async def _file(self, request: Request) -> Response:
        """Send a file that the record of a run names."""
        campaign, number = self._known(request.path_params["campaign"]), _number(request, "number")
        store = self._paths.campaign(campaign.id)
        outcome = await asyncio.to_thread(results.record, store, _number(request, "run"))
        if outcome is not None and number < len(outcome.files):
            path = outcome.files[number].path
            found = downloads.opened(store.root, downloads.place_of(store, outcome).file(path))
            if found is not None:
                return downloads.attachment(found, path.rpartition("/")[2])
        raise HTTPException(404, "the lab does not have that file; what came home is in the project's results folder")

    async def _log(self, request: Request) -> Response:
        campaign, stream = self._known(request.path_params["campaign"]), _stream(request.path_params["stream"])
        is_over = self._logs.is_over(campaign.id, stream)  # first: what is over is kept already
        kept = self._logs.kept(campaign.id, stream)
        file = kept if kept or is_over else self._logs.file(campaign.id, stream)
        found = downloads.opened(self._paths.home, file) if file else None
        if found is None and is_over:
            raise HTTPException(404, "the lab does not have all of that log; what came home is beside the results")
        if found is None:
            raise HTTPException(404, "the lab has nothing of that log yet")
        if os.fstat(found.fileno()).st_size >= log_stream.BUDGET and not kept:
            found.close()
            owners = "its owner has it now by: labfleet logs --raw"
            raise HTTPException(409, f"so long a log is here when its run is over; {owners}")
        return downloads.attachment(found, f"{campaign.id}-{stream}.log")


def _stream(name: str) -> str:
    """Return the name of a log.  Raises HTTPException for what is none."""
    if name == log_stream.BUILD_STREAM or log_stream.attempt_of(name):
        return name
    raise HTTPException(404, f"{name[:50]!r} is no run's log")


def _number(request: Request, name: str) -> int:
    """Return a number that stands in the path.  Raises HTTPException for what is none."""
    text: str = request.path_params[name]
    if re.fullmatch("[0-9]{1,9}", text):
        return int(text)
    raise HTTPException(404, f"{name} {harmless(text[:50])} is no number")


def _json(value: object, status: int = 200) -> Response:
    return Response(encode(value), status, media_type="application/json")


async def _explained(request: Request, error: Exception) -> Response:  # noqa: ARG001  Starlette's signature
    """Say why something is not done: wrong requests, and what the foreman refuses or does not answer."""
    match error:
        case HTTPException():
            return _json(Told(harmless(error.detail)), error.status_code)
        case LabFailed():
            status = 503 if isinstance(error, LabAway) else 409
            return _json(Told(harmless(error.message), harmless(error.hint)), status)
    raise error
