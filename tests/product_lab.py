"""A head and hosts that exchange products with real rsync, through the head's real gate; a pipe stands for the network.

What goes over it is counted, and it can be cut.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from runner import products
from runner.head import OverSsh
from runner.machine import WorkerSettings
from runner.paths import LabPaths
from runner.products import Product, store
from tests.test_gate import Head

#: As sshd does with a key that has a forced command; what passes is counted, and cut where ``limit`` says so.
_SSH = """#!{python}
import os, subprocess, sys, threading
from pathlib import Path
folder = Path({folder!r})
words = sys.argv[sys.argv.index("head") + 1:]
os.set_blocking(1, True)
cut = folder / "limit"
limit = int(cut.read_text()) if cut.exists() else 1 << 60
cut.unlink(missing_ok=True)
environment = dict(os.environ, SSH_ORIGINAL_COMMAND=" ".join(words))
command = subprocess.Popen({forced!r}, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

def pump(source, sink, name, limit):
    with open(folder / name, "ab", buffering=0) as counted:
        while limit > 0 and (data := os.read(source, min(limit, 1 << 18))):
            counted.write(data)
            limit -= len(data)
            os.write(sink, data)

threading.Thread(
    target=pump, args=(0, command.stdin.fileno(), "to-head", 1 << 60), daemon=True
).start()
pump(command.stdout.fileno(), 1, "from-head", limit)
command.stdout.close()
os._exit(command.wait())
"""

Files = Mapping[str, bytes]


class ProductLab:
    """A head whose stores can be reached as a worker reaches them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "gate").mkdir()
        self._gate = Head(folder / "gate")
        self.store = LabPaths(self._gate.home)

    def host(self, name: str) -> "Host":
        """Return a host that has nothing yet."""
        host = Host(self.folder / name)
        host.home.home.mkdir(parents=True)
        for kind in ("products", "results"):
            script = host.folder / f"ssh-{kind}"
            script.write_text(
                _SSH.format(python=sys.executable, folder=str(host.folder), forced=self._gate.forced_command(kind))
            )
            script.chmod(0o755)
        return host

    def take(self, product: Product, parcel: str) -> bool:
        """Let the head take a delivery."""
        return products.take(self.store, product.key, parcel)

    def journal(self) -> list[str]:
        """Return what the gate has written down."""
        return self._gate.journal()


class Host(OverSsh):
    """A machine of the lab, which knows the head as a worker does; several processes may be on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, LabPaths(folder / "home")
        settings = WorkerSettings(
            name="w1",
            home=str(self.home.home),
            redis="",
            logs="",
            head="head",
            ssh_port=22,
            slots=1,
            builder=True,
            tags=(),
            desktop=False,
            image="",
        )
        super().__init__(settings, folder, self.home)

    def _ssh(self, kind: str) -> str:
        return str(self.folder / f"ssh-{kind}")

    # ---- what it does ----

    def build(self, key: str, files: Files, links: Mapping[str, str] | None = None) -> Product:
        """Build a product of some files; those in bin/ are programs."""
        tree = self.folder / "tree" / key
        for name, data in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(data)
            (tree / name).chmod(0o755 if name.startswith("bin/") else 0o644)
        for name, target in (links or {}).items():
            (tree / name).symlink_to(target)
        described = Product(key, "gcc", None, (), "aloha", 1.0)
        return products.keep(self.home, described, tree, [*files, *(links or {})])

    def send(self, product: Product) -> str:
        """Bring a product to the head."""
        return products.deliver(self.home, self, product)

    def provide(self, key: str) -> Product | None:
        """Have a product here."""
        return products.provide(self.home, self, key)

    def laid_out(self, product: Product) -> Path:
        """Return a new folder with a product in it."""
        folder = self.folder / "out" / str(len(list((self.folder / "out").glob("*"))))
        folder.mkdir(parents=True)
        store.lay_beside(self.home, product, folder)
        return folder

    # ---- the network ----

    def cut(self, size: int) -> None:
        """Let the next connection end when so many bytes have come from the head."""
        (self.folder / "limit").write_text(str(size))

    def sent(self) -> int:
        """Return the bytes that have gone to the head since the last time."""
        return self._counted("to-head")

    def received(self) -> int:
        """Return the bytes that have come from the head since the last time."""
        return self._counted("from-head")

    def _counted(self, name: str) -> int:
        file = self.folder / name
        size = file.stat().st_size if file.exists() else 0
        file.unlink(missing_ok=True)
        return size
