"""The line that says what a network is built like."""

from __future__ import annotations

import pytest
from torch import nn

from ckptd.checkpoint.summary import summarise
from ckptd.model import Layer
from tests.checkpoint.saved import say
from tests.corpus import objects


def line(*modules, **named):
    """Summarise a network of these parts."""
    known = say((nn.Sequential(*modules) if modules else nn.ModuleDict(named)).state_dict())
    other = known.metadata.other
    return other.get("summary"), other.get("input_size"), other.get("output_size")


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ((nn.Linear(3, 5),), ("linear(3→5)", 3, 5)),
        ((nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), ("linear(3→5) + linear(5→2)", 3, 2)),
        ((nn.LSTM(12, 128, 2, bidirectional=True),), ("BiLSTM(12→128, 2 layers)", 12, 256)),
        ((nn.GRU(12, 8),), ("GRU(12→8)", 12, 8)),
        ((nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10)), ("conv2d(1→4) + linear(4→10)", 1, 10)),
        ((nn.BatchNorm1d(4),), (None, None, None)),
        (tuple(nn.Linear(4, 4) for _ in range(9)), ("linear ×9(4→4)", 4, 4)),
    ],
)
def test_a_network_is_said_in_one_line(modules, expected):
    """Its layers from the first to the last, with the sizes of input and output; norms are silent."""
    assert line(*modules) == expected


def test_an_embedding_gives_the_size_of_the_input_and_never_of_the_output():
    """A vocabulary goes in."""
    assert line(embedding=nn.Embedding(100, 8), fc=nn.Linear(8, 3)) == ("embedding(100→8) + linear(8→3)", 100, 3)


def test_linear_layers_of_that_name_are_attention():
    """Once for a row of them."""
    summary, _, _ = line(lstm=nn.LSTM(6, 8), attention=nn.ModuleDict({"q": nn.Linear(8, 8), "k": nn.Linear(8, 8)}))
    assert summary == "LSTM(6→8) + attention"


def test_blocks_of_attention_are_counted():
    """Two layers of a transformer."""
    known = say(objects.transformer_encoder())
    assert "attention" in known.metadata.other["summary"]


def test_a_long_line_leaves_its_middle_out():
    """Six parts at most."""
    parts = []
    for i in range(30):
        parts += [
            Layer(f"{i}.a", "linear", 1, 4, {"in_features": 2, "out_features": 3}),
            Layer(f"{i}.b", "conv1d", 1, 4, {"in_channels": 3}),
        ]
    summary, _, _ = summarise(parts)
    assert summary.count(" + ") == 5
    assert "… 55 more …" in summary


def test_the_summary_is_the_architecture_where_nothing_better_is_known():
    """From the shapes, with its confidence."""
    metadata = say(objects.bilstm_attention(), "best.pth").metadata
    assert metadata.architecture == "BiLSTM(6→8, 2 layers) + attention + linear(16→5)"
    assert metadata.sources["architecture"].where == "shapes"
    assert 0 < metadata.sources["architecture"].confidence < 1
