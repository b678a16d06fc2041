"""What a checkpoint's file name says.

Start reading at `parse_name`.  The order matters: what is told by its form alone (dates, hashes, environments) is cut out
first, then numbers that a word explains, then words of the vocabulary; the model is what is left.  A reader that says
nothing is better than one that invents: `e29f68s314m37` is no epoch, and 0.75 behind a model is its width.
"""

from __future__ import annotations

import re

from ckptd.checkpoint.names.counted import read_counted, read_lone, read_pairs, read_trailing_step
from ckptd.checkpoint.names.dates import find_date
from ckptd.checkpoint.names.keyed import read_keyed
from ckptd.checkpoint.names.lexer import MAX_NAME, lex, split_suffix
from ckptd.checkpoint.names.marks import blank_marks, read_marks, read_sizes, stage_of
from ckptd.checkpoint.names.reading import Draft, NameReading
from ckptd.checkpoint.names.subjects import read_dataset, read_model

__all__ = ["NameReading", "parse_name"]


def parse_name(filename: str) -> NameReading:
    """Read a file name, with the directory above it when the name has one ("run_2023-06-03/epoch3.pt").

    The directory only adds what the name leaves open: a known model, a known data set, a date.
    """
    directory, _, name = filename.rpartition("/")
    draft = _read(split_suffix(name))
    if directory:
        above = directory.rpartition("/")[2][:MAX_NAME]
        _add_directory(draft, _read(above), _TRAINER.fullmatch(above))
    return NameReading(
        model_name=draft.model,
        dataset=draft.dataset,
        metrics=draft.metrics,
        written=draft.written,
        epoch=draft.epoch,
        step=draft.step,
        date=draft.date,
        quantization=draft.quantization,
        stage=stage_of(draft),
        other=draft.other,
        confidence=draft.confidence,
    )


def _read(stem: str) -> Draft:
    found: dict[str, object] = {}
    potential: dict[str, tuple[str, str]] = {}
    dated = find_date(stem)
    if dated is not None:
        stem = stem[: dated.start] + "\0" * (dated.end - dated.start) + stem[dated.end :]
    stem = blank_marks(stem, found, potential)
    draft = Draft(stem, lex(stem))
    if dated is not None:
        _put_date(draft, dated.iso, dated.confidence)
    for key, value in found.items():
        if key == "dataset":
            draft.dataset, draft.confidence["dataset"] = str(value), 0.8
        elif isinstance(value, str):
            draft.note(key, value)
    for key, (spelling, text) in potential.items():
        draft.metrics[key], draft.written[key] = float(text), (spelling, text)
        draft.confidence[f"metrics.{key}"] = 0.5
    read_keyed(draft)
    read_dataset(draft)
    read_pairs(draft)
    read_counted(draft)
    read_marks(draft)
    read_model(draft)
    read_sizes(draft)
    read_trailing_step(draft)
    read_lone(draft)
    return draft


def _put_date(draft: Draft, iso: str, confidence: float) -> None:
    if iso[:4].isdigit():
        draft.date, draft.confidence["date"] = iso, confidence
    else:
        draft.note("date_without_year", iso, confidence)


#: transformers' Trainer: one directory a save, numbered by the step.
_TRAINER = re.compile(r"checkpoint-([0-9]{1,9})")


#: What a directory says of every file in it.
_OF_A_RUN = frozenset(("fold", "seed", "trial", "subject"))


def _add_directory(draft: Draft, above: Draft, trainer: re.Match[str] | None) -> None:
    if trainer is not None and draft.step is None and draft.epoch is None:
        draft.step, draft.confidence["step"] = int(trainer[1]), 0.7
    for key in _OF_A_RUN & above.other.keys():
        if key not in draft.other:
            draft.note(key, above.other[key], 0.6)
    if draft.date is None and above.date is not None:
        draft.date, draft.confidence["date"] = above.date, 0.6
    if draft.dataset is None and above.dataset is not None:
        draft.dataset, draft.confidence["dataset"] = above.dataset, 0.5
    if draft.model is None and above.model is not None and above.confidence["model_name"] > 0.5:
        draft.model, draft.confidence["model_name"] = above.model, 0.6
