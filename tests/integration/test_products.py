"""Products travel once, only what is missing of them, nothing damaged is used; real rsync, the real gate."""

import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from playbooks.roles.head.files import gate
from runner import products
from runner.model import decode, encode
from runner.paths import LabPaths
from runner.products import Item, Product, store
from tests.conftest import needs
from tests.product_lab import Host, ProductLab
from tests.test_gate import missing

ROOT = Path(__file__).resolve().parent.parent.parent

KEY, OTHER = "a" * 64, "b" * 64

BIG, SMALL = random.Random(1).randbytes(8_000_000), random.Random(2).randbytes(50_000)

#: What INET's product looks like: a library that is large, and programs that are small.
FILES = {"src/libINET.so": BIG, "lib/libsmall.so": SMALL, "bin/run": b"#!/bin/sh\n"}

#: Does what a slot of a host does.
SLOT = """
import sys
from pathlib import Path
from tests.product_lab import Host
print(Host(Path(sys.argv[1])).provide(sys.argv[2]) is not None)
"""


@pytest.fixture
def lab(tmp_path: Path) -> ProductLab:
    needs("rsync")
    if not any(map(os.path.exists, gate.RRSYNC)):
        missing("rrsync is not installed; it comes with rsync >= 3.2.4")
    return ProductLab(tmp_path)


@pytest.fixture
def builder(lab: ProductLab) -> Host:
    return lab.host("builder")


@pytest.fixture
def built(lab: ProductLab, builder: Host) -> Product:
    """Return a product that the builder has made and the head has taken."""
    product = builder.build(KEY, FILES, {"lib/libsmall.so.1": "libsmall.so"})
    assert lab.take(product, builder.send(product))
    builder.sent()
    return product


def spoil(paths: LabPaths, product: Product, path: str) -> Path:
    """Change a byte of a product's file on a disk, as a disk or somebody does; its size stays."""
    (item,) = (item for item in product.files if item.path == path)
    content = paths.content(item.content)
    content.chmod(0o644)
    with content.open("r+b") as file:
        file.seek(100 if item.size > 100 else 0)
        file.write(b"?")
    content.chmod(0o444)
    return content


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- once, and only what is missing --------------------------------------------------------------------------------


def test_a_host_gets_the_very_files_that_were_built(lab: ProductLab, built: Product) -> None:
    # Given a product at the head, when a host gets it
    host = lab.host("red")
    product = host.provide(KEY)
    assert product == built
    folder = host.laid_out(product)
    # Then it has the files with their contents, programs are programs, links are links, and all is read-only
    assert read(folder) == {**FILES, "lib/libsmall.so.1": SMALL}
    assert os.readlink(folder / "lib/libsmall.so.1") == "libsmall.so"
    assert stat.S_IMODE((folder / "bin/run").stat().st_mode) == 0o555
    assert stat.S_IMODE((folder / "src/libINET.so").stat().st_mode) == 0o444
    # … and nothing else is left of the journey
    assert sorted(os.listdir(host.home.products)) == [KEY, f"{KEY}.lock", "files"]


def test_a_product_crosses_the_network_once_however_many_slots_want_it(lab: ProductLab, built: Product) -> None:
    # Given a host with eight slots that need a product at the same time
    host = lab.host("red")
    command = [sys.executable, "-c", SLOT, str(host.folder), KEY]
    slots = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(8)]
    # When all have it
    assert [slot.communicate()[0] for slot in slots] == [b"True\n"] * 8
    # Then it has come once, and lies once on the disk, beside two checkouts too
    size = sum(built.contents.values())
    assert size < host.received() < 1.01 * size + 20_000
    places = [host.laid_out(built) / "src/libINET.so" for _ in range(2)]
    assert len({path.stat().st_ino for path in places}) == 1
    assert places[0].stat().st_nlink == 3


def test_a_rebuild_that_changes_one_small_library_sends_that_alone(
    lab: ProductLab, built: Product, builder: Host
) -> None:
    # Given a host with a product, and a new build of which one small library is another one
    host = lab.host("red")
    host.provide(KEY)
    host.received()
    new = builder.build(OTHER, {**FILES, "lib/libsmall.so": SMALL[::-1]})
    # When it goes to the head, and from there to the host
    assert lab.take(new, builder.send(new))
    assert host.provide(OTHER) == new
    # Then that library has travelled, and no other file
    for size in (builder.sent(), host.received()):
        assert len(SMALL) < size < len(SMALL) + 20_000
    assert read(host.laid_out(new))["lib/libsmall.so"] == SMALL[::-1]
    assert read(host.laid_out(built))["lib/libsmall.so"] == SMALL


def test_a_file_that_only_moved_does_not_travel(lab: ProductLab, built: Product, builder: Host) -> None:
    # Given a product, when a build leaves the same file under two other names, one of them a program
    new = builder.build(OTHER, {"lib/a.so": BIG, "lib/b.so": BIG})
    assert lab.take(new, builder.send(new))
    # Then it lies where it lay, once
    assert builder.sent() < 20_000
    assert len(list(lab.store.contents.iterdir())) == len(built.contents)


def test_a_host_that_has_a_product_asks_nobody(lab: ProductLab, built: Product) -> None:
    # Given a host with a product, when it is needed again, then nothing goes over the network
    host = lab.host("red")
    assert host.provide(KEY) == built
    assert host.received()
    host.sent()
    assert host.provide(KEY) == built
    assert (host.sent(), host.received()) == (0, 0)


def test_more_files_than_one_command_line_holds_come_all(lab: ProductLab, builder: Host) -> None:
    # Given a product of many files
    files = {f"share/{number}": b"%d" % number for number in range(450)}
    product = builder.build(KEY, files)
    # When it travels, then all are there
    assert lab.take(product, builder.send(product))
    host = lab.host("red")
    assert host.provide(KEY) == product
    assert read(host.laid_out(product)) == files


def test_what_nobody_has_built_is_nowhere(lab: ProductLab) -> None:
    # Given a head without products, when a host asks for one, then there is none, and nothing is left of the question
    host = lab.host("red")
    assert host.provide(KEY) is None
    assert not host.has_product(KEY)
    assert host.contents() == {}
    assert [path.name for path in host.home.products.iterdir()] == [f"{KEY}.lock"]


def test_a_fetch_that_was_cut_goes_on_where_it_was(lab: ProductLab, built: Product) -> None:
    # Given a fetch that is cut when most of it has come
    host = lab.host("red")
    assert host.fetch([f"{KEY}/product.json"], host.folder)
    host.received()
    large = max(built.contents, key=lambda name: built.contents[name])
    half = host.home.products / f".{KEY}.new"
    half.mkdir(parents=True)
    host.cut(5_000_000)
    with pytest.raises(OSError, match="rsync ended"):
        host.fetch([f"files/{large}"], half)
    assert not host.home.content(large).exists()
    first = host.received()
    # When the host needs the product, then it is complete, and what had come did not come again
    assert host.provide(KEY) == built
    assert first > 3_000_000
    assert first + host.received() < 8_000_000 + 1_000_000
    assert read(host.laid_out(built))["src/libINET.so"] == BIG


# ---- damaged ---------------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_noticed_and_fetched_again(lab: ProductLab, built: Product) -> None:
    # Given a host with a product of which a byte has changed
    host = lab.host("red")
    host.provide(KEY)
    host.received()
    content = spoil(host.home, built, "lib/libsmall.so")
    # When the product is needed, then the file is as it was, and no other has travelled
    assert host.provide(KEY) == built
    assert content.read_bytes() == SMALL
    assert len(SMALL) < host.received() < len(SMALL) + 20_000


def test_a_truncated_or_missing_file_is_fetched_again(lab: ProductLab, built: Product) -> None:
    # Given a host that has lost a file, and the end of another one
    host = lab.host("red")
    host.provide(KEY)
    for item, act in ((built.files[0], Path.unlink), (built.files[1], lambda path: os.truncate(path, 100))):
        act(host.home.content(item.content))
    # When the product is needed, then it is complete
    assert host.provide(KEY) == built
    assert read(host.laid_out(built))["lib/libsmall.so"] == SMALL


def test_what_changed_without_a_trace_is_noticed_after_a_day(lab: ProductLab, built: Product) -> None:
    # Given a file that has changed while its time stayed, as it is after a power failure
    host = lab.host("red")
    host.provide(KEY)
    content = spoil(host.home, built, "lib/libsmall.so")
    os.utime(content, (store.PLACED, store.PLACED))
    # When the product was read for the last time more than a day ago
    stamp = host.home.product(KEY) / "checked"
    os.utime(stamp, (stamp.stat().st_mtime - 86401, stamp.stat().st_mtime - 86401))
    # Then it is noticed
    assert host.provide(KEY) == built
    assert content.read_bytes() == SMALL


def test_nothing_of_a_damaged_product_is_used(lab: ProductLab, built: Product) -> None:
    # Given a head on which a file of a product is damaged
    spoil(lab.store, built, "lib/libsmall.so")
    # When a host needs it, then it gets none, and has none; what came undamaged stays for later
    host = lab.host("red")
    assert host.provide(KEY) is None
    assert not host.home.description(KEY).exists()
    # … the head sees for itself that it is so, and has it no more
    assert not products.is_whole(lab.store, KEY)
    assert not host.has_product(KEY)


def test_what_a_host_cannot_write_is_not_missing_at_the_head(lab: ProductLab, built: Product) -> None:
    # Given a host on which something is in the way of a file that the head has
    host = lab.host("red")
    (host.folder / built.key / "product.json" / "in-the-way").mkdir(parents=True)
    # When it is fetched, then that is a failure, and no product that has to be built again
    with pytest.raises(OSError, match="rsync ended with status 23"):
        host.fetch([f"{KEY}/product.json"], host.folder / built.key)
    # … other than a file that is not there
    assert not host.fetch([f"{OTHER}/product.json"], host.folder)


def test_a_head_gets_again_what_is_damaged_there(lab: ProductLab, built: Product, builder: Host) -> None:
    # Given a head that has found a product damaged
    spoil(lab.store, built, "lib/libsmall.so")
    assert not products.is_whole(lab.store, KEY)
    # When its builder delivers it again, then only the damaged file has travelled, and hosts get it
    assert not builder.has_product(KEY)
    assert lab.take(built, builder.send(built))
    assert len(SMALL) < builder.sent() < len(SMALL) + 20_000
    host = lab.host("red")
    assert host.provide(KEY) == built
    assert read(host.laid_out(built))["lib/libsmall.so"] == SMALL


def test_a_delivery_that_is_damaged_on_the_way_is_no_product(lab: ProductLab, builder: Host) -> None:
    # Given a delivery of which a byte has changed
    product = builder.build(KEY, FILES)
    parcel = builder.send(product)
    (arrived,) = (path for path in (lab.store.incoming / parcel).iterdir() if path.stat().st_size == len(SMALL))
    arrived.chmod(0o600)
    arrived.write_bytes(SMALL[::-1])
    # When the head takes it, then there is no product, and nothing of the damaged file
    assert not lab.take(product, parcel)
    assert not builder.has_product(KEY)
    assert arrived.name not in builder.contents()
    assert list(lab.store.incoming.iterdir()) == []
    # … and the next delivery brings what is missing, and no more
    builder.sent()
    assert lab.take(product, builder.send(product))
    assert len(SMALL) < builder.sent() < len(SMALL) + 20_000


def test_a_delivery_that_relies_on_what_is_gone_is_no_product(lab: ProductLab, built: Product, builder: Host) -> None:
    # Given a delivery without a file that the head had when it was asked, and has lost since
    new = builder.build(OTHER, {**FILES, "lib/libsmall.so": SMALL[::-1]})
    parcel = builder.send(new)
    big = max(built.contents, key=lambda name: built.contents[name])
    lab.store.content(big).unlink()
    # When the head takes it, then there is no product; the next delivery has all
    assert not lab.take(new, parcel)
    assert not builder.has_product(OTHER)
    assert lab.take(new, builder.send(new))
    assert lab.host("red").provide(OTHER) == new


def test_the_first_product_of_a_key_stays_unless_it_is_damaged(lab: ProductLab, built: Product) -> None:
    # Given another builder that has built the same, with other bytes
    other = lab.host("other")
    again = other.build(KEY, {"bin/run": b"#!/bin/dash\n"})
    # When it delivers, then the first one stays
    assert lab.take(again, other.send(again))
    assert lab.host("red").provide(KEY) == built
    # … but for one that is damaged
    spoil(lab.store, built, "lib/libsmall.so")
    assert lab.take(again, other.send(again))
    assert lab.host("blue").provide(KEY) == again


@pytest.mark.parametrize("what", ["nothing", "nonsense", "another key", "an old description"])
def test_a_delivery_without_its_description_is_no_product(lab: ProductLab, builder: Host, what: str) -> None:
    # Given a delivery whose description is not what it should be
    product = builder.build(KEY, FILES)
    parcel = builder.send(product)
    described = lab.store.incoming / parcel / "product.json"
    match what:
        case "nothing":
            described.unlink()
        case "nonsense":
            described.write_bytes(b"{")
        case "another key":
            described.write_bytes(encode(msgspec.structs.replace(product, key=OTHER)))
        case _:
            described.write_text(f'{{"key": "{KEY}", "toolchain": "gcc", "target": null}}')
    # When the head takes it, then there is no product
    assert not lab.take(product, parcel)
    assert not lab.store.description(KEY).exists()
    assert list(lab.store.incoming.iterdir()) == []


@pytest.mark.parametrize(
    "files",
    [
        [Item("../x", link="y")],
        [Item("a/../../x", link="y")],
        [Item("/x", link="y")],
        [Item("", link="y")],
        [Item("a//x", link="y")],
        [Item("x", sha256="../../secret")],
        [Item("x", sha256="F" * 64)],
        [Item("a", link="/etc"), Item("a/x", sha256="0" * 64)],
    ],
)
def test_a_description_names_nothing_outside_of_a_product(files: list[Item]) -> None:
    # Given a description of files, one of which leads elsewhere
    right = {"key": KEY, "toolchain": "", "target": None, "files": [{"path": "a/x", "link": "../y"}]}
    assert decode(encode(right), Product)
    # When it is read, then it is refused
    with pytest.raises(ValueError, match=r"no path|no checksum"):
        decode(encode({**right, "files": files}), Product)
