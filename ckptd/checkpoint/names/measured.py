"""Metrics: the words of a metric's name, and the number behind them."""

from __future__ import annotations

from itertools import pairwise

from ckptd.checkpoint import metrics
from ckptd.checkpoint.names.lexer import Atom
from ckptd.checkpoint.names.reading import Draft
from ckptd.checkpoint.names.words import EPOCH, is_family

_RANKED = frozenset("ap map recall r hit hits hr ndcg precision p mrr".split())
#: A word here is kept in front of a loss or a metric though it names a metric itself.
_COMPOUND = frozenset(
    (first, second)
    for second, words in {
        "loss": "dice mse nll map iou log ssim",
        "auc": "roc pr",
        "roc": "auc",
        "score": "f1 dice recall precision accuracy auc iou acc bleu",
        "acc": "mean top1 top5",
        "top1": "acc",
        "top5": "acc",
        "rate": "error err",
        "accuracy": "top1",
    }.items()
    for first in words.split()
)


def read_metric(draft: Draft, position: int, atom: Atom) -> bool:
    """Walk back from a number over the words of a metric's name: exactly one metric, and what qualifies it."""
    atoms, first, key, found = draft.atoms, position, "", False
    at_rank = ""
    while draft.free(first - 1) and position - first < 6:
        before = atoms[first - 1]
        if before.number or (first < position and "__" in draft.stem[before.end : atoms[first].start]):
            break
        if first < position and draft.stem[before.end : atoms[first].start] not in _JOINTS:
            break
        words = _metric_words(before)
        last = words[-1] if words else ""
        if not words or not all(metrics.is_metric_word(w) or _belongs(w) for w in words):
            break
        is_base = any(metrics.is_metric_word(w) for w in words)
        if found and is_base and not (_belongs(last) and last in {"top1", "top5"}) and (last, key) not in _COMPOUND:
            break
        found = found or is_base
        key = words[0]
        first -= 1
    if not found:
        return False
    end = position
    ranked = _rank_of(draft, position, atoms[position - 1])
    if ranked is not None:
        at_rank, end = f"@{atom.text}", ranked
    first = _unknown_prefix(draft, first, end)
    number = _value_text(draft, end, ratio=True)
    if number is None:
        return False
    text, last_atom = number
    spelling = draft.stem[atoms[first].start : atoms[position - 1].end]
    if not _believable(spelling, text, atoms[end], draft, end):
        return False
    name = metrics.canonical(spelling) + _AT.get(at_rank, at_rank)
    value = metrics.normalise(name, float(text))
    if value is None:
        return False
    if metrics.is_fraction(name) and not 0 <= value <= 1:
        return False
    if name not in draft.metrics:
        draft.metrics[name] = value
        draft.written[name] = (spelling + at_rank, text)
        draft.confidence[f"metrics.{name}"] = 0.9 if "." in text or atoms[end].glued else 0.7
    draft.take(first, last_atom)
    return True


def read_metric_after(draft: Draft, position: int) -> bool:
    """Read `66.73_top1`: a decimal that nothing before explains, and behind it a metric that has no number of its own."""
    if position and not (draft.taken[position - 1] or draft.atoms[position - 1].number or _is_family(draft, position - 1)):
        return False
    return _read_behind(draft, position, 0.6)


def read_reversed(draft: Draft) -> None:
    """Read `0.29_f1_0.78_loss_3_epoch`: where a decimal begins a name and a word ends it, words stand behind numbers."""
    atoms = draft.atoms
    if len(atoms) < 2 or not atoms[0].number or "." not in atoms[0].text or atoms[-1].number:
        return
    numbers = [position for position, atom in enumerate(atoms) if atom.number]
    if any(after - before < 2 for before, after in pairwise(numbers)):
        return
    for position in numbers:
        if atoms[position + 1].low in EPOCH and atoms[position].integer is not None:
            draft.epoch, draft.confidence["epoch"] = atoms[position].integer, 0.6
            draft.take(position, position + 1)
        elif not _read_behind(draft, position, 0.5):
            draft.take(position, position)


def _read_behind(draft: Draft, position: int, confidence: float) -> bool:
    """Read a decimal and the words of a metric behind it."""
    atom, end = draft.atoms[position], position
    if atom.text.count(".") != 1:
        return False
    while draft.free(end + 1) and not draft.atoms[end + 1].number and end - position < 3:
        words = _metric_words(draft.atoms[end + 1])
        if not words or not all(metrics.is_metric_word(word) or _belongs(word) for word in words):
            break
        end += 1
    spelling = draft.stem[draft.atoms[min(position + 1, end)].start : draft.atoms[end].end]
    name = metrics.canonical(spelling)
    value = metrics.normalise(name, float(atom.text))
    followed = draft.free(end + 1) and draft.atoms[end + 1].number and not draft.runs_on(end + 1) and confidence > 0.5
    if end == position or metrics.base_of(name) is None or value is None or followed:
        return False
    if metrics.is_fraction(name) and not 0 <= value <= 1:
        return False
    if name not in draft.metrics:
        draft.metrics[name], draft.written[name] = value, (spelling, atom.text)
        draft.confidence[f"metrics.{name}"] = confidence
    draft.take(position, end)
    return True


def _is_family(draft: Draft, position: int) -> bool:
    return is_family(draft.atoms[position].low)


def _metric_words(atom: Atom) -> list[str]:
    low = atom.low
    if metrics.is_metric_word(low) or metrics.is_split_word(low) or low in metrics.QUALIFIERS:
        return [low]
    words = metrics.split_words(atom.text)
    # "traTarLoss": whatever stands before it in one word belongs to the loss.
    return words[-1:] if len(words) > 1 and metrics.is_metric_word(words[-1]) else words


def _belongs(word: str) -> bool:
    return word in metrics.QUALIFIERS or metrics.is_split_word(word)


#: What may stand between the words of one metric's name.
_JOINTS = frozenset(("", "_", "-", " ", ".", "/"))


#: AP at a threshold, as the canonical names write it.
_AT = {"@0.5": "50", "@0.50": "50", "@50": "50", "@0.75": "75", "@75": "75"}


def _unknown_prefix(draft: Draft, first: int, end: int) -> int:
    """Take unknown words into a metric's name where double underscores fence it: `__greed_acc_0.86__`."""
    atoms, stem = draft.atoms, draft.stem
    position = first
    while draft.free(position - 1) and not atoms[position - 1].number and first - position < 3:
        if stem[atoms[position - 1].end : atoms[position].start] not in {"_", "-"}:
            break
        position -= 1
    fenced = stem[max(0, atoms[position].start - 2) : atoms[position].start] == "__" and stem[
        atoms[end].end : atoms[end].end + 2
    ] in {"__", ""}
    return position if fenced else first


def _rank_of(draft: Draft, position: int, word: Atom) -> int | None:
    """Find the value of `recall@10_0.4` and `mAP0.5_0.61`, where the first number belongs to the name."""
    atoms = draft.atoms
    if word.low not in _RANKED or not draft.free(position + 1) or not atoms[position + 1].number or atoms[position + 1].glued:
        return None
    text = atoms[position].text
    if draft.stem[word.end : atoms[position].start] == "@" or (
        word.low in {"ap", "map"} and text in {"0.5", "0.50", "0.75", "50", "75"}
    ):
        return position + 1
    return None


def _value_text(draft: Draft, position: int, *, ratio: bool) -> tuple[str, int] | None:
    """Give the number that starts at an atom, with its sign: `0_675` and `07082` are 0.675 and 0.7082."""
    atom = draft.atoms[position]
    text = atom.text
    if text.count(".") > 1 or len(text) > 40:
        return None
    if ratio and text == "0" and draft.free(position + 1):
        after = draft.atoms[position + 1]
        digits = after.text.isdigit() and len(after.text) >= 2
        if (
            after.number
            and digits
            and draft.stem[atom.end : after.start] in {"_", "-", "p"}
            and not draft.runs_on(position + 1)
        ):
            return f"0.{after.text}", position + 1
    if ratio and len(text) > 2 and text[0] == "0" and text.isdigit():
        return f"0.{text[1:]}", position
    return atom.sign + text, position


def _believable(spelling: str, text: str, atom: Atom, draft: Draft, position: int) -> bool:
    """Refuse numbers that only look like values: `loss2` is a second loss, `acc5` top-5, `map3` a number of maps."""
    if "." in text or "e" in text.lower():
        return True
    if draft.runs_on(position) and draft.atoms[position + 1].low not in {"e", "pct", "percent"}:
        return False
    if text == "0" and draft.stem[atom.start - 1] not in "=:":  # "best_loss_0" numbers a save
        return False
    name = metrics.canonical(spelling)
    if metrics.is_fraction(name):
        # 100 is all of it; 987 may be 98.7 % or 0.0987.
        return (len(text) == 2 or text in {"0", "100"} or not atom.glued) and float(text) <= 100
    return not atom.glued or len(text) > 1
