"""A local lab of a test's own, and the client as a person calls it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "aloha"

#: The client as a person starts it: Ctrl-C reaches it, even if the tests themselves were started where it does not.
_CLIENT = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from labfleet import main; main()"

#: How long anything in a test may take on a slow machine; conditions are waited for, never a fixed time.
PATIENCE = 120.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return the condition's value as soon as it is true.  Fails after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not so: {what}"
        time.sleep(0.02)
    return value


@dataclass(frozen=True)
class Said:
    """What a client printed, and how it ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def result(self) -> Any:
        """The machine-readable result of ``--json``."""
        return json.loads(self.stdout)


@dataclass
class LocalLab:
    """A local lab in a folder of its own."""

    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a client of this lab."""
        own = {"LABFLEET_HOME": str(self.home), "LABFLEET_SLOTS": "2", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
        return {**os.environ, **own, **self.variables, **(more or {})}

    def argv(self, *words: str) -> list[str]:
        """Return the program that a person starts with ``labfleet WORDS``."""
        return [sys.executable, "-c", _CLIENT, *words]

    def start(self, *words: str, cwd: Path, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start ``labfleet WORDS`` in a folder."""
        return subprocess.Popen(
            self.argv(*words),
            cwd=cwd,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Said:
        """Run ``labfleet WORDS`` in a folder to its end."""
        process = self.start(*words, cwd=cwd, env=env)
        stdout, stderr = process.communicate(timeout=PATIENCE)
        return Said(process.returncode, stdout, stderr)

    @property
    def supervisor(self) -> int | None:
        """Process id of the services' supervisor, if they run."""
        try:
            return int(json.loads((self.home / "lab.json").read_text())["pid"])
        except (OSError, ValueError):
            return None

    def service(self, *words: str) -> int | None:
        """Return the process id of a service of this lab, e.g. ``slot slot1``."""
        wanted = [b"runner.services", *(word.encode() for word in words)]
        for folder in Path("/proc").iterdir():
            try:
                argv = (folder / "cmdline").read_bytes().split(b"\0")[:-1]
                environment = (folder / "environ").read_bytes().split(b"\0")
            except (OSError, ValueError):
                continue
            if argv[-len(wanted) :] == wanted and f"LABFLEET_HOME={self.home}".encode() in environment:
                return int(folder.name)
        return None

    def stop(self) -> None:
        """End the services, whatever they do."""
        pid = self.supervisor
        self("lab", "stop", "--force", cwd=ROOT)
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def manifest(project: Path) -> Any:
    """Return the manifest of the latest campaign in a project's results folder."""
    return json.loads((project / "results" / "campaign.json").read_text())


def names(folder: Path, pattern: str) -> set[str]:
    """Return the names of the files that match a pattern."""
    return {path.name for path in folder.glob(pattern)}
