"""What becomes of runs on a host, whatever happens to them: agent, slots and simulations are real processes."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from runner import checkouts, disk, shell, usage
from runner.job_queue import WorkerEnd
from runner.log_stream import Piece
from runner.messages import (
    CampaignRefused,
    ChunkEnded,
    ChunkStarted,
    Held,
    HostUp,
    ProductMissing,
    RunProgressed,
    RunStarted,
    SlotDied,
)
from runner.model import Attempt, Chunk, Kind, Limits, Outcome, Prepared, Run, decode
from runner.paths import AttemptPaths, lock_of, use_of
from tests.conftest import eventually, needs
from tests.lab_fixture import LocalLab
from tests.stored_campaigns import needed, product
from tests.worker_fixture import Host, is_alive, is_zombie, pids_in, running_host, seconds_until_gone

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    needs("redis-server")
    with running_host(tmp_path / "home") as host:
        yield host


# ---- while a run runs --------------------------------------------------------------------------------------------


def test_a_run_s_progress_and_the_memory_of_all_its_processes_are_told(host: Host) -> None:
    # Given a run that prints what Cmdenv prints in express mode, and has a child that takes 50 MB
    host.campaign(
        """
        python3 -c 'import signal; taken = b"x" * 50_000_000; signal.pause()' &
        echo '** Event #256   t=1.5   Elapsed: 1s (0m 01s)  14% completed  (14% total)'
        echo '     Speed:     ev/sec=1.5e+06   simsec/sec=2   ev/simsec=500'
        sleep 60
        """
    )
    # When it runs
    host.put(0)
    # Then time, percentage and speeds are told, with the memory that it takes in all
    eventually(lambda: any(told.memory > 50_000_000 for told in host.events(RunProgressed)), "that the memory is told")
    told = host.events(RunProgressed)[-1]
    assert (told.campaign, told.run, told.sim_time, told.percent) == ("c1", 0, 1.5, 14.0)
    assert (told.speed, told.events_per_second) == (2.0, 1.5e6)
    assert told.memory < 200_000_000


# ---- before a run begins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_there", [True, False])
def test_a_chunk_whose_files_the_head_does_not_give_out_was_not_tried(host: Host, is_there: bool) -> None:
    # Given a campaign without a checkout, and a git server that does not answer, or has not got the project
    campaign = host.campaign("exit 0")
    usage.remove(host.paths.checkout(campaign.tree, "k" * 20))
    product(host.paths, "k" * 20, 0.0)
    if is_there:
        host.paths.repository("p").mkdir(parents=True)
    # When a chunk comes
    chunk = host.put(0, 1)
    ended = host.ended(chunk)
    # Then no run has begun; nothing was tried if that may be over soon, and the runs count as lost if it never will
    assert ended.unfinished == chunk.attempts
    assert not host.events(RunStarted)
    assert ended.not_tried is is_there
    assert ("does not answer" if is_there else "there is no repository") in ended.error


def test_a_slot_asks_for_a_product_until_it_is_there_or_nobody_wants_it(host: Host) -> None:
    # Given a campaign without a checkout, whose product is nowhere, when a chunk comes
    campaign = host.campaign("exit 0")
    usage.remove(host.paths.checkout(campaign.tree, "k" * 20))
    chunk = host.put(0, 1)
    # Then the slot says so again and again, and keeps the chunk
    eventually(lambda: len(host.events(ProductMissing)) >= 2, "another question")
    assert not host.events(ChunkEnded)
    # … until there is a product: now it asks for the commit, which is nowhere either
    product(host.paths, "k" * 20, 0.0)
    assert "there is no repository" in host.ended(chunk).error
    # When the next campaign's is nowhere, then the slot lets go as soon as nobody wants the chunk, and blames nobody
    host.jobs.keep_campaign(msgspec.structs.replace(campaign, id="c2", tree="u" * 20))
    host.jobs.keep_prepared("c2", Prepared("m" * 20, False, ("./simulate",), "", (Run(0, {}),)))
    other = Chunk("c2-0", "c2", (Attempt(0, 1),), shared=False)
    host.jobs.put_chunk(host.name, other)
    eventually(lambda: any(event.campaign == "c2" for event in host.events(ProductMissing)), "the question")
    host.jobs.revoke("c2-0")
    ended = host.ended(other)
    assert (ended.unfinished, ended.error) == (other.attempts, "")


def test_a_slot_asks_for_the_product_of_a_reference(host: Host) -> None:
    # Given a campaign whose checkout is there, and that needs a project whose product is nowhere
    campaign = host.campaign("exit 0")
    host.jobs.keep_campaign(msgspec.structs.replace(campaign, id="c2", references=(needed("c" * 40),)))
    prepared = Prepared("k" * 20, False, ("./simulate",), "", (Run(0, {}),), {"inet": "r" * 20})
    host.jobs.keep_prepared("c2", prepared)
    # When a chunk comes
    other = Chunk("c2-0", "c2", (Attempt(0, 1),), shared=False)
    host.jobs.put_chunk(host.name, other)
    # Then the slot says that it is this one which is missing, and keeps the chunk until nobody wants it
    eventually(lambda: ProductMissing("c2", "r" * 20) in host.events(ProductMissing), "the question")
    host.jobs.revoke("c2-0")
    ended = host.ended(other)
    assert (ended.unfinished, ended.error) == (other.attempts, "")


def test_a_slot_does_the_runs_of_a_resumed_campaign_with_the_product_that_it_has_now(host: Host) -> None:
    # Given a slot that has done a run of a campaign, which was built anew since
    campaign = host.campaign("exit 0")
    host.ended(host.put(0))
    product(host.paths, "m" * 20, 0.0)
    other = host.paths.checkout(campaign.tree, "m" * 20)
    shutil.copytree(host.paths.checkout(campaign.tree, "k" * 20), other)
    (other / "do.sh").write_text("echo anew >$STEM.sca")
    checkouts.note_boot(other)
    host.jobs.keep_prepared("c1", msgspec.structs.replace(WorkerEnd(host.redis).prepared("c1"), key="m" * 20))
    # When a chunk of it comes, then the program that is started is the new one, and the outcomes tell which it was
    chunk = Chunk("c1-again", "c1", (Attempt(1, 1),), shared=False, key="m" * 20)
    host.jobs.put_chunk(host.name, chunk)
    assert host.ended(chunk).error == ""
    outcomes = host.outcomes(2)
    first, second = outcomes[0], outcomes[1]
    assert (first.key, second.key) == ("k" * 20, "m" * 20)
    assert (len(first.files), len(second.files)) == (0, 1)


def test_a_slot_that_could_not_begin_another_campaign_still_holds_what_it_uses(host: Host) -> None:
    # Given a slot that has done a campaign's run, and then could not get another campaign's files
    campaign = host.campaign("exit 0")
    host.ended(host.put(0))
    product(host.paths, "m" * 20, 0.0)
    host.jobs.keep_campaign(msgspec.structs.replace(campaign, id="c2", tree="u" * 20))
    host.jobs.keep_prepared("c2", Prepared("m" * 20, False, ("./simulate",), "", (Run(0, {}),)))
    other = Chunk("c2-0", "c2", (Attempt(0, 1),), shared=False)
    host.jobs.put_chunk(host.name, other)
    assert host.ended(other).error
    # When it does a run of the first one again, then nobody may remove the checkout from under it
    host.ended(host.put(1))
    with usage.if_free(use_of(host.paths.checkout(campaign.tree, "k" * 20)), 0.0) as is_free:
        assert not is_free


def test_what_a_run_leaves_arrives_whatever_modes_it_has(host: Host) -> None:
    # Given a run that leaves a file that nobody may read, and one in a folder that nobody may enter
    closed = "mkdir results/closed; echo vector >results/closed/${STEM#*/}.vec; chmod 0 results/closed"
    host.campaign(f"echo scalar >$STEM.sca; chmod 200 $STEM.sca; {closed}")
    # When it is done, then both are delivered, and can be read
    chunk = host.put(0)
    outcome = host.outcomes(1)[0]
    parcel = AttemptPaths(host.paths.incoming / outcome.parcel)
    found = {file.path.rpartition(".")[2]: parcel.file(file.path) for file in outcome.files}
    assert {kind: path.read_text() for kind, path in found.items()} == {"sca": "scalar\n", "vec": "vector\n"}
    assert found["sca"].stat().st_mode & 0o777 == 0o600
    # And nothing is left of it
    assert host.ended(chunk).error == ""
    assert not list(host.paths.private.glob("slot1.*"))


# ---- runs that share a process -----------------------------------------------------------------------------------


def test_what_an_ini_file_changes_is_found_out_anew(host: Host) -> None:
    # Given runs that leave the same whether they share a process or not, of which a slot has found that out
    plain = "echo $RUN >$STEM.sca"
    alone = msgspec.structs.replace(host.campaign(plain), batch=None)
    host.jobs.keep_campaign(alone)
    assert not host.ended(host.put(0, 1, shared=True)).mixed_up
    # When the same program records vectors by an edited ini file, and those depend on the run before
    seen = f"{host.paths.home}/seen.$PPID"
    recording = f"[ -e {seen} ] && echo later >$STEM.vec || echo first >$STEM.vec; touch {seen}; {plain}"
    checkout = host.paths.checkout("u" * 20, "k" * 20)
    shutil.copytree(host.paths.checkout(alone.tree, "k" * 20), checkout)
    (checkout / "do.sh").write_text(recording)
    checkouts.note_boot(checkout)
    host.jobs.keep_campaign(msgspec.structs.replace(alone, id="c2", tree="u" * 20))
    runs = tuple(Run(number, {"x": str(number), "repetition": "0"}) for number in (2, 3))
    host.jobs.keep_prepared("c2", Prepared("k" * 20, False, ("./simulate",), "", runs))
    chunk = Chunk("c2-0", "c2", (Attempt(2, 1), Attempt(3, 1)), shared=True)
    host.jobs.put_chunk(host.name, chunk)
    # Then that is found out too, and each leaves what it leaves alone
    assert host.ended(chunk).mixed_up
    for run in (2, 3):
        parcel = AttemptPaths(host.paths.incoming / host.outcomes(4)[run].parcel)
        assert parcel.file(f"results/General-x={run}-#0.vec").read_text() == "first\n"


# ---- limits ------------------------------------------------------------------------------------------------------

STATUS = "** Event #100   t=$1   Elapsed: 1s (0m 01s)"

#: Takes 200 MB, in a process of a session of its own.
GREEDY = "setsid python3 -c \"x = bytearray(200_000_000); open('big', 'w').close(); import time; time.sleep(60)\""


@pytest.mark.parametrize(
    ("limits", "do", "kind", "error"),
    [
        (Limits(timeout=5), "sleep 60", "timeout", "took longer than 5 s"),
        (
            Limits(stall=5),
            f'say() {{ echo "{STATUS}"; }}; say 7; while :; do say 12.5; sleep 0.1; done',
            "stalled",
            "the program told no simulation time beyond 12.5 s for 5 s",
        ),
        (Limits(stall=5), "sleep 60", "stalled", "the program told no simulation time beyond 0 s for 5 s"),
        (Limits(memory=100_000_000), GREEDY, "out-of-memory", " MB of memory, 100 MB are allowed"),
    ],
)
def test_a_run_that_takes_too_much_is_ended_and_the_others_go_on(
    host: Host, limits: Limits, do: str, kind: Kind, error: str
) -> None:
    # Given three runs that share a process, of which the second goes beyond a limit
    host.campaign(f"echo $RUN >$STEM.sca; [ $RUN != 1 ] || {{ echo $$ >{host.paths.home}/pid; {do}; }}", limits=limits)
    # When they are done
    chunk = host.put(0, 1, 2, shared=True)
    ended = host.ended(chunk)
    outcomes = host.outcomes(3)
    # Then it has failed with the reason, in figures, the others are done, and nothing of it is left
    assert {run: outcome.kind for run, outcome in outcomes.items()} == {0: "done", 1: kind, 2: "done"}
    assert error in outcomes[1].error
    assert ended.unfinished == ()
    assert not any(map(is_alive, pids_in(host.paths.home / "pid")))


def test_simulation_time_that_advances_slowly_is_no_stall(host: Host) -> None:
    # Given a run that takes longer than it may stand still, and tells of one event after the other, in normal mode
    line = "** Event #$n  t=$n.5   Net.host (Host, id=4)   on selfmsg"
    host.campaign(f'for n in $(seq 14); do echo "{line}"; sleep 0.5; done', limits=Limits(stall=5))
    # When it is done
    host.put(0)
    # Then it is done
    assert host.outcomes(1)[0].kind == "done"


def test_a_simulation_gives_way_to_its_slot(host: Host) -> None:
    # Given a run, when it looks at what the kernel would end first
    host.campaign("cat /proc/self/oom_score_adj >$STEM.sca")
    host.put(0)
    outcome = host.outcomes(1)[0]
    # Then that is the run, and not the slot
    (file,) = outcome.files
    assert AttemptPaths(host.paths.incoming / outcome.parcel).file(file.path).read_text() == "1000\n"
    assert Path(f"/proc/{host.worker('slot1')}/oom_score_adj").read_text() != "1000\n"


# ---- nothing that a run started survives it ----------------------------------------------------------------------


def leaves(folder: Path) -> str:
    """Return a script that leaves processes of every kind; each writes its id to a file."""
    stay = "echo $$ >{file}.new; mv {file}.new {file}; trap '' TERM; while :; do sleep 1; done"
    kinds = {"child": "sh -c", "session": "setsid sh -c", "twice": "setsid sh -c", "bare": "env -i setsid sh -c"}
    lines = []
    for name, how in kinds.items():
        script = f"{name}.sh"
        lines.append(f"cat >{script} <<'END'\n{stay.format(file=folder / name)}\nEND")
        # with a parent that ends at once
        lines.append(f'{how} "PATH=$PATH sh ./{script} >/dev/null 2>&1 & exit 0" &')
    lines.append(f"while [ $(ls {folder} | grep -vc new) != {len(kinds)} ]; do sleep 0.05; done")
    return "\n".join(lines) + "\n"


def left_by(folder: Path) -> list[int]:
    return pids_in(*(folder / name for name in ("child", "session", "twice", "bare")))


@pytest.mark.parametrize("end", ["exit 0", "exit 3", "kill -SEGV $$", "kill -KILL $PPID; sleep 60"])
def test_nothing_that_a_run_started_survives_it(host: Host, tmp_path: Path, end: str) -> None:
    # Given a run that starts processes in sessions of their own, without parents and without environment
    left = tmp_path / "left"
    left.mkdir()
    host.campaign(f"{leaves(left)}\n{end}")
    # When it ends, in whatever way
    host.put(0)
    host.outcomes(1)
    # Then they are gone, and no zombies either
    assert not any(map(is_alive, left_by(left)))
    assert not shell.children(host.worker("slot1"))


def test_nothing_that_a_run_started_survives_its_slot(host: Host, tmp_path: Path) -> None:
    # Given a run with processes that hide
    left = tmp_path / "left"
    left.mkdir()
    host.campaign(f"{leaves(left)}\nsleep 600")
    host.put(0)
    pids = left_by(left)
    # When its slot is killed
    os.kill(host.worker("slot1"), signal.SIGKILL)
    # Then they are gone, and what the slot had half done, too
    eventually(lambda: host.events(SlotDied), "the news of it")
    assert not any(map(is_alive, pids))
    assert not list(host.paths.private.glob("slot1.*"))
    eventually(lambda: not any(map(is_zombie, shell.children(host.agent.pid))), "that the agent took note of their end")


def test_nothing_that_a_run_started_survives_the_agent(own_lab: LocalLab, scripted: Path, tmp_path: Path) -> None:
    # Given a lab whose run has processes that hide, and is over after its second attempt
    left = tmp_path / "left"
    left.mkdir()
    (scripted / "do.sh").write_text(f"[ ! -e {left}/again ] || exit 0\n{leaves(left)}\nsleep 600")
    client = own_lab.start("campaign", "--runs", "0", cwd=scripted)
    pids = left_by(left)
    (left / "again").touch()
    # When its agent is killed
    agent = own_lab.service("agent")
    assert agent
    os.kill(agent, signal.SIGKILL)
    # Then they are gone, although nothing tells them from others, and the campaign goes on
    seconds_until_gone(pids, time.monotonic())
    client.communicate(timeout=60)
    assert client.returncode == 0


# ---- nobody wants it any more ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancelled", "revoked"])
def test_what_nobody_wants_any_more_is_ended_within_five_seconds(host: Host, how: str) -> None:
    # Given a run that does not care about SIGTERM
    host.campaign(f"echo $$ >{host.paths.home}/pid; trap '' TERM; while :; do sleep 0.1; done")
    chunk = host.put(0, 1)
    pids = pids_in(host.paths.home / "pid")
    # When its campaign is cancelled, or its chunk revoked
    began = time.monotonic()
    if how == "cancelled":
        host.jobs.mark_cancelled("c1")
    else:
        host.jobs.revoke(chunk.id)
    # Then it is gone in time, and told of as such; what had not begun never does
    assert seconds_until_gone(pids, began) < 5
    assert host.outcomes(1)[0].kind == "cancelled"
    assert host.ended(chunk).unfinished == (Attempt(1, 1),)
    assert len(host.events(RunStarted)) == 1


def test_a_chunk_that_was_revoked_before_it_began_never_does(host: Host) -> None:
    # Given a chunk that is revoked, when a slot takes it
    host.campaign("exit 0")
    host.jobs.revoke("c1-0-1")
    chunk = host.put(0, 1)
    # Then no run begins
    assert host.ended(chunk).unfinished == chunk.attempts
    assert not host.events(RunStarted)


# ---- Redis is away -----------------------------------------------------------------------------------------------


def test_a_simulation_needs_no_redis(host: Host) -> None:
    # Given a run under way that prints, and somebody who takes the logs
    logs: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    logs.bind(host.paths.endpoint("hub-in"))
    go = host.paths.home / "go"
    host.campaign(f"while [ ! -e {go} ]; do sleep 0.05; done; echo went on; sleep 60", limits=Limits(timeout=12))
    chunk = host.put(0)
    eventually(lambda: host.events(RunStarted), "the run's begin")
    # When Redis hangs
    host.server.send_signal(signal.SIGSTOP)
    go.touch()
    # Then what it prints still comes
    printed = b""
    deadline = time.monotonic() + 10
    while b"went on" not in printed and time.monotonic() < deadline:
        if logs.poll(100):
            printed += Piece.parse(logs.recv_multipart()[1:]).data
    logs.close(0)
    assert b"went on" in printed
    # and its limits are watched
    eventually(lambda: list(host.paths.incoming.glob("c1.0.1.*")), "a delivery", 30)
    # And once Redis is back, everything is told in its order
    host.server.send_signal(signal.SIGCONT)
    assert host.outcomes(1)[0].kind == "timeout"
    assert host.ended(chunk).unfinished == ()
    told = [type(event) for event in host.events(ChunkStarted | RunStarted | ChunkEnded)]  # type: ignore[arg-type]
    assert told == [ChunkStarted, RunStarted, ChunkEnded]


def is_silent_about(host: Host, name: str) -> bool:
    """Say whether a worker is not started within two seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        if name in host.workers():
            return False
        pause.wait(0.02)
    return True


def test_a_dead_slot_is_replaced_when_the_foreman_knows_of_its_death(host: Host) -> None:
    # Given a Redis that hangs
    host.campaign("exit 0")
    host.server.send_signal(signal.SIGSTOP)
    # When a slot is killed
    os.kill(host.worker("slot1"), signal.SIGKILL)
    log = host.paths.service_logs / "agent.log"
    eventually(lambda: "slot1 ended with status -9" in log.read_text(), "that the agent sees it")
    # Then there is no other one yet
    assert is_silent_about(host, "slot1")
    assert host.agent.poll() is None
    # And when Redis is back, then the foreman hears of the death before it hears of the new slot
    host.server.send_signal(signal.SIGCONT)
    host.ended(host.put(0))
    told = [type(event) for event in host.events(SlotDied | ChunkStarted)]  # type: ignore[arg-type]
    assert told == [SlotDied, ChunkStarted]


def test_an_agent_that_begins_while_redis_is_away_starts_its_workers_later(host: Host) -> None:
    # Given a Redis that hangs, and chunks in the queue
    host.campaign("exit 0")
    chunk = Chunk("c1-k", "c1", (Attempt(0, 1),), shared=False)
    queue = host.name
    host.server.send_signal(signal.SIGSTOP)
    # When an agent begins
    host.replace_agent()
    # Then it is there, and starts nothing yet
    assert is_silent_about(host, "slot1")
    assert host.agent.poll() is None
    # And when Redis is back, then the foreman hears of its begin before it hears of its slot
    host.server.send_signal(signal.SIGCONT)
    host.jobs.put_chunk(queue, chunk)
    host.ended(chunk)
    told = [type(event) for event in host.events(HostUp | ChunkStarted)]  # type: ignore[arg-type]
    assert told == [HostUp, HostUp, ChunkStarted]


# ---- leases ------------------------------------------------------------------------------------------------------


def test_reports_tell_what_each_slot_has(host: Host) -> None:
    # Given three runs in one process, of which the second waits
    go = host.paths.home / "go"
    host.campaign(f"[ $RUN != 1 ] || while [ ! -e {go} ]; do sleep 0.05; done")
    chunk = host.put(0, 1, 2, shared=True)
    # When it is under way, then the report says so, and names it first: none of the three is safe yet
    expected = Held("slot1", "c1", chunk.id, (Attempt(1, 1), Attempt(0, 1), Attempt(2, 1)))
    eventually(lambda: host.holds() == (expected,), "the lease")
    # And when the slot is stopped, then reports say that it is late with telling, and soon nothing of it
    slot = host.worker("slot1")
    os.kill(slot, signal.SIGSTOP)
    began = time.monotonic()
    eventually(lambda: any(held.age > 4 for held in host.reports()[-1].holds), "a report that says so")
    eventually(lambda: host.holds() == (), "a report without the lease")
    assert 7 < time.monotonic() - began < 25
    # And when it wakes up, then it has it again, until all is done
    os.kill(slot, signal.SIGCONT)
    eventually(lambda: host.holds() == (expected,), "the lease")
    go.touch()
    assert len(host.outcomes(3)) == 3
    eventually(lambda: host.holds() == (), "a report without the lease")


def test_reports_tell_what_the_builder_has(host: Host) -> None:
    # Given a builder that has to wait for a mirror
    host.campaign("exit 0")
    with usage.held(lock_of(host.paths.mirror("p"))):
        # When it gets a build job, then the report says so
        host.jobs.put_build("c1")
        eventually(lambda: Held("builder", "c1") in host.holds(), "the builder's lease")
    # And when it is through, then it has nothing
    eventually(lambda: host.events(CampaignRefused), "the end of the build job")
    eventually(lambda: host.holds() == (), "a report without the lease")


def test_reports_tell_what_waits_in_the_spool(host: Host) -> None:
    # Given a head that takes nothing: its folder is a file
    host.paths.incoming.write_text("in the way")
    host.campaign("exit 0")
    # When a run is done
    chunk = host.put(0)
    assert host.ended(chunk).unfinished == ()
    # Then its parcel is told of, and that it cannot be delivered
    eventually(lambda: host.reports()[-1].trouble, "the trouble")
    report = host.reports()[-1]
    assert report.trouble.startswith("results cannot be delivered to the head: ")
    (name,) = report.spool
    assert name.startswith("c1.0.1.")
    # And when the head is well again, then it is delivered, and all is well
    host.paths.incoming.unlink()
    assert host.outcomes(1)[0].parcel == name
    eventually(lambda: host.reports()[-1].trouble == "", "the end of the trouble")
    assert host.reports()[-1].spool == ()


# ---- a full disk -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_host(tmp_path: Path) -> Iterator[Host]:
    """A host whose disk has 8 MB."""
    needs("redis-server")
    home = tmp_path / "small"
    home.mkdir()
    try:
        shell.run(["mount", "-t", "tmpfs", "-o", "size=8m", "labfleet-test", str(home)])
    except (OSError, shell.CommandFailed) as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    try:
        with running_host(home) as host:
            yield host
    finally:
        shell.run(["umount", "--lazy", str(home)])


def fill(home: Path, left: int) -> Path:
    """Fill a disk but for some bytes."""
    info = os.statvfs(home)
    ballast = home / "ballast"
    ballast.write_bytes(bytes(info.f_bavail * info.f_frsize - left))
    return ballast


def test_no_run_begins_on_a_full_disk(small_host: Host) -> None:
    # Given a disk with less than its reserve
    host = small_host
    host.campaign("exit 0")
    ballast = fill(host.paths.home, 500_000)
    # When a chunk comes
    chunk = host.put(0, 1)
    # Then no run begins, the reason has figures, and the machine says so itself
    ended = host.ended(chunk)
    assert ended.unfinished == chunk.attempts
    assert ended.error.startswith(f"the disk of {host.paths.home} is full: ")
    assert "1.05 MB have to be" in ended.error
    assert not host.events(RunStarted)
    assert host.reports()[-1].trouble.startswith(f"the disk of {host.paths.home} is full: ")
    # And when there is room again, then the runs are done
    ballast.unlink()
    eventually(lambda: host.reports()[-1].trouble == "", "the end of the trouble")
    host.put(0, 1)
    assert {outcome.kind for outcome in host.outcomes(2).values()} == {"done"}


@pytest.mark.parametrize("left", [0, 100])
def test_what_a_run_leaves_that_fills_the_disk_is_not_trusted(small_host: Host, left: int) -> None:
    # Given a run that fills the disk, but for some kB, and ends with 0; another one is done before it
    host = small_host
    count = f"$(( $(df --output=avail -k . | tail -1) - {left} ))"
    fill_it = f"dd if=/dev/zero of=$STEM.vec bs=1k count={count} 2>/dev/null || true"
    host.campaign(f"[ $RUN = 0 ] || {fill_it}; echo well >$STEM.sca || true")
    # When they are done
    chunk = host.put(0, 1)
    ended = host.ended(chunk)
    # Then the other one is, this one is not, and nothing of it is left anywhere
    assert ended.unfinished == (Attempt(1, 1),)
    assert ended.error.startswith(f"the disk of {host.paths.home} is full: ")
    assert {run: outcome.kind for run, outcome in host.outcomes(1).items()} == {0: "done"}
    assert not list(host.paths.spool.iterdir())
    assert not list(host.paths.private.iterdir())
    assert not disk.shortage(host.paths.home)


def test_what_cannot_be_sealed_for_want_of_room_waits(small_host: Host) -> None:
    # Given a run that is done, and then a disk without any room before its files were read
    host = small_host
    host.campaign("for n in 1 2 3 4 5 6 7 8 9; do echo $n >$STEM-$n.sca; done")
    os.kill(host.agent.pid, signal.SIGSTOP)  # so nothing is sealed yet
    chunk = host.put(0)
    host.ended(chunk)
    ballast = fill(host.paths.home, 0)
    os.kill(host.agent.pid, signal.SIGCONT)
    host.next_report()
    # Then what is in the spool is whole all the time
    (parcel,) = (path for path in host.paths.spool.iterdir() if not path.name.startswith("."))
    assert decode((parcel / "outcome.json").read_bytes(), Outcome).run == 0
    # And when there is room, it is delivered
    ballast.unlink()
    outcome = host.outcomes(1)[0]
    assert all(file.sha256 for file in outcome.files)
    assert len(outcome.files) == 9
