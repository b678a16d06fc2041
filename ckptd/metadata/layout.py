"""Write a sidecar as text: JSON that a person can read and edit, with a seal over every byte of it.

The seal is the last value of the last key: the SHA-256 of all the text before it.  So whether a sidecar is just as we wrote
it is told from the file alone, without the index.  A sidecar that holds a person's edits has null there.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import Any, NoReturn

#: Everything between the last digit of the seal and the end.
_TAIL = b'"\n  }\n}\n'
_SEAL_DIGITS = 64

_string = encode_basestring
_NOT_PLAIN = re.compile(r"[^\x20-\x7e\n]")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _make_encoder() -> Callable[[Any], str]:
    """Give a function that writes one compact value.

    `json.dumps` with an indent is pure Python, at ten times the cost, and without one builds its C encoder anew for each
    call, at twice the cost.  Where an interpreter has no C encoder, the public way does the same.
    """
    in_c: Any = getattr(json.encoder, "c_make_encoder", None)
    if in_c is None:
        return json.JSONEncoder(separators=(", ", ": "), ensure_ascii=False, allow_nan=False).encode
    sort_keys = skip_keys = allow_nan = False
    chunks = in_c(None, _refuse, encode_basestring, None, ": ", ", ", sort_keys, skip_keys, allow_nan)
    return lambda value: "".join(chunks(value, 0))


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} is no JSON")


_encode = _make_encoder()


class Raw(str):
    """JSON text that goes out as it is: a value in a person's own spelling."""

    __slots__ = ()


def write_sealed(document: Mapping[str, Any]) -> bytes:
    """Write a purely generated document; its last key is `ckptd`, and that one's last key will be `seal`.

    Raises:
        ValueError: a number is not finite.
    """
    text = _visible(f"{{\n{_members(document)}\n}}\n")
    head = text.encode()[: -len(b"\n  }\n}\n")] + b',\n    "seal": "'
    return head + hashlib.sha256(head).hexdigest().encode() + _TAIL


def is_sealed(data: bytes) -> bool:
    """Tell whether a file is, byte for byte, what `write_sealed` wrote."""
    at = len(data) - len(_TAIL) - _SEAL_DIGITS
    return (
        at > 0
        and data.endswith(_TAIL)
        and hashlib.sha256(memoryview(data)[:at]).hexdigest().encode() == data[at : at + _SEAL_DIGITS]
    )


def write_unsealed(document: Mapping[str, Any]) -> bytes:
    """Write a document that holds a person's values (`Raw`)."""
    return _visible(f"{{\n{_members(document)}\n}}\n").encode()


def write_section(section: Mapping[str, Any]) -> str:
    """Write the value of the `ckptd` key alone, as it stands inside a document."""
    return _visible(_object(section))


def canonical(value: Any) -> str:
    """Write one value so that equal values have equal text, whatever a person's editor made of the spaces.

    Raises:
        ValueError: a number is not finite.
    """
    return _scalar(value)


def _members(document: Mapping[str, Any]) -> str:
    return ",\n".join(
        [
            f"  {_string(key)}: {_object(value) if isinstance(value, dict) and value else _scalar(value)}"
            for key, value in document.items()
        ]
    )


def _object(members: Mapping[str, Any]) -> str:
    inner = ",\n".join([f"    {_string(key)}: {_member(key, value)}" for key, value in members.items()])
    return f"{{\n{inner}\n  }}"


def _member(key: str, value: Any) -> str:
    """Write the exports one a line, and a list as `_lines` does; any other value in one line."""
    if type(value) is list:
        return _lines(value)
    if key != "exports" or type(value) is not dict or not value:
        return _scalar(value)
    inner = ",\n".join([f"      {_string(name)}: {_scalar(item)}" for name, item in value.items()])
    return f"{{\n{inner}\n    }}"


def _lines(items: list[Any]) -> str:
    """Write a list of objects one a line, any other list in one line."""
    if not items or not isinstance(items[0], dict):
        return _encode(items)
    # All in one call, at half the cost of one for each.  Where one ends and the next begins is told by the key that all have
    # first: inside of a text its quotes would be escaped, and in a list further inside a line break does no harm.
    first = _string(next(iter(items[0]), ""))
    inner = _encode(items)[1:-1].replace(f"}}, {{{first}: ", f"}},\n      {{{first}: ")
    return f"[\n      {inner}\n    ]"


def _scalar(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return _string(value)
    if kind is int:
        return repr(value)
    if value is None:
        return "null"
    return str(value) if kind is Raw else _encode(value)


def _visible(text: str) -> str:
    r"""Escape as \uNNNN what a terminal would act upon or not show; beyond ASCII that stands only inside strings."""
    if text.isascii() and "\x7f" not in text:
        return text
    return _NOT_PLAIN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if char in "\r\t" or unicodedata.category(char) not in _HIDDEN:
        return char  # a person's own spacing between values, or text
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
