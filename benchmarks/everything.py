"""All benchmarks, one after the other.  Started by ``invoke bench``."""

import tempfile
from itertools import chain
from pathlib import Path

from benchmarks.compiling import compiling
from benchmarks.local import Bench, aloha_against_opp_runall, waiting_runs, what_is_built
from benchmarks.logs import logs
from benchmarks.memory import memory
from benchmarks.page import page
from benchmarks.products import distribution
from benchmarks.submitting import submitting


def main(rounds: int) -> None:
    """Run all benchmarks and print a line for each."""
    with tempfile.TemporaryDirectory(prefix="labfleet-bench-") as name:
        bench = Bench(Path(name))
        try:
            print(aloha_against_opp_runall(bench, rounds), flush=True)
            print(waiting_runs(bench, rounds), flush=True)
            print(what_is_built(bench), flush=True)
            more = (
                submitting(bench, rounds),
                compiling(bench, rounds),
                distribution(bench.folder / "products", rounds),
                memory(bench),
                logs(bench, rounds),
                page(4 * rounds),
            )
            for line in chain.from_iterable(more):
                print(line, flush=True)
        finally:
            bench.stop()
