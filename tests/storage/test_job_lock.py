"""The lock of whoever runs a job: beside the daemon's own, and it says which job."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ckptd.errors import AlreadyRunningError
from ckptd.storage.lock import JOBS, describe_holder, hold, hold_job, is_held, read_holder

HOLDER = """
import sys, time
from ckptd.storage.lock import hold_job
held = hold_job(sys.argv[1], "retention")
print("held", flush=True)
time.sleep(60)
"""


def test_the_second_is_told_the_process_and_the_job_of_the_first(tmp_path):
    """And what to do: wait, or end it."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunningError) as raised:
            hold_job(tmp_path, "scrub")
        other.kill()
    message = str(raised.value)
    assert f"process {other.pid} runs the job retention since 2" in message
    assert f"wait for its end, or stop it (kill {other.pid})" in message
    assert raised.value.exit_status == 4
    hold_job(tmp_path, "scrub").close()


def test_a_daemon_and_a_job_of_it_hold_one_each(tmp_path):
    """Two files, two locks."""
    with hold(tmp_path), hold_job(tmp_path, "scrub"):
        assert is_held(tmp_path)
        assert is_held(tmp_path, JOBS)
        assert read_holder(tmp_path, JOBS)["job"] == "scrub"
        assert describe_holder(read_holder(tmp_path, JOBS)).startswith(f"process {os.getpid()} holds the lock since 2")
    assert not is_held(tmp_path, JOBS)


def test_a_name_in_the_file_is_not_believed(tmp_path):
    """Who can write there could write anything; it is shown escaped and cut."""
    with hold_job(tmp_path, "scrub"):
        (tmp_path / JOBS).write_text('{"pid": "x", "job": "\\u001b[2J' + "a" * 1000 + '", "started_at": "\\u001b"}')
        with pytest.raises(AlreadyRunningError) as raised:
            hold_job(tmp_path, "scrub")
    assert "another process runs the job \\x1b[2Ja" in str(raised.value)
    assert len(str(raised.value)) < 400
    assert "\x1b" not in str(raised.value)


ASKER = """
import sys, time
from ckptd.storage.lock import JOBS, is_held
print("asking", flush=True)
while True:
    is_held(sys.argv[1], JOBS)
    time.sleep(0.0002)
"""


def test_asking_keeps_nobody_out(tmp_path):
    """Who asks has the lock for a moment; who wants it meanwhile gets it all the same."""
    hold_job(tmp_path, "scrub").close()
    with subprocess.Popen([sys.executable, "-c", ASKER, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "asking\n"
        try:
            for _ in range(1_000):
                hold_job(tmp_path, "scrub").close()
        finally:
            other.kill()
