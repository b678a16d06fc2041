"""Plans as people would ask for them, with every reason; the files are the truth.

After a change that is meant: CKPTD_WRITE_GOLDEN=1 pytest tests/policy/retention/test_golden.py, and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.policy.retention.goldens import LINE, render_golden

FILES = sorted((Path(__file__).parent / "golden").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path):
    """The plan is the one that the file says."""
    text = path.read_text()
    rendered = render_golden(text)
    if os.environ.get("CKPTD_WRITE_GOLDEN"):
        path.write_text(rendered)
    else:
        assert rendered == text


def test_every_golden_file_says_what_it_asks():
    """In its first line, and it has a plan."""
    assert len(FILES) >= 15
    for path in FILES:
        assert path.read_text().startswith("# ")
        assert f"\n{LINE}\n" in path.read_text()
