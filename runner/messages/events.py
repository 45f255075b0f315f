"""What happened: workers tell the foreman, the foreman tells the campaign's followers."""

from runner.model import Attempt, Campaign, Outcome, Past, Prepared, Value, check_name


class Event(Value, frozen=True, tag=True):
    """Something that happened; carried by the event stream in Redis or by the foreman's socket."""


class HostUp(Event, frozen=True):
    """An agent has started and serves its host's queue with so many slots; those that it had before are gone."""

    host: str
    slots: int
    #: The agent's public CURVE key, in Z85; empty in a local lab.
    key: str = ""


class Held(Value, frozen=True):
    """A lease: a slot has this and works on it, as it said itself within the last seconds."""

    slot: str
    campaign: str
    #: Empty for the builder, which has the campaign's build job.
    chunk: str = ""
    #: What the slot has still to do of the chunk, in its order: the first is under way.
    attempts: tuple[Attempt, ...] = ()
    #: Seconds since the slot said so, when this was sent.
    age: float = 0.0


class Holding(Value, frozen=True):
    """What a slot or the builder tells its agent every two seconds: what it has; None: nothing."""

    worker: str
    held: Held | None = None


class HostReport(Event, frozen=True):
    """How a machine is and what it has; told every two seconds.  Each report renews the leases that are in it."""

    host: str
    slots: int
    #: It finishes what runs and takes nothing more.
    draining: bool = False
    tags: tuple[str, ...] = ()
    desktop: bool = False
    #: Load of the last minute.
    load: float = 0.0
    #: In bytes.
    memory_free: int = 0
    memory_total: int = 0
    disk_free: int = 0
    disk_total: int = 0
    image: str = ""
    #: Revisions of labfleet's code that the slots run, newest first.
    revisions: tuple[str, ...] = ()
    holds: tuple[Held, ...] = ()
    #: Names of the parcels that wait for the uploader.
    spool: tuple[str, ...] = ()
    #: What keeps the machine from doing its work, in a sentence; empty if nothing does.
    trouble: str = ""
    #: One line that is equal for machines that compile alike; empty in a local lab.
    toolchain: str = ""
    #: It builds the models.
    builder: bool = False
    #: As in :class:`HostUp`, which may be lost.
    key: str = ""


class BuildStarted(Event, frozen=True):
    """The build job found no product for the key of the campaign's project, or of one that it needs, and builds it."""

    campaign: str
    #: The project's name.
    what: str = ""


class BuildProgressed(Event, frozen=True):
    """How far a build is."""

    campaign: str
    #: Compilations that were made, and that are to be made in all; None: nobody knows.
    done: int
    total: int | None
    #: The project that is built, which may be one that the campaign's needs.
    what: str


class ProductMissing(Event, frozen=True):
    """A host could not get a campaign's product whole from the head; it waits until somebody has built it again."""

    campaign: str
    key: str
    #: It was delivered just now, and is not at the head whole all the same.
    delivered: bool = False

    def __post_init__(self) -> None:
        """Refuse what would name files elsewhere."""
        check_name(self.key)


class CampaignPrepared(Event, frozen=True):
    """Product and list of runs are there."""

    campaign: str
    prepared: Prepared
    #: The parcel that holds the product, where it was built away from the store.
    parcel: str = ""
    #: Key and parcel of references' products that come along.
    references: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse products that the campaign does not need, and parcels that would be files elsewhere."""
        if not {key for key, _ in self.references} <= set(self.prepared.keys):
            raise ValueError("a product comes along that is none of the campaign's")
        for _, parcel in self.parcels:
            check_name(parcel)

    @property
    def parcels(self) -> list[tuple[str, str]]:
        """Key and parcel of all products that come along."""
        return [(key, parcel) for key, parcel in ((self.prepared.key, self.parcel), *self.references) if parcel]


class CampaignRefused(Event, frozen=True):
    """The campaign cannot be run: build failed, unknown configuration, …"""

    campaign: str
    exit_code: int
    message: str
    hint: str


class RunStarted(Event, frozen=True):
    """A slot's process began with this run."""

    campaign: str
    run: int
    attempt: int
    host: str
    slot: str
    time: float


class RunProgressed(Event, frozen=True):
    """What the simulation said of itself last."""

    campaign: str
    run: int
    #: Simulation time in seconds.
    sim_time: float
    #: Between 0 and 100; None without a sim-time-limit.
    percent: float | None
    #: Simulated seconds per second; None until measured.
    speed: float | None
    #: Simulation events per second; None until measured.
    events_per_second: float | None = None
    #: Bytes of main memory of all its processes; 0: not known.
    memory: int = 0
    #: Which attempt at the run; 0: not known.
    attempt: int = 0


class ChunkStarted(Event, frozen=True):
    """A slot has begun a chunk."""

    campaign: str
    chunk: str
    host: str
    slot: str


class ChunkEnded(Event, frozen=True):
    """A slot is through with a chunk; its outcomes come separately, when they are delivered."""

    campaign: str
    chunk: str
    host: str
    #: Attempts that came to no outcome, and the slot's own trouble that was the reason.
    unfinished: tuple[Attempt, ...] = ()
    error: str = ""
    #: The machine was not fit for the runs, e.g. as its disk is full: that is no attempt at them.
    not_tried: bool = False
    #: Runs that shared a process left a file of which nobody knows whose it is, and were done again singly.
    mixed_up: bool = False


class SlotDied(Event, frozen=True):
    """An agent found one of its slots dead; what the slot had begun has to be done elsewhere."""

    host: str
    slot: str


class RunDelivered(Event, frozen=True):
    """The uploader has put an attempt's files into the result store's incoming folder."""

    outcome: Outcome


class DeliveryFailed(Event, frozen=True):
    """An attempt did not arrive complete; its run has to be begun again."""

    campaign: str
    attempt: Attempt


class RunCommitted(Event, frozen=True):
    """The result store holds this run's record; the files may be fetched."""

    outcome: Outcome


class AttemptFailed(Event, frozen=True):
    """An attempt came to nothing that counts; its run is begun again."""

    campaign: str
    past: Past


class CampaignTaken(Event, frozen=True):
    """Who follows a campaign is told first what it is; everything that has happened so far comes next."""

    campaign: str
    what: Campaign


class CampaignEnded(Event, frozen=True):
    """Nothing more will come from this campaign, unless somebody resumes it."""

    campaign: str
    cancelled: bool
    #: Why it was cancelled, where nobody asked for that.
    reason: str = ""
    #: When that was, by the head's clock, in seconds since the epoch: tells one end of a campaign from a later one.
    time: float = 0.0


#: What happens to one campaign: to its runs, to what they need, and to the whole of it.
OfRuns = RunStarted | RunProgressed | ChunkStarted | ChunkEnded | DeliveryFailed | AttemptFailed
OfBuilds = BuildStarted | BuildProgressed | CampaignPrepared | CampaignRefused | ProductMissing
OfWhole = CampaignTaken | OfBuilds | CampaignEnded
CampaignEvent = OfRuns | OfWhole

#: What workers may tell.
WorkerEvent = (
    HostUp
    | HostReport
    | SlotDied
    | BuildStarted
    | BuildProgressed
    | ProductMissing
    | CampaignPrepared
    | CampaignRefused
    | RunStarted
    | RunProgressed
    | ChunkStarted
    | ChunkEnded
    | RunDelivered
    | DeliveryFailed
)

AnyEvent = CampaignEvent | HostUp | HostReport | SlotDied | RunDelivered | RunCommitted
