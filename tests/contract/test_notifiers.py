"""One suite for every channel: what any of them owes to who sends and to who receives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from ckptd.errors import UsageError
from ckptd.notify.channels import CHANNELS, make_notifier
from ckptd.notify.interface import UndeliveredError
from ckptd.notify.message import Happening, bounded
from ckptd.settings.notify import NotifySettings
from tests.notify.making import EVIL, message
from tests.notify.receivers import http_receiver, mail_receiver, make_certificate


@dataclass
class Place:
    """A receiver and how its channel is set.

    Attributes:
        options: as the settings have them.
        texts: what it got so far, each as one text.
        slow: settings of a receiver that answers nobody.
    """

    options: dict[str, Any]
    texts: Any


def _options(channel, **values):
    settings = NotifySettings(**{channel: values})
    return settings.channels[channel].model_dump(mode="json")


@contextmanager
def webhook(directory) -> Iterator[Place]:
    with http_receiver() as hook:
        yield Place(_options("webhook", url=hook.url, timeout_seconds=30), lambda: [json.dumps(one) for one in hook.got])


@contextmanager
def email(directory) -> Iterator[Place]:
    certificate = make_certificate(directory)
    with mail_receiver(certificate.context) as box:
        options = _options(
            "email",
            host="localhost",
            port=box.port,
            ca_file=str(certificate.file),
            sender="a@example.org",
            recipients=["b@example.org"],
            timeout_seconds=30,
        )
        yield Place(options, lambda: [f"{mail['Message-ID']}\n{mail['Subject']}\n{mail.get_content()}" for mail in box.mails])


@contextmanager
def command(directory) -> Iterator[Place]:
    script, got = directory / "take", directory / "got"
    script.write_text(f"#!/bin/sh\n(cat; echo) >> {got}\n")
    script.chmod(0o755)
    options = _options("command", command=[str(script)], timeout_seconds=20)
    yield Place(options, lambda: got.read_text().splitlines() if got.exists() else [])


RECEIVERS = {"webhook": webhook, "email": email, "command": command}
#: How each is set so that nobody ever takes anything.
DEAD = {
    "webhook": {"url": "http://127.0.0.1:9/"},
    "email": {"host": "localhost", "port": 9, "sender": "a@example.org", "recipients": ["b@example.org"]},
    "command": {"command": ["/bin/false"]},
}


def test_every_channel_is_in_this_suite():
    """And the settings know it."""
    assert [name for name, _ in CHANNELS] == list(RECEIVERS) == list(DEAD)
    assert {name for name, _ in CHANNELS} <= set(NotifySettings.model_fields)


@pytest.fixture(params=list(RECEIVERS))
def channel(request):
    return request.param


@pytest.fixture
def place(channel, tmp_path):
    with RECEIVERS[channel](tmp_path) as made:
        yield made


def test_a_message_arrives_with_all_that_it_says(channel, place):
    """Kind, subject, text, cure, count, and the id by which a double is dropped."""
    make_notifier(channel, place.options, {}).deliver(message())
    (text,) = place.texts()
    for part in ("0a1b2c3d", "/srv/models", "a.pth: it ends before", "save it again", "b.pth"):
        assert part in text


def test_a_message_that_is_sent_again_has_the_same_id(channel, place):
    """Nothing else tells a receiver that it has it already."""
    notifier = make_notifier(channel, place.options, {})
    for _ in range(2):
        notifier.deliver(message())
    one, two = place.texts()
    assert "0a1b2c3d" in one
    assert "0a1b2c3d" in two


@pytest.mark.parametrize("what", list(Happening))
def test_a_hostile_name_arrives_as_plain_text(channel, place, what):
    """No control character, no override of the direction, no byte that is no text."""
    evil = bounded(EVIL)
    one = message(subject=evil, text=evil, host=evil, examples=(evil,) * 3, what=what)
    make_notifier(channel, place.options, {}).deliver(one)
    (text,) = place.texts()
    for char in "\x1b\u202e\udcff":
        assert char not in text
    assert "evil" in text


@pytest.mark.parametrize("channel", list(DEAD))
def test_nobody_there_is_an_error_that_is_worth_another_try(channel):
    """One sentence that says what is wrong."""
    notifier = make_notifier(channel, _options(channel, **DEAD[channel]), {})
    with pytest.raises(UndeliveredError) as caught:
        notifier.deliver(message())
    assert not caught.value.permanent
    assert "\n" not in str(caught.value)


def test_a_channel_that_is_none_is_refused():
    """With those that there are."""
    with pytest.raises(UsageError, match="webhook, email, command"):
        make_notifier("pigeon", {}, {})
