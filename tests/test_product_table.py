"""The table of products, for people and for programs."""

import json

from runner.messages import Products, ProductStatus
from runner.report import product_table

INET = ProductStatus("a" * 64, "inet", 3, 188_000_000, 180_000_000, 1e9, 1.1e9, ("c1", "c2"))
OWN = ProductStatus("b" * 64, "own\x1b[2J", 1, 100, 0, 1e9, 1.2e9)
LAB = Products((INET, OWN), 200_000_000, 10_000_000_000)


def test_each_product_has_a_line_and_nothing_that_a_terminal_obeys() -> None:
    # Given two products, one of a project with an odd name, when they are shown
    lines = product_table.text(LAB, prune=False).splitlines()
    # Then each has its line, with what is its own, and who needs it
    assert len(lines) == 4
    assert lines[1].split()[:7] == ["a" * 12, "inet", "3", "188", "MB", "180", "MB"]
    assert lines[1].endswith("c1, c2")
    assert "\x1b" not in lines[2]
    assert lines[2].split()[3:7] == ["100", "bytes", "0", "bytes"]
    assert lines[3] == "all together 200 MB, of at most 10 GB; own: what no other product has"


def test_it_is_said_what_pruning_freed() -> None:
    # Given a lab from which two products were removed, whose files checkouts keep in part
    lab = Products((), 0, 10_000_000_000, removed=2, freed=300_000_000, held=5_000_000)
    # When that is told, then with both numbers
    assert product_table.text(lab, prune=True).splitlines() == [
        (
            "2 products removed, 300 MB freed; 5 MB more are free when housekeeping, hourly, removes the checkouts "
            "that use them: those unused for 14 days, where nothing else is set, or sooner if room is short"
        ),
        "no products",
        "all together 0 bytes, of at most 10 GB",
    ]
    # … and where nothing was to be removed, too
    assert "nothing to remove" in product_table.text(LAB, prune=True)


def test_programs_get_all_of_it() -> None:
    # Given products, when they are told as JSON, then keys and numbers are whole
    told = json.loads(product_table.as_json(LAB))
    assert (told["total"], told["limit"], told["removed"]) == (200_000_000, 10_000_000_000, 0)
    assert told["products"][0] == {
        "key": "a" * 64,
        "project": "inet",
        "files": 3,
        "size": 188_000_000,
        "own": 180_000_000,
        "built": 1e9,
        "used": 1.1e9,
        "campaigns": ["c1", "c2"],
    }
