"""The build job: checkout → make → products, then the program itself lists the runs.

The same key is never built twice.  The builder keeps a working tree per project, tool chain and mode, so make sees
what really changed; what make created, minus objects, becomes the product.
"""

import logging
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runner import checkouts, distcc, features, ide_files, making, omnetpp, products, program, shell
from runner.build_inputs import BuildInputs
from runner.checksums import digest
from runner.errors import BuildFailed, LabfleetError
from runner.head import Head
from runner.holdings import Lease
from runner.job_queue import REFUSALS, WorkerEnd
from runner.line import Line
from runner.log_stream import Sender
from runner.machine import Machine
from runner.making import Maker
from runner.messages import BuildStarted, CampaignPrepared, CampaignRefused, Held
from runner.model import Campaign, Prepared, Run, Source
from runner.paths import build_log_parcel
from runner.patience import Patient
from runner.private_directory import PrivateDirectory
from runner.products import Product, ProductGone
from runner.toolchain import Toolchains, chosen, lacks_mode, refuse_mixed
from runner.working_tree import WorkingTree

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """One of a campaign's projects, of which the product is there."""

    source: Source
    product: Product
    #: The parcel in which it went to the head; empty if it did not have to.
    parcel: str
    was_built: bool

    def library_folders(self, place: str) -> list[str]:
        """Return the folders of its shared libraries, beginning with the place where it stands."""
        folders = (os.path.dirname(os.path.join(place, library)) for library in self.product.libraries)
        return list(dict.fromkeys(folders))

    def built_folders(self) -> list[str]:
        """Return the folders of those shared libraries that were built, beginning with its place."""
        made = {item.path for item in self.product.files}
        libraries = (library for library in self.product.libraries if library in made)
        folders = (os.path.dirname(os.path.join(self.source.place, library)) for library in libraries)
        return list(dict.fromkeys(folders))


class Builder:
    """Prepares one campaign after the other: product and list of runs."""

    def __init__(self, machine: Machine, lab: WorkerEnd, head: Head, sender: Sender, line: Line, lease: Lease) -> None:
        self._machine, self._paths = machine, machine.paths
        self._lab, self._sender, self._line, self._lease = lab, sender, line, lease
        self._impatient, self._head = head, Patient(head, line, machine.paths.home)
        self._toolchains = Toolchains(machine.settings.image if machine.settings else "")
        self._inputs = BuildInputs(
            lambda source: self._head.insist(lambda head: checkouts.provide_commit(self._paths, head, source))
        )
        own = self._toolchains.identify(os.environ) if machine.settings else ""
        self._compilers = distcc.Hosts(machine.folder / "distcc-hosts", lab, own)
        self._done_with: list[PrivateDirectory] = []

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
            # Removing so many links takes longer than all else where the file system has to write: nobody waits for it.
            while self._done_with:
                self._done_with.pop().remove()

    def _outcome(self, campaign_id: str) -> CampaignPrepared | CampaignRefused | None:
        """Do the build job; None if nobody knows the campaign: who wants it queues it again."""
        try:
            try:
                campaign = self._lab.campaign(campaign_id)
            except (LookupError, *REFUSALS) as error:
                log.warning("there is nothing to build: %s", error)
                return None
            try:
                return self._prepare(campaign)
            except ProductGone as gone:  # removed, or damaged, since it was found
                log.warning("%s: it is built again", gone)
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
        campaign = chosen(campaign)
        refuse_mixed(campaign)
        maker = Maker(campaign.id, self._paths.build_log(campaign.id), self._sender, self._line)
        done: dict[str, Built] = {}
        try:
            with self._compilers.followed(campaign.run_environment):
                for source in (*campaign.references, campaign.source):
                    done[source.place] = self._product(campaign, source, done, maker)
        finally:
            maker.close()
        own = done[campaign.source.place]
        needed = {source.place: done[source.place] for source in campaign.references}
        prepared = Prepared(
            own.product.key,
            any(built.was_built for built in done.values()),
            (),
            own.product.toolchain,
            (),
            {place: built.product.key for place, built in needed.items()},
            tuple(dict.fromkeys([*own.built_folders(), *_library_folders(needed)])),
        )
        with ExitStack() as use:
            checkout, beside = self._head.insist(
                lambda head: use.enter_context(checkouts.all_in_use(self._paths, head, campaign, prepared))
            )
            argv = program.find(campaign, own.product.target, checkout)
            argv = program.with_needed(
                argv, campaign, {place: built.product.libraries for place, built in needed.items()}
            )
            argv = program.without_excluded(argv, campaign, [checkout, *beside.values()])
            prepared = msgspec.structs.replace(prepared, program=argv)
            prepared = msgspec.structs.replace(prepared, runs=self._list_runs(campaign, prepared, checkout, beside))
        parcels = tuple((built.product.key, built.parcel) for built in needed.values() if built.parcel)
        return CampaignPrepared(campaign.id, prepared, own.parcel, parcels)

    def _product(self, campaign: Campaign, source: Source, done: Mapping[str, Built], maker: Maker) -> Built:
        """Return the product of one of a campaign's projects, built if need be; what it needs is ``done``."""
        needed = {place: done[place] for place in source.references}
        given = {**campaign.environment, **source.environment}
        toolchain = self._toolchains.identify(given, campaign.mode)
        variables = repr(self._inputs.variables(source, given))
        keys = {place: built.product.key for place, built in needed.items()}
        key = build_key(source, self._inputs.files(source), campaign.mode, toolchain, variables, keys)
        found = self._head.insist(lambda head: products.provide(self._paths, head, key))
        if found is not None:
            # The head may have removed it since it came from here.
            is_there = self._head.insist(lambda head: head.has_product(key))
            return Built(source, found, "" if is_there else self._delivered(found), was_built=False)
        if self._inputs.uses_omnetpp(source) and (lack := lacks_mode(given, campaign.mode)):
            raise BuildFailed(f"{source.name} cannot be built in the mode {campaign.mode}", lack)
        others = {place: (built.source, built.product.key) for place, built in needed.items()}
        tree = self._head.insist(
            lambda head: WorkingTree(
                self._paths,
                head,
                source,
                others,
                *(toolchain, campaign.mode, variables, self._inputs.rules(source)),
                reads_all=self._inputs.reads_all(source),
            )
        )
        if source.build.commands:
            self._line.post(BuildStarted(campaign.id, source.name))
        with tree.in_order():
            told = {
                built.source.variable: str(tree.at(place)) for place, built in needed.items() if built.source.variable
            }
            own = dict.fromkeys([source.build.directory, *map(os.path.dirname, source.build.makefiles)])
            libraries = [*(tree.root / folder for folder in own), *map(tree.at, _library_folders(needed))]
            environment = making.environment(given, campaign.mode, tree.root, told, libraries)

            def run(argv: Sequence[str], cwd: Path) -> None:
                maker.run(argv, what=source.name, cwd=cwd, environment=environment, in_good_order=tree.is_in_order)

            try:
                for argv in features.commands(source.build):
                    run(argv, tree.root)
                tree.stamps.give_back()
                folder = tree.root / source.build.directory
                for argv in source.build.commands:
                    run(ide_files.with_exported(argv, folder, [tree.at(place) for place in reversed(needed)]), folder)
            except BuildFailed as failed:
                hint = lacks_mode(environment, campaign.mode) or failed.hint
                raise BuildFailed(failed.message, hint) from None
            target = self._target(source, tree.root, environment)
            names = products.wanted(tree.root, tree.changed_files(), target)
            loaded = sorted({*filter(omnetpp.is_shared_library, names), *tree.committed("*.so", "*.dylib")})
            described = Product(key, toolchain, target, (), source.name, time.time(), tuple(loaded))
            product = products.keep(self._paths, described, tree.root, names)
        return Built(source, product, self._delivered(product), was_built=bool(source.build.commands))

    def _delivered(self, product: Product) -> str:
        return self._head.insist(lambda head: products.deliver(self._paths, head, product))

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

    def _target(self, source: Source, root: Path, environment: Mapping[str, str]) -> str | None:
        """Ask the Makefiles for their target."""
        for makefile in source.build.makefiles:
            path = root / makefile
            if not path.exists():
                continue
            argv = omnetpp.make_target_command(path.name)
            answer = shell.run(argv, cwd=path.parent, env=environment, check=False)
            if answer.status == 0 and answer.text:
                return os.path.normpath(os.path.join(os.path.dirname(makefile), answer.text.splitlines()[-1].strip()))
        return None

    def _list_runs(
        self, campaign: Campaign, prepared: Prepared, checkout: Path, beside: Mapping[str, Path]
    ) -> tuple[Run, ...]:
        """Let the program list the runs, in a private directory like that of a run."""
        top = self._paths.private_of("builder", f"query-{uuid.uuid4().hex[:12]}")
        place = campaign.source.place
        private = PrivateDirectory.create(top, place, checkout, campaign.directory, beside)
        self._done_with.append(private)
        environment = omnetpp.with_libraries(campaign.run_environment, str(private.top), prepared.libraries)
        return program.list_runs(campaign, prepared.program, private.working_directory, environment)


def _library_folders(needed: Mapping[str, Built]) -> list[str]:
    """Return the folders of the shared libraries of projects, beginning with their places."""
    return [folder for place, built in needed.items() for folder in built.library_folders(place)]


def build_key(source: Source, files: str, mode: str, toolchain: str, variables: str, needed: Mapping[str, str]) -> str:
    """Return the digest of everything that decides what a build makes.

    ``files``: digest of those that it reads; ``variables``: what it reads of its environment; ``needed``: place → key.
    """
    folder = os.path.dirname(source.place) or "."
    beside = [f"{os.path.relpath(place, folder)} {key}" for place, key in needed.items()]
    # opp_makemake names the program after its folder, hence the project's name.
    return digest(files, mode, toolchain, variables, source.name, repr(source.build), *beside)
