"""The worker image's role: what is no task of Ansible's."""

import subprocess
from pathlib import Path

import yaml  # type: ignore[import-untyped]

ROLE = Path(__file__).resolve().parent.parent / "playbooks" / "roles" / "image"


def test_the_reason_of_a_failed_build_is_told_wherever_it_stands() -> None:
    # Given the output of a build with several jobs: one has failed long before the others are through
    gist = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["image_gist"]
    before, after = [f"before{number}.cc" for number in range(40)], [f"after{number}.cc" for number in range(40)]
    reason = ["make[1]: *** No rule to make target 'x.cc'.  Stop.", "make: *** [Makefile:138: nedxml] Error 2"]
    output = "\n".join([*before, *reason, *after]) + "\n"
    # When the gist of it is told
    told = subprocess.run(["bash", "-c", gist], input=output, capture_output=True, text=True, check=True).stderr
    # Then that is the reason, and the end
    assert told.splitlines() == [*reason, *after[-15:]]
    # … and of a short output everything
    told = subprocess.run(["bash", "-c", gist], input="one\ntwo\n", capture_output=True, text=True, check=True).stderr
    assert told == "one\ntwo\n"
