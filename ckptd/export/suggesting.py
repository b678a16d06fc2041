"""Write a `[[recipe]]` for a checkpoint as far as it can be known, to be filled in by a person."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from ckptd.export.inputs import Derived, derive_inputs
from ckptd.model import Inspection, Json, Kind, Layer
from ckptd.proof import InputSpec
from ckptd.text import escape

#: Layers that are shown, and hyperparameters that are written down.
_MOST_LAYERS = 40
_MOST_HYPERPARAMETERS = 40
#: Depth and members up to which a value is shown in one line.
_MOST_TEXT = 400
#: Hyperparameters of the training, which no constructor takes.
_OF_TRAINING = frozenset(
    "lr learning_rate batch_size epochs num_epochs max_epochs optimizer scheduler seed device weight_decay momentum patience "
    "num_workers train_size val_size test_size early_stopping grad_clip betas eps gamma loss criterion data_dir dataset".split()
)
_FAMILY = {"lstm": "nn.LSTM", "gru": "nn.GRU", "rnn": "nn.RNN"}


def suggest(inspection: Inspection, model_name: str | None = None) -> str:
    """Give a `[[recipe]]` as TOML: what is known as comments and values, and what is not as "fill in".

    Args:
        inspection: of the checkpoint.
        model_name: what the group is called; the inspection's when None.
    """
    name = model_name or inspection.metadata.model_name or _stem(inspection.path)
    lines = [
        f"# A recipe for {_plain(name)}; what the file says stands in comments, what it does not say is yours to fill in.",
        *_of_the_file(inspection),
        *_of_the_layers(inspection.layers),
        "[[recipe]]",
        f"match = {_text(_glob(name))}",
        f'callable = "module:{_class_name(name)}"  # fill in: where the class or function really is',
        *_hyperparameters(inspection),
        *_inputs(derive_inputs(inspection.layers, inspection.metadata.hyperparameters)),
        '# outputs = ["logits"]  # names in exports that have names',
    ]
    return "\n".join(lines) + "\n"


def guess_hyperparameters(layers: Sequence[Layer]) -> dict[str, Json]:
    """Guess arguments of a constructor from the layers, by the names that most people give them."""
    guessed: dict[str, Json] = {}
    first = next((layer for layer in layers if layer.type in _READERS), None)
    if first is not None:
        guessed |= {ours: first.detail[key] for key, ours in _READERS[first.type] if key in first.detail}
    recurrent = next((layer for layer in layers if layer.type in _FAMILY), None)
    if recurrent is not None:
        guessed |= {ours: recurrent.detail[key] for key, ours in _RECURRENT if key in recurrent.detail and ours not in guessed}
    last = next((layer for layer in reversed(layers) if layer.type == "linear"), None)
    if last is not None and last is not first and "out_features" in last.detail:
        guessed["num_classes"] = last.detail["out_features"]
    return guessed


_RECURRENT = (
    ("input_size", "input_size"),
    ("hidden_size", "hidden_size"),
    ("num_layers", "num_layers"),
    ("bidirectional", "bidirectional"),
)
#: What the first layer says, and what an argument of that meaning is usually called.
_READERS: dict[str, tuple[tuple[str, str], ...]] = {
    "linear": (("in_features", "in_features"), ("out_features", "hidden_size")),
    "conv1d": (("in_channels", "in_channels"),),
    "conv2d": (("in_channels", "in_channels"),),
    "conv3d": (("in_channels", "in_channels"),),
    "embedding": (("num_embeddings", "vocab_size"), ("embedding_dim", "embedding_dim")),
    "attention": (("embed_dim", "d_model"),),
    "lstm": _RECURRENT,
    "gru": _RECURRENT,
    "rnn": _RECURRENT,
}


def _of_the_file(inspection: Inspection) -> Iterator[str]:
    metadata, totals = inspection.metadata, inspection.tensors
    if metadata.architecture:
        yield f"# architecture: {_plain(metadata.architecture)}"
    kind = inspection.kind.value.replace("_", " ") if inspection.kind is not None else "unknown"
    yield f"# {kind}, {totals.parameters:,} parameters in {totals.count:,} tensors"
    if inspection.kind is Kind.MODULE:
        yield "# it is a pickled module: its classes in trust.classes and their code in trust.directories do without a recipe"


def _of_the_layers(layers: Sequence[Layer]) -> Iterator[str]:
    if not layers:
        return
    yield "# layers, in the file's order:"
    for layer in layers[:_MOST_LAYERS]:
        detail = ", ".join(f"{key}={_json(value)}" for key, value in layer.detail.items())
        yield f"#   {_plain(layer.name) or '(top)'}: {layer.type}{f' ({_plain(detail)})' if detail else ''}"
    if len(layers) > _MOST_LAYERS:
        yield f"#   … and {len(layers) - _MOST_LAYERS:,} more"


def _hyperparameters(inspection: Inspection) -> Iterator[str]:
    read = {
        key: value
        for key, value in inspection.metadata.hyperparameters.items()
        if key.lower() not in _OF_TRAINING and _can_be_toml(value)
    }
    if read:
        kept = dict(list(read.items())[:_MOST_HYPERPARAMETERS])
        yield "# these were read in the checkpoint and are passed anyway; keep those that you want to be others:"
        yield f"# hyperparameters = {_toml(kept)}"
    guessed = {key: value for key, value in guess_hyperparameters(inspection.layers).items() if key not in read}
    if guessed:
        yield "# guessed from the layers; change the names to those that your callable has:"
        yield f"hyperparameters = {_toml(guessed)}"
    elif not read:
        yield "# hyperparameters = { hidden_size = 64 }  # fill in what your callable needs"


def _inputs(candidates: Sequence[Derived]) -> Iterator[str]:
    if not candidates:
        yield "# fill in: the layers do not say what it takes"
        yield 'inputs = [{ name = "input", shape = ["batch", 1] }]'
        return
    yield "# without inputs these are tried in turn; take the # away to say which:"
    shown: dict[str, str] = {}
    for candidate in candidates:  # those that differ only in the sizes that are tried look alike here
        specs = ", ".join(_toml(_spec(spec)) for spec in candidate.specs)
        shown.setdefault(f"# inputs = [{specs}]", candidate.why)
    for line, why in list(shown.items())[:5]:
        yield f"# {_plain(why)}"
        yield line


def _spec(spec: InputSpec) -> dict[str, Json]:
    value = spec.to_json()
    return {key: item for key, item in value.items() if (key, item) != ("dtype", "float32")}


def _class_name(name: str) -> str:
    """Make a name that a class may have; a person puts the real one there."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "".join(word[:1].upper() + word[1:] for word in words[:4])
    return joined if re.fullmatch(r"[A-Za-z][A-Za-z0-9]{0,63}", joined) else "Model"


def _glob(name: str) -> str:
    """Write a glob for a name: what a glob takes for something else is put into brackets."""
    return re.sub(r"([*?\[])", r"[\1]", name[:200]) + "*"


def _stem(path: str) -> str:
    name = path.rpartition("/")[2]
    return name.removesuffix(".tar").rpartition(".")[0] or name


def _plain(text: str) -> str:
    """Make a text fit for a comment: one line, nothing hidden."""
    return escape(text, _MOST_TEXT)


def _json(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))[:100]


def _text(text: str) -> str:
    """Write a TOML string; what is hidden is escaped, and half a surrogate pair, which TOML has no way to say, becomes "?"."""
    return '"' + "".join(map(_char, text.encode("utf-8", "replace").decode())) + '"'


def _char(char: str) -> str:
    if char in {'"', "\\"}:
        return "\\" + char
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _toml(value: Json) -> str:
    match value:
        case dict():
            pairs = [f"{_key(key)} = {_toml(item)}" for key, item in value.items()]
            return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case _:
            return repr(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _can_be_toml(value: Json, depth: int = 0) -> bool:
    """Tell whether a value can stand in an inline table: no null, nothing endless, nothing long."""
    if value is None or depth > 4:
        return False
    if isinstance(value, Mapping):
        return len(value) <= 20 and all(_can_be_toml(item, depth + 1) for item in value.values())
    if isinstance(value, list):
        return len(value) <= 20 and all(_can_be_toml(item, depth + 1) for item in value)
    return len(repr(value)) <= _MOST_TEXT and value == value
