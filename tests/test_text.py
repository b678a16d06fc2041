"""Strings out of files: shown, and harmless."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.text import escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv1.weight", "conv1.weight"),
        ("日本語", "日本語"),
        ("C:\\Users", "C:\\Users"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("a\nb\\c", "a\\x0ab\\\\c"),
        ("\u202egnp.pth", "\\u202egnp.pth"),
        ("caf\udce9", "caf\\xe9"),
        ("\U000e0001", "\\U000e0001"),
        ("x" * 201, "x" * 200 + "…"),
    ],
)
def test_what_is_shown(text, shown):
    """Plain text stays, what is hidden becomes its code."""
    assert escape(text) == shown


@given(st.text(st.characters(codec=None)))
def test_nothing_hidden_is_left(text):
    """Whatever comes in, no control, format or surrogate character comes out, and the length is bounded."""
    shown = escape(text, 50)
    assert all(unicodedata.category(char)[0] != "C" and unicodedata.category(char) not in {"Zl", "Zp"} for char in shown)
    assert len(shown) <= 50 * 10 + 1
