"""Who may come in, and with what; and what browsers are told about how far to trust what they get.

Every request needs a person's token or session, but those by which a browser gets one.  The page is for the loopback
interface: a request that was meant for another name (DNS rebinding), or comes from another page, is refused.
"""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runner.web.people import People

#: How a browser may call this server: tunnels end at any port of the person's machine.
OWN_NAME = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")

#: Methods that change nothing.
READING = ("GET", "HEAD")

#: Needs nobody's token: the way in, and what it is made of.
PUBLIC = {"/enter", "/static/enter.js", "/static/style.css", "/static/icon.svg"}

NOBODY = "no token, or a wrong one: labfleet web opens this page\n"

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

_NOTHING_ELSE = "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
POLICY = f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; {_NOTHING_ELSE}"


class Door:
    """Lets people in to an application, which finds their name in ``scope["state"]["person"]``."""

    def __init__(self, app: ASGIApp, people: People, cookie: str, policy: str = POLICY) -> None:
        """``cookie``: its name; ``policy``: the Content-Security-Policy."""
        self._app, self._people, self._cookie = app, people, cookie
        self._headers = {**HEADERS, "Content-Security-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError("this server speaks HTTP alone")

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        """Return why a request is not answered; None if it is."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not OWN_NAME.fullmatch(host):
            return PlainTextResponse("this server is not called so\n", 421)
        person, is_browser = self._person(headers)
        if person is None and scope["path"] not in PUBLIC:
            return PlainTextResponse(NOBODY, 401, {"WWW-Authenticate": "Bearer"})
        if scope["method"] not in READING and is_browser and headers.get("origin") != f"http://{host}":
            return PlainTextResponse("that was asked by another page\n", 403)
        scope.setdefault("state", {})["person"] = person
        return None

    def _person(self, headers: Headers) -> tuple[str | None, bool]:
        """Return who asks, and whether by a browser: who shows a token is none."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._people.of_token(token.strip()), False
        # Other programs of this machine have cookies here, too, and some that http.cookies does not understand.
        session = cookie_parser(headers.get("cookie", "")).get(self._cookie)
        return (self._people.of_session(session) if session else None), True
