"""The zygote without torch: it writes and checks weights, and compares outputs."""

from __future__ import annotations

import codecs

from ckptd.export.worker import LIGHT
from ckptd.sandbox.zygote import run


def main(arguments: list[str]) -> None:
    """Be the zygote: import what its jobs need, so that none of them has to."""
    import numpy  # noqa: F401 — read here, once for all jobs
    import safetensors.numpy  # noqa: F401 — likewise

    import ckptd.export.checking
    import ckptd.export.verification  # noqa: F401 — likewise

    for name in ("ascii", "latin-1", "utf-8"):
        codecs.lookup(name)
    run(arguments, LIGHT)
