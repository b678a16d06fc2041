"""Formats are imported when they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ckptd.archive.formats import FORMATS, find_format
from ckptd.archive.interface import ArchiveError


@pytest.mark.parametrize("one", [one for one in FORMATS if one.package], ids=lambda one: one.name)
def test_a_package_that_is_not_installed(monkeypatch, one):
    """Says how to get it."""
    monkeypatch.setitem(sys.modules, one.package, None)
    with pytest.raises(ArchiveError, match=rf"{one.package} is not installed.*ckptd\[{one.extra}\]"):
        find_format(one.name)


def test_to_know_of_formats_is_light():
    """The daemon does; nothing heavy comes with it."""
    script = """
import sys
import ckptd.archive.formats, ckptd.archive.naming, ckptd.archive.interface
print([name for name in ("isal", "zstandard", "blosc2", "numpy", "torch", "tarfile") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
