"""Ignore patterns mean what docs say, as a table; names are judged alike by scan and by single looks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.errors import SettingsError
from ckptd.watch.wanted import compile_wanted


@pytest.mark.parametrize(
    ("pattern", "ignored", "kept"),
    [
        ("tmp_*", ["tmp_a.pth", "run/tmp_a.pth", "tmp_run/a.pth"], ["a_tmp_.pth", "tmp.pth"]),
        ("wandb/", ["wandb/a.pth", "x/wandb/y/a.pth"], ["wandb.pth", "x/wandb2/a.pth"]),
        ("/runs/*", ["runs/a.pth", "runs/x/a.pth"], ["a.pth", "x/runs/a.pth"]),
        ("runs/*.pth", ["runs/a.pth"], ["runs/x/a.pth", "x/runs/a.pth", "a.pth"]),
        ("**/old/*.pth", ["old/a.pth", "x/old/a.pth", "x/y/old/a.pth"], ["older/a.pth", "old/x/a.pth"]),
        ("runs/**/last.pth", ["runs/last.pth", "runs/x/last.pth", "runs/x/y/last.pth"], ["last.pth", "x/runs/last.pth"]),
        ("runs/**", ["runs/a.pth", "runs/x/a.pth"], ["runs.pth", "a.pth"]),
        ("epoch?.pth", ["epoch1.pth"], ["epoch12.pth", "epoch.pth"]),
        ("epoch[0-4].pth", ["epoch3.pth"], ["epoch5.pth"]),
        ("epoch[!0-4].pth", ["epoch5.pth"], ["epoch3.pth"]),
        ("a[]].pth", ["a].pth"], ["a[.pth"]),
        ("a[!]].pth", ["a[.pth"], ["a].pth"]),
        ("a[.-0]b.pth", ["a.b.pth"], ["a/b.pth"]),
        ("a+(b).pth", ["a+(b).pth"], ["aa(b).pth", "aab.pth"]),
        ("Last.pth", ["Last.pth"], ["last.pth"]),
        ("a***.pth", ["a.pth", "abc.pth"], ["b.pth"]),
    ],
)
def test_patterns(pattern, ignored, kept):
    """A table of patterns, what they leave out and what they leave in."""
    wanted = compile_wanted((".pth",), (pattern,))
    assert [path for path in ignored if wanted.wants_path(path)] == []
    assert [path for path in kept if not wanted.wants_path(path)] == []


@pytest.mark.parametrize("pattern", ["", "/", "//", "a[b", "a[", "[z-a]"])
def test_patterns_that_make_no_sense_name_themselves(pattern):
    """Refused with the pattern in the message, not with a regular expression's."""
    with pytest.raises(SettingsError, match="ignore pattern") as caught:
        compile_wanted((".pth",), ("fine", pattern))
    assert repr(pattern) in str(caught.value)


def test_empty_suffix_is_refused():
    """It would take every file."""
    with pytest.raises(SettingsError, match="suffix"):
        compile_wanted((".pth", ""))


@pytest.mark.parametrize("path", ["a.pth", "x/y.pth"])
@pytest.mark.parametrize("bad", ["", "/", ".", "..", "x//y.pth", "./a.pth", "../a.pth", ".x/a.pth", "/a.pth"])
def test_wants_path_takes_only_paths_that_a_scan_gives(path, bad):
    """Empty parts, dots and hidden directories are never on the way."""
    wanted = compile_wanted((".pth",))
    assert wanted.wants_path(path)
    assert not wanted.wants_path(bad)


@given(st.text(max_size=30), st.text(alphabet="ab*?[]!-/.\\", max_size=12))
def test_any_pattern_compiles_or_is_refused(path, pattern):
    """No pattern ends in another error than SettingsError, now or when it is used."""
    try:
        wanted = compile_wanted((".pth",), (pattern,))
    except SettingsError:
        return
    wanted.wants_path(path + ".pth")


@given(st.lists(st.text(alphabet="abx.", min_size=1, max_size=4), min_size=1, max_size=4))
def test_literal_pattern_ignores_itself_and_what_is_below(parts):
    """A path without wildcards, given from the root, ignores just that place."""
    path = "/".join(parts)
    wanted = compile_wanted((".pth",), ("/" + path,))
    assert wanted.ignores(path)
    assert wanted.ignores(path + "/below.pth")
    assert not wanted.ignores("q" + path)
