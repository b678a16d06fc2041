"""How many exports run at once: by the memory they need, not only by their number.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

#: What a worker without torch needs beside the tensors that pass through it, bytes.
#: Source: `make bench`, row `weights`: it holds a few blocks of some MiB, whatever the size of the file.
_LIGHT_BYTES = 128 << 20
#: What an exporter with torch needs beside copies of the weights.  Source: measured peaks of 61 MB (script) to 234 MB (an LSTM
#: through the dynamo exporter) above the process it was forked from; doubled, and a margin for graphs of larger models.
_TORCH_BYTES = 1 << 30
#: Copies of the weights that are alive at once: the file's, the module's, the traced program's and its serialisation.
_COPIES = 5


class Need(NamedTuple):
    """What one export needs while it runs.

    Attributes:
        memory_bytes: beyond what its process is forked with.
    """

    memory_bytes: int


def estimate_need(weights_bytes: int, *, with_module: bool) -> Need:
    """Say what an export of weights of this size needs."""
    return Need(_TORCH_BYTES + _COPIES * weights_bytes) if with_module else Need(_LIGHT_BYTES)


def admit(waiting: Sequence[Need], running: Sequence[Need], *, memory_bytes: int, most: int) -> int:
    """Say how many of those that wait, in their order, may start now beside those that run.

    One that needs more than all there is never blocks those behind it: the caller refuses it beforehand (`fits`).  The order is
    kept all the same: a large one waits until there is room for it, and nobody overtakes it meanwhile.
    """
    free = memory_bytes - sum(need.memory_bytes for need in running)
    started = 0
    for need in waiting:
        if len(running) + started >= most or need.memory_bytes > free:
            break
        free -= need.memory_bytes
        started += 1
    return started


def fits(need: Need, memory_bytes: int) -> bool:
    """Say whether an export may ever run within this much memory."""
    return need.memory_bytes <= memory_bytes
