"""Metric names: many spellings, one canonical name, and what is better.

`val_acc`, `ValAcc` and `acc_val` are all `val_accuracy`.  A percent becomes a fraction only for what is a fraction by
nature, so that 87 and 0.87 can be compared.  Error rates of speech (wer, cer) are left as they are written: they may exceed
1, so 5.2 is as good a fraction as it is a percentage.  A loss, a PSNR, a perplexity are never scaled.
"""

from __future__ import annotations

import re
from typing import Literal

#: Spelling of one word (lower case) → canonical word.  Everything that is a value here is a metric.
_WORDS = {
    "acc": "accuracy", "accu": "accuracy", "accuracy": "accuracy", "accuracies": "accuracy", "bacc": "balanced_accuracy",
    "loss": "loss", "losses": "loss", "logloss": "log_loss", "nll": "nll", "elbo": "elbo", "bpd": "bpd", "bpc": "bpc",
    "f1": "f1", "f1score": "f1", "fscore": "f1", "fmeasure": "f1", "f2": "f2",
    "auc": "auc", "auroc": "auc", "rocauc": "auc", "aucroc": "auc", "roc": "auc", "prauc": "pr_auc", "auprc": "pr_auc", "aupr": "pr_auc",
    "ap": "ap", "map": "map", "mp": "mp", "ap05": "ap50", "ap50": "ap50", "ap75": "ap75", "ap5095": "ap50_95",
    "map05": "map50", "map50": "map50", "map75": "map75", "map5095": "map50_95", "lwlrap": "lwlrap", "cmap": "cmap",
    "iou": "iou", "iu": "iou", "miou": "miou", "dice": "dice", "dsc": "dice", "jaccard": "iou", "pq": "pq", "hd95": "hd95", "asd": "asd",
    "fwavacc": "frequency_weighted_accuracy", "fwiou": "fwiou",
    "top1": "top1", "top5": "top5", "acc1": "top1", "acc5": "top5", "prec1": "top1", "prec5": "top5", "err1": "top1_error",
    "precision": "precision", "prec": "precision", "recall": "recall", "rec": "recall", "tpr": "recall",
    "sensitivity": "sensitivity", "sens": "sensitivity", "specificity": "specificity", "spec": "specificity", "fpr": "fpr", "eer": "eer",
    "psnr": "psnr", "ssim": "ssim", "msssim": "ms_ssim", "lpips": "lpips", "niqe": "niqe", "fid": "fid", "kid": "kid",
    "wer": "wer", "cer": "cer", "ter": "ter", "ppl": "perplexity", "perplexity": "perplexity", "bleu": "bleu", "chrf": "chrf",
    "bleu1": "bleu1", "bleu2": "bleu2", "bleu3": "bleu3", "bleu4": "bleu4", "rouge": "rouge", "rouge1": "rouge1", "rouge2": "rouge2",
    "rougel": "rouge_l", "meteor": "meteor", "cider": "cider", "pesq": "pesq", "stoi": "stoi", "sdr": "sdr", "sisdr": "si_sdr",
    "sisnr": "si_snr", "snr": "snr", "mcd": "mcd", "mos": "mos", "mindcf": "min_dcf",
    "mse": "mse", "rmse": "rmse", "mae": "mae", "mape": "mape", "smape": "smape", "nrmse": "nrmse", "rmsle": "rmsle", "r2": "r2",
    "absrel": "abs_rel", "mpjpe": "mpjpe", "pck": "pck", "epe": "epe", "ade": "ade", "fde": "fde", "nme": "nme", "mrae": "mrae",
    "kappa": "kappa", "qwk": "kappa", "mcc": "mcc", "pearson": "pearson", "spearman": "spearman", "pcc": "pearson", "srcc": "spearman",
    "plcc": "pearson", "cindex": "c_index", "ece": "ece", "brier": "brier",
    "mrr": "mrr", "ndcg": "ndcg", "hits": "hits", "hit": "hits", "hr": "hit_rate",
    "reward": "reward", "rewards": "reward", "return": "return", "returns": "return", "success": "success_rate", "winrate": "win_rate",
    "err": "error", "error": "error", "fitness": "fitness", "score": "score", "em": "exact_match",
}  # fmt: skip
#: Two words that mean one.
_PAIRS = {
    ("f1", "score"): "f1", ("f", "score"): "f1", ("f", "measure"): "f1", ("roc", "auc"): "auc", ("auc", "roc"): "auc",
    ("pr", "auc"): "pr_auc", ("average", "precision"): "ap", ("mean", "iou"): "miou", ("mean", "iu"): "miou", ("m", "iou"): "miou",
    ("jaccard", "index"): "iou", ("dice", "score"): "dice", ("dice", "coef"): "dice", ("log", "loss"): "log_loss",
    ("mean", "ap"): "map", ("m", "ap"): "map", ("abs", "rel"): "abs_rel", ("r", "squared"): "r2", ("c", "index"): "c_index",
    ("rouge", "l"): "rouge_l", ("success", "rate"): "success_rate", ("win", "rate"): "win_rate", ("hit", "rate"): "hit_rate",
    ("exact", "match"): "exact_match", ("balanced", "acc"): "balanced_accuracy", ("balanced", "accuracy"): "balanced_accuracy",
    ("ms", "ssim"): "ms_ssim", ("si", "sdr"): "si_sdr", ("si", "snr"): "si_snr", ("top", "1"): "top1", ("top", "5"): "top5",
    ("top1", "acc"): "top1", ("top1", "accuracy"): "top1", ("acc", "top1"): "top1", ("accuracy", "top1"): "top1",
    ("top5", "acc"): "top5", ("top5", "accuracy"): "top5", ("acc", "top5"): "top5", ("accuracy", "top5"): "top5",
    ("prec", "1"): "top1", ("acc", "1"): "top1", ("f", "1"): "f1", ("r", "2"): "r2", ("error", "rate"): "error",
}  # fmt: skip
#: Which data it was measured on; it goes to the front.
_SPLITS = {
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val", "evaluation": "val",
    "test": "test", "testing": "test", "train": "train", "training": "train", "tr": "train",
}  # fmt: skip
#: Words that qualify a metric and are kept.
QUALIFIERS = frozenset("""
    balanced weighted macro micro mean avg average total overall global local bbox box segm seg mask cls reg obj kp keypoint
    class classwise pixel ema smooth smoothed running min max real fake gen disc g d source target src tgt student teacher clean
    robust adv ood id top1 top5 samples per epoch step ce bce kl kld l1 l2 mse focal recon reconstruction ctc triplet dice contrastive
    perceptual style content token char word sentence node edge graph frame patch intent slot percentile pr roc final current sum rate
""".split())  # fmt: skip
#: Fractions by nature: a value above 1 and up to 100 is a percentage.
_FRACTIONS = frozenset("""
    accuracy balanced_accuracy frequency_weighted_accuracy f1 f2 auc pr_auc ap map mp ap50 ap75 ap50_95 map50 map75 map50_95 iou miou
    fwiou dice pq top1 top5 top1_error precision recall sensitivity specificity fpr eer pck mrr ndcg hits hit_rate success_rate
    win_rate exact_match lwlrap cmap
""".split())  # fmt: skip
_LOWER_IS_BETTER = frozenset("""
    loss log_loss nll bpd bpc top1_error error fpr eer lpips niqe fid kid wer cer ter perplexity mcd min_dcf mse rmse mae mape smape
    nrmse rmsle abs_rel mpjpe epe ade fde nme mrae hd95 asd ece brier
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
    found = any(word in _WORDS for word in words) or any(pair in _PAIRS for pair in zip(words, words[1:], strict=False))
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
