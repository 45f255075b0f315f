#!/usr/bin/python3
"""The forced command of the workers' SSH keys: each key can do the one thing that it is for.

    restrict,command="/usr/bin/python3 /usr/local/lib/labfleet/gate.py KIND HOST" ssh-ed25519 …

KIND is ``git`` (fetch from a repository), ``products`` (rsync reads the product store) or ``results`` (rsync writes
into the incoming folder).  Every call is in the journal: ``journalctl -t labfleet-gate``.

Three walls.  Only plain names and harmless options pass, so nothing depends on how anybody reads quotes.  Then rrsync
(of rsync >= 3.2.4) keeps to the store.  Behind it stands the kernel (Landlock): names travel in rsync's own protocol
too, as in filter rules, which rrsync never sees, and rsync < 3.5 opens what they name, wherever it is.

Python >= 3.8 and its standard library.  entry.py has the same walls.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import struct
import sys
import syslog
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

SETTINGS = Path("/etc/labfleet/head/settings.json")

#: Exit statuses: the request makes no sense; it does, but is not granted.
WRONG_USE, REFUSED = 2, 3

#: What may be the name of a project, product or campaign: never an option, a path, or hidden.
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}"
_FETCH = re.compile(rf"git-upload-pack '({NAME}\.git)'")
_PATH = re.compile(rf"\./?|{NAME}(/{NAME})*/?")

#: Per kind: does its key read, where, and how rrsync confines it.  Symbolic links that a worker delivers lead nowhere
#: on the head (-munge); where products are fetched, they lead again where they led before.
STORES = {
    "products": (True, "products", ("-ro", "-munge")),
    "results": (False, "incoming", ("-wo", "-no-del", "-no-lock", "-munge")),
}

#: Options of rsync's, its capabilities behind the ``e``.  Who reads may not follow links (KLk), or say in the protocol
#: what belongs here (s).  Who writes makes files, folders and links, and has nothing filtered.
_READ_SHORT = re.compile(r"-[A-JM-Za-jl-rt-z]+(\d*\.\w*)?")
_WRITE_SHORT = re.compile(r"-[IOSWcegilnopqrtuvz]+(\d*\.\w*)?")
_LONG = re.compile(r"--(inplace|partial|numeric-ids|stats|(timeout|bwlimit)=\d+|(compress-choice|log-format)=[\w%]+)")

#: Where distributions put rrsync.
RRSYNC = ("/usr/bin/rrsync", "/usr/share/rsync/rrsync", "/usr/share/doc/rsync/support/rrsync")

#: Rights of Landlock's, numbered as in linux/landlock.h.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG, _MAKE_SYM, _TRUNCATE = 1 << 7, 1 << 8, 1 << 12, 1 << 14
_OF_FILES, _OF_FIRST_VERSION = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE, (1 << 13) - 1
READ = _READ_FILE | _READ_DIR
WRITE = READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _TRUNCATE

#: What Python and rsync need of the system; nothing in it is secret.
_PROGRAMS = dict.fromkeys(map(Path, ("/usr", "/bin", "/lib", "/lib64")), READ | _EXECUTE)
_DATA = ("/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/group", "/dev/urandom")
_SYSTEM = {**_PROGRAMS, **dict.fromkeys(map(Path, _DATA), READ), Path("/dev/null"): READ | _WRITE_FILE}


class Refused(Exception):
    """What was asked for is not done; the message says why."""

    def __init__(self, message: str, status: int = REFUSED) -> None:
        super().__init__(message)
        self.status = status


def answer(tag: str, who: str, asked: str, serve: Callable[[], None]) -> int:
    """Do what is asked for and return the exit status; what is refused is said to the caller and in the journal."""
    os.umask(0o077)
    syslog.openlog(tag, syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    try:
        serve()
        return 0
    except Refused as refused:
        note(f"{who} refused: {refused}: {asked}")
        print(f"labfleet: {refused}", file=sys.stderr)
        return refused.status
    except (OSError, ValueError, KeyError) as error:
        note(f"{who} refused: {type(error).__name__}: {error}: {asked}")
        print(f"labfleet: the head cannot do this now; `journalctl -t {tag}` there says why", file=sys.stderr)
        return REFUSED


def note(text: str) -> None:
    """Write one line to the journal, whatever is in the text."""
    syslog.syslog(syslog.LOG_NOTICE, ascii(text)[1:-1][:4000])


def read_settings(path: Path) -> dict[str, Any]:
    """Return the head's settings, and be in its home from now on: the caller's folder may be closed to us."""
    settings: dict[str, Any] = json.loads(path.read_bytes())
    os.chdir(settings["home"])
    return settings


def become(*argv: str, **variables: str) -> NoReturn:
    """Become a program, with nothing of the caller's environment."""
    os.execvpe(argv[0], argv, environment(**variables))


def environment(**variables: str) -> dict[str, str]:
    """Return the environment for programs: nobody's GIT_, LD_ or RSYNC_ variables."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": os.getcwd(), **variables}


def transfer_paths(words: Sequence[str], *, reads: bool) -> Sequence[str]:
    """Return the paths among the arguments of rsync's server side.  Raises Refused unless all are harmless."""
    start = ("--server", "--sender") if reads else ("--server",)
    if tuple(words[: len(start)]) != start or "." not in words[:-1]:
        raise Refused(f"this is for rsync alone, to {'read' if reads else 'write'}")
    dot = list(words).index(".")
    short = _READ_SHORT if reads else _WRITE_SHORT
    for option in words[len(start) : dot]:
        if not (short.fullmatch(option) or _LONG.fullmatch(option)):
            raise Refused(f"rsync's option {option} is not allowed here")
    for path in words[dot + 1 :]:
        if not _PATH.fullmatch(path):
            raise Refused(f"{path!r} is no path that is given out here")
    return words[dot + 1 :]


def become_rrsync(who: str, store: Path, words: Sequence[str], how: Sequence[str], rights: dict[Path, int]) -> NoReturn:
    """Become rrsync in a store, where nothing but some folders of it can be opened.  Raises Refused."""
    script = next(filter(os.path.exists, RRSYNC), None)
    if not script:
        raise Refused("rrsync is not installed on the head; it comes with rsync >= 3.2.4")
    paths = words[list(words).index(".") + 1 :]
    gone = [path for path in paths if "--sender" in words and not os.path.lexists(store / path)]
    note(f"{who} refused: there is no {gone[0]}" if gone else f"{who} {' '.join(words)}")
    if not confine({**_SYSTEM, **rights}):
        note("this kernel has no Landlock: rrsync alone confines what follows")
    elif gone:  # rrsync 3.5 just ends, but workers have to know: rsync says it in its protocol (exit status 23)
        os.chdir(store)
        become("/usr/bin/rsync", *words)
    python = ("/usr/bin/python3", "-I", "-S")  # with the standard library, and nothing that is installed beside it
    become(*python, script, *how, str(store), SSH_ORIGINAL_COMMAND=" ".join(["rsync", *words]))


def confine(rights: dict[Path, int]) -> bool:
    """Let this process, and what it becomes, open nothing but this; False where the kernel knows no Landlock.

    https://docs.kernel.org/userspace-api/landlock.html; its calls have the same numbers on all architectures.
    """
    kernel, word = ctypes.CDLL(None).syscall, ctypes.c_ulong
    create, add, restrict = word(444), word(445), word(446)
    version = kernel(create, word(0), word(0), word(1))
    if version < 1:
        return False
    handled = _OF_FIRST_VERSION | (_TRUNCATE if version >= 3 else 0)
    ruleset = kernel(create, struct.pack("=Q", handled), word(8), word(0))
    for path, right in rights.items():
        if path.exists():
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = right & handled & (-1 if path.is_dir() else _OF_FILES)
            kernel(add, word(ruleset), word(1), struct.pack("=Qi", allowed, beneath), word(0))
            os.close(beneath)  # a rule that could not be added is a right less
    ctypes.CDLL(None).prctl(38, word(1), word(0), word(0), word(0))  # PR_SET_NO_NEW_PRIVS, which Landlock asks for
    if kernel(restrict, word(ruleset), word(0)) != 0:
        raise OSError("Landlock is there but does not work")
    return True


def serve(kind: str, host: str, command: str, settings: Path) -> NoReturn:
    """Do what a worker asked for.  Raises Refused."""
    home = Path(read_settings(settings)["home"])
    if kind == "git":
        asked = _FETCH.fullmatch(command)
        if not asked:
            raise Refused("this key only fetches from repositories")
        if not (home / "git" / asked.group(1)).is_dir():
            raise Refused(f"there is no repository {asked.group(1)}")
        note(f"{host} git {asked.group(1)}")
        become("git", "upload-pack", "--strict", str(home / "git" / asked.group(1)))
    first, *words = command.split(" ")
    if first != "rsync" or kind not in STORES:
        raise Refused("this key is for rsync alone")
    reads, folder, options = STORES[kind]
    transfer_paths(words, reads=reads)
    become_rrsync(f"{host} {kind}", home / folder, words, options, {home / folder: READ if reads else WRITE})


def main(arguments: Sequence[str]) -> int:
    """Serve one SSH connection of a worker."""
    kind, host, *more = arguments  # fixed in authorized_keys, so is `--settings FILE`
    settings = Path(more[1]) if more else SETTINGS
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    return answer("labfleet-gate", f"{host} {kind}", command, lambda: serve(kind, host, command, settings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
