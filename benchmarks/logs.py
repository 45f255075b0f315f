"""Logs: what streaming costs a simulation, and how many lines the hub takes.

A program that prints 10 MB/s runs in a real slot, with a viewer and without, and prints the same to a file; it tells
itself how long it took, by the clock and of the processor's time: of these, the latter does not care what else a busy
machine does.  The hub, guarded by CURVE as on a head, takes lines in batches from two senders, and so does a socket of
pyzmq's that does nothing with them.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.local import ROOT, Bench

#: What the program prints: lines of so many bytes, so many at once, and for so long, in seconds, on an idle machine.
LINE, BATCH, SECONDS = 100, 100, 2.0
RATE = 10_000_000

#: Rounds of a program that prints, at least: they are short, and machines busy.
PAIRS = 7

#: What the hub gets: lines of each log, which fit into its budget; logs of each sender's, one after the other; senders.
LINES, LOGS, SENDERS = 512_000, 2, 2
#: Lines of a message: few, and as many as slots send at once when they have that much to send.
FEW, MANY = 64, 2560

#: Computes, prints, and writes down how long that took.  Arguments of its own come from the environment.
_PRINTER = """#!{python}
import os, sys, time
words = sys.argv[1:]
if "-q" in words:
    print("Run 0: $repetition=0")
    sys.exit()
os.makedirs("results", exist_ok=True)
line = b"x" * {body} + b"\\n"
batch = line * {batch}
work, count = int(open({settings!r}).read().split()[0]), int(open({settings!r}).read().split()[1])
print("General run #0: $repetition=0", flush=True)
write = sys.stdout.buffer.write
began, used = time.perf_counter(), time.process_time()
for _ in range(count):
    for _ in range(work):
        pass
    write(batch)
    sys.stdout.buffer.flush()
took, used = time.perf_counter() - began, time.process_time() - used
open({told!r}, "w").write(f"{{took}} {{used}}")
open("results/General-#0.sca", "w").write("done")
"""


def logs(bench: Bench, rounds: int) -> Iterator[str]:
    """Yield a line for each comparison."""
    yield from printing(bench, rounds)
    yield from hub(rounds)


# ---- a simulation that prints ----------------------------------------------------------------------------------------


#: Seconds by the clock, and of the processor's time.
Took = tuple[float, float]


class Printing:
    """A program that prints 10 MB/s, and where it does so."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.project = bench.folder / "printing"
        self.project.mkdir()
        self._settings, self._told = bench.folder / "printing-settings", bench.folder / "printing-told"
        (self.project / "omnetpp.ini").write_text("[General]\nnetwork = None\n")
        (self.project / "labfleet.toml").write_text('program = "./print"\n')
        program = self.project / "print"
        program.write_text(
            _PRINTER.format(
                python=sys.executable,
                body=LINE - 1,
                batch=BATCH,
                settings=str(self._settings),
                told=str(self._told),
            )
        )
        program.chmod(0o755)
        self._calibrate()

    def _calibrate(self) -> None:
        """Find out how much the program has to compute between two batches to print 10 MB/s here."""
        size, batches = LINE * BATCH, int(RATE * SECONDS / (LINE * BATCH))
        work = 1000
        for _ in range(3):
            self._settings.write_text(f"{work} {batches // 4}")
            seconds = self.to_file()[1] / (batches // 4)
            work = max(1, round(work * (size / RATE) / seconds))
        self._settings.write_text(f"{work} {batches}")

    def _seconds(self) -> Took:
        took, used = map(float, self._told.read_text().split())
        return took, used

    def to_file(self) -> Took:
        """Return the seconds that it takes to print to a file."""
        with (self._bench.folder / "printed").open("wb") as output:
            argv = [str(self.project / "print"), "-r", "0"]
            subprocess.run(argv, cwd=self.project, check=True, stdout=output, env=self._bench.env)
        return self._seconds()

    def streamed(self) -> Took:
        """Return the seconds that it takes in a slot, while nobody looks."""
        self._told.unlink()
        subprocess.run(
            self._bench.labfleet("campaign", "--quiet"),
            cwd=self.project,
            env=self._bench.env,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return self._seconds()

    def watched(self) -> Took:
        """Return the seconds that it takes in a slot, while somebody follows its log."""
        self._told.unlink()
        submitted = subprocess.run(
            self._bench.labfleet("campaign", "--detach"),
            cwd=self.project,
            env=self._bench.env,
            check=True,
            capture_output=True,
            text=True,
        )
        seen = subprocess.run(
            self._bench.labfleet("logs", submitted.stdout.strip(), "--follow", "0"),
            cwd=self.project,
            env=self._bench.env,
            check=True,
            capture_output=True,
        )
        size = LINE * BATCH * int(RATE * SECONDS / (LINE * BATCH))
        if seen.stdout.count(b"x" * (LINE - 1) + b"\n") != size // LINE:
            raise AssertionError("the viewer has not seen every line once")
        return self._seconds()


def printing(bench: Bench, rounds: int) -> Iterator[str]:
    """Time a program that prints 10 MB/s: streamed against printing to a file, without a viewer and with one."""
    program = Printing(bench)
    program.streamed()  # starts the lab
    alone: list[tuple[Took, Took]] = []
    watched: list[tuple[Took, Took]] = []
    for _ in range(max(PAIRS, rounds)):
        file = program.to_file()
        alone.append((program.streamed(), file))
        watched.append((program.watched(), program.to_file()))
    what = f"a program that prints {RATE / 1e6:.0f} MB/s for {SECONDS:.0f} s, in a slot against to a file"
    yield f"{what}, nobody looks: {_slower(alone)}, goal ≤ 3 % slower"
    yield f"{what}, hub and a viewer on the same {len(os.sched_getaffinity(0))} cores: {_slower(watched)}"


def _slower(timed: Sequence[tuple[Took, Took]]) -> str:
    said = []
    for index, what in enumerate(("", " of the processor's time")):
        first, second = ([pair[side][index] for pair in timed] for side in (0, 1))
        ratios = sorted((one / other - 1) * 100 for one, other in zip(first, second, strict=True))
        said.append(
            f"{statistics.median(first):.2f} s against {statistics.median(second):.2f} s{what}, "
            f"{statistics.median(ratios):+.1f} % ({ratios[0]:+.1f} to {ratios[-1]:+.1f})"
        )
    return "; ".join(said)


# ---- the hub ---------------------------------------------------------------------------------------------------------

_HUB = """
import sys
from pathlib import Path
from runner.log_stream import Hub
from runner.paths import LabPaths
Hub(LabPaths(Path(sys.argv[1])), guarded=True).run(sys.argv[2], sys.argv[3])
"""

#: Takes as many messages as the argument says, and does nothing with them.
_RAW = """
import sys
from pathlib import Path
import zmq
from runner import curve
keys = Path(sys.argv[1]) / "keys"
context = zmq.Context()
guard = curve.guard(context, keys)
inbox = context.socket(zmq.PULL)
curve.serve(inbox, curve.own_keys(keys, "server"), curve.WORKERS)
inbox.bind(sys.argv[2])
for _ in range(int(sys.argv[4])):
    inbox.recv_multipart()
(Path(sys.argv[1]) / "done").touch()
inbox.recv_multipart()
"""

#: Sends a log in pieces of so many lines, as fast as they are taken.
_SENDER = """
import sys
from pathlib import Path
import zmq
from runner import curve
from runner.log_stream import Piece
kind, folder, endpoint, first, logs, lines, messages, size = *sys.argv[1:4], *map(int, sys.argv[4:])
keys = Path(folder) / "keys"
access = curve.Access(curve.own_keys(keys, "worker"), curve.own_keys(keys, "server").public)
context = zmq.Context()
socket = context.socket(zmq.PUSH if kind == "raw" else zmq.DEALER)
curve.call(socket, access)
socket.connect(endpoint)
batch = (b"x" * (size - 1) + b"\\n") * lines
print("ready", flush=True)
sys.stdin.readline()
for run in range(first, first + logs):
    for number in range(messages):
        socket.send_multipart(Piece("c", f"run-{run}.1", number * len(batch), batch).frames())
sys.stdin.read()  # slots stay, too; what is on its way when one leaves may be lost
"""


def hub(rounds: int) -> Iterator[str]:
    """Time how many lines a second the hub takes, against a socket that does nothing with them."""
    for lines in (FEW, MANY):
        timed = [(_rate("hub", lines), _rate("raw", lines)) for _ in range(max(3, rounds) + 1)]
        ours, theirs = zip(*timed[1:], strict=True)
        ratios = sorted(one / other for one, other in timed[1:])
        yield (
            f"hub with CURVE, lines of {LINE} bytes, {lines} in a message: {statistics.median(ours) / 1e6:.2f} million "
            f"lines/s ({min(ours) / 1e6:.2f} to {max(ours) / 1e6:.2f}), goal ≥ 1 million; raw pyzmq "
            f"{statistics.median(theirs) / 1e6:.2f} million, ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def _rate(kind: str, lines: int) -> float:
    """Return the lines per second that a receiver takes: the hub, or a raw socket."""
    from runner import curve

    with tempfile.TemporaryDirectory(prefix="lf-", dir="/tmp") as name, _receiver(kind, Path(name), lines) as endpoint:
        keys = Path(name) / "keys"
        curve.register(keys, curve.WORKERS, "w1", curve.own_keys(keys, "worker").public.decode())
        senders = [_sender(kind, name, endpoint, number * LOGS, lines) for number in range(SENDERS)]
        for sender in senders:
            assert sender.stdout
            sender.stdout.readline()
        began = time.perf_counter()
        for sender in senders:
            assert sender.stdin
            sender.stdin.write(b"go\n")
            sender.stdin.flush()
        size = LINES * LINE
        if kind == "raw":
            _wait((Path(name) / "done").exists)
        else:
            files = [Path(name) / "logs" / "c" / f"run-{run}.1" for run in range(SENDERS * LOGS)]
            _wait(lambda: all(file.exists() and file.stat().st_size == size for file in files))
        took = time.perf_counter() - began
        for sender in senders:
            sender.kill()
            sender.communicate()
    return SENDERS * LOGS * LINES / took


def _sender(kind: str, folder: str, endpoint: str, first: int, lines: int) -> "subprocess.Popen[bytes]":
    numbers = map(str, (first, LOGS, lines, LINES // lines, LINE))
    argv = [sys.executable, "-c", _SENDER, kind, folder, endpoint, *numbers]
    return subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextmanager
def _receiver(kind: str, folder: Path, lines: int) -> Iterator[str]:
    from runner import curve

    curve.own_keys(folder / "keys", "server")
    endpoint = f"ipc://{folder}/in"
    argv = [sys.executable, "-c", _RAW if kind == "raw" else _HUB, str(folder), endpoint, f"ipc://{folder}/out"]
    with subprocess.Popen([*argv, str(SENDERS * LOGS * LINES // lines)], cwd=ROOT) as process:
        try:
            _wait((folder / "in").exists)
            yield endpoint
        finally:
            process.kill()


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise OSError("a benchmark does not come to its end")
        time.sleep(0.002)
