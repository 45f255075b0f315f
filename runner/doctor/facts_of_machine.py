"""The facts of a machine: a script that ``labfleet doctor`` sends to root's ``python3 -`` there; it prints JSON.

It looks and changes nothing.  What does not answer in time is missing.  runner/doctor/facts.py says what the fields
are.
Python >= 3.8 and its standard library.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: Seconds for a question to Docker or systemd, and for all that the service's container finds out about itself.
PATIENCE, LONG_PATIENCE = 5, 13

#: The role of a machine, its service that the self-check stands in for, and all services.
ROLES = {"head": "labfleet-foreman", "worker": "labfleet-worker"}
SERVICES = {
    "head": ("labfleet-redis", "labfleet-hub", "labfleet-foreman", "labfleet-web"),
    "worker": ("labfleet-worker", "labfleet-distcc"),
}

#: Where Linux lists the TCP sockets; the state of those that listen.
TCP_TABLES, LISTENS = ("/proc/net/tcp", "/proc/net/tcp6"), "0A"


def facts(settings_folder: Path, homes: Path) -> dict[str, Any]:
    """Return the facts; ``settings_folder``: /etc/labfleet; ``homes``: /var/lib/labfleet."""
    began = time.time()
    read = {role: settings_of(settings_folder / role) for role in ROLES}
    settings = {role: found for role, found in read.items() if found is not None}
    roles = list(settings)
    units = look_at_units(["docker", *(name for role in roles for name in SERVICES[role])])
    is_up = units.get("docker", {}).get("active") == "active"
    # Docker's socket would start it: only who runs already is asked.
    root, complaint = ask("docker", "info", "--format", "{{.DockerRootDir}}") if is_up else ("", "")
    containers = look_at_containers(roles) if root else {}
    images = look_at_images(settings) if root else {}
    checks = {}
    for role in roles:
        container = containers.get(ROLES[role], {})
        image = container.get("image_name") or images.get(role, {}).get("name")
        if image:
            checks[role] = self_check(role, image, homes / role, settings_folder, container.get("revision", ""))
    return {
        "began": began,
        "settings": settings,
        "units": units,
        "docker": {"root": root, "complaint": complaint},
        "containers": containers,
        "images": images,
        "checks": {role: answer_of(process) for role, process in checks.items()},
        "disks": look_at_disks([homes, *(homes / role for role in roles), Path(root or "/var/lib/docker")]),
        "memory": look_at_memory(Path("/proc/meminfo").read_text()),
        "listening": listening("\n".join(Path(table).read_text() for table in TCP_TABLES if os.path.exists(table))),
        "deployed": deployed(homes / "head" / "git" / "labfleet.git") if "head" in roles else "",
        "workers": offers(settings_folder / "head" / "workers"),
        "ended": time.time(),
    }


def settings_of(folder: Path) -> dict[str, Any] | None:
    """Return what provisioning wrote down for a role; None: nothing, {}: nothing that can be read."""
    try:
        found = json.loads((folder / "settings.json").read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def ask(*argv: str) -> tuple[str, str]:
    """Return what a program prints, and what it complains about if it fails."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    except FileNotFoundError:
        return "", f"{argv[0]} is not installed"
    except subprocess.TimeoutExpired:
        return "", f"no answer within {PATIENCE} s"
    text = done.stdout.decode(errors="replace").strip()
    return text, last_line(done.stderr) if done.returncode != 0 else ""


def last_line(complaint: bytes) -> str:
    """Return the last line of what a program complained about."""
    lines = complaint.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it did not say why"


# ---- services --------------------------------------------------------------------------------------------------------


def look_at_units(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return systemd's units by their names."""
    properties = "Id,LoadState,ActiveState,SubState,Result,NRestarts,ActiveEnterTimestampMonotonic"
    text, _ = ask("systemctl", "show", f"--property={properties}", *(f"{name}.service" for name in names))
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    return parse_units(text, uptime)


def parse_units(text: str, uptime: float) -> dict[str, dict[str, Any]]:
    """Return the units that ``systemctl show`` tells of; ``uptime``: of the machine, in seconds."""
    units = {}
    for block in text.split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        since = int(fields.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
        is_active = fields.get("ActiveState") == "active"
        if "Id" in fields:
            units[re.sub(r"\.service$", "", fields["Id"])] = {
                "installed": fields.get("LoadState") != "not-found",
                "active": fields.get("ActiveState", ""),
                "sub": fields.get("SubState", ""),
                "result": fields.get("Result", ""),
                "restarts": int(fields.get("NRestarts") or 0),
                "seconds": max(0.0, uptime - since) if is_active else 0.0,
            }
    return units


# ---- Docker ----------------------------------------------------------------------------------------------------------


def look_at_containers(roles: list[str]) -> dict[str, dict[str, Any]]:
    """Return labfleet's containers that run, by their names."""
    names = [name for role in roles for name in SERVICES[role] if name != "labfleet-redis"]
    text, _ = ask("docker", "container", "inspect", *names)  # those that are missing are only complained about
    found = {}
    for container in json.loads(text or "[]"):
        if container["State"]["Running"]:
            found[container["Name"].lstrip("/")] = {
                "image": container["Image"],
                "image_name": container["Config"]["Image"],
                "revision": revision_below(container["State"]["Pid"]),
            }
    return found


def revision_below(init: int) -> str:
    """Return the revision of labfleet's code that a container's service runs: the one child of its init."""
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1] if folder.name.isdigit() else ""
            if parent == str(init):
                variables = (folder / "environ").read_bytes().split(b"\0")
                found = [value[18:].decode() for value in variables if value.startswith(b"LABFLEET_REVISION=")]
                return found[0] if found else ""
        except OSError:  # it has ended just now
            continue
    return ""


def look_at_images(settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the images that the settings of each role name, as far as they are there."""
    images = {}
    for role, found in settings.items():
        name = str(found.get("image") or "")
        if name and (image := ask("docker", "image", "inspect", "--format", "{{.Id}}", name)[0]):
            images[role] = {"name": name, "image": image}
    return images


def self_check(
    role: str, image: str, home: Path, settings_folder: Path, revision: str
) -> subprocess.Popen[bytes] | str:
    """Start what finds out whether the service of a role could work: in a container of its own, like the service's.

    The service's own may be about to end, or not run at all.  Returns why that cannot be done.
    """
    code = home / "code"
    revision = revision or newest(code)
    if not revision or not (code / revision).is_dir():
        return "the service has never run here"
    owner = home.stat()
    variables = {
        "HOME": home,
        "LABFLEET_HOME": home,
        "LABFLEET_SETTINGS": "/etc/labfleet",
        "LABFLEET_REVISION": revision,
        "PYTHONPATH": code / revision,
    }
    argv = [
        *("docker", "run", "--rm", "--init", "--name", f"labfleet-check-{role}-{os.getpid()}", "--log-driver", "none"),
        *("--network", "host", "--read-only", "--tmpfs", "/tmp", "--user", f"{owner.st_uid}:{owner.st_gid}"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--security-opt", "label=disable"),
        *("--memory", "512m", "--pids-limit", "256", "--ulimit", "core=0"),
        *("--volume", f"{home}:{home}", "--volume", f"{settings_folder / role}:/etc/labfleet:ro"),
        *(word for name, value in variables.items() for word in ("--env", f"{name}={value}")),
        *(image, "timeout", "--signal=KILL", str(LONG_PATIENCE - 1)),
        *("/opt/labfleet/venv/bin/python", "-P", "-m", "runner.services", "check"),
    ]
    try:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        return str(error)


def newest(code: Path) -> str:
    """Return the revision of labfleet's code that was started last."""
    try:
        revisions = [entry for entry in os.scandir(code) if re.fullmatch("[0-9a-f]{40,64}", entry.name)]
        return max(revisions, key=lambda entry: entry.stat().st_mtime).name if revisions else ""
    except OSError:
        return ""


def answer_of(process: subprocess.Popen[bytes] | str) -> dict[str, Any]:
    """Return what a self-check found, or why it found nothing."""
    if isinstance(process, str):
        return {"complaint": process}
    try:
        printed, complaint = process.communicate(timeout=LONG_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()  # its container ends by itself
        process.communicate()
        return {"complaint": f"no answer within {LONG_PATIENCE} s"}
    try:
        return {"found": json.loads(printed)}
    except ValueError:
        return {"complaint": last_line(complaint)}


# ---- the machine -----------------------------------------------------------------------------------------------------


def look_at_disks(folders: list[Path]) -> list[dict[str, Any]]:
    """Return the file systems on which the folders are, each once, in bytes."""
    disks: dict[int, dict[str, Any]] = {}
    for folder in folders:
        if folder.exists():
            there = os.statvfs(folder)
            disks.setdefault(
                folder.stat().st_dev,
                {
                    "path": str(folder),
                    "free": there.f_bavail * there.f_frsize,
                    "total": there.f_blocks * there.f_frsize,
                    # Some file systems have no fixed number of files.
                    "files_free": there.f_favail / there.f_files if there.f_files else 1.0,
                },
            )
    return list(disks.values())


def look_at_memory(meminfo: str) -> dict[str, int]:
    """Return free and total memory in bytes."""
    sizes = {words[0]: int(words[1]) * 1024 for words in map(str.split, meminfo.splitlines()) if len(words) == 3}
    return {"free": sizes.get("MemAvailable:", 0), "total": sizes.get("MemTotal:", 0)}


def listening(tables: str) -> dict[str, list[str]]:
    """Return the addresses at which ports are listened to, by port, out of the kernel's tables."""
    found: dict[str, set[str]] = {}
    for line in tables.splitlines():
        words = line.split()
        if len(words) > 3 and words[3] == LISTENS:
            address, _, port = words[1].partition(":")
            found.setdefault(str(int(port, 16)), set()).add(readable(address))
    return {port: sorted(addresses) for port, addresses in found.items()}


def readable(address: str) -> str:
    """Return an address that the kernel writes as 32-bit numbers in its own byte order."""
    numbers = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = struct.pack(f"={len(numbers)}I", *numbers)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


# ---- the head --------------------------------------------------------------------------------------------------------


def deployed(repository: Path) -> str:
    """Return the revision of labfleet's code that the lab is to run."""
    return ask("git", f"--git-dir={repository}", "rev-parse", "--verify", "--quiet", "refs/heads/deployed")[0]


def offers(folder: Path) -> list[dict[str, Any]]:
    """Return what the head has noted of each worker."""
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            found.append(json.loads(file.read_bytes()))
        except (OSError, ValueError):
            continue
    return found


if __name__ == "__main__":
    json.dump(facts(Path("/etc/labfleet"), Path("/var/lib/labfleet")), sys.stdout)
