"""What is slow to make for the test lab, made once: Debian's base, the machines' image, the worker's wheels.

Files are kept in ``$XDG_CACHE_HOME/labfleet-testlab`` (``~/.cache/labfleet-testlab``), the image in the engine's store.
Each has the digest of its recipe in its name, so what is there is what is wanted, and nobody has to clean up first.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packaging.markers import Marker

from runner import shell
from runner.errors import LabFailed
from tests.lab.engine import LABEL, docker

SUITE = "bookworm"

#: Where packages come from: debootstrap's own default, unless the variable says otherwise.
MIRROR = os.environ.get("LABFLEET_TESTLAB_MIRROR", "")

#: Debian 12's Python, for which the worker's wheels are.
DEBIAN_PYTHON = "3.11.2"

#: The glibc of Debian 12 runs wheels for all of these.
GLIBC = range(17, 37)

#: Control groups are mounted for reading only unless a container is privileged, but systemd is there to make some.
START = (
    "while read -r _ path _; do case $path in /sys/fs/cgroup*) mount -o remount,bind,rw $path ;; esac; done"
    " </proc/mounts; exec /sbin/init"
)

#: What stands on a bare machine, beside Debian's base: what an administrator has installed before labfleet comes.
#: Each has its own identity: with the same host keys everywhere, nobody would notice the wrong machine.
MACHINE = rf"""
FROM scratch
ADD base.tar /
RUN printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d \
 && apt-get -qq update \
 && DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Options::=--force-unsafe-io --no-install-recommends \
    install \
    systemd systemd-sysv dbus openssh-server python3 python3-apt sudo iproute2 ca-certificates procps git rsync \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /usr/sbin/policy-rc.d
RUN rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id && : >/etc/machine-id \
 && mkdir /etc/systemd/system/ssh.service.d \
 && printf '[Service]\nExecStartPre=\nExecStartPre=ssh-keygen -A\nExecStartPre=sshd -t\n' \
    >/etc/systemd/system/ssh.service.d/host-keys.conf
ENV container=docker
STOPSIGNAL SIGRTMIN+3
CMD {json.dumps(["sh", "-c", START])}
"""


def digest(*parts: str) -> str:
    """Return what a recipe is known by."""
    return hashlib.sha256("\0".join((*parts, platform.machine())).encode()).hexdigest()[:12]


def cache() -> Path:
    """Return the folder of the files."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "labfleet-testlab"


@contextmanager
def _alone(name: str) -> Iterator[Path]:
    """Let one process at a time make something, in a folder that is gone afterwards."""
    cache().mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:  # root makes what only root can, perhaps in somebody's cache
        above = cache().parent.stat()
        os.chown(cache(), above.st_uid, above.st_gid)
    lock = os.open(cache(), os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=cache()) as folder:
            yield Path(folder)
    finally:
        os.close(lock)


def _step(*argv: str, what: str, seconds: float) -> None:
    try:
        shell.run(argv, seconds=seconds)
    except shell.CommandFailed as error:
        last = "\n".join(error.result.complaint.splitlines()[-10:])
        raise LabFailed(f"{what} failed (`{' '.join(argv[:4])} …`):\n{last}") from error
    except (OSError, TimeoutError) as error:
        raise LabFailed(f"{what} failed: {error}") from error


# ---- Debian ----------------------------------------------------------------------------------------------------------


def base_path() -> Path:
    """Return where Debian's base is, or will be."""
    return cache() / f"debian-{digest(SUITE, MIRROR)}.tar"


def why_no_base() -> str:
    """Return why Debian's base cannot be had here; empty: it is there, or can be made."""
    if base_path().exists():
        return ""
    if shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        return "debootstrap not installed"
    if os.geteuid() != 0:
        folder = cache().parent
        return f"only root can make {base_path()}: `sudo env XDG_CACHE_HOME={folder} ./bootstrap testlab up` does once"
    return ""


def base() -> Path:
    """Return an archive of Debian's base, as ``debootstrap --variant=minbase`` makes it."""
    archive = base_path()
    if archive.exists():
        return archive
    with _alone("debian") as folder:
        if archive.exists():  # somebody else was first
            return archive
        root, made = folder / "root", folder / "base.tar"
        mirror = [MIRROR] if MIRROR else []
        _step(
            *("env", f"PATH={os.environ['PATH']}:/usr/sbin:/sbin"),
            *("debootstrap", "--variant=minbase", SUITE, str(root), *mirror),
            what="making Debian's base",
            seconds=900,
        )
        # The lists of packages are of today: whoever installs something has to fetch them first, as on any machine.
        for stale in (*root.glob("var/lib/apt/lists/*_*"), *root.glob("var/cache/apt/*.bin")):
            stale.unlink()
        _step(
            *("tar", "--numeric-owner", "--one-file-system", "-C", str(root), "-cf", str(made), "."),
            what="packing Debian's base",
            seconds=300,
        )
        made.rename(archive)
    return archive


def machine_image() -> str:
    """Return the name of the image of a bare machine: Debian with systemd, sshd, sudo and Python."""
    image = f"labfleet-testlab:{digest(SUITE, MIRROR, MACHINE)}"
    if docker("image", "inspect", image, check=False).status == 0:
        return image
    archive = base()
    with _alone("machine") as folder:
        shutil.copyfile(archive, folder / "base.tar")
        (folder / "Dockerfile").write_text(MACHINE)
        docker("build", "--quiet", "--label", LABEL, "--tag", image, str(folder), seconds=900)
    return image


# ---- wheels ----------------------------------------------------------------------------------------------------------


def wheels(lock: Path) -> Path:
    """Return a folder with the wheels that a lock names, for Debian's Python, whatever this Python is."""
    wanted = "\n".join(requirements(lock.read_text()))
    folder = cache() / f"wheels-{digest(wanted, DEBIAN_PYTHON)}"
    if folder.exists():
        return folder
    with _alone("wheels") as making:
        if folder.exists():
            return folder
        (making / "lock").write_text(wanted)
        machine = platform.machine()
        tags = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC] + [f"manylinux2014_{machine}"]
        _step(
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"),
            *("--no-deps", "--require-hashes", "--requirement", str(making / "lock"), "--dest", str(making / "wheels")),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", DEBIAN_PYTHON),
            *(word for tag in tags for word in ("--platform", tag)),
            what=f"downloading the wheels of {lock.name}",
            seconds=600,
        )
        (making / "wheels").rename(folder)
    return folder


def requirements(lock: str) -> Iterator[str]:
    """Yield the requirements of a lock that hold on Debian, one per line with their hashes.

    pip would ask this Python whether they hold.
    """
    debian = {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_full_version": DEBIAN_PYTHON,
        "python_version": DEBIAN_PYTHON.rpartition(".")[0],
    }
    for line in lock.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        requirement, _, hashes = line.partition(" --hash=")
        name, _, marker = requirement.partition(";")
        if not marker.strip() or Marker(marker.strip()).evaluate(debian):
            yield f"{name.strip()} --hash={' '.join(hashes.split())}"
