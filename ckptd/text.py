"""Make strings out of files harmless before a person, a terminal or a log sees them; and sizes as people read them."""

from __future__ import annotations

import unicodedata

#: Unicode categories that can move a cursor, hide or reorder text, or are no text: controls, formats (bidirectional
#: overrides, zero-width), surrogates (bytes of names that are not UTF-8), private use, line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def escape(text: str, limit: int = 200) -> str:
    r"""Escape what is not visible text and cut to `limit` characters.

    A printable ASCII string that is short enough comes back as it is, so the usual case costs nothing.
    Control characters, bidirectional overrides and undecodable bytes become \xNN or \uNNNN; a backslash is doubled
    only when something was escaped, so that ordinary Windows paths stay readable.
    """
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    cut = text[:limit]
    if any(unicodedata.category(char) in _HIDDEN for char in cut):
        cut = "".join(_escape_char(char) for char in cut)
    return cut + "…" if len(text) > limit else cut


def _escape_char(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def format_size(size_bytes: int) -> str:
    """Write a size in binary units: 1536 → "1.5 KiB"."""
    value, unit = float(size_bytes), 0
    while value >= 1023.95 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{size_bytes} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
