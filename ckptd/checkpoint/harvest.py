"""Find dangerous names in bytes that no machine can read as a pickle: a safety net below `opcodes`.

A pickle that breaks off, or that uses opcodes torch.save never writes, still runs what stands before the break.  So when
reading fails, the bytes are searched for the two ways in which a pickle names a global.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckptd.checkpoint.globals import is_dangerous, is_dangerous_module, is_dangerous_name, normal_module

#: GLOBAL and INST: a letter, a module, a newline, a name, a newline.
_LINES = re.compile(rb"[ci]([A-Za-z_][A-Za-z0-9_.]{0,100})\n([A-Za-z_][A-Za-z0-9_.]{0,100})\n")
#: STACK_GLOBAL: two texts, each possibly remembered, and the opcode.
_STACKED = re.compile(
    rb"(?:\x8c.|[XT].\x00\x00\x00|U.|\x8d.\x00{7})([A-Za-z_][A-Za-z0-9_.]{0,100}?)(?:\x94|q.|r....|0)*"
    rb"(?:\x8c.|[XT].\x00\x00\x00|U.|\x8d.\x00{7})([A-Za-z_][A-Za-z0-9_.]{0,100}?)(?:\x94|q.|r....)*\x93",
    re.DOTALL,
)
#: SHORT_BINUNICODE and BINUNICODE of a short text: its length stands before it.
_TEXT = re.compile(rb"\x8c(.)|X(.)\x00\x00\x00", re.DOTALL)
#: Two names out of one file say enough.
_MOST = 5
#: Different texts that are put together.
_MOST_TEXTS = 100_000
#: Look at no more than this; what follows a break that far in cannot have run before it.
_MOST_BYTES = 64 << 20


def dangerous_names(data: bytes) -> list[str]:
    """Give dotted names of dangerous globals that stand in these bytes, at most a few, each once."""
    found: dict[str, None] = {}
    for name in _pairs(data[:_MOST_BYTES]):
        found[name] = None
        if len(found) >= _MOST:
            break
    return list(found)


def _pairs(data: bytes) -> Iterator[str]:
    for pattern in (_LINES, _STACKED):
        for match in pattern.finditer(data):
            module, name = normal_module(match[1].decode()), match[2].decode()
            if is_dangerous(module, name):
                yield f"{module}.{name}"
    if b"\x93" in data:
        yield from _remembered(data)


def _remembered(data: bytes) -> Iterator[str]:
    """Put texts together that stand apart: what is remembered can be taken from anywhere."""
    texts: set[str] = set()
    for match in _TEXT.finditer(data):
        text = data[match.end() : match.end() + (match[1] or match[2])[0]]
        if text.isascii() and len(text) <= 64:
            texts.add(text.decode())
        if len(texts) > _MOST_TEXTS:
            break
    names = sorted(text for text in texts if is_dangerous_name(text))
    modules = sorted(text for text in texts if is_dangerous_module(normal_module(text)))
    yield from (f"{normal_module(module)}.{name}" for module in modules for name in names if module != name)
