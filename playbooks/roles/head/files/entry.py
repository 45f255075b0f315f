#!/usr/bin/python3
"""What people can do on the head: their SSH logins call this through sudo, as the system user labfleet.

    labfleet-head join                                   register a CURVE key, learn what a client has to know
    labfleet-head git-receive-pack PROJECT.git           push a snapshot to one's own project
    labfleet-head web                                    get one's token for the web page, learn where that is
    labfleet-head results --server --sender … . CAMPAIGN/…   rsync reads the results of one's own campaigns

Who asks is in SUDO_USER, which sudo sets; what is asked comes from a stranger.  Every call is in the journal:
``journalctl -t labfleet-entry``.  Python >= 3.8 and its standard library.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playbooks.roles.head.files import gate
else:
    import gate

_LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,120}")
_PROJECT = re.compile(rf"{gate.NAME}\.git")

#: A CURVE key in Z85 (https://rfc.zeromq.org/spec/32).
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")

#: In Linux's list of sockets, the state of those that listen.
LISTENS = "0A"

#: Bytes of a request.
LONGEST = 4096

#: Keys of one login, one per computer; beyond, the one that joined longest ago goes.
MOST_KEYS = 50

#: The repository with labfleet's own code, and the branch that the lab runs.
CODE, DEPLOYED = "labfleet.git", "refs/heads/deployed"

#: In a repository: when the last push began.  Housekeeping leaves the refs alone that it was told of.
PUSHED = "labfleet-pushed"

#: What is pushed stays, as far as git can keep it: the two rules are for branches.  And a push runs no hooks.
# A ref is on the disk after all that it leads to, so that a power failure leaves none that leads nowhere.
_REPOSITORY = {
    "gc.auto": "0",
    "core.hooksPath": os.devnull,
    "core.fsync": "objects,derived-metadata,reference",
    "core.fsyncMethod": "batch",
    "receive.denyDeletes": "true",
    "receive.denyNonFastForwards": "true",
}


def join(login: str, settings: dict[str, Any], home: Path) -> None:
    """Register the public key on stdin, and print what the login's client has to know.  Raises Refused."""
    line = sys.stdin.buffer.readline(LONGEST + 1)
    try:
        asked = json.loads(line) if len(line) <= LONGEST else None
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or type(asked.get("protocol")) is not int:
        raise gate.Refused('join reads one line {"protocol": NUMBER, "key": KEY}', gate.WRONG_USE)
    key = asked.get("key")
    if not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise gate.Refused("that is no CURVE key: 40 characters of Z85", gate.WRONG_USE)
    keys = home / "keys"
    if not (keys / "server.pub").exists():
        raise gate.Refused("the lab's services have never run; its administrator runs: labfleet provision")
    register(keys / "people", login, key)
    protocol = keys / "protocol"
    told = {
        "user": login,
        "name": settings["name"],
        "protocol": int(protocol.read_text()) if protocol.exists() else 1,
        "foreman": settings["ports"]["foreman"],
        "hub": settings["ports"]["hub"],
        "key": (keys / "server.pub").read_text().strip(),
        "revision": git(home / "git" / CODE, "rev-parse", "--verify", "--quiet", DEPLOYED, check=False).strip(),
    }
    gate.note(f"{login} join {key_file(key)}")
    print(json.dumps(told))


def web(login: str, settings: dict[str, Any], home: Path) -> None:
    """Print the login's token for the web page, made if there is none, and the page's ports.  Raises Refused."""
    ports = settings["ports"]
    if not ports.get("web"):
        raise gate.Refused("this lab has no web page yet; its administrator runs: labfleet provision")
    if not all(is_own(ports[name]) for name in ("web", "dashboard")):  # else the token would be shown to a stranger
        raise gate.Refused("the lab's web page does not run just now; systemctl status labfleet-web tells more")
    people = home / "web" / "people"
    people.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = people / login
    if not file.exists():
        half = people / f".{secrets.token_hex(8)}"
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(secrets.token_hex(32))
        try:
            os.link(half, file)
        except FileExistsError:
            pass  # another call of the same login's was faster
        half.unlink()
    gate.note(f"{login} web")
    token = f"{login}.{file.read_text().strip()}"
    print(json.dumps({"token": token, "page": ports["web"], "dashboard": ports["dashboard"]}))


def is_own(port: int) -> bool:
    """Say whether it is a process of this user's that listens at a port of 127.0.0.1."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1] == f"0100007F:{port:04X}" and row[3] == LISTENS and int(row[7]) == os.getuid() for row in rows)


def register(people: Path, login: str, key: str) -> None:
    """Let a login's client in by its public key.  Raises Refused if the key is somebody else's."""
    own = people / login
    own.mkdir(parents=True, exist_ok=True)
    with (people / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The services tell by its key who a client is: a key that two have would be either's.
        if any(path.parent != own for path in people.glob(f"*/{key_file(key)}")):
            raise gate.Refused("that key is another login's")
        half = own / f".{secrets.token_hex(8)}"
        half.write_text(key)
        os.replace(half, own / key_file(key))
        by_age = sorted(own.glob("*.key"), key=lambda path: path.stat().st_mtime_ns)
        for old in by_age[:-MOST_KEYS]:
            old.unlink()


def key_file(key: str) -> str:
    """Return the name of a public key's file."""
    return f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.key"


def receive_pack(login: str, project: str, home: Path) -> None:
    """Take a push to a project of the login's; the first push makes it.  Raises Refused."""
    if not _PROJECT.fullmatch(project) or project == CODE:
        raise gate.Refused(f"{project!r} is no project's repository")
    repository = home / "git" / project
    if not repository.exists():
        create(repository, login)
    owner = repository / "owner"
    if not owner.exists() or owner.read_text() != login:
        raise gate.Refused(f"{project} belongs to somebody else")
    (repository / PUSHED).touch()
    gate.note(f"{login} git-receive-pack {project}")
    gate.become("git", "receive-pack", str(repository))


def create(repository: Path, owner: str) -> None:
    """Make a repository of a login's, complete or not at all; whoever is first has it."""
    half = repository.with_name(f".{secrets.token_hex(8)}")
    half.mkdir(parents=True)
    try:
        git(half, "init", "--quiet", "--bare", "--template=")
        for name, value in _REPOSITORY.items():
            git(half, "config", name, value)
        (half / "owner").write_text(owner)
        os.rename(half, repository)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
    finally:
        shutil.rmtree(half, ignore_errors=True)


def git(repository: Path, *arguments: str, check: bool = True) -> str:
    """Run git on a repository and return what it prints."""
    argv = ["git", f"--git-dir={repository}", *arguments]
    answer = subprocess.run(argv, env=gate.environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if check and answer.returncode != 0:
        raise OSError(f"git {arguments[0]} failed: {answer.stderr.decode(errors='replace')}")
    return answer.stdout.decode()


def results(login: str, words: Sequence[str], home: Path) -> None:
    """Let rsync read campaigns of the login's.  Raises Refused."""
    paths = gate.transfer_paths(words, reads=True)
    store = home / "campaigns"
    campaigns = {store / path.split("/")[0] for path in paths}
    for campaign in campaigns:
        try:
            owner = json.loads((campaign / "campaign.json").read_bytes())["user"]
        except FileNotFoundError:
            owner = None
        if owner != login:  # who may not read it, is not told whether it is there
            raise gate.Refused(f"you have no campaign {campaign.name}")
    gate.become_rrsync(f"{login} results", store, words, ["-ro"], dict.fromkeys(campaigns, gate.READ))


def serve(login: str, arguments: Sequence[str], settings_file: Path) -> None:
    """Do what a person's client asked for.  Raises Refused."""
    if not _LOGIN.fullmatch(login):
        raise gate.Refused("only a login of this machine may call this, through sudo")
    settings = gate.read_settings(settings_file)
    home = Path(settings["home"])
    verb, *more = arguments or [""]
    if verb == "join" and not more:
        join(login, settings, home)
    elif verb == "web" and not more:
        web(login, settings, home)
    elif verb == "git-receive-pack" and len(more) == 1:
        receive_pack(login, more[0], home)
    elif verb == "results":
        results(login, more, home)
    else:
        raise gate.Refused("what can be asked for: join, web, git-receive-pack PROJECT.git, results", gate.WRONG_USE)


def main(arguments: Sequence[str], settings: Path = gate.SETTINGS) -> int:
    """Serve one call of a person's client."""
    login = os.environ.get("SUDO_USER", "")
    asked = " ".join(arguments)
    return gate.answer("labfleet-entry", login, asked, lambda: serve(login, arguments, settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
