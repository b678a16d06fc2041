"""The end that a signal asks for, where the process can't hear of it."""

from __future__ import annotations

import signal
import subprocess
import sys

#: A daemon whose start calls a function of C that no handler of Python interrupts; a child of that says when it is in there.
SCRIPT = """
import ctypes
from contextlib import contextmanager
from ckptd import daemon
from ckptd.service import signals
from ckptd.settings import Settings

@contextmanager
def open_engine(*_args, **_options):
    ctypes.CDLL(None).system(b"echo within; read line")
    yield

daemon.open_engine = open_engine
signals.MOST_STOP_SECONDS = 0.1
daemon.run(Settings.model_construct())
"""
PATIENCE_SECONDS = 30.0


def test_a_start_that_hangs_ends_in_time():
    """A share may be dead while a root or the index is opened: SIGTERM ends the first start as it ends all that comes later."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], **pipes) as process:
        try:
            assert process.stdout.readline() == b"within\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == -signal.SIGALRM
        finally:
            process.kill()


def test_what_a_child_hears_is_its_own():
    """The index is made in one that is forked; a signal to it must not end the daemon."""
    script = "import os, signal; from ckptd.service.signals import hear_signals; hear_signals(); child = os.fork()\n"
    script += "if not child: os._exit(signal.set_wakeup_fd(-1) != -1)\nassert os.waitpid(child, 0)[1] == 0"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE_SECONDS)
