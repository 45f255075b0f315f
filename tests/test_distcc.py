"""Who compiles for a builder: the list follows who is up, and what a dead machine did not do is done here."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner import distcc, making
from runner.distcc import Helper, Hosts, listed, serving
from tests.conftest import eventually, needs
from tests.servers import free_port, listens

#: As provisioning writes it.
LIST = "10.0.0.2:3632/8,lzo # w2\n10.0.0.3:3632/4,lzo # w3\nlocalhost/2\n"

#: With what machines compile.
GXX = "g++ 12.2.0"

W2, W3, HERE = Helper("10.0.0.2:3632/8,lzo", "w2"), Helper("10.0.0.3:3632/4,lzo", "w3"), Helper("localhost/2")


def test_the_list_is_read_with_and_without_names() -> None:
    # Given lists of this version's provisioning and of an earlier one's, when / then
    assert listed(LIST) == [W2, W3, HERE]
    assert listed("a:1/2,lzo b:1/2,lzo\nlocalhost/2\n") == [Helper("a:1/2,lzo"), Helper("b:1/2,lzo"), HERE]


@pytest.mark.parametrize(
    ("up", "left"),
    [
        ({"w1": GXX, "w2": GXX, "w3": GXX}, [W2, W3, HERE]),
        ({"w1": GXX, "w3": GXX}, [W3, HERE]),
        ({}, [HERE]),
        ({"w2": "g++ 14.2.0", "w3": GXX}, [W3, HERE]),
        ({"w2": "", "w3": GXX}, [W3, HERE]),
    ],
)
def test_who_is_away_or_compiles_differently_is_left_out_and_the_builder_itself_is_last(
    up: dict[str, str], left: list[Helper]
) -> None:
    # When / Then
    assert serving([HERE, W2, W3], up, GXX) == left
    # and who has no name may be up
    assert serving([Helper("a:1/2"), HERE], up, GXX) == [Helper("a:1/2"), HERE]


@dataclass
class Foreman:
    """Knows which machines are up."""

    up: set[str] | None
    is_away: bool = False
    asked: int = field(default=0)

    def machines(self) -> dict[str, str] | None:
        """Tell."""
        self.asked += 1
        if self.is_away:
            raise OSError("no route to Redis")
        return None if self.up is None else dict.fromkeys(self.up, GXX)


@pytest.fixture
def provisioned(tmp_path: Path) -> Path:
    """What provisioning has written."""
    file = tmp_path / "distcc-hosts"
    file.write_text(LIST)
    return file


def test_the_list_follows_who_is_up_while_something_is_built(
    tmp_path: Path, provisioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a build
    monkeypatch.setattr(distcc, "LOOK", 0.02)
    foreman = Foreman({"w2", "w3"})
    environment = {"CCACHE_PREFIX": "distcc", "DISTCC_DIR": str(tmp_path / "distcc")}
    hosts = tmp_path / "distcc" / "hosts"
    with Hosts(provisioned, foreman, GXX).followed(environment):
        assert hosts.read_text() == "10.0.0.2:3632/8,lzo\n10.0.0.3:3632/4,lzo\nlocalhost/2\n"
        # When a machine goes, then it is left out
        foreman.up = {"w3"}
        eventually(lambda: "10.0.0.2" not in hosts.read_text(), "w2 is left out")
        # When the foreman cannot be asked for a while, then the list stays, and is right again afterwards
        foreman.is_away, before = True, foreman.asked
        eventually(lambda: foreman.asked > before + 2, "it is asked in vain")
        assert hosts.read_text() == "10.0.0.3:3632/4,lzo\nlocalhost/2\n"
        foreman.is_away, foreman.up = False, {"w2"}
        eventually(lambda: hosts.read_text().startswith("10.0.0.2"), "w2 is back")


@pytest.mark.parametrize("foreman", [Foreman(None), Foreman({"w2"}, is_away=True)])
def test_while_nobody_knows_who_compiles_the_builder_does(tmp_path: Path, provisioned: Path, foreman: Foreman) -> None:
    # Given a builder whose last build was helped, and nobody who tells with what the helpers compile now
    environment = {"CCACHE_PREFIX": "distcc", "DISTCC_DIR": str(tmp_path / "distcc")}
    hosts = tmp_path / "distcc" / "hosts"
    with Hosts(provisioned, Foreman({"w2"}), GXX).followed(environment):
        assert hosts.read_text() == "10.0.0.2:3632/8,lzo\nlocalhost/2\n"
    # When something is built, then the builder compiles it alone
    with Hosts(provisioned, foreman, GXX).followed(environment):
        assert hosts.read_text() == "localhost/2\n"


@pytest.mark.parametrize("more", [{"DISTCC_HOSTS": "mine"}, {"CCACHE_PREFIX": ""}])
def test_a_list_of_ones_own_stays(tmp_path: Path, provisioned: Path, more: dict[str, str]) -> None:
    # Given somebody's own list, or no distcc at all; when something is built, then there is no other one
    environment = {"CCACHE_PREFIX": "distcc", "DISTCC_DIR": str(tmp_path / "distcc"), **more}
    with Hosts(provisioned, Foreman({"w2"}), GXX).followed(environment):
        assert not (tmp_path / "distcc").exists()


# ---- the real one --------------------------------------------------------------------------------------------------


@contextmanager
def compiler(folder: Path, name: str) -> Iterator[tuple["subprocess.Popen[bytes]", str, Path]]:
    """Run a distccd of some machine, and yield its process, its entry in the list, and its log."""
    port, log = free_port(), folder / f"{name}.log"
    words = ["--daemon", "--no-detach", "--log-level", "info", "--log-stderr", "--listen", "127.0.0.1"]
    words += ["--port", str(port), "--jobs", "2", "--allow", "127.0.0.1"]
    with log.open("wb") as output, subprocess.Popen(["distccd", *words], stderr=output) as server:
        try:
            eventually(lambda: listens(port), "distccd")
            yield server, f"127.0.0.1:{port}/2,lzo # {name}", log
        finally:
            server.terminate()


def compiled_by(log: Path) -> int:
    """Return how many compilations a machine has done, by its own log."""
    return log.read_text().count("COMPILE_OK") if log.exists() else 0


def test_a_machine_that_dies_in_the_middle_only_slows_the_build(tmp_path: Path) -> None:
    needs("distccd")
    needs("distcc")
    # Given two machines that compile, and a project of 30 sources
    count = 30
    for number in range(count):
        (tmp_path / f"f{number}.cc").write_text(
            f"#include <map>\n#include <regex>\nint f{number}() {{ return {number}; }}\n"
        )
    (tmp_path / "Makefile").write_text(
        "OBJS = $(patsubst %.cc,%.o,$(wildcard *.cc))\nall: $(OBJS)\n%.o: %.cc\n\tdistcc g++ -c -o $@ $<\n"
    )
    with ExitStack() as stack:
        (one, entry, log), (_, other_entry, other_log) = (
            stack.enter_context(compiler(tmp_path, name)) for name in ("w1", "w2")
        )
        (tmp_path / "distcc-hosts").write_text(f"{entry}\n{other_entry}\nlocalhost/1\n")
        given = {**os.environ, "CCACHE_PREFIX": "distcc", "DISTCC_DIR": str(tmp_path / "distcc")}
        foreman = Foreman({"w1", "w2"})
        stack.enter_context(Hosts(tmp_path / "distcc-hosts", foreman, GXX).followed(given))
        environment = making.environment(given, "release", tmp_path, {}, [])
        # Then as much is done at once as all of them can
        assert int(environment["MAKEFLAGS"].split()[0].removeprefix("-j")) >= 5
        # When one dies after it has compiled something
        with subprocess.Popen(["make", "-s"], cwd=tmp_path, env=environment) as make:
            eventually(lambda: compiled_by(log) > 0, "the first machine compiles", 60)
            done = compiled_by(log)
            one.kill()
            status = make.wait()
    # Then the build ends well, the other one has done its part, and nothing is missing
    assert status == 0
    assert done < count
    assert compiled_by(other_log) > 0
    assert len(list(tmp_path.glob("f*.o"))) == count
