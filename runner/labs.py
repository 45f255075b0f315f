"""Which lab a client speaks to: the one that the person has chosen, else the local one."""

from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from runner import chosen_lab, local_lab
from runner.lab import ForemanClient, Lab
from runner.messages import CampaignStatus, Machines


class Connection:
    """A client's way to a lab; it can be made anew."""

    def __init__(self, name: str | None, start: local_lab.Start = local_lab.Start.NEVER) -> None:
        """``name``: of the head; None: the lab on this machine.  Raises LabFailed."""
        self.name = name
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self.lab = self._connect(start)
        except BaseException:
            self.context.destroy(linger=0)
            raise

    def _connect(self, start: local_lab.Start) -> Lab:
        if self.name:
            from runner import remote_lab

            return remote_lab.connect(self.name)
        return local_lab.connect(self.context, start)

    def renew(self) -> None:
        """Make the way anew; all sockets have to be closed.  Raises LabFailed, and can be tried again then.

        Services that somebody has ended are not started for that.
        """
        self.lab.close()
        self.lab = self._connect(local_lab.Start.NEVER)

    def begin_again(self) -> None:
        """Have a local lab's services again that have ended as nobody needed them meanwhile.  Raises LabFailed."""
        if not self.name:
            self.lab = local_lab.connect(self.context, local_lab.Start.IF_NONE_RUNS)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what was needed to reach the lab."""
        self.context.destroy(linger=1000)
        self.lab.close()


@contextmanager
def connected() -> Iterator[tuple["zmq.Context[zmq.Socket[bytes]]", Lab]]:
    """Yield a ZeroMQ context and the chosen lab, as far as it runs; what was needed to reach it ends with the block.

    Raises LabFailed.
    """
    connection = Connection(chosen_lab.chosen())
    try:
        yield connection.context, connection.lab
    finally:
        connection.close()


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
