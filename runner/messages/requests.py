"""What a client asks of the foreman, and what it is answered."""

from runner.messages.events import AnyEvent
from runner.messages.overview import CampaignStatus, Changed, MachineStatus
from runner.model import Campaign, Value


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
    #: The time of the end that is meant; 0: any.
    ended: float = 0.0


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


class Watch(Request, frozen=True):
    """Tell the sender how the lab is (:class:`Overview`), and from now on what changes of it (:class:`Changed`).

    Said again, everything is told again.  Who is not heard of for a minute is told no more; whatever it asks counts,
    and :class:`AskStatus` costs least: its answer says whether the sender is told still.
    """


class AskProducts(Request, frozen=True):
    """Answer with :class:`Products`."""


class PruneProducts(Request, frozen=True):
    """Remove the products that no campaign under way needs; answer with :class:`Products`."""


class Shutdown(Request, frozen=True):
    """End the lab's services; refused while campaigns run, unless forced."""

    force: bool = False


#: What is asked of campaigns, and of the lab.
OfCampaigns = Submit | Follow | Cancel | Resume | Collected | AskCampaigns | Explain
OfLab = AskStatus | AskMachines | Watch | AskProducts | PruneProducts | Drain | Shutdown

AnyRequest = OfCampaigns | OfLab


class Answer(Value, frozen=True, tag=True):
    """The foreman's reply to a request."""


class Accepted(Answer, frozen=True):
    """It will be done."""


class Refused(Answer, frozen=True):
    """It will not be done, and why."""

    message: str
    hint: str = ""


class Status(Answer, frozen=True):
    """What the lab does just now."""

    protocol: int
    hosts: dict[str, int]
    #: Those that are under way.
    campaigns: tuple[CampaignStatus, ...]
    #: Tells this foreman process from others: a new one knows no followers.
    incarnation: str = ""
    #: Is the asker told what changes (Watch)?  One that was not heard of for long has to say it again.
    is_watched: bool = False


class Campaigns(Answer, frozen=True):
    """All campaigns that the lab still has something of, by the time of their submission."""

    campaigns: tuple[CampaignStatus, ...]


class Explained(Answer, frozen=True):
    """Why something is where it is, in a sentence or two."""

    text: str
    #: The reason is that the campaign is being built, which it tells of by itself.
    is_built: bool = False


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


class Overview(Answer, frozen=True):
    """How the lab is just now: all of it."""

    protocol: int
    #: Of the head, in seconds since the epoch; all other times are by that clock, too.
    time: float
    #: By name.
    machines: tuple[MachineStatus, ...]
    #: Those under way, and those that ended within the last day; as they were submitted.
    campaigns: tuple[CampaignStatus, ...]
    #: Tells this foreman process from others: a new one knows no watchers.
    incarnation: str = ""


AnyAnswer = Accepted | Refused | Status | Campaigns | Machines | Products | Explained | Overview

#: Whatever a client may hear of the foreman.
Heard = AnyEvent | AnyAnswer | Changed
