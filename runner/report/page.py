"""A campaign's report: one HTML file beside its results that needs nothing else, made from the manifest alone."""

import os
import shlex
from datetime import datetime
from pathlib import Path

from runner import causes
from runner.report import failures, figures
from runner.report.manifest import Entry, Manifest
from runner.report.markup import Markup, element, facts, table, together
from runner.report.sections import efficiency, run_times, timeline
from runner.report.style import STYLE
from runner.report.text import count, duration, shortened, variables

#: Runs that are listed one by one.
MOST_RUNS = 1000

#: Causes that are told, characters of an error, and of a list of runs.
MOST_CAUSES, LONGEST = 100, 2000


def write(place: Path, manifest: Manifest) -> None:
    """Write a campaign's report; it is there complete or not at all.  Raises OSError."""
    draft = place.with_name(f".{place.name}.new")
    try:
        draft.write_text(page(manifest), encoding="utf-8")
        os.replace(draft, place)
    finally:
        draft.unlink(missing_ok=True)


def page(manifest: Manifest) -> str:
    """Return the report as HTML."""
    title = f"{manifest.project} {manifest.config}: {manifest.headline}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width,initial-scale=1"),
        # Whatever a simulation has printed: nothing is executed, nothing is fetched.
        element("meta", http_equiv="Content-Security-Policy", content="default-src 'none';style-src 'unsafe-inline'"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    parts = (
        _summary(manifest),
        _failures(manifest),
        timeline(manifest),
        efficiency(manifest),
        run_times(manifest),
        _provenance(manifest),
        _runs(manifest),
    )
    body = element("body", element("main", *filter(None, parts)), _foot(manifest))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


# ---- what, when, who ---------------------------------------------------------------------------------------------


def _summary(manifest: Manifest) -> Markup:
    seconds = manifest.end - manifest.begin
    why = f" ({manifest.reason})" if manifest.reason else ""
    warnings = [element("li", warning) for warning in manifest.warnings]
    return together(
        element("h1", f"{manifest.project}, {manifest.config}"),
        element("p", f"{manifest.headline}{why}, in {duration(seconds)}", class_=f"state {_look(manifest.state)}"),
        facts(
            [
                ("Campaign", manifest.campaign),
                ("Submitted", _time(manifest.submitted)),
                ("Ended", _time(manifest.end)),
                ("By", manifest.user),
                ("Runs", f"{len(manifest.runs)}{f', of {manifest.run_filter}' if manifest.run_filter else ''}"),
                ("Done", str(len(manifest.done))),
                ("Failed", _failed(manifest)),
                ("Attempts", str(sum(len(entry.attempts) for entry in manifest.runs))),
            ]
        ),
        *([element("h2", "Warnings"), element("ul", *warnings)] if warnings else []),
    )


def _look(state: str) -> str:
    return state if state in ("done", "failed", "cancelled") else ""


def _time(seconds: float) -> Markup:
    """Return a moment, in the time of the machine that makes the report."""
    if seconds <= 0:
        return Markup("")
    try:
        moment = datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, ValueError, OSError):  # somebody has made another number of it
        return Markup("")
    return element("time", f"{moment:%Y-%m-%d %H:%M:%S %Z}", datetime=moment.isoformat(timespec="seconds"))


def _failed(manifest: Manifest) -> str:
    if not manifest.failed:
        return "0"
    return f"{len(manifest.failed)}, {count(len(causes.grouped(manifest.failed)), 'cause')}"


# ---- failures ----------------------------------------------------------------------------------------------------


def _failures(manifest: Manifest) -> Markup:
    if not manifest.failed:
        return Markup("")
    groups = causes.grouped(manifest.failed)
    told = [_cause(manifest, group) for group in groups[:MOST_CAUSES]]
    untold = groups[MOST_CAUSES:]
    if untold:
        runs = shortened(causes.ranges(run for group in untold for run in group.runs), LONGEST)
        told.append(element("p", f"… and {count(len(untold), 'other cause')}, of the runs {runs}"))
    heading = f"Failures: {len(manifest.failed)} failed, {count(len(groups), 'cause')}"
    return element("section", element("h2", heading), *told)


def _cause(manifest: Manifest, group: causes.Group[Entry]) -> Markup:
    first = group.shortest
    again = failures.commands(manifest.order, manifest.config, first.run, first.command)
    where = f" in {group.key.module}" if group.key.module else ""
    heading = f"{count(len(group.failures), 'run')}: {group.key.kind}{where}"
    log = element("a", "its log", href=f"logs/run-{first.run}.log") if first.kind != "lost" else Markup("")
    values = f" ({variables(first.variables)})" if first.variables else ""
    said = first.error.strip() or f"exit status {first.exit_status}"
    example = f"The shortest is run {first.run}{values}, which took {failures.took(first)}.  "
    commands = [again.again, *([again.by_hand] if again.by_hand else [])]
    place = "" if manifest.working_directory == "." else f", in {manifest.working_directory}"
    return element(
        "article",
        element("h3", heading),
        element("pre", element("code", shortened(said, LONGEST))),
        element("p", "Runs: ", shortened(causes.ranges(group.runs), LONGEST)),
        element("p", example, log),
        element("p", f"To do it again{place}; the program by hand where it is built:" if again.by_hand else "Again:"),
        element("pre", element("code", "\n".join(commands))),
        class_="cause",
    )


# ---- where it is from --------------------------------------------------------------------------------------------


def _provenance(manifest: Manifest) -> Markup:
    build = manifest.build
    switched = [f"+{name}" for name in build.features.enable] + [f"-{name}" for name in build.features.disable]
    limits = [f"{name} {_limit(value)}" for name, value in manifest.limits.items() if value]
    keys = {entry.build for entry in manifest.done if entry.build}
    several = f"{count(len(keys), 'program')} did the runs, as it was built anew: {', '.join(sorted(keys))}"
    runs = ["--runs", manifest.run_filter] if manifest.run_filter else []
    ordered = ["labfleet", "campaign", *manifest.order, *runs]
    told = facts(
        [
            ("Commit", _code(manifest.snapshot.commit)),
            ("Tree", _code(manifest.snapshot.tree)),
            ("Build key", _code(build.key)),
            ("Built", "for this campaign" if build.built else "was there already, or nothing is built"),
            ("Several builds", several if len(keys) > 1 else ""),
            ("Commands", together(*(element("div", _code(shlex.join(command))) for command in build.commands))),
            ("Features", " ".join(switched)),
            ("Mode", manifest.mode),
            ("OMNeT++", manifest.omnetpp),
            ("Tool chain", build.toolchain),
            ("Program", _code(shlex.join(manifest.program))),
            ("Arguments", _code(shlex.join(manifest.arguments))),
            ("Ini files", ", ".join(manifest.ini_files) or "omnetpp.ini"),
            ("NED path", "; ".join(manifest.ned_path)),
            ("Working folder", manifest.working_directory),
            ("Limits", ", ".join(limits)),
            ("Ordered by", _code(shlex.join(ordered)) if manifest.order else ""),
        ]
    )
    note = "Commit and tree are those of the snapshot: the working tree as it was, uncommitted edits included."
    section = [element("h2", "Provenance"), told, element("p", note, class_="dim")]
    if manifest.references:
        head = ["Project", "From", "Commit", "Build key"]
        rows = [[one.place, one.origin, one.commit[:12], one.key[:12]] for one in manifest.references]
        section.append(table("Projects that this one needs", head, rows))
    return element("section", *section, _machines(manifest))


def _code(text: str) -> Markup:
    return element("code", text) if text else Markup("")


def _limit(value: float) -> str:
    return f"{value:.15g}"


def _machines(manifest: Manifest) -> Markup:
    rows: list[list[str]] = []
    hosts = sorted({one.host for _, one in manifest.tries}, key=figures.in_order)
    for host in hosts:
        there = [one for _, one in manifest.tries if one.host == host]
        done = sum(one.kind == "done" for one in there)
        slots = len({one.slot for one in there})
        rows.append([host, str(slots), str(done), str(len(there) - done), duration(sum(one.seconds for one in there))])
    if not rows:
        return Markup("")
    head = ["Machine", "Slots", "Done", "Not done", "Busy"]
    return table("Machines that had runs", head, rows, numbers=frozenset({1, 2, 3, 4}))


# ---- the runs ----------------------------------------------------------------------------------------------------


def _runs(manifest: Manifest) -> Markup:
    if len(manifest.runs) > MOST_RUNS:
        said = f"There are {len(manifest.runs)}; campaign.json, beside this file, has each of them."
        return element("section", element("h2", "Runs"), element("p", said))
    rows = [_run(entry) for entry in manifest.runs]
    head = ["Run", "Variables", "State", "Time", "Where", "Log"]
    listed = table("All runs", head, rows, numbers=frozenset({0, 3}))
    unfolded = element("details", element("summary", count(len(rows), "run")), listed)
    return element("section", element("h2", "Runs"), unfolded)


def _run(entry: Entry) -> list[str]:
    has_log = entry.host and entry.kind not in ("lost", "not run")
    log = element("a", f"log of run {entry.run}", href=f"logs/run-{entry.run}.log") if has_log else Markup("")
    took = duration(entry.seconds) if entry.ended else ""
    where = f"{entry.host}/{entry.slot}" if entry.host else ""
    return [str(entry.run), variables(entry.variables), entry.kind, took, where, log]


def _foot(manifest: Manifest) -> Markup:
    said = f"Made by labfleet {manifest.labfleet} from campaign.json, beside this file."
    return element("footer", element("p", said, class_="dim"))
