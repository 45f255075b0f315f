"""Each door of a lab: shut to strangers, open to the same request with the right key."""

import pytest

from runner import shell
from tests.lab import campaigns
from tests.lab.campaigns import labfleet, python
from tests.lab.machine import Machine
from tests.lab.machines import Lab
from tests.lab_fixture import ROOT

#: Asks Redis for an answer.  Arguments: user, password, whether with TLS, command.
REDIS = """
import json, sys
from redis import Redis
settings = json.load(open("/etc/labfleet/settings.json"))
user, password, tls, *command = sys.argv[1:]
if password == "right":
    password = open("/etc/labfleet/redis-password").read().strip()
secured = {"ssl": True, "ssl_ca_certs": "/etc/labfleet/ca.pem"} if tls == "tls" else {}
try:
    redis = Redis(settings["head"], int(settings["redis"].rpartition(":")[2]), username=user or None,
                  password=password or None, socket_timeout=5, retry=None, **secured)
    print("yes", redis.execute_command(*command))
except Exception as error:
    print("no", type(error).__name__, error)
"""

#: Puts a job onto a host's queue as somebody who knows RQ would.
JOB = """
import json
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer
settings = json.load(open("/etc/labfleet/settings.json"))
redis = Redis(settings["head"], int(settings["redis"].rpartition(":")[2]), username="worker", ssl=True,
              password=open("/etc/labfleet/redis-password").read().strip(), ssl_ca_certs="/etc/labfleet/ca.pem")
queue = Queue("host-" + settings["name"], connection=redis, serializer=JSONSerializer)
job = queue.enqueue_call("os.system", args=("touch /var/lib/labfleet/worker/owned",), result_ttl=600)
print(job.id)
"""

#: Asks foreman and hub, over the tunnel that a client has, with its own keys, a stranger's, and another server's.
#: Argument: a campaign whose log the hub has.
ZEROMQ = """
import sys, zmq
from runner import curve, labs
from runner.curve import Access, KeyPair
from runner.errors import LabFailed
from runner.lab import ForemanClient
from runner.log_stream import Viewer
from runner.messages import AskStatus
with labs.connected() as (context, lab):
    own = lab.access
    stranger = KeyPair(*zmq.curve_keypair())
    for who, access in {
        "right": own,
        "stranger": Access(stranger, own.server),
        "wrong server": Access(own.own, stranger.public),
        "no key": None,
    }.items():
        lab.access = access
        client = ForemanClient(context, lab)
        try:
            client.ask(AskStatus(), patience=3)
            print(who, "foreman", "yes")
        except LabFailed:
            print(who, "foreman", "no")
        client.socket.close(linger=0)
        viewer = Viewer(context, lab.hub, sys.argv[1], access)
        viewer.follow("run-0.1")
        print(who, "hub", "yes" if viewer.socket.poll(3000) else "no")
        viewer.close()
    lab.access = own
"""

#: Sends a line to the hub as a slot does, with the worker's key or another.  Arguments: whose key, campaign.
LOGS = """
import glob, json, sys
sys.path.insert(0, max(glob.glob("/var/lib/labfleet/worker/code/*/"), key=__import__("os").path.getmtime))
from pathlib import Path
import zmq
from redis import Redis
from runner import curve
from runner.log_stream import Piece, Sender
settings = json.load(open("/etc/labfleet/settings.json"))
redis = Redis(settings["head"], int(settings["redis"].rpartition(":")[2]), username="worker", ssl=True,
              password=open("/etc/labfleet/redis-password").read().strip(), ssl_ca_certs="/etc/labfleet/ca.pem")
own = curve.own_keys(Path("/var/lib/labfleet/worker/keys"), "worker")
if sys.argv[1] == "stranger":
    own = curve.KeyPair(*zmq.curve_keypair())
context = zmq.Context()
sender = Sender(context, settings["logs"], curve.Access(own, redis.get("labfleet:key")))
sender.send(Piece(sys.argv[2], "run-0.1", 0, b"hello"))
sender.close()
context.term()
"""


@pytest.fixture
def w1(provisioned_lab: Lab) -> Machine:
    return provisioned_lab.machines["w1"]


@pytest.fixture(scope="session")
def finished(provisioned_lab: Lab) -> str:
    """The id of a campaign that is over."""
    folder = campaigns.scripted(provisioned_lab.client, "finished", runs=2)
    done = labfleet(provisioned_lab.client, "campaign", cwd=folder)
    assert done.status == 0, done.stderr
    return str(campaigns.manifest(provisioned_lab.client, folder)["campaign"])


def test_redis_lets_in_who_has_the_password(w1: Machine) -> None:
    # Given the worker's own login, when it asks, then it is answered
    assert python(w1, REDIS, "worker", "right", "tls", "PING") == ["yes True"]


@pytest.mark.parametrize(
    ("user", "password", "tls", "command"),
    [
        ("", "", "tls", "PING"),
        ("worker", "wrong", "tls", "PING"),
        ("foreman", "right", "tls", "PING"),
        ("worker", "right", "plain", "PING"),
        ("worker", "right", "tls", "CONFIG GET dir"),
        ("worker", "right", "tls", "FLUSHALL"),
        ("worker", "right", "tls", "ACL LIST"),
        ("worker", "right", "tls", "SET other:key 1"),
    ],
)
def test_redis_refuses_all_others_and_all_else(w1: Machine, user: str, password: str, tls: str, command: str) -> None:
    # Given somebody without or with another password, another role, no TLS, or a command that workers do not need
    assert python(w1, REDIS, user, password, tls, *command.split())[0].startswith("no ")


def test_foreman_and_hub_know_their_people(provisioned_lab: Lab, finished: str) -> None:
    # Given a client that was let in, one with a stranger's key, one that expects another server, and one without keys
    said = provisioned_lab.client.run(["python", "-c", ZEROMQ, finished], env={"PYTHONPATH": str(ROOT)})
    assert said.status == 0, said.stderr
    # When each asks foreman and hub, then only the first is answered, by both
    answers = dict(line.rsplit(" ", 1) for line in said.stdout.splitlines())
    assert answers == {
        f"{who} {service}": "yes" if who == "right" else "no"
        for who in ("right", "stranger", "wrong server", "no key")
        for service in ("foreman", "hub")
    }


def test_the_hub_takes_logs_from_workers_only(provisioned_lab: Lab, w1: Machine) -> None:
    # Given a stranger and a worker, when both send a line, the stranger first
    python(w1, LOGS, "stranger", "from-a-stranger")
    python(w1, LOGS, "worker", "from-a-worker")
    # Then the hub has written the worker's alone
    logs = "/var/lib/labfleet/head/logs"
    script = f"until [ -e {logs}/from-a-worker/run-0.1 ]; do sleep 0.1; done; ls {logs}"
    listed = provisioned_lab.head.exec_as_root(["timeout", "20", "sh", "-c", script]).text.split()
    assert "from-a-worker" in listed
    assert "from-a-stranger" not in listed


def test_ports_for_people_are_closed_on_the_lab_s_network(provisioned_lab: Lab, w1: Machine) -> None:
    # Given another machine of the lab, when it connects to the head's ports
    address = provisioned_lab.head.address
    opened = [
        port
        for port in (7410, 7411, 7412, 7413, 7414, 7415)
        if w1.exec_as_root(["timeout", "3", "bash", "-c", f"</dev/tcp/{address}/{port}"], check=False).status == 0
    ]
    # Then those for workers are open, and those for people are not
    assert opened == [7410, 7413]


# ---- SSH: three keys, three doors --------------------------------------------------------------------------------


def knock(machine: Machine, head: str, kind: str, command: str) -> shell.Result:
    """Have a worker's key knock at the head with a command; another kind is a key that nobody knows."""
    key = f"/etc/labfleet/worker/{kind}.key"
    if kind == "unknown":
        key = "/tmp/unknown.key"
        machine.exec_as_root(["sh", "-c", f"rm -f {key}; ssh-keygen -q -t ed25519 -N '' -f {key}"])
    words = ["ssh", "-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o"]
    argv = [*words, "UserKnownHostsFile=/etc/labfleet/worker/known_hosts", f"labfleet@{head}", command]
    return machine.exec_as_root(argv, stdin=b"0000", check=False)


def copy(machine: Machine, head: str, kind: str, *words: str) -> shell.Result:
    """Have a worker's key transfer files; ``HEAD:`` in a word is the head."""
    ssh = f"ssh -F none -i /etc/labfleet/worker/{kind}.key -o IdentitiesOnly=yes -o BatchMode=yes"
    ssh += " -o UserKnownHostsFile=/etc/labfleet/worker/known_hosts"
    named = [word.replace("HEAD:", f"labfleet@{head}:") for word in words]
    return machine.exec_as_root(["rsync", "-e", ssh, "-r", *named], check=False)


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("unknown", "git-upload-pack 'labfleet.git'"),
        ("products", "git-upload-pack 'labfleet.git'"),
        ("git", "git-receive-pack 'labfleet.git'"),
        ("git", "git-upload-pack '../campaigns'"),
        ("git", "git-upload-pack '/etc'"),
        ("git", "cat /etc/passwd"),
        ("git", ""),
        ("products", "sh"),
        ("results", "id"),
    ],
)
def test_keys_open_one_door_each(provisioned_lab: Lab, w1: Machine, kind: str, command: str) -> None:
    # Given the worker's key for git, which is let in where it should be
    head = provisioned_lab.head.address
    allowed = knock(w1, head, "git", "git-upload-pack 'labfleet.git'")
    assert b"refs/heads/deployed" in allowed.stdout
    # When a key asks for something else than it is for, then it is refused
    refused = knock(w1, head, kind, command)
    assert refused.status not in (0, 1) or b"refs/" not in refused.stdout
    assert refused.status != 0
    assert b"refs/" not in refused.stdout
    assert b"root:" not in refused.stdout


def test_stores_are_read_and_written_with_their_own_keys_only(provisioned_lab: Lab, w1: Machine, finished: str) -> None:
    # Given both stores' keys, and a file to deliver
    head = provisioned_lab.head.address
    w1.exec_as_root(["sh", "-c", "mkdir -p /tmp/parcel /tmp/got; echo hello >/tmp/parcel/file"])
    # Then the product store is read with its key, and the incoming folder is written with its key
    assert copy(w1, head, "products", "HEAD:image/", "/tmp/got/").status == 0
    assert copy(w1, head, "results", "/tmp/parcel", "HEAD:./").status == 0
    arrived = "/var/lib/labfleet/head/incoming/parcel"
    assert provisioned_lab.head.read(f"{arrived}/file") == "hello\n"
    # … and nothing else goes: writing products, reading results, or leaving the store
    refused = {
        "write products": copy(w1, head, "products", "/tmp/parcel", "HEAD:./"),
        "read results": copy(w1, head, "results", "HEAD:./", "/tmp/got/"),
        "read campaigns": copy(w1, head, "products", "HEAD:../campaigns/", "/tmp/got/"),
        "read secrets": copy(w1, head, "products", "HEAD:/etc/labfleet/head/", "/tmp/got/"),
        "write elsewhere": copy(w1, head, "results", "/tmp/parcel", f"HEAD:../campaigns/{finished}/"),
        "delete": copy(w1, head, "results", "--delete", "/tmp/got/", "HEAD:./"),
    }
    provisioned_lab.head.exec_as_root(["rm", "-r", arrived])
    assert {what for what, said in refused.items() if said.status == 0} == set()
    campaign = f"/var/lib/labfleet/head/campaigns/{finished}"
    assert "parcel" not in provisioned_lab.head.exec_as_root(["ls", campaign]).text
    # … and each refusal is in the journal
    journal = provisioned_lab.head.exec_as_root(["journalctl", "-t", "labfleet-gate", "-o", "cat", "--no-pager"]).text
    assert "refused" in journal


def test_distcc_compiles_for_the_builder_only(provisioned_lab: Lab, w1: Machine) -> None:
    # Given the builder (w1), and another machine
    compile_there = (
        "mkdir -p /tmp/d && cd /tmp && echo 'int f() {{ return 1; }}' >x.cc && DISTCC_FALLBACK=0 DISTCC_DIR=/tmp/d "
        "DISTCC_HOSTS={host} distcc g++ -c x.cc -o x.o"
    )
    other = provisioned_lab.machines["w2"]

    def compiled(machine: Machine, host: str) -> bool:
        argv = ["docker", "exec", "labfleet-worker", "sh", "-c", compile_there.format(host=host)]
        return machine.exec_as_root(argv, check=False).status == 0

    # When each has the other compile, then only the builder is served
    assert compiled(w1, other.address)
    assert not compiled(other, w1.address)


def test_a_job_chooses_no_code(provisioned_lab: Lab, w1: Machine) -> None:
    # Given who has a worker's password, when they queue a job for os.system
    (job,) = python(w1, JOB)
    # Then the worker refuses it
    failed = "until journalctl -u labfleet-worker | grep -q \"no handler named 'os.system'\"; do sleep 0.1; done"
    w1.exec_as_root(["timeout", "20", "sh", "-c", failed])
    assert job
    assert w1.exec_as_root(["ls", "/var/lib/labfleet/worker"]).text.split().count("owned") == 0
    # … and its slots go on
    folder = campaigns.scripted(provisioned_lab.client, "after", runs=8)
    assert labfleet(provisioned_lab.client, "campaign", cwd=folder).status == 0


# ---- secrets stay where they are ---------------------------------------------------------------------------------


@pytest.fixture
def secrets(provisioned_lab: Lab) -> list[str]:
    """All secrets of the lab: passwords, and a line of each private key."""
    script = (
        "cat /etc/labfleet/*/*password* /var/lib/labfleet/*/keys/*.secret 2>/dev/null; "
        "for key in /etc/labfleet/*/*.key; do [ ! -f $key ] || sed -n 3p $key; done"
    )
    found = set()
    for machine in provisioned_lab.machines.values():
        found |= set(machine.exec_as_root(["sh", "-c", script]).text.split())
    assert len(found) > 8
    return [secret for secret in found if len(secret) > 15]


def test_no_secret_is_where_others_look(provisioned_lab: Lab, secrets: list[str]) -> None:
    # Given all secrets of the lab, and every place that others may see
    looks = {
        "process lists": "cat /proc/[0-9]*/cmdline | tr '\\0' ' '",
        "journal": "journalctl --no-pager",
        "container descriptions": "docker inspect $(docker ps -q) 2>/dev/null; true",
        "world-readable files": "find /etc /var/lib /usr/local /tmp /run -xdev -type f -perm -o=r -size -200k "
        "-not -path '/var/lib/docker/*' -exec cat {} + 2>/dev/null; true",
        "labfleet's code": "git --git-dir=/var/lib/labfleet/head/git/labfleet.git log -p --all 2>/dev/null; true",
    }
    places = {
        f"{what} of {machine.name}": machine.exec_as_root(["sh", "-c", script]).stdout.decode(errors="replace")
        for machine in provisioned_lab.machines.values()
        for what, script in looks.items()
    }
    # … and what provisioning printed and left at the client
    client = provisioned_lab.client
    places["provision's output"] = labfleet(client, "provision", "--inventory", "inventory.yml").stdout
    left = "find / -xdev -type f -newer /home/researcher/inventory.yml -size -2000k -not -path '/proc/*' "
    left += "-not -path '/home/*/.local/state/labfleet/remote/*/keys/*' -exec cat {} + 2>/dev/null; true"
    places["the client's files"] = client.exec_as_root(["sh", "-c", left]).stdout.decode(errors="replace")
    # Then none of them is anywhere
    assert [place for place, text in places.items() if any(secret in text for secret in secrets)] == []
    assert all("labfleet" in text for place, text in places.items() if place.startswith("journal"))


def test_keys_and_passwords_are_for_their_owners_only(provisioned_lab: Lab) -> None:
    # Given somebody with a login on the head, when they read the lab's files
    client = provisioned_lab.client
    script = (
        "cat /etc/labfleet/head/redis-password /var/lib/labfleet/head/keys/server.secret; ls /var/lib/labfleet/head"
    )
    said = client.run(["ssh", "head", script], user="anna")
    # Then they get nothing
    assert said.stdout == ""
    assert said.stderr.count("Permission denied") == 3
