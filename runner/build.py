"""The build job: checkout → make → products, then the program itself lists the runs.

The same key is never built twice.  The builder keeps a working tree per project, tool chain and mode, so make sees
what really changed; what make created, minus objects, becomes the product.
"""

import hashlib
import logging
import os
import shutil
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import zmq

from runner import agent, omnetpp, repository, shell
from runner.errors import BuildFailed, LabfleetError, WrongUse
from runner.job_queue import WorkerEnd
from runner.log_stream import BUILD_STREAM, GrowingLog, Sender
from runner.model import (
    BuildStarted,
    Campaign,
    CampaignPrepared,
    CampaignRefused,
    Prepared,
    Run,
    Value,
    decode,
    encode,
)
from runner.paths import LabPaths
from runner.private_directory import PrivateDirectory

log = logging.getLogger(__name__)

#: What make creates on the way; nobody needs it at run time.
INTERMEDIATE = (".o", ".obj", ".d", ".gch", "_m.cc", "_m.h")

#: Lines of the compiler's that a person is shown when a build fails.
SHOWN_ERRORS = 12


#: What to do when a build command is missing.
BUILD_HINTS = {
    "opp_makemake": "set OMNeT++'s environment first: source setenv in its folder, then call labfleet again",
    "make": "install make",
}


class Product(Value, frozen=True):
    """What a build left, beside its files."""

    key: str
    toolchain: str
    #: Target of the first Makefile that has one, relative to the project's root; None without.
    target: str | None


class Builder:
    """Prepares one campaign after the other: product and list of runs."""

    def __init__(self, paths: LabPaths, lab: WorkerEnd) -> None:
        self._paths, self._lab = paths, lab
        self._sender = Sender(zmq.Context(), paths.endpoint("hub-in"))
        self._toolchains: dict[tuple[str | None, ...], str] = {}

    def prepare(self, campaign_id: str) -> None:
        """Do the build job of a campaign and tell the foreman how it went."""
        try:
            campaign = self._lab.campaign(campaign_id)
            prepared = self._prepare(campaign)
        except LabfleetError as error:
            self._lab.post(CampaignRefused(campaign_id, int(error.exit_code), error.message, error.hint))
        except Exception as error:  # whatever it was, the campaign's owner has to know
            log.exception("build job of %s", campaign_id)
            self._lab.post(
                CampaignRefused(
                    campaign_id,
                    int(LabfleetError.exit_code),
                    f"the build job failed: {error}",
                    f"see {self._paths.service_logs / 'builder.log'}",
                )
            )
        else:
            self._lab.post(CampaignPrepared(campaign_id, prepared))

    def _prepare(self, campaign: Campaign) -> Prepared:
        toolchain = self._toolchain(campaign.environment)
        key = build_key(campaign, toolchain)
        product, built = self._product(campaign, key, toolchain)
        checkout = agent.provide_checkout(self._paths, campaign, key)
        program = find_program(campaign, product, checkout)
        runs = self._list_runs(campaign, checkout, program)
        return Prepared(key, built, program, toolchain, runs)

    def _toolchain(self, environment: Mapping[str, str]) -> str:
        """Return what identifies compiler and OMNeT++ of an environment; asked for once while neither changes."""
        path = environment.get("PATH", os.defpath)
        compiler = shutil.which(environment.get("CXX", "g++"), path=path)
        asker = shutil.which("opp_configfilepath", path=path)
        makefile_inc = Path(asker).parent.parent / "Makefile.inc" if asker else None
        seen = tuple(
            f"{file} {os.stat(file).st_mtime_ns}" if file and os.path.exists(file) else None
            for file in (compiler, asker, makefile_inc)
        )
        if seen not in self._toolchains:
            self._toolchains[seen] = identify_toolchain(compiler, asker, environment)
        return self._toolchains[seen]

    def _product(self, campaign: Campaign, key: str, toolchain: str) -> tuple[Product, bool]:
        """Return the product of a key, and whether it had to be built."""
        record = self._paths.product(key) / "product.json"
        if record.exists():
            found: Product = decode(record.read_bytes(), Product)
            return found, False
        variant = hashlib.sha256(
            f"{toolchain}\n{campaign.mode}\n{campaign.build.commands}".encode()
        ).hexdigest()
        place = self._paths.builder(campaign.project, variant[:12])
        with agent.locked(place.with_suffix(".lock")):
            if campaign.build.commands:
                self._lab.post(BuildStarted(campaign.id))
            tree = place / campaign.name  # opp_makemake names the program after its folder
            tree.mkdir(parents=True, exist_ok=True)
            repository.lay_out(
                agent.provide_commit(self._paths, campaign), campaign.tree, tree, place / "index"
            )
            self._make(campaign, tree)
            target = self._target(campaign, tree)
            product = Product(key, toolchain, target)
            self._store(campaign, product, tree, place / "index")
        return product, bool(campaign.build.commands)

    def _make(self, campaign: Campaign, tree: Path) -> None:
        """Run the build commands, their output streamed and kept.  Raises BuildFailed."""
        log_file = self._paths.campaign(campaign.id).root / "build.log"
        growing = GrowingLog(log_file, campaign.id, BUILD_STREAM, self._sender)
        console_file = log_file.with_suffix(".console")
        environment = {**campaign.environment, "MODE": campaign.mode}
        environment.setdefault("MAKEFLAGS", f"-j{os.cpu_count() or 1}")
        try:
            for argv in campaign.build.commands:
                growing.append(f"$ {' '.join(argv)}\n".encode())
                with console_file.open("wb") as output:
                    cwd = tree / campaign.build.directory
                    process = _started(argv, cwd=cwd, environment=environment, output=output)
                status = self._follow(process, campaign.id, console_file, growing)
                if status != 0:
                    text = log_file.read_bytes().decode(errors="replace")
                    raise BuildFailed(
                        f"the build failed: {' '.join(argv)} ended with exit status {status}\n{first_errors(text)}",
                        f"the whole log: {log_file}",
                    )
        finally:
            growing.close()
            console_file.unlink(missing_ok=True)

    def _follow(self, process: shell.Process, campaign: str, console: Path, growing: GrowingLog) -> int:
        """Stream what a command prints until it ends, and return its exit status; a cancelled one is ended."""
        next_question = time.monotonic() + 1
        with console.open("rb", buffering=0) as reader:
            status = None
            while status is None:
                status = process.wait(0.1)
                while data := reader.read(1 << 16):
                    growing.append(data)
                growing.stream()
                if status is None and time.monotonic() > next_question:
                    next_question = time.monotonic() + 1
                    if self._lab.is_cancelled(campaign):
                        process.signal_group(signal.SIGKILL)
        return status

    def _target(self, campaign: Campaign, tree: Path) -> str | None:
        """Ask the Makefiles for their target."""
        environment = {**campaign.environment, "MODE": campaign.mode}
        for makefile in campaign.build.makefiles:
            path = tree / makefile
            if not path.exists():
                continue
            argv = omnetpp.make_target_command(path.name)
            answer = shell.run(argv, cwd=path.parent, env=environment, check=False)
            if answer.status == 0 and answer.text:
                return os.path.normpath(
                    os.path.join(os.path.dirname(makefile), answer.text.splitlines()[-1].strip())
                )
        return None

    def _store(self, campaign: Campaign, product: Product, tree: Path, index: Path) -> None:
        """Copy what the build made into the product store; the product appears there complete."""
        final = self._paths.product(product.key)
        half = final.with_name(f".{product.key[:20]}-{uuid.uuid4().hex[:8]}")
        (half / "tree").mkdir(parents=True)
        mirror = self._paths.mirror(campaign.project)
        if campaign.build.commands:
            for name in repository.changed_files(mirror, tree, index):
                if _is_product(name, product.target) and (tree / name).exists():
                    target = half / "tree" / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(tree / name, target, follow_symlinks=False)
        (half / "product.json").write_bytes(encode(product))
        final.parent.mkdir(exist_ok=True)
        os.rename(half, final)

    def _list_runs(self, campaign: Campaign, checkout: Path, program: tuple[str, ...]) -> tuple[Run, ...]:
        """Ask the program which runs there are.  Raises WrongUse with the program's own words."""
        top = self._paths.private / f"query-{uuid.uuid4().hex[:12]}"
        private = PrivateDirectory.create(top, campaign.name, checkout, campaign.directory)
        argv = omnetpp.query_command(program, campaign.launch, campaign.config, campaign.run_filter)
        try:
            answer = shell.run(argv, cwd=private.working_directory, env=campaign.environment, check=False)
        except OSError as error:
            raise WrongUse(
                f"{program[0]} cannot be started: {error.strerror}",
                "name the simulation program with --program, or `program` in labfleet.toml",
            ) from None
        finally:
            private.remove()
        if answer.status != 0:
            raise self._query_failed(campaign, checkout, answer)
        runs = omnetpp.parse_runs(answer.text)
        if not runs:
            raise WrongUse(
                f"no run of {campaign.config} matches the filter {campaign.run_filter!r}",
                "list the runs and their iteration variables with --dry-run",
            )
        return runs

    def _query_failed(self, campaign: Campaign, checkout: Path, answer: shell.Result) -> LabfleetError:
        """Return the error for a program that would not list its runs."""
        output = (answer.stderr + b"\n" + answer.stdout).decode(errors="replace")
        text = omnetpp.error_text(output) or output.strip()[-800:] or f"exit status {answer.status}"
        folder = checkout / campaign.directory
        known: dict[str, None] = {}
        ini_files = campaign.launch.ini_files or ("omnetpp.ini",)
        for ini in ini_files:
            known.update(dict.fromkeys(omnetpp.configurations(ini, lambda name: _text(folder / name))))
        if campaign.config not in known:
            return WrongUse(
                f"there is no configuration {campaign.config} in {', '.join(ini_files)}",
                f"known: {', '.join(known)}",
            )
        if campaign.run_filter and any(word in text for word in ("filter", "Run number", "run list")):
            return WrongUse(
                f"the program refuses the run filter {campaign.run_filter!r}: {text}",
                "a filter is a list like 0,3,5..9 or an expression like '$numHosts>10 && $repetition<3'",
            )
        return WrongUse(f"the program cannot list the runs of {campaign.config}: {text}")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _is_product(name: str, target: str | None) -> bool:
    """Say whether a file that make created is needed at run time."""
    if os.path.normpath(name) == target:
        return True
    return not name.endswith(INTERMEDIATE) and "out" not in name.split("/")[:-1]


def build_key(campaign: Campaign, toolchain: str) -> str:
    """Return the digest of everything that decides what a build makes."""
    build = campaign.build
    parts = (
        campaign.sources,
        campaign.mode,
        toolchain,
        *build.makefiles,
        build.directory,
        *map(repr, build.commands),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def identify_toolchain(compiler: str | None, asker: str | None, environment: Mapping[str, str]) -> str:
    """Return compiler version, and OMNeT++'s Makefile.inc by its digest, as one line."""
    parts = []
    if compiler:
        answer = shell.run([compiler, "-dumpfullversion", "-dumpmachine"], env=environment, check=False)
        parts.append(f"{os.path.basename(compiler)} {' '.join(answer.text.split())}")
    if asker:
        makefile_inc = shell.run([asker], env=environment, check=False).text
        content = _text(Path(makefile_inc)) or ""
        parts.append(f"{makefile_inc} {hashlib.sha256(content.encode()).hexdigest()[:16]}")
    flags = [
        f"{name}={environment[name]}" for name in ("CFLAGS", "CXXFLAGS", "LDFLAGS") if name in environment
    ]
    return "; ".join([*parts, *flags]) or "no compiler"


def _started(argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str], output: IO[bytes]) -> shell.Process:
    """Start a build command.  Raises BuildFailed if it is not there."""
    if not shutil.which(argv[0], path=environment.get("PATH", os.defpath)):
        raise BuildFailed(f"the build needs {argv[0]}, which is not on PATH", BUILD_HINTS.get(argv[0], ""))
    return shell.start(argv, cwd=cwd, env=environment, output=output, dies_with_parent=True)


def find_program(campaign: Campaign, product: Product, checkout: Path) -> tuple[str, ...]:
    """Return how the simulation program is started from the working directory.  Raises WrongUse."""
    given = campaign.launch.program
    if given is None:
        if product.target is None:
            raise WrongUse(
                f"nothing says what the simulation program of {campaign.name} is",
                "name it with --program, or `program` in labfleet.toml",
            )
        given = os.path.relpath(product.target, campaign.directory)
    if "/" not in given and not (checkout / campaign.directory / given).exists():
        return omnetpp.program_command(given, campaign.mode)  # a name on PATH
    path = checkout / campaign.directory / given
    if not path.exists():
        raise WrongUse(
            f"the program {given} is not there after the build",
            "name another one with --program, or tell in labfleet.toml how it is built",
        )
    if not given.endswith((".so", ".dylib")) and not os.access(path, os.X_OK):
        raise WrongUse(f"the program {given} is not executable", f"chmod +x {given}")
    if not os.path.isabs(given) and not given.startswith("."):
        given = f"./{given}"
    return omnetpp.program_command(given, campaign.mode)


def first_errors(text: str) -> str:
    """Return the compiler's first errors from a build log, or its last lines if none stands out."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if "error:" in line or "undefined reference" in line or "*** " in line or " Error " in line:
            return "\n".join(lines[index : index + SHOWN_ERRORS])
    return "\n".join(lines[-SHOWN_ERRORS:])
