"""A root that everybody may write to, and one in which nobody may touch what is another's."""

from __future__ import annotations

import os

import pytest

from tests.neighbours.neighbour import ground

#: Where things are swapped, and where they are not; both are found in real life.
MODES = {"world-writable": 0o777, "sticky": 0o1777}


@pytest.fixture
def needs_root():
    if os.geteuid() != 0:
        pytest.skip("another user's part can only be played by root")


@pytest.fixture(params=MODES.values(), ids=MODES.keys())
def place(request, needs_root):
    """Both kinds of roots."""
    with ground(request.param) as made:
        yield made


@pytest.fixture
def open_place(needs_root):
    """A root in which everything can be swapped by everybody."""
    with ground(0o777) as made:
        yield made
