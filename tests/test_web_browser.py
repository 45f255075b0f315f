"""The web page in a real browser, with a foreman that is played: large labs, hostile texts, a foreman that is away."""

import time
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser

from runner import ledger, results
from runner.messages import AttemptFailed, CampaignEnded, Changed, MachineStatus, RunCommitted, RunStarted, SlotStatus
from runner.model import Outcome, Past
from runner.paths import AttemptPaths
from tests import synthetic_lab
from tests.browser import Window, opened, running_browser
from tests.campaigns import campaign as made_campaign
from tests.conftest import eventually
from tests.played_lab import prepared
from tests.test_results import deliver
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


def test_campaigns_that_ended_long_ago_are_folded(browser: Browser, lab: WebLab) -> None:
    # Given ten campaigns, one after the other, all of which have ended but the last one
    whole = [replace(made_campaign(f"20261128-{number}"), submitted=100.0 + number) for number in range(10)]
    for what in whole:
        lab.foreman.have(what)
        lab.foreman.happen(prepared(what, 1))
    for what in whole[:-1]:
        lab.foreman.happen(CampaignEnded(what.id, cancelled=False))
    # When the lab is looked at
    with opened(browser, lab.address("anna")) as window:
        window.wait("document.querySelectorAll('#campaigns > li').length > 0", "campaigns")
        # Then what goes on and the last ones are in view, and the others a click away
        assert window.page.locator("#campaigns > li").count() == 7
        assert window.text("#older-title") == "3 more campaigns of the last day"
        window.page.locator("#older-title").click()
        assert window.page.locator("#older-campaigns > li >> visible=true").count() == 3
        window.assert_accessible()


def test_whatever_is_told_is_text(browser: Browser, lab: WebLab) -> None:
    # Given a campaign and machines of which everything that people or simulations name is hostile
    what = replace(made_campaign("20261128-1"), name=HOSTILE, config=HOSTILE, user="anna", run_filter=HOSTILE)
    lab.foreman.have(what)
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


def test_machines_that_change_places_are_drawn(browser: Browser, lab: WebLab) -> None:
    # Given two machines
    lab.foreman.machines = {name: machine(name, 1) for name in ("w1", "w2")}
    with opened(browser, lab.address("anna")) as window:
        names = window.page.locator(".machine h3 span:first-child")
        eventually(lambda: names.all_inner_texts() == ["w1", "w2"], "two machines")
        # When one goes and another one comes at once, then that one stands in its place
        lab.foreman.machines.pop("w1")
        lab.foreman.machines["w3"] = machine("w3", 1)
        lab.foreman.change(Changed(time.time(), (machine("w3", 1),), gone_machines=("w1",)))
        eventually(lambda: names.all_inner_texts() == ["w2", "w3"], "the other two machines")


def test_results_are_shown_with_the_attempt_whose_they_are(browser: Browser, lab: WebLab) -> None:
    # Given a run whose first attempt failed, and whose second one goes on
    what = made_campaign("20261128-1")
    lab.foreman.have(what)
    ledger.accept(lab.paths.campaign(what.id), what)
    lab.foreman.happen(
        prepared(what, 3),
        AttemptFailed(what.id, Past(0, 1, "crash", "w1", "slot1", 1.0, 2.0)),
        RunStarted(what.id, 0, 2, "w1", "slot1", 3.0),
    )
    with opened(browser, lab.address("anna")) as window:
        page = window.page
        # When the first one is opened, then there are no results
        page.evaluate(f"location.hash = '#/c/{what.id}/run/0.1'")
        eventually(lambda: "crash" in window.text("#run-about"), "the first attempt")
        assert window.text("#files") == ""
        # When the second one is done, then it is said that the results are its own
        outcome = deliver(lab.paths, 0, 2, {"results/a.sca": b"a"}, campaign=what.id)
        results.commit(lab.paths, [outcome])
        lab.foreman.happen(RunCommitted(outcome))
        eventually(lambda: "The results are those of attempt 2." in window.text("#files"), "whose the results are")
        assert page.locator("#files table").count() == 0
        # And there they are
        page.get_by_role("link", name="attempt 2", exact=True).click()
        eventually(lambda: "Run #0, attempt 2" in window.text("#run-title"), "the second attempt")
        eventually(lambda: page.locator("#files table a").all_inner_texts() == ["results/a.sca"], "its file")


def answers_about_runs(window: Window) -> Callable[[], list[int]]:
    """Return what says how it was answered, from now on, when the page asked for results."""
    known: list[int] = []
    window.page.on("response", lambda answer: known.append(answer.status) if "/runs/" in answer.url else None)

    def answers() -> list[int]:
        window.page.evaluate("0")  # what the browser has to say is heard whenever it is asked something
        return known

    return answers


def test_results_that_are_not_there_are_asked_for_once(browser: Browser, lab: WebLab) -> None:
    # Given a run whose attempt failed, and which waits for the next one
    what = made_campaign("20261128-1")
    lab.foreman.have(what)
    ledger.accept(lab.paths.campaign(what.id), what)
    lab.foreman.happen(prepared(what, 9), AttemptFailed(what.id, Past(0, 1, "crash", "w1", "slot1", 1.0, 2.0)))
    with opened(browser, lab.address("anna")) as window:
        asked = answers_about_runs(window)
        window.page.evaluate(f"location.hash = '#/c/{what.id}/run/0.1'")
        eventually(lambda: asked() == [404], "the answer that there are none")
        # When the page is drawn again and again
        for run in range(1, 9):
            lab.foreman.happen(RunStarted(what.id, run, 1, "w1", f"slot{run}", 5.0))
            window.wait("(count) => document.querySelectorAll('#runs .k-running').length === count", "the run", run)
        # Then they are not asked for again; that they were is no mistake of the page's
        assert asked() == [404]
        assert all("404" in complaint for complaint in window.complaints)
        window.complaints.clear()


def test_a_session_that_has_ended_is_no_mistake_in_the_page(browser: Browser, lab: WebLab) -> None:
    # Given two runs that are done, of which one was looked at
    what = made_campaign("20261128-1")
    lab.foreman.have(what)
    ledger.accept(lab.paths.campaign(what.id), what)
    done = [deliver(lab.paths, run, 1, {"results/a.sca": b"a"}, campaign=what.id) for run in (0, 1)]
    results.commit(lab.paths, done)
    lab.foreman.happen(prepared(what, 5), *map(RunCommitted, done))
    with opened(browser, lab.address("anna")) as window:
        window.page.evaluate(f"location.hash = '#/c/{what.id}/run/0.1'")
        window.wait("document.querySelectorAll('#files table').length === 1", "its results")
        asked = answers_about_runs(window)
        # When the session has ended, and the other one is opened
        window.page.context.clear_cookies()
        window.page.evaluate(f"location.hash = '#/c/{what.id}/run/1.1'")
        # Then it is asked for once, and nothing in the page breaks by the answer
        eventually(lambda: asked() == [401], "a refusal")
        for number in (1, 2, 3):
            lab.foreman.happen(RunStarted(what.id, number + 1, 1, "w1", "slot1", 5.0))
            window.wait("(count) => document.querySelectorAll('#runs .k-running').length === count", "the run", number)
        assert asked() == [401]
        assert window.text("#files") == ""
        assert all("401" in complaint for complaint in window.complaints), window.complaints
        window.complaints.clear()


def test_what_is_left_of_a_log_that_has_gone_home_is_said_to_be_a_part(browser: Browser, lab: WebLab) -> None:
    # Given a run that is over, whose log has gone home, and the beginning of it at the hub
    what = made_campaign("20261128-1")
    lab.foreman.have(what)
    ledger.accept(lab.paths.campaign(what.id), what)
    outcome = deliver(lab.paths, 0, 1, {}, campaign=what.id)
    results.commit(lab.paths, [outcome])
    store = lab.paths.campaign(what.id)
    AttemptPaths(store.committed(0, 1, True)).log.unlink()
    lab.paths.log(what.id, "run-0.1").parent.mkdir(parents=True, exist_ok=True)
    lab.paths.log(what.id, "run-0.1").write_text("the beginning\n")
    lab.foreman.happen(prepared(what, 3), RunCommitted(outcome))
    with opened(browser, lab.address("anna")) as window:
        # When it is opened, then that part is shown, and nobody takes it for all of it
        window.page.evaluate(f"location.hash = '#/c/{what.id}/run/0.1'")
        eventually(lambda: "does not have all of this log" in window.text("#log-note"), "what is missing")
        assert window.text("#log") == "the beginning\n"
        assert not window.page.get_by_role("link", name="Download the log").is_visible()


def test_who_does_not_own_a_campaign_is_offered_nothing(browser: Browser, lab: WebLab) -> None:
    # Given a campaign of anna's
    what = made_campaign("20261128-1")
    lab.foreman.have(what, prepared(what, 3))
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
