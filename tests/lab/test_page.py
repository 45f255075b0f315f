"""The web page of a lab of machines, reached through people's own SSH logins."""

import json
from typing import Any

from tests.lab import campaigns
from tests.lab.campaigns import labfleet
from tests.lab.client import Client
from tests.lab.machines import Lab

#: Follows the address that labfleet web has printed, as a browser does, and prints a line of JSON.
BROWSER = """
import http.client, json, sys, time, urllib.parse
address, campaign = urllib.parse.urlsplit(sys.argv[1]), sys.argv[2]
origin = {"Origin": f"http://{address.netloc}"}
ticket, dashboard = address.fragment.split(",")

def ask(method, path, headers, body="", port=address.port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, headers)
    return connection.getresponse()

entered = ask("POST", "/enter", origin, ticket)
cookie = {"Cookie": entered.headers["Set-Cookie"].partition(";")[0]}
told = {"me": json.load(ask("GET", "/me", cookie)), "stranger": ask("GET", "/me", {}).status}
told["cancel"] = ask("POST", f"/campaigns/{campaign}/cancel", {**cookie, **origin}).status
told["dashboard"] = ask("GET", "/", cookie, port=int(dashboard)).status
events, deadline = ask("GET", f"/events?campaign={campaign}", cookie), time.monotonic() + 40
while not {"machines", "bars"} <= told.keys() and time.monotonic() < deadline:
    line = events.readline()
    if line.startswith(b"data: "):
        data = json.loads(line[6:])
        if data.get("everything") and "machines" in data:
            told["machines"] = sorted(machine["name"] for machine in data["machines"])
        if data.get("bars"):
            told["bars"] = len(data["bars"])
print(json.dumps(told))
"""


#: Has the page reached for as long as the browser needs it.
VISIT = """
labfleet web --no-browser >web.out 2>web.err &
web=$!
trap 'kill $web; wait $web || true' EXIT # it would not heed INT: nobody types at a shell like this one
until [ -s web.out ]; do
    kill -0 $web
    sleep 0.1
done
python -c "$0" "$(sed 's/^[^ ]*: //' web.out)" "$1"
"""


def seen(client: Client, user: str, campaign: str) -> dict[str, Any]:
    """Return what somebody's browser is told, through the tunnel that ``labfleet web`` holds."""
    done = client.run(["bash", "-euc", VISIT, BROWSER, campaign], user=user, env={"LABFLEET_LAB": "head"})
    assert done.status == 0, done.stdout + done.stderr + client.read(f"/home/{user}/web.err")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_people_see_all_of_the_lab_and_cancel_what_is_theirs(provisioned_lab: Lab) -> None:
    # Given a campaign of the researcher's, whose login on the head is admin
    client = provisioned_lab.client
    with campaigns.long_campaign(provisioned_lab, "watched") as (campaign, running):
        # When another person opens the page through her own login
        anna = seen(client, "anna", campaign)
        # Then she is known by that, sees the machines and what runs in his campaign, and cannot cancel it
        assert anna["me"]["person"] == "anna"
        assert {"w1", "w2"} <= set(anna["machines"])
        assert anna["bars"] > 0
        assert (anna["cancel"], anna["stranger"], anna["dashboard"]) == (403, 401, 200)
        assert labfleet(client, "lab", "status").stdout.count(campaign) == 1
        # When he himself does that, then it is cancelled
        assert seen(client, "researcher", campaign)["cancel"] == 200
        assert running.wait(300).status == 1
    # And the head's journal tells who has asked
    assert "admin asks for Cancel" in provisioned_lab.head.journal("labfleet-web")
