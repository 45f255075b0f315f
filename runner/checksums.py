"""Checksums of texts."""

import hashlib


def digest(*parts: str) -> str:
    """Return the SHA-256 of some texts, in hex."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()
