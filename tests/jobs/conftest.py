"""What most tests of jobs begin with."""

from __future__ import annotations

import pytest


@pytest.fixture
def root(tmp_path):
    """An empty directory of models."""
    made = tmp_path / "models"
    made.mkdir()
    return made
