"""What the parts say to each other, as JSON."""

import pytest

from runner.messages import (
    AnyRequest,
    CampaignStatus,
    Changed,
    Event,
    Heard,
    HostReport,
    MachineStatus,
    Overview,
    RunProgressed,
    SlotStatus,
    Watch,
    WorkerEvent,
)
from runner.model import PROTOCOL, Value, decode, encode

SLOT = SlotStatus("1", "c1", 7, 1, 100.5, 14.0, 3.25, 1e6, 5 << 20)
MACHINE = MachineStatus(HostReport("w1", 2, load=0.5), "w1", 1, "ready", slots=(SLOT,))
CAMPAIGN = CampaignStatus("c1", "aloha", "General", "anna", "running", 42, 7, 1, 1, 90.0, eta=12.5, waiting="why")


@pytest.mark.parametrize(
    "message",
    [
        Overview(PROTOCOL, 100.0, (MACHINE,), (CAMPAIGN,), "3f"),
        Changed(100.0, (MACHINE,), (CAMPAIGN,), ("c0",), ("w2",)),
        RunProgressed("c1", 7, 3.25, 14.0, 2.0, 1e6, 5 << 20),
    ],
)
def test_what_a_watcher_hears_arrives_as_it_was_sent(message: Value) -> None:
    # Given / When
    heard = decode(encode(message), Heard)
    # Then
    assert heard == message


def test_a_watcher_s_request_arrives() -> None:
    # Given / When / Then
    assert decode(encode(Watch()), AnyRequest) == Watch()


def test_only_the_foreman_tells_of_the_lab() -> None:
    # Given
    told: Event = Changed(100.0)
    # When / Then
    with pytest.raises(ValueError, match="Changed"):
        decode(encode(told), WorkerEvent)


def test_the_progress_that_an_older_slot_tells_is_understood() -> None:
    # Given: the slots of a machine take a new revision after their runs, the foreman at once
    told = b'{"type":"RunProgressed","campaign":"c1","run":7,"sim_time":3.25,"percent":14.0,"speed":2.0}'
    # When / Then
    assert decode(told, WorkerEvent) == RunProgressed("c1", 7, 3.25, 14.0, 2.0, None, 0)
