"""E-mail: over TLS or not at all, with a login or not at all, and no header that somebody else writes."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest

from ckptd.errors import SettingsError
from ckptd.notify.email import make_email, write_mail
from ckptd.notify.interface import UndeliveredError
from ckptd.notify.message import bounded
from tests.notify.making import EVIL, message
from tests.notify.receivers import mail_receiver, make_certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("mail"))


def email(box, certificate=None, **values):
    options = {
        "host": "localhost",
        "port": box.port,
        "security": "starttls",
        "ca_file": "" if certificate is None else str(certificate.file),
        "username": "",
        "password_file": "",
        "sender": "ckptd@example.org",
        "recipients": ["a@example.org", "b@example.org"],
        "timeout_seconds": 5.0,
    }
    return make_email({**options, **values}, {})


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_is_sent_over_tls(certificate, security):
    """To all who get it, from the sender of the settings."""
    with mail_receiver(certificate.context, security=security) as box:
        email(box, certificate, security=security).deliver(message())
    assert box.secured == [security == "starttls"]  # the server notes an upgrade only; the other port speaks nothing but TLS
    assert box.envelopes == [("ckptd@example.org", ["a@example.org", "b@example.org"])]
    (mail,) = box.mails
    assert mail["Subject"] == "[ckptd] error: 3 × damaged checkpoint: /srv/models (gpu1)"
    assert mail["Message-ID"] == "<0a1b2c3d@example.org>"
    assert "save it again" in mail.get_content()


def test_a_server_without_tls_gets_nothing(certificate):
    """Somebody between could have taken it away."""
    with mail_receiver(None) as box, pytest.raises(UndeliveredError, match="STARTTLS"):
        email(box, certificate).deliver(message())
    assert box.mails == []


def test_a_certificate_is_checked(certificate):
    """It is refused before anything is said."""
    with mail_receiver(certificate.context) as box, pytest.raises(UndeliveredError, match="certificate is not believed"):
        email(box).deliver(message())
    assert box.mails == []


def test_who_logs_in_does_so_over_tls_with_the_secret(certificate, tmp_path):
    """A wrong password is told, without the password."""
    for name, text in (("right", "hush"), ("wrong", "guess")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    with mail_receiver(certificate.context, password="hush") as box:
        email(box, certificate, username="ckptd", password_file=str(tmp_path / "right")).deliver(message())
        with pytest.raises(UndeliveredError, match="refuses the login") as caught:
            email(box, certificate, username="ckptd", password_file=str(tmp_path / "wrong")).deliver(message())
    assert "guess" not in str(caught.value)
    assert len(box.mails) == 1
    assert box.logins[0] == ("ckptd", "hush")


@pytest.mark.parametrize("way", ["PLAIN", "LOGIN"])
def test_a_password_that_is_no_ascii_logs_in(certificate, tmp_path, way):
    """In UTF-8; and one that is wrong is refused without a word of it."""
    for name, text in (("right", "hüsh☃"), ("wrong", "gueß")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    with mail_receiver(certificate.context, password="hüsh☃", without="LOGIN" if way == "PLAIN" else "PLAIN") as box:
        email(box, certificate, username="ckptd", password_file=str(tmp_path / "right")).deliver(message())
        with pytest.raises(UndeliveredError, match="refuses the login") as caught:
            email(box, certificate, username="ckptd", password_file=str(tmp_path / "wrong")).deliver(message())
    assert "ß" not in str(caught.value)
    assert "xdf" not in str(caught.value)
    assert len(box.mails) == 1
    assert box.logins[0] == ("ckptd", "hüsh☃")


def test_what_can_not_be_written_as_a_server_wants_it_is_told_without_it(certificate, monkeypatch):
    """Python names the characters, and they may be a secret's."""

    def refuse(*_):
        raise UnicodeEncodeError("ascii", "hüsh", 1, 2, "ordinal not in range(128)")

    monkeypatch.setattr("smtplib.SMTP.send_message", refuse)
    with mail_receiver(certificate.context) as box, pytest.raises(UndeliveredError, match="can't be written") as caught:
        email(box, certificate).deliver(message())
    assert "xfc" not in str(caught.value)


def test_a_mail_that_is_refused_is_told(certificate):
    """In the server's words, escaped."""
    with mail_receiver(certificate.context) as box:
        box.answer = "452 mailbox full\x1b[2J"
        with pytest.raises(UndeliveredError, match=r"status 452: mailbox full\\x1b") as caught:
            email(box, certificate).deliver(message())
    assert "\x1b" not in str(caught.value)


def test_who_is_refused_is_told_and_the_others_get_it(certificate):
    """It was taken: nobody gets it twice."""
    with mail_receiver(certificate.context) as box:
        assert email(box, certificate).deliver(message()) == ""
        box.refuses = "b@example.org"
        assert email(box, certificate).deliver(message()) == r"it refuses b@example.org (550 no such user\x1b[2J)"
        with pytest.raises(UndeliveredError, match=r"refuses every recipient: b@example\.org"):
            email(box, certificate, recipients=["b@example.org"]).deliver(message())
    assert [recipients for _, recipients in box.envelopes] == [["a@example.org", "b@example.org"], ["a@example.org"]]


def test_how_a_server_takes_leave_changes_nothing(certificate):
    """It has the mail; to send it again for three days would be a flood."""
    with mail_receiver(certificate.context) as box:
        box.goodbye = "421 too many, come back later"
        assert email(box, certificate).deliver(message()) == ""
    assert len(box.mails) == 1


ENCODED = "=?utf-8?q?a=0D=0ABcc=3A_evil@x.org?="


@pytest.mark.parametrize("evil", [EVIL, ENCODED, "=?utf-8?q?a=0ABcc=3A_evil@x.org?=", f"={ENCODED}?=?" * 9])
@pytest.mark.parametrize("field", ["subject", "title", "host", "text", "cure", "kind", "severity", "id"])
def test_no_header_comes_out_of_a_name(field, evil):
    """Whatever it holds: no recipient more, no header more, no line of its own, and nothing that anybody decodes."""
    evil = bounded(evil) if field in ("kind", "severity", "id") else evil
    mail = write_mail(message(**{field: evil}), "ckptd@example.org", ["a@example.org"])
    headers = mail.as_bytes().partition(b"\r\n\r\n")[0]
    assert b"\nBcc" not in headers
    assert mail["Bcc"] is None
    read = message_from_bytes(mail.as_bytes(), policy=policy.default)
    assert read.keys() == mail.keys()
    assert "evil@x.org\n" not in "".join(f"{value}\n" for name, value in read.items() if name != "Message-ID")
    assert len([line for line in headers.split(b"\r\n") if not line.startswith((b" ", b"\t"))]) == len(mail.keys())


def test_a_password_that_can_not_be_had_is_told(certificate, tmp_path):
    """Before anybody is asked."""
    with pytest.raises(SettingsError, match="No such file"):
        email(type("Box", (), {"port": 1}), certificate, username="ckptd", password_file=str(tmp_path / "gone"))
