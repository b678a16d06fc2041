"""Tensors that say what is not so: sizes, strides, offsets, dtypes and storages that lie.  All CRCs are right."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.corpus import asm, zips
from tests.corpus.case import DECEIT, NOT_OK, Case, raw


def cases() -> list[Case]:
    """Give all of them."""
    return [*_views(), *_storages(), *_rebuilds()]


def _views() -> Iterator[Case]:
    """One tensor over four floats, described wrongly."""
    wrong = {
        "negative size": asm.tensor(size=(-1, 2)),
        "negative stride": asm.tensor(stride=(-2, 1), offset=2),
        "negative offset": asm.tensor(offset=-1),
        "one element too many": asm.tensor(size=(5,), stride=(1,)),
        "offset beyond": asm.tensor(offset=1),
        "stride beyond": asm.tensor(stride=(3, 1)),
        "far beyond": asm.tensor(size=(2**40,), stride=(1,)),
        "expanded to 2^40": asm.tensor(size=(2**40,), stride=(0,)),
        "expanded to 2^60": asm.tensor(size=(2**30, 2**30), stride=(0, 0)),
        "product beyond 64 bits": asm.tensor(size=(2**40, 2**40), stride=(0, 0)),
        "size beyond 64 bits": asm.tensor(size=(2**70,), stride=(0,)),
        "stride beyond 64 bits": asm.tensor(size=(1,), stride=(2**70,)),
        "offset beyond 64 bits": asm.tensor(size=(1,), stride=(1,), offset=2**70),
        "empty with a huge offset": asm.tensor(size=(0,), stride=(1,), offset=2**50),
        "overlap by odd strides": asm.tensor(size=(2**20, 2**20), stride=(0, 0)),
        "rank 65": asm.tensor(size=(1,) * 65, stride=(1,) * 65),
        "rank 100": asm.tensor(size=(1,) * 100, stride=(1,) * 100),
        "rank 10,000": asm.tensor(size=(1,) * 10_000, stride=(1,) * 10_000),
        "ranks differ": asm.tensor(size=(2, 2), stride=(1,)),
        "bool as size": asm.tensor(size=asm.sequence(asm.TRUE, asm.integer(2))),
        "float as size": asm.tensor(size=asm.sequence(asm.real(2.0), asm.integer(2))),
        "text as size": asm.tensor(size=asm.text("22")),
        "None as size": asm.tensor(size=asm.NONE),
        "bool as offset": asm.tensor(size=(1,), stride=(1,), offset=asm.TRUE),
        "float as offset": asm.tensor(size=(1,), stride=(1,), offset=asm.real(0.0)),
        "text as requires_grad": asm.tensor(requires_grad=asm.text("yes")),
        "text as hooks": asm.tensor(hooks=asm.text("x")),
        "a hook": asm.tensor(
            hooks=asm.call("collections", "OrderedDict") + asm.integer(1) + asm.named("torch", "relu") + asm.SETITEM
        ),
        "text as storage": asm.tensor(asm.text("0")),
        "a tensor as storage": asm.tensor(asm.tensor()),
    }
    for name, body in wrong.items():
        yield raw(f"tensor-{name}", zips.checkpoint(asm.program(asm.mapping({"w": body}))), NOT_OK, name)


def _storages() -> Iterator[Case]:
    """Storages that are not what their references say."""
    two = struct.pack("<2f", 1, 2)
    four = zips.FOUR_FLOATS
    honest = asm.tensor()
    flat = {"size": (2,), "stride": (1,)}

    def held(**fields: object) -> bytes:
        return asm.tensor(asm.storage(**fields), **flat)

    bodies: dict[str, tuple[dict[str, bytes], dict[str, bytes]]] = {
        "record too short": ({"w": honest}, {"0": two}),
        "record too long": ({"w": honest}, {"0": four * 2}),
        "record empty": ({"w": honest}, {"0": b""}),
        "record missing": ({"w": honest}, {}),
        "record not referenced": ({"w": honest}, {"0": four, "1": four}),
        "two dtypes for one key": ({"w": honest, "x": held(kind="IntStorage")}, {"0": four}),
        "two widths for one key": ({"w": honest, "x": held(kind="DoubleStorage", numel=2)}, {"0": four}),
        "two lengths for one key": ({"w": honest, "x": held(numel=2)}, {"0": four}),
        "two locations for one key": ({"w": honest, "x": asm.tensor(asm.storage(location="cuda:0"))}, {"0": four}),
        "unknown storage class": ({"w": held(kind="EvilStorage")}, {"0": two}),
        "a dtype as storage class": ({"w": held(kind="float32")}, {"0": two}),
        "negative length": ({"w": asm.tensor(asm.storage(numel=-4))}, {"0": four}),
        "length beyond 64 bits": ({"w": asm.tensor(asm.storage(numel=2**70))}, {"0": four}),
        "bool as length": ({"w": asm.tensor(asm.storage(numel=asm.TRUE), size=(1,), stride=(1,))}, {"0": four[:4]}),
        "float as length": ({"w": asm.tensor(asm.storage(numel=asm.real(4.0)))}, {"0": four}),
        "key with a slash": ({"w": asm.tensor(asm.storage("../0"))}, {"../0": four}),
        "key empty": ({"w": asm.tensor(asm.storage(""))}, {"": four}),
    }
    for name, (tensors, storages) in bodies.items():
        yield raw(f"storage-{name}", zips.checkpoint(asm.program(asm.mapping(tensors)), storages), NOT_OK, name)
    number = (
        asm.sequence(asm.text("storage"), asm.named("torch", "FloatStorage"), asm.integer(0), asm.text("cpu"), asm.integer(4))
        + b"Q"
    )
    yield raw(
        "storage-number as key",
        zips.checkpoint(asm.program(asm.mapping({"w": asm.tensor(number)}))),
        NOT_OK,
        "a key that is no text",
    )
    nowhere = (
        asm.sequence(asm.text("storage"), asm.named("torch", "FloatStorage"), asm.text("0"), asm.integer(0), asm.integer(4))
        + b"Q"
    )
    yield raw(
        "storage-number as location",
        zips.checkpoint(asm.program(asm.mapping({"w": asm.tensor(nowhere)}))),
        NOT_OK,
        "no location",
    )


def _rebuilds() -> Iterator[Case]:
    """The other rebuild functions, with arguments that lie."""
    ints = asm.integer
    size, stride = asm.sequence(ints(2), ints(2)), asm.sequence(ints(2), ints(1))
    hooks = asm.call("collections", "OrderedDict")
    qint = asm.storage(kind="QInt8Storage", numel=4)
    bytes4 = {"0": b"\1\2\3\4"}
    coo = asm.call("torch.serialization", "_get_layout", asm.text("torch.sparse_coo"))
    affine, channel = asm.named("torch", "per_tensor_affine"), asm.named("torch", "per_channel_affine")
    scales = asm.listing(asm.real(0.1))

    def quantized(parameters: bytes) -> bytes:
        return asm.call("torch._utils", "_rebuild_qtensor", qint, ints(0), size, stride, parameters, asm.FALSE, hooks)

    def v3(dtype: bytes) -> bytes:
        untyped = asm.storage(kind="UntypedStorage", numel=16)
        return asm.call("torch._utils", "_rebuild_tensor_v3", untyped, ints(0), size, stride, asm.FALSE, hooks, dtype)

    bodies: dict[str, tuple[bytes, dict[str, bytes]]] = {
        "too few arguments": (asm.call("torch._utils", "_rebuild_tensor_v2", asm.storage()), {"0": zips.FOUR_FLOATS}),
        "too many arguments": (
            asm.call("torch._utils", "_rebuild_tensor", asm.storage(), ints(0), size, stride, *[asm.NONE] * 9),
            {"0": zips.FOUR_FLOATS},
        ),
        "requires_grad of integers": (
            asm.tensor(asm.storage(kind="IntStorage"), requires_grad=asm.TRUE),
            {"0": zips.FOUR_FLOATS},
        ),
        "parameter of a number": (asm.call("torch._utils", "_rebuild_parameter", ints(1), asm.TRUE, hooks), {}),
        "parameter of integers": (
            asm.call("torch._utils", "_rebuild_parameter", asm.tensor(asm.storage(kind="IntStorage")), asm.TRUE, hooks),
            {"0": zips.FOUR_FLOATS},
        ),
        "quantized, axis out of range": (quantized(asm.sequence(channel, scales, asm.listing(ints(0)), ints(9))), bytes4),
        "quantized, too few scales": (quantized(asm.sequence(channel, scales, asm.listing(ints(0)), ints(0))), bytes4),
        "quantized, scheme unknown": (quantized(asm.sequence(asm.named("torch", "float32"), asm.real(1.0), ints(0))), bytes4),
        "quantized, scale of text": (quantized(asm.sequence(affine, asm.text("x"), ints(0))), bytes4),
        "quantized, no parameters": (quantized(asm.EMPTY_TUPLE), bytes4),
        "quantized, of floats": (
            asm.call(
                "torch._utils",
                "_rebuild_qtensor",
                asm.storage(),
                ints(0),
                size,
                stride,
                asm.sequence(affine, asm.real(1.0), ints(0)),
                asm.FALSE,
                hooks,
            ),
            {"0": zips.FOUR_FLOATS},
        ),
        "sparse of numbers": (
            asm.call("torch._utils", "_rebuild_sparse_tensor", coo, asm.sequence(ints(1), ints(2), size, asm.TRUE)),
            {},
        ),
        "sparse, layout of text": (asm.call("torch._utils", "_rebuild_sparse_tensor", asm.text("coo"), asm.EMPTY_TUPLE), {}),
        "sparse, no data": (asm.call("torch._utils", "_rebuild_sparse_tensor", coo, asm.EMPTY_TUPLE), {}),
        "sparse, giant size": (
            asm.call(
                "torch._utils",
                "_rebuild_sparse_tensor",
                coo,
                asm.sequence(asm.tensor(), asm.tensor(), asm.sequence(ints(2**70)), asm.TRUE),
            ),
            {"0": zips.FOUR_FLOATS},
        ),
        "meta, negative": (
            asm.call(
                "torch._utils",
                "_rebuild_meta_tensor_no_storage",
                asm.named("torch", "float32"),
                asm.sequence(ints(-1)),
                asm.sequence(ints(1)),
                asm.FALSE,
            ),
            {},
        ),
        "meta, beyond 64 bits": (
            asm.call(
                "torch._utils",
                "_rebuild_meta_tensor_no_storage",
                asm.named("torch", "float32"),
                asm.sequence(ints(2**70)),
                asm.sequence(ints(1)),
                asm.FALSE,
            ),
            {},
        ),
        "v3, dtype of text": (v3(asm.text("float32")), {"0": zips.FOUR_FLOATS}),
        "v3, dtype wider than its bytes": (v3(asm.named("torch", "complex128")), {"0": zips.FOUR_FLOATS}),
        "v3, no dtype": (v3(asm.named("torch", "Size")), {"0": zips.FOUR_FLOATS}),
        "from numpy": (
            asm.call("torch._utils", "_rebuild_device_tensor_from_numpy", ints(1), asm.NONE, asm.text("cpu"), asm.FALSE),
            {},
        ),
    }
    for name, (body, storages) in bodies.items():
        yield raw(f"rebuild-{name}", zips.checkpoint(asm.program(asm.mapping({"w": body})), storages), NOT_OK | DECEIT, name)
