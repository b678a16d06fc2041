"""Numbers that a word explains: epoch, step, metrics, and the settings people write into names."""

from __future__ import annotations

from ckptd.checkpoint import metrics
from ckptd.checkpoint.names.lexer import Atom
from ckptd.checkpoint.names.reading import Draft
from ckptd.model import Json

_EPOCH = frozenset("epoch epochs ep eps epo epc".split())
_STEP = frozenset(
    "step steps iter iters iteration iterations it its itr globalstep update updates upd kimg nimg timesteps timestep".split()
)
#: Words before a bare number that counts saves: an epoch when it is small, a step when it is large.
_COUNTED = frozenset("checkpoint ckpt ckp cp chkpt snapshot model weights weight net state g d generator discriminator".split())
#: Word → name of the setting; only a number behind it counts.
_SETTINGS = {
    "lr": "lr", "learningrate": "lr", "bs": "batch", "batch": "batch", "batchsize": "batch", "bsz": "batch", "wd": "weight_decay", "weightdecay": "weight_decay",
    "l2": "weight_decay", "seed": "seed", "sd": "seed", "rs": "seed", "fold": "fold", "kfold": "fold", "dropout": "dropout", "drop": "dropout", "dp": "dropout", "do": "dropout",
    "hidden": "hidden", "hid": "hidden", "hiddensize": "hidden", "hiddendim": "hidden", "hdim": "hidden", "dm": "d_model", "dmodel": "d_model", "emb": "embedding",
    "embed": "embedding", "dim": "dim", "layers": "layers", "layer": "layers", "nlayers": "layers", "nl": "layers", "heads": "heads", "nhead": "heads", "nheads": "heads",
    "ch": "channels", "channels": "channels", "nc": "classes", "ncls": "classes", "nclass": "classes", "classes": "classes", "input": "input", "img": "input",
    "imgsz": "input", "imgsize": "input", "size": "input", "sz": "input", "inputsize": "input", "resolution": "input", "prune": "prune", "pruned": "prune", "sparsity": "prune",
    "rank": "rank", "team": "team", "finetune": "finetune", "percentage": "percentage", "percent": "percentage", "pct": "percentage", "gamma": "gamma",
    "alpha": "alpha", "beta": "beta", "lambda": "lambda", "momentum": "momentum", "mom": "momentum", "warmup": "warmup", "temp": "temperature", "temperature": "temperature",
    "split": "split", "run": "run", "exp": "experiment", "trial": "trial", "task": "task", "round": "round", "rnd": "round", "client": "client", "width": "width", "level": "level",
    "stage": "stage_number", "phase": "phase", "subject": "subject", "sub": "subject", "frames": "frames", "len": "length", "seqlen": "length", "horizon": "horizon",
    "shot": "shot", "way": "way", "gpus": "gpus", "gpu": "gpu", "flops": "flops", "params": "params", "eps": "epsilon", "epsilon": "epsilon", "tau": "tau", "scale": "scale",
    "os": "output_stride", "h": "hidden", "b": "batch", "cv": "fold", "step_size": "step_size", "part": "part", "shard": "shard", "poison": "poison", "worker": "worker",
}  # fmt: skip
#: Settings of one or two letters count only glued to a number of this kind.
_SHORT = {
    "h": lambda n: n in (16, 32, 64, 96, 100, 128, 192, 200, 256, 300, 384, 400, 500, 512, 600, 768, 1024, 2048),
    "b": lambda n: n in (32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096),
    "os": lambda n: n in (4, 8, 16, 32),
    "do": lambda n: n < 1, "sd": lambda n: n == int(n), "rs": lambda n: n == int(n), "nl": lambda n: n < 200,
    "cv": lambda n: n == int(n) and n < 100, "ch": lambda n: n == int(n), "dp": lambda n: n < 1, "emb": lambda n: n == int(n), "embed": lambda n: n == int(n),
}  # fmt: skip
#: "6class": the number stands before the word.
_AFTER = {
    "class": "classes", "classes": "classes", "cls": "classes", "ch": "channels", "channels": "channels", "channel": "channels", "frames": "frames", "shot": "shot",
    "way": "way", "fold": "folds", "folds": "folds", "gpu": "gpus", "gpus": "gpus", "layers": "layers", "layer": "layers", "heads": "heads", "band": "bands", "khz": "sample_rate_khz", "hz": "sample_rate_hz",
    "speakers": "speakers", "spk": "speakers", "spks": "speakers",
}  # fmt: skip
_RANKED = frozenset("ap map recall r hit hits hr ndcg precision p mrr".split())
#: A word here is kept in front of a loss or a metric though it names a metric itself.
_COMPOUND = frozenset((("dice", "loss"), ("mse", "loss"), ("nll", "loss"), ("map", "loss"), ("iou", "loss"), ("log", "loss"), ("roc", "auc"), ("auc", "roc"),
    ("pr", "auc"), ("f1", "score"), ("dice", "score"), ("mean", "acc"), ("top1", "acc"), ("top5", "acc"), ("acc", "top1"), ("acc", "top5"), ("recall", "score"),
    ("precision", "score"), ("accuracy", "score"), ("auc", "score"), ("iou", "score"), ("error", "rate"), ("acc", "score"), ("bleu", "score"), ("ssim", "loss"), ("top1", "accuracy"), ("err", "rate")))  # fmt: skip


def read_keyed(draft: Draft) -> None:
    """Read every number that a word before or behind it explains."""
    for position, atom in enumerate(draft.atoms):
        if atom.number and not draft.taken[position]:
            _read_number(draft, position, atom)


def _read_number(draft: Draft, position: int, atom: Atom) -> None:
    before = draft.atoms[position - 1] if draft.free(position - 1) else None
    if before is not None and not before.number and not _far(draft, position):
        if _read_epoch_or_step(draft, position, atom, before) or _read_metric(draft, position, atom):
            return
        if _read_setting(draft, position, atom, before):
            return
    after = draft.atoms[position + 1] if draft.free(position + 1) else None
    if after is not None and not after.number:
        _read_unit(draft, position, atom, after)


def _far(draft: Draft, position: int) -> bool:
    """Say whether more than a separator stands before an atom: something taken, or a double underscore after a word."""
    return draft.atoms[position].start - draft.atoms[position - 1].end > 3


def _integer(atom: Atom) -> int | None:
    return int(atom.text) if len(atom.text) <= 12 and atom.text.isdigit() else None


def _read_epoch_or_step(draft: Draft, position: int, atom: Atom, before: Atom) -> bool:
    word, value = _plain_word(before), _integer(atom)
    if value is None:
        return False
    if word in _EPOCH:
        if value >= 1_000_000:
            return False
        if draft.epoch is None:
            draft.epoch, draft.confidence["epoch"] = value, 0.95
        draft.take(position - 1, position)
        return True
    if word in _STEP:
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


def _factor(draft: Draft, position: int) -> int:
    """Give 1000 for a "k" glued behind a number, a million for an "M", else 1."""
    if draft.free(position + 1) and draft.atoms[position + 1].glued:
        return {"k": 1000, "K": 1000, "M": 1_000_000, "m": 1_000_000}.get(draft.atoms[position + 1].text, 1)
    return 1


def _plain_word(atom: Atom) -> str:
    """Give the last word of an atom: `TestEpoch` is `epoch`, but `mAP` is itself."""
    low = atom.low
    if low in _EPOCH or low in _STEP or low in _SETTINGS or metrics.is_metric_word(low) or low == atom.text:
        return low
    words = metrics.split_words(atom.text)
    return words[-1] if words else low


def _metric_words(atom: Atom) -> list[str]:
    low = atom.low
    if metrics.is_metric_word(low) or metrics.is_split_word(low) or low in metrics.QUALIFIERS:
        return [low]
    return metrics.split_words(atom.text)


def _belongs(word: str) -> bool:
    return word in metrics.QUALIFIERS or metrics.is_split_word(word)


def _read_metric(draft: Draft, position: int, atom: Atom) -> bool:
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
            and not _runs_on(draft, position + 1)
        ):
            return f"0.{after.text}", position + 1
    if ratio and len(text) > 2 and text[0] == "0" and text.isdigit():
        return f"0.{text[1:]}", position
    return atom.sign + text, position


def _runs_on(draft: Draft, position: int) -> bool:
    """Say whether letters are glued behind an atom ("5fold")."""
    return position + 1 < len(draft.atoms) and draft.atoms[position + 1].glued


def _believable(spelling: str, text: str, atom: Atom, draft: Draft, position: int) -> bool:
    """Refuse numbers that only look like values: `loss2` is a second loss, `acc5` top-5, `map3` a number of maps."""
    if "." in text or "e" in text.lower():
        return True
    if _runs_on(draft, position) and draft.atoms[position + 1].low not in {"e", "pct", "percent"}:
        return False
    name = metrics.canonical(spelling)
    if metrics.is_fraction(name):
        # 100 is all of it; 987 may be 98.7 % or 0.0987.
        return (len(text) == 2 or text in {"0", "100"} or not atom.glued) and float(text) <= 100
    return not atom.glued or len(text) > 1


def _read_setting(draft: Draft, position: int, atom: Atom, before: Atom) -> bool:
    word, start = _setting_word(draft, position, before)
    name = _SETTINGS.get(word)
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
    elif _runs_on(draft, position):
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
        if joined in _SETTINGS:
            return joined, position - 2
    return _plain_word(before), position - 1


def _number(atom: Atom) -> Json:
    value = _integer(atom)
    return float(atom.text) if value is None else value


def _read_unit(draft: Draft, position: int, atom: Atom, after: Atom) -> None:
    """Read a number whose word comes behind it: `280epoch`, `280-epoch`, `10000_steps`, `6class`, `160k`."""
    value = _integer(atom)
    if value is None or atom.glued:
        return
    close = draft.stem[atom.end : after.start] in {"", "-", "_"}
    word, end = after.low, position + 1
    factor = 1
    explained = draft.free(position + 3) and draft.atoms[position + 3].number  # "124M-step-5000": the step is 5000
    if (
        after.glued
        and word in {"k", "m"}
        and draft.free(position + 2)
        and draft.atoms[position + 2].low in _STEP
        and not explained
    ):
        word, end, factor = draft.atoms[position + 2].low, position + 2, 1000 if word == "k" else 1_000_000
    if not close or (draft.free(end + 1) and draft.atoms[end + 1].number and not after.glued and word in (_EPOCH | _STEP)):
        return
    if word in _EPOCH and value < 100_000 and draft.epoch is None:
        draft.epoch, draft.confidence["epoch"] = value, 0.9
        draft.take(position, end)
    elif word in _STEP and draft.step is None:
        draft.step, draft.confidence["step"] = value * factor, 0.9
        draft.take(position, end)
    elif word in _AFTER and after.glued:
        draft.note(_AFTER[word], value)
        draft.take(position, end)
    elif after.glued and word == "e" and value >= 10 and not _runs_on(draft, position + 1):
        # mmdet and timm write the length of the training so ("300e"); the file is of its end.
        draft.note("schedule", f"{value}e")
        if draft.epoch is None:
            draft.epoch, draft.confidence["epoch"] = value, 0.5
        draft.take(position, end)
    elif after.glued and word == "k" and value >= 20 and value % 10 == 0 and not _runs_on(draft, position + 1):
        if draft.step is None:
            draft.step, draft.confidence["step"] = value * 1000, 0.5
        draft.note("schedule", f"{value}k")
        draft.take(position, end)


def read_counted(draft: Draft) -> None:
    """Read `checkpoint_6` and `model_49`: a bare number that counts saves, after everything surer was read."""
    for position, atom in enumerate(draft.atoms):
        value = _integer(atom) if atom.number and draft.free(position) else None
        if value is None or (position and not draft.free(position - 1) and draft.atoms[position - 1].low not in {"g", "d"}):
            continue
        if _names_network(draft, position):
            if draft.epoch is None:
                draft.epoch, draft.confidence["epoch"] = value, 0.6
            draft.take(position, position)
            continue
        if position == 0:
            continue
        before = draft.atoms[position - 1]
        last = position + 1 == len(draft.atoms)
        if before.low not in _COUNTED or (atom.glued and before.low not in {"checkpoint", "ckpt"}) or _runs_on(draft, position):
            continue
        if draft.free(position + 1) and draft.atoms[position + 1].number and not draft.taken[position + 1]:
            # Keras: weights.EPOCH-VALUE; fairseq: checkpoint_EPOCH_UPDATES.
            if (
                "." in draft.atoms[position + 1].text
                and position == 1
                and draft.stem[before.end] == "."
                and len(draft.atoms) == 3
            ):
                draft.epoch, draft.confidence["epoch"] = value, 0.6
                draft.take(0, position)
                continue
            updates = _integer(draft.atoms[position + 1])
            if before.low != "checkpoint" or position + 2 != len(draft.atoms) or updates is None or updates < 100:
                continue
            draft.step, draft.confidence["step"] = updates, 0.6
            draft.take(position + 1, position + 1)
            last = True
        _count(draft, position, value, before.low, last=last)


def _names_network(draft: Draft, position: int) -> bool:
    """Recognise `100_net_G`: the epoch stands before the part of the GAN."""
    after = draft.atoms[position + 1 : position + 3]
    return len(after) == 2 and after[0].low == "net" and after[1].low in {"g", "d"} and not draft.atoms[position].glued


def _count(draft: Draft, position: int, value: int, word: str, *, last: bool) -> None:
    if draft.epoch is not None or (draft.step is not None and value >= 1000):
        return
    if value >= 1000:
        if value < 10_000_000:
            draft.step, draft.confidence["step"] = value, 0.5
            draft.take(position - 1, position)
        return
    if word in {"model", "net", "state", "weights", "weight"} and (
        not last or value in _SIZES or len(draft.atoms[position].text) > 4
    ):
        return
    if word in {"g", "d", "generator", "discriminator"} and not last:
        return
    draft.epoch, draft.confidence["epoch"] = value, 0.6
    draft.take(position - 1, position)


#: "model_224" is an image size at least as likely as an epoch.
_SIZES = frozenset((224, 256, 320, 384, 416, 512, 608, 640, 768, 1024))


def read_trailing_step(draft: Draft) -> None:
    """Read a round number of a thousand or more at the very end, beside a metric, as a step."""
    environment = draft.dataset is not None and "-v" in draft.dataset
    if draft.step is not None or not (draft.metrics or environment) or not draft.atoms or draft.taken[-1]:
        return
    atom = draft.atoms[-1]
    value = _integer(atom) if atom.number and not atom.glued else None
    if value is not None and value >= 1000 and value % 100 == 0 and not 1900 <= value <= 2100 and value < 100_000_000:
        draft.step, draft.confidence["step"] = value, 0.4
        draft.take(len(draft.atoms) - 1, len(draft.atoms) - 1)


def read_pairs(draft: Draft) -> None:
    """Read what is sure only beside something else: `e12` beside a metric or a step, `_0_1` behind an environment."""
    atoms = draft.atoms
    for position in range(len(atoms) - 1):
        atom, number = atoms[position], atoms[position + 1]
        value = (
            _integer(number) if number.number and number.glued and draft.free(position) and draft.free(position + 1) else None
        )
        if value is None or atom.glued or _runs_on(draft, position + 1) or value >= 10_000:
            continue
        if atom.low == "s" and value >= 100 and draft.step is None and position and atoms[position - 2].low == "e":
            draft.step, draft.confidence["step"] = value, 0.6
            draft.take(position, position + 1)
        elif (
            atom.low == "e" and draft.epoch is None and (draft.metrics or draft.step is not None or _has_step(draft, position))
        ):
            draft.epoch, draft.confidence["epoch"] = value, 0.6
            draft.take(position, position + 1)
    _read_seed_and_run(draft)


def _has_step(draft: Draft, position: int) -> bool:
    after = draft.atoms[position + 2 : position + 4]
    return len(after) == 2 and after[0].low == "s" and after[1].glued and after[1].number and len(after[1].text) >= 3


def _read_seed_and_run(draft: Draft) -> None:
    """Read `PPO_LunarLander-v2_0_1`: seed and run, as actor-critic examples write them."""
    if draft.dataset is None or "-v" not in draft.dataset or len(draft.atoms) < 2:
        return
    seed, run = draft.atoms[-2:]
    if (
        seed.number
        and run.number
        and not seed.glued
        and not run.glued
        and draft.free(len(draft.atoms) - 2)
        and draft.free(len(draft.atoms) - 1)
    ):
        one, two = _integer(seed), _integer(run)
        if one is not None and two is not None and one < 10_000 and two < 100:
            draft.note("seed", one, 0.5)
            draft.note("run", two, 0.5)
            draft.take(len(draft.atoms) - 2, len(draft.atoms) - 1)
