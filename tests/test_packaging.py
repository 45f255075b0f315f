"""What is in the wheel, and what the locks promise."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from runner import __version__

ROOT = Path(__file__).resolve().parent.parent

#: Folders of the wheel that a checkout has, too.
FOLDERS = ("runner", "playbooks", "inventory", "examples")

#: What is left in a checkout in which an example was built and run.
PRODUCTS = ("examples/aloha/aloha", "examples/aloha/out/aloha.o", "examples/aloha/results/General-0.sca")


def run(*argv: str | Path, cwd: Path) -> str:
    """Return what a process prints; it sees nothing of the checkout, and no package index."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_below(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def built(folder: str, names: list[str]) -> set[str]:
    """Return which entries of a folder are products of a build, or of a run."""
    products = {"__pycache__"}
    if "examples" in Path(folder).relative_to(ROOT).parts:
        products |= {"out", "results", "aloha_dbg"}
        products |= {name for name in names if name == "aloha" and (Path(folder) / name).is_file()}
    return products


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of this checkout without anything that was built in it."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", ".gitignore", "hatch_build.py", "labfleet.py", "tasks.py"):
        shutil.copy(ROOT / name, checkout)
    for name in FOLDERS:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, checkout / name, ignore=built)
    return checkout


@pytest.fixture(scope="module")
def site_packages(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder into which the wheel was installed, in a virtual environment that has nothing else."""
    place = tmp_path_factory.mktemp("installed")
    source = place / "source"
    shutil.copytree(checkout, source)
    for name in PRODUCTS:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    pip = (sys.executable, "-m", "pip", "--quiet")
    run(*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", place, source, cwd=place)
    (wheel,) = place.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    run(*pip, "--python", place / "venv/bin/python", "install", "--no-deps", wheel, cwd=place)
    (found,) = (place / "venv/lib").glob("python3*/site-packages")
    return found


@pytest.fixture(scope="module")
def bin_folder(site_packages: Path) -> Path:
    """Return the folder with the installed program, whose dependencies are those of this test's environment."""
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return site_packages.parents[2] / "bin"


def test_a_wheel_puts_one_folder_into_site_packages(site_packages: Path) -> None:
    # When the wheel is installed
    names = {entry.name for entry in site_packages.iterdir()} - {"dependencies.pth"}
    # Then no module of labfleet's can be mistaken for somebody else's
    assert names == {"labfleet", f"labfleet-{__version__}.dist-info"}


def test_the_folder_has_the_same_files_as_a_checkout(site_packages: Path, checkout: Path) -> None:
    # When the wheel is installed
    # Then tasks.py, runner/, examples/ … are there, and nothing that was only built in the checkout
    expected = {f"{folder}/{name}" for folder in FOLDERS for name in files_below(checkout / folder)}
    assert {"runner/commands.py", "examples/aloha/omnetpp.ini"} <= expected
    assert files_below(site_packages / "labfleet") == {"__init__.py", "tasks.py", *expected}


def test_an_installed_labfleet_finds_its_commands_in_any_folder(bin_folder: Path, tmp_path: Path) -> None:
    # When the installed program is called in a folder that has nothing to do with it
    listed = run(bin_folder / "labfleet", "--list", cwd=tmp_path)
    # Then its commands are there
    assert "campaign" in listed


def test_an_installed_labfleet_finds_its_files_where_it_lies(
    bin_folder: Path, site_packages: Path, tmp_path: Path
) -> None:
    # When the installed program looks for its own files
    program = "import labfleet; labfleet.main()"
    asked = f"import atexit, sys; atexit.register(lambda: print(sys.modules['runner.paths'].SOURCE)); {program}"
    printed = run(bin_folder / "python", "-c", asked, "--list", cwd=tmp_path)
    # Then that is the installed folder, not the checkout
    assert Path(printed.splitlines()[-1]) == site_packages / "labfleet"


def test_an_editable_installation_is_the_checkout_itself(checkout: Path, tmp_path: Path) -> None:
    # Given an environment into which a checkout was installed as editable
    source = tmp_path / "a source"
    shutil.copytree(checkout, source)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    (site_packages,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    (site_packages / "build_backend.pth").write_text(sysconfig.get_path("purelib"))
    pip = (sys.executable, "-m", "pip", "--quiet", "--python", python)
    run(*pip, "install", "--no-build-isolation", "--no-deps", "--editable", source, cwd=tmp_path)
    # When labfleet is imported
    found = run(python, "-c", "import labfleet; print(labfleet.__file__)", cwd=tmp_path)
    # Then it is the checkout's file, whatever is changed in it
    assert found == f"{source / 'labfleet.py'}\n"


# ---- locks -------------------------------------------------------------------------------------------------------


def pins(lock: str) -> dict[str, str]:
    """Return the version that a lock gives each package."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_the_development_lock_has_the_same_versions() -> None:
    # Then what is tested is what a person who only runs campaigns gets
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


def test_each_dependency_is_locked() -> None:
    # Given what pyproject.toml asks for
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = settings["dependency-groups"]
    development = [entry for entry in groups["dev"] if isinstance(entry, str)]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[<>=!~\[; ]", requirement)[0] for requirement in requirements}

    # Then the locks were made after the last change
    assert names(settings["project"]["dependencies"] + groups["build"]) <= pins("requirements.lock").keys()
    assert names(development) <= pins("requirements-dev.lock").keys()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_no_package_index(lock: str) -> None:
    # Then where packages come from is the person's own setting
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)
