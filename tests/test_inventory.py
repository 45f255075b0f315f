"""The machines of a lab: any inventory of Ansible's becomes values, or all mistakes at once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from runner import ansible, inventory, inventory_rules
from runner.errors import WrongUse
from runner.inventory import Lab, Login, Machine

SHA256 = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a person without settings, in an empty folder; return the folder of settings."""
    for name in ("LABFLEET_INVENTORY", "ANSIBLE_CONFIG", "ANSIBLE_INVENTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "config" / "labfleet"


def listing(
    head: Mapping[str, Any] | None = None,
    workers: Mapping[str, Any] | None = None,
    everywhere: Mapping[str, Any] | None = None,
    **groups: list[str],
) -> dict[str, Any]:
    """Return what `ansible-inventory --list` prints of some machines and their variables."""
    heads = {"h": {}} if head is None else head
    others = {"w1": {}, "w2": {}} if workers is None else workers
    hostvars = {name: {**(everywhere or {}), **own} for name, own in {**heads, **others}.items()}
    return {
        "_meta": {"hostvars": {name: own for name, own in hostvars.items() if own}, "profile": "inventory_legacy"},
        "all": {"children": ["ungrouped", "head", "workers", *groups]},
        "head": {"hosts": list(heads)},
        "workers": {"hosts": list(others)},
        **{name: {"hosts": hosts} for name, hosts in groups.items()},
    }


def lab(**machines: Any) -> Lab:
    found, mistakes = inventory.understood(listing(**machines))
    assert found, mistakes
    return found


def mistakes(exists: Callable[[str], bool] = lambda _: True, **machines: Any) -> list[str]:
    found, wrong = inventory.understood(listing(**machines), exists=exists)
    assert bool(found) != bool(wrong)
    return wrong


# ---- understanding -----------------------------------------------------------------------------------------------


def test_a_machine_needs_nothing_but_its_group() -> None:
    # Given an inventory without any variable, when it is read
    machines = lab().machines
    # Then SSH's configuration says how machines are reached, and the first worker builds
    assert machines == (
        Machine("h", Login("ssh", "h"), is_head=True, is_worker=False),
        Machine("w1", Login("ssh", "w1"), is_head=False, is_worker=True, builder=True),
        Machine("w2", Login("ssh", "w2"), is_head=False, is_worker=True),
    )


def test_what_an_inventory_says_of_a_machine() -> None:
    # Given one that says all that it can
    everything = {
        "ansible_host": "192.0.2.7",
        "ansible_port": 2222,
        "ansible_user": "ada",
        "ansible_private_key_file": "~/.ssh/lab",
        "ansible_ssh_common_args": "-o ProxyJump=gate -o 'User Known=x'",
        "ansible_python_interpreter": "/opt/python",
        "ansible_become_password": {"__ansible_vault": "…"},
        "labfleet_slots": 4,
        "labfleet_tags": ["big", "gpu"],
        "labfleet_desktop": True,
        "labfleet_address": "10.0.0.7",
        "labfleet_memory": "8g",
        "something_else": "{{ of }} the lab's own",
    }
    # When it is read
    machine = lab(workers={"w": everything}).workers[0]
    # Then all of it is there
    login = Login(
        connection="ssh",
        address="192.0.2.7",
        port=2222,
        user="ada",
        key_file="~/.ssh/lab",
        arguments=("-o", "ProxyJump=gate", "-o", "User Known=x"),
        interpreter="/opt/python",
        has_sudo_password=True,
    )
    assert machine == Machine(
        "w", login, False, True, slots=4, tags=("big", "gpu"), desktop=True, builder=True, lab_address="10.0.0.7"
    )
    assert (machine.address, machine.port, machine.user) == ("192.0.2.7", 2222, "ada")


def test_a_head_may_be_a_worker() -> None:
    # Given a machine in both groups, when the inventory is read, then it is one machine that is both
    found = lab(head={"h": {}}, workers={"h": {}, "w": {}})
    assert [machine.name for machine in found.machines] == ["h", "w"]
    assert found.head.is_worker
    assert found.workers == found.machines


def test_groups_may_hold_groups() -> None:
    # Given workers in groups of their own
    machines = listing(workers={"w1": {}}, old=["w2"], new=["w3", "w1"])
    machines["workers"]["children"] = ["old", "new", "workers"]
    # When the inventory is read, then all are workers, in Ansible's order
    found, _ = inventory.understood(machines)
    assert found
    assert [machine.name for machine in found.workers] == ["w1", "w2", "w3"]


def test_the_builder_is_whom_the_inventory_names() -> None:
    found = lab(workers={"w1": {}, "w2": {"labfleet_builder": True}})
    assert [machine.name for machine in found.workers if machine.builder] == ["w2"]


def test_other_machines_of_a_site_are_left_alone() -> None:
    # Given an inventory of more than a lab, when it is read, then the others are known by name and not of the lab
    found = lab(mail=["m1"], printers=["p1", "w1"])
    assert found.others == ("m1", "p1")
    assert [machine.name for machine in found.machines] == ["h", "w1", "w2"]


# ---- mistakes ----------------------------------------------------------------------------------------------------


def test_all_mistakes_are_told_at_once() -> None:
    # Given an inventory in which nearly everything is wrong
    wrong = mistakes(
        head={"a": {"ansible_host": "10.0.0.1"}, "b": {}},
        workers={"w?": {"labfleet_slots": -1, "ansible_port": "ssh"}, "e": {"ansible_host": "10.0.0.1"}},
        everywhere={"labfleet_slot": 4, "labflet_tags": [], "labfleet_uid": 0, "labfleet_source": "/"},
        worker=["x"],
    )
    # Then each is a line, and what many machines share is one line
    assert wrong == [
        "2 heads (a, b): the group head needs one machine",
        "group worker (x): unknown; did you mean workers?",
        "'w?': a machine's name has letters, digits and _ . - only, and begins with none of . -",
        "labfleet_slot (a, b, w?, e): unknown; did you mean labfleet_slots?",
        "labflet_tags (a, b, w?, e): unknown; did you mean labfleet_tags?",
        "labfleet_uid = 0 (a, b, w?, e): must be a whole number from 100 to 65533",
        "labfleet_source (a, b, w?, e): labfleet sets it itself",
        "labfleet_slots = -1 (w?): must be a whole number from 1 to 4096",
        'ansible_port = "ssh" (w?): must be a whole number from 1 to 65535, without quotes',
        "a, e: the same address (10.0.0.1, port 22)",
    ]


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"head": {}}, "no head: the group head needs one machine"),
        ({"workers": {}}, "no workers: the group workers needs at least one machine; the head may be one"),
        ({"heads": ["x"]}, "group heads (x): unknown; did you mean head?"),
        ({"Workers": ["x"]}, "group Workers (x): unknown; did you mean workers?"),
        ({"ungrouped": ["x", "y"]}, "x, y: in neither of the groups head and workers"),
        ({"workers": {"workers": {}}}, "workers: a machine cannot be called like that group"),
        ({"workers": {"head": {}}}, "head: a machine cannot be called like that group"),
    ],
)
def test_wrong_groups(groups: dict[str, Any], said: str) -> None:
    assert mistakes(**groups) == [said]


def test_many_machines_are_not_all_named() -> None:
    # Given a mistake of a hundred machines, when it is told, then it stays a line
    (said,) = mistakes(workers={f"w{number}": {} for number in range(100)}, everywhere={"labfleet_uid": 1})
    assert said == "labfleet_uid = 1 (h, w0, w1, 98 more): must be a whole number from 100 to 65533"


@pytest.mark.parametrize("name", ["", ".w", "-w", "w 1", "w/1", "w:1", "wörker", "{{ w }}"])
def test_wrong_names_of_machines(name: str) -> None:
    assert "a machine's name has letters" in "\n".join(mistakes(workers={name: {}}))


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("labfleet_slots", 0, "must be a whole number from 1 to 4096"),
        ("labfleet_slots", "4", "must be a whole number from 1 to 4096, without quotes"),
        ("labfleet_slots", True, "must be a whole number"),
        ("labfleet_slots", 1.5, "must be a whole number"),
        ("labfleet_slots", None, "must be a whole number"),
        ("labfleet_tags", "big", "must be a list of words"),
        ("labfleet_tags", [1], "must be a list of words"),
        ("labfleet_tags", ["two words"], "must be a list of words"),
        ("labfleet_desktop", "yes", "must be true or false"),
        ("labfleet_desktop", 1, "must be true or false"),
        ("labfleet_address", "10.0.0.1:22", "must be an address"),
        ("labfleet_address", "-x", "must be an address"),
        ("labfleet_keep_days", 0, "must be a whole number from 1"),
        ("labfleet_keep_gb", -1, "must be a whole number from 0"),
        ("labfleet_memory", "8", "must be a size"),
        ("labfleet_memory", "90%", "must be a size"),
        ("labfleet_memory", "0g", "must be a size"),
        ("ansible_host", "-oProxyCommand=x", "must be an address"),
        ("ansible_host", "", "must be an address"),
        ("ansible_port", 65536, "must be a whole number from 1 to 65535"),
        ("labfleet_slots", {"__ansible_vault": "…"}, "cannot be encrypted"),
    ],
)
def test_wrong_variables_of_a_machine(variable: str, value: Any, said: str) -> None:
    (told,) = mistakes(workers={"w": {variable: value}})
    assert told.startswith(variable)
    assert "(w): " in told
    assert said in told


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("labfleet_uid", 65534, "from 100 to 65533"),
        ("labfleet_access", "ada, ALL=(ALL) NOPASSWD: ALL", "must be ALL, a user"),
        ("labfleet_access", "", "must be ALL, a user"),
        ("labfleet_ports", {"redis": 80}, "redis: must be a whole number from 1024 to 65535"),
        ("labfleet_ports", {"www": 8000}, "may have the entries redis, foreman, hub, logs, web, dashboard, distcc"),
        ("labfleet_ports", {"redis": 7411}, "redis and foreman must differ; foreman is 7411"),
        ("labfleet_ports", 7410, "may have the entries"),
        ("labfleet_base", {"archive": "base.tar"}, "archive must be a whole path"),
        ("labfleet_base", {"tar": "/base.tar"}, "must be debootstrap, an image"),
        ("labfleet_debian_mirror", "mirror.lab", "must be a URL"),
        ("labfleet_registry", "registry.example.org/labfleet", "must be an image with its tag"),
        ("labfleet_wheels", "wheels", "must be a whole path"),
        ("labfleet_drain_seconds", -1, "must be a whole number from 0"),
        ("labfleet_packages", ["a b"], "must be a list of words"),
        ("labfleet_image_edition", "a b", "must be a number or a word"),
        ("labfleet_omnetpp", {"version": "6.2"}, "must be a list"),
        ("labfleet_omnetpp", [{"version": "6.2", "sha256": SHA256}], "item 1 (6.2): needs either url or file"),
        ("labfleet_omnetpp", [{"version": "6.2", "url": "https://x/y"}], "item 1 (6.2): needs sha256"),
        ("labfleet_omnetpp", [{"version": 6.2, "url": "https://x/y", "sha256": SHA256}], "version must be text"),
        ("labfleet_omnetpp", [{"url": "https://x/y", "sha256": SHA256}], "item 1 (no version): version must be text"),
        ("labfleet_omnetpp", [{"version": "6", "url": "ftp://x", "sha256": SHA256}], "url must begin with https://"),
        ("labfleet_omnetpp", [{"version": "6", "url": "https://x", "sha": SHA256}], "sha is unknown"),
        ("labfleet_omnetpp", [{"version": "6", "url": "https://x", "sha256": SHA256}] * 2, "version 6 is there twice"),
        ("labfleet_omnetpp", [{"version": "6", "url": "https://x", "sha256": SHA256, "modes": ["fast"]}], "modes must"),
    ],
)
def test_wrong_variables_of_the_lab(variable: str, value: Any, said: str) -> None:
    (told,) = mistakes(everywhere={variable: value})
    assert told.startswith(variable)
    assert said in told


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("labfleet_uid", 4000),
        ("labfleet_access", "ALL"),
        ("labfleet_access", "ada,%students, bob@phys"),
        ("labfleet_ports", {"redis": 17410, "distcc": 13632}),
        ("labfleet_base", "debootstrap"),
        ("labfleet_base", "registry.example.org:5000/debian:12"),
        ("labfleet_base", {"archive": "/images/base.tar"}),
        ("labfleet_debian_mirror", "http://mirror.lab/debian"),
        ("labfleet_debian_security", ""),
        ("labfleet_registry", "registry.example.org:5000/labfleet:1"),
        ("labfleet_wheels", "~/wheels"),
        ("labfleet_image_edition", 2),
        ("labfleet_image_edition", "2026-02"),
        ("labfleet_omnetpp", []),
        ("labfleet_omnetpp", [{"version": "6.2.0", "file": "/o.tgz", "sha256": SHA256, "modes": ["debug"]}]),
    ],
)
def test_right_variables_of_the_lab(variable: str, value: Any) -> None:
    assert mistakes_of(everywhere={variable: value}) == []


def mistakes_of(**machines: Any) -> list[str]:
    return inventory.understood(listing(**machines))[1]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("labfleet_wheels", "/wheels"),
        ("labfleet_base", {"archive": "/base.tar"}),
        ("labfleet_omnetpp", [{"version": "6.2", "file": "/omnetpp.tgz", "sha256": SHA256}]),
    ],
)
def test_files_of_this_machine_must_be_there(variable: str, value: Any) -> None:
    # Given a file that is named and is not there, when the inventory is read, then that is told before it is needed
    (told,) = mistakes(exists=lambda _: False, everywhere={variable: value})
    assert "is not there, on this machine" in told


def test_what_holds_for_the_lab_is_said_of_all_machines() -> None:
    # Given a variable of the lab that only some machines have, when the inventory is read
    wrong = mistakes(head={"h": {"labfleet_uid": 4000}}, workers={"w": {}})
    # Then it is told where it belongs: half of the machines would go another way
    assert wrong == ["labfleet_uid: must be the same for all machines; set it under `all: vars:`"]


def test_wrong_builders() -> None:
    # A machine that does no work cannot build, and one must
    assert mistakes(head={"h": {"labfleet_builder": True}}) == [
        "labfleet_builder = true (h): only a worker can be a builder"
    ]
    assert mistakes(workers={"w": {"labfleet_builder": False}}) == [
        "no builder: say of one worker labfleet_builder: true"
    ]


def test_one_machine_is_not_two() -> None:
    # Given machines behind one address, when their ports differ, then they are two; else that is a mistake
    here = {"ansible_host": "127.0.0.1"}
    assert mistakes_of(workers={"w1": {**here, "ansible_port": 2201}, "w2": {**here, "ansible_port": 2202}}) == []
    assert mistakes(workers={"w1": here, "w2": {**here, "ansible_port": "22"}}) == [
        "w1, w2: the same address (127.0.0.1, port 22)"
    ]
    assert mistakes(workers={"w1": {"labfleet_address": "Lab1"}, "w2": {"labfleet_address": "lab1"}}) == [
        "w1, w2: the same address (labfleet_address lab1)"
    ]


# ---- which inventory ---------------------------------------------------------------------------------------------


def test_the_nearest_word_counts(person: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given inventories in every place
    places = [tmp_path / "named", tmp_path / "variable", person / "inventory.yml", Path("inventory/lab.yml").absolute()]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    monkeypatch.setenv("LABFLEET_INVENTORY", str(places[1]))
    # When they are taken away one after the other, then the next one is used
    assert inventory.find([str(places[0])]) == (str(places[0]),)
    assert inventory.find([]) == (str(places[1]),)
    monkeypatch.delenv("LABFLEET_INVENTORY")
    assert inventory.find([]) == (str(places[2]),)
    places[2].unlink()
    assert inventory.find([]) == (str(places[3]),)


def test_without_an_inventory_it_is_said_where_one_belongs(person: Path) -> None:
    with pytest.raises(WrongUse, match="there is no inventory of the lab's machines") as refused:
        inventory.find([])
    assert "--inventory or LABFLEET_INVENTORY" in refused.value.hint
    assert str(person / "inventory.yml") in refused.value.hint
    assert "example.yml" in refused.value.hint


def test_an_inventory_that_is_not_there_is_told() -> None:
    with pytest.raises(WrongUse, match=r"there is no inventory nope\.yml, gone\.ini"):
        inventory.find(["nope.yml", "gone.ini"])


# ---- what Ansible makes of it ------------------------------------------------------------------------------------

LAB = """
all:
  vars: {ansible_host: "{{ inventory_hostname }}.example.org", ansible_user: ada, labfleet_tags: ["{{ kind }}"]}
head:
  hosts: {h: {kind: none}}
workers:
  hosts:
    w[1:2]: {kind: big, labfleet_slots: 2}
"""


def test_an_inventory_is_read_as_ansible_reads_it(tmp_path: Path) -> None:
    # Given a file with ranges and templates, and variables of a group beside it
    file = tmp_path / "lab.yml"
    file.write_text(LAB)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "workers.yml").write_text("labfleet_desktop: true\n")
    # When it is loaded
    found = inventory.load([str(file)])
    # Then ranges are machines, templates have their values, and the group's variables count
    assert [(machine.name, machine.address, machine.slots, machine.tags) for machine in found.machines] == [
        ("h", "h.example.org", None, ("none",)),
        ("w1", "w1.example.org", 2, ("big",)),
        ("w2", "w2.example.org", 2, ("big",)),
    ]
    assert [machine.desktop for machine in found.machines] == [False, True, True]
    # … and a limit is one of Ansible's patterns
    assert [machine.name for machine in inventory.limited(found, "workers:!w2")] == ["w1"]
    with pytest.raises(WrongUse, match="--limit w3 matches no machine of the lab") as refused:
        inventory.limited(found, "w3")
    assert refused.value.hint == "there are h, w1, w2"


def test_a_program_may_be_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a dynamic inventory, and a person whose shell speaks no UTF-8
    monkeypatch.setenv("LC_ALL", "C")
    script = tmp_path / "lab"
    script.write_text(
        '#!/bin/sh\necho \'{"head": ["h"], "workers": {"hosts": ["w"], "vars": {"labfleet_slots": 3}}, '
        '"_meta": {"hostvars": {"h": {"ansible_host": "192.0.2.1"}}}}\'\n'
    )
    script.chmod(0o755)
    # When it is loaded, then what it prints are the machines
    found = inventory.load([str(script)])
    assert [(machine.name, machine.address, machine.slots) for machine in found.machines] == [
        ("h", "192.0.2.1", None),
        ("w", "w", 3),
    ]


def test_a_persons_configuration_of_ansible_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a person whose Ansible knows how their machines are reached, by files and variables
    Path("ansible.cfg").write_text(
        "[defaults]\nremote_user = ada\nprivate_key_file = ~/.ssh/lab\n[ssh_connection]\nssh_common_args = -J gate\n"
    )
    monkeypatch.setenv("ANSIBLE_REMOTE_PORT", "2222")
    file = tmp_path / "lab.yml"
    file.write_text("head: {hosts: {h: {ansible_user: root}}}\nworkers: {hosts: {w: }}\n")
    # When an inventory is loaded, then it counts where the inventory says nothing
    found = inventory.load([str(file)])
    arguments = ("-J", "gate")
    assert [machine.login for machine in found.machines] == [
        Login("ssh", "h", port=2222, user="root", key_file="~/.ssh/lab", arguments=arguments),
        Login("ssh", "w", port=2222, user="ada", key_file="~/.ssh/lab", arguments=arguments),
    ]
    # … and one that cannot be read is told
    Path("ansible.cfg").write_text("[defaults\n")
    with pytest.raises(WrongUse, match=r"ansible\.cfg"):
        inventory.load([str(file)])


def test_mistakes_are_one_error(tmp_path: Path) -> None:
    # Given an inventory with two mistakes
    file = tmp_path / "lab.ini"
    file.write_text("[head]\nh\n[workers]\nw labfleet_slots=-1 labfleet_slot=2\n")
    # When it is loaded
    with pytest.raises(WrongUse) as refused:
        inventory.load([str(file)])
    # Then both are told, that nothing happened, and where it is explained
    assert refused.value.message.splitlines() == [
        f"the inventory {file} has 2 mistakes:",
        "  labfleet_slot (w): unknown; did you mean labfleet_slots?",
        "  labfleet_slots = -1 (w): must be a whole number from 1 to 4096",
    ]
    assert "nothing was changed on any machine" in refused.value.hint
    assert str(inventory.EXAMPLE) in refused.value.hint


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lab.yml", "head: [h\n", "YAML parsing failed: While parsing a flow sequence"),
        ("lab.yml", "workers:\n  hosts:\n    off:\n", "Host pattern False must be a string"),
        ("lab.ini", "[head]\nh slots\n", "Expected key=value host variable assignment, got: slots"),
        ("lab.aws_ec2.yml", "plugin: nobody.has.this\n", "specifies unknown plugin 'nobody.has.this'"),
        ("lab.sh", "#!/bin/sh\necho no answer from the cloud >&2\nexit 3\n", "no answer from the cloud"),
        ("lab.yml", LAB.replace("{{ kind }}", "{{ nobody | knows }}"), "knows"),
    ],
)
def test_what_ansible_cannot_read_is_told_in_its_words(tmp_path: Path, name: str, text: str, said: str) -> None:
    # Given a file that is wrong in its own way
    file = tmp_path / name
    file.write_text(text)
    file.chmod(0o755 if name.endswith(".sh") else 0o644)
    # When it is loaded
    with pytest.raises(WrongUse) as refused:
        inventory.load([str(file)])
    # Then it is said what is wrong, and not what each of Ansible's plugins thinks of it
    assert said in refused.value.message
    assert str(file) in refused.value.message
    assert len(refused.value.message.splitlines()) <= 3


def test_a_complaint_of_an_unknown_kind_is_passed_on() -> None:
    assert ansible.complaint("[ERROR]: Something\n  happened\n", ["lab.yml"]) == "Something happened"


def test_the_example_is_an_inventory_and_explains_everything_that_may_be_set() -> None:
    # Given the example that errors point to
    lab = inventory.load([str(inventory.EXAMPLE)])
    # Then it is in order, with the head among the workers
    assert (lab.head.name, len(lab.workers)) == ("alba", 4)
    # … and there is a line about every variable
    text = inventory.EXAMPLE.read_text()
    known = {**inventory_rules.OF_A_MACHINE, **inventory_rules.OF_THE_LAB}
    assert [name for name in known if name not in text] == []
