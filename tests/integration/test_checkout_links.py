"""A checkout begins with another one of its product, or links to it, and is its commit's all the same; real git."""

from pathlib import Path

import pytest

from runner import checkouts
from runner.housekeeping.limits import Limits
from runner.paths import index_of, use_of
from tests.head_and_worker import KEY, Lab

ROOMY = Limits(campaign_bytes=1 << 60, product_bytes=1 << 60, checkout_bytes=1 << 60, build_bytes=1 << 60)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LABFLEET_HOME", str(tmp_path / "client"))
    lab = Lab(tmp_path)
    (lab.root / "ned").mkdir()
    for name in ("a.ned", "ned/b.ned", "ned/gone.ned"):
        (lab.root / name).write_text(f"// {name}\n")
    return lab


def content(checkout: Path) -> dict[str, str]:
    """Return the text files of a checkout."""
    files = (path for path in checkout.rglob("*") if path.is_file() and path.name != "aloha")
    return {str(path.relative_to(checkout)): path.read_text() for path in files}


def test_only_what_an_edit_changed_is_written_again(lab: Lab) -> None:
    # Given a checkout
    first = lab.checkout(lab.submit("# one\n"))
    before = content(first)

    # When a file is edited, one is new, and one is gone
    (lab.root / "ned" / "gone.ned").unlink()
    (lab.root / "ned" / "new.ned").write_text("// new\n")
    second = lab.checkout(lab.submit("# two\n"))

    # Then both are what they should be, and read-only
    now = {**before, "omnetpp.ini": "# two\n", "ned/new.ned": "// new\n"}
    del now["ned/gone.ned"]
    assert content(second) == now
    assert content(first) == before
    assert [path for path in (second, *second.rglob("*")) if path.stat().st_mode & 0o222] == []
    # … and what is the same in both is there once
    shared = {name for name in now if name in before and (first / name).samefile(second / name)}
    assert shared == {"a.ned", "ned/b.ned"}
    assert (first / "aloha").samefile(second / "aloha")


def test_what_somebody_changed_in_a_checkout_is_not_taken_over(lab: Lab) -> None:
    # Given a checkout in which a run wrote to a file, and removed another
    first = lab.checkout(lab.submit("# one\n"))
    (first / "a.ned").chmod(0o644)
    (first / "a.ned").write_text("// not a.ned\n")
    (first / "ned").chmod(0o755)
    (first / "ned" / "b.ned").unlink()

    # When the next one is made
    second = lab.checkout(lab.submit("# two\n"))

    # Then it is whole
    assert content(second)["a.ned"] == "// a.ned\n"
    assert content(second)["ned/b.ned"] == "// ned/b.ned\n"


def test_the_checkout_that_was_not_used_for_longest_becomes_the_new_one(lab: Lab) -> None:
    # Given two checkouts, in the older of which somebody changed a file, and one that is in use
    first_campaign, second_campaign, third_campaign = (lab.submit(f"# {word}\n") for word in ("one", "two", "three"))
    first = lab.checkout(first_campaign)
    (first / "a.ned").chmod(0o644)
    (first / "a.ned").write_text("// not a.ned\n")
    (first / "ned").chmod(0o755)
    (first / "ned" / "left.ned").touch()
    with checkouts.in_use(lab.paths, lab.head, second_campaign, KEY) as second:
        # When a third one is made
        third = lab.checkout(third_campaign)
        # Then it is the first one, with what belonged to it, and whole
        assert not any(path.exists() for path in (first, index_of(first), use_of(first)))
        assert content(third)["omnetpp.ini"] == "# three\n"
        assert content(third)["a.ned"] == "// a.ned\n"
        assert "ned/left.ned" not in content(third)
        assert [path for path in (third, *third.rglob("*")) if path.stat().st_mode & 0o222] == []
        # … and the first one can be had again, beside that in use and the latest
        assert content(lab.checkout(first_campaign))["omnetpp.ini"] == "# one\n"
        assert content(third)["omnetpp.ini"] == "# three\n"
        assert content(second)["omnetpp.ini"] == "# two\n"


def test_a_checkout_is_whole_when_the_one_before_is_gone(lab: Lab) -> None:
    # Given a checkout that was removed because nobody had used it, with all that belonged to it
    first = lab.checkout(lab.submit("# one\n"))
    lab.tidy(ROOMY, days=15)
    assert not first.exists()
    assert not index_of(first).exists()

    # When the next one is made, then it is whole
    assert content(lab.checkout(lab.submit("# two\n")))["ned/b.ned"] == "// ned/b.ned\n"
