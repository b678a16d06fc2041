"""What a checkpoint states about itself, under the keys that training code and the known frameworks use."""

from __future__ import annotations

import collections
import datetime
import enum
import math
import pathlib
from argparse import Namespace

import numpy as np
import pytest
import torch

from ckptd.checkpoint.content import MAX_KEYS, MAX_METRICS, read_content
from tests.checkpoint.saved import read, say
from tests.corpus import objects


class Mode(enum.Enum):
    """An enumeration of somebody's."""

    FAST = "fast"


def stated(**entries):
    """Give what is stated by a checkpoint with these keys beside its weights."""
    found = read({"state_dict": {"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(2)}, **entries})
    return read_content(found.root, found.scalars)


def field(content, name):
    """Give a field and where it stood."""
    found = content.fields.get(name)
    return None if found is None else (found.value, found.source.where)


@pytest.mark.parametrize("key", "epoch current_epoch cur_epoch epochs_trained epoch_num n_epoch last_epoch ep Epoch".split())
def test_the_epoch_stands_under_many_keys(key):
    """As a number, with its key as the source."""
    assert field(stated(**{key: 12}), "epoch") == (12, f"content:{key}")


@pytest.mark.parametrize("key", "global_step step iteration iter iters num_updates n_iter train_step current_iter it".split())
def test_the_step_stands_under_many_keys(key):
    """As a number, with its key as the source."""
    assert field(stated(**{key: 4_000}), "step") == (4_000, f"content:{key}")


@pytest.mark.parametrize(
    "value",
    [12, 12.0, np.int64(12), np.int32(12), np.uint8(12), np.float32(12), np.float64(12), torch.tensor(12), torch.tensor(12.0)],
)
def test_a_number_may_be_of_any_kind(value):
    """Python's, numpy's, or a tensor of no dimension."""
    assert field(stated(epoch=value), "epoch") == (12, "content:epoch")


@pytest.mark.parametrize("value", [True, None, "12", [12], -1, math.nan, math.inf, 2**70, torch.ones(3), np.bool_(1), 1e300])
def test_what_is_no_count_is_no_epoch(value):
    """Truth values, texts, lists, negative and boundless numbers."""
    assert field(stated(epoch=value), "epoch") is None


def test_the_surest_key_speaks_first():
    """`epoch` before `start_epoch`, `global_step` before `total_steps`."""
    content = stated(start_epoch=4, epoch=3, total_steps=100, global_step=50)
    assert field(content, "epoch") == (3, "content:epoch")
    assert field(content, "step") == (50, "content:global_step")


def test_a_count_that_may_mean_something_else_is_less_sure():
    """The epoch to start from is mostly the next one."""
    assert stated(start_epoch=4).fields["epoch"].source.confidence < stated(epoch=4).fields["epoch"].source.confidence


@pytest.mark.parametrize("outer", "meta metadata extra_state info trainer_state progress".split())
def test_counts_and_metrics_stand_one_level_down_too(outer):
    """As fairseq, mmcv and others nest them; the source says where."""
    content = stated(**{outer: {"epoch": 5, "iter": 9, "val_loss": 0.5}})
    assert field(content, "epoch") == (5, f"content:{outer}.epoch")
    assert field(content, "step") == (9, f"content:{outer}.iter")
    assert content.metrics["val_loss"][1].where == f"content:{outer}.val_loss"


@pytest.mark.parametrize(
    ("entries", "metrics"),
    [
        ({"accuracy": 0.93}, {"accuracy": 0.93}),
        ({"best_acc": 0.93}, {"accuracy": 0.93}),
        ({"best_acc": 93.0}, {"accuracy": 0.93}),
        ({"best_acc1": 71.5}, {"top1": 0.715}),
        ({"best_acc1": torch.tensor(71.5)}, {"top1": 0.715}),
        ({"best_acc1": torch.tensor([71.5])}, {"top1": 0.715}),
        ({"best_acc1": torch.tensor([71.5, 2.0])}, {}),
        ({"best_acc": 0.9, "metrics": {"acc": 0.8}}, {"accuracy": 0.8}),
        ({"acc": 0.8, "best_acc": 0.9}, {"accuracy": 0.8}),
        ({"val_loss": 0.25}, {"val_loss": 0.25}),
        ({"loss": np.float32(0.25)}, {"loss": 0.25}),
        ({"valid_loss": 250.0}, {"val_loss": 250.0}),
        ({"best_psnr": 32.5}, {"psnr": 32.5}),
        ({"metrics": {"acc": 0.9, "f1": 0.8}}, {"accuracy": 0.9, "f1": 0.8}),
        ({"metrics": {"my_own_number": 3}}, {"my_own_number": 3.0}),
        ({"metrics": {"val": {"acc": 0.9}}}, {"val_accuracy": 0.9}),
        ({"val_metrics": {"acc": 0.9}}, {"val_accuracy": 0.9}),
        ({"test_metrics": {"acc": 0.9, "test_f1": 0.5}}, {"test_accuracy": 0.9, "test_f1": 0.5}),
        ({"metrics": {"acc": torch.tensor(0.5)}}, {"accuracy": 0.5}),
        ({"results": Namespace(auc=0.7)}, {"auc": 0.7}),
        ({"history": {"val_acc": [0.1, 0.5, 0.75]}}, {"val_accuracy": 0.75}),
        ({"history": {"my_own_number": [0.1]}}, {}),
        ({"val_losses": [3.0, 2.0]}, {"val_loss": 2.0}),
        ({"logs": {"loss": 1.0, "lr": 0.1, "epoch": 3}}, {"loss": 1.0}),
        ({"metric": 0.4}, {"metric": 0.4}),
        ({"loss": math.nan, "accuracy": 0.5}, {"accuracy": 0.5}),
        ({"loss": math.inf, "metrics": {"f1": math.nan, "acc": -math.inf}}, {}),
        ({"loss": torch.tensor(math.nan)}, {}),
        ({"loss": "0.5", "acc": None, "f1": True}, {}),
        ({"loss_fn": 0.5, "accuracy_fn": 3}, {}),
        ({"best_epoch": 3, "learning_rate": 0.1, "seed": 7}, {}),
    ],
)
def test_metrics_are_read_where_people_put_them(entries, metrics):
    """Under their canonical names, percent as fractions; what is not finite or no metric is dropped."""
    assert {name: value for name, (value, _) in stated(**entries).metrics.items()} == pytest.approx(metrics)


def test_a_metric_keeps_its_spelling_and_its_place():
    """As it was written in the file."""
    content = stated(metrics={"Val_Acc": 91.0}, history={"loss": [2.0, 1.0]})
    assert content.spellings == {"val_accuracy": "Val_Acc", "loss": "loss"}
    assert content.metrics["val_accuracy"][1].where == "content:metrics.Val_Acc"
    assert content.metrics["loss"][1].where == "content:history.loss[-1]"
    assert content.metrics["loss"][1].confidence < content.metrics["val_accuracy"][1].confidence


def test_the_monitored_score_of_lightning_is_a_metric():
    """By the name of what was monitored."""
    callback = {"monitor": "val/acc", "best_model_score": torch.tensor(0.75), "current_score": torch.tensor(0.5)}
    content = stated(callbacks={"ModelCheckpoint{'monitor': 'val/acc'}": callback})
    assert {name: value for name, (value, _) in content.metrics.items()} == {"val_accuracy": 0.5}


@pytest.mark.parametrize(
    "callbacks", [{"ModelCheckpoint": 5}, {"ModelCheckpoint": torch.ones(2)}, {5: {}}, [], 5, {"Other": {"monitor": "loss"}}]
)
def test_callbacks_of_another_form_say_nothing(callbacks):
    """Numbers, tensors, lists, callbacks of others."""
    assert stated(callbacks=callbacks).metrics == {}


def test_a_lightning_checkpoint_is_read():
    """Its counts, settings, framework and name; the score that was never set is no metric."""
    known = say(objects.lightning())
    metadata = known.metadata
    assert (metadata.epoch, metadata.step, metadata.model_name) == (3, 800, "CNN")
    assert metadata.metrics == {}
    assert metadata.hyperparameters == {"hidden_size": 32, "lr": 0.001, "model_name": "CNN"}
    assert metadata.other["framework"] == "pytorch-lightning 2.5.1"


@pytest.mark.parametrize(
    "key", "hyperparams hyper_parameters hyperparameters hparams args config cfg opt train_args kwargs".split()
)
@pytest.mark.parametrize("form", [dict, lambda settings: Namespace(**settings), collections.OrderedDict])
def test_settings_are_read_from_every_kind_of_mapping(key, form):
    """A dict, an ordered one, argparse's namespace."""
    settings = {"lr": 0.1, "layers": [1, 2], "name": "x"}
    content = stated(**{key: form(settings)})
    assert content.hyperparameters == settings
    assert content.fields["hyperparameters"].source.where == f"content:{key}"


class ByName:
    """Is pickled as an enumeration's member is by Python 3.11.2, which Debian 12 has."""

    def __reduce__(self):
        return getattr, (Mode, "FAST")


def test_a_member_of_an_enumeration_may_be_written_by_its_name():
    """Then the name is what is known of it; nothing is looked up."""
    assert stated(config={"mode": ByName()}).hyperparameters == {"mode": "FAST"}


def test_settings_are_plain_json():
    """Paths, dates, devices, shapes, numpy's numbers, enumerations and nested mappings among them."""
    settings = {
        "data": pathlib.PurePosixPath("/srv/ecg"),
        "when": datetime.datetime(2025, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        "day": datetime.date(2025, 1, 2),
        "device": torch.device("cuda", 1),
        "dtype": torch.float16,
        "size": torch.Size([2, 3]),
        "rate": np.float64(0.5),
        "mode": Mode.FAST,
        "deep": {"a": {"b": (1, 2, {3})}},
        "weights": torch.ones(3),
        "blob": b"abc",
        "big": 2**100,
        "nan": math.nan,
        7: "seven",
    }
    assert stated(config=settings).hyperparameters == {
        "data": "/srv/ecg",
        "when": "2025-01-02T03:04:05Z",
        "day": "2025-01-02",
        "device": "cuda:1",
        "dtype": "torch.float16",
        "size": [2, 3],
        "rate": 0.5,
        "mode": "fast" if Mode.FAST.__reduce_ex__(2)[0] is Mode else "FAST",
        "deep": {"a": {"b": [1, 2, [3]]}},
        "big": "101-bit integer",
        "nan": "nan",
        "7": "seven",
    }


def test_further_settings_stand_under_their_own_key():
    """The first mapping as it is, a second one below it, and lone settings of the top level."""
    content = stated(hyperparams={"lr": 0.1}, model_config={"depth": 3}, batch_size=32, num_classes=5)
    assert content.hyperparameters == {"lr": 0.1, "model_config": {"depth": 3}, "batch_size": 32, "num_classes": 5}


def test_weights_and_optimizers_are_no_settings():
    """Under a name that either may have."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1).state_dict()
    content = stated(params={"fc.weight": torch.ones(2)}, opt=optimizer)
    assert content.hyperparameters == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/alice/runs/a", "~/runs/a"),
        ("/Users/alice/x", "~/x"),
        ("C:\\Users\\alice\\x", "~\\x"),
        ("/root/x", "~/x"),
        ("/mnt/nfs/home/alice/x", "~/x"),
        ("see /home/alice and /home/bob", "see ~ and ~"),
        ("/homework/a", "/homework/a"),
        ("/data/rootless", "/data/rootless"),
    ],
)
def test_home_directories_are_not_published(text, shown):
    """Neither as texts nor as paths nor in keys."""
    content = stated(args=Namespace(out=text, path=pathlib.PurePosixPath(text), deep=[{text: text}]))
    assert content.hyperparameters["out"] == shown
    assert content.hyperparameters["deep"] == [{shown: shown}]
    assert "alice" not in str(content.hyperparameters["path"])


@pytest.mark.parametrize("key", "password api_key hf_token wandb_key aws_secret_key github_token".split())
def test_secrets_are_not_published(key):
    """Their keys stay, their values don't."""
    assert stated(args={key: "s3cret", "token_dim": 5}).hyperparameters == {key: "***", "token_dim": 5}


@pytest.mark.parametrize(
    ("entries", "name", "value"),
    [
        ({"arch": "resnet18"}, "architecture", "resnet18"),
        ({"arch": "resnet18"}, "model_name", "resnet18"),
        ({"model_name": "BiLSTM", "arch": "lstm"}, "model_name", "BiLSTM"),
        ({"model": "cnn"}, "model_name", "cnn"),
        ({"args": Namespace(model="cnn", dataset="ECG")}, "dataset", "ECG"),
        ({"config": {"dataset": {"name": "PTB-XL"}}}, "dataset", "PTB-XL"),
        ({"config": {"model": {"type": "FCN", "depth": 3}}}, "architecture", "FCN"),
        ({"config": {"model": {"_target_": "pkg.models.UNet"}}}, "architecture", "UNet"),
        ({"args": {"data": "/srv/data/cifar10"}}, "dataset", "cifar10"),
        ({"dataset": "/srv/sets/ECG/"}, "dataset", "ECG"),
        ({"env_id": "CartPole-v1"}, "dataset", "CartPole-v1"),
        ({"model_name": "model"}, "model_name", None),
        ({"model_name": "x" * 200}, "model_name", None),
        ({"model_name": "two\nlines"}, "model_name", None),
        ({"stage": "final"}, "stage", "final"),
        ({"date": "2025-01-02 10:00:00"}, "date", "2025-01-02T10:00:00"),
        ({"timestamp": 1735787045}, "date", "2025-01-02T03:04:05Z"),
        ({"timestamp": datetime.datetime(2025, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)}, "date", "2025-01-02T03:04:05Z"),
        ({"timestamp": datetime.datetime(2025, 1, 2, 3, 4, 5)}, "date", "2025-01-02T03:04:05"),  # noqa: DTZ001 — a time without a zone is the case
        ({"date": datetime.date(2025, 1, 2)}, "date", "2025-01-02"),
        ({"time": "Sun Nov 21 09:57:11 2021"}, "date", "2021-11-21T09:57:11"),
        ({"time": 3.5}, "date", None),
        ({"date": "yesterday"}, "date", None),
        ({"date": "2025-13-45"}, "date", None),
    ],
)
def test_names_data_sets_stages_and_dates_are_read(entries, name, value):
    """From the top level, from settings, as texts, paths, mappings and moments."""
    found = field(stated(**entries), name)
    assert (None if found is None else found[0]) == value


@pytest.mark.parametrize("value", [["n", "s", "v"], {"n": 0, "s": 1, "v": 2}, ("n", "s", "v")])
def test_classes_are_counted(value):
    """Their names are the data's."""
    assert stated(class_to_idx=value).other["classes"].value == 3


@pytest.mark.parametrize(
    ("entries", "framework"),
    [
        ({"pytorch-lightning_version": "2.5.1"}, "pytorch-lightning 2.5.1"),
        ({"meta": {"mmcv_version": "1.7.0"}}, "mmcv 1.7.0"),
        ({"optimizer_history": [], "extra_state": {"epoch": 1}}, "fairseq"),
        ({"train_args": {"lr": 1}, "updates": 5}, "ultralytics"),
        ({"mmengine_version": "x" * 50}, None),
    ],
)
def test_the_framework_that_wrote_it_is_told(entries, framework):
    """By its version, or by keys that only it has."""
    found = stated(**entries).other.get("framework")
    assert (None if found is None else found.value) == framework


def test_an_object_that_is_no_mapping_states_nothing():
    """A tensor, a list, a text, a module's own attributes."""
    for value in (torch.ones(3), [1, 2], "epoch=3", None, torch.nn.Linear(2, 2)):
        content = read_content(read(value).root)
        assert not content.fields
        assert not content.metrics


def test_a_state_dict_states_nothing():
    """A weight of the name `loss` is no metric, a buffer of the name `step` no step."""
    known = say(
        {"loss": torch.tensor(0.5), "step": torch.tensor(3), "fc.weight": torch.ones(2, 2), "loss.weight": torch.ones(2)}
    )
    assert known.metadata.metrics == {}
    assert known.metadata.step is None


def test_what_is_read_of_a_huge_mapping_is_bounded():
    """A hundred thousand keys, and as many metrics and settings."""
    many = {f"acc_{i}": 0.5 for i in range(100_000)}
    content = stated(metrics=dict(many), config=dict(many), **many)
    assert len(content.metrics) <= MAX_METRICS
    assert len(content.hyperparameters) <= 500
    assert content.budget >= -MAX_KEYS


def test_long_texts_and_control_characters_are_bounded_and_escaped():
    """In keys, values and sources."""
    content = stated(config={"a\x1b[2Jb" * 100: "x\x07" * 100_000}, metrics={"acc\x1b[31m": 0.5, "y" * 100_000: 1.0})
    text = str(content.hyperparameters) + str(content.metrics) + str(content.spellings)
    assert len(text) < 5_000
    assert "\x1b" not in text
    assert "\x07" not in text


def test_values_that_hold_themselves_come_to_an_end():
    """A list in itself, a dictionary in itself, a namespace in itself."""
    loop, ring = [1], {"a": 1}
    loop.append(loop)
    ring["me"] = ring
    space = Namespace(a=1)
    space.me = space
    content = stated(config={"loop": loop, "ring": ring, "space": space}, meta=ring, args=space)
    assert content.hyperparameters["loop"] == [1, "…"]
    assert content.hyperparameters["ring"] == {"a": 1, "me": "…"}


def test_a_deep_nest_ends_at_a_level():
    """Of a hundred mappings in each other a few are shown."""
    deep = {"x": 1}
    for _ in range(100):
        deep = {"x": deep}
    text = str(stated(config=deep).hyperparameters)
    assert text.count("x") < 10
    assert "…" in text
