#!/opt/labfleet/venv/bin/python
"""Start one of labfleet's services with the code that the lab has deployed: ``start ROLE``.

This alone is baked into the worker image, together with the dependencies; all other code is a commit of the lab's git
server.  So new code reaches a machine by a fetch.  A service that is to take new code calls this again (exec), and
keeps its process id.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Where the machine's settings, keys and certificates are.
SETTINGS = Path(os.environ.get("LABFLEET_SETTINGS", "/etc/labfleet"))

REF = "refs/heads/deployed"

#: How many commits stay laid out: a slot in the middle of a long run still imports from the code that it started with.
KEEP = 10


def main() -> None:
    """Become the service that the first argument names.  Exits with a sentence when there is no code to run."""
    settings = json.loads((SETTINGS / "settings.json").read_bytes())
    code = Path(settings["home"]) / "code"
    code.mkdir(parents=True, exist_ok=True)
    with _alone(code):
        folder = lay_out(code, newest_commit(code, settings))
    command = [sys.executable, "-P", "-m", "runner.services", *sys.argv[1:]]
    if settings.get("desktop"):  # somebody works at this machine
        command = ["nice", "-n", "19", "ionice", "-c", "idle", *command]
    sys.stdout.flush()
    os.execvpe(command[0], command, environment(folder, settings))


@contextmanager
def _alone(code: Path) -> Iterator[None]:
    """Foreman and hub share a folder, and start at the same time."""
    with (code / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def newest_commit(code: Path, settings: Mapping[str, Any]) -> str:
    """Return the deployed commit; the last one known here when the git server does not answer."""
    repository = code / "labfleet.git"
    if not repository.exists():
        git("init", "--quiet", "--bare", str(repository))
    for left_by_the_dead in repository.rglob("*.lock"):  # git here is ours alone, see _alone
        left_by_the_dead.unlink()
    source = f"labfleet@{settings['head']}:labfleet.git" if settings["code"] == "git" else settings["code"]
    # On the disk before it has a name: a power failure would leave one that leads nowhere.
    durable = ["-c", "core.fsync=objects,derived-metadata,reference", "-c", "core.fsyncMethod=batch"]
    fetch = [*durable, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", source, f"+{REF}:{REF}"]
    try:
        git(f"--git-dir={repository}", *fetch, GIT_SSH_COMMAND=ssh(settings))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        print("labfleet: the deployed code could not be fetched; what was fetched last has to do", file=sys.stderr)
    try:
        return git(f"--git-dir={repository}", "rev-parse", "--verify", "--quiet", REF).decode().strip()
    except subprocess.CalledProcessError:
        sys.exit("labfleet: there is no code yet: the git server could not be reached, or nothing has been deployed")


def git(*arguments: str, **variables: str) -> bytes:
    """Return what git answers.  Raises CalledProcessError, TimeoutExpired."""
    return subprocess.run(
        ["git", *arguments], env=os.environ | variables, stdout=subprocess.PIPE, check=True, timeout=60
    ).stdout


def ssh(settings: Mapping[str, Any]) -> str:
    """Return the command by which git reaches the head: this machine's key for git, and no host but the known one."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "IdentitiesOnly": "yes",
        "ServerAliveInterval": "10",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": f"{SETTINGS}/known_hosts",
    }
    flags = " ".join(f"-o {name}={value}" for name, value in options.items())
    return f"ssh -F none -i {SETTINGS}/git.key -p {settings.get('ssh_port', 22)} {flags}"


def lay_out(code: Path, commit: str) -> Path:
    """Return the folder with the commit's files, and make it if need be."""
    folder = code / commit
    if not folder.exists():
        half_done = tempfile.mkdtemp(prefix=".", dir=code)
        archive = git(f"--git-dir={code}/labfleet.git", "archive", commit)
        subprocess.run(["tar", "--extract", "--directory", half_done], input=archive, check=True)
        os.sync()  # a power cut must not leave a folder that has the commit's name but not its files
        os.rename(half_done, folder)
    os.utime(folder)
    used = [entry for entry in code.iterdir() if entry.is_dir() and entry.name != "labfleet.git"]
    for old in sorted(used, key=lambda entry: entry.stat().st_mtime, reverse=True)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def environment(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the service's environment; what it compiles goes through ccache and, on the builder, distcc."""
    home = settings["home"]
    paths = os.environ.get("PYTHONPATH", "").split(":")
    others = [path for path in paths if path and not path.startswith(f"{home}/code/")]  # this may be a second start
    result = os.environ | {
        "HOME": home,
        "USER": "labfleet",
        "LOGNAME": "labfleet",
        "LABFLEET_HOME": home,
        "LABFLEET_SETTINGS": str(SETTINGS),
        "LABFLEET_REVISION": folder.name,
        "PYTHONPATH": ":".join([str(folder), *others]),
        # Two working trees of the same sources share what is compiled: paths below the home count relatively.
        "CCACHE_DIR": f"{home}/ccache",
        "CCACHE_BASEDIR": home,
        "CCACHE_NOHASHDIR": "1",
        "DISTCC_DIR": f"{home}/distcc",
    }
    if settings.get("builder"):
        result["CCACHE_PREFIX"] = "distcc"
        os.makedirs(result["DISTCC_DIR"], exist_ok=True)  # it makes what is in there, but not this
    return result


if __name__ == "__main__":
    main()
