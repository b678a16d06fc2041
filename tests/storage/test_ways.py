"""The way to a file: where it leads, and who can change that, by the file, by what lies above it, by a link."""

from __future__ import annotations

import grp
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from ckptd.storage.ways import find_writers, walk

USER, OTHER, GROUP = 54_321, 54_322, 54_331


@pytest.fixture
def place():
    """Give a directory in which nobody else can write."""
    with tempfile.TemporaryDirectory(prefix="ckptd-writers-") as made:
        yield Path(made)


def test_a_way_goes_where_its_links_lead(place):
    """Each link where it stands, then what lies behind it; a circle ends."""
    (place / "conf").mkdir()
    (place / "conf" / "x.toml").touch()
    (place / "one").symlink_to("two")
    (place / "two").symlink_to(place / "conf" / ".." / "conf")
    names = [entry.name for entry, _ in walk(place / "one" / "x.toml") if entry.is_relative_to(place) and entry != place]
    assert names == ["one", "two", "conf", "conf", "x.toml"]
    (place / "circle").symlink_to("circle")
    assert [*walk(place / "circle")]
    assert [entry for entry, _ in walk(place / "none" / "x")][-1] == place


@pytest.mark.root
@pytest.mark.parametrize(("entry", "owner", "group", "mode"), [("conf", 4321, 0, 0o755), ("conf/x.toml", 0, 4321, 0o664)])
def test_another_owner_or_a_group_that_may_write_is_a_stranger(place, entry, owner, group, mode):
    """But for root's own group, and for whom the caller names."""
    file = place / "conf" / "x.toml"
    file.parent.mkdir()
    file.touch(0o644)
    os.chown(place / entry, owner, group)
    (place / entry).chmod(mode)
    assert [found.place for found in find_writers(file, [0])] == [place / entry]
    if owner:
        assert list(find_writers(file, [0, owner])) == []
    else:
        os.chown(place / entry, 0, 0)
        assert list(find_writers(file, [0])) == []


@pytest.mark.root
def test_who_can_change_a_file_is_told_wherever_he_can(place):
    """By the file, by a directory above it, by its group; a sticky directory and root hinder nobody."""
    file = place / "inner" / "file"
    file.parent.mkdir()
    file.touch(0o644)
    assert list(find_writers(file, [USER])) == []
    os.chown(file, USER, GROUP)
    assert list(find_writers(file, [USER])) == []
    file.chmod(0o664)
    (found,) = find_writers(file, [USER])
    assert (found.place, found.is_group, found.cure) == (file, True, f"chmod g-w {file}")
    file.chmod(0o646)
    (found,) = find_writers(file, [USER])
    assert (found.who, found.is_group) == ("everybody", False)
    file.chmod(0o644)
    file.parent.chmod(0o777)
    (found,) = find_writers(file, [USER])
    assert (found.place, found.who) == (file.parent, "everybody")
    file.parent.chmod(0o1777)
    assert list(find_writers(file, [USER])) == []
    os.chown(file.parent, OTHER, -1)
    (found,) = find_writers(file, [USER])
    assert found.who == f"user {OTHER}, whose it is,"


@pytest.mark.root
def test_a_link_on_the_way_can_be_changed_by_whose_it_is(place):
    """And by who can write where it stands; where it leads, all is well."""
    file, link = place / "real" / "file", place / "inner" / "link"
    for directory in (file.parent, link.parent):
        directory.mkdir()
    file.touch(0o644)
    link.symlink_to(file)
    assert list(find_writers(link, [USER])) == []
    link.parent.chmod(0o777)
    (found,) = find_writers(link, [USER])
    assert found.place == link.parent
    link.parent.chmod(0o1777)
    os.chown(link, OTHER, -1, follow_symlinks=False)
    (found,) = find_writers(link, [USER])
    assert found.cure == f"chown -h {USER} {link}"
    assert list(find_writers(file, [USER])) == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("gid", "name", "members", "is_told"),
    [
        (1000, "alice", [], False), (1000, "alice", ["bob"], True), (1000, "ml", [], True), (50, "staff", [], False),
        (50, "staff", ["bob"], True), (50, "staff", ["alice"], False),
    ],
)  # fmt: skip
def test_a_group_in_which_nobody_else_is_counts_for_nothing(place, monkeypatch, gid, name, members, is_told):
    """Many systems make one for each user, and have some that are empty; umask 002 is usual there."""
    alice = pwd.struct_passwd(("alice", "x", USER, 1000, "", "/", "/bin/sh"))
    monkeypatch.setattr(grp, "getgrgid", lambda number: grp.struct_group((name, "x", number, members)))
    monkeypatch.setattr(pwd, "getpwall", lambda: [alice] if name != "ml" else [])
    monkeypatch.setattr(pwd, "getpwuid", lambda _number: alice)
    file = place / "file"
    file.touch(0o664)
    file.chmod(0o664)
    os.chown(file, USER, gid)
    assert bool(list(find_writers(file, [USER]))) is is_told
