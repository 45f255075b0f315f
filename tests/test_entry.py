"""What people can do on the head: join, push to their own projects, fetch the results of their own campaigns.

git, rsync and the scripts are real; in place of sshd and sudo stands a shell script that does as they do.
"""

import fcntl
import hashlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from playbooks.roles.head.files import gate
from runner import curve
from runner.head import RSYNC_MISSING
from runner.paths import LabPaths
from runner.repository import last_push
from runner.web.people import People, own_token
from tests.conftest import eventually

FILES = Path(gate.__file__).parent
PRIVATE = "ANNA'S-ENVIRONMENT"
SERVER = "s" * 40

#: As sshd and the wrapper do: the person's shell takes the command apart, sudo says who they are.
SSH = """#!/bin/sh
while [ "$1" != head ]; do shift; done
shift
labfleet_head() {{ {command} "$@"; }}
eval "$*"
"""

#: The script, but what it says to the journal goes to a file.  The caller's folder is one that is not there any more.
RECORDED = """
import os, sys, syslog
from pathlib import Path
sys.path.insert(0, sys.argv[1])
journal = sys.argv[2]
def record(level, text):
    with open(journal, "a") as file:
        print(text, file=file)
syslog.syslog = record
import entry
os.mkdir(journal + str(os.getpid()))
os.chdir(journal + str(os.getpid()))
os.rmdir(os.getcwd())
sys.exit(entry.main(sys.argv[4:], Path(sys.argv[3])))
"""

Answer = subprocess.CompletedProcess[bytes]


def missing(reason: str) -> None:
    """Skip; fail where everything has to be there (CI=true)."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def has_landlock() -> bool:
    program = f"import sys; sys.path.insert(0, {str(FILES)!r}); import gate; sys.exit(not gate.confine({{}}))"
    return subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def key(number: int) -> str:
    """Return one of many public keys, with all kinds of characters that Z85 has."""
    return f"{number:020d}" + ".-:+=^!/*?&<>()[]{}@%$#"[:20]


def request(public: object, protocol: object = 1) -> bytes:
    return json.dumps({"protocol": protocol, "key": public}).encode() + b"\n"


class Head:
    """A head's home, and what its people's logins can call."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        for name in ("git", "keys", "campaigns"):
            (self.home / name).mkdir(parents=True)
        self.keys = self.home / "keys"
        (self.keys / "server.pub").write_text(f"{SERVER}\n")
        self.settings = folder / "settings.json"
        self.ports = {"foreman": 7411, "hub": 7412, "logs": 7413}
        said = {"role": "head", "name": "head1", "home": str(self.home), "ports": self.ports}
        self._said = said
        self.write_settings()
        self.journal_file = folder / "journal"

    def write_settings(self) -> None:
        self.settings.write_text(json.dumps(self._said))

    def journal(self) -> list[str]:
        return self.journal_file.read_text().splitlines() if self.journal_file.exists() else []

    def called_by(self, login: str | None) -> tuple[list[str], dict[str, str]]:
        argv = [sys.executable, "-c", RECORDED, str(FILES), str(self.journal_file), str(self.settings)]
        user = {"SUDO_USER": login} if login is not None else {}
        return argv, {"PATH": os.environ["PATH"], **user}

    def call(self, login: str | None, *arguments: str, said: bytes = b"") -> Answer:
        """Call the script as the wrapper does."""
        argv, environment = self.called_by(login)
        return subprocess.run(
            [*argv, *arguments], env=environment, input=said, capture_output=True, check=False, timeout=60
        )

    def join(self, login: str | None, said: bytes) -> Answer:
        return self.call(login, "join", said=said)

    def ssh(self, login: str) -> str:
        """Return a command like ssh's of a person's."""
        argv, environment = self.called_by(login)
        script = self.folder / f"ssh-{login}"
        words = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), *argv]
        script.write_text(SSH.format(command=shlex.join(words)))
        script.chmod(0o755)
        return str(script)

    def push(self, login: str, project: str, *refs: str) -> Answer:
        environment = {**os.environ, "GIT_SSH_COMMAND": self.ssh(login), "GIT_SSH_VARIANT": "ssh"}
        to_head = ["push", "--receive-pack=labfleet_head git-receive-pack", f"head:{project}"]
        argv = ["git", "-C", str(self.folder / "work"), *to_head, *refs]
        return subprocess.run(argv, env=environment, capture_output=True, check=False, timeout=60)

    def rsync(self, login: str, *arguments: str) -> Answer:
        argv = ["rsync", "-e", self.ssh(login), "--rsync-path=labfleet_head results", "--timeout=60", *arguments]
        return subprocess.run(argv, capture_output=True, check=False, timeout=60)


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path)


def git(*arguments: str) -> str:
    environment = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    argv = ["git", *arguments]
    answer = subprocess.run(argv, env={**os.environ, **environment}, input=b"", capture_output=True, check=True)
    return answer.stdout.decode().strip()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def assert_refused(answer: Answer, status: int = gate.REFUSED) -> None:
    """The script said no, in one line."""
    assert answer.returncode == status
    assert answer.stdout == b""
    assert re.fullmatch(rb"labfleet: .*\n", answer.stderr), answer.stderr


def test_nobody_can_pass_for_the_head_itself(head: Head) -> None:
    # Given the name by which foreman and hub know the head's own web page, when a login of that name joins
    answer = head.join(curve.HEAD_ITSELF, request(key(1)))
    # Then it is none
    assert_refused(answer)
    assert curve.owner(head.keys, curve.PEOPLE, key(1)) is None


# ---- the web page -----------------------------------------------------------------------------------------------


@pytest.fixture
def page(head: Head) -> Iterator[None]:
    """Whatever listens where the head's web page and dashboard should be."""
    with socket.create_server(("127.0.0.1", 0)) as page, socket.create_server(("127.0.0.1", 0)) as dashboard:
        head.ports |= {"web": page.getsockname()[1], "dashboard": dashboard.getsockname()[1]}
        head.write_settings()
        yield


@pytest.mark.usefixtures("page")
def test_a_person_gets_a_token_for_the_web_page(head: Head) -> None:
    # Given a head with a web page, when two persons ask for their tokens, one of them twice
    anna, ben, again = (told(head.call(login, "web")) for login in ("anna", "ben", "anna"))
    # Then each has one, which the page knows, and learns where that is
    assert anna == again
    assert (anna["page"], anna["dashboard"]) == (head.ports["web"], head.ports["dashboard"])
    people = People(LabPaths(head.home))
    assert (people.of_token(anna["token"]), people.of_token(ben["token"])) == ("anna", "ben")
    # And nobody else can read it
    file = LabPaths(head.home).web_token("anna")
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert head.journal() == ["anna web", "ben web", "anna web"]
    # And it is the same that the page itself would make
    assert own_token(LabPaths(head.home), "anna") == anna["token"]


def test_a_head_without_a_web_page_says_so(head: Head) -> None:
    # Given a head that was provisioned before there was one, when somebody asks, then it is said what to do
    answer = head.call("anna", "web")
    assert_refused(answer)
    assert b"labfleet provision" in answer.stderr


@pytest.mark.usefixtures("page")
def test_nobody_is_led_to_what_listens_in_place_of_the_page(head: Head) -> None:
    # Given a head at whose port nothing listens, or a stranger does
    with socket.create_server(("127.0.0.1", 0)) as gone:
        head.ports["dashboard"] = gone.getsockname()[1]
    head.write_settings()
    # When somebody asks, then no token is given away
    assert_refused(head.call("anna", "web"))
    assert not LabPaths(head.home).web_token("anna").exists()


# ---- join --------------------------------------------------------------------------------------------------------


def told(answer: Answer) -> dict[str, Any]:
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    assert answer.stdout.count(b"\n") == 1
    return found


def test_who_joins_is_known_to_the_services_and_knows_them(head: Head) -> None:
    # Given a lab whose services have run, with deployed code of a certain protocol
    code = head.home / "git" / "labfleet.git"
    git("init", "--quiet", "--bare", str(code))
    commit = git(f"--git-dir={code}", "commit-tree", "-m", "one", git(f"--git-dir={code}", "mktree"))
    git(f"--git-dir={code}", "update-ref", "refs/heads/deployed", commit)
    (head.keys / "protocol").write_text("7\n")
    # When a person's client joins
    answer = head.join("anna", request(key(1)))
    # Then it learns what it has to know
    assert told(answer) == {
        "user": "anna",
        "name": "head1",
        "protocol": 7,
        "foreman": 7411,
        "hub": 7412,
        "key": SERVER,
        "revision": commit,
    }
    # And the services let its key in, as anna's; nobody else can read it
    assert curve.owner(head.keys, curve.PEOPLE, key(1)) == "anna"
    name = f"{hashlib.sha256(key(1).encode()).hexdigest()[:16]}.key"
    file = head.keys / "people" / "anna" / name
    assert file.read_text() == key(1)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert head.journal() == [f"anna join {name}"]


def test_a_lab_without_code_or_protocol_is_joined_too(head: Head) -> None:
    # Given a lab whose services have not said their protocol, when a client joins, then it is told the first one
    answer = told(head.join("anna", request(key(1))))
    assert (answer["protocol"], answer["revision"]) == (1, "")


def test_a_person_has_several_computers(head: Head) -> None:
    # Given a person with two computers and a colleague, when all join, one of them twice
    for login, number in (("anna", 1), ("anna", 2), ("ben", 3), ("anna", 1)):
        told(head.join(login, request(key(number))))
    # Then each key is known once, as its owner's
    assert [curve.owner(head.keys, curve.PEOPLE, key(number)) for number in (1, 2, 3)] == ["anna", "anna", "ben"]
    assert len(files(head.keys / "people") - {".lock"}) == 3


def test_the_services_have_to_have_run(head: Head) -> None:
    # Given a lab that can be joined, when its services have no key yet, then that is said, with what to do
    told(head.join("anna", request(key(1))))
    (head.keys / "server.pub").unlink()
    answer = head.join("anna", request(key(2)))
    assert_refused(answer)
    assert b"labfleet provision" in answer.stderr
    assert curve.owner(head.keys, curve.PEOPLE, key(2)) is None


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"\xff\n",
        b"{\n",
        b"null\n",
        b'["protocol", "key"]\n',
        b'"' + b"x" * 5000 + b'"\n',
        b"[" * 4000 + b"\n",
        request(key(1))[:-1] + b" " * 5000 + b"\n",
        b"\n" + request(key(1)),
        json.dumps({"key": key(1)}).encode(),
        json.dumps({"protocol": 1}).encode(),
        request(key(1), protocol=None),
        request(key(1), protocol=True),
        request(key(1), protocol="1"),
        request(None),
        request(40),
        request([key(1)]),
        request(""),
        request(key(1)[:-1]),
        request(key(1) + "x"),
        request(key(1)[:-1] + "\n"),
        request(key(1) + "\n"),
        request(key(1)[:-1] + "~"),
        request(key(1)[:-1] + "ü"),
        request(key(1)[:-1] + "\0"),
    ],
)
def test_what_is_no_request_is_refused(head: Head, said: bytes) -> None:
    # Given a request that is granted, when it is anything else, then it is refused, and no key is known
    told(head.join("ben", request(key(2))))
    assert_refused(head.join("anna", said), gate.WRONG_USE)
    assert not (head.keys / "people" / "anna").exists()
    assert head.journal()[1].startswith("anna refused: ")


def test_an_endless_request_is_not_waited_for(head: Head) -> None:
    # Given a request that is granted, when one comes that is too long already, and goes on
    told(head.join("ben", request(key(2))))
    argv, environment = head.called_by("anna")
    with subprocess.Popen(
        [*argv, "join"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as joining:
        assert joining.stdin
        joining.stdin.write(b" " * 5000)
        joining.stdin.flush()
        # Then it is refused at once
        assert joining.wait(60) == gate.WRONG_USE


@pytest.mark.parametrize(
    "login", [None, "", ".", "..", "../workers", "a/b", "-x", ".anna", "anna\n", "an na", "a" * 200]
)
def test_only_a_login_can_join(head: Head, login: str | None) -> None:
    # Given a request that is granted to a login of any usual kind
    for number, usual in enumerate(("anna", "anna.smith@lab.example", "a_1-x", "1000")):
        assert told(head.join(usual, request(key(number))))["user"] == usual
    # When somebody asks who is none, then it is refused, and nothing is written
    before = files(head.keys)
    assert_refused(head.join(login, request(key(99))))
    assert files(head.keys) == before


def test_nobody_takes_another_s_key(head: Head) -> None:
    # Given a key of anna's, by which the services know her
    told(head.join("anna", request(key(1))))
    # When ben says it was his, then he is refused; with one of his own he is let in
    assert_refused(head.join("ben", request(key(1))))
    assert curve.owner(head.keys, curve.PEOPLE, key(1)) == "anna"
    told(head.join("ben", request(key(2))))


def test_of_two_who_show_the_same_key_at_once_one_has_it(head: Head) -> None:
    # Given a join that is under way, and another one that waits for it
    told(head.join("carl", request(key(2))))
    argv, environment = head.called_by("anna")
    with (head.keys / "people" / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(
            [*argv, "join"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as joining:
            assert joining.stdin
            joining.stdin.write(request(key(1)))
            joining.stdin.close()
            waits = re.compile(rf"-> FLOCK +ADVISORY +WRITE {joining.pid} ")
            locks = Path("/proc/locks")
            eventually(lambda: joining.poll() is not None or waits.search(locks.read_text()), "the lock")
            # When the first one ends with the key that the second one shows too
            curve.register(head.keys, curve.PEOPLE, "ben", key(1))
            fcntl.flock(lock, fcntl.LOCK_UN)
            # Then that one is refused
            assert joining.wait(60) == gate.REFUSED
    assert [path.parent.name for path in (head.keys / "people").glob("[ab]*/*.key")] == ["ben"]


def test_a_login_has_fifty_keys_at_most(head: Head) -> None:
    # Given a login with 50 keys, the first of which joined again just now, and a colleague's older one
    told(head.join("ben", request(key(1000))))
    for number in range(50):
        name = f"{hashlib.sha256(key(number).encode()).hexdigest()[:16]}.key"
        file = head.keys / "people" / "anna" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(key(number))
        os.utime(file, (1000 + number, 1000 + number))
    told(head.join("anna", request(key(0))))
    # When another computer of hers joins, then the one that joined longest ago is forgotten
    told(head.join("anna", request(key(50))))
    known = {number for number in range(51) if curve.owner(head.keys, curve.PEOPLE, key(number)) == "anna"}
    assert known == set(range(51)) - {1}
    assert curve.owner(head.keys, curve.PEOPLE, key(1000)) == "ben"


def at_once(*acts: Callable[[], Answer]) -> list[Answer]:
    """Do all at the same time, and return what came of each."""
    answers: dict[int, Answer] = {}
    threads = [
        threading.Thread(target=lambda number=number, act=act: answers.__setitem__(number, act()))
        for number, act in enumerate(acts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[number] for number in range(len(acts))]


def test_many_join_at_once(head: Head) -> None:
    # Given computers of two people, when all join at once, then each is known, and nothing half is left
    acts = [
        lambda login=login, number=number: head.join(login, request(key(number)))
        for number, login in enumerate(["anna", "ben"] * 4)
    ]
    for answer in at_once(*acts):
        told(answer)
    owners = [curve.owner(head.keys, curve.PEOPLE, key(number)) for number in range(8)]
    assert owners == ["anna", "ben"] * 4
    assert len(files(head.keys / "people") - {".lock"}) == 8


# ---- git ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def work(head: Head) -> str:
    """Return a commit of a person's, which becomes the ref refs/snapshots/COMMIT."""
    place = str(head.folder / "work")
    git("init", "--quiet", place)
    tree = git("-C", place, "mktree")
    return git("-C", place, "commit-tree", "-m", "one", tree)


def refs(head: Head, project: str) -> list[str]:
    return git(f"--git-dir={head.home}/git/{project}", "for-each-ref", "--format=%(refname)").splitlines()


def test_the_first_push_makes_the_project(head: Head, work: str) -> None:
    # Given a person with a snapshot, when it is pushed to a project that is not there, then the head has both
    answer = head.push("anna", "aloha-1f3a.git", f"{work}:refs/snapshots/{work}")
    assert answer.returncode == 0, answer.stderr
    repository = head.home / "git" / "aloha-1f3a.git"
    assert refs(head, "aloha-1f3a.git") == [f"refs/snapshots/{work}"]
    assert (repository / "owner").read_text() == "anna"
    assert head.journal() == ["anna git-receive-pack aloha-1f3a.git"]
    # And nobody but the system user can read it, and nothing half is beside it
    assert repository.stat().st_mode & 0o077 == 0
    assert os.listdir(head.home / "git") == ["aloha-1f3a.git"]
    # And no git tidies up while a worker fetches
    assert git(f"--git-dir={repository}", "config", "gc.auto") == "0"
    # And the next push goes there too
    second = git("-C", f"{head.folder}/work", "commit-tree", "-m", "two", "-p", work, f"{work}^{{tree}}")
    assert head.push("anna", "aloha-1f3a.git", f"{second}:refs/snapshots/{second}").returncode == 0
    assert set(refs(head, "aloha-1f3a.git")) == {f"refs/snapshots/{work}", f"refs/snapshots/{second}"}


def test_a_push_that_has_begun_is_seen(head: Head, work: str) -> None:
    # Given a project that nobody has pushed to for long
    assert head.push("anna", "aloha.git", f"{work}:refs/snapshots/{work}").returncode == 0
    repository = head.home / "git" / "aloha.git"
    os.utime(repository / "labfleet-pushed", (1, 1))
    assert last_push(repository) == 1
    # When somebody pushes what is there already, then housekeeping knows: the client relies on it
    assert head.push("anna", "aloha.git", f"{work}:refs/snapshots/{work}").returncode == 0
    assert last_push(repository) > 1


def test_nobody_pushes_to_another_s_project(head: Head, work: str) -> None:
    # Given a project of anna's, to which she can push
    assert head.push("anna", "aloha.git", f"{work}:refs/snapshots/{work}").returncode == 0
    assert head.push("anna", "aloha.git", f"{work}:refs/snapshots/two").returncode == 0
    # When ben pushes to it, then he is refused, it is as it was, and he can push to one of his own
    answer = head.push("ben", "aloha.git", f"{work}:refs/snapshots/three")
    assert answer.returncode != 0
    assert b"labfleet: aloha.git belongs to somebody else" in answer.stderr
    assert set(refs(head, "aloha.git")) == {f"refs/snapshots/{work}", "refs/snapshots/two"}
    assert head.push("ben", "bens.git", f"{work}:refs/snapshots/three").returncode == 0
    # And of a repository that is nobody's, nobody is the owner
    (head.home / "git" / "aloha.git" / "owner").unlink()
    assert head.push("anna", "aloha.git", f"{work}:refs/snapshots/four").returncode != 0


def test_of_two_who_are_first_at_once_one_has_the_project(head: Head, work: str) -> None:
    # Given a project that is not there, when two people push to it at once
    for attempt in range(3):
        logins = ("anna", "ben")
        acts = [
            lambda login=login, attempt=attempt: head.push(login, f"new{attempt}.git", f"{work}:refs/snapshots/{login}")
            for login in logins
        ]
        answers = dict(zip(logins, at_once(*acts), strict=True))
        # Then one of them is its owner and has pushed, the other was refused
        owner = (head.home / "git" / f"new{attempt}.git" / "owner").read_text()
        assert [login for login, answer in answers.items() if answer.returncode == 0] == [owner]
        assert refs(head, f"new{attempt}.git") == [f"refs/snapshots/{owner}"]
    assert len(os.listdir(head.home / "git")) == 3


@pytest.mark.parametrize("first", ["anna", "ben"])
def test_a_project_that_appears_meanwhile_stays_its_owner_s(
    head: Head, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a project that appears just when the script has found that there is none
    assert head.call(first, "git-receive-pack", "aloha.git").stdout != b""
    repository = head.home / "git" / "aloha.git"
    late = "entry.Path.exists = lambda path, exists=Path.exists: path.name != 'aloha.git' and exists(path)"
    monkeypatch.setattr(
        sys.modules[__name__], "RECORDED", RECORDED.replace("import entry\n", f"import entry\n{late}\n")
    )
    # When ben pushes, then it stays whose it was, and nothing half is left
    answer = head.call("ben", "git-receive-pack", "aloha.git")
    assert (answer.stdout != b"") == (first == "ben")
    assert (repository / "owner").read_text() == first
    assert os.listdir(head.home / "git") == ["aloha.git"]


@pytest.mark.parametrize(
    "project",
    [
        "labfleet.git",
        "",
        "aloha",
        ".git",
        "..git",
        ".aloha.git",
        "-x.git",
        "--help.git",
        "../keys.git",
        "x/../aloha.git",
        "a/b.git",
        "/aloha.git",
        "aloha.git/",
        "aloha.git\n",
        "aloha\n.git",
        "al oha.git",
        "$(id).git",
        "a" * 200 + ".git",
    ],
)
def test_what_is_no_project_of_a_person_s_is_refused(head: Head, project: str) -> None:
    # Given a project that can be pushed to: git says what it has
    assert head.call("anna", "git-receive-pack", "aloha.git").stdout != b""
    git("init", "--quiet", "--bare", f"{head.home}/git/labfleet.git")
    (head.home / "git/labfleet.git/owner").write_text("anna")
    before = files(head.home)
    # When it has another name, then it is refused and not made
    assert_refused(head.call("anna", "git-receive-pack", project))
    assert files(head.home) == before


def test_a_branch_only_grows(head: Head, work: str) -> None:
    # Given a branch on the head, and a commit that follows it
    assert head.push("anna", "aloha.git", f"{work}:refs/heads/one").returncode == 0
    place = f"{head.folder}/work"
    other, next_one = (
        git("-C", place, "commit-tree", "-m", "x", *parent, f"{work}^{{tree}}") for parent in ([], ["-p", work])
    )
    # When the branch is deleted, or moved to what does not contain it, then that is refused
    for wrong in (":refs/heads/one", f"+{other}:refs/heads/one"):
        assert head.push("anna", "aloha.git", wrong).returncode != 0
        assert git(f"--git-dir={head.home}/git/aloha.git", "rev-parse", "refs/heads/one") == work
    # And when it is moved on, then that is done
    assert head.push("anna", "aloha.git", f"{next_one}:refs/heads/one").returncode == 0


def test_a_push_runs_nothing(head: Head, work: str) -> None:
    # Given hooks in a project's repository, however they came there
    assert head.push("anna", "aloha.git", f"{work}:refs/snapshots/one").returncode == 0
    hooks = head.home / "git" / "aloha.git" / "hooks"
    hooks.mkdir()
    for name in ("pre-receive", "update", "post-receive", "post-update", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {head.folder}/hooked\n")
        (hooks / name).chmod(0o755)
    # When somebody pushes, then it works, and none was run
    assert head.push("anna", "aloha.git", f"{work}:refs/snapshots/two").returncode == 0
    assert not (head.folder / "hooked").exists()


# ---- results -----------------------------------------------------------------------------------------------------


@pytest.fixture
def campaigns(head: Head) -> Head:
    """Return a head with two campaigns of anna's and one of ben's."""
    if not any(map(os.path.exists, gate.RRSYNC)):
        missing("rrsync is not installed; it comes with rsync >= 3.2.4")
    for name, user in (("c1", "anna"), ("c2", "anna"), ("c3", "ben")):
        root = head.home / "campaigns" / name
        (root / "runs" / "1.1" / "files").mkdir(parents=True)
        (root / "runs" / "1.1" / "files" / "Foo-$n=1,#0 'ü'.sca").write_text(user)
        (root / "runs" / "2.1").mkdir()
        (root / "runs" / "2.1" / "log").write_text(user)
        environment = {"SOMETHING": PRIVATE} if user == "anna" else {}
        (root / "campaign.json").write_text(json.dumps({"id": name, "user": user, "environment": environment}))
    return head


def test_a_person_fetches_results(campaigns: Head, tmp_path: Path) -> None:
    # Given campaigns of anna's, when her client fetches runs of one and all of another, over one connection
    answer = campaigns.rsync("anna", "-rt", "head:c1/runs/1.1", ":c1/runs/2.1", ":c2", f"{tmp_path}/got/")
    # Then they are there, whatever the files are called, and the journal says so once
    assert answer.returncode == 0, answer.stderr
    sca = "files/Foo-$n=1,#0 'ü'.sca"
    assert files(tmp_path / "got") == {
        f"1.1/{sca}",
        "2.1/log",
        "c2/campaign.json",
        f"c2/runs/1.1/{sca}",
        "c2/runs/2.1/log",
    }
    assert (tmp_path / "got" / "1.1" / sca).read_text() == "anna"
    (line,) = campaigns.journal()
    assert line.startswith("anna results --server --sender ")
    assert line.endswith(" . c1/runs/1.1 c1/runs/2.1 c2")


@pytest.mark.parametrize("options", ["-a", "-rlptz", "-rtvi", "-rt --inplace --partial --bwlimit=100000"])
def test_a_person_s_rsync_may_have_the_usual_options(campaigns: Head, tmp_path: Path, options: str) -> None:
    # Given a campaign, when it is fetched with other options, then it is there
    answer = campaigns.rsync("anna", *options.split(), "head:c1/runs/2.1/", f"{tmp_path}/got/")
    assert answer.returncode == 0, answer.stderr
    assert files(tmp_path / "got") == {"log"}


def test_a_person_learns_that_a_run_is_not_there(campaigns: Head, tmp_path: Path) -> None:
    if not has_landlock():
        missing("this kernel has no Landlock")
    # Given a campaign, when a run of it is fetched that is not there, and one that is
    answer = campaigns.rsync("anna", "-rt", "head:c1/runs/2.1", ":c1/runs/9.1", f"{tmp_path}/got/")
    # Then rsync's own exit status says so, whichever version the head has, and the other is there
    assert answer.returncode == RSYNC_MISSING
    assert files(tmp_path / "got") == {"2.1/log"}
    assert campaigns.journal() == ["anna results refused: there is no c1/runs/9.1"]


def test_nobody_fetches_another_s_results(campaigns: Head, tmp_path: Path) -> None:
    # Given a campaign of ben's, which he can fetch, and one of anna's
    assert campaigns.rsync("ben", "-rt", "head:c3/", f"{tmp_path}/bens/").returncode == 0
    # When he fetches hers, alone, with his own, through his own, or one that is not there
    wrong = (
        ["head:c1/"],
        ["head:c1/campaign.json"],
        ["head:c3", ":c1"],
        ["head:c1", ":c3"],
        ["head:c3/../c1"],
        ["head:./c1"],
        ["head:./"],
        ["head:c9"],
    )
    for sources in wrong:
        answer = campaigns.rsync("ben", "-rt", *sources, f"{tmp_path}/got/")
        # Then he is refused, and gets nothing
        assert answer.returncode != 0
        assert b"labfleet: " in answer.stderr
        assert files(tmp_path / "got") == set()
    # And he is not told which ones there are
    unknown, hers = (campaigns.call("ben", "results", *PULL, name).stderr for name in ("c9", "c1"))
    assert unknown.replace(b"c9", b"c1") == hers


PULL = ("--server", "--sender", "-re.LsfxCIvu", ".")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["c1/"],
        ["--server"],
        ["--server", "--daemon", "."],
        ["--server", "--sender", "--daemon", "."],
        ["--server", "--sender", "-r", "."],
        ["--server", "--sender", "-r", ".", ""],
        ["--server", "--sender", "-r", ".", "c1/\n"],
        ["--server", "--sender", "-r", ".", "c1 c3"],
        ["--server", "--sender", "-r", ".", "c1\\ c3"],
        ["--server", "--sender", "-r", ".", "c1/*"],
        ["--server", "--sender", "-r", ".", "{c1,c3}"],
        ["--server", "--sender", "-r", ".", "c?"],
        ["--server", "--sender", "-r", ".", "/etc"],
        ["--server", "--sender", "-r", ".", "-r"],
        ["--server", "--sender", "-r . c3/ ", ".", "c1/"],
        ["--server", "--sender", "-sr", ".", "c1/"],
        ["--server", "--sender", "-Lr", ".", "c1/"],
        ["--server", "--sender", "-r", "--copy-unsafe-links", ".", "c1/"],
        ["--server", "--sender", "-r", "--files-from=-", ".", "c1/"],
        ["--server", "--sender", "-r", "--log-file=x", ".", "c1/"],
        ["--server", "--sender", "-r", "--remove-source-files", ".", "c1/"],
        ["--server", "-r", ".", "c1/"],
        ["--server", "-r", "--delete", ".", "c1/"],
        ["--server", "-r", "--sender", ".", "c1/"],
    ],
)
def test_results_are_only_read(campaigns: Head, arguments: list[str]) -> None:
    # Given arguments with which a campaign is read: rsync begins to speak
    assert campaigns.call("anna", "results", *PULL, "c1/").stdout[1:4] == b"\0\0\0"
    # When they are others, then they are refused
    before = files(campaigns.home)
    assert_refused(campaigns.call("anna", "results", *arguments))
    assert files(campaigns.home) == before


def test_results_are_changed_by_nobody(campaigns: Head, tmp_path: Path) -> None:
    # Given a campaign of anna's, which she can fetch
    before = files(campaigns.home)
    assert campaigns.rsync("anna", "-rt", "head:c1/", f"{tmp_path}/right/").returncode == 0
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x").touch()
    # When she uploads to it, deletes in it, or moves it home, then she is refused, and it is as it was
    for arguments in (
        ("-rt", f"{tmp_path}/more/", "head:c1/"),
        ("-rt", "--delete", f"{tmp_path}/more/", "head:c1/"),
        ("-rt", "--remove-source-files", "head:c1/", f"{tmp_path}/got/"),
    ):
        answer = campaigns.rsync("anna", *arguments)
        assert answer.returncode != 0
        assert b"labfleet: " in answer.stderr
        assert files(campaigns.home) == before


def test_links_in_a_campaign_lead_to_no_other(campaigns: Head, tmp_path: Path) -> None:
    # Given a campaign of ben's with links into anna's, whoever put them there
    campaign = campaigns.home / "campaigns" / "c3"
    (campaign / "file").symlink_to("../c1/campaign.json")
    (campaign / "folder").symlink_to("../c1")
    # When he fetches it, and what the links lead to
    for number, path in enumerate(("c3/", "c3/file", "c3/folder/", "c3/folder/campaign.json")):
        campaigns.rsync("ben", "-rlt", f"head:{path}", f"{tmp_path}/got{number}/")
    # Then he has his own, and nothing of hers
    got = [path for place in tmp_path.glob("got*") for path in place.rglob("*")]
    contents = [path.read_text() for path in got if path.is_file() and not path.is_symlink()]
    assert "ben" in contents
    assert not [text for text in contents if PRIVATE in text or text == "anna"]


def test_filter_rules_read_nothing_but_the_campaign(campaigns: Head, tmp_path: Path) -> None:
    if not has_landlock():
        missing("this kernel has no Landlock")
    # Given a campaign of ben's, which he can fetch with a filter
    answer = campaigns.rsync("ben", "-rt", "--filter=- files", "head:c3/", f"{tmp_path}/right/")
    assert answer.returncode == 0, answer.stderr
    assert files(tmp_path / "right") == {"campaign.json", "runs/2.1/log"}
    # When the filter's rules are in a file of the head's, whose wrong lines rsync would quote
    (campaigns.home / "secret").write_text(PRIVATE)
    for name in (f"{campaigns.home}/secret", "../../secret"):
        answer = campaigns.rsync("ben", "-rt", f"--filter=: {name}", "head:c3/", f"{tmp_path}/wrong/")
        # Then nothing of them comes out
        assert PRIVATE.encode() not in answer.stderr + answer.stdout


def test_the_kernel_opens_nothing_but_the_campaigns_asked_for(campaigns: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_landlock():
        missing("this kernel has no Landlock")
    # Given something in rrsync's place that reads what it can
    probe = campaigns.home / "campaigns" / "c1" / "probe.py"
    place = str(campaigns.home / "campaigns")
    probe.write_text(
        "import os\n"
        f"for name in ('c1/campaign.json', 'c2/campaign.json', 'c3/campaign.json', '../keys/server.pub'):\n"
        f"    try:\n        open(os.path.join({place!r}, name)).close()\n        print(name)\n"
        "    except PermissionError:\n        pass\n"
    )
    said = RECORDED.replace("import entry\n", f"import entry\nentry.gate.RRSYNC = ({str(probe)!r},)\n")
    monkeypatch.setattr(sys.modules[__name__], "RECORDED", said)
    # When anna asks for one of her two campaigns, then that one can be read, and nothing else
    assert campaigns.call("anna", "results", *PULL, "c1").stdout == b"c1/campaign.json\n"


# ---- anything else -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [""],
        ["help"],
        ["--help"],
        ["sh", "-c", "id"],
        ["join", "ben"],
        ["git-receive-pack"],
        ["git-receive-pack", "aloha.git", "--help"],
        ["git-receive-pack", "--help", "aloha.git"],
        ["git-upload-pack", "aloha.git"],
        ["git-upload-archive", "aloha.git"],
        ["join\n"],
    ],
)
def test_what_is_unknown_is_refused(head: Head, arguments: Sequence[str]) -> None:
    # Given a person who can join, when they ask for something else, then one line says what can be asked for
    told(head.join("anna", request(key(1))))
    answer = head.call("anna", *arguments, said=request(key(2)))
    assert_refused(answer, gate.WRONG_USE)
    assert b"join, web, git-receive-pack PROJECT.git, results" in answer.stderr
    assert head.journal()[1].startswith("anna refused: ")


def test_no_argument_can_forge_a_line_of_the_journal(head: Head) -> None:
    # Given arguments with line ends and terminal codes, when they are refused, then the journal has one line
    head.call("anna", "x\nben join", "\x1b[2J")
    (line,) = head.journal()
    assert line.endswith(r": x\nben join \x1b[2J")


def test_a_head_without_settings_refuses(head: Head) -> None:
    # Given a head that can be joined, when it is half taken down, then it refuses, and the journal has the reason
    told(head.join("anna", request(key(1))))
    head.settings.unlink()
    answer = head.join("anna", request(key(2)))
    assert_refused(answer)
    assert str(head.settings).encode() not in answer.stderr
    assert str(head.settings) in head.journal()[1]


def test_the_scripts_run_as_they_are_installed(tmp_path: Path) -> None:
    # Given both scripts in a folder of their own, when the wrapper runs one with the system's Python
    for name in ("gate.py", "entry.py"):
        (tmp_path / name).write_text((FILES / name).read_text())
    argv = ["/usr/bin/python3", str(tmp_path / "entry.py"), "join"]
    answer = subprocess.run(argv, env={"PATH": "/usr/bin:/bin"}, input=b"", capture_output=True, check=False)
    # Then it finds the other, and answers
    assert_refused(answer)
    assert b"only a login" in answer.stderr
