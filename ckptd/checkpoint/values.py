"""Inert values: what a pickle says, held as plain data and never run.

The VM (`opcodes`) builds these, `identify` and `architecture` read them, `ckptd.loading` turns them into torch objects.
Plain things stay plain: None, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset.
An OrderedDict is an `OrderedDictValue`; a tensor is a `TensorValue`; whatever else a pickle names is a `Global`, and
whatever it builds out of one is an `Opaque`, with the arguments, state and items it was given.  dtypes are
`Global("torch", "float32")`; a `torch.Size` is `Opaque(Global("torch", "Size"), ((2, 3),))`, a device
`Opaque(Global("torch", "device"), ("cuda", 0))`.

Values can be shared and, through lists, dicts and Opaques, cyclic: walk them by identity and with a budget, never with
repr, == or hash.
"""

from __future__ import annotations

from typing import Any

Value = Any


class Global:
    """A name a pickle mentioned: `module` and `name`, never resolved."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    @property
    def dotted(self) -> str:
        """The name as `module.name`."""
        return f"{self.module}.{self.name}"


class Opaque:
    """Something a pickle would have built by calling `callee(*args)`, kept as the description of that call.

    Attributes:
        callee: what would have been called; mostly a `Global`, an `Opaque` for calls of results.
        args: the arguments, a tuple unless the pickle gave something else.
        new: True when it came from NEWOBJ (cls.__new__), False from REDUCE.
        state: the argument of BUILD, None without one.
        items: keys and values given by SETITEM(S), in order.
        elements: what APPEND(S) and ADDITEMS gave, in order.
    """

    __slots__ = ("args", "callee", "elements", "items", "new", "state")

    def __init__(self, callee: Value, args: Value = (), *, new: bool = False) -> None:
        self.callee = callee
        self.args = args
        self.new = new
        self.state: Value = None
        self.items: list[tuple[Value, Value]] = []
        self.elements: list[Value] = []

    @property
    def dotted(self) -> str:
        """Dotted name of what would have been called, "?" when that is no plain name."""
        return self.callee.dotted if isinstance(self.callee, Global) else "?"


class OrderedDictValue(dict[Any, Any]):
    """An OrderedDict; `state` is what BUILD attached (`_metadata` of a state_dict), None without it."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        super().__init__()
        self.state: Value = None


class StorageValue:
    """A run of bytes that tensors look into.

    Attributes:
        key: the record's name in the container ("0" for `data/0`).
        dtype: element type torch names ("float32", "uint8" for untyped storages).
        numel: elements of `dtype`; untyped storages count bytes.
        location: where it was saved ("cpu", "cuda:0", "mps").
    """

    __slots__ = ("dtype", "key", "location", "numel")

    def __init__(self, key: str, dtype: str, numel: int, location: str) -> None:
        self.key = key
        self.dtype = dtype
        self.numel = numel
        self.location = location


class TensorValue:
    """A tensor: a view into a storage.

    Attributes:
        storage: None for meta, sparse and wrapper tensors, whose parts are in `extra`.
        dtype: of the tensor ("bfloat16"), which for typed storages is the storage's.
        shape, stride: in elements, outermost first.
        offset: in elements from the start of the storage.
        layout: "dense", "quantized", "sparse_coo", "sparse_csr" (and csc, bsr, bsc), "meta" or "subclass".
        parameter: True for torch.nn.Parameter.
        requires_grad: as saved.
        extra: what the rebuild function got beyond that: the quantizer's parameters as a tuple for "quantized";
            (indices, values, coalesced) for "sparse_coo"; (compressed, plain, values) for the other sparse ones; (class, inner
            tensor or None) for "subclass"; None for the rest.
        attributes: Python attributes saved with it (a dict, or a tuple of dict and slots); None without any.
        conjugate, negative: lazy bits of complex views.
    """

    __slots__ = (
        "attributes",
        "conjugate",
        "dtype",
        "extra",
        "layout",
        "negative",
        "offset",
        "parameter",
        "requires_grad",
        "shape",
        "storage",
        "stride",
    )

    def __init__(
        self,
        storage: StorageValue | None,
        dtype: str,
        shape: tuple[int, ...],
        stride: tuple[int, ...],
        offset: int = 0,
        *,
        layout: str = "dense",
        requires_grad: bool = False,
        parameter: bool = False,
        extra: Value = None,
    ) -> None:
        self.storage = storage
        self.dtype = dtype
        self.shape = shape
        self.stride = stride
        self.offset = offset
        self.layout = layout
        self.requires_grad = requires_grad
        self.parameter = parameter
        self.extra = extra
        self.attributes: Value = None
        self.conjugate = False
        self.negative = False
