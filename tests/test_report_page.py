"""A campaign's report: one file that needs nothing else, says everything, and bears whatever a simulation prints."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from runner.errors import WrongUse
from runner.paths import HomePaths, report_of
from runner.report import figures, manifest, page
from runner.report.manifest import Manifest
from runner.report.timeline import MOST_ATTEMPTS, MOST_MACHINES, PIECES, Timeline

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x' \x1b[2J\u202e\x00&amp;\ud800"

#: Elements without an end.
VOID = {"meta", "br"}


def attempt(kind: str, slot: str, begin: float, seconds: float, host: str = "red", error: str = "") -> dict[str, Any]:
    times = {"started": 1000.0 + begin, "ended": 1000.0 + begin + seconds}
    return {"attempt": 1, "kind": kind, "host": host, "slot": slot, "error": error, **times}


def run(number: int, *attempts: dict[str, Any], variables: dict[str, str] | None = None) -> dict[str, Any]:
    last = attempts[-1] if attempts else {"kind": "not run"}
    command = ["./aloha", "-c", "General", "-s", "-u", "Cmdenv", "--cmdenv-redirect-output=true", "-r", str(number)]
    own = {"run": number, "variables": variables or {"n": str(number), "repetition": "0"}, "command": command}
    return {**last, **own, "attempts": list(attempts)}


def told(*runs: dict[str, Any], **more: Any) -> Manifest:
    value = {
        "campaign": "c7",
        "project": "aloha",
        "config": "General",
        "user": "anna",
        "submitted": 1000.0,
        "ended": 1021.0,
        "order": ["--config", "General"],
        "snapshot": {"commit": "c0ffee", "tree": "7ree"},
        "build": {"key": "k3y", "built": True, "commands": [["make", "MODE=release"]], "toolchain": "g++ 12.2.0"},
        "program": ["./aloha"],
        "omnetpp": "omnetpp-6.2",
        "state": "failed",
        "runs": list(runs),
        **more,
    }
    return manifest.read(json.dumps(value))


#: Two slots: from 10 to 20 s one is busy all the time, the other half of it, a fifth with what came to nothing.
TWO_SLOTS = (
    run(0, attempt("done", "slot1", 10, 10), variables={"n": "5", "repetition": "0"}),
    run(
        1,
        attempt("lost", "slot2", 10, 1, error="nothing heard"),
        attempt("done", "slot2", 11, 3),
        variables={"n": "15", "repetition": "0"},
    ),
    run(2, attempt("error", "slot2", 19, 1, error="no gate 7 -- in module (M) N.a[3] (id=3), at t=1s, event #3")),
    run(3),
)


class Reader(HTMLParser):
    """Reads a page as a program for people who do not see does, and complains where it is not well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        #: Texts by the element in which they stand.
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str = "main") -> str:
        return " ".join(" ".join(self.texts.get(tag, [])).split())


def test_a_report_says_what_was_run_and_what_came_of_it() -> None:
    # Given a campaign, when its report is read
    found = Reader(page.page(told(*TWO_SLOTS, warnings=["careful"])))
    # Then it has the summary,
    assert found.text("title").startswith("aloha General: 2 of 4 runs done, 1 failed")
    for words in ("2 of 4 runs done, 1 failed, in 21 s", "By anna", "careful"):
        assert words in found.text()
    # the failures by cause, with the commands that do the shortest again, and its log,
    assert "Failures: 1 failed, 1 cause" in found.text("h2")
    assert "1 run: error in N.a[*]" in found.text("h3")
    assert "labfleet campaign --config General --runs 2 ./aloha -c General -u Cmdenv -r 2" in found.text("pre")
    assert "logs/run-2.log" in [link["href"] for link in found.all("a")]
    # where all is from,
    for words in ("c0ffee", "7ree", "k3y", "make MODE=release", "g++ 12.2.0", "omnetpp-6.2", "omnetpp.ini"):
        assert words in found.text()
    # and every run
    assert found.text("td").count("not run") == 1


def test_a_report_needs_nothing_from_outside_and_executes_nothing() -> None:
    # Given a report, when its elements are looked at
    found = Reader(page.page(told(*TWO_SLOTS)))
    # Then nothing is loaded or executed, and links lead to files beside it
    assert not found.all("script")
    assert not found.all("link")
    assert not found.all("img")
    assert not found.all("iframe")
    assert all(re.fullmatch(r"logs/run-\d+\.log", link["href"] or "") for link in found.all("a"))
    assert not any(name.startswith("on") or name == "src" for _, given in found.elements for name in given)
    assert "url(" not in found.text("style")
    assert "@import" not in found.text("style")
    assert any((given.get("content") or "").startswith("default-src 'none'") for given in found.all("meta"))


def test_a_report_can_be_read_by_those_who_do_not_see() -> None:
    # Given a report, when it is read
    found = Reader(page.page(told(*TWO_SLOTS)))
    # Then it has a language and one main heading; each table its caption, headings and a name; each picture its words
    assert found.all("html")[0]["lang"] == "en"
    assert len(found.all("h1")) == 1
    tables = len(found.all("table"))
    assert tables >= 4
    assert len(found.all("caption")) == tables
    assert {given["scope"] for given in found.all("th")} == {"col", "row"}
    assert len(found.all("svg")) == len([given for given in found.all("svg") if given["role"] and given["aria-label"]])
    assert len(found.all("title")) > len(found.all("svg"))
    assert all(given["tabindex"] == "0" for given in found.all("div") if given.get("role") == "region")


def test_whatever_is_in_a_manifest_is_text() -> None:
    # Given a manifest in which each text is made to break out
    def hostile(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: hostile(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [hostile(inner) for inner in value]
        return (
            value + HOSTILE if isinstance(value, str) and value not in ("done", "error", "lost", "not run") else value
        )

    whole = json.loads(json.dumps(TWO_SLOTS))
    for one in whole:
        one["variables"] = {f"n{HOSTILE}": "1" + HOSTILE + str(one["run"]), "m": "2"}
    plain = told(*TWO_SLOTS, references=[{"place": "inet", "origin": "../inet"}], warnings=["w"], reason="r")
    fields = {name: json.loads(json.dumps(getattr(plain, name))) for name in ("user", "order", "program", "warnings")}
    found_in = told(*hostile(whole), **hostile(fields), reason=HOSTILE, build={"toolchain": HOSTILE}, config=HOSTILE)
    # When its report is made
    text = page.page(found_in)
    # Then it has the elements that a harmless one has, and no others
    found = Reader(text)
    assert {tag for tag, _ in found.elements} <= {tag for tag, _ in Reader(page.page(plain)).elements}
    assert not any(name.startswith("on") for _, given in found.elements for name in given)
    # And nothing in it is more than a sign: neither control characters nor what turns text around
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)
    text.encode()


def test_the_slots_time_adds_up() -> None:
    # Given two slots: 10 s before the first run, 10 s of runs, 1 s after them, when the time is shared out
    found = figures.efficiency(told(*TWO_SLOTS))
    # Then each second of each slot went somewhere
    assert found == figures.Efficiency(2, preparing=20.0, done=13.0, failed=2.0, idle=5.0, pauses=0.0, closing=2.0)
    assert found.total == 2 * 21


def test_a_pause_is_no_time_in_which_slots_waited_for_others() -> None:
    # Given a campaign of two slots that was resumed an hour after its first runs were over
    first = [run(0, attempt("done", "slot1", 10, 5.0)), run(1, attempt("done", "slot2", 10, 3.0))]
    found = figures.efficiency(told(*first, run(2, attempt("done", "slot1", 3615, 4.0))))
    # Then that hour is told as such, and a slot waits only while the other one works
    assert (found.pauses, found.idle) == (2 * 3600.0, 2.0 + 4.0)


def test_run_times_are_told_by_variable() -> None:
    # Given runs of two values of a variable, of several repetitions
    runs = [
        run(i, attempt("done", "slot1", 10 * i, float(seconds)), variables={"n": n, "k": "1", "repetition": str(i % 4)})
        for i, (n, seconds) in enumerate([*(("15", s) for s in (1, 2, 3, 9)), *(("5", s) for s in (4, 4, 4, 4))])
    ]
    # When run times are asked for
    (variable,) = figures.variables(told(*runs))
    # Then it has its values in order, with median and spread; what has one value, and repetitions, are not told
    assert variable.name == "n"
    assert variable.spreads == [
        figures.Spread("5", 4, 4.0, 4.0, 4.0, 4.0, 4.0),
        figures.Spread("15", 4, 1.0, 1.75, 2.5, 4.5, 9.0),
    ]


def test_many_values_are_put_together_and_none_is_lost() -> None:
    # Given a variable of 97 numbers, and one of 97 words
    runs = [
        run(i, attempt("done", "slot1", i, 1.0), variables={"x": f"{i / 97:.4f}", "name": f"w{i}"}) for i in range(97)
    ]
    # When run times are asked for
    numbers, words = figures.variables(told(*runs))
    # Then numbers are told as ranges, and of words some, with the number of others
    assert len(numbers.spreads) == figures.RANGES
    assert sum(one.runs for one in numbers.spreads) == 97
    assert numbers.spreads[0].value.startswith("0.0000 … 0.07")
    assert [one.value for one in words.spreads[:3]] == ["w0", "w1", "w2"]
    assert len(words.spreads) + words.untold == 97


def test_the_timeline_has_a_row_for_each_slot_and_a_piece_for_each_attempt() -> None:
    # Given a campaign of two slots, when its timeline is drawn
    drawn = Timeline(told(*TWO_SLOTS))
    # Then what happened stands where it happened, and what is not done is told in words and by its height
    assert list(drawn.rows) == ["red/slot1", "red/slot2"]
    found = Reader(drawn.picture("red/slot2"))
    assert [(given["class"], given["height"]) for given in found.all("rect")] == [
        ("failed", "20"),
        ("done", "12"),
        ("failed", "20"),
    ]
    assert [round(float(given["x"] or 0) * 21 / 1000) for given in found.all("rect")] == [10, 11, 19]
    assert "run 1: lost, 1.0 s, from 10 s" in found.text("title")


def test_ten_thousand_runs_on_two_hundred_machines_make_a_small_file() -> None:
    # Given such a campaign, half of whose runs fail for as many causes as it can be
    runs = []
    for i in range(10_000):
        kind = "done" if i % 2 else "error"
        error = f"no gate {'x' * (i % 500)} {HOSTILE * 20}"
        slot = attempt(kind, f"slot{i % 4}", i // 800, 0.9, f"w{i // 4 % 200}", "" if i % 2 else error)
        runs.append(run(i, slot, variables={"a": str(i), "b": f"v{i}" * 20, "repetition": "0"}))
    # When its report is made
    whole = told(*runs)
    text = page.page(whole)
    # Then it is no burden for a browser, and says what is left out
    assert len(text.encode()) < 3_000_000
    found = Reader(text)
    assert "There are 10000" in found.text()
    assert "other causes, of the runs" in found.text()
    # and its timeline has a row for each machine
    drawn = Timeline(whole)
    assert not drawn.is_single
    assert drawn.by_machine
    assert len(drawn.rows) == MOST_MACHINES


def test_a_shaded_row_is_dark_where_its_slots_were_busy() -> None:
    # Given a slot that was busy in the first half of the time, with one failure at its end
    half = [run(i, attempt("done", "slot1", i * 0.01, 0.01)) for i in range(MOST_ATTEMPTS)]
    last = run(99_999, attempt("error", "slot1", MOST_ATTEMPTS * 0.02, 0.001))
    # When its row is drawn
    drawn = Timeline(told(*half, last, ended=1000 + MOST_ATTEMPTS * 0.02))
    found = Reader(drawn.picture("red/slot1"))
    # Then that half is one dark piece, and the failure has its mark
    assert [given["class"] for given in found.all("path")][-2:] == ["done s4", "failed"]
    dark, mark = (given["d"] or "" for given in found.all("path")[-2:])
    assert dark.startswith("M0 4h")
    assert float(mark[1:].partition(" ")[0]) > 990
    assert abs(float(dark[5:].partition("v")[0]) - 500) <= 2 * 1000 / PIECES


def test_a_report_is_made_from_a_manifest_that_says_little() -> None:
    # Given what each manifest has, when its report is made, then there is one; also where nothing has run
    assert "0 of 1 run done" in page.page(
        manifest.read('{"campaign": "c", "project": "p", "config": "General", "runs": [{"run": 0, "kind": "not run"}]}')
    )


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    # Given files that are none, when they are read, then that is said
    for text in ("[]", "", "{", '{"campaign": 3}'):
        (tmp_path / "campaign.json").write_text(text)
        with pytest.raises(WrongUse, match="is no manifest"):
            manifest.load(tmp_path / "campaign.json")
    with pytest.raises(WrongUse, match="there is no manifest"):
        manifest.load(tmp_path / "nothing.json")


def test_a_report_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a report that is there, when a new one cannot be written whole
    paths = HomePaths(tmp_path, "c7")
    paths.root.mkdir(parents=True)
    page.write(paths.report, told(*TWO_SLOTS))
    before = paths.report.read_text()

    def full(file: Path, text: str, encoding: str) -> int:
        file.write_bytes(text[:100].encode(encoding))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        page.write(paths.report, told())
    # Then the old one is still there, and nothing else
    assert [file.name for file in paths.root.iterdir()] == [report_of(paths.manifest).name]
    assert paths.report.read_text() == before
