"""Fixtures with real machines: containers that boot systemd and are reached over SSH."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import engine, images
from tests.lab.machines import Lab

HERE = Path(__file__).parent

#: Bringing machines up, and provisioning them, counts for the first test that wants them.
PATIENCE_WITH_MACHINES = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests with machines more time than others, unless they say how much they need."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PATIENCE_WITH_MACHINES))


def need_machines() -> None:
    """Skip a test where no machines can be run; fail where everything has to be there (CI=true)."""
    if reason := engine.why_not() or images.why_no_base():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no machines for tests: {reason}")
        pytest.skip(f"no machines for tests: {reason}")


@pytest.fixture(scope="session")
def lab_machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A head, two workers and a client for the whole session, bare at first."""
    need_machines()
    with Lab(f"labfleet-test-{os.getpid()}", tmp_path_factory.mktemp("machines"), engine.this_session()) as lab:
        lab.up()
        yield lab


@pytest.fixture(scope="module")
def bare_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A head, two workers and a client that nobody has provisioned, and nobody is going to."""
    need_machines()
    with Lab(f"labfleet-bare-{os.getpid()}", tmp_path_factory.mktemp("bare"), engine.this_session()) as lab:
        lab.up()
        yield lab


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of one machine, ``w1``, and a client, which a module's tests may break."""
    need_machines()
    with Lab(f"labfleet-spare-{os.getpid()}", tmp_path_factory.mktemp("spare"), engine.this_session()) as lab:
        lab.up(["w1"])
        yield lab


@pytest.fixture(scope="session")
def provisioned_lab(lab_machines: Lab) -> Lab:
    """The machines after ``labfleet provision``, the first of the two commands."""
    done = lab_machines.client.run(["labfleet", "provision", "--inventory", "inventory.yml"], seconds=900)
    assert done.status == 0, done.stdout + done.stderr
    return lab_machines
