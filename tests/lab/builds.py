"""Projects whose builds the test lab's machines do together, and what these tell of it."""

import json
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import eventually
from tests.integration.conftest import _PROGRAM as PROGRAM
from tests.lab.campaigns import labfleet
from tests.lab.client import RESEARCHER, Client
from tests.lab.machine import Machine
from tests.lab.machines import Lab

#: Where a worker has its data, and its settings.
DATA, SETTINGS = "/var/lib/labfleet/worker", "/etc/labfleet/worker"

#: Where the builder's distcc writes what it does, in the builds of :func:`sources`.
CLIENT_LOG = f"{DATA}/distcc-client.log"

#: One of many source files, which takes a compiler a few tenths of a second.
_SOURCE = """\
#include <string>

int f{number}(int n)
{{
    int sum = 0;
    for (int i = 0; i < n; ++i)
        if (("{tag}" + std::to_string(i)).size() > 1)
            sum += {number};
    return sum;
}}
"""

#: Links what make has compiled.  ``{link}``: how.
_MAKEFILE = """\
OBJECTS = $(patsubst %.cc,%.o,$(wildcard *.cc))

model: $(OBJECTS)
\t{link}

%.o: %.cc
\t$(CXX) -O1 -c -o $@ $<
"""

#: A link that has half of a program written for a while.
SLOW_LINK = (
    "$(CXX) -o whole $^ && head -c 9000 whole >$@ && chmod +x $@ && touch linking"
    " && sleep 15 && mv whole $@ && rm linking"
)

#: Makes a library of random bytes: ``python3 random_bytes.py SEED-FILE TARGET``, in the file the size and a seed.
RANDOM_BYTES = """\
import random, sys
size, seed = open(sys.argv[1]).read().split()
with open(sys.argv[2], "wb") as file:
    source = random.Random(seed)
    for _ in range(0, int(size), 1000000):
        file.write(source.randbytes(1000000))
"""


# ---- projects --------------------------------------------------------------------------------------------------------


def sources(tag: str, count: int, link: str = "$(CXX) -o $@ $^") -> dict[str, str]:
    """Return the files of a project of so many C++ files, of which no cache knows anything: the tag is in all of them.

    The program ``model`` prints one number; each of the four runs has it in its result file.
    """
    calls = "".join(f"int f{number}(int);\n" for number in range(count))
    total = " + ".join(f"f{number}(10)" for number in range(count))
    main = f'#include <cstdio>\n{calls}int main() {{ std::printf("%d\\n", {total}); }}\n'
    return {
        **{f"{tag}_{number}.cc": _SOURCE.format(number=number, tag=tag) for number in range(count)},
        f"{tag}_main.cc": main,
        "Makefile": _MAKEFILE.format(link=link),
        "do.sh": "./model >$STEM.sca\n",
        "labfleet.toml": f'[environment]\nDISTCC_LOG = "{CLIENT_LOG}"\nDISTCC_VERBOSE = "1"\n',
    }


def number_of(count: int) -> int:
    """Return what the program of :func:`sources` prints."""
    return sum(10 * number for number in range(count))


def libraries(sizes: Mapping[str, int], tag: str, runs: int) -> dict[str, str]:
    """Return the files of a project whose build makes shared libraries of random bytes, the tag being in their seeds.

    ``sizes``: whole megabytes.
    """
    rule = "../libs/lib%.so: %.seed random_bytes.py\n\tmkdir -p ../libs && python3 random_bytes.py $< $@\n"
    return {
        **{f"seeds/{name}.seed": f"{size} {name}{tag}\n" for name, size in sizes.items()},
        "seeds/random_bytes.py": RANDOM_BYTES,
        "seeds/Makefile": f"all: $(patsubst %.seed,../libs/lib%.so,$(wildcard *.seed))\n\n{rule}",
        "labfleet.toml": 'build = "make -C seeds"\ndirectory = "simulations"\n',
        "simulations/do.sh": "sha256sum ../libs/libsmall0.so >$STEM.sca\nsleep 1\n",
        "simulations/omnetpp.ini": _ini(runs),
    }


def random_bytes(size: int, seed: str) -> bytes:
    """Return what such a library is made of."""
    source = random.Random(seed)
    return b"".join(source.randbytes(1_000_000) for _ in range(0, size, 1_000_000))


def put(client: Client, local: Path, name: str, files: Mapping[str, str], runs: int = 4) -> str:
    """Put a project into the researcher's home, and return the folder; its program is a script that calls do.sh."""
    directory = "simulations/" if any(path.startswith("simulations/") for path in files) else ""
    program = {f"{directory}simulate": PROGRAM.replace("runs=0,1,2,3", f"runs={','.join(map(str, range(runs)))}")}
    settings = {"labfleet.toml": f'program = "{directory or "./"}simulate"\n{files.get("labfleet.toml", "")}'}
    for path, text in {f"{directory}omnetpp.ini": _ini(runs), **files, **program, **settings}.items():
        (local / path).parent.mkdir(parents=True, exist_ok=True)
        (local / path).write_text(text)
    (local / directory / "simulate").chmod(0o755)
    folder = f"/home/{RESEARCHER}/{name}"
    client.exec_as_root(["rm", "-rf", folder])
    client.put(local, folder)
    return folder


def _ini(runs: int) -> str:
    return f"[General]\nnetwork = None\n*.x = ${{x=0..{runs - 1}}}\n"


# ---- who compiled ----------------------------------------------------------------------------------------------------


def compiled_by(machine: Machine, tag: str) -> set[str]:
    """Return the files of a project that a machine has compiled for others, by its own distccd's log."""
    done = rf"COMPILE_OK .*?({tag}_\w+)\.cc"
    return set(re.findall(done, machine.journal("labfleet-distcc")))


def compiled_at(builder: Machine, tag: str) -> dict[str, set[str]]:
    """Return the files of a project that were given to each host, by the log of the builder's distcc."""
    found: dict[str, set[str]] = {}
    for host, name in re.findall(rf"exec on ([\w.]+).*: .* -c .*?({tag}_\w+)\.cc", builder.read(CLIENT_LOG)):
        found.setdefault(host, set()).add(name)
    return found


def tree_of(builder: Machine, tag: str) -> str:
    """Return the folder in which a builder has made a project; empty if it has not yet."""
    looked = ["find", f"{DATA}/builds", "-name", f"{tag}_main.cc", "-printf", "%h"]
    return builder.exec_as_root(looked, check=False).text


# ---- machines --------------------------------------------------------------------------------------------------------


def row(lab: Lab, name: str) -> Any:
    """Return what the lab says of a machine."""
    said = labfleet(lab.client, "machines", "--json")
    machines = json.loads(said.stdout)["machines"] if said.status == 0 else []
    return next((machine for machine in machines if machine["name"] == name), {"state": "unknown", "reason": ""})


def is_ready(lab: Lab, name: str) -> bool:
    """Say whether a machine serves."""
    return bool(row(lab, name)["state"] == "ready")


@contextmanager
def set_otherwise(lab: Lab, name: str, **settings: object) -> Iterator[None]:
    """Have a worker serve with other settings than it was provisioned with."""
    machine = lab.machines[name]
    file = f"{SETTINGS}/settings.json"
    kept = machine.read(file)

    def become(text: str) -> None:
        machine.exec_as_root(["sh", "-euc", f"cat >{file}; systemctl restart labfleet-worker"], stdin=text.encode())
        slots = json.loads(text)["slots"]
        eventually(lambda: is_ready(lab, name) and row(lab, name)["slots"] == slots, f"{name} with {slots} slots", 120)

    become(json.dumps({**json.loads(kept), **settings}))
    try:
        yield
    finally:
        become(kept)


def received(machine: Machine) -> int:
    """Return how many bytes have come to a machine over the network since it was switched on."""
    return int(machine.read("/sys/class/net/eth0/statistics/rx_bytes"))
