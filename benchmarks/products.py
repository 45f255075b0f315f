"""Products on their way to a host, against plain rsync of the same files over the same connection."""

import os
import random
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.local import ROOT
from benchmarks.side_by_side import Command
from runner import products
from runner.head import OverSsh
from runner.machine import WorkerSettings
from runner.paths import LabPaths
from runner.products import Product

KEY = "a" * 64

#: Sizes like those of INET and a model that uses it, 500 MB together.
SIZES = (*[188_000_000] * 2, *[10_000_000] * 10, *[240_000] * 100)

#: In place of ssh: what sshd would start, so that both sides have a connection of the same speed.
_SSH = """#!/bin/sh
while [ "$1" != head ]; do shift; done
shift
SSH_ORIGINAL_COMMAND=$(echo "$*" | sed "s/--sender/--sender{limit}/") exec {gate}
"""

#: A lab's network, in kilobytes per second; nothing: as fast as two processes of one machine.
CONNECTIONS = {"1 Gb/s": " --bwlimit=120000", "no network": ""}


class _Host(OverSsh):
    """A host that reaches the head's gate through that."""

    def __init__(self, folder: Path, ssh: Path) -> None:
        self.home = LabPaths(folder)
        self._command = str(ssh)
        super().__init__(
            WorkerSettings("w1", "", "", "", "head", 22, 1, False, (), False, ""),
            folder,
            self.home,
        )

    def _ssh(self, kind: str) -> str:  # noqa: ARG002
        return self._command

    def provide(self) -> None:
        """Get the product."""
        if products.provide(self.home, self, KEY) is None:
            raise OSError("the product did not arrive")


def distribution(folder: Path, rounds: int) -> Iterator[str]:
    """Time how long a product of 500 MB takes to a host that has nothing; yield a line for each connection."""
    store = LabPaths(folder / "head")
    _build(store, folder / "tree")
    shutil.copytree(folder / "tree", store.products / "plain")
    (folder / "settings.json").write_text(f'{{"home": "{store.home}"}}')
    gate = ROOT / "playbooks" / "roles" / "head" / "files" / "gate.py"
    command = [sys.executable, str(gate), "products", "w1", "--settings", str(folder / "settings.json")]
    for name, limit in CONNECTIONS.items():
        ssh = folder / f"ssh{len(limit)}"
        ssh.write_text(_SSH.format(gate=shlex.join(command), limit=limit))
        ssh.chmod(0o755)
        goal = ", goal ≥ 0.9" if limit else ""
        yield f"product of {sum(SIZES) / 1e6:.0f} MB to a host, {name}: {_compared(folder, ssh, rounds)}{goal}"


def _compared(folder: Path, ssh: Path, rounds: int) -> str:
    """Return the rates of one connection, in words."""
    host, plain = _Host(folder / "host", ssh), folder / "plain"
    rsync = Command(["rsync", "-e", str(ssh), "-rlpt", "head:plain/", str(plain)], folder, os.environ)
    timed = []
    for _ in range(rounds + 1):
        _empty(host.home.home)
        began = time.perf_counter()
        host.provide()
        ours = time.perf_counter() - began
        _empty(plain)
        timed.append((ours, rsync.seconds()))
    del timed[0]
    rates = sorted(theirs / ours for ours, theirs in timed)
    ours, theirs = (statistics.median(column) for column in zip(*timed, strict=True))
    size = sum(SIZES) / 1e6
    return (
        f"{size / ours:.0f} MB/s against {size / theirs:.0f} MB/s of plain rsync, "
        f"ratio {statistics.median(rates):.2f} ({rates[0]:.2f} to {rates[-1]:.2f})"
    )


def _build(store: LabPaths, tree: Path) -> None:
    tree.mkdir(parents=True)
    random.seed(1)
    for number, size in enumerate(SIZES):
        (tree / f"lib{number}.so").write_bytes(random.randbytes(size))
    made = [path.name for path in tree.iterdir()]
    products.keep(store, Product(KEY, "", None, (), "bench", time.time()), tree, made)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.sync()  # what the round before has written must not slow this one
