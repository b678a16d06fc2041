"""Laws: whatever a person writes, and whenever, it is there afterwards, and what we leave can always be read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ckptd.metadata.layout import is_sealed
from ckptd.metadata.proposal import apply, propose
from ckptd.metadata.sidecar import Action, ensure, read
from ckptd.model import Identity
from ckptd.storage import kernel
from tests.metadata.inspections import INSPECTION, NOW, inspection, opened

SIDECAR = "a_metadata.json"
OURS = (
    "model_name",
    "architecture",
    "hyperparameters",
    "metrics",
    "data_profile",
    "training_date",
    "quantization",
    "storage_kb",
)
KEYS = st.sampled_from([*OURS, "notes", "ckptd2", "", "épochs"]) | st.text(max_size=5).filter(lambda key: key != "ckptd")


class Number(str):
    """A number as it is spelled; unequal to a text of the same letters."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Number and str.__eq__(self, other)

    __hash__ = str.__hash__


def exact(text: str) -> Any:
    """Read JSON so that nothing is lost: spelling of numbers, order of keys, keys that stand twice."""
    return json.loads(text, parse_float=Number, parse_int=Number, object_pairs_hook=lambda pairs: ("object", pairs))


def without_ours(document: Any) -> Any:
    return [(key, value) for key, value in document[1] if key != "ckptd"]


NUMBERS = st.sampled_from(["0", "-0", "1.0", "1e0", "1E+2", "1e400", "-1e-400", "9" * 30, "0.1000", "12345678901234567890.5"])
TEXTS = st.text(max_size=6).map(json.dumps) | st.text(st.characters(codec="utf-8"), max_size=6).map(
    lambda text: json.dumps(text, ensure_ascii=False)
)
SPACES = st.text(st.sampled_from(" \n\t\r"), max_size=3)


@st.composite
def spelled_objects(draw: Callable, values: st.SearchStrategy) -> str:
    keys = draw(st.lists(KEYS, max_size=4, unique=True))
    members = [f"{draw(SPACES)}{json.dumps(key)}{draw(SPACES)}:{draw(SPACES)}{draw(values)}{draw(SPACES)}" for key in keys]
    return "{" + ",".join(members) + "}"


SPELLED = st.recursive(
    NUMBERS | TEXTS | st.sampled_from(["null", "true", "false"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]") | spelled_objects(inner),
    max_leaves=8,
)  # fmt: skip


@st.composite
def edits(draw: Callable) -> Callable[[str], str]:
    """Draw what a person does to the text of a sidecar: set, add, remove or move members, or reformat all of it."""
    kind = draw(st.sampled_from(["set", "add", "remove", "reformat", "reverse"]))
    key, value, indent = draw(KEYS), draw(SPELLED), draw(st.sampled_from([None, 0, 3, "\t"]))

    def edit(text: str) -> str:
        document = exact(text)
        members = [(name, spell(item)) for name, item in document[1]]
        match kind:
            case "set" | "add":
                members = [(name, item) for name, item in members if name != key]
                members.insert(len(members) // 2, (key, value))
            case "remove":
                members = [(name, item) for name, item in members if name != key]
            case "reverse":
                members.reverse()
            case "reformat":
                return (
                    json.dumps(json.loads(text), indent=indent, allow_nan=True)
                    .replace("-Infinity", "-1e999")
                    .replace("Infinity", "1e999")
                )
        return "{" + ", ".join(f"{json.dumps(name)}: {item}" for name, item in members) + "}"

    return edit


def spell(value: Any) -> str:
    match value:
        case Number():
            return str(value)
        case ("object", pairs):
            return "{" + ", ".join(f"{json.dumps(key)}: {spell(item)}" for key, item in pairs) + "}"
        case list():
            return f"[{', '.join(map(spell, value))}]"
        case _:
            return json.dumps(value)


STEPS = st.one_of(
    edits().map(lambda edit: ("edit", edit)),
    st.sampled_from("abc").map(lambda digest: ("ensure", digest)),
    st.sampled_from("abc").map(lambda digest: ("edit while we write", digest)),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("survival")


def clear(directory: Path) -> None:
    for name in os.listdir(directory):
        (directory / name).unlink()


@given(st.lists(STEPS, max_size=6), edits())
@settings(max_examples=150, deadline=None)
@example([("edit", lambda text: text.replace('"dataset": "ECG"', '"": 1, "dataset": "ECG2"')), ("ensure", "b")], str)
def test_law_a_persons_values_survive_any_sequence(directory: Path, steps: list, concurrent: Callable[[str], str]) -> None:
    """Law: once a person edited the file, everything outside of `ckptd` is what the last edit left, to the letter."""
    clear(directory)
    place = directory / SIDECAR
    persons: Any = None
    real = kernel.rename

    def save(edit: Callable[[str], str]) -> None:
        nonlocal persons
        before = place.read_text()
        text = edit(before)
        if text != before:
            (directory / "editor~").write_text(text)
            (directory / "editor~").rename(place)
            persons = without_ours(exact(text))

    def saving_rename(*args: Any) -> None:
        kernel.rename = real
        if place.exists():
            save(concurrent)
        real(*args)

    with opened(directory) as fd:
        try:
            ensure(fd, "a.pth", INSPECTION, generated_at=NOW)
            for number, (kind, what) in enumerate(steps):
                if kind == "edit":
                    save(what)
                    continue
                kernel.rename = saving_rename if kind == "edit while we write" else real
                result = ensure(fd, "a.pth", inspection(what * 64, epoch=number), generated_at=NOW + number)
                kernel.rename = real
                assert result.action not in (Action.FAILED, Action.BROKEN)
                text = place.read_text()
                assert persons is None or without_ours(exact(text)) == persons
                assert json.loads(text)["ckptd"]["sha256"] == what * 64
                assert persons is not None or is_sealed(place.read_bytes())
                assert ensure(fd, "a.pth", inspection(what * 64, epoch=number), generated_at=NOW).action is Action.UNCHANGED
                read(fd, "a.pth", INSPECTION)
            assert [name for name in os.listdir(directory) if name.startswith(".ckptd")] == []
        finally:
            kernel.rename = real


@given(spelled_objects(SPELLED))
@settings(max_examples=150, deadline=None)
@example('{"ckptd": {"schema_version": 1}}')
@example('{"ckptd": {"schema_version": 1, "file": 5}}')
@example('{"ckptd": []}')
def test_law_a_persons_own_file_is_never_touched(directory: Path, text: str) -> None:
    """Law: not a byte of it changes, not even its inode, whatever happens to the checkpoint."""
    clear(directory)
    place = directory / SIDECAR
    place.write_text(text)
    before = Identity.of(place.stat())
    with opened(directory) as fd:
        for digest in "ab":
            assert ensure(fd, "a.pth", inspection(digest * 64), generated_at=NOW).name == "a.pth.ckptd.json"
            read(fd, "a.pth", INSPECTION)
    assert Identity.of(place.stat()) == before
    assert place.read_bytes() == text.encode()


@given(st.binary(max_size=80) | st.text(st.sampled_from('{}[]":,ckptd \n01eN\\'), max_size=40).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_law_no_file_is_lost_whatever_bytes_are_in_it(directory: Path, data: bytes) -> None:
    """Law: bytes that are not a beginning of our own text stay; what is empty is filled."""
    clear(directory)
    (directory / SIDECAR).write_bytes(data)
    with opened(directory) as fd:
        result = ensure(fd, "a.pth", INSPECTION, generated_at=NOW)
        read(fd, "a.pth", INSPECTION)
    now = (directory / SIDECAR).read_bytes()
    if result.action is Action.REGENERATED:
        assert now.startswith(data.rstrip(b"\0"))
        assert is_sealed(now)
    else:
        assert now == data


@given(st.lists(edits(), min_size=1, max_size=4), st.sampled_from("ab"))
@settings(max_examples=100, deadline=None)
def test_law_written_anew_on_demand_a_persons_values_stay(directory: Path, changes: list, digest: str) -> None:
    """Law: after an agreed regeneration everything that a person set is there, and a second one changes nothing."""
    clear(directory)
    place = directory / SIDECAR
    later = inspection(digest * 64, metrics={"accuracy": 0.5})
    with opened(directory) as fd:
        ensure(fd, "a.pth", INSPECTION, generated_at=NOW)
        generated = dict(exact(place.read_text())[1])
        for change in changes:
            place.write_text(change(place.read_text()))
        edited = dict(exact(place.read_text())[1])
        apply(fd, propose(fd, "a.pth", later, generated_at=NOW))
        now = dict(exact(place.read_text())[1])
        for key, value in edited.items():
            if key not in OURS and key != "ckptd":
                assert now[key] == value
            elif key != "ckptd" and not isinstance(value, tuple) and value not in (None, generated[key]):
                assert now[key] == value or loose(now[key]) == loose(value)
        assert propose(fd, "a.pth", later, generated_at=NOW + 1).diff == ""
        assert ensure(fd, "a.pth", later, generated_at=NOW + 1).action is Action.UNCHANGED


def loose(value: Any) -> Any:
    """A value that a person spelled anew without changing it counts as ours, and is written in our spelling."""
    return json.loads(spell(value))
