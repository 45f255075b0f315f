"""Speed of a local lab against what a person would use instead."""

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.side_by_side import Command, pairs, ratio_line

ROOT = Path(__file__).resolve().parent.parent

#: Does nothing but wait, so that what is measured is labfleet and not the processor.
_WAITER = """#!/bin/sh
runs=$(seq -s , 0 23)
while [ $# -gt 0 ]; do
    case $1 in
        -r) runs=$2; shift ;;
        -q) query=yes; shift ;;
    esac
    shift
done
mkdir -p results
for run in $(echo $runs | tr , ' '); do
    if [ $query ]; then
        echo "Run $run: \\$x=$run, \\$repetition=0"
    else
        echo "General run #$run: \\$x=$run, \\$repetition=0"
        sleep 1
        echo "run $run" > results/General-x=$run-#0.sca
    fi
done
"""


class Bench:
    """A lab and projects in a folder that goes away afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        own = {"LABFLEET_HOME": str(folder / "lab"), "LABFLEET_SLOTS": "2", "PYTHONPATH": str(ROOT)}
        self.env = {**os.environ, **own}
        # Modules are compiled once, as on everybody's machine who has not forbidden Python to keep them.
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)

    def labfleet(self, *words: str) -> list[str]:
        """Return the command line of the installed program."""
        return [str(Path(sys.executable).with_name("labfleet")), *words]

    def run(self, project: Path, *words: str) -> dict[str, object]:
        """Run a campaign and return its machine-readable result."""
        argv = self.labfleet("campaign", "--json", *words)
        done = subprocess.run(argv, cwd=project, env=self.env, check=True, capture_output=True, text=True)
        told: dict[str, object] = json.loads(done.stdout)
        return told

    def stop(self) -> None:
        """End the lab's services."""
        subprocess.run(self.labfleet("lab", "stop", "--force"), env=self.env, check=False, capture_output=True)


def aloha_against_opp_runall(bench: Bench, rounds: int) -> str:
    """Time OMNeT++'s sample aloha, warm, against opp_runall -j2."""
    sample = _sample("aloha")
    if sample is None:
        return "aloha PureAlohaExperiment: not measured, opp_runall and OMNeT++'s samples are not on this machine"
    ours, theirs = bench.folder / "ours" / "aloha", bench.folder / "theirs" / "aloha"
    for copy in (ours, theirs):
        shutil.copytree(sample, copy, ignore=shutil.ignore_patterns("results", "out"))
    subprocess.run(["opp_makemake", "-f", "--deep"], cwd=theirs, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["make", "-s", "-j2"], cwd=theirs, check=True, stdout=subprocess.DEVNULL)
    config = ("-c", "PureAlohaExperiment")
    timed = pairs(
        Command(bench.labfleet("campaign", "--config", config[1], "--quiet"), ours, bench.env),
        Command(["opp_runall", "-j2", "./aloha", *config], theirs, bench.env),
        rounds,
    )
    return ratio_line("aloha PureAlohaExperiment, 42 runs, warm", timed, goal=1.5)


def _sample(name: str) -> Path | None:
    runner = shutil.which("opp_runall")
    sample = Path(runner).parent.parent / "samples" / name if runner else None
    return sample if sample and sample.exists() else None


def waiting_runs(bench: Bench, rounds: int) -> str:
    """Time 24 runs of one second on 2 slots against the ideal 12 seconds."""
    project = bench.folder / "waiter"
    project.mkdir()
    (project / "omnetpp.ini").write_text("[General]\nnetwork = None\n")
    (project / "labfleet.toml").write_text('program = "./wait"\n')
    (project / "wait").write_text(_WAITER)
    (project / "wait").chmod(0o755)
    command = Command(bench.labfleet("campaign", "--quiet"), project, bench.env)
    median = statistics.median([command.seconds() for _ in range(max(1, rounds // 2) + 1)][1:])
    return f"24 runs of 1 s on 2 slots: {median:.2f} s, goal ≤ 12 s × 1.05 + 1 s = 13.6 s"


def what_is_built(bench: Bench) -> str:
    """Count the compiler's starts after no change, an edited ini file, and one changed source file."""
    project = bench.folder / "built" / "aloha"
    shutil.copytree(ROOT / "examples" / "aloha", project, ignore=shutil.ignore_patterns("results", "out", "aloha"))
    words = ("--config", "Quick", "--runs", "0")
    bench.run(project, *words)
    counts = [_compilations(bench, bench.run(project, *words))]
    _append(project / "omnetpp.ini", "# edited\n")
    counts.append(_compilations(bench, bench.run(project, *words)))
    _append(project / "aloha.cc", "// edited\n")
    counts.append(_compilations(bench, bench.run(project, *words)))
    return "compiler started: unchanged tree {} times, edited ini {}, one edited source {} (compile and link)".format(
        *counts
    )


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def _compilations(bench: Bench, told: dict[str, object]) -> int:
    log = Path(bench.env["LABFLEET_HOME"]) / "campaigns" / str(told["campaign"]) / "build.log"
    return sum(line.startswith("g++ ") for line in log.read_text().splitlines()) if log.exists() else 0
