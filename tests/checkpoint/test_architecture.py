"""Layers, sizes and number formats, told from the shapes of real modules."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from ckptd.checkpoint.architecture import MAX_LAYERS, MAX_TIED, describe
from ckptd.checkpoint.values import StorageValue, TensorValue
from tests.checkpoint.saved import layers, say
from tests.corpus import objects


def claimed(shape, dtype="float32", key="0"):
    """A tensor as a file claims it."""
    return TensorValue(StorageValue(key, dtype, 1, "cpu"), dtype, tuple(shape), (1,) * len(shape))


@pytest.mark.parametrize(
    ("module", "kind", "detail"),
    [
        (nn.Linear(3, 5), "linear", {"in_features": 3, "out_features": 5, "bias": True}),
        (nn.Linear(3, 5, bias=False), "linear", {"in_features": 3, "out_features": 5, "bias": False}),
        (nn.Conv1d(3, 5, 7), "conv1d", {"in_channels": 3, "out_channels": 5, "kernel_size": [7], "bias": True}),
        (
            nn.Conv2d(3, 5, (3, 1), bias=False),
            "conv2d",
            {"in_channels": 3, "out_channels": 5, "kernel_size": [3, 1], "bias": False},
        ),
        (nn.Conv3d(3, 5, 2), "conv3d", {"in_channels": 3, "out_channels": 5, "kernel_size": [2, 2, 2], "bias": True}),
        (nn.BatchNorm1d(4), "batch_norm", {"num_features": 4}),
        (nn.BatchNorm2d(4, affine=False), "batch_norm", {"num_features": 4}),
        (nn.InstanceNorm2d(4, track_running_stats=True), "batch_norm", {"num_features": 4}),
        (nn.LayerNorm(6), "layer_norm", {"normalized_shape": [6]}),
        (nn.GroupNorm(2, 6), "layer_norm", {"normalized_shape": [6]}),
        (nn.PReLU(), "other", {}),
        (nn.MultiheadAttention(8, 2), "attention", {"embed_dim": 8}),
        (nn.MultiheadAttention(8, 2, kdim=4, vdim=4), "attention", {"embed_dim": 8}),
        (nn.LSTM(3, 5), "lstm", {"input_size": 3, "hidden_size": 5, "num_layers": 1, "bidirectional": False}),
        (
            nn.LSTM(3, 5, 2, bidirectional=True),
            "lstm",
            {"input_size": 3, "hidden_size": 5, "num_layers": 2, "bidirectional": True},
        ),
        (nn.LSTM(3, 5, bias=False), "lstm", {"input_size": 3, "hidden_size": 5, "num_layers": 1, "bidirectional": False}),
        (
            nn.LSTM(3, 6, proj_size=2),
            "lstm",
            {"input_size": 3, "hidden_size": 6, "num_layers": 1, "bidirectional": False, "proj_size": 2},
        ),
        (nn.GRU(3, 5, 12), "gru", {"input_size": 3, "hidden_size": 5, "num_layers": 12, "bidirectional": False}),
        (nn.RNN(3, 5, bidirectional=True), "rnn", {"input_size": 3, "hidden_size": 5, "num_layers": 1, "bidirectional": True}),
        (nn.LSTMCell(3, 5), "lstm", {"input_size": 3, "hidden_size": 5, "num_layers": 1, "bidirectional": False, "cell": True}),
        (nn.GRUCell(3, 5), "gru", {"input_size": 3, "hidden_size": 5, "num_layers": 1, "bidirectional": False, "cell": True}),
    ],
)
def test_a_layer_is_told_from_its_shapes(module, kind, detail):
    """Its family, and what the shapes say; parameters and bytes are its own."""
    layer = layers(nn.ModuleDict({"part": module}).state_dict())["part"]
    assert (layer.type, dict(layer.detail)) == (kind, detail)
    state = [tensor for name, tensor in module.state_dict().items() if "." not in name]  # an out_proj is a layer of its own
    assert layer.parameters == sum(tensor.numel() for tensor in state)
    assert layer.bytes == sum(tensor.nbytes for tensor in state)


@pytest.mark.parametrize("name", "embedding wte tok_embeddings word_emb lookup".split())
def test_an_embedding_is_told_by_its_name(name):
    """A matrix without a bias under a name that says so."""
    layer = layers({f"{name}.weight": torch.ones(20, 8)})[name]
    assert (layer.type, dict(layer.detail)) == ("embedding", {"num_embeddings": 20, "embedding_dim": 8})


@pytest.mark.parametrize("name", ["fc", "member", "head"])
def test_another_matrix_is_no_embedding(name):
    """Without a name that says so it is a linear layer."""
    assert layers({f"{name}.weight": torch.ones(20, 8)})[name].type == "linear"


def test_a_matrix_with_a_bias_is_no_embedding_whatever_its_name():
    """A projection of patches."""
    assert layers({"embedding.weight": torch.ones(20, 8), "embedding.bias": torch.ones(20)})["embedding"].type == "linear"


@pytest.mark.parametrize(("name", "kind"), [("norm1", "layer_norm"), ("ln_f", "layer_norm"), ("scale", "other")])
def test_a_lone_vector_is_a_norm_by_its_name(name, kind):
    """RMSNorm has a weight and nothing else."""
    assert layers({f"{name}.weight": torch.ones(8)})[name].type == kind


def test_recurrent_weights_whose_rows_fit_no_cell_are_other():
    """Five times the hidden size is nothing that torch has."""
    state = {"rnn.weight_ih_l0": torch.ones(10, 3), "rnn.weight_hh_l0": torch.ones(10, 2)}
    assert layers(state)["rnn"].type == "other"


def test_an_own_parameter_is_a_layer_of_no_name():
    """A class token at the top."""
    assert layers({"cls_token": torch.ones(1, 1, 4), "fc.weight": torch.ones(2, 4)})[""].type == "other"


def test_weight_norm_in_both_ways_is_still_its_layer():
    """The old one with `weight_g` and `weight_v`, the new one with a parametrization."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.utils.weight_norm(nn.Linear(3, 5))
    new = nn.utils.parametrizations.weight_norm(nn.Linear(3, 5))
    for module in (old, new):
        layer = layers(nn.ModuleDict({"fc": module}).state_dict())["fc"]
        assert (layer.type, layer.detail["in_features"], layer.parameters) == ("linear", 3, 25)


def test_tied_weights_are_named_and_refer_to_the_first():
    """One storage seen through the same view under two names."""
    known = say(objects.tied_embeddings())
    assert known.metadata.other["tied"] == [["embedding.weight", "decoder.weight"]]
    assert {layer.name: layer.detail.get("tied_to") for layer in known.layers} == {
        "embedding": None,
        "decoder": "embedding.weight",
    }


def test_two_views_of_one_storage_are_not_tied():
    """Halves of one flat buffer."""
    flat = torch.ones(8)
    known = say({"a.weight": flat[:4].view(2, 2), "b.weight": flat[4:].view(2, 2)})
    assert "tied" not in known.metadata.other


def test_empty_tensors_are_not_tied():
    """They look at nothing."""
    empty = torch.ones(0, 3)
    assert "tied" not in say({"a.weight": empty, "b.weight": empty}).metadata.other


@pytest.mark.parametrize("number", [MAX_TIED + 10])
def test_the_list_of_tied_weights_is_bounded(number):
    """In groups, and in names of a group."""
    shared = torch.ones(2, 2)
    (group,) = say({f"{i}.weight": shared for i in range(number)}).metadata.other["tied"]
    assert len(group) == MAX_TIED
    pairs = {f"{i}.{side}": claimed((2, 2), key=str(i)) for i in range(number) for side in "ab"}
    assert len(describe(list(pairs.items())).tied) == MAX_TIED


def in_dtype(dtype):
    """The state dict of a linear layer of 16 weights and 4 biases."""
    return {"fc.weight": torch.ones(4, 4).to(dtype), "fc.bias": torch.ones(4).to(dtype)}


@pytest.mark.parametrize(
    ("state", "name", "saved"),
    [
        (lambda: in_dtype(torch.float32), None, None),
        (lambda: in_dtype(torch.float64), None, None),
        (lambda: in_dtype(torch.float16), "float16", 40),
        (lambda: in_dtype(torch.bfloat16), "bfloat16", 40),
        (lambda: in_dtype(torch.float8_e4m3fn), "float8_e4m3fn", 60),
        (lambda: in_dtype(torch.float8_e5m2), "float8_e5m2", 60),
        (lambda: in_dtype(torch.int64), None, None),
        (lambda: {"w": torch.ones(4, 4).half(), "v": torch.ones(8, 8)}, None, None),
        (objects.int8_weights, "int8", 48),
        (lambda: {"fc.weight": torch.ones(4, 4, dtype=torch.int8), "fc.scale": torch.ones(4)}, "int8", 48),
        (lambda: {"fc.weight": torch.ones(4, 4, dtype=torch.uint8), "fc.scale": torch.ones(4)}, "int8", 48),
        (lambda: {"images": torch.ones(4, 4, dtype=torch.uint8), "fc.weight": torch.ones(4, 4)}, None, None),
        (lambda: {"mask": torch.ones(4, 4, dtype=torch.int8), "fc.weight": torch.ones(4, 4)}, None, None),
        (
            lambda: {"fc.weight": torch.ones(4, 4, dtype=torch.int8), "head.weight": torch.ones(4, 4, dtype=torch.int8)},
            "int8",
            96,
        ),
        (
            lambda: {
                "fc.weight": torch.ones(4, 4, dtype=torch.uint8),
                "fc.weight.quant_state.bitsandbytes__nf4": torch.ones(1, dtype=torch.uint8),
            },
            "nf4",
            17 * 7,
        ),
        (lambda: {"fc.qweight": torch.ones(2, 4, dtype=torch.int32), "fc.scales": torch.ones(4).half()}, "int4", None),
    ],
)
def test_the_number_format_is_told_by_the_dtypes_of_most_weights(state, name, saved):
    """With the bytes it saves against float32; integers count when scales stand beside them, or nothing else is there."""
    known = say(state())
    assert known.metadata.quantization == name
    if saved is not None:
        assert known.metadata.other["quantization_saved_bytes"] == saved
    elif name is None:
        assert "quantization_saved_bytes" not in known.metadata.other


@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8])
def test_tensors_of_torchs_own_quantization_are_int8(dtype):
    """Four bytes become one."""
    known = say({"fc.weight": torch.quantize_per_tensor(torch.ones(8, 8), 0.1, 0, dtype), "fc.bias": torch.ones(8)})
    assert (known.metadata.quantization, known.metadata.stage) == ("int8", "quantized")
    assert known.metadata.other["quantization_saved_bytes"] == 3 * 64


def quantized(static):
    """A small network, quantized as torch.ao does it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not static:
            model = nn.Sequential(nn.Linear(8, 16), nn.LSTM(16, 4))
            return torch.ao.quantization.quantize_dynamic(model, {nn.Linear, nn.LSTM})
        model = nn.Sequential(torch.ao.quantization.QuantStub(), nn.Conv2d(1, 2, 3), nn.Linear(4, 3)).eval()
        torch.backends.quantized.engine = "qnnpack" if "fbgemm" not in torch.backends.quantized.supported_engines else "fbgemm"
        model.qconfig = torch.ao.quantization.get_default_qconfig(torch.backends.quantized.engine)
        prepared = torch.ao.quantization.prepare(model)
        prepared(torch.ones(1, 1, 4, 6))
        return torch.ao.quantization.convert(prepared)


@pytest.mark.parametrize("static", [False, True])
def test_a_network_quantized_by_torch_is_int8_and_its_layers_are_known(static):
    """Packed parameters are taken for the layer they belong to."""
    known = say(quantized(static).state_dict())
    assert (known.metadata.quantization, known.metadata.stage) == ("int8", "quantized")
    assert known.metadata.sources["quantization"].where == "shapes"
    found = {layer.name: layer for layer in known.layers}
    if static:
        assert (found["1"].type, found["2"].type) == ("conv2d", "linear")
    else:
        assert found["0"].type == "linear"
        assert found["0"].detail["in_features"] == 8
        assert found["0"].parameters == 8 * 16 + 16 + 2  # scale and zero point of what comes out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_no_stage(dtype):
    """Only integers make a model a quantized one."""
    assert say(in_dtype(dtype)).metadata.stage is None


def test_a_layer_in_half_precision_counts_its_bytes():
    """Two bytes each."""
    assert layers(in_dtype(torch.float16))["fc"].bytes == 40


def test_the_number_of_layers_is_bounded():
    """A file may name a million of them."""
    found = describe([(f"{i}.weight", claimed((2, 2), key=str(i))) for i in range(MAX_LAYERS + 100)])
    assert len(found.layers) == MAX_LAYERS


def test_sizes_that_lie_stay_within_64_bits():
    """A shape is only what a file claims."""
    huge = claimed((2**40, 2**40), "float16")
    found = describe([("fc.weight", huge)])
    assert found.layers[0].parameters == 2**63 - 1
    assert found.layers[0].bytes <= 2**63 - 1
    assert found.saved_bytes <= 2**63 - 1


@pytest.mark.parametrize("shape", [(), (0,), (0, 0), (1,) * 64, (3, 0, 3)])
@pytest.mark.parametrize(
    "leaf", ["weight", "weight_ih_l0", "in_proj_weight", "running_mean", "weight_ih_l9999", "q_proj_weight"]
)
def test_no_shape_is_too_strange(leaf, shape):
    """Every leaf a layer is told by, with shapes no module has."""
    found = describe([(f"part.{leaf}", claimed(shape)), ("part.weight_hh_l0", claimed(shape, key="1"))])
    assert len(found.layers) == 1
