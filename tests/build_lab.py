"""A builder of a test's own, in this process: projects are folders, and what became of a build can be looked at."""

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zmq

from runner import products, snapshot
from runner.build import Builder
from runner.head import SameMachine
from runner.holdings import Lease
from runner.line import Line
from runner.log_stream import Sender
from runner.machine import Machine
from runner.messages import CampaignPrepared, CampaignRefused
from runner.model import Build, Launch, Source
from runner.paths import LabPaths
from tests.head_and_worker import Foreman
from tests.stored_campaigns import campaign

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Came:
    """What came of a build."""

    #: Its key, and the contents of its product's files; nothing where it was refused.
    key: str
    files: dict[str, bytes]
    refusal: str
    log: str

    @property
    def names(self) -> list[str]:
        """The product's files."""
        return sorted(self.files)

    @property
    def made(self) -> list[str]:
        """What was compiled and linked, by name."""
        return sorted(re.findall(r"^(?:\S*g\+\+|ar) .*?(?:-o|rcs) (\S+)", self.log, re.MULTILINE))


class BuildLab:
    """A local lab's stores, and a builder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.paths = folder, LabPaths(folder / "home")
        self.paths.home.mkdir(parents=True)

    def source(self, root: Path, build: Build = Build(), variable: str = "") -> Source:  # noqa: B008 (frozen)
        """Take a snapshot of a folder, as of a project that others need."""
        private, project = self.folder / "client" / f"{root.name}.git", f"{root.name}-1"
        taken = snapshot.take(root, (), private)
        snapshot.push(taken, private, str(self.paths.repository(project)))
        return Source(project, taken.commit, taken.tree, taken.sources, root.name, build, variable=variable)

    def build(self, root: Path, *commands: str, needed: tuple[Source, ...] = (), build: Build | None = None) -> Came:
        """Build a folder as it is now by some commands of make's, or of a shell."""
        (root / "simulate").write_text("#!/bin/sh\necho 'Run 0: $repetition=0'\n")
        (root / "simulate").chmod(0o755)
        words = tuple(tuple(line.split()) if line.startswith("make") else ("sh", "-c", line) for line in commands)
        own = self.source(root, build or Build(commands=words, makefiles=("Makefile",)))
        wanted = msgspec.structs.replace(
            campaign(f"c{next(_NUMBERS):03}", commit=own.commit, tree=own.tree, references=needed),
            project=own.project,
            name=root.name,
            sources=own.sources,
            build=own.build,
            launch=Launch("./simulate"),
            environment={"PATH": os.environ["PATH"]},
        )
        foreman = Foreman(wanted)
        line, sender = Line(foreman), Sender(zmq.Context.instance(), "ipc:///nowhere")
        line.start()
        lease, machine = Lease("builder", "ipc:///nowhere"), Machine("w1", self.paths, 1, "", "", "", "", "", "")
        Builder(machine, foreman, SameMachine(self.paths), sender, line, lease).prepare(wanted.id)
        line.flush()
        sender.close()
        text = "".join(log.read_text() for log in self.paths.home.rglob("build.log") if wanted.id in log.parent.name)
        event = foreman.told[-1]
        if isinstance(event, CampaignRefused):
            return Came("", {}, event.message, text)
        assert isinstance(event, CampaignPrepared), event
        product = products.provide(self.paths, SameMachine(self.paths), event.prepared.key)
        assert product is not None
        files = {
            item.path: os.fsencode(item.link) if item.link else self.paths.content(item.content).read_bytes()
            for item in product.files
        }
        return Came(product.key, files, "", text)

    @property
    def trees(self) -> list[Path]:
        """The builder's places."""
        return [place.parent for place in self.paths.builder("x", "x").parent.glob("*/trees")]
