"""A fresh index for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptd.index.store import Store
from tests.index.database import KINDS, open_fresh


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Give an index on each kind of database."""
    opened = open_fresh(request.param, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """Give an index in a file, for what only files do."""
    opened = open_fresh("sqlite", tmp_path)
    yield opened
    opened.close()
