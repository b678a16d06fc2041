"""What a checkpoint states about itself beside its weights: epoch, step, metrics, settings, names, date.

Only mappings are read, a few levels deep, under the keys that training code and the known frameworks use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ckptd.checkpoint import content_words as words
from ckptd.checkpoint import metrics
from ckptd.checkpoint.jsonable import class_name, clean, mapping_of, number_of, text_of, to_json, unwrap
from ckptd.checkpoint.names import parse_name
from ckptd.checkpoint.stated import date_in, name_in
from ckptd.checkpoint.values import Opaque, TensorValue, Value
from ckptd.model import Json, Source

#: Keys looked at in one file outside its weights, and metrics kept.
MAX_KEYS = 4_000
MAX_METRICS = 100


class Found(NamedTuple):
    """A value, and where in the file it stood."""

    value: Json
    source: Source


class Content:
    """What the content said so far; the first word on a field stands."""

    __slots__ = ("budget", "fields", "hyperparameters", "metrics", "other", "scalars", "spellings")

    def __init__(self, scalars: Mapping[str, float]) -> None:
        self.scalars = scalars
        self.fields: dict[str, Found] = {}
        self.metrics: dict[str, tuple[float, Source]] = {}
        self.spellings: dict[str, str] = {}
        self.hyperparameters: dict[str, Json] = {}
        self.other: dict[str, Found] = {}
        self.budget = MAX_KEYS

    def put(self, field: str, value: Json, path: str, confidence: float = 1.0) -> None:
        """Put a field down unless it was said before."""
        if value is not None and field not in self.fields:
            self.fields[field] = Found(value, Source(f"content:{clean(path)}", confidence))

    def note(self, key: str, value: Json, path: str) -> None:
        """Put a further field down unless it was said before."""
        if value is not None and key not in self.other:
            self.other[key] = Found(value, Source(f"content:{clean(path)}", 1.0))

    def number(self, value: Value, path: str) -> int | float | None:
        """Give a number, also that of a tensor of one number when the reader looked it up."""
        if isinstance(value, TensorValue):
            found = self.scalars.get(path)
            return None if found is None or found - found != 0 else found
        return number_of(value)


def read_content(root: Value, scalars: Mapping[str, float] | None = None) -> Content:
    """Read what a mapping says about itself; another root says nothing."""
    content = Content(scalars or {})
    mapping = mapping_of(root)
    if mapping is not None and not (isinstance(root, Opaque) and not root.items):
        _read_scope(content, mapping, "", 3)
    return content


#: Shapes of a tensor that is one number.
_ONE = frozenset(((), (1,)))


def _keys(content: Content, mapping: Mapping[Value, Value]) -> dict[str, str]:
    """Map normalised keys to the keys as written; a mapping of many tensors costs one look at each."""
    found: dict[str, str] = {}
    scalars = content.scalars
    for key, item in mapping.items():
        if type(item) is TensorValue and not (scalars and item.shape in _ONE):
            continue
        if type(key) is not str or len(key) > 100:
            continue
        content.budget -= 1
        if content.budget < 0:
            break
        found.setdefault(key.lower().replace("-", "_"), key)
    return found


def _read_scope(content: Content, mapping: Mapping[Value, Value], prefix: str, depth: int) -> None:
    keys = _keys(content, mapping)
    if not keys:
        return
    _read_counts(content, mapping, keys, prefix)
    _read_texts(content, mapping, keys, prefix)
    _read_metrics(content, mapping, keys, prefix)
    _read_settings(content, mapping, keys, prefix)
    _read_frameworks(content, mapping, keys, prefix)
    if depth > 0:
        for low in words.NESTED:
            key = keys.get(low)
            inner = mapping_of(mapping[key]) if key is not None else None
            if key is not None and inner is not None:
                _read_scope(content, inner, f"{prefix}{key}.", depth - 1)


def _read_counts(content: Content, mapping: Mapping[Value, Value], keys: dict[str, str], prefix: str) -> None:
    for field, names in (("epoch", words.EPOCH), ("step", words.STEP)):
        for low in names:
            key = keys.get(low)
            value = content.number(mapping[key], prefix + key) if key is not None else None
            if key is not None and value is not None and 0 <= value < 2**53:
                content.put(
                    field, int(value), prefix + key, 0.6 if low in {"start_epoch", "best_epoch", "total_steps"} else 1.0
                )
                break


def _read_texts(
    content: Content, mapping: Mapping[Value, Value], keys: dict[str, str], prefix: str, confidence: float = 1.0
) -> None:
    for field, names in (
        ("model_name", words.NAME),
        ("architecture", words.ARCH),
        ("dataset", words.DATASET),
        ("stage", ("stage",)),
    ):
        if field in content.fields:
            continue
        for low in names:
            key = keys.get(low)
            text = name_in(mapping[key]) if key is not None else None
            if key is None or text is None or (field == "model_name" and text.lower() in words.GENERIC_NAMES):
                continue
            content.put(field, text, prefix + key, confidence)
            break
    for low in words.DATE:
        key = keys.get(low)
        date = date_in(mapping[key]) if key is not None else None
        if key is not None and date is not None:
            content.put("date", date, prefix + key, confidence)
            break
    for low in words.CLASSES:
        key = keys.get(low)
        value = unwrap(mapping[key]) if key is not None else None
        if key is not None and isinstance(value, (list, tuple, dict)) and value:
            content.note("classes", len(value), prefix + key)
    for low in words.DATA_PATH:
        key = keys.get(low)
        text = text_of(mapping[key]) if key is not None and "dataset" not in content.fields else None
        if key is not None and text is not None:
            known = parse_name(text.rstrip("/\\").replace("\\", "/").rpartition("/")[2]).dataset
            content.put("dataset", known, prefix + key, 0.5)


def _read_metrics(content: Content, mapping: Mapping[Value, Value], keys: dict[str, str], prefix: str) -> None:
    for low, written in keys.items():
        value = mapping[written]
        if low not in words.NO_METRIC and not isinstance(value, (dict, str)) and metrics.is_metric(written):
            _read_metric(content, written, value, prefix + written, "")
    for names, sure in ((words.METRICS, True), (words.MAYBE_METRICS, False)):
        for low in names:
            key = keys.get(low)
            inner = mapping_of(mapping[key]) if key is not None and not isinstance(mapping[key], TensorValue) else None
            if key is not None and inner is not None:
                _read_metric_mapping(content, inner, f"{prefix}{key}.", _split_of(low), sure, 2)
    if "metric" in keys:
        path = prefix + keys["metric"]
        number = content.number(mapping[keys["metric"]], path)
        if number is not None:
            _put_metric(content, "metric", "metric", number, path, 0.8)


def _split_of(low: str) -> str:
    first = low.partition("_")[0]
    return f"{first}_" if metrics.is_split_word(first) else ""


def _read_metric_mapping(
    content: Content, mapping: Mapping[Value, Value], prefix: str, split: str, sure: bool, depth: int
) -> None:
    for low, key in _keys(content, mapping).items():
        value = mapping[key]
        if low in words.NO_METRIC:
            continue
        inner = mapping_of(value) if depth > 0 and not isinstance(value, TensorValue) and number_of(value) is None else None
        if inner is not None:
            _read_metric_mapping(content, inner, f"{prefix}{key}.", _split_of(low) or split, sure, depth - 1)
        elif sure or metrics.is_metric(key):
            _read_metric(content, key, value, prefix + key, split)


def _read_metric(content: Content, key: str, value: Value, path: str, split: str) -> None:
    """Read a number, or the last number of a list that was kept epoch by epoch."""
    spelling = key if not split or metrics.is_split_word(key.lower().replace("-", "_").partition("_")[0]) else split + key
    number = content.number(value, path)
    if number is not None:
        # The best so far may be another epoch's; a value of this file's own says more.
        _put_metric(content, spelling, key, number, path, 0.9 if key.lower().startswith("best") else 1.0)
    elif isinstance(value, (list, tuple)) and value:
        last = number_of(value[-1])
        if last is not None:
            _put_metric(content, spelling, key, last, f"{path}[-1]", 0.8)


def _put_metric(content: Content, spelling: str, written: str, number: int | float, path: str, confidence: float) -> None:
    name = clean(metrics.canonical(spelling))[:100]
    value = metrics.normalise(name, float(number))
    if not name or value is None or len(content.metrics) >= MAX_METRICS:
        return
    known = content.metrics.get(name)
    if known is None or known[1].confidence < confidence:
        content.metrics[name] = (value, Source(f"content:{clean(path)}", confidence))
        content.spellings[name] = clean(written)


def _read_settings(content: Content, mapping: Mapping[Value, Value], keys: dict[str, str], prefix: str) -> None:
    """Read hyperparameters: the first mapping of settings as it is, further ones under their own key."""
    for low in words.HYPER:
        key = keys.get(low)
        value = mapping[key] if key is not None else None
        inner = mapping_of(value) if value is not None and not isinstance(value, TensorValue) else None
        if key is None or not inner or _is_state(inner):
            continue
        plain = to_json(value)
        if not isinstance(plain, dict) or not plain:
            continue
        room = 500 - len(content.hyperparameters)
        if not content.hyperparameters:
            content.hyperparameters.update(list(plain.items())[:room])
            content.put("hyperparameters", key, prefix + key)
        elif key not in content.hyperparameters and room > 0:
            content.hyperparameters[clean(key)] = plain
        inner_keys = _keys(content, inner)
        _read_texts(content, inner, inner_keys, f"{prefix}{key}.", 0.9)
    for low, key in keys.items():
        if low in words.SETTING and len(content.hyperparameters) < 500:
            plain = to_json(mapping[key], values=50, depth=2)
            if plain is not None and key not in content.hyperparameters:
                content.hyperparameters[clean(key)] = plain
                content.put("hyperparameters", key, prefix + key)


def _is_state(mapping: Mapping[Value, Value]) -> bool:
    """Say whether a mapping under a name like "params" holds weights or an optimizer instead of settings."""
    first = next(iter(mapping.values()), None)
    return isinstance(first, TensorValue) or "param_groups" in mapping or "_parameters" in mapping


def _read_frameworks(content: Content, mapping: Mapping[Value, Value], keys: dict[str, str], prefix: str) -> None:
    for low, name in words.FRAMEWORKS:
        key = keys.get(low)
        version = text_of(mapping[key]) if key is not None else None
        if key is not None and version is not None and len(version) < 40:
            content.note("framework", f"{name} {version}", prefix + key)
    if not prefix:
        if "optimizer_history" in keys and "extra_state" in keys:
            content.note("framework", "fairseq", "optimizer_history")
        elif "train_args" in keys and "updates" in keys:
            content.note("framework", "ultralytics", "train_args")
        callbacks = mapping_of(mapping[keys["callbacks"]]) if "callbacks" in keys else None
        if callbacks is not None:
            _read_callbacks(content, callbacks)


def _read_callbacks(content: Content, callbacks: Mapping[Value, Value]) -> None:
    """Read the monitored metric of Lightning's ModelCheckpoint."""
    for number, (key, state) in enumerate(callbacks.items()):
        inner = mapping_of(state) if not isinstance(state, TensorValue) else None
        if number >= 50 or inner is None:
            continue
        name = key if type(key) is str else class_name(key)
        if name is None or not name.startswith("ModelCheckpoint"):
            continue
        monitor = text_of(inner.get("monitor"))
        for field in ("current_score", "best_model_score"):
            path = f"callbacks.{name}.{field}"
            value = content.number(inner.get(field), path)
            if monitor is not None and value is not None:
                _put_metric(content, monitor, monitor, value, path, 0.9)
                break
