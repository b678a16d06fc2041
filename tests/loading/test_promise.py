"""`ok` is a promise: what ckptd calls ok, `load` builds, and it is what torch.load builds from the same bytes.

The pickles here are written by hand; each would come out as another object, or as none, if one rule were missing.
"""

from __future__ import annotations

import pytest
import torch

from ckptd.checkpoint import tensors
from ckptd.checkpoint.inspection import inspect_path
from ckptd.errors import CkptdError
from ckptd.loading.load import load
from ckptd.model import Status
from tests.corpus import asm, zips
from tests.corpus.compare import differences

ints, text = asm.integer, asm.text
NDARRAY = asm.named("numpy", "ndarray")
RECONSTRUCT = ("numpy._core.multiarray", "_reconstruct")
HOOKS = asm.call("collections", "OrderedDict")
V2 = asm.sequence(asm.storage(), ints(0), asm.sequence(ints(2), ints(2)), asm.sequence(ints(2), ints(1)), asm.FALSE, HOOKS)
PARAMETER = asm.sequence(asm.tensor(), asm.TRUE, HOOKS)
DAY = asm.call("datetime", "timedelta", ints(1))


def _new(module: str, name: str, *args: bytes) -> bytes:
    return asm.named(module, name) + asm.sequence(*args) + asm.NEWOBJ


def _dtype(code: str, order: str, width: int = -1, flags: int = 0) -> bytes:
    state = (ints(3), text(order), asm.NONE, asm.NONE, asm.NONE, ints(width), ints(-1), ints(flags))
    return asm.call("numpy", "dtype", text(code), asm.FALSE, asm.TRUE) + asm.sequence(*state) + asm.BUILD


def _array(shape: tuple[int, ...], dtype: bytes, raw: bytes, fortran: bytes = asm.FALSE, version: int = 1) -> bytes:
    state = (ints(version), asm.sequence(*map(ints, shape)), dtype, fortran, asm.short_bytes(raw))
    empty = asm.call(*RECONSTRUCT, NDARRAY, asm.sequence(ints(0)), asm.short_bytes(b"b"))
    return empty + asm.sequence(*state) + asm.BUILD


def _scalar(dtype: bytes, raw: bytes) -> bytes:
    return asm.call("numpy._core.multiarray", "scalar", dtype, asm.short_bytes(raw))


def _buffer(raw: bytes, dtype: bytes, shape: tuple[int, ...]) -> bytes:
    parts = (asm.short_bytes(raw), dtype, asm.sequence(*map(ints, shape)), text("C"))
    return asm.call("numpy._core.numeric", "_frombuffer", *parts)


def _typed(cls: tuple[str, str], state: bytes, maker: str = "_rebuild_tensor_v2", parts: bytes = V2) -> bytes:
    made = (asm.named("torch._utils", maker), asm.named(*cls), parts, state)
    return asm.call("torch._tensor", "_rebuild_from_type_v2", *made)


def _later(make: bytes) -> bytes:
    """Give `make` the empty dict of slot 1, and fill it afterwards."""
    return asm.mapping({"d": asm.EMPTY_DICT + asm.put(1), "a": make, "e": asm.get(1) + text("k") + ints(3) + asm.SETITEM})


def _set_of(item: bytes) -> bytes:
    return asm.call("builtins", "set", asm.listing(item))


TENSOR = ("torch", "Tensor")
DEFAULTS = asm.call("collections", "defaultdict", asm.named("builtins", "list"))
F4 = _dtype("f4", "<")

BODIES: dict[str, bytes] = {
    "Counter that was never initialized": _new("collections", "Counter", asm.mapping({"x": ints(1)})),
    "Counter with items": asm.call("collections", "Counter") + text("k") + ints(3) + asm.SETITEM,
    "Counter of what is filled later": _later(asm.call("collections", "Counter", asm.get(1))),
    "defaultdict that was never initialized": _new("collections", "defaultdict", asm.named("builtins", "list")),
    "defaultdict with a tensor as key": DEFAULTS + asm.tensor() + ints(1) + asm.SETITEM,
    "defaultdict with a list as key": DEFAULTS + asm.EMPTY_LIST + ints(1) + asm.SETITEM,
    "defaultdict with a path in a key": DEFAULTS
    + asm.sequence(asm.call("pathlib", "PosixPath", text("a")))
    + ints(1)
    + asm.SETITEM,
    "Namespace of what is filled later": _later(_new("argparse", "Namespace") + asm.get(1) + asm.BUILD),
    "OrderedDict with attributes filled later": _later(HOOKS + asm.get(1) + asm.BUILD),
    "tensor with attributes filled later": _later(_typed(TENSOR, asm.get(1))),
    "set of a Counter": _set_of(asm.call("collections", "Counter")),
    "set of an array": _set_of(_array((1,), F4, b"1234")),
    "set of a Namespace": _set_of(_new("argparse", "Namespace")),
    "set of a path": _set_of(asm.call("pathlib", "PosixPath", text("a"))),
    "array with more elements than bytes": _array((3,), F4, b"1234"),
    "array of a negative size": _array((-1,), F4, b"1234"),
    "array with a number for its order": _array((1, 2), F4, b"12341234", ints(1)),
    "array of another version": _array((1,), F4, b"1234", version=7),
    "array of texts longer than they say": _array((1,), _dtype("S4", "|", 8), b"12341234"),
    "array of objects in disguise": _array((1,), _dtype("V8", "|", 8, 63), bytes(8)),
    "dtype of bytes with an order": _dtype("i1", ">"),
    "dtype that numpy has not": _dtype("c7", "<"),
    "scalar that is too short": _scalar(F4, b"123"),
    "scalar of a text longer than it says": _scalar(_dtype("S4", "|", 8), b"12345678"),
    "buffer that is too short": _buffer(b"1234", F4, (2,)),
    "buffer of nothing": _buffer(b"", asm.call("numpy", "dtype", text("S0"), asm.FALSE, asm.TRUE), (2,)),
    "datetime of month 13": asm.call("datetime", "datetime", asm.short_bytes(b"\x07\xe4\x0d\x01" + bytes(6))),
    "datetime of hour 25": asm.call("datetime", "datetime", asm.short_bytes(b"\x07\xe4\x01\x01\x19" + bytes(5))),
    "date of year 0": asm.call("datetime", "date", asm.short_bytes(b"\0\0\1\1")),
    "time of hour 25": asm.call("datetime", "time", asm.short_bytes(b"\x19" + bytes(5))),
    "timedelta beyond the calendar": asm.call("datetime", "timedelta", ints(10**12)),
    "timezone of a day": asm.call("datetime", "timezone", DAY),
    **{f"tensor whose state sets {name}": _typed(TENSOR, asm.mapping({name: value})) for name, value in {
        "data": asm.tensor(size=(1, 1)), "requires_grad": asm.TRUE, "grad": asm.tensor(), "__class__": ints(1),
        "_backward_hooks": ints(1), "shape": ints(1), "tag": ints(1),
    }.items()},
    "tensor whose slots set data": _typed(TENSOR, asm.sequence(asm.EMPTY_DICT, asm.mapping({"data": asm.tensor(size=(1, 1))}))),
    "parameter that becomes a tensor": _typed(TENSOR, asm.NONE, "_rebuild_parameter", PARAMETER),
    "tensor that becomes a parameter": _typed(("torch.nn.parameter", "Parameter"), asm.NONE),
    "layout without its prefix": asm.call("torch.serialization", "_get_layout", text("strided")),
    "conjugate of real numbers": asm.tensor(metadata=asm.mapping({"conj": asm.TRUE})),
    "negative of real numbers": asm.tensor(metadata=asm.mapping({"neg": asm.TRUE})),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_ok_is_what_torch_loads(name, tmp_path):
    """Either the file is not ok, and `load` refuses it, or both readers give the same object."""
    body = asm.mapping({"w": asm.tensor(), "v": BODIES[name]})
    path = tmp_path / "x.pth"
    path.write_bytes(zips.checkpoint(asm.program(body, 3)))
    if inspect_path(path).status is Status.OK:
        assert not differences(load(path), torch.load(path, weights_only=False))
    else:
        with pytest.raises(CkptdError):
            load(path)


@pytest.mark.parametrize(
    "name", ["set of a path", "tensor whose state sets tag", "negative of real numbers", "Namespace of what is filled later"]
)
def test_the_honest_ones_among_them_pass(name, tmp_path):
    """The rules leave what people really save; the last one torch itself loses, and it is no fault of the file."""
    path = tmp_path / "x.pth"
    path.write_bytes(zips.checkpoint(asm.program(asm.mapping({"w": asm.tensor(), "v": BODIES[name]}), 3)))
    expected = Status.NEEDS_CODE if "later" in name else Status.OK
    assert inspect_path(path).status is expected


def test_every_attribute_that_acts_is_known():
    """The table of attributes that change a tensor holds all those of this torch."""
    classes = {cls for kind in (torch.Tensor, torch.nn.Parameter) for cls in kind.__mro__}
    acting = {name for cls in classes for name, what in vars(cls).items() if hasattr(type(what), "__set__")}
    assert acting <= tensors._OF_TENSORS
