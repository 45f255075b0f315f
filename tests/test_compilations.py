"""Counting compilations in what make, CMake and ninja print."""

import pytest

from runner.compilations import Count, planned

#: As make prints it for a makefile of opp_makemake's: what it would do, and what it says when it does it.
PLANNED = b"""mkdir -p ../out/gcc-release/src/inet
/usr/bin/perl opp_msgtool --msg6 -MD Ping.msg
echo "inet/Node.cc"
g++ -c -std=c++17 -O3 -fPIC -MMD -I. -o ../out/gcc-release/src/inet/Node.o inet/Node.cc
ccache clang++-14 -c -O3 -o a.o \\
    a.cc
echo Creating shared library
g++ -shared -fPIC -o libINET.so a.o -Wl,-c
make[1]: Entering directory '/x/cc -c'
"""

SAID = b"MSG: Ping.msg\ninet/Node.cc\na.cc\nCreating shared library: libINET.so\n"

CMAKE = b"""-- Configuring done
[ 25%] Building CXX object CMakeFiles/a.dir/a.cc.o
[ 50%] Building C object CMakeFiles/a.dir/b.c.o
[100%] Linking CXX executable a
"""

NINJA = b"[1/3] Building CXX object a.cc.o\n[2/3] Building CXX object b.cc.o\n[3/3] Linking CXX executable a\n"


def test_what_make_would_do_is_counted() -> None:
    # When / Then
    assert planned(PLANNED) == 2


@pytest.mark.parametrize(("text", "total", "done"), [(SAID, 2, 2), (CMAKE, None, 2), (NINJA, 3, 3), (PLANNED, None, 2)])
def test_what_is_done_is_counted_however_it_comes(text: bytes, total: int | None, done: int) -> None:
    # Given output that comes in pieces of any size
    count = Count(2 if text is SAID else None)
    for start in range(0, len(text), 7):
        count.take(text[start : start + 7])
    # Then lines count that are whole
    assert (count.done, count.total) == (done, total)


def test_more_than_was_foreseen_is_what_there_is() -> None:
    # Given a build that does more than make said
    count = Count(1)
    assert count.is_known
    count.take(SAID)
    # When / Then
    assert (count.done, count.total) == (2, 2)
