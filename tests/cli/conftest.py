"""Run one command line against a fake App, in this process."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from ckptd.cli import main
from ckptd.cli.request import Request
from tests.cli.fake import FakeApp


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def app():
    return FakeApp()


@pytest.fixture
def run(app, capsys, monkeypatch, tmp_path):
    """Give a function that runs a command line and returns its status and what it printed."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))

    def run(*args: object) -> Done:
        status = main([str(arg) for arg in args], Request(build_app=app))
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return run
