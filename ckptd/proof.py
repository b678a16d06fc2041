"""The words of an export as values: the recipe of a module, the inputs it is tried on, the export and its proof.

A recipe says how to build the module whose weights a checkpoint holds; an export is one file in one format, made from one
content; its proof says how it compared with the original.  All of these are frozen and made of plain values.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ckptd.model import Json, RawIdentity


class Verdict(StrEnum):
    """What became of one export."""

    #: It is in place, and another process saw that it does what the original does.
    VERIFIED = "verified"
    #: It was made and differs; it lies aside as NAME.failed.
    FAILED = "failed"
    #: It can't be made as things are; the reason says what to add.
    UNAVAILABLE = "unavailable"
    #: The exporter crashed, was late, needed too much or refused; nothing is in place.
    ERROR = "error"


class Maker(StrEnum):
    """In which way a recipe gives a module."""

    #: `module:callable` called with hyperparameters.
    CALLABLE = "callable"
    #: The `create_model(**hyperparams)` of a training-function JSON.
    FUNCTION = "function"
    #: A pickled module of trusted classes: the file is its own recipe.
    MODULE = "module"
    #: A TorchScript archive: likewise.
    TORCHSCRIPT = "torchscript"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a module.

    Attributes:
        name: of the input in exports that have names.
        shape: sizes, outermost first; a text names a dimension that is dynamic ("batch", "time").
        dtype: as torch names it.
        high: integers are drawn from 0 to `high` - 1; None for floating inputs.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    high: int | None = None

    def to_json(self) -> dict[str, Json]:
        """Turn it into plain JSON values."""
        value: dict[str, Json] = {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}
        return value if self.high is None else {**value, "high": self.high}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build the module whose weights a checkpoint holds.

    Attributes:
        origin: who says so: "settings: BiLSTM_*", "sidecar", "entry point: NAME", "function: FILE", "file", "group".
        callable: "module:name" for `Maker.CALLABLE`.
        hyperparameters: what it is called with; names that it does not take are left out.
        inputs: example inputs; empty when they are to be derived from the first layers.
        outputs: names of the outputs in exports that have names; empty: output, output_1 …
        code_sha256: digest of the source file of the callable, or of the training-function JSON; None where there is none.
        training_code: source that defines `create_model`, for `Maker.FUNCTION`.
        directories: trusted directories, from which modules may be imported.
        is_exact: the callable itself is named as trusted; else it has to be defined in one of `directories`.
        classes: exact dotted names that a pickled module may be built of, for `Maker.MODULE`.
    """

    maker: Maker
    origin: str
    callable: str | None = None
    hyperparameters: Mapping[str, Json] = field(default_factory=dict)
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    code_sha256: str | None = None
    training_code: str | None = None
    directories: tuple[str, ...] = ()
    is_exact: bool = False
    classes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of all that shapes the module, whoever said it; lower-case hex."""
        parts: list[Json] = [
            self.maker.value,
            self.callable,
            dict(self.hyperparameters),
            [spec.to_json() for spec in self.inputs],
            [*self.outputs],
            self.code_sha256,
            [*sorted(self.classes)],
        ]
        return digest_json(parts)


@dataclass(frozen=True, slots=True)
class Export:
    """One export of one content, as the index and the sidecar know it.

    Attributes:
        target: name of the format ("onnx").
        source_sha256: digest of the checkpoint that it was made from.
        settings_digest: of the target's settings; another one means that it is made again.
        recipe_digest: of the recipe; None for targets that need none.
        file: its name beside the checkpoint; None when there is none.
        sha256, size_bytes, identity: of that file, further files left out (dev, ino, size, mtime_ns, ctime_ns).
        reason: one sentence; empty when it is verified.
        at: seconds since the epoch.
        proof: how it was made and compared, plain JSON; docs/exports.md has the keys.
    """

    target: str
    verdict: Verdict
    source_sha256: str
    settings_digest: str
    recipe_digest: str | None = None
    file: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    identity: RawIdentity | None = None
    reason: str = ""
    at: float = 0.0
    proof: Mapping[str, Json] = field(default_factory=dict)


def digest_json(value: Json) -> str:
    """Give the SHA-256 of a JSON value in its one spelling, lower-case hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


#: Every export format, as settings and commands spell it; the order is the one in which they are made.
TARGET_NAMES = (
    "safetensors",
    "float16",
    "bfloat16",
    "int8",
    "torchscript",
    "torchscript-trace",
    "pt2",
    "onnx",
    "onnx-int8",
)

#: Element types of example inputs: those that numpy has too.
INPUT_DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")

#: Longest "module:callable" and longest dotted name of a class that is looked at.
MAX_NAME = 256

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def split_callable(text: str) -> tuple[str, str] | None:
    """Split "package.module:name" in two; None when it is not exactly that.

    Every part is an ASCII identifier, the name is one, and none has the shape of `__this__`: what Python itself hangs on a
    module (`__import__`, `__builtins__`, `__main__`) is nobody's model.
    """
    module, colon, name = text.partition(":")
    if len(text) > MAX_NAME or not colon or not is_dotted(module) or not _is_word(name):
        return None
    return module, name


def is_dotted(text: str) -> bool:
    """Tell whether a text is identifiers joined by dots, as modules and classes are written."""
    return len(text) <= MAX_NAME and all(map(_is_word, text.split(".")))


def _is_word(part: str) -> bool:
    return _WORD.fullmatch(part) is not None and not (part.startswith("__") and part.endswith("__"))
