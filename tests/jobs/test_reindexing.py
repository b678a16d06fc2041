"""What a reindex takes out of the journal: first-seen times through renames, and what we wrote ourselves."""

from ckptd.jobs.reindexing import find_first_seen, find_outputs

LINES = [
    {"event": "seen", "root": "/r", "path": "a.pth", "sha256": "aa", "at": 20.0},
    {"event": "seen", "root": "/r", "path": "a.pth", "sha256": "bb", "at": 10},
    {"event": "moved", "root": "/r", "path": "b.pth", "source": "a.pth", "at": 30.0},
    {"event": "seen", "root": "/r", "path": "b.pth", "sha256": "bb", "at": 30.0},
    {"event": "moved", "root": "/r", "path": "d.pth", "source": "nobody.pth", "at": 40.0},
    {"event": "output", "root": "/r", "path": "a_metadata.json", "sha256": "11", "at": 20.0},
    {"event": "output", "root": "/r", "path": "a_metadata.json", "sha256": "22", "at": 30.0},
    {"event": "seen", "root": "/r", "path": "c.pth", "at": "yesterday"},
    {"event": "output", "root": "/r", "path": 3, "sha256": "33", "at": 1.0},
    {"event": "of a newer ckptd"},
    {},
]


def test_the_earliest_time_counts_and_goes_with_a_renamed_file():
    """Lines that make no sense are passed over."""
    assert find_first_seen(LINES) == {("/r", "a.pth"): 10, ("/r", "b.pth"): 10}


def test_the_last_digest_of_what_we_wrote_counts():
    """An older one is no file of ours any more."""
    assert find_outputs(LINES) == {("/r", "a_metadata.json"): ("22", 30.0)}
