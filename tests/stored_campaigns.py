"""Campaigns in a result store, as they are at some time of their lives."""

import os
import tempfile
from pathlib import Path

from runner import products
from runner.model import Build, Campaign, Launch, Prepared, Source, encode
from runner.paths import CampaignPaths, LabPaths
from runner.products import Product

DAY = 86400.0

COMMIT = "c" * 40


def needed(commit: str, tree: str = "t" * 40) -> Source:
    """Return a project that a campaign's project needs."""
    return Source("inet-1f3a9c04", commit, tree, "s", "inet", Build())


def campaign(
    name: str = "one", *, commit: str = COMMIT, tree: str = "t" * 40, references: tuple[Source, ...] = ()
) -> Campaign:
    """Return a campaign of Ada's."""
    return Campaign(
        id=name,
        protocol=3,
        project="aloha-1f3a9c04",
        name="aloha",
        commit=commit,
        tree=tree,
        sources="s",
        directory=".",
        config="General",
        run_filter="",
        mode="release",
        build=Build(),
        launch=Launch(),
        environment={},
        submitted=0.0,
        user="ada",
        references=references,
    )


def stored(
    lab: LabPaths,
    name: str,
    *,
    commit: str = COMMIT,
    key: str = "",
    ended: float | None = None,
    collected: float | None = None,
    size: int = 0,
    references: dict[str, str] | None = None,
) -> CampaignPaths:
    """Put a campaign into a store: with a product's key it is prepared; times of its end, and of its way home.

    ``references``: commit → key of the one project that its own needs.
    """
    store = lab.campaign(name)
    store.records.mkdir(parents=True)
    others = references or {}
    store.campaign.write_bytes(encode(campaign(name, commit=commit, references=tuple(map(needed, others)))))
    if key:
        keys = dict(zip(["inet"], others.values(), strict=False))
        store.prepared.write_bytes(encode(Prepared(key, False, ("./aloha",), "gcc", (), keys)))
    if size:
        (store.root / "runs").mkdir()
        (store.root / "runs" / "data").write_bytes(os.urandom(size))
    for mark, when in ((store.end, ended), (store.collected, collected)):
        if when is not None:
            mark.write_text("{}")
            os.utime(mark, (when, when))
    return store


def built(lab: LabPaths, key: str, tree: Path) -> Product:
    """Put all files of a folder into a store, as what a build of a key has made."""
    made = [str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_symlink() or not path.is_dir()]
    return products.keep(lab, Product(key, "gcc", None, (), "aloha", 1.0), tree, made)


def product(lab: LabPaths, key: str, used: float, size: int = 0) -> Path:
    """Put a product with one file into a store that was used last at some time."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "aloha").write_bytes(os.urandom(size))
        built(lab, key, Path(folder))
    os.utime(lab.description(key), (used, used))
    return lab.product(key)
