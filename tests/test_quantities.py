"""Durations and sizes as people write them."""

import pytest

from runner import quantities


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15min", 900),
        ("15 min", 900),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1d", 86400),
        ("0.5", 0.5),
    ],
)
def test_a_duration_is_understood(text: str, seconds: float) -> None:
    # Given a duration as people write it, when it is read, then it is that many seconds
    assert quantities.seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500 * 10**6), ("2gb", 2 * 10**9), ("1.5GiB", 3 << 29), ("512 MiB", 512 << 20), ("500", 500 * 10**6)],
)
def test_a_size_is_understood_and_a_plain_number_is_in_megabytes(text: str, size: int) -> None:
    # Given a size as people write it, when it is read, then it is that many bytes
    assert quantities.size(text) == size


@pytest.mark.parametrize("text", ["", "soon", "-1", "0", "0s", "1 week", "1h30", "nan", "inf", "1e3", "9" * 400])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    # Given what is no duration, when it is read, then it says how one is written
    with pytest.raises(ValueError, match="15min"):
        quantities.seconds(text)


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "2 cups", "1GBit"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    # Given what is no size, when it is read, then it says how one is written
    with pytest.raises(ValueError, match="500MB"):
        quantities.size(text)


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [("timeout", "none", None), ("memory", "None", None), ("retries", "0", 0), ("max-failures", "3", 3)],
)
def test_a_limit_can_be_switched_off(name: str, text: str, limit: int | None) -> None:
    # Given an option, also with the word that takes a limit away, when it is read, then that is what it says
    assert quantities.limit(name, text) == limit


@pytest.mark.parametrize(("name", "text"), [("retries", "none"), ("retries", "-1"), ("max-failures", "0")])
def test_counts_are_whole_numbers(name: str, text: str) -> None:
    # Given what is no count, when it is read, then it is refused
    with pytest.raises(ValueError, match="whole number"):
        quantities.limit(name, text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "a few seconds"),
        (9.9, "a few seconds"),
        (10.0, "more than 10 s"),
        (59.9, "more than 50 s"),
        (60.0, "more than 1 min"),
        (3599.0, "more than 59 min"),
        (3600.0, "more than 1 h"),
        (2 * 86400.0, "more than 2 days"),
    ],
)
def test_how_long_ago_something_was_is_told_in_words_that_stay_for_a_while(seconds: float, words: str) -> None:
    assert quantities.roughly(seconds) == words
