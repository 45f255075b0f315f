"""`labfleet doctor` finds what is wrong with real machines, says what to do, and sees that it is well again."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.conftest import eventually
from tests.lab.campaigns import labfleet
from tests.lab.machine import Machine
from tests.lab.machines import Lab


def examined(lab: Lab) -> Any:
    """Return what doctor finds at the client, with the inventory."""
    said = labfleet(lab.client, "doctor", "--inventory", "inventory.yml", "--json")
    assert said.status in (0, 3), said.stderr
    return json.loads(said.stdout)


def errors(found: Any, machine: str) -> list[dict[str, str]]:
    return [one for one in found["findings"] if one["severity"] == "error" and one["machine"] == machine]


def root(machine: Machine, script: str) -> None:
    machine.exec_as_root(["sh", "-euc", script])


@contextmanager
def switched_off(lab: Lab) -> Iterator[None]:
    lab.machines["w1"].kill()
    yield
    lab.machines["w1"].start()


@contextmanager
def wrong_ssh_key(lab: Lab) -> Iterator[None]:
    # The key that the worker shows is no longer the one that the head lets in.
    worker, key = lab.machines["w1"], "/etc/labfleet/worker/git.key"
    root(worker, f"cp -p {key} /root/kept; ssh-keygen -q -t ed25519 -N '' -f /root/other; cat /root/other >{key}")
    yield
    root(worker, f"cat /root/kept >{key}; rm /root/kept /root/other*")


@contextmanager
def docker_stopped(lab: Lab) -> Iterator[None]:
    root(lab.machines["w1"], "systemctl stop docker.socket docker.service")
    yield
    root(lab.machines["w1"], "systemctl start docker.socket docker.service labfleet-worker labfleet-distcc")


@contextmanager
def full_disk(lab: Lab) -> Iterator[None]:
    # A small volume in the place of the worker's data, filled to the brim.
    worker, home = lab.machines["w1"], "/var/lib/labfleet/worker"
    root(
        worker,
        f"systemctl stop labfleet-worker; mount -t tmpfs -o size=64m,mode=700,uid=64917,gid=64917 none {home}; "
        f"systemctl start labfleet-worker; head -c 80m /dev/zero >{home}/filling || true",
    )
    yield
    root(worker, f"systemctl stop labfleet-worker; umount {home}; systemctl start labfleet-worker")


@contextmanager
def clock_off(lab: Lab) -> Iterator[None]:
    # Who logs in to the machine from now on sees a time that is ten minutes late.
    worker = lab.machines["w1"]
    root(
        worker,
        "apt-get -qq update && apt-get -qq -y install libfaketime >/dev/null 2>&1; touch /etc/environment; "
        "cp -p /etc/environment /root/kept; "
        "printf 'LD_PRELOAD=%s\\nFAKETIME=-600\\nFAKETIME_DISABLE_SHM=1\\n' "
        '"$(find /usr/lib -name libfaketime.so.1)" >/etc/environment',
    )
    yield
    root(worker, "mv /root/kept /etc/environment")


@contextmanager
def older_image(lab: Lab) -> Iterator[None]:
    # The worker runs an image of another recipe.
    worker, unit = lab.machines["w1"], "/etc/systemd/system/labfleet-worker.service"
    root(
        worker,
        f"cp -p {unit} /root/unit; tag=$(grep -o 'labfleet-worker:[0-9a-f]*' {unit} | head -1); "
        "docker tag $tag labfleet-worker:0123456789ab; "
        f"sed -i -e s/$tag/labfleet-worker:0123456789ab/ "
        f"-e 's/LABFLEET_IMAGE=[0-9a-f]*/LABFLEET_IMAGE=0123456789ab/' {unit}; "
        "systemctl daemon-reload; systemctl restart labfleet-worker",
    )
    yield
    root(
        worker,
        f"cp -p /root/unit {unit}; systemctl daemon-reload; systemctl restart labfleet-worker; "
        "docker rmi labfleet-worker:0123456789ab",
    )


@contextmanager
def changed_redis_password(lab: Lab) -> Iterator[None]:
    head, acl = lab.head, "/etc/labfleet/head/redis.acl"
    root(
        head,
        f"cp -p {acl} /root/acl; new=$(printf other | sha256sum | cut -d' ' -f1); "
        f"sed -i '/^user worker /s/#[0-9a-f]*/#'$new'/' {acl}; systemctl restart labfleet-redis",
    )
    yield
    root(head, f"cp -p /root/acl {acl}; systemctl restart labfleet-redis")


@pytest.mark.parametrize(
    ("fault", "machine", "said", "advice"),
    [
        (switched_off, "w1", ("off", "reach", "answer"), ("switch", "power", "on")),
        (wrong_ssh_key, "w1", ("git",), ("labfleet provision",)),
        (docker_stopped, "w1", ("Docker",), ("systemctl", "labfleet provision")),
        (full_disk, "w1", ("disk", "space"), ("remove", "free", "space", "df", "du")),
        (clock_off, "w1", ("clock",), ("time", "ntp", "chrony")),
        (older_image, "w1", ("image",), ("labfleet provision",)),
        (changed_redis_password, "w1", ("password",), ("labfleet provision",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_doctor_finds_it_and_says_what_to_do(
    provisioned_lab: Lab, fault: Any, machine: str, said: tuple[str, ...], advice: tuple[str, ...]
) -> None:
    # Given a lab that is well
    eventually(lambda: examined(provisioned_lab)["errors"] == 0, "a lab that is well", 180)
    with ExitStack() as mended:
        # When something breaks
        mended.enter_context(fault(provisioned_lab))
        found: Any = {}

        def is_found() -> bool:
            found.update(examined(provisioned_lab))
            return bool(errors(found, machine))

        eventually(is_found, "an error of that machine's", 120)
    # Then doctor says what is wrong with which machine, and what to do
    told = errors(found, machine)
    assert found["exit_code"] == 3
    assert any(word.lower() in one["message"].lower() for one in told for word in said), told
    assert any(word.lower() in one["advice"].lower() for one in told for word in advice), told
