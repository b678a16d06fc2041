"""What a user may do with a file: each rule held against the kernel's own answer to a process of that user."""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ckptd.storage.access import ENTER, READ, WRITE, Account, find_account

USER, OTHER, GROUP, FURTHER = 54_321, 54_322, 54_331, 54_332
_ASK = """
import os, sys
user, groups, path = int(sys.argv[1]), [int(one) for one in sys.argv[2].split()], sys.argv[3]
os.setgroups(groups); os.setgid(groups[0]); os.setuid(user)
print("".join("1" if os.access(path, rights) else "0" for rights in range(1, 8)))
"""


def ask_kernel(account, path):
    """Give what the kernel lets a process of that user do, for each set of rights."""
    groups = " ".join(map(str, sorted(account.groups)))
    done = subprocess.run(
        [sys.executable, "-I", "-c", _ASK, str(account.user), groups, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def ask_us(account, path):
    return "".join("1" if account.may(path, rights) else "0" for rights in range(1, 8))


@pytest.fixture
def place():
    """Give a directory that everybody gets to; what pytest gives is closed to others."""
    with tempfile.TemporaryDirectory(prefix="ckptd-access-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.root
def test_owner_group_and_others_are_judged_as_the_kernel_does(place):
    """The first that fits counts: an owner who may less than others may less."""
    account = Account(USER, frozenset({GROUP}))
    for number, (owner, group) in enumerate(itertools.product((USER, OTHER), (GROUP, FURTHER))):
        for mode in (0o000, 0o077, 0o707, 0o750, 0o075, 0o664, 0o711, 0o2770):
            path = place / f"{number}-{mode:o}"
            path.mkdir()
            os.chown(path, owner, group)
            path.chmod(mode)
            assert ask_us(account, path) == ask_kernel(account, path), (owner, group, oct(mode))


def write_access_list(path, *entries):
    """Write (tag, rights, number) as setfacl would."""
    data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(path, "system.posix_acl_access", data)


@pytest.mark.root
def test_an_access_list_is_judged_as_the_kernel_does(place):
    """Who is let in by one is not told that he is not; a mask takes away what it takes away."""
    account, nobody = Account(USER, frozenset({GROUP})), 0xFFFFFFFF
    lists = {
        "named": [(0x01, 7, nobody), (0x02, 7, USER), (0x04, 0, nobody), (0x10, 7, nobody), (0x20, 0, nobody)],
        "masked": [(0x01, 7, nobody), (0x02, 7, USER), (0x04, 0, nobody), (0x10, 4, nobody), (0x20, 7, nobody)],
        "group": [(0x01, 7, nobody), (0x04, 4, nobody), (0x08, 3, GROUP), (0x10, 7, nobody), (0x20, 7, nobody)],
        "other group": [(0x01, 7, nobody), (0x04, 4, nobody), (0x08, 7, FURTHER), (0x10, 7, nobody), (0x20, 1, nobody)],
        "both groups": [(0x01, 7, nobody), (0x04, 4, nobody), (0x08, 3, GROUP), (0x10, 7, nobody), (0x20, 0, nobody)],
    }
    for name, entries in lists.items():
        path = place / name
        path.mkdir()
        os.chown(path, OTHER, GROUP if name == "both groups" else FURTHER)
        try:
            write_access_list(path, *entries)
        except OSError:
            pytest.fail("the file system of this machine's temporary directory has no access lists")
        assert ask_us(account, path) == ask_kernel(account, path), name


@pytest.mark.root
def test_the_way_to_a_file_counts(place):
    """The first directory that is closed is named; a link is followed."""
    account = Account(USER, frozenset({GROUP}))
    inner = place / "closed" / "inner"
    inner.mkdir(parents=True)
    assert account.find_closed(inner) is None
    (place / "closed").chmod(0o700)
    (place / "link").symlink_to(inner)
    assert account.find_closed(inner) == account.find_closed(place / "link") == place / "closed"
    assert Account(0).find_closed(inner) is None
    (place / "closed").chmod(0o755)
    (place / "private").mkdir(mode=0o700)
    (place / "private" / "link").symlink_to(inner)
    assert account.find_closed(place / "private" / "link") == place / "private"


def test_of_ourselves_the_kernel_says_it(place):
    """With all that it knows of us: root may everything, and nobody runs what is no program."""
    account = find_account(os.geteuid())
    file = place / "file"
    file.touch(0o644)
    assert account.groups == {os.getegid(), *os.getgroups()}
    assert account.may(file, READ | WRITE)
    assert not account.may(file, ENTER)


@pytest.mark.root
def test_the_groups_are_those_of_the_process():
    """A service has more of them than its user."""
    with subprocess.Popen(["sleep", "60"], user=USER, group=GROUP, extra_groups=[FURTHER]) as process:
        assert find_account(USER, process.pid).groups == {GROUP, FURTHER}
        process.kill()
    assert find_account(USER).groups == frozenset()
