"""How a lab and its parts are: what is shown of machines, slots and campaigns, and what changes of it."""

from runner.messages.events import Event, HostReport
from runner.model import Value


class SlotStatus(Value, frozen=True):
    """A slot that has a run, and what the simulation said of itself last."""

    slot: str
    campaign: str
    run: int
    attempt: int
    #: Seconds since the epoch, by the head's clock.
    since: float
    #: Between 0 and 100; None without a sim-time-limit.
    percent: float | None = None
    #: Simulation time in seconds.
    sim_time: float = 0.0
    #: Simulation events per second; None until measured.
    events_per_second: float | None = None
    #: Bytes of main memory of all its processes; 0: not known.
    memory: int = 0


class MachineStatus(Value, frozen=True):
    """One machine of the lab."""

    #: What it told last; None if it never did.  In an overview without what it holds: ``slots`` tells that.
    report: HostReport | None
    name: str
    #: Slots that have a run, or are to get one.
    busy: int
    #: ``ready``, ``draining``, ``unwell`` or ``away``, and why.
    state: str
    reason: str = ""
    #: Those that have a run, by name, in an overview; the others are idle: ``report.slots`` tells how many there are.
    slots: tuple[SlotStatus, ...] = ()


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
    #: How many slots work on it, each on one run.
    running: int
    #: Seconds since the epoch; None while it has not ended.
    submitted: float = 0.0
    ended: float | None = None
    #: Is everything of it at home?
    collected: bool = False
    #: Seconds from now until its last run should be over, from measured run times; None while too little is measured.
    eta: float | None = None
    #: Why nothing of it runs, in a sentence; empty if something does, or it has ended.  In an overview.
    waiting: str = ""


class Changed(Event, frozen=True):
    """What of the lab is otherwise than its watcher was told; at most ten of these are sent in a second.

    An ``eta`` that comes nearer as the time goes by is no change.
    """

    #: Of the head, in seconds since the epoch.
    time: float
    machines: tuple[MachineStatus, ...] = ()
    campaigns: tuple[CampaignStatus, ...] = ()
    #: Campaigns that are not shown any more, by their ids, and machines by their names.
    gone: tuple[str, ...] = ()
    gone_machines: tuple[str, ...] = ()
