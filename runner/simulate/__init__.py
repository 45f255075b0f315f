"""The job of a slot: a chunk of runs, each in a Cmdenv process, alone or with others of the chunk.

slot.py takes chunks, process.py follows one Cmdenv process through its runs, tree.py keeps that and all that it starts
to what it may take (limits.py), verdicts.py judges what became of the runs.
"""

from runner.simulate.slot import Slot
from runner.simulate.verdicts import Stop, judge

__all__ = ["Slot", "Stop", "judge"]
