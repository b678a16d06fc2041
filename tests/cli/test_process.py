"""The command as a process: what it imports, a reader that goes away, a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

HEAVY = (
    "numpy",
    "torch",
    "pydantic",
    "pydantic_settings",
    "structlog",
    "sqlalchemy",
    "alembic",
    "rich",
    "watchdog",
    "apscheduler",
    "asyncio",
    "multiprocessing",
)
FAKE = "from ckptd.cli import main; from ckptd.cli.request import Request\n"
FAKE += "from tests.cli.fake import FakeApp, record; import sys; "


def python(code, *args, **options):
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize(
    "start",
    [
        "import ckptd",
        "import ckptd.cli",
        "import ckptd.cli.inspecting",
        "from ckptd.cli import main; main(['--help']); main(['inspect', '--help'])",
    ],
)
def test_the_way_to_inspect_imports_nothing_heavy(start):
    """Each of these costs more than all of `ckptd inspect` may."""
    done = python(
        f"{start}\nimport sys\nprint('|', *[m for m in {HEAVY!r} if m in sys.modules])",
        env={**os.environ, "HOME": "/nonexistent"},
    )
    assert done.stdout.rpartition("|")[2].split() == [], done.stderr


def test_no_verb_needs_another_verbs_module():
    """`ls` does not import what `inspect` needs, and the other way round."""
    code = "from ckptd.cli import main; main(['ls', '--help']); import sys; print('|', *sys.modules)"
    loaded = set(python(code).stdout.rpartition("|")[2].split())
    assert "ckptd.cli.listing" in loaded
    assert not loaded & {"ckptd.cli.inspecting", "ckptd.cli.running", "ckptd.cli.configuring", "ckptd.cli.checking"}


def test_a_reader_that_goes_away_is_no_trouble():
    """`ckptd ls | head -1` ends quietly, as `cat` would."""
    code = FAKE + "sys.exit(main(['ls', '--json'], Request(build_app=FakeApp(known=[record(n) for n in range(5000)]))))"
    # Unbuffered, CPython drops what a pipe did not take instead of failing, and the end would be a silent 0.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
    process.stdout.read(10)
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(60) == 141
    assert errors == b""


def test_on_a_terminal_there_is_a_table_and_still_no_hostile_byte():
    """Rich draws it; its own markup in a name stays text."""
    code = FAKE + "sys.exit(main(['ls'], Request(build_app=FakeApp(known=[record(1, 'x[red]\\x1b]0;t\\x07.pth')]))))"
    out = on_terminal(code)
    assert "x[red]\\x1b]0;t\\x07.pth" in out
    assert "\x1b]0" not in out


def test_on_a_terminal_long_work_has_a_bar():
    """And elsewhere none."""
    code = FAKE + "sys.exit(main(['scan'], Request(build_app=FakeApp())))"
    assert "1/2" in on_terminal(code)
    assert "1/2" not in python(code).stderr


def on_terminal(code):
    """Run with a terminal of 160 columns for all three streams and give what it showed."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed: that is how a terminal ends
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


@pytest.mark.parametrize(
    ("root", "variables", "word"),
    [
        ("", {}, "names no directory"),
        (".", {"CKPTD_STATE_DIR": ""}, "is empty"),
        (".", {"CKPTD_IGNORE": '["run["]'}, "is not closed"),
    ],
)
def test_what_a_slip_in_a_shell_makes_is_refused(root, variables, word, tmp_path):
    """A variable that is not set is no order to look after the present directory; a pattern that ends early is a sentence."""
    command = [sys.executable, "-m", "ckptd", "--root", root, "scan"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env={**os.environ, **variables})
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr
