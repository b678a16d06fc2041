"""The names of archives."""

from __future__ import annotations

import os
from datetime import date

import pytest

from ckptd.archive.interface import ArchiveError
from ckptd.archive.naming import is_archive_name, next_name

DAY = date(2026, 1, 2)


def test_the_first_of_a_day_has_no_number(place, directory):
    """Whatever there is of other days and other people."""
    for name in ("models_archive_20260101.tar.gz", "models_archive_20260102x.tar.gz", "notes.txt", "models_archive_20260102"):
        (place / name).write_bytes(b"")
    assert next_name(directory, "tar.gz", DAY) == "models_archive_20260102.tar.gz"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["models_archive_20260102.tar.gz"], "models_archive_20260102_2.tar.gz"),
        (["models_archive_20260102.pack"], "models_archive_20260102_2.tar.gz"),
        (["models_archive_20260102_2.tar.gz"], "models_archive_20260102_3.tar.gz"),
        (["models_archive_20260102_9.tar.gz", "models_archive_20260102_10.tar.zst"], "models_archive_20260102_11.tar.gz"),
    ],
)
def test_later_ones_are_counted(place, directory, there, expected):
    """Over all formats, and from the highest: a name that was given once is not given to a later one while others are there."""
    for name in there:
        (place / name).write_bytes(b"")
    assert next_name(directory, "tar.gz", DAY) == expected


@pytest.mark.parametrize("known", ["models_archive_20260102_4.tar.gz", "models_archive_20260102_4.pack"])
def test_a_name_that_was_given_is_not_given_again(place, directory, known):
    """Though its archive lies elsewhere by now, or its disk is not mounted."""
    assert (
        next_name(directory, "tar.gz", DAY, [known, "models_archive_20260101_9.tar.gz"]) == "models_archive_20260102_5.tar.gz"
    )
    (place / "models_archive_20260102_6.tar.gz").write_bytes(b"")
    assert next_name(directory, "tar.gz", DAY, [known]) == "models_archive_20260102_7.tar.gz"


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_no_entry_is_taken_for_free(place, directory, kind):
    """Neither a directory of that name nor a broken link."""
    path = place / "models_archive_20260102.tar.gz"
    {"file": path.touch, "directory": path.mkdir, "link": lambda: path.symlink_to("nowhere")}[kind]()
    assert next_name(directory, "tar.gz", DAY) == "models_archive_20260102_2.tar.gz"


def test_a_directory_that_cannot_be_listed(directory):
    """Says what to do."""
    path_only = os.open(f"/proc/self/fd/{directory}", os.O_PATH)
    try:
        with pytest.raises(ArchiveError, match="list the archives"):
            next_name(path_only, "tar.gz", DAY)
    finally:
        os.close(path_only)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("models_archive_20260102.tar.gz", True),
        ("models_archive_20260102_12.tar.zst", True),
        ("models_archive_20260102.pack", True),
        ("models_archive_2026.tar.gz", False),
        ("models_archive_20260102.tar.gz\n", False),
        ("models_archive_20260102_.tar.gz", False),
        ("old_models_archive_20260102.tar.gz", False),
        (".ckptd-0123456789abcdef.tmp", False),
    ],
)
def test_what_is_named_like_an_archive(name, expected):
    """And what is not."""
    assert is_archive_name(name) is expected
