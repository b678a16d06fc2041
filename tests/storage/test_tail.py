"""The end of a file that somebody else may have put there."""

from __future__ import annotations

import os

import pytest

from ckptd.storage.tail import read_tail


def test_the_last_lines_are_given_and_none_that_is_torn(tmp_path):
    """The first of what is read may have begun earlier; the last may not be written to its end."""
    (tmp_path / "file").write_bytes(b"first\nsecond\nthird\nhal")
    assert read_tail(tmp_path, "file", 100) == [b"first", b"second", b"third", b"hal"]
    assert read_tail(tmp_path, "file", 12) == [b"third", b"hal"]
    (tmp_path / "empty").touch()
    assert read_tail(tmp_path, "empty", 12) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "nothing", "link above"])
def test_what_is_no_file_is_not_read(tmp_path, kind):
    """Neither where a link leads, nor what nobody writes, nor through a directory that is a link."""
    place = tmp_path / "state"
    place.mkdir()
    match kind:
        case "link":
            (tmp_path / "elsewhere").write_bytes(b"secret\n")
            (place / "file").symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(place / "file")
        case "directory":
            (place / "file").mkdir()
        case "link above":
            (place / "file").write_bytes(b"secret\n")
            place.rename(tmp_path / "elsewhere")
            place.symlink_to(tmp_path / "elsewhere")
        case _:
            pass
    with pytest.raises(OSError, match=r"no file|No such file|Not a directory"):
        read_tail(place, "file", 100)
