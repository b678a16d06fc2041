"""Failures are tried three times more, each time later, and then no more."""

import pytest

from ckptd.policy.retry import find_next_try


@pytest.mark.parametrize(("failures", "wait"), [(1, 5.0), (2, 60.0), (3, 600.0), (4, None), (40, None)])
def test_waits(failures, wait):
    """The table of waits, on whatever clock the caller keeps."""
    assert find_next_try(failures, 1000.0) == (None if wait is None else 1000.0 + wait)
