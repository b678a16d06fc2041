"""What decides whether a service can work here: groups, modes, homes."""

import os
from pathlib import Path

import pytest

from ckptd.service.surroundings import Directory, describe_access, find_closed, find_groups, find_hidden, find_runtime, look_at


def directory(mode, group="ml", gid=1001) -> Directory:
    return Directory(Path("/srv/models"), mode, 1000, group, gid)


@pytest.mark.parametrize(
    ("mode", "group", "gid", "joined"),
    [
        (0o2775, "ml", 1001, True),
        (0o2770, "ml", 1001, True),
        (0o2750, "ml", 1001, True),  # it can at least be read
        (0o755, "ml", 1001, False),
        (0o2775, "ckptd", 997, False),
        (0o2775, "ckptd", 1002, False),
        (0o2775, "docker", 998, False),  # whoever made the directory does not decide about a group of the system
        (0o2775, "root", 0, False),
        (None, "", 0, False),
    ],
)
def test_the_service_joins_the_group_that_shares_a_root(mode, group, gid, joined):
    """Only an ordinary group, and only where it opens the directory."""
    assert find_groups([directory(mode, group, gid)]) == ((group,) if joined else ())


def test_a_group_is_joined_once():
    """However many roots it shares."""
    assert find_groups([directory(0o2775), directory(0o2770), directory(0o2775, "vision", 1002)]) == ("ml", "vision")


@pytest.mark.parametrize(
    ("mode", "group", "groups", "words"),
    [
        (0o2775, "ml", ("ml",), None),
        (0o2775, "ckptd", (), None),
        (0o777, "ml", (), None),
        (0o2775, "docker", (), "can't write"),
        (0o2755, "ml", ("ml",), "chmod g+rwxs /srv/models"),
        (0o700, "ada", (), "chgrp GROUP /srv/models"),
        (None, "", (), "is not there"),
    ],
)
def test_a_root_that_the_service_can_not_use_is_named_with_its_cure(mode, group, groups, words):
    """Before it runs, and not by a finding at each file."""
    told = describe_access(directory(mode, group), groups)
    assert told is None if words is None else words in told


@pytest.mark.parametrize(
    ("mode", "group", "words"),
    [
        (0o2755, "ckptd", None),
        (0o700, "root", None),
        (0o2575, "ckptd", "chmod u+rwx"),  # whose group it is does not help its owner
    ],
)
def test_a_root_of_the_service_itself(mode, group, words):
    """Its owner needs no group."""
    told = describe_access(Directory(Path("/srv/models"), mode, 997, group, 997), (), 997)
    assert told is None if words is None else words in told


def test_a_group_that_may_less_than_others_is_kept_out():
    """The kernel asks no further."""
    assert "can't write" in str(describe_access(directory(0o757), ("ml",)))


def test_a_directory_is_looked_at_where_it_really_is(tmp_path):
    """A link is followed: systemd binds what lies behind it."""
    (tmp_path / "real").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to("real")
    seen = look_at(tmp_path / "link")
    assert (seen.path, seen.mode, seen.owner) == (tmp_path / "real", 0o750, os.getuid())
    assert look_at(tmp_path / "none").mode is None


def test_what_others_may_not_enter_is_found(tmp_path):
    """The outermost directory that is closed, since that is what has to be opened."""
    inner = tmp_path / "closed" / "bin"
    inner.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o750)
    closed = find_closed([inner])
    assert closed is not None
    assert (tmp_path / "closed").is_relative_to(closed)
    assert find_closed([Path("/usr/bin")]) is None


@pytest.mark.parametrize(
    ("path", "is_hidden"),
    [("/opt/ckptd", False), ("/home/ada/.venv/bin/python", True), ("/root/x", True), ("/tmp/x", True), ("/var/tmp/x", True)],
)
def test_what_the_service_would_not_see(path, is_hidden):
    """ProtectHome= and PrivateTmp=."""
    assert (find_hidden([Path(path)]) is not None) is is_hidden


def test_the_runtime_is_all_that_this_interpreter_needs():
    """The package too: an editable install lies elsewhere."""
    found = find_runtime()
    assert any(path.name == "ckptd" for path in found)
    assert all(path.is_absolute() for path in found)
