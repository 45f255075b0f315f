"""The commands a person types, each a few lines over runner/.

What takes long to import (ZeroMQ, rich) is imported by the command that needs it: ``--help`` has to be there at once.
"""

import sys
from pathlib import Path

from invoke.context import Context

from runner import help_texts
from runner.commands import command, remainder, whole_number
from runner.errors import ExitCode, WrongUse


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
        "detach": "submit the campaign, print its id and leave; labfleet attach ID comes back",
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


campaign.__doc__ = f"{campaign.__doc__}\n{help_texts.RESULTS}"


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
def drain(c: Context) -> None:
    """Give a machine no more runs: labfleet drain HOST."""
    from runner import campaigns as known
    from runner import command_line

    print(known.drain(command_line.drain(remainder()), drained=True))


@command(takes_rest=True)
def undrain(c: Context) -> None:
    """Give a machine runs again: labfleet undrain HOST."""
    from runner import campaigns as known
    from runner import command_line

    print(known.drain(command_line.undrain(remainder()), drained=False))


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
            print(help_texts.LAB)
        case words:
            raise WrongUse(f"lab {' '.join(words)} is unknown", help_texts.LAB)


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
    help={
        "inventory": "inventory of the machines, to look at each of them over SSH (needs sudo there)",
        "json": "print what was found machine-readable",
    },
    iterable=["inventory"],
)
def doctor(c: Context, inventory: list[str] | None = None, json: bool = False) -> ExitCode:
    """Find what is wrong with the lab, or with the way to it, and say what to do; exit status 3 if something is."""
    from runner import doctor as examination
    from runner import first_contact

    asked = first_contact.terminal(sys.stdin, sys.stderr)
    progress = examination.Progress(sys.stderr)
    try:
        found = examination.examine(tuple(inventory or ()), asked, progress)
    finally:
        progress.close()
    print(examination.as_json(found) if json else examination.text(found))
    return examination.exit_code(found)


@command(
    help={"watch": "go on, and show what changes, until Ctrl-C", "json": "machine-readable; --watch: a line per change"}
)
def status(c: Context, watch: bool = False, json: bool = False) -> None:
    """Show what the lab does: what each slot runs, how far campaigns are, what failed, and why one waits."""
    from runner import status as looking

    looking.show(sys.stdout, watch=watch, json=json)


# ---- for a lab's administrator -----------------------------------------------------------------------------------


@command(
    help={
        **help_texts.ADMINISTRATION,
        "tags": "only some parts: machine, head, image, code, services, workers",
    },
    iterable=["inventory"],
)
def provision(  # noqa: PLR0913, PLR0917  # one parameter per option, as Invoke has it
    c: Context,
    inventory: list[str] | None = None,
    limit: str = "",
    tags: str = "",
    check: bool = False,
    diff: bool = False,
    accept_new: bool = False,
    ask_sudo: bool = False,
    json: bool = False,
) -> ExitCode:
    """Make the machines of an inventory a lab, or bring a lab up to date; doing it again changes nothing."""
    from runner import administration
    from runner.provision import Order

    order = Order(tuple(inventory or ()), limit, tags, check, diff, accept_new, ask_sudo)
    return administration.provision(order, json=json)


@command(help=help_texts.ADMINISTRATION, iterable=["inventory"])
def upgrade(
    c: Context,
    inventory: list[str] | None = None,
    limit: str = "",
    check: bool = False,
    diff: bool = False,
    accept_new: bool = False,
    ask_sudo: bool = False,
    json: bool = False,
) -> ExitCode:
    """Bring this labfleet's code to the lab: each slot takes it after its run, the foreman at once."""
    from runner import administration
    from runner.provision import Order

    order = Order(tuple(inventory or ()), limit, "", check, diff, accept_new, ask_sudo)
    return administration.upgrade(order, json=json)


@command(
    help={
        **help_texts.ADMINISTRATION,
        "limit": "only these machines, as Ansible's patterns: 'w1,w2', 'workers:!w3'",
        "data": "also the campaigns' results, the snapshots and the products in the lab",
        "yes": "do not ask whether it is meant",
    },
    iterable=["inventory"],
)
def teardown(  # noqa: PLR0913, PLR0917
    c: Context,
    inventory: list[str] | None = None,
    limit: str = "",
    data: bool = False,
    check: bool = False,
    diff: bool = False,
    accept_new: bool = False,
    ask_sudo: bool = False,
    yes: bool = False,
    json: bool = False,
) -> ExitCode:
    """Remove from the machines what provision put there; the packages that it installed stay."""
    from runner import administration
    from runner.provision import Order

    order = Order(tuple(inventory or ()), limit, "", check, diff, accept_new, ask_sudo)
    return administration.teardown(order, data=data, sure=yes, json=json)


# ---- for labfleet's developers -----------------------------------------------------------------------------------


def _check_checkout(folder: str, what: str) -> None:
    from runner.paths import SOURCE

    if not (SOURCE / folder).exists():
        raise WrongUse(f"{what} part of labfleet's checkout, not of the installed package")


@command(help={"rounds": "how often each comparison is made; the median counts"})
def bench(c: Context, rounds: str = "5") -> None:
    """Measure labfleet against what one would use instead: ratios, side by side (in a checkout only)."""
    _check_checkout("benchmarks", "the benchmarks are")
    from benchmarks import everything

    everything.main(whole_number(rounds, "--rounds"))


@command(takes_rest=True)
def testlab(c: Context) -> None:
    """Bring machines up to try labfleet on: testlab up | status | down (in a checkout only)."""
    _check_checkout("tests", "the test lab is")
    from tests.lab import command as test_lab

    test_lab.main(remainder())


@command(
    help={
        "seed": "of the random moments, to do the same once more; default: another one each time",
        "share": "of the usual number of faults, e.g. 0.1",
        "places": "local, machines (needs root and Docker) or all",
    }
)
def faults(c: Context, seed: str = "", share: str = "1", places: str = "local") -> ExitCode:
    """Inject faults into campaigns, check that nothing is lost, and print a table (in a checkout only)."""
    _check_checkout("tests", "the fault injection is")
    if places not in ("local", "machines", "all"):
        raise WrongUse(f"--places is local, machines or all, not {places!r}")
    try:
        part = float(share)
    except ValueError:
        raise WrongUse(f"--share takes a number like 0.1, not {share!r}") from None
    from tests.faults import command as injection

    return ExitCode(injection.main(whole_number(seed, "--seed") if seed else None, part, places))
