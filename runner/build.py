"""The build job: checkout → make → products, then the program itself lists the runs.

The same key is never built twice.  The builder keeps a working tree per project, tool chain and mode, so make sees
what really changed; what make created, minus objects, becomes the product.
"""

import hashlib
import logging
import os
import re
import shutil
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from runner import checkouts, omnetpp, products, program, repository, shell, usage
from runner.errors import BuildFailed, LabfleetError
from runner.head import Head
from runner.holdings import Lease
from runner.job_queue import REFUSALS, WorkerEnd
from runner.line import Line
from runner.log_stream import BUILD_STREAM, GrowingLog, Sender
from runner.machine import Machine
from runner.messages import BuildStarted, CampaignPrepared, CampaignRefused, Held
from runner.model import Campaign, Prepared, Run
from runner.paths import build_log_parcel, lock_of
from runner.patience import Patient
from runner.private_directory import PrivateDirectory
from runner.products import Product
from runner.toolchain import Toolchains

log = logging.getLogger(__name__)

#: Files that say how things are made: objects of other rules are not reused, make itself does not look at its rules.
BUILD_RULES = ("Makefile", "makefile", "GNUmakefile", "makefrag", "*.mk", "CMakeLists.txt", "*.cmake")

#: What make passes to the make that it calls.
MAKES_OWN = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")

#: Lines of the compiler's that a person is shown when a build fails.
SHOWN_ERRORS = 12


#: What to do when a build command is missing.
BUILD_HINTS = {
    "opp_makemake": "set OMNeT++'s environment first: source setenv in its folder, then call labfleet again",
    "make": "install make",
}

#: What to do when OMNeT++ itself was not compiled for the mode.
MODE_HINT = "OMNeT++ has not been compiled for the mode {mode}; of a lab, labfleet_omnetpp in its inventory says"


class Builder:
    """Prepares one campaign after the other: product and list of runs."""

    def __init__(self, machine: Machine, lab: WorkerEnd, head: Head, sender: Sender, line: Line, lease: Lease) -> None:
        self._machine, self._paths = machine, machine.paths
        self._lab, self._sender, self._line, self._lease = lab, sender, line, lease
        self._impatient, self._head = head, Patient(head, line)
        self._toolchains = Toolchains()

    def prepare(self, campaign_id: str) -> None:
        """Do the build job of a campaign and tell the foreman how it went, if anybody wants to know."""
        event: CampaignPrepared | CampaignRefused | None = None
        self._lease.hold(Held("builder", campaign_id))
        self._line.watch(campaign_id)
        others = shell.strays()
        try:
            event = self._outcome(campaign_id)
            shell.end_strays(lambda pid: pid in others or shell.is_connection(pid))
            self._deliver_log(campaign_id)
        finally:
            # A campaign that was cancelled may have been resumed since: what became of this job is not its fate.
            is_unwanted = self._line.is_unwanted()
            self._line.watch_nothing()
            if event and not is_unwanted:
                self._line.post(event)
            self._lease.hold(None)

    def _outcome(self, campaign_id: str) -> CampaignPrepared | CampaignRefused | None:
        """Do the build job; None if nobody knows the campaign: who wants it queues it again."""
        try:
            try:
                campaign = self._lab.campaign(campaign_id)
            except (LookupError, *REFUSALS) as error:
                log.warning("there is nothing to build: %s", error)
                return None
            return self._prepare(campaign)
        except LabfleetError as error:
            return CampaignRefused(campaign_id, int(error.exit_code), error.message, error.hint)
        except Exception as error:  # whatever it was, the campaign's owner has to know
            log.exception("build job of %s", campaign_id)
            return CampaignRefused(
                campaign_id,
                int(LabfleetError.exit_code),
                f"the build job failed on {self._machine.name}: {error}",
                f"see the builder's log on {self._machine.name}: {self._own_log()}",
            )

    def _own_log(self) -> str:
        """Return where an administrator finds what this process prints."""
        return "journalctl -u labfleet-worker" if self._machine.settings else f"{self._paths.service_logs}/builder.log"

    def _prepare(self, campaign: Campaign) -> CampaignPrepared:
        identity = self._toolchains.identify(campaign.environment)
        key = build_key(campaign, identity)
        product, built, parcel = self._product(campaign, key, identity)
        with checkouts.in_use(self._paths, self._head, campaign, key) as checkout:
            argv = program.find(campaign, product.target, checkout)
            prepared = Prepared(key, built, argv, identity, self._list_runs(campaign, checkout, argv))
        return CampaignPrepared(campaign.id, prepared, parcel)

    def _product(self, campaign: Campaign, key: str, toolchain: str) -> tuple[Product, bool, str]:
        """Return the product of a key, whether it had to be built, and the parcel in which it went to the head."""
        product = products.provide(self._paths, self._head, key)
        if product is not None:
            # The head may have removed it since it came from here.
            there = self._head.has_product(key)
            return product, False, "" if there else products.deliver(self._paths, self._head, product)
        mirror = checkouts.provide_commit(self._paths, self._head, campaign)
        rules = repository.blobs(mirror, campaign.tree, BUILD_RULES)
        variant = digest(toolchain, campaign.mode, repr(campaign.build), *rules)
        place = self._paths.builder(campaign.project, variant[:12])
        with usage.held(lock_of(place)):
            if (place / "busy").exists():  # a build was cut short: nobody knows which of its files are whole
                shutil.rmtree(place)
            if campaign.build.commands:
                self._line.post(BuildStarted(campaign.id))
            tree = place / campaign.name  # opp_makemake names the program after its folder
            tree.mkdir(parents=True, exist_ok=True)
            repository.lay_out(mirror, campaign.tree, tree, place / "index")
            (place / "busy").touch()
            self._make(campaign, tree)
            (place / "busy").unlink()
            described = Product(key, toolchain, self._target(campaign, tree), (), campaign.name, time.time())
            made = repository.changed_files(mirror, tree, place / "index") if campaign.build.commands else []
            product = products.keep(self._paths, described, tree, made)
        return product, bool(campaign.build.commands), products.deliver(self._paths, self._head, product)

    def _deliver_log(self, campaign: str) -> None:
        """Bring a campaign's build log to the head; without it, the campaign can go on."""
        written = self._paths.build_log(campaign)
        parcel = self._paths.outgoing / build_log_parcel(campaign)
        try:
            if written.exists():
                parcel.mkdir(parents=True, exist_ok=True)
                os.rename(written, parcel / "build.log")
                self._impatient.deliver([parcel])
        except OSError as error:
            log.warning("the build log of %s cannot be delivered: %s", campaign, error)

    def _make(self, campaign: Campaign, tree: Path) -> None:
        """Run the build commands, their output streamed and kept.  Raises BuildFailed."""
        log_file = self._paths.build_log(campaign.id)
        log_file.parent.mkdir(parents=True, exist_ok=True)
        growing = GrowingLog(log_file, campaign.id, BUILD_STREAM, self._sender)
        console_file = log_file.with_suffix(".console")
        try:
            for argv in campaign.build.commands:
                growing.append(f"$ {' '.join(argv)}\n".encode())
                with console_file.open("wb") as output:
                    cwd = tree / campaign.build.directory
                    process = _started(argv, cwd=cwd, environment=build_environment(campaign), output=output)
                status = self._follow(process, console_file, growing)
                if status > 0:
                    (tree.parent / "busy").unlink()  # make ended in good order: what it had made is whole
                if status != 0:
                    text = log_file.read_bytes().decode(errors="replace")
                    raise BuildFailed(
                        f"the build failed: {' '.join(argv)} ended with exit status {status}\n{first_errors(text)}",
                        MODE_HINT.format(mode=campaign.mode) if _MISSING_OMNETPP.search(text) else "",
                    )
        finally:
            growing.close()
            console_file.unlink(missing_ok=True)

    def _follow(self, process: shell.Process, console: Path, growing: GrowingLog) -> int:
        """Stream what a command prints until it ends, and return its exit status; a cancelled one is ended."""
        with console.open("rb", buffering=0) as reader:
            status = None
            while status is None:
                status = process.wait(0.1)
                while data := reader.read(1 << 16):
                    growing.append(data)
                growing.stream()
                if status is None and self._line.is_unwanted():
                    process.signal_group(signal.SIGKILL)
        return status

    def _target(self, campaign: Campaign, tree: Path) -> str | None:
        """Ask the Makefiles for their target."""
        for makefile in campaign.build.makefiles:
            path = tree / makefile
            if not path.exists():
                continue
            argv = omnetpp.make_target_command(path.name)
            answer = shell.run(argv, cwd=path.parent, env=build_environment(campaign), check=False)
            if answer.status == 0 and answer.text:
                return os.path.normpath(os.path.join(os.path.dirname(makefile), answer.text.splitlines()[-1].strip()))
        return None

    def _list_runs(self, campaign: Campaign, checkout: Path, argv: tuple[str, ...]) -> tuple[Run, ...]:
        """Let the program list the runs, in a private directory like that of a run."""
        top = self._paths.private_of("builder", f"query-{uuid.uuid4().hex[:12]}")
        private = PrivateDirectory.create(top, campaign.name, checkout, campaign.directory)
        try:
            return program.list_runs(campaign, argv, private.working_directory)
        finally:
            private.remove()


def build_key(campaign: Campaign, toolchain: str) -> str:
    """Return the digest of everything that decides what a build makes."""
    # opp_makemake names the program after its folder, hence the project's name.
    return digest(campaign.sources, campaign.mode, toolchain, campaign.name, repr(campaign.build))


def digest(*parts: str) -> str:
    """Return the SHA-256 of some texts, in hex."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


def build_environment(campaign: Campaign) -> dict[str, str]:
    """Return the environment of build commands: the campaign's, without what a make around labfleet has left there."""
    kept = {name: value for name, value in campaign.environment.items() if name not in MAKES_OWN}
    return {**kept, "MODE": campaign.mode, "MAKEFLAGS": f"-j{parallel_compilations(kept)}"}


def parallel_compilations(environment: Mapping[str, str]) -> int:
    """Return how many compilations may be under way: as many as distcc's hosts take, else one per core."""
    if environment.get("CCACHE_PREFIX") == "distcc":
        answer = shell.run(["distcc", "-j"], env=environment, check=False)
        if answer.status == 0 and answer.text.isdecimal():
            return int(answer.text)
    return os.cpu_count() or 1


def _started(argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str], output: IO[bytes]) -> shell.Process:
    """Start a build command.  Raises BuildFailed if it is not there."""
    if not shutil.which(argv[0], path=environment.get("PATH", os.defpath)):
        raise BuildFailed(f"the build needs {argv[0]}, which is not on PATH", BUILD_HINTS.get(argv[0], ""))
    return shell.start(argv, cwd=cwd, env=environment, output=output, dies_with_parent=True)


#: The linker misses OMNeT++'s own libraries.
_MISSING_OMNETPP = re.compile(r"cannot find -lopp(main|sim|envir|cmdenv)(_dbg)?\b")

_FIRST_ERROR = re.compile(r"error:|undefined reference|cannot find -l|\*\*\* ")


def first_errors(text: str) -> str:
    """Return the compiler's first errors from a build log, or its last lines if none stands out."""
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if _FIRST_ERROR.search(line)), len(lines) - SHOWN_ERRORS)
    return "\n".join(lines[max(0, first) :][:SHOWN_ERRORS])
