"""What is known about a checkpoint, put together: content beats the name, and every value says where it came from."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from ckptd.checkpoint.understanding import rename, understand
from ckptd.model import Container, Kind, Source
from tests.checkpoint.saved import read, say
from tests.corpus import objects

NAME = "BiLSTM_Attention_ECG_acc87_epoch3_step100_20250102_best_seed7.pth"


def check_sources(metadata):
    """Every value that is there has a source with a confidence, and no source is without its value."""
    fields = "model_name architecture dataset epoch step date quantization stage".split()
    said = {name for name in fields if getattr(metadata, name) is not None}
    said |= {f"metrics.{name}" for name in metadata.metrics} | {f"other.{name}" for name in metadata.other}
    said |= {"hyperparameters"} if metadata.hyperparameters else set()
    assert metadata.sources.keys() == said
    for source in metadata.sources.values():
        assert 0 < source.confidence <= 1
        assert source.where == "name" or source.where == "shapes" or source.where.startswith("content:")
    assert metadata.spellings.keys() == metadata.metrics.keys()
    assert all(math.isfinite(value) for value in metadata.metrics.values())


def test_a_bare_state_dict_is_known_by_its_name_and_its_shapes():
    """The name gives what nobody else can; the shapes the layers."""
    metadata = say({"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}, NAME).metadata
    assert (metadata.model_name, metadata.dataset, metadata.epoch, metadata.step) == ("BiLSTM_Attention", "ECG", 3, 100)
    assert (metadata.date, metadata.stage, metadata.metrics) == ("2025-01-02", "best", {"accuracy": 0.87})
    assert metadata.spellings == {"accuracy": "acc"}
    assert metadata.other["seed"] == 7
    assert metadata.other["summary"] == "linear(3→2)"
    assert metadata.sources["epoch"].where == "name"
    check_sources(metadata)


CONTENT = {
    "model_name": "GRU",
    "dataset": "PTB-XL",
    "epoch": 9,
    "global_step": 900,
    "date": "2024-05-06",
    "stage": "final",
    "metrics": {"accuracy": 0.91},
}


@pytest.mark.parametrize(
    ("field", "value"),
    [("model_name", "GRU"), ("dataset", "PTB-XL"), ("epoch", 9), ("step", 900), ("date", "2024-05-06"), ("stage", "final")],
)
def test_content_beats_the_name(field, value):
    """In every field that both state."""
    metadata = say({"state_dict": {"w": torch.ones(2)}, **CONTENT}, NAME).metadata
    assert getattr(metadata, field) == value
    assert metadata.sources[field].where.startswith("content:")
    assert metadata.metrics == {"accuracy": 0.91}
    assert metadata.sources["metrics.accuracy"].where == "content:metrics.accuracy"


def test_the_name_adds_what_the_content_leaves_open():
    """Its accuracy beside the loss of the content."""
    metadata = say({"state_dict": {"w": torch.ones(2)}, "val_loss": 0.5}, NAME).metadata
    assert metadata.metrics == {"val_loss": 0.5, "accuracy": 0.87}
    assert metadata.epoch == 3


@pytest.mark.parametrize("name", sorted(objects.SHAPES))
def test_every_value_has_its_source(name):
    """For each shape of the corpus, under a name that says much."""
    for path in (NAME, "x.pth"):
        check_sources(say(objects.SHAPES[name].make(), path).metadata)


@pytest.mark.parametrize(
    ("entry", "name", "stage"),
    [
        ("final", "m.pth", "final"),
        ("best", "m.pth", "best"),
        ("latest", "m.pth", "last"),
        ("BO", "m.pth", "bo_trial"),
        ("trial", "m.pth", "bo_trial"),
        (2, "m.pth", None),
        ("curriculum", "m_final.pth", "final"),
        (None, "cnn_trial_3.pth", "bo_trial"),
        (None, "optuna_cnn.pth", "bo_trial"),
        (None, "cnn_int8.pth", "quantized"),
        (None, "cnn_fp16.pth", None),
        (None, "cnn_final.pth", "final"),
        (None, "last.ckpt", "last"),
        (None, "cnn.pth", None),
    ],
)
def test_the_stage_is_one_of_our_words(entry, name, stage):
    """Where the content or the name says so; somebody's own stages are none."""
    extra = {} if entry is None else {"stage": entry}
    assert say({"state_dict": {"w": torch.ones(2)}, "epoch": 1, **extra}, name).metadata.stage == stage


def test_what_the_shapes_say_of_the_number_format_beats_the_name():
    """A file called int8 that holds halves."""
    metadata = say({"fc.weight": torch.ones(4, 4).half()}, "cnn_int8.pth").metadata
    assert metadata.quantization == "float16"
    assert metadata.sources["quantization"].where == "shapes"


def test_a_quantized_file_without_shapes_that_say_so_is_believed_by_its_name():
    """Nothing else is known."""
    metadata = say({"fc.weight": torch.ones(4, 4)}, "QuantizedCNN_8bit_acc82_20250102.pth").metadata
    assert (metadata.quantization, metadata.stage) == ("8-bit", "quantized")
    assert metadata.sources["quantization"].where == "name"


@pytest.mark.parametrize(
    ("value", "name", "architecture", "where"),
    [
        ({"arch": "resnet18", "state_dict": {"fc.weight": torch.ones(2, 2)}}, "vgg16.pth", "resnet18", "content:arch"),
        ({"fc.weight": torch.ones(2, 2)}, "vgg16_best.pth", "vgg16", "name"),
        ({"fc.weight": torch.ones(2, 2)}, "kobold_best.pth", "linear(2→2)", "shapes"),
        ({"x": torch.ones(2)}, "kobold_best.pth", "kobold", "name"),
        ({"x": torch.ones(2)}, "best.pth", None, None),
    ],
)
def test_the_architecture_is_the_surest_word(value, name, architecture, where):
    """Content, a family that the name knows, the shapes, the name's first words, nothing."""
    metadata = say(value, name).metadata
    assert metadata.architecture == architecture
    assert (metadata.sources["architecture"].where if where else None) == where


def test_the_directory_above_is_read_and_no_other():
    """Of a path its last two parts."""
    value = {"w": torch.ones(2)}
    assert say(value, "/a/b/resnet50_cifar10/epoch3.pth").metadata.model_name == "resnet50"
    assert say(value, "/a/resnet50_cifar10/b/epoch3.pth").metadata.model_name is None


def test_the_optimizers_share_is_told_apart():
    """By the names of its tensors."""
    known = say(objects.adam_checkpoint())
    assert len(known.weights) == 9
    assert len(known.optimizer) == 24
    assert not known.weights & known.optimizer
    assert known.metadata.metrics == {"accuracy": 0.97, "f1": 0.96, "loss": 0.11}


def test_an_imagenet_checkpoint_is_known():
    """Its best accuracy is a tensor in percent."""
    metadata = say(objects.sgd_checkpoint()).metadata
    assert (metadata.architecture, metadata.epoch, metadata.metrics) == ("resnet18", 90, {"top1": 0.715})


def test_numbers_of_numpy_are_numbers():
    """An epoch, an accuracy and a loss."""
    metadata = say(objects.numpy_scalars()).metadata
    assert (metadata.epoch, metadata.metrics) == (12, {"accuracy": 0.91, "loss": 0.25})


def test_without_scalars_a_tensor_says_nothing():
    """A reader that could not look them up."""
    found = read({"state_dict": {"w": torch.ones(2)}, "best_acc": torch.tensor(0.5), "epoch": 3})
    known = understand(found.root, found.tensors, "m.pth", Container.ZIP)
    assert known.metadata.metrics == {}
    assert known.metadata.epoch == 3


def test_tied_and_wrapped_weights_are_noted_with_escaped_names():
    """Names are the file's."""
    shared = torch.ones(2, 2)
    metadata = say({"module.a\x1b.weight": shared, "module.b.weight": shared}).metadata
    assert metadata.other["wrapper"] == "DataParallel"
    assert metadata.other["tied"] == [["a\\x1b.weight", "b.weight"]]


@pytest.mark.parametrize(
    "path", ["", "/", ".pth", "a/", "\udc80.pth", "x" * 10_000, "/".join("ab" * 5_000), "a\x1b[31m_acc0.5.pth"]
)
def test_no_path_is_too_strange(path):
    """What a name gives is escaped and bounded."""
    metadata = say({"fc.weight": torch.ones(2, 2)}, path).metadata
    text = str(metadata)
    assert "\x1b" not in text
    assert len(text) < 5_000


def test_a_file_of_nothing_is_known_to_be_nothing():
    """An empty mapping under an empty name."""
    known = say({}, "x.pth")
    assert (known.kind, known.layers, known.weights) == (Kind.OTHER, (), frozenset())
    assert known.metadata.sources == {}


def test_names_of_tensors_that_would_steer_a_terminal_are_escaped_in_layers():
    """And cut."""
    known = say({"a\x1b[2J" * 500 + ".weight": torch.ones(2, 2), "ok.weight": torch.ones(2, 2)})
    assert all("\x1b" not in layer.name and len(layer.name) <= 2_500 for layer in known.layers)


def test_a_hostile_checkpoint_stays_small():
    """A hundred thousand keys, long texts, control characters, nests and cycles at once."""
    loop = [1]
    loop.append(loop)
    hostile = {"state_dict": {"w": torch.ones(2)}, "config": {f"c{i}": "z" * 1_000 for i in range(5_000)}}
    hostile |= {
        "metrics": {f"m{i}": float(i) for i in range(5_000)},
        "meta": {"loop": loop},
        "epoch": 2,
        "arch": "\x07" * 10_000,
    }
    metadata = say(hostile).metadata
    text = str(metadata)
    assert metadata.epoch == 2
    assert metadata.architecture is None
    assert len(text) < 1_000_000
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_pickled_network_is_known_without_its_class():
    """The class is a name and never imported."""
    known = say(nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2)), "m.pth")
    assert [layer.type for layer in known.layers] == ["lstm", "linear"]
    assert known.metadata.other["class"] == "Sequential"


@pytest.mark.parametrize("name", sorted(objects.SHAPES))
def test_a_new_name_says_what_it_would_have_said_at_first(name):
    """Renaming a file is reading it again under its new name, for every shape of the corpus."""
    value = objects.SHAPES[name].make()
    names = (NAME, "x.pth", "kobold_best.pth", "vgg16_int8_cifar10_f10.5.pth", "run_2023-06-03/epoch3.pth")
    known = {path: say(value, path).metadata for path in names}
    for old in names:
        for new in names:
            assert rename(known[old], new) == known[new]


def test_a_new_name_does_not_overrule_a_person():
    """What came from a sidecar stays."""
    metadata = say({"fc.weight": torch.ones(2, 2)}, "vgg16.pth").metadata
    ours = replace(metadata, architecture="Ours", sources={**metadata.sources, "architecture": Source("sidecar", 1.0)})
    renamed = rename(ours, "resnet18.pth")
    assert (renamed.architecture, renamed.model_name) == ("Ours", "resnet18")
