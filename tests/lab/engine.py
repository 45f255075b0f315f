"""The Docker engine of this machine, as the test lab uses it: what it can do, and what of it is ours.

Everything that the test lab makes in it carries the label ``labfleet-testlab=PREFIX``, and in a session of the tests
also whose it is; so nothing outlives a session that was killed for longer than until the next one.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from runner import shell
from runner.errors import LabFailed

LABEL = "labfleet-testlab"
OWNER = "labfleet-testlab-owner"

#: What the test lab calls on this machine.
COMMANDS = ("docker", "ssh", "ssh-keygen")

#: The kernel's capabilities by number (capabilities(7)), as far as Docker 20.10 knows them.
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
)

#: The machines share clock and kernel with this machine: a test that sets the one or loads into the other hits it.
WITHHELD = {"SYS_MODULE", "SYS_TIME"}


def docker(*words: str, stdin: bytes | None = None, check: bool = True, seconds: float = 120) -> shell.Result:
    """Return what ``docker WORDS`` printed.

    Raises LabFailed when there is no docker, when it does not end in so many seconds and, unless ``check`` is false,
    when it fails.
    """
    # Of a script, its first line tells which one.
    called = f"`docker {' '.join(next(iter(word.strip().splitlines()), '') for word in words)}`"
    try:
        result = shell.run(("docker", *words), stdin=stdin, check=False, seconds=seconds)
    except FileNotFoundError as error:
        raise LabFailed("docker is not installed") from error
    except TimeoutError as error:
        raise LabFailed(f"{called} did not end within {seconds:.0f} s") from error
    if check and result.status != 0:
        raise LabFailed(f"{called} failed (exit status {result.status}): {result.complaint}")
    return result


def why_not() -> str:
    """Return why no machines can be run here; empty: they can."""
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        return f"{', '.join(missing)} not installed"
    try:
        answer = docker("info", "--format", "{{.ServerVersion}}", check=False, seconds=30)
    except LabFailed as error:
        return error.message
    if answer.status != 0 or not answer.text:
        said = answer.stderr.decode(errors="replace").strip().splitlines() or ["docker info names no server"]
        return f"no Docker engine answers: {said[-1]}"
    return ""


def capabilities(status: str) -> list[str]:
    """Return the capabilities that a container can have: those of the bounding set, in the text of /proc/PID/status.

    Naming them works on every machine; ``--privileged`` fails where one is missing, and shows the machines this
    machine's terminals and disks.
    """
    bounding = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    return [name for bit, name in enumerate(CAPABILITIES.split()) if bounding >> bit & 1 and name not in WITHHELD]


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Return whether a condition comes to hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


# ---- whose is what ---------------------------------------------------------------------------------------------------


def this_session() -> str:
    """Return what identifies this process for ever: boot, process namespace, process id and when it started."""
    return f"{_namespace()}/{os.getpid()}/{_started(os.getpid())}"


def has_ended(owner: str) -> bool:
    """Return whether the process that :func:`this_session` identified is gone; one of another namespace may live."""
    boot, namespace, pid, started = owner.split("/")
    here_boot, here_namespace = _namespace().split("/")
    if boot != here_boot:
        return True
    return namespace == here_namespace and _started(int(pid)) != started


def _namespace() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> str:
    try:
        # The second field, the program's name in parentheses, may contain blanks; when it started is the 22nd.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def labels(prefix: str, owner: str) -> list[str]:
    """Return the options of ``docker … create`` that say whose it is; no owner: it stays until someone removes it."""
    return ["--label", f"{LABEL}={prefix}", *(["--label", f"{OWNER}={owner}"] if owner else [])]


def remove(prefix: str) -> int:
    """Remove everything that carries a prefix's label: containers, network, volumes.  Return how many there were."""
    ours = ("--quiet", "--filter", f"label={LABEL}={prefix}")
    removed = 0
    for listing, removal in (
        (("ps", "--all"), ("rm", "--force", "--volumes")),
        (("network", "ls"), ("network", "rm")),
        (("volume", "ls"), ("volume", "rm", "--force")),
    ):
        if found := docker(*listing, *ours).text.split():
            docker(*removal, *found)
            removed += len(found)
    return removed


def remove_leftovers() -> None:
    """Remove what sessions left that were killed."""
    template = f'{{{{.Label "{OWNER}"}}}} {{{{.Label "{LABEL}"}}}}'
    for listing in (("ps", "--all"), ("network", "ls"), ("volume", "ls")):
        found = docker(*listing, "--filter", f"label={OWNER}", "--format", template).text
        for owner, prefix in {tuple(line.split()) for line in found.splitlines()}:
            if has_ended(owner):
                remove(prefix)


# ---- networks --------------------------------------------------------------------------------------------------------


def new_network(name: str, prefix: str, owner: str) -> str:
    """Make a network with a subnet that is free here, and return the subnet's first three numbers: 10.88.3."""
    complaint = ""
    for number in range(20, 250):
        subnet = f"10.88.{number}"
        made = docker("network", "create", "--subnet", f"{subnet}.0/24", *labels(prefix, owner), name, check=False)
        if made.status == 0:
            return subnet
        complaint = made.complaint
        if "overlaps" not in complaint:
            break
    raise LabFailed(f"no network for the test lab: {complaint}")
