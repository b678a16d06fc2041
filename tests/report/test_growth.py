"""What lay there at the end of each day."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ckptd.report.dating import Births
from ckptd.report.facts import Series
from ckptd.report.growth import MOST_DAYS, add_gone, build_series, day_name, day_number
from tests.report.making import DAY, NOW, TODAY

ROOT = b"/srv/models"
births = Births({})


def gone(state: str, came: int, went: int, *, size: int = 10, ino: int = 1) -> tuple[object, ...]:
    """Make a row of a file that came and went so many days ago."""
    return (ROOT, state, 5, ino, size, 0, NOW - came * DAY, NOW - went * DAY)


class TestGone:
    def test_what_came_and_went_is_in_between(self):
        changes = add_gone({(ROOT, TODAY): 5}, [gone("missing", 9, 4)], births, {})
        assert changes == {(ROOT, TODAY): 5, (ROOT, TODAY - 9): 10, (ROOT, TODAY - 4): -10}

    def test_the_trash_takes_its_room_until_it_is_purged(self):
        for state, left in (("trashed", 10), ("purged", 0), ("archived", 0)):
            assert sum(add_gone({}, [gone(state, 9, 4)], births, {}).values()) == left

    def test_another_name_of_a_file_that_is_there_took_no_room(self):
        """One of two hard links was removed."""
        assert add_gone({}, [gone("missing", 9, 4)], births, {(5, 1): 10}) == {}

    def test_an_inode_is_used_again(self):
        """The number of a file that is gone is given to another one: a size tells the two."""
        assert add_gone({}, [gone("missing", 9, 4)], births, {(5, 1): 11}) != {}

    def test_a_clock_that_went_back_makes_no_hole(self):
        assert add_gone({}, [gone("missing", 4, 9)], births, {}) == {}


class TestSeries:
    def test_days_without_a_change_keep_their_level(self):
        assert build_series([(TODAY - 3, 10), (TODAY - 1, -4), (TODAY - 3, 1)], NOW) == Series(
            day_name(TODAY - 3), (11, 11, 7, 7)
        )

    def test_what_is_dated_later_counts_today(self):
        assert build_series([(TODAY + 40, 10)], NOW) == Series(day_name(TODAY), (10,))

    def test_years_ago_is_where_it_begins(self):
        found = build_series([(3, 10), (TODAY, 1)], NOW)
        assert len(found.size_bytes) == MOST_DAYS + 1
        assert found.size_bytes[0] == 10
        assert found.size_bytes[-1] == 11

    def test_nothing_has_no_series(self):
        assert build_series([], NOW) == Series()

    @given(st.lists(st.tuples(st.integers(TODAY - 400, TODAY), st.integers(0, 10**12)), min_size=1))
    def test_the_last_day_has_all_of_it(self, changes):
        assert build_series(changes, NOW).size_bytes[-1] == sum(size for _, size in changes)

    @given(st.integers(0, 60_000))
    def test_days_are_written_and_read(self, day):
        assert day_number(day_name(day)) == day
