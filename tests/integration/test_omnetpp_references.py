"""Projects that need others, and features, with the real opp_makemake, opp_featuretool and opp_run."""

import re
import shutil
from pathlib import Path

import pytest

from tests.lab_fixture import LocalLab, manifest
from tests.needed_projects import write

pytestmark = [
    pytest.mark.omnetpp,
    pytest.mark.skipif(shutil.which("opp_run") is None, reason="opp_run is not on PATH"),
    pytest.mark.usefixtures("patience"),
    pytest.mark.timeout(900),
]

FEATURES = """<features cppSourceRoots="src">
    <feature id="Alpha" name="Alpha" description="" initiallyEnabled="true" requires="" labels=""
        nedPackages="qlib.alpha" extraSourceFolders="" compileFlags="-DWITH_ALPHA" linkerFlags=""/>
    <feature id="Beta" name="Beta" description="" initiallyEnabled="false" requires="" labels=""
        nedPackages="qlib.beta" extraSourceFolders="" compileFlags="-DWITH_BETA" linkerFlags=""/>
</features>
"""

NODE = """
#include <omnetpp.h>
#include "Ping_m.h"
using namespace omnetpp;
class Node : public cSimpleModule {
    void initialize() override { scheduleAt(1, new Ping()); }
    void handleMessage(cMessage *msg) override {
        delete msg;
#ifdef WITH_ALPHA
        recordScalar("alpha", 1);
#endif
#ifdef WITH_BETA
        recordScalar("beta", 1);
#endif
        recordScalar("answer", 42);
    }
};
Define_Module(Node);
"""

#: A module of a feature's; without the feature it is neither compiled nor loaded.
PART = """
#include <omnetpp.h>
class {name} : public omnetpp::cSimpleModule {{}};
Define_Module({name});
"""

OWN = """
#include <omnetpp.h>
#include "qlib/Ping_m.h"
class Own : public omnetpp::cSimpleModule { void finish() override { Ping ping; recordScalar("own", 7); } };
Define_Module(Own);
"""

SPEC = '<buildspec version="4.0"><dir makemake-options="{}" path="src" type="makemake"/></buildspec>\n'


def qlib(root: Path) -> Path:
    """Write a library with features, as the IDE has it."""
    return write(
        root,
        _dot_oppfeatures=FEATURES,
        _dot_nedfolders="src\n",
        _dot_oppbuildspec=SPEC.format("--make-so --deep -o qlib -O out --meta:export-library --meta:feature-cflags"),
        src__qlib__package_dot_ned="package qlib;\n",
        src__qlib__Node_dot_ned="package qlib;\nsimple Node {}\n",
        src__qlib__Node_dot_cc=NODE + f"// {root}\n",
        src__qlib__Ping_dot_msg="message Ping { int hops; }\n",
        src__qlib__alpha__Alpha_dot_ned="package qlib.alpha;\nsimple Alpha {}\n",
        src__qlib__alpha__Alpha_dot_cc=PART.format(name="Alpha"),
        src__qlib__beta__Beta_dot_ned="package qlib.beta;\nsimple Beta {}\n",
        src__qlib__beta__Beta_dot_cc=PART.format(name="Beta"),
    )


def model(root: Path, more: str = "") -> Path:
    """Write a model with sources of its own that needs the library."""
    options = "-f --deep -KQLIB_PROJ=../../qlib -I. -I$$(QLIB_PROJ)/src -L$$(QLIB_PROJ)/src -lqlib$$(D)"
    return write(
        root,
        _dot_oppbuildspec=SPEC.format(options.replace("$$", "$")),
        _dot_nedfolders="src\nsimulations\n",
        src__Own_dot_ned="simple Own {}\n",
        src__Own_dot_cc=OWN,
        simulations__Net_dot_ned="import qlib.Node;\nnetwork Net { submodules: node: Node; own: Own; }\n",
        simulations__omnetpp_dot_ini="[General]\nnetwork = Net\n",
        labfleet_dot_toml=more,
    )


def scalars(project: Path) -> dict[str, str]:
    """Return the scalars of the only run."""
    (file,) = (project / "results").glob("*.sca")
    return dict(re.findall(r"^scalar \S+ (\w+) (\S+)$", file.read_text(), re.MULTILINE))


def compiled(lab: LocalLab, project: Path) -> list[str]:
    """Return the files that the latest campaign's build compiled."""
    log = lab.home / "campaigns" / manifest(project)["campaign"] / "build.log"
    return re.findall(r"^(\S+\.cc)$", log.read_text(), re.MULTILINE) if log.exists() else []


def test_a_model_and_what_it_needs_are_built_and_run(lab: LocalLab, tmp_path: Path) -> None:
    # Given a model as the IDE has it, beside a library
    qlib(tmp_path / "qlib")
    project = model(tmp_path / "model")
    # When it is run in one of its folders
    said = lab("campaign", cwd=project / "simulations")
    # Then both are built, and modules of both have run
    assert said.status == 0, said.stderr
    assert scalars(project / "simulations") == {"alpha": "1", "answer": "42", "own": "7"}
    assert sorted(compiled(lab, project / "simulations")) == [
        "Own.cc",
        "qlib/Node.cc",
        "qlib/Ping_m.cc",
        "qlib/alpha/Alpha.cc",
    ]
    # When a source of the library is changed, then that one is compiled
    node = tmp_path / "qlib/src/qlib/Node.cc"
    node.write_text(node.read_text().replace("42", "43"))
    assert lab("campaign", cwd=project / "simulations").status == 0
    assert compiled(lab, project / "simulations") == ["qlib/Node.cc"]
    assert scalars(project / "simulations")["answer"] == "43"


def test_the_samples_that_need_another_one_are_built_as_the_ide_does(lab: LocalLab, tmp_path: Path) -> None:
    # Given OMNeT++'s samples as they come: without makefiles, and what needs what is said to the IDE alone
    runner = shutil.which("opp_run")
    assert runner
    generated = shutil.ignore_patterns("results", "out", "*.o", "*.so", "*_m.*", "Makefile")
    for name in ("queueinglib", "queueinglibext", "queuenet"):
        shutil.copytree(Path(runner).parent.parent / "samples" / name, tmp_path / name, ignore=generated)
    for source in (tmp_path / "queueinglib").glob("*.cc"):
        if source.stem not in ("Job", "JobList", "Queue", "Sink", "Source"):  # what the networks below do not have
            source.unlink()
    # When a library that extends another one is run, and a project of NED files alone that needs that
    for name, config in (("queueinglibext", "OneFifo"), ("queuenet", "TandemFifos")):
        words = ("--config", config, "--runs", "0", "--args", "--sim-time-limit=100s")
        said = lab("campaign", *words, cwd=tmp_path / name)
        # Then it runs, and the other one is built only once
        assert said.status == 0, said.stderr
        assert ("Queue.cc" in compiled(lab, tmp_path / name)) == (name == "queueinglibext")
        assert [one["place"] for one in manifest(tmp_path / name)["references"]] == ["queueinglib"]
    assert "SinkExt.cc" not in compiled(lab, tmp_path / "queuenet")


def test_features_decide_what_is_compiled_and_loaded(lab: LocalLab, tmp_path: Path) -> None:
    # Given a model that needs the library with other features than it has by itself
    qlib(tmp_path / "qlib")
    text = '[[reference]]\npath = "../qlib"\nfeatures = { enable = ["Beta"], disable = ["Alpha"] }\n'
    project = model(tmp_path / "model", text)
    # When it is run
    said = lab("campaign", cwd=project / "simulations")
    # Then the one is compiled and the other is not, and its package is not loaded
    assert said.status == 0, said.stderr
    assert scalars(project / "simulations") == {"beta": "1", "answer": "42", "own": "7"}
    told = manifest(project / "simulations")
    assert told["program"][-2:] == ["-x", "qlib.alpha"]
    assert told["references"][0]["features"] == {"enable": ["Beta"], "disable": ["Alpha"]}
    # When a source is changed, then that one alone is compiled, though features are switched again
    own = project / "src" / "Own.cc"
    own.write_text(own.read_text().replace("7", "8"))
    node = tmp_path / "qlib/src/qlib/Node.cc"
    node.write_text(node.read_text().replace("42", "43"))
    assert lab("campaign", cwd=project / "simulations").status == 0
    assert sorted(compiled(lab, project / "simulations")) == ["Own.cc", "qlib/Node.cc"]


def test_a_project_has_features_of_its_own(lab: LocalLab, tmp_path: Path) -> None:
    # Given a library that is run itself, by opp_run
    project = qlib(tmp_path / "qlib")
    write(
        project,
        labfleet_dot_toml='features = { enable = ["Beta"] }\n',
        simulations__Net_dot_ned="import qlib.Node;\nnetwork Net { submodules: node: Node; }\n",
        simulations__omnetpp_dot_ini="[General]\nnetwork = Net\nned-path = .:../src\n",
        _dot_nedfolders="src\nsimulations\n",
    )
    # When it is run
    said = lab("campaign", cwd=project / "simulations")
    # Then it has them
    assert said.status == 0, said.stderr
    assert scalars(project / "simulations") == {"alpha": "1", "beta": "1", "answer": "42"}
    # When the project says nothing, then its own state counts
    (project / "labfleet.toml").write_text("")
    assert lab("campaign", cwd=project / "simulations").status == 0
    assert scalars(project / "simulations") == {"alpha": "1", "answer": "42"}


def test_a_project_of_ned_files_alone_has_opp_run_load_what_it_needs(lab: LocalLab, tmp_path: Path) -> None:
    # Given a network of the library's modules, and a description of where that is
    qlib(tmp_path / "libs" / "qlib")
    project = write(
        tmp_path / "models" / "network",
        Net_dot_ned="import qlib.Node;\nnetwork Net { submodules: node: Node; }\n",
        omnetpp_dot_ini="[General]\nnetwork = Net\n",
        labfleet_dot_toml='[[reference]]\npath = "../../libs/qlib"\n',
    )
    # When it is run, then its modules are there
    said = lab("campaign", cwd=project)
    assert said.status == 0, said.stderr
    assert scalars(project) == {"alpha": "1", "answer": "42"}


def test_a_mode_that_is_not_there_is_explained(lab: LocalLab, tmp_path: Path) -> None:
    # Given an OMNeT++ that was not built with sanitizers
    runner = shutil.which("opp_run")
    assert runner
    if list((Path(runner).parent.parent / "lib").glob("*oppsim_sanitize.*")):
        pytest.skip("this OMNeT++ has them")
    # When a campaign wants them
    said = lab("campaign", "--mode", "sanitize", cwd=qlib(tmp_path / "qlib"))
    assert said.status == 2
    write(tmp_path / "qlib", omnetpp_dot_ini="[General]\n")
    said = lab("campaign", "--mode", "sanitize", cwd=tmp_path / "qlib")
    # Then that is said
    assert said.status == 3
    assert "was not built in this mode: make MODE=sanitize there does so" in said.stderr
