"""The campaign that faults are injected into: short runs with results that are known beforehand.

Every run writes its result in two halves, so a file of half a run would be seen; some leave processes behind that hide:
in a session of their own, with another parent, without environment.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.conftest import _PROGRAM as PROGRAM

#: Runs of a campaign.
RUNS = 200

_DO = """\
echo "run $RUN begins"
printf 'version 3\\nrun General-%s-#0\\n' $RUN >$STEM.sca
if [ $((RUN % 20)) = 7 ]; then
    (setsid sleep {stray} >/dev/null 2>&1 &)
    env -i setsid sleep {stray} >/dev/null 2>&1 &
fi
sleep 0.$((RUN * 7 % 5 + 2))
seq $RUN $((RUN + 500)) >>$STEM.sca
echo "run $RUN ends"
"""


def stray() -> str:
    """Return seconds of sleep that tell this campaign's processes from all others of the machine."""
    return f"86{random.SystemRandom().randrange(100, 999)}.{random.SystemRandom().randrange(10**8):08}"


def files(stray: str, runs: int = RUNS) -> dict[str, str]:
    """Return the project's files; ``simulate`` has to be executable."""
    return {
        "omnetpp.ini": f"[General]\nnetwork = None\n*.x = ${{x=0..{runs - 1}}}\n",
        "labfleet.toml": 'program = "./simulate"\n',
        "do.sh": _DO.format(stray=stray),
        "simulate": PROGRAM.replace("runs=0,1,2,3", f"runs={','.join(map(str, range(runs)))}"),
    }


def write(folder: Path, stray: str, runs: int = RUNS) -> None:
    """Write the project into a folder of this machine."""
    folder.mkdir(parents=True)
    for name, text in files(stray, runs).items():
        (folder / name).write_text(text)
    (folder / "simulate").chmod(0o755)


def expected(run: int) -> str:
    """Return what the result file of a run has to be."""
    numbers = "".join(f"{number}\n" for number in range(run, run + 501))
    return f"version 3\nrun General-{run}-#0\n{numbers}"


# ---- what became of it -------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What is wrong with a campaign that has ended."""

    lost: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Is nothing wrong?"""
        return not (self.lost or self.twice or self.wrong)


def judge(told: Any, results: dict[str, str], committed: dict[int, list[str]], runs: int) -> Verdict:
    """Judge a campaign.

    ``told``: its manifest; ``results``: name → content of the result files at home; ``committed``: for each run the
    attempts that the result store has as its results.
    """
    verdict = Verdict()
    kinds = {run["run"]: run["kind"] for run in told["runs"]}
    verdict.lost = [run for run in range(runs) if kinds.get(run) != "done"]
    verdict.twice = [run for run, attempts in committed.items() if len(attempts) > 1]
    wanted = {f"General-x={run}-#0.sca": expected(run) for run in range(runs)}
    verdict.wrong += [f"{name} is missing or differs" for name, text in wanted.items() if results.get(name) != text]
    verdict.wrong += [f"{name} should not be there" for name in results.keys() - wanted.keys()]
    for run in told["runs"]:
        attempts = run.get("attempts", [])
        if not attempts or attempts[-1]["kind"] != run["kind"]:
            verdict.wrong.append(f"run {run['run']}: its attempts are not all recorded")
    return verdict
