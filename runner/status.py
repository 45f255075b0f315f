"""How a lab is, for a person or a program that looks once or watches: asked of the foreman, shown as it is told."""

import os
import threading
import time
from typing import TextIO

from runner import lab
from runner.chosen_lab import chosen
from runner.errors import LabFailed
from runner.lab import ForemanClient
from runner.labs import Connection
from runner.messages import AskStatus, Changed, Heard, Overview, Refused, Status, Watch
from runner.model import encode
from runner.report import overview_views
from runner.report.overview import Picture
from runner.report.overview_views import Show
from runner.report.progress import Clock
from runner.report.text import unheard_line

#: Seconds between two looks at what the lab has said, and redraws.
TICK = 0.25

#: Seconds after which the lab is asked whether it is there, and so told that this watcher is.
QUESTION = 3.0

#: Seconds between two attempts to reach a lab that is away.
PAUSE = 2.0


def show(stdout: TextIO, *, watch: bool, json: bool) -> None:
    """Show how the lab is, and with ``watch`` what changes of it, until somebody interrupts that.

    Raises LabFailed if it does not answer, or is ended.
    """
    connection = Connection(chosen())
    try:
        if watch:
            _watch(connection, overview_views.show(stdout, os.environ, json=json))
        else:
            _look(connection, stdout, json=json)
    finally:
        connection.close()


def _watch(connection: Connection, show: Show) -> None:
    try:
        Watcher(connection, show).run()
    finally:
        show.close()


def _look(connection: Connection, stdout: TextIO, *, json: bool) -> None:
    client = ForemanClient(connection.context, connection.lab)
    try:
        told = _ask(client)
    finally:
        client.close()
    overview_views.print_once(
        told, Picture.of(connection.lab.name, told, time.monotonic()), stdout, os.environ, json=json
    )


def _ask(client: ForemanClient) -> Overview:
    """Return how the lab is, of which the client is told from then on."""
    answer = client.ask(Watch())
    if not isinstance(answer, Overview):
        raise LabFailed("the lab's foreman answered something else than how the lab is", "is it of the same version?")
    return answer


class Watcher:
    """Keeps a picture of the lab, whatever happens to the lab."""

    def __init__(self, connection: Connection, show: Show, clock: Clock = time.monotonic) -> None:
        self._connection, self._show, self._clock = connection, show, clock
        self._pause = threading.Event()
        self._begin()

    def _begin(self) -> None:
        """Ask for everything.  Raises LabFailed if there is no answer."""
        self._client = ForemanClient(self._connection.context, self._connection.lab)
        try:
            self._take(_ask(self._client))
        except BaseException:
            self._client.close()
            raise

    def _take(self, told: Overview | Changed) -> None:
        now = self._clock()
        if isinstance(told, Overview):
            self._incarnation = told.incarnation
            self._picture = Picture.of(self._connection.lab.name, told, now)
        else:
            self._picture = self._picture.after(told, now)
        self._heard = self._asked = now
        self._show.told(told, self._picture)

    def run(self) -> None:
        """Show what the lab tells until interrupted.  Raises LabFailed if the lab is ended."""
        try:
            while True:
                self._client.socket.poll(int(TICK * 1000))
                try:
                    self._listen()
                except lab.LabAway:
                    self._come_back()
                self._show.tick(self._picture, unheard_line(self._clock() - self._heard))
        finally:
            self._client.close()

    def _listen(self) -> None:
        """Take what the lab has told; ask it now and then.  Raises LabAway if it does not answer any more."""
        while (message := self._client.receive(Heard)) is not None:
            self._heard = self._clock()
            match message:
                case Overview() | Changed():
                    self._take(message)
                case Status() if message.incarnation != self._incarnation or not message.is_watched:
                    self._client.socket.send(encode(Watch()))
                case Refused(text, hint):
                    raise LabFailed(text, hint)
        now = self._clock()
        if now - self._heard > lab.PATIENCE:
            raise lab.LabAway("the lab does not answer any more")
        if now - self._asked > QUESTION:
            self._asked = now
            self._check_stopped()
            self._client.socket.send(encode(AskStatus()))

    def _check_stopped(self) -> None:
        if self._connection.lab.was_stopped():
            raise LabFailed("the lab's services have ended", "a campaign starts them again")

    def _come_back(self) -> None:
        """Make the way to the lab anew, until it is there.  Raises LabFailed if it was ended."""
        self._client.close()
        while True:
            self._check_stopped()
            try:
                self._connection.renew()
                self._begin()
            except lab.LabRefused:
                raise
            except LabFailed as error:
                self._show.tick(self._picture, f"{error.message}; trying again …")
                self._pause.wait(PAUSE)
            else:
                return
