"""Guess what a module takes from the shapes of its first layers and from hyperparameters: one function a family of layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt

from ckptd.model import Json, Layer
from ckptd.proof import InputSpec

BATCH = "batch"
TIME = "time"
LENGTH = "length"

#: Layers at the beginning that are asked, one after the other.
_MOST_ASKED = 4
#: Sizes beyond this are no example.
_MOST = 1 << 24
#: Steps of a sequence of which nothing is known; the second length is 7 more.
_STEPS = 16
#: Sides of pictures, the usual ones first: CIFAR, MNIST, digits, and what ImageNet models take.
_SIDES = (32, 28, 8, 64, 224, 96, 16, 128)
_VOLUMES = (16, 32, 8, 64)
_LENGTHS = (64, 128, 256, 1024, 16, 32, 100, 512, 4096)

#: Hyperparameters that say the same, as people spell them.
_FEATURES = (
    "input_dim",
    "input_size",
    "in_features",
    "n_features",
    "num_features",
    "in_dim",
    "feature_dim",
    "d_in",
    "n_inputs",
)
_CHANNELS = ("in_channels", "input_channels", "num_channels", "n_channels", "channels", "in_chans")
_VOCABULARY = ("vocab_size", "num_embeddings", "n_vocab", "vocabulary_size", "num_tokens", "n_tokens", "ntoken")
_SEQUENCE = ("seq_len", "seq_length", "sequence_length", "window_size", "window", "timesteps", "n_steps", "input_length")
_MAXIMUM = ("max_len", "max_length", "max_seq_len", "max_seq_length", "block_size", "context_length", "max_position_embeddings")
_SIDE = ("image_size", "img_size", "input_resolution", "resolution", "patch_image_size")
_SHAPE = ("input_shape", "image_shape", "in_shape")

_POSITION = re.compile(r"(?i)(?:^|[._])(?:pos|position|positional|wpe|type|token_type|segment)(?:$|[._0-9e])")


@dataclass(frozen=True, slots=True)
class Guess:
    """Inputs that may be the ones: example sizes of dynamic dimensions, and a sentence why."""

    specs: tuple[InputSpec, ...]
    why: str
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What every family of layers may ask."""

    layers: Sequence[Layer]
    hyperparameters: Mapping[str, Json]

    def number(self, names: Sequence[str]) -> int | None:
        """Give the first hyperparameter of these names that is a usable size."""
        return next((found for name in names if (found := as_size(self.hyperparameters.get(name))) is not None), None)

    def has(self, *types: str) -> bool:
        return any(layer.type in types for layer in self.layers)

    def time(self) -> dict[str, int]:
        """Give an example length of a sequence; what has a longest one has room for the second length too."""
        steps = self.number(_SEQUENCE)
        most = min((n for n in (self.number(_MAXIMUM), self._positions()) if n is not None), default=None)
        if steps is None:
            steps = _STEPS
        return {TIME: max(1, min(steps, most - 7)) if most is not None else steps}

    def _positions(self) -> int | None:
        tables = [layer.detail for layer in self.layers if is_position(layer)]
        found = (as_size(detail.get("num_embeddings", detail.get("out_features"))) for detail in tables)
        return min((size for size in found if size is not None and size > 2), default=None)  # of 2 are segments


def guess_inputs(layers: Sequence[Layer], hyperparameters: Mapping[str, Json]) -> Iterator[Guess]:
    """Give guesses, most likely first; the same one may come twice."""
    facts = _Facts(layers, hyperparameters)
    asked = _first_layers(facts)
    yield from _from_shape(facts, asked[0] if asked else None)
    for number, layer in enumerate(asked):
        for guess in _FAMILIES[layer.type](layer, facts):
            which = "the first layer" if number == 0 else "the layer"
            name = f" {layer.name[:80]}" if layer.name else ""
            yield Guess(guess.specs, f"{which}{name} ({layer.type}) {guess.why}", guess.sizes)
    yield from _from_hyperparameters(facts)


def as_size(value: object) -> int | None:
    """Take a value that is a usable size, nothing else; a file says what it likes."""
    return value if type(value) is int and 1 <= value <= _MOST else None


def is_position(layer: Layer) -> bool:
    """Tell whether a layer is a table of positions or segments, which no input names.

    A table whose name doesn't say "embedding" looks like a linear layer without bias.
    """
    is_table = layer.type == "embedding" or (layer.type == "linear" and layer.detail.get("bias") is False)
    return is_table and _POSITION.search(layer.name) is not None


def _first_layers(facts: _Facts) -> list[Layer]:
    """Give the layers to ask: in the file's order, but a layer that takes what `input_dim` says comes first.

    Files have layers in the order in which `__init__` made them, and a head is sometimes made first.
    """
    known = [layer for layer in facts.layers if layer.type in _FAMILIES and not is_position(layer)]
    told = facts.number(_FEATURES)
    if told is not None:
        known.sort(key=lambda layer: told not in (layer.detail.get("in_features"), layer.detail.get("input_size")))
    return known[:_MOST_ASKED]


def _guess(why: str, *shape: int | str, sizes: Mapping[str, int] | None = None, high: int | None = None) -> Guess:
    spec = InputSpec("input", shape, "float32" if high is None else "int64", high)
    return Guess((spec,), f"{why}: ({', '.join(map(str, shape))})", sizes or {})


def _linear(layer: Layer, facts: _Facts) -> Iterator[Guess]:
    size = as_size(layer.detail.get("in_features"))
    if size is None:
        return
    why = f"takes {_plural(size, 'feature')}"
    steps = facts.time()
    alone = _guess(why, BATCH, size)
    series = _guess(f"{why} of each step", BATCH, TIME, size, sizes=steps)
    recurrent = facts.has("attention", "lstm", "gru", "rnn")
    yield from (series, alone) if recurrent else (alone, series)
    for channels in (1, 3):
        side = isqrt(size // channels)
        if side > 3 and channels * side * side == size:
            yield _guess(f"{why}, which a picture of {channels} × {side} × {side} has", BATCH, channels, side, side)
    length = facts.number(_SEQUENCE)
    if length is not None and size % length == 0 and size > length:
        yield _guess(f"{why}, {size // length} for each of {length} steps", BATCH, length, size // length)
    rows = as_size(layer.detail.get("out_features"))
    if layer.detail.get("bias") is False and rows is not None:  # a table whose name doesn't say so
        yield _guess(f"may be a table of {rows} entries", BATCH, TIME, sizes=steps, high=rows)


def _recurrent(layer: Layer, facts: _Facts) -> Iterator[Guess]:
    size = as_size(layer.detail.get("input_size"))
    if size is None:
        return
    why = f"takes {_plural(size, 'feature')}"
    if layer.detail.get("cell") is True:
        yield _guess(why, BATCH, size)
    steps = facts.time()
    if facts.hyperparameters.get("batch_first") is False:
        yield _guess(why, TIME, BATCH, size, sizes=steps)
    yield _guess(why, BATCH, TIME, size, sizes=steps)
    if size == 1:
        yield _guess("takes one value of each step", BATCH, TIME, sizes=steps)
    length = facts.number(_SEQUENCE)
    if length is not None:  # what is flattened afterwards has one length
        yield _guess(f"{why}, and a sequence has {length} steps", BATCH, length, size)


def _conv1d(layer: Layer, facts: _Facts) -> Iterator[Guess]:
    channels, least = _channels(layer, facts), _kernel(layer, 1)[0]
    length = facts.number(_SEQUENCE)
    lengths = ([length] if length is not None else []) + [n for n in _lengths(facts, channels) if n >= least]
    why = f"takes {_plural(channels, 'channel')}"
    for size in lengths[:2]:
        yield _guess(why, BATCH, channels, LENGTH, sizes={LENGTH: max(size, least)})
    if facts.has("lstm", "gru", "rnn", "attention"):  # time comes first there, and the module turns it round
        yield _guess(f"{why} of each step", BATCH, TIME, channels, sizes={TIME: max(facts.time()[TIME], least)})
    for size in lengths:
        yield _guess(f"{why}; a length to try", BATCH, channels, size)
    if channels == 1:
        for size in lengths[:4]:
            yield _guess("takes one channel, which the module may add", BATCH, size)


def _lengths(facts: _Facts, channels: int) -> list[int]:
    """Give lengths to try: those first that, halved some times, leave as many positions as the linear layer flattens."""
    left = _positions_left(facts, "conv1d", channels)
    return _unique([left << halvings for halvings in range(7)] if left > 1 else [], _LENGTHS)


def _conv2d(layer: Layer, facts: _Facts) -> Iterator[Guess]:
    channels, kernel = _channels(layer, facts), _kernel(layer, 2)
    why = f"takes {_plural(channels, 'channel')}"
    height, width = _told_sides(facts)
    if height is not None and width is not None:
        yield _guess(why, BATCH, channels, height, width)
    if 1 in kernel and max(kernel) > 1:  # one-dimensional data in a picture's clothes
        long = 2 * max(kernel)
        yield _guess(why, BATCH, channels, *(1 if size == 1 else long for size in kernel))
        if channels == 1:
            yield _guess("takes one channel and one row, which the module may add", BATCH, long)
    left = _positions_left(facts, "conv2d", channels)
    root = isqrt(left) if left else 0
    likely = [root << halvings for halvings in range(1, 7)] if root > 1 and root * root == left else []
    usual = [side for side in likely if side in _SIDES]
    for side in _unique(usual, _SIDES, likely):
        if side >= max(kernel):
            yield _guess(f"{why}; a size to try", BATCH, channels, side, side)
    if channels == 1:
        yield _guess("takes one channel, which the module may add", BATCH, 28, 28)


def _conv3d(layer: Layer, facts: _Facts) -> Iterator[Guess]:
    channels, kernel = _channels(layer, facts), _kernel(layer, 3)
    height, width = _told_sides(facts)
    depth = facts.number(("depth", "num_frames", "n_frames", "frames"))
    if height is not None and width is not None:
        yield _guess(f"takes {_plural(channels, 'channel')}", BATCH, channels, depth or 16, height, width)
    for side in _VOLUMES:
        if side >= max(kernel):
            yield _guess(f"takes {_plural(channels, 'channel')}; a size to try", BATCH, channels, depth or side, side, side)


def _embedding(layer: Layer, facts: _Facts) -> Iterator[Guess]:
    words = as_size(layer.detail.get("num_embeddings")) or facts.number(_VOCABULARY)
    if words is None:
        return
    why = f"looks up one of {words} entries"
    yield _guess(why, BATCH, TIME, sizes=facts.time(), high=words)
    length = facts.number(_SEQUENCE)
    if length is not None:
        yield _guess(f"{why}, and a sequence has {length} of them", BATCH, length, high=words)
    yield _guess(why, BATCH, high=words)


def _attention(layer: Layer, facts: _Facts) -> Iterator[Guess]:
    size = as_size(layer.detail.get("embed_dim")) or facts.number(("d_model", "embed_dim", "hidden_size"))
    if size is None:
        return
    steps = facts.time()
    why = f"takes vectors of {size}"
    pair = _encoder_and_decoder(facts)
    if pair:
        specs = (InputSpec("src", (BATCH, TIME, size)), InputSpec("tgt", (BATCH, "target_time", size)))
        shapes = f"(batch, time, {size}) and (batch, target_time, {size})"
        yield Guess(specs, f"{why} beside a decoder's: {shapes}", {**steps, "target_time": steps[TIME]})
    if facts.hyperparameters.get("batch_first") is False:
        yield _guess(why, TIME, BATCH, size, sizes=steps)
    yield _guess(why, BATCH, TIME, size, sizes=steps)
    length = facts.number(_SEQUENCE)
    if length is not None:
        yield _guess(f"{why}, and a sequence has {length} of them", BATCH, length, size)
    same = (
        InputSpec("query", (BATCH, TIME, size)),
        InputSpec("key", (BATCH, TIME, size)),
        InputSpec("value", (BATCH, TIME, size)),
    )
    yield Guess(same, f"{why} as query, key and value: each (batch, time, {size})", steps)


def _layer_norm(layer: Layer, facts: _Facts) -> Iterator[Guess]:
    shape = layer.detail.get("normalized_shape")
    size = as_size(shape[-1]) if isinstance(shape, list) and shape else None
    if size is not None:
        yield _guess(f"takes {_plural(size, 'feature')}", BATCH, size)
        yield _guess(f"takes {_plural(size, 'feature')} of each step", BATCH, TIME, size, sizes=facts.time())


def _batch_norm(layer: Layer, facts: _Facts) -> Iterator[Guess]:
    size = as_size(layer.detail.get("num_features"))
    if size is None or (size <= 4 and facts.has("conv2d", "conv3d")):  # the convolution says it better
        return
    yield _guess(f"takes {_plural(size, 'feature')}", BATCH, size)
    if facts.has("conv1d"):
        yield _guess(f"takes {_plural(size, 'channel')}", BATCH, size, LENGTH, sizes={LENGTH: 64})


_FAMILIES: dict[str, Callable[[Layer, _Facts], Iterator[Guess]]] = {
    "linear": _linear,
    "lstm": _recurrent,
    "gru": _recurrent,
    "rnn": _recurrent,
    "conv1d": _conv1d,
    "conv2d": _conv2d,
    "conv3d": _conv3d,
    "embedding": _embedding,
    "attention": _attention,
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
}


def _from_shape(facts: _Facts, first: Layer | None) -> Iterator[Guess]:
    """Take a hyperparameter that is a shape at its word; it may or may not begin with the batch."""
    for name in _SHAPE:
        shape = facts.hyperparameters.get(name)
        if not isinstance(shape, list) or not 1 <= len(shape) <= 6:
            continue
        sizes = [size for item in shape if (size := as_size(item)) is not None]
        with_batch = len(sizes) != len(shape)
        if with_batch and len(sizes) + 1 != len(shape):
            continue  # more than the batch is open
        if first is not None and first.type == "conv2d" and len(sizes) == 3 and sizes[2] == _channels(first, facts):
            yield _guess(f"{name} says so, channels last", BATCH, sizes[2], sizes[0], sizes[1])
        yield _guess(f"{name} says so", BATCH, *sizes)


def _from_hyperparameters(facts: _Facts) -> Iterator[Guess]:
    """Guess without a layer: what hyperparameters alone say."""
    words, features, channels = facts.number(_VOCABULARY), facts.number(_FEATURES), facts.number(_CHANNELS)
    height, width = _told_sides(facts)
    if channels is not None and height is not None and width is not None:
        yield _guess("the hyperparameters say so", BATCH, channels, height, width)
    if words is not None:
        yield _guess(f"a vocabulary has {words} entries", BATCH, TIME, sizes=facts.time(), high=words)
    if features is not None:
        yield _guess("the hyperparameters say so", BATCH, features)
        yield _guess("the hyperparameters say so", BATCH, TIME, features, sizes=facts.time())


def _told_sides(facts: _Facts) -> tuple[int | None, int | None]:
    for name in _SIDE:
        value = facts.hyperparameters.get(name)
        if isinstance(value, list) and len(value) == 2:
            return as_size(value[0]), as_size(value[1])
    side = facts.number(_SIDE)
    return (
        facts.number(("height", "image_height", "img_height", "input_height")) or side,
        facts.number(("width", "image_width", "img_width", "input_width")) or side,
    )


def _channels(layer: Layer, facts: _Facts) -> int:
    return as_size(layer.detail.get("in_channels")) or facts.number(_CHANNELS) or 1


def _kernel(layer: Layer, rank: int) -> tuple[int, ...]:
    given = layer.detail.get("kernel_size")
    sizes = [as_size(item) or 1 for item in given] if isinstance(given, list) else []
    return tuple((sizes + [1] * rank)[:rank])


def _positions_left(facts: _Facts, kind: str, channels: int) -> int:
    """Say how many positions a convolution leaves for the linear layer behind it; 0 where they don't fit together."""
    last = channels
    for layer in facts.layers:
        if layer.type == kind:
            last = as_size(layer.detail.get("out_channels")) or last
        elif layer.type == "linear":
            size = as_size(layer.detail.get("in_features")) or 0
            return size // last if size % last == 0 else 0
    return 0


def _encoder_and_decoder(facts: _Facts) -> bool:
    names = [layer.name for layer in facts.layers if layer.type == "attention"]
    return any("encoder." in name for name in names) and any("decoder." in name for name in names)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _unique(*parts: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(size for part in parts for size in part))
