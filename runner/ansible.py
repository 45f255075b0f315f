"""Ansible as labfleet calls it: which program, with which settings, and what it makes of an inventory."""

import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from runner import shell
from runner.errors import LabFailed, WrongUse

#: Settings that labfleet needs as they are here, whatever a person's ansible.cfg or environment says.  The rest of
#: a person's configuration counts: where inventories come from, vaults, how machines are reached.
_SETTINGS = {
    # Host keys are looked at before (first_contact.py) and must be the known ones.
    "ANSIBLE_HOST_KEY_CHECKING": "True",
    # An inventory that is half understood would leave machines out without a word.
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
    # What a task is given may be a secret; it is neither shown nor left behind.
    "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "False",
    "ANSIBLE_KEEP_REMOTE_FILES": "False",
    "ANSIBLE_DEBUG": "False",
    "ANSIBLE_VERBOSITY": "0",
    # One connection per task instead of several.
    "ANSIBLE_PIPELINING": "True",
    # Its words are read here, in English, without cows and colours; deprecations concern who writes playbooks.
    "LC_ALL": "C.UTF-8",
    "ANSIBLE_NOCOWS": "1",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_FORCE_COLOR": "False",
    "ANSIBLE_DEPRECATION_WARNINGS": "False",
    "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
    # The playbooks are written for these.
    "ANSIBLE_STRATEGY": "ansible.builtin.linear",
    "ANSIBLE_GATHERING": "implicit",
    "ANSIBLE_HASH_BEHAVIOUR": "replace",
    "ANSIBLE_ANY_ERRORS_FATAL": "False",
    "ANSIBLE_RETRY_FILES_ENABLED": "False",
}

#: A machine that loses its power in the middle of a task is noticed, and does not block the others for ever.
_ALIVE = "-o ServerAliveInterval=15 -o ServerAliveCountMax=4"


def program(name: str) -> str:
    """Return the path of one of Ansible's programs.  Raises LabFailed where it is not installed.

    It lies beside the Python that runs labfleet: another one on PATH may be any version.
    """
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if os.access(folder / name, os.X_OK):
            return str(folder / name)
    if found := shutil.which(name):
        return found
    raise LabFailed(f"{name} is not installed", "it comes with labfleet's own dependencies: install labfleet again")


def variables(temporary: Path | None = None) -> dict[str, str]:
    """Return the environment variables that make Ansible behave as labfleet needs it.

    ``temporary``: the folder in which it writes what it makes from templates, secrets included.
    """
    own = {
        "PATH": os.pathsep.join([str(Path(program("ansible-playbook")).parent), os.environ.get("PATH", "")]),
        "ANSIBLE_SSH_EXTRA_ARGS": " ".join(filter(None, [os.environ.get("ANSIBLE_SSH_EXTRA_ARGS"), _ALIVE])),
    }
    if temporary is not None:
        own["ANSIBLE_LOCAL_TEMP"] = str(temporary)
    return {**_SETTINGS, **own}


# ---- inventories -------------------------------------------------------------------------------------------


def listing(sources: Sequence[str], *options: str) -> dict[str, Any]:
    """Return what Ansible makes of inventories: the groups, and as ``_meta`` the variables of each machine.

    Raises WrongUse for what Ansible cannot read.
    """
    argv = [program("ansible-inventory"), *chosen(sources), "--list", *options]
    done = shell.run(argv, env={**os.environ, **variables()}, check=False)
    if done.status != 0:
        message = f"Ansible cannot read the inventory {', '.join(sources)}:\n{complaint(done.complaint, sources)}"
        raise WrongUse(message, "nothing was changed on any machine")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


#: Where Ansible looks for a person's configuration.
_CONFIGURATIONS = ("ansible.cfg", "~/.ansible.cfg", "/etc/ansible/ansible.cfg")

#: What it may say of SSH, and what inventories call that.
_OF_SSH = {
    "remote_user": "ansible_user",
    "port": "ansible_port",
    "private_key_file": "ansible_private_key_file",
    "ssh_args": "ansible_ssh_args",
    "ssh_common_args": "ansible_ssh_common_args",
    "ssh_extra_args": "ansible_ssh_extra_args",
}


def ssh_defaults() -> dict[str, Any]:
    """Return how machines are reached of which the inventory does not say it: a person's configuration of Ansible.

    The names are those of inventories.  Raises WrongUse for a configuration that Ansible cannot read.
    """
    is_there = any(os.path.exists(os.path.expanduser(place)) for place in _CONFIGURATIONS)
    if not is_there and not any(name.startswith("ANSIBLE_") for name in os.environ):
        return {}
    argv = [program("ansible-config"), "dump", "--only-changed", "--type=connection", "--format=json", "ssh"]
    done = shell.run(argv, env={**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}, check=False)
    if done.status != 0:
        raise WrongUse(f"Ansible cannot read its configuration: {' '.join(done.complaint.split())}")
    changed = [entry for plugin in json.loads(done.stdout) for entry in plugin.get("ssh", ())]
    return {_OF_SSH[entry["name"]]: entry["value"] for entry in changed if entry["name"] in _OF_SSH}


def evaluated(sources: Sequence[str], pattern: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return some variables of each machine that a pattern matches, with their templates evaluated.

    Raises WrongUse for templates that cannot be evaluated.
    """
    asked = ", ".join(f"'{name}': {name} | default(none)" for name in names)
    argv = [program("ansible"), *chosen(sources), pattern, "--module-name=ansible.builtin.debug"]
    argv.append("--args=" + json.dumps({"msg": "{{ {" + asked + "} }}"}))
    done = shell.run(argv, env={**os.environ, **variables()}, check=False)
    text = done.stdout.decode(errors="replace")
    if done.status != 0:
        said = " ".join((text + done.stderr.decode(errors="replace")).split())
        raise WrongUse(f"a template in the inventory {', '.join(sources)} cannot be evaluated: {said}")
    answers = re.findall(r"^(\S+) \| SUCCESS => (\{.*?^\})", text, re.MULTILINE | re.DOTALL)
    return {machine: json.loads(answer)["msg"] for machine, answer in answers}


def chosen(sources: Iterable[str]) -> list[str]:
    """Return the options that choose inventories."""
    return [word for source in sources for word in ("-i", source)]


#: Ansible folds nothing where nobody looks: the complaint of each plugin ends with an empty line.
_PLUGIN = re.compile(r"^\[WARNING\]: Failed to parse inventory with '(\w+)' plugin: (.+(?:\n.+)*)", re.MULTILINE)

#: What a script that makes an inventory said itself.
_SCRIPT = re.compile(r"^Standard error from inventory script:\n(.+(?:\n.+)*)", re.MULTILINE)

#: The line that a complaint is about.
_ORIGIN = re.compile(r"^Origin: (.+:\d+:\d+)$", re.MULTILINE)


def complaint(text: str, sources: Sequence[str]) -> str:
    """Return what is wrong with an inventory, out of all that Ansible says of it.

    Each plugin tells why the file is not for it; of interest is the one whose kind of file it is.
    """
    said: dict[str, str] = dict(_PLUGIN.findall(text))
    is_yaml = sources[-1].endswith((".yml", ".yaml", ".json"))
    # The settings of a dynamic inventory are a YAML file, too.
    is_dynamic = "no root 'plugin' key" not in said.get("auto", "no root 'plugin' key")
    wanted = ("auto",) if is_dynamic else ("script", "yaml" if is_yaml else "ini")
    why = next((said[plugin] for plugin in wanted if plugin in said), "")
    places = [place for place in _ORIGIN.findall(text) if not place.startswith("<")]
    if why and (script := _SCRIPT.search(text)):
        return f"{why}\n{script[1]}"
    if why:
        return f"{why} ({places[0]})" if places else why
    return " ".join(text.replace("[ERROR]:", "").split())
