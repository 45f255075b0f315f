"""Checksums of files that are made while these arrive are those of the complete files."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runner.products.arriving import PIECE, Arriving


@pytest.fixture
def arriving(tmp_path: Path) -> Iterator[Arriving]:
    with closing(Arriving(tmp_path)) as arriving:
        yield arriving


def test_a_file_that_grew_under_another_name_has_the_checksum_of_all_of_it(arriving: Arriving, tmp_path: Path) -> None:
    # Given a file that rsync writes, of which some has been read
    pieces = [os.urandom(3 * PIECE + 1), os.urandom(7)]
    draft = tmp_path / ".library.Xa3f7k"
    for piece in pieces:
        with draft.open("ab") as file:
            file.write(piece)
        arriving.read_on()

    # When it gets its name
    draft.rename(tmp_path / "library")

    # Then
    assert arriving.digest(tmp_path / "library") == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_file_in_the_place_of_another_one_has_a_checksum_of_its_own(arriving: Arriving, tmp_path: Path) -> None:
    # Given a file that an interrupted transfer has left, and that was read
    library, draft = tmp_path / "library", tmp_path / ".library.Xa3f7k"
    library.write_bytes(b"half of")
    draft.write_bytes(b"half of")
    arriving.read_on()

    # When others take its place, whatever their inodes
    for number in range(3):
        draft.unlink()
        draft.write_bytes(b"%d and all of it" % number)
        arriving.read_on()
        os.link(draft, tmp_path / "again")
        os.replace(tmp_path / "again", library)

        # Then
        assert arriving.digest(library) == hashlib.sha256(b"%d and all of it" % number).hexdigest()


def test_no_file_is_held_open_that_is_complete_or_gone(arriving: Arriving, tmp_path: Path) -> None:
    # Given files of which some are on their way
    for name in ("one", "two", ".three.Xa3f7k", ".four.Xa3f7k"):
        (tmp_path / name).write_bytes(b"complete")
    arriving.read_on()

    # When one is complete, and one is gone
    (tmp_path / ".three.Xa3f7k").rename(tmp_path / "three")
    arriving.digest(tmp_path / "three")
    (tmp_path / ".four.Xa3f7k").unlink()
    arriving.read_on()

    # Then
    held = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if _is_open(number)]
    assert not [name for name in held if name.startswith(str(tmp_path))]


def _is_open(number: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{number}")
