"""Which files are ours, and which a person changed."""

import pytest

from ckptd.service.stamp import Standing, judge, stamp

OURS = stamp("[Service]\nType=notify\n")


@pytest.mark.parametrize(
    ("found", "standing"),
    [
        (None, Standing.MISSING),
        (OURS, Standing.SAME),
        (stamp("[Service]\nType=exec\n"), Standing.OLDER),
        (OURS.replace("notify", "exec"), Standing.CHANGED),
        (OURS + "Nice=0\n", Standing.FOREIGN),
        ("Nice=0\n" + OURS, Standing.CHANGED),
        ("[Service]\nType=notify\n", Standing.FOREIGN),
        ("", Standing.FOREIGN),
    ],
)
def test_what_lies_there_is_told_apart(found, standing):
    """Only what bears our line, with the digest of what stands above it, is ours to replace."""
    judged = judge(None if found is None else found.encode(), OURS)
    assert judged is standing
    assert judged.is_ours == (standing in (Standing.SAME, Standing.OLDER))


def test_without_a_wish_ours_is_ours():
    """An uninstall does not know what an install would write."""
    assert judge(OURS.encode(), None) is Standing.OLDER


def test_bytes_that_are_no_text_are_foreign():
    """No file can keep an install from saying so."""
    assert judge(b"\xff\xfe\0", OURS) is Standing.FOREIGN
