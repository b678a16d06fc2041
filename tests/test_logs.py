"""Logs: one line a decision, JSON or console, harmless whatever a file is called."""

from __future__ import annotations

import io
import json
import logging
import os

import pytest
import structlog

from ckptd.logs import configure_logs
from ckptd.settings import LogSettings


@pytest.fixture(autouse=True)
def _restore():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def logged(write, *, environ=None, stream=None, quiet=False, **settings):
    stream = stream or io.StringIO()
    configure_logs(LogSettings(**settings), stream=stream, environ=environ or {}, quiet=quiet)
    write(structlog.get_logger())
    stream.seek(0)
    return stream.read()


def test_off_a_terminal_every_event_is_one_line_of_json():
    """With level, UTC time and the keys as they were given."""
    text = logged(lambda log: log.info("checkpoint.indexed", path="a.pth", sha256="ab", reason="new", size_bytes=3))
    event = json.loads(text)
    assert (event["event"], event["level"], event["path"], event["size_bytes"]) == ("checkpoint.indexed", "info", "a.pth", 3)
    assert event["timestamp"].endswith("Z")
    assert text.count("\n") == 1


@pytest.mark.parametrize("form", ["json", "console"])
def test_names_from_files_are_escaped(form):
    """Escape sequences, line ends and reordering marks, in values, lists and nested keys."""
    evil = "a\x1b[2J\u202e\udcff.pth"
    text = logged(lambda log: log.warning("checkpoint.rejected", path=evil, tensors=[evil], detail={evil: evil}), format=form)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.encode()
    if form == "json":
        assert json.loads(text)["path"] == "a\\x1b[2J\\u202e\\xff.pth"


def test_a_line_end_in_a_name_makes_no_second_line():
    """Nobody can forge an event."""
    for form in ("json", "console"):
        text = logged(lambda log: log.info("x.y", path='a\n<3>{"event": "forged"}'), format=form)
        assert len(text.splitlines()) == 1


def test_levels_filter():
    """And `quiet` lets only trouble through, unless somebody asked for debug."""

    def write(log):
        log.debug("a.b")
        log.info("c.d")
        log.warning("e.f")

    assert [json.loads(line)["event"] for line in logged(write).splitlines()] == ["c.d", "e.f"]
    assert "c.d" not in logged(write, quiet=True)
    assert "a.b" in logged(write, quiet=True, level="debug")
    assert "e.f" not in logged(write, level="error")


def test_under_the_journal_every_line_has_its_priority(tmp_path):
    """Only when the stream is the journal's own, which JOURNAL_STREAM tells by device and inode."""

    def write(log):
        log.error("root.lost")
        log.info("root.returned")

    with (tmp_path / "log").open("w+") as stream:
        status = os.fstat(stream.fileno())
        text = logged(write, stream=stream, environ={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert [line[:3] for line in text.splitlines()] == ["<3>", "<6>"]
    assert json.loads(text.splitlines()[0][3:])["event"] == "root.lost"
    assert not logged(write, environ={"JOURNAL_STREAM": "1:2"}).startswith("<")


def test_what_libraries_log_becomes_an_event():
    """Nothing that goes wrong below us is lost, and it is as harmless as what we say ourselves."""
    text = logged(lambda _: logging.getLogger("urllib3").warning("overflow %s", "\x1b[2J"))
    event = json.loads(text)
    assert (event["event"], event["library"], event["message"]) == ("library.warned", "urllib3", "overflow \\x1b[2J")


def test_a_traceback_is_one_json_line():
    """With its lines inside."""

    def write(log):
        try:
            raise ValueError("bad\x1b")
        except ValueError:
            log.exception("worker.failed")

    event = json.loads(logged(write))
    assert "ValueError: bad\\x1b" in event["exception"]
    assert "\n" in event["exception"]


def test_a_person_sees_the_file_first_and_nothing_empty(tmp_path, monkeypatch):
    """A terminal has one short line; paths are as from where the daemon was started, digests as `ckptd show` takes them."""
    monkeypatch.chdir(tmp_path)
    keys = {"root": str(tmp_path / "models"), "path": "a.pth", "digest": "0123456789abcdef" * 4, "findings": [], "reason": None}
    text = logged(lambda log: log.info("checkpoint.indexed", **keys, failures=0, kind="module"), format="console")
    words = text.split()
    assert words[2:] == ["[info]", "checkpoint.indexed", "path=models/a.pth", "digest=0123456789ab", "kind=module"]


@pytest.mark.parametrize(("environ", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_whose_owner_wants_them(environ, colored):
    """NO_COLOR is the word that programs have agreed on."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    text = logged(lambda log: log.info("root.returned"), stream=Terminal(), environ=environ, format="auto")
    assert ("\x1b[" in text) is colored
    assert "root.returned" in text
