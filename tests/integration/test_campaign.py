"""Campaigns on a local lab, from the command line to the results: every part is the real one."""

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from runner import usage
from runner.homecoming import ANOTHER_CAMPAIGN
from runner.notes import Arrival, Note, Notes
from runner.paths import LabPaths
from tests.lab_fixture import LocalLab, manifest, names, wait_for

GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]


# ---- what is done ----------------------------------------------------------------------------------------------


def test_every_run_leaves_its_files_and_the_manifest_says_where_they_come_from(lab: LocalLab, aloha: Path) -> None:
    # Given a project outside of git; when one of its configurations is run
    said = lab("campaign", "--config", "Quick", cwd=aloha)

    # Then there is one scalar file per run, under the name that the program gave it
    assert said.status == 0, said.stderr
    assert len(names(aloha / "results", "Quick-*.sca")) == 12
    assert "12 of 12 runs done" in said.stdout
    # and the manifest agrees with the files, byte for byte
    told = manifest(aloha)
    assert [run["run"] for run in told["runs"]] == list(range(12))
    for run in told["runs"]:
        assert run["kind"] == "done"
        assert run["seed_set"] == str(run["run"])
        assert run["started"] < run["ended"]
        assert {Path(file["path"]).suffix for file in run["files"]} == {".sca", ".vec", ".vci", ".out"}
        for file in run["files"]:
            data = (aloha / file["path"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"])
    assert len(told["snapshot"]["commit"]) == 40
    assert told["build"]["key"]


def test_a_failed_run_is_told_apart_and_the_others_are_done(lab: LocalLab, aloha: Path) -> None:
    # When one run of 24 ends with an error
    said = lab("campaign", "--config", "OneFails", cwd=aloha)

    # Then the campaign's exit status says so, and the summary has the error and the path of the log
    assert said.status == 1
    assert "23 of 24 runs done, 1 failed" in said.stdout
    assert "Channel overloaded" in said.stdout
    failed = next(run for run in manifest(aloha)["runs"] if run["kind"] != "done")
    assert failed["kind"] == "error"
    log = next(Path(line.split("log:")[1].strip()) for line in said.stdout.splitlines() if "log:" in line)
    assert "<!> Error: Channel overloaded" in log.read_text()
    # and what it left is not among the results
    assert len(names(aloha / "results", "OneFails-*.sca")) == 23
    assert len(names(aloha / "results", "OneFails-*.vec")) == 23
    kept = [aloha / file["path"] for file in failed["files"]]
    assert kept
    assert all(path.exists() and path.suffix == ".partial" for path in kept)


def test_untracked_and_uncommitted_files_are_part_of_what_runs(lab: LocalLab, aloha: Path) -> None:
    # Given a repository with an edit and a file that git does not know
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "model"]):
        subprocess.run([*GIT, *words], cwd=aloha, check=True)
    ini = (aloha / "omnetpp.ini").read_text()
    (aloha / "extra.ini").write_text(ini + "\n[Config Extra]\nsim-time-limit = 77s\n")

    # When the configuration of the unknown file is run
    said = lab("campaign", "--config", "Extra", "--ini", "extra.ini", "--runs", "0", cwd=aloha)

    # Then it is what ran
    assert said.status == 0, said.stderr
    (scalars,) = (aloha / "results").glob("Extra-*.sca")
    assert "config sim-time-limit 77s" in scalars.read_text()


def test_a_filter_selects_the_runs_that_the_program_says(lab: LocalLab, aloha: Path) -> None:
    # When a filter in OMNeT++'s syntax is given
    said = lab("campaign", "--config", "Quick", "--runs", "$numHosts>10 && $iaMean<3", "--json", cwd=aloha)

    # Then exactly these runs are done, and the result is one object on stdout
    assert said.status == 0, said.stderr
    told = said.result
    assert [run["run"] for run in told["runs"]] == [4, 8]
    assert (told["done"], told["failed"], told["exit_code"]) == (2, 0, 0)


def test_a_dry_run_lists_the_runs_and_does_none(lab: LocalLab, aloha: Path) -> None:
    # When runs are only to be listed
    said = lab("campaign", "--config", "Quick", "--runs", "3,5", "--dry-run", cwd=aloha)

    # Then their iteration variables are shown, and nothing is left behind
    assert said.status == 0, said.stderr
    assert "iaMean=5" in said.stdout
    assert "2 runs" in said.stdout
    assert not (aloha / "results").exists()
    # … not in the lab either, when there are none to be listed; programs are told why
    refused = lab("campaign", "--config", "Nosuch", "--dry-run", "--json", cwd=aloha)
    assert refused.status == refused.result["exit_code"] == 2
    assert refused.result["error"] == "there is no configuration Nosuch in omnetpp.ini"
    assert "Nosuch" not in lab("campaigns", cwd=aloha).stdout


def results_of(project: Path) -> set[str]:
    """Return what stands in a project's results, each once."""
    return {file.read_text().strip() for file in (project / "results").glob("*.sca")}


def test_who_comes_back_to_an_older_campaign_keeps_the_newer_one_s_results(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign that nobody has brought home, and a later one of the same runs, which is at home
    (scripted / "do.sh").write_text("echo first > $STEM.sca\n")
    first = lab("campaign", "--detach", cwd=scripted).stdout.strip()
    wait_for(lambda: lab("explain", first, cwd=scripted).stdout.startswith("The campaign has ended"), "its end")
    (scripted / "do.sh").write_text("echo second > $STEM.sca\n")
    assert lab("campaign", cwd=scripted).status == 0
    second = manifest(scripted)["campaign"]
    # When somebody comes back to the older one
    said = lab("attach", first, cwd=scripted)
    # Then the newer results stay, with their manifest, and the older ones are kept apart, which is said
    assert said.status == 0
    assert results_of(scripted) == {"second"}
    assert manifest(scripted)["campaign"] == second
    assert "General-x=0-#0.sca is of a later execution: that of this campaign is kept under its run" in said.stdout
    own = scripted / "results/labfleet" / first
    assert (own / "same-name/run-0/results/General-x=0-#0.sca").read_text() == "first\n"
    assert f"manifest: {own}/campaign.json" in said.stdout
    # … also when everything is at home, in whatever order
    for campaign in (second, first, second):
        assert lab("attach", campaign, cwd=scripted).status == 0
        assert (results_of(scripted), manifest(scripted)["campaign"]) == ({"second"}, second)


def test_who_comes_back_to_an_older_campaign_keeps_what_a_newer_one_has_brought_so_far(
    lab: LocalLab, scripted: Path
) -> None:
    # Given a campaign that nobody has brought home, and a later one of which one run is at home, and another goes on
    (scripted / "do.sh").write_text("echo first > $STEM.sca\n")
    first = lab("campaign", "--detach", "--runs", "0,1", cwd=scripted).stdout.strip()
    wait_for(lambda: lab("explain", first, cwd=scripted).stdout.startswith("The campaign has ended"), "its end")
    gate, newer = scripted.parent / "gate", scripted / "results" / "General-x=0-#0.sca"
    (scripted / "do.sh").write_text(
        f"echo second > $STEM.sca; [ $RUN = 0 ] || while [ ! -e {gate} ]; do sleep 0.05; done\n"
    )
    with lab.start("campaign", "--runs", "0,1", cwd=scripted) as client:
        wait_for(newer.exists, "a run of the later one is at home")
        # When somebody comes back to the older one
        said = lab("attach", first, cwd=scripted)
        # Then what is newer stays
        assert "General-x=0-#0.sca is of a later execution: that of this campaign is kept under its run" in said.stdout
        assert results_of(scripted) == {"first", "second"}
        assert newer.read_text() == "second\n"
        # … and replaces the rest when it comes
        gate.touch()
        assert client.wait(60) == 0
    assert results_of(scripted) == {"second"}


def test_what_comes_home_at_the_same_moment_is_known(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign that is about to come home while a later one puts its results there
    first = lab("campaign", "--detach", "--runs", "0", cwd=scripted).stdout.strip()
    wait_for(lambda: lab("explain", first, cwd=scripted).stdout.startswith("The campaign has ended"), "its end")
    results, name = scripted / "results", "results/General-x=0-#0.sca"
    notes = Notes(LabPaths(lab.home))
    with usage.held(LabPaths(lab.home).placing(results)):
        client = lab.start("attach", first, cwd=scripted)
        assert client.stderr
        assert any(ANOTHER_CAMPAIGN in line for line in client.stderr), "it does not wait"
        results.mkdir(exist_ok=True)
        (scripted / name).write_text("second\n")
        notes.write(Note("second", "", str(scripted), ".", "scripted", "General", time.time()))
        notes.arrival_list("second").append(Arrival(0, 1, {name: name}, ended=time.time()))
    # When it has its turn, then it replaces nothing that is newer
    with client:
        said = client.communicate(timeout=60)[0]
    notes.forget("second")
    assert f"{name} is of a later execution" in said
    assert (scripted / name).read_text() == "second\n"


def test_who_comes_back_to_a_campaign_whose_results_were_replaced_is_told(lab: LocalLab, scripted: Path) -> None:
    # Given two campaigns of the same runs, one after the other
    (scripted / "do.sh").write_text("echo first > $STEM.sca\n")
    assert lab("campaign", cwd=scripted).status == 0
    first = manifest(scripted)["campaign"]
    (scripted / "do.sh").write_text("echo second > $STEM.sca\n")
    assert lab("campaign", cwd=scripted).status == 0
    second = manifest(scripted)["campaign"]
    # When somebody comes back to the first one, then it is said whose the results are
    said = lab("attach", first, cwd=scripted)
    assert f"results/General-x=0-#0.sca is campaign {second}'s by now" in said.stdout
    assert (results_of(scripted), manifest(scripted)["campaign"]) == ({"second"}, second)
    # … but what is done again later replaces them
    (scripted / "do.sh").write_text("echo third > $STEM.sca\n")
    assert lab("campaign", "--runs", "0", cwd=scripted).status == 0
    assert results_of(scripted) == {"second", "third"}


def test_jobs_limits_how_many_runs_are_under_way_at_once(lab: LocalLab, scripted: Path) -> None:
    # Given runs that record when they are under way
    (scripted / "do.sh").write_text("date +%s%N > $STEM.sca; sleep 0.2; date +%s%N >> $STEM.sca\n")

    # When only one may be at a time
    said = lab("campaign", "--jobs", "1", cwd=scripted)

    # Then no two overlap
    assert said.status == 0, said.stderr
    spans = sorted(tuple(map(int, file.read_text().split())) for file in (scripted / "results").glob("*.sca"))
    assert len(spans) == 4
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans))


def test_the_example_runs_in_debug_mode_too(lab: LocalLab, aloha: Path) -> None:
    # When one run of the example is done in debug mode, then it is the program of that mode which does it
    said = lab("campaign", "--mode", "debug", "--runs", "0", cwd=aloha)
    assert said.status == 0, said.stderr
    assert manifest(aloha)["program"] == ["./aloha_dbg"]


def test_runall_does_what_its_model_does(lab: LocalLab, aloha: Path) -> None:
    # When opp_runall's command line is given
    said = lab(
        "runall", "-j", "2", "-b", "3", "./aloha", "-c", "Quick", "-r", "0..5", "--Aloha.slotTime=100ms", cwd=aloha
    )

    # Then the named program is built, since its sources are there, and does the runs with the further options
    assert said.status == 0, said.stderr
    scalars = sorted((aloha / "results").glob("Quick-*.sca"))
    assert len(scalars) == 6
    assert all("config Aloha.slotTime 100ms" in file.read_text() for file in scalars)


def test_runall_exports_a_makefile_that_needs_no_lab(lab: LocalLab, scripted: Path) -> None:
    # When the makefile is exported instead
    said = lab("runall", "-e", "-b", "2", "./simulate", "-c", "General", cwd=scripted)

    # Then make alone does the runs
    assert said.status == 0, said.stderr
    assert not (scripted / "results").exists()
    subprocess.run(["make", "-s", "-f", "Runfile", "-j2"], cwd=scripted, check=True, stdout=subprocess.DEVNULL)
    assert len(names(scripted / "results", "*.sca")) == 4


# ---- results at home -------------------------------------------------------------------------------------------


def test_results_of_other_runs_stay_and_those_of_the_same_run_are_replaced(lab: LocalLab, scripted: Path) -> None:
    # Given results of all runs, and a stranger's file
    assert lab("campaign", cwd=scripted).status == 0
    (scripted / "results" / "notes.txt").write_text("mine")
    (scripted / "do.sh").write_text('echo "second $RUN" > $STEM.sca\n')

    # When two of the runs are done again
    assert lab("campaign", "--runs", "1,2", cwd=scripted).status == 0

    # Then only their files are new, and both campaigns have their manifest
    contents = [(scripted / "results" / f"General-x={run}-#0.sca").read_text() for run in range(4)]
    assert contents == ["run 0\n", "second 1\n", "second 2\n", "run 3\n"]
    assert (scripted / "results" / "notes.txt").read_text() == "mine"
    assert len(list((scripted / "results" / "labfleet").glob("*/campaign.json"))) == 2


def test_a_run_that_fails_does_not_destroy_what_was_there(lab: LocalLab, scripted: Path) -> None:
    # Given good results
    assert lab("campaign", cwd=scripted).status == 0
    (scripted / "do.sh").write_text("echo half > $STEM.sca; [ $RUN != 2 ]\n")

    # When a run fails the next time
    assert lab("campaign", cwd=scripted).status == 1

    # Then its old file is as it was
    assert (scripted / "results" / "General-x=2-#0.sca").read_text() == "run 2\n"
    assert (scripted / "results" / "General-x=1-#0.sca").read_text() == "half\n"


def test_two_runs_that_write_the_same_file_are_both_kept(lab: LocalLab, scripted: Path) -> None:
    # Given runs that do not care about each other's files
    (scripted / "do.sh").write_text("echo $RUN > results/all.sca\n")

    # When they are run
    said = lab("campaign", "--runs", "0,3", cwd=scripted)

    # Then each one's file is there, under its run, and a warning says so
    assert said.status == 0, said.stderr
    assert "both wrote results/all.sca" in said.stdout + said.stderr
    told = {run["run"]: (scripted / run["files"][0]["path"]).read_text() for run in manifest(scripted)["runs"]}
    kept = {path.read_text() for path in (scripted / "results").rglob("all.sca")}
    assert kept == {"0\n", "3\n"}
    assert set(told) == {0, 3}


def test_nothing_that_a_run_does_changes_the_project(lab: LocalLab, scripted: Path) -> None:
    # Given runs that write to a file of the project
    (scripted / "input.txt").write_text("as it was\n")
    (scripted / "do.sh").write_text("echo run $RUN >> input.txt; cat input.txt > $STEM.sca\n")

    # When they are run
    said = lab("campaign", cwd=scripted)

    # Then each run saw the project's own file, and that is still as it was
    assert said.status == 0, said.stderr
    assert (scripted / "input.txt").read_text() == "as it was\n"
    for run in range(4):
        assert (scripted / "results" / f"General-x={run}-#0.sca").read_text() == f"as it was\nrun {run}\n"


def test_the_users_repository_is_as_before(lab: LocalLab, scripted: Path) -> None:
    # Given a repository with staged, unstaged and unknown changes
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "model"]):
        subprocess.run([*GIT, *words], cwd=scripted, check=True)
    (scripted / "staged.ini").write_text("[General]\n")
    subprocess.run([*GIT, "add", "staged.ini"], cwd=scripted, check=True)
    (scripted / "omnetpp.ini").write_text("[General]\nnetwork = Other\n")
    (scripted / ".git" / "info" / "exclude").write_text("results/\n")

    def state() -> tuple[bytes, ...]:
        questions = (["status", "--porcelain"], ["count-objects", "-v"], ["for-each-ref"], ["symbolic-ref", "HEAD"])
        told = [
            subprocess.run([*GIT, *words], cwd=scripted, check=True, capture_output=True).stdout for words in questions
        ]
        return (*told, (scripted / ".git" / "index").read_bytes())

    before = state()

    # When a campaign is run
    assert lab("campaign", cwd=scripted).status == 0

    # Then nothing of it has changed
    assert state() == before


# ---- logs ------------------------------------------------------------------------------------------------------


def test_console_output_arrives_while_the_run_runs_every_line_once_and_in_order(lab: LocalLab, scripted: Path) -> None:
    # Given a run that prints, and then waits until somebody has seen it
    seen = scripted.parent / "seen"
    (scripted / "do.sh").write_text(
        f"seq -f 'line %.0f' 100000; while [ ! -e {seen} ]; do sleep 0.05; done; echo last\n"
    )

    # When somebody watches
    lines = []
    with lab.start("campaign", "--runs", "1", "--verbose", cwd=scripted) as client:
        assert client.stdout
        for line in client.stdout:
            lines.append(line.removeprefix("General #1 | ").rstrip("\n"))
            if lines[-1] == "line 100000":
                seen.touch()  # Then the output is there before the run ends,
    assert client.returncode == 0

    # and complete: each line once, in order
    assert [line for line in lines if line.startswith("line ")] == [f"line {n}" for n in range(1, 100001)]
    assert "last" in lines
    # and the log is kept as a file
    (log,) = (scripted / "results" / "labfleet").glob("*/logs/run-1.log")
    assert log.read_text().count("\n") == 100002


# ---- builds ----------------------------------------------------------------------------------------------------

_MAKEFILE = "TARGET = model\n$(TARGET): main.o part.o\n\tg++ -o $@ $^\n%.o: %.cc\n\tg++ -c $<\n"


@pytest.fixture
def compiled(scripted: Path) -> Path:
    """A project of two source files whose program does what the script does."""
    (scripted / "labfleet.toml").unlink()
    (scripted / "Makefile").write_text(_MAKEFILE)
    (scripted / "part.cc").write_text('const char *program() { return "./simulate"; }\n')
    (scripted / "main.cc").write_text(
        "#include <unistd.h>\nconst char *program();\nint main(int, char **argv) { return execv(program(), argv); }\n"
    )
    return scripted


def _compilations(project: Path, home: Path) -> list[str]:
    """Return the command lines of the compiler in the latest campaign's build."""
    log = home / "campaigns" / manifest(project)["campaign"] / "build.log"
    return [line for line in log.read_text().splitlines() if line.startswith("g++")] if log.exists() else []


def test_only_what_changed_is_built(lab: LocalLab, compiled: Path) -> None:
    # Given a campaign that built everything
    assert lab("campaign", cwd=compiled).status == 0
    assert len(_compilations(compiled, lab.home)) == 3

    # When nothing has changed, or only an ini file, then no compiler is started
    assert lab("campaign", cwd=compiled).status == 0
    assert _compilations(compiled, lab.home) == []
    (compiled / "omnetpp.ini").write_text("[General]\nnetwork = Edited\n")
    assert lab("campaign", cwd=compiled).status == 0
    assert _compilations(compiled, lab.home) == []

    # When one source file has changed, then it is compiled and the program linked
    (compiled / "part.cc").write_text('const char *program() { return "./simulate\\0"; }\n')
    assert lab("campaign", cwd=compiled).status == 0
    assert _compilations(compiled, lab.home) == ["g++ -c part.cc", "g++ -o model main.o part.o"]


def test_two_campaigns_of_the_same_tree_at_once_are_built_once(own_lab: LocalLab, compiled: Path) -> None:
    # Given a project that was never built, when two campaigns of it are submitted at once
    with own_lab.start("campaign", "--json", cwd=compiled) as one, own_lab.start("campaign", cwd=compiled) as other:
        for client in (one, other):
            client.communicate()
    # Then both are done, and everything was compiled once
    assert (one.returncode, other.returncode) == (0, 0)
    logs = list(own_lab.home.glob("campaigns/*/build.log"))
    compiled_files = [line for log in logs for line in log.read_text().splitlines() if line.startswith("g++")]
    assert len(compiled_files) == 3
    assert len(list(own_lab.home.glob("products/*/product.json"))) == 1


@pytest.mark.parametrize("edits", [False, True], ids=["the same again", "with an edited ini file"])
def test_a_damaged_product_is_made_again(own_lab: LocalLab, compiled: Path, edits: bool) -> None:
    # Given a campaign whose program is damaged on the disk since, so that it does nothing
    assert own_lab("campaign", cwd=compiled).status == 0
    (program,) = (own_lab.home / "products" / "files").glob("*.x")
    good = program.read_bytes()
    program.chmod(0o755)
    program.write_bytes(b"#!/bin/sh\nexit 0\n".ljust(len(good)))
    # When the next campaign needs it
    if edits:
        (compiled / "omnetpp.ini").write_text((compiled / "omnetpp.ini").read_text() + "# edited\n")
    shutil.rmtree(compiled / "results")
    said = own_lab("campaign", cwd=compiled)
    # Then it is as it was built, and so are the results; nothing had to be compiled
    assert said.status == 0, said.stdout + said.stderr
    assert program.read_bytes() == good
    assert len(list((compiled / "results").glob("*.sca"))) == 4
    assert _compilations(compiled, own_lab.home) == []


def test_a_product_that_is_gone_in_the_middle_of_a_campaign_is_built_again(own_lab: LocalLab, compiled: Path) -> None:
    # Given a campaign under way, and another one of the same build that waits for the slots
    gate = compiled.parent / "gate"
    (compiled / "do.sh").write_text(
        f"touch {gate}.$RUN; while [ ! -e {gate} ]; do sleep 0.05; done; echo x > $STEM.sca\n"
    )
    with own_lab.start("campaign", "--runs", "0,1", cwd=compiled) as first:
        wait_for(lambda: list(gate.parent.glob("gate.*"))[1:], "runs on both slots")
        (compiled / "do.sh").write_text("echo x > $STEM.sca\n")
        with own_lab.start("campaign", "--runs", "2,3", cwd=compiled) as second:
            wait_for(lambda: list(own_lab.home.glob("campaigns/*/prepared.json"))[1:], "that both are prepared")
            # When the disk loses the product, with the checkouts that nobody uses
            shutil.rmtree(own_lab.home / "products")
            gate.touch()
            # Then it is built again, and all runs are done
            for client in (first, second):
                client.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(list((compiled / "results").glob("*.sca"))) == 4


def test_products_are_listed_and_pruned(own_lab: LocalLab, compiled: Path) -> None:
    # Given a campaign that has ended
    assert own_lab("campaign", cwd=compiled).status == 0
    # When the lab's products are listed, then there is its own
    said = own_lab("products", "--json", cwd=compiled)
    (product,) = said.result["products"]
    assert (product["project"], product["files"], product["campaigns"]) == ("scripted", 1, [])
    assert product["key"][:12] in own_lab("products", cwd=compiled).stdout
    # … and when they are pruned, then it is gone, and a campaign that needs it builds it again
    assert "1 product removed" in own_lab("products", "--prune", cwd=compiled).stdout
    assert own_lab("products", "--json", cwd=compiled).result["products"] == []
    assert own_lab("campaign", cwd=compiled).status == 0


def test_a_failed_build_ends_the_campaign_with_the_compilers_words(lab: LocalLab, compiled: Path) -> None:
    # Given a mistake in a source file
    (compiled / "part.cc").write_text("const char *program() { return forgotten; }\n")

    # When a campaign is run, then it ends with what the compiler says
    said = lab("campaign", cwd=compiled)
    assert said.status == 3
    assert "part.cc:1:" in said.stderr
    assert "forgotten" in said.stderr
    assert "Traceback" not in said.stderr

    # And once it is mended, all is well
    (compiled / "part.cc").write_text('const char *program() { return "./simulate"; }\n')
    assert lab("campaign", cwd=compiled).status == 0


# ---- several at once -------------------------------------------------------------------------------------------


def test_two_campaigns_at_once_each_run_what_their_client_saw(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign under way whose runs wait
    gate = scripted.parent / "gate"
    (scripted / "do.sh").write_text(f"echo first > $STEM.sca; while [ ! -e {gate} ]; do sleep 0.05; done\n")
    with lab.start("campaign", "--runs", "0", "--json", cwd=scripted) as first:
        wait_for(lambda: ", 1 running" in lab("lab", "status", cwd=scripted).stdout, "the first campaign runs")

        # When the project is edited and a second one is started with another environment
        (scripted / "do.sh").write_text("echo second $MARK > $STEM.sca\n")
        second = lab("campaign", "--runs", "1", cwd=scripted, env={"MARK": "marked"})
        gate.touch()
        first.communicate()
    assert first.returncode == second.status == 0

    # Then each one's results are those of its own tree and environment
    assert (scripted / "results" / "General-x=0-#0.sca").read_text() == "first\n"
    assert (scripted / "results" / "General-x=1-#0.sca").read_text() == "second marked\n"


# ---- what goes wrong -------------------------------------------------------------------------------------------


def has_ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def begun(lab: LocalLab, project: Path) -> int:
    """Return the process that a run writes to ``results/pid``, as soon as it is under way."""
    pattern = f"private/*/{project.name}/results/pid"
    (file,) = wait_for(lambda: list(lab.home.glob(pattern)), "a run is under way")
    return int(wait_for(file.read_text, "its number"))


def test_ctrl_c_leaves_a_campaign_that_can_be_come_back_to(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign with one run at home and others that wait
    gate = scripted.parent / "gate"
    (scripted / "do.sh").write_text(
        f"echo $RUN > $STEM.sca; [ $RUN = 0 ] || while [ ! -e {gate} ]; do sleep 0.05; done\n"
    )
    with lab.start("campaign", "--jobs", "1", cwd=scripted) as client:
        wait_for((scripted / "results" / "General-x=0-#0.sca").exists, "the first run is home")

        # When the person presses Ctrl-C
        client.send_signal(signal.SIGINT)
        stdout, stderr = client.communicate(timeout=60)

    # Then the client says how to come back, and the campaign goes on
    assert client.returncode == 130, stderr
    assert stdout == ""
    said = next(line for line in stderr.splitlines() if line.startswith("detached: campaign "))
    campaign = said.split()[2]
    assert f"labfleet attach {campaign}" in said
    assert f"labfleet cancel {campaign}" in said
    assert campaign in lab("lab", "status", cwd=scripted).stdout

    # And who comes back sees all of it, and gets the results
    gate.touch()
    back = lab("attach", cwd=scripted)
    assert back.status == 0, back.stderr
    assert "4 of 4 runs done" in back.stdout
    assert names(scripted / "results", "*.sca") == {f"General-x={run}-#0.sca" for run in range(4)}
    assert lab("attach", cwd=scripted).status == 2
    assert list((lab.home / "notes").glob(f"{campaign}*")) == []


@pytest.mark.parametrize("end", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_however_a_client_ends_its_campaign_comes_home(own_lab: LocalLab, scripted: Path, end: signal.Signals) -> None:
    # Given a campaign under way, some of it at home
    gate = scripted.parent / "gate"
    (scripted / "do.sh").write_text(
        f"[ $RUN = 0 ] || while [ ! -e {gate} ]; do sleep 0.05; done; echo $RUN > $STEM.sca\n"
    )
    with own_lab.start("campaign", "--jobs", "1", cwd=scripted) as client:
        wait_for((scripted / "results" / "General-x=0-#0.sca").exists, "the first run is home")

        # When its client ends
        client.send_signal(end)
        client.communicate(timeout=60)
    assert client.returncode == (-end if end == signal.SIGKILL else 128 + end)

    # Then the next one brings everything home, and the manifest knows all of it
    gate.touch()
    back = own_lab("attach", "--json", cwd=scripted)
    assert back.status == 0, back.stderr
    assert back.result["done"] == 4
    told = manifest(scripted)
    for run in told["runs"]:
        (file,) = run["files"]
        assert (scripted / file["path"]).read_text() == f"{run['run']}\n"
        assert [attempt["kind"] for attempt in run["attempts"]] == ["done"]
    assert list((own_lab.home / "notes").iterdir()) == []
    assert list((scripted / "results").rglob(".labfleet-*")) == []


def test_a_campaign_that_is_submitted_only_is_fetched_later(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign that nobody follows
    said = lab("campaign", "--detach", cwd=scripted)
    assert said.status == 0, said.stderr
    campaign = said.stdout.strip()

    # When somebody comes back, then the results come home
    back = lab("attach", campaign[-11:], cwd=scripted)
    assert back.status == 0, back.stderr
    assert len(names(scripted / "results", "*.sca")) == 4
    (row,) = [line for line in lab("campaigns", cwd=scripted).stdout.splitlines() if line.startswith(campaign)]
    assert row.split()[-1] == "home"


def test_what_failed_is_resumed_and_nothing_else(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign of which one run fails as long as something is missing
    missing = scripted.parent / "there"
    (scripted / "do.sh").write_text(f"echo $$ > $STEM.sca; [ $RUN != 2 ] || [ -e {missing} ]\n")
    said = lab("campaign", cwd=scripted)
    assert said.status == 1
    before = {path.name: path.read_text() for path in (scripted / "results").glob("*.sca")}
    assert len(before) == 3
    campaign = manifest(scripted)["campaign"]
    assert f"labfleet resume {campaign}" in said.stdout

    # When it is there, and the campaign is resumed
    missing.touch()
    again = lab("resume", campaign[-11:], cwd=scripted)

    # Then that run is done, the others were not done again, and the manifest has both attempts
    assert again.status == 0, again.stderr
    after = {path.name: path.read_text() for path in (scripted / "results").glob("*.sca")}
    assert {name: after[name] for name in before} == before
    assert len(after) == 4
    assert [attempt["kind"] for attempt in manifest(scripted)["runs"][2]["attempts"]] == ["error", "done"]


def test_runs_of_a_slot_that_died_are_done_again(own_lab: LocalLab, scripted: Path) -> None:
    # Given a run that is under way
    gate = scripted.parent / "gate"
    (scripted / "do.sh").write_text(f"while [ ! -e {gate} ]; do sleep 0.05; done; echo done > $STEM.sca\n")
    client = own_lab.start("campaign", "--runs", "2", "--json", cwd=scripted)
    wait_for(lambda: list(own_lab.home.glob("private/slot*/scripted/results")), "a run is under way")
    status = json.loads((own_lab.home / "lab.json").read_text())
    assert status["slots"] == 2

    # When all slots are killed
    for name in ("slot1", "slot2"):
        pid = own_lab.service("slot", name)
        assert pid
        os.kill(pid, signal.SIGKILL)
    gate.touch()

    # Then the run is done all the same, by its second attempt
    stdout, stderr = client.communicate(timeout=60)
    assert client.returncode == 0, stderr
    assert manifest(scripted)["runs"][0]["attempt"] == 2
    assert json.loads(stdout)["done"] == 1


def test_a_crash_is_told_from_an_error(lab: LocalLab, scripted: Path) -> None:
    # When a run is ended by a signal
    (scripted / "do.sh").write_text("echo half > $STEM.sca; [ $RUN != 1 ] || kill -SEGV $PPID\n")
    said = lab("campaign", cwd=scripted)

    # Then it is named as a crash, and the others are done
    assert said.status == 1
    kinds = [run["kind"] for run in manifest(scripted)["runs"]]
    assert kinds == ["done", "crash", "done", "done"]
    assert "SIGSEGV" in said.stdout


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--config", "Nope"], "no configuration Nope", "known: General, Slotted"),
        (["--config", "Quick", "--runs", "$numHosts>99"], "no run of Quick matches", "--dry-run"),
        (["--config", "Quick", "--runs", "$numHosts>"], "refuses the run filter", "a filter is"),
        (["--config", "Quick", "--runs", "99"], "refuses the run filter", "a filter is"),
        (["--ini", "other.ini"], "other.ini", "hint"),
        (["--program", "./absent"], "absent", "--program"),
        (["--project", "/nowhere"], "/nowhere", "hint"),
        (["--jobs", "many"], "--jobs takes a whole number from 1", ""),
        (["--jobs", "0"], "--jobs takes a whole number from 1", ""),
        (["--mode", "fast"], "release, debug or sanitize", ""),
        (["--confg", "Quick"], "--confg", "--config"),
        (["--args", "'open"], "--args", ""),
        (["--timeout", "soon"], "--timeout: 'soon' is no duration", ""),
        (["--memory", "much"], "--memory: 'much' is no size", ""),
        (["--retries", "-1"], "--retries", ""),
        (["--max-failures", "0"], "--max-failures: '0' is no whole number from 1", ""),
        (["--detach", "--dry-run"], "contradict each other", ""),
    ],
)
def test_wrong_use_is_answered_with_a_message_and_a_hint(
    lab: LocalLab, aloha: Path, words: list[str], message: str, hint: str
) -> None:
    # When something is asked for that makes no sense
    said = lab("campaign", *words, cwd=aloha)

    # Then the exit status is 2, the message names it, the hint says what to do, and there is no traceback
    assert said.status == 2, said.stderr
    assert message in said.stderr
    assert hint in said.stderr
    assert "Traceback" not in said.stderr


def test_a_program_that_is_not_executable_is_named(lab: LocalLab, scripted: Path) -> None:
    # Given a program without the executable bit
    (scripted / "simulate").chmod(0o644)

    # When it is to be run, then the message names it
    said = lab("campaign", cwd=scripted)
    assert said.status == 2, said.stderr
    assert "simulate" in said.stderr
    assert "not executable" in said.stderr


def test_all_mistakes_of_the_project_file_are_told_at_once(lab: LocalLab, scripted: Path) -> None:
    # Given a project file with two mistakes
    (scripted / "labfleet.toml").write_text('progam = "./simulate"\nned-path = 3\n')

    # When a campaign is run, then both are told, with their lines
    said = lab("campaign", cwd=scripted)
    assert said.status == 2
    assert "line 1" in said.stderr
    assert "progam" in said.stderr
    assert "line 2" in said.stderr
    assert "ned-path" in said.stderr


def test_the_help_explains_every_option(lab: LocalLab, aloha: Path) -> None:
    # When help is asked for, then nothing runs and every option is explained
    said = lab("campaign", "--help", cwd=aloha)
    assert said.status == 0
    for option in ("--config", "--project", "--runs", "--program", "--ini", "--jobs", "--mode", "--args", "--json"):
        assert option in said.stdout
    assert "replaced when its run is done" in said.stdout


# ---- services --------------------------------------------------------------------------------------------------


def test_services_of_another_version_are_replaced(own_lab: LocalLab, scripted: Path) -> None:
    # Given services that were started by other code
    assert own_lab("campaign", cwd=scripted).status == 0
    first = own_lab.supervisor
    lab_file = own_lab.home / "lab.json"
    lab_file.write_text(json.dumps({**json.loads(lab_file.read_text()), "code": "of yesterday"}))

    # When the next campaign comes, then it has new ones
    assert own_lab("campaign", cwd=scripted).status == 0
    assert own_lab.supervisor not in (first, None)


def test_idle_services_end_by_themselves(own_lab: LocalLab, scripted: Path) -> None:
    # Given a lab that may be idle for a few seconds, and works
    own_lab.variables["LABFLEET_IDLE_SECONDS"] = "5"
    gate = scripted.parent / "gate"
    (scripted / "do.sh").write_text(f"while [ ! -e {gate} ]; do sleep 0.05; done; echo > $STEM.sca\n")
    client = own_lab.start("campaign", cwd=scripted)
    wait_for(lambda: list(own_lab.home.glob("private/slot*/scripted/results")), "a run is under way")
    pid = own_lab.supervisor
    assert pid
    gate.touch()
    client.communicate(timeout=60)
    assert client.returncode == 0

    # When nobody needs it, then its processes end
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the services have ended")
    assert own_lab.service("slot", "slot1") is None


def test_services_can_be_asked_and_stopped(own_lab: LocalLab, scripted: Path) -> None:
    # Given no services, then status says so
    assert "no services are running" in own_lab("lab", "status", cwd=scripted).stdout

    # When a campaign has started them, then status names slots and logs, and stop ends them
    assert own_lab("campaign", cwd=scripted).status == 0
    told = own_lab("lab", "status", cwd=scripted)
    assert "2 slots" in told.stdout
    assert str(own_lab.home / "log") in told.stdout
    assert "have ended" in own_lab("lab", "stop", cwd=scripted).stdout
    assert own_lab.service("foreman") is None


def test_a_lab_that_was_stopped_is_not_started_again_by_who_watches(own_lab: LocalLab, scripted: Path) -> None:
    # Given a campaign under way
    gate = scripted.parent / "gate"
    (scripted / "do.sh").write_text(f"while [ ! -e {gate} ]; do sleep 0.05; done; echo done > $STEM.sca\n")
    client = own_lab.start("campaign", "--runs", "0", cwd=scripted)
    wait_for(lambda: list(own_lab.home.glob("private/slot*/scripted/results")), "a run is under way")

    # When somebody ends the lab, then that person is told what is interrupted
    (campaign,) = [path.name for path in (own_lab.home / "campaigns").iterdir()]
    assert f"interrupted: {campaign}" in own_lab("lab", "stop", "--force", cwd=scripted).stdout

    # and so is who watches; the services stay ended
    _, stderr = client.communicate(timeout=60)
    assert client.returncode == 3, stderr
    assert "the lab's services were ended" in stderr
    assert f"labfleet attach {campaign}" in stderr
    assert campaign in own_lab("lab", "status", cwd=scripted).stdout
    assert f"not over: {campaign}" in own_lab("status", cwd=scripted).stderr
    assert own_lab.service("foreman") is None

    # And who comes back has them started again
    gate.touch()
    assert own_lab("attach", cwd=scripted).status == 0
    assert (scripted / "results" / "General-x=0-#0.sca").exists()


# ---- what must not mislead -------------------------------------------------------------------------------------


def test_a_changed_makefile_builds_with_its_own_rules(lab: LocalLab, compiled: Path) -> None:
    # Given a program that says what it was compiled with
    (compiled / "main.cc").write_text(
        "#include <cstdlib>\n#include <unistd.h>\nconst char *program();\nint main(int, char **argv)\n"
        '{\n    setenv("WORD", WORD, 1);\n    return execv(program(), argv);\n}\n'
    )
    (compiled / "do.sh").write_text('echo "$WORD" > $STEM.sca\n')

    def word(of_makefile: str) -> str:
        rules = _MAKEFILE.replace("g++ -c $<", f"g++ -c '-DWORD=\"{of_makefile}\"' $<")
        (compiled / "Makefile").write_text(rules)
        assert lab("campaign", "--runs", "0", cwd=compiled).status == 0
        return (compiled / "results" / "General-x=0-#0.sca").read_text().strip()

    # When only the Makefile changes, then the program is the new one, though make itself would not notice
    assert word("one") == "one"
    assert word("two") == "two"


def test_results_in_another_folder_come_home_each_time(lab: LocalLab, scripted: Path) -> None:
    # Given runs that leave their results in a folder of another name
    (scripted / "do.sh").write_text("mkdir -p data; echo first $RUN > data/x=$RUN.sca; echo 1 > data/x=$RUN.csv\n")
    assert lab("campaign", cwd=scripted).status == 0

    # When they are run again, now that the folder is there
    (scripted / "do.sh").write_text("mkdir -p data; echo second $RUN > data/x=$RUN.sca\n")
    assert lab("campaign", cwd=scripted).status == 0

    # Then the results are the new ones
    assert [(scripted / "data" / f"x={run}.sca").read_text() for run in range(4)] == [f"second {r}\n" for r in range(4)]


def test_files_that_cannot_be_told_apart_are_each_run_s_own(lab: LocalLab, scripted: Path) -> None:
    # Given many short runs that may share a process, of which one leaves a file without its name
    (scripted / "omnetpp.ini").write_text("[General]\n")
    program = (scripted / "simulate").read_text().replace("runs=0,1,2,3", "runs=$(seq -s , 0 39)")
    (scripted / "simulate").write_text(program)
    (scripted / "do.sh").write_text("echo $RUN > $STEM.sca; [ $RUN != 25 ] || echo here > trouble.txt\n")

    # When they are run
    said = lab("campaign", cwd=scripted)

    # Then every run is done, and that file is the one run's
    assert said.status == 0, said.stderr
    owners = [
        run["run"] for run in manifest(scripted)["runs"] if any("trouble" in file["path"] for file in run["files"])
    ]
    assert owners == [25]
    assert len(names(scripted / "results", "*.sca")) == 40


def test_a_run_leaves_what_it_would_leave_alone(lab: LocalLab, scripted: Path) -> None:
    # Given many short runs of a program that remembers how many runs its process has done, as models' statics do
    (scripted / "omnetpp.ini").write_text("[General]\n")
    program = (scripted / "simulate").read_text().replace("runs=0,1,2,3", "runs=$(seq -s , 0 39)")
    program = program.replace(
        "        RUN=$run STEM", "        count=$((count + 1))\n        COUNT=$count RUN=$run STEM"
    )
    (scripted / "simulate").write_text(program)
    (scripted / "do.sh").write_text("echo $COUNT > $STEM.sca\n")

    # When they are run, then none shows that others were there before
    said = lab("campaign", cwd=scripted)
    assert said.status == 0, said.stderr
    assert {file.read_text() for file in (scripted / "results").glob("*.sca")} == {"1\n"}
    assert len(names(scripted / "results", "*.sca")) == 40


def test_a_cancelled_campaign_leaves_no_process_and_keeps_what_is_done(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign with one run done and others that would go on for ever
    (scripted / "do.sh").write_text(
        "echo half > $STEM.sca; [ $RUN = 0 ] || { echo $$ > results/pid; while :; do sleep 0.05; done; }\n"
    )
    client = lab.start("campaign", "--jobs", "1", cwd=scripted)
    wait_for((scripted / "results" / "General-x=0-#0.sca").exists, "the first run is home")
    pid = begun(lab, scripted)

    # When it is cancelled from elsewhere, where it is the only one
    said = lab("cancel", cwd=scripted)

    # Then that says what is kept, its client ends, nothing runs any more, and half files are no results
    assert said.status == 0, said.stderr
    assert "is cancelled: 1 of 4 runs are done" in said.stdout
    stdout, stderr = client.communicate(timeout=60)
    assert client.returncode == 1, stderr
    assert "cancelled" in stdout
    wait_for(lambda: has_ended(pid), "the simulation has ended")
    assert names(scripted / "results", "*.sca") == {"General-x=0-#0.sca"}


@pytest.mark.parametrize("service", ["agent", "foreman"])
def test_a_lab_is_well_again_after_a_service_has_died(own_lab: LocalLab, scripted: Path, service: str) -> None:
    # Given a campaign under way
    gate = scripted.parent / "gate"
    (scripted / "do.sh").write_text(f"while [ ! -e {gate} ]; do sleep 0.05; done; echo $RUN > $STEM.sca\n")
    client = own_lab.start("campaign", "--runs", "2,3", cwd=scripted)
    wait_for(lambda: list(own_lab.home.glob("private/slot*/scripted/results")), "a run is under way")

    # When a service is killed
    pid = own_lab.service(service)
    assert pid
    os.kill(pid, signal.SIGKILL)
    gate.touch()
    client.communicate(timeout=100)

    # Then the campaign is done, and so is the next one
    assert client.returncode == 0
    assert own_lab("campaign", cwd=scripted).status == 0
    assert len(names(scripted / "results", "*.sca")) == 4


def test_nothing_that_a_run_started_survives_the_lab(own_lab: LocalLab, scripted: Path) -> None:
    # Given a run with a process in a session of its own
    (scripted / "do.sh").write_text("setsid sleep 1000 & echo $! > results/pid; wait\n")
    client = own_lab.start("campaign", "--runs", "0", cwd=scripted)
    (pid_file,) = wait_for(lambda: list(own_lab.home.glob("private/*/scripted/results/pid")), "the run is under way")
    pid = int(wait_for(pid_file.read_text, "its number"))

    # When the lab is stopped, then that process has ended too
    assert own_lab("lab", "stop", "--force", cwd=scripted).status == 0
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the process has ended")
    client.kill()
    client.communicate()


@pytest.mark.parametrize("slots", ["0", "many", "-1"])
def test_a_wrong_number_of_slots_is_wrong_use(own_lab: LocalLab, scripted: Path, slots: str) -> None:
    # When the variable makes no sense, then that is said
    said = own_lab("campaign", cwd=scripted, env={"LABFLEET_SLOTS": slots})
    assert said.status == 2
    assert "LABFLEET_SLOTS" in said.stderr
