"""Project features: which a project has, and how they are switched on and off (opp_featuretool).

What opp_featuretool writes keeps its time as long as it is the same: files are made from it, and compiled files from
those.
"""

import os
import shlex
from pathlib import Path

from runner.errors import WrongUse
from runner.ide_files import parsed_xml
from runner.model import Build

FEATURES = ".oppfeatures"

#: What opp_featuretool writes: what is enabled, and the NED packages of all that is not.
STATE, EXCLUSIONS = ".oppfeaturestate", ".nedexclusions"


def known(root: Path) -> tuple[str, ...]:
    """Return the features of a project; none if it has no such thing.  Raises WrongUse if its file is damaged."""
    file = root / FEATURES
    if not file.is_file():
        return ()
    return tuple(attributes["id"] for attributes in parsed_xml(file, "feature") if "id" in attributes)


def commands(build: Build) -> list[tuple[str, ...]]:
    """Return the commands that switch a build's features, in the project's root; the last one asks whether it worked.

    Features that an enabled one needs are enabled with it, those that need a disabled one are disabled with it.
    """
    made: list[tuple[str, ...]] = []
    if build.enable:
        made.append(("opp_featuretool", "enable", "-f", *build.enable))
    if build.disable:
        made.append(("opp_featuretool", "disable", "-f", *build.disable))
    if build.enable and build.disable:
        made.append(("opp_featuretool", "isenabled", *build.enable))
    return made


def makemake_options(root: Path, folder: Path) -> str:
    """Return what a shell replaces by the options that opp_makemake, called in a folder, needs for the features."""
    if not (root / FEATURES).is_file():
        return ""
    to_root, to_folder = os.path.relpath(root, folder), os.path.relpath(folder, root)
    return f"$(cd {shlex.quote(to_root)} && opp_featuretool options -f -c -l -s {shlex.quote(to_folder)})"


class Stamps:
    """The times of what opp_featuretool has written before, to be given back if it writes the same."""

    def __init__(self, root: Path) -> None:
        self._files = {
            file: (file.read_bytes(), file.stat()) for file in (root / STATE, root / EXCLUSIONS) if file.is_file()
        }

    def give_back(self) -> None:
        """Give files that are as they were their times."""
        for file, (content, before) in self._files.items():
            if file.is_file() and file.read_bytes() == content:
                os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


class WrongFeatures(WrongUse):
    """What is wished of a project's features cannot be."""


def refuse_impossible(root: Path, enable: tuple[str, ...], disable: tuple[str, ...]) -> None:
    """Raise WrongFeatures if a project's features cannot be switched so: some are missing, or one needs another."""
    _refuse_unknown(root, (*enable, *disable))
    if not (enable and disable):
        return
    needs = {one.get("id", ""): one.get("requires", "").split() for one in parsed_xml(root / FEATURES, "feature")}
    for name in enable:
        needed = [name]
        for one in needed:  # grows by what is needed in turn
            needed += [other for other in needs.get(one, ()) if other not in needed]
        if off := [other for other in needed if other in disable]:
            why = "is to be on and off" if off[0] == name else f"needs {', '.join(off)}, which is to be off"
            raise WrongFeatures(
                f"the feature {name} of {root.name} {why}", "`features` in labfleet.toml says what is on and off"
            )


def _refuse_unknown(root: Path, wanted: tuple[str, ...]) -> None:
    """Raise WrongFeatures, which lists those that there are, if a project has not all of some features."""
    there = known(root) if wanted else ()
    if wanted and not there:
        raise WrongFeatures(f"{root.name} has no features", f"a project that has features has a file {FEATURES}")
    if strange := [name for name in wanted if name not in there]:
        import difflib

        meant = dict.fromkeys(name for one in strange for name in difflib.get_close_matches(one, there, n=1))
        hint = (f"did you mean {', '.join(meant)}?  " if meant else "") + f"it has these: {', '.join(there)}"
        raise WrongFeatures(f"{root.name} has no feature {', '.join(strange)}", hint)
