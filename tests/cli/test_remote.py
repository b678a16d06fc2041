"""What a verb says to the daemon: how arguments are spelt for it."""

from __future__ import annotations

import pytest

from ckptd.cli.remote import _spell


def test_a_path_that_exists_from_here_means_the_same_elsewhere(tmp_path, monkeypatch):
    """The daemon has another present directory; a name of the index and an option stay as they are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.pth").touch()
    assert _spell("runs/a.pth") == str(tmp_path / "runs" / "a.pth")
    assert [_spell(text) for text in ("runs/b.pth", "runs", "--x=runs/a.pth")] == ["runs/b.pth", "runs", "--x=runs/a.pth"]


@pytest.mark.parametrize("text", ["x" * 300 + "/y", "a\0b/c", "/" * 5_000 + "x"])
def test_a_text_that_can_be_no_path_stays_as_it_is(text):
    """It may be a query, or a slip: whoever reads it says so."""
    assert _spell(text) == text
