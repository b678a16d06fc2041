"""What the object of a file is, and what each of its tensors is for."""

from __future__ import annotations

import collections
import warnings

import pytest
import torch
from torch import nn

from ckptd.checkpoint.identify import identify, is_module
from ckptd.checkpoint.values import Global, Opaque
from ckptd.model import Container, Kind
from tests.checkpoint.saved import read, say
from tests.corpus import objects

SHAPES = {name: shape for name, shape in objects.SHAPES.items() if shape.kind is not None}


def net():
    """A network of two layers: 6 + 2 and 4 + 2 parameters."""
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))


def weights():
    """Its state dict, each time with tensors of its own."""
    return {name: tensor.clone() for name, tensor in net().state_dict().items()}


def adam():
    """The state of an optimizer after a step: 3 tensors for each of the 4 parameters."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


class Ours(nn.Module):
    """A module of a class that torch does not know."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_buffer("mean", torch.zeros(3))


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_shape_of_the_corpus_is_of_the_kind_it_is_known_for(name):
    """State dicts, checkpoints, modules, optimizers and tensors as people save them."""
    assert say(SHAPES[name].make()).kind is SHAPES[name].kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (weights, Kind.STATE_DICT),
        (lambda: net().state_dict(), Kind.STATE_DICT),
        (lambda: {**weights(), "_extra_state": None, "fc.packed": (1, 2)}, Kind.STATE_DICT),
        (lambda: {"state_dict": weights()}, Kind.CHECKPOINT),
        (lambda: {"epoch": 3, "w": torch.ones(2), "b": torch.ones(2)}, Kind.CHECKPOINT),
        (lambda: {"model": weights(), "optimizer": adam()}, Kind.CHECKPOINT),
        (lambda: {0: weights(), 1: weights()}, Kind.CHECKPOINT),
        (lambda: {"state_dict": {}}, Kind.CHECKPOINT),
        (lambda: {"state_dict": 5, "model": "resnet18"}, Kind.OTHER),
        (adam, Kind.OPTIMIZER),
        (lambda: torch.optim.SGD(net().parameters(), lr=0.1).state_dict(), Kind.OPTIMIZER),
        (net, Kind.MODULE),
        (Ours, Kind.MODULE),
        (lambda: nn.DataParallel(Ours()), Kind.MODULE),
        (lambda: {"model": Ours(), "epoch": 1}, Kind.CHECKPOINT),
        (lambda: torch.ones(3), Kind.TENSOR),
        (lambda: nn.Parameter(torch.ones(3)), Kind.TENSOR),
        (lambda: [torch.ones(3), torch.ones(2)], Kind.OTHER),
        (dict, Kind.OTHER),
        (lambda: {"lr": 0.1, "layers": [1, 2]}, Kind.OTHER),
        (lambda: {"loss": torch.tensor(0.5), "history": [torch.ones(1)]}, Kind.OTHER),
        (lambda: 7, Kind.OTHER),
        (lambda: None, Kind.OTHER),
        (lambda: "text", Kind.OTHER),
    ],
)
def test_the_kind_is_told_by_what_the_object_is(value, kind):
    """Weights alone are a state dict; with anything beside them a checkpoint; without any of them something else."""
    assert say(value()).kind is kind


def test_torchscript_is_told_by_its_container():
    """Whatever its constants look like."""
    assert say(weights(), container=Container.TORCHSCRIPT).kind is Kind.TORCHSCRIPT


@pytest.mark.parametrize(
    "key",
    "state_dict model_state_dict model params params_ema net module network weights state-dict Model generator encoder".split(),
)
def test_weights_are_found_under_every_key_that_training_code_uses(key):
    """With the epoch beside them, and under their plain names."""
    known = say({"epoch": 2, key: weights()})
    assert known.kind is Kind.CHECKPOINT
    assert known.weights == {f"{key}.{name}" for name in weights()}
    assert [layer.name for layer in known.layers] == ["0", "1"]


@pytest.mark.parametrize(
    "key",
    "optimizer optimizer_state_dict optimizer_states optim opt optimizer_g g_optim last_optimizer_state opt_state".split(),
)
def test_an_optimizer_is_found_under_every_key(key):
    """Its tensors are no weights, also in a list of several."""
    state = [adam()] if key == "optimizer_states" else adam()
    known = say({"state_dict": weights(), key: state})
    assert len(known.optimizer) == 12
    assert known.weights == {f"state_dict.{name}" for name in weights()}


def test_an_optimizer_is_known_by_its_form_under_a_key_of_somebody():
    """Parameter groups and a state."""
    known = say({"state_dict": weights(), "thing": adam()})
    assert all(name.startswith("thing.state.") for name in known.optimizer)
    assert len(known.optimizer) == 12


@pytest.mark.parametrize("key", "ema model_ema ema_state_dict params_ema swa_model my_ema best_model_state".split())
def test_averaged_copies_are_no_further_weights(key):
    """So that parameters are not counted twice."""
    known = say({"model": weights(), key: weights()})
    assert known.weights == {f"model.{name}" for name in weights()}
    assert known.copies == {f"{key}.{name}" for name in weights()}


def test_averaged_weights_alone_are_the_weights():
    """A file of nothing but an EMA."""
    known = say({"params_ema": weights(), "step": 4})
    assert len(known.weights) == 4
    assert not known.copies


@pytest.mark.parametrize("key", "rng_state cuda_rng_state metrics loss history replay_buffer callbacks".split())
def test_what_is_neither_weights_nor_optimizer_counts_as_neither(key):
    """States of random number generators, histories, buffers."""
    known = say({"model": weights(), key: {"a": torch.ones(3), "b": [torch.ones(2)]}})
    assert known.weights == {f"model.{name}" for name in weights()}
    assert not known.optimizer
    assert not known.copies


def test_a_scalar_beside_a_state_dict_is_no_weight():
    """The best accuracy as a tensor of no dimension."""
    known = say({"state_dict": weights(), "best_acc1": torch.tensor(71.5)})
    assert known.weights == {f"state_dict.{name}" for name in weights()}


def test_a_checkpoint_in_a_checkpoint_is_looked_through():
    """A trainer's state that holds model and optimizer."""
    known = say({"trainer": {"model": weights(), "optimizer": adam(), "epoch": 3}, "version": 2})
    assert known.kind is Kind.CHECKPOINT
    assert known.weights == {f"trainer.model.{name}" for name in weights()}
    assert len(known.optimizer) == 12


def test_an_optimizer_alone_in_a_trainers_state_is_looked_through():
    """Its tensors are the optimizer's."""
    known = say({"state": {"optimizer": adam()}, "model": weights()})
    assert len(known.optimizer) == 12
    assert known.weights == {f"model.{name}" for name in weights()}


@pytest.mark.parametrize("missing", ["_modules", "_parameters"])
def test_an_object_with_one_registry_of_a_module_is_none(missing):
    """Both make a module."""
    thing = Opaque(Global("pkg", "Thing"), new=True)
    thing.state = {"_modules": {}, "_parameters": {}}
    assert is_module(thing)
    del thing.state[missing]
    assert not is_module(thing)


@pytest.mark.parametrize(
    ("prefix", "wrapper"),
    [
        ("module.", "DataParallel"),
        ("_orig_mod.", "torch.compile"),
        ("_forward_module.", "Fabric"),
        ("module._orig_mod.", "DataParallel + torch.compile"),
        ("_orig_mod.module.", "torch.compile + DataParallel"),
    ],
)
@pytest.mark.parametrize("key", [None, "state_dict"])
def test_prefixes_of_wrappers_are_taken_off_and_named(prefix, wrapper, key):
    """Of all weights, in a state dict and in a checkpoint."""
    state = {prefix + name: tensor for name, tensor in weights().items()}
    known = say(state if key is None else {key: state, "epoch": 1})
    assert [layer.name for layer in known.layers] == ["0", "1"]
    assert known.metadata.other["wrapper"] == wrapper


def test_a_prefix_that_not_all_names_share_is_a_name():
    """A network that has a part called `module`."""
    state = {"module.weight": torch.ones(2, 2), "head.weight": torch.ones(2, 2)}
    known = say(state)
    assert [layer.name for layer in known.layers] == ["module", "head"]
    assert "wrapper" not in known.metadata.other


def test_a_real_data_parallel_state_dict_is_told_like_the_plain_one():
    """The layers are the same."""
    plain, wrapped = net().state_dict(), nn.DataParallel(net()).state_dict()
    assert say(wrapped).layers == say(plain).layers


def test_a_pickled_module_gives_its_class_and_the_plain_names_of_its_tensors():
    """Parameters and buffers alike, without the registries they lie in."""
    found = read(Ours())
    known = identify(found.root, found.tensors, Container.ZIP)
    assert known.model_class == "Ours"
    assert [name for name, _ in known.named] == ["mean", "fc.weight", "fc.bias"]
    assert say(Ours()).metadata.model_name == "Ours"


def test_a_module_in_data_parallel_is_named_after_what_is_inside():
    """And not after the wrapper."""
    known = say(nn.DataParallel(Ours()))
    assert known.metadata.model_name == "Ours"
    assert [(layer.name, layer.parameters) for layer in known.layers] == [("", 3), ("fc", 8)]


def test_a_container_of_torch_names_no_model():
    """A Sequential is written down as a class, and the model is what the name says."""
    known = say(net(), "lenet_best.pth")
    assert known.metadata.model_name == "lenet"
    assert known.metadata.other["class"] == "Sequential"


def test_a_module_in_a_checkpoint_gives_its_class():
    """Beside its epoch."""
    known = say({"model": Ours(), "epoch": 1})
    assert known.metadata.model_name == "Ours"
    assert len(known.weights) == 3


def test_two_networks_of_one_file_keep_their_own_names():
    """Generator and discriminator."""
    known = say({"generator": weights(), "discriminator": weights(), "optimizer_g": adam(), "optimizer_d": adam()})
    assert len(known.weights) == 8
    assert len(known.optimizer) == 24
    assert {layer.name.partition(".")[0] for layer in known.layers} == {"generator", "discriminator"}


def test_a_lightning_prefix_stays_a_name():
    """The module's own attribute `model` is no wrapper."""
    known = say(objects.lightning())
    assert all(layer.name.startswith("model.") for layer in known.layers)
    assert len(known.optimizer) > 0


def test_a_quantized_module_is_a_state_dict_with_its_packed_parameters():
    """Dynamic quantization keeps a dtype and tuples beside the tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.ao.quantization.quantize_dynamic(net(), {nn.Linear})
    assert say(quantized.state_dict()).kind is Kind.STATE_DICT


def test_keys_that_are_no_text_hold_weights():
    """Numbers, as ensembles have; a tuple is a key too."""
    known = say(collections.OrderedDict([(0, weights()), (1.5, weights()), (None, weights()), (True, 3)]))
    assert known.kind is Kind.CHECKPOINT
    assert len(known.weights) == 12
