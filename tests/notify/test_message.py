"""Messages: JSON that comes back, a headline that is one line, words for people."""

from __future__ import annotations

import json

import pytest

from ckptd.errors import FormatError
from ckptd.notify.message import Happening, Message, bounded
from ckptd.notify.words import describe
from tests.notify.making import EVIL, message


def test_a_message_comes_back_as_it_was():
    """Over JSON that is one line of ASCII."""
    one = message(subject=bounded(EVIL))
    text = one.to_json()
    assert Message.from_json(text) == one
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text)["version"] == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"version": 1}', '{"version": 1, "what": "x"}', "[" * 100_000])
def test_what_is_no_message_is_refused(text):
    """Somebody wrote into the outbox by hand."""
    with pytest.raises(FormatError):
        Message.from_json(text)


def test_the_words_say_what_happened_and_what_to_do():
    """Every example, how many there were, and the cure."""
    text = describe(message(new=5, count=9))
    for part in ("error: 5 × damaged checkpoint: /srv/models (gpu1)", "  b.pth", "and 2 more", "save it again", "9 times"):
        assert part in text
    assert describe(message(what=Happening.RESOLVED, cure="", text="it is so no longer")).startswith("resolved: ")


def test_a_headline_is_one_line():
    """Whatever somebody put into a message."""
    assert message(subject=EVIL).headline.isprintable()
