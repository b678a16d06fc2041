"""Metric names: many spellings, one canonical name, and what is better.

`val_acc`, `ValAcc` and `acc_val` are all `val_accuracy`.  A percent becomes a fraction only for what is a fraction by
nature, so that 87 and 0.87 can be compared.  Error rates of speech (wer, cer) are left as they are written: they may exceed
1, so 5.2 is as good a fraction as it is a percentage.  A loss, a PSNR, a perplexity are never scaled.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal

#: Canonical word → the words for it, in lower case.  Everything here is a metric.
_SPELLINGS = {
    "accuracy": "acc accu accuracy accuracies",
    "balanced_accuracy": "bacc",
    "loss": "loss losses",
    "log_loss": "logloss",
    "nll": "nll",
    "elbo": "elbo",
    "bpd": "bpd",
    "bpc": "bpc",
    "f1": "f1 f1score fscore fmeasure",
    "f2": "f2",
    "auc": "auc auroc rocauc aucroc roc",
    "pr_auc": "prauc auprc aupr",
    "ap": "ap",
    "map": "map",
    "mp": "mp",
    "ap50": "ap05 ap50",
    "ap75": "ap75",
    "ap50_95": "ap5095",
    "map50": "map05 map50",
    "map75": "map75",
    "map50_95": "map5095",
    "lwlrap": "lwlrap",
    "cmap": "cmap",
    "iou": "iou iu jaccard",
    "miou": "miou",
    "dice": "dice dsc",
    "pq": "pq",
    "hd95": "hd95",
    "asd": "asd",
    "frequency_weighted_accuracy": "fwavacc",
    "fwiou": "fwiou",
    "top1": "top1 acc1 prec1",
    "top5": "top5 acc5 prec5",
    "top1_error": "err1",
    "precision": "precision prec",
    "recall": "recall rec tpr",
    "sensitivity": "sensitivity sens",
    "specificity": "specificity spec",
    "fpr": "fpr",
    "eer": "eer",
    "psnr": "psnr",
    "ssim": "ssim",
    "ms_ssim": "msssim",
    "lpips": "lpips",
    "niqe": "niqe",
    "fid": "fid",
    "kid": "kid",
    "wer": "wer",
    "cer": "cer",
    "ter": "ter",
    "perplexity": "ppl perplexity",
    "bleu": "bleu",
    "chrf": "chrf",
    "bleu1": "bleu1",
    "bleu2": "bleu2",
    "bleu3": "bleu3",
    "bleu4": "bleu4",
    "rouge": "rouge",
    "rouge1": "rouge1",
    "rouge2": "rouge2",
    "rouge_l": "rougel",
    "meteor": "meteor",
    "cider": "cider",
    "pesq": "pesq",
    "stoi": "stoi",
    "sdr": "sdr",
    "si_sdr": "sisdr",
    "si_snr": "sisnr",
    "snr": "snr",
    "mcd": "mcd",
    "mos": "mos",
    "min_dcf": "mindcf",
    "mse": "mse",
    "rmse": "rmse",
    "mae": "mae",
    "mape": "mape",
    "smape": "smape",
    "nrmse": "nrmse",
    "rmsle": "rmsle",
    "r2": "r2",
    "abs_rel": "absrel",
    "mpjpe": "mpjpe",
    "pck": "pck",
    "epe": "epe",
    "ade": "ade",
    "fde": "fde",
    "nme": "nme",
    "mrae": "mrae",
    "kappa": "kappa qwk",
    "mcc": "mcc",
    "pearson": "pearson pcc plcc",
    "spearman": "spearman srcc",
    "c_index": "cindex",
    "ece": "ece",
    "brier": "brier",
    "mrr": "mrr",
    "ndcg": "ndcg",
    "hits": "hits hit",
    "hit_rate": "hr",
    "reward": "reward rewards",
    "return": "return returns",
    "success_rate": "success",
    "win_rate": "winrate",
    "error": "err error",
    "fitness": "fitness",
    "score": "score",
    "exact_match": "em",
}
_WORDS = {word: name for name, words in _SPELLINGS.items() for word in words.split()}
#: Canonical word → two words that mean it.
_TWO_WORDS = {
    "f1": "f1 score, f score, f measure, f 1",
    "auc": "roc auc, auc roc",
    "pr_auc": "pr auc",
    "ap": "average precision",
    "miou": "mean iou, mean iu, m iou",
    "iou": "jaccard index",
    "dice": "dice score, dice coef",
    "log_loss": "log loss",
    "map": "mean ap, m ap",
    "abs_rel": "abs rel",
    "r2": "r squared, r 2",
    "c_index": "c index",
    "rouge_l": "rouge l",
    "success_rate": "success rate",
    "win_rate": "win rate",
    "hit_rate": "hit rate",
    "exact_match": "exact match",
    "balanced_accuracy": "balanced acc, balanced accuracy",
    "ms_ssim": "ms ssim",
    "si_sdr": "si sdr",
    "si_snr": "si snr",
    "top1": "top 1, top1 acc, top1 accuracy, acc top1, accuracy top1, prec 1, acc 1",
    "top5": "top 5, top5 acc, top5 accuracy, acc top5, accuracy top5",
    "error": "error rate",
}
_PAIRS = {(pair.split()[0], pair.split()[1]): name for name, pairs in _TWO_WORDS.items() for pair in pairs.split(", ")}
#: Which data it was measured on; it goes to the front.
_SPLIT_WORDS = {
    "val": "val valid validation dev eval evaluation",
    "test": "test testing",
    "train": "train training tr",
}
_SPLITS = {word: name for name, words in _SPLIT_WORDS.items() for word in words.split()}
#: Words that qualify a metric and are kept.
QUALIFIERS = frozenset("""
    balanced weighted macro micro mean avg average total overall global local bbox box segm seg mask cls reg obj kp
    keypoint class classwise pixel ema smooth smoothed running min max real fake gen disc g d source target src tgt
    student teacher clean robust adv ood id top1 top5 samples per epoch step ce bce kl kld l1 l2 mse focal recon
    reconstruction ctc triplet dice contrastive perceptual style content token char word sentence node edge graph frame
    patch intent slot percentile pr roc final current sum rate
""".split())  # fmt: skip
#: Fractions by nature: a value above 1 and up to 100 is a percentage.
_FRACTIONS = frozenset("""
    accuracy balanced_accuracy frequency_weighted_accuracy f1 f2 auc pr_auc ap map mp ap50 ap75 ap50_95 map50 map75
    map50_95 iou miou fwiou dice pq top1 top5 top1_error precision recall sensitivity specificity fpr eer pck mrr ndcg
    hits hit_rate success_rate win_rate exact_match lwlrap cmap
""".split())  # fmt: skip
_LOWER_IS_BETTER = frozenset("""
    loss log_loss nll bpd bpc top1_error error fpr eer lpips niqe fid kid wer cer ter perplexity mcd min_dcf mse rmse
    mae mape smape nrmse rmsle abs_rel mpjpe epe ade fde nme mrae hd95 asd ece brier
""".split())  # fmt: skip
#: Higher or lower may be meant; nobody can say which.
_UNDIRECTED = frozenset(("score", "fitness", "elbo"))

_CANONICAL = frozenset(_WORDS.values()) | frozenset(_PAIRS.values())
_BOUNDARY = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+|[^\W\d_]+")
_MAX_SPELLING = 80


def split_words(spelling: str) -> list[str]:
    """Split a spelling into lower-case words, at separators and at a change to upper case (`ValAcc`, `mAP` is one)."""
    words: list[str] = []
    for part in re.split(r"[\W_]+", spelling[:_MAX_SPELLING]):
        low = part.lower()
        if not part:
            continue
        if low in _WORDS or low in _SPLITS:
            words.append(low)
        elif low == part or part.isupper():
            words.extend(_unglue(low))
        else:
            words.extend(word.lower() for word in _BOUNDARY.findall(part))
    return words


def _unglue(word: str) -> list[str]:
    """Split `valacc` and `trainloss`, where both parts are known."""
    for length in (3, 4, 5):
        if word[:length] in _SPLITS and word[length:] in _WORDS:
            return [word[:length], word[length:]]
    return [word]


def canonical(spelling: str) -> str:
    """Turn a spelling into the canonical name: the data it was measured on first, known words in their one form.

    An unknown word is kept in lower case, so that two files that spell it alike agree.
    """
    words = split_words(spelling)
    if len(words) > 1 and words[0] == "best":
        words = words[1:]
    split, rest = "", []
    position = 0
    while position < len(words):
        word = words[position]
        pair = _PAIRS.get((word, words[position + 1])) if position + 1 < len(words) else None
        if pair is not None:
            rest.append(pair)
            position += 2
            continue
        if word in _SPLITS and not split:
            split = _SPLITS[word]
        elif word in QUALIFIERS and any(w in _WORDS and w != word for w in words):
            rest.append(word)
        else:
            rest.append(_WORDS.get(word, word))
        position += 1
    if rest and rest[-1] == "history":
        rest.pop()
    return "_".join([split, *rest] if split else rest)


def is_metric(spelling: str) -> bool:
    """Say whether a key of a checkpoint names a metric: a known word, and beside it only words that qualify one."""
    if len(spelling) > _MAX_SPELLING:
        return False
    words = [word for word in split_words(spelling) if word not in _SPLITS and word not in {"best", "history", "last"}]
    if not words:
        return False
    if len(words) == 1:
        return words[0] in _WORDS
    found = any(word in _WORDS for word in words) or any(pair in _PAIRS for pair in pairwise(words))
    return found and all(word in _WORDS or word in QUALIFIERS or word.isdigit() or word in _PAIR_WORDS for word in words)


_PAIR_WORDS = frozenset(word for pair in _PAIRS for word in pair)


def base_of(name: str) -> str | None:
    """Find the metric in a canonical name, without the data and the qualifiers: `val_balanced_f1` → `f1`."""
    if name in _CANONICAL:
        return name
    words = name.split("@", 1)[0].split("_")
    for length in range(min(3, len(words)), 0, -1):
        for start in range(len(words) - length, -1, -1):
            candidate = "_".join(words[start : start + length])
            if candidate in _CANONICAL:
                return candidate
    return None


def is_fraction(name: str) -> bool:
    """Say whether a canonical name is a fraction by nature."""
    return base_of(name) in _FRACTIONS


def direction(name: str) -> Literal["max", "min"] | None:
    """Say whether more or less of a canonical metric is better, None when nobody can know."""
    base = base_of(name)
    if base is None or base in _UNDIRECTED:
        return None
    return "min" if base in _LOWER_IS_BETTER else "max"


def normalise(name: str, value: float) -> float | None:
    """Give the value of a canonical metric as it is compared: percent as a fraction, None when it is not finite."""
    if value - value != 0.0:  # NaN and the infinities
        return None
    if 1 < value <= 100 and is_fraction(name):
        # 87 / 100, and not 87 * 0.01, so that a name and a checkpoint give the same number.
        return round(value / 100, 12)
    return value


def is_metric_word(word: str) -> bool:
    """Say whether a lower-case word alone names a metric."""
    return word in _WORDS


def is_split_word(word: str) -> bool:
    """Say whether a lower-case word names the data that a metric was measured on."""
    return word in _SPLITS
