"""One Cmdenv process and the runs that it goes through: their logs while it runs, outcomes and files afterwards."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner import omnetpp
from runner.console import RunLog, Tail
from runner.line import Line
from runner.log_stream import GrowingLog, Sender, run_stream
from runner.messages import RunProgressed, RunStarted
from runner.model import Attempt, Campaign, Chunk, File, Kind, Outcome, Prepared, Run
from runner.private_directory import PrivateDirectory
from runner.simulate.tree import ProcessTree
from runner.simulate.verdicts import Stop, judge

#: Seconds between progress reports.
PULSE = 1.0


@dataclass(frozen=True)
class Work:
    """A chunk with everything that its runs have in common."""

    chunk: Chunk
    campaign: Campaign
    prepared: Prepared
    checkout: Path
    #: Place → checkout of the projects that it needs.
    beside: dict[str, Path]
    runs: dict[int, Run]

    def directory(self, top: Path) -> PrivateDirectory:
        """Lay out a private directory for a process."""
        campaign = self.campaign
        return PrivateDirectory.create(top, campaign.source.place, self.checkout, campaign.directory, self.beside)

    def environment(self, private: PrivateDirectory) -> dict[str, str]:
        """Return the environment of a process in a private directory."""
        return omnetpp.with_libraries(self.campaign.run_environment, str(private.top), self.prepared.libraries)


@dataclass(frozen=True)
class Place:
    """Where a process runs, and to whom it tells what happens."""

    host: str
    slot: str
    #: The environment by which its processes are told from all others, whoever their parents are.
    mark: dict[str, str]
    line: Line
    sender: Sender
    #: Called with the attempt that is under way.
    under_way: Callable[[Attempt], None]


class SimulationProcess:
    """One Cmdenv process and the runs that it goes through."""

    def __init__(self, work: Work, attempts: Sequence[Attempt], private: PrivateDirectory, place: Place) -> None:
        self._work, self._private, self._place = work, private, place
        self._attempts = {attempt.run: attempt for attempt in attempts}
        self._stems = {run: omnetpp.file_stem(work.campaign.config, work.runs[run]) for run in self._attempts}
        self._begun: list[RunLog] = []
        #: Printed before any run began.
        self._early = b""
        self._next_pulse = 0.0
        self.command = omnetpp.simulation_command(
            work.prepared.program, work.campaign.launch, work.campaign.config, [a.run for a in attempts]
        )

    def follow(self) -> list[tuple[Outcome, Path]]:
        """Run the process to its end and return what became of each run that is over, with its log."""
        console_file = self._private.top / "console"
        campaign = self._work.campaign
        with console_file.open("wb") as console:
            tree = ProcessTree(
                self.command,
                cwd=self._private.working_directory,
                env={**self._work.environment(self._private), **self._place.mark},
                output=console,
                limits=campaign.limits,
                line=self._place.line,
            )
        with tree:
            tail = Tail(console_file)
            if len(self._attempts) == 1:
                self._begin(next(iter(self._attempts)), tree)
            self._next_pulse = time.monotonic() + PULSE
            while (status := tree.wait()) is None:
                self._look(tail, tree)
                self._pulse(tree)
        # Nothing of it is left that could write to its files.
        self._private.open_up()
        while self._look(tail, tree):
            pass
        self._take_console(tail.close(), tree)
        if not self._begun:  # the process ended before it came to any run
            self._begin(next(iter(self._attempts)), tree)
        self._begun[-1].close()
        console_file.unlink()
        return self._outcomes(status, tree.stop)

    def _look(self, console: Tail, tree: ProcessTree) -> bool:
        """Take over what was printed since the last look; True if it was something."""
        data = console.new_lines()
        self._take_console(data, tree)
        if not self._begun:
            return bool(data)
        current = self._begun[-1]
        if current.output is None:
            self._find_output(current)
        grew = current.look()
        current.log.stream()
        tree.note(current.sim_time)
        return bool(data) or grew

    def _take_console(self, data: bytes, tree: ProcessTree) -> None:
        """Give the process's own output to the run that it belongs to."""
        if len(self._attempts) == 1:
            self._begun[0].append(data)
            return
        for line in data.splitlines(keepends=True):
            announced = omnetpp.started_run(line.decode(errors="replace")) if b" run #" in line else None
            if announced in self._attempts and all(announced != begun.attempt.run for begun in self._begun):
                self._begin(announced, tree)
            if self._begun:
                self._begun[-1].append(line)
            else:
                self._early += line

    def _begin(self, run: int, tree: ProcessTree) -> None:
        """A run begins, so the one before it is over."""
        if self._begun:
            previous = self._begun[-1]
            if previous.output is None:
                self._find_output(previous)
            previous.close()
        tree.begin_run()
        attempt, campaign = self._attempts[run], self._work.campaign.id
        stream = run_stream(run, attempt.number)
        path = self._private.top / f"{stream}.log"
        begun = RunLog(attempt, GrowingLog(path, campaign, stream, self._place.sender), path)
        self._begun.append(begun)
        begun.append(self._early)
        self._early = b""
        self._place.under_way(attempt)
        self._place.line.post(
            RunStarted(campaign, run, attempt.number, self._place.host, self._place.slot, begun.started)
        )

    def _find_output(self, current: RunLog) -> None:
        """Look for the file that Cmdenv redirects a run's output to."""
        for folder in self._private.real_directories():
            try:
                current.output = self._output_in(folder, self._stems[current.attempt.run])
            except OSError:
                continue  # the run has removed it since, or lets nobody look: what it does there is its own business
            if current.output:
                return

    def _output_in(self, folder: str, stem: str | None) -> Tail | None:
        """Return a run's .out file if it is in a folder.  Raises OSError if that cannot be told."""
        alone = len(self._attempts) == 1
        for name in os.listdir(folder):
            if name.endswith(".out") and (alone or omnetpp.stem_of(name) == stem):
                path = os.path.join(folder, name)
                is_own = os.path.isfile(path) and not os.path.islink(path) and not self._private.was_given(path)
                if is_own and os.access(path, os.R_OK):
                    return Tail(Path(path))
        return None

    def _pulse(self, tree: ProcessTree) -> None:
        """Report progress about once a second; what a run takes is told of one that says nothing, too."""
        now = time.monotonic()
        if now < self._next_pulse or not self._begun:
            return
        self._next_pulse = now + PULSE
        attempt = self._begun[-1].attempt
        told = self._begun[-1].progress(now) or omnetpp.Status(0.0)
        self._place.line.post(
            RunProgressed(
                self._work.campaign.id,
                attempt.run,
                told.sim_time,
                told.percent,
                told.speed,
                told.events_per_second,
                tree.memory(),
                attempt.number,
            )
        )

    # ---- what became of the runs ----

    def _outcomes(self, status: int, stop: Stop | None) -> list[tuple[Outcome, Path]]:
        """Judge each run that is over, and share out the files.

        None is over if several runs shared the process and a file cannot be told whose it is: they are done singly.
        """
        # Nobody else knows the private directory, which is gone soon.
        here = f"{self._private.top}/"
        errors = [begun.error().replace(here, "") if status else "" for begun in self._begun]
        over = list(zip(self._begun, judge(status, errors, stop), strict=False))
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
        return Outcome(
            campaign=self._work.campaign.id,
            run=begun.attempt.run,
            attempt=begun.attempt.number,
            kind=kind,
            exit_status=0 if kind == "done" else status,
            host=self._place.host,
            slot=self._place.slot,
            started=begun.started,
            ended=begun.ended,
            error=error,
            command=self.command,
            files=tuple(self._file(path) for path in files),
            log_size=begun.log.size,
            key=self._work.prepared.key,
        )

    def _file(self, path: str) -> File:
        info = os.stat(path)
        return File(
            self._private.name_at_home(path),
            info.st_size,
            info.st_mtime_ns,
            given=self._private.was_given(path),
        )
