"""Playbooks are carried out: what reaches Ansible, what comes of each machine, and what is left behind: nothing.

Each run of Ansible costs seconds, so each shows several promises.  The machines are this one, under several names.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner import code_bundle, provision
from runner.errors import LabFailed, WrongUse
from runner.playbook import Differs, Failed, Happening, Outcome, Progress, Said, State, TaskStarted
from runner.provision import Order
from tests.conftest import eventually

ROOT = Path(__file__).resolve().parent.parent

#: Nothing listens there: the port's number is reserved.
CLOSED = "{ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}"

#: Stands for a sudo that asks for a password, on its own command line and as Ansible calls it.
SUDO = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
        -n) exit 1 ;;
        -p) printf %s "$2" >&2; shift 2 ;;
        -u) shift 2 ;;
        -*) shift ;;
        *) break ;;
    esac
done
read -r given && [ "$given" = open-sesame ] || exit 1
echo "$*" >> "$0.log"
exec "$@"
"""


@dataclass
class Watcher:
    """A view that remembers, and may break."""

    notes: list[str] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    ticks: int = 0
    broken: Exception | None = None
    is_closed: bool = False

    def note(self, text: str) -> None:
        self.notes.append(text)

    def happened(self, happening: Happening) -> None:
        if self.broken:
            raise self.broken
        self.happenings.append(happening)

    def tick(self, progress: Progress) -> None:
        assert progress.machines
        self.ticks += 1

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Site:
    """An inventory, playbooks, and a place that they may write to."""

    folder: Path

    @property
    def inventory(self) -> str:
        return str(self.folder / "lab.yml")

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def machines(self, workers: str = "{w1: , w2: }", head: str = "{h: }", more: str = "") -> None:
        (self.folder / "lab.yml").write_text(
            f"all: {{vars: {{ansible_connection: local, out: {self.out}, "
            f"ansible_python_interpreter: {sys.executable}{more}}}}}\n"
            f"head: {{hosts: {head}}}\nworkers: {{hosts: {workers}}}\n"
        )

    def playbook(self, text: str, name: str = "site.yml") -> None:
        (self.folder / "playbooks" / name).write_text(text)

    def provision(self, view: Watcher | None = None, **order: object) -> Outcome:
        wanted = Order(inventories=(self.inventory,), **order)  # type: ignore[arg-type]  # each test says what it needs
        return provision.provision(wanted, view or Watcher(), None)[1]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in [name for name in os.environ if name.startswith("ANSIBLE_")]:
        monkeypatch.delenv(name)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "private").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    free = tmp_path / "bin" / "sudo"
    free.write_text("#!/bin/sh\nexit 0\n")
    free.chmod(0o755)
    monkeypatch.setattr(provision, "PLAYBOOKS", tmp_path / "playbooks")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "private"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    site = Site(tmp_path)
    site.machines()
    return site


def states(outcome: Outcome) -> dict[str, State]:
    return {one.machine: one.state for one in outcome.machines}


# ---- runs --------------------------------------------------------------------------------------------------------

SITE = """
- hosts: head
  gather_facts: false
  tasks:
    - name: Keep what was told
      ansible.builtin.copy:
        content: "{{ told | to_json }}"
        dest: "{{ out }}/told"
        mode: "0600"
      vars:
        told: "{{ dict(names | zip(names | map('extract', vars))) }}"
        names: [labfleet_code_revision, labfleet_lock, labfleet_lock_sha256, labfleet_source, ansible_forks]
    - name: Take the code
      ansible.builtin.command:
        argv: [git, clone, --quiet, --branch=deployed, "{{ labfleet_code_bundle }}", "{{ out }}/code"]
    - name: Look around
      ansible.builtin.shell: "env > {{ out }}/env; ls -la {{ labfleet_code_bundle | dirname }} > {{ out }}/private"
      changed_when: false
- hosts: workers
  gather_facts: false
  tasks:
    - name: Fail on one
      ansible.builtin.command: "sh -c 'echo broken disk >&2; exit 5'"
      when: inventory_hostname == 'w1'
    - name: Go on with the others
      ansible.builtin.copy: {content: "", dest: "{{ out }}/{{ inventory_hostname }}", mode: "0600"}
"""


def test_machines_become_a_lab(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a lab of which one worker fails, one is switched off, and two are fine; and a person whose own settings
    # of Ansible are not labfleet's
    site.machines(f"{{w1: , w2: , w3: {CLOSED}, w4: }}")
    site.playbook(SITE)
    (site.folder / "ansible.cfg").write_text("[defaults]\nhost_key_checking = False\nforks = 1\nstrategy = free\n")
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")
    monkeypatch.setenv("ANSIBLE_KEEP_REMOTE_FILES", "1")
    monkeypatch.setenv("LC_ALL", "C")
    view = Watcher()
    # When it is provisioned
    outcome = site.provision(view)
    # Then each machine has its own outcome, and none has kept another from its own
    assert states(outcome) == {
        "h": State.READY,
        "w1": State.FAILED,
        "w2": State.READY,
        "w3": State.OFF,
        "w4": State.READY,
    }
    assert not outcome.is_complete
    assert [one.changed for one in outcome.machines] == [2, 0, 1, 0, 1]
    failed, off = outcome.machines[1].failure, outcome.machines[3].failure
    assert failed is not None
    assert (failed.task, failed.message.rpartition(": ")[2]) == ("Fail on one", "broken disk")
    assert off is not None
    assert off.message == "nothing listens on port 1 of 127.0.0.1"
    assert outcome.machines[3].hint
    assert {file.name for file in site.out.iterdir()} >= {"w2", "w4"}
    # … the view has seen it
    assert view.notes == ["w3: off: nothing listens on port 1 of 127.0.0.1; the others go on"]
    assert [one.failure for one in view.happenings if isinstance(one, Failed)] == [failed]
    assert view.ticks
    # … the playbook knows labfleet's files, among them this very code
    told = json.loads((site.out / "told").read_text())
    assert told.pop("ansible_forks") == 4
    assert told == {
        "labfleet_code_revision": code_bundle.revision(),
        "labfleet_lock": str(ROOT / "requirements-worker.lock"),
        "labfleet_lock_sha256": subprocess.run(
            ["sha256sum", ROOT / "requirements-worker.lock"], capture_output=True, text=True, check=True
        ).stdout.split()[0],
        "labfleet_source": str(ROOT),
    }
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=site.out / "code", capture_output=True, text=True, check=True
    )
    assert head.stdout.strip() == code_bundle.revision()
    # … Ansible was as labfleet needs it
    environment = (site.out / "env").read_text().splitlines()
    assert {"ANSIBLE_HOST_KEY_CHECKING=True", "ANSIBLE_KEEP_REMOTE_FILES=False"} <= set(environment)
    # … and nothing of it is left, which nobody else could have read
    assert not list((site.folder / "private").iterdir())
    listed = (site.out / "private").read_text().splitlines()
    assert listed[1].startswith("drwx------")
    assert re.search(r"^-rw------- .* variables\.json$", "\n".join(listed), re.MULTILINE)


CHECK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Write a file
      ansible.builtin.copy: {content: "after\\n", dest: "{{ out }}/file-{{ inventory_hostname }}", mode: "0600"}
      tags: [files]
    - name: Write a password
      ansible.builtin.copy: {content: "open-sesame\\n", dest: "{{ out }}/password", mode: "0600"}
      no_log: true
      tags: [files]
    - name: Something else
      ansible.builtin.command: "false"
      check_mode: false
"""


def test_checking_shows_differences_and_changes_nothing(site: Site) -> None:
    # Given a lab, of which one machine is asked for, and a mark of tasks
    site.playbook(CHECK)
    view = Watcher()
    # When it is only looked at what would change
    outcome = site.provision(view, check=True, diff=True, limit="w1", tags="files")
    # Then that is told of the machine, and of the head, which lets it in; tasks without the mark were not carried out
    assert outcome.is_check
    assert [(one.machine, one.state, one.changed) for one in outcome.machines] == [
        ("h", State.READY, 2),
        ("w1", State.READY, 2),
    ]
    # … differences are shown, but no secrets
    shown = {one.machine: one.text for one in view.happenings if isinstance(one, Differs)}
    assert shown.keys() == {"h", "w1"}
    assert "+after" in shown["w1"]
    assert "open-sesame" not in str(view.happenings)
    # … and nothing was written
    assert not list(site.out.iterdir())


def test_a_view_that_breaks_does_not_stop_the_machines(site: Site) -> None:
    # Given a view whose terminal is gone
    site.playbook(CHECK.replace('"false"', '"true"'))
    view = Watcher(broken=BrokenPipeError("gone"))
    # When the lab is provisioned, then that is raised
    with pytest.raises(BrokenPipeError, match="gone"):
        site.provision(view)
    # … after the machines are what they should be
    assert {file.name for file in site.out.iterdir()} == {"file-h", "file-w1", "file-w2", "password"}
    assert not list((site.folder / "private").iterdir())


WATCHED = """
- hosts: all
  become: true
  gather_facts: false
  tasks:
    - name: Look for the password
      ansible.builtin.shell: >-
        cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' ' > {{ out }}/processes;
        cp -r {{ labfleet_code_bundle | dirname }} {{ out }}/artefacts
"""


def test_the_sudo_password_is_nowhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine whose sudo asks for a password, which comes by standard input
    (site.folder / "bin" / "sudo").write_text(SUDO)
    site.machines("{h: }")
    site.playbook(WATCHED)
    (site.folder / "password").write_text("open-sesame\n")
    monkeypatch.setenv("ANSIBLE_BECOME_ALLOW_SAME_USER", "True")  # where these tests are root's, too
    # When it is provisioned
    with open(site.folder / "password") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        outcome = site.provision(ask_sudo=True)
    # Then sudo has taken it, once to try it, and then from Ansible
    assert states(outcome) == {"h": State.READY}
    first, *others = (site.folder / "bin" / "sudo.log").read_text().splitlines()
    assert first == "true"
    assert any("BECOME-SUCCESS" in line for line in others)
    # … but no process had it in its arguments or environment, and no file of ansible-runner's
    assert b"ansible-playbook" in (site.out / "processes").read_bytes()
    for file in [site.out / "processes", *(site.out / "artefacts").rglob("*")]:
        assert not file.is_file() or b"open-sesame" not in file.read_bytes(), file
    assert {"code.bundle", "runner", "variables.json"} <= {file.name for file in (site.out / "artefacts").iterdir()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_everything(site: Site, number: signal.Signals) -> None:
    # Given a provisioning that is in the middle of a task
    site.playbook(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: Take long\n"
        "      ansible.builtin.shell: echo $$ > {{ out }}/{{ inventory_hostname }}; exec sleep 600\n"
    )
    program = (
        "import sys; from pathlib import Path; from runner import provision; from runner.report import machines\n"
        f"provision.PLAYBOOKS = Path({str(site.folder / 'playbooks')!r})\n"
        f"order = provision.Order(inventories=({site.inventory!r},))\n"
        "lab, outcome = provision.provision(order, machines.view('provision', sys.stderr, {}), None)\n"
        "print(machines.table(lab, outcome)); sys.exit(130 if outcome.is_interrupted else 0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        eventually(lambda: process.poll() is not None or len(written(site)) == 3, "all machines at work", 60)
        tasks = [int(text) for text in written(site)]
        # When somebody ends it
        process.send_signal(number)
        stdout, stderr = process.communicate()
    # Then it says what that means, and nothing of it is left: processes, or files
    assert process.returncode == 130, stderr
    assert "interrupted: what is done stays, and the same command goes on from there" in stdout
    assert stdout.count("not finished") == 4
    assert len(tasks) == 3
    eventually(lambda: not any(is_at_work(task) for task in tasks), "the tasks' end")
    assert not list((site.folder / "private").iterdir())


def written(site: Site) -> list[str]:
    """Return the lines that tasks have written whole, each to a file of its own."""
    return [text for file in site.out.iterdir() if (text := file.read_text()).endswith("\n")]


def is_at_work(pid: int) -> bool:
    try:
        return "sleep" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_a_playbook_that_cannot_be_read_is_told(site: Site) -> None:
    # Given an installation that is not whole
    site.playbook("- hosts: all\n  roles: [nobody-has-this]\n")
    # When it is used, then Ansible's own words are passed on
    with pytest.raises(LabFailed, match=r"could not carry out site\.yml(?s:.*)nobody-has-this"):
        site.provision()


def test_what_provisioning_made_can_be_removed(site: Site) -> None:
    # Given a lab whose head is gone for good
    site.machines(head=f"{{h: {CLOSED}}}", workers="{w1: }")
    site.playbook(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.copy: {content: '{{ labfleet_teardown_data }}', dest: '{{ out }}/data', mode: '0600'}\n",
        "teardown.yml",
    )
    # When it is torn down, then the others are, and the head is told of
    order = Order(inventories=(site.inventory,))
    outcome = provision.teardown(order, Watcher(), None, data=True)[1]
    assert states(outcome) == {"h": State.OFF, "w1": State.READY}
    assert (site.out / "data").read_text() == "True"


# ---- nothing is touched ------------------------------------------------------------------------------------------


@pytest.fixture
def untouched(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what fails if a playbook has been begun."""
    import ansible_runner

    begun = []
    monkeypatch.setattr(ansible_runner, "run", lambda **_: begun.append(1))

    def untouched() -> None:
        assert not begun
        assert not list(site.out.iterdir())
        assert not list((site.folder / "private").iterdir())

    return untouched


def test_without_the_head_nothing_is_changed(site: Site, untouched: Callable[[], None]) -> None:
    # Given a head that is switched off
    site.machines(head=f"{{h: {CLOSED}}}")
    # When the lab is provisioned, or upgraded, also of a worker alone, then it ends there
    for act in (provision.provision, provision.upgrade):
        for limit in ("", "w1"):
            with pytest.raises(LabFailed, match="the head h nothing listens on port 1") as refused:
                act(Order(inventories=(site.inventory,), limit=limit), Watcher(), None)
            assert "nothing was changed on any machine" in refused.value.message
            assert "switch it on" in refused.value.hint
    untouched()


def test_a_mistake_in_the_inventory_changes_nothing(site: Site, untouched: Callable[[], None]) -> None:
    site.machines("{w1: {labfleet_slots: -1}, w2: {labfleet_slot: 1}}")
    with pytest.raises(WrongUse, match="has 2 mistakes"):
        site.provision()
    untouched()


def test_a_limit_that_matches_nothing_changes_nothing(site: Site, untouched: Callable[[], None]) -> None:
    with pytest.raises(WrongUse, match="--limit w9 matches no machine"):
        site.provision(limit="w9")
    untouched()


def test_a_password_that_nobody_can_give_changes_nothing(site: Site, untouched: Callable[[], None]) -> None:
    # Given a sudo that asks, and no terminal
    (site.folder / "bin" / "sudo").write_text(SUDO)
    with pytest.raises(LabFailed, match="sudo asks for a password on h, w1, w2"):
        site.provision()
    untouched()


def test_machines_that_are_not_the_labs_are_named(site: Site, untouched: Callable[[], None]) -> None:
    # Given an inventory of a whole site, and a head that is off so that it ends early
    site.machines(head=f"{{h: {CLOSED}}}")
    with open(site.inventory, "a") as file:
        file.write("printers: {hosts: {p1: , p2: }}\n")
    view = Watcher()
    with pytest.raises(LabFailed):
        site.provision(view)
    assert view.notes == ["in neither head nor workers, so left as they are: p1, p2"]
    untouched()


def test_happenings_reach_the_view_in_order(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given what ansible-runner says of a task and of the end
    import ansible_runner

    def run(event_handler: Callable[[dict[str, object]], bool], **_: object) -> None:
        events: list[dict[str, object]] = [
            {"event": "playbook_on_task_start", "event_data": {"play": "p", "task": "t"}},
            {"event": "warning", "stdout": "[WARNING]: careful"},
            {"event": "playbook_on_stats", "event_data": {"ok": {"h": 1, "w1": 1, "w2": 1}}},
        ]
        # None of it is to be kept in files
        assert [event_handler(event) for event in events] == [False, False, False]

    monkeypatch.setattr(ansible_runner, "run", run)
    view = Watcher()
    # When it is carried out, then the view hears of it in this order
    assert site.provision(view).is_complete
    assert view.happenings[:2] == [TaskStarted("p", "t"), Said("[WARNING]: careful", is_warning=True)]
