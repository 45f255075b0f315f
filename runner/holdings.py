"""What workers hold: leases on their way from the workers of a host to its agent, which puts them into its reports.

A worker tells every two seconds what it has, in a thread of its own, since it may hang in a fetch for minutes.  One
that is stopped tells nothing, and after ten seconds it counts as having nothing.
"""

import threading
from collections.abc import Collection
from time import monotonic

import msgspec
import zmq

from runner import shell
from runner.messages import Held, Holding
from runner.model import decode, encode
from runner.refusals import Refusals

#: Seconds between two messages of a worker, and after which one no longer counts.
EVERY, AGE = 2.0, 10.0


class Lease:
    """The worker's end: tells what it has, at once when that changes and then again and again."""

    def __init__(self, worker: str, endpoint: str) -> None:
        self._worker, self._endpoint = worker, endpoint
        self._held: Held | None = None
        self._changed = threading.Event()

    def start(self) -> None:
        """Begin to tell."""
        threading.Thread(target=self._run, daemon=True).start()

    def hold(self, held: Held | None) -> None:
        """Tell from now on that the worker has this; None: nothing."""
        self._held = held
        self._changed.set()

    def _run(self) -> None:
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUSH)
        socket.set(zmq.CONFLATE, 1)  # what an absent agent has not taken is out of date
        socket.set(zmq.LINGER, 0)
        socket.connect(self._endpoint)
        while True:
            socket.send(encode(Holding(self._worker, self._held)))
            shell.reap()  # connections that this worker's fetches had left, and that nobody has used since
            self._changed.wait(EVERY)
            self._changed.clear()


class Leases:
    """The agent's end: knows what each worker said last, and when."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, Held | None]] = {}

    def start(self) -> None:
        """Begin to listen."""
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PULL)
        socket.bind(self._endpoint)
        threading.Thread(target=self._run, args=(socket,), daemon=True).start()

    def current(self) -> tuple[Held, ...]:
        """Return what workers have, as they said within the last seconds."""
        now = monotonic()
        with self._lock:
            said = [(now - when, held) for when, held in self._said.values() if held and now - when <= AGE]
        return tuple(msgspec.structs.replace(held, age=age) for age, held in said)

    def has_heard(self, workers: Collection[str]) -> bool:
        """Say whether each of these has said what it has."""
        with self._lock:
            return self._said.keys() >= set(workers)

    def forget(self, worker: str) -> None:
        """A worker has died, and what it had is nobody's."""
        with self._lock:
            self._said.pop(worker, None)

    def _run(self, socket: "zmq.Socket[bytes]") -> None:
        refusals = Refusals("lease")
        while True:
            try:
                said: Holding = decode(socket.recv(), Holding)
            except ValueError as error:
                refusals.note(error)
                continue
            with self._lock:
                self._said[said.worker] = (monotonic(), said.held)
