"""Which result stays when several campaigns have done the same run."""

import json
import time
from pathlib import Path

import pytest

from runner.manifest import Execution
from runner.notes import Arrival, Note, Notes
from runner.paths import HomePaths, LabPaths
from runner.precedence import LaterResults


@pytest.mark.parametrize(
    "later",
    ["20261025-025959-1a2b", "20261025-020000-ffff", "20261025-025959-ffff", "20261026-080000-0000"],
    ids=["in_the_same_second", "when_the_clock_had_gone_back", "by_a_greater_id", "on_the_next_day"],
)
def test_what_was_submitted_later_is_known_whatever_its_id(tmp_path: Path, later: str) -> None:
    # Given manifests of a campaign, of one that was submitted a tenth of a second later, and of one before both
    first, then = "20261025-025959-9f00", time.mktime((2026, 10, 25, 2, 59, 59, 0, 0, -1))
    for number, (name, submitted) in enumerate({"20261025-025959-aaaa": -0.1, first: 0.0, later: 0.1}.items()):
        run = {"run": 0, "kind": "done", "ended": then + number, "files": [{"path": "results/a.sca"}]}
        place = HomePaths(tmp_path, name).manifest
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps({"campaign": name, "submitted": then + submitted, "runs": [run]}))
    # When the first one comes home, then the later one's result is known to be later, and no other
    found = LaterResults(HomePaths(tmp_path, first), tmp_path, then, Notes(LabPaths(tmp_path))).look()
    assert found == {"results/a.sca": Execution(later, then + 2)}


def test_the_results_of_campaigns_that_are_not_over_are_known(tmp_path: Path) -> None:
    # Given a campaign, and others that are under way or were left: of before and after it, and of another project
    root, elsewhere, notes = tmp_path / "aloha", tmp_path / "other", Notes(LabPaths(tmp_path / "home"))
    for name, place, submitted in (("before", root, 1.0), ("after", root, 3.0), ("other", elsewhere, 4.0)):
        notes.write(Note(name, "", str(place), ".", "aloha", "General", submitted))
        arrived = notes.arrival_list(name)
        arrived.append(Arrival(0, 1, {"results/a.sca": "results/a.sca"}, ended=submitted + 5))
    later = LaterResults(HomePaths(root / "results", "this"), root, 2.0, notes)
    # When it comes home, then what has come of a later one is known
    assert later.look() == {"results/a.sca": Execution("after", 8.0)}
    # … and what comes meanwhile, of another run and in another attempt
    notes.arrival_list("after").append(Arrival(1, 1, {"results/b.sca": "results/b.sca"}, ended=9.0))
    notes.arrival_list("after").append(Arrival(0, 2, {"results/a.sca": "results/a.sca"}, ended=10.0))
    assert later.look() == {"results/a.sca": Execution("after", 10.0), "results/b.sca": Execution("after", 9.0)}
    # … as well as when that one is over
    place = HomePaths(root / "results", "99991231-000000-ffff").manifest
    place.parent.mkdir(parents=True)
    run = {"run": 0, "kind": "done", "ended": 10.0, "files": [{"path": "results/a.sca"}]}
    place.write_text(json.dumps({"campaign": "after", "submitted": 3.0, "runs": [run]}))
    notes.lay_aside("after")
    assert later.look() == {"results/a.sca": Execution("after", 10.0)}
    # … and was resumed
    place.write_text(json.dumps({"campaign": "after", "submitted": 3.0, "runs": [run | {"ended": 200.0}]}))
    assert later.look() == {"results/a.sca": Execution("after", 200.0)}
