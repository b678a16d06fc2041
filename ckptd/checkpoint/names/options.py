"""The settings that people write into names: `lr0.001`, `batch_size_64`, `h256`."""

from __future__ import annotations

from collections.abc import Callable

from ckptd.checkpoint import metrics
from ckptd.checkpoint.names.lexer import Atom
from ckptd.checkpoint.names.reading import Draft
from ckptd.checkpoint.names.words import EPOCH, STEP
from ckptd.model import Json

#: Setting → the words for it; only a number behind one counts.
_SPELLINGS = {
    "lr": "lr learningrate",
    "batch": "bs batch batchsize bsz b",
    "weight_decay": "wd weightdecay l2",
    "seed": "seed sd rs",
    "fold": "fold kfold cv",
    "dropout": "dropout drop dp do",
    "hidden": "hidden hid hiddensize hiddendim hdim h",
    "d_model": "dm dmodel",
    "embedding": "emb embed",
    "dim": "dim",
    "layers": "layers layer nlayers nl",
    "heads": "heads nhead nheads head",
    "channels": "ch channels",
    "classes": "nc ncls nclass classes",
    "input": "input img imgsz imgsize size sz inputsize resolution",
    "prune": "prune pruned sparsity",
    "rank": "rank",
    "team": "team",
    "finetune": "finetune",
    "percentage": "percentage percent pct",
    "gamma": "gamma",
    "alpha": "alpha",
    "beta": "beta",
    "lambda": "lambda",
    "momentum": "momentum mom",
    "warmup": "warmup",
    "temperature": "temp temperature",
    "split": "split",
    "run": "run",
    "experiment": "exp",
    "trial": "trial",
    "task": "task",
    "round": "round rnd",
    "client": "client",
    "width": "width",
    "level": "level",
    "stage_number": "stage",
    "phase": "phase",
    "subject": "subject sub",
    "frames": "frames",
    "length": "len seqlen seq",
    "horizon": "horizon",
    "shot": "shot",
    "way": "way",
    "gpus": "gpus",
    "gpu": "gpu",
    "flops": "flops",
    "params": "params param",
    "epsilon": "eps epsilon",
    "tau": "tau",
    "scale": "scale",
    "output_stride": "os",
    "step_size": "step_size",
    "part": "part",
    "shard": "shard",
    "poison": "poison",
    "worker": "worker",
    "threshold": "thr thres threshold",
}
SETTINGS = {word: name for name, words in _SPELLINGS.items() for word in words.split()}


def _whole(number: float) -> bool:
    return number == int(number)


def _below(most: float) -> Callable[[float], bool]:
    return lambda number: number < most


def _among(*sizes: int) -> Callable[[float], bool]:
    return lambda number: number in sizes


#: Settings of one or two letters count only glued to a number of this kind.
_SHORT: dict[str, Callable[[float], bool]] = {
    "h": _among(16, 32, 64, 96, 100, 128, 192, 200, 256, 300, 384, 400, 500, 512, 600, 768, 1024, 2048),
    "b": _among(32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096),
    "os": _among(4, 8, 16, 32),
    "do": _below(1),
    "dp": _below(1),
    "nl": _below(200),
    "cv": _below(100),
    **dict.fromkeys(("sd", "rs", "ch", "emb", "embed"), _whole),
}


def read_setting(draft: Draft, position: int, atom: Atom, before: Atom) -> bool:
    """Read a number as the setting that the word before it names; say whether it is one."""
    word, start = _setting_word(draft, position, before)
    name = SETTINGS.get(word)
    if name is None or atom.text.count(".") > 1:
        return False
    number = float(atom.text)
    short = _SHORT.get(word)
    if short is not None and not (atom.glued and short(number)):
        return False
    if word == "b" and draft.free(position - 2) and draft.atoms[position - 2].low in _PATCHED:
        return False
    end, value = position, _number(atom)
    if (
        draft.free(position + 1)
        and draft.atoms[position + 1].glued
        and draft.atoms[position + 1].text in {"M", "G", "K", "k", "x", "B"}
    ):
        value, end = atom.text + draft.atoms[position + 1].text, position + 1
        if end + 1 < len(draft.atoms) and draft.atoms[end + 1].glued and draft.atoms[end + 1].number:
            end += 1  # "256x128"
            value = f"{value}{draft.atoms[end].text}"
    elif draft.runs_on(position):
        return False
    draft.note(name, value, 0.8)
    draft.take(start, end)
    return True


#: "vit_b32": a size and a patch, no batch.
_PATCHED = frozenset("vit clip deit beit mae dino dinov2".split())


def _setting_word(draft: Draft, position: int, before: Atom) -> tuple[str, int]:
    """Give the setting's word before a number, two words as one ("batch_size", "weight-decay"), and where it starts."""
    if draft.free(position - 2) and not draft.atoms[position - 2].number:
        joined = draft.atoms[position - 2].low + before.low
        if joined in SETTINGS:
            return joined, position - 2
    return plain_word(before), position - 1


def _number(atom: Atom) -> Json:
    value = atom.integer
    return float(atom.text) if value is None else value


def plain_word(atom: Atom) -> str:
    """Give the last word of an atom: `TestEpoch` is `epoch`, but `mAP` is itself."""
    low = atom.low
    if low in EPOCH or low in STEP or low in SETTINGS or metrics.is_metric_word(low) or low == atom.text:
        return low
    words = metrics.split_words(atom.text)
    return words[-1] if words else low
