"""A root that several people write to, and a daemon on it that hears them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.e2e.control.people import GROUP, QUICK
from tests.e2e.running import Daemon, running, wait_for


@pytest.fixture
def open_place():
    """A directory that every user can reach; those of pytest are closed to others."""
    with tempfile.TemporaryDirectory(prefix="ckptd-test-", dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        yield Path(place)


@pytest.fixture(autouse=True)
def _same_socket(monkeypatch, open_place):
    (open_place / "run").mkdir(mode=0o755)
    monkeypatch.setenv("CKPTD_CONTROL__SOCKET", str(open_place / "run" / "ctl"))


@pytest.fixture
def shared(open_place):
    """A root that a group writes to, as teams have it, and a daemon on it."""
    root = open_place / "models"
    root.mkdir()
    os.chown(root, -1, GROUP)
    root.chmod(0o2775)
    with running(root, env=QUICK) as daemon:
        daemon.socket = open_place / "run" / "ctl"
        wait_for(daemon.socket.exists, "the socket")
        yield daemon


@pytest.fixture
def configured(open_place, tmp_path, monkeypatch):
    """A daemon that has its root, and all else, from a file of settings; `write` changes the file."""
    root, config = open_place / "models", tmp_path / "ckptd.toml"
    root.mkdir()
    monkeypatch.delenv("CKPTD_CONTROL__SOCKET")
    monkeypatch.setenv("CKPTD_CONFIG", str(config))
    daemon = Daemon(root, env=dict(QUICK))
    daemon.names_roots = False
    daemon.config = config

    def write(roots=(root,), socket=open_place / "run" / "ctl", more=""):
        config.write_text(f'roots = {[str(one) for one in roots]}\n{more}\n[control]\nsocket = "{socket}"\n')

    write()
    daemon.write = write
    daemon.start()
    yield daemon
    daemon.stop()
