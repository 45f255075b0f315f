"""The manifest: what was run, from which sources, and where each result came from; and what earlier ones tell."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from runner import __version__, paths, usage
from runner.messages import CampaignEnded
from runner.model import Campaign, Outcome, Past, Prepared, pretty
from runner.paths import HomePaths, LabPaths


class Execution(NamedTuple):
    """An execution of a run: of which campaign, and when it was over, in seconds since the epoch."""

    campaign: str
    ended: float


def text_of(
    campaign: Campaign,
    prepared: Prepared,
    outcomes: Mapping[int, Outcome],
    places: Mapping[int, Mapping[str, str]],
    warnings: Iterable[str],
    past: Iterable[Past] = (),
    end: CampaignEnded | None = None,
) -> str:
    """Return the manifest: what was run, from which sources, and where each result came from.  JSON.

    Paths are relative to the project's root, times seconds since the epoch.  ``past``: attempts that were made again.
    """
    earlier: dict[int, dict[int, Past]] = {}
    for attempt in past:
        earlier.setdefault(attempt.run, {})[attempt.number] = attempt
    runs = []
    for run in prepared.runs:
        entry: dict[str, object] = {"run": run.number, "variables": run.variables}
        if outcome := outcomes.get(run.number):
            home = places.get(run.number, {})
            entry |= {
                "kind": outcome.kind,
                "attempt": outcome.attempt,
                "build": outcome.key,
                "exit_status": outcome.exit_status,
                "error": outcome.error,
                "host": outcome.host,
                "slot": outcome.slot,
                "started": outcome.started,
                "ended": outcome.ended,
                "seed_set": outcome.seed_set,
                "command": outcome.command,
                "files": [
                    {"path": home.get(file.path, file.path), "size": file.size, "sha256": file.sha256}
                    for file in outcome.files
                ],
            }
        else:
            entry["kind"] = "not run"
        entry["attempts"] = _attempts(earlier.get(run.number, {}), outcome)
        runs.append(entry)
    is_done = all(run.number in outcomes and outcomes[run.number].kind == "done" for run in prepared.runs)
    return pretty(
        {
            "labfleet": __version__,
            "campaign": campaign.id,
            "project": campaign.name,
            "config": campaign.config,
            "run_filter": campaign.run_filter,
            "mode": campaign.mode,
            "working_directory": campaign.directory,
            "user": campaign.user,
            "submitted": campaign.submitted,
            "ended": end.time if end else 0.0,
            "order": campaign.order,
            "snapshot": {"commit": campaign.commit, "tree": campaign.tree},
            "build": {
                "key": prepared.key,
                "built": prepared.built,
                "commands": campaign.build.commands,
                "toolchain": prepared.toolchain,
                "features": {"enable": campaign.build.enable, "disable": campaign.build.disable},
            },
            "references": [
                {
                    "place": reference.place,
                    "origin": reference.origin,
                    "commit": reference.commit,
                    "tree": reference.tree,
                    "key": prepared.references.get(reference.place, ""),
                    "commands": reference.build.commands,
                    "features": {"enable": reference.build.enable, "disable": reference.build.disable},
                }
                for reference in campaign.references
            ],
            "program": prepared.program,
            "arguments": campaign.launch.arguments,
            "ini_files": campaign.launch.ini_files,
            "ned_path": campaign.launch.ned_path,
            "omnetpp": campaign.omnetpp or campaign.environment.get("OMNETPP_RELEASE", ""),
            "limits": msgspec.to_builtins(campaign.limits),
            "state": "cancelled" if end and end.cancelled else "done" if is_done else "failed",
            "reason": end.reason if end else "",
            "warnings": list(warnings),
            "runs": runs,
        }
    )


def _attempts(past: Mapping[int, Past], outcome: Outcome | None) -> list[dict[str, object]]:
    """Return all attempts at a run in their order; the last one is the one that counts, if there is one."""
    made: list[tuple[int, Past | Outcome]] = [
        (number, attempt) for number, attempt in sorted(past.items()) if outcome is None or number != outcome.attempt
    ]
    if outcome is not None:
        made.append((outcome.attempt, outcome))
    return [
        {
            "attempt": number,
            "kind": attempt.kind,
            "host": attempt.host,
            "slot": attempt.slot,
            "started": attempt.started,
            "ended": attempt.ended,
            "error": attempt.error,
        }
        for number, attempt in made
    ]


def came_home(home: HomePaths) -> dict[tuple[int, int], list[str]]:
    """Return what a campaign's manifest says of its runs that came home: run and attempt → paths of their files.

    A campaign that is resumed brings home only what is new.
    """
    try:
        runs = json.loads(home.manifest.read_bytes())["runs"]
        return {
            (run["run"], run["attempt"]): [file["path"] for file in run["files"]] for run in runs if "attempt" in run
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}  # there is none, or the person has made another file of it


def executions(manifest: Path, submitted: float) -> dict[str, Execution]:
    """Return the results that came home from a campaign, by their paths; none if it was not submitted after a time.

    Paths are relative to the project's root, times seconds since the epoch.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):  # the person has made another file of it
        told = json.loads(manifest.read_bytes())
        if told["submitted"] > submitted:
            return {
                file["path"]: Execution(told["campaign"], run["ended"])
                for run in told["runs"]
                if run["kind"] == "done"
                for file in run["files"]
            }
    return {}


def write(home: HomePaths, text: str) -> Path:
    """Put the manifest into the campaign's folder; beside the results, link the one of the campaign that ended last.

    Return the place by which a person finds this one.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    lock = LabPaths(paths.home()).linking(home.results)
    with usage.held(lock):
        half = home.manifest.with_suffix(".new")
        half.write_text(text)
        os.replace(half, home.manifest)
        place = _linked(home)
        lock.unlink()
    return place


def _linked(home: HomePaths) -> Path:
    if _ended(home.latest) > _ended(home.manifest):
        return home.manifest
    link = home.latest.with_name(f".{home.latest.name}.new")
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(home.manifest, home.results))
    os.replace(link, home.latest)
    return home.latest


def _ended(manifest: Path) -> float:
    """Return when a manifest's campaign ended; 0: there is none, or it does not say so."""
    try:
        return float(json.loads(manifest.read_bytes())["ended"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
