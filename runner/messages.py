"""What the parts of a lab say to each other: events, and the requests and answers of clients.

Each knows its own kind in JSON (its tag), so what is no message of a union is refused when it is decoded.
"""

from runner.model import Attempt, Campaign, Outcome, Past, Prepared, Value

# ---- what happened: workers tell the foreman, the foreman tells the campaign's followers ----


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


class BuildStarted(Event, frozen=True):
    """The build job found no product for the campaign's key and builds it."""

    campaign: str


class ProductMissing(Event, frozen=True):
    """A host could not get a campaign's product whole from the head; it waits until somebody has built it again."""

    campaign: str
    key: str


class CampaignPrepared(Event, frozen=True):
    """Product and list of runs are there."""

    campaign: str
    prepared: Prepared
    #: The parcel that holds the product, where it was built away from the store.
    parcel: str = ""


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


#: What happens to one campaign: to its runs, and to the whole of it.
OfRuns = RunStarted | RunProgressed | ChunkStarted | ChunkEnded | DeliveryFailed | AttemptFailed
OfWhole = CampaignTaken | BuildStarted | CampaignPrepared | CampaignRefused | ProductMissing | CampaignEnded
CampaignEvent = OfRuns | OfWhole

AnyEvent = CampaignEvent | HostUp | HostReport | SlotDied | RunDelivered | RunCommitted


# ---- what a client asks of the foreman ---------------------------------------------------------------------------


class Request(Value, frozen=True, tag=True):
    """A question or an order to the foreman."""


class Submit(Request, frozen=True):
    """Take on a campaign and tell the sender everything that happens to it; said twice, it is taken on once."""

    campaign: Campaign


class Follow(Request, frozen=True):
    """Tell the sender everything that has happened to a campaign, and what happens from now on."""

    campaign: str


class Cancel(Request, frozen=True):
    """Start no more runs of a campaign and end those that run."""

    campaign: str


class Resume(Request, frozen=True):
    """Begin again, with the same snapshot, what failed, was lost or cancelled in a campaign that has ended."""

    campaign: str


class Collected(Request, frozen=True):
    """Everything of a campaign that has ended is at home; the lab need not keep it."""

    campaign: str


class AskCampaigns(Request, frozen=True):
    """Answer with :class:`Campaigns`."""


class Explain(Request, frozen=True):
    """Say why a campaign, or one run of it, is where it is; answer with :class:`Explained`."""

    campaign: str
    run: int | None = None


class Drain(Request, frozen=True):
    """Give a machine nothing more, or give it runs again; that also ends a quarantine."""

    host: str
    drained: bool


class AskStatus(Request, frozen=True):
    """Answer with :class:`Status`."""


class AskMachines(Request, frozen=True):
    """Answer with :class:`Machines`."""


class AskProducts(Request, frozen=True):
    """Answer with :class:`Products`."""


class PruneProducts(Request, frozen=True):
    """Remove the products that no campaign under way needs; answer with :class:`Products`."""


class Shutdown(Request, frozen=True):
    """End the lab's services; refused while campaigns run, unless forced."""

    force: bool = False


#: What is asked of campaigns, and of the lab.
OfCampaigns = Submit | Follow | Cancel | Resume | Collected | AskCampaigns | Explain
OfLab = AskStatus | AskMachines | AskProducts | PruneProducts | Drain | Shutdown

AnyRequest = OfCampaigns | OfLab


class Answer(Value, frozen=True, tag=True):
    """The foreman's reply to a request."""


class Accepted(Answer, frozen=True):
    """It will be done."""


class Refused(Answer, frozen=True):
    """It will not be done, and why."""

    message: str
    hint: str = ""


class CampaignStatus(Value, frozen=True):
    """Where one campaign stands."""

    id: str
    name: str
    config: str
    user: str
    #: ``building``, ``running``, ``cancelled``; of one that has ended ``done``, ``failed``, ``cancelled``, ``refused``.
    phase: str
    total: int
    done: int
    failed: int
    running: int
    #: Seconds since the epoch; None while it has not ended.
    submitted: float = 0.0
    ended: float | None = None
    #: Is everything of it at home?
    collected: bool = False


class Status(Answer, frozen=True):
    """What the lab does just now."""

    protocol: int
    hosts: dict[str, int]
    #: Those that are under way.
    campaigns: tuple[CampaignStatus, ...]
    #: Tells this foreman process from others: a new one knows no followers.
    incarnation: str = ""


class Campaigns(Answer, frozen=True):
    """All campaigns that the lab still has something of, by the time of their submission."""

    campaigns: tuple[CampaignStatus, ...]


class Explained(Answer, frozen=True):
    """Why something is where it is, in a sentence or two."""

    text: str


class MachineStatus(Value, frozen=True):
    """One machine of the lab."""

    #: What it told last; None if it never did.
    report: HostReport | None
    name: str
    #: Slots that have a run, or are to get one.
    busy: int
    #: ``ready``, ``draining``, ``unwell`` or ``away``, and why.
    state: str
    reason: str = ""


class Machines(Answer, frozen=True):
    """All machines of the lab, by name."""

    machines: tuple[MachineStatus, ...]
    #: Revision of labfleet's code that the foreman runs, and the one that the git server has for everybody.
    revision: str
    deployed: str


class ProductStatus(Value, frozen=True):
    """One product in the head's store; sizes in bytes, times in seconds since the epoch."""

    key: str
    #: The name of the project that it was built for.
    project: str
    files: int
    size: int
    #: What no other product has, of its size.
    own: int
    built: float
    used: float
    #: The ids of the campaigns under way that need it.
    campaigns: tuple[str, ...] = ()


class Products(Answer, frozen=True):
    """The head's products, those first that were used longest ago; sizes in bytes."""

    products: tuple[ProductStatus, ...]
    #: What all of them take, and may take until housekeeping removes some.
    total: int
    limit: int
    #: What was just removed: so many, what they took, and what checkouts on the same machine keep of them for now.
    removed: int = 0
    freed: int = 0
    held: int = 0


AnyAnswer = Accepted | Refused | Status | Campaigns | Machines | Products | Explained
