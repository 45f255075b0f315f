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
    library = tmp_path / "library"
    library.write_bytes(b"half of")
    arriving.read_on()

    # When others take its place, whatever their inodes
    for number in range(3):
        library.unlink()
        library.write_bytes(b"%d and all of it" % number)

        # Then
        assert arriving.digest(library) == hashlib.sha256(b"%d and all of it" % number).hexdigest()
        arriving.read_on()


def test_what_has_left_the_folder_is_not_held_open(arriving: Arriving, tmp_path: Path) -> None:
    # Given
    library = tmp_path / "library"
    library.write_bytes(b"complete")
    arriving.read_on()

    # When
    library.unlink()
    arriving.read_on()

    # Then
    held = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if _is_open(number)]
    assert not [name for name in held if name.startswith(str(tmp_path))]


def _is_open(number: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{number}")
