"""What `ckptd doctor` says of the policy and the trash, each with its cure."""

from __future__ import annotations

import pytest

from ckptd.index.ledger import put_freeze
from tests.jobs.keeping import NOW, index_roots, make_series, open_app


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "models"
    made.mkdir()
    make_series(made, count=6)
    return made


def checks(app, name):
    return [check for check in app.doctor() if check.name.startswith(name)]


def test_all_is_well(root):
    app = open_app(root)
    index_roots(app)
    app.apply()
    assert all(check.ok for check in checks(app, "trash"))
    assert [check.message for check in checks(app, "policy")] == ["only says what it would do"]


def test_a_policy_that_keeps_nothing(root):
    app = open_app(root, policy={"keep_last": 0, "keep_best": 0, "keep_tags": []})
    index_roots(app)
    (check,) = checks(app, "policy")
    assert not check.ok
    assert check.cure


def test_a_freeze_has_its_cure(root):
    app = open_app(root)
    index_roots(app)
    with app.store.batch() as batch:
        batch.tell(put_freeze, "reindexed", "the index was made anew", NOW)
    assert [check.ok for check in checks(app, "policy")] == [True, False]
    assert "ckptd apply --confirm" in checks(app, "policy")[1].cure


def test_something_strange_in_the_trash(root):
    app = open_app(root)
    index_roots(app)
    app.apply()
    (root / ".ckptd" / "trash" / "20200101T000000.000000Z-0123456789abcdef").mkdir()
    (root / ".ckptd" / "trash" / "20200101T000000.000000Z-0123456789abcdef" / "x.pth").write_bytes(b"x")
    assert any(not check.ok for check in checks(app, "trash"))


def test_less_room_than_there_shall_be(root):
    app = open_app(root, policy={"free_bytes": "1000TiB"})
    index_roots(app)
    assert any("policy.free_bytes" in check.message for check in checks(app, "trash"))
