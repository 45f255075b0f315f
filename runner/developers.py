"""The commands of labfleet's developers, as tasks.py has them; what they do is not part of the installed package."""

from importlib import import_module
from typing import Any

from invoke.context import Context

from runner.commands import command, remainder, whole_number
from runner.errors import ExitCode, WrongUse


def _of_checkout(module: str, what: str) -> Any:
    """Return a module that only a checkout has.  Raises WrongUse if there is none, or what it is made of is missing."""
    from runner.paths import SOURCE

    if not (SOURCE / module.partition(".")[0]).exists():
        raise WrongUse(f"{what} part of labfleet's checkout, not of the installed package")
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise WrongUse(f"{what} made of {error.name}, which is not installed", "./bootstrap installs it") from None


@command(help={"rounds": "how often each comparison is made; the median counts"})
def bench(c: Context, rounds: str = "5") -> None:
    """Measure labfleet against what one would use instead: ratios, side by side (in a checkout only)."""
    _of_checkout("benchmarks.everything", "the benchmarks are").main(whole_number(rounds, "--rounds"))


@command(takes_rest=True)
def testlab(c: Context) -> None:
    """Bring machines up to try labfleet on: testlab up | status | down (in a checkout only)."""
    _of_checkout("tests.lab.command", "the test lab is").main(remainder())


@command(
    help={
        "seed": "of the random moments, to do the same once more; default: another one each time",
        "share": "of the usual number of faults, e.g. 0.1",
        "places": "local, machines (needs root and Docker) or all",
    }
)
def faults(c: Context, seed: str = "", share: str = "1", places: str = "local") -> ExitCode:
    """Inject faults into campaigns, check that nothing is lost, and print a table (in a checkout only)."""
    if places not in ("local", "machines", "all"):
        raise WrongUse(f"--places is local, machines or all, not {places!r}")
    try:
        part = float(share)
    except ValueError:
        raise WrongUse(f"--share takes a number like 0.1, not {share!r}") from None
    injection = _of_checkout("tests.faults.command", "the fault injection is")
    return ExitCode(injection.main(whole_number(seed, "--seed") if seed else None, part, places))
