"""Checkpoints as training saves them, made on the host: the container has better things to do than to import torch."""

from __future__ import annotations

from pathlib import Path

#: A model's source, as it lies beside the training script.
SOURCE = """
import torch


class Net(torch.nn.Module):
    def __init__(self, features=12, classes=5):
        super().__init__()
        self.body = torch.nn.Linear(features, 32)
        self.head = torch.nn.Linear(32, classes)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))
"""
#: How ckptd is told to build it.
RECIPE = """
[export]
targets = ["safetensors", "onnx"]
quiet_seconds = 0.1
min_free_bytes = 0

[trust]
callables = ["net:Net"]
directories = ["/srv/code"]

[[recipe]]
match = "Net_*"
callable = "net:Net"
hyperparameters = { features = 12, classes = 5 }
inputs = [{ shape = ["batch", 12] }]
"""


def make_checkpoints(directory: Path, *names: str) -> None:
    """Save weights of that model under each name, others each time; and one file that is unsafe to load."""
    import torch

    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        weights = {
            "body.weight": torch.randn(32, 12),
            "body.bias": torch.randn(32),
            "head.weight": torch.randn(5, 32),
            "head.bias": torch.randn(5),
        }
        torch.save(weights, directory / name)
    (directory / "evil.pth").write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
