"""What pyproject.toml cannot say about the wheel."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelHook(BuildHookInterface):  # type: ignore[type-arg]  # its argument means nothing to a hook
    """Makes the checkout's labfleet.py the ``__init__.py`` of the wheel's folder.

    The setting ``force-include`` would do the same to an editable installation, and there the copy would hide the
    checkout's own file.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to a real wheel; ``version`` is "standard" or "editable"."""
        if version == "standard":
            build_data["force_include"]["labfleet.py"] = "__init__.py"
