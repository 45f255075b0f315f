"""Models are built once, by all machines together, and reach every slot at once: shown on real machines.

Figures that the tests take are printed; ``pytest -rP`` shows them.
"""

import base64
import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.lab import builds, campaigns
from tests.lab.campaigns import labfleet
from tests.lab.machine import Machine
from tests.lab.machines import Lab
from tests.lab_fixture import wait_for

#: The first test brings a lab up, and provisions it twice.
pytestmark = pytest.mark.timeout(1800)

WORKERS = ("w1", "w2", "w3")

#: C++ files of a large model, and how many of them a machine has to have compiled for its part.
FILES, PART = 200, 20

#: Sizes of libraries, 500 MB in all, of which a slot needs every one.
MB = 1_000_000
SIZES = {**{f"large{n}": 20 * MB for n in range(24)}, **{f"small{n}": MB for n in range(20)}}

#: What comes over the network besides products while some runs are done: the commit, jobs, answers.
BESIDES = 3 * MB


@pytest.fixture(scope="module")
def building_lab(provisioned_lab: Lab) -> Lab:
    """A lab of three workers, of which w1 builds."""
    if "w3" not in provisioned_lab.machines:
        provisioned_lab.add("w3")
        done = labfleet(provisioned_lab.client, "provision", "--inventory", "inventory.yml", seconds=900)
        assert done.status == 0, done.stdout + done.stderr
    eventually(lambda: all(builds.is_ready(provisioned_lab, name) for name in WORKERS), "all machines serve", 120)
    return provisioned_lab


@pytest.fixture
def tag() -> str:
    """A word that no build has ever seen."""
    return f"t{uuid.uuid4().hex[:8]}"


def test_all_machines_compile_and_one_that_dies_only_slows_it(building_lab: Lab, tag: str, tmp_path: Path) -> None:
    # Given a project of 200 C++ files that nobody has compiled before, and its build under way
    client, w1, w2, w3 = building_lab.client, *(building_lab.machines[name] for name in WORKERS)
    folder = builds.put(client, tmp_path, "large", builds.sources(tag, FILES))
    started = time.monotonic()
    running = campaigns.start(client, folder)
    # When a machine loses its power after it has compiled its part
    eventually(lambda: len(builds.compiled_by(w2, tag)) >= PART, "w2 compiles", 300)
    until_its_end = builds.compiled_by(w2, tag)
    w2.kill()
    try:
        said = running.wait(600)
        seconds = time.monotonic() - started
    finally:
        w2.start()
    # Then the campaign is done all the same, with what that program prints
    assert said.status == 0, said.stderr
    for number in range(4):
        assert client.read(f"{folder}/results/General-x={number}-#0.sca") == f"{builds.number_of(FILES)}\n"
    # … each machine has compiled a tenth or more, by the logs of their own distccs
    given = builds.compiled_at(w1, tag)
    shares = {"w1": given["localhost"], "w2": until_its_end, "w3": builds.compiled_by(w3, tag)}
    counts = {name: len(files) for name, files in shares.items()}
    print(f"{FILES} files in {seconds:.0f} s, one machine killed: {counts}")
    assert all(count >= PART for count in counts.values()), counts
    assert set.union(*shares.values(), given.get(w2.address, set())) >= {f"{tag}_{n}" for n in range(FILES)}
    # … and every object, and the program, is that of a build by one machine without distcc and ccache
    together, alone = objects(w1, tag)
    assert len(together) == FILES + 2
    assert together == alone
    eventually(lambda: builds.is_ready(building_lab, "w2"), "w2 serves again", 120)


def objects(builder: Machine, tag: str) -> tuple[list[str], list[str]]:
    """Return the checksums of what the lab has made, and of what the builder's compiler alone makes of the same."""
    script = """
    cd "$1" && sha256sum *.o model
    mkdir /tmp/alone && cp *.cc Makefile /tmp/alone && cd /tmp/alone
    CCACHE_DISABLE=1 make --silent --jobs=4 CXX=/usr/bin/g++ >&2
    echo; sha256sum *.o model; rm -r /tmp/alone
    """
    argv = ["docker", "exec", "labfleet-worker", "sh", "-euc", script, "sh", builds.tree_of(builder, tag)]
    told = builder.exec_as_root(argv, seconds=600).text
    together, alone = told.split("\n\n")
    return together.splitlines(), alone.splitlines()


def test_a_machine_with_another_compiler_compiles_nothing(building_lab: Lab, tag: str, tmp_path: Path) -> None:
    # Given a machine whose image has another compiler, under the same name
    client, w2 = building_lab.client, building_lab.machines["w2"]
    folder = builds.put(client, tmp_path, "mixed", builds.sources(tag, 24))
    with another_compiler(w2):
        eventually(lambda: builds.row(building_lab, "w2")["state"] == "unwell", "w2 is found out", 120)
        # Then the lab says so, and what to do
        reason = builds.row(building_lab, "w2")["reason"]
        assert "it compiles with g++ (Debian 14.2.0-1) 14.2.0" in reason
        assert re.search(r"the builder w1 with g\+\+ .* 12\.2\.0", reason)
        assert "labfleet provision --limit w2" in reason
        doctor = labfleet(client, "doctor", "--inventory", "inventory.yml", "--json")
        told = [one for one in json.loads(doctor.stdout)["findings"] if one["machine"] == "w2"]
        assert [one["severity"] for one in told if one["topic"] == "compiler"] == ["error"]
        # When something is built, then it has no part in that, and the others have
        done = labfleet(client, "campaign", cwd=folder)
        assert done.status == 0, done.stderr
        assert builds.compiled_by(w2, tag) == set()
        assert builds.compiled_by(building_lab.machines["w3"], tag) != set()
        assert "w2" not in campaigns.runs_by_host(campaigns.manifest(client, folder))
    # And with the right one it serves again
    eventually(lambda: builds.is_ready(building_lab, "w2"), "w2 serves again", 120)


#: A compiler that says of itself that it is of another version.
OTHER_COMPILER = """#!/bin/sh
case "$*" in
    *--version*) echo "g++ (Debian 14.2.0-1) 14.2.0" ;;
    *) exec g++-12 "$@" ;;
esac
"""


@contextmanager
def another_compiler(machine: Machine) -> Iterator[None]:
    """Let the image of a machine have a compiler of another version, as if that of a registry had changed."""
    image = machine.exec_as_root(["docker", "inspect", "--format", "{{.Config.Image}}", "labfleet-worker"]).text
    encoded = base64.b64encode(OTHER_COMPILER.encode()).decode()
    write = f"rm /usr/bin/g++ && echo {encoded} | base64 --decode >/usr/bin/g++ && chmod 755 /usr/bin/g++"
    recipe = f"FROM {image}\nUSER 0\nRUN {write}\nUSER 64917:64917\n"
    restart = "systemctl restart labfleet-worker labfleet-distcc"
    build = f"docker tag {image} labfleet-kept:1; docker build --quiet --network=host --tag {image} -; {restart}"
    machine.exec_as_root(["sh", "-euc", build], stdin=recipe.encode(), seconds=300)
    try:
        yield
    finally:
        back = f"docker tag labfleet-kept:1 {image}; docker rmi labfleet-kept:1; {restart}"
        machine.exec_as_root(["sh", "-euc", back], seconds=300)


def test_products_come_to_a_machine_once_however_many_slots_it_has(building_lab: Lab, tag: str, tmp_path: Path) -> None:
    # Given a machine of 8 slots that builds nothing, and a project whose libraries have 500 MB
    client, w2 = building_lab.client, building_lab.machines["w2"]
    files = builds.libraries(SIZES, tag, runs=60)
    total = sum(SIZES.values())
    assert total == 500 * MB
    folder = builds.put(client, tmp_path, "heavy", files, runs=60)
    place = f"{folder}/simulations"
    with builds.set_otherwise(building_lab, "w2", slots=8):
        before, started = builds.received(w2), time.monotonic()
        # When its runs are done on all slots
        done = labfleet(client, "campaign", cwd=place)
        assert done.status == 0, done.stderr
        came, seconds = builds.received(w2) - before, time.monotonic() - started
        told = campaigns.manifest(client, place)
        assert {run["slot"] for run in told["runs"] if run["host"] == "w2"} == {f"slot{n + 1}" for n in range(8)}
        # Then the libraries have come to it once
        print(f"{total / MB:.0f} MB in {seconds:.0f} s: {came / MB:.1f} MB came to a machine with 8 slots")
        assert total <= came < 1.15 * total
        # … and are on its disk once
        assert on_disk(w2) == sorted(SIZES.values())
        # When one small library changes
        client.write(f"{folder}/seeds/small0.seed", f"{MB} another{tag}\n", owner="researcher")
        before, started = builds.received(w2), time.monotonic()
        done = labfleet(client, "campaign", cwd=place)
        assert done.status == 0, done.stderr
        came, seconds = builds.received(w2) - before, time.monotonic() - started
        # Then only that one has come
        print(f"one of 1 MB changed, {seconds:.0f} s: {came / MB:.2f} MB came")
        assert MB <= came < MB + BESIDES
        assert on_disk(w2) == sorted([*SIZES.values(), MB])
        # … and is what runs use from then on
        right = hashlib.sha256(builds.random_bytes(MB, f"another{tag}")).hexdigest()
        for number in range(60):
            assert client.read(f"{place}/results/General-x={number}-#0.sca").split()[0] == right
    client.exec_as_root(["rm", "-rf", folder])


def on_disk(machine: Machine) -> list[int]:
    """Return the sizes of the libraries that a worker has anywhere, by whatever names, each inode once."""
    script = f"find {builds.DATA} -xdev -type f -size +1900 -printf '%i %s\\n' | sort -u"
    found = machine.exec_as_root(["sh", "-c", script]).text.splitlines()
    sizes = (int(line.split()[1]) for line in found)
    return sorted(size for size in sizes if size % MB == 0)


def test_a_builder_that_dies_in_the_middle_of_a_link_leaves_nothing_that_is_used(
    building_lab: Lab, tag: str, tmp_path: Path
) -> None:
    # Given two builders, and a campaign of which one has half a program written
    client = building_lab.client
    folder = builds.put(client, tmp_path, "linked", builds.sources(tag, 5, builds.SLOW_LINK))
    with second_builder(building_lab.machines["w2"]), builds.set_otherwise(building_lab, "w2", builder=True):
        running = campaigns.start(client, folder)
        builders = [building_lab.machines[name] for name in ("w1", "w2")]
        dead = wait_for(lambda: next((one for one in builders if links(one, tag)), None), "a builder links")
        (other,) = [one for one in builders if one is not dead]
        # When that one loses its power
        dead.kill()
        killed = time.monotonic()
        said = running.wait(600)
        print(f"{dead.name} was killed while it linked; {time.monotonic() - killed:.0f} s later all was done")
        # Then the other one builds it, and the campaign is done with the whole program
        assert said.status == 0, said.stderr
        assert results(building_lab, folder) == {builds.number_of(5)}
        key = campaigns.manifest(client, folder)["build"]["key"]
        dead.start()
        eventually(lambda: builds.is_ready(building_lab, dead.name), f"{dead.name} serves again", 120)
        # … and what the dead one has half done is never used: not by a build that has nothing to compile, either
        client.write(f"{folder}/unused.h", "// a header that nothing includes\n", owner="researcher")
        with stopped(other):
            done = labfleet(client, "campaign", cwd=folder)
        assert done.status == 0, done.stderr
        assert campaigns.manifest(client, folder)["build"]["key"] != key
        assert results(building_lab, folder) == {builds.number_of(5)}


@contextmanager
def second_builder(machine: Machine) -> Iterator[None]:
    """Let a machine have what a builder needs besides its settings: it compiles alone."""
    hosts = f"{builds.SETTINGS}/distcc-hosts"
    machine.write(hosts, "localhost/2\n")
    try:
        yield
    finally:
        machine.exec_as_root(["rm", hosts])


@contextmanager
def stopped(machine: Machine) -> Iterator[None]:
    """Let a machine's worker be away."""
    machine.exec_as_root(["systemctl", "stop", "labfleet-worker"])
    try:
        yield
    finally:
        machine.exec_as_root(["systemctl", "start", "labfleet-worker"])


def links(builder: Machine, tag: str) -> bool:
    """Say whether a builder is in the middle of a slow link."""
    tree = builds.tree_of(builder, tag)
    return bool(tree) and builder.exec_as_root(["test", "-e", f"{tree}/linking"], check=False).status == 0


def results(lab: Lab, folder: str) -> set[int]:
    """Return the numbers that the runs of a project have printed."""
    return {int(lab.client.read(f"{folder}/results/General-x={number}-#0.sca")) for number in range(4)}
