"""Campaigns at the test lab's client, and what the machines tell of them."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.conftest import eventually
from tests.integration.conftest import _PROGRAM as PROGRAM
from tests.lab.client import RESEARCHER, Client, Running
from tests.lab.machine import Machine
from tests.lab.machines import Lab
from tests.lab_fixture import EXAMPLE, Said

#: What each worker's journal says of a run that is over.
_RUN = re.compile(r"run (\d+) of (\S+), attempt (\d+): (\w+) ")


def labfleet(
    client: Client,
    *words: str,
    cwd: str = "",
    user: str = RESEARCHER,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    seconds: float = 600,
) -> Said:
    """Run ``labfleet WORDS`` at the client."""
    return client.run(["labfleet", *words], cwd=cwd, user=user, env=env, stdin=stdin, seconds=seconds)


def example(client: Client, user: str = RESEARCHER) -> str:
    """Put a fresh copy of the example into somebody's home, and return the folder."""
    folder = f"/home/{user}/aloha"
    client.exec_as_root(["rm", "-rf", folder])
    client.put(EXAMPLE, folder, user=user)
    client.exec_as_root(["rm", "-rf", f"{folder}/results", f"{folder}/out", f"{folder}/aloha"])
    return folder


def scripted(client: Client, name: str, runs: int, seconds: float = 0.0, user: str = RESEARCHER) -> str:
    """Make a project whose program is a script: nothing to build, each run takes so long; return the folder."""
    folder = f"/home/{user}/{name}"
    numbers = ",".join(map(str, range(runs)))
    files = {
        "omnetpp.ini": f"[General]\nnetwork = None\n*.x = ${{x=0..{runs - 1}}}\n",
        "labfleet.toml": 'program = "./simulate"\n',
        "do.sh": f'echo "run $RUN begins"\nsleep {seconds}\necho "run $RUN" >$STEM.sca\n',
    }
    for path, text in files.items():
        client.write(f"{folder}/{path}", text, owner=user)
    program = PROGRAM.replace("runs=0,1,2,3", f"runs={numbers}")
    client.write(f"{folder}/simulate", program, owner=user, mode="755")
    client.exec_as_root(["chown", "-R", f"{user}:{user}", folder])
    return folder


def start(client: Client, folder: str, *words: str, user: str = RESEARCHER) -> Running:
    """Start a campaign at the client without waiting for its end."""
    return client.start_command(["labfleet", "campaign", *words], cwd=folder, user=user)


def under_way(client: Client) -> str:
    """Return the id of the one campaign that is under way."""
    said = labfleet(client, "lab", "status")
    (found,) = re.findall(r"^ *(20\d+-\d+-\w+) ", said.stdout, re.MULTILINE)
    return str(found)


@contextmanager
def long_campaign(lab: Lab, name: str) -> Iterator[tuple[str, Running]]:
    """Have a campaign of the researcher's under way; yield its id and its client.

    It is cancelled at the end, whatever happened: it would keep the machines from what comes next.
    """
    folder = scripted(lab.client, name, runs=3000, seconds=1)
    running = start(lab.client, folder)
    eventually(lambda: begun(lab, folder) > 0, "the first results", 120)
    campaign = under_way(lab.client)
    try:
        yield campaign, running
    finally:
        labfleet(lab.client, "cancel", campaign)


def cancelled(client: Client, folder: str, campaign: str, running: Running) -> Any:
    """Cancel a campaign and return its manifest, when its client has brought home what is done."""
    assert labfleet(client, "cancel", campaign).status == 0
    said = running.wait(300)
    assert said.status == 1, said.stderr
    return manifest(client, folder)


def manifest(client: Client, folder: str) -> Any:
    """Return the manifest of the latest campaign in a project."""
    return json.loads(client.read(f"{folder}/results/campaign.json"))


def runs_by_host(told: Any) -> Counter[str]:
    """Return how many runs each host has done, by a manifest."""
    return Counter(run["host"] for run in told["runs"] if run["kind"] == "done")


def runs_in_journal(machine: Machine, campaign: str) -> set[int]:
    """Return the runs of a campaign that a machine's own journal tells of."""
    return {int(number) for number, name, *_ in _RUN.findall(machine.journal()) if name == campaign}


def begun(lab: Lab, folder: str) -> int:
    """Return how many results of a project are at the client."""
    listed = lab.client.exec_as_root(["sh", "-c", f"ls {folder}/results/*.sca 2>/dev/null | wc -l"])
    return int(listed.text)


def python(machine: Machine, script: str, *words: str, stdin: bytes = b"") -> Sequence[str]:
    """Run a script in the worker's container on a machine, and return the lines that it prints."""
    argv = ["docker", "exec", "-i", "-e", "PYTHONPATH=", "labfleet-worker", "/opt/labfleet/venv/bin/python", "-"]
    return machine.exec_as_root([*argv, *words], stdin=script.encode() + stdin).text.splitlines()
