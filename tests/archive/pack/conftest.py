"""A directory of archives, open, and files beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The directory that holds the archives."""
    place = tmp_path / "archives"
    place.mkdir()
    return place


@pytest.fixture
def archives(home: Path) -> Iterator[int]:
    """A descriptor of it."""
    fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where a member is restored to."""
    return tmp_path / "restored"


@pytest.fixture
def zipped(tmp_path: Path):
    """Save a state dict as torch does: `zipped(name, {key: seed})` has 20,000 numbers of a seed under each key."""

    def save(name: str, seeds: dict[str, int], count: int = 20_000) -> Path:
        import torch

        from tests.archive.pack.packing import make_numbers

        state = {
            key: torch.frombuffer(bytearray(make_numbers(seed, count)), dtype=torch.float32) for key, seed in seeds.items()
        }
        path = tmp_path / name
        torch.save(state, path)
        return path

    return save
