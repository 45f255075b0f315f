"""``labfleet web``: this person's browser is led to the lab's web page.

A local lab's page is a process that is started for it, and ends with the lab.  A remote lab's is reached through a
tunnel, which is there as long as this command runs.
"""

import http.client
import json
import os
import sys
import threading
import time
import webbrowser

from runner import chosen_lab
from runner.errors import LabFailed
from runner.lab import PATIENCE, Lab, LabAway
from runner.labs import Connection
from runner.local_lab import Start
from runner.remote_lab import RemoteLab, WebWelcome
from runner.web import whereabouts
from runner.web.people import own_token

#: Seconds between two looks whether the page is still to be reached.
PULSE = 10.0


def see(*, browser: bool) -> None:
    """Print the page's address, and open it; return when it does not need this process any more.  Raises LabFailed."""
    with Connection(chosen_lab.chosen(), Start.IF_NONE_RUNS) as connection:
        lab = connection.lab
        found = lab.web_page() if isinstance(lab, RemoteLab) else _local(lab)
        address = f"http://127.0.0.1:{found.page}/enter#{_ticket(found, lab)},{found.dashboard}"
        print(f"{lab.name}: {address}", flush=True)
        print("The address is good once, and for ten minutes; labfleet web gives a new one.", file=sys.stderr)
        if browser and _has_display():
            webbrowser.open(address)
        if isinstance(lab, RemoteLab):
            print("The page is there as long as this command runs; Ctrl-C ends it.", file=sys.stderr, flush=True)
            try:
                _stay(found, lab)
            except KeyboardInterrupt:
                pass  # as it was said


def _local(lab: Lab) -> WebWelcome:
    """Have a local lab's page running, and return what leads there."""
    lab.paths.web.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = own_token(lab.paths, lab.user)
    lab.paths.web_wanted.touch()
    deadline, pause = time.monotonic() + PATIENCE, threading.Event()
    while True:
        found = whereabouts.read(lab.paths.web_file)
        if found and whereabouts.runs(found):
            return WebWelcome(token, found.page, found.dashboard)
        if time.monotonic() > deadline:
            log = lab.paths.service_logs / "web.log"
            raise LabFailed(
                "the lab's web page does not start",
                f"log: {log}; services of another version are ended with: labfleet lab stop",
            )
        pause.wait(0.05)


def _ticket(found: WebWelcome, lab: Lab) -> str:
    """Return what is good for one entry.  Raises LabFailed."""
    connection = http.client.HTTPConnection("127.0.0.1", found.page, timeout=PATIENCE)
    try:
        connection.request("POST", "/ticket", headers={"Authorization": f"Bearer {found.token}"})
        answer = connection.getresponse()
        body = answer.read(10_000)
        if answer.status != http.HTTPStatus.OK:
            raise LabFailed(f"the web page of {lab.name} does not let you in: {body.decode(errors='replace')}")
        return str(json.loads(body)["ticket"])
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise LabFailed(f"the web page of {lab.name} does not answer: {error}", lab.advice) from None
    finally:
        connection.close()


def _has_display() -> bool:
    """Say whether a browser would be seen, and not take over the terminal."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _stay(found: WebWelcome, lab: Lab) -> None:
    """Return never; raise LabAway when the page cannot be reached any more."""
    pause = threading.Event()
    while True:
        pause.wait(PULSE)
        # Without the token: nobody knows who listens there, should the page have ended meanwhile.
        connection = http.client.HTTPConnection("127.0.0.1", found.page, timeout=PATIENCE)
        try:
            connection.request("GET", "/enter")
            connection.getresponse().read(10_000)
        except (OSError, http.client.HTTPException) as error:
            message = f"the web page of {lab.name} does not answer: {error}"
            raise LabAway(message, "labfleet web opens it again") from None
        finally:
            connection.close()
