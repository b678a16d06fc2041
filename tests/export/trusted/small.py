"""Modules as people write them; a recipe names one of them."""

from __future__ import annotations

import os
from os import system

import torch
from torch import nn

#: Not a function of this file, and no class.
imported = system
number = 3


class Attention(nn.Module):
    """A bidirectional LSTM whose steps are weighed."""

    def __init__(self, input_size: int, hidden_size: int, classes: int = 4) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers=2, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * hidden_size, 1)
        self.head = nn.Linear(2 * hidden_size, classes)

    def forward(self, x):
        rows, _ = self.lstm(x)
        weights = torch.softmax(self.attention(rows), dim=1)
        return self.head((weights * rows).sum(1))


class TimeFirst(nn.Module):
    """A recurrence that wants time before the batch, and any length."""

    def __init__(self, kind: str = "GRU") -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(5, 6)

    def forward(self, x):
        return self.rnn(x)[0]


class Classifier(nn.Module):
    """A TransformerEncoder over words."""

    def __init__(self, vocab_size: int = 50, d_model: int = 16, classes: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        layer = nn.TransformerEncoderLayer(d_model, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(d_model, classes)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


class QuantizedCNN(nn.Module):
    """Convolutions whose weights are int8 with a scale per row."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(channels, 1, 3, 3, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.zeros(channels))
        self.fc = nn.Linear(channels, 3)

    def forward(self, x):
        weight = self.weight.float() * self.weight_scale[:, None, None, None]
        return self.fc(torch.relu(nn.functional.conv2d(x, weight)).mean((2, 3)))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(6, 3)

    def forward(self, query, context):
        return self.left(query) + self.right(context)


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        y = self.fc(x)
        return {"logits": y, "label": y.argmax(1)}


class Tied(nn.Module):
    """The embedding's weights are also those of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.embedding(tokens))


class Branches(nn.Module):
    """The sign of the sum decides, which a trace can't see."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        if bool(x.sum() > 0.5):
            return self.fc(x)
        return self.fc(x) * 2.0 + 1.0


class Strange(nn.Module):
    """Works on the values in plain Python, and looks at the environment."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        rows = sorted(x.tolist(), key=lambda row: str(row[0]) + os.sep)
        return self.fc(torch.tensor([[float(str(value)) for value in row] for row in rows]))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x) -> dict[str, str]:
        return {"label": str(self.fc(x).argmax().item())}


class FixedLength(nn.Module):
    """Takes a sequence of 16 steps and no other."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(64, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0].reshape(x.shape[0], 64))


class Stateful(nn.Module):
    """Would like to be asked when it is unpickled."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def __setstate__(self, state) -> None:
        raise RuntimeError("called")

    def forward(self, x):
        return self.fc(x)


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x) + torch.rand(3)


class Extra(nn.Module):
    """Keeps something beside tensors in its state."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.steps = 0

    def get_extra_state(self):
        return {"steps": self.steps}

    def set_extra_state(self, state) -> None:
        self.steps = state["steps"]

    def forward(self, x):
        return self.fc(x)


class ManyOutputs(nn.Module):
    """Twelve outputs, each ten times as large as the one before."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return tuple([self.fc(x) * 10.0**number for number in range(12)])


class Scattered(nn.Module):
    """Its ONNX file keeps the weights in a file of another name than those that an export has."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)
        import ckptd.export.targets.onnx_file as written

        honest = written.check_file

        def check_file(built, wanted):
            import onnx

            honest(built, wanted)
            apart = {"save_as_external_data": True, "location": "elsewhere.bin", "size_threshold": 0}
            onnx.save_model(onnx.load(wanted.name), wanted.name, **apart)

        written.check_file = check_file

    def forward(self, x):
        return self.fc(x)


def make(width: int = 3, **options) -> nn.Module:
    """Make a module by a function, which takes any option."""
    made = nn.Linear(4, width)
    made.options = options
    return made


def make_packed() -> nn.Module:
    """Make a module whose linear layer keeps 8-bit weights in an object of its own."""
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3)).eval(), {nn.Linear}, dtype=torch.qint8)


def make_nothing() -> str:
    return "no module"


def fail() -> nn.Module:
    raise ValueError("no such \x1b[31mwidth")


def quit_early() -> nn.Module:
    raise SystemExit(3)


Pair = tuple[torch.Tensor, torch.Tensor]
