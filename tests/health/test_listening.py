"""The place that is listened on: a port of this machine, or a unix socket that is ours."""

from __future__ import annotations

import grp
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ckptd.health import listening
from ckptd.health.listening import ListenError, open_listener
from ckptd.settings.health import HealthSettings, SocketAddress, TcpAddress, parse_address


@pytest.fixture
def place(tmp_path):
    return tmp_path / "health.sock"


def opened(place, mode=0o660, group=""):
    return open_listener(SocketAddress(str(place)), mode=mode, group=group)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9476", TcpAddress("127.0.0.1", 9476)), ("localhost:0", TcpAddress("127.0.0.1", 0)),
        ("127.1.2.3:65535", TcpAddress("127.1.2.3", 65535)), ("[::1]:80", TcpAddress("::1", 80)),
        ("unix:/run/ckptd/health.sock", SocketAddress("/run/ckptd/health.sock")),
    ],
)  # fmt: skip
def test_an_address_of_this_machine_is_taken(text, address):
    """As it is written in the settings."""
    assert parse_address(text) == address
    assert HealthSettings(listen=text).is_wanted


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:9476", "192.168.1.7:9476", "[::]:9476", "[fe80::1]:9476", "[::ffff:127.0.0.1]:9476", ":9476", "*:9476",
        "example.org:9476", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", "127.0.0.1:٤", "9476",
        "unix:relative.sock", "unix:", "unix:/a/", "unix:/" + "a" * 107, "unix:/a\0b", "http://127.0.0.1:9476",
    ],
)  # fmt: skip
def test_any_other_is_refused_in_a_sentence(text):
    """What other machines reach above all."""
    with pytest.raises(ValueError, match=r"write|has more"):
        parse_address(text)


def test_what_is_no_mode_and_no_textfile_is_refused(tmp_path):
    """In the settings, before anything is opened."""
    for wrong in ({"socket_mode": "rw"}, {"socket_mode": "8"}, {"textfile": "x.prom"}, {"textfile": "/a/x.txt"}):
        with pytest.raises(ValueError, match="write"):
            HealthSettings(**wrong)
    assert not HealthSettings().is_wanted
    assert HealthSettings(textfile=tmp_path / "x.prom").is_wanted


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_socket_has_the_mode_that_was_asked_for(place, mode):
    """Whatever the umask, which other threads need as it is."""
    before = os.umask(0o077)
    try:
        listener = opened(place, mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == mode
    listener.close()
    assert not place.exists()


def test_there_is_no_moment_in_which_a_socket_is_open_to_all(place, monkeypatch):
    """Between the binding and the setting of its group and mode it is ours alone, though no umask takes anything away."""
    seen, hand_over = [], listening._hand_over

    def looking(path, gid, mode):
        seen.append(stat.S_IMODE(os.stat(path).st_mode))
        hand_over(path, gid, mode)

    monkeypatch.setattr(listening, "_hand_over", looking)
    before = os.umask(0)
    try:
        opened(place, 0o660).close()
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_a_socket_has_the_group_that_was_asked_for(place):
    """One of our own groups, or root's choice."""
    group = grp.getgrgid(os.getgroups()[0] if os.getgroups() else os.getgid()).gr_name
    with_group = opened(place, group=group)
    assert place.stat().st_gid == grp.getgrnam(group).gr_gid
    with_group.close()
    with pytest.raises(ListenError, match=r"no group 'no-such-group'.*health.socket_group"):
        opened(place, group="no-such-group")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_is_shut_out_by_the_mode():
    """What is not of the group can't connect; with a mode for all it can."""
    code = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    )
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        for mode, is_let_in in ((0o660, False), (0o666, True)):
            listener = opened(Path(directory) / "s", mode)
            done = subprocess.run([sys.executable, "-c", code, f"{directory}/s"], capture_output=True)
            listener.close()
            assert (done.returncode == 0) is is_let_in, done.stderr
            assert is_let_in or b"PermissionError" in done.stderr


def test_a_socket_that_a_killed_daemon_left_is_replaced(place):
    """Nobody answers there."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
    opened(place).close()


def test_a_socket_that_somebody_serves_stays(place):
    """The second daemon says so in a sentence, and takes nothing away."""
    first = opened(place)
    with pytest.raises(ListenError, match="something else has this place"):
        opened(place)
    assert place.exists()
    first.close()


def test_a_file_of_somebody_else_stays(place):
    """A name that is not ours is never replaced."""
    place.write_text("mine")
    with pytest.raises(ListenError, match="something else has this place"):
        opened(place)
    assert place.read_text() == "mine"


def test_what_took_the_place_meanwhile_is_not_removed(place):
    """At the end only our own socket goes."""
    listener = opened(place)
    place.unlink()
    place.write_text("mine")
    listener.close()
    assert place.read_text() == "mine"


def test_a_port_that_is_taken_is_told():
    """With the setting to change."""
    first = open_listener(TcpAddress("127.0.0.1", 0), mode=0, group="")
    with pytest.raises(ListenError, match=r"127.0.0.1:\d+: something else has this place .*health.listen"):
        open_listener(first.address, mode=0, group="")
    first.close()
    open_listener(first.address, mode=0, group="").close()
