"""The page as a real browser shows it: nothing asked for, nothing complained about, nothing that runs over the edge."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from ckptd.report.html import render_html
from ckptd.report.sections.overview import compose
from ckptd.report.wording import show_name
from tests.report.browser import measure, open_page
from tests.report.making import HOSTILE, facts


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the page of facts whose names try everything."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_bytes(render_html(compose(facts(("BiLSTM_Attention", "ResNet18", *HOSTILE)))).encode())
    return file


def test_it_asks_for_nothing_and_nothing_complains(page, tmp_path):
    """And what is in it is shown: the headline, the key numbers, the names as they were written."""
    seen = open_page(page, tmp_path)
    assert seen.requests == []
    assert seen.console == []
    text = html.unescape(re.sub(r"<wbr>|<[^>]+>", "", re.sub(r"<style>.*?</style>", "", seen.dom, flags=re.DOTALL)))
    for words in ("1.5 TiB in 2,184 checkpoints; the disk is full in about 41 days.", "600.0 GiB", "12.0 GiB", "4.0 GiB"):
        assert words in text
    for name in HOSTILE:
        assert show_name(name, 56) in text
    assert seen.dom.count("<script") == 0
    assert re.search(r"<svg[^>]*class=\"plot\"", seen.dom)


def test_a_page_that_asks_and_complains_is_noticed(tmp_path):
    """The test above would see it: this one is a page that does both."""
    bad = tmp_path / "bad.html"
    bad.write_text('<!doctype html><img src="http://192.0.2.1/x.png"><script>nothing()</script>')
    seen = open_page(bad, tmp_path)
    assert seen.requests == ["http://192.0.2.1/x.png"]
    assert any("nothing is not defined" in line for line in seen.console)


def test_a_script_in_it_would_not_run(page, tmp_path):
    """Should escaping ever fail, the policy of the page holds."""
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("</h1>", '<script>document.title = "run"</script><img src="x.png"></h1>'))
    seen = open_page(broken, tmp_path)
    assert "<title>run</title>" not in seen.dom
    assert seen.requests == []
    assert len(seen.console) == 2


def test_nothing_runs_over_the_edge(page, tmp_path):
    """On a small phone, a phone, a tablet and a desk; drawings take the room there is, and the page is light."""
    seen = measure(page, tmp_path, 320, 390, 800, 1280)
    assert sorted(seen) == [320, 390, 800, 1280]
    for width, one in seen.items():
        assert one["wide"] == [], width
        assert one["scroll"] <= width
        assert max(one["plots"]) > width * 0.5
        assert one["ground"] == "rgb(255, 255, 255)"


def test_dark_follows_the_reader(page, tmp_path):
    """As the reader's machine says."""
    assert measure(page, tmp_path, 800, scheme="dark")[800]["ground"] == "rgb(19, 22, 26)"
