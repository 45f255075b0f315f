"""The end of a campaign at its client: manifest and report are written, the lab may forget it, and others are told."""

import time
from pathlib import Path

import msgspec

from runner import manifest, report
from runner.errors import Cancelled
from runner.following import Follower
from runner.homecoming import Home
from runner.model import Campaign, Prepared, Result
from runner.notify import Notifier
from runner.paths import HomePaths


def end(
    follower: Follower, began: float, notifier: Notifier, *, since_submitted: bool = False
) -> tuple[Result | None, Prepared]:
    """Write the manifest, tell the lab that everything is at home, and sum up.

    ``since_submitted``: what is told is how long the campaign took, not this client.
    """
    prepared, campaign = follower.prepared, follower.what
    if prepared is None or campaign is None:  # cancelled by somebody before there was anything to do
        follower.farewell()
        error = Cancelled(f"campaign {follower.id} was cancelled before its runs were known")
        notifier.tell("cancelled", error.message)
        raise error
    result = _result(follower, follower.home, campaign, prepared, began) if follower.home else None
    follower.farewell()
    if result and since_submitted and follower.ended and follower.ended.time:
        took = max(0.0, follower.ended.time - campaign.submitted)
        result = msgspec.structs.replace(result, seconds=took)
    if result is not None:
        result = _with_report(result)
        text = report.summary(result, prepared)
        state = "cancelled" if result.cancelled else "failed" if report.exit_code(result) else "done"
        notifier.tell(state, text.partition("\n")[0], text, result)
    return result, prepared


def _with_report(result: Result) -> Result:
    """Write the report of a campaign that has come home; without one, nothing is lost but a convenience."""
    from runner.report import page
    from runner.report.manifest import load

    paths = HomePaths(Path(result.results), result.campaign)
    try:
        page.write(paths.report, load(paths.manifest))
    except Exception as error:  # noqa: BLE001  whatever it is, the results are at home
        return msgspec.structs.replace(result, warnings=(*result.warnings, f"there is no report: {error}"))
    return msgspec.structs.replace(result, report=str(paths.report))


def _result(follower: Follower, home: Home, campaign: Campaign, prepared: Prepared, began: float) -> Result:
    """Write the manifest and sum up."""
    outcomes = [follower.outcomes[run] for run in sorted(follower.outcomes)]
    past = sorted(follower.past.values(), key=lambda attempt: attempt.ended)
    warnings = list(home.warnings)
    if any(outcome.kind == "done" and not outcome.files for outcome in outcomes):
        warnings.append("some runs left no file in the project: is an absolute result directory set?")
    if len({outcome.key for outcome in outcomes if outcome.kind == "done"}) > 1:
        warnings.append("not all runs were done by the same program, as it was built anew: the manifest says which")
    ended = follower.ended
    text = manifest.text_of(campaign, prepared, follower.outcomes, home.places, warnings, past, ended)
    place = manifest.write(home.paths, text)
    return Result(
        campaign=campaign.id,
        name=campaign.name,
        config=campaign.config,
        results=str(home.paths.results),
        manifest=str(place),
        total=len(prepared.runs),
        outcomes=tuple(outcomes),
        logs={outcome.run: str(home.paths.log(outcome.run)) for outcome in outcomes if outcome.kind != "lost"},
        places=home.places,
        warnings=tuple(warnings),
        cancelled=ended is not None and ended.cancelled,
        reason=ended.reason if ended else "",
        past=tuple(past),
        product_reused=not prepared.built,
        seconds=time.monotonic() - began,
        order=campaign.order,
    )
