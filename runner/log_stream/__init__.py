"""Console output on its way: slot → hub → viewers.

A log is a file, addressed by byte offset, at every station.  A slot sends (offset, bytes) of what its file grew by; the
hub writes the bytes at that offset of its own file; a viewer asks for what lies behind its offset and gets the answer
as soon as there is something.  So whatever is repeated does no harm, and nobody has to keep up with anybody: a slow
viewer asks late, and a slot that finds the hub's queue full goes on simulating and sends later from the same offset.

One rule for viewers, "from my offset on", whatever the run does: when its log is in the result store, the hub reads
that file; until then its own; and what lies beyond a stream's budget there, it asks the slot for.
"""

from runner.log_stream.hub import Hub
from runner.log_stream.piece import BUDGET, BUILD_STREAM, LOSABLE, PIECE, WAITING, Piece, Question, run_stream
from runner.log_stream.sender import GrowingLog, Sender
from runner.log_stream.shelf import OPEN_FILES, attempt_of, places
from runner.log_stream.viewer import Viewer

__all__ = [
    "BUDGET",
    "BUILD_STREAM",
    "LOSABLE",
    "OPEN_FILES",
    "PIECE",
    "WAITING",
    "GrowingLog",
    "Hub",
    "Piece",
    "Question",
    "Sender",
    "Viewer",
    "attempt_of",
    "places",
    "run_stream",
]
