"""Records in an order, by name, and the best of each group."""

from __future__ import annotations

import pytest

from ckptd.errors import UsageError
from ckptd.index.queries import SORT_KEYS
from ckptd.model import Status
from tests.docs.pages import PROJECT
from tests.index.making import NOW, ROOT, digest, fill, find, identity, inspection, rejected


@pytest.fixture
def sorted_store(store):
    """Four files; each metadata field is missing somewhere."""
    fill(
        store,
        {
            "b.pth": inspection("b", model_name="alpha", dataset="z", metrics={"accuracy": 0.5}, epoch=3, date="2025-01-02"),
            "a.pth": inspection("a", model_name="Beta", metrics={"accuracy": 0.9, "loss": 1.0}, epoch=10, stage="best"),
            "c.pth": inspection("c", tensors=5, quantization="int8", architecture="lstm", step=4),
            "d.pth": rejected(),
        },
    )
    return store


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("path", "abcd"),
        ("id", "bacd"),
        ("size", "bacd"),
        ("name", "bacd"),
        ("model", "bacd"),
        ("dataset", "bacd"),
        ("epoch", "bacd"),
        ("accuracy", "bacd"),
        ("loss", "abcd"),
        ("parameters", "dabc"),
        ("status", "abcd"),
        ("stage", "abcd"),
        ("date", "bacd"),
        ("quantization", "cabd"),
        ("arch", "cabd"),
        ("step", "cabd"),
        ("kind", "abcd"),
    ],
)
def test_a_listing_is_sorted(sorted_store, key, expected):
    """By a field or a metric; what has no value comes last, of equals the first by path first."""
    assert find(sorted_store, sort=key) == [f"{name}.pth" for name in expected]


@pytest.mark.parametrize(
    ("key", "expected"), [("epoch", "abcd"), ("accuracy", "abcd"), ("loss", "abcd"), ("path", "dcba"), ("size", "dcab")]
)
def test_what_has_no_value_is_last_in_reverse_too(sorted_store, key, expected):
    """The largest first, and then still those without."""
    assert find(sorted_store, sort=key, reverse=True) == [f"{name}.pth" for name in expected]


def test_times_sort_a_listing(store):
    """By what was changed, and by age: the younger of changed and first seen."""
    with store.batch() as batch:
        batch.record_ready(ROOT, "old.pth", identity(1, mtime_ns=1), inspection("a"), now=1.0)
        batch.record_ready(ROOT, "copied.pth", identity(2, mtime_ns=0), inspection("b"), now=NOW)
        batch.record_ready(ROOT, "saved.pth", identity(3, mtime_ns=int((NOW - 5) * 1e9)), inspection("c"), now=2.0)
    assert find(store, sort="modified") == ["copied.pth", "old.pth", "saved.pth"]
    assert find(store, sort="first-seen") == ["old.pth", "saved.pth", "copied.pth"]
    assert find(store, sort="age") == ["copied.pth", "saved.pth", "old.pth"]
    assert find(store, sort="inspected", reverse=True, limit=1) == ["copied.pth"]


@pytest.mark.parametrize("key", SORT_KEYS)
def test_every_key_sorts_both_ways(sorted_store, key):
    """And loses nothing."""
    for reverse in (False, True):
        assert sorted(find(sorted_store, sort=key, reverse=reverse)) == ["a.pth", "b.pth", "c.pth", "d.pth"]


def test_a_limit_takes_the_first(sorted_store):
    """After sorting, and after the filter."""
    assert find(sorted_store, sort="size", reverse=True, limit=2) == ["d.pth", "c.pth"]
    assert find(sorted_store, "status=ok", sort="size", reverse=True, limit=1) == ["c.pth"]


@pytest.mark.parametrize(("key", "near"), [("szie", "size"), ("acuracy", "accuracy"), ("Path'; --", "path"), ("banana", None)])
def test_an_unknown_key_is_refused_with_the_list(sorted_store, key, near):
    """A near miss is named, and so are the metrics that there are."""
    with pytest.raises(UsageError, match="nothing is sorted by that") as caught:
        find(sorted_store, sort=key)
    assert (f'did you mean "{near}"?' in str(caught.value)) == (near is not None)
    assert "path, id, name" in caught.value.cure
    assert "a metric: accuracy, loss" in caught.value.cure


def test_every_key_is_documented():
    """In docs/queries.md, under "Sorting"."""
    page = (PROJECT / "docs" / "queries.md").read_text()
    sorting = page[page.index("## Sorting") : page.index("## Names")]
    assert {key for key in SORT_KEYS if f"`{key}`" not in sorting} == set()


# — names —


@pytest.fixture
def named(store):
    files = {
        "runs/a.pth": inspection("one"),
        "runs/b/a.pth": inspection("two"),
        "c.pth.tar": inspection("three"),
        "d.v1.pth": inspection("four"),
        "2": inspection("five"),
        "deadbeef.pth": inspection("six"),
        ".hidden": inspection("seven"),
    }
    fill(store, files)
    fill(store, {"runs/a.pth": inspection("eight")}, root="/srv/other")
    return store


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1", ["runs/a.pth"]),
        ("2", ["runs/b/a.pth"]),
        ("99", []),
        ("runs/b/a.pth", ["runs/b/a.pth"]),
        ("runs/a.pth", ["runs/a.pth", "runs/a.pth"]),
        (f"{ROOT}/runs/a.pth", ["runs/a.pth"]),
        ("/srv/other/runs/a.pth", ["runs/a.pth"]),
        ("/srv/never/runs/a.pth", []),
        ("a.pth", ["runs/a.pth", "runs/a.pth", "runs/b/a.pth"]),
        ("a", ["runs/a.pth", "runs/a.pth", "runs/b/a.pth"]),
        ("runs/b/a", ["runs/b/a.pth"]),
        ("c.pth.tar", ["c.pth.tar"]),
        ("c.pth", ["c.pth.tar"]),
        ("c", ["c.pth.tar"]),
        ("d.v1", ["d.v1.pth"]),
        ("d", []),
        (".hidden", [".hidden"]),
        ("", []),
        ("deadbeef", ["deadbeef.pth"]),
        (digest("four"), ["d.v1.pth"]),
        (digest("four")[:6].upper(), ["d.v1.pth"]),
        (digest("four")[:5], []),
        ("%", []),
        ("_.pth", []),
        ("a.pth' OR 1=1 --", []),
        ("\ud800", []),
        ("9" * 30, []),
    ],
)
def test_a_name_means_the_strictest_thing_it_can(named, name, expected):
    """Number, path, file name, stem, beginning of a digest: the first of these that anything has."""
    assert [record.path for record in named.find_named(name)] == expected


def test_the_digest_of_a_copy_names_all_of_them(store):
    """It says which bytes, and these lie in two places."""
    fill(store, {"a.pth": inspection("same"), "b.pth": inspection("same")})
    assert [record.path for record in store.find_named(digest("same")[:8])] == ["a.pth", "b.pth"]


def test_a_file_that_is_there_goes_before_one_that_is_gone(store):
    """Of one meaning; alone, what is gone is found as well."""
    fill(store, {"old/a.pth": inspection("a"), "new/a.pth": inspection("b"), "gone.pth": inspection("c")})
    with store.batch() as batch:
        batch.record_missing(ROOT, "old/a.pth", now=NOW)
        batch.record_missing(ROOT, "gone.pth", now=NOW)
    assert [record.path for record in store.find_named("a.pth")] == ["new/a.pth"]
    assert [record.path for record in store.find_named("gone")] == ["gone.pth"]


def test_a_named_record_is_whole(named):
    """With its tensors one by one and its layers."""
    ((record,)) = named.find_named("1")
    assert [tensor.name for tensor in record.inspection.tensors.records] == ["layer0.weight", "layer1.weight"]
    assert [layer.name for layer in record.inspection.layers] == ["layer0"]


# — the best —


def test_the_best_of_each_group_is_found(store):
    """A group is a model with a data set; the best of all comes first."""
    fill(
        store,
        {
            "ecg_1.pth": inspection("1", model_name="A", dataset="ECG", metrics={"accuracy": 0.7}),
            "ecg_2.pth": inspection("2", model_name="A", dataset="ECG", metrics={"accuracy": 0.8}),
            "eeg.pth": inspection("3", model_name="A", dataset="EEG", metrics={"accuracy": 0.6}),
            "plain.pth": inspection("4", model_name="A", metrics={"accuracy": 0.5}),
            "other.pth": inspection("5", model_name="B", dataset="ECG", metrics={"accuracy": 0.9}),
            "none.pth": inspection("6", model_name="B", dataset="ECG"),
        },
    )

    def best(mode="max", group=None):
        return [record.path for record in store.best(["accuracy"], mode=mode, group=group)]

    assert best() == ["other.pth", "ecg_2.pth", "eeg.pth", "plain.pth"]
    assert best("min") == ["plain.pth", "eeg.pth", "ecg_1.pth", "other.pth"]
    assert best(group="A") == best(group="a") == ["ecg_2.pth", "eeg.pth", "plain.pth"]
    assert best(group="A/ECG") == best(group="a/ecg") == ["ecg_2.pth"]
    assert best(group="C") == best(group="") == best(group="/ECG") == []


def test_of_equals_all_are_kept(store):
    """Copies as well as strangers."""
    same = {"model_name": "A", "metrics": {"loss": 0.1}}
    fill(store, {"b.pth": inspection("1", **same), "a.pth": inspection("2", **same), "c.pth": inspection("1", **same)})
    assert [record.path for record in store.best(["loss"], mode="min", group=None)] == ["a.pth", "b.pth", "c.pth"]


def test_like_is_compared_with_like(store):
    """A training accuracy of 0.99 does not beat a validation accuracy: the first name that the group has counts."""
    fill(
        store,
        {
            "train.pth": inspection("1", model_name="A", metrics={"train_accuracy": 0.99, "accuracy": 0.98}),
            "val.pth": inspection("2", model_name="A", metrics={"val_accuracy": 0.7}),
            "both.pth": inspection("3", model_name="A", metrics={"val_accuracy": 0.6, "accuracy": 1.0}),
            "alone.pth": inspection("4", model_name="B", metrics={"train_accuracy": 0.5}),
        },
    )
    names = ["val_accuracy", "test_accuracy", "accuracy", "train_accuracy"]
    assert [record.path for record in store.best(names, mode="max", group=None)] == ["val.pth", "alone.pth"]


@pytest.mark.parametrize("status", [status for status in Status if status not in {Status.OK, Status.NEEDS_CODE}])
def test_what_can_not_be_loaded_is_never_the_best(store, status):
    """Nor what is gone; what needs code is whole, and takes part."""
    fill(
        store,
        {
            "bad.pth": inspection("1", status, model_name="A", metrics={"accuracy": 1.0}),
            "gone.pth": inspection("2", model_name="A", metrics={"accuracy": 0.9}),
            "code.pth": inspection("3", Status.NEEDS_CODE, model_name="A", metrics={"accuracy": 0.8}),
            "ok.pth": inspection("4", model_name="A", metrics={"accuracy": 0.7}),
        },
    )
    with store.batch() as batch:
        batch.record_missing(ROOT, "gone.pth", now=NOW)
    assert [record.path for record in store.best(["accuracy"], mode="max", group=None)] == ["code.pth"]


def test_files_without_a_model_are_groups_of_their_own(store):
    """Nobody knows that they belong together."""
    fill(store, {"a.pth": inspection("1", metrics={"accuracy": 0.1}), "b.pth": inspection("2", metrics={"accuracy": 0.2})})
    assert [record.path for record in store.best(["accuracy"], mode="max", group=None)] == ["b.pth", "a.pth"]


def test_many_groups_are_one_question(store):
    """More than fit one statement."""
    fill(store, {f"{n:04}.pth": inspection(str(n), model_name=f"m{n}", metrics={"f1": n / 1000}) for n in range(1100)})
    found = store.best(["f1"], mode="max", group=None)
    assert [record.path for record in found] == [f"{n:04}.pth" for n in reversed(range(1100))]
