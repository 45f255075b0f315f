"""How long an update takes until a browser has drawn it: 200 machines with 3,200 slots, a campaign of 10,000 runs.

The foreman is played; server, browser and the way between them are real.  A time is from the moment at which the
foreman speaks to the frame after the change is in the page.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from tests import synthetic_lab
from tests.browser import Window, opened, running_browser
from tests.conftest import eventually
from tests.web_fixture import WebLab, web_lab

GOAL = 200

#: Notes when a node has changed and a frame was drawn after that.
_OBSERVED = """(selector) => {
    window.drawn = 0;
    window.seen?.disconnect();
    const note = () => { window.drawn = Date.now(); };
    window.seen = new MutationObserver(() => requestAnimationFrame(() => setTimeout(note)));
    const options = { childList: true, characterData: true, subtree: true };
    window.seen.observe(document.querySelector(selector), options);
}"""


def page(rounds: int) -> Iterator[str]:
    """Yield a line for each kind of update."""
    with web_lab() as lab, running_browser() as browser:
        synthetic_lab.fill(lab)
        with opened(browser, lab.address("anna")) as window:
            window.wait("document.querySelectorAll('.slot').length === 3200", "all slots")
            yield from _of_picture(lab, window, rounds, "the picture")
            began = time.time()
            window.page.evaluate(f"location.hash = '#/c/{synthetic_lab.ID}'")
            attempts = f"'{synthetic_lab.OVER} attempts'"
            text = "document.getElementById('timeline-text').textContent"
            window.wait(f"{text}.startsWith({attempts})", "all attempts")
            yield f"a campaign of 10,000 runs is opened: {(time.time() - began) * 1000:.0f} ms"
            yield from _of_picture(lab, window, rounds, "the picture, with a campaign opened")
            ends = iter(range(synthetic_lab.OVER, synthetic_lab.RUNS))

            def end_one() -> None:
                lab.foreman.happen(synthetic_lab.over(next(ends), time.time() - 400))

            yield _line("a run ends", _times(window, "#timeline-text", end_one, rounds))


def _of_picture(lab: WebLab, window: Window, rounds: int, name: str) -> Iterator[str]:
    percents = itertools.cycle(range(100))

    def change(machines: int) -> Callable[[], None]:
        def speak() -> None:
            percent = float(next(percents))
            changed = synthetic_lab.machines(lambda _: 1000.0)[:machines]
            told = [replace(one, slots=tuple(replace(slot, percent=percent) for slot in one.slots)) for one in changed]
            lab.change(*told)

        return speak

    yield _line(f"{name}: one machine", _times(window, ".slot .how", change(1), rounds))
    yield _line(f"{name}: all at once", _times(window, ".slot .how", change(synthetic_lab.MACHINES), rounds))


def _times(window: Window, selector: str, speak: Callable[[], None], rounds: int) -> list[float]:
    """Return how many milliseconds updates took; the first one does not count."""
    window.page.evaluate(_OBSERVED, selector)
    found = []
    for _ in range(rounds + 1):
        window.page.evaluate("window.drawn = 0")
        began = time.time() * 1000
        speak()
        eventually(lambda: window.page.evaluate("window.drawn") > 0, "an update")
        found.append(window.page.evaluate("window.drawn") - began)
    return found[1:]


def _line(name: str, times: list[float]) -> str:
    median, most, least = statistics.median(times), max(times), min(times)
    return f"{name}: {median:.0f} ms ({least:.0f} to {most:.0f}), goal ≤ {GOAL}"
