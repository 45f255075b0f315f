"""Who may look at the web page: tokens, tickets and sessions."""

import stat
from pathlib import Path

import pytest

from runner.paths import LabPaths
from runner.web.people import SESSION, TICKET, People, own_token


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def paths(tmp_path: Path) -> LabPaths:
    return LabPaths(tmp_path)


@pytest.fixture
def people(paths: LabPaths, clock: Clock) -> People:
    return People(paths, clock)


def test_a_token_is_made_once_and_kept_from_others(paths: LabPaths, people: People) -> None:
    # Given a person's token
    token = own_token(paths, "anna@EXAMPLE.ORG")
    # When it is asked for once more
    again = own_token(paths, "anna@EXAMPLE.ORG")
    # Then it is the same, stands for that person, and only the owner of the lab's files can read it
    assert again == token
    assert people.of_token(token) == "anna@EXAMPLE.ORG"
    (file,) = paths.web_token("x").parent.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_persons_with_odd_names_have_tokens_of_their_own(paths: LabPaths, people: People) -> None:
    # Given persons whose names could be paths, or look alike in a token, when they get tokens
    names = ["DOMAIN\\anna", "a/b", "a.b", "a", "%2e", "ada lovelace", "ä"]
    tokens = {name: own_token(paths, name) for name in names}
    # Then each stands for one of them
    assert {name: people.of_token(token) for name, token in tokens.items()} == {name: name for name in names}
    assert len(set(tokens.values())) == len(names)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden"])
def test_what_is_no_name_gets_no_token(paths: LabPaths, name: str) -> None:
    # Given what can be nobody's name, when it is to get a token, then it does not
    with pytest.raises(ValueError, match="name"):
        own_token(paths, name)


@pytest.mark.parametrize(
    "shown",
    [
        "",
        ".",
        "anna.",
        "anna.{short}",
        "anna.{secret}0",
        "anna.{short}é",
        "ben.{secret}",
        "carl.{secret}",
        "../people/anna.{secret}",
        "anna\0.{secret}",
        "{long}.{secret}",
        "{secret}",
    ],
)
def test_what_is_not_exactly_a_token_is_nobodys(paths: LabPaths, people: People, shown: str) -> None:
    # Given two persons with tokens
    secret = own_token(paths, "anna").removeprefix("anna.")
    own_token(paths, "ben")
    assert people.of_token(f"anna.{secret}") == "anna"
    # When something else is shown, then it is nobody's
    assert people.of_token(shown.format(secret=secret, short=secret[:-1], long="x" * 5000)) is None


def test_a_ticket_is_good_once(paths: LabPaths, people: People) -> None:
    # Given a ticket
    own_token(paths, "anna")
    ticket = people.ticket("anna")
    # When it is used, then the session is its person's
    session = people.session(ticket)
    assert session is not None
    assert people.of_session(session) == "anna"
    # And it cannot be used once more
    assert people.session(ticket) is None


def test_a_ticket_is_good_for_some_minutes(paths: LabPaths, people: People, clock: Clock) -> None:
    # Given a ticket, when it is used too late, then it is none
    own_token(paths, "anna")
    ticket = people.ticket("anna")
    clock.time += TICKET + 1
    assert people.session(ticket) is None


def test_a_session_outlives_the_process_and_ends_some_day(paths: LabPaths, people: People, clock: Clock) -> None:
    # Given a session
    own_token(paths, "anna")
    session = people.session(people.ticket("anna"))
    assert session is not None
    # When another process sees it, then it is good, until it is too old
    assert People(paths, clock).of_session(session) == "anna"
    clock.time += SESSION + 1
    assert People(paths, clock).of_session(session) is None


def test_a_session_ends_with_the_token(paths: LabPaths, people: People) -> None:
    # Given a session, when somebody has removed the secret and a new one is made, then the session is nobody's
    own_token(paths, "anna")
    session = people.session(people.ticket("anna"))
    paths.web_token("anna").unlink()
    own_token(paths, "anna")
    assert session is not None
    assert people.of_session(session) is None


def test_a_session_cannot_be_made_longer_or_another_persons(paths: LabPaths, people: People) -> None:
    # Given a session of anna's, and another person
    own_token(paths, "anna")
    own_token(paths, "ben")
    session = people.session(people.ticket("anna"))
    assert session is not None
    person, ends, signature = session.split(".")
    # When something in it is changed, then it is nobody's
    for forged in (
        f"ben.{ends}.{signature}",
        f"{person}.{int(ends) + 1}.{signature}",
        f"{person}.{ends}.",
        f"{person}.{ends}",
        f"{person}.{'9' * 50}.{signature}",
        f"{person}.²².{signature}",
        "..",
        "",
    ):
        assert people.of_session(forged) is None
