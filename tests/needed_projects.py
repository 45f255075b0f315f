"""Small C++ projects that need each other, with makefiles as opp_makemake writes them, and a program that Cmdenv's
options mean something to.
"""

from pathlib import Path

#: Answers -q runs, and does a run by writing down what the library says and with which options it was started.
MAIN = """
#include <cstdio>
#include <cstring>
#include <sys/stat.h>
#include "greet.h"
#include "greet_m.h"
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "-q")) { puts("Run 0: $repetition=0"); return 0; }
    mkdir("results", 0777);
    puts("General run #0: $repetition=0");
    FILE *file = fopen("results/General-#0.sca", "w");
    fprintf(file, "%s %s\\n", greet(), MADE);
    for (int i = 1; i < argc; i++) fprintf(file, "%s\\n", argv[i]);
    return fclose(file);
}
"""

#: A program made of all sources of its folder, linked with a library that stands elsewhere, which no rule names.
PROGRAM_MAKEFILE = """#
# This file was generated with the command:
#  opp_makemake -f -KGREET_PROJ={path} -I'$$(GREET_PROJ)/src' -L'$$(GREET_PROJ)/src' -lgreet
#
TARGET_DIR = .
TARGET = {name}
GREET_PROJ = {path}
OBJS = $(patsubst %.cc,%.o,$(wildcard *.cc))

$(TARGET): $(OBJS)
\t$(CXX) -o $@ $(OBJS) -L$(GREET_PROJ)/src -lgreet
%.o: %.cc
\t$(CXX) -MMD -I$(GREET_PROJ)/src -c -o $@ $<
-include $(OBJS:.o=.d)
"""

#: A shared library, and a header that is made, as opp_msgtool makes some.
LIBRARY_MAKEFILE = """
TARGET_DIR = .
TARGET = libgreet.so
OBJS = $(patsubst %.cc,%.o,$(wildcard *.cc))
{more}
$(TARGET): $(OBJS)
\t$(CXX) -shared -o $@ $(OBJS) {libraries}
$(OBJS): greet_m.h
greet_m.h: greet.msg
\techo "#define MADE \\"$$(cat $<)\\"" > $@
%.o: %.cc
\t$(CXX) -MMD -fPIC -I. {include} -c -o $@ $<
-include $(OBJS:.o=.d)
"""


def write(root: Path, **files: str) -> Path:
    """Write files below a folder; ``__`` stands for the slash, ``_dot_`` for a dot."""
    for name, text in files.items():
        file = root / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def library(root: Path, *, greeting: str = "hello", more: str = "", libraries: str = "", include: str = "") -> Path:
    """Write the library: ``src`` has its sources, NED files and Makefile."""
    makefile = LIBRARY_MAKEFILE.format(more=more, libraries=libraries, include=include)
    return write(
        root,
        _dot_nedfolders="src\n",
        src__Makefile=makefile,
        src__greet_dot_h="const char *greet();\n",
        src__greet_dot_cc=f'#include "greet.h"\n#include "greet_m.h"\nconst char *greet() {{ return "{greeting}"; }}\n',
        src__other_dot_cc="int other() { return 1; }\n",
        src__greet_dot_msg="made",
        src__greet_dot_ned="simple Greet {}\n",
    )


def program(root: Path, path: str = "../greet") -> Path:
    """Write the program, whose Makefile says where the library is."""
    return write(
        root,
        Makefile=PROGRAM_MAKEFILE.format(path=path, name=root.name),
        main_dot_cc=MAIN,
        more_dot_cc="int more() { return 1; }\n",
        omnetpp_dot_ini="[General]\n",
    )
