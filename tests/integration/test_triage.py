"""What a person is told of failures, in the terminal, in the report and elsewhere: on a local lab, all parts real."""

import json
import shlex
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.lab_fixture import LocalLab, manifest, wait_for

#: A command of [notify] that keeps what it is told, in the folder in which it is run.
KEEP = 'command = "echo $LABFLEET_STATE $LABFLEET_SUMMARY >> told; cat >> told"\n'


def notifying(project: Path, text: str = KEEP) -> None:
    with (project / "labfleet.toml").open("a") as file:
        file.write(f"\n[notify]\n{text}")


def report_of(project: Path) -> Path:
    """Return the report of the latest campaign."""
    return (project / "results" / "campaign.json").resolve().with_name("report.html")


# ---- failures ------------------------------------------------------------------------------------------------------


def test_commands_that_do_a_failed_run_again_do_it_again(lab: LocalLab, aloha: Path) -> None:
    # Given a campaign with options of which some runs fail, for one cause
    (aloha / "other.ini").write_text((aloha / "omnetpp.ini").read_text())
    options = ("--ini", "other.ini", "--args", "--repeat=2 --Aloha.server.maxLoad=0.9", "--timeout", "1h")
    said = lab("campaign", "--config", "OneFails", *options, "--json", cwd=aloha)
    assert said.status == 1
    (cause,) = said.result["causes"]
    assert cause["count"] == said.result["failed"] > 1
    assert cause["module"] == "Aloha.server"
    # When the shortest is done again as the summary says, by labfleet and by hand
    again = lab(*shlex.split(cause["again"])[1:], "--json", cwd=aloha)
    subprocess.run(["make", "-s"], cwd=aloha, check=True)
    by_hand = subprocess.run(cause["by_hand"], shell=True, cwd=aloha, capture_output=True, text=True, check=False)  # noqa: S602
    # Then it is that run, and it fails in the same way
    (once_more,) = again.result["runs"]
    assert (once_more["run"], once_more["error"]) == (cause["shortest"], cause["error"])
    assert again.result["causes"][0]["again"] == cause["again"]
    assert by_hand.returncode == 1
    assert cause["error"] in by_hand.stdout + by_hand.stderr


# ---- the report ----------------------------------------------------------------------------------------------------


def test_a_campaign_leaves_a_report_that_can_be_made_again(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign of which two runs fail
    (scripted / "do.sh").write_text(
        'echo $RUN > $STEM.sca; [ $RUN -lt 2 ] || { echo "<!> Error: no gate $RUN"; exit 1; }\n'
    )
    said = lab("campaign", cwd=scripted)
    # Then there is a report beside its manifest, and the summary says where
    report = report_of(scripted)
    assert f"report:   {report}" in said.stdout.splitlines()
    text = report.read_text()
    assert "2 failed, 1 cause" in text
    assert "no gate 2" in text or "no gate 3" in text
    # When it is made again, without a word, by the campaign's id, and by its manifest
    campaign = manifest(scripted)["campaign"]
    for words in ((), (campaign[-11:],), ("results/campaign.json",), (f"results/labfleet/{campaign}",)):
        report.unlink()
        made = lab("report", *words, cwd=scripted)
        # Then it is the same, at the same place
        assert (made.status, made.stdout.strip()) == (0, str(report)), made.stderr
        assert report.read_text() == text
    # and what is no campaign is told
    assert lab("report", "nothing-like-it", cwd=scripted).status == 2


def test_a_report_that_cannot_be_written_is_a_warning(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign under way, and something in the way of its report
    gate = scripted.parent / "gate"
    (scripted / "do.sh").write_text(f"while [ $RUN = 3 ] && [ ! -e {gate} ]; do sleep 0.05; done; echo > $STEM.sca\n")
    with lab.start("campaign", "--json", cwd=scripted) as client:
        folders = wait_for(lambda: list((scripted / "results/labfleet").glob("*/logs")), "a run is home")
        (folders[0].parent / "report.html" / "mine").mkdir(parents=True)
        # When it ends
        gate.touch()
        stdout, _ = client.communicate(timeout=60)
    # Then everything is at home, and the person is warned
    result = json.loads(stdout)
    assert (client.returncode, result["done"], result["report"]) == (0, 4, "")
    assert any("there is no report" in warning for warning in result["warnings"])


# ---- [notify] ------------------------------------------------------------------------------------------------------


def test_a_command_is_run_at_home_when_a_campaign_ends(lab: LocalLab, scripted: Path) -> None:
    # Given a project with a command of [notify], when a campaign ends
    notifying(scripted)
    said = lab("campaign", cwd=scripted)
    # Then it was run once, in the project at home, and got the summary
    assert said.status == 0
    assert "warning" not in said.stderr
    told = (scripted / "told").read_text().splitlines()
    assert told[0].startswith("done General: 4 of 4 runs done")
    assert told[1:] == said.stdout.splitlines()
    assert list(lab.home.rglob("told")) == []


def test_a_campaign_that_was_left_is_told_by_who_comes_back(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign that is submitted only, which says that nobody will be told
    notifying(scripted)
    said = lab("campaign", "--detach", cwd=scripted)
    assert "[notify] tells nobody" in said.stderr
    assert not (scripted / "told").exists()
    # When somebody comes back to it, then it is told
    assert lab("attach", said.stdout.strip(), cwd=scripted).status == 0
    assert (scripted / "told").read_text().startswith("done ")


def test_who_leaves_a_campaign_is_told_nothing(own_lab: LocalLab, scripted: Path) -> None:
    # Given a campaign under way, when a person leaves it
    notifying(scripted)
    gate = scripted.parent / "gate"
    (scripted / "do.sh").write_text(f"[ $RUN = 0 ] || while [ ! -e {gate} ]; do sleep 0.05; done; echo > $STEM.sca\n")
    with own_lab.start("campaign", "--jobs", "1", cwd=scripted) as client:
        wait_for((scripted / "results" / "General-x=0-#0.sca").exists, "the first run is home")
        client.send_signal(signal.SIGINT)
        client.communicate(timeout=60)
    # Then nobody is told
    assert client.returncode == 130
    assert not (scripted / "told").exists()


def test_a_build_that_fails_is_told_and_so_are_too_many_failures(lab: LocalLab, scripted: Path) -> None:
    # Given a project whose runs fail, when the lab cancels its campaign
    notifying(scripted)
    (scripted / "do.sh").write_text("exit 1\n")
    assert lab("campaign", "--max-failures", "1", "--jobs", "1", cwd=scripted).status == 1
    # Then that is told
    assert (scripted / "told").read_text().startswith("cancelled General: cancelled (runs that have failed: 1")
    (scripted / "told").unlink()
    # And when it cannot be run at all, that, too
    toml = (scripted / "labfleet.toml").read_text()
    (scripted / "labfleet.toml").write_text(f'build = "echo no compiler; exit 1"\n{toml}')
    assert lab("campaign", cwd=scripted).status == 3
    assert "refused " in (scripted / "told").read_text()


def test_whoever_cannot_be_told_is_a_warning_and_nothing_else(lab: LocalLab, scripted: Path) -> None:
    # Given a command that fails and a server that is not there
    notifying(scripted, 'command = "echo no mail >&2; exit 9"\nwebhook = "http://127.0.0.1:1/secret"\n')
    # When a campaign ends
    said = lab("campaign", "--json", cwd=scripted)
    # Then its exit status and what it prints are as ever
    assert (said.status, said.result["done"]) == (0, 4)
    warnings = [line for line in said.stderr.splitlines() if line.startswith("warning: notify.")]
    assert len(warnings) == 2
    assert any("exit status 9: no mail" in warning for warning in warnings)


def test_a_webhook_gets_a_post(lab: LocalLab, scripted: Path) -> None:
    # Given a web server
    received: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        notifying(scripted, f'webhook = "http://127.0.0.1:{server.server_port}/hook"\n')
        # When a campaign ends
        said = lab("campaign", cwd=scripted)
        server.shutdown()
        thread.join()
    # Then it was told of it, with the places of everything
    (news,) = received
    assert said.stderr.count("warning") == 0
    assert (news["state"], news["campaign"]) == ("done", manifest(scripted)["campaign"])
    assert news["text"].splitlines() == said.stdout.splitlines()
    assert Path(news["report"]) == report_of(scripted)
