"""What a running service can write, by the mounts that the kernel shows for it."""

from pathlib import Path

import pytest

from ckptd.service.mounts import find_unreached, is_writable

#: Of a machine, and of a service with ProtectSystem=strict, ReadWritePaths=/srv/a "/srv/my models", and a home shown in part.
OWN = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n30 22 8:2 / /mnt/cold ro,relatime - ext4 /dev/sdb1 ro\n"
ITS = (
    "50 40 8:1 / / ro,relatime - ext4 /dev/sda1 rw\n"
    "51 50 8:1 /srv/a /srv/a rw,relatime - ext4 /dev/sda1 rw\n"
    "52 50 8:1 /srv/my\\040models /srv/my\\040models rw,relatime - ext4 /dev/sda1 rw\n"
    "53 50 0:9 / /home ro,nosuid - tmpfs tmpfs ro\n"
    "54 53 8:1 /home/ada/models /home/ada/models rw,relatime - ext4 /dev/sda1 rw\n"
    "55 50 8:2 / /mnt/cold ro,relatime - ext4 /dev/sdb1 ro\n"
)


@pytest.mark.parametrize(
    ("path", "can"),
    [
        ("/srv/a", True),
        ("/srv/a/archives", True),
        ("/srv/ab", False),
        ("/srv/my models", True),
        ("/home/ada/models", True),
        ("/home/ada/other", False),
        ("/mnt/archives", False),
    ],
)
def test_the_innermost_mount_decides(path, can):
    """Names are whole names, and a space in one is written as the kernel writes it."""
    assert is_writable(ITS, Path(path)) is can


def test_of_two_mounts_at_one_place_the_later_counts():
    """It lies above."""
    assert not is_writable(OWN + "31 22 8:3 / / ro - ext4 /dev/sdc1 rw\n", Path("/srv"))


def test_what_came_since_the_start_is_given(tmp_path):
    """What nobody here can write is not: another start would change nothing; and of a process that is gone nothing is known."""
    for name, text in (("self", OWN), ("42", ITS)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mountinfo").write_text(text)
    paths = [Path("/srv/a"), Path("/mnt/archives"), Path("/mnt/cold")]
    assert find_unreached(42, paths, tmp_path) == (Path("/mnt/archives"),)
    assert find_unreached(43, paths, tmp_path) == ()
