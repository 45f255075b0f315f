"""A campaign from the client's side: project → snapshot → submit → follow → collect → manifest.

To come back to a campaign is to follow it without having submitted it.
"""

import os
import secrets
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path

import msgspec

from runner import campaigns, chosen_lab, config, ending, project_file, references, snapshot, upstream
from runner.errors import Detached, LabFailed, LabfleetError, WrongUse
from runner.following import Follower
from runner.homecoming import Destination
from runner.lab import ForemanClient, Lab, LabAway, LabRefused
from runner.labs import Connection
from runner.local_lab import Start
from runner.messages import Follow, Resume, Submit
from runner.model import PROTOCOL, Campaign, Prepared, Result, Source
from runner.notes import Note, Notes
from runner.notify import Attentive, Notifier
from runner.paths import LabPaths, home
from runner.project_file import Notify
from runner.references import Needed
from runner.report import View


@dataclass(frozen=True)
class Order:
    """What a person asks for: the options of ``campaign`` and ``runall``."""

    config: str
    folder: Path
    run_filter: str = ""
    program: str | None = None
    ini_files: tuple[str, ...] = ()
    mode: str = "release"
    arguments: tuple[str, ...] = ()
    jobs: int | None = None
    batch: int | None = None
    #: What the person says of the runs' limits, by the names of model.Limits; it counts more than labfleet.toml.
    limits: Mapping[str, float | int | None] = field(default_factory=dict)
    #: Stream the console output of all runs.
    verbose: bool = False
    #: End as soon as the runs are listed.
    dry_run: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """The options of ``labfleet campaign`` that order the same in this folder, but for which runs."""
        words = ["--config", self.config]
        words += ["--mode", self.mode] if self.mode != "release" else []
        words += ["--program", self.program] if self.program else []
        words += [word for ini in self.ini_files for word in ("--ini", ini)]
        words += ["--args", shlex.join(self.arguments)] if self.arguments else []
        for name, unit in (("timeout", "s"), ("stall", "s"), ("memory", "B")):
            if name in self.limits:
                limit = self.limits[name]
                words += [f"--{name}", "none" if limit is None else f"{limit:.15g}{unit}"]
        return tuple(words)


def new_id(now: float) -> str:
    """Return a campaign's id: sorts by time, and two clients never choose the same."""
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(now)) + f"-{secrets.token_hex(2)}"


def describe(
    order: Order,
    project: config.Project,
    taken: snapshot.Snapshot,
    the_lab: Lab,
    place: str = "",
    needed: Sequence[tuple[Needed, snapshot.Snapshot]] = (),
) -> Campaign:
    """Return the campaign that an order means; ``needed``: what the project at ``place`` needs."""
    now = time.time()
    launch = project.launch
    projects = [one.project for one, _ in needed]
    version = config.agreed_version(project, projects)
    return Campaign(
        id=new_id(now),
        protocol=PROTOCOL,
        project=the_lab.project_id(project.id),
        name=project.name,
        commit=taken.commit,
        tree=taken.tree,
        sources=_sources(project, taken),
        directory=project.directory,
        config=order.config,
        run_filter=order.run_filter,
        mode=order.mode,
        build=project.build,
        launch=type(launch)(
            launch.program,
            launch.ini_files,
            references.ned_path(project, place, [one for one, _ in needed]),
            (*launch.arguments, *order.arguments),
        ),
        environment=the_lab.environment(os.environ),
        own_environment=project.environment,
        submitted=now,
        user=getuser(),
        jobs=order.jobs,
        batch=order.batch,
        dry_run=order.dry_run,
        limits=msgspec.structs.replace(project.limits, **order.limits),
        omnetpp=version,
        omnetpp_said=config.said_version(project, projects, version),
        place=place,
        order=order.options,
        references=tuple(
            Source(
                project=the_lab.project_id(one.project.id),
                commit=state.commit,
                tree=state.tree,
                sources=_sources(one.project, state),
                place=one.place,
                build=one.project.build,
                references=one.references,
                variable=one.variable,
                origin=one.origin,
                environment=one.project.environment,
            )
            for one, state in needed
        ),
    )


def _sources(project: config.Project, taken: snapshot.Snapshot) -> str:
    """Return the digest of the files that a project's build may read: all, where it has commands of its own."""
    return taken.tree if project.is_built_from_all else taken.sources


def run(order: Order, view: View, notifier: Notifier | None = None) -> tuple[Result | None, Prepared]:
    """Carry an order out and return what it came to (nothing for a dry run), and which runs there are.

    ``notifier``: is told what it comes to, and what needs somebody.
    Raises LabfleetError for everything that keeps the runs from being done at all, Detached when the person leaves.
    """
    began = time.monotonic()
    _leave_on_signals()
    notifier = notifier or Notifier()
    view = Attentive(view, notifier)
    with Connection(chosen_lab.chosen(), Start.AS_WANTED) as connection:
        campaign, project = _taken(order, connection, view.note)
        destination = Destination(project.root, project.directory)
        follower = Follower(connection, campaign.id, _notes(), view, lambda _: destination, verbose=order.verbose)
        _note(connection, campaign, destination)
        if not order.dry_run:
            notifier.of(campaign, project.root, project.notify)
        with follower:
            _follow(follower, Submit(campaign), view, notifier)
            return ending.end(follower, began, notifier)


def submit(order: Order, note: Callable[[str], None] = lambda _: None) -> str:
    """Submit what is ordered, and return the campaign's id without waiting for it.  Raises LabfleetError.

    ``note``: is told what the person should know.
    """
    with Connection(chosen_lab.chosen(), Start.AS_WANTED) as connection:
        campaign, project = _taken(order, connection)
        _note(connection, campaign, Destination(project.root, project.directory))
        with _client(connection) as client:
            _submit_or_forget(lambda: client.ask(Submit(campaign)), campaign.id)
        if project.notify != Notify():
            note(f"[notify] tells nobody of it unless somebody follows it: labfleet attach {campaign.id}")
        return campaign.id


def attach(
    text: str,
    views: Callable[[str, str], View],
    notifier: Notifier | None = None,
    *,
    verbose: bool = False,
    resume: bool = False,
) -> tuple[Result | None, Prepared]:
    """Come back to a campaign, and return as :func:`run` does.

    ``text``: the campaign's id or a part of it; empty: the newest of this client's that is not at home.  ``views``:
    returns the view of a campaign, by name and configuration.  ``resume``: what is not done of it is begun again.
    Raises LabfleetError, Detached when the person leaves.
    """
    began = time.monotonic()
    _leave_on_signals()
    notes, notifier = _notes(), notifier or Notifier()
    with campaigns.found(text, notes) as (connection, known):
        destination = campaigns.destination(known)
        if resume and known.status and known.status.phase == "done":
            raise WrongUse(f"all runs of campaign {known.id} are done", f"labfleet attach {known.id}  brings them home")
        view: View = Attentive(views(known.name, known.config), notifier)
        if known.note is None or Path(known.note.root) != destination:
            view.note(f"it is not known where {known.id} was submitted: its results go to {destination}")

        def arrived(what: Campaign) -> Destination:
            place = Destination(destination, what.directory)
            _note(connection, what, place)
            notifier.of(what, destination, _whom_to_tell(destination, view))
            return place

        try:
            with Follower(connection, known.id, notes, view, arrived, verbose=verbose) as follower:
                _follow(follower, Resume(known.id) if resume else Follow(known.id), view, notifier)
                return ending.end(follower, began, notifier, since_submitted=not resume)
        except LabRefused as error:
            if known.status or known.note is None:
                raise
            notes.forget(known.id)
            raise LabFailed(error.message, f"it is not noted here any more\n{error.hint}".rstrip()) from None
        finally:
            view.close()


# ---- what these are made of --------------------------------------------------------------------------------------


def _notes() -> Notes:
    return Notes(LabPaths(home()))


def _leave_on_signals() -> None:
    """Take a closed terminal, and the wish that this process ends, for a Ctrl-C."""

    def leave(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def _taken(
    order: Order, connection: Connection, note: Callable[[str], None] = lambda _: None
) -> tuple[Campaign, config.Project]:
    """Take the snapshot, bring it to the lab, and return the campaign that is to be submitted.

    ``note``: is told what the person should know meanwhile.
    """
    project = config.load(order.folder, program=order.program, ini_files=order.ini_files, mode=order.mode)
    for remark in project.remarks:
        note(remark)
    with upstream.Cache(LabPaths(home()), note) as clones:
        resolved = references.resolve(project, order.mode, clones.fetched)
        taken, *others = [_snapshot(one, connection) for one in (project, *(one.project for one in resolved.needed))]
    needed = list(zip(resolved.needed, others, strict=True))
    connection.begin_again()  # all of this may have taken long, and a lab hears nothing of it
    return describe(order, project, taken, connection.lab, resolved.place, needed), project


def _snapshot(project: config.Project, connection: Connection) -> snapshot.Snapshot:
    """Take a project's snapshot and bring it to the lab."""
    private = connection.lab.paths.snapshots(project.id)
    taken = snapshot.take(project.root, project.include, private)
    server = connection.lab.git_server(project.id)
    snapshot.push(
        taken,
        private,
        server.address,
        ssh=server.ssh,
        receive_pack=server.receive_pack,
        identity=server.identity,
    )
    return taken


def _note(connection: Connection, campaign: Campaign, place: Destination) -> None:
    """Note where a campaign belongs, before it begins; a dry run has nothing to come back to."""
    if not campaign.dry_run:
        root, lab = str(place.root), connection.name or ""
        note = Note(campaign.id, lab, root, place.directory, campaign.name, campaign.config, campaign.submitted)
        _notes().write(note)


@contextmanager
def _client(connection: Connection) -> Iterator[ForemanClient]:
    client = ForemanClient(connection.context, connection.lab)
    try:
        yield client
    finally:
        client.close()


def _submit_or_forget(ask: Callable[[], object], campaign: str) -> None:
    """Submit a campaign; one that the lab refuses does not exist."""
    try:
        ask()
    except LabRefused:
        _notes().forget(campaign)
        raise
    except LabAway as away:
        raise LabFailed(
            away.message, f"whether it has taken the campaign on, this tells: labfleet attach {campaign}\n{away.hint}"
        ) from None


def _whom_to_tell(root: Path, view: View) -> Notify:
    """Return what a project's labfleet.toml says of it now; the campaign itself needs that file no more."""
    try:
        return project_file.read(root).notify
    except WrongUse as error:
        view.note(f"nobody is notified: {error.message}")
        return Notify()


def _follow(follower: Follower, request: Submit | Follow | Resume, view: View, notifier: Notifier) -> None:
    """Follow a campaign to its end; whatever happens to this client, the person is told that it goes on."""
    try:
        if isinstance(request, Submit):
            _submit_or_forget(lambda: follower.follow(request), follower.id)
        else:
            follower.follow(request)
    except Detached:
        raise
    except LabfleetError as error:  # says itself what is to be done
        if follower.what is not None:
            state = "refused" if follower.is_refused else "stopped"
            notifier.tell(state, error.message, f"{error.message}\n{error.hint}")
        raise
    except Exception:
        if follower.what is not None and follower.ended is None:
            with suppress(Exception):  # the reason for this may be that nothing can be shown
                view.note(f"campaign {follower.id} goes on: labfleet attach {follower.id}")
        raise
