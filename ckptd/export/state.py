"""Give a module the weights of a checkpoint, read by ckptd's own reader, and name every difference between the two.

A file holds more than weights: the mapping that fits the module is looked for and only that is rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckptd.checkpoint.identify import Identified, identify
from ckptd.checkpoint.jsonable import mapping_of
from ckptd.checkpoint.reader import Structure
from ckptd.checkpoint.values import TensorValue, Value
from ckptd.errors import CkptdError
from ckptd.export.making import reason
from ckptd.export.refusal import TargetError
from ckptd.text import escape

#: Differences in one message.
_MOST_DIFFERENCES = 10
#: Mappings of a file that are looked at, and how deep: weights lie near the top.
_MOST_MAPPINGS = 64
_DEPTH = 4
#: What wrappers put in front of every name.  Source: `ckptd.checkpoint.identify`, `_WRAPPERS`.
_PREFIXES = ("module.", "_orig_mod.", "_forward_module.")


@dataclass(frozen=True, slots=True)
class Difference:
    """One name on which a module and a file don't agree.

    Attributes:
        name: of the parameter or buffer.
        kind: "missing" (the file lacks it), "unexpected" (the module lacks it), "shape" or "dtype".
        module, file: what each of them has, "" where it has nothing.
    """

    name: str
    kind: str
    module: str = ""
    file: str = ""

    def __str__(self) -> str:
        name = escape(self.name, 120)
        match self.kind:
            case "missing":
                return f"{name} {self.module} is missing in the file"
            case "unexpected":
                return f"{name} {self.file} is not in the module"
            case _:
                return f"{name} is {self.module} in the module and {self.file} in the file"


def load_state(module: Any, structure: Structure, fd: int) -> str | None:
    """Load the weights of the file into the module; give the key that they stood under, None at the top.

    Raises:
        TargetError: names or shapes differ, or the file's values can't be rebuilt; the text names the first ones.
    """
    from ckptd.loading.rebuild import rebuild
    from ckptd.loading.storages import Storages

    key, wanted, differences = _best(module, structure)
    if differences:
        raise TargetError(describe(differences))
    storages = Storages(fd, structure, "cpu")
    try:
        state = rebuild(dict(wanted), storages)
        metadata = getattr(_mapping_at(structure.root, key), "state", None)
        if isinstance(metadata, dict) and "_metadata" in metadata:
            state = _with_metadata(state, rebuild(metadata["_metadata"], storages))
        module.load_state_dict(state, strict=True)
    except CkptdError as error:
        raise TargetError(f"the weights can't be read: {error}") from error
    except Exception as error:
        raise TargetError(f"the module refuses the weights: {reason(error)}") from error
    return key or None


def load_file(module: Any, fd: int) -> None:
    """Load a weights export of ours, whatever it did to the numbers, into a module.

    Raises:
        TargetError: it does not fit.
    """
    from ckptd.loading.safetensors import load_safetensors

    expected = _expected(module)
    try:
        # What a module keeps beside tensors is in no weights format: it stays what it was.
        others = {name: value for name, value in expected.items() if not hasattr(value, "shape")}
        module.load_state_dict({**others, **load_safetensors(fd, "cpu")}, strict=True)
    except CkptdError as error:
        raise TargetError(f"the export can't be read: {error}") from error
    except Exception as error:
        raise TargetError(f"the module refuses the weights of the export: {reason(error)}") from error


def compare_state(module: Any, structure: Structure) -> list[Difference]:
    """Name each difference between the module's parameters and buffers and what the file holds."""
    return _best(module, structure)[2]


def describe(differences: Sequence[Difference]) -> str:
    """Say in one bounded sentence where a module and a file differ."""
    shown = "; ".join(str(difference) for difference in differences[:_MOST_DIFFERENCES])
    more = f"; and {len(differences) - _MOST_DIFFERENCES} more" if len(differences) > _MOST_DIFFERENCES else ""
    cure = "correct the class or the hyperparameters (`ckptd recipe check` names every difference)"
    return f"the module and the file do not fit; {cure}: {shown}{more}"


def _with_metadata(state: dict[str, Any], metadata: Any) -> dict[str, Any]:
    """Attach the versions of modules, by which torch loads old state dicts (a BatchNorm without its counter)."""
    from collections import OrderedDict

    made: Any = OrderedDict(state)
    made._metadata = metadata  # noqa: SLF001 — torch's own name for it
    return made  # type: ignore[no-any-return]  # Any, for the attribute


def _best(module: Any, structure: Structure) -> tuple[str, dict[str, Value], list[Difference]]:
    """Choose the mapping of the file that differs least from the module; the file's own weights win a tie."""
    expected = _expected(module)
    best: tuple[str, dict[str, Value], list[Difference]] | None = None
    for key, candidate in _candidates(structure):
        kept = {name: value for name, value in candidate.items() if type(value) is TensorValue or name in expected}
        differences = list(_differences(expected, kept))
        if best is None or len(differences) < len(best[2]):
            best = key, kept, differences
        if not differences:
            break
    if best is None:
        raise TargetError("the file holds no weights")
    return best


def _candidates(structure: Structure) -> Iterator[tuple[str, dict[str, Value]]]:
    """Give what may be the weights of a module, the likeliest first: whole mappings, then the named tensors alone."""
    identified = identify(structure.root, structure.tensors, structure.container)
    for key, mapping in _mappings(structure.root, identified):
        yield key, _strip({name: value for name, value in mapping.items() if type(name) is str})
    if identified.named:
        yield "", dict(identified.named)


def _mappings(root: Value, identified: Identified) -> list[tuple[str, Mapping[Value, Value]]]:
    """Find the mappings that hold weights directly, those with the most of them first."""
    wanted = {id(tensor) for _, tensor in identified.named}
    found: list[tuple[int, str, Mapping[Value, Value]]] = []
    level: list[tuple[str, Value]] = [("", root)]
    seen: set[int] = set()
    for _ in range(_DEPTH):
        inner: list[tuple[str, Value]] = []
        for key, value in level:
            mapping = mapping_of(value)
            if mapping is None or id(value) in seen or len(seen) >= _MOST_MAPPINGS:
                continue
            seen.add(id(value))
            held = sum(1 for part in mapping.values() if id(part) in wanted)
            if held:
                found.append((held, key, mapping))
            inner += [(f"{key}.{name}" if key else str(name), part) for name, part in mapping.items() if _is_mapping(part)]
        level = inner
    return [(key, mapping) for _, key, mapping in sorted(found, key=lambda item: -item[0])]


def _is_mapping(value: Value) -> bool:
    return type(value) is not TensorValue and mapping_of(value) is not None


def _mapping_at(root: Value, key: str) -> Value:
    """Give the mapping that `_mappings` called so; a key may hold dots itself."""
    value, rest = root, key
    while rest:
        mapping = mapping_of(value) or {}
        name = next((n for n in mapping if type(n) is str and (rest == n or rest.startswith(f"{n}."))), None)
        if name is None:
            return None
        value, rest = mapping[name], rest[len(name) + 1 :]
    return value


def _strip(named: dict[str, Value]) -> dict[str, Value]:
    """Take the prefixes of wrappers off, where every tensor's name has them."""
    for _ in range(4):
        tensors = [name for name, value in named.items() if type(value) is TensorValue]
        prefix = next((p for p in _PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        named = {name.removeprefix(prefix): value for name, value in named.items()}
    return named


def _expected(module: Any) -> dict[str, Any]:
    try:
        return dict(module.state_dict())
    except Exception as error:
        raise TargetError(f"the module gives no state_dict: {reason(error)}") from error


def _differences(expected: Mapping[str, Any], found: Mapping[str, Value]) -> Iterator[Difference]:
    for name, ours in expected.items():
        if name not in found:
            yield Difference(name, "missing", module=_words_of(ours))
        elif type(found[name]) is TensorValue and hasattr(ours, "shape"):
            yield from _compare(name, ours, found[name])
    for name, value in found.items():
        if name not in expected:
            yield Difference(name, "unexpected", file=_shape_words(value.shape))


def _compare(name: str, ours: Any, theirs: TensorValue) -> Iterator[Difference]:
    from torch.nn.parameter import is_lazy

    if is_lazy(ours):
        return
    if tuple(ours.shape) != tuple(theirs.shape):
        yield Difference(name, "shape", _shape_words(ours.shape), _shape_words(theirs.shape))
    elif (ours.is_floating_point() or ours.is_complex()) != _is_floating(theirs.dtype):
        # load_state_dict would cast int8 codes to floats without a word.
        yield Difference(name, "dtype", str(ours.dtype).removeprefix("torch."), theirs.dtype)


def _is_floating(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat", "complex"))


def _words_of(value: Any) -> str:
    return _shape_words(value.shape) if hasattr(value, "shape") else f"({type(value).__name__})"


def _shape_words(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"
