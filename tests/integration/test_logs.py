"""``labfleet logs`` on a real lab: the same for runs that run, have ended or failed, in the lab and at home."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.lab_fixture import LocalLab, manifest, wait_for

#: Numbered lines of all runs together, and the seconds for which a viewer is stopped.
LINES = int(os.environ.get("LABFLEET_TEST_LINES", "1000000"))
STOPPED = 10.0

RUNS = 8

LABFLEET = (sys.executable, "-c", "from labfleet import main; main()")

#: Bursts in which a run prints its lines, so that it lasts for a while.
BURSTS = 50


def submitted(lab: LocalLab, project: Path) -> str:
    """Submit a campaign, and return its id."""
    done = lab("campaign", "--detach", cwd=project)
    assert done.status == 0, done.stderr
    return done.stdout.strip()


def has_begun(project: Path, *runs: int) -> bool:
    return all((project / f"begun-{run}").exists() for run in runs)


def waiting(project: Path, printed: str = "", end: str = "") -> Path:
    """Have each run say so when it has begun, print something, and wait for a file, which is returned."""
    go = project / "go"
    (project / "do.sh").write_text(
        f"{printed}\ntouch {project}/begun-$RUN\nwhile [ ! -e {go} ]; do sleep 0.05; done\n"
        f"echo went on\n{end}\necho x > $STEM.sca\n"
    )
    return go


# ---- everything, once, in order --------------------------------------------------------------------------------------


def numbered(project: Path, each: int) -> None:
    """Have eight runs print so many numbered lines each."""
    program = project / "simulate"
    program.write_text(program.read_text().replace("runs=0,1,2,3\n", "runs=0,1,2,3,4,5,6,7\n"))
    burst = each // BURSTS
    (project / "do.sh").write_text(
        f"i=0\nwhile [ $i -lt {BURSTS} ]; do\n"
        f'  seq -f "run $RUN line %.0f" $((i * {burst} + 1)) $((i * {burst} + {burst}))\n'
        "  i=$((i + 1)); sleep 0.3\ndone\n"
        "echo done > $STEM.sca\n"
    )


class Watcher:
    """Somebody who follows the logs of all runs into a file."""

    def __init__(self, lab: LocalLab, project: Path, campaign: str, output: Path) -> None:
        self.output = output
        with output.open("wb") as file:
            argv = [*LABFLEET, "logs", campaign, f"0..{RUNS - 1}", "--follow"]
            environment = lab.environment()
            self.process = subprocess.Popen(argv, cwd=project, env=environment, stdout=file, stderr=subprocess.PIPE)

    def lines(self) -> dict[int, list[int]]:
        """Return the numbers of the lines of each run, in the order in which they came."""
        found: dict[int, list[int]] = {run: [] for run in range(RUNS)}
        line = re.compile(rb"#(\d) \| run (\d) line (\d+)")
        for text in self.output.read_bytes().splitlines():
            if match := line.fullmatch(text):
                assert match[1] == match[2]
                found[int(match[1])].append(int(match[3]))
            else:
                assert re.fullmatch(rb"#\d \| General run #\d: .*", text), text
        return found


def test_each_viewer_gets_every_line_once_and_in_order(own_lab: LocalLab, scripted: Path, tmp_path: Path) -> None:
    # Given a million numbered lines from eight runs at once
    own_lab.variables["LABFLEET_SLOTS"] = str(RUNS)
    each = LINES // RUNS // BURSTS * BURSTS
    numbered(scripted, each)
    chance = random.Random(6)
    campaign = submitted(own_lab, scripted)
    hubs = []
    wait_for(lambda: list((own_lab.home / "logs").glob("*/run-*")), "logs at the hub")

    def watch(number: int) -> Watcher:
        return Watcher(own_lab, scripted, campaign, tmp_path / f"seen-{number}")

    def kill_hub() -> None:
        pid = wait_for(lambda: own_lab.service("hub"), "a hub")
        wait_for(lambda: list((own_lab.home / "logs").glob("*/run-*")), "logs at the hub")
        os.kill(pid, signal.SIGKILL)
        hubs.append(pid)
        wait_for(lambda: own_lab.service("hub") not in (None, pid), "another hub")

    # When viewers join at random, one is stopped for ten seconds, and the hub is killed twice
    watchers = [watch(0), watch(1)]
    pause = threading.Event()
    wait_for(lambda: watchers[0].output.stat().st_size > each, "lines at a viewer")
    os.kill(watchers[0].process.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    for number in (2, 3):
        pause.wait(chance.uniform(0.2, 2))
        watchers.append(watch(number))
        pause.wait(chance.uniform(0.2, 1))
        kill_hub()
    pause.wait(max(0.0, stopped + STOPPED - time.monotonic()))
    os.kill(watchers[0].process.pid, signal.SIGCONT)
    pause.wait(chance.uniform(0, 2))
    watchers.append(watch(4))
    # Then each of them, and one that comes when all is over, gets every line once, in order
    for watcher in watchers:
        _, complaint = watcher.process.communicate(timeout=120)
        assert watcher.process.returncode == 0, complaint
        assert not complaint
    watchers.append(watch(5))
    assert watchers[-1].process.communicate(timeout=120)[1] == b""
    expected = list(range(1, each + 1))
    for watcher in watchers:
        for run, lines in watcher.lines().items():
            assert lines == expected, f"run {run} at {watcher.output.name}: {len(lines)} of {each} lines"
    assert len(set(hubs)) == 2


# ---- which logs ------------------------------------------------------------------------------------------------------


def test_finished_and_failed_runs_in_the_lab_and_at_home(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign with a run that fails, over and not at home
    (scripted / "do.sh").write_text(
        'echo "run $RUN says hello"\necho "last words of $RUN"\n[ $RUN != 2 ] || exit 1\necho x > $STEM.sca\n'
    )
    campaign = submitted(lab, scripted)
    ended = "The campaign has ended"
    wait_for(lambda: lab("explain", campaign, cwd=scripted).stdout.startswith(ended), "the campaign's end")

    def logs(*words: str) -> str:
        said = lab("logs", *words, cwd=scripted)
        assert said.status == 0, said.stderr
        return said.stdout

    def all_of_them() -> list[str]:
        return [
            logs("2"),
            logs(campaign[-11:], "0", "2"),
            logs(),
            logs("--tail", "1", "1"),
            logs("--grep", "hello", "1..3"),
            logs("--grep", "says h(e|a)llo", "--tail", "1", "3"),
            logs("--follow", "3", "1"),
            logs("--raw", "2"),
        ]

    # When its logs are asked for
    in_the_lab = all_of_them()
    # Then whole ones come, one alone as it is, several with the run's number, the last lines, and those that match
    head = "General run #{}: $x={}, $repetition=0"
    assert in_the_lab[0] == f"{head.format(2, 2)}\nrun 2 says hello\nlast words of 2\n"
    assert in_the_lab[1].splitlines() == [
        *(f"#0 | {line}" for line in (head.format(0, 0), "run 0 says hello", "last words of 0")),
        *(f"#2 | {line}" for line in (head.format(2, 2), "run 2 says hello", "last words of 2")),
    ]
    assert [line[:2] for line in in_the_lab[2].splitlines()] == ["#0"] * 3 + ["#1"] * 3 + ["#2"] * 3 + ["#3"] * 3
    assert in_the_lab[3] == "last words of 1\n"
    assert in_the_lab[4] == "".join(f"#{run} | run {run} says hello\n" for run in (1, 2, 3))
    assert in_the_lab[5] == "run 3 says hello\n"
    assert sorted(in_the_lab[6].splitlines()) == sorted(
        f"#{run} | {line}"
        for run in (1, 3)
        for line in (head.format(run, run), f"run {run} says hello", f"last words of {run}")
    )
    # And when all has come home, and the lab has nothing of it any more, then all is the same
    lab("attach", campaign, cwd=scripted)
    shutil.rmtree(lab.home / "campaigns" / campaign)
    shutil.rmtree(lab.home / "logs" / campaign)
    at_home = all_of_them()
    assert at_home[:6] == in_the_lab[:6]
    assert sorted(at_home[6].splitlines()) == sorted(in_the_lab[6].splitlines())
    assert at_home[7] == in_the_lab[7]


def test_a_log_is_followed_until_its_run_ends(lab: LocalLab, scripted: Path) -> None:
    # Given runs under way
    go = waiting(scripted, "echo hello")
    campaign = submitted(lab, scripted)
    wait_for(lambda: has_begun(scripted, 0, 1), "runs")
    # When one asks what there is, then it comes and nobody waits
    wait_for(lambda: lab("logs", "1", cwd=scripted).stdout.endswith("hello\n"), "what there is")
    # When others follow one run, and one that has not begun, and all
    one = lab.start("logs", "--follow", "0", cwd=scripted)
    later = lab.start("logs", "--follow", "3", cwd=scripted)
    everything = lab.start("logs", "-f", "--tail", "1", cwd=scripted)
    left = lab.start("logs", "-f", "1", cwd=scripted)
    assert left.stdout
    assert left.stdout.readline().startswith("General run #1")
    left.send_signal(signal.SIGINT)
    assert left.communicate(timeout=60)[1] == "labfleet: interrupted\n"
    assert left.returncode == 130
    assert everything.stdout
    first = {everything.stdout.readline() for _ in range(2)}
    go.touch()
    # Then each gets what comes until the run, or the campaign, ends
    assert one.communicate(timeout=60)[0].splitlines()[1:] == ["hello", "went on"]
    assert later.communicate(timeout=60)[0].splitlines()[1:] == ["hello", "went on"]
    rest = everything.communicate(timeout=60)[0].splitlines()
    assert first == {"#0 | hello\n", "#1 | hello\n"}
    assert {"#0 | went on", "#1 | went on", "#2 | hello", "#2 | went on", "#3 | went on"} <= set(rest)
    assert [process.returncode for process in (one, later, everything)] == [0, 0, 0]
    lab("attach", campaign, cwd=scripted)


def test_a_log_is_followed_though_the_foreman_is_another_one_meanwhile(own_lab: LocalLab, scripted: Path) -> None:
    # Given somebody who follows a run that has not begun, and a foreman that dies
    go = waiting(scripted)
    campaign = submitted(own_lab, scripted)
    wait_for(lambda: has_begun(scripted, 0, 1), "runs")
    followed = own_lab.start("logs", campaign, "-f", "0", "3", cwd=scripted)
    assert followed.stdout
    assert followed.stdout.readline().startswith("#0 | General run #0")
    pid = own_lab.service("foreman")
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: own_lab.service("foreman") not in (None, pid), "another foreman")
    # When the run begins, then its log comes all the same, and ends
    go.touch()
    lines = followed.communicate(timeout=120)[0].splitlines()
    assert followed.returncode == 0
    assert {"#0 | went on", "#3 | went on"} <= set(lines)


def test_the_latest_attempt_counts_and_others_can_be_had(lab: LocalLab, scripted: Path) -> None:
    # Given a run that fails once, when somebody follows it
    go = scripted / "go"
    (scripted / "do.sh").write_text(
        f"if [ $RUN = 1 ] && [ ! -e {scripted}/again ]; then\n"
        f'  touch {scripted}/again; echo "first try"; i=0\n'
        f"  while [ ! -e {go} ] && [ $i -lt 600 ]; do sleep 0.05; i=$((i + 1)); done; exit 1\nfi\n"
        'echo "it works"\necho x > $STEM.sca\n'
    )
    done = lab("campaign", "--detach", "--retries", "1", cwd=scripted)
    campaign = done.stdout.strip()
    followed = lab.start("logs", "--follow", "1", cwd=scripted)
    assert followed.stdout
    head = "General run #1: $x=1, $repetition=0"
    # Then both attempts are shown whole, one after the other
    assert [followed.stdout.readline() for _ in range(2)] == [f"{head}\n", "first try\n"]
    go.touch()
    assert followed.communicate(timeout=60)[0].splitlines() == [head, "it works"]
    # When its log is asked for, then it is the latest; the other is to be had
    assert lab("logs", campaign, "1", cwd=scripted).stdout.splitlines()[-1] == "it works"
    assert lab("logs", campaign, "1", "--attempt", "1", cwd=scripted).stdout.splitlines()[-1] == "first try"
    assert lab("logs", campaign, "1", "--attempt", "2", cwd=scripted).stdout.splitlines()[-1] == "it works"
    third = lab("logs", campaign, "1", "--attempt", "3", cwd=scripted)
    assert third.status == 2
    assert "attempts so far: 2" in third.stderr
    lab("attach", campaign, cwd=scripted)
    assert lab("logs", campaign, "1", cwd=scripted).stdout.splitlines()[-1] == "it works"
    assert lab("logs", campaign, "1", "--attempt", "1", cwd=scripted).stdout.splitlines()[-1] == "first try"


def test_the_build_has_a_log_too(lab: LocalLab, aloha: Path, scripted: Path) -> None:
    # Given a campaign that was built, at home, and one where nothing had to be
    with (aloha / "aloha.cc").open("a") as source:
        source.write(f"// {time.time()}\n")
    assert lab("campaign", "--config", "Quick", "--runs", "0", cwd=aloha).status == 0
    campaign = manifest(aloha)["campaign"]
    home = lab("logs", "--build", cwd=aloha).stdout
    (aloha / "results" / "labfleet" / campaign / "build.log").unlink()
    # When its log is asked for, from home or from the lab, then it comes
    assert home.startswith("$ make")
    assert lab("logs", "--build", campaign, cwd=aloha).stdout == home
    assert lab("logs", "--build", "--follow", campaign, cwd=aloha).stdout == home
    nothing = submitted(lab, scripted)
    said = lab("logs", "--build", "-f", nothing, cwd=scripted)
    assert said.stderr == f"labfleet: campaign {nothing}: nothing had to be built\n"
    lab("attach", nothing, cwd=scripted)


def test_a_large_campaign_says_which_runs_there_are(lab: LocalLab, aloha: Path) -> None:
    # Given a campaign of twelve runs, when no run is named, then it is said which there are
    assert lab("campaign", "--config", "Quick", "--quiet", cwd=aloha).status == 0
    said = lab("logs", cwd=aloha).stdout.splitlines()
    assert said[0].endswith("aloha Quick: 12 runs")
    assert said[1].split() == ["done", "0..11"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("99",), "has no run 99\n  hint: its runs are 0..3"),
        (("2..9",), "has no runs 4..9\n"),
        (("nosuch", "1"), "there is no campaign nosuch\n"),
        (("--attempt", "1"), "--attempt is one of a run's\n"),
        (("--build", "1"), "--build shows the log of the build"),
        (("--raw",), "--raw shows one log as it is\n"),
        (("--tail", "x"), "--tail takes a whole number from 0, not 'x'"),
        (("0", "one"), "'one' is no run\n"),
    ],
)
def test_what_makes_no_sense_is_answered_with_what_there_is(
    lab: LocalLab, scripted: Path, words: tuple[str, ...], message: str
) -> None:
    # Given a campaign at home, when something is asked for that is not there, then that is said
    assert lab("campaign", "--quiet", cwd=scripted).status == 0
    said = lab("logs", *words, cwd=scripted)
    assert said.status == 2
    assert message in said.stderr


def test_a_campaign_that_could_not_be_run_says_why_it_has_no_logs(lab: LocalLab, scripted: Path) -> None:
    # Given a campaign whose program does not say which runs there are
    (scripted / "simulate").write_text("#!/bin/sh\necho '<!> Error: odd network'; exit 1\n")
    assert lab("campaign", cwd=scripted).status == 2
    # When its logs are asked for, or followed, then that is said, and where there are others
    said = lab("logs", cwd=scripted)
    assert said.status == 2
    assert "could not be run: the program cannot list the runs of General: odd network" in said.stderr
    assert "labfleet campaigns" in said.stderr
    assert lab("logs", "--follow", cwd=scripted).stderr == said.stderr


# ---- what a simulation may print -------------------------------------------------------------------------------------


def test_whatever_a_simulation_prints_is_shown_harmlessly(lab: LocalLab, scripted: Path) -> None:
    # Given a run that prints terminal escapes, HTML, bytes that are no UTF-8, and a megabyte without an end of line
    (scripted / "do.sh").write_text(
        "printf '\\033]0;title\\007\\033[2J <b>\\377\\302\\233 \\342\\200\\256x\\r\\n'\n"
        "head -c 1000000 /dev/zero | tr '\\0' y\necho x > $STEM.sca\n"
    )
    campaign = submitted(lab, scripted)
    followed = lab("logs", "-f", "0", cwd=scripted).stdout
    lab("attach", campaign, cwd=scripted)
    # When it is shown, live and from home
    shown = lab("logs", "0", cwd=scripted).stdout
    # Then no terminal would obey any of it, and all of it is there
    for text in (followed, shown):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert "␛]0;title␇␛[2J <b>" in text
        assert text.count("y") == 1_000_000
    # And the bytes as they are are to be had
    raw = subprocess.run(
        [*LABFLEET, "logs", "0", "--raw"], cwd=scripted, env=lab.environment(), check=True, capture_output=True
    )
    log = scripted / "results" / "labfleet" / campaign / "logs" / "run-0.log"
    assert raw.stdout == log.read_bytes()
