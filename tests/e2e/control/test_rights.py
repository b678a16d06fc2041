"""The socket of people, by a real daemon and real users of the machine: who may ask what."""

from __future__ import annotations

import errno
import grp
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.control.people import GROUP, MEMBER, QUICK, STRANGER, as_user, save, talk
from tests.e2e.running import ckptd, run_ckptd, running

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes other users"),
]


def test_a_member_of_the_group_reads_and_marks_and_no_more(shared):
    """By the group that may write to the root; the pin bears his name, and the index is closed to him all the same."""
    root = shared.roots[0]
    save(root / "a.pth")
    shared.wait_record("a.pth", status="ok")
    listed = as_user(MEMBER, [GROUP], "--root", root, "ls", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [record["path"] for record in json.loads(listed.stdout)] == ["a.pth"]
    pinned = as_user(MEMBER, [GROUP], "--root", root, "pin", "a.pth")
    assert pinned.returncode == 0, pinned.stderr
    assert str(MEMBER) in (root / ".ckptd" / "journal.jsonl").read_text()
    for refused in (["apply"], ["jobs", "run", "report"], ["trash", "purge", "--all"], ["archive"], ["archive", "write", "a"]):
        done = as_user(MEMBER, [GROUP], "--root", root, *refused)
        assert done.returncode == 4, (refused, done.stdout, done.stderr)
        assert "read and mark, and no more" in done.stderr
    for refused in ("pause", "resume", "reload"):
        done = as_user(MEMBER, [GROUP], "--root", root, refused)
        assert (done.returncode, done.stdout) == (4, ""), refused
    assert shared.has("daemon.paused") is None
    assert not (root / ".ckptd").stat().st_mode & 0o077


def test_a_stranger_learns_nothing(shared):
    """Neither by the socket nor past it."""
    root = shared.roots[0]
    save(root / "a.pth")
    shared.wait_record("a.pth", status="ok")
    for command in (["ls"], ["status"], ["pin", "a.pth"], ["show", "a.pth"]):
        done = as_user(STRANGER, [], "--root", root, *command)
        assert done.returncode == 4, (command, done.stdout, done.stderr)
        assert done.stdout == ""
    assert not ckptd("--root", root, "show", "a.pth").get("marks")


def test_a_member_brings_back_what_is_his_and_nothing_of_others(shared):
    """SO_PEERCRED says who he is, the file in the trash whose it is."""
    root = shared.roots[0]
    save(root / "mine.pth", 1, MEMBER)
    save(root / "theirs.pth", 2, MEMBER + 1)
    for name in ("mine.pth", "theirs.pth"):
        shared.wait_record(name, status="ok")
    assert run_ckptd("--root", root, "archive", "write", "status=ok", "--remove").returncode == 0
    assert not (root / "mine.pth").exists()
    refused = as_user(MEMBER, [GROUP], "--root", root, "restore", "theirs.pth")
    assert refused.returncode == 2, refused.stderr
    assert "belongs to somebody else" in refused.stderr
    done = as_user(MEMBER, [GROUP], "--root", root, "restore", "mine.pth")
    assert done.returncode == 0, done.stderr
    assert (root / "mine.pth").stat().st_uid == MEMBER
    assert not (root / "theirs.pth").exists()
    purged = run_ckptd("--root", root, "trash", "purge", "--all")
    assert purged.returncode == 0, purged.stderr
    refused = as_user(MEMBER, [GROUP], "--root", root, "restore", "theirs.pth")  # now only an archive has it
    assert refused.returncode == 2
    assert "only out of the trash" in refused.stderr


def test_an_option_with_a_path_is_not_for_others(shared):
    """A daemon's user may write where the asker may not."""
    root = shared.roots[0]
    save(root / "a.pth", owner=MEMBER)
    shared.wait_record("a.pth", status="ok")
    for refused in (["report", "--html", "/tmp/x.html"], ["restore", "a.pth", "--to", "/tmp/x"]):
        done = as_user(MEMBER, [GROUP], "--root", root, *refused)
        assert done.returncode != 0, refused
        assert not Path("/tmp/x.html").exists()
        raw = talk(shared.socket, {"what": "run", "arguments": refused})
        assert raw["status"] == 4, raw


def test_members_of_the_admin_group_steer(open_place):
    """Named in the settings: they pause, run jobs and reload."""
    group = grp.getgrgid(1)
    root = open_place / "models"
    with running(root, env={**QUICK, "CKPTD_CONTROL__ADMIN_GROUP": group.gr_name}) as daemon:
        assert as_user(MEMBER, [1], "--root", root, "pause").returncode == 0
        daemon.wait_event("daemon.paused")
        ran = as_user(MEMBER, [1], "--root", root, "jobs", "run", "report")
        assert ran.returncode == 0, ran.stderr


def test_the_owner_writes_through_the_daemon_and_without_it(open_place):
    """While it runs it does the work, and else the command does it itself: the result is the same."""
    root = open_place / "models"
    with running(root, env=QUICK) as daemon:
        save(root / "a.pth")
        daemon.wait_record("a.pth", status="ok")
        assert run_ckptd("--root", root, "pin", "a.pth").stdout == "pinned a.pth\n"
        daemon.wait_event("control.asked")
    assert run_ckptd("--root", root, "unpin", "a.pth").returncode == 0
    assert run_ckptd("--root", root, "status").returncode == 4


def test_an_answer_is_written_to_the_askers_own_streams(open_place):
    """Complaints go to stderr, the exit status is the verb's, Ctrl-C ends it."""
    root = open_place / "models"
    with running(root, env=QUICK):
        done = run_ckptd("--root", root, "pin", "no-such")
        assert done.returncode == 2
        assert done.stdout == ""
        assert "no-such" in done.stderr


def test_another_daemon_is_not_asked(open_place):
    """Who names other roots than the daemon's is told which those are, and nothing is done."""
    root, other = open_place / "models", open_place / "others"
    other.mkdir()
    with running(root, env=QUICK):
        done = run_ckptd("--root", other, "status")
        assert done.returncode == 4
        assert str(root) in done.stderr


def test_with_two_groups_strangers_cannot_even_connect(open_place):
    """The file names both groups, as no mode can; members of either are heard."""
    root = open_place / "models"
    names = {"CKPTD_CONTROL__GROUP": grp.getgrgid(1).gr_name, "CKPTD_CONTROL__ADMIN_GROUP": grp.getgrgid(2).gr_name}
    with running(root, env={**QUICK, **names}) as daemon:
        assert not (open_place / "run" / "ctl").stat().st_mode & 0o007
        for group in (1, 2):
            assert as_user(MEMBER, [group], "--root", root, "status").returncode == 0
        program = (
            "import os, socket, sys\n"
            f"os.setgroups([]); os.setgid({STRANGER}); os.setuid({STRANGER})\n"
            "print(socket.socket(socket.AF_UNIX).connect_ex(sys.argv[1]))\n"
        )
        done = subprocess.run([sys.executable, "-c", program, str(open_place / "run" / "ctl")], capture_output=True, text=True)
        assert done.stdout == f"{errno.EACCES}\n", done.stderr
        assert daemon.has("control.open") is None
