"""Exports and recipes as JSON and back: what the journal keeps, what the index keeps, what a worker is told.

Whatever comes back is checked key by key, as in `wire`: an index is a file, and a journal too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ckptd.model import Identity, Json, RawIdentity
from ckptd.proof import Export, InputSpec, Maker, Recipe, Verdict
from ckptd.wire_values import (
    MAX_DEPTH,
    MAX_KEYS,
    MAX_TEXT,
    read_count,
    read_digest,
    read_enum,
    read_identity,
    read_integer,
    read_json_object,
    read_list,
    read_number,
    read_object,
    read_optional_text,
    read_text,
    refuse,
)

#: Bytes of one proof, written as JSON; what is longer is cut before it is kept.
MAX_PROOF_BYTES = 256 << 10
#: Characters of the source of a training function, as `checkpoint.functions` has it.
MAX_CODE = 1 << 20
#: Inputs, outputs, directories and classes of one recipe.
MAX_PARTS = 100
#: Dimensions of one input, as torch has them.
MAX_RANK = 64
#: Bytes of a file's name.  Source: NAME_MAX in linux/limits.h.
_MAX_NAME = 255

_EXPORT = frozenset(
    "target verdict source_sha256 settings_digest recipe_digest file sha256 size_bytes identity reason at proof".split()
)
_RECIPE = frozenset(
    "maker origin callable hyperparameters inputs outputs code_sha256 training_code directories is_exact classes".split()
)
_INPUT = frozenset(("name", "shape", "dtype"))
_DRAWN_INPUT = _INPUT | {"high"}
#: Items of a list, then characters of a text, that are left at each try to make a proof shorter.
_CUTS = ((MAX_KEYS, MAX_TEXT), (200, 2_000), (50, 500), (10, 200), (2, 100), (0, 50))
_MAX_KEY = 1_000
#: What a float still holds.
_LARGEST = 10**308

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def export_to_json(export: Export) -> dict[str, Any]:
    """Turn an export into plain JSON values; a proof beyond all bounds is cut."""
    return {
        "target": export.target,
        "verdict": export.verdict.value,
        "source_sha256": export.source_sha256,
        "settings_digest": export.settings_digest,
        "recipe_digest": export.recipe_digest,
        "file": export.file,
        "sha256": export.sha256,
        "size_bytes": export.size_bytes,
        "identity": None if export.identity is None else Identity(*export.identity)._asdict(),
        "reason": export.reason[:MAX_TEXT],
        "at": export.at,
        "proof": fit_proof(export.proof, MAX_PROOF_BYTES),
    }


def export_from_json(value: object) -> Export:
    """Check key by key and build the export.

    Raises:
        WorkerError: it is not of the form of `export_to_json`; the message names the key.
    """
    item = read_object(value, _EXPORT, "export")
    return Export(
        target=read_text(item["target"], "target"),
        verdict=read_enum(Verdict, item["verdict"], "verdict"),
        source_sha256=_read_sure_digest(item["source_sha256"], "source_sha256"),
        settings_digest=_read_sure_digest(item["settings_digest"], "settings_digest"),
        recipe_digest=read_digest(item["recipe_digest"], "recipe_digest"),
        file=None if item["file"] is None else _read_name(item["file"], "file"),
        sha256=read_digest(item["sha256"], "sha256"),
        size_bytes=None if item["size_bytes"] is None else read_count(item["size_bytes"], "size_bytes"),
        identity=None if item["identity"] is None else raw_identity(read_identity(item["identity"])),
        reason=read_text(item["reason"], "reason"),
        at=float(read_number(item["at"], "at")),
        proof=read_json_object(item["proof"], "proof"),
    )


def raw_identity(identity: Identity) -> RawIdentity:
    """Give an identity as the plain tuple that an export holds."""
    dev, ino, size_bytes, mtime_ns, ctime_ns = identity
    return dev, ino, size_bytes, mtime_ns, ctime_ns


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """Turn a recipe into plain JSON values."""
    return {
        "maker": recipe.maker.value,
        "origin": recipe.origin,
        "callable": recipe.callable,
        "hyperparameters": dict(recipe.hyperparameters),
        "inputs": [spec.to_json() for spec in recipe.inputs],
        "outputs": list(recipe.outputs),
        "code_sha256": recipe.code_sha256,
        "training_code": recipe.training_code,
        "directories": list(recipe.directories),
        "is_exact": recipe.is_exact,
        "classes": list(recipe.classes),
    }


def recipe_from_json(value: object) -> Recipe:
    """Check key by key and build the recipe.

    Raises:
        WorkerError: it is not of the form of `recipe_to_json`; the message names the key.
    """
    item = read_object(value, _RECIPE, "recipe")
    code = item["training_code"]
    if code is not None and (type(code) is not str or len(code) > MAX_CODE):
        refuse("training_code", f"is not a text of at most {MAX_CODE} characters")
    if type(item["is_exact"]) is not bool:
        refuse("is_exact", "is neither true nor false")
    return Recipe(
        maker=read_enum(Maker, item["maker"], "maker"),
        origin=read_text(item["origin"], "origin"),
        callable=read_optional_text(item["callable"], "callable"),
        hyperparameters=read_json_object(item["hyperparameters"], "hyperparameters"),
        inputs=tuple([input_from_json(spec) for spec in read_list(item["inputs"], MAX_PARTS, "inputs")]),
        outputs=_read_texts(item["outputs"], "outputs"),
        code_sha256=read_digest(item["code_sha256"], "code_sha256"),
        training_code=code,
        directories=_read_texts(item["directories"], "directories"),
        is_exact=item["is_exact"],
        classes=_read_texts(item["classes"], "classes"),
    )


def input_from_json(value: object) -> InputSpec:
    """Check what `InputSpec.to_json` wrote and build it.

    Raises:
        WorkerError: it is not of that form; the message names the key.
    """
    is_drawn = isinstance(value, dict) and "high" in value
    item = read_object(value, _DRAWN_INPUT if is_drawn else _INPUT, "input")
    shape = [_read_size(size) for size in read_list(item["shape"], MAX_RANK, "input.shape")]
    high = read_integer(item["high"], "input.high") if is_drawn else None
    return InputSpec(read_text(item["name"], "input.name"), tuple(shape), read_text(item["dtype"], "input.dtype"), high)


def fit_proof(proof: Mapping[str, Json], most_bytes: int) -> dict[str, Json]:
    """Give a proof that can be read back and takes at most so many bytes as JSON: else its lists and texts are cut.

    What was cut says so itself, by `shortened`.  A number that JSON has no word for becomes a text.
    """
    for items, characters in _CUTS:
        cut = {_short(key): _fit(value, items, characters, MAX_DEPTH - 1) for key, value in list(proof.items())[:MAX_KEYS]}
        if cut != proof:
            cut["shortened"] = True
        if len(cut) <= MAX_KEYS and len(_encode(cut)) <= most_bytes:
            return cut
    return {"shortened": True}


def _fit(value: Json, items: int, characters: int, depth: int) -> Json:
    if isinstance(value, str):
        return value[:characters]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value) if abs(value) < _LARGEST else None
    if isinstance(value, list):
        return [_fit(item, items, characters, depth - 1) for item in value[:items]] if depth else None
    if isinstance(value, dict):
        some = list(value.items())[:MAX_KEYS]
        return {_short(key): _fit(item, items, characters, depth - 1) for key, item in some} if depth else None
    return value


def _short(key: str) -> str:
    return key[:_MAX_KEY]


def _read_sure_digest(value: object, key: str) -> str:
    digest = read_digest(value, key)
    if digest is None:
        refuse(key, "is not 64 lower-case hex digits")
    return digest


def _read_name(value: object, key: str) -> str:
    """Read the name of a directory's entry; it is still passed by `storage.beneath.entry_name` where it is used."""
    name = read_text(value, key)
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(name) > _MAX_NAME:
        refuse(key, "is not the name of a file")
    return name


def _read_size(value: object) -> int | str:
    return read_text(value, "input.shape") if isinstance(value, str) else read_count(value, "input.shape")


def _read_texts(value: object, key: str) -> tuple[str, ...]:
    return tuple([read_text(item, key) for item in read_list(value, MAX_PARTS, key)])
