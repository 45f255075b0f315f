"""What the person sees: progress and failures while a campaign runs, its summary at the end.

Progress goes to stderr, through a :class:`View`; what is asked for (summary, JSON, list of runs) goes to
stdout, as texts that the caller prints.
"""

from runner.report.final import as_json, exit_code, run_table, summary
from runner.report.progress import Clock, Phase, Progress, Running
from runner.report.text import duration
from runner.report.views import Verbosity, View, view

__all__ = [
    "Clock",
    "Phase",
    "Progress",
    "Running",
    "Verbosity",
    "View",
    "as_json",
    "duration",
    "exit_code",
    "run_table",
    "summary",
    "view",
]
