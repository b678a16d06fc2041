"""What holds for every name, however strange."""

from __future__ import annotations

import datetime
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.names import CORPUS, read_rows
from ckptd.checkpoint.names import parse_name
from ckptd.checkpoint.names.dates import find_date
from ckptd.checkpoint.names.lexer import MAX_NAME

#: Pieces of real names, put together in every order.
PIECES = """
    resnet50 BiLSTM ECG cifar10 acc 87 acc87 0.875 f192 f1 epoch 12 e12 ep=3 step 1000 val_loss -0.5 1e-4 lr1e-5
    20250102 2025-01-02 15-01-2024 1705329022 seed42 fold3 best last final int8 8bit qat8 v2 v1.2.3 x1_0 224 256x128
    512x512 - _ = @ : . , / % e29f68s314m37 ai85 model checkpoint net G D 100000 00001-of-00002 deadbeef 50d90c74 ＡＣＣ
    ８７ ² ٣ é 模型 \x1b[31m \x00 \udc80 nan inf 1e999 0.1.2.3 mAP50 AP05 top1 trial_7 bo optuna 300e 40k 1x 8xb32 10best
""".split()
names = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(PIECES), max_size=12).map("_".join),
    st.lists(st.sampled_from(PIECES)).map("".join),
)


def check(reading):
    """Hold a reading against everything it promises."""
    for value in reading.metrics.values():
        assert isinstance(value, float)
        assert math.isfinite(value)
    assert reading.metrics.keys() == reading.written.keys()
    for spelling, text in reading.written.values():
        assert spelling
        float(text)
    for number in (reading.epoch, reading.step):
        assert number is None or 0 <= number < 10**12
    if reading.date is not None:
        assert datetime.datetime.fromisoformat(reading.date)
    said = {
        name
        for name in ("model_name", "dataset", "epoch", "step", "date", "quantization")
        if getattr(reading, name) is not None
    }
    said |= {f"metrics.{name}" for name in reading.metrics} | {f"other.{name}" for name in reading.other}
    assert said <= reading.confidence.keys()
    assert all(0 < sure <= 1 for sure in reading.confidence.values())


@given(names)
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_and_every_value_is_finite_and_sourced(name):
    """Nothing raises; numbers are finite, dates are dates, and each value has a confidence between 0 and 1."""
    check(parse_name(name))


@given(names)
@settings(max_examples=100, deadline=None)
def test_a_name_is_read_alike_each_time(name):
    """The reading depends on the name alone."""
    assert parse_name(name) == parse_name(name)


@given(names.filter(lambda name: "/" not in name), st.sampled_from([".pth", ".pt", ".ckpt", ".pth.tar", ".bin"]))
@settings(max_examples=200, deadline=None)
def test_the_suffix_says_nothing(name, suffix):
    """A name reads alike with every suffix of a checkpoint."""
    assert parse_name(f"x{name}_y{suffix}") == parse_name(f"x{name}_y.pth")


@pytest.mark.parametrize("row", read_rows(CORPUS), ids=lambda row: row["filename"][:60])
def test_a_number_that_is_said_stands_in_the_name(row):
    """Epoch, step and metrics are digits of the name, not of the reader."""
    name = row["filename"]
    reading = parse_name(name)
    digits = re.sub(r"[^0-9]", "", name)
    for value in (reading.epoch, reading.step):
        assert value is None or str(value).rstrip("0") in digits
    for _, text in reading.written.values():
        assert re.sub(r"[^0-9]", "", text).lstrip("0") in digits


@pytest.mark.parametrize(
    "token", ["acc0.9_", "epoch=3-", "2024-01-02_", "a", "1", "_", "-", ".", "0x", "e12", "\u0661", "ab12"]
)
def test_of_a_name_of_10_kb_only_what_a_file_system_can_hold_is_read(token):
    """So the time of a reading is bounded, whatever the pieces."""
    name = token * (10_000 // len(token))
    check(parse_name(name))
    assert parse_name(name) == parse_name(name[:MAX_NAME])
    assert parse_name(f"{name}/best.pth") == parse_name(f"{name[:MAX_NAME]}/best.pth")


@given(
    st.dates(datetime.date(2000, 1, 1), datetime.date(2099, 12, 31)),
    st.sampled_from(["%Y%m%d", "%Y-%m-%d", "%Y_%m_%d", "%Y.%m.%d"]),
)
def test_every_date_that_begins_with_its_year_is_found(day, form):
    """In the four ways people write it, in the middle of a name."""
    found = find_date(f"cnn_{day.strftime(form)}_best")
    assert found is not None
    assert found.iso == day.isoformat()


@given(st.dates(datetime.date(2000, 1, 1), datetime.date(2099, 12, 31)), st.sampled_from("-_."))
def test_a_date_that_ends_with_its_year_is_read_only_when_it_can_be_read_in_one_way(day, mark):
    """Day and month can be told apart when the day is over 12, or when both are the same."""
    certain = day.day > 12 or day.day == day.month
    for form in (f"%d{mark}%m{mark}%Y", f"%m{mark}%d{mark}%Y"):
        found = find_date(f"cnn_{day.strftime(form)}")
        assert (found.iso if found else None) == (day.isoformat() if certain else None)


@pytest.mark.parametrize(
    "text", ["20241301", "20240230", "2024-13-45", "12345678", "99999999", "1234567890", "20240015", "0000-00-00"]
)
def test_digits_that_are_no_day_are_no_date(text):
    """A thirteenth month, a thirtieth of February, a run of digits."""
    found = find_date(f"model_{text}")
    assert found is None or text == "1234567890"


def test_a_directory_only_adds_what_the_name_leaves_open():
    """Its date, its fold and its known model, but never an epoch; what the name says stands."""
    reading = parse_name("resnet18_cifar10_2023-01-01/fold_3/epoch9.pth")
    assert (reading.epoch, reading.other["fold"], reading.model_name) == (9, 3, None)
    reading = parse_name("resnet18_cifar10_2023-01-01_epoch5_acc0.5/vgg16.pth")
    assert (reading.model_name, reading.dataset, reading.date) == ("vgg16", "cifar10", "2023-01-01")
    assert reading.epoch is None
    assert reading.metrics == {}
    assert reading.confidence["date"] < 0.7


def test_a_reading_says_how_sure_it_is():
    """What a word explains is surer than a bare number, and a family's name surer than a name's first words."""
    assert parse_name("epoch_9.pth").confidence["epoch"] > parse_name("checkpoint_9.pth").confidence["epoch"]
    assert parse_name("resnet18_best.pth").confidence["model_name"] > parse_name("kobold_best.pth").confidence["model_name"]
