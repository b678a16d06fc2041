"""A trusted directory trusts what is defined in it, not what its modules import."""

from __future__ import annotations

import sys

import pytest

from ckptd.export.making import make_module
from ckptd.export.refusal import TargetError
from ckptd.proof import Maker, Recipe

SOURCE = """
import functools
import os
import torch
from installed_elsewhere import Foreign, make_foreign
from torch import nn

class Own(nn.Module):
    pass

def make_own():
    return Own()

@functools.wraps(make_foreign)
def disguised():
    return Own()

@torch.no_grad()
def decorated():
    return Own()

system = os.system
number = 3
partial = functools.partial(make_own)
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A project with its virtual environment inside, as people have it."""
    packages = tmp_path / ".venv" / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "installed_elsewhere.py").write_text(
        "from torch import nn\nclass Foreign(nn.Module): ...\ndef make_foreign(): return Foreign()\n"
    )
    (tmp_path / "own_models.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])

    def make(name, *, is_exact=False):
        return Recipe(Maker.CALLABLE, "sidecar", f"own_models:{name}", directories=(str(tmp_path),), is_exact=is_exact)

    yield make
    for name in ("own_models", "installed_elsewhere"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["Own", "make_own", "decorated"])
def test_what_is_defined_there_is_called(recipe, name):
    """A class, a function, and one with somebody's decorator around it."""
    module, _ = make_module(recipe(name))
    assert type(module).__name__ == "Own"


@pytest.mark.parametrize("name", ["Foreign", "make_foreign", "disguised", "system", "partial"])
def test_what_is_only_imported_there_is_not(recipe, name):
    """Not even from a virtual environment that lies below the trusted directory."""
    with pytest.raises(TargetError, match="name the callable itself as trusted"):
        make_module(recipe(name))


def test_what_is_named_itself_is_called_wherever_it_is_from(recipe):
    """The operator said exactly this one."""
    module, _ = make_module(recipe("Foreign", is_exact=True))
    assert type(module).__name__ == "Foreign"
