"""ckptd looks after a directory of PyTorch checkpoints, and never runs what is in them.

    >>> import ckptd
    >>> ckptd.inspect("trained_models/digits_acc97.pth").status      # no torch, no index
    >>> ckptd.open("trained_models").best(metric="accuracy")
    >>> weights = ckptd.load("trained_models/digits_acc97.pth")       # the object torch.load gives, or a clear refusal
    >>> ckptd.save(model.state_dict(), "trained_models/digits.pth", metrics={"accuracy": 0.97})

Everything here is imported on first use, so that `import ckptd` costs a few milliseconds and never brings torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CkptdError", "Finding", "Inspection", "Record", "Status", "inspect", "load", "open", "save"]

if TYPE_CHECKING:
    from ckptd.api import load, save
    from ckptd.api import open_library as open  # noqa: A004 — ckptd.open(root) reads like the built-in on purpose
    from ckptd.checkpoint.inspection import inspect_path as inspect
    from ckptd.errors import CkptdError
    from ckptd.model import Finding, Inspection, Record, Status

_PLACES = {
    "CkptdError": ("ckptd.errors", "CkptdError"),
    "Finding": ("ckptd.model", "Finding"),
    "Inspection": ("ckptd.model", "Inspection"),
    "Record": ("ckptd.model", "Record"),
    "Status": ("ckptd.model", "Status"),
    "inspect": ("ckptd.checkpoint.inspection", "inspect_path"),
    "load": ("ckptd.api", "load"),
    "open": ("ckptd.api", "open_library"),
    "save": ("ckptd.api", "save"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'ckptd' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
