"""The commands of labfleet's developers, as tasks.py has them; what they do is not part of the installed package."""

from invoke.context import Context

from runner.commands import command, remainder, whole_number
from runner.errors import ExitCode, WrongUse


@command(help={"rounds": "how often each comparison is made; the median counts"})
def bench(c: Context, rounds: str = "5") -> None:
    """Measure labfleet against what one would use instead: ratios, side by side (in a checkout only)."""
    from runner.paths import SOURCE

    if not (SOURCE / "benchmarks").exists():
        raise WrongUse("the benchmarks are part of labfleet's checkout, not of the installed package")
    from benchmarks import everything

    everything.main(whole_number(rounds, "--rounds"))


@command(takes_rest=True)
def testlab(c: Context) -> None:
    """Bring machines up to try labfleet on: testlab up | status | down (in a checkout only)."""
    from runner.paths import SOURCE

    if not (SOURCE / "tests").exists():
        raise WrongUse("the test lab is part of labfleet's checkout, not of the installed package")
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
    from runner.paths import SOURCE

    if not (SOURCE / "tests").exists():
        raise WrongUse("the fault injection is part of labfleet's checkout, not of the installed package")
    if places not in ("local", "machines", "all"):
        raise WrongUse(f"--places is local, machines or all, not {places!r}")
    try:
        part = float(share)
    except ValueError:
        raise WrongUse(f"--share takes a number like 0.1, not {share!r}") from None
    from tests.faults import command as injection

    return ExitCode(injection.main(whole_number(seed, "--seed") if seed else None, part, places))
