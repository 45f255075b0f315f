"""What the log hub does with what lies beyond: the store's files, its budget, slow viewers, lost pieces."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from runner.log_stream import BUDGET, BUILD_STREAM, PIECE, WAITING, GrowingLog, Piece, Viewer
from runner.log_stream import viewer as viewer_module
from runner.log_stream.piece import new_socket
from runner.paths import AttemptPaths
from tests.conftest import eventually
from tests.integration.test_log_stream import (
    Ends,
    RunningHub,
    assert_each_byte_once,
    campaign,
    ends,
    hub,
    own_hub,
    pieces_of,
    send,
    text,
    watch,
)

__all__ = ["campaign", "ends", "hub", "own_hub"]

#: Printed by a run that prints without end; in it every position can be told.
FLOOD = BUDGET + 9 * (1 << 20) + 4321


def flood() -> bytes:
    return b"".join(b"%15d\n" % number for number in range(FLOOD // 16 + 1))[:FLOOD]


def commit(hub: RunningHub, campaign: str, log: Path, run: int = 0, attempt: int = 1, *, done: bool = True) -> Path:
    """Put a log where a run's commit puts it."""
    place = AttemptPaths(hub.paths.campaign(campaign).committed(run, attempt, done)).log
    place.parent.mkdir(parents=True)
    os.rename(log, place)
    return place


def take(viewer: Viewer, enough: Callable[[list[Piece]], bool]) -> list[Piece]:
    """Return what a viewer gets until that is enough."""
    received: list[Piece] = []

    def is_enough() -> bool:
        viewer.socket.poll(50)
        while (piece := viewer.receive()) is not None:
            received.append(piece)
        return enough(received)

    eventually(is_enough, "pieces")
    return received


# ---- logs in the result store ------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [True, False])
def test_a_log_that_is_in_the_store_is_read_there(
    hub: RunningHub, ends: Ends, campaign: str, tmp_path: Path, done: bool
) -> None:
    # Given a run that was committed, of which the hub never heard anything
    data = text(3 * PIECE + 17)
    (tmp_path / "log").write_bytes(data)
    commit(hub, campaign, tmp_path / "log", done=done)
    # When it is viewed, from its beginning, from elsewhere and from its end, then all of it comes, and its end
    for offset in (0, 1, PIECE, len(data)):
        viewer = ends.viewer(hub, campaign, offset=offset)
        assert_each_byte_once(watch(viewer), data[offset:], offset)


def test_a_build_log_that_is_in_the_store_is_read_there(hub: RunningHub, ends: Ends, campaign: str) -> None:
    # Given the build log of a campaign, when it is viewed, then it comes
    log = hub.paths.campaign(campaign).build_log
    log.parent.mkdir(parents=True)
    log.write_bytes(b"$ make\n")
    assert_each_byte_once(watch(ends.viewer(hub, campaign, BUILD_STREAM)), b"$ make\n")


def test_a_viewer_goes_on_in_the_store_where_the_hub_had_no_more(
    own_hub: RunningHub, ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a viewer that has seen the beginning of a log, and a hub that missed the rest and the end
    monkeypatch.setattr(viewer_module, "SILENCE", 0.2)
    own_hub.start()
    data = text(100_000)
    viewer = ends.viewer(own_hub, "c")
    send(ends.sender(own_hub), Piece("c", "run-0.1", 0, data[:40_000]))
    first = take(viewer, bool)
    own_hub.kill()
    (tmp_path / "log").write_bytes(data)
    # When the run is committed, and another hub is there
    commit(own_hub, "c", tmp_path / "log")
    own_hub.start()
    # Then the viewer gets every byte once, and the end
    assert_each_byte_once([*first, *watch(viewer)], data)


def test_the_end_is_told_when_the_rest_comes_with_the_results(
    own_hub: RunningHub, ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a hub that knows how long a log was, and has lost its end, and a viewer that asks nothing twice
    monkeypatch.setattr(viewer_module, "SILENCE", 60)
    own_hub.start()
    data = text(50_000)
    viewer = ends.viewer(own_hub, "c")
    send(ends.sender(own_hub), Piece("c", "run-0.1", 0, data[:10_000]), Piece("c", "run-0.1", 50_000, b"", last=True))
    first = take(viewer, bool)
    viewer.follow("run-9.1", at_once=True)
    take(viewer, bool)  # so the hub has its question for more
    # When the run is committed, then its viewer gets the rest without asking again
    (tmp_path / "log").write_bytes(data)
    commit(own_hub, "c", tmp_path / "log")
    assert_each_byte_once([*first, *watch(viewer)], data)


# ---- from the end, and for now -----------------------------------------------------------------------------------


def test_a_log_can_be_read_from_near_its_end(hub: RunningHub, ends: Ends, campaign: str, tmp_path: Path) -> None:
    # Given a log that grows, and one that is in the store
    data = text(1_000_000)
    log = GrowingLog(tmp_path / "log", campaign, "run-1.1", ends.sender(hub))
    log.append(data)
    log.stream()
    eventually(lambda: hub.log(campaign, "run-1.1") == data, "the log at the hub")
    (tmp_path / "whole").write_bytes(data)
    commit(hub, campaign, tmp_path / "whole", run=0)
    for stream in ("run-0.1", "run-1.1"):
        viewer = Viewer(ends.context, hub.viewers, campaign)
        # When its last bytes are asked for, then they come, and so does what is appended to it later
        viewer.follow(stream, 1000, from_end=True)
        (last, *_) = take(viewer, bool)
        assert (last.offset, last.data) == (len(data) - 1000, data[-1000:])
        # And when more is asked for than there is, then all comes
        viewer.follow(stream, 2_000_000, from_end=True)
        assert take(viewer, bool)[0].data == data[:PIECE]
        viewer.close()
    viewer = Viewer(ends.context, hub.viewers, campaign)
    viewer.follow("run-1.1", 10, from_end=True)
    take(viewer, bool)
    log.append(b"more")
    log.stream()
    assert take(viewer, bool) == [Piece(campaign, "run-1.1", len(data), b"more")]
    viewer.close()
    log.close()


def test_who_does_not_want_to_wait_is_told_what_there_is(hub: RunningHub, ends: Ends, campaign: str) -> None:
    # Given a log that has not ended, and a stream of which nobody has heard
    send(ends.sender(hub), *pieces_of(text(PIECE), campaign, PIECE))
    eventually(lambda: hub.log(campaign, "run-0.1"), "the log at the hub")
    viewer = Viewer(ends.context, hub.viewers, campaign)
    # When they are asked for at once, then what is there comes, and then that there is nothing more for now
    for stream, size in (("run-0.1", PIECE), ("run-7.1", 0)):
        viewer.follow(stream, at_once=True)
        received = take(viewer, lambda pieces: bool(pieces) and not pieces[-1].data)
        assert sum(len(piece.data) for piece in received) == size
        assert not received[-1].last
        assert received[-1].offset == size
    viewer.close()


# ---- the budget ----------------------------------------------------------------------------------------------------


def test_a_run_that_prints_without_end_fills_no_disk_and_can_be_read_all_the_same(
    own_hub: RunningHub, ends: Ends, tmp_path: Path
) -> None:
    # Given a run that has printed more than the hub keeps of one
    own_hub.start()
    data = flood()
    sender = ends.sender(own_hub)
    log = GrowingLog(tmp_path / "log", "c", "run-0.1", sender)
    log.append(data)

    def streamed() -> bool:
        log.stream()
        return len(own_hub.log("c", "run-0.1")) >= BUDGET

    eventually(streamed, "what fits into the budget")
    # When somebody asks for what lies beyond, somebody else from further on, and a third comes from the beginning
    offsets = [BUDGET - 100, BUDGET + 5_000_000, 0]
    viewers = [ends.viewer(own_hub, "c", offset=offset) for offset in offsets]
    received: list[list[Piece]] = [[] for _ in viewers]

    def all_have_all() -> bool:
        log.stream()
        for viewer, pieces in zip(viewers, received, strict=True):
            while (piece := viewer.receive()) is not None:
                pieces.append(piece)
        return all(viewer.offset("run-0.1") == log.size for viewer in viewers)

    eventually(all_have_all, "all of it", 60)
    # Then each gets it, every byte once, while the run goes on,
    for offset, pieces in zip(offsets, received, strict=True):
        assert_each_byte_once([*pieces, Piece("c", "run-0.1", len(data), b"", last=True)], data[offset:], offset)
    # also what is printed now, and what is near the end,
    log.append(b"more\n")
    eventually(all_have_all, "what is printed now")
    assert all(pieces[-1].data == b"more\n" for pieces in received)
    received.append([])
    viewers.append(Viewer(ends.context, own_hub.viewers, "c"))
    viewers[-1].follow("run-0.1", 160, from_end=True)
    eventually(all_have_all, "the end")
    assert b"".join(piece.data for piece in received[-1]) == data[-155:] + b"more\n"
    # the hub's file has kept to the budget, and the slot's is complete
    assert len(own_hub.log("c", "run-0.1")) == BUDGET
    log.close()
    assert (tmp_path / "log").read_bytes() == data + b"more\n"
    # And when the run is over, all of it comes from the store
    commit(own_hub, "c", tmp_path / "log")
    for pieces, viewer in zip(received, viewers, strict=True):
        rest = watch(viewer)
        assert sum(piece.last for piece in [*pieces, *rest]) == 1
        assert viewer.offset("run-0.1") == len(data) + 5
    viewers[-1].close()


def test_a_slot_that_does_not_keep_to_the_budget_fills_no_disk_either(
    own_hub: RunningHub, ends: Ends, campaign: str
) -> None:
    # Given a hub, when somebody sends everything, as slots of an earlier version did
    own_hub.start()
    sender = ends.sender(own_hub)
    piece = b"x" * PIECE
    send(sender, *(Piece(campaign, "run-0.1", offset, piece) for offset in range(0, BUDGET + 20 * PIECE, PIECE)))
    send(sender, Piece(campaign, "mark", 0, b"x"))
    eventually(lambda: own_hub.log(campaign, "mark"), "that the hub has taken all of it")
    # Then the file has kept to the budget
    assert own_hub.paths.log(campaign, "run-0.1").stat().st_size == BUDGET


# ---- what gets lost, and who is slow ---------------------------------------------------------------------------------


def test_the_hub_asks_for_what_it_has_lost(own_hub: RunningHub, ends: Ends, tmp_path: Path) -> None:
    # Given a log of which the hub has lost a part, while the connection stayed
    own_hub.start()
    data = text(2_000_000)
    sender = ends.sender(own_hub)
    log = GrowingLog(tmp_path / "log", "c", "run-0.1", sender)
    log.append(data[:1_000_000])
    log.stream()

    def is_settled() -> bool:
        log.stream()  # also what may have been lost before there was a connection
        return sender.connections == 1 and own_hub.log("c", "run-0.1") == data[:1_000_000]

    eventually(is_settled, "the log at the hub")
    log.stream()
    send(sender, Piece("c", "mark", 0, b"x"))
    eventually(lambda: own_hub.log("c", "mark"), "that the hub has taken all of it")
    os.truncate(own_hub.paths.log("c", "run-0.1"), 300_000)
    # When the log grows
    log.append(data[1_000_000:])

    def is_whole() -> bool:
        log.stream()
        return own_hub.log("c", "run-0.1") == data

    # Then the hub gets what it lacks
    eventually(is_whole, "the whole log at the hub")
    log.close()


def test_an_attempt_that_is_made_again_is_not_mixed_with_what_it_printed_before(
    own_hub: RunningHub, ends: Ends, tmp_path: Path
) -> None:
    # Given a run that shared a process with others, and is done again alone, as the same attempt
    own_hub.start()
    sender = ends.sender(own_hub)
    first = GrowingLog(tmp_path / "first", "c", "run-0.1", sender)
    first.append(b"the beginning\nand what it printed together with others, which is longer\n")
    first.close()
    eventually(lambda: own_hub.log("c", "run-0.1").endswith(b"longer\n"), "the first log")
    again = GrowingLog(tmp_path / "again", "c", "run-0.1", sender)
    again.append(b"the beginning\nand alone\n")
    again.close()
    # When it is viewed, then it is what it printed last
    eventually(lambda: own_hub.log("c", "run-0.1") == b"the beginning\nand alone\n", "the second log")
    assert_each_byte_once(watch(ends.viewer(own_hub, "c")), b"the beginning\nand alone\n")


def test_a_viewer_that_takes_nothing_costs_the_hub_nothing_and_gets_all_later(own_hub: RunningHub, ends: Ends) -> None:
    # Given many long logs, and somebody who asks for all of them again and again, and takes no answer
    own_hub.start()
    streams = [f"run-{number}.1" for number in range(200)]
    data = text(PIECE)
    sender = ends.sender(own_hub)
    send(sender, *(Piece("c", stream, 0, data) for stream in streams))
    eventually(lambda: own_hub.log("c", streams[-1]) == data, "the logs at the hub")
    before = own_hub.memory()
    slow = Viewer(ends.context, own_hub.viewers, "c")
    for stream in streams:
        eventually(lambda stream=stream: not _is_full(slow, stream), "room for the question")  # type: ignore[misc]
    # When another one is served meanwhile
    assert take(ends.viewer(own_hub, "c", streams[3]), bool)[0].data == data
    # Then what the slow one has not taken does not pile up at the hub: 50 MB would,
    assert own_hub.memory() - before < 25 << 20
    # and once it takes its answers, all of them come
    received = take(slow, lambda pieces: len(pieces) == len(streams))
    assert sorted(piece.stream for piece in received) == sorted(streams)
    slow.close()


def _is_full(viewer: Viewer, stream: str) -> bool:
    """Ask for a stream, without taking any answer; say whether there was no room for that."""
    if not viewer.socket.poll(0, zmq.POLLOUT):
        return True
    viewer.follow(stream)
    return False


def test_sockets_have_limits_and_heartbeats() -> None:
    # Given any socket of the log's, when it is made, then queues and messages have limits, and silence is noticed
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = new_socket(context, zmq.DEALER)
    assert (socket.get(zmq.SNDHWM), socket.get(zmq.RCVHWM)) == (WAITING, WAITING)
    assert 0 < int(socket.get(zmq.MAXMSGSIZE)) < 2 * PIECE
    for option in (zmq.LINGER, zmq.HEARTBEAT_IVL, zmq.HEARTBEAT_TIMEOUT, zmq.HEARTBEAT_TTL):
        assert 0 < int(socket.get(option)) <= 20_000
    context.destroy(linger=0)
