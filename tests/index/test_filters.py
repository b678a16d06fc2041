"""What a query means, by a table, and by a second reader that never saw SQL."""

from __future__ import annotations

import fnmatch
import operator
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from ckptd.checkpoint.metrics import canonical
from ckptd.errors import UsageError
from ckptd.index.fields import FIELDS
from ckptd.index.filters import parse_filter
from ckptd.model import Container, Kind, Metadata, PlaceState, Status, TensorTotals
from tests.index.database import KINDS, open_fresh
from tests.index.making import DAY, NOW, ROOT, digest, fill, find, identity, inspection, rejected


def file(name, size=1000, days=0.0, **metadata):
    """Make (identity, inspection) of a file that was changed so many days ago."""
    at = int((NOW - days * DAY) * 1e9)
    return identity(sum(name.encode()), size_bytes=size, mtime_ns=at), inspection(name, **metadata)


def library():
    """Give path → (identity, inspection, when it was first seen)."""
    lstm = {"model_name": "BiLSTM", "dataset": "ECG", "architecture": "lstm"}
    files = {
        "runs/one/best.pth": file(
            "b", 20_000_000, 40, **lstm, metrics={"accuracy": 0.87, "val_loss": 0.31}, epoch=7, stage="best"
        ),
        "runs/one/last.pth": file("l", 20_000_000, 1, **lstm, metrics={"accuracy": 0.8}, epoch=40, date="2025-01-31T10:00:00"),
        "runs/two/100%_a_b.pth": file(
            "p", 10_000_000, 10, model_name="CNN", dataset="ecg", metrics={"f1": 0.5}, date="2025-01"
        ),
        "int8.pth": file("i", 5000, 400, model_name="CNN", quantization="int8", stage="quantized", step=0),
        "Ünïcode.pth": file("u", 1, 0, model_name="Größe", hyperparameters={"lr": 1e-3, "opt": {"name": "Adam"}, "amp": True}),
        "strings.pth": file("s", 2, 0, hyperparameters={"lr": "0.001", "bs": 32, "note": "100%", "none": None}),
    }
    known = {path: (*pair, NOW - 30 * DAY) for path, pair in files.items()}
    half = replace(
        inspection("half"), kind=Kind.TENSOR, tensors=TensorTotals(1, 25_000_000, 50, {"float16": 25_000_000, "int8": 3})
    )
    known["half.pt"] = (identity(900, mtime_ns=0), replace(half, container=Container.LEGACY), NOW)
    known["nobody.pth"] = (identity(901, mtime_ns=0), rejected(), NOW - 3 * DAY)
    return known


@pytest.fixture(scope="module", params=KINDS)
def filled(request, tmp_path_factory):
    store = open_fresh(request.param, tmp_path_factory.mktemp("index"))
    for path, (which, said, first_seen) in library().items():
        with store.batch() as batch:
            batch.record_ready(ROOT, path, which, said, now=first_seen)
    with store.batch() as batch:
        batch.record_missing(ROOT, "int8.pth", now=NOW)
    yield store
    store.close()


BEST, LAST, PERCENT, INT8 = "runs/one/best.pth", "runs/one/last.pth", "runs/two/100%_a_b.pth", "int8.pth"
UNICODE, STRINGS, HALF, NOBODY = "Ünïcode.pth", "strings.pth", "half.pt", "nobody.pth"
ALL = {BEST, LAST, PERCENT, INT8, UNICODE, STRINGS, HALF, NOBODY}
NAMED = {BEST, LAST, PERCENT, INT8, UNICODE}

TABLE = {
    "accuracy>0.8 and dataset=ECG and size>10MB and age<50d": {BEST},
    # metrics, by any spelling
    "accuracy>0.8": {BEST},
    "acc>=0.8": {BEST, LAST},
    "Accuracy>=80%": {BEST, LAST},
    "acc=0.8": {LAST},
    "acc!=0.8": {BEST},
    "not acc=0.8": ALL - {LAST},
    "valLoss<1": {BEST},
    "metric.f1<=.5": {PERCENT},
    "metric.epoch>0": set(),
    "never_measured>0": set(),
    "'val loss'<1": {BEST},
    # texts
    "dataset=ecg": {BEST, LAST, PERCENT},
    "dataset!=ecg": set(),
    "not dataset=ecg": ALL - {BEST, LAST, PERCENT},
    "model=bilstm": {BEST, LAST},
    "name!=bilstm": {PERCENT, INT8, UNICODE},
    "name~LST": {BEST, LAST},
    "name~?NN": {PERCENT, INT8},
    "name~*": NAMED,
    "not name~*": ALL - NAMED,
    "model=Größe": {UNICODE},
    "arch~ls or architecture=x": {BEST, LAST},
    "quantization=int8": {INT8},
    "stage=best or stage=quantized": {BEST, INT8},
    # paths
    "path~runs/": {BEST, LAST, PERCENT},
    "path~runs/*/b*": {BEST},
    "path~*.pt": {HALF},
    "path~100%_": {PERCENT},
    "path~one_": set(),
    "path~%": {PERCENT},
    "path='runs/one/best.pth'": {BEST},
    "path~'!'": set(),
    "path~Ünï": {UNICODE},
    # words
    "status=ok": ALL - {NOBODY},
    "status!=ok": {NOBODY},
    "status~READ": {NOBODY},
    "state=missing": {INT8},
    "state=ready": ALL - {INT8, NOBODY},
    "kind=state_dict": ALL - {HALF, NOBODY},
    "kind!=state_dict": {HALF},
    "container=LEGACY": {HALF},
    # numbers
    "epoch>7": {LAST},
    "epoch>=7 and epoch<=40": {BEST, LAST},
    "epoch!=7": {LAST},
    "step=0": {INT8},
    "not step=0": ALL - {INT8},
    "size>=20MB": {BEST, LAST},
    "size<20MiB and size>5kb": {BEST, LAST, PERCENT},
    "size=5000": {INT8},
    "size>=9999999TB": set(),
    "parameters>20M": {HALF},
    "parameters=25M": {HALF},
    "parameters<1k": ALL - {HALF},
    "dtype=float16": {HALF},
    "dtype=fp16 and dtype=int8": {HALF},
    "dtype=torch.float32": ALL - {HALF, NOBODY},
    "dtype!=float32": {HALF},
    "dtype~float": ALL - {NOBODY},
    "dtype=float": ALL - {HALF, NOBODY},
    # times: changed and first seen, the younger of the two
    "age<2d": {LAST, UNICODE, STRINGS, HALF},
    "age>29d": {BEST, INT8},
    "age>31d": set(),
    f"age<{10**400}d": ALL,
    "age<=30d and age>=1w": {BEST, PERCENT, INT8},
    "not age<2d": ALL - {LAST, UNICODE, STRINGS, HALF},
    "age<99999999w": ALL,
    "date=2025": {LAST, PERCENT},
    "date=2025-01": {LAST, PERCENT},
    "date=2025-01-31": {LAST},
    "date>=2025-01-31": {LAST},
    "date>2025-01-30T23:59": {LAST},
    "date<'2025-01-31 11'": {LAST, PERCENT},
    "date!=2025-01": set(),
    # digests
    f"sha256={digest('b')}": {BEST},
    f"sha256={digest('b')[:7].upper()}": {BEST},
    f"not sha256={digest('b')[:7]}": ALL - {BEST},
    f"sha256!={digest('b')[:7]}": ALL - {BEST, NOBODY},
    # hyperparameters
    "hp.lr=0.001": {UNICODE, STRINGS},
    "hp.lr=1e-3": {UNICODE},
    "hp.LR<0.01": {UNICODE},
    "hp.lr!=0.001": set(),
    "hp.lr!=1": {UNICODE, STRINGS},
    "hp.opt.name=adam": {UNICODE},
    "hp.opt.name~AD": {UNICODE},
    "hp.amp=true": {UNICODE},
    "hp.none=null": {STRINGS},
    "hp.bs=32 and hp.bs<33": {STRINGS},
    "hp.note=100%": {STRINGS},
    "hp.never=1 or hp.never!=1": set(),
    # joined
    "not (stage=best or epoch>7)": ALL - {BEST, LAST},
    "stage=best or epoch>7 and model=cnn": {BEST},
    "(stage=best or epoch>7) and model=bilstm": {BEST, LAST},
}  # fmt: skip


@pytest.mark.parametrize("query", TABLE, ids=str)
def test_a_table_of_queries(filled, query):
    """Each with the files it finds."""
    assert set(find(filled, query)) == TABLE[query]


@pytest.mark.parametrize(
    ("query", "where", "said"),
    [
        ("epohc>3", "epohc", 'did you mean "epoch"'),
        ("datset=ECG", "datset", 'did you mean "dataset"'),
        ("dtae=2025", "dtae", 'did you mean "date"'),
        ("parameter>3", "parameter", "metric.parameter"),
        ("status=okay", "okay", 'did you mean "ok"'),
        ("state=lost", "lost", "missing"),
        ("kind=dict", "dict", "state_dict"),
        ("container=7z", "7z", "zip"),
        ("accuracy>high", "high", "no number"),
        ("accuracy>nan", "nan", "no number"),
        ("accuracy>1e999", "1e999", "too large"),
        ("accuracy~0.8", "~", "not compared by ~"),
        ("dataset>ECG", ">", "one of = != ~"),
        ("size~10", "~", "not compared by ~"),
        ("size>10XB", "10XB", "10MiB"),
        ("size>-1", "-1", "10MiB"),
        ("epoch>many", "many", "no count"),
        ("age=30d", "=", "one of < <= > >="),
        ("age<30", "30", "needs a unit"),
        ("age<soon", "soon", "30d, 12h"),
        ("date>yesterday", "yesterday", "2025-01-31"),
        ("date=2025-1", "2025-1", "2025-01-31"),
        ("sha256=xyz", "xyz", "no beginning of a digest"),
        ("hp.lr<fast", "fast", "no number"),
    ],
)
def test_what_can_not_be_compared_is_refused_with_a_hint(query, where, said):
    """With a caret under the word that is wrong."""
    with pytest.raises(UsageError) as caught:
        parse_filter(query, canonical=canonical, now=NOW)
    message = str(caught.value)
    assert said in message
    shown, caret = message.split("\n")[1:]
    at = caret.index("^")
    assert shown[at : at + caret.count("^")] == where


@pytest.mark.parametrize(
    "metric", ["mae", "map", "ap", "acc", "iou", "fid", "mse", "score", "psnr", "val_loss", "top5", "error"]
)
def test_a_metric_is_no_misspelt_field(metric):
    """Short names are left alone."""
    parse_filter(f"{metric}>0", canonical=canonical, now=NOW)


# — the second reader —

OPERATORS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
TEXTS = ["", "a", "A", "ab", "a_b", "a%b", "*", "a*", "?b", "!", "ECG", "e", "\\", "'", '"', "ü", "Ü"]
NUMBERS = [-1.0, 0.0, 0.5, 1.0, 7.0]


def metadata_of(draw):
    text = st.none() | st.sampled_from(TEXTS)
    return Metadata(
        model_name=draw(text),
        dataset=draw(text),
        metrics=draw(st.dictionaries(st.sampled_from(["accuracy", "loss"]), st.sampled_from(NUMBERS))),
        epoch=draw(st.none() | st.integers(0, 3)),
        hyperparameters=draw(
            st.dictionaries(st.sampled_from(["lr", "opt"]), st.sampled_from([*NUMBERS, *TEXTS, 1, True, None]))
        ),
    )


@st.composite
def trees(draw, depth=3):
    kind = draw(st.sampled_from(["text", "epoch", "metric", "hp", *(["not", "and", "or"] if depth else [])]))
    match kind:
        case "text":
            return (
                draw(st.sampled_from(["model", "dataset"])),
                draw(st.sampled_from(["=", "!=", "~"])),
                draw(st.sampled_from(TEXTS)),
            )
        case "epoch":
            return ("epoch", draw(st.sampled_from(list(OPERATORS))), str(draw(st.integers(0, 3))))
        case "metric":
            return (
                draw(st.sampled_from(["accuracy", "loss"])),
                draw(st.sampled_from(list(OPERATORS))),
                str(draw(st.sampled_from(NUMBERS))),
            )
        case "hp":
            sign = draw(st.sampled_from([*OPERATORS, "~"]))
            value = draw(
                st.sampled_from(NUMBERS).map(str)
                if sign in "<=>=" and sign != "="
                else st.sampled_from([*TEXTS, "1.0", "true"])
            )
            return (draw(st.sampled_from(["hp.lr", "hp.opt"])), sign, value)
        case "not":
            return ("not", draw(trees(depth - 1)))
        case _:
            return (kind, draw(trees(depth - 1)), draw(trees(depth - 1)))


def written(tree):
    match tree:
        case ("not", inner):
            return f"not ({written(inner)})"
        case ("and" | "or" as word, left, right):
            return f"({written(left)}) {word} ({written(right)})"
        case (field, sign, value):
            return f'{field}{sign}"{value}"'.replace("\\", "\\\\").replace('"""', '"\\""')


def lower(text):
    """Lower-case as the database does it: ASCII alone."""
    return re.sub("[A-Z]", lambda match: match[0].lower(), text)


def contains(value, text):
    if "*" in text or "?" in text:
        return fnmatch.fnmatchcase(lower(value), lower(text).replace("[", "[[]"))
    return lower(text) in lower(value)


def fits(tree, said):
    match tree:
        case ("not", inner):
            return not fits(inner, said)
        case ("and", left, right):
            return fits(left, said) and fits(right, said)
        case ("or", left, right):
            return fits(left, said) or fits(right, said)
        case ("model" | "dataset" as field, sign, text):
            value = said.model_name if field == "model" else said.dataset
            if value is None:
                return False
            return contains(value, text) if sign == "~" else OPERATORS[sign](lower(value), lower(text))
        case ("epoch", sign, text):
            return said.epoch is not None and OPERATORS[sign](said.epoch, int(text))
        case (field, sign, text) if field.startswith("hp."):
            return fits_hyperparameter(said.hyperparameters, field[3:], sign, text)
        case (field, sign, text):
            return field in said.metrics and OPERATORS[sign](said.metrics[field], float(text))


def fits_hyperparameter(values, name, sign, text):
    if name not in values:
        return False
    value = values[name]
    spelled = {None: "null", True: "true"}.get(value, value) if value is None or value is True else value
    spelled = spelled if isinstance(spelled, str) else repr(spelled)
    number = float(value) if type(value) in (int, float) else None
    if sign == "~":
        return contains(spelled, text)
    if sign in ("=", "!="):
        same = lower(spelled) == lower(text)
        if number is not None and re.fullmatch(r"-?[\d.]+", text):
            same = same or number == float(text)
        return same == (sign == "=")
    return number is not None and OPERATORS[sign](number, float(text))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60)
@given(data=st.data())
def test_the_database_and_a_plain_reader_agree(tmp_path_factory, data):
    """Any records, any query: SQL finds what a walk over the records finds, and `not` gives exactly the rest."""
    store = open_fresh("sqlite", tmp_path_factory.mktemp("index"))
    try:
        said = {f"{number}.pth": data.draw(st.composite(metadata_of)(), "metadata") for number in range(6)}
        fill(store, {path: replace(inspection(path), metadata=one) for path, one in said.items()})
        for _ in range(8):
            tree = data.draw(trees(), "tree")
            expected = {path for path, one in said.items() if fits(tree, one)}
            assert set(find(store, written(tree))) == expected
            assert set(find(store, written(("not", tree)))) == set(said) - expected
    finally:
        store.close()


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("query", TABLE, ids=str)
def test_every_query_is_sql_for_both_databases(dialect, query):
    """It compiles, and not one value stands in it."""
    compiled = parse_filter(query, canonical=canonical, now=NOW).compile(dialect=dialect)
    assert "ECG" not in str(compiled)
    assert "runs" not in str(compiled)


def test_every_field_is_documented_and_every_documented_field_exists():
    """In the table of docs/queries.md."""
    from tests.docs.pages import PROJECT

    page = (PROJECT / "docs" / "queries.md").read_text()
    table = page[page.index("| field |") :].split("\n\n")[0].splitlines()[2:]
    documented = {name for row in table for name in re.findall(r"`([a-z0-9_]+)`", row.split("|")[1])}
    assert documented == set(FIELDS)
    for values in (Status, PlaceState, Kind, Container):
        assert all(f"`{value.value}`" in page for value in values)
