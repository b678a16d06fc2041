"""What a checkpoint states about itself beside its weights: epoch, step, metrics, settings, names, date.

Only mappings are read, a few levels deep, under the keys that training code and the known frameworks use.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import NamedTuple

from ckptd.checkpoint import metrics
from ckptd.checkpoint.names import parse_name
from ckptd.checkpoint.names.dates import find_date
from ckptd.checkpoint.jsonable import class_name, clean, mapping_of, moment_of, number_of, text_of, to_json, unwrap
from ckptd.checkpoint.values import Opaque, TensorValue, Value
from ckptd.model import Json, Source

#: Keys looked at in one file outside its weights, and metrics kept.
MAX_KEYS = 4_000
MAX_METRICS = 100

# In each tuple the surest key first.
_EPOCH = (
    "epoch", "current_epoch", "cur_epoch", "epochs_trained", "completed_epochs", "trained_epochs", "epoch_num", "epoch_idx", "epoch_id",
    "n_epoch", "num_epoch", "last_epoch", "ep", "start_epoch", "best_epoch",
)  # fmt: skip
_STEP = (
    "global_step", "step", "iteration", "iter", "steps", "iters", "iterations", "iter_num", "global_steps", "global_iter", "n_iter", "niter",
    "num_updates", "updates", "current_iter", "current_step", "cur_iter", "it", "train_step", "total_iter", "num_steps", "total_steps",
)  # fmt: skip
_DATE = (
    "date",
    "timestamp",
    "datetime",
    "time",
    "created_at",
    "saved_at",
    "created",
    "save_time",
    "training_date",
    "train_date",
)
_DATASET = (
    "dataset",
    "dataset_name",
    "data_name",
    "data_set",
    "train_dataset",
    "corpus",
    "env_name",
    "env_id",
    "env",
    "gym_id",
)
_DATA_PATH = ("data", "data_path", "data_dir", "data_root", "root_path")
_NAME = (
    "model_name",
    "model_class",
    "class_name",
    "arch",
    "architecture",
    "network",
    "net",
    "model",
    "name",
    "model_type",
    "backbone",
)
_ARCH = ("arch", "architecture", "model_class", "class_name", "model_type", "network", "backbone", "model")
_STAGE = ("stage",)
_HYPER = (
    "hyperparams", "hyper_parameters", "hyperparameters", "hparams", "model_args", "model_kwargs", "model_config", "init_args", "config", "cfg",
    "args", "opt", "options", "opts", "train_args", "training_args", "arguments", "kwargs", "params", "param", "conf", "settings", "flags",
    "best_params", "model_params", "ds_config", "train_config", "experiment_config", "hp",
)  # fmt: skip
#: Mappings that hold the fields above one level down.
_NESTED = (
    "meta", "metadata", "extra_state", "extra", "info", "train_state", "training_state", "trainer_state", "state", "progress", "model_info",
    "hook_msgs", "train_iterator", "checkpoint", "training_info",
)  # fmt: skip
#: Mappings whose numbers are metrics whatever they are called.
_METRICS = (
    "metrics", "metric", "results", "result", "scores", "performance", "eval_results", "best_metrics", "val_metrics", "valid_metrics",
    "validation_metrics", "test_metrics", "train_metrics", "epoch_metrics", "eval_metrics", "evaluation", "final_metrics", "train_results",
)  # fmt: skip
#: Mappings whose numbers are metrics when their keys say so.
_MAYBE_METRICS = (
    "stats",
    "logs",
    "log",
    "losses",
    "history",
    "train_history",
    "training_history",
    "best",
    "val",
    "test",
    "train",
    "hist",
)
#: Keys of settings that people put at the top level.
_SETTING = frozenset("""
    lr learning_rate batch_size bs seed dropout hidden_size hidden_dim num_layers n_layers num_classes n_classes nc input_size input_dim
    output_size output_dim in_features out_features in_channels out_channels vocab_size embedding_dim embed_dim weight_decay momentum
    optimizer_name num_heads n_heads d_model kernel_size sequence_length seq_len max_len image_size img_size patch_size hidden_units
    hidden_layers hidden_sizes layers activation bidirectional feature_dim latent_dim window_size num_features n_features units gamma
""".split())  # fmt: skip
_NO_METRIC = frozenset((*_EPOCH, *_STEP, *_DATE, "lr", "learning_rate", "num_samples", "n", "count", "seed", "batch_size"))
_GENERIC_NAMES = frozenset(("model", "net", "network", "module", "main", "default", "none", "train", "test"))
#: time.asctime: "Sun Nov 21 09:57:11 2021".
_ASCTIME = re.compile(r"([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) (20[0-9]{2})")
_MONTHS = {name: number for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


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
        """Give a number, also that of a 0-dim tensor when the reader looked it up."""
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


def _keys(content: Content, mapping: Mapping[Value, Value]) -> dict[str, str]:
    """Map normalised keys to the keys as written; a mapping of many tensors costs one look at each."""
    found: dict[str, str] = {}
    scalars = content.scalars
    for key, item in mapping.items():
        if type(item) is TensorValue and not (scalars and not item.shape):
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
        for low in _NESTED:
            key = keys.get(low)
            inner = mapping_of(mapping[key]) if key is not None else None
            if key is not None and inner is not None:
                _read_scope(content, inner, f"{prefix}{key}.", depth - 1)


def _read_counts(content: Content, mapping: Mapping[Value, Value], keys: dict[str, str], prefix: str) -> None:
    for field, names in (("epoch", _EPOCH), ("step", _STEP)):
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
    for field, names in (("model_name", _NAME), ("architecture", _ARCH), ("dataset", _DATASET), ("stage", _STAGE)):
        if field in content.fields:
            continue
        for low in names:
            key = keys.get(low)
            text = _name_in(mapping[key]) if key is not None else None
            if key is None or text is None or (field == "model_name" and text.lower() in _GENERIC_NAMES):
                continue
            content.put(field, text, prefix + key, confidence)
            break
    for low in _DATE:
        key = keys.get(low)
        date = _date(mapping[key]) if key is not None else None
        if key is not None and date is not None:
            content.put("date", date, prefix + key, confidence)
            break
    for low in ("class_to_idx", "classes", "class_names", "labels", "idx_to_class", "label_map"):
        key = keys.get(low)
        value = unwrap(mapping[key]) if key is not None else None
        if key is not None and isinstance(value, (list, tuple, dict)) and value:
            content.note("classes", len(value), prefix + key)
    for low in _DATA_PATH:
        key = keys.get(low)
        text = text_of(mapping[key]) if key is not None and "dataset" not in content.fields else None
        if key is not None and text is not None:
            known = parse_name(text.rstrip("/\\").replace("\\", "/").rpartition("/")[2]).dataset
            content.put("dataset", known, prefix + key, 0.5)


def _name_in(value: Value) -> str | None:
    """Give a name: a short text in one line, the last part of a path or a dotted class, or the name of a class."""
    text = text_of(value)
    if text is None:
        mapping = mapping_of(value) if not isinstance(value, TensorValue) else None
        if mapping is not None:  # {"dataset": {"name": "ECG"}}, {"model": {"type": "FCN"}}
            inner = next((text_of(mapping[key]) for key in ("name", "type", "_target_", "arch") if key in mapping), None)
            return inner.rpartition(".")[2] if inner is not None and len(inner) <= 100 else None
        return None
    if len(text) > 100 or "\\x" in text:  # an escaped control character: no name in one line
        return None
    return text.rstrip("/").rpartition("/")[2] if text.startswith(("/", "~", "./", "../")) else text


def _date(value: Value) -> str | None:
    moment = moment_of(value)
    if moment is not None:
        return moment
    number = number_of(value)
    if number is not None:
        if not 946_684_800 <= number < 4_102_444_800:  # the years 2000 to 2099
            return None
        return f"{datetime.datetime.fromtimestamp(int(number), datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
    text = text_of(value)
    if text is None or len(text) > 60:
        return None
    match = _ASCTIME.search(text)
    if match is not None and match[1] in _MONTHS:
        found = find_date(f"{match[4]}-{_MONTHS[match[1]]:02}-{int(match[2]):02}T{match[3]}")
    else:
        found = find_date(text)
    return found.iso if found is not None and found.iso[:4].isdigit() else None


def _read_metrics(content: Content, mapping: Mapping[Value, Value], keys: dict[str, str], prefix: str) -> None:
    for low, key in keys.items():
        value = mapping[key]
        if low not in _NO_METRIC and not isinstance(value, (dict, str)) and metrics.is_metric(key):
            _read_metric(content, key, value, prefix + key, "")
    for names, sure in ((_METRICS, True), (_MAYBE_METRICS, False)):
        for low in names:
            key = keys.get(low)
            inner = mapping_of(mapping[key]) if key is not None and not isinstance(mapping[key], TensorValue) else None
            if key is not None and inner is not None:
                _read_metric_mapping(content, inner, f"{prefix}{key}.", _split_of(low), sure, 2)
    key = keys.get("metric")
    value = content.number(mapping[key], prefix + key) if key is not None else None
    if key is not None and value is not None:
        _put_metric(content, "metric", "metric", value, prefix + key, 0.8)


def _split_of(low: str) -> str:
    first = low.partition("_")[0]
    return f"{first}_" if metrics.is_split_word(first) else ""


def _read_metric_mapping(
    content: Content, mapping: Mapping[Value, Value], prefix: str, split: str, sure: bool, depth: int
) -> None:
    for low, key in _keys(content, mapping).items():
        value = mapping[key]
        if low in _NO_METRIC:
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
        _put_metric(content, spelling, key, number, path, 1.0)
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
    for low in _HYPER:
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
            content.put("hyperparameters", True, prefix + key)
        elif key not in content.hyperparameters and room > 0:
            content.hyperparameters[clean(key)] = plain
        inner_keys = _keys(content, inner)
        _read_texts(content, inner, inner_keys, f"{prefix}{key}.", 0.9)
    for low, key in keys.items():
        if low in _SETTING and len(content.hyperparameters) < 500:
            plain = to_json(mapping[key], values=50, depth=2)
            if plain is not None and key not in content.hyperparameters:
                content.hyperparameters[clean(key)] = plain
                content.put("hyperparameters", True, prefix + key)


def _is_state(mapping: Mapping[Value, Value]) -> bool:
    """Say whether a mapping under a name like "params" holds weights or an optimizer instead of settings."""
    first = next(iter(mapping.values()), None)
    return isinstance(first, TensorValue) or "param_groups" in mapping or "_parameters" in mapping


def _read_frameworks(content: Content, mapping: Mapping[Value, Value], keys: dict[str, str], prefix: str) -> None:
    for low, name in _FRAMEWORKS:
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


_FRAMEWORKS = (
    ("pytorch_lightning_version", "pytorch-lightning"),
    ("lightning_version", "lightning"),
    ("mmengine_version", "mmengine"),
    ("mmcv_version", "mmcv"),
    ("ds_version", "deepspeed"),
    ("composer_version", "composer"),
    ("transformers_version", "transformers"),
)


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
