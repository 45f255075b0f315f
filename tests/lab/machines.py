"""Machines that behave like a lab's: a head, workers, and a client that people sit at, in a network of their own.

Each is a container (machine.py, client.py) of an image that is made once (images.py).
"""

import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runner import shell
from runner.errors import LabFailed
from tests.lab import engine, images
from tests.lab.client import RESEARCHER, Client
from tests.lab.machine import ADMIN, Machine
from tests.lab_fixture import PATIENCE, ROOT

#: Machines of a lab, unless somebody wants others.
USUAL = ("head", "w1", "w2")

#: People whom only the head knows, without sudo.
PEOPLE = ("anna", "bob")


class Lab:
    """A head, workers and a client, in a network of their own.

    The folder gets everything that is needed to use them from this machine: keys/LOGIN, ssh_config, known_hosts and
    inventory.yml.  ``owner``: see :func:`engine.labels`.
    """

    def __init__(self, prefix: str, folder: Path, owner: str = "") -> None:
        if not re.fullmatch("[a-z0-9][a-z0-9-]*", prefix):
            raise LabFailed(f"{prefix!r} is no name for a test lab: small letters, digits and hyphens only")
        self.prefix = prefix
        self.folder = folder
        self.owner = owner
        self.machines: dict[str, Machine] = {}
        self._subnet = ""  # empty: nothing that carries the prefix is ours
        self._image = ""
        self._host_keys: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # ---- up and down ----

    def up(self, names: Iterable[str] = USUAL) -> None:
        """Bring machines up, and the client.

        Raises LabFailed with the journal of a machine that does not come up, and when the prefix is in use.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_keys()
        self._image = images.machine_image()
        engine.remove_leftovers()
        self._subnet = engine.new_network(self.prefix, self.prefix, self.owner)
        self.client = Client("client", self.prefix, f"{self._subnet}.10")
        self._bring_up([self.client, *self._new(names)])
        self._publish()

    def add(self, name: str) -> Machine:
        """Bring one more machine up; from then on it is in the inventories, as a worker."""
        self._bring_up(self._new([name]))
        self._publish()
        return self.machines[name]

    def down(self) -> None:
        """Remove everything, whatever state it is in; but nothing of another lab of the same prefix."""
        if self._subnet:
            engine.remove(self.prefix)
        self.machines.clear()
        self._subnet = ""

    @property
    def head(self) -> Machine:
        """The head."""
        return self.machines["head"]

    def _new(self, names: Iterable[str]) -> list[Machine]:
        new = []
        for name in names:
            machine = Machine(name, self.prefix, f"{self._subnet}.{11 + len(self.machines)}")
            self.machines[name] = machine
            new.append(machine)
        return new

    def _bring_up(self, machines: list[Machine]) -> None:
        keys = {login: (self.key(login).with_suffix(".pub")).read_text().strip() for login in (ADMIN, *PEOPLE)}

        def bring_up(machine: Machine) -> str:
            machine.create(self._image, self.owner)
            return machine.set_up(keys)

        with ThreadPoolExecutor(len(machines)) as pool:
            for machine, host_key in zip(machines, pool.map(bring_up, machines), strict=True):
                if host_key:
                    self._host_keys[machine.name] = host_key

    # ---- what one needs to reach the machines ----

    def key(self, login: str) -> Path:
        """Return the private key that opens a login."""
        return self.folder / "keys" / login

    @property
    def ssh_config(self) -> Path:
        """For ``ssh -F``."""
        return self.folder / "ssh_config"

    @property
    def inventory_file(self) -> Path:
        """For use from this machine; the client has one of its own."""
        return self.folder / "inventory.yml"

    def ssh(self, machine: str, argv: list[str], *, login: str = ADMIN, check: bool = True) -> shell.Result:
        """Run a command on a machine over SSH, from here."""
        options = ["-F", str(self.ssh_config), "-i", str(self.key(login)), "-l", login]
        return shell.run(["ssh", *options, machine, *argv], check=check, seconds=PATIENCE)

    def inventory(
        self, lab_wide: Mapping[str, Any] | None = None, machines: Mapping[str, Mapping[str, Any]] | None = None
    ) -> str:
        """Return an inventory of all machines.

        ``lab_wide``: further variables of all machines; ``machines``: further variables of some.
        """
        everywhere = {
            "ansible_user": ADMIN,
            "labfleet_base": {"archive": str(images.base())},
            "labfleet_wheels": str(images.wheels(ROOT / "requirements-worker.lock")),
            **(lab_wide or {}),
        }
        groups: dict[str, dict[str, dict[str, Any]]] = {"head": {}, "workers": {}}
        for name, machine in self.machines.items():
            own = {"ansible_host": machine.address, **(machines or {}).get(name, {})}
            groups["head" if name == "head" else "workers"][name] = own
        lines = ["all:", "  vars:", *(f"    {name}: {json.dumps(value)}" for name, value in everywhere.items())]
        lines.append("  children:")
        for group, members in groups.items():
            lines += [f"    {group}:", "      hosts:"]
            lines += [f"        {name}: {json.dumps(own)}" for name, own in members.items()]
        return "\n".join(lines) + "\n"

    def _make_keys(self) -> None:
        for login in (ADMIN, *PEOPLE):
            key = self.key(login)
            key.parent.mkdir(mode=0o700, exist_ok=True)
            if not key.exists():
                shell.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{login}@client", "-f", str(key)])

    def _publish(self) -> None:
        """Write everything that names the machines, here and at the client."""
        hosts = "".join(f"Host {name}\n    HostName {machine.address}\n" for name, machine in self.machines.items())
        known = "".join(f"{self.machines[name].address},{name} {key}\n" for name, key in self._host_keys.items())
        known_hosts = self.folder / "known_hosts"
        known_hosts.write_text(known)
        self.ssh_config.write_text(
            f'{hosts}Host *\n    User {ADMIN}\n    IdentityFile "{self.key(ADMIN)}"\n    IdentitiesOnly yes\n'
            f'    UserKnownHostsFile "{known_hosts}"\n    GlobalKnownHostsFile /dev/null\n'
            "    StrictHostKeyChecking yes\n    BatchMode yes\n"
        )
        here = {"ansible_ssh_common_args": f"-F '{self.ssh_config}'"}
        self.inventory_file.write_text(self.inventory(here))
        for person, login in {RESEARCHER: ADMIN, **{person: person for person in PEOPLE}}.items():
            self.client.publish(person, self.key(login), f"{hosts}Host *\n    User {login}\n", known)
        self.client.write(f"/home/{RESEARCHER}/inventory.yml", self.inventory(), owner=RESEARCHER)
