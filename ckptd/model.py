"""The words of ckptd as values: what a file is, what was found in it, and where it lies.

Start reading at `Inspection`: everything before the index produces one, everything behind it lives on one.  All of these
are frozen; a change is a new value.  Nothing here does I/O or imports more than the standard library.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

#: Version of the inspector; a remembered failure is tried again when it changes.
INSPECTOR_VERSION = 2

#: What a JSON document can hold; answers of workers and hyperparameters are made of nothing else.
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Status(StrEnum):
    """What an inspection concluded, strongest first; the first that applies wins."""

    UNSAFE = "unsafe"
    DAMAGED = "damaged"
    NEEDS_CODE = "needs_code"
    OK = "ok"
    NOT_A_CHECKPOINT = "not_a_checkpoint"
    UNREADABLE = "unreadable"
    FAILED = "failed"


class Container(StrEnum):
    """How the bytes are wrapped, told by content and never by the file's extension."""

    ZIP = "zip"
    LEGACY = "legacy"
    TAR = "tar"
    TORCHSCRIPT = "torchscript"
    PICKLE = "pickle"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """What the object inside is."""

    STATE_DICT = "state_dict"
    CHECKPOINT = "checkpoint"
    MODULE = "module"
    TORCHSCRIPT = "torchscript"
    OPTIMIZER = "optimizer"
    TENSOR = "tensor"
    OTHER = "other"


class Severity(StrEnum):
    """How much a finding matters: `error` decides the status, `warning` wants a look, `info` is worth knowing."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class PlaceState(StrEnum):
    """Where a place (a path) stands on its way; docs/states.md lists each allowed move.

    seen → settling → inspecting → ready | rejected; from any of them → missing, and back to seen when the file returns.
    ckptd itself takes a checkpoint away as trashed; when the trash is purged it is archived, or purged where no archive has it.
    """

    SEEN = "seen"
    SETTLING = "settling"
    INSPECTING = "inspecting"
    READY = "ready"
    REJECTED = "rejected"
    MISSING = "missing"
    TRASHED = "trashed"
    ARCHIVED = "archived"
    PURGED = "purged"


#: States of a place where no file is to be expected.
GONE_STATES = (PlaceState.MISSING, PlaceState.TRASHED, PlaceState.ARCHIVED, PlaceState.PURGED)


class Openness(StrEnum):
    """Whether somebody has a file open for writing.  Nothing that is open or unknown is a candidate for removal."""

    CLOSED = "closed"
    OPEN = "open"
    UNKNOWN = "unknown"


#: What JSON readers and the index hold.  A file may bear a time beyond it: some file systems take seconds of 64 bits.
MOST_INT64 = (1 << 63) - 1


class Identity(NamedTuple):
    """Tell one state of one file from another: what `stat` knows.  Times in nanoseconds since the epoch (UTC)."""

    dev: int
    ino: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Identity:
        """Take the identity out of a stat result."""
        changed = stat.st_mtime_ns
        if not -MOST_INT64 <= changed <= MOST_INT64:  # the ctime is the kernel's own clock: nobody can set it
            changed = max(-MOST_INT64, min(changed, MOST_INT64))
        return cls(stat.st_dev, stat.st_ino, stat.st_size, changed, stat.st_ctime_ns)


#: An `Identity` as a plain tuple, for tables of many: the garbage collector stops looking at plain tuples of integers,
#: but never at a named one.  They compare equal; `Identity(*raw)` names the fields.
RawIdentity = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a check has to say.

    Attributes:
        code: stable kebab-case word, listed in docs/findings.md ("crc-mismatch").
        message: one sentence for a person; text out of the file is already escaped.
        tensors: dotted names of the tensors it concerns, from the file, escaped; at most 100.
    """

    code: str
    severity: Severity
    message: str
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """One tensor as the file describes it, and what its values look like.

    Attributes:
        name: dotted path inside the file ("conv6.weight", "optimizer.state.0.exp_avg").
        shape: sizes, outermost first.
        bytes: numel × itemsize, as if stored contiguously and alone.
        storage: key of the storage record that holds the values; tied weights share it.
        minimum, maximum, norm: over the finite values of its storage; None where not computed (integers, meta tensors).
        nan, inf: counts of non-finite values in its storage.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    storage: str
    minimum: float | None = None
    maximum: float | None = None
    norm: float | None = None
    nan: int = 0
    inf: int = 0


@dataclass(frozen=True, slots=True)
class TensorTotals:
    """Sums over all tensors of a file.

    Attributes:
        count: tensors, tied ones counted each.
        parameters: elements of the weights, tied ones once; the optimizer's are not parameters.
        bytes: bytes of all storages, each once.
        dtypes: dtype → elements, over all tensors, tied ones once.
        optimizer_bytes: how many of the bytes belong to optimizer state.
        records: the tensors one by one; at most 1,000, in the file's order.
    """

    count: int = 0
    parameters: int = 0
    bytes: int = 0
    dtypes: Mapping[str, int] = field(default_factory=dict)
    optimizer_bytes: int = 0
    records: tuple[TensorRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, told from the shapes of its parameters.

    Attributes:
        name: dotted prefix of its parameters ("encoder.lstm").
        type: lower-case family: linear, conv1d, conv2d, conv3d, lstm, gru, rnn, embedding, batch_norm, layer_norm,
            attention, other.
        parameters, bytes: of its own parameters and buffers.
        detail: what the shapes say (in_features, out_features, hidden_size, num_layers, bidirectional, kernel_size …).
    """

    name: str
    type: str
    parameters: int
    bytes: int
    detail: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value came from and how sure the reading is.

    Attributes:
        where: "content:PATH", "name", "shapes", "sidecar" or "mtime".
        confidence: 0 to 1; what a person wrote or a checkpoint states outright is 1.
    """

    where: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known about the model, each value with its source.

    Attributes:
        metrics: canonical name → value (fractions for what is a fraction by nature); finite only.
        spellings: canonical metric name → as it was written.
        date: ISO 8601 date or date-time, as precise as it was known.
        quantization: "int8", "float16" …, None when plain.
        stage: "bo_trial", "final", "quantized", "best", "last", or None.
        hyperparameters: plain JSON, bounded, home directories replaced by "~".
        other: further fields a name or a content gave (seed, fold, version …).
        sources: field ("epoch", "metrics.accuracy") → Source.
    """

    model_name: str | None = None
    architecture: str | None = None
    dataset: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    epoch: int | None = None
    step: int | None = None
    date: str | None = None
    quantization: str | None = None
    hyperparameters: Mapping[str, Json] = field(default_factory=dict)
    stage: str | None = None
    spellings: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, Json] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that one read of one file has to say.

    Attributes:
        path: as the caller named it (surrogateescape for names that are not UTF-8).
        sha256: lower-case hex of the whole file; None when it could not be read to its end.
        identity: of the descriptor that was read, the same before and after; None when there was none.
        layers: at most 2,000, in the file's order.
        inspector_version: `INSPECTOR_VERSION` of the engine that said this.
    """

    path: str
    status: Status
    container: Container = Container.UNKNOWN
    kind: Kind | None = None
    sha256: str | None = None
    size_bytes: int = 0
    tensors: TensorTotals = field(default_factory=TensorTotals)
    metadata: Metadata = field(default_factory=Metadata)
    findings: tuple[Finding, ...] = ()
    layers: tuple[Layer, ...] = ()
    identity: Identity | None = None
    inspector_version: int = INSPECTOR_VERSION

    @property
    def exit_status(self) -> int:
        """0 for ok, 3 for needs_code and unsafe, 1 for the others."""
        match self.status:
            case Status.OK:
                return 0
            case Status.NEEDS_CODE | Status.UNSAFE:
                return 3
            case _:
                return 1


@dataclass(frozen=True, slots=True)
class Record:
    """One place in the index with the content found there.

    Attributes:
        id: stable number of the place; what `ckptd ls` shows and every command takes.
        root: absolute path of the watched root.
        path: relative to the root, "/" between parts (surrogateescape).
        inspection: of the content; None until it was inspected.
        first_seen_at, inspected_at: seconds since the epoch, UTC.
        copies: relative paths in any root with the same digest, this one left out.
    """

    id: int
    root: str
    path: str
    state: PlaceState
    identity: Identity
    sha256: str | None
    inspection: Inspection | None
    first_seen_at: float
    inspected_at: float | None = None
    copies: Sequence[str] = ()
