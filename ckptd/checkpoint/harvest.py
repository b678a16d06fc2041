"""Find dangerous names in bytes that no machine can read as a pickle: a safety net below `opcodes`.

A pickle that breaks off, or that uses opcodes torch.save never writes, still runs what stands before the break.  So when
reading fails, the bytes are searched for the two ways in which a pickle names a global.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckptd.checkpoint.globals import is_dangerous, normal_module

#: GLOBAL and INST: a letter, a module, a newline, a name, a newline.
_LINES = re.compile(rb"[ci]([A-Za-z_][A-Za-z0-9_.]{0,100})\n([A-Za-z_][A-Za-z0-9_.]{0,100})\n")
#: STACK_GLOBAL: two texts, each possibly remembered, and the opcode.
_STACKED = re.compile(
    rb"(?:\x8c.|[XT].\x00\x00\x00|U.|\x8d.\x00{7})([A-Za-z_][A-Za-z0-9_.]{0,100}?)(?:\x94|q.|r....|0)*"
    rb"(?:\x8c.|[XT].\x00\x00\x00|U.|\x8d.\x00{7})([A-Za-z_][A-Za-z0-9_.]{0,100}?)(?:\x94|q.|r....)*\x93",
    re.DOTALL,
)
#: Two names out of one file say enough.
_MOST = 5
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


def names_globals(data: bytes) -> bool:
    """Tell whether the bytes name any global in the way of protocols 0 to 3."""
    return _LINES.search(data) is not None


def _pairs(data: bytes) -> Iterator[str]:
    for pattern in (_LINES, _STACKED):
        for match in pattern.finditer(data):
            module, name = normal_module(match[1].decode()), match[2].decode()
            if is_dangerous(module, name):
                yield f"{module}.{name}"
