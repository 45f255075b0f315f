"""HTML and SVG whose texts cannot become markup: everything is escaped that was not made here."""

import html

from runner.report.text import harmless


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


#: Elements that have no content and no end.
_VOID = frozenset({"meta", "br"})


def element(name: str, /, *content: str, **attributes: str | float | None) -> Markup:
    """Return an element; attributes that are None are left out, ``_`` in their names is ``-``, as in ``class_``."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if name in _VOID else f"{together(*content)}</{name}>"
    return Markup(f"<{name}{given}>{end}")


def together(*content: str) -> Markup:
    """Return pieces one after the other."""
    return Markup("".join(piece if isinstance(piece, Markup) else escaped(piece) for piece in content))


def escaped(text: str) -> Markup:
    """Return text as it is shown, whatever is in it: markup, control characters, changes of direction."""
    return Markup(html.escape(harmless(text)))


def table(
    caption: str, head: "list[str]", rows: "list[list[str]]", *, numbers: "frozenset[int]" = frozenset()
) -> Markup:
    """Return a table whose rows begin with their heading; ``numbers``: the columns that are aligned at the right.

    It is in a box of its own that can be scrolled where the screen is narrow, with the keyboard too.
    """
    looks = ["n" if column in numbers else None for column in range(len(head))]
    top = [element("th", text, scope="col", class_=look) for text, look in zip(head, looks, strict=True)]
    body = []
    for row in rows:
        first, *others = zip(row, looks, strict=True)
        cells = [element("td", text, class_=look) for text, look in others]
        body.append(element("tr", element("th", first[0], scope="row", class_=first[1]), *cells))
    inner = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *top)),
        element("tbody", *body),
    )
    return element("div", inner, class_="wide", role="region", aria_label=caption, tabindex="0")


def facts(pairs: "list[tuple[str, str]]") -> Markup:
    """Return a list of what is what; what is empty is left out."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in pairs if value))
