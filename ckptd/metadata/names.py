"""What the JSON beside a checkpoint is called.

`model.pth` has `model_metadata.json`.  Where checkpoints share a stem (`a.pth`, `a.pt`) each has the full name:
`a.pth_metadata.json`, `a.pt_metadata.json`.  Where a person's file bears that name, ours is `model.pth.ckptd.json`.
A name once given stays: a second checkpoint of the same stem does not make the first one's sidecar move.
"""

from __future__ import annotations

import os
from collections.abc import Container, Sequence

from ckptd.errors import CkptdError
from ckptd.storage.beneath import entry_name
from ckptd.text import escape

#: Endings under which a checkpoint of the same stem is looked for among its siblings.
SUFFIXES = (".pth", ".pt", ".ckpt", ".pth.tar", ".pt.tar", ".bin", ".th")

_ENDING = "_metadata.json"
#: What is put behind the name of an export that differs from its original.
FAILED = ".failed"


class NoNameError(CkptdError):
    """No file can be called what one of ours would have to be."""


def stem_of(checkpoint: str) -> str:
    """Give the file name without the ending: "model" for model.pth and for model.pth.tar."""
    stem, ending = os.path.splitext(checkpoint)
    if ending.lower() == ".tar":
        inner, inner_ending = os.path.splitext(stem)
        if inner_ending.lower() in SUFFIXES:
            return inner
    return stem


def sidecar_name(checkpoint: str, siblings: Container[str] = (), suffixes: Sequence[str] = SUFFIXES) -> str:
    """Give the name that a new sidecar of this checkpoint takes when nobody has it.

    Args:
        checkpoint: its file name; of a path the last part counts.
        siblings: file names of the same directory; a set, where there are many.
        suffixes: the endings of checkpoints.
    """
    name = checkpoint.rpartition("/")[2]
    return full_name(name) if _shares_stem(name, siblings, suffixes) else stem_name(name)


def export_name(checkpoint: str, ending: str, siblings: Container[str] = (), suffixes: Sequence[str] = SUFFIXES) -> str:
    """Give the name of an export: "model.onnx"; "model.pth.onnx" where checkpoints share a stem.

    Args:
        checkpoint: its file name; of a path the last part counts.
        ending: of the target (".onnx", "_scripted.pt").
        siblings: file names of the same directory; a set, where there are many.
        suffixes: the endings of checkpoints.

    Raises:
        NoNameError: no file can be called that.
    """
    name = checkpoint.rpartition("/")[2]
    export = (name if _shares_stem(name, siblings, suffixes) else stem_of(name)) + ending
    try:
        entry_name(export + FAILED)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        cure = "give the checkpoint a shorter name"
        raise NoNameError("name an export", path=escape(export, 300), why=why, cure=cure) from error
    return export


def stem_name(checkpoint: str) -> str:
    """Give the usual name: the stem and the ending."""
    return stem_of(checkpoint) + _ENDING


def full_name(checkpoint: str) -> str:
    """Give the name for a checkpoint that shares its stem."""
    return checkpoint + _ENDING


def own_name(checkpoint: str) -> str:
    """Give the name that no person chooses and no other checkpoint can have."""
    return f"{checkpoint}.ckptd.json"


def persons_name(model_name: str | None) -> str | None:
    """Give the name of the file that a person may keep for a model; None where the model's name can't be a file's.

    The model's name came out of a checkpoint; this file is only ever read.
    """
    if not model_name:
        return None
    try:
        return entry_name(model_name + _ENDING)
    except OSError:
        return None


def _shares_stem(checkpoint: str, siblings: Container[str], suffixes: Sequence[str]) -> bool:
    stem = stem_of(checkpoint)
    return any(stem + suffix in siblings for suffix in suffixes if stem + suffix != checkpoint)
