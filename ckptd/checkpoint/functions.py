"""Training functions: JSON files that say how a model is built, read as data and never run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ckptd.model import Json


class TrainingFunction(NamedTuple):
    """What a training-function file says.

    Attributes:
        name: the model it builds as the file states it; None when it does not.
        defines_create_model: True when its code has a `def create_model` at the top level.
        hyperparams: the arguments for it; plain JSON, bounded.
        digest: SHA-256 of the text, lower-case hex.
    """

    name: str | None
    defines_create_model: bool
    hyperparams: Mapping[str, Json]
    digest: str


def read_function(text: str) -> TrainingFunction:
    """Read the JSON of a training function; what is no such thing comes back with `defines_create_model` False."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return TrainingFunction(None, False, {}, digest)
    code = value.get("training_code")
    return TrainingFunction(None, isinstance(code, str) and "def create_model" in code, {}, digest)


def match_function(model_name: str, filenames: Sequence[str]) -> str | None:
    """Find the file name that belongs to a model, None when none or several fit equally."""
    wanted = model_name.casefold()
    found = [name for name in filenames if name.rsplit(".", 1)[0].casefold() == wanted]
    return found[0] if len(found) == 1 else None
