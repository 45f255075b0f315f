"""A project of INET's size, as a zip archive too, whose program does nothing but say when it was started.

Every fifth file is compiled, which is as many as INET has; what they hold is quickly compiled.
"""

import random
import shutil
import subprocess
from pathlib import Path

#: As INET 4.5.4 has them: files that its git tracks, and their size together.
FILES, SIZE = 7_500, 59_000_000

#: Folders that they lie in.
FOLDERS = 750

#: What they are; most are no sources.
ENDINGS = (".h", ".cc", ".ned", ".cc", ".h", ".ned", ".test", ".ini", ".rst", ".msg")

#: The program: takes OMNeT++'s command line, knows one run, and writes when that began into its result.
PROGRAM = """#!/bin/sh
now=$(date +%s.%N)
case "$*" in
    *-q*) echo 'Run 0: $repetition=0' ;;
    *) mkdir -p results; echo "$now" >results/General-#0.sca; echo "$now" >"$STARTED" ;;
esac
"""

_MAKEFILE = """SOURCES := $(shell find src -name '*.cc')
OBJECTS := $(SOURCES:%.cc=out/%.o)
model: model.in out/libmodel.a
	cp model.in model && chmod +x model
out/libmodel.a: $(OBJECTS)
	ar rcs $@ $^
out/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) -c -o $@ $<
clean:
	rm -rf out model
"""


def generate(root: Path) -> None:
    """Make the project, and commit it to a git repository of its own as most are."""
    numbers = random.Random(5)
    words = ["".join(numbers.choices("abcdefghijklmnopqrstuvwxyz_", k=numbers.randint(2, 12))) for _ in range(300)]
    lines = [f"{' ' * numbers.randint(0, 8)}{' '.join(numbers.choices(words, k=6))};\n" for _ in range(700)]
    folders = [root / f"src/part{number % 25}/module{number}" for number in range(FOLDERS)]
    for folder in folders:
        folder.mkdir(parents=True)
    each = SIZE // FILES // (sum(map(len, lines)) // len(lines))
    for number in range(FILES):
        file = folders[number % FOLDERS] / f"File{number}{ENDINGS[number % len(ENDINGS)]}"
        text = "".join(numbers.choices(lines, k=numbers.randint(1, 2 * each)))
        file.write_text(f"#if 0\n{text}#endif\nint file{number} = {number};\n")
    (root / "model.in").write_text(PROGRAM)
    (root / "Makefile").write_text(_MAKEFILE)
    (root / "labfleet.toml").write_text('program = "./model"\n')
    (root / "omnetpp.ini").write_text("[General]\n")
    if shutil.which("git"):
        identity = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0")
        for words_of_git in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "all")):
            subprocess.run(["git", *words_of_git], cwd=root, check=True, capture_output=True)


def edit(root: Path) -> None:
    """Change one ini file."""
    with (root / "omnetpp.ini").open("a") as file:
        file.write("# edited\n")
