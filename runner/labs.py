"""Which lab a client speaks to: the one that the person has chosen, else the local one."""

from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from runner import chosen_lab, local_lab
from runner.lab import ForemanClient, Lab
from runner.messages import CampaignStatus, Cancel, Machines


@contextmanager
def connected(*, start: bool = False) -> Iterator[tuple["zmq.Context[zmq.Socket[bytes]]", Lab]]:
    """Yield a ZeroMQ context and the lab; what was needed to reach it ends with the block.

    ``start``: start a local lab that does not run.  Raises LabFailed.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    lab: Lab | None = None
    try:
        if name := chosen_lab.chosen():
            from runner import remote_lab

            lab = remote_lab.connect(name)
        else:
            lab = local_lab.connect(context) if start else local_lab.if_running()
        yield context, lab
    finally:
        context.destroy(linger=1000)
        if lab is not None:
            lab.close()


def machines() -> Machines:
    """Return the lab's machines.  Raises LabFailed if it does not answer."""
    with connected() as (context, lab):
        client = ForemanClient(context, lab)
        try:
            return client.machines()
        finally:
            client.close()


def describe() -> str:
    """Return what the lab does, for a person.  Raises LabFailed if it does not answer."""
    if not chosen_lab.chosen() and (idle := local_lab.idle()):
        return idle
    with connected() as (context, lab):
        client = ForemanClient(context, lab)
        status = client.status()
        client.close()
        hosts = ", ".join(f"{host} with {slots} slots" for host, slots in status.hosts.items())
        campaigns = [_described(campaign) for campaign in status.campaigns] or ["  no campaign is under way"]
        return "\n".join([f"{lab.name}: {hosts or 'no machine serves'}", *campaigns, f"  {lab.whereabouts}"])


def _described(campaign: CampaignStatus) -> str:
    return (
        f"  {campaign.id} {campaign.name} {campaign.config} of {campaign.user}: {campaign.phase}, {campaign.done} of "
        f"{campaign.total} runs done, {campaign.failed} failed, {campaign.running} running"
    )


def cancel(campaign: str) -> None:
    """End the runs of a campaign.  Raises LabFailed if it is not under way, or somebody else's."""
    with connected() as (context, lab):
        client = ForemanClient(context, lab)
        client.ask(Cancel(campaign))
        client.close()
