"""Console output from slot to hub to viewers, over real sockets: every byte once, in order, and never a wrong one."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.log_stream import OPEN_FILES, PIECE, WAITING, GrowingLog, Piece, Sender, Viewer
from runner.log_stream import viewer as viewer_module
from runner.paths import LabPaths
from runner.simulate import memory
from tests.conftest import eventually

ROOT = Path(__file__).resolve().parent.parent.parent

HUB = """
import sys
from pathlib import Path
from runner.log_stream import Hub
from runner.paths import LabPaths
Hub(LabPaths(Path(sys.argv[1]))).run(sys.argv[2], sys.argv[3])
"""


class RunningHub:
    """A log hub in a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.paths = LabPaths(folder)
        self.slots, self.viewers = f"ipc://{folder}/in", f"ipc://{folder}/out"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", HUB, str(self._folder), self.slots, self.viewers]
        self._process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        eventually(lambda: all((self._folder / name).exists() for name in ("in", "out")), "the hub's sockets")

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        for name in ("in", "out"):
            (self._folder / name).unlink(missing_ok=True)

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def memory(self) -> int:
        """Return the bytes of memory that the hub takes."""
        assert self._process
        resident: int = memory.resident({self._process.pid})
        return resident

    def log(self, campaign: str, stream: str) -> bytes:
        """Return what the hub's file holds; empty if there is none."""
        path = self.paths.log(campaign, stream)
        return path.read_bytes() if path.exists() else b""


def hub_in(folder: str) -> Iterator[RunningHub]:
    home = Path(folder) / "h"  # what is beside it is the test's own, too
    home.mkdir()
    hub = RunningHub(home)
    try:
        yield hub
    finally:
        hub.kill()


@pytest.fixture(scope="module")
def hub() -> Iterator[RunningHub]:
    """Run a hub for all tests that leave it alive; each has a campaign of its own."""
    with tempfile.TemporaryDirectory(prefix="lf-", dir="/tmp") as folder:  # short: a socket's name has 108 bytes
        for running in hub_in(folder):
            running.start()
            yield running


@pytest.fixture
def own_hub() -> Iterator[RunningHub]:
    """Return a hub of the test's own, not started; nothing else is beside its folder."""
    with tempfile.TemporaryDirectory(prefix="lf-", dir="/tmp") as folder:
        home = Path(folder) / "hub"
        home.mkdir()
        yield from hub_in(str(home))


class Ends:
    """The slots' and viewers' ends of connections to hubs."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._kept: list[object] = []

    def sender(self, hub: RunningHub) -> Sender:
        sender = Sender(self.context, hub.slots)
        self._kept.append(sender)
        return sender

    def viewer(self, hub: RunningHub, campaign: str, stream: str = "run-0.1", offset: int = 0) -> Viewer:
        """Return a viewer that follows a stream."""
        viewer = Viewer(self.context, hub.viewers, campaign)
        self._kept.append(viewer)
        viewer.follow(stream, offset)
        return viewer

    def socket(self, kind: int, endpoint: str) -> "zmq.Socket[bytes]":
        socket = self.context.socket(kind)
        socket.connect(endpoint)
        self._kept.append(socket)
        return socket

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> str:
    return f"c{abs(hash(request.node.name)):x}"


def text(size: int, seed: int = 1) -> bytes:
    """Return bytes in which every position can be told, and none is zero."""
    return random.Random(seed).randbytes(size).replace(b"\0", b"1")


def pieces_of(data: bytes, campaign: str, size: int, stream: str = "run-0.1") -> list[Piece]:
    return [Piece(campaign, stream, start, data[start : start + size]) for start in range(0, len(data), size)]


def send(sender: Sender, *pieces: Piece) -> None:
    for piece in pieces:
        eventually(lambda piece=piece: sender.send(piece), "room in the hub's queue")  # type: ignore[misc]


def streamed(log: GrowingLog) -> bool:
    log.stream()
    return True


def watch(viewer: Viewer, seconds: float = 20.0) -> list[Piece]:
    """Return what a viewer gets until the stream says that it ends."""
    received: list[Piece] = []
    deadline = time.monotonic() + seconds
    while not (received and received[-1].last):
        assert time.monotonic() < deadline, f"the stream does not end; {viewer.offset('run-0.1')} bytes so far"
        viewer.socket.poll(100)
        while (piece := viewer.receive()) is not None:
            received.append(piece)
    return received


def assert_each_byte_once(received: list[Piece], expected: bytes, offset: int = 0) -> None:
    """Check THE promise: what a viewer got is the log from its offset on, every byte once, in order."""
    for piece in received:
        assert piece.offset == offset
        offset += len(piece.data)
    assert b"".join(piece.data for piece in received) == expected
    assert [piece.last for piece in received] == [False] * (len(received) - 1) + [True]


# ---- every byte --------------------------------------------------------------------------------------------------


def test_viewers_get_every_byte_once_and_in_order(hub: RunningHub, ends: Ends, campaign: str, tmp_path: Path) -> None:
    # Given a log that grows by lines and by much at once, and viewers: from the beginning, from before what is there
    chance = random.Random(7)
    data = text(3_000_000)
    offsets = (0, 0, 1, 5, PIECE, 1_234_567, len(data) - 1, len(data))
    viewers = [ends.viewer(hub, campaign, offset=offset) for offset in offsets]
    received: list[list[Piece]] = [[] for _ in viewers]
    sender = ends.sender(hub)
    log = GrowingLog(tmp_path / "log", campaign, "run-0.1", sender)
    # When it is streamed while it grows
    while log.size < len(data):
        log.append(data[log.size : log.size + chance.choice([1, 80, 5_000, 300_000, 600_000])])
        if chance.random() < 0.7:
            log.stream()
        for viewer, pieces in zip(viewers, received, strict=True):
            while (piece := viewer.receive()) is not None:
                pieces.append(piece)
    eventually(lambda: streamed(log) and len(hub.log(campaign, "run-0.1")) == len(data), "all of it at the hub")
    log.close()
    # Then each viewer gets everything from its offset on, and so does one that comes when all is over
    late = ends.viewer(hub, campaign, offset=17)
    for viewer, offset, pieces in zip([*viewers, late], [*offsets, 17], [*received, []], strict=True):
        assert_each_byte_once([*pieces, *watch(viewer)], data[offset:], offset)
    # And the files of slot and hub are the log
    assert (tmp_path / "log").read_bytes() == data
    assert hub.log(campaign, "run-0.1") == data
    assert late.offset("run-0.1") == len(data)


def test_an_empty_log_ends_too(hub: RunningHub, ends: Ends, campaign: str, tmp_path: Path) -> None:
    # Given a viewer of a run that prints nothing
    viewer = ends.viewer(hub, campaign)
    # When its log is closed, then the viewer is told that it ends
    GrowingLog(tmp_path / "log", campaign, "run-0.1", ends.sender(hub)).close()
    assert_each_byte_once(watch(viewer), b"")


def test_a_log_that_was_removed_begins_anew(hub: RunningHub, ends: Ends, campaign: str) -> None:
    # Given a log that the hub has open, and that housekeeping removes
    data = text(1000)
    sender = ends.sender(hub)
    send(sender, Piece(campaign, "run-0.1", 0, data))
    eventually(lambda: hub.log(campaign, "run-0.1") == data, "the log at the hub")
    shutil.rmtree(hub.paths.log(campaign, "run-0.1").parent)
    # When somebody sends to it again, then that is not lost in a file that nobody finds
    send(sender, Piece(campaign, "run-0.1", 0, data[:10]))
    eventually(lambda: hub.log(campaign, "run-0.1") == data[:10], "the new log at the hub")


def test_the_last_piece_may_hold_bytes(hub: RunningHub, ends: Ends, campaign: str) -> None:
    # Given a log that a sender ends with its last bytes, not after them
    data = text(PIECE + 1000)
    first, last = pieces_of(data, campaign, PIECE)
    send(ends.sender(hub), first, Piece(campaign, "run-0.1", last.offset, last.data, last=True))
    eventually(lambda: len(hub.log(campaign, "run-0.1")) == len(data), "all of it at the hub")
    # When it is viewed, then all of it comes
    viewer = ends.viewer(hub, campaign)
    assert_each_byte_once(watch(viewer), data)


def test_a_hub_whose_queue_is_full_loses_nothing(own_hub: RunningHub, ends: Ends, tmp_path: Path) -> None:
    # Given a hub that does not take anything (it is not even there), and a log larger than all queues
    data = text(4 * WAITING * PIECE)
    sender = ends.sender(own_hub)
    log = GrowingLog(tmp_path / "log", "c", "run-0.1", sender)
    began = time.monotonic()
    for start in range(0, len(data), 3 * PIECE):
        log.append(data[start : start + 3 * PIECE])
        log.stream()
    # Then the slot is not held up, and is told that nothing more fits
    assert time.monotonic() - began < 30
    assert not sender.send(Piece("c", "other", 0, b"x"))
    # When the hub comes
    own_hub.start()
    eventually(lambda: streamed(log) and own_hub.log("c", "run-0.1") == data, "all of it at the hub")
    log.close()
    # Then a viewer gets every byte
    viewer = ends.viewer(own_hub, "c")
    assert_each_byte_once(watch(viewer), data)


def test_a_viewer_follows_many_streams_at_once(hub: RunningHub, ends: Ends, campaign: str) -> None:
    # Given more streams than the hub keeps files open, sent piece by piece in turns
    logs = {f"run-{number}.1": text(3_000, seed=number) for number in range(OPEN_FILES + 20)}
    viewer = ends.viewer(hub, campaign, "run-0.1")
    for stream in list(logs)[1:]:
        viewer.follow(stream)
    sender = ends.sender(hub)
    for turn in range(3):
        send(sender, *(pieces_of(data, campaign, 1_000, stream)[turn] for stream, data in logs.items()))
    # When a viewer follows all of them
    received = dict.fromkeys(logs, b"")

    def everything_is_there() -> bool:
        viewer.socket.poll(100)
        while (piece := viewer.receive()) is not None:
            assert piece.offset == len(received[piece.stream])
            received[piece.stream] += piece.data
        return received == logs

    # Then each comes complete
    eventually(everything_is_there, "all streams")


def test_a_viewer_gets_nothing_of_a_stream_that_it_has_left(hub: RunningHub, ends: Ends, campaign: str) -> None:
    # Given two logs at the hub, and a viewer that changed its mind about one, and about the offset of the other
    send(ends.sender(hub), *(Piece(campaign, f"run-{run}.1", 0, b"hello world") for run in (0, 1)))
    eventually(lambda: hub.log(campaign, "run-1.1"), "the logs at the hub")
    viewer = ends.viewer(hub, campaign, "run-0.1")
    viewer.follow("run-1.1")
    viewer.forget("run-0.1")
    viewer.follow("run-1.1", 5)
    # When the answers to all its questions come, then it gets what it asked for last, and nothing else
    received: list[Piece] = []

    def something_came() -> bool:
        viewer.socket.poll(100)
        while (piece := viewer.receive()) is not None:
            received.append(piece)
        return bool(received)

    eventually(something_came, "the stream")
    assert received == [Piece(campaign, "run-1.1", 5, b" world")]


# ---- what goes wrong on the way ----------------------------------------------------------------------------------


def test_repetitions_do_no_harm(hub: RunningHub, ends: Ends, campaign: str) -> None:
    # Given pieces that arrive several times, also after later ones, and cut differently
    data = text(50_000)
    viewer = ends.viewer(hub, campaign)
    sender = ends.sender(hub)
    pieces = pieces_of(data, campaign, 7_000)
    for number, piece in enumerate(pieces):
        send(sender, piece, piece, *pieces[: number // 2])
    send(sender, *pieces_of(data, campaign, 999), Piece(campaign, "run-0.1", len(data), b"", last=True))
    # When they are viewed, then every byte comes once
    assert_each_byte_once(watch(viewer), data)
    assert hub.log(campaign, "run-0.1") == data


def test_a_lost_piece_never_becomes_zeros(hub: RunningHub, ends: Ends, campaign: str) -> None:
    # Given a log of which one piece is lost on the way
    data = text(30_000)
    pieces = pieces_of(data, campaign, 10_000)
    sender = ends.sender(hub)
    viewer = ends.viewer(hub, campaign)
    send(
        sender,
        pieces[0],
        pieces[2],
        Piece(campaign, "run-0.1", 30_000, b"", last=True),
        Piece(campaign, "mark", 0, b"x"),
    )
    eventually(lambda: hub.log(campaign, "mark"), "that the hub has taken all of them")
    # Then the hub has what lies before it and nothing else,
    assert hub.log(campaign, "run-0.1") == data[:10_000]
    # and when the rest comes again, then the viewer gets it complete
    send(sender, *pieces[1:], Piece(campaign, "run-0.1", 30_000, b"", last=True))
    assert_each_byte_once(watch(viewer), data)


def test_whatever_is_lost_repeated_or_late_the_hub_has_a_beginning_of_the_log(
    hub: RunningHub, ends: Ends, campaign: str
) -> None:
    sender = ends.sender(hub)
    for seed in range(40):
        # Given pieces of a log, some lost, some repeated, in any order
        chance = random.Random(seed)
        stream, data = f"run-{seed}.1", text(2_000, seed)
        pieces = pieces_of(data, campaign, chance.choice([1_000, 300, 77]), stream)
        arriving = [piece for piece in pieces * 2 if chance.random() < 0.8]
        if seed % 2:
            arriving.sort(key=lambda piece: piece.offset + chance.choice([0, 0, 100, 1_000]))
        send(sender, *arriving, Piece(campaign, f"mark-{seed}", 0, b"x"))
        # When the hub has taken them
        eventually(lambda seed=seed: hub.log(campaign, f"mark-{seed}"), "that the hub has taken all of them")  # type: ignore[misc]
        # Then its file is the log's beginning, whole pieces of it, and never anything else
        found = hub.log(campaign, stream)
        assert data.startswith(found)
        # And when everything comes once more, then it is the log
        send(sender, *pieces)
        eventually(lambda stream=stream, data=data: hub.log(campaign, stream) == data, "the whole log")  # type: ignore[misc]


def test_what_a_hub_has_stays_valid_when_it_is_started_again(own_hub: RunningHub, ends: Ends, tmp_path: Path) -> None:
    # Given a log that is streamed
    data = text(2_000_000)
    own_hub.start()
    sender = ends.sender(own_hub)
    log = GrowingLog(tmp_path / "log", "c", "run-0.1", sender)
    for start in range(0, len(data), 10_000):
        log.append(data[start : start + 10_000])
        log.stream()
        # When the hub is killed in the middle, twice, and started again
        if start in (700_000, 1_400_000):
            eventually(lambda: own_hub.log("c", "run-0.1"), "something at the hub")
            own_hub.kill()
            before = own_hub.log("c", "run-0.1")
            assert data.startswith(before)
            own_hub.start()
            assert data.startswith(own_hub.log("c", "run-0.1"))
            assert own_hub.log("c", "run-0.1").startswith(before)
    log.close()
    # Then a viewer that comes anew gets what the hub has, and all of it is right
    viewer = ends.viewer(own_hub, "c")
    received = b""

    def has_all_that_is_there() -> bool:
        nonlocal received
        viewer.socket.poll(100)
        while (piece := viewer.receive()) is not None:
            assert piece.offset == len(received)
            received += piece.data
        return len(received) >= len(before)

    eventually(has_all_that_is_there, "what the hub has")
    assert data.startswith(received)
    # And when the log is sent once more, then the viewer gets the rest
    send(sender, *pieces_of(data, "c", PIECE))
    eventually(lambda: has_all_that_is_there() and received == data, "all of it")


def test_the_file_of_the_slot_is_complete_without_any_hub(own_hub: RunningHub, ends: Ends, tmp_path: Path) -> None:
    # Given no hub at all, when a log grows beyond every queue and is closed, then its file is complete
    data = text(3 * WAITING * PIECE)
    log = GrowingLog(tmp_path / "log", "c", "run-0.1", ends.sender(own_hub))
    log.append(data)
    log.stream()
    log.close()
    assert (tmp_path / "log").read_bytes() == data
    assert log.size == len(data)


# ---- what is no piece --------------------------------------------------------------------------------------------

OFFSET = Piece("c", "s", 0, b"").frames()[2]

MALFORMED = [
    [],
    [b""],
    [b"c", b"s", OFFSET],
    [b"c", b"s", OFFSET, b"x", b""],
    [b"c", b"s", b"", b"x"],
    [b"c", b"s", OFFSET[:-1], b"x"],
    [b"c", b"s", OFFSET + b"\0", b"x"],
    [b"c", b"s", b"\xff" * len(OFFSET), b"x"],
    [b"", b"s", OFFSET, b"x"],
    *([b"c", name, OFFSET, b"x"] for name in (b"", b"..", b".", b"../x", b"/x", b"a/b", b".x", b"-x", b"x\n", b"x\0")),
    *([name, b"s", OFFSET, b"x"] for name in (b"..", b"../../x", b"/tmp/x", b"\xff", "ü".encode(), b"x" * 201)),
    [b"c", b"s", OFFSET, bytes(PIECE + 1)],
]


@pytest.mark.parametrize("frames", MALFORMED)
def test_what_is_no_piece_is_refused(frames: list[bytes]) -> None:
    # Given a message that no slot or viewer sends, when it is parsed, then it is refused
    with pytest.raises(ValueError, match=r"."):
        Piece.parse(frames)


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.binary(max_size=20), max_size=6))
def test_any_message_is_a_piece_or_refused(frames: list[bytes]) -> None:
    # Given any message, when it is parsed
    try:
        piece = Piece.parse(frames)
    except ValueError:
        return
    # Then it is refused, or it is a piece whose name is safe as a file's
    assert "/" not in piece.stream
    assert not piece.stream.startswith(".")


@settings(deadline=None, derandomize=True, database=None)
@given(
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", fullmatch=True),
    st.integers(0, 1 << 50),
    st.binary(max_size=100),
    st.booleans(),
)
def test_a_piece_travels_unchanged(name: str, offset: int, data: bytes, last: bool) -> None:
    # Given any piece, when it is made a message and parsed, then it is the same
    piece = Piece(name, name, offset, data, last)
    assert Piece.parse(piece.frames()) == piece


def random_messages(count: int) -> Iterator[list[bytes]]:
    """Yield messages that are wrong in random ways, some nearly right."""
    chance = random.Random(11)
    for _ in range(count):
        frames = [b"evil", b"run-0.1", OFFSET, b"data"]
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(frames))
            match chance.randrange(5):
                case 0:
                    frames[place] = chance.randbytes(chance.randrange(30))
                case 1:
                    frames.insert(place, chance.randbytes(3))
                case 2 if len(frames) > 1:
                    del frames[place]
                case 3:
                    frames[place] = frames[place][:-1]
                case _:
                    frames[place] = b"../" + frames[place]
        yield frames


def test_the_hub_goes_on_after_malformed_messages(own_hub: RunningHub, ends: Ends) -> None:
    # Given a hub
    own_hub.start()
    slot, viewer = ends.socket(zmq.DEALER, own_hub.slots), ends.socket(zmq.DEALER, own_hub.viewers)
    # When it gets all kinds of messages that are no pieces, as slot and as viewer, also ones that are too large
    for frames in [*(message for message in MALFORMED if message), *random_messages(10_000)]:
        for socket in (slot, viewer):
            eventually(lambda socket=socket: socket.poll(0, zmq.POLLOUT), "room in the queue")  # type: ignore[misc]
            socket.send_multipart(frames)
    # Then it is alive, serves those that behave,
    sender, good = ends.sender(own_hub), ends.viewer(own_hub, "good")
    send(sender, Piece("good", "run-0.1", 0, b"hello"), Piece("good", "run-0.1", 5, b"", last=True))
    assert_each_byte_once(watch(good), b"hello")
    assert own_hub.is_alive
    # and has written nothing but logs
    home = own_hub.paths.home
    assert {path.name for path in home.iterdir()} == {"in", "out", "logs"}
    assert list(home.parent.iterdir()) == [home]
    assert all(len(path.relative_to(home).parts) == 3 for path in home.rglob("*") if path.is_file())


def test_logs_are_for_their_owner_alone(hub: RunningHub, ends: Ends, campaign: str) -> None:
    # Given a log at the hub, when somebody else looks at the file, then its mode keeps them out
    send(ends.sender(hub), Piece(campaign, "run-0.1", 0, b"secret"))
    eventually(lambda: hub.log(campaign, "run-0.1"), "the log")
    assert os.stat(hub.paths.log(campaign, "run-0.1")).st_mode & 0o077 == 0


def test_a_viewer_asks_a_hub_again_that_has_forgotten_its_questions(
    own_hub: RunningHub, ends: Ends, campaign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given viewers of a log that has not begun, and of one that has and grows
    monkeypatch.setattr(viewer_module, "SILENCE", 0.2)
    own_hub.start()
    data = text(1000)
    viewers = [ends.viewer(own_hub, campaign, stream) for stream in ("run-0.1", "run-1.1")]
    send(ends.sender(own_hub), Piece(campaign, "run-1.1", 0, data[:10]))
    first = [await_piece(viewers[1])]
    # When the hub is killed and started again, and then the logs come
    own_hub.kill()
    own_hub.start()
    sender = ends.sender(own_hub)
    send(sender, Piece(campaign, "run-0.1", 0, data, last=True), Piece(campaign, "run-1.1", 10, data[10:], last=True))
    # Then each viewer gets every byte once, although it asked the hub that died
    assert_each_byte_once(watch(viewers[0]), data)
    assert_each_byte_once(first + watch(viewers[1]), data)


def await_piece(viewer: Viewer) -> Piece:
    found: list[Piece] = []

    def received() -> bool:
        if piece := viewer.receive():
            found.append(piece)
        return bool(found)

    eventually(received, "a piece")
    return found[0]


def test_a_viewer_goes_on_at_another_hub_where_it_was(
    own_hub: RunningHub, hub: RunningHub, ends: Ends, campaign: str
) -> None:
    # Given a viewer that has seen the beginning of a log
    own_hub.start()
    data = text(1000)
    viewer = ends.viewer(own_hub, campaign)
    send(ends.sender(own_hub), Piece(campaign, "run-0.1", 0, data[:400]))
    first = [await_piece(viewer)]
    # When it is connected anew, as after the lab was away
    send(ends.sender(hub), Piece(campaign, "run-0.1", 0, data, last=True))
    viewer.close()
    viewer.connect(ends.context, hub.viewers)
    # Then it gets the rest
    assert_each_byte_once(first + watch(viewer), data)


def test_a_slot_hears_of_the_log_at_hand_whatever_was_asked_before(hub: RunningHub, ends: Ends) -> None:
    # Given a slot that was asked for many logs that it has no more
    sender = ends.sender(hub)
    for run in range(500):
        sender.want("c1", f"run-{run}.1", [0])
    # When it is asked for the one at hand, then it knows that
    sender.want("c1", "run-500.1", [7])
    assert sender.wanted("c1", "run-500.1") == [7]


def test_the_end_comes_once_though_a_slow_hub_was_asked_twice(ends: Ends, tmp_path: Path) -> None:
    # Given a hub that was asked a second time before it answered, and then answers both questions
    endpoint = f"ipc://{tmp_path}/viewers"
    hub = ends.context.socket(zmq.ROUTER)
    hub.bind(endpoint)
    viewer = Viewer(ends.context, endpoint, "c1")
    viewer.follow("run-0.1", 7)
    who, *_ = hub.recv_multipart()
    for _ in range(2):
        hub.send_multipart([who, *Piece("c1", "run-0.1", 7, b"", last=True).frames()])
    other = Piece("c1", "run-1.1", 0, b"x")
    viewer.follow("run-1.1")
    hub.send_multipart([who, *other.frames()])
    # When the viewer has got all, then the log has ended once
    received = [await_piece(viewer)]
    while received[-1] != other:
        received.append(await_piece(viewer))
    assert [piece.stream for piece in received] == ["run-0.1", "run-1.1"]
    viewer.close()
    hub.close()
