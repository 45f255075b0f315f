"""The web page in a real browser, while a campaign runs on real services."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import opened, path_of_browser, running_browser
from tests.conftest import eventually
from tests.lab_fixture import LocalLab


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def address(lab: LocalLab, cwd: Path) -> str:
    """Return the address that ``labfleet web`` prints."""
    said = lab("web", "--no-browser", cwd=cwd)
    assert said.status == 0, said.stderr
    return said.stdout.strip().removeprefix("the local lab: ")


def test_a_person_sees_a_campaign_run_reads_its_logs_and_cancels_it(
    browser: Browser, own_lab: LocalLab, scripted: Path, tmp_path: Path
) -> None:
    # Given a campaign whose runs print until they are told to go on, and which nobody follows
    go = tmp_path / "go"
    go.mkdir()
    (scripted / "do.sh").write_text(
        'echo "<b>hello</b> from run $RUN"; n=0\n'
        f'while [ ! -e "{go}/$RUN" ]; do n=$((n+1)); echo "tick $n"; sleep 0.1; done\n'
        'echo "results of $RUN" > $STEM.sca\n'
    )
    said = own_lab("campaign", "--detach", cwd=scripted)
    assert said.status == 0, said.stderr
    # When its owner opens the page
    with opened(browser, address(own_lab, scripted)) as window:
        page = window.page
        # Then the picture shows both slots, and what runs there
        slots = page.locator(".slot[data-busy=yes] .what")
        eventually(lambda: sorted(slots.all_inner_texts()) == ["General #0", "General #1"], "two runs in the picture")
        page.evaluate("window.isTheSame = true")
        window.assert_accessible()
        window.assert_well_laid_out()
        # When one is opened, then what it prints appears as it is printed
        page.get_by_role("link", name="General #0").click()
        window.wait("document.getElementById('log').textContent.includes('tick')", "a line of the log")
        assert window.text("#log").startswith("General run #0")
        assert "<b>hello</b> from run 0" in window.text("#log")
        length = len(window.text("#log"))
        eventually(lambda: len(window.text("#log")) > length, "more lines")
        window.assert_accessible()
        window.assert_well_laid_out()
        # When the run ends, then another one takes its place, the page is told, and the log ends
        (go / "0").touch()
        eventually(lambda: "This is the end" in window.text("#log-note"), "the end of the log")
        eventually(lambda: "3 attempts on 2 slots" in window.text("#timeline-text"), "the next run in the timeline")
        eventually(lambda: page.locator("#runs tr").first.inner_text().split("\t")[1] == "done", "a run that is done")
        # And its results are there to be saved
        link = page.get_by_role("link", name="results/General-x=0-#0.sca")
        with page.expect_download() as download:
            link.click()
        assert download.value.path().read_text() == "results of 0\n"
        assert download.value.suggested_filename == "General-x=0-#0.sca"
        # When the campaign is cancelled there, after a second thought
        page.get_by_role("button", name="Cancel this campaign").click()
        page.get_by_role("button", name="Let it go on").click()
        page.get_by_role("button", name="Cancel this campaign").click()
        window.assert_accessible()
        page.get_by_role("button", name="Cancel the campaign").click()
        # Then that is said, the campaign ends, and can be resumed
        eventually(lambda: "is cancelled" in window.text("#said"), "that it is cancelled")
        eventually(lambda: window.text("#campaign-state").startswith("cancelled: 1 of 4 runs done"), "its end")
        eventually(lambda: page.get_by_role("button", name="Do again what is not done").is_visible(), "a way on")
        # And the slots are idle again
        page.get_by_role("link", name="The lab").click()
        eventually(lambda: page.locator(".slot[data-busy=yes]").count() == 0, "idle slots")
        # And all that without the page being loaded again
        assert page.evaluate("window.isTheSame") is True


def test_the_page_is_there_only_when_somebody_wants_it(own_lab: LocalLab, scripted: Path) -> None:
    # Given a lab on which a campaign ran
    assert own_lab("campaign", cwd=scripted).status == 0
    assert own_lab.service("web") is None
    # When somebody wants to see the page, then it is there, and the address leads a browser in
    where = address(own_lab, scripted)
    assert where.startswith("http://127.0.0.1:")
    assert own_lab.service("web") is not None
    # When the lab ends, then the page ends with it
    own_lab.stop()
    eventually(lambda: own_lab.service("web") is None, "the end of the page")


def test_the_page_needs_no_mouse(browser: Browser, lab: LocalLab, scripted: Path) -> None:
    # Given a campaign that is over
    said = lab("campaign", "--json", cwd=scripted)
    assert said.status == 0, said.stderr
    with opened(browser, address(lab, scripted)) as window:
        page = window.page
        window.wait("document.querySelectorAll('#campaigns a').length > 0", "a campaign")
        # When only keys are pressed: the first one leads past what is the same on each page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        # Then a campaign is opened
        eventually(lambda: page.locator("#runs tr").count() == 4, "its runs")
        # When a run is opened, then what is read next is that run
        page.locator("#runs a").first.focus()
        page.keyboard.press("Enter")
        eventually(lambda: page.evaluate("document.activeElement.id") == "run-title", "the run's title")
        eventually(lambda: "General run #0" in window.text("#log"), "its log")


def test_the_browser_is_there_in_ci() -> None:
    # Given CI, when the browser is looked for, then it is there: else all of this would be skipped
    assert path_of_browser()
