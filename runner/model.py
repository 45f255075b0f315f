"""The values that pass between the parts, and how they look as JSON.

All are frozen.  What the parts say to each other about them is in messages/.  Whoever changes a field that travels
between client and lab raises :data:`PROTOCOL`.
"""

import json
import re
from typing import Any, Literal, TypeVar

import msgspec

#: Version of everything that client, foreman and workers say to each other.
PROTOCOL = 6

#: What became of one attempt at a run: it is done; the simulation said what is wrong; a signal ended it; it took too
#: long; its simulation time stood still; it took too much memory; its machine or worker is gone; nobody wants it any
#: more.
Kind = Literal["done", "error", "crash", "timeout", "stalled", "out-of-memory", "lost", "cancelled"]

#: Kinds that are the run's own failure: it is begun again only as often as ``Limits.retries`` says.
OWN_FAILURES: frozenset[Kind] = frozenset({"error", "crash", "timeout", "stalled", "out-of-memory"})

#: How a model is built, and with which of OMNeT++'s programs it runs.
MODES = ("release", "debug", "sanitize")

T = TypeVar("T")


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}")


def check_name(name: str) -> None:
    """Raise ValueError for what could be more than the name of a file or folder."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name")


def _check_place(place: str) -> None:
    """Raise ValueError for what is not a folder below another one."""
    if any(part in ("", ".", "..") for part in place.split("/")):
        raise ValueError(f"{place!r} is no place for a project")


class Value(msgspec.Struct, frozen=True):
    """Base of all values that travel."""


# ---- what is to be done ------------------------------------------------------------------------------------------


class Build(Value, frozen=True):
    """How the model's program comes into being; all of it relative to the project's root."""

    #: Where the commands run.
    directory: str = "."
    #: One after the other; empty when there is nothing to build.  ``MODE`` is in their environment.
    commands: tuple[tuple[str, ...], ...] = ()
    #: The Makefiles to ask for their target, in this order, when no program is named.
    makefiles: tuple[str, ...] = ()
    #: Project features that ``opp_featuretool`` switches on or off before; the others stay as the project has them.
    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()


class Source(Value, frozen=True):
    """A project at one revision, and how it is built."""

    #: Identifies the project at the git server, e.g. ``inet-1f3a9c04``.
    project: str
    commit: str
    tree: str
    #: Digest of the files that the build may read; mostly a changed ini or NED file leaves it as it is.
    sources: str
    #: Where its folder stands among those of a campaign, as at home: ``inet``, ``libs/inet``.
    place: str
    build: Build
    #: Places of the projects that it needs, and of those that they need: each stands before those that need it.
    references: tuple[str, ...] = ()
    #: The variable by which makefiles are told where it stands; empty where they expect it just there.
    variable: str = ""
    #: For people: the folder or the URL and revision that it is from.
    origin: str = ""
    #: What its labfleet.toml adds to the environment of its build; what others say does not reach that.
    environment: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Refuse what would name files elsewhere, or be more than the name of a variable."""
        for name in (self.project, self.tree, self.commit):
            check_name(name)
        for place in (self.place, *self.references):
            _check_place(place)
        if self.variable and not re.fullmatch(r"[A-Za-z_]\w*", self.variable, re.ASCII):
            raise ValueError(f"{self.variable!r} is no variable")

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.place.rpartition("/")[2]


class Launch(Value, frozen=True):
    """How the simulation program is started, apart from the run it is to do."""

    #: Path relative to the working directory, absolute, a name on PATH, a shared library; None: ask the Makefile.
    program: str | None = None
    ini_files: tuple[str, ...] = ()
    #: NED folders relative to the working directory; empty: the program's own default.
    ned_path: tuple[str, ...] = ()
    #: Further options as the person typed them.
    arguments: tuple[str, ...] = ()


class Limits(Value, frozen=True):
    """What a run may take, and what follows when it fails; None: no limit."""

    #: Seconds of wall-clock time.
    timeout: float | None = None
    #: Seconds in which the simulation time, as the program prints it, may stand still.
    stall: float | None = None
    #: Bytes of main memory of all processes of the run together.
    memory: int | None = None
    #: How often a run is begun again that failed by itself.
    retries: int = 0
    #: After so many failed runs the rest of the campaign is cancelled.
    max_failures: int | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        given = (self.timeout, self.stall, self.memory, self.max_failures)
        if any(limit is not None and limit <= 0 for limit in given) or self.retries < 0:
            raise ValueError("limits are positive")


class Campaign(Value, frozen=True):
    """One configuration of one revision of one project, as the client submits it."""

    id: str
    protocol: int
    #: Identifies the project at the git server, e.g. ``aloha-1f3a9c04``.
    project: str
    #: The folder that the results go home to: the name of the project's root.
    name: str
    commit: str
    tree: str
    #: Digest of the files that the build may read; mostly a changed ini or NED file leaves it as it is.
    sources: str
    #: The working directory relative to the project's root.
    directory: str
    config: str
    run_filter: str
    mode: str
    build: Build
    launch: Launch
    #: Environment of all builds and runs; on a local lab the client's own.
    environment: dict[str, str]
    #: Seconds since the epoch.
    submitted: float
    user: str
    #: At most so many chunks of this campaign at once; None: as many as there are slots.
    jobs: int | None = None
    #: Runs per process; None: follows the measured run time.
    batch: int | None = None
    #: Only list the runs.
    dry_run: bool = False
    limits: Limits = Limits()
    #: The version of OMNeT++ that it wants, or the beginning of it; empty: that of the environment.
    omnetpp: str = ""
    #: Where that is said, for people.
    omnetpp_said: str = ""
    #: Where the project's folder stands among those of its references; empty: there are none, its name will do.
    place: str = ""
    #: The projects that this one needs, in the order in which they are built.
    references: tuple[Source, ...] = ()
    #: What the project's labfleet.toml adds to the environment of its own build, and of the runs.
    own_environment: dict[str, str] = {}
    #: The options of ``labfleet campaign`` that order the same in its working directory, but for ``--runs``.
    order: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would name files elsewhere, or make no sense."""
        for name in (self.id, self.project, self.tree, self.commit):
            check_name(name)
        _check_place(self.place or self.name)
        places = [reference.place for reference in self.references]
        if len({*places, self.place or self.name}) <= len(places):
            raise ValueError("two projects cannot stand at the same place")
        for number, reference in enumerate(self.references):
            if not set(reference.references) <= set(places[:number]):
                raise ValueError(f"{reference.place} comes before what it needs")
        parts = self.directory.split("/")
        if "/" in self.name or self.name in ("", ".", "..") or self.directory.startswith("/") or ".." in parts:
            raise ValueError("a campaign must stay in its project")
        if (self.jobs is not None and self.jobs < 1) or (self.batch is not None and self.batch < 1):
            raise ValueError("jobs and batch are whole numbers from 1")

    @property
    def source(self) -> Source:
        """The project itself, as one of those that are built."""
        return Source(
            self.project,
            self.commit,
            self.tree,
            self.sources,
            self.place or self.name,
            self.build,
            tuple(reference.place for reference in self.references),
            environment=self.own_environment,
        )

    @property
    def run_environment(self) -> dict[str, str]:
        """The environment of its runs."""
        return {**self.environment, **self.own_environment}


class Run(Value, frozen=True):
    """One run of a configuration: its number and the values of its iteration variables."""

    number: int
    #: Without the dollar sign, in the order the program lists them; ``repetition`` is the last.
    variables: dict[str, str]


class Attempt(Value, frozen=True):
    """One try at one run."""

    run: int
    number: int


class Chunk(Value, frozen=True):
    """What one RQ job carries to a slot: some runs of one campaign."""

    id: str
    campaign: str
    attempts: tuple[Attempt, ...]
    #: May they share one process?
    shared: bool
    #: The key of the product with which they are to be done; empty: the campaign's, whichever that is.
    key: str = ""


# ---- what came of it ---------------------------------------------------------------------------------------------


class File(Value, frozen=True):
    """A file that a run left."""

    #: Relative to the project's root, with ``/``; may begin with ``../``.
    path: str
    #: In bytes.
    size: int
    #: Modification time in nanoseconds; kept, because a .vci records its .vec's.
    mtime_ns: int
    #: Empty until the uploader has read the file.
    sha256: str = ""
    #: The snapshot has a file of this name too, and the run changed its own copy.
    given: bool = False


class Outcome(Value, frozen=True):
    """How one attempt ended and what it left."""

    campaign: str
    run: int
    attempt: int
    kind: Kind
    exit_status: int
    host: str
    slot: str
    #: Seconds since the epoch.
    started: float
    ended: float
    #: The program's own words, e.g. the text after ``<!> Error:``.
    error: str = ""
    command: tuple[str, ...] = ()
    seed_set: str = ""
    files: tuple[File, ...] = ()
    #: Length of the run's log in bytes.
    log_size: int = 0
    #: The key of the project's product with which it was made; empty if nobody can tell.
    key: str = ""
    #: The folder in which its files travel: no other execution has the same, whatever numbers attempts are given.
    parcel: str = ""

    def __post_init__(self) -> None:
        """Refuse what would name files elsewhere."""
        check_name(self.campaign)
        if self.parcel:
            check_name(self.parcel)


class Past(Value, frozen=True):
    """An attempt that did not make its run over: another one followed it."""

    run: int
    number: int
    kind: Kind
    host: str
    slot: str
    #: Seconds since the epoch.
    started: float
    ended: float
    error: str = ""


class Prepared(Value, frozen=True):
    """A built campaign and the runs that its own program listed."""

    key: str
    #: True when this campaign's build job had to build; False when the product was there.
    built: bool
    #: Start of every command line: ``("./aloha",)`` or ``("opp_run", "-l", "../src/foo")``.
    program: tuple[str, ...]
    toolchain: str
    runs: tuple[Run, ...]
    #: Place → key of the references.
    references: dict[str, str] = {}
    #: Folders with shared libraries that were built, beginning with the places of their projects.
    libraries: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all products that the runs need."""
        return (self.key, *self.references.values())

    def __post_init__(self) -> None:
        """Refuse what would name files elsewhere."""
        for key in self.keys:
            check_name(key)


class Result(Value, frozen=True):
    """What a campaign came to, as the person is told at its end and ``--json`` prints it."""

    campaign: str
    name: str
    config: str
    #: Absolute paths at the client.
    results: str
    manifest: str
    total: int
    #: One per run that is over, ordered by run number.
    outcomes: tuple[Outcome, ...]
    #: Run number to the path of its full log at the client.
    logs: dict[int, str]
    #: Run number to where its files are: path in the run → path at home, relative to the project's root.
    places: dict[int, dict[str, str]] = {}
    #: Sentences that the person has to know, e.g. of two runs that wrote the same file.
    warnings: tuple[str, ...] = ()
    cancelled: bool = False
    #: Why it was cancelled, where nobody asked for that.
    reason: str = ""
    #: Attempts that had to be made again, ordered by time.
    past: tuple[Past, ...] = ()
    #: True when nothing had to be compiled.
    product_reused: bool = False
    #: Wall-clock seconds from the command to the last result at home; for who comes back, of the campaign.
    seconds: float = 0.0
    #: As the campaign's.
    order: tuple[str, ...] = ()
    #: Absolute path of the report; empty if there is none.
    report: str = ""


# ---- JSON ------------------------------------------------------------------------------------------------------------


def encode(value: Any) -> bytes:
    """Return a value as one line of JSON."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a file name that is no text: JSON has escapes for it, UTF-8 has not
        return json.dumps(msgspec.to_builtins(value)).encode()


def decode(data: bytes | str, kind: Any) -> Any:
    """Return the value of the given type (or union of types) that JSON describes.

    Raises ``ValueError`` for anything else, unknown kinds and wrong types included.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except msgspec.DecodeError:
        raw = data if isinstance(data, bytes) else data.encode()
        if b"\\ud" not in raw:
            raise
        return msgspec.convert(json.loads(data), type=kind)


def pretty(value: Any) -> str:
    """Return a value as JSON for people, ending in a newline."""
    return json.dumps(msgspec.to_builtins(value), indent=2) + "\n"
