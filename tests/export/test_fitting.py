"""A recipe is checked in one confined process, within the same bounds as an export."""

from __future__ import annotations

import os
import selectors

import pytest
import torch

from ckptd.checkpoint.inspection import inspect_path
from ckptd.errors import WorkerError
from ckptd.export.fitting import check_fit
from ckptd.settings.exporting import ExportSettings
from tests.export.running import recipe_of
from tests.export.test_hostile import HOSTILE


def test_what_a_check_writes_is_bounded_in_all(tmp_path):
    """File by file it is little; the process is ended, and its scratch is gone."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "hostile_models.py").write_text(HOSTILE.read_text())
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "model.pth")
    inspection = inspect_path(tmp_path / "model.pth")
    state, settings = tmp_path / ".ckptd", ExportSettings(seconds=60.0)
    recipe = recipe_of(code, "hostile_models:fill_disk_by_many")
    fd = os.open(tmp_path / "model.pth", os.O_RDONLY)
    try:
        with selectors.DefaultSelector() as selector, pytest.raises(WorkerError, match="wrote more than"):
            check_fit(recipe, inspection, fd, state, settings, selector)
    finally:
        os.close(fd)
    assert list((state / "scratch").iterdir()) == []
