"""Where the library is that makes a process's clock wrong."""

import os
from pathlib import Path

import pytest


def library() -> str:
    """Return the path of libfaketime (Debian's package of that name); empty if it is not installed, an error in CI."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("libfaketime is not installed")
    return str(found or "")
