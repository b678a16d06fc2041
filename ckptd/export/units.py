"""What an export is made of: what is wanted, the unit that is on its way, its steps, and what became of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptd.errors import CkptdError
from ckptd.export.proofs import Seen
from ckptd.model import Identity, Json, Layer
from ckptd.policy.exports import Need, estimate_need
from ckptd.proof import Recipe, Verdict
from ckptd.sandbox.confine import RefusedError
from ckptd.storage.scratch import Scratch
from ckptd.text import escape

#: Room for a file of an export beyond three times its weights: graphs, headers, a copy in a wider type.
_FILE_BYTES = 256 << 20
_FILE_COPIES = 3


class Failed(Exception):  # noqa: N818 — it ends a generator early and never leaves this room
    """End an export; the text is the reason."""

    def __init__(self, verdict: Verdict, reason: str, proof: dict[str, Json] | None = None) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.proof = proof or {}

    @classmethod
    def of(cls, error: CkptdError) -> Failed:
        """Make it of an error of ours."""
        verdict = Verdict.UNAVAILABLE if isinstance(error, RefusedError) else Verdict.ERROR
        return cls(verdict, escape(str(error), 1_000))


class Overtaken(Failed):
    """End an export whose checkpoint was saved again meanwhile: its new content is exported in its turn."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One export that is wanted.

    Attributes:
        target: name of the format.
        name: of its file beside the checkpoint.
        options: of the target.
        settings_digest: of the options.
        recipe: how to build the module; None for a weights target without one.
    """

    target: str
    name: str
    options: dict[str, Json]
    settings_digest: str
    recipe: Recipe | None = None


@dataclass(slots=True)
class Unit:
    """One checkpoint in one target.

    Attributes:
        order: the caller's; comes back with the result.
        wanted: what is to be made.
        fd: the checkpoint, opened for reading; belongs to the unit.
        identity: of the checkpoint when it was inspected; another one ends the export.
        state_dir: `.ckptd` of its root, where scratch directories are made.
        weights_bytes: of the weights.
        layers, hyperparameters: what is known of the checkpoint, for inputs and for the recipe.
    """

    order: Any
    wanted: Wanted
    fd: int
    identity: Identity
    state_dir: Path
    weights_bytes: int
    layers: tuple[Layer, ...] = ()
    hyperparameters: dict[str, Json] = field(default_factory=dict)
    scratches: list[Scratch] = field(default_factory=list)

    @property
    def need(self) -> Need:
        """What it needs while it runs."""
        return estimate_need(self.weights_bytes, with_module=self.wanted.recipe is not None)

    @property
    def file_bytes(self) -> int:
        """How long a file that a step writes may become."""
        return _FILE_COPIES * self.weights_bytes + _FILE_BYTES

    @property
    def scratch_bytes(self) -> int:
        """How much a step may write in all: an export, a file beside it, and outputs."""
        return 3 * self.file_bytes

    def make_scratch(self) -> Scratch:
        """Make a scratch directory that goes with the unit, or with its result."""
        scratch = Scratch.make(self.state_dir)
        self.scratches.append(scratch)
        return scratch

    def keep(self, scratch: Scratch) -> Scratch:
        """Take a scratch directory out of the unit: it belongs to the result now."""
        self.scratches.remove(scratch)
        return scratch

    def close(self) -> None:
        """Give everything back; a second call does nothing."""
        for scratch in self.scratches:
            scratch.close()
        self.scratches.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True, slots=True)
class Step:
    """One job.

    Attributes:
        zygote: "light" or "torch".
        words: what it does, for people.
        writable, readable: indexes into `fds` of directories.
        readable_paths: further places whose content it may read.
    """

    zygote: str
    function: str
    request: dict[str, Json]
    fds: tuple[int, ...]
    words: str
    writable: tuple[int, ...] = ()
    readable: tuple[int, ...] = ()
    readable_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a unit.

    Attributes:
        files: name → what the checker saw, the export itself first; empty unless verified or failed.
        scratch: where they lie; belongs to whoever takes the result, None when there is nothing.
        is_overtaken: the checkpoint was saved again meanwhile.
    """

    unit: Unit
    verdict: Verdict
    reason: str
    proof: dict[str, Json]
    files: dict[str, Seen] = field(default_factory=dict)
    scratch: Scratch | None = None
    is_overtaken: bool = False
