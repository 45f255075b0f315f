"""The commands a person types, each a few lines over runner/; those of administrators and developers stand there.

What takes long to import (ZeroMQ, rich) is imported by the command that needs it: ``--help`` has to be there at once.
"""

import sys
from pathlib import Path

from invoke.context import Context

from runner.administrators import doctor, drain, provision, teardown, undrain, upgrade
from runner.commands import command, remainder, whole_number
from runner.developers import bench, faults, testlab
from runner.errors import ExitCode, WrongUse

#: What Invoke finds here beside this module's own.
__all__ = ["bench", "doctor", "drain", "faults", "provision", "teardown", "testlab", "undrain", "upgrade"]

_RESULTS = """
Results appear in the project as if it had been run here, usually in results/.  A file that is already there under the
same name is replaced when its run is done, no other file is touched.  What a run leaves that failed or was
interrupted is kept apart, in results/labfleet/CAMPAIGN/failed/, its files named *.partial.
results/campaign.json says where each result came from.
Ctrl-C leaves the campaign, which goes on: labfleet attach comes back to it, labfleet cancel ends it.
What labfleet.toml says of timeout, stall, memory, retries and max-failures holds where the option is not given; "none"
is no limit, and --retries 0 begins nothing again.
"""


@command(
    help={
        "config": "configuration of the ini file (its runs are those of opp_runall -c)",
        "project": "folder of the model; default: this folder, in labfleet's own checkout the shipped example",
        "runs": "only some runs, in OMNeT++'s syntax: 0,3,5..9 or '$numHosts>10 && $repetition<3'",
        "program": "simulation program or shared library; default: the target of the project's Makefile",
        "ini": "ini file, relative to the folder; may be repeated; default: omnetpp.ini",
        "jobs": "at most so many processes of this campaign at once; default: all slots",
        "mode": "release, debug or sanitize: how the model is built, and with which OMNeT++ it runs",
        "args": 'further options for the program, e.g. "--sim-time-limit=10s"',
        "dry-run": "list the runs with their iteration variables, do none",
        "json": "print one machine-readable result on stdout",
        "quiet": "print nothing but failures and the summary",
        "verbose": "print the console output of every run as it comes",
        "detach": "submit the campaign, print its id and leave; [notify] and results wait for labfleet attach ID",
        "timeout": "end a run that takes longer: 90s, 15min, 2h, 1d",
        "stall": "end a run whose simulation time stands still for so long: 90s, 15min",
        "memory": "end a run that takes more main memory: 500MB, 2GB, 1.5GiB; a plain number is in MB",
        "retries": "begin a run that failed by itself so many times again; default: 0.  Lost runs begin again anyway",
        "max-failures": "cancel the rest after so many failed runs",
    },
    iterable=["ini"],
)
def campaign(  # noqa: PLR0913, PLR0917  # one parameter per option, as Invoke has it
    c: Context,
    config: str = "General",
    project: str = "",
    runs: str = "",
    program: str = "",
    ini: list[str] | None = None,
    jobs: str = "",
    mode: str = "release",
    args: str = "",
    dry_run: bool = False,
    json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    detach: bool = False,
    timeout: str = "",
    stall: str = "",
    memory: str = "",
    retries: str = "",
    max_failures: str = "",
) -> ExitCode:
    """Run every run of a configuration on the lab and bring the results home."""
    from runner import campaign_command
    from runner import runall as words
    from runner.campaign import Order
    from runner.model import MODES

    if mode not in MODES:
        raise WrongUse(f"--mode is {', '.join(MODES[:-1])} or {MODES[-1]}, not {mode!r}")
    if detach and dry_run:
        raise WrongUse("--detach and --dry-run contradict each other")
    limits = {"timeout": timeout, "stall": stall, "memory": memory, "retries": retries, "max-failures": max_failures}
    order = Order(
        config=config,
        folder=_project(project),
        run_filter=runs,
        program=program or None,
        ini_files=tuple(ini or ()),
        mode=mode,
        arguments=words.split(args, "--args"),
        jobs=whole_number(jobs, "--jobs") if jobs else None,
        verbose=verbose,
        dry_run=dry_run,
        limits=campaign_command.limits(limits),
    )
    if detach:
        return campaign_command.submit(order, json=json)
    return campaign_command.run(order, quiet=quiet, json=json)


campaign.__doc__ = f"{campaign.__doc__}\n{_RESULTS}"


def _project(named: str) -> Path:
    """Return the folder of the model: the named one, else this one; in labfleet's own checkout the example."""
    from runner.paths import EXAMPLE, SOURCE

    here = Path(named) if named else Path.cwd()
    return EXAMPLE if here.resolve() == SOURCE else here


@command(takes_rest=True)
def runall(c: Context) -> ExitCode:
    """Take opp_runall's place: labfleet runall [-j N] [-b N] [-C DIR] [-e] [-V] ./simprog -c Foo -r FILTER."""
    from runner import campaign_command
    from runner import runall as words

    order, makefile = words.parse(remainder())
    if makefile is None:
        return campaign_command.run(order)
    words.export(order, campaign_command.runs(order), makefile)
    return ExitCode.DONE


# ---- campaigns that are there ------------------------------------------------------------------------------------


@command(takes_rest=True)
def attach(c: Context) -> ExitCode:
    """Come back to a campaign and bring its results home: labfleet attach [ID]."""
    from runner import campaign_command, command_line

    return campaign_command.attach(command_line.attach(remainder()))


@command(takes_rest=True)
def resume(c: Context) -> ExitCode:
    """Do again what failed, was lost or cancelled in a campaign: labfleet resume ID."""
    from runner import campaign_command, command_line

    return campaign_command.attach(command_line.resume(remainder()), resume=True)


@command(help={"json": "print them machine-readable"})
def campaigns(c: Context, json: bool = False) -> None:
    """Show the lab's campaigns: whose, how far, and whether the results are at home."""
    from runner import campaigns as known
    from runner.report import campaign_table

    found = known.listed()
    print(campaign_table.as_json(found) if json else campaign_table.table(found, known.elsewhere(found)))


@command(
    help={
        "prune": "remove all products that no campaign under way needs; they are built again when one does",
        "json": "print them machine-readable",
    }
)
def products(c: Context, prune: bool = False, json: bool = False) -> None:
    """Show what builds have left in the lab: for which project, how large, and when it was used last."""
    from runner import campaigns as known
    from runner.report import product_table

    found = known.products(prune=prune)
    print(product_table.as_json(found) if json else product_table.text(found, prune=prune))


@command(takes_rest=True)
def cancel(c: Context) -> None:
    """End a campaign's runs and keep what is done: labfleet cancel [ID]."""
    from runner import campaigns as known
    from runner import command_line

    print(known.cancel(command_line.cancel(remainder())))


@command(takes_rest=True)
def explain(c: Context) -> None:
    """Say why a campaign, or one run of it, is not running: labfleet explain ID [RUN]."""
    from runner import campaigns as known
    from runner import command_line

    campaign_id, run = command_line.explain(remainder())
    print(known.explain(campaign_id, whole_number(run, "RUN", 0) if run else None))


@command(takes_rest=True)
def report(c: Context) -> None:
    """Make a campaign's report again: labfleet report [ID or results/campaign.json]."""
    from runner import command_line, report_command

    print(report_command.make(command_line.report(remainder())))


@command(takes_rest=True)
def lab(c: Context) -> None:
    """Choose, see, stop: lab use USER@HEAD|local, lab status, lab stop (lab --help)."""
    from runner import chosen_lab, command_line, labs, local_lab

    match remainder():
        case ["use", *words]:
            head = chosen_lab.use(command_line.lab_use(words))
            print(f"campaigns run on {f'the lab behind {head}' if head else 'this machine'} from now on")
        case [] | ["status", *_]:
            command_line.lab_status(remainder()[1:])
            print(labs.describe())
        case ["stop", *words]:
            print(local_lab.stop(command_line.lab_stop(words)))
        case ["--help" | "-h"]:
            print(command_line.LAB)
        case words:
            raise WrongUse(f"lab {' '.join(words)} is unknown", command_line.LAB)


@command(help={"json": "print them machine-readable"})
def machines(c: Context, json: bool = False) -> None:
    """Show the lab's machines: slots, load, memory, disk, image and code, and why one does not serve."""
    from runner import labs
    from runner.report import machine_table

    found = labs.machines()
    print(machine_table.as_json(found) if json else machine_table.table(found))


@command(help={"browser": "open the browser; --no-browser prints the address only"})
def web(c: Context, browser: bool = True) -> None:
    """See the lab in the browser: machines, campaigns, live logs, results."""
    from runner import web_page

    web_page.see(browser=browser)


@command(
    help={"watch": "go on, and show what changes, until Ctrl-C", "json": "machine-readable; --watch: a line per change"}
)
def status(c: Context, watch: bool = False, json: bool = False) -> None:
    """Show what the lab does: what each slot runs, how far campaigns are, what failed, and why one waits."""
    from runner import status as looking

    looking.show(sys.stdout, watch=watch, json=json)


@command(takes_rest=True)
def logs(c: Context) -> None:
    """Show what runs print, or have printed: labfleet logs [CAMPAIGN] [RUN…] [--follow]."""
    from runner import command_line
    from runner import logs as story

    story.show(command_line.logs(remainder()))
