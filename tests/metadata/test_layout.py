"""The text of a sidecar: JSON as json.loads reads it, visible, and sealed to its last byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.metadata.layout import Raw, canonical, is_sealed, write_sealed, write_section, write_unsealed

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=5)


def test_the_form_is_the_one_that_docs_show() -> None:
    document = {
        "name": "x",
        "metrics": {"a": 1, "b": 0.5},
        "none": None,
        "empty": {},
        "ckptd": {"layers": [{"n": 1}, {"n": 2}], "l": [1]},
    }
    head, _, tail = write_sealed(document).decode().partition('"seal": "')
    assert head == (
        '{\n  "name": "x",\n  "metrics": {\n    "a": 1,\n    "b": 0.5\n  },\n  "none": null,\n  "empty": {},\n  "ckptd": {\n'
        '    "layers": [\n      {"n": 1},\n      {"n": 2}\n    ],\n    "l": [1],\n    '
    )
    assert tail[64:] == '"\n  }\n}\n'


def test_exports_stand_one_a_line() -> None:
    """Each has a proof of a thousand characters."""
    text = write_section({"exports": {"onnx": {"a": 1}, "pt2": {}}, "sources": {"x": {}, "y": {}}})
    assert text == (
        '{\n    "exports": {\n      "onnx": {"a": 1},\n      "pt2": {}\n    },\n    "sources": {"x": {}, "y": {}}\n  }'
    )
    assert write_section({"exports": {}}) == '{\n    "exports": {}\n  }'


@pytest.mark.parametrize("text", ['}, {"n": ', "}, {", '"}, {"n": "', "\\"])
def test_a_text_that_looks_like_the_end_of_an_object_stays_as_it_is(text: str) -> None:
    """Lists of objects are broken into lines by what stands between them; nothing of that is ever inside a text."""
    layers = [{"n": text, text: [{"n": text}, {"n": 1}]}, {"n": text}, {"m": text}, {}]
    assert json.loads(write_sealed({"ckptd": {"layers": layers}}))["ckptd"]["layers"] == layers


@given(OBJECTS, OBJECTS.filter(len))
def test_law_what_is_written_is_read_again_in_its_order(top: dict, section: dict) -> None:
    document = {**top, "ckptd": section}
    document["ckptd"] = document.pop("ckptd")
    section.pop("seal", None)
    section["last"] = 0
    read = json.loads(write_sealed(document))
    assert read.pop("ckptd") == section | {"seal": json.loads(write_sealed(document))["ckptd"]["seal"]}
    assert list(read.items()) == [(key, value) for key, value in document.items() if key != "ckptd"]
    assert json.loads(write_unsealed(document)) == document
    assert json.loads(write_section(section)) == section


@given(OBJECTS, st.data())
def test_law_a_seal_breaks_with_any_byte(top: dict, data: st.DataObject) -> None:
    whole = write_sealed({**top, "ckptd": {"last": 0}})
    assert is_sealed(whole)
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    assert not is_sealed(whole[:at] + bytes([byte]) + whole[at + 1 :])
    assert not is_sealed(whole[:at])
    assert not is_sealed(whole + b"\n")


@pytest.mark.parametrize("data", [b"", b"{}", b'"\n  }\n}\n', b"0" * 64 + b'"\n  }\n}\n'])
def test_what_is_too_short_for_a_seal_has_none(data: bytes) -> None:
    assert not is_sealed(data)


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J", "\u202egnp.exe", "\u200b", "\x7f", "\x9b", "\ue000", "\U000e0001", "\udcff", "\u2028", "\x00", "\r"]
)
def test_no_text_of_a_checkpoint_acts_on_a_terminal(hostile: str) -> None:
    data = write_sealed({"model_name": hostile, "ckptd": {hostile: [{hostile: hostile}]}})
    text = data.decode()
    assert hostile not in text
    assert json.loads(text)["model_name"] == hostile


def test_people_can_read_their_own_script() -> None:
    assert "心电图 é 🙂" in write_sealed({"model_name": "心电图 é 🙂", "ckptd": {"a": 0}}).decode()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_without_a_word_in_json_is_refused(number: float) -> None:
    with pytest.raises(ValueError):
        write_sealed({"a": number, "ckptd": {}})


def test_raw_text_goes_out_as_it_is() -> None:
    assert b'"a": 1.0e+00,' in write_unsealed({"a": Raw("1.0e+00"), "b": {"c": Raw("1e400")}})
    assert b'"c": 1e400' in write_unsealed({"a": Raw("1.0e+00"), "b": {"c": Raw("1e400")}})


def test_equal_values_have_one_canonical_text() -> None:
    assert canonical(json.loads('{"a":[1,2],"b":1e3}')) == canonical({"a": [1, 2], "b": 1000.0})
    assert canonical(1) != canonical(1.0)
    assert canonical([True]) != canonical([1])
