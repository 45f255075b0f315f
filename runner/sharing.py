"""May runs share a process?  Only if what a run leaves does not depend on the runs before it in the same process.

Models keep state in static variables, and simulation libraries do: with INET 4.5, vectors of all but the first run of a
process can miss values.  So before a slot shares processes it does one run again, alone, and compares.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from runner import omnetpp
from runner.model import Campaign, Outcome, Prepared
from runner.private_directory import PrivateDirectory

#: In result files, what differs between any two executions of the same run: run ids, dates, process ids, and the
#: options of Cmdenv; and the first line of an index, which has its vector file's time.
_DIFFERS = re.compile(rb"run |attr datetimef? |attr processid |config cmdenv-|file ")
_RUN_ID = re.compile(rb"-\d{8}-\d\d:\d\d:\d\d-\d+")

#: Console output tells how long things took; it is no result.
_NO_RESULTS = (".out",)

#: Runs a command in a folder to its end, and returns the exit status.
RunAlone = Callable[[Sequence[str], Path], int]


def comparable(path: Path) -> Iterator[bytes]:
    """Yield a result file's lines without what differs between two executions of the same run."""
    with path.open("rb") as file:
        for line in file:
            if not _DIFFERS.match(line):
                yield _RUN_ID.sub(b"", line)


def are_equal(one: Path, other: Path) -> bool:
    """Say whether two result files are equal but for what differs between any two executions."""
    if not (one.is_file() and other.is_file()):
        return False
    return all(a == b for a, b in itertools.zip_longest(comparable(one), comparable(other)))


def is_same_alone(
    campaign: Campaign, prepared: Prepared, outcome: Outcome, root: Path, private: PrivateDirectory, run: RunAlone
) -> bool:
    """Say whether a run leaves the same when it is done again in a process of its own.

    ``root``: where the files of its outcome are; ``private``: for the new process, removed afterwards; ``run`` does it.
    """
    command = omnetpp.simulation_command(prepared.program, campaign.launch, campaign.config, [outcome.run])
    try:
        status = run(command, private.working_directory)
        private.open_up()
        results = [file.path for file in outcome.files if not file.path.endswith(_NO_RESULTS)]
        return status == 0 and all(are_equal(root / path, private.root / path) for path in results)
    finally:
        private.remove()
