"""The script that doctor sends to machines: what it reads of systemd, Docker and the kernel."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.doctor import facts_of_machine as script
from runner.doctor.facts import SERVICES, Facts, Offer, Settings
from runner.knock import Knock, Met
from runner.model import decode, encode
from runner.self_check import SelfCheck
from tests.conftest import eventually

#: As systemd 252 prints it.
UNITS = """\
NRestarts=0
ActiveEnterTimestampMonotonic=1000000000
Id=docker.service
LoadState=loaded
ActiveState=active
SubState=running
Result=success

NRestarts=5
ActiveEnterTimestampMonotonic=0
Id=labfleet-worker.service
LoadState=loaded
ActiveState=activating
SubState=auto-restart
Result=exit-code

NRestarts=0
ActiveEnterTimestampMonotonic=
Id=labfleet-distcc.service
LoadState=not-found
ActiveState=inactive
SubState=dead
Result=success
"""

#: /proc/net/tcp and tcp6 of a little-endian machine: two that listen, a connection, and two that listen by IPv6.
TABLES = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1CF3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0B0E580A:1CF2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0B0E580A:1CF2 0C0E580A:A3C8 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000001000000:1CF3 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   1: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""


def test_units_are_read_from_systemd() -> None:
    # Given what systemctl says of three units, a machine that has been up for 1060 s
    units = script.parse_units(UNITS, uptime=1060.0)
    # When it is read, then state, restarts and age of each are there
    assert units["docker"]["active"] == "active"
    assert units["docker"]["seconds"] == 60.0
    worker = units["labfleet-worker"]
    assert (worker["sub"], worker["result"], worker["restarts"]) == ("auto-restart", "exit-code", 5)
    assert worker["seconds"] == 0.0
    assert [unit["installed"] for unit in units.values()] == [True, True, False]


@pytest.mark.skipif(sys.byteorder == "big", reason="the kernel's table was recorded on a little-endian machine")
def test_ports_are_read_from_the_kernel() -> None:
    # Given the kernel's tables, when they are read, then who listens where is there, and connections are not
    assert script.listening(TABLES) == {"7411": ["127.0.0.1", "::1"], "7410": ["10.88.14.11"], "22": ["::"]}


def test_memory_is_read_from_the_kernel() -> None:
    # Given /proc/meminfo, when it is read, then it is in bytes
    text = "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  500 kB\nHugePages_Total:  0\n"
    assert script.look_at_memory(text) == {"free": 512_000, "total": 1_024_000}


def test_disks_are_told_once_each(tmp_path: Path) -> None:
    # Given folders on one file system, and one that is not there
    (tmp_path / "inner").mkdir()
    # When they are looked at
    disks = script.look_at_disks([tmp_path, tmp_path / "inner", tmp_path / "missing"])
    # Then the file system is there once, under the first name
    there = os.statvfs(tmp_path)
    assert [disk["path"] for disk in disks] == [str(tmp_path)]
    assert disks[0]["total"] == there.f_blocks * there.f_frsize


def test_the_newest_code_is_that_which_was_started_last(tmp_path: Path) -> None:
    # Given the code of two revisions, and what else lies there
    for age, name in enumerate(("labfleet.git", "b" * 40, "a" * 40)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    # When the newest is looked for, then it is the one that was used last
    assert script.newest(tmp_path) == "b" * 40
    assert script.newest(tmp_path / "missing") == ""


# ---- the whole script ------------------------------------------------------------------------------------------------

#: Notes how it is called, and answers as Docker 20.10 does.
DOCKER = r"""#!/bin/sh
echo "$*" >>log
case "$*" in
"info "*) echo /var/lib/docker ;;
"image inspect "*:new) echo sha256:1234 ;;
"image inspect "*) echo "Error: No such image" >&2; exit 1 ;;
"container inspect "*) cat containers; echo "Error: No such container" >&2; exit 1 ;;
"run "*) cat check; echo "a complaint" >&2 ;;
esac
"""

SYSTEMCTL = r"""#!/bin/sh
for word; do
    case "$word" in
    *.service)
        printf 'Id=%s\nLoadState=loaded\nActiveState=%s\nSubState=running\n\n' "$word" "$(cat state)" ;;
    esac
done
"""

CONTAINERS = [
    {
        "Name": "/labfleet-worker",
        "Image": "sha256:1234",
        "Config": {"Image": "labfleet-worker:new"},
        "State": {"Running": True, "Pid": 1 << 22},  # more than Linux gives: the service itself is not there
    },
    {"Name": "/labfleet-distcc", "Image": "", "Config": {"Image": ""}, "State": {"Running": False, "Pid": 0}},
]

CHECK = SelfCheck(redis=Knock(Met.LET_IN), disk="", stores={"git": Knock(Met.REFUSED, "denied")})

REVISION = "a" * 40


class Site:
    """A machine's folders, and stand-ins for Docker and systemd that work in one of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings, self.homes = folder, folder / "etc", folder / "var"
        self.write("containers", json.dumps(CONTAINERS))
        self.write("check", encode(CHECK).decode())
        self.write("state", "active")
        for name, text in (("docker", DOCKER), ("systemctl", SYSTEMCTL)):
            self.write(f"bin/{name}", text).chmod(0o755)

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def provision(self, role: str, image: str = "labfleet-worker:new") -> None:
        self.write(f"etc/{role}/settings.json", json.dumps({"role": role, "image": image}))
        (self.homes / role / "code" / REVISION).mkdir(parents=True)

    def facts(self) -> Facts:
        found: Facts = decode(json.dumps(script.facts(self.settings, self.homes)), Facts)
        return found

    @property
    def called(self) -> list[str]:
        """How Docker was called."""
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return Site(tmp_path)


def test_a_provisioned_machine_tells_everything(site: Site) -> None:
    # Given a machine that is a worker
    site.provision("worker")
    # When it is asked
    facts = site.facts()
    # Then settings, services, images, containers and the self-check are there
    assert facts.settings["worker"].image == "labfleet-worker:new"
    assert set(facts.units) == {"docker", *SERVICES["worker"]}
    assert facts.docker.root == "/var/lib/docker"
    assert facts.images["worker"].image == "sha256:1234"
    assert {name: container.image for name, container in facts.containers.items()} == {"labfleet-worker": "sha256:1234"}
    assert facts.checks["worker"].found == CHECK
    assert facts.memory.total > 0
    assert facts.began <= facts.ended


def test_a_self_check_stands_where_the_service_does_and_can_do_no_more(site: Site) -> None:
    # Given a worker, when it looks at itself
    site.provision("worker")
    site.facts()
    (call,) = [call for call in site.called if call.startswith("run ")]
    # Then that is in a container of the service's image, user, network, files and code, which is gone afterwards
    home, owner = site.homes / "worker", site.homes.stat()
    for words in (
        "--rm --init",
        "--network host --read-only --tmpfs /tmp",
        f"--user {owner.st_uid}:{owner.st_gid} --cap-drop ALL --security-opt no-new-privileges",
        f"--volume {home}:{home} --volume {site.settings}/worker:/etc/labfleet:ro",
        f"--env LABFLEET_REVISION={REVISION} --env PYTHONPATH={home}/code/{REVISION}",
    ):
        assert words in call
    python = "/opt/labfleet/venv/bin/python -P -m runner.services check"
    assert call.endswith(f"labfleet-worker:new timeout --signal=KILL 12 {python}")


def test_docker_is_not_asked_where_it_does_not_run(site: Site) -> None:
    # Given a worker on which Docker was stopped; systemd starts it again when somebody calls it
    site.provision("worker")
    site.write("state", "inactive")
    # When it is asked
    facts = site.facts()
    # Then it is told, and Docker is left as it is
    assert facts.units["docker"].active == "inactive"
    assert facts.docker.root == ""
    assert facts.checks == {}
    assert site.called == []


def test_why_a_self_check_failed_is_told(site: Site) -> None:
    # Given a worker whose code is too old to look at itself
    site.provision("worker")
    site.write("check", "")
    # When it is asked, then the reason is there
    assert site.facts().checks["worker"].complaint == "a complaint"
    # And where no code has come yet, it is told, too
    shutil.rmtree(site.homes / "worker" / "code")
    assert site.facts().checks["worker"].complaint == "the service has never run here"


def test_a_self_check_stands_in_for_what_runs(site: Site) -> None:
    # Given a worker that runs another image than its settings name, and code that is gone
    site.provision("worker", image="labfleet-worker:gone")
    older = site.homes / "worker" / "code" / ("b" * 40)
    older.mkdir()
    os.utime(older, (1, 1))
    # When it looks at itself, then with the image that runs, and the code that was started last
    assert site.facts().checks["worker"].found == CHECK
    (call,) = [call for call in site.called if call.startswith("run ")]
    assert " labfleet-worker:new timeout " in call
    assert f"LABFLEET_REVISION={REVISION} " in call


def test_a_self_check_that_hangs_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a worker whose self-check does not end
    site.provision("worker")
    site.write("bin/docker", DOCKER.replace('"run "*) cat check', '"run "*) exec sleep 60'))
    monkeypatch.setattr(script, "LONG_PATIENCE", 0.5)
    # When it is asked, then that is told
    assert site.facts().checks["worker"].complaint == "no answer within 0.5 s"


def test_an_image_that_is_not_there_is_missing(site: Site) -> None:
    # Given a head whose image is not there, when it is asked, then it is missing, and nothing is tried with it
    site.provision("head", image="labfleet-worker:gone")
    facts = site.facts()
    assert facts.images == {}
    assert not [call for call in site.called if call.startswith("run ")]


def test_a_hanging_docker_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a Docker that does not answer
    site.provision("worker")
    site.write("bin/docker", "#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(script, "PATIENCE", 0.2)
    # When it is asked, then that is told
    docker = site.facts().docker
    assert (docker.root, docker.complaint) == ("", "no answer within 0.2 s")


def test_what_docker_complains_about_is_told(site: Site) -> None:
    # Given a Docker that fails
    site.provision("worker")
    site.write("bin/docker", "#!/bin/sh\necho a warning >&2; echo Cannot connect >&2; exit 1\n")
    # When it is asked, then the last that it said is told
    docker = site.facts().docker
    assert (docker.root, docker.complaint) == ("", "Cannot connect")
    # And a program that fails without a word, or is missing, is told as well
    assert script.ask("false") == ("", "it did not say why")
    assert script.ask("sh", "-c", "echo fine; echo a warning >&2") == ("fine", "")
    assert script.ask("no-such-program") == ("", "no-such-program is not installed")


def test_settings_that_cannot_be_read_are_told_from_none(site: Site) -> None:
    # Given settings that are cut short, when they are read, then they are there, but empty
    site.write("etc/head/settings.json", '{"role": "hea')
    assert site.facts().settings == {"head": Settings()}
    site.write("etc/head/settings.json", "[]")
    assert site.facts().settings == {"head": Settings()}


def test_a_head_tells_what_it_knows_of_the_lab(site: Site) -> None:
    # Given a head with a deployed revision, and a note of a worker
    site.provision("head")
    repository = site.homes / "head" / "git" / "labfleet.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(repository)], check=True)
    script_of_commit = """
    commit=$(git -c user.name=x -c user.email=x@example.org commit-tree -m x "$(git mktree </dev/null)")
    git update-ref refs/heads/deployed "$commit" && echo "$commit"
    """
    argv = ["sh", "-ec", script_of_commit]
    commit = subprocess.run(argv, cwd=repository, capture_output=True, check=True).stdout.decode().strip()
    site.write("etc/head/workers/w1.json", '{"name": "w1", "address": "192.0.2.1", "slots": 2, "builder": true}')
    site.write("etc/head/workers/half.json", '{"name":')
    # When it is asked, then both are there
    facts = site.facts()
    assert facts.deployed == commit
    assert facts.workers == (Offer("w1", "192.0.2.1", builder=True),)


def test_the_revision_is_that_of_the_process_below_the_containers_init() -> None:
    # Given a process with a child that runs a revision
    argv = ["sh", "-c", f"env LABFLEET_REVISION={REVISION} sleep 60; true"]
    with subprocess.Popen(argv) as init:
        try:
            # When it is looked for, then it is found
            eventually(lambda: script.revision_below(init.pid) == REVISION, "the revision")
        finally:
            for entry in Path("/proc").glob("[0-9]*/stat"):
                try:
                    if entry.read_text().rpartition(")")[2].split()[1] == str(init.pid):
                        os.kill(int(entry.parent.name), 9)
                except OSError:
                    continue
            init.kill()


def test_the_script_needs_nothing_but_an_old_python() -> None:
    # Given the script, when it is read as Python 3.8, then it is one
    tree = ast.parse(Path(script.__file__).read_text(), feature_version=(3, 8))
    # And it imports the standard library alone
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - {"__future__"} <= sys.stdlib_module_names


def test_the_script_runs_from_standard_input() -> None:
    # Given a machine that has never seen labfleet, this one
    source = Path(script.__file__).read_bytes()
    # When the script is sent to Python there
    done = subprocess.run([sys.executable, "-I", "-"], input=source, capture_output=True, check=True)
    # Then the answer is the facts of a machine
    assert decode(done.stdout, Facts).memory.total > 0


def test_both_sides_mean_the_same_services() -> None:
    # Given the names of services in the script and here, when they are compared, then they are the same
    assert script.SERVICES == SERVICES
