"""The JSON form of an inspection: what goes in comes out, and what was not agreed is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd import wire
from ckptd.errors import WorkerError
from ckptd.model import (
    Container,
    Finding,
    Identity,
    Inspection,
    Kind,
    Layer,
    Metadata,
    Severity,
    Source,
    Status,
    TensorRecord,
    TensorTotals,
)

FULL = Inspection(
    path="a.pth",
    status=Status.OK,
    container=Container.ZIP,
    kind=Kind.CHECKPOINT,
    sha256="0" * 64,
    size_bytes=10,
    tensors=TensorTotals(1, 2, 8, {"float32": 2}, 0, (TensorRecord("w", "float32", (2,), 8, "0", -1.0, 1.0, 1.4, 0, 0),)),
    metadata=Metadata(
        model_name="m", metrics={"accuracy": 0.5}, hyperparameters={"lr": [0.1, None]}, sources={"epoch": Source("name", 0.9)}
    ),
    findings=(Finding("crc-mismatch", Severity.ERROR, "broken", ("w",)),),
    layers=(Layer("fc", "linear", 2, 8, {"in_features": 2}),),
    identity=Identity(1, 2, 3, 4, 5),
)


def as_json() -> dict:
    return json.loads(wire.dumps(wire.inspection_to_json(FULL)))


def test_an_inspection_survives_the_way_over_the_wire():
    """To JSON text and back gives an equal value."""
    assert wire.inspection_from_json(as_json()) == FULL


def test_the_contract_has_its_keys():
    """The keys that others rely on are there, by name."""
    value = as_json()
    assert {"path", "status", "container", "kind", "sha256", "size_bytes", "tensors", "metadata", "findings"} <= value.keys()
    assert {"count", "parameters", "bytes", "dtypes"} <= value["tensors"].keys()
    contract = {"model_name", "architecture", "dataset", "metrics", "epoch", "step", "date", "quantization", "hyperparameters"}
    assert contract <= value["metadata"].keys()
    assert value["findings"][0].keys() == {"code", "severity", "message", "tensors"}


def paths(value, here=()):
    """Give the path of every node of a JSON value."""
    yield here
    if isinstance(value, dict):
        for key in value:
            yield from paths(value[key], (*here, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from paths(item, (*here, number))


@pytest.mark.parametrize("path", [p for p in paths(as_json()) if p], ids=str)
@pytest.mark.parametrize("forged", [float("nan"), -(2**64), "x" * 20_000, [[[]]] * 3000, {"x": float("inf")}], ids=range(5))
def test_a_forged_value_anywhere_is_refused(path, forged):
    """Each node of an answer, replaced by a value of a kind that does not belong there, makes the answer a refusal."""
    value = as_json()
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = forged
    with pytest.raises(WorkerError):
        wire.inspection_from_json(value)


@pytest.mark.parametrize("key", as_json())
def test_a_missing_or_unknown_key_is_refused(key):
    """The keys are exactly the agreed ones."""
    value = as_json()
    with pytest.raises(WorkerError):
        wire.inspection_from_json({**value, key + "x": 1})
    del value[key]
    with pytest.raises(WorkerError):
        wire.inspection_from_json(value)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_whatever_comes_is_an_inspection_or_a_refusal(value):
    """No JSON value raises anything but the one error."""
    with pytest.raises(WorkerError):
        wire.inspection_from_json(value)


def test_deep_hyperparameters_are_refused():
    """Nesting is bounded, so that no reader behind it can be made to recurse."""
    value = as_json()
    deep: object = 1
    for _ in range(20):
        deep = [deep]
    value["metadata"]["hyperparameters"] = {"deep": deep}
    with pytest.raises(WorkerError):
        wire.inspection_from_json(value)


@pytest.mark.parametrize(
    ("key", "value", "taken"),
    [
        ("ino", 2**64 - 1, True),
        ("dev", 2**63, True),
        ("ino", 2**64, False),
        ("ino", -1, False),
        ("mtime_ns", -1, True),
        ("mtime_ns", 2**63, False),
    ],
)
def test_numbers_of_files_are_unsigned_and_their_times_are_not(key, value, taken):
    """Inodes of network file systems use all 64 bits; a time may lie before 1970."""
    answer = as_json()
    answer["identity"][key] = value
    if taken:
        assert getattr(wire.inspection_from_json(answer).identity, key) == value
    else:
        with pytest.raises(WorkerError, match=f"identity.{key}"):
            wire.inspection_from_json(answer)
