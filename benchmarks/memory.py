"""How much memory the parts need for a run with a long log and for one with a big vector file."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.local import ROOT, Bench

#: The shell's ``seq`` could print the same lines; the example's program prints them while it simulates.
LINES = 2_000_000


def _processes(home: str) -> Iterator[tuple[str, int]]:
    """Yield (role, resident kilobytes) of a lab's processes."""
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            if f"LABFLEET_HOME={home}".encode() not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            status = (folder / "status").read_text()
        except (OSError, ValueError):
            continue
        if "runner.services" in words:
            role = words[words.index("runner.services") + 1]
        elif "campaign" in words:
            role = "client"
        else:
            continue
        yield role, int(status.split("VmRSS:")[1].split()[0]) if "VmRSS:" in status else 0


def _largest(bench: Bench, project: Path, *words: str) -> tuple[dict[str, int], Path]:
    """Run a campaign; return the largest sampled memory of each role in megabytes, and what the client printed."""
    largest: dict[str, int] = {}
    printed = bench.folder / "printed"
    with printed.open("wb") as output:
        argv = bench.labfleet("campaign", *words)
        with subprocess.Popen(argv, cwd=project, env=bench.env, stdout=output, stderr=subprocess.DEVNULL) as client:
            while client.poll() is None:
                for role, kilobytes in _processes(bench.env["LABFLEET_HOME"]):
                    largest[role] = max(largest.get(role, 0), kilobytes)
    if client.returncode:
        raise subprocess.CalledProcessError(client.returncode, argv)
    return {role: kilobytes // 1024 for role, kilobytes in largest.items()}, printed


def _in_words(largest: dict[str, int]) -> str:
    roles = {"client": "client", "slot": "slot", "hub": "hub", "agent": "uploader", "foreman": "foreman"}
    return ", ".join(f"{name} {largest.get(role, 0)} MB" for role, name in roles.items())


def memory(bench: Bench) -> Iterator[str]:
    """Yield a line for each of the two runs: was everything there, and how much memory did it take."""
    project = bench.folder / "memory" / "aloha"
    shutil.copytree(ROOT / "examples" / "aloha", project, ignore=shutil.ignore_patterns("results", "out", "aloha"))
    bench.run(project, "--config", "Quick", "--runs", "0")

    largest, printed = _largest(bench, project, "--config", "Chatty", "--verbose")
    with printed.open() as lines:
        numbers = [line.rsplit(" ", 1)[1] for line in lines if "| line " in line]
    complete = numbers == [f"{number}\n" for number in range(1, LINES + 1)]
    yield f"{LINES} lines printed once and in order: {complete}; {_in_words(largest)}, goal < 150 MB each"

    largest, _ = _largest(bench, project, "--config", "Heavy", "--json")
    told = json.loads((project / "results" / "campaign.json").read_text())
    (vector,) = (file for file in told["runs"][0]["files"] if file["path"].endswith(".vec"))
    with (project / vector["path"]).open("rb") as file:
        intact = hashlib.file_digest(file, "sha256").hexdigest() == vector["sha256"]
    size = os.path.getsize(project / vector["path"]) / 1e9
    yield f"vector file of {size:.2f} GB home intact: {intact}; {_in_words(largest)}, goal < 150 MB each"
