"""Who is told what happens to a campaign, over real sockets."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import zmq

from runner.foreman.books import Books
from runner.foreman.desk import Desk
from runner.messages import CampaignEnded, Event
from runner.paths import LabPaths
from tests.conftest import eventually


def test_who_has_left_is_not_told_any_more(tmp_path: Path) -> None:
    # Given two clients that follow a campaign
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    machine: Any = SimpleNamespace(paths=LabPaths(tmp_path), settings=None, foreman=f"ipc://{tmp_path}/foreman")
    desk = Desk(machine, context)
    desk.open()
    sent: list[set[bytes]] = []

    def send(clients: Iterable[bytes], event: Event) -> set[bytes]:
        sent.append(set(clients))
        return desk.send_all(clients, event)

    books = Books(machine.paths, machine, send)
    clients = [context.socket(zmq.DEALER) for _ in range(2)]
    names = []
    for client in clients:
        client.connect(machine.foreman)
        client.send(b"here")
        names.append(desk.socket.recv_multipart()[0])
        books.add_follower("c", names[-1])
    # When one of them leaves
    clients[0].close(linger=0)
    event = CampaignEnded("c", cancelled=False)
    eventually(lambda: desk.send_all(names, event) == {names[0]}, "that one is gone")
    # Then what happens after the next event goes to the other one alone
    for _ in range(2):
        books.tell("c", event)
    assert sent == [set(names), {names[1]}]
    context.destroy(linger=0)
