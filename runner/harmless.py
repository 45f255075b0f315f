"""How text of others is made fit to be shown: what a terminal or a browser would obey is replaced by signs."""

import re

#: What a terminal would obey instead of showing it: C0 but tab and newline, DEL, C1, changes of direction;
#: and what no encoding has: surrogates.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """Return text whose control characters, but tab and newline, are replaced by signs that show them."""
    return OBEYED.sub(_sign, text)


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"
