"""Damage: no cut and no flipped bit passes, and damage to a weight has the weight's name."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from ckptd.model import Inspection, Status
from tests.corpus import asm, good, objects, oldforms, savers, zips
from tests.fuzz.probe import inspect_bytes

_CUTS = {
    "zip-by-torch": lambda path: savers.save_zip(_two_tensors(), path),
    "zip-by-hand": lambda path: path.write_bytes(zips.checkpoint(asm.program(asm.state_dict()))),
    "no-crc": lambda path: savers.save_without_crc(_two_tensors(), path),
    "legacy": lambda path: savers.save_legacy(_two_tensors(), path),
    "tar": lambda path: path.write_bytes(oldforms.tar(asm.program(asm.mapping({"w": oldforms.tar_tensor()})))),
    "pickle": lambda path: savers.save_plain_pickle({"a": [1, 2.5, "x"], "b": b"yes"}, path),
    "torchscript": savers.save_traced,
}


def _two_tensors() -> dict[str, object]:
    import torch

    return {"conv6.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(3)}


@pytest.mark.parametrize("name", _CUTS)
def test_no_cut_passes(name, tmp_path):
    """A file that ends early, at whatever byte, is never ok."""
    path = tmp_path / "x.pth"
    _CUTS[name](path)
    whole = path.read_bytes()
    assert inspect_bytes(whole).status in (Status.OK, Status.NEEDS_CODE)
    step = max(1, len(whole) // 2000)
    ends = sorted({*range(0, len(whole), step), *range(len(whole) - 200, len(whole)), *range(min(200, len(whole)))})
    passed = [end for end in ends if inspect_bytes(whole[:end]).status in (Status.OK, Status.NEEDS_CODE)]
    assert not passed


def _unread(data: bytes) -> set[int]:
    """Give the positions in a zip that no reader uses: versions, times, attributes, padding in local extra fields."""
    found: set[int] = set()
    at = 0
    while data[at : at + 4] == b"PK\x03\x04":
        (flags,) = struct.unpack_from("<H", data, at + 6)
        size, name, extra = struct.unpack_from("<IHH", data, at + 22)
        found |= {at + 4, at + 5, *range(at + 10, at + 14), *range(at + 30 + name, at + 30 + name + extra)}
        if flags & 8:
            # torch leaves the local sizes empty; the next signature tells where this member ends.
            following = [i for i in (data.find(b"PK\x03\x04", at + 4), data.find(b"PK\x01\x02", at + 4)) if i > 0]
            at = min(following)
        else:
            at += 30 + name + extra + size
    while data[at : at + 4] == b"PK\x01\x02":
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        found |= {*range(at + 4, at + 8), *range(at + 12, at + 16), *range(at + 36, at + 42)}
        at += 46 + name + extra + comment
    return found


def _flips(data: bytes, every: int) -> list[int]:
    """Give bit positions: all of the headers at the end, and a seeded sample of the others."""
    bits = range(8 * len(data))
    return sorted(random.Random(7).sample(bits, len(bits) // every))


@pytest.mark.parametrize(("name", "every"), [("zip-by-torch", 6), ("zip-by-hand", 3)])
def test_no_flipped_bit_passes(name, every, tmp_path):
    """One wrong bit anywhere that a reader looks at: not ok; anywhere else: it is at least mentioned."""
    path = tmp_path / "x.pth"
    _CUTS[name](path)
    _check_flips(path.read_bytes(), every)


@pytest.mark.parametrize("name", ["zip-by-torch", "zip-by-hand"])
def test_no_flipped_bit_passes_of_all(name, tmp_path):
    """The same for every single bit."""
    path = tmp_path / "x.pth"
    _CUTS[name](path)
    _check_flips(path.read_bytes(), 1)


def _check_flips(whole: bytes, every: int) -> None:
    unread = _unread(whole)
    wrong = []
    for bit in _flips(whole, every):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        found = inspect_bytes(bytes(data))
        fine = found.status is not Status.OK or (bit // 8 in unread and found.findings)
        if not fine:
            wrong.append((bit // 8, bit % 8, whole[max(0, bit // 8 - 8) : bit // 8 + 8]))
    assert not wrong, f"{len(wrong)} flips passed: {wrong[:5]}"


@pytest.mark.parametrize("way", ["zip", "like-1.6"])
def test_damage_has_a_name(way, tmp_path):
    """A flipped bit in a storage is reported under the names of the tensors that look into it."""
    case = next(c for c in good.cases() if c.name == f"cnn_state_dict-{way}")
    whole = case.write(tmp_path).read_bytes()
    weight = objects.cnn_state_dict()["fc.weight"].numpy().tobytes()
    at = whole.index(weight) + len(weight) // 2
    found = inspect_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert found.status is Status.DAMAGED
    assert _named(found) == {"fc.weight"}


def test_damage_to_a_tied_storage_names_both(tmp_path):
    """Tied weights are damaged together."""
    import torch

    weight = torch.arange(32.0)
    path = tmp_path / "x.pth"
    torch.save({"embedding.weight": weight, "decoder.weight": weight.view(4, 8), "other": torch.ones(2)}, path)
    whole = path.read_bytes()
    at = whole.index(weight.numpy().tobytes()) + 7
    found = inspect_bytes(whole[:at] + bytes([whole[at] ^ 64]) + whole[at + 1 :])
    assert found.status is Status.DAMAGED
    assert _named(found) == {"embedding.weight", "decoder.weight"}


def _named(found: Inspection) -> set[str]:
    return {name for finding in found.findings if finding.severity == "error" for name in finding.tensors}


def test_a_changed_digest_is_another_digest(tmp_path: Path):
    """The digest is of the whole file, padding included."""
    whole = zips.checkpoint(asm.program(asm.state_dict()))
    at = whole.index(b"ZZZ")
    assert inspect_bytes(whole).sha256 != inspect_bytes(whole[:at] + b"Y" + whole[at + 1 :]).sha256
