"""The job of a slot: a chunk of runs, each in a Cmdenv process, alone or with others of the chunk.

What a run leaves goes to the spool, complete or not at all; the uploader takes it from there.
"""

import logging
import os
import secrets
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zmq

from runner import checkouts, omnetpp, sharing, shell
from runner.console import RunLog, Tail
from runner.head import Head
from runner.job_queue import WorkerEnd
from runner.log_stream import GrowingLog, Sender, run_stream
from runner.machine import Machine
from runner.messages import ChunkEnded, ChunkStarted, RunProgressed, RunStarted
from runner.model import Attempt, Campaign, Chunk, Command, File, Kind, Launch, Outcome, Prepared, Run, decode, encode
from runner.paths import AttemptPaths, attempt_parcel
from runner.private_directory import PrivateDirectory

log = logging.getLogger(__name__)

#: Seconds between looks at what a running simulation printed.
LOOK = 0.1
#: Seconds between progress reports, each of which also asks whether the campaign was cancelled.
PULSE = 1.0
#: Seconds that a cancelled simulation gets to end by itself before it is killed.
GRACE = 2.0


@dataclass(frozen=True)
class Work:
    """A chunk with everything that its runs have in common."""

    chunk: Chunk
    campaign: Campaign
    prepared: Prepared
    checkout: Path
    runs: dict[int, Run]


class Slot:
    """Does one chunk after the other on this host."""

    def __init__(self, name: str, machine: Machine, lab: WorkerEnd, head: Head, sender: Sender) -> None:
        self._name, self._host, self._paths = name, machine.name, machine.paths
        self._lab, self._head, self._sender = lab, head, sender
        self._to_uploader: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUSH)
        self._to_uploader.connect(self._paths.endpoint("uploader"))
        #: The directory of the chunk's next process, if the one before it left it as it was.
        self._private: PrivateDirectory | None = None
        self._may_share_of: dict[tuple[str, str, Launch], bool] = {}
        self._works: dict[str, tuple[Campaign, Prepared, Path, dict[int, Run]]] = {}

    def simulate(self, argument: str) -> None:
        """Do a chunk of runs.  The argument is a :class:`~runner.model.Chunk` as JSON."""
        chunk: Chunk = decode(argument, Chunk)
        self._lab.post(ChunkStarted(chunk.campaign, chunk.id, self._host, self._name))
        error = ""
        waiting, shared = list(chunk.attempts), chunk.shared
        try:
            work = self._work(chunk)
            shared = shared and self._may_share_of.get(_kind(work), True)
            while waiting and not self._lab.is_cancelled(chunk.campaign):
                over = self._simulate_together(work, waiting if shared else waiting[:1])
                shared = shared and bool(over)
                waiting = [attempt for attempt in waiting if attempt not in over]
        except Exception as problem:  # the slot's own trouble is reported, and the slot lives on
            log.exception("chunk %s", chunk.id)
            error = f"{type(problem).__name__}: {problem}"
        self._remove_private()
        self._lab.post(
            ChunkEnded(
                chunk.campaign,
                chunk.id,
                self._host,
                unfinished=tuple(waiting),
                error=error,
                mixed_up=chunk.shared and not shared,
            )
        )

    def _work(self, chunk: Chunk) -> Work:
        """Return what the chunk's runs have in common; asked for once per campaign."""
        if chunk.campaign not in self._works:
            campaign = self._lab.campaign(chunk.campaign)
            prepared = self._lab.prepared(chunk.campaign)
            checkout = checkouts.provide_checkout(self._paths, self._head, campaign, prepared.key)
            self._works = {chunk.campaign: (campaign, prepared, checkout, {run.number: run for run in prepared.runs})}
        return Work(chunk, *self._works[chunk.campaign])

    def _simulate_together(self, work: Work, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Do runs in one process and return the attempts that are over: all, or those up to the first failure.

        None is over if several left a file of which nobody knows whose it is.
        """
        if self._private is None:
            top = self._paths.private / f"{work.chunk.id}-{attempts[0].run}"
            self._private = PrivateDirectory.create(top, work.campaign.name, work.checkout, work.campaign.directory)
        outcomes = _SimulationProcess(work, attempts, self._private, self).follow()
        done = [outcome for outcome, _ in outcomes if outcome.kind == "done"]
        if len(done) > 1 and not self._may_share(work, done[-1]):
            outcomes = []
        for outcome, log_file in outcomes:
            self._spool(outcome, log_file, self._private)
        if not self._private.is_as_new():  # else it is the next process's: making one takes milliseconds
            self._remove_private()
        return [Attempt(outcome.run, outcome.attempt) for outcome, _ in outcomes]

    def _may_share(self, work: Work, outcome: Outcome) -> bool:
        """Say whether runs of a campaign's kind may share a process; found out once, with a run that has done so."""
        kind = _kind(work)
        if work.campaign.batch is None and kind not in self._may_share_of and self._private:
            top = self._paths.private / f"{work.chunk.id}-proof"
            self._may_share_of[kind] = sharing.is_same_alone(
                work.campaign, work.prepared, work.checkout, outcome, self._private.root, top
            )
        return self._may_share_of.get(kind, True)

    def _remove_private(self) -> None:
        if self._private:
            self._private.remove()
        self._private = None

    def _spool(self, outcome: Outcome, log_file: Path, private: PrivateDirectory) -> None:
        """Move a run's files to where the uploader takes them; the folder appears there complete."""
        log.info(
            "run %d of %s, attempt %d: %s after %.1f s on %s",
            outcome.run,
            outcome.campaign,
            outcome.attempt,
            outcome.kind,
            outcome.ended - outcome.started,
            self._name,
        )
        token = secrets.token_hex(4)
        name = attempt_parcel(outcome.campaign, outcome.run, outcome.attempt, token)
        outcome = msgspec.structs.replace(outcome, parcel=name)
        half = AttemptPaths(self._paths.spool / f".{name}")
        half.files.mkdir(parents=True)
        for file in outcome.files:
            target = half.file(file.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(private.root / file.path, target)
        os.rename(log_file, half.log)
        half.outcome.write_bytes(encode(outcome))
        os.rename(half.root, self._paths.spool / name)
        self._to_uploader.send(name.encode())

    # what a simulation process needs of its slot
    def new_log(self, work: Work, attempt: Attempt, folder: Path) -> tuple[GrowingLog, Path]:
        """Return an empty log for an attempt, streamed while it grows, and its path."""
        stream = run_stream(attempt.run, attempt.number)
        path = folder / f"{stream}.log"
        return GrowingLog(path, work.campaign.id, stream, self._sender), path

    def started(self, work: Work, attempt: Attempt, when: float) -> None:
        """Tell the foreman that a run began."""
        self._lab.post(RunStarted(work.campaign.id, attempt.run, attempt.number, self._host, self._name, when))

    def progressed(self, work: Work, attempt: Attempt, status: omnetpp.Status) -> None:
        """Tell the foreman how far a run is."""
        self._lab.post(
            RunProgressed(work.campaign.id, attempt.run, status.sim_time, status.percent, status.speed),
        )

    def is_cancelled(self, work: Work) -> bool:
        """Say whether the campaign's runs are no longer wanted."""
        return self._lab.is_cancelled(work.campaign.id)

    @property
    def mark(self) -> str:
        """What tells this slot's simulations from all other processes, whoever their parents are."""
        return shell.mark(self._paths.home, self._name)

    @property
    def identity(self) -> tuple[str, str]:
        """Host and slot."""
        return self._host, self._name


class _SimulationProcess:
    """One Cmdenv process and the runs that it goes through."""

    def __init__(self, work: Work, attempts: Sequence[Attempt], private: PrivateDirectory, slot: Slot) -> None:
        self._work, self._private, self._slot = work, private, slot
        self._attempts = {attempt.run: attempt for attempt in attempts}
        self._stems = {run: omnetpp.file_stem(work.campaign.config, work.runs[run]) for run in self._attempts}
        self._begun: list[RunLog] = []
        #: Printed before any run began.
        self._early = b""
        self._killed_at = 0.0
        self._cancelled = False
        self.command = omnetpp.simulation_command(
            work.prepared.program, work.campaign.launch, work.campaign.config, [a.run for a in attempts]
        )

    def follow(self) -> list[tuple[Outcome, Path]]:
        """Run the process to its end and return what became of each run that is over."""
        console_file = self._private.top / "console"
        command = Command(self.command, {shell.MARK: self._slot.mark})
        environment = {**self._work.campaign.environment, **command.environment}
        with console_file.open("wb") as console:
            process = shell.start(
                command.argv,
                cwd=self._private.working_directory,
                env=environment,
                output=console,
                dies_with_parent=True,
            )
        if len(self._attempts) == 1:
            self._begin(next(iter(self._attempts)))
        tail = Tail(console_file)
        next_pulse = time.monotonic() + PULSE
        status = None
        while status is None:
            status = process.wait(LOOK)
            self._look(tail)
            if status is None and time.monotonic() >= next_pulse:
                next_pulse = time.monotonic() + PULSE
                self._pulse(process)
        while self._look(tail):
            pass
        process.signal_group(signal.SIGKILL)  # what it left behind in its session
        self._take_console(tail.close())
        if not self._begun:  # the process ended before it came to any run
            self._begin(next(iter(self._attempts)))
        self._begun[-1].close(time.time())
        console_file.unlink()
        return self._outcomes(status)

    def _look(self, console: Tail) -> bool:
        """Take over what was printed since the last look; True if it was something."""
        data = console.new_lines()
        self._take_console(data)
        if not self._begun:
            return bool(data)
        current = self._begun[-1]
        if current.output is None:
            self._find_output(current)
        grew = current.look()
        current.log.stream()
        return bool(data) or grew

    def _take_console(self, data: bytes) -> None:
        """Give the process's own output to the run that it belongs to."""
        if len(self._attempts) == 1:
            self._begun[0].append(data)
            return
        for line in data.splitlines(keepends=True):
            announced = omnetpp.started_run(line.decode(errors="replace")) if b" run #" in line else None
            if announced in self._attempts and all(announced != begun.attempt.run for begun in self._begun):
                self._begin(announced)
            if self._begun:
                self._begun[-1].append(line)
            else:
                self._early += line

    def _begin(self, run: int) -> None:
        """A run begins, so the one before it is over."""
        now = time.time()
        if self._begun:
            previous = self._begun[-1]
            if previous.output is None:
                self._find_output(previous)
            previous.close(now)
        attempt = self._attempts[run]
        growing, path = self._slot.new_log(self._work, attempt, self._private.top)
        self._begun.append(RunLog(attempt, growing, path, now))
        self._begun[-1].append(self._early)
        self._early = b""
        self._slot.started(self._work, attempt, now)

    def _find_output(self, current: RunLog) -> None:
        """Look for the file that Cmdenv redirects a run's output to."""
        stem = self._stems[current.attempt.run]
        alone = len(self._attempts) == 1
        for folder in self._private.real_directories():
            for name in os.listdir(folder):
                if name.endswith(".out") and (alone or omnetpp.stem_of(name) == stem):
                    path = os.path.join(folder, name)
                    if os.path.isfile(path) and not os.path.islink(path) and not self._private.was_given(path):
                        current.output = Tail(Path(path))
                        return

    def _pulse(self, process: shell.Process) -> None:
        """Report progress, and end the process if nobody wants it any more."""
        if self._begun and (status := self._begun[-1].status):
            self._slot.progressed(self._work, self._begun[-1].attempt, status)
        if self._killed_at:
            if time.monotonic() >= self._killed_at:
                process.signal_group(signal.SIGKILL)
        elif self._slot.is_cancelled(self._work):
            self._cancelled = True
            self._killed_at = time.monotonic() + GRACE
            process.signal_group(signal.SIGTERM)

    # ---- what became of the runs ----

    def _outcomes(self, status: int) -> list[tuple[Outcome, Path]]:
        """Judge each run that is over, and share out the files.

        None is over if several runs shared the process and a file cannot be told whose it is: they are done singly.
        """
        errors = [begun.error() if status else "" for begun in self._begun]
        over = list(zip(self._begun, judge(status, errors, self._cancelled), strict=False))
        files = self._shared_out([begun.attempt.run for begun, _ in over])
        if files is None:
            return []
        return [
            (self._outcome(begun, kind, error, status, files[begun.attempt.run]), begun.log_file)
            for begun, (kind, error) in over
        ]

    def _shared_out(self, runs: list[int]) -> dict[int, list[str]] | None:
        """Return the files of each run that is over: by name where several shared the process; None if that fails."""
        files: dict[int, list[str]] = {run: [] for run in runs}
        owners = {stem: run for run, stem in self._stems.items()}
        logs = {str(begun.log_file) for begun in self._begun}
        for path in self._private.new_files():
            if path in logs:
                continue
            run = owners.get(omnetpp.stem_of(path)) if len(self._attempts) > 1 else runs[0]
            if run is None:
                return None
            if run in files:  # a run that is not over leaves its files again
                files[run].append(path)
        return files

    def _outcome(self, begun: RunLog, kind: Kind, error: str, status: int, files: list[str]) -> Outcome:
        host, slot = self._slot.identity
        return Outcome(
            campaign=self._work.campaign.id,
            run=begun.attempt.run,
            attempt=begun.attempt.number,
            kind=kind,
            exit_status=0 if kind == "done" else status,
            host=host,
            slot=slot,
            started=begun.started,
            ended=begun.ended,
            error=error,
            command=self.command,
            files=tuple(self._file(path) for path in files),
            log_size=begun.log.size,
        )

    def _file(self, path: str) -> File:
        info = os.stat(path)
        return File(
            self._private.name_at_home(path),
            info.st_size,
            info.st_mtime_ns,
            given=self._private.was_given(path),
        )


def _kind(work: Work) -> tuple[str, str, Launch]:
    """Return what decides whether runs may share a process: the program, the configuration, and how it is started."""
    return work.prepared.key, work.campaign.config, work.campaign.launch


def judge(status: int, errors: Sequence[str], cancelled: bool) -> list[tuple[Kind, str]]:
    """Return (kind, error) for each run that is over, in the order in which a process began them.

    ``status`` is the exit status (negative: a signal), ``errors`` what the log of each begun run says went wrong.
    A process ends with 0 only if all went well.  Otherwise the first run with an error has failed, or else the last
    that began; those before it are done, those after it are not over: whatever happened to them happened in a
    process that was no longer sound.
    """
    if status == 0 and not cancelled:
        return [("done", "")] * len(errors)
    failed = next((index for index, error in enumerate(errors) if error), len(errors) - 1)
    kind: Kind = "error"
    text = errors[failed]
    if cancelled:
        kind, text = "cancelled", ""
    elif status < 0:
        kind = "crash"
        text = text or f"ended by {_signal_name(-status)}"
    elif not text:
        text = f"the program ended with exit status {status}"
    return [*[("done", "")] * failed, (kind, text)]  # type: ignore[list-item]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
