"""Who looks: a secret token per person, made on the head, and what a browser gets for it.

A token is ``PERSON.SECRET``.  Who shows it gets a ticket, which is good once; for that a browser gets a session, its
cookie.  A session is signed with the person's secret: it outlives this process, and ends when the secret is exchanged.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from urllib.parse import quote, unquote

from runner.paths import LabPaths

#: Seconds for which a ticket and a session are good.
TICKET, SESSION = 600, 24 * 3600

#: Tickets that may wait to be used.
MOST_TICKETS = 1000


def own_token(paths: LabPaths, person: str) -> str:
    """Return a person's token, made if there is none.  Raises ValueError for what can be nobody's name."""
    name = _file_name(person)
    if not name or name.startswith("."):
        raise ValueError(f"{person!r} is no person's name")
    file = paths.web_token(name)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not file.exists():
        half = file.with_name(f".{secrets.token_hex(8)}")
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(secrets.token_hex(32))
        try:
            os.link(half, file)  # whoever is first has made it
        except FileExistsError:
            pass  # somebody was faster, with the same right
        half.unlink()
    return f"{name}.{file.read_text().strip()}"


class People:
    """Knows people by their tokens, tickets and sessions."""

    def __init__(self, paths: LabPaths, now: Callable[[], float] = time.time) -> None:
        self._paths, self._now = paths, now
        #: Ticket → person, and until when it is good.
        self._tickets: dict[str, tuple[str, float]] = {}

    def of_token(self, token: str) -> str | None:
        """Return whose token that is."""
        name, _, secret = token.rpartition(".")
        known = self._secret(name)
        return unquote(name) if _equal(known or secrets.token_hex(32), secret) and known else None

    def ticket(self, person: str) -> str:
        """Return a ticket for a person."""
        now = self._now()
        self._tickets = {ticket: kept for ticket, kept in self._tickets.items() if kept[1] > now}
        while len(self._tickets) >= MOST_TICKETS:
            self._tickets.pop(next(iter(self._tickets)))
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = (_file_name(person), now + TICKET)
        return ticket

    def session(self, ticket: str) -> str | None:
        """Return a session for a ticket, which is used up by that; None for what is no ticket."""
        person, until = self._tickets.pop(ticket, ("", 0.0))
        secret = self._secret(person)
        if until <= self._now() or not secret:
            return None
        ends = int(self._now()) + SESSION
        return f"{person}.{ends}.{_signature(secret, person, ends)}"

    def of_session(self, session: str) -> str | None:
        """Return whose session that is."""
        name, _, signature = session.rpartition(".")
        person, _, ends = name.rpartition(".")
        known = self._secret(person)
        if not known or not (ends.isascii() and ends.isdecimal()) or len(ends) > 12:
            return None
        is_right = _equal(_signature(known, person, int(ends)), signature)
        return unquote(person) if is_right and int(ends) > self._now() else None

    def _secret(self, name: str) -> str:
        """Return the secret of a person; empty if there is no such person."""
        if not name or name.startswith(".") or "/" in name or "\0" in name or len(name) > 200:
            return ""
        try:
            return self._paths.web_token(name).read_text().strip()
        except OSError:
            return ""


def _file_name(person: str) -> str:
    return quote(person, safe="@")


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode(errors="replace"))


def _signature(secret: str, person: str, ends: int) -> str:
    return hmac.new(secret.encode(), f"session of {person} until {ends}".encode(), hashlib.sha256).hexdigest()
