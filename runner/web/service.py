"""The web page's process: its ports, and what they lead to."""

import logging
import os
import socket

import uvicorn
import zmq
from starlette.types import ASGIApp, Receive, Scope, Send

from runner import curve
from runner.errors import LabFailed
from runner.lab import ForemanClient, Lab
from runner.machine import HeadSettings, Machine
from runner.model import encode
from runner.web import dashboard
from runner.web.app import App
from runner.web.door import Door
from runner.web.logs import Logs
from runner.web.people import People
from runner.web.whereabouts import WebFile, read

log = logging.getLogger(__name__)


def serve(machine: Machine) -> None:
    """Serve browsers until the process is ended.  Raises LabFailed where the lab has no keys yet."""
    paths = machine.paths
    paths.web.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = _wanted(machine)
    may_be_others = machine.settings is None
    page, shown = (_listening(port, may_be_others) for port in (wanted.page, wanted.dashboard))
    found = WebFile(os.getpid(), page.getsockname()[1], shown.getsockname()[1])
    app = _app(machine, found)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,  # what is told to browsers never ends by itself
    )
    half = paths.web_file.with_suffix(".new")
    half.write_bytes(encode(found))
    os.replace(half, paths.web_file)
    uvicorn.Server(config).run(sockets=[page, shown])


def _wanted(machine: Machine) -> WebFile:
    """Return the ports that are wanted: on a local lab those of the page before, to which browsers try to come back."""
    if isinstance(machine.settings, HeadSettings):
        return WebFile(0, machine.settings.ports.web, machine.settings.ports.dashboard)
    return read(machine.paths.web_file) or WebFile(0, 0, 0)


def _listening(port: int, may_be_another: bool) -> socket.socket:
    """Return a socket at a port of the loopback interface.  Raises LabFailed if somebody has it."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        if port and may_be_another:
            return _listening(0, may_be_another)
        raise LabFailed(f"port {port} of the web page cannot be had: {error}") from None


def _app(machine: Machine, found: WebFile) -> ASGIApp:
    """Return the page and, at its own port, the dashboard; who may look at one may look at the other."""
    lab = _lab(machine)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    people = People(machine.paths)
    # Browsers keep cookies per name, not per port: two labs' cookies must not be called the same.
    cookie = f"labfleet-{curve.fingerprint(f'{machine.name} {machine.paths.home}')[:8]}"
    logs = Logs(machine.paths, machine.hub, lab.access)
    name = "local lab" if machine.settings is None else machine.name
    page = App(name, machine.paths, people, cookie, lambda: ForemanClient(context, lab), logs).asgi()
    shown = dashboard.Dashboard(machine.redis, machine.password, machine.authority)
    doors = {
        found.page: Door(page, people, cookie),
        found.dashboard: Door(shown, people, cookie, dashboard.POLICY),
    }

    async def by_port(scope: Scope, receive: Receive, send: Send) -> None:
        await doors[scope["server"][1]](scope, receive, send)

    return by_port


def _lab(machine: Machine) -> Lab:
    """Return the lab as this process reaches it: on a remote one with a key by which foreman and hub know it."""
    if machine.settings is None:
        return Lab(machine.foreman, machine.hub, machine.paths)
    keys = machine.paths.keys
    server = keys / "server.pub"
    if not server.exists():
        raise LabFailed("the foreman has never run here: there is no key to know it by")
    own = curve.own_keys(keys, "web")
    curve.register(keys, curve.PEOPLE, curve.HEAD_ITSELF, own.public.decode())
    return Lab(machine.foreman, machine.hub, machine.paths, curve.Access(own, server.read_bytes().strip()))
