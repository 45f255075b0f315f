"""What the foreman tells of the lab's machines: all that a person sees of them who may not log in there.  Pure."""

from collections import Counter
from collections.abc import Collection, Iterable

from runner.doctor.findings import Finding, Problem, disk_problem, error, findings, memory_problem, warning
from runner.messages import HostReport, Machines, MachineStatus
from runner.report.machine_table import SHORT
from runner.report.text import count

#: What to do about a machine that one may not log in to.
TELL = "tell the lab's administrator, who finds out more with: labfleet doctor"

#: Topics that a look at a machine itself tells better.
_LOOKED_AT = frozenset(("disk", "memory", "image", "code"))


def of_foreman(
    lab: Machines, foreman: str, looked_at: Collection[str] = (), explained: Collection[str] = ()
) -> list[Finding]:
    """Return what the foreman tells of each machine.

    ``foreman``: what it is called as a machine; ``looked_at``: machines that were asked themselves; ``explained``:
    those of which it is said already what is wrong, and perhaps why the foreman hears nothing.
    """
    images = Counter(status.report.image for status in lab.machines if status.report and status.report.image)
    usual = images.most_common(1)[0][0] if images else ""
    found = findings(foreman, "code", _foreman(lab)) if lab.deployed else []
    for status in lab.machines:
        if status.name in explained:
            continue
        topics = {
            "state": _state(status, status.name in looked_at),
            **(_reported(status.report, usual, lab.deployed) if status.report and status.state != "away" else {}),
        }
        for topic, problems in topics.items():
            if not (topic in _LOOKED_AT and status.name in looked_at):
                found += findings(status.name, topic, problems)
    return found


def _foreman(lab: Machines) -> list[Problem]:
    if lab.revision == lab.deployed:
        return []
    text = f"the foreman runs revision {lab.revision[:SHORT]} of labfleet's code; deployed is {lab.deployed[:SHORT]}"
    return [warning(text, "the administrator runs: labfleet upgrade")]


def _state(status: MachineStatus, looked_at: bool) -> list[Problem]:
    if status.state == "ready":
        return []
    text = f"{status.state}: {status.reason}"
    if status.state == "draining":
        again = (
            f"labfleet undrain {status.name}; or on that machine: systemctl start labfleet-worker, when it has ended"
        )
        return [warning(text, again)]
    if status.state == "unwell":
        return [
            error(text, f"when that is mended, it gets runs again by itself, or by: labfleet undrain {status.name}")
        ]
    seems_well = "nothing wrong is seen on it; on that machine: journalctl -n 30 -u labfleet-worker"
    return [error(text, seems_well if looked_at else f"is it switched on?  If so, {TELL}")]


def _reported(report: HostReport, usual: str, deployed: str) -> dict[str, Iterable[Problem]]:
    """Return what a machine's own report says, by topic."""
    topics: dict[str, Iterable[Problem]] = {
        "disk": disk_problem("its disk", report.disk_free, report.disk_total, TELL),
        "memory": memory_problem(report.memory_free, report.memory_total),
        "load": _load(report),
    }
    if report.image:
        topics["image"] = _image(report, usual)
    if deployed and report.revisions:
        topics["code"] = _code(report.revisions[0], deployed)
    return topics


def _load(report: HostReport) -> list[Problem]:
    if report.load <= 2 * report.slots + 2:
        return []
    load = f"its load is {report.load:.1f} with {count(report.slots, 'slot')}"
    text = f"{load}: something else runs there, or runs use several cores each"
    return [warning(text, "runs there take longer; labfleet_slots says how many there may be")]


def _image(report: HostReport, usual: str) -> list[Problem]:
    if report.image == usual:
        return []
    own, others = (image.removeprefix("labfleet-worker:") for image in (report.image, usual))
    return [error(f"its image is {own}; that of the others is {others}", "the administrator runs: labfleet provision")]


def _code(newest: str, deployed: str) -> list[Problem]:
    if newest == deployed:
        return []
    text = f"it runs revision {newest[:SHORT]} of labfleet's code; deployed is {deployed[:SHORT]}"
    return [warning(text, "the administrator runs: labfleet upgrade")]
