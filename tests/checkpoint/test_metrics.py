"""Many spellings of a metric, one name; a percentage becomes a fraction where it is one by nature."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.checkpoint.metrics import base_of, canonical, direction, is_fraction, is_metric, normalise, split_words

SPELLINGS = {
    "accuracy": "acc Acc ACC accuracy Accuracy best_acc best-accuracy accu",
    "val_accuracy": "val_acc ValAcc valacc acc_val val/acc val-acc validation_accuracy dev_acc VAL_ACC best_val_acc valid.acc",
    "train_loss": "train_loss TrainLoss trainloss loss_train training_loss tr_loss train/loss",
    "test_f1": "test_f1 f1_test TestF1Score test_f1_score",
    "f1": "f1 F1 f1_score F1-Score fscore f_score f1score",
    "auc": "auc AUC auroc ROC_AUC rocauc auc_roc",
    "map50": "mAP50 map50 map05 MAP50",
    "miou": "miou mIoU mean_iou Mean-IoU",
    "iou": "iou IoU jaccard jaccard_index",
    "top1": "top1 top_1 acc1 prec1 acc_1 top1_acc acc_top1 best_acc1",
    "perplexity": "ppl perplexity PPL",
    "si_sdr": "sisdr si_sdr SI-SDR",
    "r2": "r2 R2 r_squared",
    "val_macro_f1": "val_macro_f1 macro_f1_val macro_val_f1",
    "token_accuracy": "token_acc",
    "dice_loss": "dice_loss",
    "min_dcf": "mindcf minDCF",
}


@pytest.mark.parametrize(("name", "spelling"), [(name, word) for name, words in SPELLINGS.items() for word in words.split()])
def test_every_spelling_has_one_name(name, spelling):
    """Separators, upper case, glued words and the order of the words don't matter."""
    assert canonical(spelling) == name
    assert is_metric(spelling)


@pytest.mark.parametrize(
    "word", "epoch lr seed model accumulate lossy learning_rate state accordion f13 mapping roc_curve_path".split()
)
def test_other_words_are_no_metrics(word):
    """However they begin."""
    assert not is_metric(word)


def test_an_unknown_word_is_kept():
    """So that two files that spell it alike agree."""
    assert canonical("My_Own-Number") == canonical("my_own_number") == "my_own_number"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("accuracy", 87, 0.87),
        ("accuracy", 87.4, 0.874),
        ("accuracy", 100, 1.0),
        ("accuracy", 0.87, 0.87),
        ("accuracy", 1, 1),
        ("accuracy", 0, 0),
        ("accuracy", 101, 101),
        ("val_macro_f1", 92, 0.92),
        ("map50", 61.2, 0.612),
        ("loss", 87, 87),
        ("psnr", 32.5, 32.5),
        ("wer", 5.2, 5.2),
        ("perplexity", 20.0, 20.0),
        ("kappa", 0.7, 0.7),
        ("accuracy_loss", 3.0, 3.0),
        ("loss", math.nan, None),
        ("accuracy", math.inf, None),
        ("accuracy", -math.inf, None),
    ],
)
def test_percent_becomes_a_fraction_only_for_what_is_a_fraction(name, value, expected):
    """A loss, a PSNR and a word error rate stay as they are; what is not finite is dropped."""
    assert normalise(name, value) == expected


@given(st.integers(2, 100))
def test_a_percentage_and_its_fraction_are_one_number(percent):
    """87 and 0.87 compare equal, exactly."""
    assert normalise("accuracy", percent) == normalise("accuracy", percent / 100) == percent / 100


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("accuracy", "max"),
        ("val_balanced_f1", "max"),
        ("psnr", "max"),
        ("val_loss", "min"),
        ("dice_loss", "min"),
        ("wer", "min"),
        ("top1_error", "min"),
        ("perplexity", "min"),
        ("recall@10", "max"),
        ("score", None),
        ("my_own_number", None),
    ],
)
def test_what_is_better_is_known_or_said_to_be_unknown(name, better):
    """A loss is better when it is less; of a "score" nobody knows."""
    assert direction(name) == better


@pytest.mark.parametrize(("name", "base"), [("val_macro_f1", "f1"), ("f1", "f1"), ("dice_loss", "loss"), ("nothing", None)])
def test_the_metric_in_a_name_is_found_without_its_qualifiers(name, base):
    """The last one, when there are several."""
    assert base_of(name) == base


def test_a_loss_of_something_that_is_a_fraction_is_none():
    """Dice is a fraction, a dice loss is not."""
    assert is_fraction("val_dice")
    assert not is_fraction("dice_loss")


@given(st.text(max_size=200))
def test_any_spelling_has_a_name_that_stays(spelling):
    """A canonical name is its own, words are in lower case, and nothing raises."""
    name = canonical(spelling)
    assert canonical(name) == canonical(canonical(name))
    assert all(word == word.lower() for word in split_words(spelling))
    base_of(name)
    is_metric(spelling)
