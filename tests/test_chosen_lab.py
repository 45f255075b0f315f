"""Which lab a person uses: the variable, the setting, or the local one."""

from pathlib import Path

import pytest

from runner import chosen_lab
from runner.errors import WrongUse


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a person who has chosen nothing."""
    monkeypatch.delenv("LABFLEET_LAB", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "labfleet"


def test_without_a_choice_the_lab_is_the_local_one() -> None:
    assert chosen_lab.chosen() is None


def test_a_choice_is_kept_for_later_commands(settings: Path) -> None:
    # Given a person who has chosen a lab once
    assert chosen_lab.use(" ada@head.example.org\n") == "ada@head.example.org"
    # When another command asks, then it gets that, from one readable file
    assert chosen_lab.chosen() == "ada@head.example.org"
    assert (settings / "lab").read_text() == "ada@head.example.org\n"
    assert [file.name for file in settings.iterdir()] == ["lab"]


def test_local_takes_a_choice_back() -> None:
    # Given a person who has chosen a lab
    chosen_lab.use("head")
    # When they choose the local one, then that is what they get
    assert chosen_lab.use("local") is None
    assert chosen_lab.chosen() is None


def test_the_local_lab_may_be_a_choice_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a person who has said nothing, then nothing is chosen
    assert not chosen_lab.is_chosen()
    # When they say by the variable or the setting which lab it is, also the local one, then something is
    monkeypatch.setenv("LABFLEET_LAB", "local")
    assert chosen_lab.is_chosen()
    monkeypatch.setenv("LABFLEET_LAB", " ")
    assert not chosen_lab.is_chosen()
    chosen_lab.use("local")
    assert chosen_lab.is_chosen()


def test_the_variable_counts_more_than_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a setting
    chosen_lab.use("head")
    # When the variable names another lab, then that one is used
    monkeypatch.setenv("LABFLEET_LAB", "bob@other")
    assert chosen_lab.chosen() == "bob@other"
    # … also when that is the local one
    monkeypatch.setenv("LABFLEET_LAB", "local")
    assert chosen_lab.chosen() is None
    # … but an empty variable says nothing
    monkeypatch.setenv("LABFLEET_LAB", "")
    assert chosen_lab.chosen() == "head"


def test_without_a_folder_for_settings_it_is_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an environment that names none
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    # When a lab is chosen, then it is kept where programs keep such things
    chosen_lab.use("head")
    assert (tmp_path / ".config" / "labfleet" / "lab").read_text() == "head\n"


@pytest.mark.parametrize(
    "name",
    [
        "head",
        "ada@head",
        "lab-head_2.example.org",
        "ada@192.0.2.7",
        "2001:db8::7",
        "ada@phys.example.org@head",
        "a+b@h",
    ],
)
def test_what_ssh_takes_for_a_host_is_a_name(name: str) -> None:
    assert chosen_lab.use(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-oProxyCommand=reboot",
        "ada@-oX",
        "@head",
        "ada@",
        "two words",
        "head/x",
        "head;x",
        "he\nad",
        "$(x)",
        ".head",
    ],
)
def test_nothing_else_is_a_name(name: str, settings: Path) -> None:
    # Given what would be an option of ssh, or nothing at all
    # When it is chosen, then that is refused and nothing is kept
    with pytest.raises(WrongUse, match="does not name the head of a lab"):
        chosen_lab.use(name)
    assert not settings.exists()


@pytest.mark.parametrize("name", ["ssh://ada@head", "ada@head:2222", "head:22"])
def test_a_port_belongs_into_the_ssh_configuration(name: str) -> None:
    with pytest.raises(WrongUse) as refused:
        chosen_lab.use(name)
    assert "a port belongs into ~/.ssh/config" in refused.value.hint


def test_a_wrong_name_tells_where_it_came_from(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a setting that somebody has edited
    settings.mkdir(parents=True)
    (settings / "lab").write_text("-oX\n")
    # When the lab is asked for, then the file is named
    with pytest.raises(WrongUse, match=str(settings / "lab")):
        chosen_lab.chosen()
    # … and a wrong variable by its name
    monkeypatch.setenv("LABFLEET_LAB", "two words")
    with pytest.raises(WrongUse, match=r"^LABFLEET_LAB: .two words."):
        chosen_lab.chosen()
