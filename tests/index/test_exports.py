"""Exports and recipes in the index: the last word for each target, what is missing, and rows that somebody wrote by hand."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace

import pytest

from ckptd.model import Status
from ckptd.proof import InputSpec, Maker, Recipe, Verdict
from tests.index.making import NOW, ROOT, digest, export, fill, identity, inspection, rejected

SETTINGS = digest("settings")
RECIPE = Recipe(Maker.CALLABLE, "settings: a*", "models:Net", {"hidden": 8}, (InputSpec("x", ("batch", 3)),))
ODD = os.fsdecode(b"d/odd-\xff.pth")


def record(store, path, *exports):
    with store.batch() as batch:
        for one in exports:
            batch.record_export(ROOT, path, one, now=NOW)


def said(store, path):
    return {one.target: one.verdict for one in store.load_exports(ROOT, path)}


def audit(store):
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql("SELECT what, job FROM audit ORDER BY id")]


@pytest.mark.parametrize("path", ["a.pth", ODD])
def test_an_export_is_read_back_as_it_was_written(store, path):
    """With bytes of a name that are no UTF-8, and numbers of devices beyond what a column holds."""
    whole = export(file=os.fsdecode(b"odd-\xff.onnx"), identity=(2**64 - 1, 2**63, 9, 8, 7))
    bare = export(
        "pt2", verdict=Verdict.UNAVAILABLE, file=None, sha256=None, size_bytes=None, identity=None, recipe_digest=None
    )
    record(store, path, bare, whole)
    assert store.load_exports(ROOT, path) == [whole, bare]
    assert store.load_exports(ROOT, "other.pth") == store.load_exports("/elsewhere", path) == []
    assert store.load_exported_places(ROOT) == {path}
    assert store.load_export_digests(ROOT) == {digest("onnx"): whole.size_bytes}


def test_the_last_word_for_a_target_counts_and_every_one_is_audited(store):
    """Within a transaction and after it."""
    record(store, "a.pth", export(verdict=Verdict.ERROR), export(verdict=Verdict.FAILED))
    assert said(store, "a.pth") == {"onnx": Verdict.FAILED}
    record(store, "a.pth", export())
    assert said(store, "a.pth") == {"onnx": Verdict.VERIFIED}
    assert audit(store) == [("export.error", "export"), ("export.failed", "export"), ("export.verified", "export")]


def test_only_exports_are_own_exports(store):
    """A sidecar is ours too, and no business of a scan; a file without an identity is known by its digest."""
    with store.batch() as batch:
        batch.record_output(ROOT, "a_metadata.json", digest("s"), "sidecar", now=NOW)
        batch.record_output(ROOT, "a.onnx", digest("e"), "export", now=NOW)
    assert store.load_own_exports(ROOT) == {"a.onnx": (None, digest("e"))}
    assert store.own_outputs(ROOT) == {"a_metadata.json": digest("s"), "a.onnx": digest("e")}


def test_a_move_leaves_exports_behind_and_their_files_stay_ours(store):
    """They bear the old name; the new one gets its own, and what was known of it before stays to be replaced."""
    fill(store, {"a.pth": inspection("a"), "b.pth": inspection("b")})
    with store.batch() as batch:
        batch.record_output(ROOT, "a.onnx", digest("onnx"), "export", now=NOW, identity=tuple(identity(100)))
    record(store, "a.pth", export())
    record(store, "b.pth", export(source="b", file="b.onnx"))
    with store.batch() as batch:
        batch.record_moved(ROOT, "a.pth", "b.pth", identity(1), now=NOW)
    assert store.load_exports(ROOT, "a.pth") == []
    assert said(store, "b.pth") == {"onnx": Verdict.VERIFIED}
    assert store.find_unexported(ROOT, {"onnx": SETTINGS}) == ["b.pth"]
    assert set(store.load_own_exports(ROOT)) == {"a.onnx"}


def test_what_lacks_an_export_is_found(store):
    """Nothing known, another content, other settings, and what was unavailable or in error; not what can't be exported."""
    paths = ("done", "failed", "none", "half", "content", "settings", "unavailable", "error", "code")
    files = {f"{path}.pth": inspection(path) for path in paths}
    files["code.pth"] = inspection("code", Status.NEEDS_CODE)
    files |= {"unsafe.pth": inspection("unsafe", Status.UNSAFE), "unreadable.pth": rejected()}
    fill(store, {**files, "gone.pth": inspection("gone")})
    with store.batch() as batch:
        batch.record_missing(ROOT, "gone.pth", now=NOW)
    record(store, "done.pth", export(source="done"), export("pt2", source="done"))
    record(store, "failed.pth", export(source="failed", verdict=Verdict.FAILED), export("pt2", source="failed"))
    record(store, "half.pth", export(source="half"))
    record(store, "content.pth", export(source="before"), export("pt2", source="content"))
    record(
        store, "settings.pth", replace(export(source="settings"), settings_digest=digest("x")), export("pt2", source="settings")
    )
    for verdict in (Verdict.UNAVAILABLE, Verdict.ERROR):
        record(store, f"{verdict}.pth", export(source=str(verdict), verdict=verdict), export("pt2", source=str(verdict)))
    lacking = ["code", "content", "error", "half", "none", "settings", "unavailable"]
    assert store.find_unexported(ROOT, {"onnx": SETTINGS, "pt2": SETTINGS}) == [f"{path}.pth" for path in lacking]
    lacking.remove("half")
    assert store.find_unexported(ROOT, {"onnx": SETTINGS}) == [f"{path}.pth" for path in lacking]
    assert store.find_unexported(ROOT, {}) == store.find_unexported("/elsewhere", {"onnx": SETTINGS}) == []


@pytest.mark.parametrize("group", ["BiLSTM", "", "a\0b\x1b", "\udcff", "x" * 5_000])
def test_a_recipe_is_remembered_for_its_group(store, group):
    """Whatever a model calls itself; the last one counts."""
    assert store.find_recipe(group) is None
    for recipe in (replace(RECIPE, callable="models:Other"), RECIPE):
        with store.batch() as batch:
            batch.record_recipe(group, recipe, sha256=digest("a"), now=NOW)
    assert store.find_recipe(group) == RECIPE
    assert store.find_recipe("another") is None


DAMAGE = {
    "proof": ["", "{", "[1]", "[" * 100_000, b"\xff", '{"x": NaN}'],
    "verdict": ["splendid", 7],
    "file": [b"../../etc/passwd", b".."],
    "sha256": ["short"],
    "at": ["yesterday"],
    "size_bytes": ["many", -1],
    "dev": ["x"],
}


@pytest.mark.parametrize(("column", "value"), [(column, value) for column, values in DAMAGE.items() for value in values])
def test_a_row_that_somebody_wrote_by_hand_is_as_good_as_none(sqlite_store, column, value):
    """The others are as they were."""
    record(sqlite_store, "a.pth", export(), export("pt2"))
    with sqlite3.connect(sqlite_store.file) as connection:
        connection.execute(f"UPDATE exports SET {column} = ? WHERE target = 'onnx'", [value])
    connection.close()
    assert said(sqlite_store, "a.pth") == {"pt2": Verdict.VERIFIED}


@pytest.mark.parametrize("value", ["", "{}", "null", "[" * 100_000, '{"maker": "eval"}'])
def test_a_recipe_that_somebody_wrote_by_hand_is_as_good_as_none(sqlite_store, value):
    """It says how code is run, so every key of it is checked."""
    with sqlite_store.batch() as batch:
        batch.record_recipe("g", RECIPE, sha256=None, now=NOW)
    with sqlite3.connect(sqlite_store.file) as connection:
        connection.execute("UPDATE recipes SET recipe = ?", [value])
    connection.close()
    assert sqlite_store.find_recipe("g") is None
