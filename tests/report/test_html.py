"""The page: whole, self-contained, escaped, and with a table for each figure."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from ckptd.report.html import HEAD, render_html
from ckptd.report.markup import Markup, element, joined
from ckptd.report.sections.overview import compose
from ckptd.report.wording import show_name
from tests.report.making import HOSTILE, empty_facts, facts

VOID = {"meta", "link", "br", "wbr"}


class Reader(HTMLParser):
    """Reads a page strictly: every element is closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def page(made=None) -> Reader:
    return Reader(render_html(compose(made or facts())))


@pytest.mark.parametrize("made", [facts(), facts(HOSTILE), empty_facts()], ids=["usual", "hostile", "empty"])
def test_nothing_in_it_acts_or_reaches_out(made):
    """No script, no handler, no form, no address but an icon of its own; and a policy that would stop them."""
    read = page(made)
    tags = Counter(tag for tag, _ in read.elements)
    assert not {"script", "iframe", "object", "embed", "form", "img", "base", "use", "image", "animate"} & set(tags)
    for tag, attributes in read.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "xlink:href"):
                assert value is not None
                assert value.startswith(("#", "data:image/svg+xml")), value
    policies = [a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    style = re.search(r"<style>(.*?)</style>", render_html(compose(made)), re.DOTALL)
    assert style is not None
    assert not re.search(r"@import|https?:|url\((?!#)", style[1])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_as_it_is(name):
    """What a person reads is the escaped name, and nothing of it became markup."""
    assert show_name(name, 56) in page(facts((name, "other"))).text


def test_the_policy_comes_before_anything_that_it_governs():
    """A policy in a meta element holds for what follows it."""
    text = render_html(compose(facts()))
    assert text.startswith(HEAD)
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<body>")


def test_ids_are_unique_and_links_lead_to_them():
    read = page()
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in read.elements:
        href = attributes.get("href") or ""
        if href.startswith("#"):
            assert href[1:] in ids
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in ids


def test_every_drawing_has_words_and_numbers():
    """A title, a description, and a table in the same figure; what has none is hidden from readers aloud."""
    text = render_html(compose(facts()))
    figures = re.findall(r"<figure>(.*?)</figure>", text, re.DOTALL)
    assert len(figures) == 3
    for figure in figures:
        assert re.search(r"<svg [^>]*role=\"img\"[^>]*><title [^>]*>[^<]+</title><desc [^>]*>[^<]+</desc>", figure)
        assert "<details><summary>The numbers</summary>" in figure
        assert "<table>" in figure
    for drawing in re.findall(r"<svg [^>]*>", re.sub(r"<svg [^>]*(x=\"0\"|viewBox)[^>]*>", "", text)):
        assert 'role="img"' in drawing or 'aria-hidden="true"' in drawing, drawing


def test_a_tone_is_said_in_words_and_signs():
    """Colours say nothing to many, and nothing on a black and white printer."""
    text = render_html(compose(facts()))
    toned = re.findall(r'<td[^>]*><span class="tone-(good|warn|bad)"><span aria-hidden="true">(.) </span>([^<]+)<', text)
    assert {tone for tone, _, _ in toned} == {"good", "warn", "bad"}
    assert all({"good": "✓", "warn": "!", "bad": "✕"}[tone] == sign and words for tone, sign, words in toned)


def test_each_section_is_there():
    read = page()
    keys = {attributes.get("id") for tag, attributes in read.elements if tag == "section"}
    assert keys == {
        "disks", "models", "parts", "months", "largest", "optimizer", "duplicates", "policy", "put-away", "health", "jobs",
    }  # fmt: skip


def test_the_page_is_small():
    """Opened from a share, mailed, kept for each day of a year."""
    assert len(render_html(compose(facts())).encode()) < 80_000


class TestMarkup:
    def test_text_is_escaped_where_it_goes_in(self):
        assert element("p", "<b>&", title='"<') == '<p title="&quot;&lt;">&lt;b&gt;&amp;</p>'

    def test_markup_is_not(self):
        assert element("p", element("b", "x"), None, "y") == "<p><b>x</b>y</p>"
        assert joined((Markup("<i>"), "<i>")) == "<i>&lt;i&gt;"

    def test_attributes_have_their_names(self):
        assert (
            element("a", class_="c", aria_label="l", viewBox="0", href=None) == '<a class="c" aria-label="l" viewBox="0"></a>'
        )

    def test_what_is_void_has_no_end(self):
        assert element("br") == "<br>"
