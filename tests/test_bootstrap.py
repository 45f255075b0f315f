"""What ./bootstrap does on a machine, told from the commands that it runs there.

Python, pip and the package managers are stand-ins that write down how they are called; all else is the real thing.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Commands of every Linux machine that the script may use.
TOOLS = (
    "sh",
    "cat",
    "dirname",
    "env",
    "flock",
    "head",
    "mktemp",
    "readlink",
    "rm",
    "sed",
    "sha256sum",
    "tail",
)

#: Commands that labfleet needs, and the script has to see to.
NEEDED = ("git", "redis-server", "g++", "make", "setpriv", "choom", "ssh", "rsync")

#: A Python of some version, perhaps without the module that makes virtual environments.
PYTHON = """#!/bin/sh
case $* in
*'%d.%d.%d'*) echo {version} ;;
*'version_info <'*) exit {too_old} ;;
*'import ensurepip'*) exit {no_venv} ;;
*python_version*) echo {version} ;;
*'-m venv'*)
    echo "venv $*" >>"$CALLS"
    for folder; do :; done
    mkdir -p "$folder/bin"
    cp "$STAND_INS"/venv/* "$folder/bin/"
    ln -sf "$STAND_INS/venv/python" "$folder/bin/python"
    ;;
esac
"""

#: The virtual environment's Python: all it does is run pip.
VENV_PYTHON = """#!/bin/sh
echo "pip $*" >>"$CALLS"
env | grep -E '^(PIP_|PYTHON|VIRTUAL_ENV)' | sort >"$CALLS.environment"
if [ -e "$STAND_INS/pip-waits" ]; then cat "$STAND_INS/pip-waits"; fi
if [ -e "$STAND_INS/pip-fails" ]; then echo 'no network' >&2; exit 1; fi
"""

#: Programs of the virtual environment tell what they were called with.
TELLS = """#!/bin/sh
echo "{name} in $PWD, HOME ${{HOME-unset}}"
for argument; do printf '<%s>\\n' "$argument"; done
if [ -e "$STAND_INS/{name}-fails" ]; then exit 1; fi
"""

NOTES_CALL = """#!/bin/sh
echo "{name} $*" >>"$CALLS"
"""

#: Installs what the script lacks.
APT_GET = """#!/bin/sh
echo "apt-get ${DEBIAN_FRONTEND-} $*" >>"$CALLS"
case $* in *install*) cp "$STAND_INS/program" "$STAND_INS/bin/redis-server" ;; esac
echo 'a lot of output'
"""


class Machine:
    """A machine as the script sees it, with a checkout on it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.checkout = place / "a checkout"
        self.bin = place / "bin"
        self.calls_file = place / "calls"
        self.calls_file.touch()
        for folder in (self.checkout, self.bin, place / "venv", place / "elsewhere"):
            folder.mkdir()
        for name in ("bootstrap", "requirements.lock", "requirements-dev.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, self.checkout)
        for name in (*TOOLS, "cp", "grep", "ln", "mkdir", "sort"):
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self.script(place / "program", "#!/bin/sh\n")
        for name in NEEDED:
            shutil.copy(place / "program", self.bin / name)
        self.has_user(1000)
        self.has_python("python3", "3.11.2")
        self.script(place / "venv/python", VENV_PYTHON)
        for name in ("invoke", "ruff", "mypy", "pytest"):
            self.script(place / "venv" / name, TELLS.format(name=name))

    def script(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def has_user(self, number: int) -> None:
        self.script(self.bin / "id", f"#!/bin/sh\necho {number}\n")

    def has_python(self, name: str, version: str, *, venv: bool = True) -> None:
        too_old = int(tuple(map(int, version.split(".")))[:2] < (3, 11))
        self.script(self.bin / name, PYTHON.format(version=version, too_old=too_old, no_venv=int(not venv)))

    def has_package_manager(self, name: str) -> None:
        self.script(self.bin / name, APT_GET if name == "apt-get" else NOTES_CALL.format(name=name))

    def lacks(self, *names: str) -> None:
        for name in names:
            (self.bin / name).unlink()

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.checkout / "bootstrap", *arguments],
            cwd=self.place / "elsewhere",
            env={
                "PATH": str(self.bin),
                "HOME": "/home/someone",
                "CALLS": str(self.calls_file),
                "STAND_INS": str(self.place),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def calls(self) -> list[str]:
        """Return what was called since this was asked last."""
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.write_text("")
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# ---- what is run -------------------------------------------------------------------------------------------------


def test_the_first_call_installs_what_the_lock_says_and_runs_the_command(machine: Machine) -> None:
    # When labfleet is called for the first time
    done = machine.call("campaign", "--config", "Two Words", "")
    # Then the packages are those of the lock, checked by their hashes, and labfleet itself is the checkout
    venv, packages, itself = machine.calls()
    assert venv.endswith(f"-m venv --clear {machine.checkout}/.venv")
    assert packages.endswith(f"--require-hashes -r {machine.checkout}/requirements.lock")
    assert itself.endswith(f"--no-deps --no-build-isolation --editable {machine.checkout}")
    # … and the command gets its arguments word for word, in the folder where the person is
    assert done.stdout.splitlines() == [
        f"invoke in {machine.place}/elsewhere, HOME /home/someone",
        "<--search-root>",
        f"<{machine.checkout}>",
        "<campaign>",
        "<--config>",
        "<Two Words>",
        "<>",
    ]
    assert done.returncode == 0


def test_the_second_call_only_runs_the_command(machine: Machine) -> None:
    # Given a machine on which labfleet was called
    machine.call("--list")
    machine.calls()
    # When it is called again, even where nothing could be installed any more
    machine.lacks("python3", "git", "flock")
    done = machine.call("campaign")
    # Then nothing but the command is run, and nothing else is said
    assert machine.calls() == []
    assert "<campaign>" in done.stdout
    assert (done.stderr, done.returncode) == ("", 0)


def test_without_arguments_the_commands_are_listed(machine: Machine) -> None:
    assert machine.call().stdout.splitlines()[-1] == "<--list>"


def test_a_link_to_the_script_will_do(machine: Machine) -> None:
    # Given a link in a folder of the person's PATH
    link = machine.bin / "fleet"
    link.symlink_to(machine.checkout / "bootstrap")
    # When that is called
    done = subprocess.run(
        ["fleet", "campaign"],
        env={"PATH": str(machine.bin), "CALLS": str(machine.calls_file), "STAND_INS": str(machine.place)},
        executable=link,
        capture_output=True,
        text=True,
        check=True,
    )
    # Then the checkout is found
    assert f"<{machine.checkout}>" in done.stdout


# ---- when it installs again --------------------------------------------------------------------------------------


def test_a_changed_lock_is_installed_into_the_same_environment(machine: Machine) -> None:
    # Given a machine on which labfleet was called
    machine.call("--list")
    machine.calls()
    # When the lock changes
    with (machine.checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    machine.call("--list")
    # Then pip brings the environment up to date, once
    assert [call.split()[0] for call in machine.calls()] == ["pip", "pip"]
    machine.call("--list")
    assert machine.calls() == []


def test_an_interrupted_installation_is_done_again_from_the_start(machine: Machine) -> None:
    # Given an installation that failed
    (machine.place / "pip-fails").touch()
    failed = machine.call("--list")
    assert (failed.returncode, failed.stdout) == (3, "")
    assert "no network" in failed.stderr
    assert machine.calls()
    # When labfleet is called again
    (machine.place / "pip-fails").unlink()
    done = machine.call("--list")
    # Then nothing of what is there is trusted
    assert [call.split()[0] for call in machine.calls()] == ["venv", "pip", "pip"]
    assert done.returncode == 0


def test_an_interrupted_update_is_done_again_from_the_start(machine: Machine) -> None:
    # Given an environment that was complete, and whose update failed
    machine.call("--list")
    with (machine.checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    (machine.place / "pip-fails").touch()
    machine.call("--list")
    machine.calls()
    # When labfleet is called again
    (machine.place / "pip-fails").unlink()
    machine.call("--list")
    # Then nothing of what is there is trusted
    assert [call.split()[0] for call in machine.calls()] == ["venv", "pip", "pip"]


def test_a_checkout_that_was_moved_gets_a_new_environment(machine: Machine) -> None:
    # Given an environment, whose programs name the folder they were made for
    machine.call("--list")
    machine.calls()
    # When the checkout is moved
    machine.checkout = machine.checkout.rename(machine.place / "moved")
    machine.call("--list")
    # Then the environment is made anew
    assert machine.calls()[0].endswith(f"-m venv --clear {machine.checkout}/.venv")


def test_an_exchanged_python_gets_a_new_environment(machine: Machine) -> None:
    # Given an environment that uses the distribution's Python
    machine.call("--list")
    machine.calls()
    # When an upgrade of the distribution puts another one in its place
    python = machine.checkout / ".venv/bin/python"
    shutil.copy(python, machine.place / "python3.12")
    python.unlink()
    python.symlink_to(machine.place / "python3.12")
    machine.call("--list")
    # Then the environment is made anew
    assert "-m venv --clear" in machine.calls()[0]


@pytest.fixture
def gate(machine: Machine) -> Iterator[Path]:
    """Return a named pipe; pip waits until somebody writes to it."""
    gate = machine.place / "pip-waits"
    os.mkfifo(gate)
    yield gate
    gate.unlink(missing_ok=True)


def test_of_two_calls_at_the_same_time_one_installs(machine: Machine, gate: Path) -> None:
    # Given a call that is installing
    first = machine.start("first")
    assert first.stderr
    assert "making .venv" in first.stderr.readline()
    assert "installing" in first.stderr.readline()
    # When there is another call
    second = machine.start("second")
    assert second.stderr
    assert "waiting" in second.stderr.readline()
    # … and the first one goes on
    writer = os.open(gate, os.O_WRONLY)
    gate.unlink()
    os.close(writer)
    # Then both run their command, and one has installed
    outputs = [process.communicate()[0] for process in (first, second)]
    assert "<first>" in outputs[0]
    assert "<second>" in outputs[1]
    assert (first.returncode, second.returncode) == (0, 0)
    assert [call.split()[0] for call in machine.calls()] == ["venv", "pip", "pip"]


# ---- what the machine lacks --------------------------------------------------------------------------------------


def test_a_python_that_is_too_old_is_one_line(machine: Machine) -> None:
    # Given a machine whose newest Python is older than labfleet needs
    machine.has_python("python3", "3.9.2")
    # When labfleet is called
    done = machine.call("campaign")
    # Then one line says what there is and what is needed
    assert done.stderr == "bootstrap: labfleet needs Python 3.11 or newer; found: python3 is 3.9.2.\n"
    assert (done.returncode, done.stdout) == (3, "")


def test_a_newer_python_beside_an_old_one_is_found(machine: Machine) -> None:
    # Given a machine whose own Python is too old, with a newer one beside it
    machine.has_python("python3", "3.10.12")
    machine.has_python("python3.12", "3.12.1")
    # When labfleet is called
    done = machine.call("campaign")
    # Then the newer one is taken
    assert "making .venv with Python 3.12.1" in done.stderr
    assert done.returncode == 0


def test_a_name_of_python_that_cannot_be_run_is_passed_over(machine: Machine) -> None:
    # Given a version manager's stand-in for a Python that is not installed
    machine.script(machine.bin / "python3", "#!/bin/sh\necho 'python3: no such version' >&2; exit 127\n")
    machine.has_python("python3.13", "3.13.0")
    # Then the one that works is taken
    assert machine.call("campaign").returncode == 0


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "sudo apt-get install redis-server g++ python3-venv"),
        ("dnf", "sudo dnf install redis gcc-c++ python3-libs"),
        ("pacman", "sudo pacman -S --needed redis gcc python"),
    ],
)
def test_a_person_is_told_the_one_command_that_installs_what_lacks(
    machine: Machine, manager: str, command: str
) -> None:
    # Given a machine that lacks programs and a part of Python, and a person who is not root
    machine.has_package_manager(manager)
    machine.lacks("redis-server", "g++")
    machine.has_python("python3", "3.11.2", venv=False)
    # When labfleet is called
    done = machine.call("campaign")
    # Then nothing is installed, and the command to type is there
    assert done.stderr == (
        f"bootstrap: this machine lacks redis-server, g++, python3-venv.  Type this, then try again:\n  {command}\n"
    )
    assert machine.calls() == []
    assert done.returncode == 3


@pytest.mark.parametrize("how", ["variable", "setting", "provision"])
def test_who_uses_a_lab_s_machines_needs_no_services_here(machine: Machine, how: str) -> None:
    # Given a machine that could not run a local lab
    machine.has_package_manager("apt-get")
    machine.lacks("redis-server", "g++", "make")
    # When its person has chosen a remote lab, or sets one up
    config = machine.place / "config"
    (config / "labfleet").mkdir(parents=True)
    if how == "setting":
        (config / "labfleet" / "lab").write_text("ada@head\n")
    variables = {"XDG_CONFIG_HOME": str(config)} | ({"LABFLEET_LAB": "ada@head"} if how == "variable" else {})
    words = ("provision",) if how == "provision" else ("campaign",)
    # Then nothing is lacking
    assert machine.call(*words, **variables).returncode == 0
    # … but for the local lab it would be, and a remote one needs SSH
    shutil.rmtree(machine.checkout / ".venv")
    local = machine.call("campaign", XDG_CONFIG_HOME=str(config), LABFLEET_LAB="local")
    assert "lacks redis-server, g++, make" in local.stderr
    machine.lacks("ssh")
    assert "apt-get install openssh-client" in machine.call(*words, **variables).stderr


def test_the_venv_package_of_a_newer_python_has_its_own_name(machine: Machine) -> None:
    # Given a machine where the Python that is new enough cannot make virtual environments
    machine.has_package_manager("apt-get")
    machine.has_python("python3", "3.10.12")
    machine.has_python("python3.11", "3.11.0", venv=False)
    # Then its own package is named
    assert machine.call("campaign").stderr.endswith("  sudo apt-get install python3.11-venv\n")


def test_a_machine_without_any_python_is_told_so(machine: Machine) -> None:
    machine.has_package_manager("apt-get")
    machine.lacks("python3")
    assert machine.call("campaign").stderr.endswith("  sudo apt-get install python3 python3-venv\n")


def test_root_gets_it_installed_on_debian(machine: Machine) -> None:
    # Given a Debian machine that lacks a program
    machine.has_package_manager("apt-get")
    machine.lacks("redis-server")
    machine.has_user(0)
    # When root calls labfleet
    done = machine.call("campaign")
    # Then apt-get installs it without asking and without its chatter, and the command is run
    update, install, *_ = machine.calls()
    assert update.split()[:2] == ["apt-get", "noninteractive"]
    assert update.endswith("update")
    assert install.endswith("install redis-server")
    assert "a lot of output" not in done.stdout + done.stderr
    assert "<campaign>" in done.stdout
    assert done.returncode == 0


def test_root_elsewhere_is_told_the_command(machine: Machine) -> None:
    # Given a machine of another family that lacks a program
    machine.has_package_manager("dnf")
    machine.lacks("redis-server")
    machine.has_user(0)
    # When root calls labfleet
    done = machine.call("campaign")
    # Then the command is there, without sudo, and not run
    assert done.stderr.endswith("\n  dnf install redis\n")
    assert machine.calls() == []
    assert done.returncode == 3


# ---- the person's environment ------------------------------------------------------------------------------------


@pytest.mark.parametrize("home", [{"HOME": ""}, {}])
def test_an_empty_home_is_none(machine: Machine, home: dict[str, str]) -> None:
    # Given a shell without HOME, or with an empty one, which Python would take for the root directory
    environment = {
        "PATH": str(machine.bin),
        "CALLS": str(machine.calls_file),
        "STAND_INS": str(machine.place),
    }
    # When labfleet is called there
    done = subprocess.run(
        [machine.checkout / "bootstrap", "campaign"],
        env=environment | home,
        capture_output=True,
        text=True,
        check=True,
    )
    # Then it has none
    assert "HOME unset" in done.stdout


def test_settings_for_other_environments_do_not_reach_this_one(machine: Machine) -> None:
    # Given a shell with an activated environment, and settings for it
    done = machine.call(
        "campaign",
        VIRTUAL_ENV="/home/someone/other",
        PYTHONPATH="/home/someone/modules",
        PYTHONHOME="/home/someone/python",
        PIP_TARGET="/home/someone/target",
        PIP_USER="1",
        PIP_NO_DEPS="1",
        PIP_INDEX_URL="https://packages.example/simple",
    )
    # When labfleet is installed
    assert done.returncode == 0
    # Then pip knows where packages come from, and nothing about other places to put them
    assert (machine.place / "calls.environment").read_text().splitlines() == [
        "PIP_INDEX_URL=https://packages.example/simple",
        "PIP_USER=0",
    ]


# ---- the test suite ----------------------------------------------------------------------------------------------


def test_the_test_suite_has_its_own_packages_and_gets_the_arguments(machine: Machine) -> None:
    # When the tests are run
    done = machine.call("test", "-k", "two words")
    # Then the development lock was installed
    assert machine.calls()[1].endswith(f"-r {machine.checkout}/requirements-dev.lock")
    # … and all checks are run in the checkout, pytest last
    lines = done.stdout.splitlines()
    where = f"in {machine.checkout}, HOME /home/someone"
    assert lines == [
        *(f"ruff {where}", "<check>", "<.>"),
        *(f"ruff {where}", "<format>", "<--check>", "<.>"),
        f"mypy {where}",
        *(f"pytest {where}", "<-k>", "<two words>"),
    ]


def test_a_failed_check_is_the_end_of_the_test_suite(machine: Machine) -> None:
    # Given a file that a check complains about
    (machine.place / "mypy-fails").touch()
    # When the tests are run
    done = machine.call("test")
    # Then that cannot be overlooked
    assert done.stdout.splitlines()[-1].startswith("mypy")
    assert done.returncode == 1


@pytest.mark.parametrize("command", ["bench", "faults", "testlab"])
def test_commands_that_are_made_of_the_tests_have_their_packages(machine: Machine, command: str) -> None:
    # Given a fresh checkout, when a command for developers is called, then it finds what the tests are made of
    machine.call(command, "--help")
    assert machine.calls()[1].endswith(f"-r {machine.checkout}/requirements-dev.lock")


def test_packages_for_development_are_enough_for_everything_else(machine: Machine) -> None:
    # Given a machine on which the tests were run
    machine.call("test")
    machine.calls()
    # When a command is called
    machine.call("campaign")
    # Then nothing is installed again
    assert machine.calls() == []
