"""A daemon whose clock can be set: `python -m tests.soak.clocked run …` is `ckptd run …`.

The file named by CKPTD_SOAK_CLOCK holds seconds that are added to the time of day; SIGUSR1 has it read again.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    """Put a clock in the place of the kernel's, and run."""
    real, place, offset = time.time, Path(os.environ["CKPTD_SOAK_CLOCK"]), [0.0]
    time.time = lambda: real() + offset[0]

    def read(*_: object) -> None:
        offset[0] = float(place.read_text() or 0) if place.exists() else 0.0

    signal.signal(signal.SIGUSR1, read)
    read()
    from ckptd.cli import main as ckptd

    return ckptd(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
