"""One pass over the rows: sums, parts, hard links, duplicates, troubles."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ckptd.index.payload import payload_of
from ckptd.model import Inspection, Kind, Metadata, Status, TensorTotals
from ckptd.report.dating import Births, Months
from ckptd.report.described import Description, describe, split_head, weigh_dtypes
from ckptd.report.shares import MOST_ROWS, Share, break_down, break_down_by_time, cut
from ckptd.report.totals import MOST_FILES, Counted, count
from tests.report.making import DAY, NOW, TODAY

ROOT = b"/srv/models"
AT = int(NOW * 1e9)


def row(number: int, size: int = 100, *, content: str | None = "k", **changes: Any) -> tuple[Any, ...]:
    values = {
        "root": ROOT, "path": f"{number}.pth".encode(), "sha256": f"{number:064x}", "dev": 5, "ino": number, "size": size,
        "mtime_ns": AT, "first_seen_at": NOW,
    }  # fmt: skip
    return (*(values | changes).values(), content)


def counted(rows: list[tuple[Any, ...]], **descriptions: Description) -> Counted:
    known = {"k": Description("ok", "state_dict", "net", "ECG", None, '{"float32":10}', 0)} | descriptions
    return count(rows, known, Births({ROOT: NOW - 500 * DAY}), Months(ZoneInfo("UTC"), NOW))


def shares(found: Any) -> list[tuple[str | None, int, int, int]]:
    return [(one.name, one.files, one.size_bytes, one.optimizer_bytes) for one in found.rows]


class TestCount:
    def test_every_part_adds_up(self):
        other = Description("needs_code", "checkpoint", "gpt", None, "2026-09-30", '{"float16":3,"int64":1}', 40)
        found = counted([row(1), row(2, 60, content="o"), row(3, 7, content=None, sha256=None)], o=other)
        assert (found.totals.files, found.totals.contents, found.totals.size_bytes) == (3, 2, 167)
        assert shares(found.models) == [("net", 1, 100, 0), ("gpt", 1, 60, 40), (None, 1, 7, 0)]
        assert shares(found.datasets) == [("ECG", 1, 100, 0), (None, 2, 67, 40)]
        assert shares(found.months) == [("2026-09", 1, 60, 40), ("2026-11", 2, 107, 0)]
        assert shares(found.kinds) == [("state_dict", 1, 100, 0), ("checkpoint", 1, 60, 40), (None, 1, 7, 0)]
        assert shares(found.roots) == [("/srv/models", 3, 167, 40)]
        assert shares(found.dtypes) == [("float32", 1, 40, 0), ("int64", 1, 8, 0), ("float16", 1, 6, 0)]
        assert [(one.name, one.files) for one in found.statuses] == [("ok", 1), ("needs_code", 1), (None, 1)]

    def test_a_hard_link_costs_nothing(self):
        """Three names of one file are three files in the count and one in the bytes."""
        found = counted([row(1), row(2, ino=1, sha256=f"{1:064x}"), row(3, ino=1, sha256=f"{1:064x}"), row(4)])
        assert (found.totals.files, found.totals.size_bytes, found.totals.hard_links) == (4, 200, 2)
        assert found.models.rows[0].files == 4
        assert found.models.rows[0].size_bytes == 200
        assert found.equals == ()
        assert len(found.largest) == 2
        assert sum(found.arrivals.values()) == 200

    def test_the_same_number_on_another_device_is_another_file(self):
        assert counted([row(1), row(2, ino=1, dev=6)]).totals.size_bytes == 200

    def test_copies_are_duplicates(self):
        """The most wasteful first: what counts is the bytes beyond the first file."""
        rows = [row(number, 10, sha256="a" * 64) for number in range(4)]
        rows += [row(number, 25, sha256="b" * 64) for number in (5, 6)]
        assert [tuple(one) for one in counted([*rows, row(7)]).equals] == [("a" * 64, 4, 10), ("b" * 64, 2, 25)]

    def test_only_what_holds_weights_too_is_slimmed(self):
        """The state of an optimizer in a file of its own goes with the file or not at all."""
        made = {
            "c": Description("ok", "checkpoint", optimizer_bytes=50),
            "o": Description("ok", "optimizer", optimizer_bytes=7),
        }
        found = counted([row(1, content="c"), row(2, content="o"), row(3, content="o")], **made)
        assert (found.totals.optimizer_files, found.totals.optimizer_bytes) == (3, 64)
        assert (found.totals.slim_files, found.totals.slim_bytes) == (1, 50)

    def test_the_largest_come_first_and_equals_in_their_order(self):
        found = counted([row(number, 100 + number % 7) for number in range(200)])
        sizes = [one.size_bytes for one in found.largest]
        assert len(sizes) == MOST_FILES
        assert sizes == [106] * MOST_FILES
        assert [one.path for one in found.largest] == [f"{6 + 7 * place}.pth" for place in range(MOST_FILES)]

    def test_the_worst_come_first(self):
        bad = {
            "u": Description("unsafe"), "d": Description("damaged"), "n": Description("ok", is_finite=False),
            "f": Description("not_a_checkpoint"), "x": Description("damaged", is_finite=False),
        }  # fmt: skip
        rows = [
            row(1, content="f"),
            row(2, content="n"),
            row(3, 5, content="d"),
            row(4, content="x"),
            row(5, 1, content="u"),
            row(6),
        ]
        found = counted(rows, **bad)
        assert [one.path for one in found.troubled] == ["5.pth", "4.pth", "3.pth", "1.pth", "2.pth"]
        assert (found.trouble_files, found.non_finite_files) == (5, 2)

    def test_names_that_are_no_text_come_through(self):
        found = counted([row(1, path=b"\xff.pth", root=b"/srv/\xfe")])
        assert (found.largest[0].root, found.largest[0].path) == ("/srv/\udcfe", "\udcff.pth")
        assert found.roots.rows[0].name == "/srv/\udcfe"

    def test_arrivals_are_by_root_and_day(self):
        found = counted([row(1), row(2, first_seen_at=NOW - 3 * DAY), row(3, root=b"/b")])
        assert found.arrivals == {(ROOT, TODAY): 100, (ROOT, TODAY - 3): 100, (b"/b", TODAY): 100}

    def test_nothing_is_nothing(self):
        found = counted([])
        assert found.totals.files == found.totals.size_bytes == 0
        assert found.models.rows == ()
        assert found.largest == ()


class TestHeads:
    def test_what_the_index_writes_is_read(self):
        """The real JSON of an inspection, cut where the index cuts it."""
        tensors = TensorTotals(3, 12, 60, {"float32": 12, "int64": 3}, 24)
        inspection = Inspection("a.pth", Status.OK, kind=Kind.CHECKPOINT, sha256="a" * 64, size_bytes=99, tensors=tensors)
        head = payload_of(inspection).summary[:512]
        assert split_head(head) == ('{"float32":12,"int64":3}', 24)

    def test_words_out_of_the_file_are_not_taken_for_ours(self):
        """A hyperparameter of this name comes after the sums, where nobody looks."""
        trick = {"optimizer_bytes": 10**15, "dtypes": {"float64": 10**15}, 'x","optimizer_bytes":7,"y': 1}
        metadata = Metadata(model_name='","dtypes":{"float64":9},"optimizer_bytes":9,"', hyperparameters=trick)
        tensors = TensorTotals(1, 1, 4, {"float32": 1}, 2)
        inspection = Inspection("a.pth", Status.OK, sha256="a" * 64, tensors=tensors, metadata=metadata)
        assert split_head(payload_of(inspection).summary) == ('{"float32":1}', 2)

    @pytest.mark.parametrize(
        "head", ["", "{}", '{"dtypes":{"float32":1', '{"dtypes":{},"optimizer_bytes":x,', "null", "x" * 512]
    )
    def test_what_is_no_head_says_nothing(self, head):
        """Somebody wrote to the index by hand, or a file has more dtypes than fit."""
        assert split_head(head)[1] == 0

    def test_a_row_becomes_a_description(self):
        head = json.dumps({"tensors": {"dtypes": {"int8": 4}, "optimizer_bytes": 3, "records": []}}, separators=(",", ":"))
        found = describe([("k", "ok", "state_dict", "m", "d", "2026-01", head, None)])
        assert found == {"k": Description("ok", "state_dict", "m", "d", "2026-01", '{"int8":4}', 3)}

    def test_words_that_look_like_a_finding_are_none(self):
        """The index only finds the words; a hyperparameter may be made of them."""
        finding = {"code": "non-finite-weights", "severity": "warning", "message": "1 NaN"}
        rows = [
            ("real", "ok", None, None, None, None, "", json.dumps({"findings": [finding]})),
            ("trick", "ok", None, None, None, None, "", json.dumps({"hp": finding, "findings": []})),
            ("broken", "ok", None, None, None, None, "", "{"),
        ]
        assert [key for key, one in describe(rows).items() if not one.is_finite] == ["real"]

    def test_dtypes_are_weighed(self):
        """Packed ones share bytes; what the engine does not know has a count and no bytes."""
        found = weigh_dtypes(
            {'{"quint4x2":5,"odd":3}': 2, '{"float64":1}': 1, "": 9, '{"a":-1}': 1, "nonsense": 1, '{"b":"x"}': 1}
        )
        assert shares(found) == [("float64", 1, 8, 0), ("quint4x2", 2, 6, 0), ("odd", 2, 0, 0)]


class TestBreakdowns:
    def test_beyond_the_first_ones_there_is_a_sum(self):
        found = break_down({f"m{number:04}": [1, number, 2, 1] for number in range(MOST_ROWS + 10)})
        assert (len(found.rows), found.names) == (MOST_ROWS, MOST_ROWS + 10)
        assert found.rows[0].name == "m0209"
        assert found.others == Share(None, 10, sum(range(10)), 20)

    def test_a_second_cut_keeps_the_sum(self):
        found = break_down({f"m{number:04}": [1, number, 2, 1] for number in range(MOST_ROWS + 10)})
        again = cut(found.rows, 5, names=found.names, others=found.others)
        assert len(again.rows) == 5
        assert again.others is not None
        whole = sum(range(MOST_ROWS + 10))
        assert sum(row.size_bytes for row in again.rows) + again.others.size_bytes == whole

    def test_months_are_in_their_order_and_the_last_ones_stay(self):
        months = {f"{2000 + number // 12}-{number % 12 + 1:02}": [1, 1, 0, 0] for number in range(MOST_ROWS + 3)}
        found = break_down_by_time(months)
        assert [row.name for row in found.rows] == sorted(months)[3:]
        assert found.others == Share(None, 3, 3, 0)
