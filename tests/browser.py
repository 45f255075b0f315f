"""A real browser without a window, and what is asked of every page that it shows."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.conftest import eventually

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

#: Sizes at which nothing may overlap or be cut off.
WIDTHS = (360, 1280)

#: What is too wide for the page, cut off without a way to scroll there, or above something else of its kind.
LAYOUT = """() => {
    const found = [];
    const named = (node) => `${node.tagName}.${node.className}#${node.id}: ${node.textContent.slice(0, 40)}`;
    if (document.documentElement.scrollWidth > innerWidth) found.push("the page is too wide");
    const seen = [...document.body.querySelectorAll("*")].filter((node) => node.checkVisibility());
    for (const node of seen) {
        const style = getComputedStyle(node);
        const hides = (overflow) => overflow === "hidden" || overflow === "clip";
        if (hides(style.overflowX) && node.scrollWidth > node.clientWidth + 1) found.push(`cut off: ${named(node)}`);
        if (hides(style.overflowY) && node.scrollHeight > node.clientHeight + 1) found.push(`cut off: ${named(node)}`);
        const edge = node.getBoundingClientRect();
        const scrolls = node.closest(".wide, pre, .timeline");
        if (!scrolls && edge.right > innerWidth + 1 && edge.width) found.push(`beyond the edge: ${named(node)}`);
    }
    for (const parent of document.querySelectorAll("header, main, ul, section, .actions, article, tr")) {
        const boxes = [...parent.children].filter((node) => node.checkVisibility() && !node.closest(".wide, .timeline"))
            .map((node) => [node, node.getBoundingClientRect()]).filter(([, box]) => box.width && box.height);
        boxes.forEach(([one, a], index) => boxes.slice(index + 1).forEach(([other, b]) => {
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (wide > 1 && high > 1) found.push(`${named(one)} overlaps ${named(other)}`);
        }));
    }
    return found;
}"""


def path_of_browser() -> str:
    """Return where the browser is; skip a test where there is none, but fail where all has to be there (CI=true)."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    return found


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run a browser; as root it cannot have a sandbox, and what it shows here is ours."""
    path = path_of_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.getuid() == 0 else [])
        try:
            yield browser
        finally:
            browser.close()


class Window:
    """A page as a person has it before them; whatever its console complains of is remembered."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))
        self.page.on("crash", lambda _: self._note("error", "the page has crashed"))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def wait(self, script: str, what: str, argument: Any = None) -> None:
        """Wait until something is true in the page; the page's policy forbids it to look for itself."""
        eventually(lambda: self.page.evaluate(script, argument), what)

    def assert_well_laid_out(self) -> None:
        """Nothing overlaps, nothing is cut off, whatever the width, light or dark."""
        before = self.page.viewport_size
        assert before is not None
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 800})
            self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found = self.page.evaluate(LAYOUT)
            assert not found, f"at {width} pixels: {found}"
        self.page.set_viewport_size(before)

    def assert_accessible(self) -> None:
        """axe-core finds nothing that would keep somebody from using the page, light or dark."""
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = Axe().run(self.page).response["violations"]
            told = [
                (one["id"], one["impact"], [node["html"][:200] for node in one["nodes"][:3]])
                for one in found
                if one["impact"] in ("serious", "critical", "moderate")
            ]
            assert not told, f"{scheme}: {told}"
        self.page.emulate_media(color_scheme="light")


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Window]:
    """Yield a window that shows an address; in the end its console has complained of nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    try:
        window = Window(context)
        window.page.goto(address)
        window.page.wait_for_url(lambda url: "/enter" not in url)
        yield window
        assert window.complaints == []
    finally:
        context.close()


def milliseconds() -> float:
    return time.time() * 1000
