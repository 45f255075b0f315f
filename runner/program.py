"""The simulation program: which it is, and what it says of its runs."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner import omnetpp, shell
from runner.errors import WrongUse
from runner.features import EXCLUSIONS
from runner.ide_files import listed
from runner.model import Campaign, Run
from runner.toolchain import lacks_mode

#: Seconds that a program gets to list its runs; the builder serves everybody.
QUERY_SECONDS = 60.0


def find(campaign: Campaign, target: str | None, checkout: Path) -> tuple[str, ...]:
    """Return how the program is started from the working directory.  Raises WrongUse.

    ``target``: what the Makefile makes, relative to the project's root.
    """
    given = campaign.launch.program
    if given is None:
        if target is None:
            raise WrongUse(
                f"nothing says what the simulation program of {campaign.name} is",
                "name it with --program, or `program` in labfleet.toml",
            )
        given = os.path.relpath(target, campaign.directory)
    if "/" not in given and not (checkout / campaign.directory / given).exists():
        return omnetpp.program_command(given, campaign.mode)  # a name on PATH
    path = checkout / campaign.directory / given
    if not path.exists():
        raise WrongUse(
            f"the program {given} is not there after the build",
            "name another one with --program, or tell in labfleet.toml how it is built",
        )
    if not given.endswith((".so", ".dylib")) and not os.access(path, os.X_OK):
        raise WrongUse(f"the program {given} is not executable", f"chmod +x {given}")
    if not os.path.isabs(given) and not given.startswith("."):
        given = f"./{given}"
    return omnetpp.program_command(given, campaign.mode)


def with_needed(argv: tuple[str, ...], campaign: Campaign, libraries: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return how a program is started that is OMNeT++'s own: it loads the libraries of the projects that are needed.

    ``libraries``: place of a project → its shared libraries, relative to it.
    """
    if argv[0] != omnetpp.opp_run(campaign.mode):
        return argv
    start = os.path.join(campaign.source.place, campaign.directory)
    names = [os.path.relpath(os.path.join(place, one), start) for place, found in libraries.items() for one in found]
    return (argv[0], *omnetpp.load_options(names), *argv[1:])


def without_excluded(argv: tuple[str, ...], campaign: Campaign, checkouts: Sequence[Path]) -> tuple[str, ...]:
    """Return how a program is started that loads no NED package which one of the projects excludes.

    Who gives an ``-x`` of their own means that one alone.
    """
    packages = dict.fromkeys(name for checkout in checkouts for name in listed(checkout / EXCLUSIONS))
    if not packages or any(argument.startswith("-x") for argument in campaign.launch.arguments):
        return argv
    return (*argv, "-x", ";".join(packages))


def list_runs(
    campaign: Campaign, argv: tuple[str, ...], working_directory: Path, environment: Mapping[str, str]
) -> tuple[Run, ...]:
    """Ask the program which runs there are.  Raises WrongUse with the program's own words."""
    question = omnetpp.query_command(argv, campaign.launch, campaign.config, campaign.run_filter)
    try:
        answer = shell.run(question, cwd=working_directory, env=environment, check=False, seconds=QUERY_SECONDS)
    except TimeoutError as error:
        raise WrongUse(
            f"asked for the runs of {campaign.config}, {error}",
            "does the program understand OMNeT++'s options -s -q runs?",
        ) from None
    except OSError as error:
        raise WrongUse(
            f"{argv[0]} cannot be started: {error.strerror}",
            lacks_mode(environment, campaign.mode)
            or "name the simulation program with --program, or `program` in labfleet.toml",
        ) from None
    if answer.status != 0:
        raise _refusal(campaign, argv, working_directory, environment, answer)
    runs = omnetpp.parse_runs(answer.text)
    if not runs:
        raise WrongUse(
            f"no run of {campaign.config} matches the filter {campaign.run_filter!r}",
            "list the runs and their iteration variables with --dry-run",
        )
    return runs


def _refusal(
    campaign: Campaign,
    argv: tuple[str, ...],
    working_directory: Path,
    environment: Mapping[str, str],
    answer: shell.Result,
) -> WrongUse:
    """Return the error for a program that would not list its runs."""
    output = (answer.stderr + b"\n" + answer.stdout).decode(errors="replace")
    text = omnetpp.error_text(output) or output.strip()[-800:] or f"exit status {answer.status}"
    question = omnetpp.configurations_command(argv, campaign.launch)
    asked = shell.run(question, cwd=working_directory, env=environment, check=False, seconds=QUERY_SECONDS)
    known = omnetpp.parse_configurations(asked.text)
    if asked.status == 0 and known and campaign.config not in known:
        ini_files = ", ".join(campaign.launch.ini_files) or "omnetpp.ini"
        meant = difflib.get_close_matches(campaign.config, known, n=1)
        hint = (f"did you mean {meant[0]}?  " if meant else "") + f"known: {', '.join(known)}"
        return WrongUse(f"there is no configuration {campaign.config} in {ini_files}", hint)
    if campaign.run_filter and any(word in text for word in ("filter", "Run number", "run list")):
        return WrongUse(
            f"the program refuses the run filter {campaign.run_filter!r}: {text}",
            "a filter is a list like 0,3,5..9 or an expression like '$numHosts>10 && $repetition<3'",
        )
    return WrongUse(f"the program cannot list the runs of {campaign.config}: {text}")
