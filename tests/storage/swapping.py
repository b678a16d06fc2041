"""A neighbour who exchanges two names of a directory all the time."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ckptd.storage import kernel


@contextmanager
def swapped(directory_fd: int, one: str, other: str) -> Iterator[None]:
    """Exchange them in another thread until the end.

    It rests for a moment after a random number of swaps.  Without that the two threads can hand the interpreter's lock to each
    other after every second swap, so that whoever looks finds the same of the two each time (seen once: 3,000 times of 3,000).

    Args:
        directory_fd: of the directory.
        one: a name in it.
        other: another one.
    """
    stop, chance = threading.Event(), random.Random(1)

    def swap() -> None:
        while not stop.is_set():
            for _ in range(chance.randint(1, 30)):
                kernel.rename(directory_fd, one, other, kernel.RENAME_EXCHANGE)
            stop.wait(0.0005)

    neighbour = threading.Thread(target=swap)
    neighbour.start()
    try:
        yield
    finally:
        stop.set()
        neighbour.join()
