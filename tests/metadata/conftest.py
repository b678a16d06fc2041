"""A directory, open, for each test of the metadata room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.metadata.inspections import opened


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    with opened(tmp_path) as fd:
        yield fd
