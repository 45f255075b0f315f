"""The web page's server: who is let in, what is told, what can be had and done.  The foreman is played."""

import os
import pickle
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from msgspec.structs import replace
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from runner import ledger, results
from runner.job_queue import host_queue
from runner.log_stream import BUDGET, GrowingLog, Sender, run_stream
from runner.messages import (
    CampaignEnded,
    CampaignPrepared,
    CampaignStatus,
    Cancel,
    Resume,
    RunCommitted,
    RunStarted,
    SlotStatus,
)
from runner.model import Campaign, Outcome
from runner.paths import AttemptPaths
from runner.web.door import POLICY
from tests.campaigns import campaign as made_campaign
from tests.conftest import eventually, needs, running_redis
from tests.played_lab import prepared
from tests.test_results import deliver
from tests.web_fixture import WebLab, machine, web_lab


@pytest.fixture(scope="module")
def lab() -> Iterator[WebLab]:
    with web_lab() as lab:
        lab.token("anna")
        lab.token("ben")
        yield lab


@pytest.fixture
def campaign(lab: WebLab, request: pytest.FixtureRequest) -> Iterator[Campaign]:
    """A campaign of anna's with four runs, which is under way."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:100]
    what = replace(made_campaign(name), environment={"SECRET": "of anna's shell"}, submitted=time.time())
    lab.foreman.have(what)
    ledger.accept(lab.paths.campaign(name), what)
    lab.foreman.happen(prepared(what, 4))
    yield what
    lab.foreman.lose(name)


def committed(lab: WebLab, campaign: Campaign, files: dict[str, bytes], run: int = 0, kind: str = "done") -> Outcome:
    outcome = deliver(lab.paths, run, 1, files, campaign=campaign.id, kind=kind)  # type: ignore[arg-type]
    results.commit(lab.paths, [outcome])
    found = results.record(lab.paths.campaign(campaign.id), run)
    assert found is not None
    return found


# ---- who is let in -----------------------------------------------------------------------------------------------

WAYS = [
    ("GET", "/"),
    ("GET", "/me"),
    ("GET", "/events"),
    ("GET", "/static/main.js"),
    ("GET", "/static/../people.py"),
    ("GET", "/campaigns/c/runs/1"),
    ("GET", "/campaigns/c/runs/1/files/0"),
    ("GET", "/campaigns/c/logs/run-1.1"),
    ("GET", "/campaigns/c/logs/run-1.1/live"),
    ("POST", "/campaigns/c/cancel"),
    ("POST", "/campaigns/c/resume"),
    ("POST", "/ticket"),
    ("GET", "/nothing"),
]


@pytest.mark.parametrize(("method", "path"), WAYS)
def test_without_a_token_nothing_is_answered(lab: WebLab, method: str, path: str) -> None:
    # Given no token, a wrong one, and a wrong cookie, when anything is asked for, then that is refused
    name = lab.cookie("anna")["Cookie"].partition("=")[0]
    for headers in (
        {},
        {"Authorization": "Bearer anna.wrong"},
        {"Authorization": f"Basic {lab.token('anna')}"},
        {"Cookie": f"{name}=anna.99999999999.wrong"},
        {"Cookie": f"other={lab.token('anna')}"},
    ):
        answer = lab.ask(method, path, {"Origin": lab.origin, **headers})
        assert (answer.status, b"labfleet web" in answer.body) == (401, True)


def test_the_way_in_is_open_and_says_nothing_of_the_lab(lab: WebLab, campaign: Campaign) -> None:
    # Given somebody without a token, when the way in is asked for, then it is there, and is made of public files alone
    page = lab.ask("GET", "/enter")
    assert page.status == 200
    assert campaign.id.encode() not in page.body
    for name in ("enter.js", "style.css", "icon.svg"):
        assert f"/static/{name}".encode() in page.body
        assert lab.ask("GET", f"/static/{name}").status == 200


def test_a_ticket_becomes_a_cookie_that_scripts_cannot_read(lab: WebLab) -> None:
    # Given a ticket of anna's
    ticket = lab.ask("POST", "/ticket", lab.bearer("anna")).told["ticket"]
    # When a browser shows it
    entered = lab.ask("POST", "/enter", {"Origin": lab.origin}, ticket)
    # Then the cookie stays with this server, and stands for her
    flags = entered.headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags
    cookie = {"Cookie": entered.headers["set-cookie"].partition(";")[0]}
    assert lab.ask("GET", "/me", cookie).told["person"] == "anna"
    # And the ticket is used up; what is no ticket never was one
    for other in (ticket, "", "x" * 5000):
        assert lab.ask("POST", "/enter", {"Origin": lab.origin}, other).status == 401


@pytest.mark.parametrize(
    "odd", ['foo={"a":1}', "theme", "name=\u00e4\u00ff", "a@b=1", "a,b=c d", 'open="half', "=", "; ;", "$Version=1"]
)
def test_the_cookies_of_other_programs_lock_nobody_out(lab: WebLab, odd: str) -> None:
    # Given a browser that was let in, and to which another program of its machine gave whatever browsers take
    mine = lab.cookie("anna")["Cookie"]
    # When it asks for something, then it is still known
    for cookies in (f"{odd}; {mine}", f"{mine}; {odd}", f"{odd}; {mine}; {odd}"):
        answer = lab.ask("GET", "/me", {"Cookie": cookies})
        assert (answer.status, cookies) == (200, cookies)
        assert answer.told["person"] == "anna"


def test_a_session_outlives_the_servers_process(lab: WebLab) -> None:
    # Given a browser that was let in
    cookie, before = lab.cookie("anna"), lab.found
    # When the server's process is another one
    lab.kill("web")
    lab.start("web")
    lab.found = lab.whereabouts()
    # Then it is at the same ports, and the browser is let in
    assert (lab.found.page, lab.found.dashboard) == (before.page, before.dashboard)
    assert lab.ask("GET", "/me", cookie).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "192.0.2.1"])
def test_another_name_for_this_server_is_refused(lab: WebLab, host: str) -> None:
    # Given a name that somebody has lead to this address, when a browser asks by that, then it is refused
    assert lab.ask("GET", "/me", {**lab.bearer("anna"), "Host": host}).status == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1:65000", "[::1]:7", "localhost"])
def test_the_end_of_any_tunnel_is_a_name_for_this_server(lab: WebLab, host: str) -> None:
    # Given a tunnel, whose end has any port, when a browser asks through it, then it is answered
    assert lab.ask("GET", "/me", {**lab.bearer("anna"), "Host": host}).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://{host}", None])
def test_another_page_cannot_act_in_a_persons_name(lab: WebLab, campaign: Campaign, origin: str | None) -> None:
    # Given a person's browser that shows another page, when that page asks for something to be done
    host = lab.origin.removeprefix("http://")
    headers = lab.cookie("anna") | ({"Origin": origin.format(host=host)} if origin else {})
    answer = lab.ask("POST", f"/campaigns/{campaign.id}/cancel", headers)
    # Then it is not done
    assert answer.status == 403
    assert Cancel(campaign.id) not in lab.foreman.asked


@pytest.mark.parametrize("path", ["/", "/enter", "/me", "/nothing", "/static/main.js"])
def test_browsers_are_told_to_trust_nothing_else(lab: WebLab, path: str) -> None:
    # Given any answer, also a refusal, when it is looked at
    for headers in (lab.bearer("anna"), {}):
        said = lab.ask("GET", path, headers).headers
        # Then it lets in no scripts but the page's own, no other pages, and no guesses of types
        assert said["content-security-policy"] == POLICY
        assert "unsafe" not in POLICY
        assert POLICY.startswith("default-src 'none'; script-src 'self'; ")
        assert said["x-content-type-options"] == "nosniff"
        assert said["cache-control"] == "no-store"


# ---- what is done ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "order"), [("cancel", Cancel), ("resume", Resume)])
def test_only_its_owner_cancels_and_resumes_a_campaign(
    lab: WebLab, campaign: Campaign, what: str, order: type[Cancel] | type[Resume]
) -> None:
    # Given a campaign of anna's; one that is to be resumed has ended
    if what == "resume":
        lab.foreman.happen(CampaignEnded(campaign.id, cancelled=True, time=1.0))
    # When ben wants it, then it is refused, and the foreman hears nothing of it
    refused = lab.ask("POST", f"/campaigns/{campaign.id}/{what}", {**lab.cookie("ben"), "Origin": lab.origin})
    assert refused.status == 403
    assert "anna" in refused.told["message"]
    assert order(campaign.id) not in lab.foreman.asked
    # When she herself wants it, then it is done
    done = lab.ask("POST", f"/campaigns/{campaign.id}/{what}", {**lab.cookie("anna"), "Origin": lab.origin})
    assert done.status == 200
    assert order(campaign.id) in lab.foreman.asked


def test_what_the_foreman_refuses_is_said(lab: WebLab, campaign: Campaign) -> None:
    # Given a campaign that has ended, when its owner cancels it, then the foreman's reason is told
    lab.foreman.happen(CampaignEnded(campaign.id, cancelled=False, time=1.0))
    answer = lab.ask("POST", f"/campaigns/{campaign.id}/cancel", {**lab.cookie("anna"), "Origin": lab.origin})
    assert (answer.status, answer.told["message"]) == (409, "the lab knows no such campaign")


@pytest.mark.parametrize("name", ["nothing", "..", "%2e%2e", "a%2fb", "x" * 300, "%00"])
def test_a_campaign_that_is_none_cannot_be_asked_for(lab: WebLab, name: str) -> None:
    # Given names of no campaign, when something is asked of them, then there is none
    origin = {"Origin": lab.origin}
    assert lab.ask("POST", f"/campaigns/{name}/cancel", {**lab.cookie("anna"), **origin}).status == 404
    assert lab.ask("GET", f"/campaigns/{name}/logs/run-1.1", lab.bearer("anna")).status == 404
    assert lab.ask("GET", f"/events?campaign={name}", lab.bearer("anna")).status == 404


# ---- what is told ------------------------------------------------------------------------------------------------


def test_who_looks_is_told_the_lab_and_then_what_changes(lab: WebLab, campaign: Campaign) -> None:
    # Given two machines
    lab.foreman.machines = {name: machine(name, 2) for name in ("w1", "w2")}
    with lab.events("/events") as events:
        # When somebody looks, then all of it is told
        first = events.until("lab")
        assert first["everything"]
        assert {one["name"] for one in first["machines"]} == {"w1", "w2"}
        assert campaign.id in {one["id"] for one in first["campaigns"]}
        # When a run begins on one of them, then that one is told, and nothing else
        run = SlotStatus("slot1", campaign.id, 3, 1, 1.0, 12.5, events_per_second=1000.0)
        lab.change(machine("w1", 2, [run]))
        then = events.until("lab")
        assert not then["everything"]
        assert [(one["name"], one["runs"][0]["percent"]) for one in then["machines"]] == [("w1", 12.5)]
        assert then["campaigns"] == []
        # When a campaign is not shown any more, then that is told
        lab.change(gone=campaign.id)
        assert events.until("lab")["gone"] == [["campaign", campaign.id]]


def test_a_campaigns_story_is_told_and_goes_on(lab: WebLab, campaign: Campaign) -> None:
    # Given a campaign with a run that is done, and one that runs
    outcome = replace(committed(lab, campaign, {"results/a.sca": b"a"}), error="<b>\x1b[31mbad\x1b[0m</b>" + "x" * 999)
    lab.foreman.happen(RunCommitted(outcome), RunStarted(campaign.id, 1, 1, "w1", "slot2", 5.0))
    with lab.events(f"/events?campaign={campaign.id}", "ben") as events:
        # When somebody, who may be anybody of the lab, looks at it
        bars: dict[int, list[object]] = {}

        def is_complete(data: dict[str, list[list[object]]]) -> bool:
            bars.update({bar[0]: bar for bar in data["bars"]})  # type: ignore[misc]
            return {0, 1} <= bars.keys()

        told = events.until("campaign", is_complete)
        # Then what happened is told, errors shortened and harmless
        assert bars[1] == [1, 1, "w1", "slot2", 5.0, None, "running", ""]
        assert bars[0][6] == "done"
        error = str(bars[0][7])
        assert error.startswith("<b>\u241b[31mbad")
        assert len(error) == 400
        # And nothing of what is its owner's alone
        assert "SECRET" not in str(told)
        # When another run begins, then only that is told
        lab.foreman.happen(RunStarted(campaign.id, 2, 1, "w1", "slot1", 7.0))
        assert [bar[0] for bar in events.until("campaign", lambda data: data["bars"])["bars"]] == [2]


def test_a_campaign_that_has_ended_is_told_from_the_store(lab: WebLab, campaign: Campaign) -> None:
    # Given a campaign that has ended, of which the foreman knows nothing more
    outcome = committed(lab, campaign, {"results/a.sca": b"a"})
    store = lab.paths.campaign(campaign.id)
    event = lab.foreman.history[campaign.id][0]
    assert isinstance(event, CampaignPrepared)
    ledger.note_prepared(store, event.prepared)
    status = CampaignStatus(campaign.id, "aloha", "Foo", "anna", "cancelled", 4, 1, 0, 0)
    ledger.note_end(store, ledger.End(CampaignEnded(campaign.id, True, "too much", 77.0), status))
    lab.foreman.lose(campaign.id)
    with lab.events(f"/events?campaign={campaign.id}") as events:
        # When somebody looks at it, then all is told
        told = events.until("campaign", lambda data: data["title"] and data["title"]["ended"])
        assert (told["title"]["ended"], told["title"]["reason"]) == (77.0, "too much")
        assert [bar[0] for bar in told["bars"]] == [outcome.run]
        assert len(told["runs"]) == 4


def test_another_foreman_is_asked_for_everything(lab: WebLab, campaign: Campaign) -> None:
    # Given somebody who looks at a campaign
    with lab.events(f"/events?campaign={campaign.id}") as events:
        events.until("lab")
        events.until("campaign", lambda data: data["title"])
        # When there is another foreman, and a run began meanwhile
        lab.foreman.be_exchanged(RunStarted(campaign.id, 3, 1, "w1", "slot1", 5.0))
        # Then all is told anew, with the run
        assert events.until("lab", lambda data: data["everything"])
        assert events.until("campaign", lambda data: any(bar[0] == 3 for bar in data["bars"]))


# ---- logs --------------------------------------------------------------------------------------------------------


def text_until(lab: WebLab, campaign: Campaign, stream: str, end: str) -> str:
    """Return what is told of a log until something is in it."""
    text = ""
    with lab.events(f"/campaigns/{campaign.id}/logs/{stream}/live") as events:
        while end not in text:
            text += events.until("log")["text"]
    return text


def test_a_log_is_told_while_it_is_written_and_to_its_end(lab: WebLab, campaign: Campaign, tmp_path: Path) -> None:
    # Given a run that prints, in the middle of a character and of a line
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sender = Sender(context, lab.paths.endpoint("hub-in"))
    log = GrowingLog(tmp_path / "log", campaign.id, run_stream(2, 1), sender)
    try:
        log.append("first\nhal\u00ef".encode()[:-1])
        log.stream()
        with lab.events(f"/campaigns/{campaign.id}/logs/run-2.1/live") as events:
            # When somebody looks, then whole lines are told as they come
            assert events.until("log", lambda data: data["text"])["text"] == "first\n"
            log.append("\u00ef".encode()[1:] + b"f\nlast")
            log.stream()
            assert events.until("log", lambda data: data["text"])["text"] == "hal\u00eff\n"
            # When it ends, then the rest is told, and that it is the end
            log.close()
            ended = events.until("log", lambda data: data.get("ended"))
            assert (ended["text"], ended["gone"]) == ("last", False)
    finally:
        sender.close()
        context.term()


def test_whatever_a_log_holds_is_shown_harmlessly(lab: WebLab, campaign: Campaign) -> None:
    # Given a log of a run that is over: HTML, escapes, what is no UTF-8, and 1 MB without an end of line
    outcome = committed(lab, campaign, {})
    log = AttemptPaths(lab.paths.campaign(campaign.id).committed(0, outcome.attempt, True)).log
    hostile = b"<script>alert(1)</script> \x1b[2J\x1b]0;title\x07 \xff\xc3( \xe2\x80\xae right to left\r\n"
    log.write_bytes(b"x" * 1_000_000 + b"\n" + hostile + b"the end\n")
    # When it is looked at
    text = text_until(lab, campaign, "run-0.1", "the end")
    # Then signs stand for what a terminal or a browser would obey, and nothing is too long to be drawn
    assert "<script>alert(1)</script> \u241b[2J\u241b]0;title\u2407 \ufffd\ufffd( \ufffd right to left\n" in text
    assert "more bytes: download the log" in text
    assert len(text) < 10_000
    # And the download has every byte
    answer = lab.ask("GET", f"/campaigns/{campaign.id}/logs/run-0.1", lab.bearer("ben"))
    assert answer.body == log.read_bytes()
    assert answer.headers["content-disposition"].startswith("attachment;")


def test_a_log_of_which_the_lab_has_the_beginning_alone_is_not_saved_as_if_it_were_whole(
    lab: WebLab, campaign: Campaign
) -> None:
    # Given a run under way that has printed more than the hub keeps
    log = lab.paths.log(campaign.id, "run-3.1")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        file.truncate(BUDGET)
    # When its log is to be saved, then it is said where all of it is
    answer = lab.ask("GET", f"/campaigns/{campaign.id}/logs/run-3.1", lab.bearer("ben"))
    assert answer.status == 409
    assert "its owner has it now by: labfleet logs --raw" in answer.told["message"]
    # … and one that is shorter is all there is
    with log.open("r+b") as file:
        file.truncate(BUDGET - 1)
    answer = lab.ask("GET", f"/campaigns/{campaign.id}/logs/run-3.1", lab.bearer("ben"))
    assert (answer.status, len(answer.body)) == (200, BUDGET - 1)
    # … and where nothing was printed yet, that is said
    answer = lab.ask("GET", f"/campaigns/{campaign.id}/logs/run-3.2", lab.bearer("ben"))
    assert (answer.status, answer.told["message"]) == (404, "the lab has nothing of that log yet")


@pytest.mark.parametrize("size", [6, BUDGET])
def test_what_is_left_of_a_log_that_has_gone_home_is_not_taken_for_all_of_it(
    lab: WebLab, campaign: Campaign, size: int
) -> None:
    # Given a run that is over, of whose log the hub has the beginning
    outcome = committed(lab, campaign, {})
    kept = AttemptPaths(lab.paths.campaign(campaign.id).committed(0, outcome.attempt, True)).log
    hubs = lab.paths.log(campaign.id, "run-0.1")
    hubs.parent.mkdir(parents=True, exist_ok=True)
    hubs.write_bytes(b"x" * (size - 6) + b"\npart\n")
    path = f"/campaigns/{campaign.id}/logs/run-0.1"
    # As long as the log is in the lab, it is shown and saved
    with lab.events(f"{path}/live") as events:
        assert events.until("log", lambda data: data.get("ended"))["gone"] is False
    assert lab.ask("GET", path, lab.bearer("ben")).body == kept.read_bytes()
    # When it has gone home
    kept.unlink()
    # Then the part is shown, and that it is one
    with lab.events(f"{path}/live") as events:
        assert events.until("log", lambda data: "part\n" in data["text"])
        assert events.until("log", lambda data: data.get("ended"))["gone"] is True
    # And is not saved as if it was the log
    answer = lab.ask("GET", path, lab.bearer("ben"))
    assert answer.status == 404
    assert "what came home is beside the results" in answer.told["message"]
    assert lab.ask("GET", f"/campaigns/{campaign.id}/runs/0", lab.bearer("ben")).told["log"] is False


@pytest.mark.parametrize(
    "stream", ["run-1", "run-1.x", "run-..1", "..", "%2e%2e%2fkeys", "run-1.1%00", "run-%D9%A1.1", f"run-{'1' * 99}.1"]
)
def test_a_log_that_is_none_cannot_be_asked_for(lab: WebLab, campaign: Campaign, stream: str) -> None:
    # Given names of no log, when they are asked for, then there is none
    for path in (f"/campaigns/{campaign.id}/logs/{stream}", f"/campaigns/{campaign.id}/logs/{stream}/live"):
        assert lab.ask("GET", path, lab.bearer("anna")).status == 404


# ---- results -----------------------------------------------------------------------------------------------------


def test_results_are_listed_and_saved_whatever_they_are(lab: WebLab, campaign: Campaign) -> None:
    # Given a run with files, one of them a page, with a name that could break a header
    files = {"results/General-#0.sca": b"scalars", 'results/a"\r\nX: y.html': b"<script>alert(1)</script>"}
    committed(lab, campaign, files)
    # When somebody of the lab looks at the run
    left = lab.ask("GET", f"/campaigns/{campaign.id}/runs/0", lab.bearer("ben")).told
    # Then its files are there
    names = [one["path"] for one in left["files"]]
    assert sorted(names) == sorted(["results/General-#0.sca", 'results/a"\u240d\nX: y.html'])
    assert all(one["here"] for one in left["files"])
    # And each is saved, not shown, under its own name
    for one in left["files"]:
        path = f"/campaigns/{campaign.id}/runs/0/files/{one['number']}"
        answer = lab.ask("GET", path, lab.bearer("ben"))
        assert answer.body in files.values()
        assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "x" not in answer.headers


def test_a_link_among_results_leads_nowhere(lab: WebLab, campaign: Campaign, tmp_path: Path) -> None:
    # Given a run of which a file, and the folder of another one, were exchanged for links to what is nobody's business
    (tmp_path / "b.sca").write_text("secret")
    outcome = committed(lab, campaign, {"results/a.sca": b"a", "more/b.sca": b"b"})
    place = AttemptPaths(lab.paths.campaign(campaign.id).committed(0, outcome.attempt, True))
    place.file("results/a.sca").unlink()
    place.file("results/a.sca").symlink_to(tmp_path / "b.sca")
    place.file("more/b.sca").unlink()
    place.file("more").rmdir()
    place.file("more").symlink_to(tmp_path)
    # When they are asked for, then they are not there
    left = lab.ask("GET", f"/campaigns/{campaign.id}/runs/0", lab.bearer("anna")).told
    assert [one["here"] for one in left["files"]] == [False, False]
    for number in (0, 1, 2, 10**6):
        answer = lab.ask("GET", f"/campaigns/{campaign.id}/runs/0/files/{number}", lab.bearer("anna"))
        assert answer.status == 404
        assert b"secret" not in answer.body


def test_a_pipe_among_results_keeps_nobody_waiting(lab: WebLab, campaign: Campaign) -> None:
    # Given a run of which a file was exchanged for a pipe, when it is asked for, then it is not there
    outcome = committed(lab, campaign, {"results/a.sca": b"a"})
    file = AttemptPaths(lab.paths.campaign(campaign.id).committed(0, outcome.attempt, True)).file("results/a.sca")
    file.unlink()
    os.mkfifo(file)
    assert lab.ask("GET", f"/campaigns/{campaign.id}/runs/0/files/0", lab.bearer("anna")).status == 404


def test_what_has_gone_home_is_said_to_be_there(lab: WebLab, campaign: Campaign) -> None:
    # Given a run whose file was brought home
    outcome = committed(lab, campaign, {"results/a.sca": b"a"})
    place = AttemptPaths(lab.paths.campaign(campaign.id).committed(0, outcome.attempt, True))
    place.file("results/a.sca").unlink()
    # When somebody looks, then its name is known, and that the lab does not have it
    left = lab.ask("GET", f"/campaigns/{campaign.id}/runs/0", lab.bearer("anna")).told
    assert [(one["path"], one["here"]) for one in left["files"]] == [("results/a.sca", False)]


# ---- RQ's dashboard ----------------------------------------------------------------------------------------------


@pytest.fixture
def redis(lab: WebLab) -> Iterator["Redis"]:
    """A Redis where the lab's would be."""
    needs("redis-server")
    with running_redis(str(lab.paths.sockets)) as url, Redis.from_url(url) as redis:
        yield redis


def test_the_dashboard_shows_the_labs_jobs_to_its_people(lab: WebLab, redis: "Redis") -> None:
    # Given a job as the foreman writes it
    queue = Queue(host_queue("w1"), connection=redis, serializer=JSONSerializer)
    job = queue.enqueue("simulate", "a chunk")
    port = lab.found.dashboard
    # When somebody with a token looks, then queue and job are shown
    for path, text in (
        ("/", "RQ"),
        ("/0/view/workers", "RQ"),
        ("/0/view/jobs/host-w1/queued/8/asc/1", "host-w1"),
        (f"/0/view/job/{job.id}", job.id),
        ("/0/data/queues.json", "host-w1"),
        (f"/0/data/job/{job.id}.json", "a chunk"),
        ("/static/favicon.ico", ""),
    ):
        answer = lab.ask("GET", path, lab.cookie("anna"), port=port)
        assert (path, answer.status) == (path, 200)
        assert text.encode() in answer.body
    # And nobody else sees anything
    assert lab.ask("GET", "/", port=port).status == 401
    assert lab.ask("GET", "/", {"Authorization": "Bearer anna.wrong"}, port=port).status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/job/{job}/delete"),
        ("POST", "/job/{job}/requeue"),
        ("GET", "/requeue/{queue}"),
        ("POST", "/requeue/{queue}"),
        ("POST", "/queue/{queue}/queued/empty"),
        ("POST", "/queue/{queue}/compact"),
        ("POST", "/"),
        ("GET", "/1/view/queues"),
        ("GET", "/0/view/../../requeue/{queue}"),
        ("GET", "//requeue/{queue}"),
    ],
)
def test_the_dashboard_changes_nothing(lab: WebLab, redis: "Redis", method: str, path: str) -> None:
    # Given a job that failed
    queue = Queue(host_queue("w1"), connection=redis, serializer=JSONSerializer)
    job = queue.enqueue("simulate", "a chunk")
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    # When somebody asks for what would change it
    asked = path.format(job=job.id, queue=queue.name)
    headers = {**lab.cookie("anna"), "Origin": f"http://127.0.0.1:{lab.found.dashboard}"}
    answer = lab.ask(method, asked, headers, port=lab.found.dashboard)
    # Then it is refused, and nothing is otherwise
    assert answer.status in (403, 404)
    assert {key: redis.dump(key) for key in redis.scan_iter()} == before


class _Trap:
    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.file, "w")


def test_the_dashboard_runs_no_code_of_a_jobs(lab: WebLab, redis: "Redis", tmp_path: Path) -> None:
    # Given a job with pickles that would write a file, which any worker of the lab could have put there
    queue = Queue(host_queue("w1"), connection=redis, serializer=JSONSerializer)
    job = queue.enqueue("simulate", "a chunk")
    trap = tmp_path / "sprung"
    spring = pickle.dumps(_Trap(str(trap)))
    redis.hset(job.key, "data", spring)
    redis.xadd(f"rq:results:{job.id}", {"type": "1", "return_value": b64encode(spring)})
    # When it is looked at
    for path in ("/0/view/job/{0}", "/0/data/job/{0}.json", "/0/data/jobs/host-w1/queued/8/asc/1.json"):
        lab.ask("GET", path.format(job.id), lab.bearer("anna"), port=lab.found.dashboard)
    # Then nothing was run
    assert not trap.exists()


def test_the_dashboard_is_another_place_to_browsers(lab: WebLab, campaign: Campaign) -> None:
    # Given a page of the dashboard, when something in it asks for a campaign to be cancelled, then it is another page
    headers = {**lab.cookie("anna"), "Origin": f"http://127.0.0.1:{lab.found.dashboard}"}
    assert lab.ask("POST", f"/campaigns/{campaign.id}/cancel", headers).status == 403


def test_the_foreman_is_not_watched_when_nobody_looks(lab: WebLab) -> None:
    # Given somebody who looks
    with lab.events("/events") as events:
        events.until("lab")
        assert lab.foreman.callers() == 1
    # When that one has gone, then nobody asks the foreman any more
    eventually(lambda: lab.foreman.callers() == 0, "that the foreman is left alone")
    # When somebody looks again, then it is watched from then on
    with lab.events("/events") as events:
        assert events.until("lab", lambda data: data["everything"])
        assert lab.foreman.callers() == 1
