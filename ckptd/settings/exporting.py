"""The settings of exports: which ones are made and within what, whose code may run, and how modules are built."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator
from pydantic_settings import NoDecode

from ckptd.proof import INPUT_DTYPES, MAX_NAME, TARGET_NAMES, is_dotted, split_callable
from ckptd.settings.kinds import Bytes, Paths, Seconds, Section, Words, read_tables

#: Where protobuf ends.  Source: protobuf's own limit on one message, 2 GiB less one byte.
PROTOBUF_BYTES = (1 << 31) - 1
#: The least that one export takes: torch imported, a small model, the exporter.
#: Source: measured with torch 2.13, 460 MB at the peak of an ONNX export.
MIN_MEMORY_BYTES = 512 << 20

MAX_INPUTS = 16
MAX_OUTPUTS = 64
MAX_RANK = 8
MAX_SIZE = 1 << 31
#: Elements of one example input, its dynamic dimensions left out: 1 GiB of float32.
MAX_ELEMENTS = 1 << 28
#: Values of one recipe's hyperparameters, nested ones counted, and how deep they nest.
MAX_HYPERPARAMETERS = 10_000
MAX_DEPTH = 16

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def _half_of_memory() -> int:
    """Give half of the machine's memory: the machine belongs to the training."""
    return max(MIN_MEMORY_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)


def _half_of_cores() -> int:
    return min(256, max(1, len(os.sched_getaffinity(0)) // 2))


class ExportSettings(Section):
    """Exports: what is made of a checkpoint by itself, and within which limits."""

    targets: Annotated[
        Words,
        Field(
            description="formats made of each checkpoint that arrives, of " + " ".join(TARGET_NAMES),
            json_schema_extra={"example": ["safetensors", "onnx"]},
        ),
    ] = ()
    quiet_seconds: Annotated[
        Seconds,
        Field(ge=0, description="an export waits until its checkpoint's name was quiet this long, seconds; the latest wins"),
    ] = 10.0
    seconds: Annotated[Seconds, Field(gt=0, description="wall clock of one step of an export, seconds")] = 600.0
    memory_bytes: Annotated[
        Bytes,
        Field(
            ge=MIN_MEMORY_BYTES,
            description="what all exports at once may use, bytes, beside the 360 MB of the process that holds torch for them",
            json_schema_extra={"shown_default": "half of the machine's memory", "example": "4GiB"},
        ),
    ] = Field(default_factory=_half_of_memory)
    workers: Annotated[
        int,
        Field(
            ge=1,
            le=256,
            description="exports at once",
            json_schema_extra={"shown_default": "half of the cores, at least 1", "example": 1},
        ),
    ] = Field(default_factory=_half_of_cores)
    sandbox: Annotated[
        Literal["required", "best_effort"],
        Field(description="required refuses to export where a worker cannot be confined, best_effort reports it as a finding"),
    ] = "required"
    min_free_bytes: Annotated[
        Bytes,
        Field(
            ge=0,
            description="nothing is exported when the file system would have less room left, bytes",
            json_schema_extra={"example": "1GiB"},
        ),
    ] = 1 << 30
    opset: Annotated[
        int, Field(ge=11, le=23, description="version of the ONNX operators; below 18 the older exporter serves")
    ] = 20
    dynamic: Annotated[
        bool, Field(description="batch and sequence lengths stay open in exports; false fixes the example's")
    ] = True
    external_data_bytes: Annotated[
        Bytes,
        Field(
            ge=0,
            le=PROTOBUF_BYTES,
            description="ONNX weights of more bytes than this go into a file beside the model, NAME.onnx.data",
            json_schema_extra={"example": "2GB"},
        ),
    ] = 2_000_000_000

    @field_validator("targets")
    @classmethod
    def _check_targets(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            if target not in TARGET_NAMES:
                near = difflib.get_close_matches(target.lower(), TARGET_NAMES, n=1, cutoff=0.6)
                meant = f'did you mean "{near[0]}"?' if near else f"there are {' '.join(TARGET_NAMES)}"
                raise ValueError(f"{target!r} is not an export target; {meant}")
        return tuple(dict.fromkeys(targets))


class TrustSettings(Section):
    """Whose code may run: confined in exports, or where Library.model is called. Empty: nobody's; weights are exported."""

    callables: Annotated[
        Words,
        Field(
            description='functions and classes that build models, each as "module:name"; never a prefix',
            json_schema_extra={"example": ["models:BiLSTM"]},
        ),
    ] = ()
    classes: Annotated[
        Words,
        Field(
            description="exact dotted classes that a pickled module may be built of, beyond those of torch.nn",
            json_schema_extra={"example": ["models.BiLSTM"]},
        ),
    ] = ()
    directories: Annotated[
        Paths,
        Field(
            description="directories of your own code, where nobody else can write; relative ones from where ckptd is started",
            json_schema_extra={"example": ["~/models"]},
        ),
    ] = ()
    digests: Annotated[
        Words,
        Field(
            description="SHA-256 of training-function files, TorchScript archives and pickled modules that may run",
            json_schema_extra={"example": ["0" * 64]},
        ),
    ] = ()

    @field_validator("callables")
    @classmethod
    def _check_callables(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(names, _is_callable, 'the callable itself: "models:BiLSTM"')

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(names, lambda name: "." in name and is_dotted(name), 'the class itself: "models.BiLSTM"')

    @field_validator("digests")
    @classmethod
    def _check_digests(cls, digests: tuple[str, ...]) -> tuple[str, ...]:
        lower = tuple(digest.lower().removeprefix("sha256:") for digest in digests)
        for written, digest in zip(digests, lower, strict=True):
            if _DIGEST.fullmatch(digest) is None:
                raise ValueError(f"{written!r} is no SHA-256; write the 64 hex digits that `sha256sum FILE` prints")
        return tuple(dict.fromkeys(lower))

    @field_validator("directories")
    @classmethod
    def _check_directories(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        expanded = tuple(path.expanduser() for path in paths)
        for path in expanded:
            if os.path.normpath(path).strip("/") == "":
                raise ValueError(f"{str(path)!r} holds everything there is; name the directory of the code itself")
            if "*" in path.name:
                raise ValueError(f"{str(path)!r} is a pattern; name the directory itself")
        return expanded


def _read_size(value: object) -> object:
    if type(value) not in {int, str}:
        raise ValueError('a size is a whole number, or a word such as "batch" for a dimension that stays open')
    return value


Size = Annotated[int | str, BeforeValidator(_read_size)]


class InputSettings(Section):
    """One example input of a module."""

    name: Annotated[
        str, Field(description='its name in exports that have names; "input" and "input_1", … when it is left out')
    ] = ""
    shape: Annotated[
        tuple[Size, ...],
        Field(description='sizes, outermost first; a word such as "batch" or "time" is a dimension that stays open'),
    ]
    dtype: Annotated[str, Field(description="as torch names it: " + " ".join(INPUT_DTYPES))] = "float32"
    high: Annotated[
        int | None,
        Field(ge=1, le=MAX_SIZE, strict=True, description="integers are drawn from 0 to this less one; a vocabulary's size"),
    ] = None

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name:
            _check_word(name)
        return name

    @field_validator("dtype")
    @classmethod
    def _check_dtype(cls, dtype: str) -> str:
        if dtype not in INPUT_DTYPES:
            raise ValueError(f"{dtype[:64]!r} is no element type of an input; there are {' '.join(INPUT_DTYPES)}")
        return dtype

    @field_validator("shape")
    @classmethod
    def _check_shape(cls, shape: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if len(shape) > MAX_RANK:
            raise ValueError(f"has {len(shape)} dimensions; more than {MAX_RANK} are not taken")
        for size in shape:
            if isinstance(size, str):
                _check_word(size)
            elif not 1 <= size <= MAX_SIZE:
                raise ValueError(f"a size is 1 to {MAX_SIZE}, or a word for a dimension that stays open")
        if math.prod(size for size in shape if isinstance(size, int)) > MAX_ELEMENTS:
            raise ValueError(f"has more than {MAX_ELEMENTS:,} elements; give a smaller example")
        return shape

    @model_validator(mode="after")
    def _check_high(self) -> InputSettings:
        if "int" in self.dtype and self.high is None:
            raise ValueError(f'a {self.dtype} input needs "high": its values are drawn from 0 to high - 1')
        if "int" not in self.dtype and self.high is not None:
            raise ValueError(f'"high" is for integers; a {self.dtype} input has none')
        return self


class RecipeBody(Section):
    """How a module is built, as a sidecar or a training-function file says it."""

    callable: Annotated[str, Field(description='what gives the module, "module:name", called with the hyperparameters')]
    hyperparameters: Annotated[
        dict[str, JsonValue], Field(description="arguments, over those that were found in the checkpoint")
    ] = Field(default_factory=dict)
    inputs: Annotated[
        tuple[InputSettings, ...],
        Field(
            max_length=MAX_INPUTS,
            description="example inputs: shape, and where needed name, dtype, high; else derived from the first layers",
        ),
    ] = ()
    outputs: Annotated[
        tuple[str, ...], Field(max_length=MAX_OUTPUTS, description="names of the outputs in exports that have names")
    ] = ()

    @field_validator("callable")
    @classmethod
    def _check_callable(cls, name: str) -> str:
        (checked,) = _checked((name,), _is_callable, 'the callable itself: "models:BiLSTM"')
        return checked

    @field_validator("hyperparameters")
    @classmethod
    def _check_hyperparameters(cls, values: dict[str, JsonValue]) -> dict[str, JsonValue]:
        _check_plain(values)
        return values

    @model_validator(mode="after")
    def _check_names(self) -> RecipeBody:
        for name in self.outputs:
            _check_word(name)
        names = [*(item.name for item in self.inputs if item.name), *self.outputs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} names two inputs or outputs")
        return self


class RecipeSettings(RecipeBody):
    """One recipe: how to build the modules of the checkpoints that match."""

    match: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_NAME,
            description="glob on the file's name, with or without its ending, its path in the root, or the model's name",
        ),
    ]

    @field_validator("hyperparameters")
    @classmethod
    def _refuse_null(cls, values: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if any(value is None for value in _walk(values, 0)):
            raise ValueError("null can't be written in TOML; leave the key out, or say it in the sidecar's recipe")
        return values


Recipes = Annotated[tuple[RecipeSettings, ...], NoDecode, BeforeValidator(read_tables)]


def _is_callable(name: str) -> bool:
    return split_callable(name) is not None


def _checked(names: tuple[str, ...], is_fine: Any, cure: str) -> tuple[str, ...]:
    for name in names:
        if not is_fine(name):
            raise ValueError(f"{name[:MAX_NAME]!r} could be more than one thing, or none; name {cure}")
    return tuple(dict.fromkeys(names))


def _check_word(name: str) -> None:
    if _WORD.fullmatch(name) is None:
        raise ValueError(f"{name[:64]!r} is no name; write letters, digits and _, at most 64")


def _check_plain(values: JsonValue) -> None:
    """Refuse what no JSON file can say, and what is no set of arguments any more."""
    for count, value in enumerate(_walk(values, 0)):
        if count > MAX_HYPERPARAMETERS:
            raise ValueError(f"holds more than {MAX_HYPERPARAMETERS:,} values")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("holds a number that is not finite, which JSON can't say")


def _walk(value: JsonValue, depth: int) -> Iterable[JsonValue]:
    yield value
    if depth > MAX_DEPTH:
        raise ValueError(f"nests deeper than {MAX_DEPTH}")
    inner: Sequence[JsonValue] = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from _walk(item, depth + 1)
