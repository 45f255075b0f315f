"""The command lines of commands whose arguments are more than options."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from runner.errors import WrongUse

#: A name or flag, and what argparse's add_argument takes with it.
Argument = tuple[tuple[str, ...], dict[str, Any]]

CAMPAIGN: Argument = (
    ("campaign",),
    {"metavar": "ID", "help": "the campaign's id, or its beginning or end, e.g. the last four characters"},
)
OPTIONAL_CAMPAIGN: Argument = (CAMPAIGN[0], {**CAMPAIGN[1], "nargs": "?", "default": ""})

#: How a campaign is followed: the options of ``campaign``, too.
FOLLOWING: tuple[Argument, ...] = (
    (("--json", "-j"), {"action": "store_true", "help": "print one machine-readable result on stdout"}),
    (("--quiet", "-q"), {"action": "store_true", "help": "print nothing but failures and the summary"}),
    (("--verbose", "-v"), {"action": "store_true", "help": "print the console output of what runs as it comes"}),
)


class Parser(argparse.ArgumentParser):
    """A parser that tells of wrong use labfleet's way."""

    def error(self, message: str) -> NoReturn:
        """Raise WrongUse."""
        raise WrongUse(f"{self.prog.removeprefix('labfleet ')}: {message}", f"{self.prog} --help")


def parsed(command: str, description: str, words: Sequence[str], *arguments: Argument) -> argparse.Namespace:
    """Return what stands on the command line of a command.

    Raises WrongUse; ``--help`` prints and raises SystemExit.
    """
    parser = Parser(
        prog=f"labfleet {command}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for names, options in arguments:
        parser.add_argument(*names, **options)
    return parser.parse_intermixed_args(list(words))


# ---- the commands ----------------------------------------------------------------------------------------------------

_ATTACH = """\
Come back to a campaign: see what has become of it so far and what happens now, and bring the results home that are not
there yet.  Ctrl-C leaves it again.  Without ID: the newest of your campaigns that is not at home, this project's first.
The exit status is that of the campaign.
"""

_RESUME = """\
Do again what failed, was lost or was cancelled in a campaign that has ended, with the same snapshot, and the same build
unless that is gone; what is done stays done.  Failures before do not count against --retries.  Then the same as
labfleet attach.
"""

_CANCEL = """\
Start no more runs of a campaign, and end those that run.  What is done is kept: labfleet attach brings it home,
labfleet resume goes on.  Without ID: the only campaign of yours that is under way.
"""

_EXPLAIN = "Say why a campaign, or one run of it, is where it is: what it waits for, or what became of it."

_LOGS = """\
Show what runs print, or have printed: of runs that are under way, have ended or failed, in the lab or at home already.
CAMPAIGN may be shortened to its beginning or end; without it, it is your newest one, this project's first.  RUN is a
number, or several: 0,3,5..9.  Without RUN: with --follow all that runs now or begins later, until the campaign ends;
else all runs of a campaign that has at most eight, and of a larger one a list of which runs there are.
Lines of several runs are led by the run's number.  What a terminal would obey instead of showing it is replaced by
signs that show it, in pipes and files, too; --raw keeps it.
"""

_LOG_OPTIONS: tuple[Argument, ...] = (
    (
        ("words",),
        {"metavar": "CAMPAIGN RUN", "nargs": "*", "help": "which campaign, and which of its runs"},
    ),
    (("--follow", "-f"), {"action": "store_true", "help": "go on until the runs have ended; Ctrl-C leaves"}),
    (("--tail", "-n"), {"metavar": "N", "help": "only the last N lines of what is there, of each run"}),
    (
        ("--grep", "-g"),
        {"metavar": "TEXT", "help": "only lines in which this is found: a text, or a regular expression"},
    ),
    (("--build", "-b"), {"action": "store_true", "help": "what the build of the campaign's program has printed"}),
    (("--attempt",), {"metavar": "N", "help": "the N-th attempt at a run that was begun again; default: the latest"}),
    (("--raw",), {"action": "store_true", "help": "one log as it is, byte for byte, for a file or another program"}),
)

_DRAIN = "Give a machine no more runs; what runs there comes to its end.  labfleet undrain HOST gives it runs again."

_UNDRAIN = "Give a machine runs again, be it drained or in quarantine."

_USE = """\
Use a lab from now on, whatever the folder: that behind the SSH login USER@HEAD, or processes of this machine (local),
as without any choice.  The variable LABFLEET_LAB counts more.  Campaigns that are under way elsewhere stay there.
"""

_STATUS = "Say which lab is used, whether its services run, and which campaigns are under way there."

_STOP = """\
End the services of the local lab on this machine.  That need not be done: they end by themselves when they have been
idle for 15 minutes.  Nothing is lost: results that are done are kept, and labfleet attach, or the next campaign, starts
the services again.
While campaigns are under way it refuses, unless --force is given: then the runs that are under way end, and begin anew
when the services run again.  A lab of several machines is not ended by this: labfleet teardown does that.
"""

LAB = """\
labfleet lab use USER@HEAD     use the lab behind this SSH login from now on; the variable LABFLEET_LAB counts more
labfleet lab use local         use processes of this machine, as without any choice
labfleet lab status            what the lab does
labfleet lab stop [--force]    end the local lab's services; with --force also while campaigns are under way
The local lab's services start with the first campaign, and end by themselves when idle."""

_REPORT = """\
Make the report of a campaign again, from its manifest, and print where it is: one HTML file beside its results, as it
is also made when a campaign has come home.  Without argument: that of the latest campaign of this folder.
"""

_MANIFEST: Argument = (
    ("campaign",),
    {"metavar": "ID|FILE", "nargs": "?", "default": "", "help": "the campaign's id, or a part of it; or its manifest"},
)

_RUN: Argument = (("run",), {"metavar": "RUN", "nargs": "?", "default": "", "help": "the number of a run"})

_HOST: Argument = (("host",), {"metavar": "HOST", "help": "the machine, as labfleet machines names it"})


@dataclass(frozen=True)
class Following:
    """Which campaign is to be followed, and how."""

    campaign: str
    json: bool
    quiet: bool
    verbose: bool


def attach(words: Sequence[str]) -> Following:
    """Return what ``labfleet attach`` is asked for; an empty campaign: the newest that is not at home."""
    return Following(**vars(parsed("attach", _ATTACH, words, OPTIONAL_CAMPAIGN, *FOLLOWING)))


def resume(words: Sequence[str]) -> Following:
    """Return what ``labfleet resume`` is asked for."""
    return Following(**vars(parsed("resume", _RESUME, words, CAMPAIGN, *FOLLOWING)))


def cancel(words: Sequence[str]) -> str:
    """Return which campaign is to be cancelled; empty: the only one."""
    return str(parsed("cancel", _CANCEL, words, OPTIONAL_CAMPAIGN).campaign)


def explain(words: Sequence[str]) -> tuple[str, str]:
    """Return which campaign is to be explained, and the number of which run; empty: of none."""
    options = parsed("explain", _EXPLAIN, words, CAMPAIGN, _RUN)
    return options.campaign, options.run


def report(words: Sequence[str]) -> str:
    """Return of which campaign, or from which manifest, a report is to be made; empty: of the latest."""
    return str(parsed("report", _REPORT, words, _MANIFEST).campaign)


@dataclass(frozen=True)
class LogsWish:
    """Which logs a person wants to see, and how."""

    #: Campaign and runs.
    words: tuple[str, ...]
    follow: bool = False
    tail: int | None = None
    grep: str | None = None
    build: bool = False
    attempt: int | None = None
    raw: bool = False


def logs(words: Sequence[str]) -> LogsWish:
    """Return what ``labfleet logs`` is asked for."""
    given = vars(parsed("logs", _LOGS, words, *_LOG_OPTIONS))
    tail, attempt = (_number(given[name], f"--{name}", least) for name, least in (("tail", 0), ("attempt", 1)))
    return LogsWish(**{**given, "words": tuple(given["words"]), "tail": tail, "attempt": attempt})


def _number(text: str | None, option: str, minimum: int) -> int | None:
    """Return an option's value as a number; None if it is not given.  Raises WrongUse."""
    if text is None:
        return None
    if re.fullmatch("[0-9]{1,9}", text) and int(text) >= minimum:
        return int(text)
    raise WrongUse(f"{option} takes a whole number from {minimum}, not {text!r}")


def lab_use(words: Sequence[str]) -> str:
    """Return which lab is to be used."""
    which = {"metavar": "USER@HEAD|local", "help": "an SSH login, or an alias of ~/.ssh/config; or local"}
    return str(parsed("lab use", _USE, words, (("lab",), which)).lab)


def lab_status(words: Sequence[str]) -> None:
    """See that ``labfleet lab status`` is asked for nothing more."""
    parsed("lab status", _STATUS, words)


def lab_stop(words: Sequence[str]) -> bool:
    """Say whether the services are to end even if campaigns are under way."""
    force = {"action": "store_true", "help": "also while campaigns are under way"}
    return bool(parsed("lab stop", _STOP, words, (("--force", "-f"), force)).force)


def drain(words: Sequence[str]) -> str:
    """Return which machine is to get no more runs."""
    return str(parsed("drain", _DRAIN, words, _HOST).host)


def undrain(words: Sequence[str]) -> str:
    """Return which machine is to get runs again."""
    return str(parsed("undrain", _UNDRAIN, words, _HOST).host)
