"""What a checkpoint is about: its kind, its model, its metrics, and where each of them was said.

Start reading at `understand`: it asks `identify` for the kind, `content` for what the file states, `architecture` for the
shapes and `names` for the file's name, and lets content beat the name.  Pure: no I/O, bounded time on hostile values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ckptd.checkpoint.architecture import Architecture, describe
from ckptd.checkpoint.content import Content, read_content
from ckptd.checkpoint.identify import Identified, identify
from ckptd.checkpoint.jsonable import clean
from ckptd.checkpoint.module_classes import named_classes
from ckptd.checkpoint.names import NameReading, parse_name
from ckptd.checkpoint.values import TensorValue, Value
from ckptd.model import Container, Json, Kind, Layer, Metadata, Source

#: Classes of torch that hold a model and name none.
_CONTAINERS = frozenset("Sequential ModuleList ModuleDict Module DataParallel DistributedDataParallel OptimizedModule".split())
#: Classes of a pickled module that are told; a module of more is rebuilt by nobody.
MOST_CLASSES = 200
_STAGES = {
    "best": "best",
    "final": "final",
    "last": "last",
    "latest": "last",
    "quantized": "quantized",
    "bo": "bo_trial",
    "bo_trial": "bo_trial",
    "hpo": "bo_trial",
    "trial": "bo_trial",
}


class Understanding(NamedTuple):
    """What the object inside is, and which of its tensors are weights.

    Attributes:
        weights: dotted names, out of the tensors given, that belong to the model.
        optimizer: dotted names that belong to the state of an optimizer or scheduler.
        copies: dotted names of averaged copies (EMA, SWA) of the weights; parameters are not counted twice for them.
    """

    kind: Kind
    metadata: Metadata
    layers: tuple[Layer, ...]
    weights: frozenset[str]
    optimizer: frozenset[str]
    copies: frozenset[str] = frozenset()


class _Draft:
    """Metadata in the making; the first word on a field stands, so the surest speaks first."""

    __slots__ = ("fields", "metrics", "other", "sources", "spellings")

    def __init__(self) -> None:
        self.fields: dict[str, Json] = {}
        self.metrics: dict[str, float] = {}
        self.spellings: dict[str, str] = {}
        self.other: dict[str, Json] = {}
        self.sources: dict[str, Source] = {}

    def put(self, field: str, value: Json, source: Source) -> None:
        if value is not None and field not in self.fields:
            self.fields[field] = value
            self.sources[field] = source

    def note(self, key: str, value: Json, source: Source) -> None:
        if value is not None and key not in self.other:
            self.other[key] = value
            self.sources[f"other.{key}"] = source

    def measure(self, name: str, value: float, spelling: str, source: Source) -> None:
        if name not in self.metrics:
            self.metrics[name] = value
            self.spellings[name] = spelling
            self.sources[f"metrics.{name}"] = source


def understand(
    root: Value,
    tensors: Sequence[tuple[str, TensorValue]],
    path: str,
    container: Container,
    *,
    scalars: Mapping[str, float] | None = None,
) -> Understanding:
    """Say what a checkpoint is about.

    Args:
        root: the object of the file, inert.
        tensors: every tensor under its dotted name, in the file's order.
        path: as the caller named it; only its last two parts are read.
        container: how the bytes were wrapped.
        scalars: dotted name → value of tensors of one number, where the reader looked them up; without it they say nothing.
    """
    found = identify(root, tensors, container)
    draft = _Draft()
    # In a state dict a tensor called "step" is a buffer of the model and no statement about the file.
    _add_content(draft, read_content(root, None if found.kind is Kind.STATE_DICT else scalars))
    _add_class(draft, found)
    if found.kind is Kind.MODULE:
        names: list[Json] = [clean(name) for name in named_classes(root)[:MOST_CLASSES]]
        draft.note("module_classes", names, Source("content:classes", 1.0))
    shapes = describe(found.named)
    _add_shapes(draft, found, shapes)
    reading = parse_name("/".join(path.rsplit("/", 2)[-2:]))
    _add_name(draft, reading)
    _add_architecture(draft, shapes.summary, reading)
    return Understanding(found.kind, _metadata(draft), shapes.layers, found.weights, found.optimizer, found.copies)


def rename(metadata: Metadata, path: str) -> Metadata:
    """Let the new name of a file speak where its old one did; what contents, shapes or a person said stays.

    Args:
        metadata: of the file under its old name.
        path: the new one; only its last two parts are read.
    """
    sources, nobody = metadata.sources, Source("content", 1.0)
    draft = _Draft()
    for field in ("model_name", "architecture", "dataset", "epoch", "step", "date", "quantization", "stage", "hyperparameters"):
        source = sources.get(field, nobody)
        value = getattr(metadata, field)
        anew = source.where == "name" or (field == "architecture" and source.where == "shapes")
        if not anew and value != {}:
            draft.put(field, value, source)
    for name, number in metadata.metrics.items():
        source = sources.get(f"metrics.{name}", nobody)
        if source.where != "name":
            draft.measure(name, number, metadata.spellings.get(name, name), source)
    for key, value in metadata.other.items():
        source = sources.get(f"other.{key}", nobody)
        if source.where != "name":
            draft.note(key, value, source)
    draft.sources |= {key: source for key, source in sources.items() if key.startswith("hyperparameters.")}
    reading = parse_name("/".join(path.rsplit("/", 2)[-2:]))
    _add_name(draft, reading)
    _add_architecture(draft, draft.other.get("summary"), reading)
    return _metadata(draft)


def _add_content(draft: _Draft, content: Content) -> None:
    for field, (value, source) in content.fields.items():
        if field == "stage":  # a word of our own; "stage: 2" of somebody's curriculum is none
            known = _STAGES.get(str(value).lower())
            if known is not None:
                draft.put("stage", known, source)
        elif field == "hyperparameters":
            draft.put("hyperparameters", content.hyperparameters, source)
        else:
            draft.put(field, value, source)
    for name, (number, source) in content.metrics.items():
        draft.measure(name, number, content.spellings[name], source)
    for key, (value, source) in content.other.items():
        draft.note(key, value, source)


def _add_class(draft: _Draft, found: Identified) -> None:
    """Name the model after the class of a pickled module, unless that is one of torch's containers."""
    if found.model_class is None:
        return
    source = Source("content:class", 1.0)
    if found.model_class not in _CONTAINERS:
        draft.put("model_name", found.model_class, source)
        draft.put("architecture", found.model_class, source)
    else:
        draft.note("class", found.model_class, source)


def _add_shapes(draft: _Draft, found: Identified, shapes: Architecture) -> None:
    source = Source("shapes", 1.0)
    draft.put("quantization", shapes.quantization, source)
    if shapes.quantization is not None:
        draft.note("quantization_saved_bytes", shapes.saved_bytes, source)
        if not shapes.quantization.startswith(("float", "bfloat")):
            draft.put("stage", "quantized", source)
    if found.wrappers:
        draft.note("wrapper", " + ".join(found.wrappers), source)
    if shapes.tied:
        draft.note("tied", [[clean(name) for name in names] for names in shapes.tied], source)
    guessed = Source("shapes", 0.7)
    draft.note("summary", shapes.summary, guessed)
    draft.note("input_size", shapes.input_size, guessed)
    draft.note("output_size", shapes.output_size, guessed)


def _add_name(draft: _Draft, reading: NameReading) -> None:
    sure = reading.confidence

    def source(field: str) -> Source:
        return Source("name", sure.get(field, 0.7))

    for field in ("model_name", "dataset", "epoch", "step", "date", "quantization", "stage"):
        value = getattr(reading, field)
        draft.put(field, clean(value) if type(value) is str else value, source(field))
    for name, value in reading.metrics.items():
        draft.measure(clean(name), value, clean(reading.written[name][0]), source(f"metrics.{name}"))
    for key, value in reading.other.items():
        draft.note(key, clean(value) if type(value) is str else value, source(f"other.{key}"))


def _add_architecture(draft: _Draft, summary: Json, reading: NameReading) -> None:
    """Name the architecture: a family that the name knows, else what the shapes say, else the name's first words."""
    confidence = reading.confidence.get("model_name", 0.0)
    named = clean(reading.model_name) if reading.model_name is not None else None
    if confidence > 0.5:
        draft.put("architecture", named, Source("name", confidence))
    draft.put("architecture", summary, Source("shapes", 0.7))
    draft.put("architecture", named, Source("name", confidence))


def _metadata(draft: _Draft) -> Metadata:
    fields = draft.fields
    text = {key: value for key, value in fields.items() if type(value) is str}
    epoch, step, settings = fields.get("epoch"), fields.get("step"), fields.get("hyperparameters")
    return Metadata(
        model_name=text.get("model_name"),
        architecture=text.get("architecture"),
        dataset=text.get("dataset"),
        metrics=draft.metrics,
        epoch=epoch if type(epoch) is int else None,
        step=step if type(step) is int else None,
        date=text.get("date"),
        quantization=text.get("quantization"),
        hyperparameters=settings if isinstance(settings, dict) else {},
        stage=text.get("stage"),
        spellings=draft.spellings,
        other=draft.other,
        sources=draft.sources,
    )
