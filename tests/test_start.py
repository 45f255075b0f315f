"""What the worker image's `start` promises, with real git: a service runs the deployed code, or the last known."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

START = Path(__file__).parent.parent / "playbooks/roles/image/files/start.py"

#: A service that says what it was started with.
SERVICE = """import json, os, sys
words = dict(os.environ, pid=os.getpid(), nice=os.nice(0), argv=sys.argv[1:], file=__file__, version=VERSION)
print(json.dumps(words))
"""

Start = Callable[..., "subprocess.CompletedProcess[str]"]


def git(*arguments: str | Path) -> str:
    """Run git as somebody who deploys."""
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    command = ["git", *who, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """Return the working tree whose branch `deployed` is the lab's code."""
    tree = tmp_path / "server"
    git("init", "-q", "-b", "deployed", tree)
    return tree


def deploy(server: Path, version: int) -> str:
    """Deploy a version and return its commit."""
    (server / "runner").mkdir(exist_ok=True)
    (server / "runner/__init__.py").touch()
    (server / "runner/services.py").write_text(SERVICE.replace("VERSION", str(version)))
    git("-C", server, "add", "-A")
    git("-C", server, "commit", "-q", "-m", str(version))
    return git("-C", server, "rev-parse", "HEAD")


@pytest.fixture
def start(tmp_path: Path, server: Path) -> Start:
    """Return what starts a service, with some of the machine's settings."""

    def run(role: str = "agent", **settings: object) -> "subprocess.CompletedProcess[str]":
        common = {"home": str(tmp_path / "home"), "head": "head", "code": str(server)}
        (tmp_path / "settings.json").write_text(json.dumps(common | settings))
        environment = {"PATH": os.environ["PATH"], "LABFLEET_SETTINGS": str(tmp_path)}
        command = [sys.executable, str(START), role]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def said(process: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """Return what the service says that it was started with."""
    assert process.returncode == 0, process.stderr
    words: dict[str, Any] = json.loads(process.stdout)
    return words


def test_a_service_runs_the_deployed_code(server: Path, start: Start, tmp_path: Path) -> None:
    # Given a deployed commit
    commit = deploy(server, 1)

    # When a service starts
    service = said(start("hub"))

    # Then it is that commit's, in the machine's home, and knows which it is
    assert service["version"] == 1
    assert service["argv"] == ["hub"]
    assert service["LABFLEET_REVISION"] == commit
    assert service["LABFLEET_HOME"] == service["HOME"] == str(tmp_path / "home")
    assert service["LABFLEET_SETTINGS"] == str(tmp_path)


def test_a_service_that_starts_again_takes_the_new_code_and_nothing_of_the_old(
    server: Path, start: Start, tmp_path: Path
) -> None:
    # Given a service of one commit, and another one deployed since
    deploy(server, 1)
    old = said(start())
    new = deploy(server, 2)

    # When it starts again with its own environment, as it does on SIGHUP
    environment = {name: value for name, value in old.items() if isinstance(value, str)}
    command = [sys.executable, str(START), "agent"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        answer = json.loads(process.communicate()[0])

    # Then it is the new commit, still the same process, and Python finds nothing of the old
    assert answer["version"] == 2
    assert answer["pid"] == process.pid
    assert answer["PYTHONPATH"] == str(tmp_path / "home/code" / new)


def test_without_the_git_server_the_last_code_runs(server: Path, start: Start) -> None:
    # Given a machine that has run a commit, and a git server that is gone
    deploy(server, 1)
    start()
    shutil.rmtree(server)

    # When a service starts
    process = start()

    # Then it runs that commit and says that there may be a newer one
    assert said(process)["version"] == 1
    assert "could not be fetched" in process.stderr


def test_without_any_code_it_says_so(start: Start) -> None:
    # Given a lab to which nothing has been deployed
    # When a service starts
    process = start()

    # Then it ends with a sentence, and systemd may try again
    assert process.returncode == 1
    assert "there is no code yet" in process.stderr
    assert "Traceback" not in process.stderr


def test_what_an_interrupted_start_left_is_never_run(server: Path, start: Start, tmp_path: Path) -> None:
    # Given a machine on which a power cut left code half laid out and git in the middle of a fetch
    deploy(server, 1)
    said(start())
    commit = deploy(server, 2)
    half_done = tmp_path / "home/code" / ".half-done"
    (half_done / "runner").mkdir(parents=True)
    (tmp_path / "home/code/labfleet.git/refs/heads/deployed.lock").touch()

    # When a service starts
    service = said(start())

    # Then it runs the whole commit that is deployed
    assert service["file"] == str(tmp_path / "home/code" / commit / "runner/services.py")


def test_services_of_one_home_may_start_at_once(server: Path, start: Start, tmp_path: Path) -> None:
    # Given a head on which nothing has run yet
    commit = deploy(server, 1)
    said(start())
    shutil.rmtree(tmp_path / "home")

    # When its services start at the same time
    environment = {"PATH": os.environ["PATH"], "LABFLEET_SETTINGS": str(tmp_path)}
    command = [sys.executable, str(START), "hub"]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(4)]
    answers = [json.loads(process.communicate()[0]) for process in processes]

    # Then all run the commit, and nothing half-made is left
    assert [answer["LABFLEET_REVISION"] for answer in answers] == [commit] * 4
    assert sorted(os.listdir(tmp_path / "home/code")) == sorted([commit, "labfleet.git", "lock"])


def test_old_code_goes_when_there_is_enough_newer(server: Path, start: Start, tmp_path: Path) -> None:
    # Given more commits, one after the other, than are kept
    keep = _module().KEEP
    commits = []
    for version in range(keep + 2):
        commits.append(deploy(server, version))
        said(start())

    # When we look at what is laid out
    folders = {entry.name for entry in (tmp_path / "home/code").iterdir()} - {"labfleet.git", "lock"}

    # Then it is the newest ones
    assert folders == set(commits[-keep:])


def test_only_the_builder_compiles_with_the_help_of_others(server: Path, start: Start, tmp_path: Path) -> None:
    # Given the lab's builder and another worker
    deploy(server, 1)

    # When each starts
    other, builder = said(start(builder=False)), said(start(builder=True))

    # Then both compile through ccache, and the builder's ccache through distcc, which finds its folder
    assert other["CCACHE_DIR"] == builder["CCACHE_DIR"] == str(tmp_path / "home/ccache")
    assert "CCACHE_PREFIX" not in other
    assert builder["CCACHE_PREFIX"] == "distcc"
    assert Path(builder["DISTCC_DIR"]).is_dir()


def test_on_a_desktop_all_is_done_behind_the_person(server: Path, start: Start) -> None:
    # Given a machine at which somebody works, and one at which nobody does
    deploy(server, 1)

    # When a worker starts
    desktop, other = said(start(desktop=True)), said(start(desktop=False))

    # Then only the desktop's is nice
    assert (desktop["nice"], other["nice"]) == (19, os.nice(0))


def test_git_goes_to_the_head_with_this_key_and_to_no_unknown_host(tmp_path: Path) -> None:
    # Given a worker's settings
    # When git is told how to reach the head
    command = _module(LABFLEET_SETTINGS=str(tmp_path)).ssh({"head": "head", "ssh_port": 2222}).split()

    # Then it is by the machine's key for git, at the head's port, and never past an unknown host key or a question
    assert command[command.index("-i") + 1] == f"{tmp_path}/git.key"
    assert command[command.index("-p") + 1] == "2222"
    assert {"IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=yes"} <= set(command)
    assert f"UserKnownHostsFile={tmp_path}/known_hosts" in command


def _module(**variables: str) -> ModuleType:
    """Return the program as a module, as it is with some variables of the environment."""
    specification = importlib.util.spec_from_file_location("start", START)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        specification.loader.exec_module(module)
    return module
