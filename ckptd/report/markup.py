"""HTML and SVG that can't be built wrong: whatever is no `Markup` is escaped where it goes in."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Markup(str):
    """Text that is HTML already; only `element`, `joined` and the fixed texts of this package make it."""

    __slots__ = ()


Child = Markup | str | None

#: Elements without an end tag.
_VOID = frozenset(("meta", "link", "br"))


def element(tag: str, /, *children: Child, **attributes: str | None) -> Markup:
    """Make an element.

    Args:
        tag: name of the element.
        children: in their order; None is left out.
        attributes: `class_` and `aria_label` stand for "class" and "aria-label"; None is left out.
    """
    known = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    stated = "".join([f' {key}="{html.escape(value)}"' for key, value in known])
    start = f"<{tag}{stated}>"
    return Markup(start if tag in _VOID else f"{start}{joined(children)}</{tag}>")


def joined(children: Iterable[Child]) -> Markup:
    """Put children one after another."""
    known = (child for child in children if child is not None)
    return Markup("".join([child if isinstance(child, Markup) else html.escape(child, quote=False) for child in known]))
