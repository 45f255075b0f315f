"""The web page in a real browser, with a foreman that is played: large labs, hostile texts, a foreman that is away."""

import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser

from runner import ledger
from runner.messages import CampaignEnded, MachineStatus, RunCommitted, RunStarted, SlotStatus
from runner.model import Outcome
from tests import synthetic_lab
from tests.browser import opened, running_browser
from tests.campaigns import campaign as made_campaign
from tests.conftest import eventually
from tests.played_lab import prepared
from tests.web_fixture import WebLab, machine, web_lab

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture
def lab() -> Iterator[WebLab]:
    with web_lab() as lab:
        yield lab


def test_what_changes_in_a_large_lab_costs_what_has_changed(browser: Browser, lab: WebLab) -> None:
    # Given 200 machines with 3,200 runs, and a campaign of 10,000 that is opened
    synthetic_lab.fill(lab)
    with opened(browser, lab.address("anna")) as window:
        window.wait("document.querySelectorAll('.slot[data-busy=yes]').length === 3200", "all slots")
        window.page.evaluate(
            """() => {
                window.count = 0;
                const seen = new MutationObserver((records) => { window.count += records.length; });
                seen.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
            }"""
        )
        # When one machine's runs go on, then a change per slot is drawn and little else
        (one,) = (one for one in synthetic_lab.machines(lambda _: 1000.0) if one.name == "w007")
        lab.change(replace(one, slots=tuple(replace(slot, percent=77.0) for slot in one.slots)))
        window.wait("document.body.textContent.includes('77 %')", "the change")
        assert window.page.evaluate("window.count") < 5 * synthetic_lab.SLOTS
        # When a run of the campaign ends, then the table and the timeline are not drawn anew for the other 9,999
        window.page.evaluate(f"location.hash = '#/c/{synthetic_lab.ID}'")
        window.wait("document.getElementById('timeline-text').textContent.startsWith('6000 attempts')", "all attempts")
        window.page.evaluate("window.count = 0")
        lab.foreman.happen(synthetic_lab.over(synthetic_lab.OVER, time.time() - 400))
        window.wait("document.getElementById('timeline-text').textContent.startsWith('6001 attempts')", "another")
        assert window.page.evaluate("window.count") < 30
        window.assert_well_laid_out()


def test_whatever_is_told_is_text(browser: Browser, lab: WebLab) -> None:
    # Given a campaign and machines of which everything that people or simulations name is hostile
    what = replace(made_campaign("20261128-1"), name=HOSTILE, config=HOSTILE, user="anna", run_filter=HOSTILE)
    lab.foreman.campaigns[what.id], lab.foreman.history[what.id] = what, []
    ledger.accept(lab.paths.campaign(what.id), what)
    lab.foreman.happen(
        prepared(what, 3),
        RunCommitted(Outcome(what.id, 0, 1, "error", 1, HOSTILE, HOSTILE, 1.0, 2.0, error=HOSTILE)),
        RunStarted(what.id, 1, 1, HOSTILE, "slot1", 5.0),
    )
    slot = SlotStatus(HOSTILE, what.id, 1, 1, 1.0)
    lab.foreman.machines = {"x": MachineStatus(machine("x", 2).report, HOSTILE, 1, "ready", HOSTILE, (slot,))}
    # When its page is seen, then nothing of it is more than text, and no script of it runs
    with opened(browser, lab.address("anna")) as window:
        window.page.on("dialog", lambda dialog: window.complaints.append(dialog.message))
        window.wait("document.querySelectorAll('.machine').length === 1", "the machine")
        window.assert_well_laid_out()
        window.page.evaluate(f"location.hash = '#/c/{what.id}'")
        window.wait("document.querySelectorAll('#runs tr').length === 3", "the runs")
        assert "<img src=x onerror=alert(1)>" in window.text("#campaign-title")
        assert window.page.locator("img").count() == 0
        window.assert_well_laid_out()
        window.assert_accessible()
        # And the campaign's end is told, with whatever reason
        lab.foreman.happen(CampaignEnded(what.id, cancelled=True, reason=HOSTILE, time=9.0))
        eventually(lambda: "<img" in window.text("#campaign-reason"), "the reason")


def test_who_does_not_own_a_campaign_is_offered_nothing(browser: Browser, lab: WebLab) -> None:
    # Given a campaign of anna's
    what = made_campaign("20261128-1")
    lab.foreman.campaigns[what.id], lab.foreman.history[what.id] = what, [prepared(what, 3)]
    ledger.accept(lab.paths.campaign(what.id), what)
    # When ben looks at it, then he sees it, and no way to cancel it
    lab.token("ben")
    with opened(browser, f"{lab.address('ben')}") as window:
        window.page.evaluate(f"location.hash = '#/c/{what.id}'")
        window.wait("document.querySelectorAll('#runs tr').length === 3", "the runs")
        assert not window.page.get_by_role("button", name="Cancel this campaign").is_visible()


def test_a_browser_that_was_not_let_in_is_told_how(browser: Browser, lab: WebLab) -> None:
    # Given an address that was used already
    address = lab.address("anna")
    context = browser.new_context()
    with opened(browser, address) as window:
        window.wait("document.body.dataset.connection === 'open'", "the page")
    # When another browser uses it, then it is told what to do
    try:
        page = context.new_page()
        page.goto(address)
        eventually(lambda: "labfleet web" in page.locator("#said").inner_text(), "what to do")
        assert page.goto(lab.origin).status == 401  # type: ignore[union-attr]
    finally:
        context.close()
