"""opp_runall's command line, for a lab: the same job with the same outcome."""

import argparse
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from runner import omnetpp
from runner.campaign import Order
from runner.command_line import Parser
from runner.errors import WrongUse
from runner.model import Launch, Run

_DESCRIPTION = """\
Executes simulation runs like opp_runall, on the lab:

    labfleet runall -j 4 ./simprog -c Foo -r '$numHosts>10'

The first argument that is no option begins the simulation command.  The program is built anew if its sources are
there, else it is taken as it is.
"""


def split(text: str, option: str) -> tuple[str, ...]:
    """Return the words of a command line.  Raises WrongUse for an open quotation mark."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise WrongUse(f"{option} cannot be split into words: {error}") from None


def _parser() -> Parser:
    parser = Parser(
        prog="labfleet runall", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-j", "--jobs", type=int, metavar="N", help="at most N processes at once; default: all slots")
    parser.add_argument("-b", "--batchsize", type=int, metavar="N", help="runs per process; default: by their time")
    parser.add_argument("-C", "--directory", default=".", metavar="DIR", help="change to DIR first")
    parser.add_argument(
        "-e",
        "--export",
        nargs="?",
        const="Runfile",
        metavar="MAKEFILE",
        help="write a makefile that does the runs",
    )
    parser.add_argument("-V", "--verbose", action="store_true", help="print the console output of the runs")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="SIMULATION_COMMAND")
    return parser


def parse(arguments: Sequence[str]) -> tuple[Order, Path | None]:
    """Return what a command line orders, and the makefile to export instead of running, if any.

    Raises WrongUse; ``--help`` prints and raises SystemExit.
    """
    options = _parser().parse_args(list(arguments))
    if not options.command:
        raise WrongUse("runall needs a simulation command", "labfleet runall ./simprog -c Foo")
    for name in ("jobs", "batchsize"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise WrongUse(f"--{name} takes a whole number from 1, not {getattr(options, name)}")
    program, *words = options.command
    selected, ini_files, further = _simulation_options(words)
    order = Order(
        config=selected.get("-c", "General"),
        folder=Path(options.directory),
        run_filter=selected.get("-r", ""),
        program=program,
        ini_files=ini_files,
        arguments=further,
        jobs=options.jobs,
        batch=options.batchsize,
        verbose=options.verbose,
    )
    return order, Path(options.export) if options.export else None


#: The program's options whose value may be a word of its own.
_VALUED = ("-c", "-r", "-f", "-u", "-n", "-x", "-i", "-l")


def _simulation_options(words: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Split the program's options into those that select runs (-c, -r), ini files, and all others."""
    selected: dict[str, str] = {}
    ini_files: list[str] = []
    further: list[str] = []
    rest = iter(words)
    for word in rest:
        option = word[:2]
        if option not in _VALUED:
            (further if word.startswith("-") else ini_files).append(word)
            continue
        value = word[2:] or next(rest, None)
        if value is None:
            raise WrongUse(f"{word} needs a value")
        if option in ("-c", "-r"):
            selected[option] = value
        elif option == "-f":
            ini_files.append(value)
        else:
            further += [option, value]
    return selected, tuple(ini_files), tuple(further)


def export(order: Order, runs: Sequence[Run], makefile: Path) -> None:
    """Write a makefile that does the runs without labfleet: one target per batch, for ``make -j``."""
    numbers = [run.number for run in runs]
    size = order.batch or min(5, math.ceil(len(numbers) / (order.jobs or os.cpu_count() or 1)))
    batches = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    launch = Launch(ini_files=order.ini_files, arguments=order.arguments)
    names = [f"run{batch[0]}" for batch in batches]
    lines = [f".PHONY: all {' '.join(names)}", "", f"all: {' '.join(names)}"]
    for name, batch in zip(names, batches, strict=True):
        argv = omnetpp.simulation_command((order.program or "",), launch, order.config, batch)
        lines += ["", f"{name}:", "\t" + shlex.join(argv).replace("$", "$$")]
    makefile.write_text("\n".join(lines) + "\n")
