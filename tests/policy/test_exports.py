"""How many exports run at once: tables and laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.policy.exports import Need, admit, estimate_need, fits

GIB = 1 << 30


def needs(*gibibytes):
    return [Need(int(number * GIB)) for number in gibibytes]


@pytest.mark.parametrize(
    ("waiting", "running", "memory", "most", "started"),
    [
        ((), (), 8, 4, 0),
        ((1, 1, 1), (), 8, 4, 3),
        ((1, 1, 1), (), 8, 2, 2),
        ((1, 1, 1), (1,), 8, 2, 1),
        ((3, 3, 3), (), 8, 9, 2),
        ((3, 3, 3), (3,), 8, 9, 1),
        ((9, 1), (), 8, 9, 0),  # nobody overtakes the large one
        ((8,), (), 8, 1, 1),
        ((8,), (0.5,), 8, 9, 0),
    ],
)
def test_as_many_start_as_memory_and_number_allow(waiting, running, memory, most, started):
    """In their order, never more than fit."""
    assert admit(needs(*waiting), needs(*running), memory_bytes=memory * GIB, most=most) == started


SOME = st.lists(st.integers(1, 16), max_size=12).map(lambda sizes: [Need(size) for size in sizes])


@given(SOME, SOME, st.integers(1, 64), st.integers(1, 8))
def test_what_runs_fits_always(waiting, running, memory, most):
    """Whatever is started beside what runs stays within both limits, unless what runs is beyond them already."""
    count = admit(waiting, running, memory_bytes=memory, most=most)
    started = [*running, *waiting[:count]]
    if count:
        assert sum(need.memory_bytes for need in started) <= memory
        assert len(started) <= most
    alone = not running and bool(waiting)
    assert not alone or count >= 1 or not fits(waiting[0], memory)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_more_weights_never_need_less(one, other):
    """A module's need grows with its weights; without a module nothing does."""
    small, large = sorted((one, other))
    assert estimate_need(small, with_module=True) <= estimate_need(large, with_module=True)
    assert estimate_need(small, with_module=False) == estimate_need(large, with_module=False)
    assert estimate_need(small, with_module=False) < estimate_need(small, with_module=True)
