"""A ZeroMQ socket in an event loop."""

import asyncio

import zmq


class Ear:
    """Waits for what comes in at a socket, which others read without waiting."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket, self._handle = socket, int(socket.get(zmq.FD))
        self._stirred = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._handle, self._stir)

    def _stir(self) -> None:
        """The handle tells that something has happened, once; asking what makes it silent again."""
        if self._has_come():
            self._stirred.set()

    def _has_come(self) -> bool:
        return bool(self._socket.poll(0))

    async def wait(self, seconds: float) -> bool:
        """Return as soon as there is something to read; False if there is nothing for so long."""
        self._stirred.clear()
        if self._has_come():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Listen no more; before the socket is closed."""
        self._loop.remove_reader(self._handle)
