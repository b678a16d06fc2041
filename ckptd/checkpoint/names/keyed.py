"""Numbers that a word explains: epoch, step, and what stands behind its number."""

from __future__ import annotations

from ckptd.checkpoint.names.lexer import Atom
from ckptd.checkpoint.names.measured import read_metric, read_metric_after, read_reversed
from ckptd.checkpoint.names.options import plain_word, read_setting
from ckptd.checkpoint.names.reading import Draft
from ckptd.checkpoint.names.words import EPOCH, STEP

#: "6class": the number stands before the word.
_AFTER = {
    word: name
    for name, words in {
        "classes": "class classes cls",
        "channels": "ch channels channel",
        "frames": "frames",
        "shot": "shot",
        "way": "way",
        "folds": "fold folds",
        "gpus": "gpu gpus",
        "layers": "layers layer",
        "heads": "heads head",
        "bands": "band",
        "sample_rate_khz": "khz",
        "sample_rate_hz": "hz",
        "hours": "h",
        "speakers": "speakers spk spks",
    }.items()
    for word in words.split()
}


def read_keyed(draft: Draft) -> None:
    """Read every number that a word before or behind it explains."""
    read_reversed(draft)
    for position, atom in enumerate(draft.atoms):
        if atom.number and not draft.taken[position]:
            _read_number(draft, position, atom)


def _read_number(draft: Draft, position: int, atom: Atom) -> None:
    before = draft.atoms[position - 1] if draft.free(position - 1) else None
    if before is not None and not before.number and not _far(draft, position):
        if _read_epoch_or_step(draft, position, atom, before) or read_metric(draft, position, atom):
            return
        if read_setting(draft, position, atom, before):
            return
    after = draft.atoms[position + 1] if draft.free(position + 1) else None
    if after is not None and not after.number:
        _read_unit(draft, position, atom, after)


def _far(draft: Draft, position: int) -> bool:
    """Say whether more than a separator stands before an atom: something taken, or a double underscore after a word."""
    return draft.atoms[position].start - draft.atoms[position - 1].end > 3


def _read_epoch_or_step(draft: Draft, position: int, atom: Atom, before: Atom) -> bool:
    word, value = plain_word(before), atom.integer
    if value is None:
        return False
    if word in _LENGTHS and draft.free(position - 2) and draft.atoms[position - 2].low in _COUNTS:
        draft.note(word, value)  # "num_epochs200" is how long it was to run
        draft.take(position - 2, position)
        return True
    if word in EPOCH:
        if value >= 1_000_000:
            return False
        _put_epoch(draft, value, 0.6 if word == "epochs" else 0.95)
        draft.take(position - 1, position)
        return True
    if word in STEP:
        end, factor = position, _factor(draft, position)
        if factor > 1:
            end += 1
        if draft.step is None:
            draft.step, draft.confidence["step"] = value * factor, 0.95
        # "global_step_100": the word before belongs to it.
        start = (
            position - 2
            if draft.free(position - 2) and draft.atoms[position - 2].low in {"global", "train", "total"}
            else position - 1
        )
        draft.take(start, end)
        return True
    return False


#: Words that also say how long a run was to be; and what stands before them then.
_LENGTHS = frozenset(("epochs", "steps", "iters", "iterations"))
_COUNTS = frozenset(("num", "n", "max", "no", "nb"))


def _put_epoch(draft: Draft, value: int, confidence: float) -> None:
    """Put the epoch down; the first stands, but "epochs50" gives way to "epoch48"."""
    if draft.epoch is None or (draft.confidence["epoch"] == 0.6 and confidence > 0.6):
        draft.epoch, draft.confidence["epoch"] = value, confidence


def _factor(draft: Draft, position: int) -> int:
    """Give 1000 for a "k" glued behind a number, a million for an "M", else 1."""
    if draft.free(position + 1) and draft.atoms[position + 1].glued:
        return {"k": 1000, "K": 1000, "M": 1_000_000, "m": 1_000_000}.get(draft.atoms[position + 1].text, 1)
    return 1


def _read_unit(draft: Draft, position: int, atom: Atom, after: Atom) -> None:
    """Read a number whose word comes behind it: `280epoch`, `280-epoch`, `10000_steps`, `6class`, `160k`."""
    value = atom.integer
    if atom.glued or (value is None and not read_metric_after(draft, position)) or value is None:
        return
    close = draft.stem[atom.end : after.start] in {"", "-", "_"}
    word, end = after.low, position + 1
    factor = 1
    explained = draft.free(position + 3) and draft.atoms[position + 3].number  # "124M-step-5000": the step is 5000
    if (
        after.glued
        and word in {"k", "m"}
        and draft.free(position + 2)
        and draft.atoms[position + 2].low in STEP
        and not explained
    ):
        word, end, factor = draft.atoms[position + 2].low, position + 2, 1000 if word == "k" else 1_000_000
    if not close or (draft.free(end + 1) and draft.atoms[end + 1].number and not after.glued and word in (EPOCH | STEP)):
        return
    if word in EPOCH and value < 100_000 and draft.epoch is None:
        _put_epoch(draft, value, 0.6 if word == "epochs" else 0.9)
        draft.take(position, end)
    elif word in STEP and draft.step is None:
        draft.step, draft.confidence["step"] = value * factor, 0.9
        draft.take(position, end)
    elif word in _AFTER and after.glued and not draft.runs_on(position + 1):
        draft.note(_AFTER[word], value)
        draft.take(position, end)
    elif after.glued and word == "e" and value >= 10 and not draft.runs_on(position + 1):
        # mmdet and timm write the length of the training so ("300e"); the file is of its end.
        draft.note("schedule", f"{value}e")
        if draft.epoch is None:
            draft.epoch, draft.confidence["epoch"] = value, 0.5
        draft.take(position, end)
    elif after.glued and word == "k" and value >= 20 and value % 10 == 0 and not draft.runs_on(position + 1):
        if draft.step is None:
            draft.step, draft.confidence["step"] = value * 1000, 0.5
        draft.note("schedule", f"{value}k")
        draft.take(position, end)
