"""What is said of a product: its files, and under which names their contents are kept."""

import os
from functools import cached_property

from runner.model import Value, decode

#: End of a content's name where the file is a program: files share the inode, which has one mode.
_PROGRAM = ".x"


class Item(Value, frozen=True):
    """A file of a product, or a symbolic link.  It is read-only for everybody, so all that is left of its mode is x."""

    #: Relative to the project's root, with ``/``.
    path: str
    #: In bytes.
    size: int = 0
    sha256: str = ""
    executable: bool = False
    #: Where a symbolic link leads, as it is written in it; None for a file.
    link: str | None = None

    @property
    def content(self) -> str:
        """The name of its content in the store; empty for a link."""
        return content_name(self.sha256, executable=self.executable) if self.link is None else ""


class Product(Value, frozen=True, dict=True):
    """What a build left."""

    key: str
    toolchain: str
    #: Target of the first Makefile that has one, relative to the project's root; None without.
    target: str | None
    files: tuple[Item, ...]
    #: The project's name, for people.
    project: str = ""
    #: When, in seconds since the epoch.
    built: float = 0.0
    #: The shared libraries of the project, those of its commit included, relative to its root.
    libraries: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would name files elsewhere."""
        links = {item.path for item in self.files if item.link is not None}
        for item in self.files:
            parts = item.path.split("/")
            above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
            if not all(parts) or {".", ".."} & set(parts) or above & links:
                raise ValueError(f"{item.path!r} is no path in a product")
            if item.link is None and not is_digest(item.sha256):
                raise ValueError(f"{item.sha256!r} is no checksum")

    @cached_property
    def contents(self) -> dict[str, int]:
        """The names of its contents in the store, and their sizes."""
        return {item.content: item.size for item in self.files if item.link is None}


def content_name(sha256: str, *, executable: bool) -> str:
    """Return the name of a content in the store."""
    return f"{sha256}{_PROGRAM if executable else ''}"


def digest_of(content: str) -> str:
    """Return the checksum that a content has to have."""
    return content.removesuffix(_PROGRAM)


def mode_of(content: str) -> int:
    """Return the mode that a content has to have."""
    return 0o555 if content.endswith(_PROGRAM) else 0o444


def is_digest(text: str) -> bool:
    """Say whether a text is a SHA-256 in hex."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def understood(data: bytes, key: str) -> Product | None:
    """Return the product of a key that is described; None if it is another one's, damaged, or of an old version."""
    try:
        product: Product = decode(data, Product)
    except ValueError:
        return None
    return product if product.key == key else None


def is_needed(name: str, target: str | None) -> bool:
    """Say whether a file that a build has made is needed at run time, or to build another project with this one."""
    if os.path.normpath(name) == target:
        return True
    return not is_intermediate(name) and not name.endswith("_m.cc")


def is_intermediate(name: str) -> bool:
    """Say whether a file is what make and others create on the way, and go on from the next time."""
    *folders, file = name.split("/")
    return file.endswith(_INTERMEDIATE) or file in _NOTES or not _APART.isdisjoint(folders)


def is_kept_apart(name: str) -> bool:
    """Say whether a file is in one of the folders for what is created on the way."""
    return not _APART.isdisjoint(name.split("/")[:-1])


#: Nobody needs them at run time, nor to build another project with this one.
_INTERMEDIATE = (".o", ".obj", ".lo", ".d", ".dep", ".depend", ".Po", ".Plo", ".gch", ".pch")
_NOTES = ("CMakeCache.txt", ".ninja_deps", ".ninja_log")
_APART = {"out", "CMakeFiles", ".deps", "__pycache__"}
