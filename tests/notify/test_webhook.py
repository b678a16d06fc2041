"""The webhook: signed, verified, bounded, and led nowhere by who answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading

import pytest

from ckptd.errors import SettingsError
from ckptd.notify.interface import UndeliveredError
from ckptd.notify.secret import Secret
from ckptd.notify.webhook import make_webhook, sign
from tests.notify.making import message
from tests.notify.receivers import KEY, http_receiver, make_certificate

OPTIONS = {"url": "", "url_file": "", "secret_file": "", "ca_file": "", "timeout_seconds": 5.0}


@pytest.fixture
def secret(tmp_path):
    def write(text, name="secret"):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    return write


def webhook(**values):
    return make_webhook({**OPTIONS, **values}, {})


def test_a_message_is_signed_so_that_the_receiver_can_check_it(secret):
    """The receiver of the tests computes the signature on its own; another key does not do."""
    with http_receiver() as hook:
        webhook(url=hook.url, secret_file=secret(KEY)).deliver(message())
        webhook(url=hook.url, secret_file=secret("another", "other")).deliver(message())
        webhook(url=hook.url).deliver(message())
    assert hook.verified == [True, False, False]
    assert hook.got[0] == json.loads(message().to_json())
    assert hook.ids == [message().id] * 3


def test_a_key_in_base64_is_decoded():
    """As the specification writes keys."""
    raw = b"0123456789abcdef"
    key = Secret("whsec_" + base64.b64encode(raw).decode())
    expected = base64.b64encode(hmac.new(raw, b"id.1.{}", hashlib.sha256).digest()).decode()
    assert sign(key, "id", "1", b"{}") == f"v1,{expected}"
    with pytest.raises(SettingsError, match="no base64"):
        sign(Secret("whsec_!"), "id", "1", b"{}")


def test_a_certificate_is_checked(tmp_path):
    """One that nobody vouches for, and one for another name, are refused; the named authority is believed."""
    certificate = make_certificate(tmp_path)
    other = make_certificate(tmp_path, "elsewhere")
    with http_receiver(context=certificate.context) as hook:
        webhook(url=hook.url, ca_file=str(certificate.file)).deliver(message())
        with pytest.raises(UndeliveredError, match="certificate is not believed"):
            webhook(url=hook.url).deliver(message())
    with (
        http_receiver(context=other.context) as wrong,
        pytest.raises(UndeliveredError, match="certificate is not believed"),
    ):
        webhook(url=wrong.url, ca_file=str(other.file)).deliver(message())
    assert len(hook.got) == 1
    assert wrong.got == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status):
    """What is signed for one place must not go to another."""
    with http_receiver() as other, http_receiver(status=status, location=other.url) as hook:
        with pytest.raises(UndeliveredError, match="redirect"):
            webhook(url=hook.url).deliver(message())
        assert other.got == []
        assert hook.refused == 1


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_answer_that_is_no_yes_is_none(status):
    """It is sent again."""
    with http_receiver(status=status) as hook, pytest.raises(UndeliveredError, match=f"status {status}"):
        webhook(url=hook.url).deliver(message())


def test_an_endless_answer_is_not_read():
    """Six megabytes of thanks are nobody's memory."""
    with http_receiver(drip=True) as hook:
        webhook(url=hook.url).deliver(message())
    assert len(hook.got) == 1


def test_an_answer_that_does_not_end_is_one_all_the_same():
    """It said that the message was taken; to send it for three days would be a flood."""
    with http_receiver(end=threading.Event()) as hook:
        webhook(url=hook.url).deliver(message())
    assert len(hook.got) == 1


def test_an_address_that_is_a_secret_is_never_said(secret):
    """Neither in the error nor by its file."""
    address = "http://127.0.0.1:9/services/T0KEN"
    with pytest.raises(UndeliveredError) as caught:
        webhook(url_file=secret(address)).deliver(message())
    assert "T0KEN" not in str(caught.value)
    with pytest.raises(SettingsError, match="in the clear") as refused:
        webhook(url_file=secret("http://example.org/T0KEN", "plain"))
    assert "T0KEN" not in str(refused.value)
