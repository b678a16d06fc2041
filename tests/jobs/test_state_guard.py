"""Whether the state is still there: removed is the end, out of reach is not."""

from __future__ import annotations

import errno
import os
import shutil
from types import SimpleNamespace

import pytest

from ckptd.errors import RootLostError
from ckptd.jobs.state_guard import check_state
from ckptd.storage.lock import hold
from ckptd.storage.state import ensure_state_dir


@pytest.fixture
def engine(tmp_path):
    """A state of its own, with a lock and an index, beside no root."""
    state = ensure_state_dir(tmp_path / "state")
    (state / "index").write_bytes(b"x")
    with hold(state) as lock:
        yield SimpleNamespace(lock=lock, state_dir=state, roots=[])


@pytest.mark.parametrize("what", ["lock", "index"])
def test_a_state_of_which_something_was_removed_ends_it(engine, what):
    """What is written there, nobody finds again."""
    check_state(engine, "index")
    (engine.state_dir / what).unlink()
    with pytest.raises(RootLostError, match="removed while ckptd ran"):
        check_state(engine, "index")


def test_a_state_whose_share_is_away_is_waited_for(engine):
    """All of it is gone, and nobody removed that."""
    shutil.rmtree(engine.state_dir)
    check_state(engine, "index")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.EACCES, errno.ELOOP])
@pytest.mark.parametrize("asks", ["stat", "lstat"])
def test_a_disk_that_gives_no_answer_ends_nothing(engine, monkeypatch, number, asks):
    """A dead server, a right that was taken away: it may be there again in a minute."""
    real = getattr(os, asks)

    def refuse(path, *arguments, **options):
        if str(path).startswith(str(engine.state_dir)):
            raise OSError(number, os.strerror(number))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, asks, refuse)
    check_state(engine, "index")
