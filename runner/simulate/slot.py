"""A slot: does one chunk after the other.

What a run leaves goes to the spool, complete or not at all; the uploader takes it from there.
"""

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import zmq

from runner import checkouts, disk, sharing, shell
from runner.errors import LabFailed, LabfleetError
from runner.head import Head
from runner.holdings import Lease
from runner.job_queue import REFUSALS, WorkerEnd
from runner.line import Line
from runner.log_stream import Sender
from runner.machine import Machine
from runner.messages import ChunkEnded, ChunkStarted, Held, ProductMissing
from runner.model import Attempt, Campaign, Chunk, Launch, Outcome, Prepared, Run, decode, encode
from runner.paths import AttemptPaths, attempt_parcel
from runner.private_directory import PrivateDirectory
from runner.products import ProductGone
from runner.simulate.process import Place, SimulationProcess, Work
from runner.simulate.tree import ProcessTree
from runner.toolchain import chosen

log = logging.getLogger(__name__)

#: Seconds that a chunk waits for room on the disk: until then the foreman knows, and sends no further ones.
PATIENCE = 4.0

#: Seconds until a product that nobody has is asked for again: it has to be built first.
REBUILD = 3.0

#: Seconds that a run may take which is done again to find out whether it may share a process.
PROOF_SECONDS = 60.0

#: What runs have in common of which one has shown whether they may share a process.
_Kind = tuple[tuple[str, ...], tuple[str, ...], str, Launch, tuple[tuple[str, str], ...]]


class Slot:
    """Does one chunk after the other on this host."""

    def __init__(
        self, name: str, machine: Machine, lab: WorkerEnd, head: Head, sender: Sender, line: Line, lease: Lease
    ) -> None:
        self._name, self._host, self._paths = name, machine.name, machine.paths
        self._lab, self._head, self._line, self._lease = lab, head, line, lease
        mark = {shell.MARK: shell.mark(self._paths.home, name)}
        self._place = Place(self._host, name, mark, line, sender, self._under_way)
        self._to_uploader: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUSH)
        self._to_uploader.connect(self._paths.endpoint("uploader"))
        #: The directory of the chunk's next process, if the one before it left it as it was.
        self._private: PrivateDirectory | None = None
        self._may_share_of: dict[_Kind, bool] = {}
        #: Holds the checkout of the present campaign.
        self._use = ExitStack()
        self._works: dict[str, tuple[Campaign, Prepared, Path, dict[str, Path], dict[int, Run]]] = {}
        #: What is still to do of the present chunk.
        self._chunk = Chunk("", "", (), shared=False)
        self._waiting: list[Attempt] = []
        self._shared = False

    def simulate(self, argument: str) -> None:
        """Do a chunk of runs.  The argument is a :class:`~runner.model.Chunk` as JSON."""
        chunk: Chunk = decode(argument, Chunk)
        self._chunk, self._waiting, self._shared = chunk, list(chunk.attempts), chunk.shared
        self._line.post(ChunkStarted(chunk.campaign, chunk.id, self._host, self._name))
        self._line.watch(chunk.campaign, chunk.id)
        self._hold()
        self._line.flush()  # should this slot die, the head has to know what it had
        error, not_tried = "", False
        try:
            self._do()
        except LabfleetError as problem:  # the machine is not fit for runs
            error, not_tried = problem.message, True
        except Exception as problem:  # the slot's own trouble is reported, and the slot lives on
            log.exception("chunk %s", chunk.id)
            error = self._explained(problem)
        self._remove_private()
        self._line.watch_nothing()
        self._line.post(
            ChunkEnded(
                chunk.campaign,
                chunk.id,
                self._host,
                unfinished=tuple(self._waiting),
                error=error,
                not_tried=not_tried,
                mixed_up=chunk.shared and not self._shared,
            )
        )
        self._lease.hold(None)

    def _explained(self, problem: Exception) -> str:
        """Return what a slot's own trouble is, in a sentence."""
        is_full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
        return (is_full and disk.exhaustion(self._paths.home)) or f"{type(problem).__name__}: {problem}"

    def _do(self) -> None:
        """Do what is to do of the chunk, as long as somebody wants it and the disk has room."""
        if self._lab.is_unwanted(self._chunk.campaign, self._chunk.id):
            return
        try:
            work = self._work()
        except (*REFUSALS, shell.CommandFailed) as problem:  # the head does not answer, or this disk is full
            log.warning("chunk %s: what its runs need cannot be had: %s", self._chunk.id, problem)
            raise LabFailed(f"what runs need cannot be had: {self._explained(problem)}") from problem
        if work is None:
            return
        self._shared = self._shared and self._may_share_of.get(_kind(work), True)
        while self._waiting and not self._line.is_unwanted():
            self._require_room()
            self._simulate_together(work, self._waiting if self._shared else self._waiting[:1])

    def _work(self) -> Work | None:
        """Return what the chunk's runs have in common; asked for once per campaign.  None: nobody wants it any more.

        A campaign that was resumed may have another product than before.
        """
        name, key = self._chunk.campaign, self._chunk.key
        if name not in self._works or key not in ("", self._works[name][1].key):
            campaign = chosen(self._lab.campaign(name))
            prepared = self._lab.prepared(name)
            self._works = {}  # the checkout of the campaign before may be removed from now on
            self._use.close()
            found = self._checkouts(campaign, prepared)
            if found is None:
                return None
            checkout, beside = found
            self._works = {name: (campaign, prepared, checkout, beside, {run.number: run for run in prepared.runs})}
        return Work(self._chunk, *self._works[name])

    def _checkouts(self, campaign: Campaign, prepared: Prepared) -> tuple[Path, dict[str, Path]] | None:
        """Return a campaign's checkout and those of its references, as soon as their products are there.

        None if they are not wanted any more.
        A product that was removed or damaged is built again, however long that takes: it is no fault of the runs.
        """
        while True:
            try:
                return self._use.enter_context(checkouts.all_in_use(self._paths, self._head, campaign, prepared))
            except ProductGone as gone:
                log.warning("%s: it has to be built again", gone)
                self._line.post(ProductMissing(campaign.id, gone.key))
            if self._line.is_unwanted(REBUILD):
                return None

    def _under_way(self, attempt: Attempt) -> None:
        self._hold(attempt)

    def _hold(self, first: Attempt | None = None) -> None:
        """Renew the lease: what is to do, first the attempt that is under way."""
        attempts = sorted(self._waiting, key=lambda attempt: attempt != first)
        self._lease.hold(Held(self._name, self._chunk.campaign, self._chunk.id, tuple(attempts)))

    # ---- room on the disk ----

    def _require_room(self) -> None:
        """Raise LabFailed unless there is room for another run."""
        if disk.shortage(self._paths.home):
            self._line.is_unwanted(PATIENCE)
        if shortage := disk.shortage(self._paths.home):
            raise LabFailed(shortage)

    def _require_trust(self, outcomes: Sequence[tuple[Outcome, Path]]) -> None:
        """Raise LabFailed if the disk is so full that what runs have left may have been cut short."""
        if exhaustion := disk.exhaustion(self._paths.home):
            runs = ", ".join(str(outcome.run) for outcome, _ in outcomes)
            raise LabFailed(f"{exhaustion}, so what run {runs} left cannot be trusted")

    # ---- runs ----

    def _simulate_together(self, work: Work, attempts: Sequence[Attempt]) -> None:
        """Do runs in one process and take those off the list that are over: all, or those up to the first failure.

        None is over if several left a file of which nobody knows whose it is: from then on each goes alone.
        """
        if self._private is None:
            top = self._paths.private_of(self._name, f"{work.chunk.id}-{attempts[0].run}")
            self._private = work.directory(top)
        outcomes = SimulationProcess(work, attempts, self._private, self._place).follow()
        self._require_trust(outcomes)
        done = [outcome for outcome, _ in outcomes if outcome.kind == "done"]
        if len(done) > 1 and not self._may_share(work, done[-1]):
            if self._line.is_unwanted():
                return
            outcomes = []
        for outcome, log_file in outcomes:
            self._spool(outcome, log_file, self._private)
            self._waiting.remove(Attempt(outcome.run, outcome.attempt))
        self._shared = self._shared and bool(outcomes)
        self._hold()
        if not self._private.is_as_new():  # else it is the next process's: making one takes milliseconds
            self._remove_private()

    def _may_share(self, work: Work, outcome: Outcome) -> bool:
        """Say whether runs of a campaign's kind may share a process; found out once, with a run that has done so."""
        kind = _kind(work)
        if work.campaign.batch is None and kind not in self._may_share_of and self._private:
            private = work.directory(self._paths.private_of(self._name, f"{work.chunk.id}-proof"))
            limits = msgspec.structs.replace(work.campaign.limits, timeout=PROOF_SECONDS)

            def run_alone(argv: Sequence[str], folder: Path) -> int:
                environment = {**work.environment(private), **self._place.mark}
                with (
                    open(os.devnull, "wb") as nowhere,
                    ProcessTree(
                        argv, cwd=folder, env=environment, output=nowhere, limits=limits, line=self._line
                    ) as tree,
                ):
                    while (status := tree.wait()) is None:
                        pass
                return status

            same = sharing.is_same_alone(work.campaign, work.prepared, outcome, self._private.root, private, run_alone)
            if self._line.is_unwanted():  # it was ended, so it proves nothing
                return False
            self._may_share_of[kind] = same
        return self._may_share_of.get(kind, True)

    def _remove_private(self) -> None:
        if self._private:
            self._private.remove()
        self._private = None

    def _spool(self, outcome: Outcome, log_file: Path, private: PrivateDirectory) -> None:
        """Move a run's files to where the uploader takes them; the folder appears there complete or not at all."""
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
        half = AttemptPaths(self._paths.half_parcel(self._name, name))
        try:
            half.files.mkdir(parents=True)
            for file in outcome.files:
                target = half.file(file.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(private.root / file.path, target)
            os.rename(log_file, half.log)
            half.outcome.write_bytes(encode(outcome))
            os.rename(half.root, self._paths.spool / name)
        except OSError:
            shutil.rmtree(half.root, ignore_errors=True)
            raise
        try:
            self._to_uploader.send(name.encode(), zmq.DONTWAIT)
        except zmq.Again:
            pass  # it looks into the spool from time to time


def _kind(work: Work) -> _Kind:
    """Return what decides whether runs may share a process: the program, what it reads, and how it is started.

    The keys leave ini and NED files out, which say what is simulated and recorded; the trees have them.
    """
    campaign = work.campaign
    trees = (campaign.tree, *(reference.tree for reference in campaign.references))
    return work.prepared.keys, trees, campaign.config, campaign.launch, tuple(campaign.own_environment.items())
