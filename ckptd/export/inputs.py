"""Example inputs: derived from the first layers where nobody named them, and made from a seed, alike in every process.

`derive_inputs` gives candidates, most likely first; the first one whose cases all pass a forward is the one.  numpy is imported
where arrays are made and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ckptd.export.guessing import BATCH, Guess, guess_inputs
from ckptd.model import Json, Layer
from ckptd.proof import InputSpec

if TYPE_CHECKING:
    import numpy

#: Candidates that are worth a forward each.
MAX_CANDIDATES = 24
#: Elements of one example: 256 MiB of float32.
MAX_ELEMENTS = 1 << 26

#: Sizes of a batch: 1 is what people serve, and 3 is no size that anything else has.
BATCHES = (1, 3)
#: Size of a dynamic dimension of which nothing is known, and by how much the second one is longer.
_LENGTH, _LONGER = 16, 7
#: Sides of pictures: networks halve them several times.
_SIDES = frozenset({"height", "width", "depth", "h", "w", "d"})
_SIDE = 64


@dataclass(frozen=True, slots=True)
class Derived:
    """Inputs that may be the ones.

    Attributes:
        sizes: example size of each dynamic dimension but the batch, by name.
        why: one sentence for the record.
    """

    specs: tuple[InputSpec, ...]
    why: str
    sizes: Mapping[str, int] = field(default_factory=dict)


class Case(NamedTuple):
    """One set of inputs that original and export are both run on.

    Attributes:
        kind: what floating values are; integers of "normal" are drawn evenly from 0 to `high` - 1.
        lengths: dynamic dimension → size; the batch is not among them.
    """

    name: str
    seed: int
    kind: Literal["normal", "zeros", "ones"]
    batch: int
    lengths: Mapping[str, int]


def derive_inputs(layers: Sequence[Layer], hyperparameters: Mapping[str, Json]) -> tuple[Derived, ...]:
    """Say which inputs a module may take, most likely first; nothing where its first layers say nothing.

    Args:
        layers: in the file's order.
        hyperparameters: `seq_len`, `input_dim`, `image_size`, `vocab_size` and their like are looked for.
    """
    found: dict[tuple[object, ...], Derived] = {}
    for guess in guess_inputs(layers, hyperparameters):
        if _elements(guess) <= MAX_ELEMENTS:
            found.setdefault(_key(guess), Derived(guess.specs, guess.why, guess.sizes))
        if len(found) >= MAX_CANDIDATES:
            break
    return tuple(found.values())


def make_cases(specs: Sequence[InputSpec], sizes: Mapping[str, int] | None = None) -> tuple[Case, ...]:
    """Choose the cases: normal, zeros and ones; a batch of 1 and 3, and two lengths where a dimension is dynamic.

    The last three have the same sizes.

    The last one is the largest, and nothing in it has the size 1, which exporters take for a constant.

    Args:
        specs: inputs, in order.
        sizes: example size of dynamic dimensions; the shorter of the two lengths.
    """
    names = tuple(dict.fromkeys(size for spec in specs for size in spec.shape if isinstance(size, str) and size != BATCH))
    short = {name: (sizes or {}).get(name, _SIDE if name in _SIDES else _LENGTH) for name in names}
    long = {name: size + (size // 2 if name in _SIDES else _LONGER) for name, size in short.items()}
    one, several = BATCHES
    plan: list[tuple[Literal["normal", "zeros", "ones"], int, Mapping[str, int]]] = [
        ("normal", one, short),
        ("zeros", one, short),
        ("ones", several, short),
        ("normal", one, long),
        # For an export that takes no sizes but those of the last case, so that it is seen on more than one input.
        ("zeros", several, long),
        ("ones", several, long),
        ("normal", several, long),
    ]
    if not names:  # no second length: these would say what the first ones do
        del plan[3], plan[4]
    return tuple([Case(f"{kind}{number}", number, kind, batch, lengths) for number, (kind, batch, lengths) in enumerate(plan)])


def example_case(cases: Sequence[Case]) -> Case:
    """Give the case that an exporter traces with."""
    return cases[-1]


def fix_sizes(specs: Sequence[InputSpec], case: Case) -> tuple[InputSpec, ...]:
    """Give inputs without dynamic dimensions: those of one case."""
    return tuple([InputSpec(spec.name, _shape(spec, case), spec.dtype, spec.high) for spec in specs])


def make_inputs(specs: Sequence[InputSpec], case: Case) -> list[numpy.ndarray[Any, Any]]:
    """Make the arrays of a case, in the order of the inputs.

    They depend on the specs and the case alone: every process makes the same ones.

    Raises:
        ValueError: an array would have more than `MAX_ELEMENTS` elements.
    """
    return [_make(spec, case, number) for number, spec in enumerate(specs)]


def _make(spec: InputSpec, case: Case, number: int) -> numpy.ndarray[Any, Any]:
    import numpy as np

    shape = _shape(spec, case)
    if prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"an example of {spec.name} would have more than {MAX_ELEMENTS:,} elements")
    dtype = np.dtype(spec.dtype)
    if case.kind != "normal":
        value = int(case.kind == "ones")
        return np.full(shape, value if spec.high is None else min(value, spec.high - 1), dtype)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((case.seed, number))))
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    most = 2 if dtype.kind == "b" else int(np.iinfo(dtype).max)
    # Drawn as int64 whatever the type: the same numbers for an int32 and an int64 vocabulary.
    return random.integers(0, min(spec.high or 2, most), shape, np.int64).astype(dtype)


def _shape(spec: InputSpec, case: Case) -> tuple[int, ...]:
    return tuple([_size(size, case) for size in spec.shape])


def _size(size: int | str, case: Case) -> int:
    if isinstance(size, int):
        return size
    return case.batch if size == BATCH else case.lengths.get(size, _LENGTH)


def _elements(guess: Guess) -> int:
    return max(prod(_sizes(spec, guess.sizes)) for spec in guess.specs) * max(BATCHES)


def _sizes(spec: InputSpec, sizes: Mapping[str, int]) -> Iterator[int]:
    for size in spec.shape:
        if isinstance(size, int):
            yield size
        elif size != BATCH:
            yield 2 * sizes.get(size, _LENGTH)


def _key(guess: Guess) -> tuple[object, ...]:
    return (guess.specs, tuple(sorted(guess.sizes.items())))
