"""Projects that need other projects: what is built, in which order, how often, and what the runs see of it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from runner import upstream
from runner.errors import LabFailed
from runner.paths import LabPaths
from tests.lab_fixture import LocalLab, Said, manifest
from tests.needed_projects import MAIN, library, program, write

GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]


#: A stand-in for OMNeT++'s own program: writes down how it was started.
OPP_RUN = """#!/bin/sh
case "$*" in *"-q runs"*) echo 'Run 0: $repetition=0'; exit;; esac
mkdir -p results
echo "$@" > "results/General-#0.sca"
"""


@pytest.fixture
def greet(tmp_path: Path) -> Path:
    """The library; other tests' libraries are other ones."""
    return write(library(tmp_path / "work" / "greet"), src__own_dot_h=f"// of {tmp_path}\n")


@pytest.fixture
def model(tmp_path: Path, greet: Path) -> Path:  # noqa: ARG001 - it stands beside the model
    """The program that needs it."""
    return program(tmp_path / "work" / "model")


def told_by(project: Path) -> list[str]:
    """Return what the only run wrote down: what the library said, then the options."""
    return (project / "results" / "General-#0.sca").read_text().splitlines()


def steps(lab: LocalLab, project: Path) -> list[str]:
    """Return what the latest campaign's build compiled and linked, by name."""
    log = lab.home / "campaigns" / manifest(project)["campaign"] / "build.log"
    if not log.exists():
        return []
    return re.findall(r"^\S*(?:g\+\+|c\+\+) .*-o (\S+)", log.read_text(), re.MULTILINE)


def run(lab: LocalLab, project: Path, *words: str) -> Said:
    """Run a campaign and return what it said."""
    return lab("campaign", *words, cwd=project)


def done(lab: LocalLab, project: Path, *words: str) -> list[str]:
    """Run a campaign that has to end well, and return what its build compiled and linked."""
    said = run(lab, project, *words)
    assert said.status == 0, said.stderr
    return steps(lab, project)


def refusal(lab: LocalLab, project: Path) -> str:
    """Run a campaign that is wrong, and return why."""
    said = run(lab, project)
    assert said.status == 2, said.stderr
    assert not (project / "results").exists()
    return said.stderr


# ---- what is built ---------------------------------------------------------------------------------------------


def test_what_a_makefile_names_is_built_before_and_stands_beside_it(lab: LocalLab, model: Path) -> None:
    # Given a model whose makefile says where a library is; when it is run
    made = done(lab, model)
    # Then the library was built first, the program is linked with it and finds it, and its NED folder is on the path
    assert made == ["greet.o", "other.o", "libgreet.so", "main.o", "more.o", "model"]
    said, *options = told_by(model)
    assert said == "hello made"
    assert options[options.index("-n") + 1] == ".;../greet/src"
    # and the manifest says what it was
    (reference,) = manifest(model)["references"]
    assert (reference["place"], reference["origin"]) == ("greet", str(model.parent / "greet"))
    assert len(reference["commit"]) == 40
    assert reference["key"]


def test_a_change_in_the_project_does_not_touch_what_it_needs(lab: LocalLab, model: Path) -> None:
    # Given a model that was built
    done(lab, model)
    # When one of its sources is changed
    (model / "more.cc").write_text("int more() { return 2; }\n")
    # Then that one is compiled, and the program linked
    assert done(lab, model) == ["more.o", "model"]


def test_a_change_in_what_is_needed_is_one_compilation_and_the_links(lab: LocalLab, model: Path) -> None:
    # Given a model that was built
    done(lab, model)
    # When a source of the library is changed
    source = model.parent / "greet" / "src" / "greet.cc"
    source.write_text(source.read_text().replace("hello", "goodbye"))
    # Then that one is compiled, and both are linked; the model says so
    assert done(lab, model) == ["greet.o", "libgreet.so", "model"]
    assert told_by(model)[0] == "goodbye made"


def test_a_header_that_is_made_compiles_what_includes_it(lab: LocalLab, model: Path) -> None:
    # Given a model that was built
    done(lab, model)
    # When the file is changed from which the library makes a header
    (model.parent / "greet" / "src" / "greet.msg").write_text("new")
    # Then the sources that include it are compiled, in the model, too
    assert done(lab, model) == ["greet.o", "other.o", "libgreet.so", "main.o", "model"]
    assert told_by(model)[0] == "hello new"


def test_back_to_an_earlier_state_of_both_builds_nothing(lab: LocalLab, model: Path) -> None:
    # Given a model and a library that were built in two states each
    source = model.parent / "greet" / "src" / "greet.cc"
    done(lab, model)
    before = source.read_text()
    source.write_text(before.replace("hello", "goodbye"))
    done(lab, model)
    # When the library is as it was
    source.write_text(before)
    # Then nothing is built, and it is the earlier one that runs
    assert done(lab, model) == []
    assert told_by(model)[0] == "hello made"
    # and the next change of the model is compiled with the earlier header, not with the one of the last build
    (model / "more.cc").write_text("int more() { return 3; }\n")
    done(lab, model)
    assert told_by(model)[0] == "hello made"


def test_an_older_header_counts_as_a_change_too(lab: LocalLab, model: Path) -> None:
    # Given a library in two states, both built, and a model that was built with the second one
    made_from = model.parent / "greet" / "src" / "greet.msg"
    done(lab, model)
    made_from.write_text("second")
    done(lab, model)
    # When the model is changed, and the library is as it was before: an older file of another content
    made_from.write_text("made")
    (model / "more.cc").write_text("int more() { return 4; }\n")
    made = done(lab, model)
    # Then what includes the header is compiled
    assert made == ["main.o", "more.o", "model"]
    assert told_by(model)[0] == "hello made"


def test_what_is_needed_is_built_once_for_everyone(lab: LocalLab, model: Path) -> None:
    # Given a model that was built
    done(lab, model)
    # When another project is run that needs the same library, from another folder
    other = program(model.parent / "deeper" / "other", "../../greet")
    # Then that alone is built, and it stands where its makefile expects it
    assert done(lab, other) == ["main.o", "more.o", "other"]
    assert told_by(other)[0] == "hello made"


def test_a_changed_ned_file_of_what_is_needed_builds_nothing_and_is_seen(lab: LocalLab, model: Path) -> None:
    # Given a model that was built
    done(lab, model)
    # When a NED file of the library is changed
    (model.parent / "greet" / "src" / "greet.ned").write_text("simple Greet { parameters: int x; }\n")
    # Then nothing is built, and the checkout of the run has it
    before = manifest(model)["references"][0]
    assert done(lab, model) == []
    after = manifest(model)["references"][0]
    assert (before["key"], before["tree"]) != (after["key"], after["tree"])
    assert before["key"] == after["key"]


def test_needs_of_what_is_needed_are_built_first(lab: LocalLab, model: Path) -> None:
    # Given a library that needs another one
    work = model.parent
    write(
        work / "base",
        src__Makefile="TARGET = libbase.so\n$(TARGET): base.cc\n\t$(CXX) -shared -fPIC -o $@ $<\n",
        src__base_dot_cc='const char *base() { return "from the base"; }\n',
    )
    library(work / "greet", libraries="-L../../base/src -lbase")
    write(
        work / "greet",
        labfleet_dot_toml='[[reference]]\npath = "../base"\n',
        src__greet_dot_cc="const char *base();\nconst char *greet() { return base(); }\n",
    )
    # When the model is run
    made = done(lab, model)
    # Then all are built in order, and found when it runs
    assert made == ["libbase.so", "greet.o", "other.o", "libgreet.so", "main.o", "more.o", "model"]
    assert told_by(model)[0] == "from the base made"
    assert [reference["place"] for reference in manifest(model)["references"]] == ["base", "greet"]


def test_one_that_is_elsewhere_is_put_beside_and_makefiles_are_told(lab: LocalLab, tmp_path: Path) -> None:
    # Given a library in a folder of which the makefile knows nothing
    there = library(tmp_path / "far" / "away" / "greet-1.0")
    model = program(tmp_path / "work" / "model", "../nowhere")
    write(model, labfleet_dot_toml=f'[[reference]]\npath = "{there}"\nname = "greet"\n')
    # When the model is run
    done(lab, model)
    # Then it is found nevertheless
    said, *options = told_by(model)
    assert said == "hello made"
    assert options[options.index("-n") + 1] == ".;../greet/src"


def test_libraries_in_a_persons_library_path_do_not_take_the_place_of_built_ones(
    lab: LocalLab, model: Path, tmp_path: Path
) -> None:
    # Given a model with a library of its own, and one that it needs
    write(
        model,
        own__Makefile="TARGET = libown.so\n$(TARGET): own.cc\n\t$(CXX) -shared -fPIC -o $@ $<\n",
        own__own_dot_cc='const char *own() { return "own"; }\n',
        labfleet_dot_toml='build = ["make -C own", "make"]\n[[reference]]\npath = "../greet"\n',
        main_dot_cc=MAIN.replace("greet()", "own(), greet()")
        .replace("%s", "%s %s", 1)
        .replace("int main", "const char *own();\nint main", 1),
    )
    makefile = (model / "Makefile").read_text()
    (model / "Makefile").write_text(makefile.replace("-lgreet\n%", "-lgreet -Lown -lown\n%"))
    # Given other states of both in a folder that LD_LIBRARY_PATH names
    for name in ("greet", "own"):
        file = write(tmp_path / "stale", **{f"{name}_dot_cc": f'const char *{name}() {{ return "stale"; }}\n'})
        source = file / f"{name}.cc"
        command = ["g++", "-shared", "-fPIC", "-o", str(file / f"lib{name}.so"), str(source)]
        subprocess.run(command, check=True)
    # When the model is run
    said = lab("campaign", cwd=model, env={"LD_LIBRARY_PATH": str(tmp_path / "stale")})
    assert said.status == 0, said.stderr
    # Then what was built is what ran
    assert told_by(model)[0] == "own hello made"


def test_a_program_of_omnetpps_own_loads_the_libraries_that_are_needed(
    lab: LocalLab, greet: Path, tmp_path: Path
) -> None:
    # Given a project without sources, and opp_run on PATH
    folder = write(tmp_path / "bin", opp_run=OPP_RUN)
    (folder / "opp_run").chmod(0o755)
    network = write(
        greet.parent / "network",
        labfleet_dot_toml='[[reference]]\npath = "../greet"\n',
        omnetpp_dot_ini="[General]\n",
        simulations__omnetpp_dot_ini="[General]\n",
    )
    # When it is run in one of its folders
    said = lab("campaign", cwd=network / "simulations", env={"PATH": f"{folder}:{os.environ['PATH']}"})
    # Then the library is given to it, as seen from there
    assert said.status == 0, said.stderr
    (words,) = told_by(network / "simulations")
    assert words.startswith("-l ../../greet/src/greet ")


def test_a_reference_may_say_how_it_is_built(lab: LocalLab, model: Path) -> None:
    # Given a reference with commands of its own
    command = "make -C src && echo extra > src/made-by-command"
    write(model, labfleet_dot_toml=f'[[reference]]\npath = "../greet"\nbuild = "{command}"\n')
    # When the model is run, then they are what built it
    done(lab, model)
    assert manifest(model)["references"][0]["commands"] == [["sh", "-c", command]]


# ---- what its environment has to do with a build ---------------------------------------------------------------

#: Makes the library's header say what a variable holds.
SAYS = 'echo "#define MADE \\"$$(cat $<)\\"" > $@'


def saying(greet: Path, variable: str) -> None:
    """Have the library say what a variable holds when it is built."""
    makefile = greet / "src" / "Makefile"
    assert SAYS in makefile.read_text()
    makefile.write_text(makefile.read_text().replace(SAYS, SAYS.replace("$$(cat $<)", f"$({variable})")))


def test_a_variable_of_the_shell_that_a_makefile_names_makes_another_product(lab: LocalLab, model: Path) -> None:
    # Given a library that reads a variable when it is built, and was built with one value
    saying(model.parent / "greet", "WITH_RADIO")
    terminal = {"TERM": "dumb", "SSH_TTY": "/dev/pts/1", "WITH_RADIO": "no"}
    assert lab("campaign", cwd=model, env=terminal).status == 0
    assert told_by(model)[0] == "hello no"
    # When it has another one, then it is built with that
    assert lab("campaign", cwd=model, env={**terminal, "WITH_RADIO": "yes"}).status == 0
    assert told_by(model)[0] == "hello yes"
    # When it has the first one again, in another terminal, then nothing is built
    assert lab("campaign", cwd=model, env={"TERM": "xterm", "SSH_TTY": "/dev/pts/2", "WITH_RADIO": "no"}).status == 0
    assert steps(lab, model) == []
    assert told_by(model)[0] == "hello no"


def test_a_makefile_that_reads_an_ini_file_does_so_when_it_changes(lab: LocalLab, model: Path) -> None:
    # Given a library with a header that is made from an ini file
    greet = model.parent / "greet"
    makefile = greet / "src" / "Makefile"
    makefile.write_text(makefile.read_text().replace("greet_m.h: greet.msg", "greet_m.h: greet.ini"))
    write(greet, src__greet_dot_ini="one")
    done(lab, model)
    assert told_by(model)[0] == "hello one"
    # When that is changed, then it is made anew, and what does not depend on it is not
    write(greet, src__greet_dot_ini="two")
    assert done(lab, model) == ["greet.o", "other.o", "libgreet.so", "main.o", "model"]
    assert told_by(model)[0] == "hello two"


def test_what_is_needed_is_built_with_its_own_environment(lab: LocalLab, model: Path) -> None:
    # Given a library that says what the variable holds which its own labfleet.toml sets, and one that it does not set
    greet = model.parent / "greet"
    saying(greet, "OWN)$(THEIRS")
    write(
        greet,
        labfleet_dot_toml='program = "./simulate"\n[environment]\nOWN = "own"\n',
        simulate=OPP_RUN,
        omnetpp_dot_ini="[General]\n",
    )
    (greet / "simulate").chmod(0o755)
    # When it is needed by a project that sets both, then what that says does not reach it
    other = program(model.parent / "other")
    write(other, labfleet_dot_toml='[environment]\nOWN = "other"\nTHEIRS = "other"\n')
    done(lab, other)
    assert told_by(other)[0] == "hello own"
    # When another project needs it, or a campaign is run inside of it, then it is there already
    assert done(lab, model) == ["main.o", "more.o", "model"]
    assert told_by(model)[0] == "hello own"
    assert done(lab, greet) == []
    keys = {manifest(model)["references"][0]["key"], manifest(other)["references"][0]["key"]}
    assert keys == {manifest(greet)["build"]["key"]}
    # When its own environment changes, then it is built anew
    write(greet, labfleet_dot_toml='program = "./simulate"\n[environment]\nOWN = "new"\n')
    done(lab, model)
    assert told_by(model)[0] == "hello new"


def test_a_project_and_what_it_needs_want_the_same_omnetpp(lab: LocalLab, model: Path) -> None:
    # Given a library that wants another OMNeT++ than the model
    write(model.parent / "greet", labfleet_dot_toml='omnetpp = "6.1"\n')
    write(model, labfleet_dot_toml='omnetpp = "6.2"\n')
    # When / Then
    assert "model wants OMNeT++ 6.2, and greet 6.1" in refusal(lab, model)


def test_who_wants_an_omnetpp_that_is_not_there_is_said(lab: LocalLab, model: Path) -> None:
    # Given a library that wants an OMNeT++ which nobody has
    write(model.parent / "greet", labfleet_dot_toml='# old\nomnetpp = "0.9"\n')
    # When the model is run, then it is said whose wish it is
    said = run(lab, model)
    assert said.status == 2
    assert "greet/labfleet.toml, line 2, wants OMNeT++ 0.9, " in said.stderr


# ---- what is wrong ---------------------------------------------------------------------------------------------


def test_all_that_is_wrong_with_references_is_said_at_once(lab: LocalLab, model: Path) -> None:
    # Given a reference to nothing, one to a file, and one whose own labfleet.toml is wrong
    write(model.parent / "odd", labfleet_dot_toml="program = 3\n")
    write(model.parent, file="")
    text = "\n\n".join(f'[[reference]]\npath = "../{name}"' for name in ("gone", "odd", "greet", "file"))
    write(model, labfleet_dot_toml=text)
    # When / Then
    said = refusal(lab, model)
    assert f"labfleet.toml, line 1: there is no folder {model.parent / 'gone'}" in said
    assert f"labfleet.toml, line 10: {model.parent / 'file'} is a file, not a folder" in said
    assert "labfleet.toml, line 4: labfleet.toml, line 1: `program` must be a string, not an integer" in said


def test_features_of_a_reference_that_it_does_not_have_are_said_where_they_stand(lab: LocalLab, model: Path) -> None:
    # Given a reference with a feature that is misspelt
    write(model.parent / "greet", _dot_oppfeatures='<features><feature id="Extra" requires=""/></features>')
    write(model, labfleet_dot_toml='[[reference]]\npath = "../greet"\nfeatures = { enable = ["Extras"] }\n')
    # When / Then
    said = refusal(lab, model)
    assert "labfleet.toml, line 3: greet has no feature Extras; did you mean Extra?" in said
    assert "hint" not in said


def test_a_makefile_that_names_what_is_not_there_is_cited(lab: LocalLab, tmp_path: Path) -> None:
    # Given a model without the library
    model = program(tmp_path / "model")
    # When / Then
    assert f"Makefile: GREET_PROJ=../greet: there is no folder {tmp_path / 'greet'}" in refusal(lab, model)


def test_a_cycle_is_named(lab: LocalLab, model: Path) -> None:
    # Given a library that needs the model
    write(model.parent / "greet", labfleet_dot_toml='[[reference]]\npath = "../model"\n')
    # When / Then
    said = refusal(lab, model)
    assert (
        "a cycle: model → greet → model; remove one of these references: model, Makefile: GREET_PROJ=../greet" in said
    )
    assert "; greet, labfleet.toml, line 1\n" in said
    assert "hint" not in said


def test_one_place_cannot_have_two_projects(lab: LocalLab, model: Path, far: Path) -> None:
    # Given two libraries that are to have the same name, one of them from a repository
    beside = model.parent / "greet"
    by_git(model, f"file://{far}", "v1")
    text = (model / "labfleet.toml").read_text()
    write(model, labfleet_dot_toml=f'[[reference]]\npath = "../greet"\n\n{text}')
    # When / Then
    said = refusal(lab, model)
    assert f"greet is to be file://{far} v1 here and {beside} elsewhere; give one of them another `name`" in said


def test_one_project_cannot_be_built_in_two_ways(lab: LocalLab, model: Path) -> None:
    # Given a library that is named twice, once with a build of its own
    text = '[[reference]]\npath = "../greet"\n'
    write(model, labfleet_dot_toml=f'{text}\n{text}build = "make -C src"\n')
    # When / Then
    said = refusal(lab, model)
    assert "line 4: greet is to have other features here than elsewhere, or to be built otherwise; say the same" in said


def test_a_build_of_what_is_needed_that_fails_says_so(lab: LocalLab, model: Path) -> None:
    # Given a library that does not compile
    write(model.parent / "greet", src__other_dot_cc="int other() { return nonsense; }\n")
    # When the model is run
    said = run(lab, model)
    # Then the compiler's words are told, and whose they are
    assert said.status == 3
    assert "the build of greet failed" in said.stderr
    assert "nonsense" in said.stderr


def test_a_mended_library_is_compiled_where_it_was_wrong(lab: LocalLab, model: Path) -> None:
    # Given a library that did not compile
    write(model.parent / "greet", src__other_dot_cc="int other() { return nonsense; }\n")
    assert run(lab, model).status == 3
    # When it is mended, then the rest of it is not compiled again
    write(model.parent / "greet", src__other_dot_cc="int other() { return 5; }\n")
    made = done(lab, model)
    assert made[: made.index("main.o")] == ["other.o", "libgreet.so"]


# ---- git -------------------------------------------------------------------------------------------------------


def commit(root: Path, tag: str) -> str:
    """Commit all that is there, with a tag, and return the commit."""
    if not (root / ".git").exists():
        subprocess.run([*GIT, "init", "-q", "-b", "main"], cwd=root, check=True)
    for words in (["add", "-A"], ["commit", "-qm", tag], ["tag", tag]):
        subprocess.run([*GIT, *words], cwd=root, check=True)
    said = subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True)
    return said.stdout.strip()


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """A repository with the library in two revisions, v1 and v2."""
    root = library(tmp_path / "server" / "greet", greeting="one")
    commit(root, "v1")
    library(root, greeting="two")
    commit(root, "v2")
    return root


def by_git(model: Path, url: object, revision: str) -> None:
    """Have a model need a revision of a repository."""
    write(model, labfleet_dot_toml=f'[[reference]]\ngit = "{url}"\nrevision = "{revision}"\n')


def test_a_revision_of_a_repository_is_what_is_built(lab: LocalLab, tmp_path: Path, far: Path) -> None:
    # Given a model that needs a tag of a repository, and its makefile looks elsewhere
    model = program(tmp_path / "work" / "model", "../nowhere")
    by_git(model, f"file://{far}", "v1")
    # When it is run, then that revision is what it is linked with
    done(lab, model)
    assert told_by(model)[0] == "one made"
    assert manifest(model)["references"][0]["origin"] == f"file://{far} v1"
    # When the repository is gone, then the model can be run again
    far.rename(far.parent / "gone")
    assert done(lab, model) == []
    (far.parent / "gone").rename(far)
    # When it needs another revision, by its commit, then that one is
    by_git(model, f"file://{far}", subprocess.check_output([*GIT, "rev-parse", "v2"], cwd=far, text=True).strip())
    done(lab, model)
    assert told_by(model)[0] == "two made"
    # When it needs a branch, then what the branch is now
    by_git(model, f"file://{far}", "main")
    assert done(lab, model) == []
    library(far, greeting="three")
    commit(far, "v3")
    done(lab, model)
    assert told_by(model)[0] == "three made"


@pytest.fixture
def nested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a submodule that has one itself, by relative URLs; the person's git allows such by files."""
    allowed = write(tmp_path, gitconfig='[protocol "file"]\nallow = always\n') / "gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(allowed))
    server = tmp_path / "server"
    for name, inner in (("deep", ""), ("words", "deep"), ("top", "words")):
        write(server / name, own_dot_txt=f"{name} one")
        commit(server / name, "v0")
        if inner:
            own = ["-c", f"remote.origin.url=file://{server / name}"]
            subprocess.run([*GIT, *own, "submodule", "--quiet", "add", f"../{inner}"], cwd=server / name, check=True)
            commit(server / name, "v1")
    return server


def test_submodules_of_a_repository_are_there(nested: Path, tmp_path: Path) -> None:
    # Given a repository with submodules, when a tag of it is fetched, then they are there, and those in them
    cache = upstream.Cache(LabPaths(tmp_path / "client"))
    url = f"file://{nested / 'top'}"
    files = ("own.txt", "words/own.txt", "words/deep/own.txt")
    place = cache.fetched(url, "v1")
    assert [(place / name).read_text() for name in files] == ["top one", "words one", "deep one"]
    # When one of them has another revision on a branch, then what the branch is now
    place = cache.fetched(url, "main")
    write(nested / "words", own_dot_txt="words two")
    words = commit(nested / "words", "v2")
    subprocess.run([*GIT, "fetch", "-q", str(nested / "words"), "v2"], cwd=nested / "top" / "words", check=True)
    subprocess.run([*GIT, "checkout", "-q", words], cwd=nested / "top" / "words", check=True)
    commit(nested / "top", "v2")
    assert cache.fetched(url, "main") == place
    assert [(place / name).read_text() for name in files] == ["top one", "words two", "deep one"]
    # When everything is gone, then what was fetched can be used again
    nested.rename(tmp_path / "gone")
    assert (cache.fetched(url, "v1") / "words/own.txt").read_text() == "words one"


def test_submodules_that_cannot_be_had_are_said(nested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a person whose git does not fetch submodules by files, which is its default
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    # When a repository with such is fetched, then that is said, and how to try it
    with (
        pytest.raises(LabFailed, match="transport 'file' not allowed") as caught,
        upstream.Cache(LabPaths(tmp_path / "client")) as cache,
    ):
        cache.fetched(f"file://{nested / 'top'}", "v1")
    assert "submodules of file://" in caught.value.message
    assert "--recurse-submodules" in caught.value.hint


def test_a_wrong_revision_or_url_is_said_before_anything_starts(own_lab: LocalLab, tmp_path: Path, far: Path) -> None:
    # Given a model that needs a revision that there is not
    model = program(tmp_path / "work" / "model")
    by_git(model, far, "v9")
    # When / Then
    assert f"{far} has no revision v9" in refusal(own_lab, model)
    # Given a repository that there is not
    by_git(model, tmp_path / "nothing", "v1")
    said = run(own_lab, model)
    assert said.status == 3
    assert f"{tmp_path / 'nothing'} cannot be fetched" in said.stderr
    assert not (own_lab.home / "campaigns").exists() or not os.listdir(own_lab.home / "campaigns")
