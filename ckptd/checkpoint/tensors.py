"""Turn what a pickle says about storages and tensors into values, and check every number in it.

`Builder` is the host of the machine in `opcodes`: it knows the inert names, keeps the storages by key, and notes what is
wrong as problems, so that a file is read to its end and everything dangerous in it is seen.

Source for each rebuild function's arguments: torch/_utils.py and torch/_tensor.py of torch 2.13.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Any

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.findings import Problem
from ckptd.checkpoint.globals import (
    ITEM_BYTES,
    LAYOUTS,
    PACKED,
    Meaning,
    classify,
    is_dangerous_attribute,
    is_name,
    normal_module,
    storage_dtype,
)
from ckptd.checkpoint.harvest import dangerous_names
from ckptd.checkpoint.opcodes import PickleError
from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue, StorageValue, TensorValue, Value
from ckptd.text import escape

#: More problems than this are not kept: the first ones say enough, and an answer is bounded.
_MOST_PROBLEMS = 100

#: Scalars, whose hash is cheap and, as far as they can be chosen, does not collide.
_SCALARS = frozenset({str, float, bool, type(None), bytes})

#: Sizes, strides and offsets are signed 64-bit numbers in torch; numel × itemsize has to fit, too.
_TOO_LARGE = 1 << 62

Maker = Callable[["Builder", tuple[Value, ...]], Value]


class _BadTensorError(Exception):
    """What a rebuild function was given is nothing that torch.save writes."""


class Builder:
    """The host of one file.

    Attributes:
        calls: see `opcodes.Host`.
        globals: every name the file mentions, by (module, name) as it is written there.
        storages: every storage a pickle referred to, by key.
        problems: what was wrong on the way.
        root: the value of the pickle, once it was read; None before.
    """

    def __init__(self, budgets: Budgets = BUDGETS) -> None:
        self.budgets = budgets
        self.calls: dict[Global, Callable[[tuple[Value, ...]], Value]] = {}
        self.globals: dict[tuple[str, str], Global] = {}
        self.storages: dict[str, StorageValue] = {}
        self.problems: list[Problem] = []
        self.meanings: dict[Global, Meaning] = {}
        self._held: list[tuple[dict[Any, Any], int]] = []
        self._copied = 0
        self._tuple_keys = 0
        self._probes = 0

    def find_global(self, module: str, name: str) -> Global:
        """Give the one `Global` of this name, and learn what it means."""
        known = self.globals.get((module, name))
        if known is not None:
            return known
        if len(self.globals) >= self.budgets.globals:
            raise PickleError("pickle-bomb", f"it names more than {self.budgets.globals:,} globals")
        found = self.globals[module, name] = Global(normal_module(module), name)
        meaning = self.meanings[found] = classify(module, name)
        if meaning is Meaning.INERT:
            make = _MAKERS.get((found.module, name))
            if make is not None:
                self.calls[found] = make.__get__(self)
        elif not (is_name(module) and is_name(name)):
            self.problem("odd-global-name", f"a global is called {escape(module, 60)} {escape(name, 60)}")
        return found

    def problem(self, code: str, message: str, subject: object = None) -> None:
        """Note a problem, unless there are plenty."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(code, message, subject))

    def is_key(self, key: Value) -> bool:
        """Take small ints, names and opaque values (both hashed by identity) and a few short flat tuples as keys."""
        kind = type(key)
        if kind is int:
            return bool(key.bit_length() < 64)
        if kind is Global or kind is Opaque:
            return True
        if kind is tuple and len(key) <= self.budgets.tuple_key_items:
            self._tuple_keys += 1
            scalars = all(type(part) in _SCALARS or (type(part) is int and part.bit_length() < 64) for part in key)
            return scalars and self._tuple_keys <= self.budgets.tuple_keys
        return False

    def hashes(self, keys: Collection[Value], size: int) -> bool:
        """Count what the numbers among the keys can cost at worst, in a dict or set that then has `size` items.

        Numbers from 0 to the size lie in slots of their own; larger ones can be chosen so that each is compared with all.
        """
        most = size * 3 // 2  # slots that CPython has at least
        far = sum(1 for key in keys if (type(key) is int and not 0 <= key < most) or type(key) is float)
        self._probes += far * size
        return self._probes <= self.budgets.number_probes

    def call(self, callee: Value, args: Value) -> Value:
        """Describe a call of something unknown as an `Opaque`, and look at what it is asked to do."""
        if type(callee) is not Global and type(callee) is not Opaque:
            raise PickleError("forbidden-opcode", "REDUCE calls something that is no name")
        if type(args) is tuple:
            self._look_at_arguments(callee, args)
        return Opaque(callee, args)

    def _look_at_arguments(self, callee: Value, args: tuple[Value, ...]) -> None:
        if type(callee) is not Global:
            return
        if args and callee.dotted == "collections.Counter":
            self.hold(args[0])
        if callee.name in _REACHING and len(args) >= 2 and type(args[1]) is str and is_dangerous_attribute(args[1]):
            self.problem("dangerous-attribute", f"{escape(callee.dotted, 60)} reaches for {escape(args[1], 60)}")
        if callee.name == "_load_from_bytes" and args and type(args[0]) is bytes:
            for name in dangerous_names(args[0]):
                self.problem("dangerous-global", f"a pickle inside the pickle names {escape(name, 80)}")

    def persistent(self, key: Value) -> Value:
        """Give the storage of ("storage", class, key, location, elements), as zips have it."""
        if type(key) is not tuple or len(key) != 5 or key[0] != "storage":
            raise PickleError("malformed-pickle", "a persistent id is none that torch.save writes")
        return self.storage(key[1], key[2], key[3], key[4])

    def storage(self, cls: Value, key: Value, location: Value, numel: Value) -> StorageValue:
        """Give the storage of a key, the same one each time.

        Raises:
            PickleError: the parts of the id have other types than torch.save gives them.
        """
        dtype = storage_dtype(cls.module, cls.name) if type(cls) is Global else None
        if dtype is None or type(key) is not str or type(location) is not str or type(numel) is not int or numel < 0:
            raise PickleError("malformed-pickle", "a storage is described as torch.save never does")
        held = self.storages.get(key)
        if held is None:
            if len(key) > 64 or numel >> 62:
                raise PickleError("malformed-pickle", "a storage has a key or a size that none can have")
            held = self.storages[key] = StorageValue(key, dtype, numel, location)
        elif held.dtype != dtype or held.numel != numel or held.location != location:
            self.problem("storage-conflict", f"storage {escape(key, 40)} is described in two ways", held)
        return held

    def hold(self, state: Value) -> None:
        """Remember how much a dict holds that is copied now: pickle code may put more into it later, which is not copied."""
        if isinstance(state, dict):
            self._held.append((state, len(state)))
        elif type(state) is tuple and len(state) == 2:
            self._held += [(part, len(part)) for part in state if isinstance(part, dict)]

    @property
    def is_changed(self) -> bool:
        """Say whether something grew after it was copied: then the object is not what its description reads like."""
        return any(len(state) != size for state, size in self._held)

    def copy(self, items: int) -> None:
        """Count what a call copies out of its arguments: the same list, given a million times, must not cost a million."""
        self._copied += items
        if self._copied > self.budgets.copied_items:
            raise PickleError("pickle-bomb", "it copies the same items again and again")

    def torch(self, name: str) -> Global:
        """Give the `Global` of a layout of torch by its bare name."""
        return self.find_global("torch", name)


#: Functions that look up an attribute by a name among their arguments.
_REACHING = frozenset(("getattr", "_getattribute", "getattr_static", "_getattr", "attrgetter", "methodcaller"))


def _tensor_maker(make: Maker) -> Maker:
    """Turn what a maker refuses into a problem and an opaque value, so that the pickle is read on."""

    def guarded(builder: Builder, args: tuple[Value, ...]) -> Value:
        try:
            return make(builder, args)
        except (_BadTensorError, ValueError) as error:
            if args and type(args[0]) is Opaque:  # the result of a call that was not made: what it would be, nobody knows
                return Opaque(builder.torch("float32"), args)
            value = Opaque(builder.torch("float32"), args)
            reason = str(error) if type(error) is _BadTensorError else "its arguments are not those that torch.save writes"
            builder.problem("tensor-malformed", f"a tensor is malformed: {reason}", value)
            return value

    return guarded


def _view(
    builder: Builder, storage: Value, offset: Value, shape: Value, stride: Value, dtype: str | None = None
) -> TensorValue:
    """Make a tensor that looks into a storage; what reaches out of it is a problem, and still a tensor with a name."""
    if type(storage) is not StorageValue:
        raise _BadTensorError("it has no storage")
    shape, stride = _size(shape), _size(stride)
    rank = len(shape)
    if type(offset) is not int or not 0 <= offset < _TOO_LARGE or len(stride) != rank or rank > builder.budgets.rank:
        raise _BadTensorError("its offset, size and stride do not fit together")
    builder.copy(rank)
    tensor = TensorValue(storage, dtype or storage.dtype, shape, stride, offset)
    numel, last = 1, offset
    for length, step in zip(shape, stride, strict=True):
        if type(length) is not int or type(step) is not int or not 0 <= length < _TOO_LARGE or not 0 <= step < _TOO_LARGE:
            raise _BadTensorError("its size and stride are not plain numbers from 0 up")
        numel *= length
        last += (length - 1) * step
    if numel == 0:
        last = offset - 1
    _check_bounds(builder, tensor, numel, last)
    return tensor


def _size(value: Value) -> tuple[Any, ...]:
    if type(value) is Opaque and value.dotted == "torch.Size" and type(value.args) is tuple and len(value.args) == 1:
        value = value.args[0]
    if type(value) is not tuple:
        raise _BadTensorError("its size is no tuple")
    return value


def _check_bounds(builder: Builder, tensor: TensorValue, numel: int, last: int) -> None:
    storage = tensor.storage
    assert storage is not None
    if tensor.dtype == storage.dtype:
        held = storage.numel * PACKED.get(storage.dtype, 1)
    else:
        held = storage.numel * ITEM_BYTES[storage.dtype] // ITEM_BYTES[tensor.dtype]
    if last >= held:
        shown = "×".join(map(str, tensor.shape[:8])) or "scalar"
        builder.problem(
            "tensor-out-of-bounds",
            f"a tensor ({shown}) reaches element {last:,} of storage {escape(storage.key, 40)}, which has {held:,}",
            tensor,
        )
    elif numel > held and numel > builder.budgets.expanded_elements:
        builder.problem("tensor-expanded", f"a view shows {numel:,} elements of a storage that has {held:,}", tensor)


def _flags(dtype: str, requires_grad: Value, hooks: Value) -> bool:
    if type(requires_grad) is not bool:
        raise _BadTensorError("requires_grad is no bool")
    if requires_grad and not dtype.startswith(_WITH_GRADIENT):
        raise _BadTensorError(f"a tensor of {dtype} has no gradient to require")
    if hooks is not None and type(hooks) is not OrderedDictValue and type(hooks) is not dict:
        raise _BadTensorError("its hooks are no OrderedDict")
    if hooks:
        raise _BadTensorError("it comes with hooks, which torch.save leaves out")
    return requires_grad


#: Types of floating and complex elements.
_WITH_GRADIENT = ("float", "bfloat", "complex")


def _dtype(value: Value) -> str:
    if type(value) is not Global or value.module != "torch" or value.name not in ITEM_BYTES:
        raise _BadTensorError("its dtype is none that torch has")
    return value.name


def _bits(tensor: TensorValue, metadata: Value) -> None:
    if metadata is None:
        return
    if type(metadata) is not dict or not all(k in {"conj", "neg"} and type(v) is bool for k, v in metadata.items()):
        raise _BadTensorError("its metadata hold more than the conj and neg bits")
    tensor.conjugate = metadata.get("conj", False)
    if tensor.conjugate and not tensor.dtype.startswith("complex"):
        raise _BadTensorError("it is conjugated and has no complex numbers")
    tensor.negative = metadata.get("neg", False)


def _tensor_v1(builder: Builder, args: tuple[Value, ...]) -> Value:
    storage, offset, shape, stride = args
    return _view(builder, storage, offset, shape, stride)


def _tensor_v2(builder: Builder, args: tuple[Value, ...]) -> Value:
    storage, offset, shape, stride, requires_grad, hooks, *rest = args
    tensor = _view(builder, storage, offset, shape, stride)
    tensor.requires_grad = _flags(tensor.dtype, requires_grad, hooks)
    if rest:
        (metadata,) = rest
        _bits(tensor, metadata)
    return tensor


def _tensor_v3(builder: Builder, args: tuple[Value, ...]) -> Value:
    storage, offset, shape, stride, requires_grad, hooks, dtype, *rest = args
    tensor = _view(builder, storage, offset, shape, stride, _dtype(dtype))
    tensor.requires_grad = _flags(tensor.dtype, requires_grad, hooks)
    if rest:
        (metadata,) = rest
        _bits(tensor, metadata)
    return tensor


def _quantized(builder: Builder, args: tuple[Value, ...]) -> Value:
    storage, offset, shape, stride, quantizer, requires_grad, hooks = args
    tensor = _view(builder, storage, offset, shape, stride)
    if not tensor.dtype.startswith(("qint", "quint")):
        raise _BadTensorError("its elements are not quantized")
    tensor.requires_grad = _flags(tensor.dtype, requires_grad, hooks)
    if type(quantizer) is not tuple or not quantizer or type(quantizer[0]) is not Global:
        raise _BadTensorError("its quantizer is not described")
    scheme, numbers = quantizer[0].name, quantizer[1:]
    if scheme == "per_tensor_affine":
        if len(numbers) != 2 or type(numbers[0]) is not float or type(numbers[1]) is not int or numbers[1].bit_length() > 63:
            raise _BadTensorError("its scale and zero point are no numbers")
    elif scheme in {"per_channel_affine", "per_channel_affine_float_qparams"}:
        _check_channels(tensor, numbers)
    else:
        raise _BadTensorError("its quantizer is none that torch.save writes")
    tensor.layout, tensor.extra = "quantized", quantizer
    return tensor


def _check_channels(tensor: TensorValue, numbers: tuple[Value, ...]) -> None:
    if len(numbers) != 3 or type(numbers[0]) is not TensorValue or type(numbers[1]) is not TensorValue:
        raise _BadTensorError("its scales and zero points are no tensors")
    axis = numbers[2]
    if type(axis) is not int or not 0 <= axis < len(tensor.shape):
        raise _BadTensorError("its quantizer names an axis it does not have")
    if not numbers[0].shape == numbers[1].shape == (tensor.shape[axis],):
        raise _BadTensorError("it has not one scale and zero point for each channel")


def _sparse(builder: Builder, args: tuple[Value, ...]) -> Value:
    layout, data = args
    if type(layout) is not Global or type(data) is not tuple or not 3 <= len(data) <= 4:
        raise _BadTensorError("its sparse parts are not described")
    if layout.name == "sparse_coo":
        indices, values, shape, *rest = data
        extra: tuple[Value, ...] = (indices, values, rest[0] if rest else None)
        parts = extra[:2]
        if extra[2] is not None and type(extra[2]) is not bool:
            raise _BadTensorError("it is neither coalesced nor not")
    elif layout.name in LAYOUTS and layout.name.startswith("sparse_") and len(data) == 4:
        extra, shape = data[:3], data[3]
        parts = extra
    else:
        raise _BadTensorError("its layout is none that torch.save writes")
    if any(type(part) is not TensorValue or part.layout != "dense" for part in parts):
        raise _BadTensorError("its indices or values are no tensors")
    sizes = _size(shape)
    if len(sizes) > builder.budgets.rank or any(type(n) is not int or not 0 <= n < _TOO_LARGE for n in sizes):
        raise _BadTensorError("its size is not plain numbers from 0 up")
    indices, values = parts[0], parts[-1]
    if any(part.dtype not in {"int64", "int32"} or part.dtype != indices.dtype for part in parts[:-1]):
        raise _BadTensorError("its indices are no integers")
    if layout.name == "sparse_coo" and not _fits_coo(indices, values, sizes):
        raise _BadTensorError("its indices, values and size do not fit together")
    return TensorValue(None, parts[-1].dtype, sizes, (), layout=layout.name, extra=extra)


def _fits_coo(indices: TensorValue, values: TensorValue, sizes: tuple[int, ...]) -> bool:
    """Compare indices (sparse_dims, stored) and values (stored, …) with the size of the whole."""
    if indices.dtype != "int64" or len(indices.shape) != 2 or not values.shape:
        return False
    sparse = indices.shape[0]
    return indices.shape[1] == values.shape[0] and sparse <= len(sizes) and values.shape[1:] == sizes[sparse:]


def _meta(builder: Builder, args: tuple[Value, ...]) -> Value:
    dtype, shape, stride, requires_grad = args
    shape, stride = _size(shape), _size(stride)
    if len(shape) != len(stride) or len(shape) > builder.budgets.rank:
        raise _BadTensorError("its size and stride do not fit together")
    if any(type(n) is not int or not 0 <= n < _TOO_LARGE for n in (*shape, *stride)):
        raise _BadTensorError("its size and stride are not plain numbers from 0 up")
    kind = _dtype(dtype)
    return TensorValue(None, kind, shape, stride, layout="meta", requires_grad=_flags(kind, requires_grad, None))


def _wrapper(builder: Builder, args: tuple[Value, ...]) -> Value:
    cls, dtype, shape, stride, offset, _layout, _device, requires_grad = args
    tensor = _meta(builder, (dtype, shape, stride, requires_grad))
    if type(cls) is not Global or type(offset) is not int:
        raise _BadTensorError("its class is no name")
    tensor.layout, tensor.extra = "subclass", (cls, None)
    return tensor


def _parameter(builder: Builder, args: tuple[Value, ...]) -> Value:
    data, requires_grad, hooks = args
    if type(data) is not TensorValue:
        if type(data) is Opaque:
            return Opaque(builder.find_global("torch.nn.parameter", "Parameter"), args)
        raise _BadTensorError("a parameter is made of something that is no tensor")
    made = _twin(data)
    made.parameter = True
    made.requires_grad = _flags(made.dtype, requires_grad, hooks)
    return made


def _parameter_with_state(builder: Builder, args: tuple[Value, ...]) -> Value:
    data, requires_grad, hooks, state = args
    made = _parameter(builder, (data, requires_grad, hooks))
    made.attributes = _state(builder, state)
    return made


def _typed(builder: Builder, args: tuple[Value, ...]) -> Value:
    rebuild, cls, parts, state = args
    if type(rebuild) is not Global or type(cls) is not Global or type(parts) is not tuple:
        raise _BadTensorError("its class is no name")
    make = builder.calls.get(rebuild)
    inner = make(parts) if make is not None else builder.call(rebuild, parts)
    if type(inner) is not TensorValue:
        return inner if type(inner) is Opaque else Opaque(cls, args)
    if cls.dotted == ("torch.nn.parameter.Parameter" if inner.parameter else "torch.Tensor"):
        inner.attributes = _state(builder, state)
        return inner
    made = _twin(inner)
    made.layout, made.extra, made.attributes = "subclass", (cls, inner), _state(builder, state)
    return made


def _state(builder: Builder, state: Value) -> Value:
    builder.hold(state)
    if type(state) is dict and not state:
        return None
    parts = (state,) if type(state) is dict else state if type(state) is tuple and len(state) == 2 else ()
    if state is not None and not parts:
        raise _BadTensorError("its attributes are no dict")
    for part in parts:
        if type(part) is dict and not all(type(name) is str and name not in _OF_TENSORS for name in part):
            raise _BadTensorError("its attributes set something else of it, as its values")
    return state


#: Attributes that are not kept with a tensor but change it: `data` gives it other values.  Source: torch._C.TensorBase.
_OF_TENSORS = frozenset(
    "H T __class__ __cuda_array_interface__ __dict__ __weakref__ _backward_hooks _base _cdata _grad _grad_fn "
    "_has_symbolic_sizes_strides _post_accumulate_grad_hooks _python_dispatch _version data device dtype grad grad_dtype "
    "grad_fn imag is_cpu is_cuda is_ipu is_leaf is_maia is_meta is_mkldnn is_mps is_mtia is_nested is_quantized is_sparse "
    "is_sparse_csr is_vulkan is_xla is_xpu itemsize layout mH mT name nbytes ndim output_nr real requires_grad "
    "retains_grad shape volatile".split()
)


def _twin(tensor: TensorValue) -> TensorValue:
    made = TensorValue(
        tensor.storage,
        tensor.dtype,
        tensor.shape,
        tensor.stride,
        tensor.offset,
        layout=tensor.layout,
        requires_grad=tensor.requires_grad,
        extra=tensor.extra,
    )
    made.conjugate, made.negative = tensor.conjugate, tensor.negative
    return made


def _layout(builder: Builder, args: tuple[Value, ...]) -> Value:
    if len(args) == 1 and type(args[0]) is str and args[0][:6] == "torch." and args[0][6:] in LAYOUTS:
        return builder.torch(args[0].removeprefix("torch."))
    return builder.call(builder.find_global("torch.serialization", "_get_layout"), args)


def _ordered(builder: Builder, args: tuple[Value, ...]) -> Value:
    made = OrderedDictValue()
    if not args:
        return made
    # Python 2 gave the items as a list of pairs.
    if len(args) == 1 and type(args[0]) is list:
        builder.copy(len(args[0]))
        pairs = [pair for pair in args[0] if type(pair) in {list, tuple} and len(pair) == 2]
        if len(pairs) == len(args[0]) and _are_keys(builder, [key for key, _ in pairs]):
            made.update((key, value) for key, value in pairs)
            return made
    return builder.call(builder.find_global("collections", "OrderedDict"), args)


def _are_keys(builder: Builder, keys: Collection[Value]) -> bool:
    return all(type(key) in _SCALARS or builder.is_key(key) for key in keys) and builder.hashes(keys, len(keys))


def _collected(name: str, kind: type[set[Any]] | type[frozenset[Any]]) -> Maker:
    def make(builder: Builder, args: tuple[Value, ...]) -> Value:
        if not args:
            builder.copy(8)
            return kind()
        items = args[0]
        if len(args) == 1 and type(items) in {list, tuple, set, frozenset}:
            builder.copy(len(items) + 8)
            if _are_keys(builder, items):
                return kind(items)
        return builder.call(builder.find_global("builtins", name), args)

    return make


#: A list and no set: the name may be a tuple of tuples, which is never done hashing.
_LATIN1 = ["latin1", "latin-1"]


def _bytearray(builder: Builder, args: tuple[Value, ...]) -> Value:
    if not args:
        return bytearray()
    if len(args) == 1 and type(args[0]) in {bytes, bytearray}:
        builder.copy(len(args[0]) // 64)
        return bytearray(args[0])
    if len(args) == 2 and type(args[0]) is str and args[1] in _LATIN1:  # protocol 2 of Python 3
        builder.copy(len(args[0]) // 64)
        return bytearray(args[0], "latin-1")
    return builder.call(builder.find_global("builtins", "bytearray"), args)


def _bytes(builder: Builder, args: tuple[Value, ...]) -> Value:
    if not args:  # protocol 2 writes b"" as a call of bytes
        return b""
    return builder.call(builder.find_global("builtins", "bytes"), args)


def _encoded(builder: Builder, args: tuple[Value, ...]) -> Value:
    """Give the bytes that protocols 0 to 2 write as text: _codecs.encode(text, "latin1")."""
    if len(args) == 2 and type(args[0]) is str and args[1] in _LATIN1:
        builder.copy(len(args[0]) // 64)
        return args[0].encode("latin-1")
    return builder.call(builder.find_global("_codecs", "encode"), args)


def _complex(builder: Builder, args: tuple[Value, ...]) -> Value:
    if len(args) == 2 and type(args[0]) is float and type(args[1]) is float:
        return complex(args[0], args[1])
    return builder.call(builder.find_global("builtins", "complex"), args)


#: Normal (module, name) → what makes the value.  Everything else that is inert stays opaque (Size, device, Counter …).
_MAKERS: dict[tuple[str, str], Maker] = {
    ("collections", "OrderedDict"): _ordered,
    ("builtins", "set"): _collected("set", set),
    ("builtins", "frozenset"): _collected("frozenset", frozenset),
    ("builtins", "bytearray"): _bytearray,
    ("builtins", "bytes"): _bytes,
    ("builtins", "complex"): _complex,
    ("_codecs", "encode"): _encoded,
    ("torch.serialization", "_get_layout"): _layout,
    ("torch._tensor", "_rebuild_from_type_v2"): _tensor_maker(_typed),
    **{
        ("torch._utils", name): _tensor_maker(make)
        for name, make in (
            ("_rebuild_tensor", _tensor_v1),
            ("_rebuild_tensor_v2", _tensor_v2),
            ("_rebuild_tensor_v3", _tensor_v3),
            ("_rebuild_parameter", _parameter),
            ("_rebuild_parameter_with_state", _parameter_with_state),
            ("_rebuild_qtensor", _quantized),
            ("_rebuild_sparse_tensor", _sparse),
            ("_rebuild_meta_tensor_no_storage", _meta),
            ("_rebuild_wrapper_subclass", _wrapper),
        )
    },
}


def storages_of(tensor: TensorValue) -> Iterable[StorageValue]:
    """Give every storage a tensor's values lie in: its own, those of its sparse parts and of its quantizer."""
    pending = [tensor]
    for _ in range(16):
        if not pending:
            return
        part = pending.pop()
        if part.storage is not None:
            yield part.storage
        if type(part.extra) is tuple:
            pending.extend(islice((inner for inner in part.extra if type(inner) is TensorValue), 4))
