"""Git waits for the disk wherever somebody relies on what it has, also in the programs that know nothing of runner/."""

import subprocess
import sys
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from runner import repository

ROLES = Path(__file__).resolve().parent.parent / "playbooks" / "roles"

#: Makes a repository of anna's as the head's entry does.
MAKES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import entry
entry.create(Path(sys.argv[2]), "anna")
"""


def options() -> list[str]:
    """Return the settings as options of git."""
    return [word for name, value in repository.DURABLE.items() for word in ("-c", f"{name}={value}")]


def test_a_git_server_s_repository_is_durable(tmp_path: Path) -> None:
    # Given a repository as the head makes it for a first push
    subprocess.run(
        [sys.executable, "-c", MAKES, str(ROLES / "head" / "files"), str(tmp_path / "aloha.git")], check=True
    )
    # Then it has the same settings as one on a local lab
    repository.create(tmp_path / "local.git", durable=True)
    for made in (tmp_path / "aloha.git", tmp_path / "local.git"):
        for name, value in repository.DURABLE.items():
            assert repository.git(made, "config", "--get", name).text == value


def test_labfleet_s_own_code_comes_to_head_and_workers_durably() -> None:
    # Given the options by which the head and a worker's start program fetch it, then they are these
    assert yaml.safe_load((ROLES / "code" / "vars" / "main.yml").read_text())["code_durable"] == options()
    assert all(f'"{word}"' in (ROLES / "image" / "files" / "start.py").read_text() for word in options())
