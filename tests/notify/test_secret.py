"""Secrets: from a credential or a path, never one that others can read, never shown."""

from __future__ import annotations

import os

import pytest

from ckptd.errors import SettingsError
from ckptd.notify.secret import Secret, read_secret


@pytest.fixture
def place(tmp_path):
    def write(data=b"hush\n", mode=0o600, name="token"):
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(mode)
        return path

    return write


def test_a_name_is_a_credential_of_the_unit(place):
    """Systemd puts it into a directory of its own; the line break at its end is none of it."""
    path = place()
    assert read_secret("token", {"CREDENTIALS_DIRECTORY": str(path.parent)}).reveal() == "hush"


def test_an_absolute_path_needs_no_unit(place):
    """Nor does a group that may read it hinder."""
    assert read_secret(str(place(mode=0o640)), {}).reveal() == "hush"


@pytest.mark.parametrize(
    ("data", "mode", "why"),
    [
        (b"hush", 0o604, "others can read"),
        (b"hush", 0o606, "others can read"),
        (b"hush", 0o660, "its group can change it"),
        (b"", 0o600, "it is empty"),
        (b"\n", 0o600, "it is empty"),
        (b"x" * 70_000, 0o600, "too long"),
        (b"\xff\xfe", 0o600, "no text in UTF-8"),
    ],
)
def test_a_secret_that_is_none_is_refused(place, data, mode, why):
    """With its name, why, and not a byte of it."""
    with pytest.raises(SettingsError, match=why) as caught:
        read_secret(str(place(data, mode)), {})
    assert "hush" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path, place):
    """Nothing is waited for either."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path, why in ((tmp_path / "fifo", "no regular file"), (tmp_path / "gone", "No such file")):
        with pytest.raises(SettingsError, match=why):
            read_secret(str(path), {})
    with pytest.raises(SettingsError, match="LoadCredential"):
        read_secret("token", {})


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(place):
    """Its owner could change who is told."""
    path = place()
    os.chown(path, 65534, -1)
    with pytest.raises(SettingsError, match="another user"):
        read_secret(str(path), {})


def test_a_key_in_the_place_of_its_file_is_not_shown():
    """Somebody takes secret_file for the place of the secret; what he sees then stands in logs, too."""
    with pytest.raises(SettingsError, match="LoadCredential") as caught:
        read_secret("whsec_aHVzaA", {})
    assert "aHVzaA" not in str(caught.value)


def test_a_secret_shows_itself_to_nobody():
    """Not in a log, not in a traceback, not in a format."""
    secret = Secret("hush")
    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]!r}"):
        assert "hush" not in text
