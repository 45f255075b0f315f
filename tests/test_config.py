"""The project description: root, working directory, build, launch, and labfleet.toml."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runner import config, project_file
from runner.config import load
from runner.errors import WrongUse
from runner.model import Limits
from runner.project_file import Features, Reference

MAKE = ("make", "MODE=release")
MAKEMAKE = ("opp_makemake", "-f", "--deep")

#: As in INET 4.5.
INET_BUILDSPEC = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<buildspec version="4.0">
    <dir path="." type="custom"/>
    <dir makemake-options="--make-so --deep -O out -pINET --meta:export-library --meta:recurse" path="src"
        type="makemake"/>
</buildspec>
"""

#: As in OMNeT++'s samples/queueinglib.
QUEUEINGLIB_BUILDSPEC = """<buildspec version="4.0">
    <dir makemake-options="--make-so -S -I. --meta:export-library" path="." type="makemake"/>
</buildspec>
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes files below a folder that lies, as people's do, in a home directory."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))

    def write_files(*names: str, **texts: str) -> Path:
        top = home / "work"
        for name, text in {**dict.fromkeys(names, ""), **texts}.items():
            file = top / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return top

    return write_files


def make_executable(file: Path) -> Path:
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def refusal(folder: Path, program: str | None = None, ini_files: tuple[str, ...] = ()) -> WrongUse:
    with pytest.raises(WrongUse) as caught:
        load(folder, program=program, ini_files=ini_files)
    assert caught.value.hint
    return caught.value


# ---- the folder ------------------------------------------------------------------------------------------


def test_a_folder_that_does_not_exist_is_refused_by_name(write: Write) -> None:
    # Given no such folder
    folder = write("aloha/omnetpp.ini") / "alhoa"
    # When / Then
    assert refusal(folder).message == f"{folder} does not exist"


def test_a_file_is_no_project(write: Write) -> None:
    # Given the ini file instead of its folder
    file = write("aloha/omnetpp.ini") / "aloha/omnetpp.ini"
    # When / Then
    assert refusal(file).message == f"{file} is not a folder"


def test_the_home_directory_as_a_whole_never_travels(write: Write) -> None:
    # Given an ini file directly in the home directory
    write("../omnetpp.ini")
    # When / Then
    assert "not a project" in refusal(Path.home()).message


def test_a_relative_folder_and_a_symbolic_link_mean_the_real_folder(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a project, and a link to it, seen from the folder above
    work = write("aloha/omnetpp.ini", "aloha/.project")
    (work / "link").symlink_to("aloha")
    monkeypatch.chdir(work)
    # When
    projects = [load(Path("aloha")), load(Path("link")), load(work / "aloha")]
    # Then
    assert projects[0].root == work / "aloha"
    assert projects[0] == projects[1] == projects[2]


def test_the_whole_machine_never_travels() -> None:
    # Given / When / Then
    assert "not a project" in refusal(Path("/")).message


# ---- the root --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", ["labfleet.toml", ".oppbuildspec", ".project", ".nedfolders"])
def test_a_marker_above_the_folder_makes_the_root(write: Write, marker: str) -> None:
    # Given a marker two levels above an example, as in INET
    text = INET_BUILDSPEC if marker == ".oppbuildspec" else ""
    work = write("inet/examples/aodv/omnetpp.ini", **{f"inet/{marker}": text})
    # When
    project = load(work / "inet/examples/aodv")
    # Then
    assert project.root == work / "inet"
    assert project.directory == "examples/aodv"
    assert project.working_directory == work / "inet/examples/aodv"
    assert project.name == "inet"


def test_the_nearest_marker_wins(write: Write) -> None:
    # Given a project inside a project
    work = write("outer/.project", "outer/.git/HEAD", "outer/inner/.project", "outer/inner/sim/omnetpp.ini")
    (work / "outer/inner/omnetpp.ini").touch()
    # When / Then the folder itself is the nearest place
    assert load(work / "outer/inner/sim").root == work / "outer/inner"
    assert load(work / "outer/inner").root == work / "outer/inner"


def test_a_marker_above_the_git_toplevel_does_not_count(write: Write) -> None:
    # Given a repository inside a marked folder
    work = write("workspace/.project", "workspace/model/.git/HEAD", "workspace/model/sim/omnetpp.ini")
    # When / Then
    assert load(work / "workspace/model/sim").root == work / "workspace/model"


def test_a_marker_in_the_home_directory_or_above_does_not_count(write: Write) -> None:
    # Given stray markers, and a home directory that is itself under git
    work = write("model/omnetpp.ini", "../.project", "../.git/HEAD", "../../.nedfolders")
    # When / Then
    assert load(work / "model").root == work / "model"


def test_without_a_marker_the_git_toplevel_is_the_root(write: Write) -> None:
    # Given a folder without sources of its own in a repository; a worktree's .git is a file
    work = write("repository/.git", "repository/src/Node.cc", "repository/studies/one/omnetpp.ini")
    write("repository/studies/one/tools/convert.cc")
    # When
    project = load(work / "repository/studies/one")
    # Then
    assert (project.root, project.directory) == (work / "repository", "studies/one")


@pytest.mark.parametrize("own", ["Makefile", "Node.cc", "Node.cpp"])
def test_a_model_deep_inside_somebody_elses_repository_is_its_own_root(write: Write, own: str) -> None:
    # Given a folder with a program or sources of its own, without a marker
    work = write("course/.git/HEAD", "course/week3/aloha/omnetpp.ini", f"course/week3/aloha/{own}")
    # When / Then
    assert load(work / "course/week3/aloha").root == work / "course/week3/aloha"


def test_without_marker_and_git_the_folder_itself_is_the_root(write: Write) -> None:
    # Given
    work = write("model/sim/omnetpp.ini", "model/src/Node.cc")
    # When
    project = load(work / "model/sim")
    # Then
    assert (project.root, project.directory) == (work / "model/sim", ".")


def test_the_id_is_the_same_each_time_and_differs_between_folders_of_the_same_name(write: Write) -> None:
    # Given two projects of one name
    work = write("a/my model (ü)/omnetpp.ini", "b/my model (ü)/omnetpp.ini")
    # When
    first, again, other = (load(work / folder / "my model (ü)").id for folder in ("a", "a", "b"))
    # Then
    assert first == again != other
    assert re.fullmatch(r"my-model-[0-9a-f]{8}", first)


def test_a_name_without_any_usable_letter_still_gives_an_id(write: Write) -> None:
    # Given / When / Then
    assert re.fullmatch(r"project-[0-9a-f]{8}", load(write("模型/omnetpp.ini") / "模型").id)


# ---- ini files -------------------------------------------------------------------------------------------


def test_the_default_ini_file_is_left_to_the_program(write: Write) -> None:
    # Given / When / Then
    assert load(write("aloha/omnetpp.ini") / "aloha").launch.ini_files == ()


def test_a_folder_without_ini_file_is_refused_even_if_it_has_ned_files(write: Write) -> None:
    # Given a folder of NED files alone
    folder = write("net/Net.ned") / "net"
    # When
    error = refusal(folder)
    # Then it says where it looked and what to do
    assert error.message == f"there is no omnetpp.ini in {folder}"
    assert "--ini" in error.hint
    assert "--project" in error.hint


def test_named_ini_files_are_passed_on_as_typed(write: Write) -> None:
    # Given ini files beside and above the working directory, and no omnetpp.ini
    work = write("model/.project", "model/sim/a.ini", "model/common.ini")
    # When
    project = load(work / "model/sim", ini_files=["a.ini", "../common.ini"])
    # Then
    assert project.launch.ini_files == ("a.ini", "../common.ini")


def test_an_absolute_ini_file_means_the_labs_copy_of_it(write: Write) -> None:
    # Given
    work = write("model/.project", "model/sim/Net.ned", "model/common.ini")
    # When
    project = load(work / "model/sim", ini_files=[str(work / "model/common.ini")])
    # Then
    assert project.launch.ini_files == ("../common.ini",)


def test_a_named_ini_file_that_is_absent_is_refused(write: Write) -> None:
    # Given a good default, and a typing mistake
    folder = write("aloha/omnetpp.ini") / "aloha"
    # When / Then
    assert refusal(folder, ini_files=("omnetp.ini",)).message == f"there is no omnetp.ini in {folder}"


def test_an_ini_file_outside_of_the_project_is_refused(write: Write) -> None:
    # Given an ini file that exists, but will not be in the lab
    work = write("aloha/omnetpp.ini", "other/x.ini")
    # When / Then
    for name in ("../other/x.ini", str(work / "other/x.ini")):
        assert "outside of the project" in refusal(work / "aloha", ini_files=(name,)).message


# ---- build -----------------------------------------------------------------------------------------------


def test_a_makefile_in_the_root_is_made_there(write: Write) -> None:
    # Given Makefiles everywhere
    work = write("m/.project", "m/Makefile", "m/src/Makefile", "m/sim/Makefile", "m/sim/omnetpp.ini")
    # When
    build = load(work / "m/sim").build
    # Then the root's is made; all are asked for their target, the working directory's first
    assert (build.directory, build.commands) == (".", (MAKE,))
    assert build.makefiles == ("sim/Makefile", "Makefile", "src/Makefile")


def test_the_mode_reaches_make(write: Write) -> None:
    # Given
    folder = write("m/Makefile", "m/omnetpp.ini") / "m"
    # When / Then
    assert load(folder, mode="debug").build.commands == (("make", "MODE=debug"),)


def test_without_one_in_the_root_the_working_directorys_makefile_is_made(write: Write) -> None:
    # Given
    work = write("m/.project", "m/src/Makefile", "m/sim/Makefile", "m/sim/omnetpp.ini", "m/Node.cc")
    # When
    build = load(work / "m/sim").build
    # Then
    assert (build.directory, build.commands) == ("sim", (MAKE,))
    assert build.makefiles == ("sim/Makefile", "src/Makefile")


def test_else_the_makefile_in_src_is_made(write: Write) -> None:
    # Given
    work = write("m/.project", "m/src/Makefile", "m/sim/omnetpp.ini")
    # When
    build = load(work / "m/sim").build
    # Then
    assert (build.directory, build.commands, build.makefiles) == ("src", (MAKE,), ("src/Makefile",))


INET = {
    "inet/Makefile": ".PHONY: all makefiles\nall:\n\tcd src && $(MAKE)\nmakefiles: checkenvir\n\tcd src && …\n",
    "inet/.oppbuildspec": INET_BUILDSPEC,
}


def test_a_fresh_inet_gets_its_makefiles_first(write: Write) -> None:
    # Given INET as cloned: the root's Makefile delegates to one in src that nobody has generated yet
    work = write("inet/src/inet/common/Units.cc", "inet/examples/aodv/omnetpp.ini", **INET)
    # When
    build = load(work / "inet/examples/aodv").build
    # Then
    assert (build.directory, build.commands) == (".", (("make", "makefiles"), MAKE))
    assert build.makefiles == ("Makefile", "src/Makefile")


def test_a_built_inet_keeps_the_makefile_it_has(write: Write) -> None:
    # Given INET as the person has built it
    work = write("inet/src/Makefile", "inet/examples/aodv/omnetpp.ini", **INET)
    # When
    project = load(work / "inet/examples/aodv")
    # Then `make makefiles`, which wants INET's own environment, is not needed
    assert project.build.commands == (MAKE,)
    assert project.build.makefiles == ("Makefile", "src/Makefile")
    assert "src/Makefile" in project.include


def test_a_makefile_to_be_made_in_another_folder_than_src_is_asked_for_its_target(write: Write) -> None:
    # Given a project like INET whose sources are elsewhere
    spec = INET_BUILDSPEC.replace('path="src"', 'path="model"')
    work = write("m/model/Node.cc", **{"m/Makefile": "makefiles:\n", "m/.oppbuildspec": spec, "m/omnetpp.ini": ""})
    # When / Then
    assert load(work / "m").build.makefiles == ("Makefile", "model/Makefile")


@pytest.mark.parametrize("text", ["all:\n", ".PHONY: makefiles\n", "makefiles := a b\n"])
def test_a_makefile_without_that_target_is_only_made(write: Write, text: str) -> None:
    # Given a root Makefile that only mentions makefiles, or not even that
    files = {"m/Makefile": text, "m/.oppbuildspec": INET_BUILDSPEC}
    work = write("m/omnetpp.ini", "m/src/Node.cc", **files)
    # When / Then
    assert load(work / "m").build.commands == (MAKE,)


def test_a_makefile_with_that_target_but_without_the_ides_build_description_is_only_made(
    write: Write,
) -> None:
    # Given
    folder = write("m/omnetpp.ini", **{"m/Makefile": "makefiles:\n"}) / "m"
    # When / Then
    assert load(folder).build.commands == (MAKE,)


def test_files_in_an_old_encoding_are_read_all_the_same(write: Write) -> None:
    # Given a Makefile and a list of packages with a comment in Latin-1
    folder = write("m/omnetpp.ini", "m/Makefile", "m/.nedexclusions") / "m"
    for name in ("Makefile", ".nedexclusions"):
        (folder / name).write_bytes("# für\n".encode("latin-1"))
    # When
    project = load(folder)
    # Then
    assert (project.build.commands, project.launch.arguments) == ((MAKE,), ())


def test_a_makefile_that_opp_makemake_would_put_in_the_root_itself_is_not_missing(write: Write) -> None:
    # Given
    files = {"m/Makefile": "makefiles:\n", "m/.oppbuildspec": QUEUEINGLIB_BUILDSPEC}
    # When / Then
    assert load(write("m/omnetpp.ini", "m/Node.cc", **files) / "m").build.commands == (MAKE,)


@pytest.mark.parametrize("suffix", ["cc", "cpp"])
def test_sources_without_makefile_are_built_by_opp_makemake(write: Write, suffix: str) -> None:
    # Given OMNeT++'s sample aloha as it comes
    folder = write(f"aloha/Host.{suffix}", "aloha/omnetpp.ini") / "aloha"
    # When
    build = load(folder).build
    # Then
    assert (build.directory, build.commands) == (".", (MAKEMAKE, MAKE))
    assert build.makefiles == ("Makefile",)


@pytest.mark.parametrize(
    ("sources", "place"),
    [
        (["src/Node.cc"], "src"),
        (["src/a/b/c/Node.cc"], "src"),
        (["sim/Node.cc"], "sim"),
        (["src/Node.cc", "sim/Node.cc"], "."),
        (["Node.cc", "src/Node.cc"], "."),
        (["Node.cc", "sim/Node.cc"], "."),
        (["node/Node.cc", "builder/Builder.cc"], "."),
    ],
)
def test_opp_makemake_runs_in_the_folder_that_has_all_sources(write: Write, sources: list[str], place: str) -> None:
    # Given sources here and there, and a working directory beside src
    work = write("m/.project", "m/sim/omnetpp.ini", *(f"m/{source}" for source in sources))
    # When
    build = load(work / "m/sim").build
    # Then
    assert (build.directory, build.commands) == (place, (MAKEMAKE, MAKE))
    assert build.makefiles == (os.path.normpath(f"{place}/Makefile"),)


def test_a_working_directory_inside_of_src_belongs_to_src(write: Write) -> None:
    # Given
    work = write("m/.project", "m/src/Node.cc", "m/src/sim/Extra.cc", "m/src/sim/omnetpp.ini")
    # When / Then
    assert load(work / "m/src/sim").build.directory == "src"


@pytest.mark.parametrize("odd", ["a/b/c/d/Node.cc", ".cache/Node.cc", "results/Node.cc", "out/Node.cc"])
def test_the_search_for_sources_is_shallow_and_leaves_generated_folders_out(write: Write, odd: str) -> None:
    # Given a file that is no source of the model's
    work = write("m/.project", "m/omnetpp.ini", f"m/{odd}")
    # When / Then
    assert load(work / "m").build.commands == ()


def test_the_search_for_sources_does_not_follow_links(write: Write) -> None:
    # Given a dangling link, and one to another project
    folder = write("m/omnetpp.ini", "m/a/Net.ned", "other/Node.cc") / "m"
    (folder / "a/other").symlink_to("../../other")
    (folder / "a/gone.cc").symlink_to("nowhere")
    # When / Then
    assert load(folder).build.commands == ()


def test_the_ides_build_description_says_where_and_with_which_options(write: Write) -> None:
    # Given a description as the OMNeT++ IDE writes it
    work = write("m/omnetpp.ini", "m/src/Node.cc", "m/Other.cc", **{"m/.oppbuildspec": INET_BUILDSPEC})
    # When
    build = load(work / "m").build
    # Then its options are used but for the IDE's own, and -f always
    assert build.directory == "src"
    assert build.commands == (("opp_makemake", "-f", "--make-so", "--deep", "-O", "out", "-pINET"), MAKE)
    assert build.makefiles == ("src/Makefile",)


def test_options_of_the_ides_build_description_replace_deep(write: Write) -> None:
    # Given a description without --deep, and a subfolder that must not be compiled
    files = {"m/.oppbuildspec": QUEUEINGLIB_BUILDSPEC}
    work = write("m/omnetpp.ini", "m/Queue.cc", **files)
    # When / Then
    assert load(work / "m").build.commands == (("opp_makemake", "-f", "--make-so", "-S", "-I."), MAKE)


@pytest.mark.parametrize("path", [' path="."', ""])
def test_a_build_description_without_options_means_the_ides_usual_ones(write: Write, path: str) -> None:
    # Given the shortest description there is, and a second call of opp_makemake after it
    spec = f'<buildspec><dir{path} type="makemake"/><dir path="src" type="makemake"/></buildspec>'
    work = write("m/omnetpp.ini", "m/model/Node.cc", "m/src/Node.cc", **{"m/.oppbuildspec": spec})
    # When
    build = load(work / "m").build
    # Then the first one counts
    assert (build.directory, build.commands) == (".", ((*MAKEMAKE, "-I."), MAKE))


def test_options_are_split_as_a_shell_does(write: Write) -> None:
    # Given options that refer to a make variable, as those of INET-based models do
    options = "-f --deep -KINET_PROJ=../inet &quot;-I$\\(INET_PROJ\\)/my src&quot; -lINET$\\(D\\)"
    spec = f'<buildspec><dir path="." type="makemake" makemake-options="{options}"/></buildspec>'
    work = write("m/omnetpp.ini", "m/Node.cc", **{"m/.oppbuildspec": spec.replace("\\(INET_PROJ\\)", "(P)")})
    # When
    command = load(work / "m").build.commands[0]
    # Then
    assert command == (*MAKEMAKE, "-KINET_PROJ=../inet", "-I$(P)/my src", "-lINET$(D)")


@pytest.mark.parametrize(
    "entry", ['<dir path="." type="custom"/>', '<dir path="gone" type="makemake" makemake-options="-s"/>', ""]
)
def test_a_build_description_without_sources_says_nothing(write: Write, entry: str) -> None:
    # Given a description that names no folder with sources
    files = {"m/.oppbuildspec": f"<buildspec>{entry}</buildspec>"}
    work = write("m/omnetpp.ini", "m/src/Node.cc", **files)
    # When
    build = load(work / "m").build
    # Then
    assert (build.directory, build.commands) == ("src", (MAKEMAKE, MAKE))


@pytest.mark.parametrize(
    "damaged",
    [
        "<buildspec><dir",
        '<buildspec><dir path="." type="makemake" makemake-options="-I&quot;x"/></buildspec>',
    ],
)
def test_a_damaged_build_description_is_refused(write: Write, damaged: str) -> None:
    # Given
    work = write("m/omnetpp.ini", "m/Node.cc", **{"m/.oppbuildspec": damaged})
    # When / Then
    assert f"{work / 'm/.oppbuildspec'} is damaged" in refusal(work / "m").message


def test_without_sources_there_is_nothing_to_build(write: Write) -> None:
    # Given NED files alone
    build = load(write("m/omnetpp.ini", "m/Net.ned") / "m").build
    # When / Then
    assert (build.directory, build.commands, build.makefiles) == (".", (), ())


# ---- program ---------------------------------------------------------------------------------------------


def test_what_is_built_is_left_to_the_makefile_to_name(write: Write) -> None:
    # Given / When / Then
    assert load(write("aloha/omnetpp.ini", "aloha/Makefile") / "aloha").launch.program is None


@pytest.mark.parametrize(("mode", "program"), [("release", "opp_run"), ("debug", "opp_run_dbg")])
def test_a_pure_ned_model_is_run_by_opp_run(write: Write, mode: str, program: str) -> None:
    # Given
    folder = write("m/omnetpp.ini", "m/Net.ned") / "m"
    # When / Then
    assert load(folder, mode=mode).launch.program == program


@pytest.mark.parametrize(("mode", "name"), [("release", "queuenet"), ("debug", "queuenet_dbg")])
def test_an_executable_named_as_its_folder_is_the_program(write: Write, mode: str, name: str) -> None:
    # Given OMNeT++'s sample queuenet: scripts, nothing to build; and a namesake that is no program
    work = write("queuenet/omnetpp.ini", "queuenet/queuenet", "queuenet/queuenet_dbg")
    make_executable(work / "queuenet" / name)
    # When
    project = load(work / "queuenet", mode=mode)
    # Then it is the program, and travels even if git ignores it
    assert project.launch.program == f"./{name}"
    assert name in project.include


def test_the_roots_executable_is_found_from_a_working_directory_below(write: Write) -> None:
    # Given
    work = write("net/.project", "net/sim/omnetpp.ini", "net/net")
    make_executable(work / "net/net")
    # When / Then
    assert load(work / "net/sim").launch.program == "../net"


def test_the_working_directorys_executable_comes_before_the_roots(write: Write) -> None:
    # Given
    work = write("net/.project", "net/sim/omnetpp.ini", "net/net", "net/sim/sim")
    make_executable(work / "net/net")
    make_executable(work / "net/sim/sim")
    # When / Then
    assert load(work / "net/sim").launch.program == "./sim"


def test_a_namesake_that_is_not_executable_is_no_program(write: Write) -> None:
    # Given a file and a folder named as the project
    for model in (write("a/omnetpp.ini", "a/a") / "a", write("b/omnetpp.ini", "b/b/Net.ned") / "b"):
        # When / Then
        assert load(model).launch.program == "opp_run"


def test_a_program_on_path_is_taken_as_typed(write: Write) -> None:
    # Given a name that only the lab's machines may know
    assert load(write("m/omnetpp.ini") / "m", program="opp_run_sanitize").launch.program == "opp_run_sanitize"


def test_a_program_that_will_be_built_need_not_exist(write: Write) -> None:
    # Given a program that is not built yet
    work = write("m/.project", "m/src/Makefile", "m/sim/omnetpp.ini")
    # When / Then
    assert load(work / "m/sim", program="../src/m").launch.program == "../src/m"


def test_a_program_that_will_be_built_does_not_travel(write: Write) -> None:
    # Given the program that the person has built
    folder = write("m/Makefile", "m/omnetpp.ini", "m/m") / "m"
    make_executable(folder / "m")
    # When / Then
    assert load(folder, program="./m").include == ("omnetpp.ini", "Makefile")


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("./gone", "is not there"),
        ("./sub", "is not there"),
        ("gone.so", "is not there"),
        ("/nowhere/m", "is not there"),
        ("./notes.txt", "is not executable"),
    ],
)
def test_a_program_that_cannot_be_started_and_will_not_be_built_is_refused(
    write: Write, program: str, fault: str
) -> None:
    # Given nothing to build
    folder = write("m/omnetpp.ini", "m/notes.txt", "m/sub/Net.ned") / "m"
    # When
    message = refusal(folder, program=program).message
    # Then
    assert message == f"the program {folder / program} {fault}, and nothing would build it"


def test_a_shared_library_needs_no_execute_permission_and_travels(write: Write) -> None:
    # Given a library that somebody else has built
    folder = write("m/omnetpp.ini", "m/lib[1]/libm.so") / "m"
    # When
    project = load(folder, program="lib[1]/libm.so")
    # Then its name, which has a glob's characters in it, is included as it is
    assert project.launch.program == "lib[1]/libm.so"
    assert "lib[[]1]/libm.so" in project.include


def test_an_absolute_program_inside_of_the_project_means_the_labs_copy_of_it(write: Write) -> None:
    # Given
    folder = write("m/omnetpp.ini", "m/Makefile") / "m"
    # When / Then
    assert load(folder, program=str(folder / "m")).launch.program == "./m"


def test_an_absolute_program_elsewhere_is_one_that_every_machine_has(write: Write) -> None:
    # Given
    folder = write("m/omnetpp.ini") / "m"
    # When
    project = load(folder, program=sys.executable)
    # Then
    assert project.launch.program == sys.executable
    assert project.include == ("omnetpp.ini",)


def test_a_relative_program_outside_of_the_project_is_refused(write: Write) -> None:
    # Given a program that exists here, but not beside the lab's copy of the project
    work = write("m/omnetpp.ini", "other/m")
    make_executable(work / "other/m")
    # When / Then
    assert "outside of the project" in refusal(work / "m", program="../other/m").message


# ---- NED path --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [None, ".\n", "\n# nothing but comments\n-old.package\n"])
def test_a_model_in_a_single_folder_needs_no_ned_path(write: Write, listed: str | None) -> None:
    # Given
    files = {} if listed is None else {"m/.nedfolders": listed}
    # When / Then
    assert load(write("m/omnetpp.ini", "m/src/Net.ned", **files) / "m").launch.ned_path == ()


def test_the_ides_ned_folders_are_seen_from_the_working_directory(write: Write) -> None:
    # Given blanks, comments, a folder that is gone (OMNeT++ would refuse it), and OMNeT++ 4's exclusions
    text = "src\n\n  examples \n# comment\n-inet.old\ngone\n.\n"
    work = write("m/src/N.ned", "m/examples/a/omnetpp.ini", "m/omnetpp.ini", **{"m/.nedfolders": text})
    # When / Then
    assert load(work / "m/examples/a").launch.ned_path == ("../../src", "..", "../..")
    assert load(work / "m").launch.ned_path == ("src", "examples", ".")


def test_a_ned_folder_that_is_the_root_is_named_from_below(write: Write) -> None:
    # Given OMNeT++'s sample routing, whose parsim folder has an ini file of its own
    work = write("routing/parsim/omnetpp.ini", **{"routing/.nedfolders": ".\n"})
    # When / Then
    assert load(work / "routing/parsim").launch.ned_path == ("..",)


@pytest.mark.parametrize(
    ("folders", "working_directory", "ned_path"),
    [
        (["src/N.ned"], "sim", (".", "../src")),
        ([], "sim", (".", "..")),
        (["src/N.ned"], "src/sim", (".", "..")),
        (["src/N.ned"], "src", (".",)),
    ],
)
def test_without_ned_folders_the_working_directory_and_src_or_the_root_are_taken(
    write: Write, folders: list[str], working_directory: str, ned_path: tuple[str, ...]
) -> None:
    # Given
    work = write("m/.project", f"m/{working_directory}/omnetpp.ini", *(f"m/{name}" for name in folders))
    # When / Then
    assert load(work / "m" / working_directory).launch.ned_path == ned_path


# ---- files that travel although git ignores them -----------------------------------------------------------


def test_what_every_campaign_needs_travels_even_if_git_ignores_it(write: Write) -> None:
    # Given
    work = write(
        *("m/.project", "m/Makefile", "m/src/Makefile", "m/sim/Makefile", "m/other/Makefile"),
        *("m/.oppfeaturestate", "m/.nedexclusions", "m/sim/generated.ini"),
    )
    # When
    project = load(work / "m/sim", ini_files=["generated.ini"])
    # Then
    assert set(project.include) == {
        *("Makefile", "src/Makefile", "sim/Makefile"),
        *(".oppfeaturestate", ".nedexclusions", "sim/generated.ini"),
    }


def test_what_does_not_exist_is_not_included(write: Write) -> None:
    # Given a Makefile that opp_makemake will create
    assert load(write("m/omnetpp.ini", "m/Node.cc") / "m").include == ("omnetpp.ini",)


# ---- labfleet.toml ---------------------------------------------------------------------------------------


def described(write: Write, text: str, *names: str) -> Path:
    """Return a project's root with a labfleet.toml."""
    return write("m/omnetpp.ini", *(f"m/{name}" for name in names), **{"m/labfleet.toml": text}) / "m"


def mistakes(write: Write, text: str, *names: str) -> list[str]:
    """Return the lines of the refusal of a labfleet.toml, its name left out."""
    message = refusal(described(write, text, *names)).message
    assert all(line.startswith("labfleet.toml, line ") for line in message.splitlines())
    return [line.removeprefix("labfleet.toml, ") for line in message.splitlines()]


def test_an_empty_file_changes_nothing(write: Write) -> None:
    # Given
    project = load(described(write, "", "Node.cc"))
    # When / Then
    assert project.build.commands == (MAKEMAKE, MAKE)
    assert (project.directory, project.launch.program, project.environment) == (".", None, {})


@pytest.mark.parametrize(
    ("build", "commands"),
    [
        ('"make all"', (("sh", "-c", "make all"),)),
        ('["./configure", "make"]', (("sh", "-c", "./configure"), ("sh", "-c", "make"))),
        ("[]", ()),
    ],
)
def test_build_commands_are_the_shells(write: Write, build: str, commands: object) -> None:
    # Given a Makefile that would be made otherwise
    made = load(described(write, f"build = {build}", "Makefile")).build
    # When / Then
    assert (made.directory, made.commands, made.makefiles) == (".", commands, ("Makefile",))


def test_a_build_directory_is_where_the_commands_run_and_its_makefile_is_asked_too(write: Write) -> None:
    # Given
    text = 'build = "make"\nbuild-directory = "./model/"'
    build = load(described(write, text, "Makefile", "src/Makefile", "model/Makefile")).build
    # When / Then
    assert build.directory == "model"
    assert build.makefiles == ("Makefile", "src/Makefile", "model/Makefile")


@pytest.mark.parametrize(("file", "commands"), [("Makefile", (MAKE,)), ("Node.cc", (MAKEMAKE, MAKE)), ("Net.ned", ())])
def test_a_build_directory_without_commands_is_the_only_place_looked_at(
    write: Write, file: str, commands: object
) -> None:
    # Given a root that could be built as well
    text = 'build-directory = "model"'
    build = load(described(write, text, "Makefile", "Node.cc", f"model/{file}")).build
    # When / Then
    assert (build.directory, build.commands) == ("model", commands)


def test_a_campaign_started_in_the_root_runs_in_the_directory_named(write: Write) -> None:
    # Given an ini file where the simulations are
    root = described(write, 'directory = "sim/"', "sim/omnetpp.ini", "other/omnetpp.ini")
    # When
    project = load(root)
    # Then
    assert (project.directory, project.working_directory) == ("sim", root / "sim")
    assert project.launch.ned_path == (".", "..")
    # And a campaign started elsewhere stays there
    assert load(root / "other").directory == "other"


@pytest.mark.parametrize(
    ("ini", "ini_files"), [('"sim/a.ini"', ("a.ini",)), ('["sim/a.ini", "b.ini"]', ("a.ini", "../b.ini"))]
)
def test_ini_files_are_relative_to_the_root(write: Write, ini: str, ini_files: tuple[str, ...]) -> None:
    # Given
    text = f'directory = "sim"\nini = {ini}'
    root = described(write, text, "sim/a.ini", "b.ini", "other/omnetpp.ini")
    # When / Then: they hold for that directory, however one comes there, and no other
    assert load(root).launch.ini_files == ini_files
    assert load(root / "sim").launch.ini_files == ini_files
    assert load(root / "other").launch.ini_files == ()


def test_a_typed_ini_file_wins(write: Write) -> None:
    # Given
    root = described(write, 'ini = "a.ini"', "a.ini", "b.ini")
    # When / Then
    assert load(root, ini_files=["b.ini"]).launch.ini_files == ("b.ini",)


@pytest.mark.parametrize(
    ("program", "seen"),
    [("src/libm.so", "../src/libm.so"), ("./m", "../m"), ("sim/m", "./m"), ("m", "m"), ("/opt/m", "/opt/m")],
)
def test_a_program_is_relative_to_the_root_unless_it_is_a_name_on_path(write: Write, program: str, seen: str) -> None:
    # Given a program that is built
    root = described(write, f'program = "{program}"', "Makefile", "sim/omnetpp.ini")
    # When / Then
    assert load(root / "sim").launch.program == seen


def test_a_program_that_is_neither_there_nor_built_is_refused(write: Write) -> None:
    # Given
    root = described(write, 'program = "./m"')
    # When / Then
    assert "m is not there, and nothing would build it" in refusal(root).message


def test_a_typed_program_wins(write: Write) -> None:
    # Given
    root = described(write, 'program = "./m"', "Makefile")
    # When / Then
    assert load(root, program="./other").launch.program == "./other"


def test_a_ned_path_is_relative_to_the_root_and_wins_over_the_ides(write: Write) -> None:
    # Given
    text = 'ned-path = ["ned", "."]'
    root = described(write, text, ".nedfolders", "sim/omnetpp.ini", "src/N.ned")
    # When / Then
    assert load(root / "sim").launch.ned_path == ("../ned", "..")
    assert load(root).launch.ned_path == ("ned", ".")


def test_patterns_to_include_come_before_the_files_that_travel_anyway(write: Write) -> None:
    # Given
    root = described(write, 'include = ["traces/*.csv", "Makefile"]', "Makefile")
    # When / Then
    assert load(root).include == ("traces/*.csv", "Makefile", "omnetpp.ini")


def test_arguments_are_passed_on(write: Write) -> None:
    # Given
    root = described(write, 'arguments = ["-i", "/usr/share/images"]')
    # When / Then
    assert load(root).launch.arguments == ("-i", "/usr/share/images")


def test_environment_variables_are_passed_on_even_empty_ones(write: Write) -> None:
    # Given
    root = described(write, '[environment]\nSEED = "1"\n"EMPTY" = ""')
    # When / Then
    assert load(root).environment == {"SEED": "1", "EMPTY": ""}


def test_a_project_that_is_needed_keeps_its_own_environment(write: Write) -> None:
    # Given
    root = described(write, '[environment]\nRADIO = "yes"')
    # When / Then
    assert config.load_needed(root, Reference(path="../x")).environment == {"RADIO": "yes"}


def wanting(root: Path, versions: tuple[str, ...]) -> list[config.Project]:
    """Return projects that want versions of OMNeT++."""
    return [replace(load(root), name=f"p{number}", omnetpp=version) for number, version in enumerate(versions)]


@pytest.mark.parametrize(
    ("versions", "agreed"),
    [(("", "", ""), ""), (("6.2", "", ""), "6.2"), (("", "6.1", ""), "6.1"), (("6", "6.2.0", "6.2"), "6.2.0")],
)
def test_one_version_fits_a_project_and_all_that_it_needs(write: Write, versions: tuple[str, ...], agreed: str) -> None:
    # Given a project, and two that it needs
    project, *needed = wanting(write("omnetpp.ini"), versions)
    # When / Then
    assert config.agreed_version(project, needed) == agreed


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        (("6.2", "", "6.1"), "p0 wants OMNeT++ 6.2, and p2 6.1"),
        (("", "6.1", "6.10"), "p1 wants OMNeT++ 6.1, and p2 6.10"),
        (("6.1", "6.2.0", ""), "p0 wants OMNeT++ 6.1, and p1 6.2.0"),
    ],
)
def test_versions_that_contradict_each_other_are_refused(write: Write, versions: tuple[str, ...], said: str) -> None:
    # Given a project, and two that it needs
    project, *needed = wanting(write("omnetpp.ini"), versions)
    # When / Then
    with pytest.raises(WrongUse) as caught:
        config.agreed_version(project, needed)
    assert caught.value.message == said
    assert caught.value.hint


def test_limits_of_runs_are_read_with_their_units(write: Write) -> None:
    # Given limits as people write them
    root = described(write, 'timeout = "1.5h"\nstall = 90\nmemory = "2GiB"\nretries = 2\nmax-failures = 7\n')
    # When / Then
    assert load(root).limits == Limits(timeout=5400.0, stall=90.0, memory=2 << 30, retries=2, max_failures=7)


def test_the_sample_of_the_documentation_is_valid_and_complete(write: Write) -> None:
    # Given the sample, and the files that it speaks of
    page = (Path(__file__).parent.parent / "docs/labfleet.toml.md").read_text()
    sample = page.partition("```toml\n")[2].partition("```")[0]
    root = described(write, sample, "simulations/campus.ini", "src/Node.cc")
    (root / ".oppfeatures").write_text('<features><feature id="Radio"/><feature id="Visualizer"/></features>')
    # When
    project = load(root)
    # Then it works, and every key has its place in it, those of its tables, too
    assert project.notify.webhook == "https://chat.example/hooks/abc"
    assert project.launch.ini_files == ("campus.ini",)
    assert [reference.path for reference in project.references] == ["../inet"]
    keys = re.findall(r"^(?:\[?\[?|# )([a-z-]+)\b(?:\]| = )", sample, re.MULTILINE)
    of_notify = keys.index("notify") + 1
    own = [*keys[:of_notify], *keys[of_notify + len(project_file.NOTIFY_KEYS) :]]
    assert keys[of_notify:][: len(project_file.NOTIFY_KEYS)] == list(project_file.NOTIFY_KEYS)
    assert own[: len(project_file.KEYS)] == list(project_file.KEYS)
    assert set(own[len(project_file.KEYS) :]) == set(project_file.REFERENCE_KEYS)


# ---- mistakes in labfleet.toml ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[notify]", "line 1: `notify` must be a table with `command`, `webhook` or both, strings"),
        ('notify = "me"', "line 1: `notify` must be a table with `command`, `webhook` or both, strings, not a string"),
        ('[notify]\nmail = "me"', "line 2: unknown key `mail` in `notify`: it has `command` and `webhook`"),
        ("[notify]\ncommand = 3", "line 2: `notify.command` must be a string, not an integer"),
        ('[notify]\n\ncommand = " "', "line 3: `notify.command`: an empty string says nothing"),
        ('[notify]\ncommand = "a\\u0000b"', "line 2: `notify.command`: no command has a null character"),
        *(
            (
                f'[notify]\nwebhook = "{url}"',
                f"line 2: `notify.webhook`: {url} is no URL of a web server, https://… or http://…",
            )
            for url in ("chat.example/hook", "ftp://chat.example/hook", "https://", "file:///etc/passwd", "http://a b")
        ),
    ],
)
def test_mistakes_in_notify_have_their_lines(write: Write, text: str, said: str) -> None:
    # Given a labfleet.toml with a mistake in [notify]
    root = described(write, text)
    # When it is read, then that is said
    with pytest.raises(WrongUse) as caught:
        load(root)
    assert caught.value.message == f"labfleet.toml, {said}"


def test_mistakes_in_references_and_features_have_their_lines(write: Write) -> None:
    # Given a file in which each table has mistakes
    text = """\
features = { enable = "Radio", on = ["X"] }

[[reference]]
path = "../inet"
git = "https://example.org/inet.git"

[[reference]]
git = "https://example.org/inet.git"
brunch = "master"
name = "a/b"

[[reference]]
revision = 4
[reference.features]
enable = [1]
"""
    # When / Then
    assert refusal(described(write, text)).message.split("\n") == [
        "labfleet.toml, line 1: `features.enable` must be an array of strings, not a string",
        "labfleet.toml, line 1: unknown key `on` in `features`: it has `enable` and `disable`",
        "labfleet.toml, line 3: a reference has either `path`, a folder, or `git`, a URL",
        "labfleet.toml, line 7: `git` and `revision` of a reference belong together",
        "labfleet.toml, line 9: unknown key `brunch` of a reference; it has path, git, revision, name, features, build",
        "labfleet.toml, line 10: `a/b` cannot be the name of a folder",
        "labfleet.toml, line 12: a reference has either `path`, a folder, or `git`, a URL",
        "labfleet.toml, line 13: `revision` of a reference must be a string, not an integer",
        "labfleet.toml, line 15: `features.enable` must be an array of strings, not an array of other things",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[references]]\npath = "../inet"', "line 1: unknown key `references` (did you mean `reference`?)"),
        (
            '[[reference]]\npath = "../q"\n[[refrence]]\npath = "../inet"',
            "line 3: unknown key `refrence` (did you mean `reference`?)",
        ),
        (
            '\n[[environment]]\nA = "1"',
            "line 2: `environment` must be a table of strings, not an array of other things",
        ),
    ],
)
def test_a_wrong_array_of_tables_has_its_line(write: Write, text: str, said: str) -> None:
    # Given a header in double brackets that is none of labfleet.toml's; when / then
    assert mistakes(write, text) == [said]


def test_a_name_that_would_do_nothing_is_refused(write: Write) -> None:
    # Given a reference by a relative path, which says where it stands, with another name
    text = '[[reference]]\npath = "../inet-4.5"\nname = "inet"'
    # When / Then
    assert mistakes(write, text) == [
        (
            "line 3: `name` does nothing for ../inet-4.5: what has a relative path stands where it stands at home; "
            "it is for `git` and absolute paths"
        )
    ]
    # When it is its own, or that of one that stands elsewhere, then that is well
    for path in ("../inet", "~/inet-4.5", "/opt/inet-4.5"):
        assert load(described(write, f'[[reference]]\npath = "{path}"\nname = "inet"')).references[0].name == "inet"


def test_a_feature_that_the_project_does_not_have_is_refused_with_those_that_it_has(write: Write) -> None:
    # Given a project with two features, and one without any
    root = described(write, 'features = { enable = ["Rdio"] }')
    assert refusal(root).message == "m has no features"
    (root / ".oppfeatures").write_text('<features>\n<feature id="Radio"/><feature id="Osg"/>\n</features>')
    # When / Then
    assert refusal(root).message == "m has no feature Rdio"
    assert refusal(root).hint == "did you mean Radio?  it has these: Radio, Osg"
    (root / "labfleet.toml").write_text('features = { disable = ["Visualizer"] }')
    assert refusal(root).hint == "it has these: Radio, Osg"


@pytest.mark.parametrize(
    ("enable", "disable", "said"),
    [
        (["Extra"], ["Core"], "the feature Extra of m needs Core, which is to be off"),
        (["More"], ["Base"], "the feature More of m needs Base, which is to be off"),
        (["Core"], ["Core"], "the feature Core of m is to be on and off"),
        (["Extra"], ["Other"], ""),
    ],
)
def test_a_feature_that_needs_one_that_is_to_be_off_is_refused(
    write: Write, enable: list[str], disable: list[str], said: str
) -> None:
    # Given features that need each other, even in a circle, and what is wished of them
    root = described(write, f"features = {{ enable = {enable}, disable = {disable} }}")
    needs = {"Extra": "Core", "Core": "Base Extra", "Base": "", "More": "Extra", "Other": "More"}
    made = (f'<feature id="{name}" requires="{others}"/>' for name, others in needs.items())
    (root / ".oppfeatures").write_text(f"<features>{''.join(made)}</features>")
    # When / Then
    if said:
        assert refusal(root).message == said
    else:
        assert load(root).build.disable == ("Other",)


# ---- projects that are needed ----------------------------------------------------------------------------


MADE_BY = "# This file was generated with the command:\n#  opp_makemake -f {}\n"


@pytest.mark.parametrize(
    ("files", "paths"),
    [
        ({"m/Makefile": MADE_BY.format("-KINET_PROJ=../inet -I'$$(INET_PROJ)/src'")}, ["../inet"]),
        ({"m/src/Makefile": MADE_BY.format("-K INET_PROJ=../../inet -KX=3")}, ["../inet"]),
        ({"m/Makefile": MADE_BY.format("-KINET_PROJ='$(HOME)/inet' -KQ_PROJ=./lib/q -KM_PROJ=.")}, []),
        ({"m/Makefile": MADE_BY.format("-KINET_PROJ=/opt/inet")}, ["/opt/inet"]),
        (
            {"m/.oppbuildspec": QUEUEINGLIB_BUILDSPEC.replace("-I.", "-KQ_PROJ=../q -KR_PROJ=../x/r")},
            ["../q", "../x/r"],
        ),
        (
            {"m/.project": "<a><projects><project>q</project><project>gone</project></projects></a>", "q/x": ""},
            ["../q"],
        ),
        (
            {"m/Makefile": MADE_BY.format("-KQ_PROJ=../q"), "m/.project": "<a><project>q</project></a>", "q/x": ""},
            ["../q"],
        ),
        (
            # Rules of people's own: in many repositories nothing else says it before the makefile is made.
            {"m/Makefile": "makefiles:\n\t@cd src && opp_makemake \\\n -KINET_PROJ=../../inet\nx:\n\techo -KX_PROJ=x"},
            ["../inet"],
        ),
        (
            {
                "m/Makefile": "makefiles:\n\tcd src && opp_makemake -KINET_PROJ=../../inet\n",
                "m/src/Makefile": MADE_BY.format("-KQ_PROJ=../../q"),
            },
            ["../q"],
        ),
        (
            # The IDE knows projects by their names, wherever they are.
            {
                "m/.project": "<a><project>inet4.5</project></a>",
                "inet/.project": "<a><name>inet4.5</name><projects/><x><name>q</name></x></a>",
                "broken/.project": "<a",
            },
            ["../inet"],
        ),
        ({"m/Makefile": MADE_BY.format("-KQ_PROJ=../q"), "m/labfleet.toml": "reference = []"}, []),
    ],
)
def test_makefiles_and_the_ide_name_projects_that_are_needed(
    write: Write, files: dict[str, str], paths: list[str]
) -> None:
    # Given
    work = write("m/omnetpp.ini", "m/src/a.cc", "m/lib/q/a.cc", **files)
    # When / Then
    assert [reference.path for reference in load(work / "m").references] == paths


@pytest.mark.parametrize("sources", [["m/Node.cc"], []])
def test_who_has_not_what_the_ide_names_is_told_so(write: Write, sources: list[str]) -> None:
    # Given a project that refers to one that is nowhere, and one that is there; it has sources, or NED files alone
    named = "<a><projects><project>inet4.5</project><project>q</project></projects></a>"
    work = write("m/omnetpp.ini", *sources, "q/x", **{"m/.project": named})
    # When / Then
    assert load(work / "m").remarks == (
        (
            ".project names inet4.5, which is not in ../inet4.5: "
            "copy it there, or name it with [[reference]] in labfleet.toml"
        ),
    )
    # When labfleet.toml says what is needed, then that counts
    (work / "m/labfleet.toml").write_text("reference = []\n")
    assert load(work / "m").remarks == ()


def test_a_project_that_is_needed_is_built_as_the_reference_says(write: Write) -> None:
    # Given a library with a description of its own
    text = 'build = "make libs"\nfeatures = { enable = ["A"] }\nned-path = ["ned"]\ninclude = ["x"]'
    features = '<features><feature id="A"/><feature id="B"/></features>'
    lib = write(**{"lib/labfleet.toml": text, "lib/.oppfeatures": features}) / "lib"
    # When it is needed as it is, and otherwise
    plain = config.load_needed(lib, Reference(path="../lib"))
    other = config.load_needed(lib, Reference(path="../lib", build=("make all",), features=Features(disable=("B",))))
    # Then
    assert plain.build.commands == (("sh", "-c", "make libs"),)
    assert (plain.build.enable, plain.ned_folders, plain.include) == (("A",), ("ned",), ("x",))
    assert other.build.commands == (("sh", "-c", "make all"),)
    assert (other.build.enable, other.build.disable) == ((), ("B",))


def test_features_make_the_makefile_anew(write: Write) -> None:
    # Given a project as the IDE has it, with a Makefile that is made for other features
    text = 'features = { enable = ["A"] }'
    work = write(
        "m/omnetpp.ini",
        "m/src/a.cc",
        **{
            "m/labfleet.toml": text,
            "m/.oppfeatures": '<features cppSourceRoots="src"><feature id="A"/></features>',
            "m/.oppbuildspec": INET_BUILDSPEC,
            "m/src/Makefile": MADE_BY.format("--deep"),
        },
    )
    # When / Then
    (makemake, make) = load(work / "m").build.commands
    assert makemake == (
        "sh",
        "-c",
        "opp_makemake -f --make-so --deep -O out -pINET $(cd .. && opp_featuretool options -f -c -l -s src)",
    )
    assert make == MAKE


def test_all_mistakes_are_reported_at_once_each_with_its_line(write: Write) -> None:
    # Given a file that is wrong in most lines
    text = """\
# comment
biuld = "make"
program = 3
ini = [
    "a.ini",
    "omnetpp.ini",
]
directory = "gone"
ned-path = ["/opt/inet", "../inet/src"]

[environment]
THREADS = 4
"""
    # When / Then
    assert mistakes(write, text) == [
        "line 2: unknown key `biuld` (did you mean `build`?)",
        "line 3: `program` must be a string, not an integer",
        "line 4: `ini`: there is no file a.ini",
        "line 8: `directory`: there is no folder gone",
        "line 9: `ned-path`: ../inet/src leaves the project, and only the project travels to the lab",
        "line 9: `ned-path`: /opt/inet is absolute, but each machine has the project elsewhere; make it relative",
        "line 12: the environment variable `THREADS` must be a string, not an integer",
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("colour = 1", "unknown key `colour`"),
        ('[biuld]\nx = "y"', "unknown key `biuld` (did you mean `build`?)"),
        ("build = true", "`build` must be a string or an array of strings, not a boolean"),
        ('[build]\nx = "y"', "`build` must be a string or an array of strings, not a table"),
        ("ini = [1.5]", "`ini` must be a string or an array of strings, not an array of other things"),
        ('program = ["a"]', "`program` must be a string, not an array"),
        ('ned-path = "src"', "`ned-path` must be an array of strings, not a string"),
        ("include = 1979-05-27", "`include` must be an array of strings, not a date or time"),
        ("arguments = 1.5", "`arguments` must be an array of strings, not a float"),
        ('environment = "A=1"', "`environment` must be a table of strings, not a string"),
        ('build = ""', "`build`: an empty string says nothing"),
        ('arguments = ["a", " "]', "`arguments`: an empty string says nothing"),
        ('directory = ""', "`directory`: an empty string says nothing"),
        ('directory = "omnetpp.ini"', "`directory`: there is no folder omnetpp.ini"),
        ('build-directory = "gone"', "`build-directory`: there is no folder gone"),
        ('ini = "sim"', "`ini`: there is no file sim"),
        ('directory = "sim/../.."', "`directory`: sim/../.. leaves the project"),
        ('build-directory = ".."', "`build-directory`: .. leaves the project"),
        ('ini = "../omnetpp.ini"', "`ini`: ../omnetpp.ini leaves the project"),
        ('program = "../m"', "`program`: ../m leaves the project"),
        ('include = ["../*.csv"]', "`include`: ../*.csv leaves the project"),
        ('include = ["/data/*.csv"]', "`include`: /data/*.csv is absolute"),
        ('directory = "/tmp"', "`directory`: /tmp is absolute"),
        ("timeout = 1.5", "`timeout` must be a string or an integer, not a float"),
        ("retries = true", "`retries` must be an integer, not a boolean"),
        ('retries = "1"', "`retries` must be an integer, not a string"),
        ('timeout = "soon"', "`timeout`: 'soon' is no duration: write it as 90 (seconds), 90s, 15min, 2h or 1d"),
        ("stall = 0", "`stall`: '0' is no duration"),
        ('memory = "2 cups"', "`memory`: '2 cups' is no size: write it as 500MB, 2GB, 1.5GiB, or 500 (MB)"),
        ("retries = -1", "`retries`: '-1' is no whole number from 0"),
        ("max-failures = 0", "`max-failures`: '0' is no whole number from 1"),
        ('environment = { "A=B" = "1" }', "`A=B` cannot be the name of an environment variable"),
    ],
)
def test_a_mistake_is_explained(write: Write, line: str, sentence: str) -> None:
    # Given a good line, then the mistake
    found = mistakes(write, f'\n"include" = []\n{line}' if "include" not in line else f"\n\n{line}", "sim/N.ned")
    # When / Then
    assert len(found) == 1
    assert found[0].startswith(f"line 3: {sentence}")


def test_a_folder_whose_name_begins_with_dots_does_not_leave_the_project(write: Write) -> None:
    # Given
    assert load(described(write, 'include = ["..data/*.csv"]')).include[0] == "..data/*.csv"


def test_a_key_that_slipped_below_the_environment_is_pointed_out(write: Write) -> None:
    # Given what TOML takes for an environment variable
    text = '[environment]\nSEED = "1"\nprogram = "./m"'
    # When / Then
    assert mistakes(write, text) == ["line 3: `program` is no environment variable: it belongs above [environment]"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"program" = 1', 1),
        ("'program' = 1", 1),
        ('include = ["""\nprogram = 2\n"""]\n\nprogram = 1', 5),
        ('include = [ # ]\n  "program = 2",\n]\nprogram = 1', 4),
        ("build = '''\n[environment]\n'''\nprogram = 1", 4),
        ('environment.A = "program"\nprogram = 1', 2),
        ('environment = { A = "1" }\r\nprogram = 1\r\n', 2),
    ],
)
def test_a_key_is_found_wherever_it_may_stand(write: Write, text: str, line: int) -> None:
    # Given the ways in which TOML can hide a key
    assert mistakes(write, text) == [f"line {line}: `program` must be a string, not an integer"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[environment]\nA = '1'\nB = 1", 3),
        ("# comment\n\n[ environment ] # comment\n'B' = 1", 4),
        ("include = []\nenvironment.B = 1", 2),
        ("include = []\nenvironment = { A = '1', B = 1 }", 2),
    ],
)
def test_a_variable_is_found_wherever_it_may_stand(write: Write, text: str, line: int) -> None:
    # Given
    assert mistakes(write, text) == [f"line {line}: the environment variable `B` must be a string, not an integer"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("build = 'make'\nprogram = m\nini = 'a'\n", 2), ("build = [\n'make',\n\n", 2), ("ini = 'a\n", 1)],
)
def test_a_file_that_is_not_toml_is_refused_with_the_line(write: Write, text: str, line: int) -> None:
    # Given
    [found] = mistakes(write, text)
    # When / Then
    assert found.startswith(f"line {line}: ")
    assert "(at" not in found


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(write: Write) -> None:
    # Given a name in Latin-1
    root = described(write, "")
    (root / "labfleet.toml").write_bytes("# x\nprogram = './modèle'".encode("latin-1"))
    # When / Then
    assert refusal(root).message == "labfleet.toml, line 2: this is not UTF-8"


# ---- speed -----------------------------------------------------------------------------------------------


def traced(folder: Path) -> list[str]:
    """Return what a fresh interpreter does while it loads a project: Python's audit events and their subjects."""
    program = """
import sys
from pathlib import Path
from runner import config

events = []
sys.addaudithook(lambda event, arguments: events.append(" ".join(map(str, (event, *arguments[:1])))))
config.load(Path(sys.argv[1]))
events += [f"import {module}" for module in sys.modules]
print(*events, sep="\\n")
"""
    answer = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(config.__file__).parents[1],
    )
    return answer.stdout.splitlines()


def test_no_folder_of_a_built_project_is_searched_and_no_process_started(write: Write) -> None:
    # Given INET as the person has built it
    work = write("inet/src/inet/Units.cc", "inet/src/Makefile", "inet/examples/aodv/omnetpp.ini", **INET)
    # When
    events = traced(work / "inet/examples/aodv")
    # Then files were opened, and that is all
    assert f"open {work / 'inet/Makefile'}" in events
    assert not [event for event in events if event.startswith(("os.scandir", "os.walk", f"os.listdir {work}"))]
    assert not [event for event in events if event.startswith(("subprocess", "os.fork", "os.posix_spawn"))]


def test_parsers_are_loaded_only_where_there_is_something_to_parse(write: Write) -> None:
    # Given a project with a Makefile alone
    events = traced(write("aloha/omnetpp.ini", "aloha/Makefile") / "aloha")
    # When / Then
    assert not [event for event in events if event.startswith(("import tomllib", "import pyexpat", "import xml"))]
