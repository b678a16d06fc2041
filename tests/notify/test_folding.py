"""When a message is due: a table of what happened and when, and laws that hold whatever happens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.notify.folding import Alert, Seen, State, find_next, fold, join
from ckptd.notify.kinds import KINDS
from ckptd.notify.message import MOST_BYTES, MOST_EXAMPLES
from ckptd.settings.notify import ALERT_KINDS
from tests.notify.making import EVIL, NOW, rules

DAMAGED, LOST = "checkpoint-damaged", "root-lost"


class Story:
    """What was told, when things happen at times."""

    def __init__(self, **values):
        self.rules = rules(**values)
        self.alerts = {}
        self.told = []

    def at(self, seconds, *seen, so=None):
        """Let something happen, and note what is told."""
        events = [Seen(DAMAGED, "/r", NOW + seconds, path) for path in seen]
        states = {} if so is None else {LOST: [State(LOST, "/r", "gone", mark) for mark in so]}
        folded = fold(self.alerts, events, states, self.rules, NOW + seconds)
        self.alerts = folded.alerts
        self.told += [(seconds, one.what.value, one.new) for one in folded.messages]
        return folded.messages


def test_what_was_seen_before_the_index_could_be_read_is_joined_with_what_it_holds():
    """What was told stays told; what was not is known from before; and nothing of either is forgotten."""
    told = {"told": 1, "told_at": NOW, "said": "raised"}
    written = {(LOST, one): Alert(LOST, one, NOW - 60, NOW - 60, **told) for one in ("/kept", "/both", "/again")}
    own = {(LOST, one): Alert(LOST, one, NOW, NOW) for one in ("/new", "/both")}
    own[LOST, "/again"] = Alert(LOST, "/again", NOW, NOW, **told)
    found = join(written, own)
    assert {subject: (one.first_at, one.said) for (_, subject), one in found.items()} == {
        "/kept": (NOW - 60, "raised"),
        "/both": (NOW - 60, "raised"),
        "/again": (NOW, "raised"),
        "/new": (NOW, ""),
    }


def test_the_first_message_waits_for_company():
    """Ten seconds, and then one message for all that came."""
    story = Story()
    story.at(0, "a.pth")
    story.at(5, "b.pth", "c.pth")
    story.at(9.9)
    assert story.told == []
    assert find_next(story.alerts.values(), story.rules) == NOW + 10
    (message,) = story.at(10)
    assert story.told == [(10, "raised", 3)]
    assert message.examples == ("a.pth", "b.pth", "c.pth")
    assert message.text == "a.pth; and 2 more"


def test_repeats_are_one_message_in_the_time_of_folding():
    """With their count; and after a quiet time it is a new alert."""
    story = Story()
    for second in range(0, 3600, 60):
        story.at(second, f"{second}.pth")
    story.at(3671)
    assert story.told == [(60, "raised", 2), (3671, "repeated", 58)]
    story.at(3671 + 3600)
    assert story.alerts == {}
    story.at(9000, "z.pth")
    story.at(9010)
    assert story.told[-1] == (9010, "raised", 1)


def test_a_flood_is_a_handful_of_messages():
    """Ten thousand damaged files in an hour: two messages, bounded, with the right count."""
    story = Story()
    messages = []
    for start in range(0, 10_000, 100):
        messages += story.at(start * 0.36, *(f"{number}-{'x' * 4000}.pth" for number in range(start, start + 100)))
    messages += story.at(3700)
    assert len(messages) == 2
    assert sum(one.new for one in messages) == 10_000
    assert all(len(one.examples) <= MOST_EXAMPLES and len(one.to_json()) < MOST_BYTES for one in messages)


def test_a_state_is_told_when_it_begins_and_when_it_ends():
    """Once each, however often it is looked at; the end at once."""
    story = Story()
    for second in range(0, 7200, 60):
        story.at(second, so=[""])
    story.at(7200, so=[])
    story.at(7260, so=[])
    assert story.told == [(60, "raised", 1), (7200, "resolved", 0)]


def test_a_state_that_ends_before_it_was_told_is_not_told():
    """A share that hiccups for a second is nobody's night."""
    story = Story()
    story.at(0, so=[""])
    story.at(5, so=[])
    story.at(20, so=[])
    assert story.told == []
    assert story.alerts == {}


def test_a_state_that_flickers_makes_two_messages_in_the_time_of_folding():
    """It is told that it is there and that it ended; the rest waits, and is one message."""
    story = Story(gather_seconds=0.0)
    for second in range(0, 3600, 10):
        story.at(second, so=[""] if second % 20 == 0 else [])
    assert story.told == [(0, "raised", 1), (10, "resolved", 0)]
    story.at(3610, so=[""])
    assert story.told[-1][1] == "raised"


def test_a_state_that_gets_worse_is_news_in_its_time():
    """Another mark: one more rotten file, another run that failed."""
    story = Story(gather_seconds=0.0)
    story.at(0, so=["1"])
    story.at(60, so=["2"])
    story.at(120, so=["2"])
    assert story.told == [(0, "raised", 1)]
    story.at(3600, so=["2"])
    assert story.told[1:] == [(3600, "repeated", 1)]


def test_a_state_that_was_not_asked_about_stays_as_it_is():
    """While the index can't be asked, nothing is resolved."""
    story = Story(gather_seconds=0.0)
    story.at(0, so=[""])
    story.at(9000)
    assert story.told == [(0, "raised", 1)]


def test_a_kind_that_is_switched_off_is_neither_told_nor_remembered():
    """Nor is one that was open before."""
    story = Story(gather_seconds=0.0)
    story.at(0, "a.pth", so=[""])
    story.rules = rules(off=(DAMAGED, LOST))
    story.at(4000, "b.pth", so=[""])
    assert len(story.told) == 2
    assert story.alerts == {}


def test_the_clock_may_be_set_back():
    """What was told under a clock that was ahead does not silence an alert for a year."""
    story = Story(gather_seconds=0.0)
    story.at(31_536_000, "a.pth")
    story.at(0, "b.pth")
    story.at(3600)
    assert story.told == [(31_536_000, "raised", 1), (3600, "repeated", 1)]


def test_a_message_made_again_after_a_kill_has_the_same_id():
    """So a receiver drops the double; another message of the same alert has another one."""
    one, two = Story(gather_seconds=0.0), Story(gather_seconds=0.0)
    (first,), (again,) = one.at(0, "a.pth"), two.at(0, "a.pth")
    assert first.id == again.id
    one.at(60, "b.pth")
    assert one.at(3600)[0].id != first.id


def test_a_severity_can_be_another():
    """As the settings say; else that of the kind."""
    story = Story(gather_seconds=0.0, severities={DAMAGED: "info"})
    assert story.at(0, "a.pth")[0].severity == "info"
    assert story.at(1, so=[""])[0].severity == "error"


def test_names_out_of_files_are_escaped():
    """In what is told, and in what is kept."""
    folded = fold({}, [Seen(DAMAGED, EVIL, NOW, EVIL)], {}, rules(gather_seconds=0.0), NOW)
    (message,) = folded.messages
    for text in (message.subject, message.text, *message.examples, message.headline):
        assert text.isprintable()


def test_the_settings_know_every_kind():
    """And no other."""
    assert set(ALERT_KINDS) == set(KINDS)


@given(
    st.lists(
        st.tuples(st.floats(0, 3000), st.integers(0, 5), st.sampled_from([None, (), ("",), ("a",), ("b",)])),
        max_size=60,
    ),
    st.floats(0, 120),
    st.floats(1, 7200),
)
def test_nothing_is_lost_and_nothing_is_told_too_often(steps, gather, folding):
    """Whatever happens: every event is counted in exactly one message, and a time of folding sees three messages at most."""
    story, now, count = Story(gather_seconds=gather, fold_seconds=folding), 0.0, 0
    for wait, events, so in steps:
        now += wait
        count += events
        story.at(now, *(f"{number}.pth" for number in range(events)), so=so)
    lost = list(story.told)
    story.at(now + gather + folding + 1)
    story.at(now + 2 * (gather + folding) + 2)
    told_events = sum(new for _, what, new in story.told)
    assert told_events >= count
    times = [at for at, _, _ in lost]
    for at in times:
        assert sum(at <= other < at + folding for other in times) <= 4


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_can_be_told(kind):
    """With a title and a cure that are sentences of ours."""
    one = KINDS[kind]
    if one.lasts:
        folded = fold({}, [], {kind: [State(kind, "s", "it is so")]}, rules(gather_seconds=0.0), NOW)
    else:
        folded = fold({}, [Seen(kind, "s", NOW, "a.pth")], {}, rules(gather_seconds=0.0), NOW)
    (message,) = folded.messages
    assert (message.kind, message.title, message.cure, message.severity) == (kind, one.title, one.cure, one.severity.value)
    assert replace(message, at=0.0).headline.startswith(f"[ckptd] {one.severity.value}: ")
