"""Real checkpoints, made smaller: torch loads what is left, and it is what was saved."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptd
from ckptd.checkpoint.reader import read_structure
from ckptd.slim.refusal import NothingToDropError, SlimError
from tests.corpus import good, objects, savers
from tests.corpus.compare import differences
from tests.slim.slimmed import slim

#: Every way of saving but one, whose elements all have to be of one size.
WAYS = {way: save for way, (_, save, _) in good._WAYS.items() if way != "big-endian"}


@pytest.fixture(scope="module")
def optimizer() -> dict[str, Any]:
    """State of Adam after real steps."""
    return objects.trained("Adam")[1].state_dict()


def load(path: Path, *, weights_only: bool) -> Any:
    """Load as torch does."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, weights_only=weights_only, map_location="cpu")


def check(source: Path, target: Path, dropped: tuple[str, ...]) -> None:
    """Make a smaller one, and compare all that torch loads of both."""
    found = slim(source, target)
    assert found.dropped == dropped
    assert found.size_bytes == target.stat().st_size < source.stat().st_size
    inspection = ckptd.inspect(target)
    assert found.sha256 == inspection.sha256
    assert found.source_sha256 == ckptd.inspect(source).sha256
    assert found.tensors == inspection.tensors.count
    assert found.checked_bytes == inspection.tensors.bytes
    loads = 0
    for weights_only in (True, False):
        try:
            whole = load(source, weights_only=weights_only)
        except Exception:  # torch's own safe loader takes less
            assert weights_only
            continue
        loads += 1
        left = load(target, weights_only=weights_only)
        for name in dropped:
            del whole[name]
        assert differences(whole, left) == []
    assert loads


#: What torch's objects can't be compared by: modules and optimizers have no value of their own.
COMPARED = [name for name in objects.SHAPES if name not in ("whole_module", "module_inside", "optimizer_object")]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", COMPARED)
def test_whatever_lies_beside_an_optimizer_stays(tmp_path, optimizer, name, place):
    """Every kind of tensor and value, before, between and behind what stays."""
    items = [("state_dict", objects.cnn_state_dict()), ("payload", objects.SHAPES[name].make())]
    items.insert(place, ("optimizer", optimizer))
    savers.save_zip(dict(items), tmp_path / "a.pth")
    check(tmp_path / "a.pth", tmp_path / "b.pth", ("optimizer",))


@pytest.mark.parametrize("way", WAYS)
def test_however_it_was_saved(tmp_path, optimizer, way):
    """Every protocol, the old container, other devices, without CRCs; what comes out is always today's zip."""
    import torch

    shared = [1, "cpu"]
    value = {
        "scheduler": {"last_epoch": 3, "_step_count": 4, "base_lrs": [0.1], "held": shared},
        "optimizer": {**optimizer, "held": shared},
        "state_dict": objects.cnn_state_dict() | {"half": torch.ones(3, dtype=torch.bfloat16)},
        "held": shared,
        "words": ["storage", "0", "optimizer", "exp_avg"],
        "values": objects.rarer_values(),
    }
    WAYS[way](value, tmp_path / "a.pth")
    check(tmp_path / "a.pth", tmp_path / "b.pth", ("scheduler", "optimizer"))
    names = [name.partition("/")[2] for name in zipfile.ZipFile(tmp_path / "b.pth").namelist()]
    assert names[:5] == ["data.pkl", ".format_version", ".storage_alignment", "byteorder", "data/0"]
    assert names[-2:] == ["version", ".data/serialization_id"]


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("zip") or way in ("stream", "cuda", "legacy")])
def test_it_is_the_file_that_torch_would_have_written(tmp_path, optimizer, way):
    """Every record but the id, byte for byte, is that of a checkpoint that never had an optimizer; frames left out."""
    from tests.slim.test_pruning import unframed

    kept = {"epoch": 3, "state_dict": objects.cnn_state_dict(), "held": ["cpu"]}
    WAYS[way]({"optimizer": optimizer, **kept}, tmp_path / "a.pth")
    slim(tmp_path / "a.pth", tmp_path / "b.pth")
    WAYS["zip" if way == "legacy" else way](kept, tmp_path / "c.pth")
    ours, theirs = (
        {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        for archive in map(zipfile.ZipFile, (tmp_path / "b.pth", tmp_path / "c.pth"))
    )
    theirs["data.pkl"] = unframed(theirs["data.pkl"])
    for records in (ours, theirs):
        del records[".data/serialization_id"]
    assert ours == theirs


def test_from_a_big_endian_machine(tmp_path, optimizer):
    """The bytes stay as they are, and the file says of which order they are."""
    only_floats = {
        "state": {key: {"exp_avg": part["exp_avg"]} for key, part in optimizer["state"].items()},
        "param_groups": [{"params": [0]}],
    }
    weights = {key: value for key, value in objects.cnn_state_dict().items() if value.is_floating_point()}
    savers.save_big_endian({"model": weights, "optimizer": only_floats}, tmp_path / "a.pth")
    check(tmp_path / "a.pth", tmp_path / "b.pth", ("optimizer",))
    assert differences(load(tmp_path / "b.pth", weights_only=True)["model"], weights) == []


def test_a_whole_training_goes_on_with_the_weights(tmp_path):
    """Schedulers and scalers go with the optimizer; the module loads its weights and computes the same."""
    import torch

    model, optimizer = objects.trained("SGD")
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    scaler = torch.amp.GradScaler("cpu", enabled=True)
    value = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "scaler": scaler.state_dict(),
        "ema": {key: tensor * 0.5 for key, tensor in model.state_dict().items()},
        "best_acc": 0.93,
    }
    torch.save(value, tmp_path / "a.pth")
    check(tmp_path / "a.pth", tmp_path / "b.pth", ("optimizer_state_dict", "scheduler_state_dict", "scaler"))
    assert ckptd.inspect(tmp_path / "b.pth").tensors.optimizer_bytes == 0
    other = objects.cnn()
    torch.nn.init.zeros_(other.fc.weight)
    left = torch.load(tmp_path / "b.pth")
    other.load_state_dict(left["model_state_dict"])
    inputs = torch.randn(2, 1, 8, 8)
    assert torch.equal(other.eval()(inputs), model.eval()(inputs))
    assert left["ema"].keys() == model.state_dict().keys()


def test_lightning(tmp_path):
    """What Lightning itself leaves out of a checkpoint of weights only; callbacks and loops stay."""
    value = objects.lightning()
    value["lr_schedulers"] = [{"last_epoch": 3, "_step_count": 4, "base_lrs": [0.1], "_last_lr": [0.1]}]
    savers.save_zip(value, tmp_path / "a.ckpt")
    check(tmp_path / "a.ckpt", tmp_path / "b.ckpt", ("optimizer_states", "lr_schedulers"))


def test_a_storage_that_both_look_into_stays(tmp_path, optimizer):
    """The optimizer's buffer is a view of the weights' memory: nothing of that memory goes."""
    import torch

    memory = torch.arange(10_000.0)
    held = {"state": {0: {"exp_avg": memory[:10], "exp_avg_sq": torch.ones(10_000)}}, "param_groups": [{"params": [0]}]}
    for name, value in {
        "first": {"optimizer": held, "model": {"w": memory[5:], "tied": memory[5:]}},
        "last": {"model": {"w": memory[5:], "tied": memory[5:]}, "optimizer": held},
    }.items():
        torch.save(value, tmp_path / f"{name}.pth")
        check(tmp_path / f"{name}.pth", tmp_path / "b.pth", ("optimizer",))
        left = torch.load(tmp_path / "b.pth")["model"]
        assert left["w"].untyped_storage().nbytes() == 40_000
        assert left["w"].data_ptr() == left["tied"].data_ptr()


def test_an_object_that_both_hold_stays(tmp_path, optimizer):
    """A tensor, a dict and a ring that were written with the optimizer are written with the weights then."""
    import torch

    ring: dict[str, Any] = {}
    ring["self"] = ring
    step = optimizer["state"][0]["step"]
    value = {
        "optimizer": {**optimizer, "ring": ring},
        "state_dict": objects.cnn_state_dict(),
        "hyper_parameters": {"groups": optimizer["param_groups"], "ring": ring, "step": step, "again": step},
    }
    torch.save(value, tmp_path / "a.pth")
    check(tmp_path / "a.pth", tmp_path / "b.pth", ("optimizer",))
    left = torch.load(tmp_path / "b.pth")["hyper_parameters"]
    assert left["ring"]["self"] is left["ring"]
    assert left["step"] is left["again"]


class Settings:
    """A class of somebody's own."""

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self.me = self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and other.lr == self.lr

    __hash__ = None  # type: ignore[assignment]  # that nothing can hash it is the case


def test_objects_of_unknown_classes_stay_as_calls(tmp_path, optimizer):
    """A file that needs code is cut without it, and Python makes the same object of what is left."""
    import torch

    settings = Settings(0.1)
    torch.save(
        {"optimizer": {**optimizer, "lr": 0.1}, "model": objects.cnn_state_dict(), "config": settings, "same": settings},
        tmp_path / "a.pth",
    )
    assert ckptd.inspect(tmp_path / "a.pth").status == "needs_code"
    slim(tmp_path / "a.pth", tmp_path / "b.pth")
    left = torch.load(tmp_path / "b.pth", weights_only=False)
    assert left["config"] is left["same"]
    assert left["config"].me is left["config"]
    assert left["config"].lr == 0.1


def test_code_that_was_only_in_the_optimizer_is_gone(tmp_path, optimizer):
    """What is left may be safer than what was there."""
    import torch

    torch.save({"optimizer": {**optimizer, "made_by": Settings(0.1)}, "model": objects.cnn_state_dict()}, tmp_path / "a.pth")
    slim(tmp_path / "a.pth", tmp_path / "b.pth")
    assert ckptd.inspect(tmp_path / "b.pth").status == "ok"


def test_every_way_in_which_torch_finds_storages(tmp_path, optimizer, monkeypatch):
    """Mapped, on the meta device, and by offsets that torch computes, with its own checks switched on."""
    import torch
    from torch.utils.serialization import config

    torch.save({"optimizer": optimizer, "model": objects.cnn_state_dict(), "none": torch.zeros(0)}, tmp_path / "a.pth")
    slim(tmp_path / "a.pth", tmp_path / "b.pth")
    whole = torch.load(tmp_path / "b.pth")
    monkeypatch.setenv("TORCH_SERIALIZATION_DEBUG", "1")
    with config.patch({"load.calculate_storage_offsets": True}):  # to set an attribute of it and back leaves torch broken
        for mapped in (True, False):
            assert differences(torch.load(tmp_path / "b.pth", mmap=mapped), whole) == []
    assert torch.load(tmp_path / "b.pth", map_location="meta")["model"]["fc.weight"].shape == (10, 144)


def test_nothing_is_slimmed_twice(tmp_path, optimizer):
    """What is left holds nothing more that could go."""
    savers.save_zip({"optimizer": optimizer, "model": objects.cnn_state_dict()}, tmp_path / "a.pth")
    slim(tmp_path / "a.pth", tmp_path / "b.pth")
    with pytest.raises(NothingToDropError, match="nothing at its top"):
        slim(tmp_path / "b.pth", tmp_path / "c.pth")
    assert (tmp_path / "c.pth").stat().st_size == 0


def _deep(value: Any) -> dict[str, Any]:
    return {"state": value}


@pytest.mark.parametrize(
    ("make", "error", "why"),
    [
        (lambda _: objects.cnn_state_dict(), SlimError, "no checkpoint of weights and more, but: state dict"),
        (lambda _: objects.cnn(), SlimError, "but: module"),
        (lambda opt: opt, SlimError, "but: optimizer"),
        (lambda opt: {"optimizer": opt, "epoch": 3}, SlimError, "nothing that is known as weights"),
        (lambda opt: _deep({"optimizer": opt, "model": objects.cnn_state_dict()}), NothingToDropError, "nothing at its top"),
        (lambda _: {"model": objects.cnn_state_dict(), "optimizer": 3}, NothingToDropError, "nothing at its top"),
        (lambda opt: {"model": objects.cnn_state_dict(), "opt": opt, "m": {"opt": opt}}, NothingToDropError, "no smaller than"),
    ],
)
def test_what_is_not_made_smaller(tmp_path, optimizer, make: Callable[[Any], Any], error, why):
    """Each with its reason, and without a byte written."""
    savers.save_zip(make(optimizer), tmp_path / "a.pth")
    with pytest.raises(error, match=why):
        slim(tmp_path / "a.pth", tmp_path / "b.pth")
    assert (tmp_path / "b.pth").stat().st_size == 0


class Command:
    """What a pickle of hostile intent holds."""

    def __reduce__(self):
        import os

        return os.system, ("touch canary",)


def _with_bad_indices(opt: Any) -> Any:
    import torch

    return {
        "model": objects.cnn_state_dict(),
        "optimizer": opt,
        "s": torch.sparse_coo_tensor([[7]], [1.0], (2,), check_invariants=False),
    }


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda opt: {"model": objects.cnn_state_dict(), "optimizer": opt, "x": Command()}, "it is unsafe"),
        (lambda opt: {"model": objects.cnn_state_dict(), "optimizer": {**opt, "x": Command()}}, "it is unsafe"),
        (_with_bad_indices, "it is damaged"),
    ],
)
def test_the_unsafe_and_the_damaged_are_never_made_smaller(tmp_path, optimizer, monkeypatch, make, why):
    """Not even where the danger is in the part that would go; and not one byte is written first."""
    savers.save_zip(make(optimizer), tmp_path / "a.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(os, "pwrite")
    with pytest.raises(SlimError, match=why):
        slim(tmp_path / "a.pth", tmp_path / "b.pth")
    assert not (tmp_path / "canary").exists()


class Odd(dict):  # type: ignore[type-arg]  # its keys are of no type
    """A dict of somebody's own class."""


def test_a_dict_of_another_class_is_left_alone(tmp_path, optimizer):
    """Who knows what its class does with keys."""
    savers.save_zip(Odd(model=objects.cnn_state_dict(), optimizer=optimizer), tmp_path / "a.pth")
    with pytest.raises(SlimError, match="no plain dict"):
        slim(tmp_path / "a.pth", tmp_path / "b.pth")


def test_a_dict_that_is_put_together_in_another_way_is_left_alone(tmp_path):
    """Python 2 gave the items of an OrderedDict as a list of pairs: no opcode sets them."""
    from tests.corpus import asm, zips

    groups = asm.listing(asm.mapping({"params": asm.listing(asm.integer(0))}))
    held = asm.mapping({"state": asm.EMPTY_DICT, "param_groups": groups})
    pairs = [
        asm.listing(asm.text(key), part) for key, part in (("model", asm.mapping({"w": asm.tensor()})), ("optimizer", held))
    ]
    body = asm.named("collections", "OrderedDict") + asm.sequence(asm.listing(*pairs)) + asm.REDUCE
    (tmp_path / "a.pth").write_bytes(zips.checkpoint(asm.program(body)))
    with pytest.raises(SlimError, match="put together in an unusual way"):
        slim(tmp_path / "a.pth", tmp_path / "b.pth")


def test_an_old_file_from_a_big_endian_machine_is_left_alone(tmp_path, optimizer):
    """Readers differ on what its bytes mean."""
    path = tmp_path / "a.pth"
    savers.save_legacy({"model": objects.cnn_state_dict(), "optimizer": optimizer}, path)
    raw = bytearray(path.read_bytes())
    with path.open("rb") as file:
        spans = read_structure(file.fileno()).storages.values()
    for span in spans:  # in front of each storage stands its number of elements
        raw[span.offset - 8 : span.offset] = raw[span.offset - 8 : span.offset][::-1]
    at = raw.index(b"little_endian")
    at = raw.index(b"\x88", at)
    raw[at] = 0x89
    path.write_bytes(raw)
    with pytest.raises(SlimError, match="big-endian machine"):
        slim(path, tmp_path / "b.pth")


def test_other_containers_are_left_alone(tmp_path):
    """TorchScript, the tar of 2016, views of the old format, and pickles of people who never read the manual."""
    for number, write in enumerate((savers.save_scripted, savers.save_tar, savers.save_legacy_view)):
        path = tmp_path / f"{number}.pth"
        write(path)
        with pytest.raises(SlimError):
            slim(path, tmp_path / "b.pth")
    savers.save_plain_pickle({"model": {}, "optimizer": {"state": {}, "param_groups": [{"params": [0]}]}}, tmp_path / "c.pth")
    with pytest.raises(SlimError, match="pickle file"):
        slim(tmp_path / "c.pth", tmp_path / "b.pth")
