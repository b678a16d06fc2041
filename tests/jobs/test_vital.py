"""Silence and delay, judged by times that are arguments."""

from __future__ import annotations

from ckptd.jobs.vital import Vital, find_overdue


def test_who_was_not_asked_owes_nothing():
    """A part is well until it was asked and did not answer."""
    assert Vital("observer", 5).sign(1e9).ok


def test_silence_counts_from_the_first_question_without_an_answer():
    """Asking again does not excuse it."""
    vital = Vital("observer", 5)
    for at in (10, 12, 14):
        vital.ask(at)
    assert vital.sign(15).ok
    sign = vital.sign(15.1)
    assert not sign.ok
    assert sign.why == "no answer for 5 s"


def test_an_answer_ends_the_silence():
    """And so does an excuse, for a part that was made anew."""
    for end in (Vital.answer, Vital.excuse):
        vital = Vital("observer", 5)
        vital.ask(10)
        assert not vital.sign(100).ok
        end(vital)
        assert vital.sign(100).ok
        vital.ask(100)
        assert vital.sign(104).ok


def test_what_is_due_may_be_late_for_a_while():
    """Nothing due is fine, and so is what is not due yet."""
    assert find_overdue("pool", None, 100, 10).ok
    assert find_overdue("pool", 200, 100, 10).ok
    assert find_overdue("pool", 90, 100, 10).ok
    late = find_overdue("pool", 89, 100, 10)
    assert (late.name, late.ok, late.why) == ("pool", False, "what was due 11 s ago is not done")
