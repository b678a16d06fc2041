"""Training functions: JSON files that say how a model is built, read as data and never run.

Such a file has `training_code` (Python source that defines `create_model(**hyperparams)`) and `hyperparams`.  Whether its
code may ever run is decided elsewhere; here it is text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ckptd.checkpoint.jsonable import clean, to_json
from ckptd.model import Json

#: Characters of one file; a training function is a few kilobytes of source.
MAX_TEXT = 1 << 20

_DEFINITION = re.compile(r"^(?:async )?def create_model[ \t]*\(", re.MULTILINE)
_QUOTES = re.compile(r"\"\"\"|'''")
_SEPARATORS = re.compile(r"[\W_]+")
#: Words at the end of a file's name that say what it is and not what for.
_ENDINGS = (
    "trainingfunction",
    "trainingfunctions",
    "trainfunction",
    "functions",
    "function",
    "training",
    "train",
    "recipe",
    "fn",
    "func",
)


class TrainingFunction(NamedTuple):
    """What a training-function file says.

    Attributes:
        name: the model it builds as the file states it, None when it doesn't.
        defines_create_model: True when its code defines `create_model` at the top level.
        hyperparams: the arguments for it; plain JSON, bounded.
        digest: SHA-256 of the text, lower-case hex.
    """

    name: str | None
    defines_create_model: bool
    hyperparams: Mapping[str, Json]
    digest: str


def read_function(text: str) -> TrainingFunction:
    """Read the JSON of a training function; what is no such thing has `defines_create_model` False and no fields."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    nothing = TrainingFunction(name=None, defines_create_model=False, hyperparams={}, digest=digest)
    if len(text) > MAX_TEXT:
        return nothing
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return nothing
    if not isinstance(value, dict) or type(value.get("training_code")) is not str:
        return nothing
    settings = value.get("hyperparams", value.get("hyperparameters"))
    plain = to_json(settings) if isinstance(settings, dict) else {}
    name = value.get("model_name", value.get("name"))
    return TrainingFunction(
        name=clean(name) or None if type(name) is str else None,
        defines_create_model=_defines(value["training_code"]),
        hyperparams=plain if isinstance(plain, dict) else {},
        digest=digest,
    )


def _defines(code: str) -> bool:
    """Say whether a source has `def create_model(` at the begin of a line, outside triple-quoted strings.

    The text is searched and not parsed: `ast.parse` of a hostile source can exhaust the stack of the interpreter.
    """
    code = code.replace("\r\n", "\n")
    quotes = position = 0
    for match in _DEFINITION.finditer(code):
        quotes += len(_QUOTES.findall(code, position, match.start()))
        position = match.start()
        if quotes % 2 == 0:
            return True
    return False


def match_function(model_name: str, filenames: Sequence[str]) -> str | None:
    """Find the file that belongs to a model by its name, None when none or several fit alike.

    "BiLSTM_Attention" finds `bilstm-attention.json` and `training_function_BiLSTM_Attention.json`; `BiLSTM.json` is
    another model's.
    """
    wanted = _plain(model_name)
    if not wanted:
        return None
    exact = [name for name in filenames if _plain(_stem(name)) == wanted]
    if not exact:
        exact = [name for name in filenames if _bare(_plain(_stem(name))) == wanted]
    return exact[0] if len(exact) == 1 else None


def _stem(filename: str) -> str:
    return filename.rpartition("/")[2].rpartition(".")[0] or filename


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name[:255].casefold())


def _bare(name: str) -> str:
    for word in _ENDINGS:
        if name.endswith(word) and len(name) > len(word):
            return name[: -len(word)]
        if name.startswith(word) and len(name) > len(word):
            return name[len(word) :]
    return name
