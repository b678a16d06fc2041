"""The reader of names against tables of what a careful person reads in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.names import CORPUS, PAGE, compare, read_rows, render, score_corpus
from ckptd.checkpoint.names import parse_name

MORE = Path(__file__).parent / "more.tsv"


def test_of_the_real_names_at_least_95_of_100_fields_are_right():
    """All of them together, and no kind of field below 94 of 100."""
    score = score_corpus()
    assert len(read_rows(CORPUS)) == 119
    assert score.recall >= 0.95
    for kind, wanted in score.wanted.items():
        assert score.right[kind] >= 0.94 * wanted, kind


def test_what_is_said_of_the_real_names_is_right():
    """Of a hundred things said, at most three are not what a person reads; metrics, dates and counts never."""
    score = score_corpus()
    assert score.precision >= 0.97
    assert {field for _, field, _ in score.invented} <= {"arch"}


#: Names of the corpus that tempt a reader, with the words of the person who wrote it down.
TRAPS = [row for row in read_rows(CORPUS) if row["comment"]]


@pytest.mark.parametrize("row", TRAPS, ids=lambda row: row["filename"][:60])
def test_a_trap_makes_nothing_up(row):
    """No epoch, step, date or metric is said that a person does not read; an architecture in one trap of a bare word."""
    _, invented = compare(row)
    assert {kind for kind, _, _ in invented} <= {"arch"} if row["filename"] == "tor_model_49.pth" else not invented


@pytest.mark.parametrize("row", read_rows(MORE), ids=lambda row: row["filename"][:60])
def test_further_names_are_read_as_a_person_reads_them(row):
    """Each field of the table is right, and no model, data set, metric, count or date beyond it is said."""
    missed, invented = compare(row)
    assert (missed, invented) == ([], [])


def test_the_page_shows_the_score_and_every_miss():
    """It is what `python -m bench.names` writes."""
    score = score_corpus()
    page = PAGE.read_text()
    assert page == render(score)
    assert all(f"`{name}` | {field} |" in page for name, field, _, _ in score.misses)


def test_the_names_of_the_design_are_read_as_it_says():
    """Model, data set, metric and date, each with where it came from."""
    reading = parse_name("BiLSTM_Attention_ECG_acc87_20250102.pth")
    assert (reading.model_name, reading.dataset, reading.date) == ("BiLSTM_Attention", "ECG", "2025-01-02")
    assert reading.metrics == {"accuracy": 0.87}
    assert reading.written == {"accuracy": ("acc", "87")}
    assert parse_name("TransformerEncoder_tabular_f192_20250102").metrics == {"f1": 0.92}
    quantized = parse_name("QuantizedCNN_8bit_acc82_20250102.pth")
    assert (quantized.quantization, quantized.stage, quantized.dataset) == ("8-bit", "quantized", None)
    assert quantized.metrics == {"accuracy": 0.82}


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("cnn_int8_quantized.pth", "int8"),
        ("cnn_quantized_int8.pth", "int8"),
        ("cnn_8bit.pth", "8-bit"),
        ("cnn_qat8.pth", "8-bit"),
        ("cnn_quantized.pth", "quantized"),
        ("cnn_fp16.pth", "float16"),
        ("cnn_bf16.pth", "bfloat16"),
        ("cnn_fp32.pth", None),
        ("q.pth", None),
    ],
)
def test_the_number_format_is_the_most_exact_word_for_it(name, quantization):
    """A vague word gives way to "int8"; full precision is none."""
    assert parse_name(name).quantization == quantization
