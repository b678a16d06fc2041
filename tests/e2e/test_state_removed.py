"""A person clears away what the daemon works with: it ends with a sentence, and a new start finds everything again."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.corpus import asm, zips
from tests.e2e.running import running, wait_for

QUICK = {"CKPTD_WATCH__SETTLE_SECONDS": "0.05", "CKPTD_WATCH__GUARD_SECONDS": "0.2"}


@pytest.mark.parametrize(
    ("what", "apart"), [("lock", False), ("index.sqlite", False), ("", False), ("lock", True), ("index.sqlite", True)]
)
def test_removed_state_ends_the_daemon_and_costs_nothing(tmp_path, what, apart):
    """Without its lock a second daemon could start, and what goes into a removed index nobody sees: so it says so and ends."""
    models = tmp_path / "trained_models"
    state = tmp_path / "state" if apart else models / ".ckptd"
    with running(models, env={**QUICK, **({"CKPTD_STATE_DIR": str(state)} if apart else {})}) as daemon:
        (models / "a.pth").write_bytes(zips.checkpoint(asm.program(asm.state_dict())))
        daemon.wait_record("a.pth", status="ok")
        (os.unlink if what else shutil.rmtree)(state / what)
        wait_for(lambda: daemon.process.poll() is not None, "the daemon to end")
        assert daemon.process.poll() == 1
        assert "removed while ckptd ran" in daemon.log.read_text()
        daemon.start()
        daemon.wait_record("a.pth", status="ok")
