"""What is wrong with the lab's doors: workers have to be let in, and strangers not."""

from collections.abc import Iterable
from ipaddress import ip_address

from runner.doctor.facts import HEAD, WORKER, Facts, Look
from runner.doctor.findings import Problem, error, warning
from runner.doctor.known import Known
from runner.knock import Knock, Met
from runner.report.text import count, duration
from runner.self_check import SelfCheck

Problems = Iterable[Problem] | None

#: Seconds that finished runs may wait to be sent.
UNSENT = 600.0


def _worker(facts: Facts) -> SelfCheck | None:
    """Return what a worker found out about itself."""
    answer = facts.checks.get(WORKER)
    return answer.found if answer else None


def _is_gone(knock: Knock) -> bool:
    return knock.met in (Met.CLOSED, Met.SILENT)


def _blocked(what: str, knock: Knock, look: Look, lab: Known) -> Problem:
    """Return that a service of the head's, which runs, cannot be reached from a machine."""
    ports = " and ".join(map(str, lab.worker_ports))
    advice = f"does a firewall of {lab.head_machine.name} let {look.machine.name} in, at the ports {ports}?"
    return error(f"{what} cannot be reached from here, though it runs: {knock.said}", advice)


def redis(look: Look, facts: Facts, lab: Known) -> Problems:
    """Judge whether the machine's services get into Redis."""
    found = {role: answer.found.redis for role, answer in facts.checks.items() if answer.found}
    if not found:
        return None
    problems = []
    for role, knock in found.items():
        if knock.met is Met.REFUSED:
            problems.append(error(f"Redis refuses the password of this {role}: {knock.said}", lab.commands.provision()))
        elif knock.met is Met.UNTRUSTED:
            text = f"the certificate of Redis does not convince this {role}: {knock.said}"
            problems.append(error(text, lab.commands.provision()))
        elif knock.met is not Met.LET_IN and not lab.head_runs("labfleet-redis"):
            return None  # that is told of the head
        elif knock.met is Met.CLOSED:
            problems.append(_blocked("Redis", knock, look, lab))
        elif knock.met is Met.SILENT:
            text = f"Redis runs, but gives this {role} no answer that makes sense: {knock.said}"
            problems.append(error(text, lab.commands.journal(lab.head_machine, "labfleet-redis")))
    return problems


def hub(look: Look, facts: Facts, lab: Known) -> Problems:
    """Judge whether the hub takes this worker's logs."""
    check = _worker(facts)
    if check is None or check.hub is None:
        return None
    if check.hub.met is Met.REFUSED:
        advice = lab.commands.on(look.machine, "systemctl restart labfleet-worker")
        return [error("the log hub does not know this worker's key", f"{advice}  tells it; runs there begin again")]
    if check.hub.met is Met.UNTRUSTED:
        advice = lab.commands.on(look.machine, "systemctl restart labfleet-worker")
        return [error("the log hub has another key than the one that the foreman told", advice)]
    if _is_gone(check.hub):
        return [_blocked("the log hub", check.hub, look, lab)] if lab.head_runs("labfleet-hub") else None
    return []


def stores(look: Look, facts: Facts, lab: Known) -> Problems:
    """Judge whether the head's stores let this worker's SSH keys in."""
    check = _worker(facts)
    if check is None or not check.stores:
        return None
    wrong = {kind: knock for kind, knock in check.stores.items() if knock.met is not Met.LET_IN}
    if not wrong:
        return []
    if lab.head is None:
        return None
    why = next(iter(wrong.values()))
    if all(_is_gone(knock) for knock in wrong.values()):
        return [error(f"the head's SSH server does not answer this worker: {why.said}", "does a firewall keep it out?")]
    *others, last = wrong
    keys = f"keys for {', '.join(others)} and {last}" if others else f"key for {last}"
    text = f"the head does not let in this worker's SSH {keys}: {why.said}"
    return [error(text, lab.commands.provision(look.machine))]


def distcc(look: Look, facts: Facts, lab: Known) -> Problems:
    """Judge whether a builder gets help."""
    check = _worker(facts)
    if check is None or not check.distcc:
        return None
    problems = []
    for entry, knock in check.distcc.items():
        helper = lab.worker_of(entry)
        its_facts = lab.machines[helper.name].facts if helper else None
        if knock.met is Met.LET_IN or helper is None:
            continue
        unit = its_facts.units.get("labfleet-distcc") if its_facts else None
        if its_facts is None or (unit and unit.active != "active"):
            continue  # it is told there why
        if knock.met is Met.REFUSED:
            text = f"distcc of {helper.name} takes this builder for a stranger"
            problems.append(error(text, lab.commands.provision(helper)))
        else:
            text = f"distcc of {helper.name} cannot be used: {knock.said}"
            advice = f"does a firewall of {helper.name} keep {look.machine.name} out?"
            problems.append(error(text, f"{lab.commands.journal(helper, 'labfleet-distcc')}\n{advice}"))
    return problems


def ports(look: Look, facts: Facts, lab: Known) -> Problems:
    """Judge where the services listen to people: nobody but the head itself may reach that."""
    settings = facts.settings.get(HEAD)
    if not settings or not settings.ports or not facts.docker.root:
        return None
    problems = []
    for name, port in (
        ("labfleet-foreman", settings.ports.foreman),
        ("labfleet-hub", settings.ports.hub),
        ("labfleet-web", settings.ports.web),
        ("labfleet-web", settings.ports.dashboard),
    ):
        if not port:  # provisioned before there was a web page; that its service lacks is said elsewhere
            continue
        addresses = facts.listening.get(port, ())
        open_ones = [address for address in addresses if not ip_address(address).is_loopback]
        if open_ones:
            text = f"port {port} of {name} is open to the network ({', '.join(open_ones)}); people come by SSH alone"
            problems.append(error(text, lab.commands.provision(look.machine)))
        elif not addresses and name in facts.units and facts.units[name].active == "active":
            text = f"{name} runs, but nothing listens at its port {port}"
            problems.append(error(text, lab.commands.journal(look.machine, name)))
    return problems


def strangers(look: Look, facts: Facts, lab: Known) -> Problems:  # noqa: ARG001
    """Judge what a stranger met at the machine's ports."""
    if not look.strangers:
        return None
    problems = []
    redis, distcc = look.strangers.get("redis"), look.strangers.get("distcc")
    if redis and redis.met is Met.LET_IN:
        problems.append(error(f"anybody can use Redis, {redis.said}", lab.commands.provision(look.machine)))
    if redis and redis.met is Met.UNTRUSTED:
        problems.append(error("Redis takes passwords without TLS", lab.commands.provision(look.machine)))
    if distcc and distcc.met is Met.LET_IN:
        text = "distcc compiles for strangers: for this computer, which is no builder of the lab"
        problems.append(error(text, lab.commands.provision(look.machine)))
    return problems


def uploads(look: Look, facts: Facts, lab: Known) -> Problems:
    """Judge whether finished runs reach the head."""
    check = _worker(facts)
    if check is None:
        return None
    if not check.unsent or check.unsent_since < UNSENT:
        return []
    text = f"{count(check.unsent, 'finished run')} wait to be sent to the head, for {duration(check.unsent_since)}"
    return [warning(text, lab.commands.journal(look.machine, "labfleet-worker"))]
