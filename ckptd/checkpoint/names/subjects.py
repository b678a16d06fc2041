"""The model and the data set: what is left of a name when everything else was taken, held against the vocabulary."""

from __future__ import annotations

import re

from ckptd.checkpoint.metrics import QUALIFIERS, is_metric_word, split_words
from ckptd.checkpoint.names.lexer import Atom
from ckptd.checkpoint.names.reading import Draft
from ckptd.checkpoint.names.words import (
    ARCHITECTURES,
    DATASETS,
    DEPTHS,
    FLAGS,
    IMAGE_SIZES,
    NOISE,
    SUBJECTS,
    TASKS,
    UNVERSIONED,
    is_family,
)

#: Properties of the Materials Project, which models of one property are named after.
_PROPERTY = re.compile(
    r"(?i)(?<![a-z])(?:(?:formation|final|total)-energy-per-atom|band-gap|bulk-modul(?:i|us)|shear-modul(?:i|us)|poisson-ratio|efermi|semi-metal-classification)(?![a-z])"
)
_LONGEST = 4
_TO = frozenset(("to", "2", "ft", "finetune"))


def read_dataset(draft: Draft) -> None:
    """Find the data set; of two with "to" between them, or of ImageNet and another, the first was for pretraining."""
    if draft.dataset is not None:
        return
    match = _PROPERTY.search(draft.stem)
    if match is not None:
        for position, atom in enumerate(draft.atoms):
            if match.start() <= atom.start < match.end():
                draft.taken[position] = True
        draft.dataset, draft.confidence["dataset"] = match[0], 0.8
        return
    found = _find_known(draft) or _find_subject(draft)
    if not found:
        return
    first, second = found[0], found[-1]
    chosen = first
    if len(found) > 1 and _differ(draft, first, second):
        between = {atom.low for atom in draft.atoms[first[1] + 1 : second[0]]}
        if between & _TO or _text(draft, *first).lower().startswith(("imagenet", "in1k", "in21k", "in22k")):
            draft.note("pretrain", _text(draft, *first), 0.7)
            chosen = second
    draft.dataset = _text(draft, *chosen)
    draft.confidence["dataset"] = 0.85


def _differ(draft: Draft, first: tuple[int, int], second: tuple[int, int]) -> bool:
    return _text(draft, *first).lower() != _text(draft, *second).lower()


def _text(draft: Draft, first: int, last: int) -> str:
    return draft.stem[draft.atoms[first].start : draft.atoms[last].end]


def _find_known(draft: Draft) -> list[tuple[int, int]]:
    """Find the longest runs of atoms that are a known data set, whole words only."""
    atoms, found, position = draft.atoms, [], 0
    while position < len(atoms):
        end = None if draft.taken[position] or atoms[position].glued else _match_dataset(draft, position)
        if end is None:
            position += 1
            continue
        found.append((position, end))
        draft.take(position, end)
        position = end + 1
    return found


def _match_dataset(draft: Draft, position: int) -> int | None:
    atoms, key, best = draft.atoms, "", None
    for end in range(position, min(position + _LONGEST, len(atoms))):
        if draft.taken[end] or (end > position and atoms[end].start - atoms[end - 1].end > 1):
            break
        key += atoms[end].low
        if key in DATASETS and not (end + 1 < len(atoms) and atoms[end + 1].glued):
            best = end
    return best


def _find_subject(draft: Draft) -> list[tuple[int, int]]:
    """Find neighbouring words that say what the data shows ("breast_tumors")."""
    atoms = draft.atoms
    for position, atom in enumerate(atoms):
        if draft.taken[position] or atom.low not in SUBJECTS or atom.glued:
            continue
        end = position
        while draft.free(end + 1) and atoms[end + 1].low in SUBJECTS and atoms[end + 1].start - atoms[end].end == 1:
            end += 1
        if end + 1 < len(atoms) and atoms[end + 1].glued:
            continue
        draft.take(position, end)
        return [(position, end)]
    return []


def read_model(draft: Draft) -> None:
    """Find the model: the run of words that holds a known family, else words that begin the name and say nothing else."""
    runs = _runs(draft)
    for run in runs:
        if any(_is_model_word(draft, position) for position in range(run[0], run[1] + 1)):
            first, last = _trim(draft, *run)
            _name(draft, first, _without_version(draft, first, last), 0.8)
            return
    for first, last in runs:
        if not _begins(draft, first):
            continue
        end = _leading_words(draft, first, last)
        if end is not None:
            _name(draft, first, end, 0.5)
        return


def _name(draft: Draft, first: int, last: int, confidence: float) -> None:
    draft.model = _text(draft, first, last)
    draft.confidence["model_name"] = confidence
    draft.take(first, last)


def _is_model_word(draft: Draft, position: int) -> bool:
    atom = draft.atoms[position]
    if atom.number:
        return False
    if is_metric_word(atom.low) and draft.free(position + 1) and draft.atoms[position + 1].number:  # "best_mae_0"
        return False
    if is_family(atom.low) or (len(atom.low) > 5 and atom.low[-1] == "v" and is_family(atom.low[:-1])):
        return True
    word, after = atom.low, position + 1
    while draft.free(after) and draft.atoms[after].glued and after - position < _LONGEST:  # "deeplabv3", "c3d"
        word += draft.atoms[after].low
        after += 1
        if word in ARCHITECTURES and not (draft.free(after) and draft.atoms[after].glued and not draft.atoms[after].number):
            return True
    return False


def _runs(draft: Draft) -> list[tuple[int, int]]:
    """List the runs of free atoms that could be one name: neighbours joined by one separator, without noise words."""
    atoms = draft.atoms
    first: int | None = None
    runs: list[tuple[int, int]] = []
    for position, atom in enumerate(atoms):
        usable = not draft.taken[position] and not _is_noise(draft, position)
        joined = first is not None and (
            atom.glued or draft.stem[atoms[position - 1].end : atom.start] in {"_", "-", " ", ".", "+"}
        )
        if first is not None and (not usable or not joined):
            runs.append((first, position - 1))
            first = None
        if usable and first is None:
            first = position
    if first is not None:
        runs.append((first, len(atoms) - 1))
    return runs


def _is_noise(draft: Draft, position: int) -> bool:
    atom = draft.atoms[position]
    if atom.number or atom.low not in NOISE or len(atom.low) == 1:
        return False
    if atom.low in {"net", "network"} and _ends_a_name(draft, position):
        return False
    glued_after = position + 1 < len(draft.atoms) and draft.atoms[position + 1].glued
    # "net7" is a name, "net" is none.
    return not atom.glued and (
        not glued_after or atom.low in {"model", "checkpoint", "ckpt", "epoch", "test", "train", "val", "weights"}
    )


def _ends_a_name(draft: Draft, position: int) -> bool:
    """Say whether "net" stands behind a word that is free: "mini_med_net", but not "best_net"."""
    before = draft.atoms[position - 1]
    return draft.free(position - 1) and not before.number and before.low not in NOISE and not draft.runs_on(position)


def _trim(draft: Draft, first: int, last: int) -> tuple[int, int]:
    """Cut from a run what is no part of a model's name: leading numbers and flags, a size or a lone number at its end."""
    atoms = draft.atoms
    while first < last and (
        (atoms[first].number and not atoms[first + 1].glued) or atoms[first].low in FLAGS or atoms[first].low in {"res", "my"}
    ):
        first += 1
    for position in range(first, last):
        if _is_model_word(draft, position):
            break
        if atoms[position].low in TASKS:  # "water_detection_unet"
            first = position + 1
    if _is_settings(draft, first):  # "s64w8_SwinIR"
        while first < last and draft.atoms[first + 1].glued:
            first += 1
        first = min(first + 1, last)
    seen, end = False, first
    for position in range(first, last + 1):
        atom = atoms[position]
        if not atom.number or atom.glued or not seen:
            seen = seen or _is_model_word(draft, position)
            end = position
            continue
        glued_after = position < last and atoms[position + 1].glued
        if glued_after or _is_width(draft, position):
            end = position
            continue
        value = int(atom.text) if atom.text.isdigit() and len(atom.text) < 5 else -1
        if value in DEPTHS and not (position == last and value in IMAGE_SIZES) and not _is_count(draft, position, last):
            end = position
            continue
        break
    return first, end


def _without_version(draft: Draft, first: int, last: int) -> int:
    """Cut "_v6" from a name whose family has no versions of its own; "moco_v2" and "inception_v3" are names."""
    atoms = draft.atoms
    if (
        last - first < 2
        or atoms[last - 1].low != "v"
        or not atoms[last].number
        or atoms[last - 1].glued
        or not atoms[last].glued
    ):
        return last
    return last - 2 if all(atom.number or atom.low in UNVERSIONED for atom in atoms[first : last - 1]) else last


def _is_settings(draft: Draft, position: int) -> bool:
    """Say whether a token is letter, number, letter, number: settings in short, no name."""
    token = draft.atoms[position : position + 4]
    shape = [atom.number for atom in token] == [False, True, False, True]
    return shape and all(atom.glued for atom in token[1:]) and len(token[0].text) == len(token[2].text) == 1


def _is_width(draft: Draft, position: int) -> bool:
    """Say whether a number is a width multiplier: `x1_0`, `mobilenet_v2_1.0`, `mobilenet_0.75`."""
    atoms, atom = draft.atoms, draft.atoms[position]
    if atom.text in {"0.25", "0.35", "0.5", "0.50", "0.75", "1.0", "1.25", "1.4", "1.5", "2.0"}:
        draft.note("width", float(atom.text), 0.6)
        return True
    before = atoms[position - 1]
    if atom.text in {"0", "1", "2"} and before.number and before.glued and atoms[position - 2].low in {"squeezenet", "resnet"}:
        wide = position > 2 and atoms[position - 3].low == "wide"
        return atoms[position - 2].low == "squeezenet" or wide
    return position > 1 and before.number and before.glued and atoms[position - 2].text == "x" and len(atom.text) <= 2


def _is_count(draft: Draft, position: int, last: int) -> bool:
    """Say whether a lone number after a model is more likely an epoch: the model has its depth already ("resnet18_50")."""
    return position == last and draft.atoms[position - 1].number and position + 1 == len(draft.atoms)


def _begins(draft: Draft, first: int) -> bool:
    """Say whether nothing but noise, flags, the date and the data set stands before a run."""
    if draft.atoms[first].number:
        return False
    for position in range(first):
        atom = draft.atoms[position]
        if atom.number and not atom.glued and not draft.taken[position]:
            return False
    said = draft.atoms[first].start
    return not any(start < said for start in _explained(draft))


def _explained(draft: Draft) -> list[int]:
    """List where the taken numbers stand; words behind a metric or an epoch are remarks, no model."""
    atoms = draft.atoms
    data = (draft.dataset or "").lower()
    return [
        atom.start
        for position, atom in enumerate(atoms)
        if atom.number and draft.taken[position] and atom.text not in data and not _prelude(draft, position)
    ]


def _prelude(draft: Draft, position: int) -> bool:
    """Say whether a taken number belongs to what people put in front of a name: a chip, a team."""
    before = draft.atoms[position - 1].low if position else ""
    return before in {"ai", "team", "rank", "fold", "seed"} or "x" in before


def _leading_words(draft: Draft, first: int, last: int) -> int | None:
    """Find the last atom of the words that begin a run; a number of its own ends them."""
    end = None
    for position in range(first, last + 1):
        atom: Atom = draft.atoms[position]
        if atom.number and not atom.glued:
            break
        end = position
    if end is None:
        return None
    if all(
        atom.number or is_metric_word(atom.low.replace("-", "")) or atom.low in QUALIFIERS
        for atom in draft.atoms[first : end + 1]
    ):
        return None
    words = split_words(draft.atoms[first].text)
    if len(words) > 1 and words[0] in NOISE:  # "trackB"
        return None
    letters = max((len(a.text) for a in draft.atoms[first : end + 1] if not a.number), default=0)
    return end if letters >= 3 else None
