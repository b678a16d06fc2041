"""Tell a person's values from ours, show them over ours, and keep them when the rest is written anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ckptd.checkpoint.metrics import canonical, normalise
from ckptd.metadata.document import OWN_KEY, TOP_KEYS, fingerprint, leaves, path_of
from ckptd.metadata.layout import Raw
from ckptd.metadata.reading import Document
from ckptd.model import Finding, Json, Metadata, Source
from ckptd.wire_values import MAX_DEPTH, MAX_KEYS, MAX_TEXT

_SOURCE = Source("sidecar", 1.0)
_MOST_OTHER = 100


@dataclass(frozen=True, slots=True)
class PersonValues:
    """What a person wrote beside a checkpoint.

    Attributes:
        values: only that; every field that the person left alone is empty.
        files: names of the files in which it stands.
        findings: files that could not be understood.
    """

    values: Metadata
    files: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def edited_values(document: Document) -> dict[str, Any]:
    """Give what differs from what we wrote: values whose fingerprint is not among those we left in `ckptd.generated`."""
    values = {key: member.value for key, member in document.members.items() if key != OWN_KEY}
    generated = generated_fingerprints(document)
    if generated is None:
        return values
    edited = {key: value for key, value in values.items() if key not in TOP_KEYS}
    for key, inner, value in leaves(values):
        if is_generated(path_of(key, inner), value, generated):
            continue
        if inner is None:
            edited[key] = value
        else:
            edited.setdefault(key, {})[inner] = value
    return edited


def generated_fingerprints(document: Document) -> frozenset[str] | None:
    """Give the fingerprints of the values that we wrote; None when the document is not one of ours."""
    section = document.members.get(OWN_KEY)
    if section is None or not isinstance(section.value, dict):
        return None
    generated = section.value.get("generated")
    return frozenset(generated.split()) if isinstance(generated, str) else frozenset()


def is_generated(path: str, value: object, generated: frozenset[str]) -> bool:
    """Tell whether a value is still the one that we wrote in that place."""
    try:
        return fingerprint(path, value) in generated
    except ValueError:  # a number beyond all bounds, such as 1e400: not ours
        return False


def read_values(stated: Mapping[str, Any]) -> Metadata:
    """Take out of a person's JSON what has a place in `Metadata`; what does not fit is left out.

    Both our keys and the usual names inside and outside of them are known: `training_date` or `date`, `dataset` alone or in
    `data_profile`, `epoch`, `step`, `stage`.  Any other key goes to `other`.
    """
    profile = stated.get("data_profile")
    profile = profile if isinstance(profile, dict) else {}
    known = {*TOP_KEYS, "dataset", "date", "epoch", "step", "stage", OWN_KEY}
    other = {key: value for key, value in stated.items() if key not in known}
    other |= {key: value for key, value in profile.items() if key != "dataset"}
    metrics = _metrics(stated.get("metrics"))
    return Metadata(
        model_name=_text(stated.get("model_name")),
        architecture=_text(stated.get("architecture")),
        dataset=_text(profile.get("dataset")) or _text(stated.get("dataset")),
        metrics={name: value for name, (value, _) in metrics.items()},
        spellings={name: spelling for name, (_, spelling) in metrics.items()},
        epoch=_count(stated.get("epoch")),
        step=_count(stated.get("step")),
        date=_date(stated.get("training_date")) or _date(stated.get("date")),
        quantization=_text(stated.get("quantization")),
        stage=_text(stated.get("stage")),
        hyperparameters=_plain_object(stated.get("hyperparameters"), MAX_KEYS),
        other=_plain_object(other, _MOST_OTHER),
    )


def plain(value: object) -> Json:
    """Give a person's value within the bounds of the wire; null for one that is beyond them."""
    return _cleaned(value) if _fits(value, MAX_DEPTH) else None


def overlay(ours: Metadata, person: Metadata) -> Metadata:
    """Show a person's values over ours, each with "sidecar" as its source."""
    fields = ("model_name", "architecture", "dataset", "epoch", "step", "date", "quantization", "stage")
    changed: dict[str, Any] = {name: value for name in fields if (value := getattr(person, name)) is not None}
    sources = dict.fromkeys(changed, _SOURCE)
    for name in ("metrics", "spellings", "hyperparameters", "other"):
        stated = getattr(person, name)
        if stated:
            changed[name] = _capped(getattr(ours, name), stated)
            sources |= {f"{name}.{key}": _SOURCE for key in stated if name != "spellings"}
    return replace(ours, **changed, sources=_capped(ours.sources, sources)) if changed else ours


def regenerate(document: Document, generated: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Write everything that is ours anew and keep everything that is a person's, in its spelling.

    Args:
        document: what lies there, a file that was ours once.
        generated: what `document.render` says now.

    Returns:
        The new document, and whether there is anything of a person in it.
    """
    left = generated_fingerprints(document) or frozenset()
    result: dict[str, Any] = {}
    kept = False
    for key in TOP_KEYS:
        ours = generated[key]
        if key not in document.members:
            result[key] = ours
            continue
        theirs = document.members[key].value
        if isinstance(ours, dict) and isinstance(theirs, dict):
            result[key], own = _regenerate_object(document, key, ours, left)
            kept |= own
        elif theirs is None or is_generated(key, theirs, left):
            result[key] = ours
        else:
            result[key], kept = Raw(document.raw(key)), True
    for key in document.members:
        if key not in TOP_KEYS and key != OWN_KEY:
            result[key], kept = Raw(document.raw(key)), True
    result[OWN_KEY] = generated[OWN_KEY]
    return result, kept


def _regenerate_object(
    document: Document, key: str, ours: Mapping[str, Any], left: frozenset[str]
) -> tuple[dict[str, Any], bool]:
    theirs = document.inner(key)
    result = dict(ours)
    kept = False
    for inner, member in theirs.members.items():
        if member.value is not None and not is_generated(path_of(key, inner), member.value, left):
            result[inner], kept = Raw(theirs.raw(inner)), True
    return result, kept


def _capped(ours: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two objects within the bound of the wire; the person's members stay when there are too many."""
    merged = {**ours, **stated}
    for key in [key for key in merged if key not in stated][: max(0, len(merged) - MAX_KEYS)]:
        del merged[key]
    return merged


def _metrics(value: object) -> dict[str, tuple[float, str]]:
    """Read metrics as the checkpoints' are read: canonical names, percent as a fraction where it is one by nature."""
    if not isinstance(value, dict):
        return {}
    metrics: dict[str, tuple[float, str]] = {}
    for spelling, number in list(value.items())[:MAX_KEYS]:
        name = canonical(spelling)
        if not name or type(number) not in (int, float) or abs(number) > 1e300:
            continue
        normal = normalise(name, float(number))
        if normal is not None:
            metrics[name] = (normal, _clean(spelling))
    return metrics


def _text(value: object) -> str | None:
    return _clean(value) if isinstance(value, str) and value else None


def _date(value: object) -> str | None:
    """Take a date only as the rest of ckptd can compare it: ISO 8601, a day at least."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return None
    return value


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _clean(text: str) -> str:
    """Cut to the bound of the wire; half a surrogate pair, which no file name and no database takes, becomes "?"."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()


def _plain_object(value: object, most: int) -> dict[str, Json]:
    if not isinstance(value, dict):
        return {}
    plain: dict[str, Json] = {}
    for key, item in list(value.items())[:most]:
        if _fits(item, MAX_DEPTH - 1):
            plain[_clean(key)] = _cleaned(item)
    return plain


def _fits(value: object, depth: int) -> bool:
    """Tell whether a value is within the bounds of the wire; the index takes no other."""
    if depth < 0:
        return False
    match value:
        case dict():
            return len(value) <= MAX_KEYS and all(_fits(item, depth - 1) for item in value.values())
        case list():
            return len(value) <= MAX_KEYS and all(_fits(item, depth - 1) for item in value)
        case bool() | None | str():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return value - value == 0.0
        case _:
            return False


def _cleaned(value: Any) -> Json:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return {_clean(key): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value
