"""The builder of tensors: each rule about the arguments of each rebuild function, broken alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.opcodes import PickleError
from ckptd.checkpoint.tensors import Builder, storages_of
from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue, StorageValue, TensorValue
from tests.checkpoint.machine import codes_of, read, refusal, value_of
from tests.corpus import asm, hostile_pickles

ints = asm.integer
HOOKS = asm.call("collections", "OrderedDict")
FLOAT = asm.named("torch", "float32")


def numbers(*values: int) -> bytes:
    return asm.sequence(*map(ints, values))


def v1(*args: bytes) -> bytes:
    return asm.call("torch._utils", "_rebuild_tensor", *args)


def v2(*args: bytes) -> bytes:
    return asm.call("torch._utils", "_rebuild_tensor_v2", *args)


def v3(*args: bytes) -> bytes:
    return asm.call("torch._utils", "_rebuild_tensor_v3", *args)


def parameter(*args: bytes) -> bytes:
    return asm.call("torch._utils", "_rebuild_parameter", *args)


def with_state(*args: bytes) -> bytes:
    return asm.call("torch._utils", "_rebuild_parameter_with_state", *args)


def quantized(*args: bytes) -> bytes:
    return asm.call("torch._utils", "_rebuild_qtensor", *args)


def sparse(*args: bytes) -> bytes:
    return asm.call("torch._utils", "_rebuild_sparse_tensor", *args)


def meta(*args: bytes) -> bytes:
    return asm.call("torch._utils", "_rebuild_meta_tensor_no_storage", *args)


def wrapper(*args: bytes) -> bytes:
    return asm.call("torch._utils", "_rebuild_wrapper_subclass", *args)


def typed(*args: bytes) -> bytes:
    return asm.call("torch._tensor", "_rebuild_from_type_v2", *args)


UNTYPED = asm.sequence(
    asm.text("storage"), asm.named("torch.storage", "UntypedStorage"), asm.text("u"), asm.text("cpu"), ints(16)
) + b"Q"  # fmt: skip
ARGS = (asm.storage(), ints(0), numbers(2, 2), numbers(2, 1), asm.FALSE, HOOKS)
LONGS = asm.tensor(asm.storage("1", 4, "LongStorage"), size=(2, 2), stride=(2, 1))
LONG_STORAGE = asm.storage("1", 4, "LongStorage")
QINT = asm.storage("q", 4, "QInt8Storage")
AFFINE = asm.sequence(asm.named("torch", "per_tensor_affine"), asm.real(0.1), ints(3))
QARGS = (QINT, ints(0), numbers(2, 2), numbers(2, 1), AFFINE, asm.FALSE, HOOKS)
SCALES = asm.tensor(asm.storage("s", 2, "DoubleStorage"), size=(2,), stride=(1,))
ZEROS = asm.tensor(asm.storage("z", 2, "LongStorage"), size=(2,), stride=(1,))
PER_CHANNEL = asm.named("torch", "per_channel_affine")
COO = asm.call("torch.serialization", "_get_layout", asm.text("torch.sparse_coo"))
CSR = asm.call("torch.serialization", "_get_layout", asm.text("torch.sparse_csr"))
INDICES = asm.tensor(asm.storage("i", 4, "LongStorage"), size=(2, 2), stride=(2, 1))
LINE = asm.tensor(asm.storage("l", 2, "LongStorage"), size=(1, 2), stride=(2, 1))
VALUES = asm.tensor(asm.storage("v", 2), size=(2,), stride=(1,))
ROWS = asm.tensor(asm.storage("r", 4, "LongStorage"), size=(4,), stride=(1,))
COLUMNS = asm.tensor(asm.storage("c", 2, "LongStorage"), size=(2,), stride=(1,))
TENSOR = asm.named("torch", "Tensor")
V2 = asm.named("torch._utils", "_rebuild_tensor_v2")
WRAPPED = (asm.named("my.tensors", "Wrapped"), FLOAT, numbers(2), numbers(1), ints(0), asm.NONE, asm.NONE, asm.FALSE)


def args_with(args: tuple[bytes, ...], at: int, value: bytes) -> tuple[bytes, ...]:
    return (*args[:at], value, *args[at + 1 :])


def describe(tensor: TensorValue) -> tuple[object, ...]:
    return (tensor.dtype, tensor.shape, tensor.stride, tensor.offset, tensor.layout, tensor.requires_grad, tensor.parameter)


# What is right --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    {
        "v1": (v1(*ARGS[:4]), ("float32", (2, 2), (2, 1), 0, "dense", False, False)),
        "v2": (v2(*ARGS), ("float32", (2, 2), (2, 1), 0, "dense", False, False)),
        "v2 with gradient": (v2(*args_with(ARGS, 4, asm.TRUE)), ("float32", (2, 2), (2, 1), 0, "dense", True, False)),
        "v2, last element": (v2(*args_with(ARGS, 1, ints(0))), ("float32", (2, 2), (2, 1), 0, "dense", False, False)),
        "v2, offset": (asm.tensor(offset=3, size=(1,), stride=(9,)), ("float32", (1,), (9,), 3, "dense", False, False)),
        "v2, scalar": (asm.tensor(offset=3, size=(), stride=()), ("float32", (), (), 3, "dense", False, False)),
        "v2, empty and long": (asm.tensor(size=(5, 0), stride=(9, 1)), ("float32", (5, 0), (9, 1), 0, "dense", False, False)),
        "v2, empty": (asm.tensor(offset=4, size=(0, 7), stride=(7, 1)), ("float32", (0, 7), (7, 1), 4, "dense", False, False)),
        "v2, expanded": (asm.tensor(size=(9, 4), stride=(0, 1)), ("float32", (9, 4), (0, 1), 0, "dense", False, False)),
        "v2, hooks of None": (v2(*args_with(ARGS, 5, asm.NONE)), ("float32", (2, 2), (2, 1), 0, "dense", False, False)),
        "v2, size by torch.Size": (
            v2(*args_with(ARGS, 2, asm.call("torch", "Size", numbers(2, 2)))),
            ("float32", (2, 2), (2, 1), 0, "dense", False, False),
        ),
        "v2, rank 64": (
            asm.tensor(size=(1,) * 64, stride=(1,) * 64),
            ("float32", (1,) * 64, (1,) * 64, 0, "dense", False, False),
        ),
        "v3": (
            v3(UNTYPED, *ARGS[1:], asm.named("torch", "bfloat16")),
            ("bfloat16", (2, 2), (2, 1), 0, "dense", False, False),
        ),
        "parameter": (parameter(asm.tensor(), asm.TRUE, HOOKS), ("float32", (2, 2), (2, 1), 0, "dense", True, True)),
        "frozen parameter": (parameter(LONGS, asm.FALSE, HOOKS), ("int64", (2, 2), (2, 1), 0, "dense", False, True)),
        "quantized": (quantized(*QARGS), ("qint8", (2, 2), (2, 1), 0, "quantized", False, False)),
        "quantized by channel": (
            quantized(*args_with(QARGS, 4, asm.sequence(PER_CHANNEL, SCALES, ZEROS, ints(1)))),
            ("qint8", (2, 2), (2, 1), 0, "quantized", False, False),
        ),
        "coo": (
            sparse(COO, asm.sequence(INDICES, VALUES, numbers(5, 5), asm.TRUE)),
            ("float32", (5, 5), (), 0, "sparse_coo", False, False),
        ),
        "coo of torch 1": (
            sparse(COO, asm.sequence(INDICES, VALUES, numbers(5, 5))),
            ("float32", (5, 5), (), 0, "sparse_coo", False, False),
        ),
        "csr": (
            sparse(CSR, asm.sequence(ROWS, COLUMNS, VALUES, numbers(3, 5))),
            ("float32", (3, 5), (), 0, "sparse_csr", False, False),
        ),
        "meta": (
            meta(FLOAT, numbers(2, 3), numbers(3, 1), asm.TRUE),
            ("float32", (2, 3), (3, 1), 0, "meta", True, False),
        ),
        "wrapper": (wrapper(*WRAPPED), ("float32", (2,), (1,), 0, "subclass", False, False)),
        "typed as a tensor": (
            typed(V2, TENSOR, asm.sequence(*ARGS), asm.mapping({"note": ints(1)})),
            ("float32", (2, 2), (2, 1), 0, "dense", False, False),
        ),
        "typed as a class": (
            typed(V2, asm.named("my.tensors", "Special"), asm.sequence(*ARGS), asm.EMPTY_DICT),
            ("float32", (2, 2), (2, 1), 0, "subclass", False, False),
        ),
    }.values(),
    ids=lambda value: "" if isinstance(value, bytes) else None,
)  # fmt: skip
def test_what_torch_writes_is_taken(body, expected):
    """Each rebuild function gives the tensor that its arguments describe."""
    value = value_of(body)
    assert type(value) is TensorValue
    assert describe(value) == expected


def test_parts_are_kept():
    """Quantizers, sparse parts, classes, attributes and lazy bits stay with the tensor."""
    assert value_of(quantized(*QARGS)).extra[1:] == (0.1, 3)
    indices, values, coalesced = value_of(sparse(COO, asm.sequence(INDICES, VALUES, numbers(5, 5), asm.TRUE))).extra
    assert (indices.dtype, values.dtype, coalesced) == ("int64", "float32", True)
    cls, inner = value_of(typed(V2, asm.named("my", "T"), asm.sequence(*ARGS), asm.EMPTY_DICT)).extra
    assert (cls.dotted, inner.shape) == ("my.T", (2, 2))
    assert value_of(typed(V2, TENSOR, asm.sequence(*ARGS), asm.mapping({"note": ints(1)}))).attributes == {"note": 1}
    assert value_of(typed(V2, TENSOR, asm.sequence(*ARGS), asm.EMPTY_DICT)).attributes is None
    assert value_of(with_state(asm.tensor(), asm.TRUE, HOOKS, asm.mapping({"tag": ints(7)}))).attributes == {"tag": 7}
    assert value_of(with_state(asm.tensor(), asm.TRUE, HOOKS, asm.sequence(asm.EMPTY_DICT, asm.NONE))).attributes == ({}, None)
    lazy = value_of(asm.tensor(asm.storage("0", 2, "ComplexFloatStorage"), size=(2,), stride=(1,), metadata=_bits("conj")))
    assert (lazy.conjugate, lazy.negative) == (True, False)
    lazy = value_of(asm.tensor(metadata=_bits("neg")))
    assert (lazy.conjugate, lazy.negative) == (False, True)
    twin = value_of(parameter(asm.tensor(metadata=_bits("neg")), asm.TRUE, HOOKS))
    assert twin.negative


def _bits(name: str) -> bytes:
    return asm.mapping({name: asm.TRUE})


def test_a_parameter_leaves_its_tensor_alone():
    """The tensor inside a parameter can be used elsewhere as what it is."""
    plain, made = value_of(asm.sequence(asm.tensor() + asm.put(0), parameter(asm.get(0), asm.TRUE, HOOKS)))
    assert (plain.parameter, plain.requires_grad) == (False, False)
    assert (made.parameter, made.requires_grad) == (True, True)
    assert made.storage is plain.storage


def test_storages_of_every_part():
    """All storages that the values of a tensor lie in."""
    body = quantized(*args_with(QARGS, 4, asm.sequence(PER_CHANNEL, SCALES, ZEROS, ints(1))))
    assert {held.key for held in storages_of(value_of(body))} == {"q", "s", "z"}
    body = sparse(COO, asm.sequence(INDICES, VALUES, numbers(5, 5), asm.TRUE))
    assert {held.key for held in storages_of(value_of(body))} == {"i", "v"}
    body = typed(V2, asm.named("my", "T"), asm.sequence(*ARGS), asm.EMPTY_DICT)
    assert {held.key for held in storages_of(value_of(body))} == {"0"}
    assert not list(storages_of(value_of(meta(FLOAT, numbers(2), numbers(1), asm.FALSE))))


# What is wrong --------------------------------------------------------------------------------------------------------

_HUGE = asm.long1(2**62)
_HOOKED = HOOKS + ints(1) + asm.named("torch", "relu") + asm.SETITEM

MALFORMED = {
    # sizes, strides, offsets
    "bool in the size": asm.tensor(size=asm.sequence(asm.TRUE, ints(2))),
    "float in the size": asm.tensor(size=asm.sequence(asm.real(2.0), ints(2))),
    "list as size": asm.tensor(size=asm.listing(ints(2), ints(2))),
    "None as size": asm.tensor(size=asm.NONE),
    "negative size": asm.tensor(size=(-1, 2)),
    "size of 2^62": asm.tensor(size=asm.sequence(_HUGE, ints(0))),
    "bool in the stride": asm.tensor(stride=asm.sequence(ints(2), asm.TRUE)),
    "float in the stride": asm.tensor(stride=asm.sequence(ints(2), asm.real(1.0))),
    "negative stride": asm.tensor(size=(2,), stride=(-1,), offset=1),
    "stride of 2^62": asm.tensor(size=(1,), stride=asm.sequence(_HUGE)),
    "list as stride": asm.tensor(stride=asm.listing(ints(2), ints(1))),
    "ranks differ": asm.tensor(size=(4,), stride=(1, 1)),
    "rank 65": asm.tensor(size=(1,) * 65, stride=(1,) * 65),
    "bool as offset": asm.tensor(size=(1,), stride=(1,), offset=asm.TRUE),
    "float as offset": asm.tensor(offset=asm.real(0.0)),
    "negative offset": asm.tensor(size=(1,), stride=(1,), offset=-1),
    "offset of 2^62": asm.tensor(size=(0,), stride=(1,), offset=_HUGE),
    # flags and hooks
    "integer as requires_grad": v2(*args_with(ARGS, 4, ints(0))),
    "None as requires_grad": v2(*args_with(ARGS, 4, asm.NONE)),
    "gradient of integers": v2(LONG_STORAGE, *args_with(ARGS, 4, asm.TRUE)[1:]),
    "gradient of bools": v2(asm.storage("b", 4, "BoolStorage"), *args_with(ARGS, 4, asm.TRUE)[1:]),
    "text as hooks": v2(*args_with(ARGS, 5, asm.text("x"))),
    "list as hooks": v2(*args_with(ARGS, 5, asm.EMPTY_LIST)),
    "hooks that are there": v2(*args_with(ARGS, 5, _HOOKED)),
    # metadata
    "other metadata": asm.tensor(metadata=asm.mapping({"evil": asm.TRUE})),
    "conj of an integer": asm.tensor(metadata=asm.mapping({"conj": ints(1)})),
    "list as metadata": asm.tensor(metadata=asm.EMPTY_LIST),
    "two metadata": asm.tensor(metadata=asm.NONE + asm.NONE),
    # numbers of arguments, storages
    "v1 of three": v1(*ARGS[:3]),
    "v1 of five": v1(*ARGS[:5]),
    "v2 of five": v2(*ARGS[:5]),
    "v2 of none": v2(),
    "v2 of text": v2(asm.text("0"), *ARGS[1:]),
    "v2 of a tensor": v2(asm.tensor(), *ARGS[1:]),
    # v3
    "v3 without a dtype": v3(UNTYPED, *ARGS[1:]),
    "v3 of a dtype of text": v3(UNTYPED, *ARGS[1:], asm.text("float32")),
    "v3 of another name": v3(UNTYPED, *ARGS[1:], asm.named("torch", "Size")),
    "v3 of a dtype of another module": v3(UNTYPED, *ARGS[1:], asm.named("my", "float32")),
    "v3 with a gradient of integers": v3(UNTYPED, *args_with(ARGS, 4, asm.TRUE)[1:], asm.named("torch", "int8")),
    # parameters
    "parameter of a number": parameter(ints(1), asm.TRUE, HOOKS),
    "parameter of a storage": parameter(asm.storage(), asm.TRUE, HOOKS),
    "parameter of two": parameter(asm.tensor(), asm.TRUE),
    "parameter with a number as flag": parameter(asm.tensor(), ints(1), HOOKS),
    "parameter of integers with gradient": parameter(LONGS, asm.TRUE, HOOKS),
    "parameter with hooks": parameter(asm.tensor(), asm.TRUE, _HOOKED),
    "parameter with a list as state": with_state(asm.tensor(), asm.TRUE, HOOKS, asm.listing(ints(1))),
    "parameter with a triple as state": with_state(asm.tensor(), asm.TRUE, HOOKS, numbers(1, 2, 3)),
    # quantizers
    "quantized floats": quantized(asm.storage(), *QARGS[1:]),
    "quantized with gradient": quantized(*args_with(QARGS, 5, asm.TRUE)),
    "quantizer of nothing": quantized(*args_with(QARGS, 4, asm.EMPTY_TUPLE)),
    "quantizer as a list": quantized(*args_with(QARGS, 4, asm.listing(asm.named("torch", "per_tensor_affine")))),
    "quantizer without a name": quantized(*args_with(QARGS, 4, asm.sequence(asm.text("affine"), asm.real(0.1), ints(3)))),
    "quantizer of another name": quantized(*args_with(QARGS, 4, asm.sequence(FLOAT, asm.real(0.1), ints(3)))),
    "symmetric quantizer": quantized(
        *args_with(QARGS, 4, asm.sequence(asm.named("torch", "per_tensor_symmetric"), asm.real(0.1), ints(3)))
    ),
    "integer as scale": quantized(
        *args_with(QARGS, 4, asm.sequence(asm.named("torch", "per_tensor_affine"), ints(1), ints(3)))
    ),
    "float as zero point": quantized(
        *args_with(QARGS, 4, asm.sequence(asm.named("torch", "per_tensor_affine"), asm.real(0.1), asm.real(3.0)))
    ),
    "three numbers": quantized(
        *args_with(QARGS, 4, asm.sequence(asm.named("torch", "per_tensor_affine"), asm.real(0.1), ints(3), ints(3)))
    ),
    "scales in a list": quantized(
        *args_with(QARGS, 4, asm.sequence(PER_CHANNEL, asm.listing(asm.real(0.1)), asm.listing(ints(1)), ints(1)))
    ),
    "axis too large": quantized(*args_with(QARGS, 4, asm.sequence(PER_CHANNEL, SCALES, ZEROS, ints(2)))),
    "axis negative": quantized(*args_with(QARGS, 4, asm.sequence(PER_CHANNEL, SCALES, ZEROS, ints(-1)))),
    "axis of bool": quantized(*args_with(QARGS, 4, asm.sequence(PER_CHANNEL, SCALES, ZEROS, asm.TRUE))),
    "no axis": quantized(*args_with(QARGS, 4, asm.sequence(PER_CHANNEL, SCALES, ZEROS))),
    "too many scales": quantized(*args_with(QARGS, 4, asm.sequence(PER_CHANNEL, ROWS, ZEROS, ints(1)))),
    "too many zero points": quantized(*args_with(QARGS, 4, asm.sequence(PER_CHANNEL, SCALES, ROWS, ints(1)))),
    # sparse
    "sparse, layout of text": sparse(asm.text("torch.sparse_coo"), asm.sequence(INDICES, VALUES, numbers(5, 5), asm.TRUE)),
    "sparse, layout strided": sparse(asm.named("torch", "strided"), asm.sequence(INDICES, VALUES, numbers(5, 5), asm.TRUE)),
    "sparse, list of parts": sparse(COO, asm.listing(INDICES, VALUES, numbers(5, 5), asm.TRUE)),
    "sparse, two parts": sparse(COO, asm.sequence(INDICES, VALUES)),
    "sparse, five parts": sparse(COO, asm.sequence(INDICES, VALUES, numbers(5, 5), asm.TRUE, asm.TRUE)),
    "sparse, coalesced by number": sparse(COO, asm.sequence(INDICES, VALUES, numbers(5, 5), ints(1))),
    "sparse, numbers for tensors": sparse(COO, asm.sequence(ints(1), VALUES, numbers(5, 5), asm.TRUE)),
    "sparse of sparse": sparse(
        COO, asm.sequence(INDICES, sparse(COO, asm.sequence(LINE, VALUES, numbers(2))), numbers(5, 5), asm.TRUE)
    ),
    "sparse, negative size": sparse(COO, asm.sequence(INDICES, VALUES, numbers(5, -5), asm.TRUE)),
    "sparse, size of 2^62": sparse(COO, asm.sequence(INDICES, VALUES, asm.sequence(ints(5), _HUGE), asm.TRUE)),
    "sparse, rank 65": sparse(COO, asm.sequence(INDICES, VALUES, numbers(*[1] * 65), asm.TRUE)),
    "sparse, bool in the size": sparse(COO, asm.sequence(INDICES, VALUES, asm.sequence(ints(5), asm.TRUE), asm.TRUE)),
    "csr, rank 65": sparse(CSR, asm.sequence(ROWS, COLUMNS, VALUES, numbers(*[1] * 65))),
    "coo, indices of floats": sparse(COO, asm.sequence(asm.tensor(), VALUES, numbers(5, 5), asm.TRUE)),
    "coo, indices of rank 1": sparse(COO, asm.sequence(COLUMNS, VALUES, numbers(5), asm.TRUE)),
    "coo, more values than indices": sparse(COO, asm.sequence(INDICES, ROWS, numbers(5, 5), asm.TRUE)),
    "coo, more dimensions": sparse(COO, asm.sequence(INDICES, VALUES, numbers(5, 5, 5), asm.TRUE)),
    "coo, fewer dimensions": sparse(COO, asm.sequence(INDICES, VALUES, numbers(5), asm.TRUE)),
    "coo, a scalar of values": sparse(COO, asm.sequence(INDICES, asm.tensor(size=(), stride=()), numbers(5, 5), asm.TRUE)),
    "csr of three": sparse(CSR, asm.sequence(ROWS, COLUMNS, numbers(3, 5))),
    "csr, indices of floats": sparse(CSR, asm.sequence(VALUES, VALUES, VALUES, numbers(3, 5))),
    # meta
    "meta of three": meta(FLOAT, numbers(2), numbers(1)),
    "meta, negative": meta(FLOAT, numbers(-2), numbers(1), asm.FALSE),
    "meta, ranks differ": meta(FLOAT, numbers(2, 2), numbers(1), asm.FALSE),
    "meta, rank 65": meta(FLOAT, numbers(*[1] * 65), numbers(*[1] * 65), asm.FALSE),
    "meta, size of 2^62": meta(FLOAT, asm.sequence(_HUGE), numbers(1), asm.FALSE),
    "meta, stride of bool": meta(FLOAT, numbers(2), asm.sequence(asm.TRUE), asm.FALSE),
    "meta, dtype of text": meta(asm.text("float32"), numbers(2), numbers(1), asm.FALSE),
    "meta, flag of a number": meta(FLOAT, numbers(2), numbers(1), ints(0)),
    "meta, gradient of integers": meta(asm.named("torch", "int8"), numbers(2), numbers(1), asm.TRUE),
    # subclasses
    "wrapper of text": wrapper(*args_with(WRAPPED, 0, asm.text("my.tensors.Wrapped"))),
    "wrapper of seven": wrapper(*WRAPPED[:7]),
    "wrapper, offset of text": wrapper(*args_with(WRAPPED, 4, asm.text("0"))),
    "wrapper, negative": wrapper(*args_with(WRAPPED, 2, numbers(-1))),
    "type of text": typed(V2, asm.text("torch.Tensor"), asm.sequence(*ARGS), asm.EMPTY_DICT),
    "type, rebuilt by text": typed(asm.text("os.system"), TENSOR, asm.sequence(*ARGS), asm.EMPTY_DICT),
    "type, list of arguments": typed(V2, TENSOR, asm.listing(*ARGS), asm.EMPTY_DICT),
    "type, state of a list": typed(V2, TENSOR, asm.sequence(*ARGS), asm.listing(ints(1))),
    "type of three": typed(V2, TENSOR, asm.sequence(*ARGS)),
    "type, wrong arguments inside": typed(V2, TENSOR, asm.sequence(*ARGS[:3]), asm.EMPTY_DICT),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_tensor_is_a_problem_and_no_end(name):
    """The tensor becomes an opaque value with a problem of its own, and what stands behind it is read."""
    value, host = read(asm.program(asm.sequence(MALFORMED[name], ints(7))))
    assert [problem.code for problem in host.problems] == ["tensor-malformed"]
    assert type(value[0]) is Opaque
    assert value[1] == 7


@pytest.mark.parametrize(
    ("body", "code"),
    {
        "one element beyond": (asm.tensor(size=(5,), stride=(1,)), "tensor-out-of-bounds"),
        "one beyond by offset": (asm.tensor(offset=1), "tensor-out-of-bounds"),
        "one beyond by stride": (asm.tensor(size=(2, 2), stride=(3, 1)), "tensor-out-of-bounds"),
        "empty, offset beyond a stride": (asm.tensor(size=(0,), stride=(9,), offset=5), "tensor-out-of-bounds"),
        "empty, offset beyond": (asm.tensor(size=(0,), stride=(1,), offset=5), "tensor-out-of-bounds"),
        "scalar of an empty storage": (asm.tensor(asm.storage(numel=0), size=(), stride=()), "tensor-out-of-bounds"),
        "far beyond": (asm.tensor(size=(2**40,), stride=(1,)), "tensor-out-of-bounds"),
        "wider than its bytes": (v3(UNTYPED, *ARGS[1:], asm.named("torch", "float64")), "tensor-out-of-bounds"),
        "expanded beyond the cap": (asm.tensor(size=(2**28 + 1,), stride=(0,)), "tensor-expanded"),
        "expanded to 2^80": (asm.tensor(size=(2**40, 2**40), stride=(0, 0)), "tensor-expanded"),
    }.values(),
    ids=str,
)
def test_a_tensor_stays_in_its_storage(body, code):
    """What reaches out of a storage keeps its name, so that the finding can say which tensor it is."""
    value, host = read(asm.program(body))
    assert [(problem.code, problem.subject) for problem in host.problems] == [(code, value)]
    assert type(value) is TensorValue


def test_an_expanded_view_has_a_cap():
    """A mask or an index may repeat its storage; the cap is on elements, and large storages are no expanded views."""
    budgets = replace(BUDGETS, expanded_elements=1000)
    assert codes_of(asm.tensor(size=(1000,), stride=(0,)), budgets) == []
    assert codes_of(asm.tensor(size=(1001,), stride=(0,)), budgets) == ["tensor-expanded"]
    assert codes_of(asm.tensor(asm.storage(numel=2000), size=(2000,), stride=(1,)), budgets) == []


def test_packed_elements_count_by_the_byte():
    """Two or four elements of the smallest quantized types share one byte."""
    for kind, per_byte in (("QUInt4x2Storage", 2), ("QUInt2x4Storage", 4)):
        for numel, codes in ((4 * per_byte, []), (4 * per_byte + 1, ["tensor-out-of-bounds"])):
            body = quantized(asm.storage("q", 4, kind), ints(0), numbers(numel), numbers(1), *QARGS[4:])
            assert codes_of(body) == codes


def test_ranks_have_a_budget():
    """A million tensors of 64 dimensions cost a minute: dimensions count as copied items."""
    budgets = replace(BUDGETS, copied_items=100)
    body = asm.tensor(size=(1,) * 50, stride=(1,) * 50)
    read(asm.program(body * 2 + asm.POP), budgets)
    assert refusal(asm.program(body * 3 + asm.POP * 2), budgets) == "pickle-bomb"


# Storages -------------------------------------------------------------------------------------------------------------


def test_a_storage_is_one_value():
    """The same key gives the same storage."""
    first, second = value_of(asm.sequence(asm.storage(), asm.storage()))
    assert first is second
    assert (type(first), first.key, first.dtype, first.numel, first.location) == (StorageValue, "0", "float32", 4, "cpu")


@pytest.mark.parametrize("other", [{"numel": 5}, {"kind": "IntStorage"}, {"location": "cuda:0"}])
def test_a_storage_is_described_once(other):
    """Another size, type or place for the same key is a conflict; the first description stays."""
    (first, second), host = read(asm.program(asm.sequence(asm.storage(), asm.storage(**other))))
    assert first is second
    assert (first.dtype, first.numel, first.location) == ("float32", 4, "cpu")
    assert [(problem.code, problem.subject) for problem in host.problems] == [("storage-conflict", first)]


def _storage(*parts: bytes) -> bytes:
    return asm.sequence(*parts) + asm.BINPERSID


_PARTS = (asm.text("storage"), asm.named("torch", "FloatStorage"), asm.text("0"), asm.text("cpu"), ints(4))


@pytest.mark.parametrize(
    "parts",
    {
        "four parts": _PARTS[:4],
        "six parts": (*_PARTS, asm.NONE),
        "another kind": args_with(_PARTS, 0, asm.text("module")),
        "a dtype for a class": args_with(_PARTS, 1, FLOAT),
        "an unknown class": args_with(_PARTS, 1, asm.named("torch", "EvilStorage")),
        "a class of another module": args_with(_PARTS, 1, asm.named("os", "FloatStorage")),
        "text for a class": args_with(_PARTS, 1, asm.text("FloatStorage")),
        "a number as key": args_with(_PARTS, 2, ints(0)),
        "a tuple of tuples as key": args_with(_PARTS, 2, hostile_pickles._tuple_graph(60)),
        "a key of 65 characters": args_with(_PARTS, 2, asm.text("0" * 65)),
        "a number as place": args_with(_PARTS, 3, ints(0)),
        "a bool as length": args_with(_PARTS, 4, asm.TRUE),
        "a float as length": args_with(_PARTS, 4, asm.real(4.0)),
        "a negative length": args_with(_PARTS, 4, ints(-1)),
        "a length of 2^62": args_with(_PARTS, 4, _HUGE),
    }.values(),
    ids=str,
)  # fmt: skip
def test_a_storage_is_described_as_torch_does(parts):
    """Nothing else is a persistent id of a zip."""
    assert refusal(asm.program(_storage(*parts))) == "malformed-pickle"


# Inert calls ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (asm.call("builtins", "set", asm.listing(ints(1), ints(2))), {1, 2}),
        (asm.call("builtins", "set"), set()),
        (asm.call("builtins", "frozenset", asm.sequence(ints(1))), frozenset({1})),
        (asm.call("builtins", "set", asm.call("builtins", "set", asm.listing(ints(1)))), {1}),
        (asm.call("builtins", "bytearray", asm.short_bytes(b"ab")), bytearray(b"ab")),
        (asm.call("builtins", "bytearray"), bytearray()),
        (asm.call("builtins", "bytearray", asm.text("é"), asm.text("latin-1")), bytearray(b"\xe9")),
        (asm.call("builtins", "bytes"), b""),
        (asm.call("builtins", "complex", asm.real(1.0), asm.real(2.0)), 1 + 2j),
        (asm.call("_codecs", "encode", asm.text("é"), asm.text("latin1")), b"\xe9"),
        (asm.call("__builtin__", "set", asm.listing(asm.sequence(ints(1), asm.text("a")))), {(1, "a")}),
    ],
)
def test_inert_calls_give_values(body, expected):
    """The calls by which pickle writes plain values at the older protocols."""
    value = value_of(body)
    assert type(value) is type(expected)
    assert value == expected


def test_layouts_and_pairs():
    """A layout by name, and an OrderedDict of Python 2, which came with a list of pairs."""
    assert value_of(COO).dotted == "torch.sparse_coo"
    value = value_of(asm.call("collections", "OrderedDict", asm.listing(asm.listing(asm.text("a"), ints(1)))))
    assert (type(value), dict(value)) == (OrderedDictValue, {"a": 1})


@pytest.mark.parametrize(
    "body",
    [
        asm.call("builtins", "set", ints(5)),
        asm.call("builtins", "set", asm.text("abc")),
        asm.call("builtins", "set", asm.EMPTY_LIST, asm.EMPTY_LIST),
        asm.call("builtins", "set", asm.listing(asm.EMPTY_LIST)),
        asm.call("builtins", "set", asm.listing(asm.long1(2**64))),
        asm.call("builtins", "frozenset", asm.EMPTY_DICT),
        asm.call("builtins", "bytearray", ints(10**12)),
        asm.call("builtins", "bytearray", asm.text("x"), asm.text("zip")),
        asm.call("builtins", "bytearray", asm.text("x"), asm.text("latin-1"), asm.text("ignore")),
        asm.call("builtins", "bytes", ints(10**12)),
        asm.call("builtins", "complex", asm.text("1")),
        asm.call("builtins", "complex", ints(1), ints(1)),
        asm.call("_codecs", "encode", asm.text("x"), asm.text("rot13")),
        asm.call("_codecs", "encode", asm.text("x")),
        asm.call("_codecs", "encode", asm.short_bytes(b"x"), asm.text("latin1")),
        asm.call("torch.serialization", "_get_layout", asm.text("torch.nosuch")),
        asm.call("torch.serialization", "_get_layout", ints(1)),
        asm.call("collections", "OrderedDict", asm.EMPTY_DICT),
        asm.call("collections", "OrderedDict", asm.listing(numbers(1, 2, 3))),
        asm.call("collections", "OrderedDict", asm.listing(asm.listing(asm.EMPTY_LIST, ints(1)))),
        asm.call("collections", "OrderedDict", asm.EMPTY_LIST, asm.EMPTY_LIST),
    ],
)
def test_other_arguments_stay_data(body):
    """What an inert function is never given by pickle becomes an opaque value; no work is done for it."""
    value = value_of(body)
    assert type(value) is Opaque


def test_a_codec_that_cannot_encode_ends_the_reading():
    """Characters beyond Latin-1 are in no such call that pickle writes."""
    assert refusal(asm.program(asm.call("_codecs", "encode", asm.text("日"), asm.text("latin1")))) == "malformed-pickle"


def test_copies_have_a_budget():
    """The same list, given to set() again and again, must not cost its length each time."""
    budgets = replace(BUDGETS, copied_items=10_000)
    items = asm.listing(*[ints(1)] * 900) + asm.put(0) + asm.POP
    for name, args in (("set", asm.get(0)), ("frozenset", asm.get(0))):
        body = items + b"".join(asm.call("builtins", name, args) + asm.POP for _ in range(12)) + asm.NONE
        assert refusal(asm.program(body), budgets) == "pickle-bomb"
    pairs = asm.listing(*[numbers(1, 2)] * 900) + asm.put(0) + asm.POP
    body = pairs + b"".join(asm.call("collections", "OrderedDict", asm.get(0)) + asm.POP for _ in range(12)) + asm.NONE
    assert refusal(asm.program(body), budgets) == "pickle-bomb"
    for held, call in (
        (asm.text("x" * 60_000), asm.call("_codecs", "encode", asm.get(0), asm.text("latin1"))),
        (asm.text("x" * 60_000), asm.call("builtins", "bytearray", asm.get(0), asm.text("latin1"))),
        (b"B" + (60_000).to_bytes(4, "little") + b"x" * 60_000, asm.call("builtins", "bytearray", asm.get(0))),
    ):
        body = held + asm.put(0) + asm.POP + (call + asm.POP) * 12 + asm.NONE
        assert refusal(asm.program(body), budgets) == "pickle-bomb"
    empty = asm.call("builtins", "set") + asm.POP
    assert refusal(asm.program(empty * 2000 + asm.NONE), budgets) == "pickle-bomb"


# Keys that collide ----------------------------------------------------------------------------------------------------


def test_far_numbers_have_a_budget():
    """Numbers hash to themselves: large ones can be chosen to collide, so their number times the dict's size is bounded."""
    budgets = replace(BUDGETS, number_probes=10_000)
    near = b"".join(ints(i) + asm.NONE for i in range(2000))
    far = b"".join(ints(i << 20) + asm.NONE for i in range(1, 2000))
    reals = b"".join(asm.real(float(i)) + asm.NONE for i in range(2000))
    assert codes_of(asm.EMPTY_DICT + asm.MARK + near + asm.SETITEMS, budgets) == []
    few = b"".join(ints(i << 20) + asm.NONE for i in range(1, 100))
    assert codes_of(asm.EMPTY_DICT + asm.MARK + few + asm.SETITEMS, budgets) == []
    steps = b"".join(ints(i * 3) + asm.NONE for i in range(2000))
    for many in (far, reals, steps):
        body = asm.EMPTY_DICT + asm.MARK + asm.text("a") + asm.NONE + many + asm.SETITEMS
        value, host = read(asm.program(body), budgets)
        assert [problem.code for problem in host.problems] == ["not-rebuilt"]
        assert value == {"a": None}
        assert codes_of(body) == []


def test_far_numbers_count_over_all_dicts_and_sets():
    """Many small dicts cost as much as a large one, and sets are counted with them."""
    budgets = replace(BUDGETS, number_probes=10_000)
    far = b"".join(ints(i << 20) for i in range(1, 91))
    for make, kind in (
        (asm.EMPTY_SET + asm.MARK + far + asm.ADDITEMS, set),
        (asm.MARK + far + b"\x91", frozenset),
        (asm.call("builtins", "set", asm.EMPTY_LIST + asm.MARK + far + asm.APPENDS), set),
    ):
        first, second = read(asm.program(asm.sequence(make, make)), budgets)[0]
        assert (type(first), len(first)) == (kind, 90)
        assert type(second) is Opaque or not second
    pairs = b"".join(numbers(i << 20, 1) for i in range(1, 91))
    body = asm.call("collections", "OrderedDict", asm.EMPTY_LIST + asm.MARK + pairs + asm.APPENDS)
    first, second = read(asm.program(asm.sequence(body, body)), budgets)[0]
    assert (type(first), type(second)) == (OrderedDictValue, Opaque)


def test_tuple_keys_have_a_budget():
    """A few schedulers have tuples as keys; thousands of them could be made to collide."""
    budgets = replace(BUDGETS, tuple_keys=10)
    for count, codes in ((10, []), (11, ["odd-dict-key"])):
        keys = b"".join(numbers(i, i) + asm.NONE for i in range(count))
        assert codes_of(asm.EMPTY_DICT + asm.MARK + keys + asm.SETITEMS, budgets) == codes


def test_globals_have_a_budget():
    """A file names some hundred globals at most."""
    budgets = replace(BUDGETS, globals=5)
    body = b"".join(asm.named("m", f"n{i}") + asm.POP for i in range(5))
    read(asm.program(body * 2 + asm.NONE), budgets)
    assert refusal(asm.program(body + asm.named("m", "n5")), budgets) == "pickle-bomb"


def test_problems_are_few():
    """A file with a million problems says the first hundred."""
    body = asm.listing(*[asm.tensor(offset=9)] * 300)
    assert codes_of(body) == ["tensor-out-of-bounds"] * 100


def test_a_host_refuses_a_call_of_what_is_no_name():
    """Only names, and the results of calls that were not made, can be called."""
    with pytest.raises(PickleError, match="no name"):
        Builder().call("os.system", ())
    assert type(Builder().call(Global("a", "b"), ())) is Opaque
