"""Names that must not be called: every gadget in every container, every opcode that can call, every place that can hold one."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterator

from ckptd.model import Status
from tests.corpus import asm, gadgets, oldforms, zips
from tests.corpus.case import NOT_OK, Case, raw

_UNSAFE = frozenset({Status.UNSAFE})
_NOT_RUN = frozenset({Status.UNSAFE, Status.NEEDS_CODE})


def cases(canary: str) -> list[Case]:
    """Give all of them; each leaves the canary when it runs."""
    return [*_gadgets(canary), *_opcodes(canary), *_places(canary), *_protocols(canary), *_corners(canary)]


def _wrapped(body: bytes, protocol: int = 2) -> dict[str, bytes]:
    """One pickle in every container."""
    whole = asm.program(body, protocol)
    script = [zips.Member(b"archive/constants.pkl", asm.program(asm.EMPTY_TUPLE)), zips.Member(b"archive/code/x.py", b"")]
    return {
        "zip": zips.checkpoint(whole, {}),
        "legacy": oldforms.legacy(whole, {}),
        "tar": oldforms.tar(whole, (), ()),
        "pickle": whole,
        "torchscript": zips.make_zip([*zips.records(whole, {}), *script]),
    }


def _gadgets(canary: str) -> Iterator[Case]:
    for statuses, found in ((_UNSAFE, gadgets.certain(canary)), (_NOT_RUN, gadgets.exotic(canary))):
        for gadget in found:
            body = asm.mapping({"w": asm.integer(1), "x": gadget.code})
            for container, data in _wrapped(body).items():
                name = f"gadget-{gadget.module}.{gadget.name}-{container}"
                yield raw(name, data, statuses, f"{gadget.module}.{gadget.name} is named in a {container}")


def _opcodes(canary: str) -> Iterator[Case]:
    """Every opcode that makes the unpickler call, import or look something up."""
    argument = asm.text(f"touch {canary}")
    target = asm.named("os", "system")
    bodies = {
        "GLOBAL alone": target,
        "REDUCE": target + asm.sequence(argument) + asm.REDUCE,
        "STACK_GLOBAL": asm.stack_global("os", "system") + asm.sequence(argument) + asm.REDUCE,
        "INST": asm.MARK + argument + b"ios\nsystem\n",
        "OBJ": asm.MARK + target + argument + asm.OBJ,
        "NEWOBJ": target + asm.sequence(argument) + asm.NEWOBJ,
        "NEWOBJ_EX": target + asm.sequence(argument) + asm.EMPTY_DICT + asm.NEWOBJ_EX,
        "BUILD of a callable": target + asm.mapping({"x": argument}) + asm.BUILD,
        "dotted name": asm.stack_global("torch.serialization", "os.system") + asm.sequence(argument) + asm.REDUCE,
        "dotted name by GLOBAL": asm.named("torch.serialization", "os.system") + asm.sequence(argument) + asm.REDUCE,
        "name by memo": asm.short_text("os") + asm.put(0) + asm.POP + asm.get(0) + asm.short_text("system") + asm.STACK_GLOBAL,
        "name by unicode8": b"\x8d" + (2).to_bytes(8, "little") + b"os" + asm.short_text("system") + asm.STACK_GLOBAL,
        "called and dropped": target + asm.sequence(argument) + asm.REDUCE + asm.POP + asm.EMPTY_DICT,
        "dropped by mark": asm.MARK + target + asm.sequence(argument) + asm.REDUCE + asm.POP_MARK + asm.EMPTY_DICT,
        "chain of getattr": _getattr_chain(argument),
    }
    for name, body in bodies.items():
        for container, data in _wrapped(body, 4 if "\x93" in body.decode("latin1") else 2).items():
            yield raw(f"opcode-{name}-{container}", data, _UNSAFE, f"os.system by {name}")
    for opcode, body in {"EXT1": b"\x82\x05", "EXT2": b"\x83\x05\x00", "EXT4": b"\x84\x05\x00\x00\x00"}.items():
        for container, data in _wrapped(body + asm.EMPTY_TUPLE + asm.REDUCE).items():
            yield raw(f"opcode-{opcode}-{container}", data, NOT_OK, "an extension code names what only this machine knows")


def _getattr_chain(argument: bytes) -> bytes:
    module = asm.call("builtins", "__import__", asm.text("os"))
    return asm.call("builtins", "getattr", module, asm.text("system")) + asm.sequence(argument) + asm.REDUCE


def _places(canary: str) -> Iterator[Case]:
    """Every place in which a checkpoint can hold a value."""
    evil = asm.call("os", "system", asm.text(f"touch {canary}"))
    ordered = asm.named("collections", "OrderedDict")
    held = asm.storage
    places = {
        "root": evil,
        "dict key": asm.EMPTY_DICT + evil + asm.integer(1) + asm.SETITEM,
        "list": asm.state_dict(x=asm.listing(evil)),
        "tuple": asm.state_dict(x=asm.sequence(evil)),
        "OrderedDict state": ordered + asm.EMPTY_TUPLE + asm.REDUCE + asm.mapping({"_metadata": evil}) + asm.BUILD,
        "OrderedDict argument": ordered + asm.sequence(asm.listing(asm.listing(asm.text("k"), evil))) + asm.REDUCE,
        "OrderedDict item": ordered + asm.EMPTY_TUPLE + asm.REDUCE + asm.text("k") + evil + asm.SETITEM,
        "backward hooks": asm.state_dict(x=asm.tensor(hooks=evil)),
        "hooks item": asm.state_dict(
            x=asm.tensor(hooks=ordered + asm.EMPTY_TUPLE + asm.REDUCE + asm.integer(1) + evil + asm.SETITEM)
        ),
        "requires_grad": asm.state_dict(x=asm.tensor(requires_grad=evil)),
        "tensor metadata": asm.state_dict(x=asm.tensor(metadata=evil)),
        "tensor size": asm.state_dict(x=asm.tensor(size=evil)),
        "tensor offset": asm.state_dict(x=asm.tensor(offset=evil)),
        "storage itself": asm.state_dict(x=asm.tensor(evil)),
        "storage class": asm.state_dict(
            x=asm.tensor(
                asm.sequence(asm.text("storage"), asm.named("os", "system"), asm.text("0"), asm.text("cpu"), asm.integer(4))
                + b"Q"
            )
        ),
        "storage location": asm.state_dict(
            x=asm.tensor(
                asm.sequence(asm.text("storage"), asm.named("torch", "FloatStorage"), asm.text("0"), evil, asm.integer(4))
                + b"Q"
            )
        ),
        "persistent id": evil + asm.BINPERSID,
        "set": asm.call("builtins", "set", asm.listing(evil)),
        "bytearray": asm.call("builtins", "bytearray", evil),
        "Counter": asm.call("collections", "Counter", evil),
        "default factory": asm.call("collections", "defaultdict", asm.named("os", "system")),
        "parameter state": asm.call(
            "torch._utils", "_rebuild_parameter_with_state", asm.tensor(), asm.TRUE, asm.EMPTY_DICT, evil
        ),
        "rebuild type": asm.call(
            "torch._tensor",
            "_rebuild_from_type_v2",
            asm.named("os", "system"),
            asm.named("torch", "Tensor"),
            asm.EMPTY_TUPLE,
            asm.NONE,
        ),
        "subclass type": asm.call(
            "torch._tensor",
            "_rebuild_from_type_v2",
            asm.named("torch._utils", "_rebuild_tensor_v2"),
            asm.named("os", "system"),
            asm.sequence(
                held(), asm.integer(0), asm.sequence(asm.integer(2)), asm.sequence(asm.integer(1)), asm.FALSE, asm.EMPTY_DICT
            ),
            asm.EMPTY_DICT,
        ),
        "numpy scalar": asm.call("numpy.core.multiarray", "scalar", evil, asm.text("x")),
        "Namespace state": asm.named("argparse", "Namespace")
        + asm.EMPTY_TUPLE
        + asm.NEWOBJ
        + asm.mapping({"lr": evil})
        + asm.BUILD,
        "state of an unknown class": asm.named("my.models", "Net")
        + asm.EMPTY_TUPLE
        + asm.NEWOBJ
        + asm.mapping({"x": evil})
        + asm.BUILD,
        "codec": asm.call("_codecs", "encode", asm.text("x"), evil),
        "fetched from the memo": evil + asm.put(0) + asm.POP + asm.state_dict(x=asm.get(0)),
    }
    for name, body in places.items():
        yield raw(f"place-{name}", zips.checkpoint(asm.program(body)), _UNSAFE, f"os.system as {name}")


def _deflated(pickled: bytes) -> list[zips.Member]:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = stream.compress(pickled) + stream.flush()
    return zips.changed(zips.records(pickled, {}), "data.pkl", method=8, packed=packed)


def _protocols(canary: str) -> Iterator[Case]:
    for protocol in range(6):
        body = pickle.dumps({"x": gadgets.Payload(canary)}, protocol)
        files = {
            "zip": zips.checkpoint(body, {}),
            "legacy": oldforms.legacy(body, {}),
            "tar": oldforms.tar(body, (), ()),
            "pickle": body,
        }
        for container, data in files.items():
            # Protocols 0 and 1 are never written by torch; to name the gadget the reader would have to read their opcodes.
            statuses = _UNSAFE if protocol >= 2 else NOT_OK | {Status.NOT_A_CHECKPOINT}
            yield raw(f"protocol-{protocol}-{container}", data, statuses, f"os.system by pickle protocol {protocol}")


def _corners(canary: str) -> Iterator[Case]:
    """Pickles of a container that nobody looks at, and files that are damaged besides."""
    evil = asm.program(asm.call("os", "system", asm.text(f"touch {canary}")))
    good = asm.program(asm.state_dict())
    yield raw("legacy-evil-magic", evil + oldforms.legacy(good), _UNSAFE | NOT_OK, "the first pickle runs code")
    honest = oldforms.legacy(asm.program(asm.mapping({"w": oldforms.legacy_tensor()})))
    parts = [pickle.dumps(part, 2) for part in (oldforms.MAGIC, oldforms.LEGACY_PROTOCOL)]
    rest = honest[sum(map(len, parts)) :]
    yield raw("legacy-evil-sysinfo", b"".join(parts) + evil + rest, _UNSAFE, "the third pickle runs code")
    keys = honest.rindex(pickle.dumps(["0"], 2))
    yield raw("legacy-evil-keys", honest[:keys] + evil + honest[keys:], _UNSAFE, "the fifth pickle runs code")
    for member in ("storages", "tensors", "sys_info"):
        data = oldforms.tar(asm.program(asm.mapping({"w": oldforms.tar_tensor()})), members={member: evil})
        yield raw(f"tar-evil-{member}", data, _UNSAFE, f"the member {member} runs code")
    members = zips.changed(
        zips.records(asm.program(asm.EMPTY_DICT), {}), "data.pkl", data=evil, central={"crc": 1}, local={"crc": 1}
    )
    yield raw("evil-wrong-crc", zips.make_zip(members), _UNSAFE, "torch ignores CRCs: a wrong one does not make code harmless")
    yield raw("evil-then-garbage", zips.checkpoint(evil[:-1] + b"\xff\xff."), _UNSAFE, "code is named before the damage")
    yield raw("evil-truncated", evil[:-1], _UNSAFE | NOT_OK, "code is named, the end is missing")
    second = asm.program(asm.state_dict())[:-1] + b"." + evil
    yield raw("evil-after-stop", zips.checkpoint(second), _UNSAFE | NOT_OK, "a second pickle behind STOP")
    twice = [*zips.records(good), zips.Member(b"archive/data.pkl", evil)]
    yield raw("evil-duplicate", zips.make_zip(twice), _UNSAFE, "torch takes the last of two data.pkl")
    loud = zips.changed(zips.records(evil, {}), "data.pkl", name=b"archive/DATA.PKL")
    yield raw("evil-upper case", zips.make_zip(loud), _UNSAFE, "torch finds data.pkl in whatever case")
    yield raw("evil-deflated", zips.make_zip(_deflated(evil)), _UNSAFE, "torch inflates a pickle that is compressed")
    twin = [*zips.records(good), zips.Member(b"archive/DATA.PKL", evil)]
    yield raw("evil-case-twin", zips.make_zip(twin), _UNSAFE, "torch compares names without case")
