"""Who may ask what: a table, and the groups of real directories."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from ckptd.control.rights import Peer, Right, Rules, find_peer, find_rules

OWNER, MEMBER, ADMIN, OTHER = 900, 1_001, 1_002, 1_003
ML, ADMINS = 50, 60
RULES = Rules(OWNER, frozenset({ML}), frozenset({ADMINS}))
ALL = set(Right)


def peer(uid, *groups):
    return Peer(1, uid, groups[0] if groups else uid, frozenset(groups))


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        (peer(0), ALL),
        (peer(OWNER), ALL),
        (peer(ADMIN, 7, ADMINS), ALL),
        (peer(MEMBER, 7, ML), {Right.READ, Right.MARK, Right.RESTORE}),
        (peer(OTHER, 7), set()),
        (peer(OTHER), set()),
    ],
    ids=["root", "owner", "admin", "member", "other group", "no group"],
)
def test_who_may_do_what(who, allowed):
    """Every right, for each kind of person."""
    assert {right for right in Right if RULES.may(who, right)} == allowed
    assert RULES.is_known(who) == bool(allowed)
    assert RULES.is_admin(who) == (allowed == ALL)


def test_nobody_is_a_member_of_no_group():
    """Without any group only root and the owner are heard."""
    rules = Rules(OWNER, frozenset(), frozenset())
    assert not rules.is_known(peer(MEMBER, ML, ADMINS))
    assert rules.is_admin(peer(0))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives directories to groups")
@pytest.mark.parametrize(
    ("modes", "groups", "members"),
    [
        ([0o2775], [ML], {ML}),
        ([0o755], [ML], set()),
        ([0o2775, 0o2775], [ML, ML], {ML}),
        ([0o2775, 0o2775], [ML, ADMINS], set()),
        ([0o2775, 0o755], [ML, ML], set()),
        ([0o775], [0], set()),
    ],
    ids=["a shared root", "a root of one", "two of one group", "of two groups", "one of them closed", "the group of root"],
)
def test_the_group_that_may_write_to_every_root_counts(tmp_path, modes, groups, members):
    """Its members could do as much without ckptd; where there is no such group, nobody is a member."""
    roots = []
    for number, (mode, group) in enumerate(zip(modes, groups, strict=True)):
        roots.append(tmp_path / str(number))
        roots[-1].mkdir()
        os.chown(roots[-1], -1, group)
        roots[-1].chmod(mode)
    assert find_rules(roots, "", "").members == members


def test_a_group_that_the_system_does_not_know_is_nobodys(tmp_path):
    """A slip in the settings opens nothing."""
    rules = find_rules([tmp_path], "no-such-group", "no-such-group-either")
    assert (rules.members, rules.admins) == (frozenset(), frozenset())


def test_the_kernel_says_who_connected():
    """Process, user and groups are those of this test."""
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two:
        found = find_peer(one)
    assert (found.pid, found.uid, found.gid) == (os.getpid(), os.getuid(), os.getgid())
    assert set(os.getgroups()) | {os.getgid()} == found.groups


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it joins groups")
@pytest.mark.parametrize(("count", "known"), [(256, 257), (257, 1)])
def test_of_somebody_in_very_many_groups_only_the_primary_one_counts(count, known):
    """Python asks the kernel for no more than 256; the limit takes rights away, and gives none."""
    program = (
        "import os, socket, sys\n"
        "from ckptd.control.rights import find_peer\n"
        "os.setgroups(range(70_000, 70_000 + int(sys.argv[1]))); os.setgid(60_000)\n"
        "one, two = socket.socketpair(socket.AF_UNIX)\n"
        "found = find_peer(one).groups\n"
        "print(60_000 in found, len(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(count)], capture_output=True, text=True, check=True)
    assert done.stdout == f"True {known}\n"
