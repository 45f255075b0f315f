"""What the facts of a machine mean: pure functions, one per topic.

A check returns what is wrong with its topic, nothing if all is well, and None where that is no matter of the machine's,
or cannot be known because of something that another check tells.
"""

from collections.abc import Callable, Iterable, Sequence

from runner.doctor import doors
from runner.doctor.clocks import clock_problem, this_computers
from runner.doctor.facts import HEAD, SERVICES, WORKER, Facts, Look, Unit
from runner.doctor.findings import (
    HERE,
    Commands,
    Finding,
    Problem,
    disk_problem,
    error,
    findings,
    memory_problem,
    warning,
)
from runner.doctor.known import Known, known
from runner.report.machine_table import SHORT
from runner.report.text import count, duration

Problems = Iterable[Problem] | None

#: Restarts of a service that are no coincidence, and the seconds for which it has to run to be well again.
RESTARTS, WELL_AGAIN = 3, 600.0


def _roles(look: Look) -> list[str]:
    """Return the roles that the inventory gives a machine."""
    return [role for role, has in ((HEAD, look.machine.is_head), (WORKER, look.machine.is_worker)) if has]


def _clock(look: Look, lab: Known) -> Problems:
    if look.machine.name not in lab.clocks:
        return None
    advice = lab.commands.on(look.machine, "timedatectl set-ntp true")
    return clock_problem(lab.clocks[look.machine.name], lab.right_clock, advice)


def _disk(look: Look, facts: Facts, lab: Known) -> Problems:
    problems = []
    for disk in facts.disks:
        within = facts.docker.root and disk.path.startswith(facts.docker.root)
        command = "docker system df" if within else f"du -xh --max-depth=2 {disk.path} | sort -h | tail -n 15"
        advice = f"{lab.commands.on(look.machine, command)}  shows what takes it"
        problems += disk_problem(f"the disk of {disk.path}", disk.free, disk.total, advice, disk.files_free)
    if not problems:
        problems = [
            error(f"nothing can be written below /var/lib/labfleet/{role}: {answer.found.disk}", _provision(look, lab))
            for role, answer in facts.checks.items()
            if answer.found and answer.found.disk
        ]
    return problems


def _memory(look: Look, facts: Facts, lab: Known) -> Problems:  # noqa: ARG001
    return memory_problem(facts.memory.free, facts.memory.total)


def _provisioned(look: Look, facts: Facts, lab: Known) -> Problems:
    return [
        error(f"the inventory has it as a {role}, but it is not provisioned as one", _provision(look, lab))
        for role in _roles(look)
        if role not in facts.settings or not facts.settings[role].image
    ]


def _provision(look: Look, lab: Known) -> str:
    return lab.commands.provision(look.machine)


# ---- Docker and services -----------------------------------------------------------------------------------------


def _docker(look: Look, facts: Facts, lab: Known) -> Problems:
    unit = facts.units.get("docker")
    if unit is None or not unit.installed:
        return [error("Docker is not installed", _provision(look, lab))]
    if unit.active != "active":
        return [
            error(f"Docker does not run (it is {unit.active})", lab.commands.on(look.machine, "systemctl start docker"))
        ]
    if not facts.docker.root:
        advice = lab.commands.on(look.machine, "systemctl restart docker")
        return [error(f"Docker runs, but does not answer: {facts.docker.complaint}", advice)]
    return []


def _services(look: Look, facts: Facts, lab: Known) -> Problems:
    names = [name for role in _roles(look) if role in facts.settings for name in SERVICES[role]]
    if not facts.docker.root:  # all but Redis go and come with it
        names = [name for name in names if name == "labfleet-redis"]
    found = [_unit(name, facts.units.get(name), look, lab) for name in names]
    return [problem for problem in found if problem] if names else None


def _unit(name: str, unit: Unit | None, look: Look, lab: Known) -> Problem | None:
    journal, start = lab.commands.journal(look.machine, name), lab.commands.on(look.machine, f"systemctl start {name}")
    if unit is None or not unit.installed:
        return error(f"{name} is not installed", _provision(look, lab))
    if unit.active == "active":
        if unit.restarts < RESTARTS or unit.seconds > WELL_AGAIN:
            return None
        times = count(unit.restarts, "time")
        return warning(f"{name} had to be started again {times}, the last time {duration(unit.seconds)} ago", journal)
    if unit.sub == "auto-restart":
        so_often = f", {count(unit.restarts, 'time')} so far" if unit.restarts else ""
        return error(f"{name} has ended ({unit.result}) and is started again{so_often}", journal)
    if unit.result == "success":
        why = "it was drained or stopped" if name == "labfleet-worker" else "it was stopped"
        return error(f"{name} does not run: {why}", start)
    return error(f"{name} does not run ({unit.active}, {unit.result})", f"{journal}\n{start}")


# ---- image and code ----------------------------------------------------------------------------------------------


def _image(look: Look, facts: Facts, lab: Known) -> Problems:
    roles = [role for role, settings in facts.settings.items() if settings.image]
    if not facts.docker.root or not roles:
        return None
    return [problem for role in roles for problem in _image_of(role, look, facts, lab)]


def _image_of(role: str, look: Look, facts: Facts, lab: Known) -> list[Problem]:
    """Return what is wrong with the image of a role: the settings name it, it is there, it is the head's, it runs."""
    wanted, there, right = facts.settings[role].image, facts.images.get(role), lab.image
    advice = _provision(look, lab)
    if right and wanted != right.name:
        return [error(f"its image is {_tag(wanted)}; that of the lab is {_tag(right.name)}", advice)]
    if there is None:
        return [error(f"the image {wanted} is not there", advice)]
    if right and there.image != right.image:
        return [error(f"its image {_tag(wanted)} is not the one that the head calls so", advice)]
    running = {name: facts.containers[name] for name in SERVICES[role] if name in facts.containers}
    wrong = [name for name, its in running.items() if (its.image, its.image_name) != (there.image, there.name)]
    return [error(f"{', '.join(wrong)} still runs another image than {_tag(wanted)}", advice)] if wrong else []


def _tag(image: str) -> str:
    return image.removeprefix("labfleet-worker:")


def _code(look: Look, facts: Facts, lab: Known) -> Problems:  # noqa: ARG001
    revisions = {name: there.revision for name, there in facts.containers.items() if there.revision}
    if not lab.deployed or not revisions:
        return None
    return [
        warning(
            f"{name} runs revision {revision[:SHORT]} of labfleet's code; deployed is {lab.deployed[:SHORT]}",
            lab.commands.upgrade(),
        )
        for name, revision in revisions.items()
        if revision != lab.deployed
    ]


def _toolchain(look: Look, facts: Facts, lab: Known) -> Problems:
    check = facts.checks.get(WORKER)
    if not check or not check.found or not lab.toolchain:
        return None
    own = check.found.toolchain
    if own == lab.toolchain:
        return []
    text = f"it compiles with {own or 'no compiler'}, {lab.toolchain_of} with {lab.toolchain}"
    return [error(text, _provision(look, lab))]


def _self_check(look: Look, facts: Facts, lab: Known) -> Problems:
    if not facts.checks:
        return None
    services = {HEAD: "labfleet-foreman", WORKER: "labfleet-worker"}
    return [
        warning(
            f"its service could not look at itself: {answer.complaint}",
            f"{lab.commands.journal(look.machine, services[role])}\nif its code is old: {lab.commands.upgrade()}",
        )
        for role, answer in facts.checks.items()
        if not answer.found
    ]


# ---- all of it ---------------------------------------------------------------------------------------------------

#: In the order in which they are told: what may be the cause of others comes first.
CHECKS: tuple[tuple[str, Callable[[Look, Facts, Known], Problems]], ...] = (
    ("disk", _disk),
    ("memory", _memory),
    ("settings", _provisioned),
    ("Docker", _docker),
    ("services", _services),
    ("image", _image),
    ("code", _code),
    ("compiler", _toolchain),
    ("self-check", _self_check),
    ("Redis", doors.redis),
    ("hub", doors.hub),
    ("stores", doors.stores),
    ("distcc", doors.distcc),
    ("ports", doors.ports),
    ("strangers", doors.strangers),
    ("uploads", doors.uploads),
)


def of_machines(looks: Sequence[Look], commands: Commands) -> list[Finding]:
    """Return everything that looks at the machines of an inventory tell."""
    lab = known(looks, commands)
    found = findings(HERE, "clock", this_computers(lab.clocks)) if lab.clocks else []
    for look in looks:
        name = look.machine.name
        found += findings(name, "login", [error(look.trouble, look.hint)] if look.trouble else [])
        found += findings(name, "clock", _clock(look, lab))
        if look.facts:
            for topic, check in CHECKS:
                found += findings(name, topic, check(look, look.facts, lab))
    return found
