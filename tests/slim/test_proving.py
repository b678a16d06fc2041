"""The proof stands by itself: it takes what torch wrote without the part, and nothing that differs in one bit."""

from __future__ import annotations

import collections
import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptd.slim.proving import prove_slim
from tests.corpus import objects, savers, zips
from tests.slim.slimmed import opened


def prove(source: Path, target: Path, *dropped: str) -> dict[str, Any]:
    """Compare two files."""
    fds = [os.open(path, os.O_RDONLY) for path in (source, target)]
    try:
        return prove_slim(fds[0], fds[1], dropped, lambda _: None)
    finally:
        for fd in fds:
            os.close(fd)


@pytest.fixture(scope="module")
def value() -> dict[str, Any]:
    """A checkpoint with everything that could get lost."""
    import torch

    model, optimizer = objects.trained("Adam")
    shared = [1, 2]
    state = model.state_dict()
    state["tied"] = state["fc.weight"]
    return {
        "optimizer": optimizer.state_dict(),
        "state_dict": state,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "leaf": torch.ones(2, requires_grad=True),
        "grid": torch.arange(6.0).reshape(2, 3),
        "values": {"flag": True, "zero": 0.0, "list": [1], "text": "a", "one": shared, "same": shared},
        "size": torch.Size([2, 3]),
        "other": collections.OrderedDict(a=1),
    }


@pytest.mark.parametrize("way", ["zip", "legacy", "stream"])
def test_what_torch_writes_without_the_part_is_taken(tmp_path, value, way):
    """The proof does not ask who wrote a file, nor how its storages are called."""
    {"zip": savers.save_zip, "legacy": savers.save_legacy, "stream": savers.save_to_stream}[way](value, tmp_path / "a.pth")
    savers.save_zip({key: part for key, part in value.items() if key != "optimizer"}, tmp_path / "b.pth")
    found = prove(tmp_path / "a.pth", tmp_path / "b.pth", "optimizer")
    assert set(found) == {"sha256", "source_sha256", "tensors", "checked_bytes"}, found
    assert found["tensors"] == 13


def _flip(value: dict[str, Any]) -> None:
    value["state_dict"]["conv1.bias"].view(dtype=__import__("torch").int32)[0] ^= 1


def _untie(value: dict[str, Any]) -> None:
    value["state_dict"]["tied"] = value["state_dict"]["tied"].clone()


def _tie(value: dict[str, Any]) -> None:
    value["leaf"] = value["parameter"].detach().requires_grad_()


def _reorder(value: dict[str, Any]) -> None:
    value["values"] = value.pop("values")


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a bit": _flip,
    "untied": _untie,
    "tied": _tie,
    "one key less": lambda value: value.pop("values"),
    "one key more": lambda value: value.update(more=1),
    "another order": _reorder,
    "a bool is a number": lambda value: value["values"].update(flag=1),
    "a zero is negative": lambda value: value["values"].update(zero=-0.0),
    "a list is a tuple": lambda value: value["values"].update(list=(1,)),
    "a text": lambda value: value["values"].update(text="b"),
    "one list is two": lambda value: value["values"].update(same=[1, 2]),
    "no parameter": lambda value: value.update(parameter=value["parameter"].detach().requires_grad_()),
    "no gradient": lambda value: value.update(leaf=value["leaf"].detach()),
    "transposed": lambda value: value.update(grid=value["grid"].t().contiguous().t()),
    "another dtype": lambda value: value.update(grid=value["grid"].double()),
    "another part of the storage": lambda value: value.update(grid=value["grid"].as_strided((2, 3), (3, 1), 0)[:, :2]),
    "another size": lambda value: value.update(size=(2, 3)),
    "a plain dict": lambda value: value.update(other={"a": 1}),
    "metadata": lambda value: value["state_dict"]._metadata.popitem(),
    "no metadata": lambda value: value["state_dict"].__dict__.clear(),
    "the part is still there": lambda value: value.update(optimizer=1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_else_differs_is_refused(tmp_path, value, name):
    """One change at a time, each of a kind that a careless writer makes."""
    savers.save_zip(value, tmp_path / "a.pth")
    changed = copy.deepcopy({key: part for key, part in value.items() if key != "optimizer"})
    CHANGES[name](changed)
    savers.save_zip(changed, tmp_path / "b.pth")
    found = prove(tmp_path / "a.pth", tmp_path / "b.pth", "optimizer")
    assert found["refused"] == "it"
    assert found["why"].startswith("the smaller file is not the same without them:")


def test_where_storages_were_counts(tmp_path, value):
    """A file that says "cuda:0" loads to another place than one that says "cpu"."""
    savers.save_zip(value, tmp_path / "a.pth")
    savers.save_located("cuda:0")({key: part for key, part in value.items() if key != "optimizer"}, tmp_path / "b.pth")
    assert "place" in prove(tmp_path / "a.pth", tmp_path / "b.pth", "optimizer")["why"]


def test_the_byte_order_counts(tmp_path):
    """The same bytes mean other numbers."""
    import torch

    savers.save_zip({"w": torch.zeros(3), "optimizer": 1}, tmp_path / "a.pth")
    savers.save_big_endian({"w": torch.zeros(3)}, tmp_path / "b.pth")
    assert "byte order" in prove(tmp_path / "a.pth", tmp_path / "b.pth", "optimizer")["why"]


def test_calls_that_mean_the_same_to_the_reader_are_not_the_same(tmp_path):
    """The reader sees one tensor where torch is told to make it by another function: the calls are compared, too."""
    from tests.corpus import asm

    held = asm.storage()
    old = asm.named("torch._utils", "_rebuild_tensor") + asm.sequence(
        held, asm.integer(0), asm.sequence(asm.integer(4)), asm.sequence(asm.integer(1))
    )
    new = asm.tensor(held, size=(4,), stride=(1,))
    for name, tensor, more in (("a", new, asm.text("gone") + asm.integer(1)), ("b", old + asm.REDUCE, b""), ("c", new, b"")):
        body = asm.EMPTY_DICT + asm.MARK + asm.text("w") + tensor + more + asm.SETITEMS
        (tmp_path / name).write_bytes(zips.checkpoint(asm.program(body)))
    assert "another name" in prove(tmp_path / "a", tmp_path / "b", "gone")["why"]
    assert "refused" not in prove(tmp_path / "a", tmp_path / "c", "gone")


def test_a_smaller_file_of_another_sort_is_refused(tmp_path, value):
    """Today's zip, whole, and with nothing in it that nothing refers to: else it is none that this room writes."""
    from tests.corpus import asm

    kept = {key: part for key, part in value.items() if key != "optimizer"}
    savers.save_zip(value, tmp_path / "a.pth")
    savers.save_legacy(kept, tmp_path / "b.pth")
    savers.save_zip(kept, tmp_path / "c.pth")
    with (tmp_path / "c.pth").open("ab") as file:
        file.write(b"more")
    for name in ("b.pth", "c.pth"):
        assert "can't be read as the larger one can" in prove(tmp_path / "a.pth", tmp_path / name, "optimizer")["why"]
    body = asm.EMPTY_DICT + asm.MARK + asm.text("w") + asm.tensor() + asm.SETITEMS
    whole = asm.EMPTY_DICT + asm.MARK + asm.text("w") + asm.tensor() + asm.text("gone") + asm.NONE + asm.SETITEMS
    forgotten = asm.tensor(asm.storage("1")) + asm.POP + body
    floats = {"0": zips.FOUR_FLOATS, "1": zips.FOUR_FLOATS}
    (tmp_path / "d").write_bytes(zips.checkpoint(asm.program(whole)))
    (tmp_path / "e").write_bytes(zips.checkpoint(asm.program(forgotten), floats))
    assert "holds other storages" in prove(tmp_path / "d", tmp_path / "e", "gone")["why"]


@pytest.mark.parametrize("which", ["a", "b"])
def test_damage_in_either_file_is_refused(tmp_path, value, which):
    """A storage that does not match its CRC, whichever file and whether it stays or goes."""
    kept = {key: part for key, part in value.items() if key != "optimizer"}
    savers.save_zip(value, tmp_path / "a")
    savers.save_zip(kept, tmp_path / "b")
    for name in ("fc.weight", "exp_avg"):
        raw = bytearray((tmp_path / which).read_bytes())
        tensor = value["state_dict"]["fc.weight"] if name == "fc.weight" else value["optimizer"]["state"][4]["exp_avg"]
        at = raw.find(tensor.numpy().tobytes())
        if at < 0:
            assert (which, name) == ("b", "exp_avg")
            continue
        raw[at] ^= 1
        (tmp_path / "bent").write_bytes(raw)
        pair = (tmp_path / "bent", tmp_path / "b") if which == "a" else (tmp_path / "a", tmp_path / "bent")
        assert prove(*pair, "optimizer")["refused"] == "it"


def test_a_file_that_is_cut_short_meanwhile(tmp_path, value):
    """Who reads on behind the end says so, and proves nothing."""
    savers.save_zip(value, tmp_path / "a.pth")
    savers.save_zip({key: part for key, part in value.items() if key != "optimizer"}, tmp_path / "b.pth")

    def cut(_: int) -> None:
        os.truncate(tmp_path / "b.pth", 1000)

    with opened(tmp_path / "a.pth", tmp_path / "unused") as (source, _), (tmp_path / "b.pth").open("rb") as target:
        found = prove_slim(source, target.fileno(), ["optimizer"], cut)
    assert "refused" in found
