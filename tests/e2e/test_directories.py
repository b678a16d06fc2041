"""Directories that people move while a daemon watches them."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.running import running
from tests.e2e.test_life import QUICK, save, wait_starts


@pytest.mark.parametrize("is_reloaded", [False, True])
def test_a_directory_that_takes_the_place_of_another_ends_no_daemon(tmp_path, is_reloaded):
    """`mv latest archive; mv new latest`: a stop and a reload are as ever, and what is saved there is indexed."""
    models = tmp_path / "models"
    (models / "new").mkdir(parents=True)
    with running(models, env=QUICK) as daemon:

        def index(path, seed):
            save(models / path, seed)
            daemon.wait_event("checkpoint.indexed", path=path)

        daemon.wait_event("scan.finished")
        (models / "latest").mkdir()
        index("1.pth", 1)
        (models / "latest").rename(tmp_path / "archive")
        index("2.pth", 2)
        (models / "new").rename(models / "latest")
        index("3.pth", 3)
        if is_reloaded:
            daemon.process.send_signal(signal.SIGHUP)
            wait_starts(daemon, 2)
        index("latest/4.pth", 4)
        assert daemon.stop() == 0
        assert daemon.has("daemon.stopped")
