"""What the IDE's files say of a project: what it exports to others, and what others take of that."""

from pathlib import Path

import pytest

from runner.config import load, load_needed
from runner.ide_files import with_exported
from runner.project_file import Reference
from tests.needed_projects import write

SPEC = '<buildspec version="4.0"><dir path="." type="custom"/><dir {} path="{}" type="makemake"/></buildspec>\n'

#: As the IDE makes them for a new project.
USUAL = (
    "--deep -O out -I. --meta:recurse --meta:export-include-path --meta:use-exported-include-paths "
    "--meta:export-library --meta:use-exported-libs --meta:feature-cflags --meta:feature-ldflags"
)

#: As in INET 4.5.
INET = (
    "--make-so --deep -o INET -O out -pINET --meta:export-include-path --meta:export-library --meta:use-exported-libs"
)

MAKEMAKE = ("opp_makemake", "-f")

USES = ("--meta:use-exported-include-paths", "--meta:use-exported-libs")


def described(root: Path, options: str | None, folder: str = "src", **files: str) -> Path:
    """Write a project as the IDE has it; None: the IDE has noted no options."""
    said = "" if options is None else f'makemake-options="{options}"'
    return write(root, _dot_oppbuildspec=SPEC.format(said, folder), **{f"{folder}__Node_dot_cc": "", **files})


def test_the_options_that_ask_for_what_others_export_stay_where_others_are_needed(tmp_path: Path) -> None:
    # Given a model as the IDE makes it, beside INET; and one that needs nothing
    described(tmp_path / "inet", INET)
    needs = "<a><projects><project>inet</project></projects></a>"
    model = described(tmp_path / "model", USUAL, _dot_project=needs, omnetpp_dot_ini="")
    alone = described(tmp_path / "alone", USUAL, omnetpp_dot_ini="")
    # and one that is made from an old template
    template = "--deep --meta:recurse --meta:auto-include-path --meta:export-library --meta:use-exported-libs"
    old = described(tmp_path / "old", template, _dot_project=needs, omnetpp_dot_ini="")
    # When
    makemake, _ = load(model).build.commands
    # Then the one is built with them, the other and INET without
    assert makemake == (*MAKEMAKE, "--deep", "-O", "out", "-I.", *USES)
    assert load(old).build.commands[0] == (*MAKEMAKE, "--deep", *USES)
    assert load(alone).build.commands[0] == (*MAKEMAKE, "--deep", "-O", "out", "-I.")
    inet = load_needed(tmp_path / "inet", Reference(path="../inet"))
    assert inet.build.commands[0] == (*MAKEMAKE, "--make-so", "--deep", "-o", "INET", "-O", "out", "-pINET")


#: As the IDE's wizards make it.
MAKEFILE = "all: checkmakefiles\n\tcd src && $(MAKE)\nmakefiles:\n\tcd src && opp_makemake -f --deep{}\n"


def test_a_rule_of_the_ides_wizard_which_knows_of_no_others_is_not_used_where_there_are_some(tmp_path: Path) -> None:
    # Given a model as the wizard makes it, with INET ticked and without; and one whose rule knows where INET is
    described(tmp_path / "inet", INET)
    needs = "<a><projects><project>inet</project></projects></a>"
    files = {"Makefile": MAKEFILE.format(""), "omnetpp_dot_ini": ""}
    ticked = described(tmp_path / "ticked", USUAL, _dot_project=needs, **files)
    alone = described(tmp_path / "alone", USUAL, **files)
    files["Makefile"] = MAKEFILE.format(" -KINET_PROJ=../../inet")
    knows = described(tmp_path / "knows", USUAL, **files)
    # When
    build = load(ticked).build
    # Then the makefile is made as the IDE does
    assert (build.directory, build.commands[0]) == ("src", (*MAKEMAKE, "--deep", "-O", "out", "-I.", *USES))
    assert build.makefiles == ("Makefile", "src/Makefile")
    # and else by the rule
    for project in (alone, knows):
        assert (load(project).build.directory, load(project).build.commands[0]) == (".", ("make", "makefiles"))


@pytest.mark.parametrize(
    "files",
    [
        {"labfleet_dot_toml": '[[reference]]\npath = "../inet"\n'},
        {"_dot_project": "<a><projects><project>inet</project></projects></a>"},
    ],
)
def test_sources_that_nothing_describes_take_all_that_is_exported(tmp_path: Path, files: dict[str, str]) -> None:
    # Given C++ sources without Makefile and .oppbuildspec, and a project that they need
    described(tmp_path / "inet", INET)
    model = write(tmp_path / "model", Node_dot_cc="", omnetpp_dot_ini="", **files)
    # When / Then
    assert load(model).build.commands[0] == (*MAKEMAKE, "--deep", *USES)


def test_a_model_is_compiled_and_linked_with_what_inet_exports(tmp_path: Path) -> None:
    # Given INET, and a folder of a model beside it
    inet = described(tmp_path / "inet", INET)
    folder = tmp_path / "models" / "model" / "src"
    # When / Then
    assert with_exported((*MAKEMAKE, "--deep", *USES, "-lz"), folder, [inet]) == (
        *(*MAKEMAKE, "--deep"),
        "-I../../../inet/src",
        *("-DINET_IMPORT", "-L../../../inet/src", "-lINET$(D)"),
        "-lz",
    )


def test_only_what_is_asked_for_is_taken(tmp_path: Path) -> None:
    # Given
    inet = described(tmp_path / "inet", INET)
    folder = tmp_path / "model"
    # When / Then
    assert with_exported((*MAKEMAKE, USES[0]), folder, [inet]) == (*MAKEMAKE, "-I../inet/src")
    assert with_exported((*MAKEMAKE, "-I."), folder, [inet]) == (*MAKEMAKE, "-I.")
    assert with_exported((*MAKEMAKE, *USES), folder, []) == MAKEMAKE


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        # A program; a library that is not for others; headers without a library.
        (USUAL, ["-I../q/lib", "-I../q/lib/include"]),
        ("--make-so -o q", []),
        ("-a --meta:export-include-path", ["-I../q/lib"]),
        # Without a name it is that of the folder; -p means something to shared libraries alone.
        ("--make-lib -p Q --meta:export-library", ["-L../q/lib", "-llib$(D)"]),
        ("-s -p Q -o other --meta:export-library", ["-DQ_IMPORT", "-L../q/lib", "-lother$(D)"]),
        ("-s --output more --meta:export-library", ["-L../q/lib", "-lmore$(D)"]),
        # Folders of headers, but those that only a makefile knows.
        ("-I ../inc -I$(X)/inc --meta:export-include-path", ["-I../q/lib", "-I../q/inc"]),
    ],
)
def test_what_a_project_exports_follows_from_its_options(tmp_path: Path, options: str, taken: list[str]) -> None:
    # Given a project with its sources in lib
    q = described(tmp_path / "q", options.replace("-I.", "-I. -Iinclude", 1) if options == USUAL else options, "lib")
    # When / Then
    assert with_exported(USES, tmp_path / "model", [q]) == tuple(taken)


def test_a_project_for_which_the_ide_has_noted_no_options_exports_its_headers(tmp_path: Path) -> None:
    # Given
    q = described(tmp_path / "q", None)
    # When / Then
    assert with_exported(USES, tmp_path / "model", [q]) == ("-I../q/src",)


def test_a_library_of_the_ides_is_named_as_its_project(tmp_path: Path) -> None:
    # Given a library without a name of its own, in a project of the IDE's
    q = described(tmp_path / "q", "--make-so --meta:export-library", _dot_project="<a/>")
    # When / Then
    assert with_exported(USES, tmp_path / "model", [q]) == ("-L../q/src", "-lq$(D)")


def test_libraries_come_before_those_that_they_need_each_once(tmp_path: Path) -> None:
    # Given a project and another that it needs, and one that says nothing to the IDE
    one = described(tmp_path / "one", "--make-lib -I. --meta:export-library --meta:export-include-path", ".")
    two = described(tmp_path / "two", "--make-lib --meta:export-library", ".")
    plain = write(tmp_path / "plain", src__a_dot_cc="")
    # When / Then
    taken = ("-I../one", "-L../one", "-lone$(D)", "-L../two", "-ltwo$(D)")
    assert with_exported(USES, tmp_path / "model", [one, two, plain]) == taken


def test_a_shells_command_gets_them_too(tmp_path: Path) -> None:
    # Given a command that asks opp_featuretool for further options
    inet = described(tmp_path / "in et", INET)
    command = f"opp_makemake -f {' '.join(USES)} $(cd .. && opp_featuretool options)"
    # When
    taken = with_exported(("sh", "-c", command), tmp_path / "model", [inet])
    # Then what has a meaning for the shell is quoted
    made = "opp_makemake -f '-I../in et/src' -DINET_IMPORT '-L../in et/src' '-lINET$(D)'"
    assert taken == ("sh", "-c", f"{made} $(cd .. && opp_featuretool options)")
