"""``invoke testlab``: the test lab's machines, to play with."""

import hashlib
import os
import sys
import time
from pathlib import Path

from runner.errors import LabFailed, WrongUse
from tests.lab import engine, images
from tests.lab.machines import Lab

USAGE = """\
invoke testlab up       bring up a head, two workers and a client, all bare
invoke testlab status   what is up, and how to reach it
invoke testlab down     remove all of it, and what killed sessions of the tests left"""


def main(words: list[str]) -> None:
    """Carry out one command.  Raises WrongUse, and LabFailed where machines cannot be run."""
    match words:
        case ["up"]:
            up()
        case ["down"]:
            down()
        case [] | ["status"]:
            print(status())
        case ["--help" | "-h"]:
            print(USAGE)
        case _:
            raise WrongUse(f"testlab {' '.join(words)} is unknown", USAGE)


def folder() -> Path:
    """Return where keys, ssh_config and inventory of these machines are."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state).absolute() / "labfleet-testlab"


def prefix() -> str:
    """Return what the containers' names begin with: another state folder, another lab, on the same engine too."""
    return f"testlab-{hashlib.sha256(str(folder()).encode()).hexdigest()[:6]}"


def up() -> None:
    """Bring the machines up."""
    if reason := engine.why_not() or images.why_no_base():
        raise LabFailed(f"no machines can be run here: {reason}")
    if _containers():
        raise WrongUse("the test lab is up already", "invoke testlab status\ninvoke testlab down")
    if not images.base_path().exists():
        print("making Debian's base, once: half a minute …", file=sys.stderr)
    started = time.monotonic()
    lab = Lab(prefix(), folder())
    try:
        lab.up()
    except BaseException:
        lab.down()
        raise
    print(f"up after {time.monotonic() - started:.0f} s\n{status()}")


def down() -> None:
    """Remove the machines."""
    _need_engine()
    engine.remove_leftovers()
    print("removed" if engine.remove(prefix()) else "there was nothing to remove")


def status() -> str:
    """Return what is up, and how to reach it."""
    _need_engine()
    if not (containers := _containers()):
        return "no machines are up; invoke testlab up"
    here = folder()
    return "\n".join(
        [
            *containers,
            "",
            f"ssh -F {here}/ssh_config head",
            f"inventory for this machine: {here}/inventory.yml",
            f"docker exec -it -u researcher -w /home/researcher {prefix()}-client bash -l   # the client",
        ]
    )


def _need_engine() -> None:
    if reason := engine.why_not():
        raise LabFailed(reason)


def _containers() -> list[str]:
    """Return a line for each container."""
    template = "{{.Names}}\t{{.Status}}"
    listed = engine.docker("ps", "--all", "--filter", f"label={engine.LABEL}={prefix()}", "--format", template).text
    return sorted(line.expandtabs(30) for line in listed.splitlines())
