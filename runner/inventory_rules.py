"""What each variable of an inventory may be: pure rules, which say what is wrong in half a sentence."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from runner.model import MODES

#: Tells whether a file or folder of this machine is there.
Exists = Callable[[str], bool]

#: Returns what a value must be and is not, e.g. "must be true or false"; empty: it is right.
Rule = Callable[[Any, Exists], str]

#: The head's ports if the inventory names no others; those of the playbooks' role ``lab``.
PORTS = {"redis": 7410, "foreman": 7411, "hub": 7412, "logs": 7413, "web": 7414, "dashboard": 7415, "distcc": 3632}

#: Names of machines: they are names of queues, folders and keys, too.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._:/-]*(?:@sha256:[0-9a-f]{64})?", re.IGNORECASE)
_TAGGED = re.compile(r".*/?[^/:]+:[A-Za-z0-9_][A-Za-z0-9_.-]*|.*@sha256:[0-9a-f]{64}")
_SIZE = re.compile(r"[1-9][0-9]*[kmgKMG]")
#: What sudoers takes for users and groups, without its special characters.
_LOGINS = re.compile(r"%?[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?(?:, ?%?[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?)*")
_URL = re.compile(r"https?://[^\s/]+(?:/\S*)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


# ---- rules -------------------------------------------------------------------------------------------------


def _wrong_number(value: Any, minimum: int, maximum: int) -> str:
    right = isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum
    quoted = ", without quotes" if isinstance(value, str) else ""
    return "" if right else f"must be a whole number from {minimum} to {maximum}{quoted}"


def _number(minimum: int, maximum: int) -> Rule:
    return lambda value, _: _wrong_number(value, minimum, maximum)


def _yes_or_no(value: Any, _: Exists) -> str:
    return "" if isinstance(value, bool) else "must be true or false (in an ini file: True or False)"


def _matches(pattern: re.Pattern[str], what: str) -> Rule:
    def rule(value: Any, _: Exists) -> str:
        return "" if isinstance(value, str) and pattern.fullmatch(value) else f"must be {what}"

    return rule


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _words(value: Any, _: Exists) -> str:
    right = isinstance(value, list) and all(map(_is_word, value))
    return "" if right else "must be a list of words: [big, gpu]"


def _or_empty(rule: Rule) -> Rule:
    return lambda value, exists: "" if value == "" else rule(value, exists)


def _path(value: Any, exists: Exists) -> str:
    if not isinstance(value, str) or not value.startswith(("/", "~")):
        return "must be a whole path on this machine, from / on"
    return "" if exists(value) else "is not there, on this machine"


def _ports(value: Any, _: Exists) -> str:
    if not isinstance(value, dict) or value.keys() - PORTS.keys():
        return f"may have the entries {', '.join(PORTS)}"
    # Services have no privileges, so the ports below 1024 are not theirs.
    wrong = [name for name, port in value.items() if _wrong_number(port, 1024, 65535)]
    if wrong:
        return f"{', '.join(wrong)}: must be a whole number from 1024 to 65535"
    used: dict[int, str] = {}
    for name, port in {**PORTS, **value}.items():
        if port in used:
            return f"{used[port]} and {name} must differ; {name} is {port}"
        used[port] = name
    return ""


def _base(value: Any, exists: Exists) -> str:
    if isinstance(value, dict) and value.keys() == {"archive"}:
        return (wrong := _path(value["archive"], exists)) and f"archive {wrong}"
    if isinstance(value, str) and _IMAGE.fullmatch(value):
        return ""
    return 'must be debootstrap, an image of a registry ("debian:12"), or {archive: /path/of/an/image.tar}'


def _versions(value: Any, exists: Exists) -> str:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return "must be a list of {version, url or file, sha256}"
    wrong = [
        f"item {number} ({item.get('version', 'no version')}): {said}"
        for number, item in enumerate(value, 1)
        for said in _omnetpp(item, exists)
    ]
    versions = [item.get("version") for item in value]
    wrong += [f"version {name} is there twice" for name in dict.fromkeys(versions) if versions.count(name) > 1]
    return "; ".join(wrong)


def _omnetpp(item: Mapping[str, Any], exists: Exists) -> list[str]:
    """Return what is wrong with one version of OMNeT++."""
    wrong = [f"{name} is unknown" for name in item if name not in ("version", "url", "file", "sha256", "modes")]
    # Without quotes, 6.10 is the number 6.1.
    if not _is_word(item.get("version")):
        wrong.append('version must be text: "6.2.0"')
    if len({"url", "file"} & item.keys()) != 1:
        wrong.append("needs either url or file")
    elif "url" in item and not (isinstance(item["url"], str) and _URL.fullmatch(item["url"])):
        wrong.append("url must begin with https://")
    elif "file" in item and (said := _path(item["file"], exists)):
        wrong.append(f"file {said}")
    sha256 = item.get("sha256")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        wrong.append("needs sha256, 64 hexadecimal digits as sha256sum prints them")
    modes = item.get("modes", ["release"])
    if not isinstance(modes, list) or not modes or any(mode not in MODES for mode in modes):
        wrong.append(f"modes must be a list of {', '.join(MODES)}")
    return wrong


_TEXT_OR_EMPTY: Rule = _or_empty(_matches(_WORD, "the name of a package"))

#: What is said of one machine.
OF_A_MACHINE: Mapping[str, Rule] = {
    "labfleet_slots": _number(1, 4096),
    "labfleet_tags": _words,
    "labfleet_desktop": _yes_or_no,
    "labfleet_builder": _yes_or_no,
    "labfleet_address": _matches(_ADDRESS, "an address or a host's name"),
    "labfleet_memory": _matches(_SIZE, 'a size: "8g", "512m"'),
    "labfleet_docker_package": _TEXT_OR_EMPTY,
    "labfleet_disk_gigabytes": _number(0, 1_000_000),
    "labfleet_keep_days": _number(1, 36500),
    "labfleet_keep_gb": _number(0, 1_000_000),
}

#: What holds for the lab as a whole: the same for every machine.
OF_THE_LAB: Mapping[str, Rule] = {
    "labfleet_uid": _number(100, 65533),
    "labfleet_access": _matches(_LOGINS, "ALL, a user, a %group, or several with commas"),
    "labfleet_ports": _ports,
    "labfleet_base": _base,
    "labfleet_debian_mirror": _or_empty(_matches(_URL, "a URL")),
    "labfleet_debian_security": _or_empty(_matches(_URL, "a URL, or empty")),
    "labfleet_packages": _words,
    "labfleet_registry": _or_empty(
        lambda value, _: (
            ""
            if isinstance(value, str) and _IMAGE.fullmatch(value) and _TAGGED.fullmatch(value)
            else 'must be an image with its tag: "registry.example.org/labfleet:1"'
        )
    ),
    "labfleet_wheels": _or_empty(_path),
    "labfleet_omnetpp": _versions,
    "labfleet_image_edition": lambda value, _: (
        "must be a number or a word" if _wrong_number(value, 0, 10**9) and not _is_word(value) else ""
    ),
    "labfleet_drain_seconds": _number(0, 1_000_000),
}

RULES: Mapping[str, Rule] = {**OF_A_MACHINE, **OF_THE_LAB}

#: What labfleet itself tells its playbooks.
RESERVED = frozenset(
    {
        "labfleet_code_bundle",
        "labfleet_code_revision",
        "labfleet_lock",
        "labfleet_lock_sha256",
        "labfleet_source",
        "labfleet_teardown_data",
    }
)

#: Where and as whom a machine is reached, as Ansible calls it; the older name counts first, as for Ansible.
HOST = ("ansible_ssh_host", "ansible_host")
PORT = ("ansible_ssh_port", "ansible_port")
USER = ("ansible_ssh_user", "ansible_user")
KEY_FILE = ("ansible_ssh_private_key_file", "ansible_private_key_file")
CONNECTION = ("ansible_connection",)
ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
INTERPRETER = ("ansible_python_interpreter",)
BECOME = ("ansible_become_method",)
PASSWORD = ("ansible_ssh_password", "ansible_ssh_pass", "ansible_password")
SUDO_PASSWORD = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")


def wrong_address(value: Any) -> str:
    """Return what is wrong with the name or address that a machine is reached by."""
    return "" if isinstance(value, str) and _ADDRESS.fullmatch(value) else "must be an address or a host's name"


def wrong_port(value: Any) -> str:
    """Return what is wrong with a port for SSH; Ansible takes it as text, too."""
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value) else value
    return _wrong_number(number, 1, 65535)
