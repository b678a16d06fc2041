"""Two small models for images of 8 × 8.

`train_digits.py` trains them, and a recipe of ckptd may name them: `callable = "digits_models:DigitsCNN"`.
"""

from __future__ import annotations

import torch
from torch import nn


class DigitsCNN(nn.Module):
    """Two convolutions and a linear layer for images of 8 × 8."""

    def __init__(self, channels: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2 * channels * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc(self.dropout(x.flatten(1)))


class DigitsLSTM(nn.Module):
    """A bidirectional LSTM that reads an image row by row."""

    def __init__(self, hidden_size: int = 32) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, hidden_size, num_layers=1, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden_size, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, _ = self.lstm(x.squeeze(1))
        return self.head(rows[:, -1])
