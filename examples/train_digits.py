"""Train small models on scikit-learn's digits and save them in all the ways people do, with plain torch.save.

    python examples/train_digits.py [--out trained_models] [--epochs 12]

Run it beside `ckptd run`: nothing here knows of ckptd, and every file is noticed, read and described all the same.
It takes a few seconds on one core.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from digits_models import DigitsCNN, DigitsLSTM
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

torch.set_num_threads(1)


class Digits:
    """The images, split once for all models."""

    def __init__(self) -> None:
        images, labels = load_digits(return_X_y=True)
        split = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)
        self.train_x, self.test_x = (torch.tensor(part, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16 for part in split[:2])
        self.train_y, self.test_y = (torch.tensor(part) for part in split[2:])


def train_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, digits: Digits) -> float:
    """Train once over the data and return the mean loss."""
    model.train()
    total = 0.0
    for batch in torch.randperm(len(digits.train_x)).split(64):
        loss = nn.functional.cross_entropy(model(digits.train_x[batch]), digits.train_y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(digits.train_x)


@torch.no_grad()
def measure_accuracy(model: nn.Module, digits: Digits) -> float:
    """Return the share of test images that are recognised."""
    model.eval()
    return (model(digits.test_x).argmax(1) == digits.test_y).float().mean().item()


def save(obj: object, path: Path, what: str) -> None:
    """Save with plain torch.save and say so."""
    torch.save(obj, path)
    print(f"saved {path} ({path.stat().st_size:,} bytes): {what}", flush=True)


def train(name: str, model: nn.Module, digits: Digits, out: Path, epochs: int) -> tuple[nn.Module, dict[str, object]]:
    """Train a model; keep the best in a file of its own, and return the last state as a checkpoint dict."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    best, acc, loss = 0.0, 0.0, 0.0
    for epoch in range(epochs):
        loss = train_epoch(model, optimizer, digits)
        acc = measure_accuracy(model, digits)
        if int(acc * 100) > int(best * 100):
            save(model.state_dict(), out / f"{name}_acc{int(acc * 100)}.pth", f"the best so far, epoch {epoch}")
        best = max(best, acc)
    checkpoint = {
        "epoch": epochs - 1,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "metrics": {"accuracy": acc, "train_loss": loss, "best_accuracy": best},
        "hyperparams": {"lr": 3e-3, "batch_size": 64, "epochs": epochs, "model": type(model).__name__},
    }
    return model, checkpoint


def quantize(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn each weight of two or more dimensions into int8 with one scale per row; leave the rest as it is."""
    small: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if value.is_floating_point() and value.dim() >= 2:
            rows = value.flatten(1)
            scale = rows.abs().amax(1).clamp_min(1e-12) / 127
            small[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(value.shape)
            small[f"{name}_scale"] = scale
        else:
            small[name] = value
    return small


def main() -> None:
    """Train two models and save what comes of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("trained_models"), help="where the checkpoints go (%(default)s)")
    parser.add_argument("--epochs", type=int, default=12, help="epochs of each model (%(default)s)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    started = time.perf_counter()
    digits, out = Digits(), options.out

    cnn, checkpoint = train("DigitsCNN_digits", DigitsCNN(), digits, out, options.epochs)
    state = cnn.state_dict()
    save(state, out / "DigitsCNN_digits_final.pth", "a bare state dict")
    save(
        checkpoint,
        out / f"DigitsCNN_digits_checkpoint_epoch_{options.epochs - 1}.pth",
        "weights, optimizer, epoch, metrics, hyperparams",
    )
    save(cnn, out / "DigitsCNN_digits_module.pth", "a whole module, which runs code when it is loaded")
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save(halves, out / "DigitsCNN_digits_float16.pth", "float16 weights")
    save(quantize(state), out / "QuantizedDigitsCNN_digits_int8.pth", "int8 weights with scales")

    _, checkpoint = train("DigitsLSTM_digits", DigitsLSTM(), digits, out, options.epochs)
    save(checkpoint, out / "DigitsLSTM_digits_checkpoint.pth", "a recurrent model's checkpoint dict")
    print(f"done in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
