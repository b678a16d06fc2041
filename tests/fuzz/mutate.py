"""Bend a file: blindly, by the fields of a zip, or by the opcodes of the pickle inside, with checksums made right again.

Every function takes a random.Random and gives bytes, so that a seed and a number tell one mutation for ever.
"""

from __future__ import annotations

import io
import pickletools
import random
import struct
import zipfile
from collections.abc import Sequence

from tests.corpus import asm, zips

_NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    127,
    128,
    255,
    256,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_SIGNATURES = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08")
_OPCODES = [op.code.encode("latin1") for op in pickletools.opcodes]
_GLOBALS = (
    b"collections\nOrderedDict\n",
    b"torch._utils\n_rebuild_tensor_v2\n",
    b"torch._utils\n_rebuild_tensor_v3\n",
    b"torch._utils\n_rebuild_parameter\n",
    b"torch._utils\n_rebuild_parameter_with_state\n",
    b"torch._utils\n_rebuild_qtensor\n",
    b"torch._utils\n_rebuild_sparse_tensor\n",
    b"torch._utils\n_rebuild_meta_tensor_no_storage\n",
    b"torch._utils\n_rebuild_wrapper_subclass\n",
    b"torch._tensor\n_rebuild_from_type_v2\n",
    b"torch.serialization\n_get_layout\n",
    b"torch\nFloatStorage\n",
    b"torch\nQInt8Storage\n",
    b"torch\nSize\n",
    b"torch\ndevice\n",
    b"torch\nfloat32\n",
    b"torch\nper_tensor_affine\n",
    b"torch\nTensor\n",
    b"builtins\nset\n",
    b"builtins\nfrozenset\n",
    b"builtins\nbytearray\n",
    b"builtins\ncomplex\n",
    b"builtins\ngetattr\n",
    b"collections\nCounter\n",
    b"collections\ndefaultdict\n",
    b"_codecs\nencode\n",
    b"numpy\ndtype\n",
    b"numpy._core.multiarray\nscalar\n",
    b"numpy._core.multiarray\n_reconstruct\n",
    b"numpy._core.numeric\n_frombuffer\n",
    b"datetime\ndatetime\n",
    b"datetime\ntimedelta\n",
    b"pathlib\nPosixPath\n",
    b"argparse\nNamespace\n",
    b"my.models\nNet\n",
    b"os\nsystem\n",
)


def mutate(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Take a seed and bend it one to four times."""
    data = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        data = rng.choice(_WAYS)(rng, data, seeds)[: 1 << 20]
    return data


def _flip(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    if not data:
        return data
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _overwrite(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    width = rng.choice((1, 2, 4, 8))
    if len(data) < width:
        return data
    at = rng.randrange(len(data) - width + 1)
    return data[:at] + _number(rng, width) + data[at + width :]


def _number(rng: random.Random, width: int) -> bytes:
    value = rng.choice(_NUMBERS) if rng.random() < 0.8 else rng.getrandbits(8 * width)
    return (value % (1 << 8 * width)).to_bytes(width, rng.choice(("little", "little", "big")))


def _cut(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return rng.choice(
        (data[:start], data[:start] + data[end:], data[start:], data + data[start:end], data[:end] + data[start:])
    )


def _insert(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    what = rng.choice((rng.randbytes(rng.randrange(1, 20)), b"\0" * rng.randrange(1, 600), rng.choice(_SIGNATURES), b"."))
    return data[:at] + what + data[at:]


def _splice(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = rng.choice(seeds)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _zip_field(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Put an interesting number into some field behind some zip signature."""
    mark = rng.choice(_SIGNATURES)
    places = [i for i in range(len(data) - 4) if data[i : i + 4] == mark] if mark in data else []
    if not places:
        return _overwrite(rng, data, seeds)
    at = rng.choice(places) + rng.randrange(4, 58)
    number = _number(rng, rng.choice((2, 4, 8)))
    return data[:at] + number + data[at + len(number) :]


def _members(data: bytes) -> list[zips.Member] | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [zips.Member(info.filename.encode(), archive.read(info)) for info in archive.infolist()]
    except Exception:  # zipfile raises what it likes on bent files
        return None


def _zip_member(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Write a zip anew with one member dropped, doubled, renamed, bent or lied about; all checksums are right."""
    members = _members(data)
    if not members:
        return _splice(rng, data, seeds)
    at = rng.randrange(len(members))
    member = members[at]
    field = rng.choice(("crc", "size", "packed", "flags", "method"))
    lies = {field: int.from_bytes(_number(rng, 2 if field in ("flags", "method") else 4), "little")}
    changed = rng.choice(
        (
            [],
            [member, member],
            [zips.Member(member.name.swapcase(), member.data)],
            [zips.Member(member.name + rng.choice((b"0", b"/", b"\0", b".pkl")), member.data)],
            [zips.Member(member.name, _flip(rng, member.data, seeds))],
            [zips.Member(member.name, _cut(rng, member.data, seeds))],
            [zips.Member(member.name, member.data, local=lies)],
            [zips.Member(member.name, member.data, central=lies)],
            [member, zips.Member(member.name.rpartition(b"/")[0] + b"/" + rng.randbytes(3).hex().encode(), b"x")],
        )
    )
    return zips.make_zip([*members[:at], *changed, *members[at + 1 :]])


def _pickle_inside(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Bend the opcodes of the pickle in a zip, or of the file itself when it is no zip."""
    members = _members(data)
    if not members:
        return _opcodes(rng, data)
    pickles = [m for m in members if m.name.endswith(b".pkl")]
    if not pickles:
        return _zip_member(rng, data, seeds)
    chosen = rng.choice(pickles)
    bent = zips.Member(chosen.name, _opcodes(rng, chosen.data))
    return zips.make_zip([bent if m is chosen else m for m in members])


def _opcodes(rng: random.Random, data: bytes) -> bytes:
    """Drop, double, move, swap, replace or insert whole opcodes."""
    starts = _starts(data)
    if len(starts) < 3:
        return _flip(rng, data, ())
    ops = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, other = rng.randrange(1, len(ops)), rng.randrange(1, len(ops))
        match rng.randrange(7):
            case 0:
                del ops[at]
            case 1:
                ops.insert(at, ops[other])
            case 2:
                ops[at], ops[other] = ops[other], ops[at]
            case 3:
                ops.insert(at, rng.choice(_OPCODES) + rng.randbytes(rng.choice((0, 0, 1, 4))))
            case 4:
                ops.insert(at, _atom(rng))
            case 5:
                ops[at] = _atom(rng)
            case _:
                ops[at] = _bent_argument(rng, ops[at])
        if len(ops) < 3:
            break
    return b"".join(ops)


def _starts(data: bytes) -> list[int]:
    found: list[int] = []
    try:
        for _, _, position in pickletools.genops(data):
            if position is not None:
                found.append(position)
            if len(found) > 5000:
                break
    except Exception:  # what was read so far is good enough to bend
        return found
    return found


def _atom(rng: random.Random) -> bytes:
    """Give a small piece of pickle code that pushes one value."""
    number = rng.choice(_NUMBERS) * rng.choice((1, -1))
    return rng.choice(
        (
            asm.integer(number),
            asm.real(rng.choice((0.0, 1.5, float("inf"), float("nan")))),
            asm.text(rng.choice(("0", "storage", "cpu", "weight", "\x1b[2J"))),
            asm.EMPTY_TUPLE,
            asm.EMPTY_LIST,
            asm.EMPTY_DICT,
            asm.EMPTY_SET,
            asm.NONE,
            asm.TRUE,
            asm.FALSE,
            asm.MARK,
            asm.get(rng.randrange(20)),
            asm.put(rng.randrange(20)),
            b"c" + rng.choice(_GLOBALS),
            b"c" + rng.choice(_GLOBALS) + asm.EMPTY_TUPLE + asm.REDUCE,
            b"c" + rng.choice(_GLOBALS) + asm.EMPTY_TUPLE + asm.NEWOBJ,
            asm.tensor(),
            asm.short_bytes(rng.randbytes(rng.randrange(9))),
        )
    )


def _bent_argument(rng: random.Random, op: bytes) -> bytes:
    code, argument = op[:1], op[1:]
    if code == b"c":
        return code + rng.choice(_GLOBALS)
    if code in b"KMJ":
        return asm.integer(rng.choice(_NUMBERS) * rng.choice((1, 1, -1)))
    if code == b"X" and len(argument) > 4:
        text = argument[4:][: rng.randrange(len(argument))] + rng.choice((b"", b"0", b"\n", b"\xff"))
        return code + struct.pack("<I", len(text)) + text
    return code + bytes(rng.randrange(256) for _ in argument)


_WAYS = (_flip, _overwrite, _cut, _insert, _splice, _zip_field, _zip_field, _zip_member, *[_pickle_inside] * 6)
