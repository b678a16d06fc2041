"""The grammar of queries: what joins how, and a caret under what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.errors import UsageError
from ckptd.index.grammar import MOST_CHARACTERS, MOST_COMPARISONS, MOST_DEPTH, Comparison, Joined, Not, parse

WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Z", "Cc"], exclude_characters="()\"'=<>~!"), min_size=1, max_size=8
)
ANYTHING = st.text(max_size=12)
COMPARISONS = st.tuples(WORDS, st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~"]), ANYTHING)
TREES = st.recursive(
    COMPARISONS.map(lambda parts: ("is", *parts)),
    lambda inner: (
        st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))
    ),
    max_leaves=12,
)


def plain(node):
    """Turn a tree of the parser into tuples."""
    match node:
        case Comparison():
            return ("is", node.field.text, node.operator, node.value.text)
        case Not(inner):
            return ("not", plain(inner))
        case Joined(word, parts):
            return (word, [plain(part) for part in parts])


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(tree, spell=str):
    """Write a tree as a query, with brackets around every part."""
    match tree:
        case ("is", field, operator, value):
            return f"{quoted(field)} {operator}{quoted(value)}"
        case ("not", inner):
            return f"{spell('not')} ({written(inner, spell)})"
        case (word, parts):
            return f" {spell(word)} ".join(f"({written(part, spell)})" for part in parts)


@given(tree=TREES, spell=st.sampled_from([str, str.upper, str.title]))
def test_what_is_written_is_read(tree, spell):
    """Any tree of comparisons, any text in quotes; the case of and, or, not does not matter."""
    assert plain(parse(written(tree, spell))) == tree


@given(text=st.text(max_size=40) | st.text("ab01 ()=<>!~\"'\\", max_size=40))
def test_any_text_is_a_query_or_a_clear_error(text):
    """Nothing else comes out, and a message is free of what could move a cursor."""
    try:
        parse(text)
    except UsageError as error:
        message = str(error)
        assert all(char.isprintable() or char == "\n" for char in message)
        assert message.count("\n") == 2
        assert "^" in message.split("\n")[2]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a=1", ("is", "a", "=", "1")),
        ("a==1", ("is", "a", "=", "1")),
        ("a = 1", ("is", "a", "=", "1")),
        ("a>-1.5e-3", ("is", "a", ">", "-1.5e-3")),
        ("a='it''s'", None),
        ("path~runs/*/best?.pth", ("is", "path", "~", "runs/*/best?.pth")),
        ("path=C:\\x", ("is", "path", "=", "C:\\x")),
        ('a="x \\"y\\" \\\\z"', ("is", "a", "=", 'x "y" \\z')),
        ("a='and'", ("is", "a", "=", "and")),
        ("'or'=1", ("is", "or", "=", "1")),
        ("a=1 or b=2 and c=3", ("or", [("is", "a", "=", "1"), ("and", [("is", "b", "=", "2"), ("is", "c", "=", "3")])])),
        ("(a=1 or b=2) and c=3", ("and", [("or", [("is", "a", "=", "1"), ("is", "b", "=", "2")]), ("is", "c", "=", "3")])),
        ("not a=1 and b=2", ("and", [("not", ("is", "a", "=", "1")), ("is", "b", "=", "2")])),
        ("not not a=1", ("not", ("not", ("is", "a", "=", "1")))),
        ("((a=1))", ("is", "a", "=", "1")),
        ("val/acc@5-top>1%", ("is", "val/acc@5-top", ">", "1%")),
    ],
)
def test_a_table_of_queries(text, tree):
    """`and` binds closer than `or`, `not` closer than both."""
    if tree is None:
        with pytest.raises(UsageError):
            parse(text)
    else:
        assert plain(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "why", "shown"),
    [
        ("", "a field should stand here", "\n  \n  ^"),
        ("a", "an operator should stand here", "\n  a\n   ^"),
        ("a>", "a value should stand here", "\n  a>\n    ^"),
        ("a>>1", "a value should stand here", "\n  a>>1\n    ^"),
        ("(a=1", "a closing bracket is missing here", "\n  (a=1\n      ^"),
        ("a=1)", "this bracket was never opened", "\n  a=1)\n     ^"),
        ("a=1 b=2", "the query should end here or go on with and, or", "\n  a=1 b=2\n      ^"),
        ("a=1 && b=2", 'write "and"', "\n  a=1 && b=2\n      ^^"),
        ("a='x", "this quote has no end", "\n  a='x\n    ^^"),
        ("a!b", "this is no operator", "\n  a!b\n   ^"),
        ("a=and", 'put it in quotes: "and"', "\n  a=and\n    ^^^"),
        ("a=1 and", "a field should stand here", "\n  a=1 and\n         ^"),
        ("日本=1 !", "this is no operator", "\n  日本=1 !\n         ^"),
        ("a=\x1b[2J !", "this is no operator", "\n  a=\\x1b[2J !\n            ^"),
        ("x" * 100 + "=1 ?", "the query should end here", "\n  " + "x" * 57 + "=1 ?\n  " + " " * 60 + "^"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text, why, shown):
    """With a caret under it, whatever the width of what stands before."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert why in str(caught.value)
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "(" * (MOST_DEPTH + 1) + "a=1" + ")" * (MOST_DEPTH + 1),
        "not " * (MOST_DEPTH + 1) + "a=1",
        " or ".join(["a=1"] * (MOST_COMPARISONS + 1)),
        "a=" + "x" * MOST_CHARACTERS,
        "(" * (MOST_CHARACTERS // 2),
    ],
    ids=["brackets", "nots", "comparisons", "characters", "open"],
)
def test_a_query_has_bounds(text):
    """Beyond them it is refused, long before anything overflows."""
    with pytest.raises(UsageError):
        parse(text)


def test_the_bounds_can_be_reached():
    """As many comparisons and as deep as allowed."""
    parse(" or ".join(["a=1"] * MOST_COMPARISONS))
    parse("(" * MOST_DEPTH + "a=1" + ")" * MOST_DEPTH)
