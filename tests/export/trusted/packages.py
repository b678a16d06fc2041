"""Models of other packages, without the libraries that only their other parts need."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types

import torch
from torch import nn


def _package(name: str, **attributes) -> None:
    """Make a package known without running its `__init__`, which imports audio or vision libraries."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    package = types.ModuleType(name)
    package.__spec__ = spec  # found again when it is asked for a second time in one process
    package.__path__ = list(spec.submodule_search_locations or ())
    vars(package).update(attributes)
    sys.modules[name] = package


def crepe(model: str = "full") -> nn.Module:
    """Give torchcrepe's pitch model."""
    _package("torchcrepe", PITCH_BINS=360)
    return importlib.import_module("torchcrepe.model").Crepe(model)


class LpipsHead(nn.Module):
    """The learned part of LPIPS: it weighs the squared differences of AlexNet's features."""

    def __init__(self) -> None:
        super().__init__()
        _package("lpips")
        sys.modules["lpips.pretrained_networks"] = types.ModuleType("lpips.pretrained_networks")
        layer = importlib.import_module("lpips.lpips").NetLinLayer
        for number, channels in enumerate((64, 192, 384, 256, 256)):
            self.add_module(f"lin{number}", layer(channels, use_dropout=True))

    def forward(self, a, b, c, d, e):
        layers = (self.lin0, self.lin1, self.lin2, self.lin3, self.lin4)
        weighed = [layer(x**2).mean((2, 3)) for layer, x in zip(layers, (a, b, c, d, e), strict=True)]
        return torch.cat(weighed, 1).sum(1)
