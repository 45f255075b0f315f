"""The projects that a project needs, and those that they need: where each stands, and in which order they are built.

A reference stands where it stands at home, as seen from the project: a path like ``../inet`` means the same in the lab.
One that is elsewhere, in a folder with an absolute path or in a git repository, is put beside the project.
"""

import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner import config
from runner.config import Project
from runner.errors import WrongUse
from runner.features import WrongFeatures
from runner.project_file import Reference

#: Brings a revision of a repository into a folder: URL, revision → folder.  Raises LabfleetError.
Fetch = Callable[[str, str], Path]


@dataclass(frozen=True)
class Needed:
    """A project that another one needs."""

    project: Project
    #: Where its folder stands among those of all the others.
    place: str
    #: Places of all that it needs, in the order in which they are built.
    references: tuple[str, ...]
    #: The variable by which makefiles are told where it stands; empty where they expect it just there.
    variable: str
    #: For people: the folder, or URL and revision.
    origin: str


@dataclass(frozen=True)
class Resolved:
    """What a project needs, in the order in which it is built."""

    #: Where the project's own folder stands.
    place: str
    needed: tuple[Needed, ...] = ()


@dataclass(eq=False)
class _Node:
    """A project on the way; its address is where it stands or would stand, if all were at home."""

    project: Project
    address: Path
    said: Reference | None = None
    #: What it needs itself → where it says so.
    edges: dict["_Node", str] = field(default_factory=dict)
    is_elsewhere: bool = False

    @property
    def origin(self) -> str:
        if self.said and self.said.git:
            return f"{self.said.git} {self.said.revision}"
        return str(self.project.root)


class _Search:
    """Finds what a project needs, and gathers what is wrong with it."""

    def __init__(self, project: Project, mode: str, fetch: Fetch) -> None:
        self._mode, self._fetch = mode, fetch
        self.top = _Node(project, project.root)
        self.nodes: dict[Path, _Node] = {project.root: self.top}
        self.mistakes: list[str] = []
        self.hint = ""

    def run(self) -> None:
        """Find all, those that the project itself names first: they say what stands where."""
        waiting = [self.top]
        while waiting:
            node = waiting.pop(0)
            for said in node.project.references:
                found = self._find(node, said)
                if found is None:
                    continue
                node.edges.setdefault(found, said.said)
                if found.address not in self.nodes:
                    self.nodes[found.address] = found
                    waiting.append(found)
        self._look_for_cycles(self.top, ())
        self._look_for_overlaps()

    def _find(self, node: _Node, said: Reference) -> _Node | None:
        """Return the project that a reference means; None, and a mistake noted, if there is none."""
        where = self._where(node, said.said)
        is_elsewhere = said.path is None or os.path.isabs(os.path.expanduser(said.path))
        if is_elsewhere:
            address = self.top.address.parent / (said.name or _usual_name(said))
        else:
            address = Path(os.path.normpath(node.address / str(said.path)))
        known = self.nodes.get(address)
        if known and not is_elsewhere and (said.features, said.build) == (None, None):
            return known
        folder = self._folder(node, said, where)
        if folder is None:
            return None
        try:
            project = config.load_needed(folder, said, mode=self._mode)
        except WrongUse as error:
            if isinstance(error, WrongFeatures) and said.features is not None:
                where = self._where(node, said.features_said)
            self.mistakes.append(f"{where}: {error.message}" + (f"; {error.hint}" if error.hint else ""))
            return None
        found = _Node(project, address, said, is_elsewhere=is_elsewhere)
        if known is None:
            return found
        if known.project.root != project.root:
            self.mistakes.append(
                f"{where}: {address.name} is to be {found.origin} here and {known.origin} elsewhere; "
                f"give one of them another `name`"
            )
        elif known.project.build != project.build:
            self.mistakes.append(
                f"{where}: {address.name} is to have other features here than elsewhere, or to be built otherwise; "
                f"say the same of it wherever it is named"
            )
        return known

    def _where(self, node: _Node, said: str) -> str:
        return said if node is self.top else f"{node.project.name}, {said}"

    def _folder(self, node: _Node, said: Reference, where: str) -> Path | None:
        if said.path is None:
            return self._fetch(said.git, said.revision)
        folder = Path(os.path.normpath(node.project.root / os.path.expanduser(said.path)))
        if not folder.is_dir():
            fault = f"{folder} is a file, not a folder" if folder.exists() else f"there is no folder {folder}"
            self.mistakes.append(f"{where}: {fault}")
            self.hint = "references are [[reference]] in labfleet.toml, or named by makefiles"
            return None
        return folder

    def _look_for_cycles(self, node: _Node, before: tuple[_Node, ...]) -> None:
        if node in before:
            ring = (*before[before.index(node) :], node)
            way = " → ".join(one.project.name for one in ring)
            said = "; ".join(f"{one.project.name}, {one.edges[other]}" for one, other in itertools.pairwise(ring))
            mistake = f"a cycle: {way}; remove one of these references: {said}"
            if mistake not in self.mistakes:
                self.mistakes.append(mistake)
            return
        for other in node.edges:
            self._look_for_cycles(other, (*before, node))

    def _look_for_overlaps(self) -> None:
        for one in self.nodes.values():
            for other in self.nodes.values():
                if one is not other and one.address.is_relative_to(other.address):
                    self.mistakes.append(
                        f"{one.address} lies inside of {other.address}: its files are part of that project, and are "
                        f"built with it"
                    )


def resolve(project: Project, mode: str, fetch: Fetch) -> Resolved:
    """Return what a project needs.  Raises WrongUse that lists all that is wrong with it."""
    if not project.references:
        return Resolved(project.name)
    search = _Search(project, mode, fetch)
    search.run()
    if search.mistakes:
        raise WrongUse("\n".join(search.mistakes), search.hint)
    shared = os.path.commonpath([node.address.parent for node in search.nodes.values()])

    def place(node: _Node) -> str:
        return os.path.relpath(node.address, shared)

    def needed(node: _Node) -> Needed:
        return Needed(
            node.project,
            place(node),
            tuple(place(other) for other in _in_order(node)),
            _variable(node) if node.is_elsewhere else "",
            node.origin,
        )

    return Resolved(place(search.top), tuple(needed(node) for node in _in_order(search.top)))


def ned_path(project: Project, place: str, needed: Sequence[Needed]) -> tuple[str, ...]:
    """Return a project's NED path, relative to the working directory, with the folders of what it needs."""
    start = os.path.join(place, project.directory)
    theirs = [
        os.path.relpath(os.path.join(one.place, one_of), start) for one in needed for one_of in one.project.ned_folders
    ]
    return tuple(dict.fromkeys([*(project.launch.ned_path or (".",)), *theirs])) if theirs else project.launch.ned_path


def _in_order(node: _Node) -> Iterator[_Node]:
    """Yield what a project needs, each after what it needs itself."""
    seen: list[_Node] = []

    def visit(one: _Node) -> None:
        for other in one.edges:
            if other not in seen:
                visit(other)
                seen.append(other)

    visit(node)
    yield from seen


def _usual_name(said: Reference) -> str:
    """Return the name of a reference's folder."""
    if said.path is not None:
        return os.path.basename(os.path.normpath(os.path.expanduser(said.path)))
    return re.sub(r"\.git$", "", re.split(r"[/:]", said.git.rstrip("/"))[-1]) or "reference"


def _variable(node: _Node) -> str:
    """Return the variable that makefiles have for a project: what they say, else by custom, e.g. INET_PROJ."""
    if node.said and node.said.variable:
        return node.said.variable
    plain = re.sub(r"-?\d[\d.]*$", "", node.address.name)
    return re.sub(r"\W", "_", plain or node.address.name, flags=re.ASCII).upper() + "_PROJ"
