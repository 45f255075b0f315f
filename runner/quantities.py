"""Durations and sizes as people write them: ``90s``, ``15min``, ``2h``; ``500MB``, ``2GB``, ``1.5GiB``."""

import re
from collections.abc import Callable

#: In seconds.
_TIMES = {
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
}

#: In bytes; a number without a unit means megabytes, as nobody limits a run to some bytes.
_SIZES = {
    **dict.fromkeys(("kb", "k"), 10**3),
    **dict.fromkeys(("mb", "m", ""), 10**6),
    **dict.fromkeys(("gb", "g"), 10**9),
    **dict.fromkeys(("tb", "t"), 10**12),
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)")

DURATIONS = "write it as 90 (seconds), 90s, 15min, 2h or 1d"
SIZES = "write it as 500MB, 2GB, 1.5GiB, or 500 (MB)"


def seconds(text: str) -> float:
    """Return a duration in seconds.  Raises ValueError with a sentence for what is none."""
    return _amount(text, _TIMES, f"{text!r} is no duration: {DURATIONS}")


def size(text: str) -> int:
    """Return a size in bytes.  Raises ValueError with a sentence for what is none."""
    return round(_amount(text, _SIZES, f"{text!r} is no size: {SIZES}"))


def count(text: str, minimum: int) -> int:
    """Return a whole number.  Raises ValueError with a sentence for what is none, or too small."""
    if re.fullmatch("[0-9]{1,15}", text.strip()) and int(text) >= minimum:
        return int(text)
    raise ValueError(f"{text!r} is no whole number from {minimum}")


def roughly(seconds: float) -> str:
    """Return a duration in words that stay the same for a while: ``a few seconds``, ``more than 3 h``.

    Who is told whatever changes is not told every second that a second has gone by.
    """
    if seconds < 10:
        return "a few seconds"
    if seconds < 60:
        return f"more than {int(seconds // 10) * 10} s"
    for unit, name, upto in ((60, "min", 3600), (3600, "h", 2 * 86400)):
        if seconds < upto:
            return f"more than {int(seconds // unit)} {name}"
    return f"more than {int(seconds // 86400)} days"


def _amount(text: str, units: dict[str, int], complaint: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None or float(match[1]) * factor <= 0:
        raise ValueError(complaint)
    return float(match[1]) * factor


#: A run's limits (model.Limits) by their names in labfleet.toml and as options, and how each is understood.
LIMITS: dict[str, Callable[[str], float | int]] = {
    "timeout": seconds,
    "stall": seconds,
    "memory": size,
    "retries": lambda text: count(text, 0),
    "max-failures": lambda text: count(text, 1),
}


def limit(name: str, text: str) -> float | int | None:
    """Return one of a run's limits; ``none`` is no limit.  Raises ValueError with a sentence for other words."""
    if text.strip().lower() == "none" and name != "retries":
        return None
    return LIMITS[name](text)
