"""The socket as a file: whom its mode and its access list let in, and where it is not made."""

from __future__ import annotations

import errno
import os
import socket
import stat

import pytest

from ckptd.control import socket_file
from ckptd.control.rights import Rules
from ckptd.control.socket_file import let_in, make_socket, point_to, remove_socket
from ckptd.errors import StorageError

NOBODY, ONE, TWO = 65_534, 61_900, 61_901
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives files to others")


def rules(*groups):
    return Rules(os.geteuid(), frozenset(groups[:1]), frozenset(groups[1:]))


@pytest.fixture
def made(tmp_path):
    made = make_socket(tmp_path / "ctl", rules(), 1)
    yield made
    made.end.close()


def test_it_is_the_daemons_alone_where_nobody_is_served(tmp_path, made):
    """Whatever the umask is."""
    assert stat.S_IMODE((tmp_path / "ctl").stat().st_mode) == 0o600
    assert made.keeps_out


@pytest.mark.root
@needs_root
def test_one_group_gets_it_by_its_mode_and_two_by_an_access_list(tmp_path, made):
    """Back and forth, as reloads do; what was before opens nothing afterwards."""
    path = tmp_path / "ctl"
    assert let_in(path, made.seen, rules(ONE))
    assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (ONE, 0o660)
    assert let_in(path, made.seen, rules(ONE, TWO))
    listed = os.getxattr(path, "system.posix_acl_access")
    assert ONE.to_bytes(4, "little") in listed
    assert TWO.to_bytes(4, "little") in listed
    assert not path.stat().st_mode & 0o007
    assert let_in(path, made.seen, rules(TWO))
    assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (TWO, 0o660)
    assert "system.posix_acl_access" not in os.listxattr(path)
    assert let_in(path, made.seen, rules())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_where_no_list_can_be_kept_everybody_may_knock(tmp_path, made, monkeypatch):
    """Who it is decides all the same; that it is so is said, for the log."""

    def refuse(*_):
        raise OSError(95, "not supported")

    monkeypatch.setattr(socket_file.os, "setxattr", refuse)
    assert not let_in(tmp_path / "ctl", made.seen, rules(ONE, TWO))
    assert stat.S_IMODE((tmp_path / "ctl").stat().st_mode) == 0o666


@pytest.mark.parametrize("target", ["file", "socket"])
def test_a_link_in_its_place_keeps_the_mode_of_its_target(tmp_path, made, target):
    """Somebody put it there: what it leads to is not given to the group."""
    path, victim = tmp_path / "ctl", tmp_path / "victim"
    if target == "file":
        victim.touch(0o600)
        kept = None
    else:
        kept = make_socket(victim, rules(), 1)
    path.unlink()
    path.symlink_to(victim)
    before = victim.stat()
    with pytest.raises(OSError, match="than was made"):
        let_in(path, made.seen, rules(ONE))
    assert (victim.stat().st_mode, victim.stat().st_gid) == (before.st_mode, before.st_gid)
    remove_socket(path, made.seen)
    assert path.is_symlink()
    if kept is not None:
        kept.end.close()


def test_another_socket_in_its_place_is_not_opened(tmp_path, made):
    """It is not the one that was made, be it one of ours."""
    (tmp_path / "ctl").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "ctl"))
        (tmp_path / "ctl").chmod(0o600)
        with pytest.raises(OSError, match="than was made"):
            let_in(tmp_path / "ctl", made.seen, rules(ONE))
    assert stat.S_IMODE((tmp_path / "ctl").stat().st_mode) == 0o600


@pytest.mark.parametrize(("mode", "is_taken"), [(0o755, True), (0o1777, True), (0o777, False), (0o775, False)])
def test_a_directory_in_which_others_can_rename_is_refused(tmp_path, mode, is_taken):
    """They could put another in its place; the sticky bit keeps them from it."""
    place = tmp_path / "run"
    place.mkdir()
    place.chmod(mode)
    if is_taken:
        make_socket(place / "ctl", rules(), 1).end.close()
    else:
        with pytest.raises(StorageError, match=r"others may write to its directory.*control\.socket"):
            make_socket(place / "ctl", rules(), 1)
    assert bool(os.listdir(place)) == is_taken


@pytest.mark.root
@needs_root
def test_a_directory_of_somebody_else_is_refused(tmp_path):
    """Its owner may rename in it whatever its mode is."""
    place = tmp_path / "run"
    place.mkdir(mode=0o755)
    os.chown(place, NOBODY, NOBODY)
    with pytest.raises(StorageError, match="somebody else's"):
        make_socket(place / "ctl", rules(), 1)


def test_a_link_in_the_place_of_its_directory_is_not_followed(tmp_path):
    """In a root that others write to it may be anybody's."""
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to("real")
    with pytest.raises(StorageError):
        make_socket(tmp_path / "state" / "ctl", rules(), 1)
    assert os.listdir(tmp_path / "real") == []


def test_what_a_kill_left_is_taken_over_and_what_is_heard_is_not(tmp_path, made):
    """Somebody answers: that place is taken.  Nobody does: the socket is an old one of ours."""
    with pytest.raises(StorageError, match="another daemon listens there"):
        make_socket(tmp_path / "ctl", rules(), 1)
    assert os.path.samestat(made.seen, (tmp_path / "ctl").lstat())
    made.end.close()
    again = make_socket(tmp_path / "ctl", rules(), 1)
    assert (tmp_path / "ctl").is_socket()
    again.end.close()


def test_a_full_queue_is_somebody_who_listens(tmp_path, made):
    """He may be a daemon that stands still."""
    ends = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(4)]
    assert errno.EAGAIN in [end.connect_ex(str(tmp_path / "ctl")) for end in ends]
    with pytest.raises(StorageError, match="another daemon listens there"):
        make_socket(tmp_path / "ctl", rules(), 1)
    for end in ends:
        end.close()


def test_a_name_that_leads_to_the_socket_takes_nothing_of_others(tmp_path):
    """A file of somebody stays; a link is replaced, and taken away where nobody listens any more."""
    link = tmp_path / "link"
    link.write_text("mine")
    point_to(tmp_path / "ctl", link)
    assert link.read_text() == "mine"
    link.unlink()
    for place in ("ctl", "other"):
        point_to(tmp_path / place, link)
        assert os.readlink(link) == str(tmp_path / place)
    point_to(None, link)
    assert not link.is_symlink()
