"""Which lab this person uses: a remote one, named as for the ssh program, or the local one."""

import os
import re
from pathlib import Path

from runner.errors import WrongUse

#: Chosen by this name, the lab is the one on this machine.
LOCAL = "local"

#: ``head``, ``user@head``, an alias of the SSH configuration, an IPv6 address; users may have a realm.
_HEAD = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.+@\\-]*\$?@)?(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)"
)


def settings() -> Path:
    """Return the folder of this person's settings."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(base) / "labfleet"


def setting() -> Path:
    """Return the file that holds the choice."""
    return settings() / "lab"


def chosen() -> str | None:
    """Return the SSH name of the head; None: the local lab.

    The variable LABFLEET_LAB counts more than the setting.  Raises WrongUse for what is no name.
    """
    if said := os.environ.get("LABFLEET_LAB", "").strip():
        return _head(said, "LABFLEET_LAB")
    try:
        kept = setting().read_text().strip()
    except FileNotFoundError:
        return None
    return _head(kept, str(setting())) if kept else None


def is_chosen() -> bool:
    """Has the person said which lab to use, be it the local one?"""
    return bool(os.environ.get("LABFLEET_LAB", "").strip()) or setting().exists()


def use(text: str) -> str | None:
    """Keep the choice of a lab for all later commands, and return it as :func:`chosen` does.

    Raises WrongUse for what is no name of a head.
    """
    head = _head(text.strip(), "lab use")
    file = setting()
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.new")
    draft.write_text(f"{head or LOCAL}\n")
    os.replace(draft, file)
    return head


def _head(text: str, where: str) -> str | None:
    """Return the name of a head, or None for the local lab.

    It becomes an argument of ssh, so nothing that could pass for an option is a name.
    """
    if text == LOCAL:
        return None
    if _HEAD.fullmatch(text):
        return text
    hint = f"write user@head, head, an alias of ~/.ssh/config, or {LOCAL}"
    if "://" in text or re.search(r":[0-9]+$", text):
        hint += "; a port belongs into ~/.ssh/config"
    raise WrongUse(f"{where}: {text!r} does not name the head of a lab", hint)
