"""The builder's trees: what a build leaves is what a new tree's would leave, whatever was built there before."""

import os
import shutil
from pathlib import Path

import pytest

from runner.model import Build
from tests.build_lab import BuildLab, Came
from tests.needed_projects import write


@pytest.fixture
def builds(tmp_path: Path) -> BuildLab:
    return BuildLab(tmp_path / "lab")


@pytest.fixture
def fresh(tmp_path: Path) -> BuildLab:
    """A builder that has built nothing."""
    return BuildLab(tmp_path / "fresh")


#: Stands in for opp_featuretool: switching off excludes a package.
FEATURETOOL = """#!/bin/sh
[ $1 = disable ] && echo "pkg.$3" > .nedexclusions
"""


def test_a_feature_that_is_switched_off_counts_without_a_compiler(
    builds: BuildLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a project of NED files alone
    tool = write(tmp_path / "bin", opp_featuretool=FEATURETOOL) / "opp_featuretool"
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    network = write(tmp_path / "network", Net_dot_ned="network Net {}\n")
    # When a feature is switched off, then what that excludes is told by its product
    came = builds.build(network, build=Build(disable=("Alpha",)))
    assert came.files == {".nedexclusions": b"pkg.Alpha\n"}, came.refusal


@pytest.mark.parametrize("command", ["make", "[ -e table.h ] || { cat table.part > table.h; sh gen.sh >> table.h; }"])
def test_a_file_that_was_made_by_half_is_not_used(builds: BuildLab, tmp_path: Path, command: str) -> None:
    # Given a rule that writes a header, in a makefile that another one calls, and fails in the middle of it
    model = write(
        tmp_path / "model",
        Makefile="all:\n\t$(MAKE) -f inner\n",
        inner="model: table.h main.cc\n\tg++ -o $@ main.cc\ntable.h:\n\tcat table.part > $@\n\tsh gen.sh >> $@\n",
        table_dot_part="// the beginning\n",
        gen_dot_sh="grep there there.txt\n",
        main_dot_cc='#include "table.h"\nint main() {}\n',
    )
    assert "ended with exit status" in builds.build(model, command).refusal
    # When it does not fail any more, though nothing has changed that the rule names
    write(model, there_dot_txt="// there\n")
    # Then the header is made from the beginning
    came = builds.build(model, command)
    assert came.files["table.h"] == b"// the beginning\n// there\n", came.refusal


def test_a_tree_that_was_cut_short_is_gone_before_it_is_removed(
    builds: BuildLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a build that is killed in the middle the first time
    model = write(tmp_path / "model", omnetpp_dot_ini="[General]\n")
    once = tmp_path / "once"
    half = f"[ -e {once} ] || {{ touch {once}; echo half > made; kill -9 $$; }}"
    command = f"{half}; [ -e made ] || echo whole > made"
    assert builds.build(model, command).refusal

    # … and a builder that is killed while it removes what that has left
    def killed(folder: Path) -> None:
        (folder / "busy").unlink(missing_ok=True)
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        assert builds.build(model, command).refusal.endswith("killed")
    # When it is built once more, then nothing of it is used
    assert builds.build(model, command).files["made"] == b"whole\n"


def test_what_a_needed_project_rewrites_of_its_own_is_no_change(builds: BuildLab, tmp_path: Path) -> None:
    # Given a project that writes to a header of its commit, and a model that includes that
    makefile = "TARGET = lib.txt\nlib.txt: text\n\techo '#define VERSION 2' > version.h; cp text $@\n"
    needed = write(tmp_path / "needed", Makefile=makefile, version_dot_h="#define VERSION 1\n", text="one\n")
    model = write(
        tmp_path / "model",
        Makefile="TARGET = model\nmodel: main.o\n\tg++ -o $@ $<\n%.o: %.cc ../needed/version.h\n\tg++ -c -o $@ $<\n",
        main_dot_cc='#include "../needed/version.h"\nint main() { return VERSION; }\n',
    )
    build = Build(commands=(("make",),), makefiles=("Makefile",))
    assert builds.build(model, "make", needed=(builds.source(needed, build),)).made == ["main.o", "model"]
    # When that project is another one, and the header is the same
    write(needed, text="two\n")
    # Then the model is only linked
    assert builds.build(model, "make", needed=(builds.source(needed, build),)).made == ["model"]


def test_what_earlier_revisions_made_is_in_no_product(builds: BuildLab, fresh: BuildLab, tmp_path: Path) -> None:
    # Given a script that makes some files, and has made them
    model = write(
        tmp_path / "model",
        Makefile="all: made.ned\nmade.ned: gen.sh\n\tsh gen.sh\n",
        gen_dot_sh="touch made.ned A.ned libold.so old_m.h old.h\n",
    )
    assert builds.build(model, "make").names == ["A.ned", "libold.so", "made.ned", "old.h", "old_m.h"]
    # When it makes others
    write(model, gen_dot_sh="touch made.ned B.ned\n")
    # Then the product is that of a builder that has never seen the former
    later, new = builds.build(model, "make"), fresh.build(model, "make")
    assert later.key == new.key
    assert later.names == new.names == ["B.ned", "made.ned"]


#: A program of all sources, an object for each in a folder of its own; a script makes a header, and perhaps more.
MAKEFILE = """TARGET = model
OBJS = $(patsubst %.cc,out/%.o,$(wildcard *.cc))
all: model
model: out/model
\tln -sf $< $@
out/model: $(OBJS)
\tg++ -o $@ $(OBJS) $(LIBS)
out/%.o: %.cc table.h
\tmkdir -p out
\tg++ -c -o $@ $<
table.h: gen.sh
\tsh gen.sh
"""


def scripted(root: Path, script: str) -> Path:
    """Write a project that is built by a script, too."""
    sources = {"main_dot_cc": '#include "table.h"\nint main() {}\n', "more_dot_cc": "int more() { return 1; }\n"}
    return write(root, Makefile=MAKEFILE, gen_dot_sh=script, **sources)


def test_a_changed_source_is_one_compilation_and_a_link(builds: BuildLab, tmp_path: Path) -> None:
    # Given a project that was built, with a header that a script makes
    model = scripted(tmp_path / "model", "touch table.h")
    assert builds.build(model, "make").made == ["out/main.o", "out/model", "out/more.o"]
    # When a source is changed
    write(model, more_dot_cc="int more() { return 2; }\n")
    # Then that is compiled, nothing else, and all is there
    came = builds.build(model, "make")
    assert (came.made, came.names) == (["out/model", "out/more.o"], ["model", "table.h"])
    # … and when another file is changed that no rule names, nothing is made
    write(model, notes_dot_txt="new\n")
    came = builds.build(model, "make")
    assert (came.made, came.names) == ([], ["model", "table.h"])


def test_what_is_made_on_the_way_is_not_lost(builds: BuildLab, tmp_path: Path) -> None:
    # Given a script that makes a header, and a NED file that no rule names
    model = scripted(tmp_path / "model", "touch table.h Side.ned")
    assert builds.build(model, "make").names == ["Side.ned", "model", "table.h"]
    # When a source is changed, then that file is still there
    write(model, more_dot_cc="int more() { return 2; }\n")
    assert builds.build(model, "make").names == ["Side.ned", "model", "table.h"]


def test_a_rule_may_make_more_than_it_says(builds: BuildLab, tmp_path: Path) -> None:
    # Given a rule that makes a header and data, and another one that reads the data
    rules = "prog: main.cc gen.h\n\tcat gen.dat && g++ -o $@ $<\ngen.h: gen.sh\n\tsh gen.sh\n"
    model = write(tmp_path / "model", Makefile=rules, main_dot_cc="int main() {}\n", gen_dot_sh="touch gen.h gen.dat\n")
    assert builds.build(model, "make").names == ["gen.dat", "gen.h", "prog"]
    # When a source is changed, then it is built as it would be at home
    write(model, main_dot_cc="int main() { return 0; }\n")
    assert builds.build(model, "make").names == ["gen.dat", "gen.h", "prog"]


@pytest.mark.parametrize(
    ("suffix", "makefile"),
    [
        ("ned", "all: $(patsubst %.ned,%_ned.h,$(wildcard *.ned))\n%_ned.h: %.ned\n\tcp $< $@\n"),
        ("h", "all: $(patsubst %.h,moc_%.cpp,$(wildcard *.h))\nmoc_%.cpp: %.h\n\tcp $< $@\n"),
    ],
)
def test_what_is_made_of_a_file_goes_with_it(builds: BuildLab, tmp_path: Path, suffix: str, makefile: str) -> None:
    # Given a project that makes a file of each file of a kind
    model = write(tmp_path / "model", Makefile=makefile)
    for name in "ab":
        (model / f"{name}.{suffix}").touch()
    assert len(builds.build(model, "make").names) == 2
    # When one of them is removed, then so is what was made of it
    (model / f"b.{suffix}").unlink()
    (name,) = builds.build(model, "make").names
    assert name in ("a_ned.h", "moc_a.cpp")


def test_a_repository_in_the_tree_stays(builds: BuildLab, tmp_path: Path) -> None:
    # Given a build that brings a repository, as CMake's FetchContent does
    model = scripted(tmp_path / "model", "touch table.h; git init -q fetched; touch fetched/x")
    assert builds.build(model, "make").refusal == ""
    # When a source is changed, then it is built
    write(model, more_dot_cc="int more() { return 2; }\n")
    assert builds.build(model, "make").made == ["out/model", "out/more.o"]


def test_what_came_of_a_build_that_failed_is_in_no_product(builds: BuildLab, tmp_path: Path) -> None:
    # Given a project that was built, and a change of it that fails after it has made something
    model = scripted(tmp_path / "model", "touch table.h Whole.ned")
    builds.build(model, "make")
    write(model, gen_dot_sh="touch table.h Half.ned; exit 1")
    assert "Error 1" in builds.build(model, "make").refusal
    # When that is mended, then there is what the mended one makes
    write(model, gen_dot_sh="touch table.h New.ned")
    assert builds.build(model, "make").names == ["New.ned", "model", "table.h"]


def test_what_was_made_of_a_message_goes_with_it(builds: BuildLab, tmp_path: Path) -> None:
    # Given a project that compiles all that there is, what is made from messages included
    message = "%_m.cc: %.msg\n\ttouch $*_m.h; cp $< $@\n"
    wanted = "$(patsubst %.msg,%_m.cc,$(wildcard *.msg)) $(wildcard *.cc)"
    makefile = f"TARGET = model\nmodel: {wanted}\n\tg++ -o $@ $(sort $^)\n{message}"
    model = write(tmp_path / "model", Makefile=makefile, main_dot_cc="int main() {}\n")
    write(model, a_dot_msg="int a;\n", b_dot_msg="int b;\n")
    first = builds.build(model, "make")
    assert first.names == ["a_m.h", "b_m.h", "model"]
    # When one is removed
    (model / "a.msg").unlink()
    # Then nothing of it is left, in the program neither
    came = builds.build(model, "make")
    assert came.names == ["b_m.h", "model"]
    assert "a_m.cc" not in came.log


@pytest.mark.parametrize("where", ["needed", "own"])
def test_a_changed_archive_is_linked_in(builds: BuildLab, tmp_path: Path, where: str) -> None:
    # Given a program that is linked with an archive, of another project's or its own, which no rule names
    rule = "libgreet.a: greet.o\n\tar rcs $@ $<\n"
    needed = write(tmp_path / "needed", Makefile=f"TARGET = libgreet.a\n{rule}", greet_dot_cc='char greet[] = "hello";')
    folder = needed if where == "needed" else tmp_path / "model" / "lib"
    libs = "../needed/libgreet.a" if where == "needed" else "lib/libgreet.a"
    model = scripted(tmp_path / "model", "touch table.h")
    write(
        model,
        Makefile=MAKEFILE.replace("$(LIBS)", libs),
        main_dot_cc="extern char greet[]; int main() { return *greet; }",
    )
    if where != "needed":
        shutil.copytree(needed, folder)
    steps = ("make -C lib", "make") if where == "own" else ("make",)

    def came(text: str) -> Came:
        (folder / "greet.cc").write_text(f'char greet[] = "{text}";')
        build = Build(commands=(("make",),), makefiles=("Makefile",))
        others = (builds.source(needed, build),) if where == "needed" else ()
        return builds.build(model, *steps, needed=others)

    assert came("hello").refusal == ""
    # When the archive is another one, then so is the program
    later = came("goodbye")
    assert "out/model" in later.made
    assert "out/main.o" not in later.made
    (program,) = (tree / "trees" / "model" / "out" / "model" for tree in builds.trees if "model" in tree.name)
    assert b"goodbye" in program.read_bytes()


def test_what_was_made_is_on_the_disk_before_it_counts(
    builds: BuildLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a builder of which it is seen when it waits for the disk: that of a power failure cannot be had
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "sync", lambda: seen.extend(os.listdir(tree) for tree in builds.trees))
    # When something is built, then the tree is still marked as one in which a build may have been cut short
    model = scripted(tmp_path / "model", "touch table.h")
    builds.build(model, "make")
    assert [names.count("busy") for names in seen] == [1]
    # When it is there already, then nobody waits
    builds.build(model, "make")
    assert len(seen) == 1


def test_what_is_made_of_features_stays(builds: BuildLab, tmp_path: Path) -> None:
    # Given a project with features, of which its makefile makes a header, as INET's does
    model = scripted(tmp_path / "model", "touch table.h")
    write(model, Makefile=MAKEFILE.replace("table.h", "features.h"), gen_dot_sh="touch features.h")
    write(model, main_dot_cc="int main() {}\n", _dot_oppfeatures="<features/>\n")
    assert "out/main.o" in builds.build(model, "make").made
    # When a file is changed from which nothing is compiled, then nothing is
    write(model, config_dot_xml="<config/>\n")
    assert builds.build(model, "make").made == []


def test_what_is_made_of_the_state_of_features_is_not_made_anew(builds: BuildLab, tmp_path: Path) -> None:
    # Given a header that depends on which features are enabled, which is written down when it is not there, as INET's
    rules = (
        "model: out/main.o\n\tg++ -o $@ $<\n"
        "out/main.o: main.cc features.h\n\t@mkdir -p out\n\tg++ -c -o $@ $<\n"
        "features.h: .oppfeaturestate\n\ttouch $@\n"
        ".oppfeaturestate:\n\tcp .oppfeatures $@\n"
    )
    model = write(tmp_path / "model", Makefile=rules, main_dot_cc="int main() {}\n", _dot_oppfeatures="<features/>\n")
    assert "out/main.o" in builds.build(model, "make").made
    # When another file is changed, then what includes the header is not compiled
    write(model, config_dot_xml="<config/>\n")
    assert "out/main.o" not in builds.build(model, "make").made
    # When there are other features, then their state is another one
    write(model, _dot_oppfeatures="<features></features>\n")
    came = builds.build(model, "make")
    assert "out/main.o" in came.made
    assert came.files[".oppfeaturestate"] == b"<features></features>\n"
