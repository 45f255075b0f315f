"""A campaign as a command: its view while it goes on, then its summary and exit status."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from runner import campaign, config, model, quantities, report
from runner.campaign import Order
from runner.command_line import Following
from runner.errors import Detached, ExitCode, LabfleetError, WrongUse
from runner.housekeeping import client as housekeeping
from runner.notify import Notifier
from runner.paths import LabPaths, home


def limits(given: Mapping[str, str]) -> dict[str, float | int | None]:
    """Return those limits of a run that are given as options, by the names of model.Limits.  Raises WrongUse."""
    found = {}
    for name, text in given.items():
        try:
            if text:
                found[name.replace("-", "_")] = quantities.limit(name, text)
        except ValueError as error:
            raise WrongUse(f"--{name}: {error}") from None
    return found


def run(order: Order, *, quiet: bool = False, json: bool = False) -> ExitCode:
    """Carry an order out and show what it comes to."""
    views = _views(quiet=quiet, verbose=order.verbose, json=json)
    view = views(_project_of(order), order.config)
    with _told_as_json(json), _telling() as notifier:
        try:
            result, prepared = campaign.run(order, view, notifier)
        finally:
            view.close()
        return _show(result, prepared, json=json)


@contextmanager
def _told_as_json(json: bool) -> Iterator[None]:
    """Print also why there is no result, where one was to be printed as JSON."""
    try:
        yield
    except Detached:
        raise
    except LabfleetError as error:
        if json:
            told = {"error": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}
            print(model.pretty(told), flush=True)
        raise


@contextmanager
def _telling() -> Iterator[Notifier]:
    """Yield what tells others of a campaign; it is waited for when everything has been shown."""
    notifier = Notifier()
    try:
        yield notifier
    finally:
        for warning in notifier.close():
            print(f"warning: {warning}", file=sys.stderr)


def runs(order: Order) -> Sequence[model.Run]:
    """Return which runs an order means, without doing any."""
    view = _views(quiet=True)(_project_of(order), order.config)
    try:
        return campaign.run(replace(order, dry_run=True), view)[1].runs
    finally:
        view.close()


def submit(order: Order, *, json: bool = False) -> ExitCode:
    """Submit what is ordered, and print the campaign's id."""
    campaign_id = campaign.submit(order, lambda text: print(text, file=sys.stderr))
    print(model.encode({"campaign": campaign_id}).decode() if json else campaign_id)
    return ExitCode.DONE


def attach(wish: Following, *, resume: bool = False) -> ExitCode:
    """Come back to a campaign, begin again what is not done if that is wanted, and show what it comes to."""
    views = _views(quiet=wish.quiet, verbose=wish.verbose, json=wish.json)
    with _told_as_json(wish.json), _telling() as notifier:
        result, prepared = campaign.attach(wish.campaign, views, notifier, verbose=wish.verbose, resume=resume)
        return _show(result, prepared, json=wish.json)


def _project_of(order: Order) -> str:
    """Return the name of the project that an order means."""
    try:
        return config.root_of(order.folder).name
    except WrongUse:  # said when the project is read, which tells more
        return order.folder.resolve().name


def _views(*, quiet: bool = False, verbose: bool = False, json: bool = False) -> Callable[[str, str], report.View]:
    """Return what makes the view of a campaign, given its project's name and its configuration.  Raises WrongUse."""
    if quiet and verbose:
        raise WrongUse("--quiet and --verbose contradict each other")
    verbosity = report.Verbosity(report.Verbosity.NORMAL + verbose - quiet)

    def view(name: str, config: str) -> report.View:
        return report.view(name, config, verbosity, sys.stderr, os.environ, stdout=None if json else sys.stdout)

    return view


def _show(result: model.Result | None, prepared: model.Prepared, *, json: bool) -> ExitCode:
    """Print what a campaign came to; of a dry run, which runs there are."""
    if result is None:
        print(model.pretty(prepared.runs) if json else report.run_table(prepared))
        return ExitCode.DONE
    print(report.as_json(result) if json else report.summary(result, prepared, os.getcwd()), flush=True)
    with suppress(OSError):  # what is kept too long is no reason to trouble anybody
        housekeeping.begin(LabPaths(home()), time.time())
    return report.exit_code(result)
