"""The files of the page, as they are sent."""

from pathlib import Path

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

#: Name → content.
FILES = {
    file.name: file.read_bytes()
    for file in sorted(Path(__file__).parent.iterdir())
    if file.suffix.removeprefix(".") in TYPES
}
